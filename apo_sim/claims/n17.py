"""N17: a certificate for a run, from its own labels."""

import dataclasses
import functools

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import stats

from apo_sim.claims import judge
from apo_sim.claims.adaptive import until_decided
from apo_sim.claims.registry import claim
from apo_sim.claims.scope import Scope
from apo_sim.claims.verdict import Finding, Study
from apo_sim.studies.caption import caption
from apo_sim.studies.certified_runs import (
    ARMS,
    CONTEXTS,
    DELTA,
    FAMILIES,
    HARD,
    VERSIONS,
    Runs,
    bandits,
    certified,
    sampled,
    tried,
)

ITERATIONS = 3
SAMPLES = (30, 100, 2_000, 20_000)
FEWEST = 30  # too few to rely on Wilks' theorem: only the proven version is judged there
TIGHT = {2_000: 0.3, 20_000: 0.1}  # the largest median excess over the true gap
# beta, alpha, and the R that the method fits within, which may exclude the true rewards.
SETTINGS = ((1.0, 0.3, 2.0), (0.2, 0.9, 2.0), (1.0, 0.3, 0.25), (1.0, 0.0, 20.0))
GREEDY = (0.05, 0.0, 2.0)


@claim(
    id="N17",
    title="A certificate from the labels",
    source="ours",
    statement=(
        r"With probability at least $1 - \delta$ over the labels of a run that collects its own "
        r"data, $$\mathrm{gap}(\hat\pi_T) \le \max_{r:\,\ell(r)\ge c}\;\max_y\; r(y) - "
        r"E_{\hat\pi_T} r,$$ $\ell$ the Bradley-Terry log-likelihood of all labels, $c = "
        r"\max\ell - \frac12\chi^2_{K-1,1-\delta}$ (asymptotic, N at least 100) or $\log\int "
        r"e^\ell d\Pi - \log\frac1\delta$ (for every N). At K = 10, T = 3, $\alpha = 0.3$, "
        r"$\beta = 1$ it exceeds the gap by at most 0.3 (N = 2,000) and 0.1 (N = 20,000) in the "
        r"median."
    ),
    control="half of the radius",
    scope=Scope(
        "with probability",
        "random bandits of four families with a bounded reward, a hard one for greedy runs, and "
        "at effort full bandits of four contexts",
        arms=ARMS,
        iterations=ITERATIONS,
        beta=sorted({GREEDY[0], *(beta for beta, _, _ in SETTINGS)}),
        samples=SAMPLES,
        alpha=sorted({alpha for _, alpha, _ in SETTINGS}),
    ),
)
def certificate(study: Study) -> Finding:
    r"""Count how often the gap of a sampled run is above its certificate, and by how much below.

    Problem: uniform rewards with a uniform, a Zipf or a one-percent reference, and rewards on
    three levels; DPO at several alpha and beta, also fitted within an R that excludes the true
    rewards; and the hard case, where one arm leads all others by a few standard errors and a
    small beta follows the noise of the labels. With 30 labels an iteration rare arms may be never
    seen, and only the finite-sample version is judged. At effort full also four contexts, which
    share the labels.

    Method: the certificate (delta = 0.05, $|r^*| \le 1$) of every run whose likelihood ball misses
    the true reward; it cannot fail for the others. Clopper-Pearson intervals of the failure rate
    in every family and at every N, corrected for all cells and both versions. The excess over the
    gap at the paper's own numbers, median over bandits.

    Guarantee: the finite-sample version is proven (Ville's inequality), the asymptotic one by
    Wilks' theorem, as N grows. Both hold for every policy at once, which half of the radius does
    not: the hard family shows it.

    Reference: ours.

    Example:
        >>> from apo_sim.claims import describe
        >>> describe("N17").title
        'A certificate from the labels'
    """
    return until_decided(study, functools.partial(_look, study), quick=75, full=500)


def _look(study: Study, seeds: int, confidence: float) -> Finding:
    found = _coverage(dataclasses.replace(study, variant="stated"), seeds)
    cells = (
        {("asymptotic", HARD, 2_000): _failures(found[HARD, 2_000], 0.5)["asymptotic"]}
        if study.wrong
        else {
            (version, *place): failed
            for place, runs in found.items()
            for version, failed in _failures(runs).items()
        }
    )
    judged = {c: f for c, f in cells.items() if VERSIONS[c[0]] or c[2] != FEWEST}
    rates = {
        cell: judge.failure_rate(
            int(failed.sum()),
            failed.size,
            DELTA,
            confidence=judge.together(len(judged), confidence),
            witness={"version": cell[0], "family": cell[1], "N": cell[2]},
        )
        for cell, failed in judged.items()
    }
    decisive = judge.worst(sorted(rates.values(), key=lambda rate: -float(rate.measured or 0.0)))
    if study.wrong:
        return decisive
    curves = _curves(study, study.pick(40, 400))
    medians = {n: float(np.median(curves.excess["asymptotic"][row])) for row, n in _rows(curves)}
    tight = judge.upper_bound(
        [_upper_median(curves.excess["asymptotic"][row]) for row, n in _rows(curves) if n in TIGHT],
        list(TIGHT.values()),
        unit="reward",
    )
    row = curves.samples.index(20_000)
    wider = np.median(curves.radius["finite-sample"][row] / curves.radius["asymptotic"][row])
    failed = {
        version: sum(int(f.sum()) for c, f in judged.items() if c[0] == version)
        for version in VERSIONS
    }
    trials, proven = (sum(f.size for c, f in judged.items() if c[0] == v) for v in VERSIONS)
    few = {c: float(f.mean()) for c, f in cells.items() if c not in judged}
    most = max(few, key=lambda cell: few[cell])
    return dataclasses.replace(
        judge.worst([decisive, tight]),
        instances=proven,
        facts={
            "runs": trials,
            "runs, finite-sample": proven,
            f"highest failure rate at N = {FEWEST}, asymptotic": few[most],
            **{f"runs above the bound, {version}": count for version, count in failed.items()},
            **{f"median excess at N = {n:,}": medians[n] for n in TIGHT},
            "finite-sample radius over asymptotic at N = 20,000": float(wider),
        },
        note=(
            f"The gap is above the certificate in {failed['asymptotic']} of {trials:,} runs "
            f"(asymptotic, N >= 100) and in {failed['finite-sample']} of {proven:,} "
            f"(finite-sample); at N = {FEWEST} the asymptotic one fails in up to {few[most]:.1%} "
            f"({most[1]}). The median excess is {medians[2_000]:.2f} at N = 2,000 and "
            f"{medians[20_000]:.3f} at N = 20,000, and the finite-sample radius {wider:.1f} times "
            "as wide."
        ),
        draw=lambda figure: _draw(figure, curves, cells),
    )


@dataclasses.dataclass(frozen=True)
class Curves:
    """What the figure shows, (samples, runs): excess over the gap, and of the paper's bound."""

    samples: tuple[int, ...]
    excess: dict[str, np.ndarray]
    radius: dict[str, np.ndarray]
    log_paper: np.ndarray


# Only the runs are shared by the variants: what they do with the certificates differs.
@functools.lru_cache(maxsize=3)
def _coverage(study: Study, seeds: int) -> dict[tuple[str, int], Runs]:
    """The runs of every family and number of samples, all of them independent."""
    families = [name for name in FAMILIES if name not in CONTEXTS or study.effort == "full"]
    found = {}
    for row, samples in enumerate(SAMPLES):
        for number, name in enumerate(families):
            parts = [
                _runs(study, 1000 * row + 100 * number + place, name, seeds, samples, *setting)
                for place, setting in enumerate(SETTINGS)
            ]
            found[name, samples] = _joined(parts)
        count = len(SETTINGS) * seeds
        found[HARD, samples] = _runs(study, 9000 + row, HARD, count, samples, *GREEDY)
    return found


def _failures(runs: Runs, share: float = 1.0) -> dict[str, np.ndarray]:
    """Whether the gap is above estimate + share * radius, by version."""
    return {v: found.failed for v, found in tried(runs, share < 1, share).items()}


def _curves(study: Study, seeds: int) -> Curves:
    """Certificates of the paper's setting against the number of samples."""
    samples = (100, 500, 2_000, 20_000, 200_000)
    runs = [_runs(study, 7000, "uniform", seeds, n, *SETTINGS[0]) for n in samples]
    excess, radius = {}, {}
    for version in VERSIONS:
        found = [certified(part, version) for part in runs]
        excess[version] = np.stack([f.bound - r.gap for f, r in zip(found, runs, strict=True)])
        radius[version] = np.stack([f.radius for f in found])
    return Curves(samples, excess, radius, np.stack([part.log_paper for part in runs]))


def _rows(curves: Curves) -> list[tuple[int, int]]:
    return list(enumerate(curves.samples))


def _upper_median(values: np.ndarray) -> float:
    """The upper end of a distribution-free 95 % interval for the median of all cells."""
    confidence = judge.together(len(TIGHT))
    place = int(stats.binom.isf((1 - confidence) / 2, values.size, 0.5))
    return float(np.sort(values)[min(place, values.size - 1)])


def _runs(
    study: Study,
    number: int,
    family: str,
    count: int,
    samples: int,
    beta: float,
    alpha: float,
    reward_bound: float,
) -> Runs:
    return sampled(
        study.subkey(number),
        bandits(family, study.rng(number), count, samples),
        iterations=ITERATIONS,
        samples=samples,
        beta=beta,
        alpha=alpha,
        reward_bound=reward_bound,
    )


def _joined(parts: list[Runs]) -> Runs:
    names = [field.name for field in dataclasses.fields(Runs)]
    return Runs(*(np.concatenate([getattr(part, n) for part in parts]) for n in names))


def _draw(figure: Figure, curves: Curves, cells: dict[tuple[str, str, int], np.ndarray]) -> None:
    tightness, coverage = figure.subplots(1, 2)
    _draw_tightness(tightness, curves)
    _draw_coverage(coverage, cells)
    figure.legend(loc="outside lower center", ncols=4, fontsize=7)
    runs = next(iter(cells.values())).size
    caption(
        figure,
        f"K = {ARMS}, T = {ITERATIONS}, δ = {DELTA}; left: α = 0.3, β = 1, medians and bands of "
        f"80 % of {curves.log_paper.shape[1]} bandits,\nblack bars: the excess that is claimed; "
        f"right: {runs:,} runs a point, 95 % intervals, each by itself, filled: asymptotic",
    )


def _draw_tightness(axes: Axes, curves: Curves) -> None:
    paper = np.exp(curves.log_paper)
    axes.axhline(2.0, color="0.5", linestyle=":", label="trivial bound")
    axes.loglog(curves.samples, np.median(paper, axis=1), "s--", color="C1", label="Theorem 4.4")
    for (version, excess), colour in zip(curves.excess.items(), ("C2", "C3"), strict=True):
        low, middle, high = np.quantile(excess, (0.1, 0.5, 0.9), axis=1)
        axes.loglog(curves.samples, middle, "o-", color=colour, label=f"certificate, {version}")
        axes.fill_between(curves.samples, low, high, color=colour, alpha=0.15, linewidth=0)
    for n, limit in TIGHT.items():
        axes.plot([n / 1.4, n * 1.4], [limit, limit], color="k", linewidth=2)
    axes.set(xlabel="pairs an iteration, $N$", ylabel="excess over the true gap (reward)")


def _draw_coverage(axes: Axes, cells: dict[tuple[str, str, int], np.ndarray]) -> None:
    """Failure rates by family and samples, the versions side by side."""
    axes.axhline(DELTA, color="k", linewidth=1)
    families = list(dict.fromkeys(family for _, family, _ in cells))
    width = 2 * len(families)
    for (version, family, n), failed in cells.items():
        number, open_ = families.index(family), VERSIONS[version]
        low, high = judge.clopper_pearson(int(failed.sum()), failed.size)
        rate = failed.mean()
        label = family if n == SAMPLES[0] and not open_ else None
        axes.errorbar(
            n * 1.06 ** (2 * number + open_ - width / 2),
            rate,
            [[max(rate - low, 0.0)], [max(high - rate, 0.0)]],
            fmt="o",
            color=f"C{number}",
            markerfacecolor="white" if open_ else f"C{number}",
            markersize=3,
            linewidth=1,
            label=label,
        )
    axes.set(xscale="log", xlabel="pairs an iteration, $N$", ylabel="share of runs where it fails")
    axes.set_ylim(-0.003, 0.12)
