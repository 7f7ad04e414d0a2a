"""The public surface, found by looking: every name that users can import, and a call that works.

A new public name is found without being listed here. If its parameters have names that the package
uses already, so is a call of it; otherwise `base_call` says which name has no value yet.
"""

import importlib
import inspect
import tempfile
import types
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import apo_sim as apo
from apo_sim import policies, preferences
from apo_sim.claims import judge
from apo_sim.registry import FAMILIES

MODULES = (
    "apo_sim",
    "apo_sim.claims",
    "apo_sim.losses",
    "apo_sim.methods",
    "apo_sim.momentum",
    "apo_sim.policies",
    "apo_sim.preferences",
    "apo_sim.proximal",
    "apo_sim.report",
    "apo_sim.spaces",
    "apo_sim.sweep",
    "apo_sim.testing",
    "apo_sim.theory",
)
# What is made by the library and only read by users; protocols; errors.
RECORDS = {
    "Advice",
    "Assumptions",
    "BringsDerivatives",
    "Certificate",
    "BringsEmpiricalMinimiser",
    "BringsMean",
    "BringsMinimiser",
    "Cells",
    "Claim",
    "ClaimError",
    "ClusterLost",
    "Control",
    "Coverage",
    "Diverged",
    "Effort",
    "Estimate",
    "DrawsPairs",
    "Extra",
    "Family",
    "Finding",
    "Fit",
    "Flavour",
    "Geometry",
    "InvalidArgument",
    "LeadingOrder",
    "Ledger",
    "Listed",
    "Loss",
    "Method",
    "Momentum",
    "NetworkState",
    "Origin",
    "Outcomes",
    "PointwiseLoss",
    "Policy",
    "PolicyPath",
    "Quantifier",
    "Ranker",
    "Report",
    "Request",
    "RewardSource",
    "Ruling",
    "Sampler",
    "SequencePolicy",
    "Solution",
    "Space",
    "Split",
    "SplitsTies",
    "State",
    "TableState",
    "TrainingDiverged",
    "UnknownName",
    "Verdict",
    "VisitedBounds",
}

LOG_REF: Any = np.log([[0.25, 0.5, 0.25], [0.2, 0.2, 0.6]])
REWARD: Any = np.array([[1.0, 0.0, 0.5], [0.0, 0.25, -1.0]])
FEATURES = np.arange(12.0).reshape(2, 3, 2) / 10


def bandit() -> apo.Bandit:
    return apo.Bandit(REWARD, LOG_REF)


def solution() -> apo.Solution:
    return apo.run(bandit(), beta=1.0, iterations=3, save="path")


def sampled_solution() -> apo.Solution:
    key = jax.random.key(0)
    return apo.run(bandit(), beta=1.0, iterations=2, samples=100, key=key, save="path")


def _cells() -> Any:
    return judge.estimates({"a": [0.1, 0.2, 0.3], "b": [-0.1, -0.2, -0.3]})


# A value for every parameter, by its name; a callable that makes it where it is no constant.
VALUES: dict[str, Callable[[], Any]] = {
    "bound": lambda: [0.2, 0.3],
    "facts": lambda: None,
    "witness": lambda: None,
    "unit": lambda: "gap",
    "trivial": lambda: None,
    "trials": lambda: 10,
    "target": lambda: 0.15,
    "starts": lambda: np.array([0.0]),
    "second": lambda: [0.2, 0.3, 0.4],
    "rounding": lambda: 1e-9,
    "paired": lambda: False,
    "note": lambda: "a note",
    "low": lambda: -0.5,
    "interval": lambda: (0.1, 0.2),
    "instances": lambda: 3,
    "high": lambda: 0.5,
    "floor": lambda: 1e-14,
    "draw": lambda: None,
    "actions": lambda: FEATURES,
    "activation": lambda: "relu",
    "alpha": lambda: 0.5,
    "alphas": lambda: [0.1, 0.2, 0.3],
    "arms": lambda: 3,
    "batch": lambda: None,
    "b1": lambda: 0.9,
    "b2": lambda: 0.99,
    "behaviour": lambda: np.stack([LOG_REF] * 3),
    "best_arm": lambda: 0,
    "beta": lambda: 1.0,
    "beta_schedule": lambda: "constant",
    "cells": lambda: [[0.1, 0.2, 0.3]],
    "chunk": lambda: 8,
    "claim": lambda: "N2",
    "claims": lambda: ["LD.2"],
    "cluster": lambda: None,
    "confidence": lambda: 0.95,
    "concentration": lambda: 1.0,
    "context_probs": lambda: None,
    "contexts": lambda: 2,
    "context": lambda: [0, 1, 0],
    "accumulated": lambda: False,
    "clip": lambda: 0.2,
    "flipped": lambda: 0.1,
    "of_policy": lambda: 1.5,
    "of_reference": lambda: -0.5,
    "of_reward": lambda: 0.0,
    "methods": lambda: "momentum",
    "drawn": lambda: np.ones((2, 3)),
    "entropy": lambda: 0.5,
    "epochs": lambda: 2,
    "fit": lambda: apo.methods.OnTable(),
    "kl_coefficient": lambda: 0.05,
    "known": lambda: None,
    "network": lambda: policies.Table(2, 3),
    "one_by_one": lambda: False,
    "online": lambda: False,
    "pull": lambda: 0.1,
    "refit": lambda: True,
    "refresh": lambda: None,
    "source": lambda: apo.methods.TrueReward(),
    "temperature": lambda: 0.5,
    "training": lambda: apo.ByGradient(apo.SGD(0.1), steps=3),
    "regularization": lambda: 0.01,
    "constant": lambda: 1.0,
    "baseline": lambda: None,
    "greedy": lambda: False,
    "lengths": lambda: None,
    "data": lambda: preferences.Counts(jnp.ones((2, 3, 3))),
    "decay": lambda: 0.5,
    "delta": lambda: 0.05,
    "depth": lambda: 1,
    "desirable": lambda: 2.0,
    "difference": lambda: np.array([0.0, 1.0]),
    "dimension": lambda: 2,
    "dominance": lambda: 0.1,
    "draws": lambda: "fresh",
    "dual": lambda: None,
    "effort": lambda: "quick",
    "elements": lambda: importlib.import_module("apo_sim.testing").alphas(),
    "exponent": lambda: 1.0,
    "errors": lambda: [0.0, 1e-16],
    "extent": lambda: 1.0,
    "extrapolated": lambda: False,
    "failures": lambda: 3,
    "family": lambda: "uniform",
    "features": lambda: FEATURES,
    "findings": lambda: [],
    "finite_sample": lambda: False,
    "first": lambda: [0.1, 0.2, 0.3],
    "flavour": lambda: "corrected",
    "function": lambda: lambda t: t / (t + 1),
    "gamma": lambda: 2.0,
    "gap": lambda: 0.5,
    "geometry": lambda: apo.KL(),
    "handling": lambda: "split",
    "id": lambda: "N2",
    "iterations": lambda: 3,
    "jobs": lambda: 1,
    "keep_state": lambda: False,
    "key": lambda: jax.random.key(0),
    "lazy": lambda: True,
    "learning_rate": lambda: 0.1,
    "length": lambda: 2,
    "levels": lambda: (1.0, 0.5, 0.0),
    "log_class_size": lambda: 2.0,
    "log_coverage": lambda: [0.5, 0.5, 0.5],
    "log_exact": lambda: LOG_REF,
    "log_p": lambda: -1.0,
    "log_p_min": lambda: None,
    "log_p_star": lambda: None,
    "log_policy": lambda: LOG_REF,
    "log_ref": lambda: LOG_REF,
    "loser": lambda: [0, 1, 2],
    "loss": lambda: apo.DPO(),
    "margin": lambda: 0.1,
    "max_count": lambda: 10,
    "max_log_ratio": lambda: 30.0,
    "max_size": lambda: 10.0,
    "max_value": lambda: 0.5,
    "measured": lambda: [0.1, 0.2],
    "min_dominance": lambda: None,
    "min_gap": lambda: 0.0,
    "method": lambda: apo.methods.Proximal(),
    "min_value": lambda: 0.1,
    "momentum": lambda: apo.Constant(0.5),
    "new": lambda: 1.0,
    "objective": lambda: lambda x: -jnp.sum((x - 0.5) ** 2),
    "old": lambda: 0.5,
    "optimizer": lambda: apo.SGD(0.1),
    "out": lambda: None,
    "output": lambda: "before",
    "p_min": lambda: 0.1,
    "p_star": lambda: 0.2,
    "params": lambda: None,
    "policy": lambda: policies.Table(2, 3),
    "preference": lambda: np.full((2, 3, 3), 0.5),
    "probability": lambda: 0.25,
    "problem": bandit,
    "progress": lambda: False,
    "q": lambda: 0.5,
    "radius": lambda: 0.5,
    "ranker": lambda: apo.Pairwise(),
    "replicate": lambda: 0,
    "responses": lambda: 3,
    "reward": lambda: REWARD,
    "reward_bound": lambda: 2.0,
    "rewards": lambda: np.stack([REWARD] * 3),
    "samples": lambda: 100,
    "sampler": lambda: preferences.FromReference(),
    "samplers": lambda: [preferences.FromPolicy(), preferences.Uniform()],
    "save": lambda: "metrics",
    "seed": lambda: 0,
    "seeds": lambda: 2,
    "side": lambda: 3,
    "simulate": lambda: 0,
    "solution": solution,
    "space": lambda: apo.InParameters(),
    "spread": lambda: 0.5,
    "state": lambda: None,
    "step": lambda: apo.ByGradient(apo.SGD(0.1), steps=3),
    "steps": lambda: 3,
    "successes": lambda: 3,
    "noise": lambda: 0.1,
    "tau": lambda: 0.5,
    "threshold": lambda: 0.5,
    "tolerance": lambda: None,
    "undesirable": lambda: 0.5,
    "unrestricted": lambda: False,
    "variables": lambda: ("suboptimality",),
    "variant": lambda: "stated",
    "vocabulary": lambda: 3,
    "watch": lambda: lambda progress: None,
    "weight": lambda: 0.5,
    "weights": lambda: [0.25, 0.75],
    "weight_decay": lambda: 0.0,
    "width": lambda: 4,
    "win_rate": lambda: 0.9,
    "winner": lambda: [1, 0, 2],
    "wins": lambda: np.ones((2, 3, 3)),
    "x": lambda: 1.0,
    "y": lambda: [1.0, 2.0, 4.0],
}
# Where a name of the package means something else, or where values must fit together.
OWN: dict[str, dict[str, Callable[[], Any]]] = {
    "apo_sim.SGD": {"momentum": lambda: 0.5},
    "apo_sim.Pairwise": {
        "first": lambda: preferences.FromPolicy(),
        "second": lambda: preferences.FromReference(),
    },
    "apo_sim.preferences.Labels": {
        "desirable": lambda: np.ones((2, 3)),
        "undesirable": lambda: np.zeros((2, 3)),
    },
    "apo_sim.preferences.Population": {
        "cells": lambda: np.full((2, 3, 3), 1 / 9),
        "win_rate": lambda: np.full((2, 3), 0.5),
    },
    "apo_sim.preferences.win_counts": {
        "cells": lambda: np.full((2, 3, 3), 1 / 9),
        "context_probs": lambda: [0.5, 0.5],
    },
    "apo_sim.advise": {
        "family": lambda: "uniform",
        "contexts": lambda: 1,
        "samples": lambda: 1000,
        "problem": lambda: None,
    },
    "apo_sim.sweep": {
        "samples": lambda: None,
        "loss": lambda: "dpo",
        "momentum": lambda: "constant",
        "ranker": lambda: "pairwise",
        "geometry": lambda: "kl",
    },
    "apo_sim.replayed_counts": {"solution": sampled_solution, "method": lambda: None},
    "apo_sim.methods.Accelerated": {"method": lambda: apo.methods.NPG()},
    "apo_sim.methods.PessimisticMLE": {"bound": lambda: 1.0, "radius": lambda: None},
    "apo_sim.train": {"momentum": lambda: apo.Constant(0.5)},
    "apo_sim.claims.judge.close": {"measured": lambda: 0.15, "tolerance": lambda: 0.1},
    "apo_sim.claims.judge.identity": {"tolerance": lambda: 1e-9},
    "apo_sim.claims.judge.together": {"cells": lambda: 3},
    "apo_sim.claims.judge.estimates": {"cells": lambda: {"a": [0.1, 0.2, 0.3]}},
    "apo_sim.claims.judge.where": {"cells": _cells},
    "apo_sim.claims.judge.worst": {"findings": lambda: [judge.identity([0.0], 1e-9)]},
    "apo_sim.claims.judge.mean_interval": {"samples": lambda: [0.1, 0.2, 0.4]},
    "apo_sim.claims.judge.slope": {"x": lambda: [1.0, 2.0, 3.0]},
    "apo_sim.claims.judge.slope_interval": {"x": lambda: [1.0, 2.0, 3.0]},
    "apo_sim.sweep.replicate_problem": {"family": lambda: FAMILIES["uniform"]},
    "apo_sim.theory.two_level": {"gap": lambda: 0.5},
    "apo_sim.report.validate": {"out": tempfile.mkdtemp},
    "apo_sim.families.rock_paper_scissors": {"log_ref": lambda: None},
    "apo_sim.families.sequence_bandit": {"log_ref": lambda: None},
    "apo_sim.families.ring_bandit": {"actions": lambda: FEATURES[:1], "decay": lambda: 0.3},
    "apo_sim.families.best_arm_reference": {"best_arm": lambda: [0, 1]},
}
# What the names of further keywords are, where a function takes any.
KEYWORDS = {
    "apo_sim.sweep": (
        "alpha",
        "arms",
        "beta",
        "beta_schedule",
        "contexts",
        "draws",
        "geometry",
        "iterations",
        "loss",
        "momentum",
        "ranker",
        "reward_bound",
        "samples",
        "spread",
    ),
    "apo_sim.sweep.replicate_problem": ("spread",),
}
# A value that is no mistake, and asks for minutes of work.
AT_WORK = {("apo_sim.report.validate", "claims", "None")}
# Not for calling: registers, describes problems of hypothesis, or has a test of its own.
LEFT_OUT = {
    "apo_sim.claims.claim",
    "apo_sim.claims.forget",
    "apo_sim.claims.names",
    "apo_sim.claims.Scope",
    "apo_sim.momentum.Extrapolation",
    "apo_sim.report.render_page",
    "apo_sim.sweep.trainings",
    "apo_sim.sweep.use_cores",
}


def names() -> Iterator[tuple[str, Callable[..., Any]]]:
    """Every public function and class that takes arguments, once."""
    seen: set[int] = set()
    for module_name in MODULES:
        module = importlib.import_module(module_name)
        for name in module.__all__:
            found = getattr(module, name)
            inner = _functions(found) if isinstance(found, types.ModuleType) else [(name, found)]
            for inner_name, entry in inner:
                place = (
                    f"{module_name}.{name}"
                    if entry is found
                    else f"{module_name}.{name}.{inner_name}"
                )
                wanted = callable(entry) and id(entry) not in seen and inner_name not in RECORDS
                if wanted and place not in LEFT_OUT and inspect.signature(entry).parameters:
                    seen.add(id(entry))
                    yield place, entry


def _functions(module: types.ModuleType) -> list[tuple[str, Any]]:
    """What a module without a list of its own defines."""
    if hasattr(module, "__all__"):
        return []
    found = inspect.getmembers(module, inspect.isfunction)
    return [(n, f) for n, f in found if not n.startswith("_") and f.__module__ == module.__name__]


def base_call(place: str, function: Callable[..., Any]) -> dict[str, Callable[[], Any]]:
    """Makers of arguments that the function takes without complaint.

    Raises:
        LookupError: a parameter for which this file has no value yet.
    """
    found = {}
    parameters = inspect.signature(function).parameters
    named = [n for n, p in parameters.items() if p.kind is not p.VAR_KEYWORD]
    for name in (*named, *KEYWORDS.get(place, ())):
        if name not in VALUES:
            raise LookupError(f"{place}: give the parameter {name!r} a value in {__file__}")
        found[name] = OWN.get(place, {}).get(name, VALUES[name])
    return found


def call(function: Callable[..., Any], arguments: dict[str, Any]) -> Any:
    """Call it, with what its signature wants by position first."""
    parameters = inspect.signature(function).parameters
    first = [n for n, p in parameters.items() if p.kind is p.POSITIONAL_ONLY]
    rest = {name: value for name, value in arguments.items() if name not in first}
    return function(*(arguments[name] for name in first), **rest)
