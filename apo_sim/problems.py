"""Problems: which responses are preferred, and where the policy starts.

A `Bandit` has a latent reward and Bradley-Terry preferences; a `Game` has any preference
matrix. Both have the same interface, so everything built on them works with either.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from apo_sim.checks import as_float, check_normalised, concrete, instance_of, tolerance
from apo_sim.errors import InvalidArgument
from apo_sim.pytree import pytree_dataclass

LogPolicy = Float[Array, "contexts arms"]
PerContext = Float[Array, " contexts"]

# win_rate of a Bandit compares every pair of arms; this many pairs at a time stay in cache.
_PAIRS_AT_ONCE = 1 << 20


class _Contextual:
    """What both kinds of problem share: contexts, a reference policy, a best arm in each."""

    log_ref: LogPolicy
    context_probs: PerContext

    @property
    def num_contexts(self) -> int:
        """Number of contexts X."""
        return self.log_ref.shape[0]

    @property
    def num_arms(self) -> int:
        """Number of arms K."""
        return self.log_ref.shape[1]

    @property
    def best_arm(self) -> Int[Array, " contexts"]:
        """The optimal arm y* of each context."""
        raise NotImplementedError

    @property
    def log_best_ref(self) -> PerContext:
        """log p_x, the reference policy's log-probability of the optimal arm."""
        return jnp.take_along_axis(self.log_ref, self.best_arm[:, None], axis=1)[:, 0]

    def mass_off_best(self, log_policy: LogPolicy) -> PerContext:
        """Total variation to the optimal policy in each context.

        It is the mass off the optimal arm, summed over the other arms: one minus the mass on
        it would lose every digit once the policy has nearly converged.
        """
        return self.mass_off_best_of(jnp.exp(log_policy))

    def mass_off_best_of(self, weights: LogPolicy) -> PerContext:
        """`mass_off_best` of probabilities at hand, times any factor if they carry it."""
        off = jnp.arange(self.num_arms) != self.best_arm[:, None]
        return jnp.einsum("xk,xk->x", weights, off.astype(weights.dtype))

    def total_variation(self, log_policy: LogPolicy) -> Float[Array, ""]:
        """Total variation to the optimal policy, expectation over contexts."""
        return self.context_probs @ self.mass_off_best(log_policy)


@pytree_dataclass
class Bandit(_Contextual):
    """A contextual bandit with a latent reward and Bradley-Terry preferences.

    P(y > y' | x) = sigmoid(r*(x, y) - r*(x, y')), as in the paper's section 3. The theory assumes
    r* in [-1, 1]; other finite rewards are allowed, but its bounds then need a matching R.

    Args:
        reward: r*, shape (contexts, arms).
        log_ref: log-probabilities of the reference policy, shape (contexts, arms), natural
            logarithm, normalised, every arm with positive mass.
        context_probs: distribution of contexts, shape (contexts,); uniform if left out.

    Raises:
        InvalidArgument: wrong shapes, values not finite, probabilities that do not sum to one.

    Example:
        >>> import jax.numpy as jnp
        >>> bandit = Bandit(jnp.array([[1.0, 0.0]]), jnp.log(jnp.array([[0.25, 0.75]])))
        >>> float(bandit.suboptimality(bandit.log_ref))
        0.75
    """

    reward: Float[Array, "contexts arms"]
    log_ref: LogPolicy
    context_probs: PerContext = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        reward = as_float("reward", self.reward, (None, None))
        _check_arms("reward", self.reward, reward.shape[1])
        _check_span(self.reward, reward)
        _set_fields(self, "reward", reward, reward.shape)

    @property
    def best_arm(self) -> Int[Array, " contexts"]:
        """The arm of highest reward, the first of those that tie."""
        return jnp.argmax(self.reward, axis=1)

    @property
    def gap(self) -> PerContext:
        """Smallest reward gap between the best arm and the runner-up (0 where they tie)."""
        top_two = jax.lax.top_k(self.reward, 2)[0]
        return top_two[:, 0] - top_two[:, 1]

    @property
    def preference(self) -> Float[Array, "contexts arms arms"]:
        """preference[x, i, j] = P(i beats j | x)."""
        return jax.nn.sigmoid(self.reward[:, :, None] - self.reward[:, None, :])

    @property
    def dominance(self) -> PerContext:
        """The largest gap of Assumption B.1, see `dominance_gap`."""
        return dominance_gap(self.preference, self.best_arm)

    def scores(self, log_policy: LogPolicy) -> Float[Array, "contexts arms"]:
        """What a ranker of several responses sorts by: the reward, whatever the policy."""
        del log_policy
        return self.reward

    def win_rate(self, log_policy: LogPolicy) -> Float[Array, "contexts arms"]:
        """P(y > policy | x) for every arm y, without keeping all pairs of arms."""

        def one_context(reward_and_policy):
            reward, log_policy = reward_and_policy
            policy = jnp.exp(log_policy)
            return jax.lax.map(
                lambda arm_reward: jax.nn.sigmoid(arm_reward - reward) @ policy,
                reward,
                batch_size=max(1, min(self.num_arms, _PAIRS_AT_ONCE // self.num_arms)),
            )

        if self.num_contexts * self.num_arms**2 <= _PAIRS_AT_ONCE:
            return jnp.einsum("xij,xj->xi", self.preference, jnp.exp(log_policy))
        return jax.lax.map(one_context, (self.reward, log_policy))

    def suboptimality(self, log_policy: LogPolicy) -> Float[Array, ""]:
        """E[r*(x, y*) - r*(x, y)], y from the policy: the paper's sub-optimality gap."""
        return self.context_probs @ self.suboptimality_of(jnp.exp(log_policy))

    def suboptimality_of(self, weights: LogPolicy) -> PerContext:
        """Per context, of probabilities at hand, times any factor if they carry it."""
        regret = jnp.max(self.reward, axis=1, keepdims=True) - self.reward
        return jnp.einsum("xk,xk->x", weights, regret)


@pytree_dataclass
class Game(_Contextual):
    """A contextual game: any preference matrix, with no reward behind it.

    Args:
        preference: preference[x, i, j] = P(i beats j | x), shape (contexts, arms, arms), in
            [0, 1], with preference[x, i, j] + preference[x, j, i] = 1.
        log_ref: log-probabilities of the reference policy, shape (contexts, arms).
        context_probs: distribution of contexts, shape (contexts,); uniform if left out.

    Raises:
        InvalidArgument: wrong shapes, values not finite or outside [0, 1], a matrix that is
            not antisymmetric about one half, probabilities that do not sum to one.

    Example:
        >>> import jax.numpy as jnp
        >>> game = Game(jnp.array([[[0.5, 0.9], [0.1, 0.5]]]), jnp.log(jnp.full((1, 2), 0.5)))
        >>> round(float(game.suboptimality(game.log_ref)), 6)
        0.2
    """

    preference: Float[Array, "contexts arms arms"]
    log_ref: LogPolicy
    context_probs: PerContext = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        preference = as_float("preference", self.preference, (None, None, None))
        _check_arms("preference", self.preference, preference.shape[2])
        if preference.shape[1] != preference.shape[2]:
            raise InvalidArgument(
                "preference", self.preference, "is not square in its arms", "pass (X, K, K)"
            )
        _check_antisymmetric(preference)
        _set_fields(self, "preference", preference, preference.shape[:2])

    @property
    def best_arm(self) -> Int[Array, " contexts"]:
        """The arm with the largest worst-case win probability.

        It is the Condorcet winner where there is one, and the y* of Assumption B.1.
        """
        own = jnp.eye(self.num_arms, dtype=bool)
        return jnp.argmax(jnp.min(jnp.where(own, 1.0, self.preference), axis=2), axis=1)

    @property
    def dominance(self) -> PerContext:
        """The largest gap of Assumption B.1, see `dominance_gap`."""
        return dominance_gap(self.preference, self.best_arm)

    def scores(self, log_policy: LogPolicy) -> Float[Array, "contexts arms"]:
        """What a ranker of several responses sorts by: how often each beats the policy."""
        return self.win_rate(log_policy)

    def win_rate(self, log_policy: LogPolicy) -> Float[Array, "contexts arms"]:
        """P(y > policy | x) for every arm y."""
        return jnp.einsum("xij,xj->xi", self.preference, jnp.exp(log_policy))

    def suboptimality(self, log_policy: LogPolicy) -> Float[Array, ""]:
        """Exploitability: how far above 1/2 the best response to the policy wins.

        E_x[max_y P(y > policy | x)] - 1/2, zero exactly at the symmetric Nash equilibria.
        """
        return expected_gap(self.context_probs, self.suboptimality_of(jnp.exp(log_policy)))

    def suboptimality_of(self, weights: LogPolicy) -> PerContext:
        """Per context, of probabilities at hand, times any factor if they carry it."""
        return jnp.max(jnp.einsum("xij,xj->xi", self.preference - 0.5, weights), axis=1)


Problem = Bandit | Game
PROBLEM = instance_of(
    Bandit | Game, "is not a problem", "pass apo_sim.Bandit(...) or apo_sim.Game(...)"
)


def expected_gap(share: PerContext, gaps: PerContext) -> Float[Array, ""]:
    """The gap in expectation over contexts.

    No policy beats itself: at an equilibrium of a game only rounding falls below zero.
    """
    return jnp.maximum(share @ gaps, 0.0)


def dominance_gap(
    preference: Float[Array, "contexts arms arms"], best_arm: Int[Array, " contexts"]
) -> PerContext:
    """The largest Delta for which Assumption B.1 holds in each context; negative if none does.

    min over y != y* and over y' of P(y* > y') - P(y > y').

    Example:
        >>> import jax.numpy as jnp
        >>> matrix = jnp.array([[[0.5, 0.9], [0.1, 0.5]]])
        >>> round(float(dominance_gap(matrix, jnp.array([0]))[0]), 6)
        0.4
    """
    best_row = jnp.take_along_axis(preference, best_arm[:, None, None], axis=1)
    others = jnp.arange(preference.shape[1]) != best_arm[:, None]
    worst = jnp.min(best_row - preference, axis=2)
    return jnp.min(jnp.where(others, worst, jnp.inf), axis=1)


def _check_arms(name: str, value: Any, arms: int) -> None:
    if arms < 2:
        raise InvalidArgument(name, value, "has only one arm", "pass at least two arms")


def _check_span(given: Any, reward: Array) -> None:
    values = concrete(reward)
    if values is not None and np.max(np.ptp(values / 2, axis=1)) > np.finfo(values.dtype).max / 4:
        raise InvalidArgument(
            "reward",
            given,
            "spans a range too large for a float",
            "pass rewards of a smaller range",
        )


def _check_antisymmetric(preference: Array) -> None:
    values = concrete(preference)
    if values is None:
        return
    if np.any((values < 0) | (values > 1)):
        raise InvalidArgument(
            "preference", preference, "lies outside [0, 1]", "pass the probabilities P(i beats j)"
        )
    error = np.abs(values + np.swapaxes(values, 1, 2) - 1).max()
    if error > tolerance(preference.dtype):
        raise InvalidArgument(
            "preference",
            preference,
            f"is not antisymmetric (P + P^T differs from 1 by {error:.2g})",
            "set P[x, j, i] = 1 - P[x, i, j] and 1/2 on the diagonal",
        )


def _set_fields(problem: Any, name: str, values: Array, shape: tuple[int, ...]) -> None:
    """Put the checked fields in place, all of one precision."""
    log_ref = as_log_policy("log_ref", problem.log_ref, shape)
    dtype = jnp.result_type(values, log_ref)
    if problem.context_probs is None:
        probs = jnp.full(shape[0], 1.0 / shape[0], dtype)
    else:
        probs = as_float("context_probs", problem.context_probs, shape[:1])
        _check_probs("context_probs", probs)
    for field, array in ((name, values), ("log_ref", log_ref), ("context_probs", probs)):
        object.__setattr__(problem, field, array.astype(dtype))


def log_policy_of(problem: Problem, log_policy: Any) -> LogPolicy:
    """Log-probabilities in the contexts and arms of a problem; normalised if concrete."""
    return as_log_policy("log_policy", log_policy, problem.log_ref.shape)


def as_log_policy(name: str, value: Any, shape: tuple[int, ...]) -> LogPolicy:
    """`value` as log-probabilities of `shape`; normalised and all finite if concrete."""
    mass = "give every arm some mass; log-probabilities reach far below 1e-300 (-690.8)"
    log_probs = as_float(name, value, shape, remedy=mass)
    check_normalised(name, log_probs, "pass jax.nn.log_softmax(log_ref, axis=-1)")
    return log_probs


def _check_probs(name: str, probs: Array) -> None:
    values = concrete(probs)
    if values is None:
        return
    if np.any(values < 0) or abs(values.sum() - 1) > tolerance(probs.dtype):
        raise InvalidArgument(
            name,
            probs,
            f"is not a distribution (sum {values.sum():.6g}, least {values.min():.3g})",
            "divide non-negative weights by their sum",
        )
