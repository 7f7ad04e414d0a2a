"""Does the optimiser matter, and is what extrapolation gains the momentum that Adam has anyway?

Every optimiser is given the learning rate at which the standard method does best, found on
replicates of its own; then it meets new ones, with and without extrapolation. Extrapolated
parameters move 1 / (1 - alpha) times as far where they move steadily, and so they do at a learning
rate larger by as much: that is the rival which tells momentum from a larger step.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Int

from apo_sim.families import sequence_bandit
from apo_sim.momentum import Constant
from apo_sim.optimizers import SGD, AdamW, Optimizer, RMSProp
from apo_sim.policies import Recurrent
from apo_sim.proximal import ByGradient
from apo_sim.pytree import pytree_dataclass
from apo_sim.studies import ring_protocol
from apo_sim.studies.intervals import bootstrap, ratio_of_means
from apo_sim.studies.ring_protocol import ALPHA, BETA, Protocol
from apo_sim.sweep import trainings

RING, SEQUENCES = TASKS = ("ring", "sequences")
ITERATIONS = {RING: 300, SEQUENCES: 100}
VOCABULARY, LENGTH, WIDTH = 3, 4, 16

ADAMW, NO_B1, RMSPROP, PLAIN, HEAVY = "AdamW", "AdamW, b1 = 0", "RMSProp", "SGD", "SGD, momentum"
OPTIMIZERS: dict[str, Callable[[Any], Optimizer]] = {
    ADAMW: AdamW,
    NO_B1: lambda rate: AdamW(rate, b1=0.0),
    RMSPROP: RMSProp,
    PLAIN: SGD,
    HEAVY: lambda rate: SGD(rate, momentum=0.9),
}
COLOURS = dict(zip(OPTIMIZERS, ("C0", "C5", "C1", "0.45", "C2"), strict=True))
# The same optimiser with momentum of its own and without.
OWN_MOMENTUM = {ADAMW: NO_B1, HEAVY: PLAIN}
# Least learning rate that is tried; each of the others is twice the one before.
LEAST = {
    RING: {ADAMW: 0.004, NO_B1: 0.001, RMSPROP: 0.001, PLAIN: 0.1, HEAVY: 0.02},
    SEQUENCES: {ADAMW: 0.004, NO_B1: 0.004, RMSPROP: 0.002, PLAIN: 0.2, HEAVY: 0.04},
}
RATES = 6

# Replicates that no choice of a learning rate has seen.
FIRST = 100_000
KEPT = ("behaviour_suboptimality", "loss_after")


@dataclass(frozen=True)
class Variant:
    """A method and its learning rate.

    Attributes:
        alpha: extrapolation.
        best_for: the extrapolation for which the optimiser's learning rate is the best tried.
        factor: what that rate is multiplied by.
    """

    alpha: float | int
    best_for: float | int = 0.0
    factor: float | int = 1.0


STANDARD, EXTRAPOLATION, OWN_RATE = "standard", "extrapolation", "extrapolation at its own rate"
SLOW_STANDARD, SLOW_EXTRAPOLATION = "standard, slow", "extrapolation, slow"
SLOW_LARGER = "larger rate, slow"
# A share of the best learning rate at which every optimiser is still stable, and not done early.
SLOW = 0.25
VARIANTS = {
    STANDARD: Variant(0.0),
    EXTRAPOLATION: Variant(ALPHA),
    OWN_RATE: Variant(ALPHA, best_for=ALPHA),
    SLOW_STANDARD: Variant(0.0, factor=SLOW),
    SLOW_EXTRAPOLATION: Variant(ALPHA, factor=SLOW),
    SLOW_LARGER: Variant(0.0, factor=SLOW / (1 - ALPHA)),
}


@pytree_dataclass
class OneOf:
    """One of several optimisers, picked by a number, so that one compiled program runs them all.

    Args:
        optimizers: each sees every gradient; only one moves the parameters.
        which: its number.

    Example:
        >>> rule = OneOf((SGD(1.0), SGD(2.0)), jnp.array(1))
        >>> float(rule.update(jnp.array(3.0), rule.init(jnp.array(0.0)))[0])
        -6.0
    """

    optimizers: tuple[Optimizer, ...]
    which: Int[Array, ""]

    def init(self, params: Any) -> Any:
        return tuple(rule.init(params) for rule in self.optimizers)

    def update(self, updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        found = [
            rule.update(updates, own, params)
            for rule, own in zip(self.optimizers, state, strict=True)
        ]
        changes, states = zip(*found, strict=True)
        number = jnp.asarray(self.which, jnp.int32)
        return jax.tree.map(lambda *each: jax.lax.select_n(number, *each), *changes), states


def setup(
    task: str, seed: int, protocol: Protocol = Protocol()
) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """What `apo_sim.sweep.trainings` runs: from the numbers of a lane to a training.

    A lane has `replicate`, `alpha`, `beta`, `learning_rate` and `which`, the place of its
    optimiser in `OPTIMIZERS`. All lanes of a replicate start from the same network, which is the
    reference policy, and meet the same random numbers.

    Example:
        >>> lane = {"replicate": 1, "alpha": 0.3, "beta": 1.0, "learning_rate": 0.1, "which": 2}
        >>> setup("sequences", seed=0)(lane)["problem"].num_arms
        81
    """
    of_task = ring_protocol.setup(protocol, seed) if task == RING else _sequences(seed)

    def of_lane(lane: dict[str, Any]) -> dict[str, Any]:
        rate = jnp.asarray(lane["learning_rate"], jnp.float32)
        one = OneOf(tuple(rule(rate) for rule in OPTIMIZERS.values()), jnp.asarray(lane["which"]))
        step = ByGradient(one, protocol.steps, keep_state=protocol.keep_state)
        return {**of_task(lane), "step": step}

    return of_lane


def _sequences(seed: int) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """A recurrent network on sequences, trained on exact preferences."""
    policy = Recurrent(VOCABULARY, LENGTH, WIDTH)

    def of_lane(lane: dict[str, Any]) -> dict[str, Any]:
        key = jax.random.fold_in(jax.random.key(seed), lane["replicate"])
        to_params, to_reward, to_data = jax.random.split(key, 3)
        params = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), policy.init(to_params))
        return {
            "problem": sequence_bandit(to_reward, VOCABULARY, LENGTH, policy.log_prob(params)),
            "policy": policy,
            "params": params,
            "momentum": Constant(lane["alpha"]),
            "beta": lane["beta"],
            "key": to_data,
        }

    return of_lane


def measure(
    *,
    seeds: int,
    seed: int = 0,
    out: str | Path | None = None,
    progress: bool = True,
    tuning: int = 4,
    tasks: Sequence[str] = TASKS,
    optimizers: Sequence[str] = tuple(OPTIMIZERS),
    variants: Mapping[str, Variant] = VARIANTS,
    rates: int = RATES,
    iterations: Mapping[str, int] = ITERATIONS,
    protocol: Protocol = Protocol(),
) -> xr.Dataset:
    """Series of every optimiser and variant, (task, optimizer, variant, seed, iteration).

    `tried` has the average regret at every learning rate, (task, optimizer, best_for, number), of
    `tuning` replicates that are not among the seeds; `grid` says which rates those are, and
    `learning_rate` which ones were taken, (task, optimizer, variant). A task with fewer iterations
    than another has no numbers after its last one.

    Example:
        >>> data = measure(
        ...     seeds=2,
        ...     tuning=1,
        ...     tasks=["sequences"],
        ...     rates=2,
        ...     optimizers=["SGD"],
        ...     iterations={"sequences": 2},
        ... )
        >>> data.behaviour_suboptimality.shape
        (1, 1, 6, 2, 2)
    """

    def run(task: str, stage: str, cells: list[tuple[Any, ...]], count: int, first: int):
        """Trainings for all cells (optimiser, alpha, rate) times all replicates."""
        names, alphas, chosen = zip(*cells, strict=True)
        lanes = {
            "replicate": np.tile(first + np.arange(count), len(cells)),
            "which": np.repeat([list(OPTIMIZERS).index(name) for name in names], count),
            "alpha": np.repeat(np.asarray(alphas, float), count),
            "learning_rate": np.repeat(np.asarray(chosen, float), count),
            "beta": np.full(len(cells) * count, BETA),
        }
        found = trainings(
            setup(task, seed, protocol),
            lanes,
            iterations=iterations[task],
            block=min(50, iterations[task]),
            configuration={"task": task, "seed": seed, "protocol": dataclasses.asdict(protocol)},
            out=None if out is None else Path(out) / f"{task}_{stage}",
            progress=progress,
            diverging="report",
        )
        return {name: values.reshape(len(cells), count, -1) for name, values in found.items()}

    best_for = sorted({variant.best_for for variant in variants.values()})
    parts = []
    for task in tasks:
        grid = np.array([LEAST[task][name] * 2.0 ** np.arange(rates) for name in optimizers])
        cells = [
            (name, alpha, rate)
            for name, row in zip(optimizers, grid, strict=True)
            for alpha in best_for
            for rate in row
        ]
        tried = _tried(run(task, "tuning", cells, tuning, 0), (len(optimizers), -1, rates))
        best = np.take_along_axis(grid[:, None], tried.argmin(axis=-1)[..., None], -1)[..., 0]
        taken = np.array(
            [
                [row[best_for.index(each.best_for)] * each.factor for each in variants.values()]
                for row in best
            ]
        )
        cells = [
            (name, variant.alpha, rate)
            for name, row in zip(optimizers, taken, strict=True)
            for variant, rate in zip(variants.values(), row, strict=True)
        ]
        found = run(task, "judged", cells, seeds, FIRST)
        dims = ("optimizer", "variant", "seed")
        shape = (len(optimizers), len(variants), seeds)
        series = {
            name: ((*dims, "iteration"), found[name].astype(float).reshape(*shape, -1))
            for name in KEPT
        }
        parts.append(
            xr.Dataset(
                {
                    **series,
                    "diverged": (dims, found["diverged"].reshape(shape)),
                    "tried": (("optimizer", "best_for", "number"), tried),
                    "grid": (("optimizer", "number"), grid),
                    "learning_rate": (("optimizer", "variant"), taken),
                },
                {
                    "optimizer": list(optimizers),
                    "variant": list(variants),
                    "best_for": best_for,
                    "iteration": 1 + np.arange(iterations[task]),
                },
            )
        )
    data = xr.concat(parts, xr.Variable("task", list(tasks)), join="outer")
    return data.assign_attrs(seed=seed, tuning=tuning, keep_state=protocol.keep_state)


def _tried(found: dict[str, np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
    """Average regret over iterations and replicates; infinite where one of them diverged."""
    mean = found["behaviour_suboptimality"].astype(float).mean(axis=(1, 2))
    return np.where(found["diverged"].any(axis=(1, 2)), np.inf, mean).reshape(shape)


def regret(data: xr.Dataset) -> xr.DataArray:
    """Average regret of the policies that act, (task, optimizer, variant, seed)."""
    return data.behaviour_suboptimality.mean("iteration")


def final(data: xr.Dataset) -> xr.DataArray:
    """The same of the last fifth of the iterations of each task."""
    late = [
        part.isel(iteration=slice(-part.sizes["iteration"] // 5, None)).mean("iteration")
        for task in data.task.values
        for part in [data.behaviour_suboptimality.sel(task=task).dropna("iteration")]
    ]
    return xr.concat(late, data.task)


def ratio(first: xr.DataArray, second: xr.DataArray) -> xr.Dataset:
    """Mean of the first over the seeds, over that of the second, with the ends of its interval.

    Example:
        >>> twice = xr.DataArray([2.0, 4.0, 6.0], dims="seed")
        >>> found = ratio(twice, twice / 2)
        >>> float(found.value), float(found.low), float(found.high)
        (2.0, 2.0, 2.0)
    """
    pair = xr.concat([first, second], "pair", coords="minimal", compat="override")
    pair = pair.transpose("pair", ..., "seed")
    low, high = bootstrap(ratio_of_means, pair)
    dims = pair.dims[1:-1]
    values = {"value": ratio_of_means(pair.values), "low": low, "high": high}
    kept = {name: first.coords[name] for name in dims}
    return xr.Dataset({name: (dims, each) for name, each in values.items()}, kept)


def compared(values: xr.DataArray, variant: str, rival: str) -> xr.Dataset:
    """`ratio` of a variant to its rival, (task, optimizer)."""
    return ratio(values.sel(variant=variant, drop=True), values.sel(variant=rival, drop=True))
