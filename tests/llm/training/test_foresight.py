"""Warnings before the time is spent: steps that the dtype swallows, a beta without effect."""

import dataclasses
import warnings
from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from flax import nnx

import apo_sim as apo
from apo_sim import llm
from apo_sim.llm.data.preference_pairs import Preference
from apo_sim.llm.models import tiny
from apo_sim.llm.training.foresight import lost_share, warn_of_beta, warn_of_rounding
from apo_sim.llm.training.step import FineTuning, ProximalTrainer

pytestmark = pytest.mark.llm

PAIRS = [
    Preference((2, 3, 4), (5, 6, 7, 1), (8, 1)),
    Preference((9,), (5, 1), (8, 9, 10, 11, 1)),
    Preference((4, 4), (6, 1), (7, 7, 1)),
]
WEIGHTS = 0.02 * np.random.default_rng(0).normal(size=1000)


@pytest.mark.parametrize(
    ("dtype", "rate", "warned"),
    [
        ("bfloat16", 5e-7, True),
        ("bfloat16", 1e-3, False),
        ("float32", 5e-7, False),
        ("float32", 1e-11, True),
    ],
)
def test_steps_that_the_dtype_swallows_are_foretold(dtype, rate, warned):
    kind = np.dtype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)
    weights: Any = WEIGHTS.astype(kind)
    expected = np.mean(weights + np.asarray(rate, kind) == weights)
    trained = {"weights": jnp.asarray(weights)}
    assert lost_share(trained, rate) == pytest.approx(expected, abs=1e-6)
    if not warned:
        return warn_of_rounding(trained, rate)  # an error, if it warned
    with pytest.warns(llm.StepsRounded, match=f"{dtype}, which keeps .*{expected:.0%} of them"):
        warn_of_rounding(trained, rate)


def test_a_beta_without_effect_is_foretold():
    """Where it warns, two betas lead to one policy, and where it does not, to two."""
    model = tiny.model(num_layers=1)
    with jax.enable_x64(False):
        trainer = ProximalTrainer(
            model.network, apo.DPO(), FineTuning(1e-5, warmup=0.0, batch=3, epochs=20), padding=0
        )
        start = jax.tree.map(jnp.copy, nnx.state(model.network))
        reference = trainer.log_probs(PAIRS)

        def ratios(rate, beta):
            """How far each winner ends ahead of its loser, in nats."""
            nnx.update(model.network, jax.tree.map(jnp.copy, start))
            trainer.tuning = dataclasses.replace(trainer.tuning, learning_rate=rate)
            trainer.step(PAIRS, reference, beta=beta, seed=0)
            moved = trainer.log_probs(PAIRS) - reference
            return moved[:, 0] - moved[:, 1]

        betas = 0.1, 0.4
        with warnings.catch_warnings(record=True) as heard:
            warnings.simplefilter("always")
            near = [ratios(1e-5, beta) for beta in betas]
            told = len(heard)
            far = [ratios(1e-2, beta) for beta in betas]
    said = [place for place, one in enumerate(heard) if one.category is llm.BetaWithoutEffect]
    assert len(said) == 2 and max(said) < told
    assert all(
        f"beta = {beta} hardly counts" in str(heard[place].message)
        for beta, place in zip(betas, said, strict=True)
    )
    assert 0 < max(beta * ratio.mean() for beta, ratio in zip(betas, near, strict=True)) < 0.2
    np.testing.assert_allclose(*near, rtol=0.05)
    assert far[0].mean() > 2 * far[1].mean() > 2


def test_only_losses_that_begin_straight_are_judged():
    rates = np.full(10, 1e-4)
    for objective in (llm.simpo(), llm.xpo(), llm.Objective(apo.IPO()), llm.Objective(apo.SPPO())):
        warn_of_beta(objective, 0.1, 1.0, rates)
    with pytest.warns(llm.BetaWithoutEffect):
        warn_of_beta(llm.Objective(), 0.1, 1.0, rates)
