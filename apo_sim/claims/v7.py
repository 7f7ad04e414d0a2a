"""V7: would more than three iterations help?"""

import numpy as np
from matplotlib.figure import Figure

from apo_sim.claims import judge
from apo_sim.claims._studies import Setting, mean_band, sampled, uniform_bandits, worst
from apo_sim.claims.registry import claim
from apo_sim.claims.verdict import Finding, Study

ARMS, ITERATIONS, FIRST = 5, 20, 3
SAMPLES, ALPHA = 2000, 0.3
BETAS = (0.1, 1.0, 5.0)


@claim(
    id="V7",
    title="More than three iterations help",
    source="reviews",
    statement=r"At $N = 2{,}000$ pairs an iteration, $\alpha = 0.3$ and every "
    r"$\beta \in \{0.1, 1, 5\}$: $$E\,\mathrm{gap}(\hat\pi_{20}) < E\,\mathrm{gap}(\hat\pi_3).$$",
    control="the two horizons swapped",
)
def more_iterations(study: Study) -> Finding:
    r"""Compare the gap after twenty iterations with that after three, run by run.

    Problem: random bandits of five arms, uniform rewards and reference, fresh data in every
    iteration; beside it the same labels in all, cut into twenty parts in place of three.

    Method: paired differences over seeds, Student's interval, for every beta; the verdict is the
    worst.

    Guarantee: statistical. Yes where beta is large enough for the policy to be still under way.
    With a small one no: the policy has become nearly deterministic, its data compare few arms,
    and one arm that won its only comparison is enough to leave a good one (R = 2 caps the step).

    Reference: a question in the paper's reviews, left open there.

    Example:
        >>> from apo_sim.claims import describe
        >>> describe("V7").source
        'reviews'
    """
    seeds = study.pick(150, 3000)
    bandits = uniform_bandits(study.subkey(0), seeds, ARMS)
    settings = [Setting(SAMPLES, beta, alpha) for beta in BETAS for alpha in (0.0, ALPHA)]
    settings += [Setting(SAMPLES * FIRST // ITERATIONS, beta, ALPHA) for beta in BETAS]
    gap = sampled(study.subkey(1), settings, bandits, ITERATIONS).gap
    accelerated = gap[1 : 2 * len(BETAS) : 2]
    split = gap[2 * len(BETAS) :, :, -1]
    findings, words = [], []
    for beta, path, same_labels in zip(BETAS, accelerated, split, strict=True):
        pair = (path[:, -1], path[:, FIRST - 1])
        finding = judge.compare(
            *(pair[::-1] if study.wrong else pair),
            unit="change of the gap (reward)",
            witness={"beta": beta, "gap_at_3": pair[1].mean(), "gap_at_20": pair[0].mean()},
        )
        findings.append(finding)
        low, high = judge.mean_interval(pair[0] - pair[1])
        other = judge.mean_interval(same_labels - pair[1])
        words.append(
            rf"$\beta = {beta:g}$: {np.mean(pair[0] - pair[1]):+.3f} [{low:+.3f}, {high:+.3f}], "
            rf"same labels in all {np.mean(same_labels - pair[1]):+.3f} "
            rf"[{other[0]:+.3f}, {other[1]:+.3f}]"
        )
    decisive = worst(findings)
    return Finding(
        decisive.verdict,
        measured=decisive.measured,
        bound=decisive.bound,
        ratio=decisive.ratio,
        interval=decisive.interval,
        unit=decisive.unit,
        instances=seeds * len(BETAS),
        counterexample=decisive.counterexample,
        note="Change of the gap from 3 to 20 iterations; " + "; ".join(words) + ".",
        draw=lambda figure: _draw(figure, gap),
    )


def _draw(figure: Figure, gap: np.ndarray) -> None:
    t = np.arange(1, ITERATIONS + 1)
    for b, axes in enumerate(figure.subplots(1, len(BETAS), sharey=True)):
        for row, colour, label in (
            (2 * b + 1, "C0", rf"$\alpha = {ALPHA}$"),
            (2 * b, "0.5", r"$\alpha = 0$"),
        ):
            mean, low, high = mean_band(np.swapaxes(gap[row], 0, 1))
            axes.fill_between(t, np.maximum(low, 1e-4), high, color=colour, alpha=0.25, lw=0)
            axes.plot(t, mean, color=colour, label=label)
        axes.axvline(FIRST, color="C1", ls="--", lw=1)
        axes.set(yscale="log", xlabel="iteration", title=rf"$\beta = {BETAS[b]:g}$")
        axes.set(xticks=(1, 3, 10, 20))
        if b == 0:
            axes.set(ylabel="gap (reward)")
            axes.text(
                FIRST + 0.4,
                axes.get_ylim()[0],
                "the paper stops",
                color="C1",
                fontsize=8,
                va="bottom",
            )
            axes.legend(loc="upper left")
