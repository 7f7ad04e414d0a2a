"""Scored responses: their law, and samples of it."""

import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import apo_sim as apo
from apo_sim.methods import Request
from apo_sim.methods.requests_of_rewards import ScoredResponses

sys.path.insert(0, str(Path(__file__).parent))
from rewards_by_hand import a_bandit

BANDIT = a_bandit()


def test_the_law_is_what_is_drawn():
    request = ScoredResponses()
    assert isinstance(request, Request)
    law = request.exact(BANDIT, BANDIT.log_ref)
    by_hand = np.asarray(BANDIT.context_probs)[:, None] * np.exp(BANDIT.log_ref)
    np.testing.assert_allclose(law.drawn, by_hand, rtol=1e-14)
    keys = jax.random.split(jax.random.key(1), 400)
    draw = jax.vmap(lambda key: request.draw(key, BANDIT, BANDIT.log_ref, 50.0).drawn)
    drawn = np.asarray(draw(keys))
    np.testing.assert_array_equal(drawn.sum(axis=(1, 2)), 50.0)
    error = np.sqrt(50 * by_hand * (1 - by_hand) / len(keys))
    assert (abs(drawn.mean(axis=0) - 50 * by_hand) < 5 * error).all()


def test_rewards_of_arms_too_rare_for_a_float_are_known():
    rare = apo.Bandit(jnp.array([[1.0, 0.0]]), jnp.array([[-800.0, 0.0]]))
    law = ScoredResponses().exact(rare, rare.log_ref)
    np.testing.assert_allclose(law.advantage, [[1.0, 0.0]])
