"""Rankers that compare, rankers that misbehave, and preferences that reach what is made of them."""

import dataclasses
import json
from typing import Any

import jax.numpy as jnp
import numpy as np
import optax
import pytest

import apo_sim as apo
from apo_sim import InvalidArgument

pytest.importorskip("tunix")

from apo_sim.llm import FineTuning, Sampling, fine_tune
from apo_sim.llm.data.preference_pairs import (
    BradleyTerry,
    TopAgainstBottom,
    log_normalizer,
    preferences,
)
from apo_sim.llm.data.prompts import Prompt
from apo_sim.llm.data.rankers import Length, PairwiseJudge, RewardModel, Verifiable, check_scores
from apo_sim.llm.models import tiny
from apo_sim.llm.training.source import usable

pytestmark = pytest.mark.llm

PROMPT = Prompt("?")
A_CLASS: Any = dict  # for an instance that was forgotten


def longer(prompt, first, second):
    """The longer response wins, with odds."""
    return 1 / (1 + np.exp(-(len(first) - len(second)) / 5.0))


@dataclasses.dataclass(frozen=True)
class Ranks:
    """Scores that say nothing of one response: its rank among those that it comes with."""

    def scores(self, prompt, responses):
        lengths = [len(response) for response in responses]
        return np.array([float(sum(own > other for other in lengths)) for own in lengths])


@pytest.mark.parametrize("ranker", [PairwiseJudge(longer), Ranks(), Length()])
def test_a_policy_wins_where_its_response_beats_the_reference_s(tmp_path, ranker):
    settings = {
        "momentum": apo.NoMomentum(),
        "beta": 0.1,
        "iterations": 1,
        "sampling": Sampling(3, 1.0, 1.0, max_tokens=8, max_prompt=4, batch=12),
        "tuning": FineTuning(learning_rate=0.5, batch=2, epochs=4, optimizer=optax.sgd),
        "progress": False,
    }
    prompts, held_out = ["w3 w4", "w5 w6"] * 2, [f"w{number}" for number in range(12)]
    outcome = fine_tune(
        tiny.model(num_layers=1),
        prompts,
        ranker=ranker,
        held_out=held_out,
        out=tmp_path / "run",
        **settings,
    )
    first, last = outcome.rows
    judged = json.loads((tmp_path / "run/iteration-1/judged-hat/judged.json").read_text())
    answers = sorted((tmp_path / "run/reference").glob("answers-*/responses.jsonl"))
    lines = [line for file in answers for line in file.read_text().splitlines()]
    reference = [json.loads(line)["text"] for line in lines]
    leads = np.array([len(a) - len(b) for a, b in zip(judged["texts"], reference, strict=True)])
    assert last.figures.wins == tuple(0.5 * (1.0 + np.sign(leads)))
    assert last.figures.win_rate.value == np.mean(last.figures.wins) != 0.5
    assert first.figures.win_rate.figures == (0.5, 0.5, 0.5) and set(first.figures.wins) == {0.5}


def test_a_comparison_does_not_depend_on_who_comes_first():
    def favours_the_first(prompt, first, second):
        return 0.9 if first > second else 0.7

    ranker = PairwiseJudge(favours_the_first)
    scores = ranker.scores(PROMPT, ["a", "b", "b"])
    assert scores[0] < scores[1] == scores[2]
    assert np.allclose(ranker.scores(PROMPT, ["b", "b", "a"]), scores[::-1])
    assert ranker.scores(PROMPT, ["a", "a"]).tolist() == [0.0, 0.0]
    # Where a pair is all there is, the difference of scores is its log-odds.
    pair = PairwiseJudge(longer).scores(PROMPT, ["aaaaaaaaaaaa", "bb"])
    assert abs(pair[0] - pair[1] - 2.0) < 1e-12


@pytest.mark.parametrize("chance", [1.5, -0.1, float("nan"), None, "0.9", [0.9, 0.1]])
def test_a_preference_that_is_no_probability_is_refused(chance):
    if chance == "0.9":
        assert PairwiseJudge(lambda *_: chance).scores(PROMPT, ["a", "b"]).tolist() == [0.0, 0.0]
        return
    with pytest.raises(InvalidArgument, match=r"preference = .* is not a probability"):
        PairwiseJudge(lambda *_: chance).scores(PROMPT, ["a", "b"])


@pytest.mark.parametrize(
    "scores", [None, "ab", ["a", "b"], [[1.0], [2.0, 3.0]], [[1.0], [2.0]], 1.0, [1.0, np.inf]]
)
def test_scores_that_are_none_are_refused(scores):
    with pytest.raises(InvalidArgument, match=r"scores = .*2 finite numbers"):
        RewardModel(lambda prompt, responses: scores).scores(PROMPT, ["a", "b"])


@pytest.mark.parametrize(
    ("make", "argument"),
    [
        (lambda: Length(0), "sign"),
        (lambda: Length(unit=0.0), "unit"),
        (lambda: Length(unit=float("nan")), "unit"),
        (lambda: Verifiable(-0.1), "loose_share"),
        (lambda: Verifiable(float("inf")), "loose_share"),
        (lambda: RewardModel(A_CLASS), "function"),
        (lambda: PairwiseJudge(A_CLASS), "preference"),
        (lambda: BradleyTerry(0), "pairs"),
        (lambda: BradleyTerry(1, 0.0), "scale"),
        (lambda: BradleyTerry(1, float("inf")), "scale"),
    ],
)
def test_settings_out_of_their_range_are_named(make, argument):
    with pytest.raises(InvalidArgument) as caught:
        make()
    assert caught.value.argument == argument


def normalizer(scores, pairing, beta):
    """beta log Z of the pairs that a pairing makes."""
    responses = [(2 + place,) for place in range(len(scores))]
    random = np.random.default_rng(0)
    return preferences((1,), responses, np.array(scores), pairing, random, beta)[0].log_normalizer


@pytest.mark.parametrize("scale", [0.5, 1.0, 8.0])
def test_the_normaliser_is_that_of_the_preferences_drawn(scale):
    scores, beta = np.array([0.0, 4.0, 8.0]), 0.5
    wins = np.zeros((3, 3))
    for winner, loser in BradleyTerry(20_000, scale)(scores, np.random.default_rng(0)):
        wins[winner, loser] += 1
    drawn = np.where(np.eye(3, dtype=bool), 0.5, wins / np.maximum(wins + wins.T, 1))
    expected = beta * np.log(np.mean(np.exp(drawn.mean(axis=1) / beta)))
    assert abs(normalizer(scores, BradleyTerry(1, scale), beta) - expected) < 0.01
    # Control: with the scale left out it is another number.
    assert scale <= 1.0 or abs(log_normalizer(scores, beta) - expected) > 0.012


def test_the_normaliser_stays_finite():
    assert log_normalizer(np.array([0.0, 1.0]), 1e-308) == pytest.approx(0.5 * (0.5 + 0.7310586))
    assert log_normalizer(np.array([-1e308, 1e308]), 1.0, scale=1e-3) == pytest.approx(
        np.log(0.5 * (np.exp(0.25) + np.exp(0.75)))
    )
    assert BradleyTerry(3, 1e-300)(np.array([0.0, 1e300]), np.random.default_rng(0)) == [(1, 0)] * 3


@pytest.mark.parametrize("made", [None, [(0, 5)], [(-1, 0)], [(0.5, 1)], [0, 1], [(0, 1, 1)]])
def test_a_pairing_of_places_that_are_none_is_refused(made):
    with pytest.raises(
        InvalidArgument, match=r"pairing = .* does not return pairs of indices of the 2"
    ):
        normalizer([0.0, 1.0], lambda scores, random: made, 1.0)


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan"), "8", [1.0, 2.0]])
def test_a_scale_of_a_pairing_that_is_none_is_refused(scale):
    Own = type("Own", (TopAgainstBottom,), {"scale": scale})
    with pytest.raises(InvalidArgument, match=r"pairing\.scale = "):
        normalizer([0.0, 1.0], Own(), 1.0)
    with pytest.raises(InvalidArgument, match=r"pairing\.scale = "):
        fine_tune(tiny.model(), ["w3"], ranker=Length(), pairing=Own())


def test_a_single_response_makes_no_pair():
    for pairing in (BradleyTerry(2), TopAgainstBottom()):
        assert pairing(np.array([1.0]), np.random.default_rng(0)) == []


@pytest.mark.parametrize(
    "scores",
    [
        np.array([1 + 1j, 2.0]),
        np.ma.masked_array([1.0, 2.0], [True, False]),
        ["1", "2"],
        [10**400, 1.0],
        [None, 1.0],
    ],
)
def test_scores_that_are_no_real_numbers_are_refused(scores):
    with pytest.raises(InvalidArgument, match="2 finite numbers"):
        check_scores(scores, ["a", "b"])


def test_scores_in_the_precisions_of_reward_models_are_read():
    scores = [0.5, -2.0]
    for dtype in (jnp.bfloat16, jnp.float16, jnp.float32):
        assert check_scores(jnp.asarray(scores, dtype), ["a", "b"]).tolist() == scores


def test_scores_say_themselves_why_they_cannot_be_read():
    class Tensor:
        def __array__(self, *args: Any, **options: Any) -> np.ndarray:
            raise RuntimeError("Can't call numpy() on Tensor that requires grad.")

    with pytest.raises(InvalidArgument, match=r"2 finite numbers \(Can.t call .*grad\.\); let"):
        check_scores(Tensor(), ["a", "b"])


def test_what_is_no_function_accepts_nothing():
    ranker = Length()
    object.__setattr__(ranker, "accepts", 3)
    with pytest.raises(InvalidArgument, match=r"ranker\.accepts = 3 is not callable"):
        usable("prompts", [PROMPT], lambda text: True, ranker)


@pytest.mark.parametrize("value", [{1, 2}, np.float32(1.0), object()])
def test_settings_are_plain_data(value):
    with pytest.raises(InvalidArgument, match=r"kwargs = .* cannot be written as JSON"):
        Prompt("?", ("custom:own",), ({"k": value},))
