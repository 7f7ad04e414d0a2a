"""Policies, rewards and weights to try every geometry on, and its functions, compiled once."""

import functools

import jax
import numpy as np

from apo_sim.geometry import (
    KL,
    AlphaDivergence,
    Burg,
    ChiSquareKL,
    Euclidean,
    ForwardKL,
    JensenShannon,
    MixedChiSquare,
    Tsallis,
)

# The same shape everywhere, so that every function is compiled once.
ROWS, ARMS = 200, 5
GENERATORS = {
    "kl": KL(),
    "tsallis": Tsallis(0.5),
    "tsallis near burg": Tsallis(0.05),
    "tsallis near kl": Tsallis(0.95),
    "burg": Burg(),
    "chi square and kl": ChiSquareKL(),
    "euclidean": Euclidean(),
}
LINKS = {
    "forward kl": ForwardKL(),
    "jensen shannon": JensenShannon(),
    "alpha": AlphaDivergence(0.5),
    "alpha near kl": AlphaDivergence(0.05),
    "mixed chi square": MixedChiSquare(),
}
EVERY = GENERATORS | LINKS
LEGENDRE = {name: geometry for name, geometry in EVERY.items() if geometry.legendre}
# One of every way to a normaliser and its derivatives.
KINDS = ("kl", "tsallis", "chi square and kl", "euclidean", "forward kl", "jensen shannon")
KINDS += ("mixed chi square",)
LEAST = -690.0


def policies(rng, spread=(0.1, 1.0, 5.0), rare=False, rows=ROWS, arms=ARMS):
    """Log-probabilities, some near uniform, some near an arm; with arms of 1e-300 if rare."""
    logits = rng.normal(size=(rows, arms)) * rng.choice(spread, size=(rows, 1))
    if rare:
        unlikely = rng.random((rows, arms)) < 0.3
        unlikely[:, 0] = False
        logits = np.where(unlikely, rng.uniform(LEAST, -300.0, (rows, arms)), logits)
        logits = rng.permuted(logits, axis=1)
    logits = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
    return np.maximum(logits, LEAST)


def rewards(rng, rows=ROWS, arms=ARMS):
    """Some of them tied."""
    drawn = rng.uniform(-1.0, 1.0, (rows, arms))
    return np.where(rng.random((rows, 1)) < 0.2, np.round(drawn), drawn)


@functools.cache
def prox(name):
    """The step of every row, with a beta and a reference policy of its own."""

    def one(log_centre, reward, beta, log_ref):
        return EVERY[name].at(log_ref).prox(log_centre, reward, beta)

    compiled = jax.jit(jax.vmap(one))
    return lambda *arrays: np.asarray(compiled(*arrays))


@functools.cache
def scores(name):
    compiled = jax.jit(lambda policy, centre, ref: EVERY[name].at(ref).score(policy, centre))
    return lambda *arrays: np.asarray(compiled(*arrays))


@functools.cache
def divergences(name):
    compiled = jax.jit(lambda policy, centre, ref: EVERY[name].at(ref).divergence(policy, centre))
    return lambda *arrays: np.asarray(compiled(*arrays))


def total_variation(log_p, log_q):
    return 0.5 * np.abs(np.exp(log_p) - np.exp(log_q)).sum(axis=-1)
