"""V4: with many more labels than iterations, does the optimisation error dominate?"""

import numpy as np
from matplotlib.figure import Figure

from apo_sim.claims import judge
from apo_sim.claims._studies import Setting, lower, sampled, uniform_bandits, worst
from apo_sim.claims.registry import claim
from apo_sim.claims.verdict import Finding, Study

ARMS, ITERATIONS, ALPHA = 5, 20, 0.3
BETAS = (0.1, 1.0, 5.0)
SAMPLES = (30, 200, 2_000, 20_000)
HORIZONS = (3, 10, 20)
MANY = 100  # N >> T, read as N >= 100 T


@claim(
    id="V4",
    title="With N far above T, optimisation dominates",
    source="reviews",
    statement=r"Whenever $N \ge 100\,T$ the statistical error $|\mathrm{gap}(\hat\pi_T) - "
    r"\mathrm{gap}(\pi^*_T)|$ is smaller than the optimisation error $\mathrm{gap}(\pi^*_T)$, on "
    r"average, so that momentum helps.",
    control="the two errors swapped",
)
def optimisation_dominates(study: Study) -> Finding:
    r"""Map which error dominates, and whether momentum helps, over N, T and beta.

    Problem: random bandits of five arms, alpha = 0.3 against 0, N up to 20,000, T = 3, 10 and 20,
    beta = 0.1, 1 and 5 (two of them the paper's own).

    Method: paired comparisons over seeds in every cell with N >= 100 T; the verdict is the worst.

    Guarantee: statistical. What decides is beta: with a small one the exact policy has converged
    after a step or two, and sampling is all that is left.

    Reference: the authors' answers in the paper's reviews.

    Example:
        >>> from apo_sim.claims import describe
        >>> describe("V4").source
        'reviews'
    """
    seeds = study.pick(80, 2000)
    bandits = uniform_bandits(study.subkey(0), seeds, ARMS)
    cells = [(beta, n) for beta in BETAS for n in SAMPLES]
    settings = [Setting(n, beta, alpha) for alpha in (0.0, ALPHA) for beta, n in cells]
    runs = sampled(study.subkey(1), settings, bandits, ITERATIONS)
    at = [t - 1 for t in HORIZONS]
    shape = (2, len(BETAS), len(SAMPLES), seeds, len(HORIZONS))
    gap = runs.gap[..., at].reshape(shape)
    optimisation = runs.paper_optimisation[..., at].reshape(shape)
    statistics = np.abs(gap - optimisation)
    findings = []
    for b, n, t in np.ndindex(len(BETAS), len(SAMPLES), len(HORIZONS)):
        if SAMPLES[n] < MANY * HORIZONS[t]:
            continue
        pair = (statistics[1, b, n, :, t], optimisation[1, b, n, :, t])
        findings.append(
            judge.compare(
                *(pair[::-1] if study.wrong else pair),
                unit="statistical minus optimisation error (reward)",
                witness={
                    "beta": BETAS[b],
                    "samples": SAMPLES[n],
                    "iterations": HORIZONS[t],
                    "statistical_error": pair[0].mean(),
                    "optimisation_error": pair[1].mean(),
                },
            )
        )
    findings.sort(key=lambda finding: -float(finding.measured or 0.0))
    decisive = worst(findings)
    usual = (
        statistics[1, 0, SAMPLES.index(2_000), :, 0],
        optimisation[1, 0, SAMPLES.index(2_000), :, 0],
    )
    kept = sum(finding.verdict == "holds" for finding in findings)
    signs = np.array(
        [
            [[_sign(gap[:, b, n, :, t]) for t in range(len(HORIZONS))] for n in range(len(SAMPLES))]
            for b in range(len(BETAS))
        ]
    )
    return Finding(
        decisive.verdict,
        measured=decisive.measured,
        bound=decisive.bound,
        ratio=decisive.ratio,
        interval=decisive.interval,
        unit=decisive.unit,
        instances=seeds * len(settings),
        counterexample=decisive.counterexample,
        note=f"It holds in {kept} of {len(findings)} cells with N >= {MANY} T; shown is the worst. "
        rf"At $\beta = {BETAS[0]:g}$, N = 2,000, T = 3 the statistical error is "
        f"{usual[0].mean():.3f}, the optimisation error {usual[1].mean():.5f}. "
        f"Momentum helps in {int(np.sum(signs < 0))}, hurts in {int(np.sum(signs > 0))} and makes "
        f"no difference that {seeds} seeds show in {int(np.sum(signs == 0))} of all "
        f"{signs.size} cells.",
        draw=lambda figure: _draw(figure, gap, signs),
    )


def _sign(gap: np.ndarray) -> int:
    """-1 where momentum lowers the mean gap, 1 where it raises it, 0 where that is undecided."""
    return {"lower": -1, "higher": 1}.get(lower(gap[1], gap[0]), 0)


def _draw(figure: Figure, gap: np.ndarray, signs: np.ndarray) -> None:
    change = np.log2(gap[1].mean(axis=2) / gap[0].mean(axis=2))  # (betas, N, T)
    panels = figure.subplots(1, len(BETAS), sharey=True)
    images = []
    for b, axes in enumerate(panels):
        image = axes.imshow(change[b].T, cmap="PuOr_r", vmin=-1.5, vmax=1.5, aspect="auto")
        images.append(image)
        for n, t in np.ndindex(*change[b].shape):
            word = {-1: "helps", 1: "hurts", 0: "?"}[signs[b, n, t]]
            text = f"{2.0 ** change[b, n, t]:.2f}\n{word}"
            colour = "white" if abs(change[b, n, t]) > 0.8 else "0.15"
            axes.text(n, t, text, ha="center", va="center", fontsize=7.5, color=colour)
        axes.set_xticks(range(len(SAMPLES)), [f"{n:,}" for n in SAMPLES], fontsize=7.5)
        axes.set_yticks(range(len(HORIZONS)), [str(t) for t in HORIZONS])
        axes.grid(False)
        axes.set(xlabel="pairs an iteration, $N$", title=rf"$\beta = {BETAS[b]:g}$")
    panels[0].set(ylabel="iterations $T$")
    bar = figure.colorbar(images[0], ax=list(panels), ticks=[-1, 0, 1], shrink=0.9)
    bar.set_label(rf"gap, $\alpha = {ALPHA}$ over $\alpha = 0$")
    bar.set_ticklabels(["half", "same", "twice"])
