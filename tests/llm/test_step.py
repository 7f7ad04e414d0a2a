"""The proximal step: log-probabilities, the library's losses, and models of other families."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from tunix.models.gemma3 import model as gemma3
from tunix.models.llama3 import model as llama3
from tunix.models.qwen3 import model as qwen3

import apo_sim as apo
from apo_sim import InvalidArgument, llm
from apo_sim.llm import parameters, tiny
from apo_sim.llm.batches import batches
from apo_sim.llm.models import Model
from apo_sim.llm.pairs import Preference
from apo_sim.llm.step import FineTuning, ProximalTrainer, objective, response_log_probs
from apo_sim.losses import Extra

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
            made = llama3.Llama3(tiny.config(rope_theta=1_000_000), rngs=nnx.Rngs(0))
        elif kind == "qwen":
            config = qwen3.ModelConfig(**SIZES, vocab_size=WORDS, rope_theta=10_000, norm_eps=1e-6)
            made = qwen3.Qwen3(config, rngs=nnx.Rngs(0))
        else:
            config = gemma3.ModelConfig(
                **SIZES, num_embed=WORDS, sliding_window_size=32, param_dtype=np.dtype("float32")
            )
            made = gemma3.Gemma3(config, rngs=nnx.Rngs(0))
        random = np.random.default_rng(0)
        for _, leaf in parameters.named(made):
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
        llm.train(
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
        before = {name: np.asarray(value) for name, value in parameters.of(network).items()}
        outcome = llm.train(
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
    assert outcome.steps and np.isfinite(outcome.steps[-1]["loss"])
    after = parameters.of(outcome.model.network)
    assert max(np.abs(np.asarray(after[name]) - value).max() for name, value in before.items()) > 0


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
