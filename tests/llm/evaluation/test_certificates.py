"""Certificates from labels of classes: coverage, and the labels that they are not for."""

import math

import numpy as np
import pytest

import apo_sim as apo
from apo_sim.errors import InvalidArgument
from apo_sim.llm import stages
from apo_sim.llm.data import preference_pairs as stored
from apo_sim.llm.data.preference_pairs import (
    BradleyTerry,
    Preference,
    TopAgainstBottom,
    preferences,
)
from apo_sim.llm.evaluation.certificates import certify_run, logged_pairs

pytestmark = pytest.mark.llm

CLASSES, PROMPTS, ANSWERS, DELTA, FIRST = 3, 80, 400, 0.05, 10
PROMPT = (1, 2)


def classify(prompt, response):
    """The first token; the second one tells responses of a class apart."""
    return response[0] - FIRST


def run(rng, pairing, reward):
    """Two iterations of a policy on classes that follows the labels; fresh answers, true gap."""
    logits, found = rng.normal(size=CLASSES), []
    for _ in range(2):
        chance = np.exp(logits) / np.exp(logits).sum()
        for _ in range(PROMPTS):
            kind = rng.choice(CLASSES, size=4, p=chance)
            responses = [(int(FIRST + c), place) for place, c in enumerate(kind)]
            found += preferences(PROMPT, responses, reward[kind], pairing, rng, 1.0)
        won = np.bincount([classify(PROMPT, p.winner) for p in found], minlength=CLASSES)
        lost = np.bincount([classify(PROMPT, p.loser) for p in found], minlength=CLASSES)
        logits = logits + np.log((won + 1) / (lost + 1))
    chance = np.exp(logits) / np.exp(logits).sum()
    answers = [(PROMPT, (int(FIRST + c),)) for c in rng.choice(CLASSES, ANSWERS, p=chance)]
    return found, answers, float(reward.max() - chance @ reward)


def given(**changes):
    settings = {"classes": CLASSES, "reward_bound": 1.0, "delta": DELTA, **changes}
    return {"classify": classify, **settings}


@pytest.mark.parametrize("finite_sample", [False, True])
def test_runs_of_bradley_terry_labels_are_covered(finite_sample):
    rng, excess, fit = np.random.default_rng(0), [], []
    for _ in range(12):
        pairs, answers, gap = run(rng, BradleyTerry(), rng.uniform(-1, 1, CLASSES))
        found = certify_run(pairs, answers, **given(finite_sample=finite_sample))
        excess.append(found.bound - gap)
        fit.append(found.estimate - gap)
        assert found.bound == pytest.approx(found.estimate + found.radius)
    assert min(excess) > 0 and np.median(excess) < 1.0
    # So that it could fail: what the fit says alone is too little in many runs.
    assert np.mean(np.array(fit) < 0) > 0.2


def test_certain_labels_refute_the_range():
    rng = np.random.default_rng(1)
    pairs, answers, _ = run(rng, TopAgainstBottom(), np.array([0.4, 0.0, -0.4]))
    with pytest.raises(InvalidArgument, match=r"reward_bound = 1.0 is refuted"):
        certify_run(pairs, answers, **given())


def test_it_is_the_certificate_of_the_counts_and_a_term_for_the_answers():
    pairs = [
        Preference(PROMPT, (FIRST + i,), (FIRST + j,), weight)
        for i, j, weight in [(0, 1, 70.0), (1, 0, 30.0), (2, 0, 5.0), (0, 2, 4.0)]
    ]
    answers = [(PROMPT, (FIRST,))] * 30 + [(PROMPT, (FIRST + 1,))] * 10
    found = certify_run(pairs, answers, **given())
    wins = np.array([[[0.0, 70.0, 4.0], [30.0, 0.0, 0.0], [5.0, 0.0, 0.0]]])
    policy = np.log([[0.75, 0.25, 1e-300]])
    table = apo.certify(wins, policy, delta=DELTA / 2, reward_bound=1.0)
    of_answers = 2 * math.sqrt(math.log(2 / DELTA) / 80)
    assert found.bound == pytest.approx(table.bound + of_answers)
    assert found.estimate == pytest.approx(table.estimate)
    assert found.delta == DELTA


def test_pairs_of_a_run_are_read_in_order(tmp_path):
    expected = []
    for t in (1, 2, 10):
        pair = Preference(PROMPT, (t,), (t, t))
        expected.append(pair)
        stages.complete(
            tmp_path / f"iteration-{t}" / "pairs",
            lambda draft, pair=pair: stored.write(draft, [pair]),
            "test",
        )
    (tmp_path / "iteration-2 (copy)" / "pairs").mkdir(parents=True)
    assert logged_pairs(tmp_path) == expected
    for damage in ("", "[[1]]", "7"):
        (tmp_path / "iteration-2" / "pairs" / "pairs.json").write_text(damage)
        with pytest.raises(InvalidArgument, match=r"folder = .* has pairs that cannot be read"):
            logged_pairs(tmp_path)


def test_bad_input_is_named(tmp_path):
    pairs, answers = [Preference(PROMPT, (FIRST,), (FIRST + 1,))], [(PROMPT, (FIRST,))]

    def refused(argument, pairs=pairs, answers=answers, **changes):
        with pytest.raises(InvalidArgument) as error:
            certify_run(pairs, answers, **given(**changes))
        assert error.value.argument == argument

    refused("answers", answers=[])
    refused("classify", answers=[(PROMPT, (FIRST + CLASSES,))])
    refused("classify", classify=lambda prompt, response: 0.5)
    refused("classify", classify=lambda prompt: 0)
    refused("reward_bound", reward_bound=0.0)
    refused("delta", delta=1.0)
    refused("classes", classes=0)
    with pytest.raises(InvalidArgument, match=r"folder .* has no pairs"):
        logged_pairs(tmp_path)
