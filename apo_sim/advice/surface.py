"""The table that advice is read from: what a phase-diagram sweep found, reduced to means."""

import functools
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from apo_sim.registry import Family
from apo_sim.statistics import mean_and_half
from apo_sim.studies.kept import place
from apo_sim.sweep import sweep

FAMILY = "uniform"
ALPHAS = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9)
BETAS = (0.01, 0.1, 0.3, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
SAMPLES = (10, 30, 100, 300, 1000, 3000, 10_000, 100_000)
ITERATIONS = 50
HORIZONS = (1, 2, 3, 4, 6, 8, 12, 17, 25, 35, 50)
# Numbers of arms, with the seeds that the time allows.
SEEDS = {3: 400, 10: 300, 30: 48}
FILE = "surface.nc"


def measure(
    *,
    arms: int,
    seeds: int,
    seed: int = 0,
    out: str | Path | None = None,
    progress: bool = True,
    family: str | Family = FAMILY,
    alphas: Sequence[float | int] = ALPHAS,
    betas: Sequence[float | int] = BETAS,
    samples: Sequence[float | int] = SAMPLES,
    iterations: int = ITERATIONS,
    contexts: int = 1,
    parameters: Mapping[str, Any] | None = None,
    beta_schedule: Sequence[str] = ("constant", "matched"),
) -> xr.DataArray:
    """The gap of momentum and of its matched rival, every seed.

    Returns:
        Dimensions (beta_schedule, alpha, beta, samples, seed, iteration).

    Example:
        >>> few = {"alphas": [0.0, 0.5], "betas": [1.0], "samples": [100]}
        >>> dict(measure(arms=3, seeds=2, iterations=2, **few).sizes)
        {'beta_schedule': 2, 'alpha': 2, 'beta': 1, 'samples': 1, 'seed': 2, 'iteration': 2}
    """
    return sweep(
        family,
        beta_schedule=list(beta_schedule),
        alpha=list(alphas),
        beta=list(betas),
        samples=list(samples),
        arms=arms,
        iterations=iterations,
        seeds=seeds,
        seed=seed,
        variables=["suboptimality"],
        out=place(out, f"arms_{arms}"),
        progress=progress,
        contexts=contexts,
        **(parameters or {}),
    ).suboptimality.load()


def reduced(gap: xr.DataArray) -> xr.Dataset:
    """Means over the seeds, with half their 95 % intervals.

    Args:
        gap: dimensions beta_schedule, alpha, seed and any others; alpha = 0 is on its grid.

    Returns:
        Without beta_schedule and seed: `gap` of momentum; `over_none` and `over_matched`, the
        rival's gap minus it; the three halves of intervals `*_half`; `worse`, the share of runs
        that end with a larger gap than the same run without momentum.

    Example:
        >>> gap = xr.DataArray(
        ...     [[[3.0, 5.0], [1.0, 2.0]], [[3.0, 5.0], [2.0, 2.0]]],
        ...     dims=("beta_schedule", "alpha", "seed"),
        ...     coords={"beta_schedule": ["constant", "matched"], "alpha": [0.0, 0.5]},
        ... )
        >>> reduced(gap).over_none.values.tolist(), reduced(gap).worse.values.tolist()
        ([0.0, 2.5], [0.0, 0.0])
    """
    own = gap.sel(beta_schedule="constant", drop=True)
    none = own.sel(alpha=0.0, drop=True)
    matched = gap.sel(beta_schedule="matched", drop=True)
    found = {}
    for name, values in (("gap", own), ("over_none", none - own), ("over_matched", matched - own)):
        found[name], found[f"{name}_half"] = mean_and_half(values)
    found["worse"] = (own > none).mean("seed")
    return xr.Dataset(found).drop_attrs()


def make(
    *, seed: int = 0, out: str | Path | None = None, seeds: dict[int, int] | None = None
) -> xr.Dataset:
    """The whole surface, a sweep for each number of arms; `attrs["runs"]` counts them."""
    parts, runs = [], 0
    for arms, count in (seeds or SEEDS).items():
        gap = measure(arms=arms, seeds=count, seed=seed, out=out)
        runs += gap.isel(iteration=0).size
        parts.append(reduced(gap.sel(iteration=list(HORIZONS))).expand_dims(arms=[arms]))
    surface = xr.concat(parts, dim="arms").reset_coords(drop=True).astype(np.float32)
    surface = surface.transpose("arms", "alpha", "beta", "samples", "iteration")
    return surface.assign_attrs(family=FAMILY, runs=runs, seed=seed)


def save(surface: xr.Dataset, path: Path) -> None:
    """Write a surface in NetCDF 3, which SciPy reads and writes."""
    surface.to_netcdf(path, engine="scipy")


@functools.lru_cache(maxsize=1)
def shipped() -> xr.Dataset:
    """The surface that comes with the package, made by `experiments/advice_surface.py`.

    Example:
        >>> shipped().attrs["family"]
        'uniform'
    """
    with resources.as_file(resources.files("apo_sim.advice") / FILE) as path:
        return xr.load_dataset(path, engine="scipy")
