"""How good the advice is on families of problems that it was not made from."""

import functools
import itertools
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from apo_sim.advice._lookup import NEGLIGIBLE, excess
from apo_sim.advice.advise import TOLERANCE, advise
from apo_sim.advice.surface import ALPHAS, FAMILY
from apo_sim.statistics import bootstrap, clopper_pearson
from apo_sim.studies.caption import caption
from apo_sim.studies.kept import place
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
# So many times the seeds again where they leave open whether the advice is good.
MORE = 3
# What advice can rest on, in a word of its `source`.
SOURCES = ("law", "stored", "simulation")


def measure(
    *,
    seeds: int,
    seed: int = 1,
    out: str | Path | None = None,
    progress: bool = True,
    elsewhere: Mapping[str, Mapping[str, Any]] = ELSEWHERE,
) -> xr.Dataset:
    """Hold the advised alpha against all others, in every setting of every family.

    A setting whose runs do not tell on which side of a tenth the excess lies gets more of them.

    Returns:
        Dimensions (setting, told): whether the advice was told the family, or takes it for
        uniform. `excess`, by what share the advised alpha's mean gap exceeds the least on the grid
        (`apo_sim.advice._lookup.excess`), and its 95 % bootstrap interval; `literally`, whether it
        is within a tenth of however small a gap; what the advice was: `alpha`, `sure`, `source` (in
        a word), and how many `seconds` it took.

    Example:
        >>> few = {"family": "tied", "arms": 3, "beta": (1.0,), "samples": (100,)}
        >>> data = measure(seeds=4, elsewhere={"ties": {**few, "horizons": (1, 2)}})
        >>> data.iterations.values.tolist(), bool((data.excess >= 0).all())
        ([1, 2], True)
    """
    parts, runs = [], 0
    for label, chosen in elsewhere.items():
        common = {
            "family": chosen["family"],
            "arms": chosen["arms"],
            "variables": ["suboptimality"],
            "progress": progress,
        }
        here = max(seeds // chosen.get("fewer_seeds", 1), 2)
        name = label.replace(" ", "_")
        gap = sweep(
            alpha=list(ALPHAS),
            beta=list(chosen["beta"]),
            samples=list(chosen["samples"]),
            iterations=max(chosen["horizons"]),
            seeds=here,
            seed=seed,
            out=place(out, name),
            **common,
        ).suboptimality.load()
        runs += gap.isel(iteration=0).size
        settings = itertools.product(chosen["beta"], chosen["samples"], chosen["horizons"])
        for beta, samples, iterations in settings:
            own = gap.sel(beta=beta, samples=samples, iteration=iterations)
            advice = _advised(own, chosen["family"])
            judged = _judged(own, advice)
            if _open(judged):
                more = sweep(
                    alpha=list(ALPHAS),
                    beta=beta,
                    samples=samples,
                    iterations=iterations,
                    seeds=MORE * here,
                    seed=seed + 1,
                    out=place(out, f"{name}_{beta:g}_{samples}_{iterations}"),
                    **common,
                ).suboptimality.load()
                runs += more.isel(iteration=0).size
                judged = _judged(_joined(own, more.isel(iteration=-1)), advice)
            parts.append(judged.assign_coords(_named(own, label)))
    return xr.concat(parts, dim="setting", coords="all").assign_attrs(runs=runs)


def _named(gap: xr.DataArray, label: str) -> dict[str, Any]:
    return {
        "family": label,
        "beta": float(gap.beta),
        "samples": int(gap.samples),
        "iterations": int(gap.iteration),
    }


def _advised(gap: xr.DataArray, family: str) -> xr.Dataset:
    """What is advised in a setting without the family and with it, dimension told."""
    found: list[xr.Dataset] = []
    for told in (False, True):
        began = time.perf_counter()
        advice = advise(
            int(gap.samples),
            int(gap.iteration),
            float(gap.beta),
            arms=int(gap.arms),
            progress=False,
            family=family if told else FAMILY,
        )
        source = next(word for word in SOURCES if word in advice.source)
        seconds = time.perf_counter() - began
        row = {"alpha": advice.alpha, "sure": advice.sure, "source": source, "seconds": seconds}
        found.append(xr.Dataset(row, {"told": told}))
    return xr.concat(found, dim="told")


def _judged(gap: xr.DataArray, advice: xr.Dataset) -> xr.Dataset:
    """What was advised, and how far it is from the best."""
    runs = gap.transpose("alpha", "seed")
    means = runs.values.mean(axis=1)
    rows = []
    for alpha in advice.alpha.values:
        own = ALPHAS.index(float(alpha))
        low, high = bootstrap(functools.partial(_excess_of, own), runs, draws=RESAMPLES)
        literally = means[own] <= (1 + TOLERANCE) * means.min()
        rows.append((float(_excess_of(own, runs.values)), low, high, literally))
    names = ("excess", "excess_low", "excess_high", "literally")
    columns = (("told", list(column)) for column in zip(*rows, strict=True))
    return advice.assign(dict(zip(names, columns, strict=True)))


def _excess_of(alpha: int, runs: np.ndarray) -> np.ndarray:
    """Of the alpha at this place over the best, from runs (alphas, seeds)."""
    means = runs.mean(axis=-1)
    return excess(means[alpha], means.min(axis=0))


def _open(judged: xr.Dataset) -> bool:
    """Whether the runs leave open on which side of a tenth an excess is."""
    return bool(((judged.excess_low <= TOLERANCE) & (judged.excess_high > TOLERANCE)).any())


def _joined(gap: xr.DataArray, more: xr.DataArray) -> xr.DataArray:
    """All seeds of two sweeps of one setting, dimensions (alpha, seed)."""
    both = [part.squeeze(drop=True).transpose("alpha", "seed").values for part in (gap, more)]
    joined = np.concatenate(both, axis=1)
    return xr.DataArray(joined, {"alpha": list(ALPHAS)}, ("alpha", "seed"))


def finding(data: xr.Dataset) -> str:
    """In how many settings the advice was good, and whether it had said so where it was not."""
    texts = [_told(data.sel(told=told)) for told in (True, False)]
    return " ".join([*texts, f"({data.attrs['runs']:,} runs.)"])


def _told(data: xr.Dataset) -> str:
    good, sure = data.excess <= TOLERANCE, data.sure
    surely_bad = data.excess_low > TOLERANCE
    families = (
        f"{label} {_share(good[(data.family == label).values])}"
        for label in dict.fromkeys(data.family.values)
    )
    counts = {word: int((data.source == word).sum()) for word in SOURCES}
    sources = (f"{word} in {count}" for word, count in counts.items() if count)
    return (
        f"{'Told the family' if data.told else 'Taking it for uniform'}, the advised alpha is "
        f"within 10 % of the best gap on the grid (or within {TOLERANCE * NEGLIGIBLE:g} of the "
        f"reward) in {_share(good)} of the settings: {'; '.join(families)}; to the letter in "
        f"{_share(data.literally)}. In {int((~good).sum())} it is not (in "
        f"{int(surely_bad.sum())} beyond the noise), and of these it had not warned in "
        f"{int((~good & sure).sum())} ({int((surely_bad & sure).sum())} beyond the noise). "
        f"It warned in {_share(~sure)}. It rests on the {', '.join(sources)}; "
        f"{float(data.seconds.median()):.2g} s a call in the median."
    )


def _share(good: xr.DataArray) -> str:
    count, total = int(good.sum()), good.size
    low, high = clopper_pearson(count, total)
    return f"{count} of {total} ({100 * count / total:.0f} % [{100 * low:.0f}, {100 * high:.0f}])"


def draw(figure: Figure, data: xr.Dataset) -> None:
    """The excess of every setting, by family; hollow where the advice was not sure."""
    caption(figure, "of the best gap, or of 1 % of the rewards' size where that is larger")
    labels = list(dict.fromkeys(data.family.values))
    above, below = figure.subplots(2, 1, sharex=True)
    for axes, told, title in (
        (above, True, "told the family"),
        (below, False, "taking it for uniform"),
    ):
        here = data.sel(told=told)
        for column, label in enumerate(labels):
            _points(axes, column, here.isel(setting=(here.family == label).values))
        axes.axhline(100 * TOLERANCE, color="0.4", ls="--", lw=1)
        axes.set_yscale("symlog", linthresh=10)
        axes.set_ylim(-1, max(200, 150 * float(data.excess.max())))
        axes.set_yticks([0, 10, 100], ["0", "10", "100"])
        axes.grid(axis="x", visible=False)
        good = int((here.excess <= TOLERANCE).sum())
        axes.set_title(
            f"{title}: good in {good} of {here.sizes['setting']}, warned in "
            f"{int((~here.sure).sum())}"
        )
    below.set_xticks(range(len(labels)), labels)
    figure.supylabel("gap above the best on the grid, %")
    marks = [
        Line2D([], [], ls="", marker="o", color=colour, markerfacecolor=face)
        for colour in ("C0", "C1")
        for face in (colour, "white")
    ]
    words = ["within 10 %", "within, but it warned", "not within", "not within, and it warned"]
    figure.legend(marks, words, loc="outside lower center", ncols=4)


def _points(axes: Any, column: int, here: xr.Dataset) -> None:
    order = np.argsort(here.excess.values, kind="stable")
    x = column + np.linspace(-0.35, 0.35, order.size)
    values, sure = here.excess.values[order], here.sure.values[order]
    colours = np.where(values <= TOLERANCE, "C0", "C1")
    faces = np.where(sure, colours, "white")
    axes.scatter(x, 100 * values, c=list(faces), edgecolors=list(colours), s=16, linewidths=1)
