"""Small problems with ties, and how a draw is held against a law."""

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

import apo_sim as apo

LEVEL = 1e-4
PAIRS = 200_000


def problem_of(kind, contexts, levels=3, arms=4):
    """Rewards or win rates on few levels, so that arms tie."""
    rng = np.random.default_rng(contexts)
    shape = (contexts, arms)
    log_ref = jax.nn.log_softmax(jnp.asarray(rng.normal(size=shape)), axis=1)
    probs = jnp.asarray(rng.dirichlet(np.full(contexts, 5.0)))
    reward = jnp.asarray(rng.integers(levels, size=shape).astype(float))
    if kind == "bandit":
        return apo.Bandit(reward, log_ref, probs)
    # Arms of one level have the same rows, hence the same win rate against any policy.
    return apo.Game(jax.nn.sigmoid(0.7 * (reward[:, :, None] - reward[:, None, :])), log_ref, probs)


def p_value(found, law):
    """Of a chi-square test; what cannot be drawn must not have been."""
    assert not found[law <= 1e-12].any()
    seen = law > 1e-12
    return stats.chisquare(found[seen], law[seen] / law[seen].sum() * found.sum()).pvalue


def tallied(rows, shape):
    """How often each (context, winner, loser) is in a list of pairs."""
    found = np.zeros(shape)
    np.add.at(found, tuple(map(np.asarray, rows)), 1.0)
    return found


def shifted(law):
    """A law that is off by three hundredths in one place: the control."""
    wrong = np.array(law)
    wrong[np.unravel_index(np.argmax(wrong), wrong.shape)] += 0.03
    return wrong
