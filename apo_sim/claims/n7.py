"""N7: the log-probability of an arm that is not optimal falls linearly."""

import numpy as np
from matplotlib.figure import Figure

from apo_sim import theory
from apo_sim.claims import instances, judge
from apo_sim.claims.registry import claim
from apo_sim.claims.scope import Scope
from apo_sim.claims.verdict import Finding, Study

ITERATIONS = 400
TOLERANCE = 1e-6
ALPHAS = (0.0, 0.3, 0.6, 0.9)
COLOURS = ("C0", "C5", "C4", "C3")


@claim(
    id="N7",
    title="Log-probabilities fall linearly",
    source="ours",
    statement=r"DPO with exact Bradley-Terry preferences, for every arm $y$ that is "
    r"$\Delta_y > 0$ below the best one, whose reference mass is $p$: "
    r"$$\lim_{T\to\infty} \frac{-\log\hat\pi_T(y)}{T} = \frac{\Delta_y}{\beta(1-\alpha)}, "
    r"\qquad 0 \le \gamma_T\Delta_y - \log\frac{\pi_{\mathrm{ref}}(y)}{\hat\pi_T(y)} "
    r"\le \log\frac{1}{p}.$$",
    control=r"the sign of the run's $\alpha$",
    scope=Scope(
        "for all",
        r"random bandits; for the limit, with a lead of 0.1 or more and $\alpha \le 0.9$",
        arms=instances.ARMS,
        iterations=(instances.ITERATIONS, ITERATIONS),
        beta="from 0.03 to 32",
        samples="exact",
        alpha="any in [0, 1)",
    ),
)
def linear_log_probabilities(study: Study) -> Finding:
    r"""Judge the slope of -log pi_hat_T(y) in T, and how far it may lag behind gamma_T Delta_y.

    Problem: the largest relative error of the slope over the second half of a long run, over
    bandits and arms; and at every T of short runs, the lag of the growth since pi_ref behind
    gamma_T Delta_y, which the second statement keeps between 0 and log(1/p).

    Guarantee: the slope is approached from below and the lag's two ends are attained, at T = 0
    and in the limit: it is log(pi_hat_T(y*)/p).

    Reference: ours; against a reply in the reviews, see V2.

    Example:
        >>> from apo_sim.claims import describe
        >>> describe("N7").source
        'ours'
    """
    long = instances.leading(study.rng(0), study.pick(quick=200, full=5_000))
    shown = instances.Instances(
        np.tile([1.0, 0.75, 0.5, 0.0, -0.5], (len(ALPHAS), 1, 1)),
        np.full((len(ALPHAS), 1, instances.ARMS), -np.log(instances.ARMS)),
        np.array(ALPHAS),
        np.full(len(ALPHAS), 0.25),
    )
    long = instances.join(shown, long)
    run = long._replace(alpha=-long.alpha) if study.wrong else long
    path = instances.solve(run, ITERATIONS).log_policy
    half = ITERATIONS // 2
    slope = (path[:, half] - path[:, -1]) / half
    limit = np.asarray(
        theory.asymptotic_slope(long.shortfall, long.alpha[:, None], long.beta[:, None])
    )
    worse = long.shortfall > 0
    steepest = np.max(path[:, :-1] - path[:, 1:], axis=1)[worse] / limit[worse]
    error = np.where(worse, slope / np.where(worse, limit, 1.0) - 1, 0.0)
    short = instances.random(study.rng(1), study.pick(quick=5_000, full=200_000))
    lag, most = _lag(short)
    finding = judge.identity(
        error,
        TOLERANCE,
        witness=lambda worst: long.witness(worst // instances.ARMS, ITERATIONS - 1),
        instances=int(worse.sum()) + lag.size,
        note=f"Slope over updates {half} to {ITERATIONS}; it is approached from "
        f"below, no update being steeper than {steepest.max():.6f} of it. At every $T$ of "
        f"{short.alpha.size:,} short runs the lag stays between 0 and "
        rf"{np.max(lag / most):.3f} of $\log(1/p)$.",
        draw=_figure(path[: len(ALPHAS)], slope[worse], limit[worse]),
    )
    bounded = judge.upper_bound(lag, most, floor=1e-9, unit="nats")
    ahead = judge.upper_bound(-lag, 0.0, floor=1e-9, unit="nats")
    return next((each for each in (bounded, ahead) if each.verdict == "fails"), finding)


def _lag(short: instances.Instances) -> tuple[np.ndarray, np.ndarray]:
    """Gamma Delta_y minus the growth of -log pi_hat(y), and log(1/p), for all T and y."""
    solution = instances.solve(short)
    growth = short.log_ref - solution.log_policy[:, 1:]
    lag = solution.gamma[:, :, None] * short.shortfall[:, None] - growth
    return lag, np.broadcast_to(-short.log_p[:, None, None], lag.shape)


def _figure(path: np.ndarray, slope: np.ndarray, limit: np.ndarray):
    t = np.arange(101)
    limits = np.asarray(theory.asymptotic_slope(0.5, np.array(ALPHAS), 0.25))

    def draw(figure: Figure) -> None:
        left, right = figure.subplots(1, 2, width_ratios=(3, 2))
        for colour, alpha, curve, steepness in zip(COLOURS, ALPHAS, path, limits, strict=True):
            left.plot(t, -curve[t, 2], color=colour)
            left.plot(t, steepness * t, color="0.4", linestyle=":", linewidth=1)
            end = np.flatnonzero(-curve[t, 2] < 600)[-1]
            left.text(t[end] + 2, -curve[end, 2], rf"$\alpha={alpha:g}$", color=colour, va="center")
        left.plot(
            [],
            [],
            color="0.4",
            linestyle=":",
            label=r"asymptotic slope $\Delta_y/(\beta(1-\alpha))$",
        )
        left.legend(loc="upper right")
        left.set(xlim=(0, 125), ylim=(0, 700), xticks=range(0, 101, 25))
        left.set(xlabel="updates $T$", ylabel=r"$-\log\hat\pi_T(y)$, in nats")
        left.set_title("One arm, four runs")
        right.loglog(limit, slope, ".", color="C0", alpha=0.5, markersize=3)
        ends = np.array([limit.min(), limit.max()])
        right.plot(ends, ends, color="0.4", linestyle=":", linewidth=1)
        right.set(xlabel=r"$\Delta_y/(\beta(1-\alpha))$", ylabel="slope of the run")
        right.set_title("All arms, random bandits")

    return draw
