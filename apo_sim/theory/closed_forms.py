"""Policies in closed form: what the updates add up to, whatever the rewards were."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array

from apo_sim.checks import NUMBER, POSITIVE, Real, as_flag, as_float, checked
from apo_sim.errors import InvalidArgument
from apo_sim.geometry import KL, Geometry
from apo_sim.geometry.bregman import GEOMETRY, check_reference
from apo_sim.problems import PROBLEM, Bandit, LogPolicy, Problem
from apo_sim.pytree import boxed, unboxed
from apo_sim.theory.closed_form_arguments import Number
from apo_sim.theory.extrapolation import reward_weights


@checked(
    problem=PROBLEM,
    rewards=Real(shape=(None, None, None)),
    beta=POSITIVE,
    geometry=GEOMETRY,
    extrapolated=as_flag,
    unrestricted=as_flag,
)
def closed_form(
    problem: Problem,
    rewards: Number,
    alpha: ArrayLike,
    beta: Number,
    *,
    geometry: Geometry = KL(),
    extrapolated: bool = False,
    unrestricted: bool = False,
) -> LogPolicy:
    r"""The policy after T updates with the given rewards, Theorem 4.1.

    $\log\hat\pi_T = \log\pi_{\rm ref} + \sum_{i<T} \frac{w_{T-i}}{\beta_i} r_i - \log Z$, for any
    rewards. (The text below it has "given pi_hat_1 = pi_ref"; the identity needs pi_hat_0.) In
    another geometry the same sum is added to the dual coordinates of pi_ref (B1, ours), which is
    the policy of the updates as long as those coordinates forget nothing: for every Legendre
    generator and the lazy Euclidean one.

    Args:
        problem: where the policy starts (its `log_ref`).
        rewards: r_0 ... r_{T-1}, shape (iterations, contexts, arms); each matters only up to a
            constant in its arms.
        alpha: extrapolation in [0, 1], a number or a schedule of shape (iterations,).
        beta: proximal weight, a number or a schedule of shape (iterations,).
        geometry: the Bregman divergence of the updates.
        extrapolated: return the policy after the last extrapolation, log pi_T, instead.
        unrestricted: accept any finite alpha.

    Returns:
        log pi_hat_T, shape (contexts, arms), normalised; -inf where an arm has no mass.

    Raises:
        InvalidArgument: rewards of another shape or not finite, alpha or beta as in `gamma`.

    Example:
        >>> bandit = Bandit(jnp.array([[1.0, 0.0]]), jnp.log(jnp.array([[0.5, 0.5]])))
        >>> policy = closed_form(bandit, jnp.array([[[1.0, 0.0]]] * 2), alpha=0.5, beta=5.0)
        >>> round(float(policy[0, 0] - policy[0, 1]), 6)  # (1 + 1.5) / 5
        0.5
    """
    rewards = as_float("rewards", rewards, (None, *problem.log_ref.shape))
    iterations = rewards.shape[0]
    factors = reward_weights(alpha, beta, iterations, unrestricted=unrestricted)
    if extrapolated:
        # pi_T is what one more update would start from, that is pi_hat_{T+1} with no reward.
        longer = _with_last_repeated(alpha), _with_last_repeated(beta), iterations + 1
        factors = reward_weights(*longer, unrestricted=unrestricted)[:-1]
    # Constants drop out; taken off first, they cannot swallow the digits of close rewards.
    centred = rewards - jnp.max(rewards, axis=-1, keepdims=True)
    moved = jnp.tensordot(factors, centred, axes=1, precision="highest")
    return _moved_policy(geometry, problem, moved)


@checked(problem=PROBLEM, gamma=NUMBER.one(), geometry=GEOMETRY)
def exact_policy(problem: Problem, gamma: Number, geometry: Geometry = KL()) -> LogPolicy:
    r"""The policy of exact Bradley-Terry preferences, $\pi^* \propto \pi_{\rm ref} e^{\gamma r^*}$.

    This is pi*_T of the paper's section 4 at gamma = gamma_T. In another geometry it is the policy
    of most $\langle r^*, \pi\rangle - B_\Phi(\pi, \pi_{\rm ref})/\gamma$ (B2, ours).

    Args:
        problem: a `Bandit`.
        gamma: accumulated weight, shape (), see `apo_sim.theory.gamma`.
        geometry: the Bregman divergence of the updates.

    Returns:
        Its log-probabilities, shape (contexts, arms).

    Raises:
        InvalidArgument: the problem has no latent reward, gamma is not a finite number.

    Example:
        >>> bandit = Bandit(jnp.array([[1.0, 0.0]]), jnp.log(jnp.array([[0.5, 0.5]])))
        >>> policy = exact_policy(bandit, 3.0)
        >>> round(float(policy[0, 0] - policy[0, 1]), 6)
        3.0
    """
    problem = with_reward(problem)
    regret = jnp.max(problem.reward, axis=1, keepdims=True) - problem.reward
    return _moved_policy(geometry, problem, -gamma * regret)


def with_reward(problem: Problem) -> Bandit:
    """`problem`, refused if it has no latent reward."""
    if not isinstance(problem, Bandit):
        raise InvalidArgument("problem", problem, "has no reward", "pass a Bandit")
    return problem


def _moved_policy(geometry: Geometry, problem: Problem, moved: Array) -> LogPolicy:
    """The policy of the reference's dual coordinates with something added."""
    check_reference(geometry, problem.log_ref)
    return _policy_at(boxed(geometry, "geometry"), problem.log_ref, moved)


@jax.jit
def _policy_at(geometry: Any, log_ref: LogPolicy, moved: Array) -> LogPolicy:
    geometry = unboxed(geometry).at(log_ref)
    return geometry.policy(geometry.dual(log_ref) + moved)


def _with_last_repeated(value: ArrayLike) -> ArrayLike:
    array = jnp.asarray(value)
    return array if array.ndim == 0 else jnp.append(array, array[-1])
