"""Which extrapolation to use in a run about to start."""

import dataclasses
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import xarray as xr

from apo_sim.advice import methods as methods_compared
from apo_sim.advice._evidence import (
    TOLERANCE,
    Evidence,
    simulated,
    simulated_until_clear,
    stored,
)
from apo_sim.advice._law import Retuned, by_law, retuned
from apo_sim.advice._setting import Draws, Setting
from apo_sim.advice.methods import Rival
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
_OWN = optional(
    instance_of(Bandit, "is not a bandit", "pass apo_sim.Bandit(...), which has rewards")
)
# A problem whose arms are all equal has this spread, so that it can be divided by.
_LEAST = 1e-9

Estimate = tuple[float, tuple[float, float]]


@dataclass(frozen=True)
class Advice:
    """A recommended extrapolation, its predicted effect and its reliability, with 95 % intervals.

    Attributes:
        alpha: the recommended extrapolation.
        kind: "momentum", "smaller beta" (plain updates at `equal_beta` are as good), "none"
            (alpha = 0), or "any" (every alpha on the grid is within a tenth of the best).
        gap: expected final gap, in units of the reward, and its interval.
        over_none: the share of the gap at alpha = 0 that this alpha saves, and its interval.
        over_matched: the share that it saves compared with plain updates at the betas that follow
            the same path under exact preferences, and its interval.
        worse: probability that a run ends worse than the same run without momentum.
        equal_beta: the beta at which plain updates accumulate the same weight.
        sure: whether alpha is within a tenth of the best almost everywhere near the setting.
        caveats: where the answer extrapolates, and why it is not sure.
        source: the runs or the law that the answer comes from.
        table: the same figures for every alpha.
        retuned: the best beta on a grid at this alpha, without momentum and with Nesterov's
            schedule; only if the answer comes from the law.
        methods: the method that leaves the smallest gap on each kind of problem; only with
            methods="all".
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
                f"Saved compared with alpha = 0: {_percent(self.over_none)}.",
                f"Saved compared with plain updates at a matched beta (about "
                f"{self.equal_beta:.3g}): {_percent(self.over_matched)}.",
                f"Probability of ending worse than without momentum: {100 * self.worse:.0f} %.",
            ]
        if self.retuned:
            lines.append("Best betas on a grid, by the leading-order law:")
            lines += [f"- {best}." for best in self.retuned]
        if self.methods:
            lines.append("Other methods, each tuned, with the same total number of labels:")
            lines += [f"- {rival}." for rival in self.methods]
        lines += [f"Caution: {caveat}." for caveat in self.caveats]
        return "\n".join([*lines, f"From {self.source}."])


_HEADLINES = {
    "momentum": "Use alpha = {alpha:g}.",
    "smaller beta": "Use alpha = {alpha:g}; without momentum, beta = {beta:.3g} does the same.",
    "none": "Use no momentum: alpha = 0.",
    "any": "Alpha does not matter here: every value is within 10 % of the best.",
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
    """Recommend an extrapolation for a planned run, and predict its effect.

    Where the leading-order law in 1/N is accurate enough, the answer needs no run and includes the
    best beta. Otherwise, the answer for uniform bandits is read from a stored phase diagram, and is
    sure only if it would not change for slightly different settings, as a stand-in for other
    families of problems. Any other family, and your own problem, is simulated until the best alpha
    is clear. `source` records which of these applied. The first call for a new number of arms
    compiles for several seconds.

    Args:
        samples: number N of preference pairs per iteration, over all contexts.
        iterations: number of iterations T.
        beta: proximal weight.
        arms: number of arms K.
        spread: size of the rewards, which lie in [-spread, spread]; at most 1.
        contexts: number of contexts X; each one learns only from its share of the samples.
        simulate: number of runs per alpha and method, to simulate exactly this setting; 0 to use
            the law or stored runs where possible.
        family: the family of problems.
        problem: your own bandit, which replaces `arms`, `spread`, `contexts` and `family`.
        methods: "momentum" for advice on the extrapolation alone; "all" to include other methods
            that leave a smaller gap with the same total number of labels.
        seed: random seed of the problems and of the simulation.
        progress: show a progress bar while simulating.

    Returns:
        An `Advice`, which can be printed.

    Raises:
        UnknownName: the family does not exist.
        InvalidArgument: a value is one that a run would refuse, or a family and a problem are both
            given.

    Source: ours.

    Example:
        >>> advice = advise(samples=1000, iterations=12, beta=5.0)
        >>> advice.kind, advice.alpha
        ('momentum', 0.9)
    """
    chosen, own = FAMILIES.chosen(family), _OWN("problem", problem)
    if own is not None:
        if chosen.identity != FAMILY:
            raise InvalidArgument(
                "family", family, "and a problem are both given", "pass only one of them"
            )
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
        raise InvalidArgument(
            "samples", None, "is missing", "pass the number of pairs per iteration"
        )
    arms, contexts = as_count("arms", arms), as_count("contexts", contexts)
    if arms < 2:
        raise InvalidArgument("arms", arms, "leaves nothing to choose", "pass at least 2")
    for name, value in (("beta", beta), ("spread", spread)):
        check_single(name, value, "pass one number above 0")
        check_positive(name, value)
    if beta > _LARGEST:
        raise InvalidArgument("beta", beta, "is too large to compute with", "pass a smaller beta")
    if spread > 1:
        raise InvalidArgument("spread", spread, "is above 1", "pass a number in (0, 1]")
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
