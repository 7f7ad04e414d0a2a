"""The two errors over the iterations: what perfect preferences would still lose, and what
finite data add.

    python experiments/tradeoff.py
    python experiments/tradeoff.py --quick

The split is the paper's: the gap of a run is that of the same run with exact preferences plus the
rest. The same seed meets the same problem in both, so the rest is a paired difference; noise may
also help, so its size is what is averaged.
"""

from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from script import console, start

from apo_sim import sweep
from apo_sim.report import style

ALPHAS = [0.0, 0.3, 0.6, 0.9]
SAMPLES = [100, 1000, 10000]
RESAMPLES = 2000


@dataclass(frozen=True)
class Options:
    """Optimisation error and statistical error of every iteration.

    Args:
        out: folder for the stores and the figure.
        quick: fewer seeds.
        family: of problems, as in `apo-sim sweep`.
        arms: number of arms.
        beta: proximal weight.
        iterations: length of the runs.
        seeds: of every cell.
        seed: all randomness is folded from it.
    """

    out: Path = Path("results/tradeoff")
    quick: bool = False
    family: str = "uniform"
    arms: int = 10
    beta: float = 5.0
    iterations: int = 40
    seeds: int = 2000
    seed: int = 0


def split(options: Options) -> xr.Dataset:
    """`optimisation`, and `statistics` with one more dimension, `samples`."""
    seeds = 200 if options.quick else options.seeds
    suffix = "_quick" if options.quick else ""

    def gaps(name: str, **data) -> xr.DataArray:
        return sweep(
            options.family,
            alpha=ALPHAS,
            **data,
            arms=options.arms,
            beta=options.beta,
            iterations=options.iterations,
            seeds=seeds,
            seed=options.seed,
            variables=["suboptimality"],
            out=options.out / f"{name}{suffix}.zarr",
        ).suboptimality.load()

    exact = gaps("exact")
    both = {"optimisation": exact, "statistics": abs(gaps("sampled", samples=SAMPLES) - exact)}
    return xr.Dataset({name: part.drop_attrs() for name, part in both.items()})


def interval(data: np.ndarray, statistic, rng: np.random.Generator) -> tuple[float, float]:
    """95 % bootstrap interval over the last axis, the seeds."""
    count = data.shape[-1]
    draws = [statistic(data[..., rng.integers(count, size=count)]) for _ in range(RESAMPLES)]
    low, high = np.percentile(draws, [2.5, 97.5])
    return float(low), float(high)


def finding(parts: xr.Dataset) -> str:
    """One sentence: what the largest alpha does to the two errors at the end."""
    last = parts.isel(iteration=-1)
    ends = [ALPHAS[0], ALPHAS[-1]]
    rng = np.random.default_rng(0)

    def ratio(data: np.ndarray) -> float:
        return float(data[1].mean() / data[0].mean())

    texts = []
    optimisation = last.optimisation.sel(alpha=ends).transpose("alpha", "seed").values
    texts.append(f"the optimisation error changes by a factor of {ratio(optimisation):.2g}")
    for n in SAMPLES:
        statistics = last.statistics.sel(samples=n, alpha=ends).transpose("alpha", "seed").values
        low, high = interval(statistics, ratio, rng)
        texts.append(
            f"the statistical error at N = {n:,} changes by a factor of {ratio(statistics):.2g} "
            f"[{low:.2g}, {high:.2g}]"
        )
    runs = parts.statistics.size // parts.sizes["iteration"]
    return (
        f"After {parts.sizes['iteration']} iterations, alpha = {ends[1]} against alpha = 0: "
        f"{'; '.join(texts)} ({runs:,} runs, 95 % bootstrap intervals)."
    )


def draw(figure: Figure, parts: xr.Dataset) -> None:
    panels = figure.subplots(1, len(SAMPLES), sharey=True)
    t = parts.iteration.values
    mean = parts.mean("seed")
    half = 1.96 * parts.statistics.std("seed", ddof=1) / parts.sizes["seed"] ** 0.5
    for axes, n in zip(panels, SAMPLES, strict=True):
        for colour, alpha in enumerate(ALPHAS):
            axes.plot(t, mean.optimisation.sel(alpha=alpha), "--", color=f"C{colour}", lw=1.2)
            here = {"alpha": alpha, "samples": n}
            centre, width = mean.statistics.sel(here), half.sel(here)
            axes.plot(t, centre, color=f"C{colour}")
            band = np.maximum(centre - width, 1e-12), centre + width
            axes.fill_between(t, *band, color=f"C{colour}", alpha=0.2, lw=0)
        axes.set(title=f"N = {n:,}", xlabel="iterations, $t$", xscale="log", yscale="log")
        axes.set_ylim(1e-4, 2.0)
    panels[0].set_ylabel("mean size, in units of the reward")
    lines = [Line2D([], [], color=f"C{i}") for i in range(len(ALPHAS))]
    kinds = [Line2D([], [], color="0.3", ls="--", lw=1.2), Line2D([], [], color="0.3")]
    figure.legend(
        [*lines, *kinds],
        [*(rf"$\alpha = {alpha:g}$" for alpha in ALPHAS), "optimisation", "statistics"],
        loc="outside lower center",
        ncols=6,
    )


def main(options: Options) -> None:
    jax.config.update("jax_enable_x64", True)
    parts = split(options)
    name = "tradeoff_quick" if options.quick else "tradeoff"
    path = style.save(lambda figure: draw(figure, parts), name, options.out)
    console.print(finding(parts), soft_wrap=True)
    console.print(f"Figure: {path}", soft_wrap=True)


if __name__ == "__main__":
    start(main, Options)
