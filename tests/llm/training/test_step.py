"""The proximal step: log-probabilities, the library's losses, and models of other families."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy.special import expit
from tunix.models.gemma3 import model as gemma3
from tunix.models.llama3 import model as llama3
from tunix.models.qwen3 import model as qwen3

import apo_sim as apo
from apo_sim import InvalidArgument, llm
from apo_sim.llm.data.batches import batches
from apo_sim.llm.data.preference_pairs import Preference, with_others
from apo_sim.llm.models import stored_parameters, tiny
from apo_sim.llm.models.loading import Model
from apo_sim.llm.training import objectives
from apo_sim.llm.training.step import FineTuning, ProximalTrainer, objective, response_log_probs
from apo_sim.losses import Extra
from apo_sim.transformer_rows import StepRow

pytestmark = pytest.mark.llm

PAIRS = [
    Preference((2, 3, 4), (5, 6, 7, 1), (8, 1), log_normalizer=0.4),
    Preference((9,), (5, 1), (8, 9, 10, 11, 1), weight=2.0, log_normalizer=0.6),
]


@nnx.jit
def all_log_probs(network, tokens):
    length = tokens.shape[1]
    mask = jnp.tril(jnp.ones((1, length, length), bool))
    logits, _ = network(tokens, jnp.arange(length)[None], None, mask)
    return jax.nn.log_softmax(logits[0])


def alone(network, prompt, response):
    """log pi(response | prompt), without padding or batches."""
    log_probs = np.asarray(all_log_probs(network, jnp.asarray([[*prompt, *response]])))
    begin = len(prompt)
    return sum(log_probs[begin + place - 1, token] for place, token in enumerate(response))


SIZES: dict[str, Any] = {
    "num_layers": 1,
    "embed_dim": 16,
    "hidden_dim": 24,
    "num_heads": 2,
    "head_dim": 8,
    "num_kv_heads": 1,
}
WORDS = len(tiny.WORDS)


def of_tunix(kind):
    """A network of Tunix's own, with weights that matter."""
    made: Any
    with jax.enable_x64(False):
        if kind == "llama":
            config = tiny.config(rope_theta=1_000_000).of_tunix()
            made = llama3.Llama3(config, rngs=nnx.Rngs(0))
        elif kind == "qwen":
            config = qwen3.ModelConfig(**SIZES, vocab_size=WORDS, rope_theta=10_000, norm_eps=1e-6)
            made = qwen3.Qwen3(config, rngs=nnx.Rngs(0))
        else:
            config = gemma3.ModelConfig(
                **SIZES, num_embed=WORDS, sliding_window_size=32, param_dtype=np.dtype("float32")
            )
            made = gemma3.Gemma3(config, rngs=nnx.Rngs(0))
        random = np.random.default_rng(0)
        for _, leaf in stored_parameters.named(made):
            old = leaf.get_value()
            if old.ndim > 1:
                leaf.set_value(jnp.asarray(0.3 * random.normal(size=old.shape), old.dtype))
    return made


@pytest.mark.parametrize("kind", ["ours", "llama", "qwen", "gemma"])
def test_padding_changes_no_log_probability(kind):
    # Those of Tunix are without the argument that saves logits.
    network = tiny.model().network if kind == "ours" else of_tunix(kind)
    (batch,) = batches(PAIRS, 3, beta=1.0, padding=0)
    found = np.asarray(nnx.jit(response_log_probs)(network, batch))[:2]
    expected = [[alone(network, p.prompt, r) for r in (p.winner, p.loser)] for p in PAIRS]
    assert np.allclose(found, expected, atol=1e-4) and np.ptp(expected) > 1.0


@pytest.mark.parametrize("loss", [apo.DPO(), apo.IPO(), apo.SPPO()])
def test_the_objective_is_the_loss_of_the_library(loss):
    network, beta = tiny.model().network, 0.5
    reference = np.array([[-3.0, -2.0], [-1.0, -4.0]])
    (batch,) = batches(PAIRS, 4, beta=beta, padding=0, reference=reference)
    value, _ = objective(network, batch, loss)
    log_p = np.array([[alone(network, p.prompt, r) for r in (p.winner, p.loser)] for p in PAIRS])
    h = beta * (log_p - reference)
    each = loss(jnp.asarray(h[:, 0]), jnp.asarray(h[:, 1]), Extra(jnp.array([0.4, 0.6])))
    expected = float(np.mean(np.array([1.0, 2.0]) / 1.5 * np.asarray(each)))
    assert abs(float(value) - expected) < 1e-4 * max(1.0, abs(expected))


@pytest.mark.parametrize(
    "given",
    [
        objectives.ipo_per_token(0.5),
        objectives.simpo(0.7),
        objectives.xpo(0.3),
        objectives.chipo(0.4),
        objectives.Objective(apo.losses.KTO(undesirable=2.0)),
    ],
    ids=["ipo_per_token", "simpo", "xpo", "chipo", "kto"],
)
def test_objectives_of_texts_are_as_published(given):
    """Values and slopes by log-probabilities, against NumPy and central differences."""
    policy = np.array([[-3.0, -4.0, -1.0], [-2.0, -6.0, -1.2]])
    centre = np.array([[-3.5, -3.0, -2.0], [-2.5, -4.0, -1.5]])
    beta, weight, pairs = 0.8, np.array([1.0, 2.0]) / 1.5, PAIRS
    if given.needs_others:
        pairs = with_others(PAIRS, np.random.default_rng(0))
    flagged = [dataclasses.replace(pairs[0], winner_from_reference=True), pairs[1]]
    sides = 3 if given.needs_others else 2
    (batch,) = batches(flagged, 2, beta=beta, padding=0, reference=centre[:, :sides])

    def mean(log_probs):
        return jnp.mean(batch.weight * given.values(log_probs, batch)[0])

    value, slope = jax.value_and_grad(mean)(jnp.asarray(policy[:, :sides]))
    anchor = beta * np.sum(weight / 2 * (policy - centre)[:, 2])
    assert anchor > 0  # or it would not be seen
    expected = published(given, policy, centre, beta, anchor)
    assert float(value) == pytest.approx(np.mean(weight * expected), rel=1e-5)
    for row, side in np.ndindex(2, sides):
        step = np.zeros((2, 3))
        step[row, side] = 1e-4
        # The anchor stays where it is: nothing is differentiated through it.
        ends = [published(given, policy + way * step, centre, beta, anchor) for way in (1, -1)]
        numeric = np.mean(weight * (ends[0] - ends[1])) / 2e-4
        assert float(slope[row, side]) == pytest.approx(numeric, abs=1e-5)


def published(given, policy, centre, beta, anchor):
    """The objective of the two pairs of `PAIRS`, as its authors write it."""
    size, ratio = np.array([[4, 2], [2, 5]]), (policy - centre)[:, :2]
    if given == objectives.ipo_per_token(0.5):
        return (beta * (ratio / size) @ [1, -1] - 2.0) ** 2
    if given == objectives.simpo(0.7):
        return np.logaddexp(0.0, 0.7 - beta * (policy[:, :2] / size) @ [1, -1])
    if given == objectives.xpo(0.3):
        of_reference = np.array([policy[0, 0], policy[1, 1]])
        return np.logaddexp(0.0, -beta * ratio @ [1, -1]) + 0.3 * of_reference
    if given == objectives.chipo(0.4):
        lead = beta * (np.exp(ratio) + ratio) @ [1, -1]
        return np.logaddexp(0.0, -np.clip(lead, -0.8, 0.8))
    h = beta * ratio
    return expit(anchor - h[:, 0]) + 2.0 * expit(h[:, 1] - anchor)


def test_anchored_scores_are_of_the_reference_and_of_all_pairs_so_far(monkeypatch):
    seen = []

    def moved(self, pairs, reference, **settings):
        seen.append((list(pairs), reference))
        for _, leaf in stored_parameters.named(self.model):
            leaf.set_value(1.1 * leaf.get_value())
        return [StepRow(1, 0.1, 1.0, 0.0, 0.5)] * self.parts(len(pairs))

    class Source:
        def pairs(self, model, t, beta, seed, folder, watch):
            return [PAIRS[t]]

    monkeypatch.setattr(ProximalTrainer, "step", moved)
    settings: dict[str, Any] = {"source": Source(), "iterations": 2, "beta": 1.0, "expo": 0.5}
    tuning = FineTuning(batch=2)
    start = stored_parameters.of(tiny.model(num_layers=1).network)
    for given, numbers in ((objectives.xpo(), (1, 2)), (apo.DPO(), (1, 1))):
        outcome = llm.fine_tune(
            tiny.model(num_layers=1),
            **settings,
            loss=given,
            tuning=tuning,
            momentum=apo.NoMomentum(),
            progress=False,
        )
        assert tuple(len(pairs) for pairs, _ in seen[-2:]) == numbers
        after = stored_parameters.of(outcome.model.network)
        for name, value in start.items():  # 1.21, and half of .21 beyond
            assert np.allclose(after[name], 1.315 * np.asarray(value), rtol=1e-4), name
    of_reference, of_centre = seen[1][1][1], seen[3][1][0]
    network = tiny.model(num_layers=1).network
    expected = [alone(network, PAIRS[1].prompt, r) for r in (PAIRS[1].winner, PAIRS[1].loser)]
    assert np.allclose(of_reference, expected, atol=1e-3)
    assert not np.allclose(of_centre, expected, atol=0.05)


def test_a_run_of_xpo_draws_from_the_reference_too():
    outcome = llm.fine_tune(
        tiny.model(num_layers=1),
        ["w3", "w4 w5", "w6"],
        ranker=llm.Length(),
        pairing=llm.BradleyTerry(1),
        loss=objectives.xpo(0.1),
        momentum=apo.NoMomentum(),
        beta=1.0,
        iterations=1,
        sampling=llm.Sampling(2, 1.0, 1.0, max_tokens=4, max_prompt=2, batch=6),
        tuning=FineTuning(learning_rate=1e-3, batch=6),
        progress=False,
    )
    assert outcome.pairs == [6] and np.isfinite(outcome.steps[-1].loss)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"loss": 3}, "is not a loss"),
        ({"loss": apo.DPO}, "is not a loss"),
        ({"momentum": 0.3}, "is not a momentum rule"),
        ({"momentum": apo.Schedule(jnp.array([0.1]))}, "wrong length"),
        ({"expo": -1.0}, "must be finite and at least 0"),
        ({"judge_every": 2}, "judge_every = 2"),
        ({"loss": objectives.simpo(), "geometry": apo.JensenShannon()}, "has its own"),
        ({"beta": (1.0, 1.0, 1.0)}, r"has shape \(3,\)"),
    ],
)
def test_arguments_are_named_before_anything_compiles(settings, said):
    given: dict[str, Any] = {"ranker": llm.Length(), "iterations": 2, "beta": 1.0, **settings}
    with pytest.raises(InvalidArgument, match=said):
        llm.fine_tune(tiny.model(num_layers=1), ["w3", "w4"], progress=False, **given)
    with pytest.raises(InvalidArgument, match="margin = -1"):
        objectives.simpo(-1.0)
    with pytest.raises(InvalidArgument, match="bonus"):
        objectives.Objective(apo.losses.KTO(), bonus=0.1)
    with pytest.raises(InvalidArgument, match="scores asked for"):
        objectives.Objective(geometry=apo.JensenShannon(), per_token=True)


def test_labels_need_other_prompts():
    with pytest.raises(InvalidArgument, match="only one prompt"):
        with_others([PAIRS[0]], np.random.default_rng(0))
    tuning = FineTuning(batch=2)
    trainer = ProximalTrainer(tiny.model().network, apo.losses.KTO(), tuning, padding=0)
    with pytest.raises(InvalidArgument, match="lack responses to other prompts"):
        trainer.step(PAIRS, np.zeros((2, 2)), beta=1.0, seed=0)


@pytest.mark.parametrize(
    ("geometry", "link"),
    [
        (apo.ForwardKL(), lambda u: -1 / u),
        (apo.JensenShannon(), lambda u: np.log(2 * u / (1 + u))),
        (apo.AlphaDivergence(0.5), lambda u: 2 * (1 - u**-0.5)),
        (apo.MixedChiSquare(), lambda u: u + np.log(u)),
    ],
)
def test_scores_of_other_divergences(geometry, link):
    network, beta = tiny.model().network, 0.5
    log_p = np.array([[alone(network, p.prompt, r) for r in (p.winner, p.loser)] for p in PAIRS])
    log_ratio = np.array([[0.3, -0.7], [1.1, 0.2]])
    (batch,) = batches(PAIRS, 4, beta=beta, padding=0, reference=log_p - log_ratio)
    _, report = objective(network, batch, apo.DPO(), geometry)
    lead = beta * (link(np.exp(log_ratio[:, 0])) - link(np.exp(log_ratio[:, 1])))
    expected = float(np.mean(np.array([1.0, 2.0]) / 1.5 * lead))
    assert float(report["margin"]) == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize(
    "geometry", [apo.Tsallis(), apo.Burg(), apo.ChiSquareKL(), apo.Euclidean()]
)
def test_geometries_of_whole_distributions_are_refused(geometry):
    with pytest.raises(apo.InvalidArgument, match=r"geometry = .* needs more than log"):
        llm.fine_tune(
            tiny.model(num_layers=1),
            ["w3"],
            ranker=llm.Length(),
            geometry=geometry,
            beta=1.0,
            iterations=1,
            progress=False,
        )


@pytest.mark.parametrize("kind", ["qwen", "gemma"])
def test_other_families_of_tunix_train_and_answer(kind):
    with jax.enable_x64(False):
        network = of_tunix(kind)
        before = {name: np.asarray(value) for name, value in stored_parameters.of(network).items()}
        outcome = llm.fine_tune(
            Model(network, tiny.tokenizer(), context=64, name=kind),
            ["w3", "w4 w5"],
            ranker=llm.Length(),
            pairing=llm.BradleyTerry(2),
            beta=1.0,
            iterations=1,
            sampling=llm.Sampling(3, 1.0, 1.0, max_tokens=4, max_prompt=2, batch=6),
            tuning=FineTuning(learning_rate=1e-3, batch=4),
            progress=False,
        )
    assert outcome.steps and np.isfinite(outcome.steps[-1].loss)
    after = stored_parameters.of(outcome.model.network)
    assert max(np.abs(np.asarray(after[name]) - value).max() for name, value in before.items()) > 0


@pytest.mark.parametrize("name", ["dop", ["dpo"], None])
def test_an_objective_of_an_unknown_name_is_refused(name):
    with pytest.raises(InvalidArgument, match="unknown"):
        llm.objective(name, {"dpo": apo.DPO()})


def test_no_pairs_and_bad_settings_are_named():
    trainer = ProximalTrainer(tiny.model().network, apo.DPO(), FineTuning(batch=2), padding=0)
    with pytest.raises(InvalidArgument, match="are none"):
        trainer.step([], np.zeros((0, 2)), beta=1.0, seed=0)
    settings: dict[str, Any]
    for settings, said in (
        ({"learning_rate": 0.0}, "learning_rate = 0.0 must be positive"),
        ({"warmup": 1.0}, "outside"),
        ({"batch": 3, "accumulate": 2}, "does not divide 3"),
    ):
        with pytest.raises(InvalidArgument, match=said):
            FineTuning(**settings)
    for settings, said in (({"top_p": 1.5}, "above 1"), ({"temperature": 0.0}, "must be positive")):
        with pytest.raises(InvalidArgument, match=said):
            llm.Sampling(**settings)
