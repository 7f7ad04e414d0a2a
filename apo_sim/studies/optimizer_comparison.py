"""Does the optimiser matter, and is what extrapolation gains the momentum that Adam has anyway?

Every optimiser is given the learning rate at which the standard method does best, found on
replicates of its own; then it meets new ones, with and without extrapolation. Extrapolated
parameters move 1 / (1 - alpha) times as far where they move steadily. So they do at a learning rate
larger by as much, which is the rival where the inner training holds a run back, and at the matched
beta, the rival where the proximal term does.
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
from matplotlib.figure import Figure

from apo_sim import theory
from apo_sim.estimate import Estimate
from apo_sim.families import sequence_bandit
from apo_sim.momentum import Constant
from apo_sim.one_of import OneOf
from apo_sim.optimizers import SGD, AdamW, Optimizer, RMSProp
from apo_sim.policies import Recurrent
from apo_sim.proximal import ByGradient
from apo_sim.statistics import bootstrap, mean_and_half, mean_estimate, ratio_of_means, several
from apo_sim.studies import ring_protocol
from apo_sim.studies.caption import caption
from apo_sim.studies.ring_protocol import ALPHA, BETA, Protocol
from apo_sim.studies.wording import plus_minus
from apo_sim.sweep import trainings

RING, SEQUENCES = TASKS = ("ring", "sequences")
NAMES = {RING: "the ring", SEQUENCES: "sequences"}
ITERATIONS = {RING: 300, SEQUENCES: 100}
VOCABULARY, LENGTH, WIDTH = 3, 4, 16

ADAMW, NO_B1, RMSPROP, PLAIN, HEAVY = "AdamW", "AdamW (b1 = 0)", "RMSProp", "SGD", "heavy ball"
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
    RING: {ADAMW: 0.016, NO_B1: 0.002, RMSPROP: 0.002, PLAIN: 0.1, HEAVY: 0.04},
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
        matched: whether beta is the one that does in theory what `ALPHA` would.
    """

    alpha: float | int
    best_for: float | int = 0.0
    factor: float | int = 1.0
    matched: bool = False


STANDARD, EXTRAPOLATION, OWN_RATE = "standard", "extrapolation", "extrapolation at its own rate"
MATCHED = "matched beta"
SLOW_STANDARD, SLOW_EXTRAPOLATION = "standard, slow", "extrapolation, slow"
SLOW_LARGER = "larger rate, slow"
# A share of the best learning rate at which every optimiser is still stable, and not done early.
SLOW = 0.25
VARIANTS = {
    STANDARD: Variant(0.0),
    EXTRAPOLATION: Variant(ALPHA),
    OWN_RATE: Variant(ALPHA, best_for=ALPHA),
    MATCHED: Variant(0.0, matched=True),
    SLOW_STANDARD: Variant(0.0, factor=SLOW),
    SLOW_EXTRAPOLATION: Variant(ALPHA, factor=SLOW),
    SLOW_LARGER: Variant(0.0, factor=SLOW / (1 - ALPHA)),
}

# What a regret is multiplied by, and the variants whose ratio that is.
AT_BEST = f"Extrapolation by {ALPHA:g} at the same rate multiplies it by"
AT_SLOW = f"At {SLOW:g} of the rate extrapolation by"
FACTORS = {
    AT_BEST: (EXTRAPOLATION, STANDARD),
    "Extrapolation at its own best rate by": (OWN_RATE, STANDARD),
    "The matched beta by": (MATCHED, STANDARD),
    AT_SLOW: (SLOW_EXTRAPOLATION, SLOW_STANDARD),
    "That rate over (1 - alpha) by": (SLOW_LARGER, SLOW_STANDARD),
}


def setup(
    task: str,
    seed: int,
    protocol: Protocol = Protocol(),
    optimizers: Sequence[str] = tuple(OPTIMIZERS),
) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """What `apo_sim.sweep.trainings` runs: from the numbers of a lane to a training.

    A lane has `replicate`, `alpha`, `beta`, `learning_rate` and `which`, the place of its
    optimiser among those named. All lanes of a replicate start from the same network, which is the
    reference policy, and meet the same random numbers.

    Example:
        >>> lane = {"replicate": 1, "alpha": 0.3, "beta": 1.0, "learning_rate": 0.1, "which": 2}
        >>> setup("ring", 0, Protocol(side=5))(lane)["problem"].num_arms
        25
    """
    of_task = ring_protocol.setup(protocol, seed) if task == RING else _sequences(seed)

    def of_lane(lane: dict[str, Any]) -> dict[str, Any]:
        rate = jnp.asarray(lane["learning_rate"], jnp.float32)
        rules = tuple(OPTIMIZERS[name](rate) for name in optimizers)
        one = OneOf(jnp.asarray(lane["which"]), rules)
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
    than another has no numbers after its last one. Of the protocol, sequences take the steps and
    whether the optimiser keeps its state.
    """
    several(seeds)
    parts = []
    for name in tasks:
        task = _Task(
            name=name,
            of_lane=setup(name, seed, protocol, optimizers),
            optimizers=tuple(optimizers),
            iterations=iterations[name],
            protocol=protocol,
            seed=seed,
            out=out,
            progress=progress,
        )
        tuned = _tuned(task, variants, rates, tuning)
        parts.append(_judged(task, variants, tuned, seeds))
    data = xr.concat(parts, xr.Variable("task", list(tasks)), join="outer")
    return data.assign_attrs(seed=seed, tuning=tuning, keep_state=protocol.keep_state)


# Optimiser, variant and learning rate of each.
_Cells = list[tuple[str, Variant, float]]


@dataclass(frozen=True)
class _Task:
    """The trainings of one task."""

    name: str
    of_lane: Callable[[dict[str, Any]], dict[str, Any]]
    optimizers: tuple[str, ...]
    iterations: int
    protocol: Protocol
    seed: int
    out: str | Path | None
    progress: bool

    def trained(
        self, stage: str, cells: _Cells, replicates: int, first: int = 0
    ) -> dict[str, np.ndarray]:
        """What all cells times all replicates come to, (cells, replicates, iterations)."""
        found = trainings(
            self.of_lane,
            _lanes(cells, self.optimizers, replicates, first, self.iterations),
            iterations=self.iterations,
            # Quarters, so that all blocks are one program.
            block=max(1, self.iterations // 4),
            configuration={
                "task": self.name,
                "seed": self.seed,
                "protocol": dataclasses.asdict(self.protocol),
                "optimizers": list(self.optimizers),
            },
            out=None if self.out is None else Path(self.out) / f"{self.name}_{stage}",
            progress=self.progress,
            diverging="report",
        )
        return {name: values.reshape(len(cells), replicates, -1) for name, values in found.items()}


def _tuned(task: _Task, variants: Mapping[str, Variant], rates: int, replicates: int) -> xr.Dataset:
    """Regret at every learning rate, and the rate that each variant takes."""
    best_for = sorted({variant.best_for for variant in variants.values()})
    grid = np.array([LEAST[task.name][name] * 2.0 ** np.arange(rates) for name in task.optimizers])
    cells = [
        (name, Variant(alpha), rate)
        for name, row in zip(task.optimizers, grid, strict=True)
        for alpha in best_for
        for rate in row
    ]
    tried = _tried(task.trained("tuning", cells, replicates)).reshape(len(grid), -1, rates)
    best = np.take_along_axis(grid[:, None], tried.argmin(-1, keepdims=True), -1)[..., 0]
    taken = [best[:, best_for.index(one.best_for)] * one.factor for one in variants.values()]
    return xr.Dataset(
        {
            "tried": (("optimizer", "best_for", "number"), tried),
            "grid": (("optimizer", "number"), grid),
            "learning_rate": (("optimizer", "variant"), np.stack(taken, axis=1)),
        },
        {"optimizer": list(task.optimizers), "variant": list(variants), "best_for": best_for},
    )


def _judged(
    task: _Task, variants: Mapping[str, Variant], tuned: xr.Dataset, seeds: int
) -> xr.Dataset:
    """The series of every variant at its learning rate, on replicates that no choice has seen."""
    taken = tuned.learning_rate.values
    cells = [
        (name, variant, rate)
        for name, row in zip(task.optimizers, taken, strict=True)
        for variant, rate in zip(variants.values(), row, strict=True)
    ]
    found = task.trained("judged", cells, seeds, FIRST)
    dims, shape = ("optimizer", "variant", "seed"), (*taken.shape, seeds)
    series = {
        name: ((*dims, "iteration"), found[name].astype(float).reshape(*shape, -1)) for name in KEPT
    }
    diverged = {"diverged": (dims, found["diverged"].reshape(shape))}
    return tuned.assign({**diverged, **series}).assign_coords(
        iteration=1 + np.arange(task.iterations)
    )


def _lanes(
    cells: _Cells,
    optimizers: Sequence[str],
    replicates: int,
    first: int,
    iterations: int,
) -> dict[str, np.ndarray]:
    names, variants, rates = zip(*cells, strict=True)
    plain = np.full(iterations, BETA)
    matched = np.asarray(theory.matched_beta(ALPHA, BETA, iterations))
    of_cells = {
        "which": [list(optimizers).index(name) for name in names],
        "alpha": [float(variant.alpha) for variant in variants],
        "learning_rate": [float(rate) for rate in rates],
        "beta": [matched if variant.matched else plain for variant in variants],
    }
    lanes = {name: np.repeat(values, replicates, axis=0) for name, values in of_cells.items()}
    return {**lanes, "replicate": np.tile(first + np.arange(replicates), len(cells))}


def _tried(found: dict[str, np.ndarray]) -> np.ndarray:
    """Average regret over iterations and replicates; infinite where one of them diverged."""
    mean = found["behaviour_suboptimality"].astype(float).mean(axis=(1, 2))
    return np.where(found["diverged"].any(axis=(1, 2)), np.inf, mean)


def regret(data: xr.Dataset) -> xr.DataArray:
    """Average regret of the policies that act, (task, optimizer, variant, seed)."""
    return data.behaviour_suboptimality.mean("iteration")


def final(data: xr.Dataset) -> xr.DataArray:
    """The same of the last fifth of the iterations of each task."""
    late = []
    for task in data.task.values:
        series = data.behaviour_suboptimality.sel(task=task).dropna("iteration")
        first = series.sizes["iteration"] * 4 // 5
        late.append(series.isel(iteration=slice(first, None)).mean("iteration"))
    return xr.concat(late, data.task)


def ratio(first: xr.DataArray, second: xr.DataArray) -> xr.Dataset:
    """Mean of the first over the seeds, over that of the second, with the ends of its interval.

    Example:
        >>> twice = xr.DataArray([2.0, 4.0, 6.0], dims="seed")
        >>> found = ratio(twice, twice / 2)
        >>> float(found.value), float(found.low), float(found.high)
        (2.0, 2.0, 2.0)
    """
    parts = [part.transpose(..., "seed") for part in (first, second)]
    pair = xr.DataArray(np.stack([part.values for part in parts]), dims=("pair", *parts[0].dims))
    low, high = bootstrap(ratio_of_means, pair)
    values = {"value": ratio_of_means(pair.values), "low": low, "high": high}
    return xr.Dataset({name: (pair.dims[1:-1], each) for name, each in values.items()})


def compared(data: xr.Dataset, task: str, variant: str, rival: str) -> xr.Dataset:
    """Average regret of a variant over that of its rival, dimension (optimizer)."""
    here = regret(data).sel(task=task)
    found = ratio(here.sel(variant=variant), here.sel(variant=rival))
    return found.assign_coords(optimizer=data.optimizer)


def own_momentum(data: xr.Dataset, task: str, optimizer: str) -> xr.Dataset:
    """What momentum of the optimiser's own changes: `value`, `low` and `high` of two ratios.

    Dimension (of): "regret", the average regret of the standard method with it over that without;
    "gain", the factor by which extrapolation changes the regret with it over that without.
    """
    chosen = [optimizer, OWN_MOMENTUM[optimizer]]
    values = regret(data).sel(task=task, optimizer=chosen, variant=[STANDARD, EXTRAPOLATION])

    def both(of: np.ndarray) -> np.ndarray:
        """From (optimizer, variant, seed) to (of)."""
        mean = of.mean(axis=-1)
        gain = mean[:, 1] / mean[:, 0]
        return np.array([mean[0, 0] / mean[1, 0], gain[0] / gain[1]])

    values = values.transpose("optimizer", "variant", "seed")
    low, high = bootstrap(both, values)
    found = {"value": both(values.values), "low": low, "high": high}
    return xr.Dataset(
        {name: ("of", each) for name, each in found.items()}, {"of": ["regret", "gain"]}
    )


@dataclass(frozen=True)
class OptimizerOnTask:
    """What one optimiser ends with on one task.

    Attributes:
        regret: average regret of the standard method.
        last: that of the last fifth of the iterations.
        rate: its learning rate.
        factors: what each of `FACTORS` multiplies the regret by.
        own_regret: what the optimiser's own momentum multiplies the regret by; None without.
        own_gain: what it multiplies the factor of extrapolation by; None without.
    """

    regret: Estimate
    last: Estimate
    rate: float
    factors: dict[str, Estimate]
    own_regret: Estimate | None
    own_gain: Estimate | None


@dataclass(frozen=True)
class OptimizersFinding:
    """What each optimiser ends with, and with which of them extrapolation gains.

    Attributes:
        found: by task and optimiser.
        at_an_end: task and optimiser whose best learning rate is the least or the largest tried.
        seeds: paired.
        tuning: others, for the learning rates.
        diverged: runs that did.
    """

    found: dict[str, dict[str, OptimizerOnTask]]
    at_an_end: list[tuple[str, str]]
    seeds: int
    tuning: int
    diverged: int

    def gaining(self, task: str, factor: str) -> list[str]:
        """The optimisers with which a factor's interval lies below 1."""
        return [name for name, one in self.found[task].items() if one.factors[factor].high < 1.0]

    @property
    def text(self) -> str:
        """All of it in words."""
        where, met = [], set()
        for task in self.found:
            for rate, factor in (("at the best rate", AT_BEST), (f"at {SLOW:g} of it", AT_SLOW)):
                names = self.gaining(task, factor)
                met |= set(names)
                where.append(f"on {NAMES[task]} {rate} with {', '.join(names) or 'none'}")
        with_own = sorted(met & set(OWN_MOMENTUM))
        verdict = "never with an optimiser that has momentum of its own"
        if with_own:
            owners = " and ".join(with_own)
            verdict = f"so it is not what momentum of the optimiser's own does: {owners} had that"
        ends = ", ".join(f"{name} ({task})" for task, name in self.at_an_end) or "none"
        tasks = " ".join(_task_in_words(task, each) for task, each in self.found.items())
        return (
            f"{tasks} Best rates at an end of those tried: {ends}. Extrapolation lowers the regret "
            f"beyond the noise {'; '.join(where)}; {verdict} ({self.seeds} paired seeds, "
            f"{self.tuning} others for the learning rates, 95 % intervals, each by itself; "
            f"{self.diverged} runs diverged)."
        )


def finding(data: xr.Dataset) -> OptimizersFinding:
    """What each optimiser ends with, what extrapolation gains with it, and what its rivals do."""
    return OptimizersFinding(
        {str(task): _of_task(data, str(task)) for task in data.task.values},
        at_an_end(data),
        data.sizes["seed"],
        data.attrs["tuning"],
        int((data.diverged > 0).sum()),
    )


def at_an_end(data: xr.Dataset) -> list[tuple[str, str]]:
    """Task and optimiser whose best learning rate is the least or the largest one tried.

    The best of all may lie beyond.
    """
    taken = data.learning_rate.sel(variant=STANDARD)
    ends = (taken == data.grid.min("number")) | (taken == data.grid.max("number"))
    return [
        (str(task), str(name))
        for task in data.task.values
        for name in data.optimizer.values[ends.sel(task=task).values]
    ]


def _of_task(data: xr.Dataset, task: str) -> dict[str, OptimizerOnTask]:
    names = [str(name) for name in data.optimizer.values]
    average, last = (f(data).sel(task=task, variant=STANDARD) for f in (regret, final))
    rates = data.learning_rate.sel(task=task, variant=STANDARD)
    seeds = data.sizes["seed"]
    factors = {what: compared(data, task, *pair) for what, pair in FACTORS.items()}
    own = {
        name: own_momentum(data, task, name)
        for name, without in OWN_MOMENTUM.items()
        if {name, without} <= set(names)
    }
    return {
        name: OptimizerOnTask(
            regret=mean_estimate(average.sel(optimizer=name).values, unit="reward"),
            last=mean_estimate(last.sel(optimizer=name).values, unit="reward"),
            rate=float(rates.sel(optimizer=name)),
            factors={
                what: _factor(found.sel(optimizer=name), seeds) for what, found in factors.items()
            },
            own_regret=_factor(own[name].sel(of="regret"), seeds) if name in own else None,
            own_gain=_factor(own[name].sel(of="gain"), seeds) if name in own else None,
        )
        for name in names
    }


def _factor(found: xr.Dataset, seeds: int) -> Estimate:
    value, low, high = (float(found[name]) for name in ("value", "low", "high"))
    return Estimate(value, low, high, "ratio", seeds)


def _task_in_words(task: str, found: dict[str, OptimizerOnTask]) -> str:
    ends = [
        f"{name} {plus_minus(one.regret)}, in the last fifth {plus_minus(one.last)} "
        f"(rate {one.rate:.3g})"
        for name, one in found.items()
    ]
    sentences = [f"{task.capitalize()}, average regret of the standard method: {'; '.join(ends)}"]
    for what in FACTORS:
        each = ", ".join(f"{name} {one.factors[what]:.2f}" for name, one in found.items())
        sentences.append(f"{what} {each}")
    sentences += [
        f"{name} over {OWN_MOMENTUM[name]}: regret without extrapolation {one.own_regret:.2f}, "
        f"factor of extrapolation {one.own_gain:.2f}"
        for name, one in found.items()
        if one.own_regret is not None and one.own_gain is not None
    ]
    return ". ".join(sentences) + "."


def draw(figure: Figure, data: xr.Dataset) -> None:
    """Regret with and without extrapolation for each optimiser, and the factors of `MARKS`."""
    figure.set_size_inches(7, 4.4)
    caption(
        figure,
        f"Bands and bars: 95 % intervals over {data.sizes['seed']} paired seeds, each by itself",
    )
    parts: Any = figure.subfigures(1, 2, width_ratios=(2.1, 1))
    _curves(parts[0], data, data.behaviour_suboptimality, "regret")
    column = parts[1].subplots(data.sizes["task"], 1, squeeze=False, sharex=True)[:, 0]
    for axes, task in zip(column, data.task.values, strict=True):
        _factors(axes, data, str(task))
    column[0].set_title("regret / standard's", fontsize=8)
    handles = column[0].get_legend_handles_labels()
    parts[1].legend(*handles, loc="outside lower center", fontsize=7)


def draw_losses(figure: Figure, data: xr.Dataset) -> None:
    """The loss that the inner training of each iteration ends with, for each optimiser."""
    figure.set_size_inches(7, 3.6)
    caption(
        figure,
        f"Bands: 95 % intervals over {data.sizes['seed']} seeds; dotted: log 2, the loss of a "
        "guess; the axis leaves out the extremes",
    )
    grid = _curves(figure, data, data.loss_after, "loss")
    # A step too large in the first iterations is not what the eye should compare.
    shown = data.loss_after.sel(variant=[STANDARD, EXTRAPOLATION]).mean("seed")
    low, high = np.nanpercentile(shown, [1, 98])
    for axes in grid.flat:
        axes.axhline(np.log(2.0), color="C1", lw=0.8, ls=":")
        axes.set(yscale="linear", ylim=(low - 0.01, high + 0.01))


def _curves(figure: Any, data: xr.Dataset, series: xr.DataArray, label: str) -> np.ndarray:
    """A row a task, a column an optimiser; the standard method and extrapolation at its rate."""
    grid = figure.subplots(
        data.sizes["task"], data.sizes["optimizer"], sharex="row", sharey="row", squeeze=False
    )
    for row, task in zip(grid, data.task.values, strict=True):
        for axes, name in zip(row, data.optimizer.values, strict=True):
            for variant, colour in ((STANDARD, "0.35"), (EXTRAPOLATION, "C0")):
                here = series.sel(task=task, optimizer=name, variant=variant).dropna("iteration")
                mean, half = mean_and_half(here)
                band = mean - half, mean + half
                axes.fill_between(here.iteration, *band, color=colour, alpha=0.2, lw=0)
                axes.semilogy(here.iteration, mean, color=colour, lw=1.2, label=variant)
            axes.tick_params(labelsize=7)
            if task == data.task.values[0]:
                axes.set_title(_short(name), fontsize=8)
        row[0].set_ylabel(f"{label}, {NAMES[str(task)]}")
        # A band that reaches zero runs out of the logarithmic axis.
        shown = series.sel(task=task, variant=[STANDARD, EXTRAPOLATION]).mean("seed")
        row[0].set_ylim(bottom=float(shown.min()) / 2)
    grid[-1, data.sizes["optimizer"] // 2].set_xlabel("iteration")
    figure.legend(*grid[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return grid


# What is compared with what, how it is called in the figure, its colour and marker.
MARKS = (
    (EXTRAPOLATION, STANDARD, "extrapolation", "C0", "o"),
    (MATCHED, STANDARD, r"matched $\beta$", "C4", "s"),
    (SLOW_EXTRAPOLATION, SLOW_STANDARD, f"extrapolation, {SLOW:g} of the rate", "C2", "o"),
    (SLOW_LARGER, SLOW_STANDARD, r"plain, that rate $/\,(1-\alpha)$", "C3", "s"),
)


def _factors(axes: Any, data: xr.Dataset, task: str) -> None:
    places = np.arange(data.sizes["optimizer"])[::-1]
    marks = [mark for mark in MARKS if mark[0] in data.variant]
    shifts = np.linspace(0.3, -0.3, len(marks) + 2)[1:-1]
    for shift, (variant, rival, label, colour, marker) in zip(shifts, marks, strict=True):
        found = compared(data, task, variant, rival)
        error = [found.value - found.low, found.high - found.value]
        style = {"fmt": marker, "ms": 3, "lw": 1, "color": colour, "label": label}
        axes.errorbar(found.value, places + shift, xerr=error, **style)
    axes.axvline(1.0, color="0.5", lw=0.8)
    axes.set(yticks=places, ylim=(-0.5, len(places) - 0.5))
    axes.set(yticklabels=[_short(name) for name in data.optimizer.values])
    axes.tick_params(labelsize=7)


def _short(name: object) -> str:
    return str(name).replace(" ", "\n", 1).replace("b1", r"$\beta_1$")
