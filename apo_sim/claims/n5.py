"""N5: momentum hardly inflates the error of the averaged reward."""

from dataclasses import replace

import numpy as np
from matplotlib.figure import Figure

from apo_sim import theory
from apo_sim.claims import judge
from apo_sim.claims._studies import Setting, bootstrap, percentiles, sampled, uniform_bandits, worst
from apo_sim.claims.registry import claim
from apo_sim.claims.verdict import Finding, Study

ARMS, ITERATIONS, SAMPLES = 5, 20, 3_000.0
# So large that the policy stays at the reference: every update then errs alike, independently.
BETA = 1e4
ALPHAS = (0.0, 0.6, 0.9, 0.95)


@claim(
    id="N5",
    title="Momentum averages at least three quarters of the updates",
    source="ours",
    statement=r"For every $\alpha \in [0, 1)$ and $T$: "
    r"$$T_{\mathrm{eff}} = \frac{(\sum_k w_k)^2}{\sum_k w_k^2} \ge \frac{3}{4}\,T,$$ so that with "
    r"independent errors of equal size momentum inflates the error of the averaged reward "
    r"$\bar r$ by at most $2/\sqrt{3} \approx 1.155$, whatever $\alpha$, never by "
    r"$1/(1-\alpha)$.",
    control="the errors of all updates are those of the first, so that they do not average",
)
def effective_updates(study: Study) -> Finding:
    r"""Judge T_eff >= 3/4 T, exactly over alpha and T, and on the errors of sampled runs.

    Problem: the least T_eff / T over a grid of alpha up to 1 - 1e-9 and T up to thousands; and,
    from sampled runs whose policy stays at the reference, the square of (error of one update) /
    (error of the averaged reward), which is T_eff if the updates err independently.

    Guarantee: tight. The limit 3/4 is reached as alpha -> 1 and T -> infinity, since w_k -> k.

    Reference: ours. The paper's Remark 4.5 says 1/(1 - alpha).

    Example:
        >>> from apo_sim.claims import describe
        >>> describe("N5").source
        'ours'
    """
    alphas = 1.0 - np.geomspace(1.0, 1e-9, study.pick(60, 400))
    horizons = np.unique(np.geomspace(1, study.pick(2_000, 20_000), 40).astype(int))
    share = np.array([_share(alphas, int(t)) for t in horizons])
    exact = judge.upper_bound(1.0 / np.sqrt(share), 2.0 / np.sqrt(3.0), unit="inflation")
    seeds = study.pick(500, 4000)
    bandits = uniform_bandits(study.subkey(0), seeds, ARMS)
    settings = [Setting(SAMPLES, BETA, alpha) for alpha in ALPHAS]
    runs = sampled(study.subkey(1), settings, bandits, ITERATIONS)
    errors = runs.rewards - bandits[0][:, None]
    errors = errors - errors.mean(axis=-1, keepdims=True)
    if study.wrong:
        errors[:] = errors[:, :, :1]
    weights = np.array([theory.weights(a, ITERATIONS)[::-1] for a in ALPHAS])
    averaged = np.einsum("at,astk->ask", weights, errors) / weights.sum(axis=1)[:, None, None]
    one = np.mean(errors**2, axis=(2, 3))  # (alphas, seeds)
    mean = np.mean(averaged**2, axis=2)
    plain = np.sqrt(np.mean(one, axis=1) / ITERATIONS)
    inflation = np.sqrt(np.mean(mean, axis=1)) / plain
    rows = bootstrap(study.rng(2), seeds)
    again = np.sqrt(mean[:, rows].mean(axis=2) / one[:, rows].mean(axis=2) * ITERATIONS)
    intervals = np.array([percentiles(a) for a in again])
    predicted = 1.0 / np.sqrt([_share(np.array([a]), ITERATIONS)[0] for a in ALPHAS])
    at = int(np.argmax(inflation))
    largest = 2.0 / np.sqrt(3.0)
    simulated = judge.close(
        inflation[at],
        tuple(intervals[at]),
        # The bound is one-sided; below it anything goes.
        largest / 2,
        largest / 2,
        witness={"alpha": ALPHAS[at], "inflation": inflation[at]},
        note=rf"Exact part: the largest inflation over {share.size} pairs of $\alpha$ and $T$ is "
        rf"{1.0 / np.sqrt(share.min()):.6f}. Simulated: $\alpha = {ALPHAS[at]:g}$, where the "
        rf"formula says {predicted[at]:.3f} and $1/(1-\alpha)$ is {1 / (1 - ALPHAS[at]):.0f}.",
        draw=lambda figure: _draw(figure, alphas, predicted, inflation, intervals),
        unit="inflation of the error",
        instances=seeds * len(ALPHAS) + share.size,
    )
    simulated = replace(simulated, bound=largest, ratio=inflation[at] / largest)
    return worst([simulated, exact])


def _share(alphas: np.ndarray, iterations: int) -> np.ndarray:
    """T_eff / T for every alpha, by the closed sums of w_k = (1 - alpha^k)/(1 - alpha)."""
    k = np.arange(1, iterations + 1)
    # expm1 and log1p keep 1 - alpha^k exact as alpha -> 1, where w_k -> k.
    with np.errstate(divide="ignore"):
        powers = -np.expm1(k * np.log(alphas)[:, None])
    return powers.sum(axis=1) ** 2 / (powers**2).sum(axis=1) / iterations


def _draw(figure: Figure, alphas, predicted, inflation, intervals) -> None:
    left, right = figure.subplots(1, 2)
    x = np.array(ALPHAS)
    amplification = 1 / (1 - x)
    left.fill_between(x, *intervals.T, color="C0", alpha=0.25, lw=0)
    left.plot(x, inflation, "o", label="measured, 95 % interval")
    left.plot(x, predicted, color="C2", label=r"$(T / T_{\mathrm{eff}})^{1/2}$")
    left.plot(x, amplification, color="C1", label=r"$1/(1-\alpha)$")
    left.axhline(2 / np.sqrt(3), color="0.5", ls="--", lw=1, label=r"$2/\sqrt{3}$")
    left.set(yscale="log", xlabel=r"extrapolation $\alpha$", ylabel="inflation of the error")
    left.set(title=f"sampled runs, T = {ITERATIONS}")
    left.legend()
    for horizon, colour in ((3, "C5"), (10, "C4"), (100, "C3"), (2000, "C2")):
        right.plot(1 - alphas, _share(alphas, horizon), color=colour, label=f"T = {horizon}")
    right.axhline(0.75, color="0.5", ls="--", lw=1)
    right.set(xscale="log", xlabel=r"$1 - \alpha$", ylabel=r"$T_{\mathrm{eff}} / T$")
    right.set(title="exactly", ylim=(0.7, 1.02))
    right.legend()
