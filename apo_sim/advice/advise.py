"""Which extrapolation to use in a run about to start."""

import dataclasses
from dataclasses import dataclass
from typing import Any, no_type_check

import jax
import xarray as xr

from apo_sim.advice import methods as methods_compared
from apo_sim.advice.evidence import Evidence, Setting, simulated, stored
from apo_sim.advice.methods import Rival
from apo_sim.advice.surface import FAMILY
from apo_sim.arguments import as_samples
from apo_sim.checks import as_count, as_flag, as_seed, check_positive, check_single, one_of
from apo_sim.errors import InvalidArgument
from apo_sim.registry import FAMILIES, Family
from apo_sim.theory import gamma

# What exceeds the best by this share, or less, is as good.
TOLERANCE = 0.1
# Advice is sure where it is as good as the best in this share of the cases.
SURE = 0.9
FEWEST_RUNS = 8
_METHODS = one_of(("momentum", "all"))

Estimate = tuple[float, tuple[float, float]]


@dataclass(frozen=True)
class Advice:
    """What to use, what to expect of it, and how far to trust that. Intervals are at 95 %.

    Attributes:
        alpha: the extrapolation to use.
        kind: "momentum", "smaller beta" (plain updates at `equal_beta` do as well), "none"
            (alpha = 0), or "any" (no alpha on the grid is more than a tenth off).
        gap: expected gap at the end, in units of the reward, and its interval.
        over_none: share of the gap of alpha = 0 that it saves, and its interval.
        over_matched: share saved against plain updates with the betas that take the same path
            with exact preferences, and its interval.
        worse: probability that a run ends worse than the same run without momentum.
        equal_beta: the beta at which plain updates accumulate the same weight.
        sure: whether it is within a tenth of the best nearly everywhere around the setting.
        caveats: where the answer extrapolates, and why it is not sure.
        source: which runs it comes from.
        table: the same figures for every alpha.
        methods: with methods="all": who leaves least, on each kind of problem.
    """

    alpha: float
    kind: str
    gap: Estimate
    over_none: Estimate
    over_matched: Estimate
    worse: float
    equal_beta: float
    sure: bool
    caveats: tuple[str, ...]
    source: str
    table: xr.Dataset
    methods: tuple[Rival, ...] = ()

    def __str__(self) -> str:
        lines = [_HEADLINES[self.kind].format(alpha=self.alpha, beta=self.equal_beta)]
        low, high = self.gap[1]
        lines.append(f"Expected gap: {self.gap[0]:.3g} [{low:.3g}, {high:.3g}].")
        if self.alpha > 0:
            lines += [
                f"Saved of the gap of alpha = 0: {_percent(self.over_none)}.",
                f"Saved of the gap of plain updates with a matched beta (about "
                f"{self.equal_beta:.3g}): {_percent(self.over_matched)}.",
                f"Probability that a run ends worse than without: {100 * self.worse:.0f} %.",
            ]
        if self.methods:
            lines.append("Another method? From as many labels in all, each method tuned:")
            lines += [f"- {rival}." for rival in self.methods]
        lines += [f"Caution: {caveat}." for caveat in self.caveats]
        return "\n".join([*lines, f"From {self.source}."])


_HEADLINES = {
    "momentum": "Use alpha = {alpha:g}.",
    "smaller beta": "Use alpha = {alpha:g}; without momentum, beta = {beta:.3g} does the same.",
    "none": "Use no momentum: alpha = 0.",
    "any": "Alpha does not matter here: none is more than 10 % off the best.",
}

# Beyond it a policy does not move by a digit in any number of updates.
_LARGEST = 1e100


@no_type_check  # every argument is checked, with a message that names it
def advise(
    samples: int,
    iterations: int,
    beta: float,
    *,
    arms: int = 10,
    spread: float = 1.0,
    contexts: int = 1,
    simulate: int = 0,
    family: str | Family = FAMILY,
    methods: str = "momentum",
    seed: int = 0,
    progress: bool = True,
) -> Advice:
    """Say which extrapolation to use, and what to expect of it.

    Without `simulate` the answer is read from a stored phase diagram of random bandits (rewards
    and reference uniform), and is sure only if it would be the same were the setting somewhat
    different, as another family of problems is. With it, the setting itself is run.

    Args:
        samples: N, preference pairs an iteration over all contexts.
        iterations: T.
        beta: proximal weight.
        arms: K.
        spread: rewards lie in [-spread, spread]; at most 1.
        contexts: X; each learns from its own share of the samples.
        simulate: number of runs of every alpha and rival; 0 to read the stored ones.
        family: of problems; others than "uniform" with `simulate` only.
        methods: "momentum" for advice on the extrapolation alone; "all" to be told as well where
            another method of the field leaves a smaller gap from as many labels in all.
        seed: of the simulation.
        progress: show a bar while it simulates.

    Returns:
        An `Advice`; print it.

    Raises:
        UnknownName: for a family that does not exist.
        InvalidArgument: for any value that a run would refuse.

    Source: ours.

    Example:
        >>> advice = advise(samples=1000, iterations=12, beta=5.0)
        >>> advice.kind, advice.alpha
        ('momentum', 0.9)
    """
    setting = _checked(samples, iterations, beta, arms, spread, contexts)
    chosen = FAMILIES.chosen(family)
    simulate = as_count("simulate", simulate, least=0)
    seed, progress = as_seed("seed", seed), as_flag("progress", progress)
    _METHODS("methods", methods)
    advice = _of_momentum(setting, simulate, family, chosen, seed, progress)
    return advice if methods == "momentum" else _with_methods(advice, setting)


def _of_momentum(
    setting: Setting, simulate: int, family: Any, chosen: Any, seed: int, progress: bool
) -> Advice:
    if simulate == 0:
        if chosen.identity != FAMILY:
            raise InvalidArgument(
                "family", family, "is not that of the stored runs", "add simulate=400"
            )
        return _advice(stored(setting), setting)
    if simulate < FEWEST_RUNS:
        raise InvalidArgument("simulate", simulate, "is too few", f"pass at least {FEWEST_RUNS}")
    return _advice(simulated(setting, simulate, chosen.content, seed, progress), setting)


def _with_methods(advice: Advice, setting: Setting) -> Advice:
    """The advice, and who leaves least from as many labels in all."""
    labels = setting.samples * setting.iterations
    caveats = methods_compared.caveats(labels, setting.arms, setting.contexts, setting.spread)
    return dataclasses.replace(
        advice,
        methods=tuple(methods_compared.rivals(labels)),
        caveats=(*advice.caveats, *caveats),
    )


def _checked(
    samples: Any, iterations: Any, beta: Any, arms: Any, spread: Any, contexts: Any
) -> Setting:
    iterations = as_count("iterations", iterations)
    samples = as_samples(samples, jax.random.key(0), iterations)
    if samples is None:
        raise InvalidArgument("samples", None, "is missing", "pass the pairs an iteration")
    arms, contexts = as_count("arms", arms), as_count("contexts", contexts)
    if arms < 2:
        raise InvalidArgument("arms", arms, "leaves nothing to choose", "pass at least 2")
    for name, value in (("beta", beta), ("spread", spread)):
        check_single(name, value, "pass one number above 0")
        check_positive(name, value)
    if beta > _LARGEST:
        raise InvalidArgument("beta", beta, "is too large to compute with", "pass a smaller one")
    if spread > 1:
        raise InvalidArgument("spread", spread, "is above 1", "rewards lie in [-1, 1]")
    return Setting(samples, iterations, float(beta), arms, float(spread), contexts)


def _advice(evidence: Evidence, setting: Setting) -> Advice:
    row = evidence.table.sel(alpha=evidence.best)
    place = list(evidence.table.alpha.values).index(evidence.best)
    good = evidence.excess <= TOLERANCE
    sure = bool(good[:, place].mean() >= SURE)
    if good.all(axis=1).mean() >= SURE:
        kind = "any"
    elif evidence.best == 0:
        kind = "none"
    else:
        same = float(row.over_matched - row.over_matched_half) <= TOLERANCE
        kind = "smaller beta" if same else "momentum"
    total = float(gamma(evidence.best, setting.beta, setting.iterations)[-1])
    gap, width = float(row.gap), float(row.gap_half)
    return Advice(
        alpha=evidence.best,
        kind=kind,
        gap=(gap, (max(gap * (1 - width), 0.0), gap * (1 + width))),
        over_none=_estimate(row, "over_none"),
        over_matched=_estimate(row, "over_matched"),
        worse=float(row.worse),
        equal_beta=setting.iterations / total,
        sure=sure,
        caveats=(*evidence.caveats, *(() if sure else (evidence.doubt,))),
        source=evidence.source,
        table=evidence.table,
    )


def _estimate(row: xr.Dataset, name: str) -> Estimate:
    centre, half = float(row[name]), float(row[f"{name}_half"])
    return centre, (centre - half, centre + half)


def _percent(estimate: Estimate) -> str:
    centre, (low, high) = estimate
    # Adding 0 turns a negative zero into a plain one.
    return "{:.0f} % [{:.0f}, {:.0f}]".format(*(round(100 * x) + 0.0 for x in (centre, low, high)))
