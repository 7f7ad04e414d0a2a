"""The runs behind the report's explorer: the gap over a grid of settings, in its two parts."""

from collections.abc import Callable, Sequence
from typing import Any

import xarray as xr

from apo_sim.checks import as_count
from apo_sim.report._explorer import AXES
from apo_sim.statistics import mean_and_half, several
from apo_sim.studies.geometry_kinds import KINDS, scale
from apo_sim.sweep import sweep

METHODS = {"DPO": "dpo", "IPO": "ipo", "SPPO": "sppo"}
GEOMETRIES = ("KL", "Tsallis 1/2", "Euclidean")
ARMS = (3, 10, 30)
ALPHAS = (0.0, 0.3, 0.6, 0.9)
WEIGHTS = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
SAMPLES = (30, 100, 300, 1000, 3000, 10_000)
HORIZONS = (1, 2, 3, 5, 10, 20)
SEEDS = 100


def measure(
    *,
    seeds: int = SEEDS,
    seed: int = 0,
    methods: Sequence[str] = tuple(METHODS),
    geometries: Sequence[str] = GEOMETRIES,
    arms: Sequence[int] = ARMS,
    alphas: Sequence[float] = ALPHAS,
    weights: Sequence[float] = WEIGHTS,
    samples: Sequence[int] = SAMPLES,
    horizons: Sequence[int] = HORIZONS,
) -> xr.Dataset:
    r"""Split the gap of every cell into what exact preferences leave and what sampling adds.

    Rewards are uniform in [-1, 1], the reference is uniform. Every cell meets the same bandits,
    with exact preferences and with sampled ones, so that their difference is paired.

    Args:
        seeds: bandits a cell, at least two.
        seed: all randomness is folded from it.
        methods: names in `METHODS`.
        geometries: names in `apo_sim.studies.geometry_kinds.KINDS`.
        arms: numbers of arms K.
        alphas: extrapolations.
        weights: proximal weights $\beta$, in units in which a small first step is the same in
            every geometry (`geometry_kinds.scale`).
        samples: preference pairs an iteration N.
        horizons: numbers of updates T.

    Returns:
        Means over the seeds. `optimisation` is the gap with exact preferences, dimensions
        (method, geometry, arms, alpha, weight, iteration); `statistics`, what sampling adds to
        it, with one dimension more, samples, before the last; `half`, half of its 95 % interval.

    Raises:
        InvalidArgument: for fewer than two seeds, or settings that no sweep takes.
        UnknownName: for a method that is not there.

    Example:
        >>> few = {"geometries": ["KL"], "arms": [3], "alphas": [0.0], "weights": [1.0]}
        >>> data = measure(seeds=2, methods=["DPO"], samples=[30], horizons=[1, 2], **few)
        >>> data.optimisation.dims[-2:], data.statistics.dims[-2:]
        (('weight', 'iteration'), ('samples', 'iteration'))
    """
    several(seeds)
    grid = (alphas, weights, samples, horizons, seeds, seed)
    data = _along(
        "method",
        methods,
        lambda method: _along(
            "geometry",
            geometries,
            lambda kind: _along("arms", arms, lambda count: _cell(method, kind, count, *grid)),
        ),
    )
    return data.transpose(*AXES)


def _along(axis: str, values: Sequence[Any], part: Callable[[Any], xr.Dataset]) -> xr.Dataset:
    """The parts of all values, side by side along a new axis."""
    return xr.concat([part(value) for value in values], xr.Variable(axis, list(values)))


def _cell(
    method: str,
    geometry: str,
    arms: int,
    alphas: Sequence[float],
    weights: Sequence[float],
    samples: Sequence[int],
    horizons: Sequence[int],
    seeds: int,
    seed: int,
) -> xr.Dataset:
    """One method, geometry and number of arms: what one compiled program serves."""
    places = [as_count("horizons", horizon) - 1 for horizon in horizons]
    stretch = scale(geometry, arms)

    def gap(pairs: Any) -> xr.DataArray:
        found = sweep(
            "uniform",
            seeds=seeds,
            seed=seed,
            variables=["suboptimality"],
            progress=False,
            loss=METHODS[method],
            geometry=KINDS[geometry],
            arms=arms,
            alpha=list(alphas),
            beta=[weight * stretch for weight in weights],
            samples=pairs,
            iterations=max(horizons),
        )
        found = found.suboptimality.isel(iteration=places).rename(beta="weight")
        return found.assign_coords(weight=list(weights), iteration=list(horizons))

    exact = gap(None)
    mean, half = mean_and_half(gap(list(samples)) - exact)
    parts = xr.Dataset({"optimisation": exact.mean("seed"), "statistics": mean, "half": half})
    # Those that no axis needs differ between cells, such as the name of the loss.
    return parts.drop_vars(set(parts.coords) - set(parts.dims))
