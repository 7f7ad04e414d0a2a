r"""What advice rests on where the gap has a closed form: the law of leading order, and no run.

The law has the mean gap of N pairs an iteration as $\mathrm{gap}_\infty + c/N$
(`apo_sim.theory.leading_order`). Its own next order is to be expected at `index` times $|c|/N$. It
decides where that is a fiftieth of the gap at most, in nearly all problems of a draw and for every
alpha: there the rest of the series does not move any choice. It costs so little that it also tells
the best beta and the best rule beside it.
"""

import dataclasses
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from scipy import stats

from apo_sim.advice import _lookup
from apo_sim.advice._evidence import Evidence, shares
from apo_sim.advice._setting import Draws
from apo_sim.advice.surface import ALPHAS, reduced
from apo_sim.errors import InvalidArgument
from apo_sim.momentum import Schedule
from apo_sim.problems import Bandit
from apo_sim.registry import Choice
from apo_sim.registry.named_families import parameters_of
from apo_sim.statistics import resampled
from apo_sim.sweep.lanes import over_lanes, replicate_problem
from apo_sim.theory import matched_beta
from apo_sim.theory.leading_order import LeadingOrder, leading_order

PROBLEMS = 32
# Of these few every one has to do before the others are looked at.
SCREENED = 4
# The law decides where its next order is this share of the gap at most ...
OFF = 0.02
# ... in this share of the problems.
MOST = 0.95
RESAMPLES = 500
BETA_FACTORS = tuple(2.0**k for k in range(-5, 3))
# With more multiplications than this for one problem and one alpha a simulation is as fast.
_MOST_WORK = 1e7
# With fewer pairs an arm the law does not decide; it is not compiled to find that.
_FEWEST_PAIRS = 10
# So many, for all of them together, take a second or a few.
_WORK = 1e9
_AT_ONCE = 16


@dataclass(frozen=True)
class Retuned:
    """The best beta of a momentum rule, on a grid, as the law has it.

    Attributes:
        rule: "alpha = ...", "no momentum" or "Nesterov's schedule".
        beta: the best on the grid where the law decides.
        gap: its expected gap.
        at_edge: whether the next smaller beta was left out because the law does not decide there,
            so that a smaller one may be better still.
    """

    rule: str
    beta: float
    gap: float
    at_edge: bool

    def __str__(self) -> str:
        more = (
            "; a smaller beta may be better still, but the law does not cover it"
            if self.at_edge
            else ""
        )
        return f"{self.rule}: beta = {self.beta:.3g} leaves {self.gap:.3g}{more}"


class _Law(NamedTuple):
    """Of every path and problem, shape (paths, problems): mean, variance, whether it decides."""

    gap: np.ndarray
    variance: np.ndarray
    decides: np.ndarray


def by_law(draws: Draws) -> Evidence | None:
    """What the law says of every alpha, or None where it does not decide.

    Args:
        draws: the setting, the family and the seed of its problems.

    Example:
        >>> from apo_sim.advice._setting import Setting
        >>> from apo_sim.registry import FAMILIES
        >>> setting = Setting(50_000, 3, 20.0, 3, 1.0, 1)
        >>> by_law(Draws(setting, FAMILIES.chosen("tied"))).best
        0.9
        >>> few = Setting(5, 3, 20.0, 3, 1.0, 1)
        >>> by_law(Draws(few, FAMILIES.chosen("tied"))) is None
        True
    """
    if not _can_compute(draws):
        return None
    paths = [_path(draws, matched, alpha) for matched in (False, True) for alpha in ALPHAS]
    number = _number(draws, len(paths))
    screened = min(SCREENED, number)
    law = _law(draws, paths, range(screened))
    if not law.decides.all():
        return None
    if number > screened:
        rest = _law(draws, paths, range(screened, number))
        law = _Law(*(np.concatenate(parts, axis=1) for parts in zip(law, rest, strict=True)))
    if law.decides.mean(axis=1).min() < MOST:
        return None
    return _evidence(law, draws)


def retuned(draws: Draws, alpha: float) -> tuple[Retuned, ...]:
    """The best beta at an alpha, without momentum and with Nesterov's schedule.

    Returns:
        One for each rule; rules for which the law decides at no beta of the grid are left out.

    Example:
        >>> from apo_sim.advice._setting import Setting
        >>> from apo_sim.registry import FAMILIES
        >>> draws = Draws(Setting(50_000, 3, 20.0, 3, 1.0, 1), FAMILIES.chosen("tied"))
        >>> [best.rule for best in retuned(draws, 0.9)]
        ['alpha = 0.9', 'no momentum', "Nesterov's schedule"]
    """
    t = np.arange(1.0, _length(draws) + 1)
    rules = {f"alpha = {alpha:g}": np.full(_length(draws), alpha)} if alpha > 0 else {}
    rules |= {"no momentum": np.zeros(_length(draws)), "Nesterov's schedule": t / (t + 3)}
    betas = draws.setting.beta * np.array(BETA_FACTORS)
    paths = [(rule, np.full(_length(draws), beta)) for rule in rules.values() for beta in betas]
    number = min(_number(draws, len(paths)), 8)
    law = _law(draws, paths, range(number))
    shape = len(rules), betas.size
    gaps = law.gap.mean(axis=1).reshape(shape)
    decides = (law.decides.mean(axis=1) >= MOST).reshape(shape)
    found = []
    for rule, gap, sure in zip(rules, gaps, decides, strict=True):
        if sure.any():
            best = int(np.where(sure, gap, np.inf).argmin())
            edge = best > 0 and not sure[best - 1]
            found.append(Retuned(rule, float(betas[best]), float(gap[best]), edge))
    return tuple(found)


def _can_compute(draws: Draws) -> bool:
    """Whether there is a law, of problems that a sweep accepts, that may decide in short time."""
    family, setting = draws.family.content, draws.setting
    pairs = setting.samples / (setting.arms * setting.contexts)
    if _work(draws) > _MOST_WORK or pairs < _FEWEST_PAIRS:
        return False
    # What a family does not take, or does not return, a simulation refuses in words.
    if any(name not in parameters_of(family) for name in draws.parameters):
        return False
    try:
        problem = jax.eval_shape(functools.partial(_problem, draws), jnp.uint32(0))
    except InvalidArgument:
        return False
    fits = getattr(getattr(problem, "log_ref", None), "shape", None)
    return isinstance(problem, Bandit) and fits == (setting.contexts, setting.arms)


def _length(draws: Draws) -> int:
    """T, rounded up to a power of two: one program serves many numbers of updates."""
    return 1 << (draws.setting.iterations - 1).bit_length()


def _work(draws: Draws) -> float:
    """Multiplications for one problem and one path, roughly."""
    arms, length = draws.setting.arms, _length(draws)
    return float(draws.setting.contexts) * length * arms**2 * (arms + length)


def _number(draws: Draws, paths: int) -> int:
    """How many problems are worth their time; a given one is always the same."""
    return 1 if draws.fixed else int(np.clip(_WORK / (paths * _work(draws)), 8, PROBLEMS))


def _problem(draws: Draws, replicate: Any) -> Any:
    setting = draws.setting
    return replicate_problem(
        draws.family.content,
        draws.seed,
        replicate,
        setting.contexts,
        setting.arms,
        **draws.parameters,
    )[0]


def _path(draws: Draws, matched: bool, alpha: float) -> tuple[np.ndarray, np.ndarray]:
    """Extrapolations and proximal weights of momentum, or of the plain updates beside it."""
    betas = np.full(_length(draws), draws.setting.beta)
    if not matched:
        return np.full(_length(draws), alpha), betas
    return np.zeros(_length(draws)), np.asarray(matched_beta(alpha, betas, _length(draws)))


def _law(
    draws: Draws, paths: Sequence[tuple[np.ndarray, np.ndarray]], problems: Sequence[int]
) -> _Law:
    count = len(problems)
    lanes = {
        "alphas": np.repeat([alphas for alphas, _ in paths], count, axis=0),
        "betas": np.repeat([betas for _, betas in paths], count, axis=0),
        "replicate": np.tile(np.asarray(problems, np.uint32), len(paths)),
        "seed": np.full(len(paths) * count, draws.seed, np.uint32),
        "update": np.full(len(paths) * count, draws.setting.iterations - 1),
        "samples": np.full(len(paths) * count, float(draws.setting.samples)),
    }
    setting = draws.setting
    found = over_lanes(
        _lane,
        lanes,
        at_once=_AT_ONCE,
        family=draws.family,
        sizes=(setting.contexts, setting.arms),
        parameters=tuple(draws.parameters.items()),
    )
    return _Law(*(values.reshape(len(paths), count) for values in found))


def _lane(
    lane: dict[str, Any], family: Choice, sizes: tuple[int, int], parameters: tuple[Any, ...]
) -> tuple[Any, ...]:
    problem, _ = replicate_problem(
        family.content, lane["seed"], lane["replicate"], *sizes, **dict(parameters)
    )
    samples, length = lane["samples"], lane["alphas"].shape[0]
    path = leading_order(problem, Schedule(lane["alphas"]), lane["betas"], length)
    gap = jnp.maximum(path.expected_gap(samples), 0.0)
    found = gap, path.variance / samples, _decides(path, samples)
    return jax.tree.map(lambda values: values[lane["update"]], found)


def _decides(law: LeadingOrder, samples: Any) -> Any:
    """Whether what the law leaves out is a small share of the whole gap, and the bound is free."""
    next_order = law.index(samples) * jnp.abs(law.coefficient) / samples
    # Of the law's own two conditions, that of the bound on the rewards alone.
    free = dataclasses.replace(law, spread=jnp.zeros_like(law.spread)).valid(samples)
    small = next_order <= OFF * jnp.maximum(
        law.exact_gap, _lookup.NEGLIGIBLE * law.reward_range / 2
    )
    # Where all arms are equal nothing can be lost.
    return (free & small) | (law.reward_range == 0)


def _evidence(law: _Law, draws: Draws) -> Evidence:
    """The same tables as of runs, each problem in the place of a seed."""
    schedules = ["constant", "matched"]
    gap = xr.DataArray(
        law.gap.reshape(len(schedules), len(ALPHAS), -1),
        dims=("beta_schedule", "alpha", "seed"),
        coords={"beta_schedule": schedules, "alpha": list(ALPHAS)},
    )
    number = gap.sizes["seed"]
    # One problem is the mean of as many of its kind.
    table = shares(reduced(gap if number > 1 else xr.concat([gap, gap], "seed")))
    own = gap.sel(beta_schedule="constant", drop=True)
    for half in ("gap_half", "over_none_half", "over_matched_half"):
        table[half] = np.hypot(table[half], OFF)
    table["worse"] = "alpha", _worse(law)
    again = resampled(lambda runs: runs.mean(axis=-1), own, draws=RESAMPLES, seed=draws.seed)
    means = own.mean("seed")
    drawn = draws.name if draws.fixed else f"{number} problems of {draws.name}"
    return Evidence(
        best=float(means.idxmin("alpha")),
        table=table,
        excess=_lookup.excess(again, again.min(axis=1, keepdims=True), draws.setting.spread),
        source=f"the leading-order law in 1/N for {drawn}, without a run",
        doubt="the best alpha differs between the problems of this family",
    )


def _worse(law: _Law) -> np.ndarray:
    """How often a run ends worse than one without momentum, were the noise of the two apart."""
    gap, variance = (values[: len(ALPHAS)] for values in (law.gap, law.variance))
    width = np.sqrt(np.maximum(variance + variance[:1], np.finfo(float).tiny))
    worse = stats.norm.cdf((gap - gap[:1]) / width).mean(axis=1)
    return np.where(np.array(ALPHAS) == 0, 0.0, worse)
