"""Guesses of a loss's parameters: linear ones by least squares, the others on a grid, then refined.

A guess is no answer: what a loss is, is decided by the library's own loss with these parameters.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy import optimize
from scipy.special import expit

from apo_sim.conformance._calling import Observed
from apo_sim.conformance.inputs import LENGTHS, Inputs
from apo_sim.conformance.recipe import ANCHORS, Recipe
from apo_sim.geometry.links import (
    AlphaDivergence,
    ForwardKL,
    JensenShannon,
    Link,
    MixedChiSquare,
)
from apo_sim.losses import DPO, IPO, KTO, SPPO, ConservativeDPO, RobustDPO, SLiC

_BETAS = np.geomspace(1e-3, 30.0, 24)
_MARGINS = (0.0, -4.0, -1.0, 1.0, 4.0)
_ALPHAS = (0.25, 0.5, 0.75)
# Coefficients below this are rounding, in units of the tolerance.
_NOTHING = 10.0

_REFINED: Any = {"xtol": 1e-15, "ftol": 1e-15, "gtol": 1e-15, "max_nfev": 100}

Columns = Sequence[np.ndarray]


@dataclass(frozen=True)
class View:
    """What the score of a response is, before beta.

    Attributes:
        won, lost: scores, shape (rows,).
        slope_won, slope_lost: of them by log pi.
        reference, mean, link: as in `Recipe`.
    """

    won: np.ndarray
    lost: np.ndarray
    slope_won: np.ndarray
    slope_lost: np.ndarray
    reference: bool
    mean: bool
    link: Link | None = None

    @property
    def difference(self) -> np.ndarray:
        return self.won - self.lost

    def column(self, of_winner: np.ndarray | float, of_loser: np.ndarray | float) -> np.ndarray:
        """Slopes by the scores as slopes by log pi, shape (rows, 2)."""
        return np.stack([of_winner * self.slope_won, of_loser * self.slope_lost], axis=1)


def views(observed: Observed) -> Iterator[View]:
    """Those which the loss's arguments allow, the usual ones first."""
    for mean in (False, True) if set(LENGTHS) <= observed.takes else (False,):
        for reference in (True, False) if "ref_chosen" in observed.takes else (False,):
            yield view(observed.inputs, reference=reference, mean=mean)


def view(inputs: Inputs, *, reference: bool, mean: bool, link: Link | None = None) -> View:
    """The scores of pairs."""
    won, lost = inputs.policy_chosen, inputs.policy_rejected
    if reference:
        won, lost = won - inputs.ref_chosen, lost - inputs.ref_rejected
    slopes = [np.ones_like(won), np.ones_like(lost)]
    if mean:
        won, lost = won / inputs.chosen_lengths, lost / inputs.rejected_lengths
        slopes = [1.0 / inputs.chosen_lengths, 1.0 / inputs.rejected_lengths]
    if link is not None:
        parts = [_linked(link, score) for score in (won, lost)]
        (won, lost), chain = zip(*parts, strict=True)
        slopes = [slope * factor for slope, factor in zip(slopes, chain, strict=True)]
    return View(won, lost, slopes[0], slopes[1], reference, mean, link)


def _linked(link: Link, score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    with jax.enable_x64(True):
        given = jnp.asarray(score)
        value, slope = jax.jvp(link.score_of_ratio, (given,), (jnp.ones_like(given),))
        return np.asarray(value), np.asarray(slope)


class LeastSquares:
    """Coefficients of columns that make the slopes of a loss, each row on its own scale.

    Example:
        >>> slopes = np.array([[2.0, -2.0], [4.0, -4.0]])
        >>> LeastSquares(slopes)([0.5 * slopes])[0].round(6).tolist()
        [2.0]
    """

    def __init__(self, slopes: np.ndarray):
        size = np.abs(slopes).max(axis=1, keepdims=True)
        floor = np.median(size[size > 0]) if (size > 0).any() else 1.0
        self.weight = 1.0 / (floor + size)
        self.target = (slopes * self.weight).ravel()

    def __call__(self, columns: Columns) -> tuple[np.ndarray, np.ndarray]:
        """Coefficients and residuals."""
        matrix = np.stack([(column * self.weight).ravel() for column in columns], axis=1)
        size = np.maximum(np.abs(matrix).max(axis=0), 1e-300)
        found, *_ = np.linalg.lstsq(matrix / size, self.target, rcond=1e-13)
        return found / size, matrix @ (found / size) - self.target


def logistic(observed: Observed) -> Iterator[Recipe]:
    """DPO, its smoothed, robust and length-normalised kin, and XPO's bonus."""
    for seen in views(observed):
        yield from _logistic(observed, seen, lambda _, seen=seen: seen, ())


def linked(observed: Observed) -> Iterator[Recipe]:
    """The same with the links of f-DPO."""
    if "ref_chosen" not in observed.takes:
        return
    for link in (ForwardKL(), JensenShannon(), MixedChiSquare()):
        seen = view(observed.inputs, reference=True, mean=False, link=link)
        yield from _logistic(observed, seen, lambda _, seen=seen: seen, ())

    def of_alpha(alpha: float) -> View:
        alpha = float(alpha)
        # As the link has it, without the time that JAX takes.
        plain = view(observed.inputs, reference=True, mean=False)
        decay = [np.exp(-alpha * score) for score in (plain.won, plain.lost)]
        scores = [(1.0 - part) / alpha for part in decay]
        link = AlphaDivergence(alpha)
        return View(*scores, *decay, reference=True, mean=False, link=link)

    yield from _logistic(observed, of_alpha(0.5), of_alpha, _ALPHAS)


def _logistic(
    observed: Observed, seen: View, at: Callable[[float], View], alphas: Sequence[float]
) -> Iterator[Recipe]:
    fit = LeastSquares(observed.gradient)
    from_ref = observed.inputs.chosen_from_ref

    def columns(seen: View, log_beta: float, margin: float) -> Columns:
        beta = np.exp(log_beta)
        pull = -expit(margin - beta * seen.difference)
        found = [seen.column(beta * pull, -beta * pull), seen.column(beta, -beta)]
        found.append(np.stack([np.ones_like(pull), np.zeros_like(pull)], axis=1))
        if "chosen_from_ref" in observed.takes:
            found.append(np.stack([from_ref, ~from_ref], axis=1).astype(float))
        return found

    def residual(where: np.ndarray) -> np.ndarray:
        return fit(columns(at(where[2]) if alphas else seen, where[0], where[1]))[1]

    grid = [
        np.array([np.log(beta), margin, *alpha])
        for alpha in ([(a,) for a in alphas] or [()])
        for beta in _BETAS
        for margin in (_MARGINS if not alphas else (0.0,))
    ]
    best = min(grid, key=lambda where: float(np.sum(residual(where) ** 2)))
    low, high = [np.log(_BETAS[0] / 3), -50.0], [np.log(_BETAS[-1] * 3), 50.0]
    if alphas:
        low, high = [*low, 1e-3], [*high, 1.0 - 1e-3]
    found = optimize.least_squares(residual, best, bounds=(low, high), x_scale="jac", **_REFINED)
    seen = at(found.x[2]) if alphas else seen
    coefficients, _ = fit(columns(seen, found.x[0], found.x[1]))
    yield from _logistic_recipes(observed, seen, found.x, coefficients)


def _logistic_recipes(
    observed: Observed, seen: View, where: np.ndarray, coefficients: np.ndarray
) -> Iterator[Recipe]:
    """What the coefficients say: of c L(d) + c e d, e is the share of labels smoothed."""
    scale, tilt, likelihood, *bonus = _without_dust(coefficients, observed.tolerance)
    if scale <= 0:
        return
    share = tilt / scale
    swapped = share > 0.5
    if swapped:
        share = 1.0 - share
    margin = _tidy(-where[1] if swapped else where[1], observed.tolerance)
    share = _tidy(share, observed.tolerance)
    if share == 0.0:
        loss = DPO()
    elif share > 0.0:
        loss = ConservativeDPO(min(share, 0.5 - 1e-12))
    else:
        loss = RobustDPO(float(share / (2.0 * share - 1.0)))
    yield Recipe(
        loss,
        beta=float(np.exp(where[0])),
        scale=_tidy(scale, observed.tolerance, around=1.0),
        margin=margin,
        reference=seen.reference,
        mean=seen.mean,
        swapped=bool(swapped),
        link=seen.link,
        bonus=float(bonus[0]) if bonus else 0.0,
        likelihood=float(-likelihood),
    )


def squared(observed: Observed) -> Iterator[Recipe]:
    """IPO: slopes that are linear in the difference of the scores."""
    fit = LeastSquares(observed.gradient)
    for seen in views(observed):
        d = seen.difference
        (by_score, by_one), _ = fit([seen.column(d, -d), seen.column(1.0, -1.0)])
        bent = by_score * np.abs(d).max() > _NOTHING * observed.tolerance * abs(by_one)
        if by_score <= 0 or by_one == 0 or not bent:  # a straight line has no margin
            continue
        beta, margin = float(np.sqrt(by_score / 2.0)), float(-by_one / by_score)
        beta = _tidy(beta, observed.tolerance, around=1.0)
        yield Recipe(
            IPO(tau=1.0 / (beta * abs(margin))),
            beta=beta,
            reference=seen.reference,
            mean=seen.mean,
            swapped=margin < 0,
        )


def by_response(observed: Observed) -> Iterator[Recipe]:
    """SPPO: slopes that are linear in the response's own score."""
    fit = LeastSquares(observed.gradient)
    known = "log_normalizer" in observed.takes
    for seen in views(observed):
        columns = [
            seen.column(seen.won, seen.lost),
            seen.column(1.0, 0.0),
            seen.column(0.0, 1.0),
        ]
        if known:
            of_prompt = observed.inputs.log_normalizer
            columns.append(seen.column(of_prompt, of_prompt))
        (by_score, of_winner, of_loser, *of_normalizer), _ = fit(columns)
        if by_score <= 0:
            continue
        swapped = of_winner > of_loser
        if swapped:
            of_winner, of_loser = of_loser, of_winner
        beta = float(by_score / (of_loser - of_winner)) if of_loser > of_winner else 0.0
        if not 1e-6 < beta < 1e6:
            continue
        exact = known and abs(of_normalizer[0] * beta / by_score) > 1e-3
        yield Recipe(
            SPPO(),
            beta=beta,
            scale=_tidy(float(by_score / beta**2), observed.tolerance, around=1.0),
            reference=seen.reference,
            mean=seen.mean,
            swapped=bool(swapped),
            log_normalizer=None if exact else float(of_loser * beta / by_score),
        )


def hinge(observed: Observed) -> Iterator[Recipe]:
    """SLiC: slopes of one size, or none."""
    for seen in views(observed):
        slopes = observed.gradient / np.stack([seen.slope_won, seen.slope_lost], axis=1)
        active = np.abs(slopes[:, 0]) > 1e-6 * np.abs(slopes).max()
        if not active.any() or active.all():
            continue
        slope = float(-np.median(slopes[active, 0]))
        idle = np.median(observed.values[~active])
        d = seen.difference if slope > 0 else -seen.difference
        margin = float(np.median(observed.values[active] + abs(slope) * d[active]) - idle)
        if margin > 0:
            yield Recipe(
                SLiC(_tidy(margin, observed.tolerance, around=1.0)),
                beta=abs(slope),
                reference=seen.reference,
                mean=seen.mean,
                swapped=slope < 0,
            )


def prospect(observed: Observed) -> Iterator[Recipe]:
    """KTO: slopes of a sigmoid of the response's own score, against an anchor."""
    fit = LeastSquares(observed.gradient)
    known = {"policy_kl", "ref_kl"} <= observed.takes
    apart = observed.inputs.policy_kl - observed.inputs.ref_kl
    anchors = {
        "clamped": np.maximum(apart, 0.0),
        "free": apart,
        "reversed": np.maximum(-apart, 0.0),
        "none": np.zeros_like(apart),
    }
    for seen in views(observed):
        for name in ANCHORS if known else ("none",):

            def columns(log_beta: float, seen: View = seen, name: str = name) -> Columns:
                beta, rows = np.exp(log_beta), []
                for score in (seen.won, seen.lost):
                    share = expit(beta * (score - anchors[name]))
                    rows.append(beta * share * (1.0 - share))
                return [seen.column(-rows[0], 0.0), seen.column(0.0, rows[1])]

            def residual(where: np.ndarray, columns: Callable[..., Columns] = columns):
                return fit(columns(where[0]))[1]

            grid = np.log(_BETAS)
            best = min(grid, key=lambda b: float(np.sum(residual(np.array([b])) ** 2)))
            found = optimize.least_squares(residual, [best], **_REFINED)
            weights, _ = fit(columns(found.x[0]))
            swapped = bool((weights < 0).all())
            if not swapped and not (weights > 0).all():
                continue
            weights = [_tidy(abs(w), observed.tolerance, around=1.0) for w in weights]
            if swapped:  # the winner is taken for undesirable
                weights = weights[::-1]
            yield Recipe(
                KTO(*weights),
                beta=float(np.exp(found.x[0])),
                reference=seen.reference,
                mean=seen.mean,
                swapped=swapped,
                anchor=name,
            )


def _without_dust(coefficients: np.ndarray, tolerance: float) -> list[float]:
    largest = max(np.abs(coefficients).max(), 1e-300)
    return [float(c) if abs(c) > _NOTHING * tolerance * largest else 0.0 for c in coefficients]


def _tidy(value: float, tolerance: float, around: float = 0.0) -> float:
    return around if abs(value - around) < _NOTHING * tolerance else float(value)


FAMILIES: tuple[Callable[[Observed], Iterator[Recipe]], ...] = (
    squared,
    by_response,
    hinge,
    logistic,
    prospect,
    linked,
)
