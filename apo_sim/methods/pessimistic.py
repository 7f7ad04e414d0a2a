"""Pessimistic maximum likelihood: linear rewards from offline pairs, and their worst case."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from apo_sim.checks import (
    NON_NEGATIVE,
    OPEN_SHARE,
    POSITIVE,
    Real,
    as_flag,
    as_float,
    check_room,
    check_single,
)
from apo_sim.errors import InvalidArgument
from apo_sim.geometry.root import increasing_root
from apo_sim.methods.base import Report
from apo_sim.methods.requests import CountedPairs
from apo_sim.methods.states import TwoPolicies
from apo_sim.preferences import Pairwise, Ranker
from apo_sim.preferences.base import RANKER
from apo_sim.problems import LogPolicy, Problem
from apo_sim.pytree import pytree_dataclass, static

# Newton's steps to the likelihood's maximum; a dozen are usual.
_FIT_STEPS = 100
# Steps longer than this, in the leads that they change, are shortened.
_TRUSTED = 1.0
# Newton's steps of the interior-point method; fifty are usual.
_PATH_STEPS = 500
# The barrier's weight falls by this factor once a Newton step is shorter than _CENTRED.
_FALL = 0.1
_CENTRED = 0.25
_CENTRED_LAST = 1e-4
# Arrays of a vector for each pair of arms that a fit holds.
_ARRAYS_OF_PAIRS = 3

Matrix = Float[Array, "features features"]
Vector = Float[Array, " features"]
Features = Float[Array, "contexts arms features"]
Arms = Float[Array, "contexts arms"]
Number = Float[Array, ""]


@pytree_dataclass
class OfflinePairs:
    """All the pairs so far, and how many they are.

    Attributes:
        wins: how often each arm beat each other, or the law of that, shape (contexts, arms, arms).
        labels: how many labels tell of it, infinite for a law.
    """

    wins: Float[Array, "contexts arms arms"]
    labels: Float[Array, ""]


@pytree_dataclass
class AddedUpPairs:
    """Pairs of all iterations added up, with their number."""

    ranker: Ranker = Pairwise()
    accumulated: bool = static(default=True)

    def fixes_shape(self, problem: Problem, samples: Any) -> bool:
        return False

    def exact(self, problem: Problem, behaviour: LogPolicy) -> OfflinePairs:
        cells = self.ranker.cells(problem, behaviour) * problem.context_probs[:, None, None]
        return OfflinePairs(cells, jnp.array(jnp.inf, cells.dtype))

    def draw(
        self, key: Key[Array, ""], problem: Problem, behaviour: LogPolicy, samples: Any
    ) -> OfflinePairs:
        wins = CountedPairs(self.ranker).draw(key, problem, behaviour, samples).wins
        return OfflinePairs(wins, jnp.asarray(samples, wins.dtype))


@pytree_dataclass
class PessimisticMLE(TwoPolicies):
    """argmax_pi <u - v, theta> - radius |(Sigma + lambda I)^(-1/2) (u - v)|, u = E_pi phi.

    Rewards are theta . phi(x, y). All pairs so far, drawn from the reference policy, give theta,
    their likeliest parameter with |theta| <= B under Bradley-Terry (of several the shortest), and
    Sigma, the mean of (phi_winner - phi_loser)(phi_winner - phi_loser)^T over them. The value is
    the least one over a ball of parameters around theta, so that features nobody compared count
    against a policy. The expectation over contexts is inside the norm. With zeta =
    1 / (2 + e^(L B) + e^(-L B)), L the longest difference of features in a context,

        radius = C sqrt((d + log(1/delta)) / (zeta^2 n) + lambda B^2),

    in which n counts the labels so far; of exact preferences there are infinitely many.

    The value is concave over a product of simplices, and is maximised by an interior-point method.
    Its dual is min over |w| <= 1 of E_x max_y (phi - v) . (theta - radius (Sigma + lambda
    I)^(-1/2) w), and a feasible w certifies the policy: the series `residual` is the gap between
    the two values, or the last change of a difference of rewards in the fit if that is larger. Of
    several policies of the highest value it is the one farthest from where arms lose their mass.

    Args:
        features: phi, shape (contexts, arms, features).
        bound: B, above 0.
        regularization: lambda, above 0.
        radius: of the ball, at least 0; None: the one above.
        constant: C, above 0.
        delta: probability that the true parameter is outside of the ball, in (0, 1).
        baseline: v, shape (features,); None: the mean features of the reference policy.
        ranker: how a preference pair comes about; its policy is the reference policy.
        greedy: take the arm of highest theta . phi in place of the policy above.

    Raises:
        InvalidArgument: numbers out of range, features that are not for the problem's arms.

    Source: Zhu, Jordan and Jiao (2023), algorithm 1 and Theorem 3.2.

    Example:
        >>> import apo_sim as apo
        >>> bandit = apo.Bandit(jnp.array([[1.0, 0.0]]), jnp.log(jnp.array([[0.5, 0.5]])))
        >>> method = PessimisticMLE(jnp.array([[[1.0], [0.0]]]), radius=0.1)
        >>> solution = apo.solve(bandit, method, iterations=1)
        >>> round(float(solution.suboptimality[0]), 6), float(solution.residual[0]) < 1e-8
        (0.0, True)
    """

    features: Features
    bound: float | Float[Array, ""] = 1.0
    regularization: float | Float[Array, ""] = 0.01
    radius: float | Float[Array, ""] | None = None
    constant: float | Float[Array, ""] = 1.0
    delta: float | Float[Array, ""] = 0.1
    baseline: Vector | None = None
    ranker: Ranker = Pairwise()
    greedy: bool = static(default=False)

    def __post_init__(self):
        kinds = {
            "bound": POSITIVE,
            "regularization": POSITIVE,
            "constant": POSITIVE,
            "delta": OPEN_SHARE,
        }
        for name, kind in kinds.items():
            _check_number(name, getattr(self, name), kind)
        if self.radius is not None:
            _check_number("radius", self.radius, NON_NEGATIVE)
        features = as_float("features", self.features, (None, None, None))
        object.__setattr__(self, "features", features)
        if self.baseline is not None:
            baseline = as_float("baseline", self.baseline, (features.shape[2],))
            object.__setattr__(self, "baseline", baseline)
        RANKER("ranker", self.ranker)
        as_flag("greedy", self.greedy)

    @property
    def request(self) -> AddedUpPairs:
        return AddedUpPairs(self.ranker)

    def check(self, problem: Problem, iterations: int, samples: Any, first: int | None) -> None:
        contexts, arms, number = self.features.shape
        if (contexts, arms) != problem.log_ref.shape:
            raise InvalidArgument(
                "features",
                self.features,
                f"is not for the problem's contexts and arms {problem.log_ref.shape}",
                "pass one vector for each of them",
            )
        check_room("features", self.features, (contexts, arms, arms, number), _ARRAYS_OF_PAIRS)
        check_room("features", self.features, (contexts * arms + contexts + number,) * 2, 3)

    def step(
        self, problem: Problem, state: Any, data: OfflinePairs, t: Int[Array, ""]
    ) -> tuple[Any, Report]:
        _, log_ref = state
        dtype = log_ref.dtype
        features = self.features.astype(dtype)
        share = data.wins / jnp.sum(data.wins)
        covariance = _squared(share, _differences(features))
        parameter, moved = likeliest(features, share, covariance, jnp.asarray(self.bound, dtype))
        rewards = features @ parameter
        if self.greedy:
            best = jnp.argmax(rewards, axis=1)[:, None] == jnp.arange(problem.num_arms)
            log_policy = jnp.where(best, jnp.zeros((), dtype), -jnp.inf)
            return (log_policy, log_ref), Report(series={"residual": moved}, rewards=rewards)
        penalty = self._radius(data.labels) * _root_of_inverse(
            covariance, jnp.asarray(self.regularization, dtype)
        )
        log_policy, gap = most_secure(
            features - self._baseline(problem, log_ref), problem.context_probs, parameter, penalty
        )
        residual = jnp.maximum(moved, gap)
        return (log_policy, log_ref), Report(series={"residual": residual}, rewards=rewards)

    def _baseline(self, problem: Problem, log_ref: LogPolicy) -> Vector:
        if self.baseline is not None:
            return self.baseline.astype(log_ref.dtype)
        weight = problem.context_probs[:, None] * jnp.exp(log_ref)
        return jnp.einsum("xy,xyd->d", weight, self.features.astype(log_ref.dtype))

    def _radius(self, labels: Number) -> Number:
        dtype = labels.dtype
        if self.radius is not None:
            return jnp.asarray(self.radius, dtype)
        bound, delta, constant, regularization = (
            jnp.asarray(number, dtype)
            for number in (self.bound, self.delta, self.constant, self.regularization)
        )
        longest = jnp.max(jnp.linalg.norm(_differences(self.features.astype(dtype)), axis=-1))
        # 2 + e^z + e^-z = (e^(z/2) + e^(-z/2))^2, kept within the range of floats.
        half = 0.5 * longest * bound
        log_flatness = jnp.minimum(
            2.0 * jnp.logaddexp(half, -half), 0.1 * jnp.log(jnp.finfo(dtype).max)
        )
        number = self.features.shape[2] + jnp.log(1.0 / delta)
        sampling = jnp.exp(2.0 * log_flatness) * number / labels
        return constant * jnp.sqrt(sampling + regularization * bound**2)

    def behaviour(self, state: Any) -> LogPolicy:
        """log of the reference policy, which all the data come from."""
        return state[1]


def _check_number(name: str, value: Any, kind: Real) -> None:
    check_single(name, value, kind.remedy)
    kind.check(name, value)


def _squared(weight: Float[Array, "contexts arms arms"], apart: Any) -> Matrix:
    """Sum of weight_ij d_ij d_ij^T over the differences d of features."""
    return jnp.einsum("xij,xijd,xije->de", weight, apart, apart)


def _differences(features: Features) -> Float[Array, "contexts arms arms features"]:
    # Taken before anything is squared, so that what is common to all arms cancels.
    return features[:, :, None] - features[:, None]


def _root_of_inverse(covariance: Matrix, regularization: Number) -> Matrix:
    """(Sigma + lambda I)^(-1/2)."""
    values, axes = jnp.linalg.eigh(covariance)
    return (axes / jnp.sqrt(jnp.maximum(values, 0.0) + regularization)) @ axes.T


class _Fit(NamedTuple):
    parameter: Vector
    # By how much the last step changed the lead of an arm over another one.
    moved: Number
    step: Int[Array, ""]


def likeliest(
    features: Features,
    share: Float[Array, "contexts arms arms"],
    covariance: Matrix,
    bound: Number,
) -> tuple[Vector, Number]:
    """The parameter of the largest Bradley-Terry likelihood in a ball, the shortest of several.

    Newton's method, each step the minimum of the quadratic model in the ball; long ones are
    shortened, as the self-concordance of the logistic loss demands.

    Args:
        features: phi, shape (contexts, arms, features).
        share: the share of all pairs in which i beat j, shape (contexts, arms, arms).
        covariance: mean of the squared differences of features.
        bound: radius of the ball.

    Returns:
        The parameter, and by how much the last step changed any lead theta . (phi_i - phi_j).

    Source: Tran-Dinh, Li and Cevher (2015) for the length of the steps.
    """
    axes, known = _compared(covariance)
    apart = _differences(features @ axes * known)
    tolerance = jnp.sqrt(jnp.finfo(bound.dtype).eps)

    def unfinished(fit: _Fit) -> Bool[Array, ""]:
        return (fit.step < _FIT_STEPS) & (fit.moved > tolerance)

    def improve(fit: _Fit) -> _Fit:
        lead = apart @ fit.parameter
        slope = -jnp.einsum("xij,xijd->d", share * jax.nn.sigmoid(-lead), apart)
        curvature = _squared(share * jax.nn.sigmoid(lead) * jax.nn.sigmoid(-lead), apart)
        # Nothing depends on the other coordinates, and they stay at 0.
        curvature = curvature + jnp.diag(1.0 - known)
        change = _in_ball(curvature, curvature @ fit.parameter - slope, bound) - fit.parameter
        reach = jnp.max(jnp.abs(apart @ change))
        length = jnp.where(reach > _TRUSTED, jnp.log1p(reach) / reach, 1.0)
        return _Fit(fit.parameter + length * change, length * reach, fit.step + 1)

    start = _Fit(jnp.zeros_like(known), jnp.full_like(bound, jnp.inf), jnp.zeros((), int))
    found = jax.lax.while_loop(unfinished, improve, start)
    return axes @ found.parameter, found.moved


def _compared(covariance: Matrix) -> tuple[Matrix, Vector]:
    """Axes of the space of features, and which of them any pair differs along: 1, or 0."""
    values, axes = jnp.linalg.eigh(covariance)
    noise = len(values) * jnp.finfo(values.dtype).eps * values[-1]
    return axes, (values > noise).astype(values.dtype)


def _in_ball(curvature: Matrix, pull: Vector, bound: Number) -> Vector:
    """argmin over |theta| <= B of theta . H theta / 2 - pull . theta."""
    values, axes = jnp.linalg.eigh(curvature)
    values = jnp.maximum(values, jnp.finfo(values.dtype).eps * values[-1])
    along = pull @ axes
    length = jnp.linalg.norm(along)
    noise = jnp.full_like(bound, 4.0 * jnp.finfo(bound.dtype).eps)

    def shorter(weight: Number) -> tuple[Number, Number, Number]:
        theta = along / (values + weight)
        size = jnp.maximum(jnp.linalg.norm(theta), jnp.finfo(bound.dtype).tiny)
        slope = jnp.sum(theta**2 / (values + weight)) / size**3
        # 1 / |theta| is nearly linear in the multiplier.
        return bound / size - 1.0, bound * slope, noise

    weight = increasing_root(shorter, jnp.zeros_like(bound), jnp.zeros_like(bound), length / bound)
    inside = jnp.linalg.norm(along / values) <= bound
    return axes @ (along / (values + jnp.where(inside, 0.0, weight)))


class _Path(NamedTuple):
    policy: Arms
    # Of the dual problem, shorter than 1.
    direction: Vector
    # Of the logarithmic barriers.
    weight: Number
    # Length of the last Newton step in the metric of the barriers.
    decrement: Number
    step: Int[Array, ""]


def most_secure(
    features: Features, context_probs: Float[Array, " contexts"], parameter: Vector, penalty: Matrix
) -> tuple[LogPolicy, Number]:
    """argmax over policies of u . theta - |penalty u|, u the mean of the features.

    It is the saddle point of u . theta - w . penalty u over policies and |w| <= 1. An
    interior-point method: barriers on both keep them inside, and damped Newton steps follow the
    saddle point while the barriers are lifted.

    Args:
        features: phi - v, shape (contexts, arms, features).
        context_probs: law of contexts.
        parameter: theta.
        penalty: radius (Sigma + lambda I)^(-1/2).

    Returns:
        log of the policy, and a bound on how far its value is below the maximum: the duality gap.

    Source: Nemirovski (1999), "On self-concordant convex-concave functions", for the steps.
    """
    gain = context_probs[:, None] * (features @ parameter)
    risk = context_probs[:, None, None] * (features @ penalty)
    # In units of the largest numbers at hand.
    unit = jnp.max(jnp.abs(gain)) + jnp.max(jnp.linalg.norm(risk, axis=-1))
    unit = jnp.where(unit > 0, unit, 1.0)
    gain, risk = gain / unit, risk / unit
    least = jnp.finfo(gain.dtype).eps ** 0.65

    def unfinished(path: _Path) -> Bool[Array, ""]:
        last = path.weight <= least
        return (path.step < _PATH_STEPS) & ~(last & (path.decrement <= _CENTRED_LAST))

    def improve(path: _Path) -> _Path:
        fallen = jnp.maximum(_FALL * path.weight, least)
        weight = jnp.where(path.decrement <= _CENTRED, fallen, path.weight)
        change, turn, decrement = _newton(gain, risk, path.policy, path.direction, weight)
        length = jnp.where(decrement > _CENTRED, 1.0 / (1.0 + decrement), 1.0)
        policy = path.policy * (1.0 + length * change)
        policy = policy / jnp.sum(policy, axis=1, keepdims=True)
        return _Path(policy, path.direction + length * turn, weight, decrement, path.step + 1)

    start = _Path(
        policy=jnp.full_like(gain, 1.0 / gain.shape[1]),
        direction=jnp.zeros_like(parameter),
        weight=jnp.ones((), gain.dtype),
        decrement=jnp.array(jnp.inf, gain.dtype),
        step=jnp.zeros((), int),
    )
    found = jax.lax.while_loop(unfinished, improve, start)
    return jnp.log(found.policy), unit * _duality_gap(gain, risk, found.policy, found.direction)


def _newton(
    gain: Arms, risk: Features, policy: Arms, direction: Vector, weight: Number
) -> tuple[Arms, Vector, Number]:
    """Newton's step to the saddle point of gain . pi - w . (risk . pi) with both barriers.

    Returns:
        The changes of log pi and of w, and their length in the metric of the barriers.
    """
    contexts, arms, number = risk.shape
    room = 1.0 - direction @ direction
    itself = jnp.eye(number, dtype=gain.dtype)
    bent = 2.0 * weight * (itself + 2.0 * jnp.outer(direction, direction) / room) / room
    weighed = (policy[..., None] * risk).reshape(-1, number)
    member = jnp.repeat(jnp.eye(contexts, dtype=gain.dtype), arms, axis=0) * policy.reshape(-1, 1)
    # All at once: eliminating the arms would cancel what the barrier leaves of their curvature.
    border = jnp.concatenate([weighed, member], axis=1)
    corner = jnp.zeros((number + contexts,) * 2, gain.dtype).at[:number, :number].set(-bent)
    top = jnp.concatenate([weight * jnp.eye(contexts * arms, dtype=gain.dtype), border], axis=1)
    system = jnp.concatenate([top, jnp.concatenate([border.T, corner], axis=1)])
    push = policy * (gain - risk @ direction) + weight
    pull = 2.0 * weight * direction / room - jnp.sum(weighed, axis=0)
    target = jnp.concatenate([push.ravel(), pull, jnp.zeros(contexts, gain.dtype)])
    change, turn, _ = jnp.split(
        jnp.linalg.solve(system, target), [contexts * arms, contexts * arms + number]
    )
    decrement = jnp.sqrt(change @ change + turn @ bent @ turn / weight)
    return change.reshape(contexts, arms), turn, decrement


def _duality_gap(gain: Arms, risk: Features, policy: Arms, direction: Vector) -> Number:
    total = jnp.einsum("xy,xyd->d", policy, risk)
    above = jnp.sum(jnp.max(gain - risk @ direction, axis=1))
    return jnp.maximum(above - jnp.sum(policy * gain) + jnp.linalg.norm(total), 0.0)
