"""Sampled preferences in geometries other than KL: arms and contexts that nobody compares."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import apo_sim as apo
from apo_sim import families
from apo_sim.geometry import NAMED

THREE = families.uniform_bandit(jax.random.key(0), contexts=3, arms=4)
KEY = jax.random.key(1)


LEARNING = [
    *((name, apo.DPO()) for name in NAMED),
    *((name, apo.SPPO()) for name in ("tsallis", "chi_square_kl", "euclidean")),
]


@pytest.mark.parametrize(("name", "loss"), LEARNING)
def test_many_labels_learn_what_exact_preferences_do(name, loss):
    settings: dict[str, Any] = {"beta": 0.5, "iterations": 3, "geometry": NAMED[name]}
    exact = apo.run(THREE, loss, apo.Constant(0.3), **settings)
    sampled = apo.run(THREE, loss, apo.Constant(0.3), samples=10**9, key=KEY, **settings)
    apart = np.abs(np.exp(exact.final_log_policy) - np.exp(sampled.final_log_policy))
    assert apart.max() < 2e-3
    moved = np.abs(np.exp(exact.final_log_policy) - np.exp(THREE.log_ref))
    assert moved.max() > 0.05


@pytest.mark.parametrize("name", ["kl", "chi_square_kl"])
def test_problems_side_by_side_are_single_runs(name):
    """Each with a reference of its own, which some geometries are relative to."""

    def one(reward, log_ref, key):
        problem = dataclasses.replace(THREE, reward=reward, log_ref=log_ref)
        settings: dict[str, Any] = {"beta": 1.0, "iterations": 3, "geometry": NAMED[name]}
        return apo.run(problem, samples=30, key=key, **settings).final_log_policy

    rewards = jax.random.uniform(jax.random.key(2), (2, 3, 4))
    references = jax.nn.log_softmax(jax.random.normal(jax.random.key(3), (2, 3, 4)), axis=-1)
    keys = jax.random.split(KEY)
    together = np.exp(jax.vmap(one)(rewards, references, keys))
    for lane in range(2):
        alone = np.exp(one(rewards[lane], references[lane], keys[lane]))
        np.testing.assert_allclose(together[lane], alone, rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", ["kl", "tsallis", "chi_square_kl", "euclidean", "euclidean_agile"])
def test_long_steps_lose_no_arm_to_a_constant(name):
    """Where nearly all mass is on one arm, groups of arms have none, and no say in who wins."""
    problem = families.uniform_bandit(jax.random.key(4), contexts=1, arms=4)

    def gaps_of(key, beta):
        settings: dict[str, Any] = {"iterations": 8, "samples": 1_000, "geometry": NAMED[name]}
        return apo.run(
            problem, momentum=apo.Constant(0.9), beta=beta, key=key, **settings
        ).suboptimality

    betas = jnp.repeat(jnp.array([1e-4, 1e-2]), 8)
    gaps = np.asarray(jax.vmap(gaps_of)(jax.random.split(KEY, 16), betas))
    assert np.isfinite(gaps).all()
    if name in ("kl", "euclidean", "euclidean_agile"):
        # The first data compare all arms, and nothing else is drawn ever after: who wins them stays
        # the winner. (Elsewhere rare arms go on being drawn, and few data may raise one.)
        assert np.all(gaps[:, -1] <= gaps[:, 0] + 1e-6)


def test_arms_without_mass_keep_it_as_they_are():
    geometry = apo.Euclidean()
    dual = jnp.array([[0.7, 0.3, -0.2, -0.5]])
    reward = jnp.array([[0.4, -0.4, 0.3, -0.1]])
    gone = jnp.array([[False, False, True, True]])
    shift = geometry.shift(dual, reward, 2.0, gone)
    after = geometry.step(dual, reward - shift[:, None], 2.0)
    # None of them rises above where it was, so that the others' normaliser leaves them at 0.
    assert np.all(np.asarray(after)[gone] <= np.asarray(dual)[gone] + 1e-15)
    some = geometry.shift(dual, reward, 2.0, ~gone)
    kept = geometry.policy(geometry.step(dual, jnp.where(gone, shift, reward - some), 2.0))
    assert np.exp(kept)[0, 2:].tolist() == [0.0, 0.0]
