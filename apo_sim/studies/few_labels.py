"""What few labels cost, from a law to a guarantee: simulation, law, certificate, the paper's bound.

On every run: the gap; the law of leading order, which knows the bandit; the certificate, which
knows the labels; and Theorem 4.4, which knows how the run covered the arms. How often the gap is
above the certificate, by family and number of labels, with the control of half the radius. Four
contexts share the labels of an iteration among them, and at the fewest labels some arms of little
mass are never seen.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from apo_sim import theory
from apo_sim.checks import as_seed
from apo_sim.estimate import Estimate
from apo_sim.momentum import Constant
from apo_sim.problems import Bandit
from apo_sim.progress import bar
from apo_sim.statistics import (
    clopper_pearson,
    mean_and_half,
    mean_estimate,
    several,
    share_estimate,
)
from apo_sim.studies.caption import caption
from apo_sim.studies.certified_runs import (
    ARMS,
    DELTA,
    FAMILIES,
    HARD,
    REWARD_BOUND,
    VERSIONS,
    Bandits,
    bandits,
    sampled,
    tried,
)
from apo_sim.studies.kept import kept
from apo_sim.sweep.lanes import over_lanes

ALPHAS = (0.0, 0.3, 0.9)
SAMPLES = (30.0, 100.0, 500.0, 2000.0, 20_000.0, 200_000.0)
HORIZONS = (3, 20)
BETAS = {HARD: 0.05}  # of the others 1
# Of what is compared with the gap in the finding: the paper's own numbers.
PAPERS: dict[str, float] = {"iterations": 3, "alpha": 0.3}
# The law of the mean gap is drawn as trusted where it is for so many of the bandits.
MOST = 0.5
TRIVIAL = 2 * REWARD_BOUND
# Seeds whose certificates are computed whole; of the others it is only asked whether they fail.
WHOLE = 12


def measure(
    *,
    seeds: int,
    seed: int = 0,
    out: str | Path | None = None,
    progress: bool = True,
    families: Sequence[str] = (*FAMILIES, HARD),
    horizons: Sequence[int] = HORIZONS,
    alphas: Sequence[float] = ALPHAS,
    samples: Sequence[float] = SAMPLES,
) -> xr.Dataset:
    """Gaps, certificates, laws and bounds, dimensions (family, iterations, alpha, samples, seed).

    Every family, length, alpha and seed has a bandit of its own; along the samples it stays, but
    in the hard family, whose bandit depends on them. All labels are independent.

    Returns:
        `gap`; `paper`, Theorem 4.4; the law `exact_gap` and `effect`, c/N, and where it is
        `trusted`; `unseen`, the share of the arms that no label is about; and, with the version in
        front, whether the certificate has `failed`, which it cannot where the likelihood ball
        holds the true reward. `estimate` and `bound` have the first `WHOLE` seeds, as dimension
        `whole`. Where the labels refute the range of rewards there is no certificate: that is a
        failure, and -inf in its place.

    Example:
        >>> small = {"horizons": [2], "alphas": [0.3], "samples": [100.0]}
        >>> data = measure(seeds=2, families=["uniform"], **small)
        >>> dict(data.bound.sizes)
        {'version': 2, 'family': 1, 'iterations': 1, 'alpha': 1, 'samples': 1, 'whole': 2}
    """
    seeds, seed = several(seeds), as_seed("seed", seed)
    grid = {"alpha": list(alphas), "samples": list(samples), "seed": list(range(seeds))}
    rows = []
    with bar("families and lengths", len(families) * len(horizons), 0, progress) as done:
        for family in families:
            parts = []
            for length in horizons:
                settings = {"family": family, "iterations": length, "of": seed, **grid}
                store = None if out is None else Path(out) / f"{family} {length}.nc"
                part = functools.partial(_part, family, length, grid, seed)
                parts.append(kept(store, settings, part))
                done(1)
            rows.append(xr.concat(parts, xr.Variable("iterations", list(horizons))))
    data = xr.concat(rows, xr.Variable("family", list(families)))
    axes = ("version", "family", "iterations", "alpha", "samples", "seed", "whole")
    return data.transpose(*axes)


def _part(family: str, length: int, grid: dict[str, list[Any]], seed: int) -> xr.Dataset:
    """A family at one length."""
    shape = tuple(map(len, grid.values()))
    lane = np.indices(shape).reshape(len(shape), -1)
    alpha, samples = (np.asarray(grid[n])[lane[i]] for i, n in enumerate(("alpha", "samples")))
    number = [*FAMILIES, HARD].index(family)
    problems = _bandits(family, [seed, number, length], grid)
    beta = BETAS.get(family, 1.0)
    key = jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), number), length)
    given = {"samples": samples, "beta": beta, "alpha": alpha}
    runs = sampled(key, problems, iterations=length, **given)
    values = _law(problems, length, **given)
    values |= {"gap": runs.gap, "paper": np.exp(np.minimum(runs.log_paper, 700.0))}
    values["unseen"] = np.mean(_met(runs.wins) == 0, axis=(1, 2))
    whole = lane[2] < WHOLE
    versions = [_labelled(found._asdict(), grid) for found in tried(runs, whole).values()]
    apart = xr.concat(versions, xr.Variable("version", list(VERSIONS)))
    few = apart.drop_vars("failed").isel(seed=slice(WHOLE)).rename(seed="whole")
    failed = apart.drop_vars(["estimate", "bound"])
    return _labelled(values, grid).merge(failed).merge(few)


def _labelled(values: dict[str, np.ndarray], grid: dict[str, list[Any]]) -> xr.Dataset:
    shape = tuple(map(len, grid.values()))
    return xr.Dataset({n: (tuple(grid), v.reshape(shape)) for n, v in values.items()}, grid)


def _bandits(family: str, seed: list[int], grid: dict[str, list[Any]]) -> Bandits:
    """One for each alpha and seed, in the order of the lanes; the same along the samples."""
    count = len(grid["alpha"]) * len(grid["seed"])
    parts = [bandits(family, np.random.default_rng(seed), count, n) for n in grid["samples"]]
    reward, log_ref = (
        np.stack([part.reshape(len(grid["alpha"]), -1, *part.shape[1:]) for part in each], axis=1)
        for each in zip(*parts, strict=True)
    )
    return reward.reshape(-1, *reward.shape[3:]), log_ref.reshape(-1, *log_ref.shape[3:])


def _met(wins: np.ndarray) -> np.ndarray:
    """How many labels are about each arm, beside those where it met itself."""
    other = wins * (1 - np.eye(wins.shape[-1]))
    return other.sum(axis=-1) + other.sum(axis=-2)


def _law(problems: Bandits, length: int, **numbers: Any) -> dict[str, np.ndarray]:
    reward, log_ref = problems
    lanes = {"reward": reward, "log_ref": log_ref}
    lanes |= {n: np.broadcast_to(np.asarray(v, float), len(reward)) for n, v in numbers.items()}
    return over_lanes(_law_of_lane, lanes, iterations=length)


def _law_of_lane(lane: dict[str, Any], iterations: int) -> dict[str, jax.Array]:
    bandit = Bandit(lane["reward"], lane["log_ref"])
    law = theory.leading_order(bandit, Constant(lane["alpha"]), lane["beta"], iterations)
    return {
        "exact_gap": law.exact_gap[-1],
        "effect": law.coefficient[-1] / lane["samples"],
        "trusted": law.valid(lane["samples"])[-1],
    }


def gaps_of_whole(data: xr.Dataset) -> xr.DataArray:
    """The gaps of the runs whose certificates are whole."""
    return data.gap.isel(seed=slice(data.sizes["whole"])).rename(seed="whole")


def half_failed(data: xr.Dataset) -> xr.DataArray:
    """Whether the gap is above the estimate and half of the radius: the control.

    Example:
        >>> cells = {
        ...     "gap": ("seed", [0.5]),
        ...     "estimate": ("whole", [0.2]),
        ...     "bound": ("whole", [0.7]),
        ... }
        >>> half_failed(xr.Dataset(cells).assign_coords(seed=[0], whole=[0])).values
        array([ True])
    """
    return gaps_of_whole(data) > (data.estimate + data.bound) / 2


def rates(failed: xr.DataArray) -> xr.Dataset:
    """How often a certificate fails, in cells of family and samples, with 95 % intervals.

    Args:
        failed: of every run; its dimensions beside version, family and samples are pooled.

    Returns:
        `failures`, `runs`, `rate`, `low` and `high` (Clopper-Pearson, each cell by itself). The
        runs of a cell are independent.

    Example:
        >>> failed = xr.DataArray(np.zeros((1, 2, 4), bool), dims=("family", "samples", "seed"))
        >>> rates(failed).high.values.round(2).tolist()
        [[0.6, 0.6]]
    """
    within = [name for name in failed.dims if name not in ("version", "family", "samples")]
    failures = failed.sum(within)
    runs = int(np.prod([failed.sizes[name] for name in within]))
    ends = np.array([clopper_pearson(int(k), runs) for k in failures.values.ravel()])
    low, high = (failures.copy(data=end.reshape(failures.shape)) for end in ends.T)
    return xr.Dataset(
        {"failures": failures, "runs": runs, "rate": failures / runs, "low": low, "high": high}
    )


@dataclass(frozen=True)
class CertificateCell:
    """The certificates of one family at one N; the two are by version.

    Attributes:
        failures: runs whose gap is above the certificate.
        excess: median of what the certificate has above the gap.
    """

    failures: dict[str, int]
    excess: dict[str, float]


@dataclass(frozen=True)
class AtPapers:
    """Every answer at the paper's T and alpha, or at what there is nearest to them.

    Attributes:
        family: of the bandits.
        iterations: T.
        alpha: extrapolation.
        samples: N.
        gap: its mean.
        off: the mean gap less the law of leading order.
        certificate: the median one, by version.
        theorem: what Theorem 4.4 says, in the median.
    """

    family: str
    iterations: float
    alpha: float
    samples: float
    gap: Estimate
    off: Estimate
    certificate: dict[str, float]
    theorem: float

    @property
    def text(self) -> str:
        """All of it in words."""
        return (
            f"{self.family}, T = {self.iterations:g}, alpha = {self.alpha:g}, N = "
            f"{self.samples:,.0f}: the mean gap is {self.gap.value:.4f} ± {_half(self.gap):.4f}, "
            f"off the law of leading order by {self.off.value:+.5f} ± {_half(self.off):.5f}; the "
            f"median certificate is {self.certificate['asymptotic']:.3f} (asymptotic) and "
            f"{self.certificate['finite-sample']:.3f} (finite-sample), Theorem 4.4 says "
            f"{self.theorem:,.3g} in the median, and no gap is above {TRIVIAL:g}."
        )


@dataclass(frozen=True)
class FewLabelsFinding:
    """How often a certificate fails, and how tight it is.

    Attributes:
        horizons: T.
        alphas: extrapolations.
        runs: how many there were.
        cell_runs: of each family at each N.
        failures: runs whose gap is above the certificate, by version.
        highest: the largest upper end of a cell's rate of failure, for all cells and both versions
            together.
        control: with half of the radius, the largest rate of failure of one cell.
        control_family: of that cell.
        control_samples: N of that cell.
        unseen: share of the arms that no label is about at the fewest labels, by family.
        cells: by family and N.
        papers: at the paper's numbers.
    """

    horizons: list[int]
    alphas: list[float]
    runs: int
    cell_runs: int
    failures: dict[str, int]
    highest: float
    control: Estimate
    control_family: str
    control_samples: float
    unseen: dict[str, float]
    cells: dict[tuple[str, float], CertificateCell]
    papers: AtPapers

    @property
    def text(self) -> str:
        """All of it in words and in a table."""
        counts = ", ".join(f"in {count:,} ({name})" for name, count in self.failures.items())
        horizons, alphas = (
            ", ".join(f"{value:g}" for value in values) for values in (self.horizons, self.alphas)
        )
        rate, low, high = (f"{figure:.1%}" for figure in self.control.figures)
        return "\n".join(
            [
                f"Of {self.runs:,} runs (K = {ARMS}, T = {horizons}, alpha = {alphas}) the gap is "
                f"above the certificate {counts}, delta = {DELTA:g}; in every family and at every "
                f"N in less than {self.highest:.1%} of them (Clopper-Pearson, 95 % for all "
                f"{len(VERSIONS) * len(self.cells)} cells together).",
                f"Control: with half of the radius in {rate} [{low}, {high}] of the runs of one "
                f"cell ({self.control_family}, N = {self.control_samples:,.0f}).",
                *self._table(),
                self.papers.text,
            ]
        )

    def _table(self) -> list[str]:
        sizes = dict.fromkeys(n for _, n in self.cells)
        rows = [
            f"Runs above the certificate of {self.cell_runs:,} (asymptotic / finite-sample), and "
            "its median excess over the gap; arms unseen at the fewest labels:",
            f"{'':34}" + "".join(f"{f'N = {n:,.0f}':>24}" for n in sizes),
        ]
        for family, unseen in self.unseen.items():
            row = f"{f'{family} ({unseen:.0%})':34}"
            for n in sizes:
                cell = self.cells[family, n]
                failures = "/".join(str(count) for count in cell.failures.values())
                excesses = "/".join(f"{each:.2g}" for each in cell.excess.values())
                row += f"{f'{failures}  {excesses}':>24}"
            rows.append(row)
        return rows


def _half(estimate: Estimate) -> float:
    return (estimate.high - estimate.low) / 2


def finding(data: xr.Dataset) -> FewLabelsFinding:
    """How often it fails and how tight it is, by family and samples; the law and the bound."""
    full, half = rates(data.failed), rates(half_failed(data))
    above = half.sel(version="asymptotic")
    worst = above.isel(above.rate.argmax(("family", "samples")))
    each = 1 - 0.05 / full.failures.size
    cell_runs = int(full.runs)
    excess = (data.bound - gaps_of_whole(data)).median(("iterations", "alpha", "whole"))
    unseen = data.unseen.isel(samples=0)

    def by_version(values: xr.DataArray, to: type) -> dict[str, Any]:
        return {version: to(values.sel(version=version)) for version in VERSIONS}

    return FewLabelsFinding(
        horizons=data.iterations.values.tolist(),
        alphas=data.alpha.values.tolist(),
        runs=data.gap.size,
        cell_runs=cell_runs,
        failures=by_version(full.failures.sum(("family", "samples")), int),
        highest=max(
            clopper_pearson(int(k), cell_runs, each)[1] for k in full.failures.values.ravel()
        ),
        control=share_estimate(int(worst.failures), int(half.runs)),
        control_family=str(worst.family.item()),
        control_samples=float(worst.samples),
        unseen={str(f): float(unseen.sel(family=f).mean()) for f in data.family.values},
        cells={
            (str(family), float(n)): CertificateCell(
                by_version(full.failures.sel(family=family, samples=n), int),
                by_version(excess.sel(family=family, samples=n), float),
            )
            for family in data.family.values
            for n in data.samples.values
        },
        papers=_at_papers(data),
    )


def _at_papers(data: xr.Dataset) -> AtPapers:
    here = data.isel(family=0).sel(PAPERS, method="nearest")
    last = here.sel(samples=20_000.0, method="nearest")
    off = last.gap - last.exact_gap - last.effect
    return AtPapers(
        family=str(here.family.item()),
        iterations=float(here.iterations),
        alpha=float(here.alpha),
        samples=float(last.samples),
        gap=mean_estimate(last.gap.values, unit="reward"),
        off=mean_estimate(off.values, unit="reward"),
        certificate={v: float(last.bound.sel(version=v).median()) for v in VERSIONS},
        theorem=float(last.paper.median()),
    )


def draw(figure: Figure, data: xr.Dataset, family: str | None = None) -> None:
    """A row a length with a column an alpha, of one family; below, how often it fails.

    Args:
        figure: an empty one.
        data: what `measure` returns.
        family: of the curves; the first if left out.
    """
    family = str(data.family.values[0]) if family is None else family
    rows, columns = data.sizes["iterations"], data.sizes["alpha"]
    figure.set_size_inches(8.2, 2.1 * rows + 2.6)
    halves: Any = figure.subfigures(2, 1, height_ratios=(2.1 * rows, 2.4))
    above, below = halves
    caption(
        figure,
        f"K = {ARMS}, δ = {DELTA}; above: {family}, β = {BETAS.get(family, 1.0):g}, means; 95 % "
        f"intervals of the gap ({data.sizes['seed']:,} runs a point), bands of 80 % of the\n"
        f"certificates ({data.sizes['whole']:,} a point), of Theorem 4.4 the median; below: "
        f"{int(rates(data.failed).runs):,} runs a point, at half the radius "
        f"{int(rates(half_failed(data)).runs):,}; 95 % intervals",
    )
    grid = above.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for row, length in zip(grid, data.iterations.values, strict=True):
        for axes, alpha in zip(row, data.alpha.values, strict=False):
            curves(axes, data.sel(family=family, iterations=length, alpha=alpha))
            axes.set_title(f"T = {length}, α = {alpha:g}", fontsize=9)
        row[0].set_ylabel("gap (reward)")
    for axes in grid[-1]:
        axes.set_xlabel("pairs an iteration, $N$")
    above.legend(handles=_legend(), loc="outside lower center", ncols=4, fontsize=7.5)
    panels = below.subplots(1, 3, sharey=True)
    half = half_failed(data).sel(version="asymptotic")
    shown = {f"fails, {version}": data.failed.sel(version=version) for version in VERSIONS}
    shown["control: half the radius"] = half
    for axes, (title, failed) in zip(panels, shown.items(), strict=True):
        failures(axes, rates(failed))
        axes.set_title(title, fontsize=9)
    panels[0].set_ylabel("share of runs")
    handles, labels = panels[0].get_legend_handles_labels()
    below.legend(handles, labels, loc="outside lower center", ncols=4, fontsize=7.5)


def curves(axes: Axes, data: xr.Dataset) -> None:
    """All answers at one family, length and alpha, over the samples."""
    n = data.samples.values
    axes.axhline(TRIVIAL, color="0.5", ls=":", lw=1)
    axes.plot(n, data.paper.median("seed"), "s--", color="C1", ms=3, lw=1)
    for colour, version in zip(("C2", "C3"), VERSIONS, strict=True):
        # Where there is none, a user is left with what is known anyway.
        bound = data.bound.sel(version=version)
        bound = bound.where(bound > -np.inf, TRIVIAL)
        low, high = bound.quantile([0.1, 0.9], "whole").values
        axes.fill_between(n, low, high, color=colour, alpha=0.15, lw=0)
        axes.plot(n, bound.mean("whole"), "-", color=colour, lw=1.4)
    law = (data.exact_gap + data.effect).mean("seed").values
    trusted = data.trusted.mean("seed").values >= MOST
    axes.plot(n, law, ":", color="C4", lw=1.4)
    axes.plot(n, np.where(trusted, law, np.nan), "-", color="C4", lw=1.6)
    # The bandits are the law's, so that only labels scatter.
    mean = data.gap.mean("seed")
    half = mean_and_half(data.gap - data.exact_gap)[1]
    axes.errorbar(n, mean, half, fmt="o", color="C0", ms=3, lw=1)
    axes.set(xscale="log", yscale="log", ylim=(1e-3, 1e4))


def _legend() -> list[Line2D]:
    lines = (
        ("C0", "o", "", "mean gap, simulated"),
        ("C4", "", "-", "law, where trusted"),
        ("C4", "", ":", "law, elsewhere"),
        ("C2", "", "-", "certificate, asymptotic"),
        ("C3", "", "-", "certificate, finite-sample"),
        ("C1", "s", "--", "Theorem 4.4"),
        ("0.5", "", ":", "largest gap there is"),
    )
    return [
        Line2D([], [], color=colour, marker=marker, ls=style, ms=3, label=label)
        for colour, marker, style, label in lines
    ]


def failures(axes: Axes, cells: xr.Dataset) -> None:
    """Failure rates of every family over the samples, beside what is allowed."""
    axes.axhline(DELTA, color="k", lw=1)
    count = cells.sizes["family"]
    for number, family in enumerate(cells.family.values):
        one = cells.sel(family=family)
        # Side by side.
        n = one.samples.values * 1.12 ** (number - (count - 1) / 2)
        ends = np.maximum([one.rate - one.low, one.high - one.rate], 0.0)
        axes.errorbar(n, one.rate, ends, fmt="o", ms=2.5, lw=1, color=f"C{number}", label=family)
    axes.set(xscale="log", xlabel="pairs an iteration, $N$")
