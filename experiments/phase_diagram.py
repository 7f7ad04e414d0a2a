"""Where momentum helps: over the number of labels N and of iterations T, for several beta.

    python experiments/phase_diagram.py                # a hundred thousand runs a panel
    python experiments/phase_diagram.py --quick        # under a minute
    python experiments/phase_diagram.py --betas 1 5

The extrapolation is chosen on one half of the seeds and judged on the other, so that the best of
several noisy means is not taken for an advantage.
"""

from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np
import xarray as xr
from matplotlib.colors import BoundaryNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter, ScalarFormatter
from script import console, start

from apo_sim import sweep
from apo_sim.report import style

ALPHAS = [0.0, 0.1, 0.3, 0.5, 0.7, 0.9]
SAMPLES = [10, 30, 100, 300, 1000, 3000, 10000]
Z = 1.96


@dataclass(frozen=True)
class Options:
    """Best extrapolation, and gain over none and over a matched beta, for each N and T.

    Args:
        out: folder for the store and the figures.
        quick: fewer seeds.
        family: of problems, as in `apo-sim sweep`.
        arms: number of arms.
        betas: one figure each.
        iterations: the longest run.
        seeds: of every cell; 1,200 make a hundred thousand runs a figure.
        seed: all randomness is folded from it.
    """

    out: Path = Path("results/phase_diagram")
    quick: bool = False
    family: str = "uniform"
    arms: int = 10
    betas: tuple[float, ...] = (1.0, 5.0)
    iterations: int = 50
    seeds: int = 1200
    seed: int = 0


def judged(gap: xr.DataArray) -> xr.Dataset:
    """The best extrapolation of every (N, T), and what it gains on seeds it was not chosen on.

    Args:
        gap: dimensions momentum, alpha, samples, seed, iteration; any of the iterations.

    Returns:
        Dimensions (samples, iteration): `best`; `over_none` and `over_matched`, differences of
        gaps, positive where momentum is better, and half their 95 % intervals; `relative_none`,
        `relative_matched`; `largest`, the relative gain of the largest alpha, and `hurts`.
    """
    chosen_on, judged_on = gap.isel(seed=slice(0, None, 2)), gap.isel(seed=slice(1, None, 2))
    best = chosen_on.sel(momentum="constant").mean("seed").idxmin("alpha")
    apo = judged_on.sel(momentum="constant", alpha=best)
    none = judged_on.sel(momentum="constant", alpha=0.0)
    matched = judged_on.sel(momentum="matched_beta", alpha=best)
    strongest = judged_on.sel(momentum="constant", alpha=max(ALPHAS))
    found = {"best": best}
    for name, rival in (("none", none), ("matched", matched)):
        mean, half = _paired(rival - apo)
        found |= {f"over_{name}": mean, f"half_{name}": half}
        found[f"relative_{name}"] = mean / rival.mean("seed")
    mean, half = _paired(none - strongest)
    found |= {"largest": mean / none.mean("seed"), "hurts": mean + half < 0}
    return xr.Dataset(
        {n: v.drop_vars(["momentum", "alpha"], errors="ignore") for n, v in found.items()}
    )


def _paired(difference: xr.DataArray) -> tuple[xr.DataArray, xr.DataArray]:
    """Mean over the seeds, and half its 95 % interval."""
    count = difference.sizes["seed"]
    return difference.mean("seed"), Z * difference.std("seed", ddof=1) / count**0.5


def finding(found: xr.Dataset, beta: float, runs: int) -> str:
    """One sentence, with its interval."""
    none, both = _surely(found)
    cells = found.best.size
    text = (
        f"beta = {beta:g}: the best alpha beats alpha = 0 in {int(none.sum())} of {cells} cells "
        f"(N, T), and the matched beta too in {int(both.sum())}"
    )
    if bool(both.any()):
        at = found.relative_matched.where(both).argmax(...)
        cell = found.isel(at)
        half = cell.half_matched / cell.over_matched * cell.relative_matched
        text += (
            f", most at N = {cell.samples:g}, T = {cell.iteration:g}: alpha = {cell.best:g} leaves "
            f"a gap {100 * cell.relative_matched:.0f} % ± {100 * half:.0f} % below the matched "
            f"beta's; all of them have N >= {_least(both, 'samples')} and "
            f"T >= {_least(both, 'iteration')}"
        )
    text += f"; alpha = {max(ALPHAS)} is worse than none in {int(found.hurts.sum())}"
    if bool(found.hurts.any()):
        text += f", all with T >= {_least(found.hurts, 'iteration')}"
    return f"{text} ({runs:,} runs, 95 % intervals a cell)."


def _surely(found: xr.Dataset) -> tuple[xr.DataArray, xr.DataArray]:
    """Where momentum is better than none, and where it is better than the matched beta too."""
    none = found.over_none > found.half_none
    return none, none & (found.over_matched > found.half_matched)


def _least(where: xr.DataArray, name: str) -> str:
    return f"{where[name].where(where).min().item():g}"


def draw(figure: Figure, found: xr.Dataset, beta: float) -> None:
    figure.set_size_inches(7.0, 6.0)
    figure.suptitle(
        rf"$\beta = {beta:g}$; a dot: the 95 % interval excludes zero",
        x=0.02,
        ha="left",
        fontsize=9.5,
    )
    (first, second), (third, fourth) = figure.subplots(2, 2, sharex=True, sharey=True)
    n, t = found.samples.values, found.iteration.values

    def panel(axes, values, title, **colours):
        grid = _edges(n), _edges(t)
        values = values.transpose("iteration", "samples").values
        image = axes.pcolormesh(*grid, values, rasterized=True, **colours)
        axes.set(xscale="log", yscale="log", title=title)
        axes.grid(False)
        return image

    steps = np.array([*ALPHAS, 1.0]) - 0.05
    image = panel(
        first, found.best, r"best $\alpha$", norm=BoundaryNorm(steps, 256), cmap="cividis"
    )
    bar = figure.colorbar(image, ax=first)
    bar.set_ticks(ALPHAS, labels=[f"{a:g}" for a in ALPHAS])
    bar.minorticks_off()
    none, both = _surely(found)
    for axes, name, title, sure in (
        (second, "relative_none", r"gain over $\alpha = 0$", none),
        (third, "relative_matched", r"gain over the matched $\beta$", both),
        (fourth, "largest", rf"gain of $\alpha = {max(ALPHAS)}$ over 0", found.hurts),
    ):
        norm = Normalize(-100.0, 100.0)
        image = panel(axes, 100 * found[name], title, norm=norm, cmap="RdBu")
        bar = figure.colorbar(image, ax=axes, extend="min")
        bar.ax.yaxis.set_major_formatter(PercentFormatter(decimals=0))
        y, x = np.nonzero(sure.transpose("iteration", "samples").values)
        axes.plot(n[x], t[y], ".", color="0.1", markersize=4)
    for axes in (third, fourth):
        axes.set_xlabel("preference pairs an iteration, $N$")
    for axes in (first, third):
        axes.set_ylabel("iterations, $T$")
        axes.set_yticks(t[:: max(len(t) // 6, 1)])
        axes.yaxis.set_major_formatter(ScalarFormatter())
        axes.minorticks_off()


def _edges(values: np.ndarray) -> np.ndarray:
    """Borders of cells around values on a logarithmic axis."""
    logs = np.log(values)
    middle = (logs[1:] + logs[:-1]) / 2
    return np.exp([2 * logs[0] - middle[0], *middle, 2 * logs[-1] - middle[-1]])


def main(options: Options) -> None:
    jax.config.update("jax_enable_x64", True)
    seeds = 100 if options.quick else options.seeds
    for beta in options.betas[:1] if options.quick else options.betas:
        name = f"beta_{beta:g}{'_quick' if options.quick else ''}"
        data = sweep(
            options.family,
            momentum=["constant", "matched_beta"],
            alpha=ALPHAS,
            samples=SAMPLES,
            arms=options.arms,
            beta=beta,
            iterations=options.iterations,
            seeds=seeds,
            seed=options.seed,
            variables=["suboptimality"],
            out=options.out / f"{name}.zarr",
        )
        gap = data.suboptimality.load()
        horizons = np.unique(np.geomspace(1, options.iterations, 12).round().astype(int))
        found = judged(gap.sel(iteration=horizons))
        path = style.save(lambda figure, f=found, b=beta: draw(figure, f, b), name, options.out)
        runs = gap.size // gap.sizes["iteration"]
        console.print(finding(found, beta, runs), soft_wrap=True)
        console.print(f"Figure: {path}", soft_wrap=True)


if __name__ == "__main__":
    start(main, Options)
