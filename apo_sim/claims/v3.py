"""V3: averaging the updates against extrapolating them."""

import numpy as np
from matplotlib.figure import Figure

from apo_sim.claims import judge
from apo_sim.claims._studies import (
    Runs,
    Setting,
    bootstrap,
    mean_band,
    percentiles,
    sampled,
    uniform_bandits,
)
from apo_sim.claims.registry import claim
from apo_sim.claims.verdict import Finding, Study

ARMS, ITERATIONS, BETA, ALPHA = 5, 20, 5.0, 0.8
SAMPLES = (30.0, 100.0, 300.0, 1000.0, 3000.0)
JUDGED = SAMPLES.index(300.0)


@claim(
    id="V3",
    title="Averaging controls the error, extrapolation amplifies it",
    source="reviews",
    statement=r"At equal $\gamma_T$ the moving average $h_t = \alpha h_{t-1} + (1-\alpha)\,"
    r"(\hat\pi_t - \pi_{t-1})$ leaves a smaller statistical error than extrapolation by $\alpha$.",
    control="averaging given a tenth of the labels",
)
def averaging_against_extrapolation(study: Study) -> Finding:
    r"""Compare the statistical error of averaged and of extrapolated updates, seed by seed.

    Problem: random bandits of five arms, alpha = 0.8, T = 20. In both rules update i enters with
    a weight proportional to 1 - alpha^(T-i): averaging with beta (1 - alpha) passes through the
    very policies that extrapolation with beta outputs, and differs only in who collects the data.

    Method: the statistical part of the gap (N4's split), paired over seeds, N = 300.

    Guarantee: statistical. At equal beta averaging is slower by 1 - alpha, which is its whole
    advantage in noise.

    Reference: the paper's reviews; MoVI (Vieillard et al. 2020) for the average.

    Example:
        >>> from apo_sim.claims import describe
        >>> describe("V3").source
        'reviews'
    """
    seeds = study.pick(150, 3000)
    bandits = uniform_bandits(study.subkey(0), seeds, ARMS)
    fewer = 0.1 if study.wrong else 1.0
    settings = [
        s
        for n in SAMPLES
        for s in (
            Setting(n, BETA, ALPHA),
            Setting(n * fewer, BETA * (1 - ALPHA), ALPHA, "averaging"),
            Setting(n * fewer, BETA, ALPHA, "averaging"),
        )
    ]
    runs = sampled(study.subkey(1), settings, bandits, ITERATIONS)
    rows = range(len(settings))
    # Averaging outputs its centre pi_T, which all of its updates have entered as an average.
    ends = [(runs.log_policy if row % 3 == 0 else runs.behaviour)[row, :, -1] for row in rows]
    moved = np.sum(1 - ALPHA ** np.arange(1, ITERATIONS + 1)) / BETA
    gammas = [float(g) for g in (moved / (1 - ALPHA), moved / (1 - ALPHA), moved)]
    parts = np.array([_gap_and_error(runs, end, gammas[r % 3]) for r, end in enumerate(ends)])
    gaps, errors = np.moveaxis(parts.reshape(len(SAMPLES), 3, 2, seeds), 2, 0)
    extrapolated, averaged, _ = errors[JUDGED]
    again = bootstrap(study.rng(2), seeds)
    ratios = averaged[again].mean(axis=1) / extrapolated[again].mean(axis=1)
    mean_gap = gaps[JUDGED].mean(axis=1)
    return judge.compare(
        averaged,
        extrapolated,
        unit="statistical part of the gap, averaging minus extrapolation (reward)",
        witness={"averaging": averaged.mean(), "extrapolation": extrapolated.mean()},
        note=rf"At equal $\gamma_T$ averaging's error is {averaged.mean():.2g}, "
        f"{averaged.mean() / extrapolated.mean():.2f} [{percentiles(ratios)[0]:.2f}, "
        f"{percentiles(ratios)[1]:.2f}] times that of extrapolation; gaps {mean_gap[1]:.4f} and "
        rf"{mean_gap[0]:.4f}. At equal $\beta$ averaging has moved {1 / (1 - ALPHA):.0f} times "
        f"less, and its gap is {mean_gap[2]:.3f}.",
        draw=lambda figure: _draw(figure, gaps, errors),
    )


def _gap_and_error(runs: Runs, log_policy: np.ndarray, gamma: float) -> tuple[np.ndarray, ...]:
    """The gap and the size of its statistical part (N4), both (seeds,)."""
    policy = np.exp(log_policy)
    learned = (log_policy - runs.log_ref) / gamma
    wrong = runs.true_reward - learned
    best = np.argmax(runs.true_reward, axis=1)
    at_best = np.take_along_axis(wrong, best[:, None], axis=1)[:, 0]
    regret = runs.true_reward.max(axis=1, keepdims=True) - runs.true_reward
    return np.sum(policy * regret, axis=1), np.abs(at_best - np.sum(policy * wrong, axis=1))


def _draw(figure: Figure, gaps: np.ndarray, errors: np.ndarray) -> None:
    series = (
        ("C0", "extrapolation"),
        ("C4", r"averaging, same $\gamma_T$"),
        ("C5", r"averaging, same $\beta$"),
    )
    panels = ((errors, "statistical part of the gap"), (gaps, "gap"))
    for axes, (values, label) in zip(figure.subplots(1, 2), panels, strict=True):
        for rule, (colour, name) in enumerate(series):
            mean, low, high = mean_band(values[:, rule])
            axes.fill_between(SAMPLES, low, high, color=colour, alpha=0.25, lw=0)
            axes.plot(SAMPLES, mean, "o-", color=colour, label=name)
        axes.set(xscale="log", yscale="log", xlabel="preference pairs an iteration, $N$")
        axes.set(ylabel=f"{label} (reward)", title=label)
        axes.legend()
