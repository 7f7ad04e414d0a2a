"""What advice rests on: the stored surface at a setting, or a simulation of it."""

from dataclasses import dataclass

import numpy as np
import xarray as xr

from apo_sim.advice import lookup
from apo_sim.advice.surface import FAMILY, measure, reduced, shipped
from apo_sim.registry import FAMILIES, Family
from apo_sim.studies.intervals import resampled

RESAMPLES = 500


@dataclass(frozen=True)
class Setting:
    """A run about to start: N, T, beta, K, the size of its rewards and X."""

    samples: int
    iterations: int
    beta: float
    arms: int
    spread: float
    contexts: int


@dataclass(frozen=True)
class Evidence:
    """What is known about every alpha.

    Attributes:
        best: the alpha to choose.
        table: dimension alpha; `gap`, in units of the reward; `over_none` and `over_matched`, the
            shares of the rivals' gaps saved; half the intervals of all three, relative to the
            same; `worse`, the share of runs that end worse than without momentum.
        excess: by what share each alpha's gap exceeds the best one's (`lookup.excess`), in many
            settings nearby or in many resamples, shape (cases, alphas).
        source: which runs it comes from.
        doubt: what to say where the cases disagree.
        caveats: where it extrapolates.
    """

    best: float
    table: xr.Dataset
    excess: np.ndarray
    source: str
    doubt: str
    caveats: tuple[str, ...] = ()


def stored(setting: Setting) -> Evidence:
    """Read the surface; the best alpha is the one that loses least in the settings nearby.

    Example:
        >>> stored(Setting(1000, 12, 5.0, 10, 1.0, 1)).best
        0.9
    """
    surface = shipped()
    # Rewards, proximal weight and the noise of the labels scale together.
    point, outside = lookup.clamped(
        {
            "arms": setting.arms,
            "beta": setting.beta / setting.spread,
            "samples": setting.samples / setting.contexts * setting.spread**2,
            "iteration": setting.iterations,
        }
    )
    table, excess = lookup.at(point), lookup.excess_nearby(point)
    if setting.spread != 1:
        outside.append("the stored runs have spread 1; others follow by scaling")
    arms = ", ".join(str(k) for k in surface.arms.values)
    return Evidence(
        best=float(table.alpha[np.argmin(np.log1p(excess).mean(axis=0))]),
        table=table.assign(gap=setting.spread * table.gap),
        excess=excess,
        source=f"{surface.attrs['runs']:,} stored runs of random bandits, uniform rewards and "
        f"reference, K = {arms}",
        doubt="a setting a little different would ask for another alpha; simulate to decide",
        caveats=tuple(outside),
    )


def simulated(
    setting: Setting,
    seeds: int,
    family: str | Family = FAMILY,
    seed: int = 0,
    progress: bool = True,
) -> Evidence:
    """Run the setting itself: the best alpha is chosen on one half and judged on the other.

    Example:
        >>> setting = Setting(100, 2, 1.0, 3, 1.0, 1)
        >>> simulated(setting, seeds=8, family="tied").excess.shape
        (500, 6)
    """
    gap = measure(
        family=family,
        arms=setting.arms,
        seeds=seeds,
        seed=seed,
        progress=progress,
        betas=[setting.beta],
        samples=[setting.samples],
        iterations=setting.iterations,
        contexts=setting.contexts,
        # Not every family has a spread; 1 is what those that have it begin with.
        parameters={} if setting.spread == 1 else {"spread": setting.spread},
    ).isel(beta=0, samples=0, iteration=-1, drop=True)
    chosen_on, judged_on = gap.isel(seed=slice(0, None, 2)), gap.isel(seed=slice(1, None, 2))
    means = chosen_on.sel(beta_schedule="constant").mean("seed")
    found = reduced(judged_on)
    runs = judged_on.sel(beta_schedule="constant", drop=True).transpose("alpha", "seed")
    again = resampled(lambda runs: runs.mean(axis=-1), runs, draws=RESAMPLES, seed=seed)
    return Evidence(
        best=float(means.idxmin("alpha")),
        table=_shares(found),
        excess=lookup.excess(again, again.min(axis=1, keepdims=True), setting.spread),
        source=f"a simulation of {gap.size:,} runs of the family {FAMILIES.chosen(family).label}",
        doubt="so few runs do not tell the best alpha from the others",
    )


def _shares(found: xr.Dataset) -> xr.Dataset:
    """The same figures relative to the gaps that they belong to."""
    gap = np.maximum(found.gap, lookup.FLOOR)
    none = gap.sel(alpha=0.0, drop=True)
    matched = np.maximum(found.gap + found.over_matched, lookup.FLOOR)
    return xr.Dataset(
        {
            "gap": found.gap,
            "gap_half": found.gap_half / gap,
            "over_none": found.over_none / none,
            "over_none_half": found.over_none_half / none,
            "over_matched": found.over_matched / matched,
            "over_matched_half": found.over_matched_half / matched,
            "worse": found.worse,
        }
    ).reset_coords(drop=True)
