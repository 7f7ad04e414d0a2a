"""Whether another method than the paper's is the better choice: read from a stored comparison.

The comparison is V8's at full size: bandits of ten arms and games of three, every method tuned in
every cell. What differs from all of its cells is not known, and said.
"""

import functools
import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np
import xarray as xr

from apo_sim.statistics import mean_and_half
from apo_sim.studies import field, matched_beta
from apo_sim.studies.field_problems import ARMS

FILE = "methods_{}.nc"
# The paper's method on each kind of problem; which extrapolation is tuned as all else is.
PAPER = {"bandits": "iterative DPO", "games": "SPPO"}
# What a user may not have.
NEEDS_FEATURES = "is told the features that rewards are linear in"


@dataclass(frozen=True)
class Rival:
    """What leaves least on one kind of problem, beside the paper's method.

    Attributes:
        problem: the family of problems.
        flipped: the rate of wrong labels.
        method: the best method that is surely better than the paper's; the paper's, if none is.
        gap: its mean gap at the end, and its interval.
        paper: that of the paper's method with its best extrapolation, and its interval.
        alpha: that extrapolation.
        note: what the method needs beside labels, or nothing.
    """

    problem: str
    flipped: float
    method: str
    gap: tuple[float, tuple[float, float]]
    paper: tuple[float, tuple[float, float]]
    alpha: float
    note: str = ""

    @property
    def better(self) -> bool:
        """Whether it is another method than the paper's."""
        return self.gap != self.paper

    def __str__(self) -> str:
        labels = f", {self.flipped:.0%} wrong labels" if self.flipped else ""
        where = f"{self.problem}{labels}"
        own = f"{_plain(self.paper)} of APO (alpha = {self.alpha:g})"
        if not self.better:
            return f"{where}: no method is significantly better than the {own}"
        needs = f"; it {self.note}" if self.note else ""
        return f"{where}: {self.method} leaves {_plain(self.gap)}, compared with {own}{needs}"


def _plain(estimate: tuple[float, tuple[float, float]]) -> str:
    value, (low, high) = estimate
    return f"{value:.2g} [{max(low, 0.0):.2g}, {high:.2g}]"


def reduced(data: xr.Dataset) -> xr.Dataset:
    """What advice needs of the comparison.

    Args:
        data: of `field.measure`.

    Returns:
        Dimensions (contender, problem, flipped, labels): the mean `gap`, half its interval, and
        `beats`, whether the gap is surely less than that of the paper's method with whatever
        extrapolation leaves least in the cell (intervals for all pairs and cells at once).
    """
    fair = field.rivals(data)
    mean, half = mean_and_half(fair.gap)
    own = _of_paper(fair)
    best = mean.isel(contender=own).argmin("contender")
    sure = matched_beta.better(fair.gap).isel(rival=own).isel(rival=best).drop_vars("rival")
    found = xr.Dataset({"gap": mean, "half": half, "beats": sure.astype(np.int8)})
    return found.assign_attrs(problems=data.attrs["problems"], seeds=data.sizes["seed"])


def _of_paper(data: xr.Dataset) -> np.ndarray:
    return np.flatnonzero((data.base == PAPER[data.attrs["problems"]]).values)


def rivals(labels: int, stored: Mapping[str, xr.Dataset] | None = None) -> list[Rival]:
    """What leaves least from so many labels in all, on each kind of problem.

    Args:
        labels: N T, of a whole run.
        stored: comparisons as of `reduced`, by kind of problems; by default what is shipped.

    Returns:
        One for each family and rate of wrong labels. A method counts as surely better where it is
        so at both stored numbers of labels next to the one asked for.

    Example:
        >>> sorted({rival.problem for rival in rivals(3000)})[:2]
        ['cyclic', 'dominant']
    """
    found = []
    for data in (shipped() if stored is None else stored).values():
        near = _neighbours(data.labels.values, float(labels))
        own = _of_paper(data)
        for problem, flips in itertools.product(data.problem.values, data.flipped.values):
            cell = data.sel({"problem": problem, "flipped": flips}).isel(labels=near)
            gap = np.log(cell.gap.clip(field.NEGLIGIBLE).values).mean(
                axis=cell.gap.get_axis_num("labels")
            )
            paper = int(own[gap[own].argmin()])
            better = np.flatnonzero((cell.beats > 0).all("labels").values)
            first = int(better[gap[better].argmin()]) if better.size else paper
            # At the closest of the stored numbers, in logarithms.
            here = cell.isel(labels=_closest(cell.labels.values, float(labels)))
            found.append(
                Rival(
                    problem=str(problem),
                    flipped=float(flips),
                    method=str(here.contender.values[first]),
                    gap=_estimate(here, first),
                    paper=_estimate(here, paper),
                    alpha=float(here.alpha.values[paper]),
                    note=_needs(data.attrs["problems"], str(here.base.values[first])),
                )
            )
    return found


def caveats(
    labels: int,
    arms: int,
    contexts: int,
    spread: float,
    stored: Mapping[str, xr.Dataset] | None = None,
) -> list[str]:
    """In what a run differs from all stored ones.

    Example:
        >>> caveats(3000, arms=10, contexts=1, spread=1.0)
        []
        >>> caveats(3000, arms=50, contexts=1, spread=1.0)
        ['methods were compared with 10 arms (games: 3), not with 50']
    """
    each = list((shipped() if stored is None else stored).values())
    low, high = int(each[0].labels.min()), int(each[0].labels.max())
    texts = []
    if not low <= labels <= high:
        texts.append(f"methods were compared on {low:,} to {high:,} labels, not on {labels:,}")
    if arms != ARMS:
        texts.append(f"methods were compared with {ARMS} arms (games: 3), not with {arms}")
    if contexts != 1:
        texts.append("methods were compared on one context")
    if spread != 1.0:
        texts.append("methods were compared on rewards of spread 1")
    return texts


def _needs(problems: str, base: str) -> str:
    return NEEDS_FEATURES if field.PROBLEMS[problems][0][base].knows_features else ""


def _estimate(cell: xr.Dataset, place: int) -> tuple[float, tuple[float, float]]:
    mean, half = float(cell.gap[place]), float(cell.half[place])
    return mean, (mean - half, mean + half)


def _neighbours(grid: np.ndarray, value: float) -> list[int]:
    """Places of the grid points next to a value: two, or one at or beyond an end."""
    after = int(np.searchsorted(grid, value))
    if after == len(grid) or grid[after] == value or after == 0:
        return [min(after, len(grid) - 1)]
    return [after - 1, after]


def _closest(grid: np.ndarray, value: float) -> int:
    return int(np.abs(np.log(grid) - np.log(value)).argmin())


def save(data: xr.Dataset, path: Path) -> None:
    """Write a reduced comparison in NetCDF 3, which SciPy reads and writes."""
    data.drop_encoding().to_netcdf(path, engine="scipy")


@functools.lru_cache(maxsize=1)
def shipped() -> dict[str, xr.Dataset]:
    """The comparisons that come with the package, made by `experiments/advice_methods.py`.

    Example:
        >>> list(shipped())
        ['bandits', 'games']
    """
    found = {}
    for kind in PAPER:
        with resources.as_file(resources.files("apo_sim.advice") / FILE.format(kind)) as path:
            found[kind] = xr.load_dataset(path, engine="scipy")
    return found
