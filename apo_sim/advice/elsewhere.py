"""How good the advice is on families of problems that it was not made from."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from apo_sim.advice.advise import TOLERANCE, advise
from apo_sim.advice.lookup import NEGLIGIBLE, excess
from apo_sim.advice.surface import ALPHAS
from apo_sim.studies.intervals import bootstrap, clopper_pearson, place
from apo_sim.sweep import sweep

SETTINGS: dict[str, Any] = {
    "arms": 10,
    "beta": (0.1, 0.5, 1.0, 2.0, 5.0, 20.0),
    "samples": (50, 500, 5000, 50_000),
    "horizons": (3, 10, 30),
}
# A tenfold number of arms costs a thousand times as much, so it gets fewer seeds and iterations.
ELSEWHERE: dict[str, dict[str, Any]] = {
    "Zipf reference": {"family": "zipf", **SETTINGS},
    "ties": {"family": "tied", **SETTINGS},
    "log-linear rewards": {"family": "linear", **SETTINGS},
    "100 arms": {
        **SETTINGS,
        "family": "uniform",
        "arms": 100,
        "horizons": (3, 10),
        "fewer_seeds": 10,
    },
}
RESAMPLES = 500


def measure(
    *,
    seeds: int,
    seed: int = 1,
    out: str | Path | None = None,
    progress: bool = True,
    elsewhere: Mapping[str, Mapping[str, Any]] = ELSEWHERE,
) -> xr.Dataset:
    """Hold the advised alpha against all others, in every setting of every family.

    Returns:
        Dimension setting: `excess`, by what share the advised alpha's mean gap exceeds the least
        on the grid (`apo_sim.advice.lookup.excess`), its 95 % bootstrap interval; `literally`,
        whether it is within a tenth of however small a gap; what the advice was: `alpha`, `sure`.

    Example:
        >>> few = {"family": "tied", "arms": 3, "beta": (1.0,), "samples": (100,)}
        >>> data = measure(seeds=4, elsewhere={"ties": {**few, "horizons": (1, 2)}})
        >>> data.iterations.values.tolist(), bool((data.excess >= 0).all())
        ([1, 2], True)
    """
    parts, runs = [], 0
    for label, chosen in elsewhere.items():
        gap = sweep(
            chosen["family"],
            alpha=list(ALPHAS),
            beta=list(chosen["beta"]),
            samples=list(chosen["samples"]),
            arms=chosen["arms"],
            iterations=max(chosen["horizons"]),
            seeds=max(seeds // chosen.get("fewer_seeds", 1), 2),
            seed=seed,
            variables=["suboptimality"],
            out=place(out, label.replace(" ", "_")),
            progress=progress,
        ).suboptimality.load()
        runs += gap.isel(iteration=0).size
        parts += [
            _judged(gap.sel(beta=beta, samples=n, iteration=t), label)
            for beta in chosen["beta"]
            for n in chosen["samples"]
            for t in chosen["horizons"]
        ]
    return xr.concat(parts, dim="setting", coords="all").assign_attrs(runs=runs)


def _judged(gap: xr.DataArray, label: str) -> xr.Dataset:
    advice = advise(
        int(gap.samples), int(gap.iteration), float(gap.beta), arms=int(gap.arms), progress=False
    )
    runs = gap.transpose("alpha", "seed").values
    advised = ALPHAS.index(advice.alpha)
    best = runs.mean(axis=1).argmin()
    own, other = runs[advised], runs[best]
    low, high = bootstrap(
        lambda runs: excess(runs[advised].mean(axis=-1), runs[best].mean(axis=-1)),
        gap,
        draws=RESAMPLES,
    )
    return xr.Dataset(
        {
            "excess": float(excess(own.mean(), other.mean())),
            "literally": own.mean() <= (1 + TOLERANCE) * other.mean(),
            "excess_low": float(low),
            "excess_high": float(high),
            "alpha": advice.alpha,
            "sure": advice.sure,
        },
        {
            "family": label,
            "beta": float(gap.beta),
            "samples": int(gap.samples),
            "iterations": int(gap.iteration),
        },
    )


def finding(data: xr.Dataset) -> str:
    """In how many settings the advice was good, and whether it had said so where it was not."""
    good = data.excess <= TOLERANCE
    texts = []
    for label in dict.fromkeys(data.family.values):
        here = (data.family == label).values
        texts.append(f"{label} {_share(good[here])}")
    surely_bad = (data.excess_low > TOLERANCE).sum()
    silent = (~good & data.sure).sum()
    return (
        f"The advised alpha is within 10 % of the best gap on the grid (or within "
        f"{TOLERANCE * NEGLIGIBLE:g} of the reward) in {_share(good)} of the settings: "
        f"{'; '.join(texts)}; to the letter in {_share(data.literally)}. In "
        f"{int((~good).sum())} it is not (in {int(surely_bad)} beyond the noise), and of these "
        f"it had not warned in {int(silent)}. "
        f"It warned in {int((~data.sure).sum())} of {data.sizes['setting']} "
        f"({data.attrs['runs']:,} runs)."
    )


def _share(good: xr.DataArray) -> str:
    count, total = int(good.sum()), good.size
    low, high = clopper_pearson(count, total)
    return f"{count} of {total} ({100 * count / total:.0f} % [{100 * low:.0f}, {100 * high:.0f}])"


def draw(figure: Figure, data: xr.Dataset) -> None:
    """The excess of every setting, by family; hollow where the advice was not sure."""
    axes = figure.subplots()
    labels = list(dict.fromkeys(data.family.values))
    for column, label in enumerate(labels):
        here = data.isel(setting=(data.family == label).values)
        order = np.argsort(here.excess.values)
        x = column + np.linspace(-0.35, 0.35, order.size)
        excess = 100 * here.excess.values[order]
        sure = here.sure.values[order]
        colours = np.where(here.excess.values[order] <= TOLERANCE, "C0", "C1")
        faces = np.where(sure, colours, "white")
        axes.scatter(x, excess, c=list(faces), edgecolors=list(colours), s=16, linewidths=1)
    axes.axhline(100 * TOLERANCE, color="0.4", ls="--", lw=1)
    axes.set_yscale("symlog", linthresh=10)
    axes.set_ylim(-1, max(200, 150 * float(data.excess.max())))
    axes.set_yticks([0, 10, 100], ["0", "10", "100"])
    axes.set_xticks(range(len(labels)), labels)
    axes.grid(axis="x", visible=False)
    axes.set_ylabel(
        "gap above the best on the grid, % of it\n(of 1 % of the rewards' size if larger)"
    )
    axes.set_title("The advised extrapolation on problems that it was not made from")
    marks = [
        Line2D([], [], ls="", marker="o", color="C0"),
        Line2D([], [], ls="", marker="o", markerfacecolor="white", markeredgecolor="C0"),
        Line2D([], [], ls="", marker="o", color="C1"),
        Line2D([], [], ls="", marker="o", markerfacecolor="white", markeredgecolor="C1"),
    ]
    words = ["within 10 %", "within, but it warned", "not within", "not within, and it warned"]
    figure.legend(marks, words, loc="outside lower center", ncols=4)
