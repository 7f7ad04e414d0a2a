"""What a step notes: figures of pairs, the gradient's norm, updates that the dtype swallows."""

import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from scipy.special import softmax

import apo_sim as apo
from apo_sim.explain import Effect, explain
from apo_sim.llm.data.batches import batches
from apo_sim.llm.data.preference_pairs import Preference
from apo_sim.llm.models import stored_parameters, tiny
from apo_sim.llm.training._watching import (
    mean_entropy,
    pair_figures,
    response_figures,
    token_entropy,
)
from apo_sim.llm.training.foresight import StepsRounded
from apo_sim.llm.training.step import FineTuning, ProximalTrainer
from apo_sim.records import as_plain

pytestmark = pytest.mark.llm

PAIRS = [
    Preference((2, 3, 4), (5, 6, 7, 1), (8, 1)),
    Preference((9,), (5, 1), (8, 9, 10, 11, 1), weight=3.0),
    Preference((4, 4), (6, 1), (7, 7, 1)),
]


def test_figures_of_pairs_are_weighted_means():
    random = np.random.default_rng(0)
    log_probs, reference = -random.exponential(size=(2, 3, 2))
    (batch,) = batches(PAIRS, 4, beta=0.5, padding=0, reference=reference)
    filled = np.concatenate([log_probs, [[-7.0, -9.0]]])  # a row that fills up counts nowhere
    found = {name: float(value) for name, value in pair_figures(jnp.asarray(filled), batch).items()}
    weights = np.array([1.0, 3.0, 1.0]) / 5.0
    mass = [np.log(np.exp(part).sum(axis=1)) for part in (log_probs, reference)]
    ratio = np.exp(log_probs - reference)
    expected = {
        "chosen_log_prob": weights @ log_probs[:, 0],
        "rejected_log_prob": weights @ log_probs[:, 1],
        "chosen_reward": 0.5 * weights @ (log_probs - reference)[:, 0],
        "rejected_reward": 0.5 * weights @ (log_probs - reference)[:, 1],
        "pair_mass": weights @ (mass[0] - mass[1]),
        "kl": weights @ (ratio - 1 - np.log(ratio)).mean(axis=1),
        "length": weights @ np.array([3.0, 3.5, 2.5]),
    }
    assert found == pytest.approx(expected, rel=1e-5)


def test_the_divergence_is_unbiased_and_never_negative():
    """Of pairs drawn from the proximal centre: KL(centre, policy), whatever the lengths."""
    random = np.random.default_rng(0)
    centre, policy = (np.log(random.dirichlet(np.ones(6))) for _ in range(2))
    drawn = random.choice(6, p=np.exp(centre), size=(1_000, 2))
    pairs = [Preference((2,), (3, 1), (4, 1))] * len(drawn)
    (batch,) = batches(pairs, len(pairs), beta=1.0, padding=0, reference=centre[drawn])
    found = pair_figures(jnp.asarray(policy[drawn]), batch)["kl"]
    ratio = np.exp(policy - centre)
    spread = np.sqrt(np.exp(centre) @ (ratio - 1 - np.log(ratio)) ** 2 / drawn.size)
    assert float(found) == pytest.approx(np.exp(centre) @ (centre - policy), abs=4 * spread)
    # As near as single precision: what is left is rounding, and no negative number.
    (one,) = batches(PAIRS, 3, beta=1.0, padding=0, reference=np.full((3, 2), -250.0))
    near = jnp.full((3, 2), -250.0, "float32") + jnp.float32(3e-5)
    assert 0.0 <= float(pair_figures(near, one)["kl"]) < 1e-8
    # A response that became e^200 times as likely leaves a number, too.
    assert np.isfinite(float(pair_figures(jnp.full((3, 2), -50.0), one)["kl"]))


def test_entropy_is_a_mean_over_the_tokens_of_both_responses():
    logits = np.random.default_rng(0).normal(scale=4.0, size=(4, 2, 16, 7))
    (batch,) = batches(PAIRS, 4, beta=1.0, padding=0)
    found = mean_entropy(token_entropy(jnp.asarray(logits)), batch)
    entropies: Any = stats.entropy(softmax(logits, axis=-1), axis=-1)
    given = [[len(pair.winner), len(pair.loser)] for pair in PAIRS]
    counted = [
        (pair.weight, entropies[row, side, :tokens])
        for row, pair in enumerate(PAIRS)
        for side, tokens in enumerate(given[row])
    ]
    total = sum(weight * part.sum() for weight, part in counted)
    assert float(found) == pytest.approx(
        total / sum(weight * len(part) for weight, part in counted), rel=1e-5
    )
    assert not np.any(jax.grad(lambda x: token_entropy(x).sum())(jnp.asarray(logits)))


def test_responses_that_ended_and_that_say_the_same_again():
    pairs = [
        Preference((2,), (3, 4, 5, 6, 3, 4, 5, 6, 1), (3, 3, 3), weight=3.0),
        Preference((2,), (3, 4, 5, 8), (9, 9, 9, 9, 9, 9, 9, 7)),
    ]
    # Of six phrases the first is said twice; of five the first comes four times.
    repeated = np.array([[1 / 6, 0.0], [0.0, 3 / 5]]).mean(axis=1)
    found = response_figures(pairs, (1, 7))
    assert found == pytest.approx({"ended": 0.5, "repetition": np.array([0.75, 0.25]) @ repeated})
    alone = [Preference((2,), (1,), (3,), weight=0.0)]
    assert response_figures(alone, (1,)) == {"ended": 0.5, "repetition": 0.0}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_run_says_which_of_its_updates_are_lost(dtype, tmp_path):
    model = tiny.model(num_layers=1)
    for _, leaf in stored_parameters.named(model.network):
        leaf.set_value(leaf.get_value().astype(dtype))
    tuning = FineTuning(1e-5, batch=3, epochs=10, warmup=0.0)
    with jax.enable_x64(False):
        if dtype == "bfloat16":
            with pytest.warns(StepsRounded):
                trainer = ProximalTrainer(model.network, apo.DPO(), tuning, padding=0)
        else:
            trainer = ProximalTrainer(model.network, apo.DPO(), tuning, padding=0)
        reference = trainer.log_probs(PAIRS)
        log = trainer.step(PAIRS, reference, beta=0.1, seed=0)
    shares = [row.lost_updates for row in log if row.lost_updates is not None]
    assert len(shares) == len(log)
    assert log[0].chosen_reward == pytest.approx(0.0, abs=1e-2) and log[0].gradient
    assert log[0].entropy is not None
    assert 0.0 < log[0].entropy < np.log(model.network.config.vocab_size)
    assert max(shares) < 0.1 if dtype == "float32" else min(shares) > 0.6
    (tmp_path / "results.json").write_text(
        json.dumps({"rows": [], "steps": as_plain(log), "pairs": [3]})
    )
    seen = explain(tmp_path, beta=0.1).effects
    assert (Effect.LOST_UPDATES in seen) == (dtype == "bfloat16")
