"""V8: the methods of the field side by side, on the same problems with the same number of labels.

A method that learns offline gets all labels at once, of responses of the reference policy; one
that collects its data itself gets an equal share of them in each of T iterations. Every method is
tuned by the same number of trials on seeds of their own, separately in every cell (problems, rate
of wrong labels, number of labels), and judged on new ones, on which all meet the same problems.
Momentum on top of an iterative method is a method of its own, tuned anew.
"""

import functools
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from apo_sim.checks import as_count
from apo_sim.errors import InvalidArgument
from apo_sim.estimate import Estimate
from apo_sim.loop import solve
from apo_sim.progress import bar
from apo_sim.statistics import CONFIDENCE, mean_and_half, mean_estimate, several
from apo_sim.studies import _field_figure, matched_beta
from apo_sim.studies.field_methods import BANDITS, EACH, GAMES, ONCE, Contender, Setting
from apo_sim.studies.field_problems import BANDIT_KINDS, GAME_KINDS, bandit, game
from apo_sim.studies.kept import kept
from apo_sim.studies.wording import plus_minus
from apo_sim.sweep.lanes import over_lanes

LABELS = (100, 1000, 10_000, 100_000)
FLIPPED = (0.0, 0.1)
ALPHAS = (0.3, 0.9)
ITERATIONS = 10
# Methods, names of the problems, and a problem of a key and of the place of its name.
PROBLEMS: dict[str, tuple[Mapping[str, Contender], Sequence[str], Callable[..., Any]]] = {
    "bandits": (BANDITS, BANDIT_KINDS, bandit),
    "games": (GAMES, GAME_KINDS, game),
}
CELL = ("problem", "flipped", "labels")
LANES_AT_ONCE = 256


def measure(
    *,
    seeds: int,
    seed: int = 0,
    out: str | Path | None = None,
    progress: bool = True,
    problems: str = "bandits",
    tuning: int | None = None,
    methods: Sequence[str] | None = None,
    labels: Sequence[int] = LABELS,
    flipped: Sequence[float] = FLIPPED,
    alphas: Sequence[float] = ALPHAS,
    iterations: int = ITERATIONS,
) -> xr.Dataset:
    """Gaps of every method at every trial, and on new seeds at the best one.

    Args:
        seeds: to judge on.
        seed: all randomness is folded from it.
        out: folder of the runs, kept method by method.
        progress: show a bar.
        problems: "bandits" or "games".
        tuning: seeds to tune on; by default half as many as `seeds`.
        methods: names in `field_methods`; by default all.
        labels: n, of a whole run; multiples of `iterations`.
        flipped: probabilities of a wrong label.
        alphas: extrapolations of momentum on top, beside none.
        iterations: T, of methods that collect their own data.

    Returns:
        `tuning_gap`, a mean over the seeds of tuning, dimensions (contender, problem, flipped,
        labels, trial); `best`, the trial chosen; `gap`, on new seeds, dimensions (contender,
        problem, flipped, labels, seed). Coordinates of a contender are the name of its method,
        `base`, and the `alpha` on top of it.

    Raises:
        InvalidArgument: unknown problems or methods, labels that the iterations do not share.

    Example:
        >>> data = measure(
        ...     seeds=2,
        ...     problems="games",
        ...     methods=["SPPO"],
        ...     labels=[20],
        ...     flipped=[0.0],
        ...     alphas=[0.3],
        ...     iterations=2,
        ...     progress=False,
        ... )
        >>> data.contender.values.tolist(), dict(data.gap.sizes)["seed"]
        (['SPPO', 'SPPO, α = 0.3'], 2)
    """
    several(seeds)
    tuning = max(seeds // 2, 2) if tuning is None else as_count("tuning", tuning)
    chosen, kinds = _chosen(problems, methods), PROBLEMS[problems][1]
    for n in labels:
        if as_count("labels", n) % as_count("iterations", iterations):
            raise InvalidArgument(
                "labels",
                n,
                "cannot be divided among the iterations",
                f"pass multiples of {iterations}",
            )
    axes = {"problem": list(kinds), "flipped": list(flipped), "labels": list(labels)}
    settings = {"seed": seed, "tuning": tuning, "seeds": seeds, "T": iterations, **axes}
    parts = []
    with bar("methods", len(chosen), 0, progress) as done:
        for name in chosen:
            extrapolations = (0.0, *(alphas if PROBLEMS[problems][0][name].accelerates else ()))
            store = None if out is None else Path(out) / f"{_file(problems, name)}.nc"
            compute = functools.partial(
                _tuned_and_judged, problems, name, extrapolations, iterations, seed,
                tuning, seeds, axes,
            )  # fmt: skip
            parts.append(kept(store, {**settings, "alphas": list(extrapolations)}, compute))
            done(1)
    return xr.concat(parts, "contender").assign_attrs(
        problems=problems, iterations=iterations, tuning=tuning
    )


def _chosen(problems: str, methods: Sequence[str] | None) -> list[str]:
    if problems not in PROBLEMS:
        raise InvalidArgument(
            "problems",
            problems,
            "are not problems of this study",
            f"pass one of {sorted(PROBLEMS)}",
        )
    known = PROBLEMS[problems][0]
    for name in methods or ():
        if name not in known:
            raise InvalidArgument(
                "methods",
                name,
                f"is not a method for {problems}",
                f"pass one or more of {list(known)}",
            )
    return list(known if methods is None else dict.fromkeys(methods))


def _file(problems: str, name: str) -> str:
    return f"{problems}_{list(PROBLEMS[problems][0]).index(name)}"


def label(name: str, alpha: float) -> str:
    """What a method with momentum on top is called.

    Example:
        >>> label("SPPO", 0.0), label("SPPO", 0.3)
        ('SPPO', 'SPPO, α = 0.3')
    """
    return f"{name}, α = {alpha:g}" if alpha else name


def _lane(lane: dict[str, Any], problems: str, name: str, iterations: int) -> Any:
    """The gap that one run ends with."""
    methods, _, draw_problem = PROBLEMS[problems]
    contender = methods[name]
    own = jax.random.fold_in(jax.random.key(lane["seed"]), lane["replicate"])
    of_problem, of_data = jax.random.split(own)
    problem, features = draw_problem(of_problem, lane["problem"])
    numbers = {each: lane[each] for each in ("first", "second", "alpha", "flipped", "labels")}
    rounds = 1 if contender.labels == ONCE else iterations
    share = rounds if contender.labels == EACH else 1
    found = solve(
        problem,
        contender.make(Setting(**numbers, features=features)),
        iterations=rounds,
        samples=contender.of_pair * lane["labels"] / share,
        key=of_data,
        save="average" if contender.average else "metrics",
    )
    gaps = found.average_suboptimality if contender.average else found.suboptimality
    return gaps[-1]


def _runs(problems: str, name: str, iterations: int, seed: int, lanes: Any) -> np.ndarray:
    """The gap of every lane, whose settings are broadcast against each other."""
    arrays = dict(zip(lanes, np.broadcast_arrays(*lanes.values()), strict=True))
    shape = next(iter(arrays.values())).shape
    flat = {each: values.ravel() for each, values in arrays.items()}
    flat["seed"] = np.full(flat["replicate"].shape, seed, np.uint32)
    found = over_lanes(
        _lane, flat, at_once=LANES_AT_ONCE, problems=problems, name=name, iterations=iterations
    )
    return found.reshape(shape)


def _tuned_and_judged(
    problems: str,
    name: str,
    alphas: Sequence[float],
    iterations: int,
    seed: int,
    tuning: int,
    seeds: int,
    axes: dict[str, list[Any]],
) -> xr.Dataset:
    """All trials of a method on the seeds of tuning, and the best on those to judge on."""
    trials = np.array(PROBLEMS[problems][0][name].trials)
    points = (alphas, range(len(axes["problem"])), axes["flipped"], axes["labels"])
    sizes = np.meshgrid(*points, range(len(trials)), indexing="ij", sparse=True)
    *grid, place = (each[..., None] for each in sizes)
    cells = dict(zip(("alpha", *CELL), grid, strict=True))
    run = functools.partial(_runs, problems, name, iterations, seed)
    replicates = np.arange(tuning, dtype=np.uint32)
    gaps = run({**cells, **_numbers(trials, place), "replicate": replicates}).mean(axis=-1)
    best = gaps.argmin(axis=-1)
    judged = run(
        {
            **{each: values[..., 0, :] for each, values in cells.items()},
            **_numbers(trials, best[..., None]),
            "replicate": np.arange(tuning, tuning + seeds, dtype=np.uint32),
        }
    )
    dims = ("contender", *CELL)
    return xr.Dataset(
        {
            "tuning_gap": ((*dims, "trial"), gaps),
            "best": (dims, best),
            "gap": ((*dims, "seed"), judged),
        },
        {
            **axes,
            "contender": [label(name, alpha) for alpha in alphas],
            "base": ("contender", [name] * len(alphas)),
            "alpha": ("contender", list(alphas)),
        },
    )


def _numbers(trials: np.ndarray, place: np.ndarray) -> dict[str, np.ndarray]:
    return {"first": trials[place, 0], "second": trials[place, 1]}


def rivals(data: xr.Dataset) -> xr.Dataset:
    """Those that compete: what is told the rewards themselves is left out."""
    known = PROBLEMS[data.attrs["problems"]][0]
    fair = [not known[name].sees_rewards for name in data.base.values.tolist()]
    return data.isel(contender=np.array(fair))


def standing(gap: xr.DataArray) -> xr.DataArray:
    """Whether no other method surely leaves a smaller gap, dimensions (contender, cells).

    Args:
        gap: dimensions contender, seed and the cells. Intervals are paired and hold at once for all
            cells and pairs of methods.
    """
    sure = matched_beta.better(gap)
    return ~sure.any("contender").rename(rival="contender")


def excess(gap: xr.DataArray) -> xr.DataArray:
    """A method's mean gap over the least one of the cell; the gap of a thousandth counts as none.

    Example:
        >>> gap = xr.DataArray([[0.1, 0.1], [0.2, 0.4]], dims=("contender", "seed"))
        >>> excess(gap).values.round(6).tolist()
        [1.0, 3.0]
    """
    mean = gap.mean("seed").clip(NEGLIGIBLE)
    return mean / mean.min("contender")


# Gaps below it are not told apart by their ratio: rewards and probabilities span 1 or 2.
NEGLIGIBLE = 1e-3
# A relative change that is none.
SMALL = 0.01


def league(data: xr.Dataset) -> xr.DataArray:
    """The geometric mean over the numbers of labels of `excess`, dimensions contender, region."""
    ratio = excess(rivals(data).gap)
    return ratio.copy(data=np.log(ratio)).mean("labels").pipe(np.exp)


def momentum_adds(data: xr.Dataset, confidence: float = CONFIDENCE) -> xr.Dataset:
    """What momentum on top changes of each method's gap: `mean`, `half` its interval, `sure`.

    Paired over the seeds, each tuned on its own; the intervals of all cells, methods and
    extrapolations hold at once. Relative to the gap without, `NEGLIGIBLE` at least; sure is a
    change of more than `SMALL`. They know of the seeds that were judged on, not of the luck in
    tuning, which few seeds of tuning leave much to.
    """
    with_it = data.gap.isel(contender=(data.alpha > 0).values)
    without = data.gap.sel(contender=with_it.base.values).assign_coords(contender=with_it.contender)
    size = without.mean("seed").clip(NEGLIGIBLE)
    cells = with_it.size // with_it.sizes["seed"]
    mean, half = mean_and_half(
        with_it - without.drop_vars(("base", "alpha")), 1 - (1 - confidence) / cells
    )
    found = xr.Dataset({"mean": mean / size, "half": half / size})
    return found.assign(sure=abs(found["mean"]) - found.half > SMALL)


def ends(data: xr.Dataset) -> xr.DataArray:
    """Whether the best trial is an end of the line that was tried (of one number tuned)."""
    known = PROBLEMS[data.attrs["problems"]][0]
    one = np.array([known[name].trials[0][1] == 0.0 for name in data.base.values.tolist()])
    at_end = (data.best == 0) | (data.best == data.sizes["trial"] - 1)
    return at_end & xr.DataArray(one, dims="contender")


@dataclass(frozen=True)
class Leader:
    """Who leaves the least mean gap in a cell.

    Attributes:
        method: its name.
        gap: that gap.
        standing: how many methods are not surely worse than some other, the leader included.
        methods: how many there are.
    """

    method: str
    gap: Estimate
    standing: int
    methods: int

    @property
    def text(self) -> str:
        """It in words."""
        small = self.gap.value < NEGLIGIBLE
        gap = f"below {NEGLIGIBLE:g}" if small else plus_minus(self.gap)
        return f"{self.method} ({gap}; {self.standing} of {self.methods} not surely worse)"


@dataclass(frozen=True)
class MomentumAdds:
    """In how many cells momentum on top surely helps a method, and in how many it surely hurts."""

    helps: int
    hurts: int


@dataclass(frozen=True)
class FieldFinding:
    """How the methods of the field compare.

    Attributes:
        leaders: by problem, share of wrong labels and number of labels.
        league: mean ratio to the least gap of a cell, by method, the least first.
        momentum: what it adds, by method with momentum.
        cells: of each method.
        at_an_end: in how many choices the best trial is an end of its line.
        choices: along a line.
        methods: how many there are, with momentum and without.
        trials: of each.
        seeds: new ones, in every cell.
        runs: in all.
    """

    leaders: dict[tuple[str, float, int], Leader]
    league: dict[str, float]
    momentum: dict[str, MomentumAdds]
    cells: int
    at_an_end: int
    choices: int
    methods: int
    trials: int
    seeds: int
    runs: int

    @property
    def text(self) -> str:
        """All of it in words."""
        regions = dict.fromkeys((problem, flips) for problem, flips, _ in self.leaders)
        best = [f"{name} {ratio:.2f}" for name, ratio in list(self.league.items())[:5]]
        return (
            f"{' '.join(self._region(*region) for region in regions)} Least on the whole (mean "
            f"ratio to the least gap): {', '.join(best)}. {self._momentum()} The best trial is an "
            f"end of its line in {self.at_an_end} of {self.choices} choices. ({self.methods} "
            f"methods, {self.trials} trials each; judged on {self.seeds:,} new seeds in every "
            f"cell, {self.runs:,} runs in all; paired 95 % intervals, corrected for all cells and "
            "pairs.)"
        )

    def _region(self, problem: str, flips: float) -> str:
        cells = [
            f"n = {n:,}: {leader.text}"
            for (*region, n), leader in self.leaders.items()
            if region == [problem, flips]
        ]
        return f"{problem}, {flips:.0%} wrong labels: {'; '.join(cells)}."

    def _momentum(self) -> str:
        if not self.momentum:
            return "No momentum was tried."
        told = [
            f"{name} {adds.helps} and {adds.hurts}"
            for name, adds in self.momentum.items()
            if adds.helps or adds.hurts
        ]
        if not told:
            return (
                f"Momentum on top surely changes nothing in any of {self.cells} cells of each "
                "method."
            )
        rest = len(self.momentum) - len(told)
        return (
            f"Momentum on top surely helps and surely hurts, of {self.cells} cells each: "
            f"{'; '.join(told)}{f'; in no cell of the other {rest}' if rest else ''}."
        )


def finding(data: xr.Dataset) -> FieldFinding:
    """Who leads in each region, who cannot be told from the leader, and what momentum adds."""
    fair = rivals(data)
    left = standing(fair.gap)
    regions = itertools.product(data.problem.values, data.flipped.values, data.labels.values)
    table = league(data).mean(("problem", "flipped")).sortby(lambda each: each)
    at_ends = ends(data)
    return FieldFinding(
        leaders={
            (str(problem), float(flips), int(n)): _leader(fair.gap.sel(cell), left.sel(cell))
            for problem, flips, n in regions
            for cell in [{"problem": problem, "flipped": flips, "labels": n}]
        },
        league={str(name): float(table.sel(contender=name)) for name in table.contender.values},
        momentum=_momentum(data),
        cells=data.gap.isel(contender=0, seed=0).size,
        at_an_end=int(at_ends.sum()),
        choices=int((at_ends | True).sum()),
        methods=data.sizes["contender"],
        trials=data.sizes["trial"],
        seeds=data.sizes["seed"],
        runs=data.gap.size + data.tuning_gap.size * data.attrs["tuning"],
    )


def _leader(gap: xr.DataArray, left: xr.DataArray) -> Leader:
    first = gap.mean("seed").idxmin("contender").item()
    estimate = mean_estimate(gap.sel(contender=first).values, unit="reward")
    return Leader(first, estimate, int(left.sum()), left.size)


def _momentum(data: xr.Dataset) -> dict[str, MomentumAdds]:
    if not bool((data.alpha > 0).any()):
        return {}
    adds = momentum_adds(data)
    less, more = ((adds.sure & (adds["mean"] * sign > 0)).sum(CELL) for sign in (-1, 1))
    return {
        str(name): MomentumAdds(int(less.sel(contender=name)), int(more.sel(contender=name)))
        for name in adds.contender.values
    }


def draw(figure: Figure, data: xr.Dataset) -> None:
    """Gaps over labels; who wins where; what momentum adds."""
    adds = momentum_adds(data) if bool((data.alpha > 0).any()) else None
    fair = rivals(data)
    _field_figure.draw(figure, data, fair, standing(fair.gap), excess(fair.gap), league(data), adds)
