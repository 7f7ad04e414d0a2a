"""N8: how the R of Assumption 4.3 grows when all pairs of visited policies count."""

import jax
import numpy as np
from matplotlib.figure import Figure

from apo_sim.claims import judge
from apo_sim.claims.a43 import ALPHAS, COLORS, ITERATIONS, visited_bounds
from apo_sim.claims.registry import claim
from apo_sim.claims.verdict import Finding, Study
from apo_sim.theory import log_slope

SAMPLES = (100.0, 1e4, 1e6)


@claim(
    id="N8",
    title="R over all pairs grows with T/(1 − α)",
    source="ours",
    statement=(
        r"With exact preferences the least $R$ of Assumption 4.3 over all pairs of visited "
        r"policies grows as $$R \sim \bigl(\max_y r^* - \min_y r^*\bigr)\,\frac{T}{1-\alpha},$$ "
        r"so the factor $1/\sigma'(1+R)$ of the statistical bounds is exponential in "
        r"$T/(1-\alpha)$."
    ),
    control=r"$\alpha$'s sign flipped",
)
def growing_bound(study: Study) -> Finding:
    r"""Measure how fast the R of all visited pairs grows.

    Problem: the run moves from the reference towards the best arm by the weight gamma_T, so
    reference and last policy differ by beta gamma_T times the range of the rewards.

    Method: exact runs of DPO on random bandits; the slope of R against T/(1 - alpha) over the
    second half of a run, in units of the range of the rewards. Sampled runs for comparison.

    Guarantee: tight, a slope of one. Two things soften it. The secant slope of the sigmoid in
    place of 1/sigma'(1 + R) is linear in R, not exponential. And with N pairs an iteration R
    levels off: an arm that is not drawn any more is not pushed down any further.

    Reference: ours; Assumption 4.3 and Theorem 4.4 of the paper.

    Example:
        >>> bounds = visited_bounds(jax.random.key(0)[None], 0.0, None, 40)
        >>> growth = bounds.all_pairs[0, 39] - bounds.all_pairs[0, 29]
        >>> round(float(growth / (10 * bounds.reward_range[0])), 1)
        1.0
    """
    keys = jax.random.split(study.subkey(0), study.pick(quick=32, full=128))
    iterations = study.pick(quick=ITERATIONS, full=10 * ITERATIONS)
    sign = -1.0 if study.wrong else 1.0
    exact = [
        visited_bounds(keys, sign * alpha, None, iterations, unrestricted=study.wrong)
        for alpha in ALPHAS
    ]
    scaled = [np.asarray(b.all_pairs) / np.asarray(b.reward_range)[:, None] for b in exact]
    slopes = np.array(
        [
            (bound[:, -1] - bound[:, iterations // 2]) / (iterations - 1 - iterations // 2)
            for bound in scaled
        ]
    )
    slopes *= 1 - np.array(ALPHAS)[:, None]
    sampled = [np.asarray(visited_bounds(keys, 0.3, n, iterations).all_pairs) for n in SAMPLES]
    per_bandit = slopes.mean(axis=0)
    late = (sampled[1][:, -1] - sampled[1][:, iterations // 2]) / (iterations / 2)
    low, high = judge.mean_interval(late * (1 - 0.3) / np.asarray(exact[0].reward_range))
    largest = float(np.asarray(exact[1].all_pairs)[:, -1].mean())
    digits = [-float(log_slope(largest, f)) / np.log(10) for f in ("printed", "sharp")]
    return judge.close(
        per_bandit.mean(),
        judge.mean_interval(per_bandit),
        target=1.0,
        tolerance=0.05,
        witness=lambda _: {"alpha": ALPHAS, "slope": slopes.mean(axis=1)},
        unit="slope / range of the rewards",
        instances=slopes.size,
        note=(
            rf"At $\alpha = 0.3$ and $T = {iterations}$ the factor is $10^{{{digits[0]:.0f}}}$ as "
            rf"printed; the secant of the sigmoid would do, with $10^{{{digits[1]:.1f}}}$. With "
            rf"sampled preferences ($N = 10^4$) the same slope is {low:.3f} to {high:.3f}: arms "
            r"that are drawn no more are not pushed down, and $R$ levels off, higher for larger "
            r"$N$."
        ),
        draw=_figure(scaled, [bound.mean(axis=0) for bound in sampled], exact[1].all_pairs),
    )


def _figure(scaled: list[np.ndarray], sampled: list[np.ndarray], exact: jax.Array):
    updates = np.arange(1, sampled[0].size + 1)
    exact_mean = np.asarray(exact).mean(axis=0)

    def draw(figure: Figure) -> None:
        left, right = figure.subplots(1, 2)
        longest = updates[-1] / (1 - ALPHAS[-1])
        left.loglog([1, longest], [1, longest], color="0.5", linestyle="--", label="equality")
        for alpha, color, bound in zip(ALPHAS, COLORS, scaled, strict=True):
            label = rf"$\alpha = {alpha:g}$"
            left.loglog(updates / (1 - alpha), bound.mean(axis=0), color=color, label=label)
        left.set_title("Exact preferences")
        left.set(xlabel=r"$T\,/\,(1-\alpha)$", ylabel="$R$ / range of the rewards")
        left.legend(loc="upper left")
        right.loglog(updates, exact_mean, color="0.5", linestyle="--", label="exact")
        for samples, color, bound in zip(SAMPLES, ("C5", "C3", "C0"), sampled, strict=True):
            power = round(np.log10(samples))
            right.loglog(updates, bound, color=color, label=rf"$N = 10^{power}$")
        right.set_title(r"Sampled preferences, $\alpha = 0.3$")
        right.set(xlabel="updates $T$", ylabel="$R$ over all visited pairs")
        right.legend(loc="upper left")

    return draw
