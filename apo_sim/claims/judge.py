"""From measurements to a `Finding`: what holds, what fails, what says nothing.

Every judge states its allowance for rounding, and every interval its confidence. A check calls
one of them with arrays over the instances it tried; the worst instance decides. A check that
judges several cells side by side widens their intervals to `together`, so that all of them cover
at once with 95 %, and joins them with `worst` or, where the answer is a map, with `where`.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, SupportsFloat

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, PyTree

from apo_sim import statistics
from apo_sim.checks import as_count, as_flag, as_function, as_text, checked, function_of, optional
from apo_sim.claims.kinds import (
    Draw,
    Numbers,
    Witness,
    as_estimate,
    as_findings,
    as_instances,
    as_interval,
    as_mapping,
    as_numbers,
    as_real,
    as_samples,
    as_share,
    as_starts,
    as_trials,
    as_witness,
    at_least,
    cells_of,
)
from apo_sim.claims.verdict import ClaimError, Finding
from apo_sim.claims.words import Ruling
from apo_sim.errors import InvalidArgument
from apo_sim.estimate import FIGURES, Estimate
from apo_sim.statistics import (
    CONFIDENCE,
    Interval,
    mean_estimate,
    student,
    t_quantile,
    welch,
)

clopper_pearson: Callable[..., Interval] = checked(
    successes=as_trials, trials=as_count, confidence=as_share
)(statistics.clopper_pearson)


@checked(
    errors=as_instances,
    tolerance=as_real,
    witness=as_witness,
    unit=as_text,
    instances=optional(as_count),
    note=as_text,
    draw=optional(as_function),
)
def identity(
    errors: Numbers,
    tolerance: SupportsFloat,
    *,
    witness: Witness = None,
    unit: str = "relative error",
    instances: int | None = None,
    note: str = "",
    draw: Draw = None,
) -> Finding:
    """An identity holds if its largest error over the instances is within the tolerance.

    Args:
        errors: absolute or relative errors, one an instance, any shape.
        tolerance: the largest error that rounding explains.
        witness: the counterexample, or a function from the (flat) index of the worst instance
            to it; asked only if the identity fails.
        unit: what the errors are in.
        instances: how many were tried, if not one an error.
        note: passed on.
        draw: passed on.

    Example:
        >>> identity([1e-16, 3e-16], 1e-12).verdict
        'holds'
        >>> identity([1e-16, 0.5], 1e-12, witness=lambda i: {"instance": i}).counterexample
        {'instance': 1}
    """
    flat = errors
    worst = int(np.argmax(np.abs(flat)))
    error = abs(float(flat[worst]))
    holds = error <= float(tolerance)
    return Finding(
        Ruling.HOLDS if holds else Ruling.FAILS,
        measured=error,
        bound=tolerance,
        unit=unit,
        instances=flat.size if instances is None else instances,
        counterexample=None if holds else _counterexample(witness, worst),
        note=note,
        draw=draw,
    )


@checked(
    measured=as_numbers,
    bound=as_numbers,
    trivial=optional(as_numbers),
    rounding=as_real,
    floor=as_real,
    witness=as_witness,
    interval=optional(as_interval),
    unit=as_text,
    instances=optional(as_count),
    note=as_text,
    draw=optional(as_function),
)
def upper_bound(
    measured: Numbers,
    bound: Numbers,
    *,
    trivial: Numbers | None = None,
    rounding: float = 1e-9,
    floor: float = 1e-14,
    witness: Witness = None,
    interval: tuple[SupportsFloat, SupportsFloat] | None = None,
    unit: str = "",
    instances: int | None = None,
    note: str = "",
    draw: Draw = None,
) -> Finding:
    """A bound holds if no instance exceeds it, and is vacuous if it never says anything.

    An instance violates the bound when measured - bound is above
    `rounding` * max(|measured|, |bound|) + `floor`. The instance reported is the one of the
    largest ratio measured / bound among those of a positive bound that decide the verdict.

    Args:
        measured: one an instance, any shape.
        bound: broadcast against `measured`; may be negative or infinite.
        trivial: what `measured` cannot exceed in any case. A bound that is at least that on
            every instance is vacuous.
        rounding: relative allowance for rounding.
        floor: absolute allowance for rounding.
        witness: as for `identity`.
        interval: a confidence interval for the worst `measured`, if it is random.
        unit: what `measured` and `bound` are in.
        instances: how many were tried, if not one an element of `measured`.
        note: passed on.
        draw: passed on.

    Example:
        >>> upper_bound([1.0, 3.0], [2.0, 4.0]).ratio
        0.75
        >>> upper_bound([1.0, 3.0], [2.0, 2.0]).verdict
        'fails'
        >>> upper_bound([0.1, 0.3], [2.0, 4.0], trivial=1.0).verdict
        'vacuous'
    """
    values, bounds = _broadcast(measured, bound)
    values, bounds = values.ravel(), bounds.ravel()
    with np.errstate(invalid="ignore"):  # inf - inf: an infinite bound is never violated
        excess = values - bounds
        allowance = rounding * np.maximum(np.abs(values), np.abs(bounds)) + floor
        # What is infinite is above every finite bound, whatever rounding of it would be.
        above = np.isposinf(values) | (excess > allowance)
        violated = np.where(np.isposinf(bounds), False, above)
    worst = _worst(values, bounds, violated)
    if violated.any():
        verdict = Ruling.FAILS
    elif trivial is not None and np.all(bounds >= _broadcast_to(trivial, bounds.shape)):
        verdict = Ruling.VACUOUS
    else:
        verdict = Ruling.HOLDS
    return Finding(
        verdict,
        measured=values[worst],
        bound=bounds[worst],
        interval=interval,
        unit=unit,
        instances=values.size if instances is None else instances,
        counterexample=_counterexample(witness, worst) if verdict is Ruling.FAILS else None,
        note=note,
        draw=draw,
    )


@checked(
    first=as_samples,
    second=as_samples,
    margin=as_real,
    paired=as_flag,
    confidence=as_share,
    witness=as_witness,
    unit=as_text,
    note=as_text,
    draw=optional(as_function),
)
def compare(
    first: Numbers,
    second: Numbers,
    *,
    margin: SupportsFloat = 0.0,
    paired: bool = True,
    confidence: float = CONFIDENCE,
    witness: Witness = None,
    unit: str = "",
    note: str = "",
    draw: Draw = None,
) -> Finding:
    """The claim that a random quantity has a smaller mean than another.

    It holds if the interval for mean(first) - mean(second) is at or below `margin`, fails if it
    is above, and is not reproduced if it lies on both sides. Measured is the difference, the
    bound is `margin`, the ratio is that of the two means.

    Args:
        first: samples (n,) over independent seeds.
        second: samples (m,); with `paired`, m = n and the same seed at the same place.
        margin: what the difference is held against, in `unit`.
        paired: Student's t of the paired differences; otherwise Welch's of two groups.
        confidence: of the interval.
        witness: as for `identity`, called with 0.
        unit: what the samples are in.
        note: passed on.
        draw: passed on.

    Example:
        >>> finding = compare([1.0, 1.1, 0.9, 1.0], [2.0, 2.1, 1.8, 2.0])
        >>> finding.verdict, round(finding.measured, 3)
        ('holds', -0.975)
        >>> compare([1.0, 2.0, 3.0], [3.0, 1.0, 2.0]).verdict
        'not reproduced'
    """
    a, b = first, second
    difference = float(np.mean(a) - np.mean(b))
    if paired:
        if a.size != b.size:
            raise InvalidArgument(
                "second", b, f"has {b.size} samples, first {a.size}", "pair them, or paired=False"
            )
        interval = mean_interval(a - b, confidence)
    else:
        enough = at_least(2)
        interval = welch(enough("first", a), enough("second", b), confidence)
    verdict = _decide(interval, -math.inf, float(margin))
    mean = float(np.mean(b))
    return Finding(
        verdict,
        measured=difference,
        bound=margin,
        ratio=float(np.mean(a)) / mean if mean != 0 else None,
        interval=interval,
        unit=unit,
        instances=a.size if paired else a.size + b.size,
        counterexample=_counterexample(witness, 0) if verdict is Ruling.FAILS else None,
        note=note,
        draw=draw,
    )


@checked(
    measured=as_real,
    interval=as_interval,
    target=as_real,
    tolerance=as_real,
    witness=as_witness,
    unit=as_text,
    instances=as_count,
    note=as_text,
    draw=optional(as_function),
)
def close(
    measured: SupportsFloat,
    interval: tuple[SupportsFloat, SupportsFloat],
    target: SupportsFloat,
    tolerance: SupportsFloat,
    *,
    witness: Witness = None,
    unit: str = "",
    instances: int = 1,
    note: str = "",
    draw: Draw = None,
) -> Finding:
    """A random figure is what the claim says, up to a tolerance: a slope, a rate, a constant.

    It holds if the interval lies inside target ± tolerance, fails if it lies outside, and is
    not reproduced otherwise.

    Args:
        measured: the figure.
        interval: a confidence interval for it.
        target: what the claim says it is.
        tolerance: how far off still counts as that.
        witness: as for `identity`, called with 0.
        unit: what the figure is in.
        instances: how many runs it comes from.
        note: passed on.
        draw: passed on.

    Example:
        >>> close(-0.49, (-0.52, -0.46), target=-0.5, tolerance=0.05).verdict
        'holds'
        >>> close(-0.3, (-0.33, -0.27), target=-0.5, tolerance=0.05).verdict
        'fails'
    """
    low, high = float(interval[0]), float(interval[1])
    centre, width = float(target), float(tolerance)
    verdict = _decide((low, high), centre - width, centre + width)
    return Finding(
        verdict,
        measured=measured,
        bound=centre,
        interval=(low, high),
        unit=unit,
        instances=instances,
        counterexample=_counterexample(witness, 0) if verdict is Ruling.FAILS else None,
        note=note,
        draw=draw,
    )


@checked(
    failures=as_trials,
    trials=as_count,
    delta=as_real,
    confidence=as_share,
    witness=as_witness,
    unit=as_text,
    note=as_text,
    draw=optional(as_function),
)
def failure_rate(
    failures: int,
    trials: int,
    delta: SupportsFloat,
    *,
    confidence: float = CONFIDENCE,
    witness: Witness = None,
    unit: str = "failure rate",
    note: str = "",
    draw: Draw = None,
) -> Finding:
    """A statement that holds with probability 1 - delta fails in at most delta of the trials.

    It holds if the Clopper-Pearson interval of the failure rate is at or below delta, fails if
    it is above, and is not reproduced otherwise: with few trials nothing can be said.

    Args:
        failures: number of trials where the statement was false.
        trials: number of independent trials.
        delta: the probability of failure that is allowed.
        confidence: of the interval.
        witness: as for `identity`, called with 0.
        unit: passed on.
        note: passed on.
        draw: passed on.

    Example:
        >>> failure_rate(0, 200, 0.05).verdict, failure_rate(0, 20, 0.05).verdict
        ('holds', 'not reproduced')
    """
    interval = clopper_pearson(failures, trials, confidence)
    verdict = _decide(interval, -math.inf, float(delta))
    return Finding(
        verdict,
        measured=failures / trials,
        bound=delta,
        interval=interval,
        unit=unit,
        instances=trials,
        counterexample=_counterexample(witness, 0) if verdict is Ruling.FAILS else None,
        note=note,
        draw=draw,
    )


@checked(cells=as_count, confidence=as_share)
def together(cells: int, confidence: float = CONFIDENCE) -> float:
    """The confidence at which each of several intervals must be for all of them to cover at once.

    Bonferroni's correction, which assumes nothing of how the cells depend on each other.

    Example:
        >>> round(together(5), 4)
        0.99
    """
    return 1 - (1 - confidence) / cells


@checked(cells=cells_of(at_least(2)), confidence=as_share, unit=as_text)
def estimates(
    cells: Mapping[str, Numbers], confidence: float = CONFIDENCE, unit: str = ""
) -> dict[str, Estimate]:
    """The means of several cells with Student's intervals that cover all at once.

    Args:
        cells: from a name to independent samples (n,), such as paired differences over seeds.
        confidence: of all intervals together.
        unit: what the samples are in.

    Example:
        >>> found = estimates({"T = 3": [1.0, 2.0, 3.0], "T = 20": [4.0, 5.0, 6.0]})
        >>> found["T = 20"].value, round(found["T = 20"].low, 2)
        (5.0, 1.42)
    """
    each = together(len(cells), confidence)
    return {name: mean_estimate(samples, each, unit) for name, samples in cells.items()}


@checked(
    cells=cells_of(as_estimate),
    low=as_real,
    high=as_real,
    unit=as_text,
    instances=as_count,
    facts=optional(as_mapping),
    note=as_text,
    draw=optional(as_function),
)
def where(
    cells: Mapping[str, Estimate],
    *,
    low: float = -math.inf,
    high: float = 0.0,
    unit: str = "cells where the answer is yes",
    instances: int = 1,
    facts: Mapping[str, Any] | None = None,
    note: str = "",
    draw: Draw = None,
) -> Finding:
    """A question whose answer is a map: in which cells does a figure lie in [low, high]?

    A cell is a yes if its interval lies inside, a no if it lies outside, else undecided. The claim
    holds if every cell is a yes, fails if every cell is a no, is not reproduced if none is
    decided, and depends otherwise.

    Args:
        cells: from a name to the figure; the intervals must cover all cells at once
            (`estimates`, or any interval at the confidence `together(len(cells))`).
        low: lower end of what counts as yes.
        high: upper end; the default asks where a mean difference is negative.
        unit: of what is counted.
        instances: how many runs the cells come from.
        facts: passed on.
        note: passed on.
        draw: passed on.

    Example:
        >>> cells = {"T = 3": Estimate(0.1, -0.1, 0.3), "T = 20": Estimate(-0.5, -0.6, -0.4)}
        >>> finding = where(cells)
        >>> finding.verdict, list(finding.regions["yes"]), list(finding.regions["undecided"])
        ('depends', ['T = 20'], ['T = 3'])
    """
    answers = {Ruling.HOLDS: "yes", Ruling.FAILS: "no", Ruling.NOT_REPRODUCED: "undecided"}
    regions: dict[str, dict[str, list[float]]] = {answer: {} for answer in answers.values()}
    for name, cell in cells.items():
        answer = answers[_decide((cell.low, cell.high), low, high)]
        regions[answer][name] = list(cell.figures)
    counts = {answer: len(named) for answer, named in regions.items()}
    unanimous = next((v for v, answer in answers.items() if counts[answer] == len(cells)), None)
    verdict = unanimous or Ruling.DEPENDS
    worst = max(cells, key=lambda name: max(cells[name].value - high, low - cells[name].value))
    return Finding(
        verdict,
        measured=counts["yes"],
        bound=len(cells),
        unit=unit,
        instances=instances,
        cells=len(cells),
        regions=regions,
        counterexample=_cell(worst, cells[worst]) if verdict is Ruling.FAILS else None,
        facts=facts or {},
        note=note,
        draw=draw,
    )


@checked(findings=as_findings)
def worst(findings: Sequence[Finding]) -> Finding:
    """The finding that decides a claim of several parts: one that fails, else one undecided.

    Among equals the first is returned. Its `cells` are those of all parts.

    Example:
        >>> found = worst([Finding("holds"), Finding("not reproduced")])
        >>> found.verdict, found.cells
        ('not reproduced', 2)
    """
    order = (
        Ruling.FAILS,
        Ruling.NOT_REPRODUCED,
        Ruling.DEPENDS,
        Ruling.VACUOUS,
        Ruling.HOLDS,
    )
    decisive = min(findings, key=lambda finding: order.index(Ruling(finding.verdict)))
    return dataclasses.replace(decisive, cells=sum(finding.cells for finding in findings))


@checked(samples=at_least(2), confidence=as_share)
def mean_interval(samples: Numbers, confidence: float = CONFIDENCE) -> Interval:
    """Student's interval for the mean of independent samples (n,), n >= 2.

    Example:
        >>> low, high = mean_interval([1.0, 2.0, 3.0])
        >>> round(low, 3), round(high, 3)
        (-0.484, 4.484)
    """
    return student(samples, confidence)


@checked(x=at_least(2), y=at_least(2))
def slope(x: Numbers, y: Numbers) -> tuple[float, float]:
    """Slope and intercept of the least-squares line of y (n,) on x (n,).

    Example:
        >>> slope([0.0, 1.0, 2.0], [1.0, 3.0, 5.0])
        (2.0, 1.0)
    """
    gradient, intercept, *_ = _line(x, y)
    return gradient, intercept


@checked(x=at_least(3), y=at_least(3), confidence=as_share)
def slope_interval(x: Numbers, y: Numbers, confidence: float = CONFIDENCE) -> Interval:
    """Student's interval for the slope of y (n,) on x (n,), n >= 3, with independent errors.

    For a rate, pass the logarithms of both.

    Example:
        >>> low, high = slope_interval([0.0, 1.0, 2.0, 3.0], [0.1, 0.9, 2.1, 2.9])
        >>> round(low, 2), round(high, 2)
        (0.72, 1.2)
    """
    a, b = x, y
    gradient, _, error = _line(a, b)
    half = error * t_quantile(confidence, a.size - 2)
    return gradient - half, gradient + half


class Climb(NamedTuple):
    """Where `climb` arrived.

    Attributes:
        params: the best point of all, a pytree without the axis of restarts.
        value: the objective there.
        all_params: the best point of every start, a pytree.
        all_values: the objective there; -inf for a start that never met a finite value.
        trace: (steps, restarts) the best value of every start so far.
    """

    params: Any
    value: float
    all_params: Any
    all_values: Float[Array, " restarts"]
    trace: Float[Array, "steps restarts"]


@checked(objective=function_of(0.0), starts=as_starts, steps=as_count, learning_rate=as_real)
def climb(
    objective: Callable[[Any], Any],
    starts: PyTree,
    *,
    steps: int = 200,
    learning_rate: float = 0.05,
) -> Climb:
    """Gradient ascent from many starts at once: the adversary that looks for the worst case.

    Adam climbs from every start; each remembers its best point, the start included. A value or
    gradient that is not finite is never remembered or followed.

    Args:
        objective: from the parameters of one start to a scalar, in JAX.
        starts: parameters with a leading axis of restarts on every leaf.
        steps: number of ascent steps.
        learning_rate: Adam's.

    Raises:
        ClaimError: if no start ever met a finite value.

    Example:
        >>> peak = climb(lambda x: 3 - (x - 1) ** 2, jnp.array([-1.0, 4.0]), steps=400)
        >>> round(peak.value, 3), round(float(peak.params), 1)
        (3.0, 1.0)
    """
    optimizer = optax.adam(learning_rate)
    # The value of the objective at every start, and its gradient there, in one pass.
    one = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), starts)
    height = jax.eval_shape(objective, one)
    if not isinstance(height, jax.ShapeDtypeStruct) or height.shape != ():
        raise InvalidArgument(
            "objective", objective, "gives no scalar for a single start", "return a JAX scalar"
        )
    evaluate = jax.vmap(jax.value_and_grad(objective))

    def step(carry: Any, _: None) -> tuple[Any, Any]:
        params, state, best, best_value = carry
        value, gradient = evaluate(params)
        better = jnp.isfinite(value) & (value > best_value)
        best = jax.tree.map(lambda new, old: jnp.where(_like(better, new), new, old), params, best)
        best_value = jnp.where(better, value, best_value)
        uphill = jax.tree.map(lambda g: jnp.where(jnp.isfinite(g), -g, 0.0), gradient)
        updates, state = optimizer.update(uphill, state)
        return (optax.apply_updates(params, updates), state, best, best_value), best_value

    @jax.jit
    def ascend(starts: Any) -> tuple[Any, Any, Any]:
        restarts = jax.tree.leaves(starts)[0].shape[0]
        worst = jnp.full((restarts,), -jnp.inf, dtype=jnp.result_type(float))
        carry = (starts, optimizer.init(starts), starts, worst)
        carry, trace = jax.lax.scan(step, carry, None, length=steps + 1)
        return carry[2], carry[3], trace[1:]

    all_params, all_values, trace = ascend(starts)
    winner = int(jnp.argmax(all_values))
    if not np.isfinite(all_values[winner]):
        raise ClaimError("climb: the objective is not finite at any point tried")
    params = jax.tree.map(lambda leaf: leaf[winner], all_params)
    return Climb(params, float(all_values[winner]), all_params, all_values, trace)


def _decide(interval: Interval, low: float, high: float) -> Ruling:
    """Whether an interval is inside [low, high], outside, or across an end."""
    if low <= interval[0] and interval[1] <= high:
        return Ruling.HOLDS
    if interval[0] > high or interval[1] < low:
        return Ruling.FAILS
    return Ruling.NOT_REPRODUCED


def _cell(name: str, estimate: Estimate) -> dict[str, Any]:
    return {"cell": name, **dict(zip(FIGURES, estimate.figures, strict=True))}


def _worst(values: np.ndarray, bounds: np.ndarray, violated: np.ndarray) -> int:
    """The instance to report: the largest ratio, or the largest excess where there is none."""
    candidates = violated if violated.any() else np.ones_like(violated)
    rated = candidates & (bounds > 0)
    if rated.any():
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
            ratio = np.where(np.isposinf(bounds), 0.0, values / np.where(rated, bounds, 1.0))
        return int(np.argmax(np.where(rated, ratio, -np.inf)))
    return int(np.argmax(np.where(candidates, values - bounds, -np.inf)))


def _line(x: np.ndarray, y: np.ndarray) -> tuple[float, float, float]:
    """Slope, intercept and standard error of the slope."""
    if x.size != y.size:
        raise InvalidArgument(
            "y", y, f"has {y.size} values, x has {x.size}", "pass as many as in x"
        )
    spread = float(np.sum((x - x.mean()) ** 2))
    if spread == 0:
        raise InvalidArgument("x", x, "is constant", "pass at least two different values")
    gradient = float(np.sum((x - x.mean()) * (y - y.mean()))) / spread
    intercept = float(y.mean() - gradient * x.mean())
    residual = float(np.sum((y - intercept - gradient * x) ** 2))
    return gradient, intercept, math.sqrt(residual / max(x.size - 2, 1) / spread)


def _counterexample(witness: Witness, index: int) -> Mapping[str, Any] | None:
    return witness(index) if callable(witness) else witness


def _broadcast(measured: np.ndarray, bound: np.ndarray) -> tuple[np.ndarray, ...]:
    try:
        return tuple(np.broadcast_arrays(measured, bound))
    except ValueError:
        raise InvalidArgument(
            "bound",
            bound,
            f"does not fit `measured`, of shape {measured.shape}",
            "pass one bound for each instance, or a single bound for all",
        ) from None


def _broadcast_to(trivial: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    flat = np.ravel(trivial)
    if flat.size not in (1, *shape):
        raise InvalidArgument(
            "trivial", trivial, f"does not fit {shape[0]} instances", "pass one value for each"
        )
    return np.broadcast_to(flat if trivial.ndim else trivial, shape)


def _like(mask: jax.Array, leaf: jax.Array) -> jax.Array:
    return mask.reshape(mask.shape + (1,) * (leaf.ndim - mask.ndim))
