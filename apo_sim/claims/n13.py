"""N13: the mean gap over N, to leading order, in closed form."""

import dataclasses
import functools
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from apo_sim.claims import _noise_law, judge
from apo_sim.claims._noise_law import Cell, Measured
from apo_sim.claims.registry import claim
from apo_sim.claims.scope import Scope
from apo_sim.claims.verdict import Finding, Study
from apo_sim.estimate import Estimate
from apo_sim.statistics import CONFIDENCE, standard_error, t_quantile
from apo_sim.studies.caption import caption
from apo_sim.theory.leading_order import TRUSTED, LeadingOrder

HORIZONS = (1, 3, 20)
ARMS = (3, 10, 30)
ALPHAS = (0.0, 0.3, 0.9)
BETAS = (2.0, 8.0, 30.0, 200.0)
TOLERANCE = 0.1  # of the effect c/N
OF_VARIANCE = 0.2
INDEX = 0.2 * TRUSTED  # where the law is judged
BEYOND = 100.0  # so many times fewer pairs, where it is not
SEEDS = 1600  # so that error bars are a third of the tolerance in the median
FEWER_SEEDS = 400  # where errors are large


@claim(
    id="N13",
    title="The mean gap over N in closed form",
    source="ours",
    statement=r"$$E\,\mathrm{gap}_N = \mathrm{gap}_\infty + \frac{c}{N} + O(N^{-2}), \qquad "
    r"c = -\bigl(g^\top b + \tfrac12\mathrm{tr}(HC)\bigr), \qquad N\,\mathrm{Var}(\mathrm{gap}_N) "
    r"\to g^\top C g,$$ $C = \sum_t (w_{T-t}/\beta)^2 G_t$, $b = \sum_t (w_{T-t}/\beta)\,b_t$; g "
    r"and H gradient and Hessian of the value at the exact $\hat\pi_T$; $G_t/N$ and $b_t/N$ "
    r"covariance and Cox-Snell bias of maximum likelihood from the exact $\pi_t$. Where "
    rf"the index of validity is at most {INDEX:g}, c/N is right to {100 * TOLERANCE:g} %.",
    control="each of three: labels shared between iterations, so that errors add up; a law without "
    "the bias; weights w one iteration off; all three must be told apart",
    scope=Scope(
        "on average",
        "random bandits of five families, every arm drawn often enough; R = 2",
        arms="3 and 5 quick, 3 to 30 full",
        iterations=HORIZONS,
        beta=BETAS,
        samples="where the index of validity is a fifth of what it may be",
        alpha=ALPHAS,
    ),
)
def law_of_the_mean_gap(study: Study) -> Finding:
    r"""Judge the law's mean and variance by simulation, cell by cell and all together.

    Problem: N (mean gap - exact gap) in every cell against c; the slope of one on the other; and
    the mean square of the gap's deviation against the law's variance. The same runs with a
    hundredth of the pairs show what happens where the law does not apply.

    Method: the loop itself, with a control variate of mean zero (the score of the labels), which
    makes the error bars smaller by the root of N. An error of a tenth of c is allowed for. How
    large the law's own error is, is said beside the error bars, and without their noise.

    Guarantee: the law is asymptotic, and judged at a fifth of the index that `valid` allows: the
    law's own relative error is about the index, and at a half of it too close to a tenth to tell.
    Settings that would need more than 1e12 pairs are left out.

    Reference: ours; the bias is that of Cox and Snell (1968).

    Example:
        >>> from apo_sim.claims import describe
        >>> describe("N13").source
        'ours'
    """
    data = _data(study.effort, study.seed)
    if not study.wrong:
        finding = _judged(data, data.law.coefficient)
        return dataclasses.replace(finding, facts=_facts(data), note=_note(data), draw=_drawn(data))
    late = np.array(HORIZONS) > 1
    off_by_one = np.roll(data.law.coefficient, 1, axis=1)
    mistakes = [
        _judged(dataclasses.replace(data, runs=_shared(study.effort, study.seed)), None, late),
        _judged(data, data.law.coefficient - data.law.bias),
        _judged(data, off_by_one, late),
    ]
    # The control fails only if every one of them does.
    return min(mistakes, key=lambda finding: finding.verdict == "fails")


@dataclasses.dataclass(frozen=True)
class _Data:
    cells: tuple[Cell, ...]
    law: Any  # a LeadingOrder in NumPy, at the horizons
    runs: Measured
    few: Measured


def _cells(effort: str, seed: int) -> tuple[list[Cell], Any]:
    """One row for each number of arms, alpha and beta; in the quick check for some of them."""
    study = Study("N13", effort, seed)
    rng = study.rng()
    grid = [(k, a, b) for k in _sizes(effort) for a in ALPHAS for b in BETAS]
    cells = []
    for place, (arms, alpha, beta) in enumerate(grid):
        family = _noise_law.FAMILIES[place % len(_noise_law.FAMILIES)]
        cells.append(Cell(*_noise_law.draw(rng, arms, family), alpha, beta, family=family))
    if effort == "quick":
        cells = cells[1::4] + cells[2:12:4]
    law = _noise_law.laws(cells, HORIZONS[-1])
    spread = law.spread[:, np.array(HORIZONS) - 1].max(axis=1)
    sized = [_noise_law.with_samples(c, s / INDEX) for c, s in zip(cells, spread, strict=True)]
    return sized, law


def _sizes(effort: str) -> tuple[int, ...]:
    return (3, 5) if effort == "quick" else ARMS


def _run(
    effort: str, seed: int, seeds: int, *, shared: bool = False, fewer: float = 1.0
) -> Measured:
    study, cells = Study("N13", effort, seed), _cells(effort, seed)[0]
    cells = [_noise_law.with_samples(c, c.samples / fewer) for c in cells]
    # Many arms have a program of their own.
    many = [cell.reward.size > 10 for cell in cells]
    parts = []
    for large in sorted(set(many)):
        some = [c for c, is_large in zip(cells, many, strict=True) if is_large == large]
        most = max(c.reward.size for c in some)
        parts.append(
            _noise_law.measured(study.subkey(1), some, seeds, HORIZONS, arms=most, shared=shared)
        )
    return Measured(*(np.concatenate([getattr(p, n) for p in parts]) for n in ("gap", "linear")))


@functools.lru_cache(maxsize=1)
def _data(effort: str, seed: int) -> _Data:
    cells, law = _cells(effort, seed)
    law = _at_horizons(law)
    runs, few = _run(effort, seed, SEEDS), _run(effort, seed, FEWER_SEEDS, fewer=BEYOND)
    return _Data(tuple(cells), law, runs, few)


@functools.lru_cache(maxsize=1)
def _shared(effort: str, seed: int) -> Measured:
    return _run(effort, seed, FEWER_SEEDS, shared=True)


def _at_horizons(law: Any) -> Any:
    at = np.array(HORIZONS) - 1
    fields = {f.name: getattr(law, f.name)[:, at] for f in dataclasses.fields(law)}
    return LeadingOrder(**fields)


class _Effects(NamedTuple):
    """N (gap - exact gap) less what has mean zero: every run's, (cells, seeds, horizons)."""

    each: np.ndarray
    mean: np.ndarray
    error: np.ndarray


def _effects(data: _Data, runs: Measured, fewer: float = 1.0) -> _Effects:
    samples = np.array([_noise_law.with_samples(c, c.samples / fewer).samples for c in data.cells])
    each = samples[:, None, None] * (runs.gap - runs.linear - data.law.exact_gap[:, None])
    return _Effects(each, each.mean(axis=1), standard_error(each, axis=1))


def _judged(data: _Data, coefficient: np.ndarray | None = None, where: Any = None) -> Finding:
    """Every cell within a tenth of c, up to its error bar; and all together, mean and variance."""
    where = _valid(data) & (True if where is None else where)
    c = (data.law.coefficient if coefficient is None else coefficient)[where]
    effects = _effects(data, data.runs)
    mean, error = effects.mean[where], effects.error[where]
    width = t_quantile(judge.together(c.size), effects.each.shape[1] - 1)
    cells = judge.upper_bound(
        np.maximum(np.abs(mean - c) - width * error, 0.0) / np.abs(c),
        TOLERANCE,
        unit="distance from the law beyond the error bar, relative to c",
        witness=lambda worst: {"law": c[worst], "measured": mean[worst], "error": error[worst]},
    )
    # Cells of large error bars count little, and none counts for more than the law's own error.
    weight = 1.0 / (error**2 + (TOLERANCE / 2 * c) ** 2)
    slope = float(np.sum(weight * c * mean) / np.sum(weight * c**2))
    half = 2.0 / float(np.sum(weight * c**2)) ** 0.5
    means = judge.close(
        slope,
        (slope - half, slope + half),
        1.0,
        TOLERANCE,
        unit="measured effect over c, all cells together",
        instances=effects.each.size,
    )
    scatter = _scatter(data)
    variance = judge.close(
        scatter.mean(),
        judge.mean_interval(scatter),
        1.0,
        OF_VARIANCE,
        unit="variance over that of the law",
    )
    return dataclasses.replace(judge.worst([means, cells, variance]), cells=c.size)


def _valid(data: _Data) -> np.ndarray:
    """Where the law is judged: rare arms may need more pairs than can be drawn."""
    samples = np.array([cell.samples for cell in data.cells])[:, None]
    return np.asarray(data.law.spread / samples <= 1.01 * INDEX)


def _scatter(data: _Data) -> np.ndarray:
    """Squared deviations over the law's variance, mean over the cells, one for each seed."""
    samples = np.array([cell.samples for cell in data.cells])[:, None]
    expected = data.law.exact_gap + data.law.coefficient / samples
    squares = samples[:, None] * (data.runs.gap - expected[:, None]) ** 2
    relative = np.moveaxis(squares / data.law.variance[:, None], 1, -1)
    return np.asarray(relative[_valid(data)].mean(axis=0))


def _beyond(data: _Data) -> tuple[np.ndarray, np.ndarray]:
    """Index and relative error with a hundredth of the pairs."""
    few = _effects(data, data.few, BEYOND)
    samples = np.array([_noise_law.with_samples(c, c.samples / BEYOND).samples for c in data.cells])
    off = np.abs(few.mean - data.law.coefficient) / np.abs(data.law.coefficient)
    return data.law.spread / samples[:, None], off


def beyond_noise(errors: np.ndarray) -> Estimate:
    """The root mean square over cells of the expected error, (cells, seeds), without its noise.

    The product of two seeds' errors has the square of the expected one as its mean, where the
    square of their mean has its variance, too. Mean over all pairs of seeds, jackknife over seeds.

    Example:
        >>> noise = np.random.default_rng(0).normal(size=(50, 400))
        >>> found = beyond_noise(0.1 + noise)
        >>> bool(found.low < 0.1 < found.high < 0.15), beyond_noise(noise).low
        (True, 0.0)
    """
    seeds = errors.shape[1]
    total, squares = errors.sum(axis=1, keepdims=True), (errors**2).sum(axis=1, keepdims=True)
    square = float(np.mean((total**2 - squares) / (seeds * (seeds - 1))))
    left_out = ((total - errors) ** 2 - (squares - errors**2)) / ((seeds - 1) * (seeds - 2))
    spread = np.sqrt(seeds - 1) * np.std(left_out.mean(axis=0))
    half = t_quantile(CONFIDENCE, seeds - 1) * float(spread)
    value, low, high = np.sqrt(np.maximum([square, square - half, square + half], 0.0))
    return Estimate(float(value), float(low), float(high), n=seeds)


def _facts(data: _Data) -> dict[str, Any]:
    where = _valid(data)
    effects, c = _effects(data, data.runs), data.law.coefficient[where]
    mean, error = effects.mean[where], effects.error[where]
    errors = np.moveaxis(effects.each, 1, -1)[where] / c[:, None] - 1.0
    off = _beyond(data)[1][where]
    return {
        "settings": int(c.size),
        "relative error where valid, beyond noise": beyond_noise(errors),
        "median relative error where valid": float(np.median(np.abs(mean - c) / np.abs(c))),
        "median relative error bar where valid": float(np.median(error / np.abs(c))),
        "median relative error with a hundredth of the pairs": float(np.median(off)),
        "settings in which noise helps": int(np.sum(c < 0)),
        "variance over that of the law": float(_scatter(data).mean()),
    }


def _note(data: _Data) -> str:
    facts = _facts(data)
    off = facts["relative error where valid, beyond noise"]
    return (
        f"Of {facts['settings']} settings noise lowers the gap in "
        f"{facts['settings in which noise helps']}. The law is off by "
        f"{100 * facts['median relative error where valid']:.1f} % of the effect in the median, "
        f"where error bars are {100 * facts['median relative error bar where valid']:.1f} %; "
        "beyond the noise of the simulation the root mean square is "
        f"{100 * off.value:.1f} % [{100 * off.low:.1f}, {100 * off.high:.1f}]. With a hundredth of "
        "the pairs it is off by "
        f"{100 * facts['median relative error with a hundredth of the pairs']:.0f} % in the "
        "median (R is taken not to bind; K = 10 and 30 are tried at full effort only)."
    )


def _drawn(data: _Data) -> Any:
    return lambda figure: _draw(figure, data)


def _draw(figure: Figure, data: _Data) -> None:
    effects, c = _effects(data, data.runs), data.law.coefficient
    caption(
        figure,
        f"{_valid(data).sum()} settings, {effects.each.shape[1]:,} runs each; "
        "bars: two standard errors",
    )
    left, right = figure.subplots(1, 2)
    for place, horizon in enumerate(HORIZONS):
        where = _valid(data)[:, place]
        left.errorbar(
            c[where, place],
            effects.mean[where, place],
            2 * effects.error[where, place],
            fmt="o",
            ms=3,
            lw=0.8,
            color=f"C{place}",
            label=f"T = {horizon}",
        )
    ends = np.array([c.min(), c.max()])
    left.plot(ends, ends, color="0.3", lw=1, zorder=0)
    left.axhline(0.0, color="0.7", lw=0.8, zorder=0)
    left.set(xlabel="c, the law", ylabel=r"$N\,(\mathrm{gap}_N - \mathrm{gap}_\infty)$, measured")
    left.set_xscale("symlog", linthresh=0.1)
    left.set_yscale("symlog", linthresh=0.1)
    left.set_title("below 0 noise helps")
    left.legend()
    samples = np.array([cell.samples for cell in data.cells])[:, None]
    where = _valid(data)
    off, bar = (np.abs(x / c)[where] for x in (effects.mean - c, 2 * effects.error))
    shown = (data.law.spread / samples)[where]
    right.errorbar(shown, off, bar, fmt="o", ms=3, lw=0.5, alpha=0.8, label="valid")
    index, beyond = (values[where] for values in _beyond(data))
    right.plot(index, beyond, "s", ms=3, color="C1", label="N/100")
    ends = np.array([1e-4, 1e2])
    right.plot(ends, ends, ":", color="0.3", lw=1)
    right.axvline(TRUSTED, color="0.6", lw=1)
    right.set(xscale="log", yscale="log", xlim=(1e-5, 1e2), ylim=(1e-4, 1e2))
    right.set(xlabel="index of validity")
    right.set(ylabel="error of the law, relative to c", title="dotted: error = index")
    right.legend()
