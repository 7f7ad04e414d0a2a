"""Pessimistic maximum likelihood: linear rewards from offline pairs, and their worst case."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

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
from apo_sim.methods._states import TwoPolicies
from apo_sim.methods.method import Report
from apo_sim.methods.requests import CountedPairs
from apo_sim.preferences import Pairwise, Ranker
from apo_sim.preferences.ranked_pairs import RANKER
from apo_sim.problems import LogPolicy, Problem
from apo_sim.proximal.likeliest import (
    Features,
    Matrix,
    Number,
    Vector,
    differences,
    likeliest,
    squared,
)
from apo_sim.proximal.most_secure import most_secure
from apo_sim.pytree import pytree_dataclass, static

# Arrays of a vector for each pair of arms that a fit holds.
_ARRAYS_OF_PAIRS = 3


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

    def __post_init__(self) -> None:
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
        covariance = squared(share, differences(features))
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
        longest = jnp.max(jnp.linalg.norm(differences(self.features.astype(dtype)), axis=-1))
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


def _root_of_inverse(covariance: Matrix, regularization: Number) -> Matrix:
    """(Sigma + lambda I)^(-1/2)."""
    values, axes = jnp.linalg.eigh(covariance)
    return (axes / jnp.sqrt(jnp.maximum(values, 0.0) + regularization)) @ axes.T
