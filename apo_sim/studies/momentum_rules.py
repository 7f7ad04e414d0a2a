"""Momentum rules: which one turns the same labels into the smaller error?

Two comparisons. At equal total weight gamma_T every rule ends, with exact preferences, at the very
same policy, so that whatever differs with sampled ones is the rule alone. At equal beta the rules
move at their own pace, and what a faster one pays in statistics can be seen. The strongest
extrapolation is the same run in both.
"""

from dataclasses import dataclass
from pathlib import Path

import xarray as xr
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from apo_sim.estimate import Estimate
from apo_sim.registry import MOMENTA, Family, rule_of
from apo_sim.statistics import mean_and_half, ratio_estimate, several
from apo_sim.studies.caption import caption
from apo_sim.studies.kept import place
from apo_sim.sweep import sweep

# Rule and alpha; none is written as alpha = 0, which shares the program of the other constants.
RULES = {
    "none": ("constant", 0.0),
    "constant 0.3": ("constant", 0.3),
    "constant 0.9": ("constant", 0.9),
    "t/(t+3)": ("nesterov", 0.0),
    "averaging 0.9": ("averaging", 0.9),
    "from behaviour 0.9": ("from_behaviour", 0.9),
}
COLOURS = dict(zip(RULES, ("0.4", "C5", "C0", "C3", "C2", "C4"), strict=True))
ANCHOR = "constant 0.9"
SAMPLES = (30, 100, 300, 1000, 3000, 10_000)


def measure(
    *,
    seeds: int,
    seed: int = 0,
    out: str | Path | None = None,
    progress: bool = True,
    family: str | Family = "uniform",
    arms: int = 10,
    beta: float = 5.0,
    iterations: int = 20,
    samples: tuple[int, ...] = SAMPLES,
    rules: tuple[str, ...] = tuple(RULES),
) -> xr.Dataset:
    """The gap at the end, dimensions (rule, equal, samples, seed), and with exact preferences.

    Example:
        >>> data = measure(seeds=2, arms=3, iterations=2, samples=(100,), rules=("none",))
        >>> data.gap.dims, data.equal.values.tolist()
        (('rule', 'equal', 'samples', 'seed'), ['gamma', 'beta'])
    """
    shared = {"arms": arms, "iterations": iterations, "seeds": several(seeds), "seed": seed}
    parts = []
    for rule in rules:
        momentum, alpha = RULES[rule]
        pace = weight(rule, iterations) / weight(ANCHOR, iterations)
        betas = {"gamma": beta * pace, "beta": beta}
        series = "behaviour_suboptimality" if momentum == "averaging" else "suboptimality"
        ends = {}
        for name, labels in (("gap", list(samples)), ("exact", None)):
            data = sweep(
                family,
                momentum=momentum,
                alpha=alpha,
                beta=sorted(set(betas.values())),
                samples=labels,
                variables=[series],
                progress=progress,
                out=place(out, f"{name}_{rule.replace(' ', '_').replace('/', '_')}"),
                **shared,
            )
            end = data[series].isel(iteration=-1).sel(beta=list(betas.values()))
            end = end.assign_coords(beta=list(betas)).rename(beta="equal")
            ends[name] = end.reset_coords(drop=True).load()
        parts.append(xr.Dataset(ends))
    found = xr.concat(parts, xr.Variable("rule", list(rules)))
    return found.assign_coords(beta=beta, arms=arms, iterations=iterations)


def total_weight(momentum: str, alpha: float, iterations: int, *, after: bool = False) -> float:
    """Total weight of a constant reward in a rule's last policy, in 1/beta.

    Args:
        momentum: as in a sweep.
        alpha: of the rule.
        iterations: number of updates.
        after: take the policy after the extrapolation.

    Example:
        >>> total_weight("constant", 0.5, 2), total_weight("constant", 0.5, 2, after=True)
        (2.5, 3.25)
    """
    rule = rule_of(MOMENTA.chosen(momentum), alpha)
    new = centre = 0.0
    state = rule.init(centre)
    for t in range(1, iterations + 1):
        new = centre + 1.0
        centre, state = rule.extrapolate(new, state, t)
    return float(centre if after else new)


def weight(rule: str, iterations: int) -> float:
    """Total weight in the policy that a rule outputs: averaging's is its centre, the average.

    Example:
        >>> weight("none", 20), round(weight("averaging 0.9", 20), 6)
        (20.0, 12.094189)
    """
    momentum, alpha = RULES[rule]
    return total_weight(momentum, alpha, iterations, after=momentum == "averaging")


def statistical_error(data: xr.Dataset) -> xr.DataArray:
    """How far a gap is from that of exact preferences; noise may also help."""
    return abs(data.gap - data.exact)


def times(error: xr.DataArray, first: str, second: str) -> Estimate:
    """The mean error of a rule over that of another, with its interval.

    Args:
        error: dimensions (rule, seed).
        first: the rule above the line.
        second: the rule below it.

    Example:
        >>> error = xr.DataArray([[2.0, 4.0], [1.0, 2.0]], dims=("rule", "seed"))
        >>> times(error.assign_coords(rule=["t/(t+3)", "none"]), "t/(t+3)", "none").figures
        (2.0, 2.0, 2.0)
    """
    return ratio_estimate(error.sel(rule=[first, second]).transpose("rule", "seed"))


@dataclass(frozen=True)
class BestAndWorst:
    """The rules with momentum of the smallest and of the largest gap, at equal gamma_T.

    Attributes:
        best: name of the first.
        worst: name of the other.
        best_change: of its gap against plain updates, in per cent of theirs.
        worst_change: of the other.
    """

    best: str
    worst: str
    best_change: Estimate
    worst_change: Estimate

    @property
    def text(self) -> str:
        """Both in words."""
        return f"from {_per_cent(self.best_change, self.best)} to " + _per_cent(
            self.worst_change, self.worst
        )


@dataclass(frozen=True)
class RulesFinding:
    """How rules of momentum compare at equal gamma_T and at equal beta.

    Estimates by N, of the least and of the most labels.

    Attributes:
        beta: proximal weight of `ANCHOR`, and of all rules at equal beta.
        updates: T.
        apart: the largest difference of two exact gaps at equal gamma_T.
        ranks: the gaps at equal gamma_T.
        averaging: statistical error of averaging over that of `ANCHOR`, at equal gamma_T.
        nesterov: that of t/(t+3) over that of plain updates, at equal gamma_T.
        paid: the same at equal beta.
        left: optimisation error of t/(t+3) over that of plain updates, at equal beta.
        runs: how many there were.
    """

    beta: float
    updates: int
    apart: float
    ranks: dict[int, BestAndWorst]
    averaging: dict[int, Estimate]
    nesterov: dict[int, Estimate]
    paid: dict[int, Estimate]
    left: float
    runs: int

    @property
    def text(self) -> str:
        """All of it in words."""
        ranks = "; ".join(f"at N = {n:,} {each.text}" for n, each in self.ranks.items())
        averaging, nesterov, paid = (
            ", ".join(f"{each:.2f} at N = {n:,}" for n, each in part.items())
            for part in (self.averaging, self.nesterov, self.paid)
        )
        return (
            f"At the gamma_T that {ANCHOR} has at beta = {self.beta:g}, T = {self.updates}, exact "
            f"runs end within {self.apart:.1g} of each other; with samples the gap relative to "
            f"that of plain updates is {ranks}. There averaging has {averaging} times the "
            f"statistical error of {ANCHOR}, and Nesterov's t/(t+3) {nesterov} times that of plain "
            f"updates. At equal beta t/(t+3) leaves {self.left:.2f} times the optimisation error "
            f"of plain updates, and pays {paid} times their statistical error ({self.runs:,} runs, "
            "95 % paired intervals)."
        )


def finding(data: xr.Dataset) -> RulesFinding:
    """Who is best at equal gamma_T, averaging against extrapolation, and Nesterov's price."""
    same, own_pace = data.sel(equal="gamma"), data.sel(equal="beta")
    error, lost = statistical_error(same), own_pace.exact.mean("seed")
    ends = [int(n) for n in data.samples.values[[0, -1]]]

    def at_ends(error: xr.DataArray, first: str, second: str) -> dict[int, Estimate]:
        return {n: times(error.sel(samples=n), first, second) for n in ends}

    return RulesFinding(
        beta=float(data.beta),
        updates=int(data.iterations),
        apart=float(abs(same.exact - same.exact.sel(rule="none")).max()),
        ranks={n: _best_and_worst(same.gap.sel(samples=n)) for n in ends},
        averaging=at_ends(error, "averaging 0.9", ANCHOR),
        nesterov=at_ends(error, "t/(t+3)", "none"),
        paid=at_ends(statistical_error(own_pace), "t/(t+3)", "none"),
        left=float(lost.sel(rule="t/(t+3)") / lost.sel(rule="none")),
        runs=data.gap.size,
    )


def _best_and_worst(gap: xr.DataArray) -> BestAndWorst:
    mean, half = (part.drop_sel(rule="none") for part in against_none(gap))
    order = [str(rule) for rule in mean.sortby(mean).rule.values]
    best, worst = (
        Estimate(value, value - reach, value + reach, "%", gap.sizes["seed"])
        for rule in (order[0], order[-1])
        for value, reach in [(float(mean.sel(rule=rule)), float(half.sel(rule=rule)))]
    )
    return BestAndWorst(order[0], order[-1], best, worst)


def _per_cent(change: Estimate, rule: str) -> str:
    half = (change.high - change.low) / 2
    return f"{change.value:+.0f} % ± {half:.0f} % for {rule}"


def against_none(gap: xr.DataArray) -> tuple[xr.DataArray, xr.DataArray]:
    """Paired difference to plain updates in per cent of their mean gap, and half its interval."""
    none = gap.sel(rule="none", drop=True)
    mean, half = mean_and_half(gap - none)
    return 100 * mean / none.mean("seed"), 100 * half / none.mean("seed")


def draw(figure: Figure, data: xr.Dataset) -> None:
    """Gaps over N: relative to plain updates at equal gamma_T, and as they are at equal beta."""
    caption(
        figure,
        rf"$K = {int(data.arms)}$, $T = {int(data.iterations)}$; bands: 95 % intervals over "
        f"{data.sizes['seed']:,} seeds, on the left of paired differences; each point by itself",
    )
    left, right = figure.subplots(1, 2)
    n = data.samples.values
    mean, half = against_none(data.gap.sel(equal="gamma"))
    for rule in data.rule.values:
        look = {"color": COLOURS[rule], "label": rule}
        centre, spread = mean.sel(rule=rule), half.sel(rule=rule)
        left.plot(n, centre, "o-", **look)
        left.fill_between(n, centre - spread, centre + spread, color=COLOURS[rule], alpha=0.2, lw=0)
        here = data.sel(equal="beta", rule=rule)
        centre, spread = mean_and_half(here.gap)
        right.plot(n, centre, "o-", **look)
        band = centre - spread, centre + spread
        right.fill_between(n, *band, color=COLOURS[rule], alpha=0.2, lw=0)
        right.axhline(float(here.exact.mean()), color=COLOURS[rule], ls=":", lw=1)
    left.set(title=r"at equal $\gamma_T$", ylabel="gap minus that of none, in % of it")
    left.yaxis.set_major_formatter(PercentFormatter(decimals=0))
    beta = rf"at equal $\beta = {float(data.beta):g}$, dotted: exact"
    # Down to half of the least mean: a band that reaches zero runs out of the axis.
    least = min(float(data.sel(equal="beta")[name].mean("seed").min()) for name in ("gap", "exact"))
    right.set(title=beta, yscale="log", ylabel="gap (units of the reward)")
    right.set_ylim(bottom=least / 2)
    for axes in (left, right):
        axes.set(xscale="log", xlabel="preference pairs an iteration, $N$")
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=3)
