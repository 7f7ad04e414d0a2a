"""N6: is momentum more than a schedule of smaller betas?"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from apo_sim import theory
from apo_sim.claims import judge
from apo_sim.claims._studies import Setting, sampled, uniform_bandits
from apo_sim.claims.registry import claim
from apo_sim.claims.scope import Scope
from apo_sim.claims.verdict import Finding, Study
from apo_sim.estimate import Estimate
from apo_sim.statistics import percentile_ends, resampled_rows
from apo_sim.studies.caption import caption

ARMS, BETA, FAST = 5, 5.0, 1.0
ALPHAS, SAMPLES, HORIZONS = (0.3, 0.9), (100, 1000), (3, 20)
STRONG = ALPHAS[-1]  # the alpha that is also run at the smaller beta
MOMENTUM, MATCHED, CONSTANT, REVERSED, NONE = CONTENDERS = (
    "momentum",
    "matched β",
    "constant β",
    "reversed β",
    "no momentum",
)
EQUAL = (MATCHED, CONSTANT, REVERSED)
COLOURS = dict(zip(CONTENDERS, ("C0", "C4", "C5", "C3", "0.45"), strict=True))
PLANTED = 0.2
# Gaps by proximal weight, extrapolation, samples, horizon and contender.
Gaps = Mapping[tuple[float, float, int, int, str], np.ndarray]


@claim(
    id="N6",
    title="Momentum or a schedule of smaller betas",
    source="ours",
    statement=r"At equal labels momentum leaves a smaller mean gap than plain iteration: with the "
    r"matched $\beta_t = \beta/w_{t+1}$, which takes the same path if preferences are exact; with "
    r"the constant $\beta$ or the reversed $\beta_t = \beta/w_{T-t}$ (momentum's own weights) of "
    r"equal $\gamma_T$; with the same $\beta$, which is no momentum and a smaller $\gamma_T$. "
    rf"$\beta = {BETA:g}$.",
    control="the gap of the reference policy in place of momentum's",
    power=f"{100 * PLANTED:.0f} % of the rival's mean gap taken off momentum's in every run",
    scope=Scope(
        "where",
        "random bandits, uniform rewards and reference",
        arms=ARMS,
        iterations=HORIZONS,
        beta=BETA,
        samples=SAMPLES,
        alpha=ALPHAS,
    ),
)
def beats_schedules(study: Study) -> Finding:
    r"""Map where momentum beats plain iteration with other proximal weights.

    Problem: four rivals, two alpha, the paper's number of updates and a longer run, few labels
    and more. With exact preferences the matched beta takes momentum's path (N1) and the other two
    of equal gamma_T end at the same policy, so that whatever differs comes from the data.

    Method: paired differences of the gap over seeds (same bandit, same keys), Student's intervals
    corrected for all cells. The reversed schedule gives every update the weight that momentum
    gives it: what it leaves of momentum's lead is due to who collects the data.

    Guarantee: statistical, for the cells named. At a smaller beta, where a plain run has
    converged, equal gamma_T is no fair comparison: momentum is far better than all three
    schedules and worse than no momentum (facts).

    Reference: ours.

    Example:
        >>> from apo_sim.claims import describe
        >>> describe("N6").source
        'ours'
    """
    gaps = _measured(dataclasses.replace(study, variant="stated"))
    reference = gaps[BETA, 0.0, 0, 0, NONE]
    differences = {}
    for alpha in ALPHAS:
        for t in HORIZONS:
            for n in SAMPLES:
                own = reference if study.wrong else gaps[BETA, alpha, n, t, MOMENTUM]
                for rival in CONTENDERS[1:]:
                    theirs = gaps[BETA, alpha, n, t, rival]
                    off = PLANTED * theirs.mean() if study.planted else 0.0
                    differences[_name(rival, alpha, t, n)] = own - theirs - off
    found = judge.estimates(differences)
    facts = _facts(gaps)
    few, many = SAMPLES
    long = HORIZONS[-1]
    cell = f"α = {STRONG}, T = {long}, N = {many}"
    named = ", ".join(f"{name} {facts[f'{name}, {cell}']:.4f}" for name in CONTENDERS)
    fast = f"β = {FAST:g}, {cell}"
    quick = ", ".join(f"{name} {facts[f'{name}, {fast}']:.4f}" for name in CONTENDERS)
    finding = judge.where(
        found,
        unit="cells where momentum has the smaller gap",
        instances=len(differences) * reference.size,
        facts=facts,
        note=f"Mean gaps at β = {BETA:g}, {cell}: {named}; of momentum's lead over the matched β "
        f"there {_text(facts[f'share of the lead that the weights have, N = {many}'])} is what its "
        f"weights do without momentum (N = {few}: "
        f"{_text(facts[f'share of the lead that the weights have, N = {few}'])}). "
        f"At β = {FAST:g}: {quick}. {reference.size} paired seeds, K = {ARMS}.",
    )
    return dataclasses.replace(finding, draw=lambda figure: _draw(figure, gaps))


def _name(rival: str, alpha: float, iterations: int, samples: int) -> str:
    return f"{rival}, α = {alpha:g}, T = {iterations}, N = {samples:,}"


# The claim and its controls look at the same runs.
@functools.lru_cache(maxsize=1)
def _measured(study: Study) -> Gaps:
    """All runs are as long as the longest; a schedule for a shorter one is used up to its end."""
    rows: dict[tuple[float, float, int, int, str], Setting] = {}
    wanted = [(BETA, alpha) for alpha in ALPHAS] + [(FAST, STRONG)]
    for beta, alpha in wanted:
        for n in SAMPLES:
            for t in HORIZONS if beta == BETA else HORIZONS[-1:]:
                for name, setting in _contenders(beta, alpha, n, t).items():
                    rows[beta, alpha, n, t, name] = setting
    # What is the same run for both lengths, or for both alphas, is run once.
    once = {_identity(setting): setting for setting in rows.values()}
    bandits = uniform_bandits(study.subkey(0), study.pick(400, 4_000), ARMS)
    runs = sampled(study.subkey(1), list(once.values()), bandits, HORIZONS[-1])
    place = {identity: row for row, identity in enumerate(once)}
    gaps = {at: runs.gap[place[_identity(s)], :, at[3] - 1] for at, s in rows.items()}
    best = runs.true_reward.max(axis=1, keepdims=True)
    reference = np.sum(np.exp(runs.log_ref) * (best - runs.true_reward), axis=1)
    return gaps | {(BETA, 0.0, 0, 0, NONE): reference}


def _contenders(beta: float, alpha: float, samples: int, iterations: int) -> dict[str, Setting]:
    weights = np.asarray(theory.weights(alpha, HORIZONS[-1]))
    short = weights[:iterations]
    rest = np.full(HORIZONS[-1] - iterations, beta)  # after the end
    return {
        MOMENTUM: Setting(samples, beta, alpha),
        MATCHED: Setting(samples, beta / weights),
        CONSTANT: Setting(samples, np.append(np.full(iterations, beta / short.mean()), rest)),
        REVERSED: Setting(samples, np.append(beta / short[::-1], rest)),
        NONE: Setting(samples, beta),
    }


def _identity(setting: Setting) -> tuple[float, ...]:
    betas = np.broadcast_to(np.asarray(setting.beta, float), HORIZONS[-1])
    return float(setting.samples), float(setting.alpha), *betas.tolist()


def _facts(gaps: Gaps) -> dict[str, Any]:
    """Mean gaps of all contenders, and what momentum's weights alone account for."""
    facts: dict[str, Any] = {}
    for (beta, alpha, n, t, name), gap in gaps.items():
        if n:
            where = "" if beta == BETA else f"β = {beta:g}, "
            facts[f"{name}, {where}α = {alpha:g}, T = {t}, N = {n}"] = float(gap.mean())
    for n in SAMPLES:
        own, matched, reversed_ = (
            gaps[BETA, STRONG, n, HORIZONS[-1], name] for name in (MOMENTUM, MATCHED, REVERSED)
        )
        facts[f"share of the lead that the weights have, N = {n}"] = _share(own, matched, reversed_)
    difference = {
        f"momentum minus {name}, β = {FAST:g}, N = {n}": gaps[
            FAST, STRONG, n, HORIZONS[-1], MOMENTUM
        ]
        - gaps[FAST, STRONG, n, HORIZONS[-1], name]
        for n in SAMPLES
        for name in CONTENDERS[1:]
    }
    return facts | judge.estimates(difference, unit="reward")


def _share(own: np.ndarray, matched: np.ndarray, reversed_: np.ndarray) -> Estimate:
    """How much of (matched - own) is (matched - reversed), with a 95 % bootstrap interval."""

    def share(rows: np.ndarray) -> np.ndarray:
        a, b, c = (values[rows].mean(axis=-1) for values in (own, matched, reversed_))
        return np.asarray((b - c) / (b - a))

    low, high = percentile_ends(share(resampled_rows(own.size, draws=2000)))
    return Estimate(float(share(np.arange(own.size))), float(low), float(high), "share", own.size)


def _text(share: Estimate) -> str:
    middle, low, high = (f"{100 * part:.0f}" for part in share.figures)
    return f"{middle} % [{low}, {high}]"


def _draw(figure: Figure, gaps: Gaps) -> None:
    """What every rival's gap is in units of momentum's, a panel a length of the run."""
    seeds = gaps[BETA, 0.0, 0, 0, NONE].size
    caption(
        figure,
        f"K = {ARMS}, β = {BETA:g}; momentum's mean gap minus the rival's, in % of the rival's\n"
        f"(bars: paired 95 % intervals over {seeds} seeds, each point by itself)",
    )
    panels = figure.subplots(1, len(HORIZONS), sharey=True)
    columns = [(alpha, n) for alpha in ALPHAS for n in SAMPLES]
    x = np.arange(len(columns))
    for axes, t in zip(panels, HORIZONS, strict=True):
        for place, name in enumerate(CONTENDERS[1:]):
            shift = 0.15 * (place - 1.5)
            for column, (alpha, n) in enumerate(columns):
                theirs = gaps[BETA, alpha, n, t, name]
                own = gaps[BETA, alpha, n, t, MOMENTUM]
                change = 100 * (own - theirs) / theirs.mean()
                mean, (low, high) = change.mean(), judge.mean_interval(change)
                axes.errorbar(
                    x[column] + shift,
                    mean,
                    [[mean - low], [high - mean]],
                    fmt="o",
                    color=COLOURS[name],
                    ms=4,
                )
        axes.axhline(0.0, color="0.6", lw=1)
        axes.set_xticks(x, [f"α = {alpha:g}\nN = {n:,}" for alpha, n in columns])
        axes.set_title(f"after {t} updates")
    panels[0].set_ylabel("momentum against the rival, per cent")
    handles = [
        Line2D([], [], color=COLOURS[name], marker="o", ls="", label=name)
        for name in CONTENDERS[1:]
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=4)
