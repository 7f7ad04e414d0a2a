"""What advice rests on: the stored surface at a setting, or a simulation of it."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from apo_sim.advice import _lookup
from apo_sim.advice._setting import Draws, Setting
from apo_sim.advice.surface import measure, reduced, shipped
from apo_sim.statistics import mean_and_half, resampled

RESAMPLES = 500
# What exceeds the best by this share, or less, is as good.
TOLERANCE = 0.1
# Advice is sure where it is as good as the best in this share of the cases.
SURE = 0.9
# The same where the runs that choose the alpha are those that judge it, in its favour.
CLEAR = 0.95
# A simulation of no size of its own makes so many runs of every alpha, or fewer where they are
# slow; a fifth of them first, and the others only where those do not decide.
FEWEST, MOST = 100, 500
_FIRST = 5
# Multiplications that all runs of an alpha may take, about ten seconds.
_WORK = 1e7
# An alpha is out of the question where this share of the resamples says so.
_OUT = 0.98
# Added to the seed of the runs that follow, so that they meet other problems.
_STRIDE = 0x9E3779B9


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
        enough: the share of the cases in which a choice has to be as good as the best to be sure.
    """

    best: float
    table: xr.Dataset
    excess: np.ndarray
    source: str
    doubt: str
    caveats: tuple[str, ...] = ()
    enough: float = SURE


def stored(setting: Setting) -> Evidence:
    """Read the surface; the best alpha is the one that loses least in the settings nearby.

    Example:
        >>> stored(Setting(1000, 12, 5.0, 10, 1.0, 1)).best
        0.9
    """
    surface = shipped()
    # Rewards, proximal weight and the noise of the labels scale together.
    point, outside = _lookup.clamped(
        {
            "arms": setting.arms,
            "beta": setting.beta / setting.spread,
            "samples": setting.samples / setting.contexts * setting.spread**2,
            "iteration": setting.iterations,
        }
    )
    table, excess = _lookup.at(point), _lookup.excess_nearby(point)
    if setting.spread != 1:
        outside.append("the stored runs have spread 1, and other spreads are obtained by scaling")
    arms = ", ".join(str(k) for k in surface.arms.values)
    return Evidence(
        best=float(table.alpha[np.argmin(np.log1p(excess).mean(axis=0))]),
        table=table.assign(gap=setting.spread * table.gap),
        excess=excess,
        source=f"{surface.attrs['runs']:,} stored runs of random bandits, uniform rewards and "
        f"reference, K = {arms}",
        doubt="a slightly different setting would need another alpha; simulate to decide",
        caveats=tuple(outside),
    )


def simulated(draws: Draws, seeds: int, progress: bool = True) -> Evidence:
    """Run the setting itself: the best alpha is chosen on one half and judged on the other.

    Example:
        >>> from apo_sim.registry import FAMILIES
        >>> draws = Draws(Setting(100, 2, 1.0, 3, 1.0, 1), FAMILIES.chosen("tied"))
        >>> simulated(draws, seeds=8).excess.shape
        (500, 6)
    """
    gap = _runs(draws, seeds, draws.seed, progress)
    chosen_on, judged_on = gap.isel(seed=slice(0, None, 2)), gap.isel(seed=slice(1, None, 2))
    means = chosen_on.sel(beta_schedule="constant").mean("seed")
    return Evidence(
        best=float(means.idxmin("alpha")),
        table=shares(reduced(judged_on)),
        excess=_excess(judged_on.sel(beta_schedule="constant", drop=True), draws),
        source=f"a simulation of {gap.size:,} runs of {draws.name}",
        doubt="so few runs cannot separate the best alpha from the others",
    )


def simulated_until_clear(draws: Draws, progress: bool = True) -> Evidence:
    """Run the setting until the best alpha is clear, or the time for it is up.

    All runs choose and judge: what is chosen is uncertain where they are few, and the resamples
    say so. Rivals are run along with the first of them only.

    Example:
        >>> from apo_sim.registry import FAMILIES
        >>> draws = Draws(Setting(100, 2, 20.0, 3, 1.0, 1), FAMILIES.chosen("tied"))
        >>> clear = simulated_until_clear(draws)
        >>> clear.best, clear.source
        (0.9, 'a simulation of 1,200 runs of the family tied')
    """
    most = _affordable(draws.setting)
    first = most // _FIRST
    gap = _runs(draws, first, draws.seed, progress)
    table, made = shares(reduced(gap)), gap.size
    runs = gap.sel(beta_schedule="constant", drop=True)
    excess = _excess(runs, draws)
    if not _clear(runs, excess, draws.setting):
        in_question = (excess > TOLERANCE).mean(axis=0) < _OUT
        runs, added = _continued(runs.isel(alpha=in_question), most - first, draws, progress)
        made += added
        excess = np.full(excess.shape, np.inf)
        excess[:, in_question] = _excess(runs, draws)
        mean, half = mean_and_half(runs)
        relative = half / np.maximum(mean, _lookup.FLOOR)
        table = table.assign(
            gap=mean.combine_first(table.gap), gap_half=relative.combine_first(table.gap_half)
        )
    return Evidence(
        best=float(runs.mean("seed").idxmin("alpha")),
        table=table,
        excess=excess,
        source=f"a simulation of {made:,} runs of {draws.name}",
        doubt=f"{runs.sizes['seed']} runs cannot separate the best alpha from the others",
        enough=CLEAR,
    )


def _affordable(setting: Setting) -> int:
    """Runs of an alpha, so that all of them take some seconds."""
    work = float(setting.contexts) * setting.iterations * setting.arms**2
    return int(np.clip(_WORK / work, FEWEST, MOST))


def _runs(draws: Draws, seeds: int, seed: int, progress: bool, **chosen: Any) -> xr.DataArray:
    """The gap at the end, dimensions (beta_schedule, alpha, seed)."""
    setting = draws.setting
    return measure(
        family=draws.family.content,
        arms=setting.arms,
        seeds=seeds,
        seed=seed,
        progress=progress,
        betas=[setting.beta],
        samples=[setting.samples],
        iterations=setting.iterations,
        contexts=setting.contexts,
        parameters=draws.parameters,
        **chosen,
    ).isel(beta=0, samples=0, iteration=-1, drop=True)


def _continued(
    runs: xr.DataArray, seeds: int, draws: Draws, progress: bool
) -> tuple[xr.DataArray, int]:
    """More runs of the same alphas behind those given, and how many they are."""
    alphas = [float(alpha) for alpha in runs.alpha]
    seed = (draws.seed + _STRIDE) % 2**32
    more = _runs(draws, seeds, seed, progress, alphas=alphas, beta_schedule=["constant"])
    both = [part.transpose("alpha", "seed").values for part in (runs, more.isel(beta_schedule=0))]
    joined = np.concatenate(both, axis=1)
    return xr.DataArray(joined, {"alpha": alphas}, ("alpha", "seed")), more.size


def _excess(runs: xr.DataArray, draws: Draws) -> np.ndarray:
    """By what share every alpha exceeds the best, in resamples of the runs."""
    again = resampled(
        lambda each: each.mean(axis=-1),
        runs.transpose("alpha", "seed"),
        draws=RESAMPLES,
        seed=draws.seed,
    )
    return _lookup.excess(again, again.min(axis=1, keepdims=True), draws.setting.spread)


def _clear(runs: xr.DataArray, excess: np.ndarray, setting: Setting) -> bool:
    """Whether the choice is sure, and one run more that goes wrong would not change it.

    Few runs may hold none of those that collapse, and no resample of them shows that.
    """
    means = runs.mean("seed")
    sure = (excess[:, int(np.argmin(means.values))] <= TOLERANCE).mean() >= CLEAR
    least = max(float(means.min()), _lookup.NEGLIGIBLE * setting.spread)
    return bool(sure and float(runs.max()) / runs.sizes["seed"] <= TOLERANCE * least)


def shares(found: xr.Dataset) -> xr.Dataset:
    """The same figures relative to the gaps that they belong to."""
    gap = np.maximum(found.gap, _lookup.FLOOR)
    none = gap.sel(alpha=0.0, drop=True)
    matched = np.maximum(found.gap + found.over_matched, _lookup.FLOOR)
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
