"""Which extrapolation to use in a run about to start."""

import dataclasses
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import xarray as xr

from apo_sim.advice import methods as methods_compared
from apo_sim.advice.evidence import (
    TOLERANCE,
    Evidence,
    simulated,
    simulated_until_clear,
    stored,
)
from apo_sim.advice.law import Retuned, by_law, retuned
from apo_sim.advice.methods import Rival
from apo_sim.advice.setting import Draws, Setting
from apo_sim.advice.surface import FAMILY
from apo_sim.arguments import as_samples
from apo_sim.checks import (
    as_count,
    as_flag,
    as_seed,
    check_positive,
    check_single,
    instance_of,
    one_of,
    optional,
)
from apo_sim.errors import InvalidArgument
from apo_sim.problems import Bandit
from apo_sim.registry import FAMILIES, Family
from apo_sim.self_checking import checks_itself
from apo_sim.theory import gamma

FEWEST_RUNS = 8
_METHODS = one_of(("momentum", "all"))
_OWN = optional(instance_of(Bandit, "is no bandit", "pass apo_sim.Bandit(...), which has rewards"))
# A problem whose arms are all equal has this spread, so that it can be divided by.
_LEAST = 1e-9

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
        retuned: the best beta on a grid at this alpha, without momentum and with Nesterov's
            schedule; only where the law decides.
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
    retuned: tuple[Retuned, ...] = ()
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
        if self.retuned:
            lines.append("Another beta? By the law of leading order, on a grid:")
            lines += [f"- {best}." for best in self.retuned]
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


@checks_itself
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
    problem: Bandit | None = None,
    methods: str = "momentum",
    seed: int = 0,
    progress: bool = True,
) -> Advice:
    """Say which extrapolation to use, and what to expect of it.

    Where the law of leading order in 1/N decides, no run is needed, and it tells the best beta as
    well. Elsewhere the answer for uniform bandits is read from a stored phase diagram, and is sure
    only if it would be the same were the setting somewhat different, as another family of problems
    is; any other family, or a problem of one's own, is simulated until the best alpha is clear.
    `source` says which. The first call for a number of arms compiles for some seconds.

    Args:
        samples: N, preference pairs an iteration over all contexts.
        iterations: T.
        beta: proximal weight.
        arms: K.
        spread: rewards lie in [-spread, spread]; at most 1.
        contexts: X; each learns from its own share of the samples.
        simulate: number of runs of every alpha and rival, in place of all that; 0 for none.
        family: of problems.
        problem: a bandit of one's own, in place of `arms`, `spread`, `contexts` and `family`.
        methods: "momentum" for advice on the extrapolation alone; "all" to be told as well where
            another method of the field leaves a smaller gap from as many labels in all.
        seed: of the problems that are drawn, and of the simulation.
        progress: show a bar while it simulates.

    Returns:
        An `Advice`; print it.

    Raises:
        UnknownName: for a family that does not exist.
        InvalidArgument: for any value that a run would refuse; a family and a problem.

    Source: ours.

    Example:
        >>> advice = advise(samples=1000, iterations=12, beta=5.0)
        >>> advice.kind, advice.alpha
        ('momentum', 0.9)
    """
    chosen, own = FAMILIES.chosen(family), _OWN("problem", problem)
    if own is not None:
        if chosen.identity != FAMILY:
            raise InvalidArgument("family", family, "and a problem are both given", "pass one")
        contexts, arms = own.num_contexts, own.num_arms
        spread = min(max(float(jnp.max(jnp.ptp(own.reward, axis=1))) / 2, _LEAST), 1.0)
        chosen = FAMILIES.chosen(_family_of(own))
    setting = _checked(samples, iterations, beta, arms, spread, contexts)
    simulate = as_count("simulate", simulate, least=0)
    seed, progress = as_seed("seed", seed), as_flag("progress", progress)
    _METHODS("methods", methods)
    if 0 < simulate < FEWEST_RUNS:
        raise InvalidArgument("simulate", simulate, "is too few", f"pass at least {FEWEST_RUNS}")
    draws = Draws(setting, chosen, seed, fixed=own is not None)
    advice = _of_momentum(draws, simulate, progress)
    return advice if methods == "momentum" else _with_methods(advice, setting)


def _of_momentum(draws: Draws, simulate: int, progress: bool) -> Advice:
    """From what costs least of all that can answer."""
    setting, family = draws.setting, draws.family
    if simulate:
        return _advice(simulated(draws, simulate, progress), setting)
    found = by_law(draws)
    if found is not None:
        advice = _advice(found, setting)
        return dataclasses.replace(advice, retuned=retuned(draws, advice.alpha))
    if family.identity == FAMILY:
        return _advice(stored(setting), setting)
    return _advice(simulated_until_clear(draws, progress), setting)


def _with_methods(advice: Advice, setting: Setting) -> Advice:
    """The advice, and who leaves least from as many labels in all."""
    labels = setting.samples * setting.iterations
    caveats = methods_compared.caveats(labels, setting.arms, setting.contexts, setting.spread)
    return dataclasses.replace(
        advice,
        methods=tuple(methods_compared.rivals(labels)),
        caveats=(*advice.caveats, *caveats),
    )


def _family_of(problem: Bandit) -> Family:
    """The family that has one problem."""

    def draw(key: Any, contexts: int, arms: int) -> Bandit:
        return problem

    return draw


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
    sure = bool(good[:, place].mean() >= evidence.enough)
    if good.all(axis=1).mean() >= evidence.enough:
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
