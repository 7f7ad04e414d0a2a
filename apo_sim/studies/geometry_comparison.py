"""Which geometry of the proximal step: exact rates side by side, and who wins with finite data.

With exact preferences the geometry sets the rate (B3). With sampled ones it also sets which arms
are still drawn: under KL an arm may become so rare that the few labels it gets mislead, under
Euclidean it is not drawn at all any more, and under Burg it always is. Each geometry is judged at
its own best beta, chosen by the same number of trials on other seeds; beside it all are judged at
one common beta, in units in which a small step from the uniform policy is the same for all.

The agile Euclidean method is left out: an arm that is never drawn learns nothing, so that with
sampled preferences it takes the lazy one's path.
"""

import functools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import LogLocator

from apo_sim import theory
from apo_sim.checks import as_count
from apo_sim.estimate import Estimate
from apo_sim.momentum import Constant
from apo_sim.problems import Bandit
from apo_sim.progress import bar
from apo_sim.registry import FAMILIES, Family
from apo_sim.running import run
from apo_sim.statistics import (
    clopper_pearson,
    mean_and_half,
    mean_estimate,
    several,
    share_estimate,
)
from apo_sim.studies import matched_beta
from apo_sim.studies.caption import caption
from apo_sim.studies.geometry_kinds import COLOURS, KINDS, AnyKind, scale
from apo_sim.studies.kept import kept
from apo_sim.studies.wording import plus_minus
from apo_sim.sweep.devices import EVERYWHERE, LANES, shared_out
from apo_sim.sweep.lanes import in_blocks, precision, replicate_problem

CONTENDERS = tuple(name for name in KINDS if name != "Euclidean, agile")
WEIGHTS = tuple(10.0 ** (k / 2) for k in range(-4, 4))
FINE = tuple(10.0 ** (k / 4) for k in range(-8, 7))
ALPHAS = (0.0, 0.9)
SAMPLES = (30, 300, 3000)
HORIZONS = (3, 20)
OWN, COMMON = "own best beta", "common beta"
# A policy that gives the best arm less has lost it: it would be drawn once in a million pairs.
LOST = 1e-6
LANES_AT_ONCE = 256
# The bandit of the exact rates.
REWARD, REFERENCE = (0.8, 0.3, 0.0, -0.5), (0.15, 0.25, 0.3, 0.3)


def measure(
    *,
    seeds: int,
    seed: int = 0,
    out: str | Path | None = None,
    progress: bool = True,
    family: str | Family = "uniform",
    arms: int = 10,
    tuning: int | None = None,
    weights: Sequence[float] = WEIGHTS,
    alphas: Sequence[float] = ALPHAS,
    samples: Sequence[int] = SAMPLES,
    horizons: Sequence[int] = HORIZONS,
    **parameters: Any,
) -> xr.Dataset:
    """Gaps of every geometry at every beta, and on new seeds at the betas chosen by them.

    Args:
        seeds: to judge on.
        seed: all randomness is folded from it.
        out: folder of the runs at all betas, kept geometry by geometry.
        progress: show a bar.
        family: of problems, as in `apo_sim.sweep`.
        arms: number of arms K.
        tuning: seeds to choose beta on; by default half as many as `seeds`.
        weights: betas in units of `geometry_kinds.scale`, at which small steps are alike.
        alphas: extrapolations.
        samples: preference pairs an iteration N.
        horizons: numbers of updates T.
        **parameters: of the family.

    Returns:
        `tuning_gap` and `lost` (whether the best arm has lost its mass), dimensions (geometry,
        weight, alpha, samples, trial, iteration); `best`, the weights chosen by each geometry for
        itself and in common, dimensions (contest, geometry, alpha, samples, iteration); `gap` at
        them on new seeds, which are one dimension more.

    Example:
        >>> data = measure(
        ...     seeds=2, arms=3, weights=[0.1, 1.0], alphas=[0.0], samples=[30], horizons=[1, 2]
        ... )
        >>> dict(data.gap.sizes)
        {'geometry': 5, 'contest': 2, 'alpha': 1, 'samples': 1, 'iteration': 2, 'seed': 2}
    """
    several(seeds)
    tuning = max(seeds // 2, 2) if tuning is None else as_count("tuning", tuning)
    chosen = FAMILIES.chosen(family)
    of_family = tuple(sorted(parameters.items()))
    shape = (chosen.content, of_family, arms, tuple(horizons))
    axes = {
        "weight": list(weights),
        "alpha": list(alphas),
        "samples": list(samples),
        "trial": list(range(tuning)),
    }
    settings = {"seed": seed, "family": chosen.identity, "of_family": of_family, "arms": arms}
    settings |= {"horizons": list(horizons), **axes}
    with bar("runs of a geometry", 2 * len(CONTENDERS), 0, progress) as done:

        def collected(name: str, settings: Any, compute: Callable[[str], xr.Dataset]) -> xr.Dataset:
            parts = []
            for place, kind in enumerate(CONTENDERS):
                store = None if out is None else Path(out) / f"{name}_{place}.nc"
                parts.append(kept(store, settings, functools.partial(compute, kind)))
                done(1)
            return _along("geometry", CONTENDERS, parts)

        tuned = collected("tuning", settings, lambda kind: _grid(shape, seed, kind, axes))
        mean = tuned.tuning_gap.mean("trial")
        contests = {OWN: mean.idxmin("weight"), COMMON: mean.mean("geometry").idxmin("weight")}
        each = [chosen.broadcast_like(contests[OWN]) for chosen in contests.values()]
        best: xr.DataArray = _along("contest", contests, each)
        replicates = range(tuning, tuning + seeds)
        judged = collected(
            "judged",
            {**settings, "replicates": [tuning, tuning + seeds], "best": best.values.tolist()},
            lambda kind: _at(shape, seed, kind, best.sel(geometry=kind), replicates),
        )
    return tuned.assign(gap=judged.gap, best=best, arms=arms)


def _along(name: str, labels: Iterable[str], parts: Sequence[Any]) -> Any:
    """Parts side by side along a new dimension."""
    return xr.concat(parts, xr.Variable(name, list(labels)))


@functools.lru_cache(maxsize=16)
def _program(shape: tuple[Any, ...], double: bool) -> Callable[..., Any]:
    """(number of the geometry, seed, lanes) -> gap and mass of the best arm at the horizons.

    One program for all geometries: they share the solver, which takes most of its compilation.
    """
    family, parameters, arms, horizons = shape

    def lane(which: Any, seed: Any, setting: dict[str, Any]) -> dict[str, Any]:
        replicate, own = setting["replicate"], dict(parameters)
        problem, key = replicate_problem(family, seed, replicate, 1, arms, **own)
        found = run(
            problem,
            momentum=Constant(setting["alpha"]),
            beta=setting["beta"],
            iterations=max(horizons),
            samples=setting["samples"],
            key=key,
            geometry=AnyKind(which),
        )
        places = np.array(horizons) - 1
        return {"gap": found.suboptimality[places], "off": found.tv[places]}

    lanes = jax.vmap(lane, (None, None, 0))
    return shared_out(lanes, EVERYWHERE, EVERYWHERE, LANES)


def _runs(shape: Any, seed: int, name: str, lanes: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Gap and lost mass of every lane, each of shape (lanes, horizons)."""
    program = _program(shape, precision())
    which, batch = np.int32(CONTENDERS.index(name)), LANES_AT_ONCE * jax.local_device_count()
    return in_blocks(lambda block: program(which, np.uint32(seed), block), lanes, batch)


def _lanes(shape: Any, name: str, weight: Any, alpha: Any, samples: Any, replicate: Any) -> Any:
    full = np.broadcast_arrays(weight, alpha, samples, replicate)
    weight, alpha, samples, replicate = (np.ravel(each) for each in full)
    return {
        "beta": weight * scale(name, shape[2]),
        "alpha": alpha.astype(float),
        "samples": samples.astype(float),
        "replicate": replicate.astype(np.uint32),
    }


def _grid(shape: Any, seed: int, name: str, axes: dict[str, list[Any]]) -> xr.Dataset:
    """One geometry at every beta."""
    lanes = _lanes(shape, name, *np.meshgrid(*axes.values(), indexing="ij"))
    found = _runs(shape, seed, name, lanes)
    dims, coords = (*axes, "iteration"), {**axes, "iteration": list(shape[3])}
    size = [len(values) for values in coords.values()]
    gap, off = (xr.DataArray(found[n].reshape(size), coords, dims) for n in ("gap", "off"))
    return xr.Dataset({"tuning_gap": gap, "lost": (off > 1 - LOST).astype(np.int8)})


def _at(
    shape: Any, seed: int, name: str, chosen: xr.DataArray, replicates: Sequence[int]
) -> xr.Dataset:
    """One geometry at the weights chosen for each alpha, N and T, on seeds of their own."""
    alpha, samples = (chosen[n].broadcast_like(chosen) for n in ("alpha", "samples"))
    # Cells that chose the same weight share their runs.
    settings = np.stack([each.values.ravel() for each in (chosen, alpha, samples)], axis=1)
    unique, place = np.unique(settings, axis=0, return_inverse=True)
    weight, extrapolation, pairs = unique.T[..., None]
    lanes = _lanes(shape, name, weight, extrapolation, pairs, np.array(replicates))
    found = _runs(shape, seed, name, lanes)["gap"].reshape(len(unique), len(replicates), -1)
    horizon = xr.DataArray(np.arange(chosen.sizes["iteration"]), dims="iteration")
    values = found[place.ravel(), :, horizon.broadcast_like(chosen).values.ravel()]
    gap = xr.DataArray(
        values.reshape(*chosen.shape, len(replicates)),
        {**chosen.drop_vars("geometry").coords, "seed": np.arange(len(replicates))},
        (*chosen.dims, "seed"),
    )
    return gap.to_dataset(name="gap")


def beaten(gap: xr.DataArray) -> xr.DataArray:
    """Whether some other geometry surely leaves a smaller gap, dimension geometry and the cells.

    Args:
        gap: dimensions geometry, seed and those of the cells, whose intervals hold at once.
    """
    sure = matched_beta.better(gap.rename(geometry="contender"))
    return sure.any("contender").rename(rival="geometry")


def winners(gap: xr.DataArray) -> xr.DataArray:
    """The place of the geometry that surely leaves less than every other, or -1; as `beaten`."""
    won = matched_beta.winners(gap.rename(geometry="contender"))
    return won.drop_vars("contender", errors="ignore")


def ends(data: xr.Dataset) -> xr.DataArray:
    """Whether the own best beta is the least or the largest that was tried: then none is best."""
    own = data.best.sel(contest=OWN)
    return (own == data.weight.min()) | (own == data.weight.max())


@dataclass(frozen=True)
class GeometryCell:
    """A setting that geometries are compared in."""

    samples: int
    iterations: int
    alpha: float

    def __str__(self) -> str:
        return f"N = {self.samples:,}, T = {self.iterations}, alpha = {self.alpha:g}"


@dataclass(frozen=True)
class ContestFinding:
    """Who wins where, at one choice of beta.

    Attributes:
        won: the cells in which a geometry surely leaves less than every other.
        beaten: in how many cells it surely leaves more than some other.
    """

    won: dict[str, list[GeometryCell]]
    beaten: dict[str, int]


@dataclass(frozen=True)
class LargestLead:
    """The cell in which the winner leaves the smallest share of the runner-up's gap.

    Attributes:
        cell: the setting.
        gaps: the two, the winner first.
    """

    cell: GeometryCell
    gaps: dict[str, Estimate]


@dataclass(frozen=True)
class BestArmLost:
    """How often the best arm has lost its mass, without momentum at the middle N.

    Attributes:
        most: share of the trials at the beta where that happens most.
        weight: that beta.
        own: the share at the geometry's best beta.
    """

    most: Estimate
    weight: float
    own: Estimate


@dataclass(frozen=True)
class GeometryFinding:
    """Which geometry is best, at its own beta and at a common one.

    Attributes:
        arms: K.
        cells: (N, T, alpha).
        contests: by choice of beta.
        lead: at their own best beta; None where nobody leads surely.
        at_an_end: in how many choices the best beta is the first or the last tried.
        choices: how many there were.
        lost: by geometry.
        lost_samples: N of these.
        lost_iterations: T of these.
        gaps: how many were measured.
        trials: seeds that beta was chosen on.
        seeds: others, judged on.
    """

    arms: int
    cells: int
    contests: dict[str, ContestFinding]
    lead: LargestLead | None
    at_an_end: int
    choices: int
    lost: dict[str, BestArmLost]
    lost_samples: int
    lost_iterations: int
    gaps: int
    trials: int
    seeds: int

    @property
    def text(self) -> str:
        """All of it in words."""
        contests = " ".join(self._contest(*item) for item in self.contests.items())
        lead = "Nobody leads surely."
        if self.lead is not None:
            gaps = ", ".join(f"{name} {plus_minus(gap)}" for name, gap in self.lead.gaps.items())
            lead = f"The largest lead, at {self.lead.cell}: {gaps}."
        lost = "; ".join(
            f"{name} {each.most:.0%} at {each.weight:.2g} and {each.own:.0%} at its best"
            for name, each in self.lost.items()
        )
        return (
            f"K = {self.arms}. {contests} {lead} The best beta is the first or the last tried in "
            f"{self.at_an_end} of {self.choices} choices. Mass of the best arm below {LOST:g} at "
            f"N = {self.lost_samples:,}, T = {self.lost_iterations}, at the beta where that "
            f"happens most: {lost}. ({self.gaps:,} gaps; beta chosen on {self.trials} seeds and "
            f"judged on {self.seeds} others; paired 95 % intervals, corrected for all cells and "
            "pairs.)"
        )

    def _contest(self, contest: str, found: ContestFinding) -> str:
        wins = ", ".join(
            f"{name} in {len(cells)} ({'; '.join(map(str, cells))})"
            for name, cells in found.won.items()
        )
        losses = ", ".join(f"{name} in {count}" for name, count in found.beaten.items())
        return (
            f"At {'their' if contest == OWN else 'a'} {contest}, of {self.cells} cells (N, T, "
            f"alpha), surely the least gap has {wins or 'no geometry'}; surely beaten by some "
            f"other is {losses}."
        )


def finding(data: xr.Dataset) -> GeometryFinding:
    """Who wins, at its own best beta and at a common one, and how often the best arm is lost."""
    middle, at_ends = _middle(data), ends(data)
    return GeometryFinding(
        arms=int(data.arms),
        cells=data.gap.isel(contest=0, geometry=0, seed=0).size,
        contests={
            str(contest): _contest(data.gap.sel(contest=contest)) for contest in data.contest.values
        },
        lead=_largest_lead(data.gap.sel(contest=OWN)),
        at_an_end=int(at_ends.sum()),
        choices=at_ends.size,
        lost={name: _lost(middle, name) for name in CONTENDERS},
        lost_samples=int(middle.samples),
        lost_iterations=int(middle.iteration),
        gaps=data.tuning_gap.isel(iteration=0).size + data.gap.isel(iteration=0).size,
        trials=data.sizes["trial"],
        seeds=data.sizes["seed"],
    )


def _contest(gap: xr.DataArray) -> ContestFinding:
    won, lost = winners(gap), beaten(gap)
    stacked = won.stack(cell=("samples", "iteration", "alpha"))
    cells = {
        name: [_cell(*cell) for cell in stacked.cell.values[stacked.values == place]]
        for place, name in enumerate(CONTENDERS)
    }
    return ContestFinding(
        {name: where for name, where in cells.items() if where},
        {name: int(lost.sel(geometry=name).sum()) for name in CONTENDERS},
    )


def _cell(samples: float | int, iterations: int, alpha: float | int) -> GeometryCell:
    return GeometryCell(int(samples), int(iterations), float(alpha))


def _largest_lead(gap: xr.DataArray) -> LargestLead | None:
    won, mean = winners(gap), gap.mean("seed")
    two = np.sort(mean.transpose(..., "geometry").values, axis=-1)[..., :2]
    share = mean.isel(geometry=0, drop=True).copy(data=two[..., 0] / two[..., 1])
    share = share.where(won >= 0)
    if not bool(share.notnull().any()):
        return None
    cell = gap.isel({name: value for name, value in share.argmin(...).items()})
    order = cell.mean("seed").argsort().values[:2]
    return LargestLead(
        _cell(*(cell[name].item() for name in ("samples", "iteration", "alpha"))),
        {
            CONTENDERS[place]: mean_estimate(cell.isel(geometry=place).values, unit="reward")
            for place in order
        },
    )


def _lost(middle: xr.Dataset, name: str) -> BestArmLost:
    each = middle.lost.sel(geometry=name)
    worst = each.isel(weight=each.mean("trial").argmax("weight"))
    own = each.sel(weight=middle.best.sel(contest=OWN, geometry=name))
    most, at_best = (share_estimate(int(lost.sum()), lost.size) for lost in (worst, own))
    return BestArmLost(most, float(worst.weight), at_best)


def _middle(data: xr.Dataset) -> xr.Dataset:
    """The cell that the figure shows beta by beta: a middle N, no momentum, the last T."""
    return data.isel(samples=data.sizes["samples"] // 2, alpha=0, iteration=-1)


def draw(figure: Figure, data: xr.Dataset) -> None:
    """Exact rates; the gap over beta; how often the best arm is lost; who is surely the best."""
    figure.set_size_inches(7.0, 6.4)
    shown = _middle(data)
    n, t = int(shown.samples), int(shown.iteration)
    caption(
        figure,
        f"$K = {int(data.arms)}$; bands: 95 % intervals over {data.sizes['trial']} seeds, each "
        f"point by itself. Below right: those that no other\nsurely beats, on "
        f"{data.sizes['seed']:,} other seeds, corrected for all cells and pairs. "
        r"$\beta$ is such that small steps are alike.",
    )
    (first, second), (third, fourth) = figure.subplots(2, 2)
    _draw_rates(first)
    for name in CONTENDERS:
        each = shown.sel(geometry=name)
        _band(second, each.tuning_gap.rename(trial="seed"), COLOURS[name])
        _lost_band(third, each.lost, COLOURS[name])
    second.set(xscale="log", yscale="log", xlabel=r"$\beta$", ylabel="gap (reward)")
    second.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    second.yaxis.set_major_formatter("{x:g}")
    second.yaxis.set_minor_formatter("")
    second.set_title(rf"Sampled: $N = {n}$, $T = {t}$, $\alpha = {float(shown.alpha):g}$")
    third.set(xscale="log", xlabel=r"$\beta$", ylim=(-0.03, 1.03))
    third.set(ylabel=f"share with mass below {LOST:g}", title="The best arm is lost, same runs")
    _draw_left(fourth, data)
    handles = [Patch(color=COLOURS[name]) for name in CONTENDERS]
    figure.legend(handles, CONTENDERS, loc="outside lower center", ncols=5)


def _draw_rates(axes: Any) -> None:
    bandit = Bandit(jnp.array([REWARD]), jnp.log(jnp.array([REFERENCE])))
    gammas = np.geomspace(0.1, 2e4, 300)
    for name in CONTENDERS:

        @jax.jit
        @jax.vmap
        def distance(gamma, geometry=KINDS[name]):
            return bandit.mass_off_best(theory.exact_policy(bandit, gamma, geometry))[0]

        tv = np.asarray(distance(gammas))
        axes.plot(gammas[tv > 0] * float(bandit.gap[0]), tv[tv > 0], color=COLOURS[name])
    axes.set(xscale="log", yscale="log", ylim=(1e-9, 2), title="Exact preferences")
    axes.set(xlabel=r"$\gamma\,\Delta$", ylabel=r"total variation to $\pi^*$")


def _band(axes: Any, values: xr.DataArray, colour: str) -> None:
    mean, half = mean_and_half(values)
    low = np.maximum(mean - half, mean / 10)  # the axis is logarithmic
    axes.fill_between(values.weight, low, mean + half, color=colour, alpha=0.2, lw=0)
    axes.plot(values.weight, mean, "o-", color=colour, markersize=3)


def _lost_band(axes: Any, lost: xr.DataArray, colour: str) -> None:
    counts = lost.sum("trial").values
    ends = np.array([clopper_pearson(int(count), lost.sizes["trial"]) for count in counts])
    axes.fill_between(lost.weight, *ends.T, color=colour, alpha=0.2, lw=0)
    axes.plot(lost.weight, counts / lost.sizes["trial"], "o-", color=colour, markersize=3)


def _draw_left(axes: Any, data: xr.Dataset) -> None:
    """Who is not surely beaten: columns N; rows contest, T and alpha; a bar for each geometry."""
    parts = [~beaten(data.gap.sel(contest=name)) for name in data.contest.values]
    left = xr.concat(parts, "contest")
    order = ("contest", "iteration", "alpha", "samples", "geometry")
    rows = left.transpose(*order).values.reshape(-1, *left.transpose(*order).shape[-2:])
    for row, columns in enumerate(rows):
        for column, standing in enumerate(columns):
            for place, name in enumerate(CONTENDERS):
                if standing[place]:
                    corner = column + 0.06 + 0.88 * place / len(CONTENDERS), row + 0.15
                    size = 0.88 / len(CONTENDERS), 0.7
                    axes.add_patch(Rectangle(corner, *size, color=COLOURS[name], lw=0))
    labels = [
        rf"$T = {t}$, $\alpha = {a:g}$" for t in left.iteration.values for a in left.alpha.values
    ] * left.sizes["contest"]
    axes.set_xticks(np.arange(left.sizes["samples"]) + 0.5, [f"{n:,}" for n in left.samples.values])
    axes.set_yticks(np.arange(len(rows)) + 0.5, labels, fontsize=7.5)
    half = len(rows) / 2
    for block, name in enumerate((r"own best $\beta$", r"common $\beta$")):
        axes.text(1.02, (block + 0.5) * half, name, transform=axes.get_yaxis_transform(),
                  va="center", rotation=270, fontsize=8.5)  # fmt: skip
    axes.axhline(half, color="0.3", lw=1)
    axes.set(xlim=(0, left.sizes["samples"]), ylim=(len(rows), 0), title="Not surely beaten")
    axes.set(xlabel="preference pairs, $N$")
    axes.grid(False)
