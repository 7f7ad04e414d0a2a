"""Lemma D.2: the inequality that turns a distance of log-ratios into one of densities."""

import numpy as np
from matplotlib.figure import Figure

from apo_sim.claims import judge
from apo_sim.claims.registry import claim
from apo_sim.claims.scope import Scope
from apo_sim.claims.verdict import Finding, Study


@claim(
    id="LD.2",
    title="Logarithm against distance",
    source="paper",
    statement=r"For every $x > 0$: $$(1 + x)\,|\log x| \ge |x - 1|.$$",
    control="the factor $1 + x$ left out",
    scope=Scope("for all", "$x$ from $e^{-700}$ to $e^{700}$, all that a double holds"),
)
def logarithm_against_distance(study: Study) -> Finding:
    r"""Judge (1 + x) |log x| >= |x - 1| for x > 0.

    Problem: the largest ratio of the right side to the left one; the lemma says it is at most 1.
    With u = |log x| the ratio is tanh(u/2) / u, the same for x and 1/x.

    Guarantee: not tight. The ratio is largest as x -> 1, where it is 1/2: the lemma holds with
    (1 + x)/2 as well, and with no smaller multiple of 1 + x.

    Reference: Lemma D.2 of the paper; the best constant is ours.

    Example:
        >>> from apo_sim.claims import check
        >>> verdict = check("LD.2")
        >>> verdict.verdict, round(verdict.ratio, 4)
        ('holds', 0.5)
    """
    # Both ends of what a double holds, and down to where x is 1 but for rounding.
    u = np.geomspace(1e-8, 700.0, study.pick(quick=10_000, full=1_000_000))
    log_x = np.concatenate([-u, u])
    factor = 1.0 if study.wrong else 1.0 + np.exp(log_x)
    ratio = np.abs(np.expm1(log_x)) / (factor * np.abs(log_x))
    return judge.upper_bound(
        ratio,
        1.0,
        witness=lambda worst: {"x": np.exp(log_x[worst])},
        unit="right side / left side",
        note=r"Never tight: the worst point is $x \to 1$, and $\frac{1}{2}(1 + x)$ would do.",
        draw=_draw,
    )


def _draw(figure: Figure) -> None:
    axes = figure.subplots()
    u = np.linspace(1e-6, 7.0, 400)
    log_x = np.concatenate([-u[::-1], u])
    axes.semilogx(np.exp(log_x), np.tanh(np.abs(log_x) / 2) / np.abs(log_x), label="measured")
    axes.axhline(1.0, color="C1", label="the lemma")
    axes.axhline(0.5, color="C2", linestyle="--", label="with the best constant")
    axes.set(xlabel="$x$", ylabel=r"$|x - 1| \;/\; (1 + x)\,|\log x|$", ylim=(0.0, 1.1))
    axes.legend()
