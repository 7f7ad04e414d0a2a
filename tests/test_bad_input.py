"""Bad input: every message names the argument, its value and the remedy, and nothing compiles.

The cases run in a process of their own, by this very file as a script: without the run-time check
of annotations, in single precision, as a user's would.
"""

import contextlib
import json
import os
import pathlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import apo_sim as apo
from apo_sim import families, policies, theory

HALF = np.log([[0.5, 0.5]])
REWARD = np.array([[1.0, 0.0]])
# For arguments that no type checker lets through.
UNTYPED_TRAIN: Any = apo.train
EVEN = np.full((1, 2, 2), 0.5)


def bandit(reward: Any = REWARD, log_ref: Any = HALF, context_probs: Any = None):
    return apo.Bandit(reward, log_ref, context_probs)


def game(preference: Any = EVEN, log_ref: Any = HALF, context_probs: Any = None):
    return apo.Game(preference, log_ref, context_probs)


def run(problem: Any = None, *args: Any, **kwargs: Any):
    problem = bandit() if problem is None else problem
    return apo.run(problem, *args, **{"beta": 1.0, "iterations": 3, **kwargs})


def sample(**kwargs: Any):
    return run(**{"samples": 10, "key": KEY, **kwargs})


def train(policy: Any = policies.Table(1, 2), **kwargs: Any):
    return apo.train(bandit(), policy, **{"beta": 1.0, "iterations": 3, "key": KEY, **kwargs})


def train_by(**kwargs: Any):
    return train(step=apo.ByGradient(**kwargs))


class NumpyPolicy:
    def init(self, key: Any) -> Any:
        return jnp.zeros((1, 2))

    def log_prob(self, params: Any) -> Any:
        return np.log(np.exp(params) / 2)


class StringLoss:
    def __call__(self, h_winner: Any, h_loser: Any, extra: Any) -> Any:
        return h_winner**2 + h_loser**2


class NoRule:
    def init(self, tree: Any) -> Any:
        return tree


class NoRanker:
    pass


def traced(function: Callable[[Any], Any], value: Any) -> Any:
    return jax.jit(function)(value)


KEY = jax.random.key(0)
KEYS = jax.random.split(KEY, 2)
PLANE: Any = np.zeros((1, 2, 2))


# name: (what to call, argument named, parts of the message)
CASES: dict[str, tuple[Callable[[], Any], str, tuple[str, ...]]] = {
    # Problems
    "reward NaN": (
        lambda: bandit([[np.nan, 0.0]]),
        "reward",
        ("not finite at index (0, 0)", "replace NaN"),
    ),
    "reward infinite": (
        lambda: bandit([[0.0, np.inf]]),
        "reward",
        ("not finite at index (0, 1)", "finite numbers"),
    ),
    "reward one-dimensional": (
        lambda: bandit([1.0, 0.0]),
        "reward",
        ("[1.0, 0.0] has shape (2,)", "shape (any, any)"),
    ),
    "reward complex": (
        lambda: bandit([[1j, 0.0]]),
        "reward",
        ("1j", "has dtype complex", "real floating-point"),
    ),
    "reward of strings": (
        lambda: bandit([["a", "b"]]),
        "reward",
        ("[['a', 'b']] is not an array", "pass numbers"),
    ),
    "reward of objects": (
        lambda: bandit([[None, object()]]),
        "reward",
        ("is not an array", "pass numbers"),
    ),
    "reward ragged": (lambda: bandit([[1.0, 2.0], [1.0]]), "reward", ("is not an array",)),
    "reward of booleans": (lambda: bandit([[True, False]]), "reward", ("has dtype bool",)),
    "reward missing": (lambda: bandit(None), "reward", ("None", "pass")),
    "reward empty": (
        lambda: bandit(np.zeros((0, 2)), np.zeros((0, 2))),
        "reward",
        ("has shape (0, 2)", "none empty"),
    ),
    "reward of one arm": (
        lambda: bandit([[1.0]], [[0.0]]),
        "reward",
        ("[[1.0]] has only one arm", "at least two arms"),
    ),
    "log_ref of another shape": (
        lambda: bandit(log_ref=np.log(np.full((1, 3), 1 / 3))),
        "log_ref",
        ("has shape (1, 3)", "shape (1, 2)"),
    ),
    "log_ref of probabilities": (
        lambda: bandit(log_ref=[[0.5, 0.5]]),
        "log_ref",
        ("does not normalise (log of the sum is 1.19)", "jax.nn.log_softmax(log_ref"),
    ),
    "log_ref without mass": (
        lambda: bandit(log_ref=[[0.0, -np.inf]]),
        "log_ref",
        ("not finite at index (0, 1)", "give every arm some mass"),
    ),
    "log_ref NaN": (lambda: bandit(log_ref=[[np.nan, 0.0]]), "log_ref", ("not finite",)),
    "context_probs negative": (
        lambda: bandit(np.zeros((2, 2)), np.log(np.full((2, 2), 0.5)), [1.5, -0.5]),
        "context_probs",
        ("is not a distribution (sum 1, least -0.5)", "divide non-negative weights"),
    ),
    "context_probs not normalised": (
        lambda: bandit(context_probs=[0.5]),
        "context_probs",
        ("sum 0.5", "divide"),
    ),
    "context_probs too many": (
        lambda: bandit(context_probs=[0.5, 0.5]),
        "context_probs",
        ("has shape (2,)", "shape (1,)"),
    ),
    "preference not antisymmetric": (
        lambda: game([[[0.5, 0.9], [0.2, 0.5]]]),
        "preference",
        ("not antisymmetric", "differs from 1 by 0.1", "set P[x, j, i] = 1 - P[x, i, j]"),
    ),
    "preference with a diagonal": (
        lambda: game([[[1.0, 0.9], [0.1, 0.5]]]),
        "preference",
        ("not antisymmetric", "1/2 on the diagonal"),
    ),
    "preference outside [0, 1]": (
        lambda: game([[[0.5, 1.2], [-0.2, 0.5]]]),
        "preference",
        ("lies outside [0, 1]", "pass the probabilities"),
    ),
    "preference not square": (
        lambda: game(np.full((1, 2, 3), 0.5)),
        "preference",
        ("is not square", "pass (X, K, K)"),
    ),
    "preference NaN": (
        lambda: game([[[0.5, np.nan], [0.5, 0.5]]]),
        "preference",
        ("not finite at index (0, 0, 1)",),
    ),
    "preference two-dimensional": (
        lambda: game(np.full((2, 2), 0.5)),
        "preference",
        ("has shape (2, 2)", "(any, any, any)"),
    ),
    "preference of one arm": (
        lambda: game([[[0.5]]], [[0.0]]),
        "preference",
        ("only one arm",),
    ),
    # Losses and momentum rules
    "tau zero": (lambda: apo.IPO(0.0), "tau", ("0.0 must be positive", "above 0")),
    "tau NaN": (lambda: apo.IPO(np.nan), "tau", ("nan must be positive and finite",)),
    "tau a string": (lambda: apo.IPO("1"), "tau", ("'1'", "pass")),  # type: ignore[arg-type]
    "tau an array": (lambda: apo.IPO(jnp.ones(2)), "tau", ("shape (2,)", "pass")),
    "alpha one": (
        lambda: apo.Constant(1.0),
        "alpha",
        ("1.0 lies outside [0, 1)", "unrestricted=True"),
    ),
    "alpha negative": (lambda: apo.Constant(-0.1), "alpha", ("-0.1 lies outside [0, 1)",)),
    "alpha NaN": (lambda: apo.Constant(np.nan), "alpha", ("nan is not finite", "in [0, 1)")),
    "alpha infinite though unrestricted": (
        lambda: apo.Constant(np.inf, unrestricted=True),
        "alpha",
        ("inf is not finite",),
    ),
    "alpha a string": (
        lambda: apo.Constant("0.3"),  # type: ignore[arg-type]
        "alpha",
        ("'0.3' is not an array", "pass numbers"),
    ),
    "alpha missing": (
        lambda: apo.Constant(None),  # type: ignore[arg-type]
        "alpha",
        ("None is not an array", "pass numbers"),
    ),
    "alpha an array": (
        lambda: apo.Constant(jnp.full(3, 0.3)),
        "alpha",
        ("shape (3,) is not a single number", "Schedule(...)"),
    ),
    "alpha above one from behaviour": (
        lambda: apo.FromBehaviour(1.5),
        "alpha",
        ("1.5 lies outside", "unrestricted=True"),
    ),
    "decay one": (lambda: apo.Averaging(1.0), "decay", ("1.0 lies outside [0, 1)",)),
    "decay negative": (lambda: apo.Averaging(-0.5), "decay", ("-0.5", "pass decay in [0, 1)")),
    "schedule outside [0, 1)": (
        lambda: apo.Schedule([0.0, 1.0]),  # type: ignore[arg-type]
        "alphas",
        ("lies outside [0, 1)", "unrestricted=True"),
    ),
    "schedule two-dimensional": (
        lambda: apo.Schedule(np.zeros((2, 2))),  # type: ignore[arg-type]
        "alphas",
        ("has shape (2, 2)", "(any,)"),
    ),
    "schedule of the wrong length": (
        lambda: run(momentum=apo.Schedule([0.1, 0.2])),  # type: ignore[arg-type]
        "alphas",
        ("shape (2,)", "wrong length for iterations = 3", "one alpha for each"),
    ),
    "function schedule of a number": (
        lambda: apo.FunctionSchedule(0.3),  # type: ignore[arg-type]
        "function",
        ("0.3 is not callable", "Schedule(...)"),
    ),
    "best of one": (
        lambda: apo.BestAgainstWorst(1),
        "responses",
        ("1 leaves nothing to rank", "integer >= 2"),
    ),
    "best of 2.5": (
        lambda: apo.BestAgainstWorst(2.5),  # type: ignore[arg-type]
        "responses",
        ("2.5 is not an integer",),
    ),
    # The loop
    "no problem": (lambda: run(REWARD), "problem", ("is not a problem", "apo_sim.Bandit(...)")),
    "problem class": (
        lambda: run(apo.Bandit),
        "problem",
        ("is not a problem", "apo_sim.Bandit(...)"),
    ),
    "unknown loss": (
        lambda: run(loss="dpo"),
        "loss",
        ("'dpo' is not a loss", "such as apo_sim.DPO()"),
    ),
    "loss class": (lambda: run(loss=apo.DPO), "loss", ("is not a loss", "instance")),
    "loss missing": (lambda: run(loss=None), "loss", ("None is not a loss",)),
    "loss not of differences": (
        lambda: run(loss=StringLoss()),
        "loss",
        ("not a scalar function of h_winner - h_loser", "empirical_rewards"),
    ),
    "loss of two arguments": (
        lambda: run(loss=lambda h, g: h - g),
        "loss",
        ("another signature", "loss(h_winner, h_loser, extra)"),
    ),
    "loss not scalar": (
        lambda: run(loss=lambda h, g, extra: jnp.stack([h - g, h - g])),
        "loss",
        ("is not a number for two scores",),
    ),
    "loss with a branch of Python's": (
        lambda: run(loss=lambda h, g, extra: h if h > 0 else g),
        "loss",
        ("cannot be compiled (Attempted boolean conversion", "in JAX"),
    ),
    "loss with a function of NumPy's": (
        lambda: run(loss=lambda h, g, extra: np.square(h - g)),
        "loss",
        ("cannot be compiled (", "in JAX"),
    ),
    "loss not finite at equal scores": (
        lambda: run(loss=lambda h, g, extra: jnp.log(h - g)),
        "loss",
        ("is not finite at equal scores", "0 and below"),
    ),
    "loss with no slope at equal scores": (
        lambda: sample(loss=lambda h, g, extra: jnp.sqrt((h - g) ** 2)),
        "loss",
        ("is not finite at equal scores", "0 and below"),
    ),
    "momentum with a branch of Python's": (
        lambda: run(momentum=apo.FunctionSchedule(lambda t: 0.3 if t > 1 else 0.1)),
        "method",
        ("cannot be compiled (Attempted boolean conversion", "jnp.where for if"),
    ),
    "policy with a function of NumPy's": (
        lambda: train(NumpyPolicy()),
        "method",
        ("cannot be compiled (", "in JAX"),
    ),
    "momentum class": (
        lambda: run(momentum=apo.NoMomentum),
        "momentum",
        ("is not a momentum rule", "instance"),
    ),
    "momentum a number": (
        lambda: run(momentum=0.3),
        "momentum",
        ("0.3 is not a momentum rule", "apo_sim.Constant(0.3)"),
    ),
    "momentum incomplete": (
        lambda: run(momentum=NoRule()),
        "momentum",
        ("is not a momentum rule", "init and extrapolate"),
    ),
    "ranker class": (
        lambda: sample(ranker=apo.Pairwise),
        "ranker",
        ("is not a ranker", "apo_sim.Pairwise()"),
    ),
    "ranker incomplete": (lambda: sample(ranker=NoRanker()), "ranker", ("is not a ranker",)),
    "beta zero": (lambda: run(beta=0.0), "beta", ("0.0 must be positive", "above 0")),
    "beta negative": (lambda: run(beta=-1), "beta", ("-1 must be positive",)),
    "beta NaN": (lambda: run(beta=np.nan), "beta", ("nan is not finite", "replace")),
    "beta infinite": (lambda: run(beta=np.inf), "beta", ("inf is not finite", "replace")),
    "beta underflows": (lambda: run(beta=1e-60), "beta", ("1e-60 must be positive",)),
    "beta a string": (lambda: run(beta="1"), "beta", ("'1'", "pass numbers")),
    "beta missing": (lambda: run(beta=None), "beta", ("None", "pass")),
    "beta of the wrong length": (
        lambda: run(beta=np.ones(4)),
        "beta",
        ("shape (4,)", "wrong length for iterations = 3", "one for each iteration"),
    ),
    "beta two-dimensional": (
        lambda: run(beta=np.ones((3, 1))),
        "beta",
        ("shape (3, 1)", "one for each iteration"),
    ),
    "beta schedule with a zero": (lambda: run(beta=[1.0, 0.0, 1.0]), "beta", ("positive",)),
    "iterations zero": (lambda: run(iterations=0), "iterations", ("0 is not", "integer >= 1")),
    "iterations negative": (lambda: run(iterations=-1), "iterations", ("-1", "integer >= 1")),
    "iterations a fraction": (
        lambda: run(iterations=2.5),
        "iterations",
        ("2.5 is not an integer", "integer >= 1"),
    ),
    "iterations a float": (lambda: run(iterations=2.0), "iterations", ("2.0 is not an integer",)),
    "iterations true": (lambda: run(iterations=True), "iterations", ("True is not a count",)),
    "iterations a string": (lambda: run(iterations="3"), "iterations", ("'3' is not an integer",)),
    "iterations traced": (
        lambda: traced(lambda n: run(iterations=n).tv, 3),
        "iterations",
        ("is traced", "plain integer"),
    ),
    "samples zero": (lambda: sample(samples=0), "samples", ("0 is not a count", ">= 1")),
    "samples negative": (lambda: sample(samples=-3), "samples", ("-3", ">= 1")),
    "samples a fraction": (lambda: sample(samples=2.5), "samples", ("2.5 is not an integer",)),
    "samples a fraction in NumPy": (
        lambda: sample(samples=np.float64(2.5)),
        "samples",
        ("2.5", "is not an integer"),
    ),
    "samples NaN": (lambda: sample(samples=np.nan), "samples", ("nan is not an integer",)),
    "samples infinite": (lambda: sample(samples=np.inf), "samples", ("inf is not an integer",)),
    "samples too many": (
        lambda: sample(samples=10**13),
        "samples",
        ("more than 1e12", "exact preferences"),
    ),
    "samples an array": (
        lambda: sample(samples=jnp.array([10, 20, 30])),
        "samples",
        ("shape (3,) is not a single number", "jax.vmap"),
    ),
    "samples without a key": (
        lambda: run(samples=10),
        "key",
        ("None is missing", "key=jax.random.key(seed)"),
    ),
    "an integer for a key": (lambda: sample(key=0), "key", ("0 is not a random key",)),
    "a key of the old style": (
        lambda: sample(key=np.zeros(2, np.uint32)),
        "key",
        ("is not a random key", "jax.random.key(seed)"),
    ),
    "several keys": (
        lambda: sample(key=KEYS),
        "key",
        ("shape (2,)", "is several keys", "jax.vmap"),
    ),
    "reward_bound zero": (
        lambda: sample(reward_bound=0.0),
        "reward_bound",
        ("0.0 must be positive", "above 0"),
    ),
    "reward_bound infinite": (lambda: sample(reward_bound=np.inf), "reward_bound", ("inf",)),
    "reward_bound an array": (
        lambda: sample(reward_bound=np.ones(2)),
        "reward_bound",
        ("shape (2,) is not a single number", "pass one"),
    ),
    "reward_bound more precise than any of JAX's": (
        lambda: sample(reward_bound=np.longdouble(2)),
        "reward_bound",
        ("2.0", "pass numbers"),
    ),
    "reward_bound a string": (lambda: sample(reward_bound="2"), "reward_bound", ("'2'",)),
    "unknown output": (
        lambda: run(output="befor"),
        "output",
        ("'befor' is unknown", "did you mean 'before'?"),
    ),
    "unhashable output": (lambda: run(output=["before"]), "output", ("is unknown", "'before'")),
    "unknown save": (
        lambda: run(save="paths"),
        "save",
        ("'paths' is unknown", "did you mean 'path'?"),
    ),
    "unknown save among others": (
        lambda: run(save=("path", "everything")),
        "save",
        ("'everything' is unknown", "known: metrics, path, average"),
    ),
    "save a flag": (lambda: run(save=True), "save", ("True is unknown", "known: metrics")),
    # Policies
    "actions two-dimensional": (
        lambda: policies.MLP(np.ones((3, 2))),  # type: ignore[arg-type]
        "actions",
        ("has shape (3, 2)", "(any, any, any)"),
    ),
    "actions NaN": (
        lambda: policies.Gaussian([[[np.nan]]]),  # type: ignore[arg-type]
        "actions",
        ("not finite at index (0, 0, 0)", "replace NaN"),
    ),
    "features of a policy two-dimensional": (
        lambda: policies.LogLinear(np.ones((3, 2))),  # type: ignore[arg-type]
        "features",
        ("has shape (3, 2)",),
    ),
    "unknown activation": (
        lambda: policies.MLP(PLANE, activation="rulu"),
        "activation",
        ("'rulu' is unknown", "did you mean 'relu'?"),
    ),
    "activation a function": (
        lambda: policies.Gaussian(PLANE, activation=jnp.tanh),  # type: ignore[arg-type]
        "activation",
        ("is unknown", "relu"),
    ),
    "no width": (lambda: policies.MLP(PLANE, width=0), "width", ("0 is not a count", ">= 1")),
    "half a layer": (
        lambda: policies.MLP(PLANE, depth=0.5),  # type: ignore[arg-type]
        "depth",
        ("0.5 is not an integer",),
    ),
    "table of no arms": (lambda: policies.Table(1, 0), "arms", ("0 is not a count",)),
    "one token": (
        lambda: policies.Recurrent(1, 3),
        "vocabulary",
        ("1 has only one token", "integer >= 2"),
    ),
    "too many sequences": (
        lambda: policies.Recurrent(10, 5),
        "length",
        ("5 gives 10^5 = 100,000 sequences", "too many to enumerate", "at most 65,536"),
    ),
    "the sequences of a language model": (
        lambda: policies.Attention(50257, 1024),
        "length",
        ("1024 gives 50257^1024 = 10^4814 sequences", "at most 65,536"),
    ),
    # Training
    "policy missing": (
        lambda: train(None),
        "policy",
        ("None is not a policy", "apo_sim.policies.MLP(...)"),
    ),
    "policy class": (lambda: train(policies.Table), "policy", ("is not a policy", "instance")),
    "policy over other arms": (
        lambda: train(policies.Table(1, 3)),
        "policy",
        ("shape (1, 3), the problem (1, 2)", "same contexts and arms"),
    ),
    "policy over other contexts": (
        lambda: train(policies.Table(2, 2)),
        "policy",
        ("shape (2, 2), the problem (1, 2)",),
    ),
    "optimiser for a step": (
        lambda: train(step=apo.AdamW(1e-3)),
        "step",
        ("AdamW", "is no inner training", "apo_sim.ByGradient(...)"),
    ),
    "space class": (
        lambda: train(space=apo.InParameters),
        "space",
        ("is not a space", "apo_sim.InParameters()"),
    ),
    "unknown space": (lambda: train(space="tokens"), "space", ("'tokens' is not a space", "pass")),
    "tokens of a table": (
        lambda: train(space=apo.InTokens()),
        "space",
        ("InTokens() needs a policy over sequences", "apo_sim.policies.Recurrent(...)"),
    ),
    "parameters of another policy": (
        lambda: train(params=np.zeros((1, 3))),
        "params",
        ("shape (1, 3) do not belong to this policy", "policy.init(key)"),
    ),
    "parameters of another kind": (
        lambda: train(params={"weight": np.zeros((1, 2))}),
        "params",
        ("do not belong to this policy",),
    ),
    "training without a key": (
        lambda: train(key=None),
        "key",
        ("None is not a random key", "key=jax.random.key(seed)"),
    ),
    "training with several keys": (lambda: train(key=KEYS), "key", ("is several keys", "vmap")),
    "training from what is not a state": (
        lambda: train(state="there"),
        "state",
        ("'there' is not a state", "the state of a Solution"),
    ),
    "training of no problem": (
        lambda: UNTYPED_TRAIN(REWARD, policies.Table(1, 2), beta=1.0, iterations=3, key=KEY),
        "problem",
        ("is not a problem",),
    ),
    "training for no iterations": (
        lambda: train(iterations=0),
        "iterations",
        ("0 is not a count",),
    ),
    "training with a loss of two arguments": (
        lambda: train(loss=lambda h, g: h - g),
        "loss",
        ("another signature", "loss(h_winner, h_loser, extra)"),
    ),
    "training with beta zero": (lambda: train(beta=0.0), "beta", ("0.0 must be positive",)),
    "training beyond its schedule": (
        lambda: train(momentum=apo.Schedule([0.1, 0.2])),  # type: ignore[arg-type]
        "alphas",
        ("shape (2,)", "wrong length for iterations = 3"),
    ),
    "training on a fraction of a sample": (
        lambda: train(samples=2.5),
        "samples",
        ("2.5 is not an integer",),
    ),
    "training on traced samples": (
        lambda: traced(lambda n: train(samples=n).tv, 10),
        "samples",
        ("is traced", "plain integer"),
    ),
    "training that saves what is not there": (
        lambda: train(save="average"),
        "save",
        ("'average' is unknown", "known: metrics, path"),
    ),
    "no inner steps": (lambda: train_by(steps=0), "steps", ("0 is not a count", ">= 1")),
    "half an inner step": (lambda: train_by(steps=0.5), "steps", ("0.5 is not an integer",)),
    "no batch": (lambda: train_by(batch=0), "batch", ("0 is not a count",)),
    "batches of exact preferences": (
        lambda: train_by(batch=8),
        "batch",
        ("8 needs sampled pairs", "pass samples, or leave out batch"),
    ),
    "tolerance of batches": (
        lambda: train_by(batch=8, tolerance=1e-3),
        "tolerance",
        ("0.001 is never reached", "leave out tolerance or batch"),
    ),
    "tolerance zero": (lambda: train_by(tolerance=0.0), "tolerance", ("0.0 must be positive",)),
    "tolerance NaN": (lambda: train_by(tolerance=np.nan), "tolerance", ("nan must be",)),
    "several tolerances": (
        lambda: train_by(tolerance=np.ones(2)),
        "tolerance",
        ("shape (2,) is not a single number",),
    ),
    "optimiser class": (
        lambda: train_by(optimizer=apo.AdamW),
        "optimizer",
        ("is not an optimiser", "apo_sim.AdamW(1e-3)"),
    ),
    "unknown optimiser": (
        lambda: train_by(optimizer="adam"),
        "optimizer",
        ("'adam' is not an optimiser", "or one of optax"),
    ),
    "learning rate negative": (
        lambda: apo.SGD(-0.1),
        "learning_rate",
        ("-0.1 must be positive", "above 0"),
    ),
    "learning rate NaN": (lambda: apo.AdamW(np.nan), "learning_rate", ("nan must be positive",)),
    "learning rate a schedule": (
        lambda: apo.RMSProp(lambda step: 0.1),  # type: ignore[arg-type]
        "learning_rate",
        ("is not an array", "pass numbers"),
    ),
    "inner momentum one": (
        lambda: apo.SGD(0.1, 1.0),
        "momentum",
        ("1.0 lies outside [0, 1)", "pass momentum in [0, 1)"),
    ),
    "b1 negative": (lambda: apo.AdamW(0.1, -0.1), "b1", ("-0.1 lies outside [0, 1)",)),
    "weight decay negative": (
        lambda: apo.AdamW(0.1, weight_decay=-0.1),
        "weight_decay",
        ("-0.1 must be finite and at least 0", "pass a number"),
    ),
    # Families
    "family of no contexts": (
        lambda: families.uniform_bandit(KEY, contexts=0),
        "contexts",
        ("0 is not a count", "integer >= 1"),
    ),
    "family of one arm": (
        lambda: families.random_game(KEY, arms=1),
        "arms",
        ("1 leaves nothing to compare", "integer >= 2"),
    ),
    "family of 2.5 arms": (
        lambda: families.uniform_reference(1, 2.5),  # type: ignore[arg-type]
        "arms",
        ("2.5 is not an integer",),
    ),
    "family that contradicts its reference": (
        lambda: families.uniform_bandit(KEY, arms=3, log_ref=HALF),
        "arms",
        ("3 differs from that of log_ref, 2", "leave arms out"),
    ),
    "family of a reference that does not normalise": (
        lambda: families.uniform_bandit(KEY, log_ref=np.zeros((1, 2))),
        "log_ref",
        ("does not normalise",),
    ),
    "family without a key": (
        lambda: families.uniform_bandit(0),
        "key",
        ("0 is not a random key", "key=jax.random.key(seed)"),
    ),
    "gap above 2": (
        lambda: families.gap_bandit(KEY, 2.5),
        "gap",
        ("2.5 is not in [0, 2]", "pass a number in [0, 2]"),
    ),
    "gap NaN": (lambda: families.gap_bandit(KEY, np.nan), "gap", ("nan is not in [0, 2]",)),
    "gap for other contexts": (
        lambda: families.gap_bandit(KEY, np.ones(3), contexts=2),
        "gap",
        ("has shape (3,)", "shape (2,)"),
    ),
    "two levels without mass": (
        lambda: families.two_level_bandit(gap=1.0),
        "p_star",
        ("both missing", "pass one of them"),
    ),
    "two levels with all mass": (
        lambda: families.two_level_bandit(1.0),
        "p_star",
        ("1.0 leaves no mass", "below 1"),
    ),
    "two levels with mass zero": (
        lambda: families.two_level_bandit(0.0),
        "p_star",
        ("0.0 is not in (0, 1]",),
    ),
    "two levels with no gap": (
        lambda: families.two_level_bandit(0.1, gap=0.0),
        "gap",
        ("0.0 must be positive",),
    ),
    "no levels": (lambda: families.tied_bandit(KEY, 0), "levels", ("0 is not a count",)),
    "features two-dimensional": (
        lambda: families.linear_bandit(KEY, np.ones((2, 3))),
        "features",
        ("has shape (2, 3)", "(any, any, any)"),
    ),
    "dominance one half": (
        lambda: families.dominant_game(KEY, dominance=0.5),
        "dominance",
        ("0.5 is not in (0, 1/2)",),
    ),
    "margin negative": (
        lambda: families.transitive_game(KEY, margin=-0.1),
        "margin",
        ("-0.1 is not in (0, 1/2)",),
    ),
    "win_rate of a loser": (
        lambda: families.rock_paper_scissors(0.4),
        "win_rate",
        ("0.4 is not in (1/2, 1]",),
    ),
    "rock, paper, scissors, lizard": (
        lambda: families.rock_paper_scissors(0.9, np.log(np.full((1, 4), 0.25))),
        "arms",
        ("3 differs from that of log_ref, 4",),
    ),
    "spread too wide": (lambda: families.random_game(KEY, spread=0.6), "spread", ("0.6 is not",)),
    "concentration zero": (
        lambda: families.dirichlet_reference(KEY, 1, 2, concentration=0.0),
        "concentration",
        ("0.0 must be positive",),
    ),
    "exponent negative": (
        lambda: families.zipf_reference(KEY, 1, 2, exponent=-1.0),
        "exponent",
        ("-1.0 must be finite and at least 0",),
    ),
    "best_arm out of range": (
        lambda: families.best_arm_reference(KEY, np.array([2]), 2, 0.5),
        "best_arm",
        ("not below arms = 2", "problem.best_arm"),
    ),
    "best_arm a float": (
        lambda: families.best_arm_reference(KEY, np.array([1.0]), 2, 0.5),
        "best_arm",
        ("dtype float", "index of an arm"),
    ),
    # Theory
    "theory: alpha above 1": (
        lambda: theory.weights(1.1, 3),
        "alpha",
        ("1.1 lies outside [0, 1]", "unrestricted=True"),
    ),
    "theory: alpha NaN": (lambda: theory.gamma(np.nan, 1.0, 3), "alpha", ("nan is not finite",)),
    "theory: alpha a string": (
        lambda: theory.weights("0.3", 3),  # type: ignore[arg-type]
        "alpha",
        ("'0.3'", "pass numbers"),
    ),
    "theory: alpha of the wrong length": (
        lambda: theory.weights(np.zeros(2), 3),
        "alpha",
        ("has shape (2,)", "shape (3,)"),
    ),
    "theory: beta zero": (lambda: theory.gamma(0.3, 0.0, 3), "beta", ("0.0 must be positive",)),
    "theory: no iterations": (
        lambda: theory.weights(0.3, 0),
        "iterations",
        ("0 is not a count", "integer >= 1"),
    ),
    "theory: iterations a fraction": (
        lambda: theory.nesterov_schedule(2.5),  # type: ignore[arg-type]
        "iterations",
        ("2.5 is not an integer",),
    ),
    "theory: p_star zero": (
        lambda: theory.sharp_gap(0.0, 1.0),
        "p_star",
        ("0.0 is not in (0, 1]", "pass a number in (0, 1]"),
    ),
    "theory: p_star twice": (
        lambda: theory.sharp_gap(0.5, 1.0, log_p_star=-1.0),
        "p_star",
        ("both given", "pass one of them"),
    ),
    "theory: log_p_star positive": (
        lambda: theory.sharp_gap(None, 1.0, log_p_star=0.5),
        "log_p_star",
        ("0.5 is not at most 0",),
    ),
    "theory: gamma negative": (
        lambda: theory.sharp_tv(0.5, 1.0, -1.0),
        "gamma",
        ("-1.0 must be positive",),
    ),
    "theory: closed form of a game": (
        lambda: theory.exact_policy(game(), 1.0),
        "problem",
        ("has no reward", "pass a Bandit"),
    ),
    "theory: rewards of another shape": (
        lambda: theory.closed_form(bandit(), np.zeros((3, 2, 2)), 0.3, 1.0),
        "rewards",
        ("has shape (3, 2, 2)", "(any, 1, 2)"),
    ),
    "theory: samples zero": (
        lambda: theory.reward_error_bound(0, 1.0, 1.0, 0.1),
        "samples",
        ("0", "pass"),
    ),
    "theory: delta above 1": (
        lambda: theory.reward_error_bound(10, 1.0, 1.0, 1.5),
        "delta",
        ("1.5", "pass"),
    ),
    # Claims
    "unknown claim": (
        lambda: apo.claims.check("LD22"),
        "claim",
        ("'LD22' is unknown", "did you mean 'LD.2'?"),
    ),
    "unknown effort": (
        lambda: apo.claims.check("LD.2", effort="fulll"),
        "effort",
        ("'fulll' is unknown", "did you mean 'full'?"),
    ),
    "seed negative": (
        lambda: apo.claims.check("LD.2", seed=-1),
        "seed",
        ("-1 is not a valid seed", "[0, 2**32)"),
    ),
}


# What JAX calls the moves of arguments and literals onto the device; they hold nothing of ours.
MOVES = {f"jit({name})" for name in ("stage", "convert_element_type", "broadcast_in_dim")}
# Whether a loss sees differences only, and is finite, is found by calling it on numbers, and these
# functions look at one number after they worked on another: single operations, one by one. What a
# rule does to a policy is found by tracing the run, once the first policy is there.
CALLED = {
    "loss not of differences",
    "loss not finite at equal scores",
    "loss with no slope at equal scores",
    "momentum with a branch of Python's",
    "theory: beta zero",
    "theory: gamma negative",
}


@contextlib.contextmanager
def counted_compilations() -> Iterator[list[str]]:
    compiled = []

    def count(event: str, duration_secs: float, **details: str | int) -> None:
        if "backend_compile" in event and details.get("fun_name") not in MOVES:
            compiled.append(str(details.get("fun_name")))

    jax.monitoring.register_event_duration_secs_listener(count)
    yield compiled
    jax.monitoring.unregister_event_duration_listener(count)


def outcome_of(call: Callable[[], Any]) -> dict[str, Any]:
    with counted_compilations() as compiled:
        try:
            call()
            kind, argument, message = None, None, "no error"
        except apo.InvalidArgument as error:
            kind, argument, message = "InvalidArgument", error.argument, str(error)
        except Exception as error:
            kind, argument, message = type(error).__name__, None, str(error)
    return {"kind": kind, "argument": argument, "message": message, "compiled": compiled}


@pytest.fixture(scope="module")
def outcomes():
    root = pathlib.Path(__file__).parents[1]
    # The command line, called by a test of the same process, leaves its precision behind.
    single = {**os.environ, "JAX_ENABLE_X64": "0"}
    done = subprocess.run(
        [sys.executable, __file__], cwd=root, env=single, capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", CASES)
def test_bad_input_is_named(outcomes, name):
    _, argument, parts = CASES[name]
    outcome = outcomes[name]
    assert outcome["kind"] == "InvalidArgument", outcome
    assert outcome["argument"] == argument
    assert outcome["message"].startswith(f"{argument} = ")
    for part in parts:
        assert part in outcome["message"]
    problem, _, remedy = outcome["message"].rpartition("; ")
    assert problem and remedy


@pytest.mark.parametrize("name", CASES)
def test_bad_input_is_refused_before_compilation(outcomes, name):
    assert outcomes[name]["compiled"] == [] or name in CALLED


def test_good_input_would_have_compiled():
    """What the counting above rests on."""
    with counted_compilations() as compiled:
        jax.jit(lambda x: x + 41.5)(1.0)
    assert compiled == ["jit(<lambda>)"]


if __name__ == "__main__":
    print(json.dumps({name: outcome_of(call) for name, (call, _, _) in CASES.items()}))
