"""Win counts: their multinomial law, and what they do not depend on."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import apo_sim as apo
from apo_sim.preferences import win_counts

BANDIT = apo.Bandit(jnp.array([[0.9, 0.1, 0.1, -0.7]]), jnp.log(jnp.array([[0.4, 0.3, 0.2, 0.1]])))


@jax.jit
@functools.partial(jax.vmap, in_axes=(0, None, None, None))
def draw(key, cells, context_probs, samples):
    return win_counts(key, cells, context_probs, samples)


@pytest.mark.parametrize("samples", [40, 10_000])
def test_win_counts_chi_square(samples):
    bandit = apo.Bandit(
        jnp.array([[0.5, -0.5, 0.0], [1.0, 0.0, -1.0]]),
        jnp.log(jnp.array([[0.2, 0.3, 0.5], [0.6, 0.3, 0.1]])),
        jnp.array([0.25, 0.75]),
    )
    cells = apo.Pairwise().cells(bandit, bandit.log_ref)
    keys = jax.random.split(jax.random.key(samples), 2000)
    wins = np.asarray(draw(keys, cells, bandit.context_probs, float(samples)))
    assert np.all(wins.sum(axis=(1, 2, 3)) == samples)
    law = np.asarray(bandit.context_probs[:, None, None] * cells).ravel()
    assert stats.chisquare(wins.sum(0).ravel(), law * wins.sum()).pvalue > 1e-4
    # Each count by itself is binomial, not only their sum over the repetitions.
    spread = wins.reshape(len(wins), -1).var(axis=0) / (samples * law * (1 - law))
    assert np.abs(spread - 1).max() < 0.25


def test_win_counts_of_a_context_ignore_the_others():
    cells = apo.Pairwise().cells(BANDIT, BANDIT.log_ref)
    key = jax.random.key(2)
    first = win_counts(key, cells, jnp.ones(1), 10**9)
    again = jax.vmap(lambda k: win_counts(k, cells, jnp.ones(1), 10**9))(key[None])[0]
    assert np.array_equal(first, again)


GOOD = {
    "key": jax.random.key(0),
    "cells": np.full((1, 2, 2), 0.25),
    "context_probs": np.ones(1),
    "samples": 10,
}


def test_a_law_is_drawn_from():
    assert float(win_counts(**GOOD).sum()) == 10.0


@pytest.mark.parametrize(
    ("argument", "bad"),
    [
        ("key", 0),
        ("cells", np.full((1, 2, 3), 0.1)),
        ("cells", np.array([[[-0.1, 0.6], [0.25, 0.25]]])),
        ("cells", np.array([[[np.nan, 0.5], [0.25, 0.25]]])),
        ("context_probs", np.ones(2)),
        ("context_probs", np.array([-1.0])),
        ("samples", 0),
        ("samples", 2.5),
        ("samples", 10**13),
        ("samples", [10]),
    ],
)
def test_what_is_no_law_is_refused(argument, bad):
    with pytest.raises(apo.InvalidArgument) as caught:
        win_counts(**{**GOOD, argument: bad})
    assert caught.value.argument == argument


def test_many_samples_in_single_precision():
    with jax.enable_x64(False):
        cells = jnp.full((1, 2, 2), 0.25, jnp.float32)
        wins = win_counts(jax.random.key(0), cells, jnp.ones(1, jnp.float32), 10**12)
    assert wins.dtype == jnp.float32
    assert float(wins.sum()) == pytest.approx(1e12, rel=1e-6)
