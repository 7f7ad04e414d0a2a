"""The proximal step's reward for exact preferences: the population minimiser of a loss."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from apo_sim.checks import POSITIVE, checked
from apo_sim.losses import Loss, population_rewards
from apo_sim.losses.loss import as_loss
from apo_sim.problems import PROBLEM, LogPolicy, Problem, log_policy_of
from apo_sim.proximal.forces import Comparisons
from apo_sim.proximal.groups import Groups
from apo_sim.proximal.newton import minimise

EXACT_REWARD_BOUND = 40.0
"""R where none is asked for: sigmoid(40) is one to double precision, so it binds on certain wins
only, whose minimiser would be infinite."""


@checked(loss=as_loss, problem=PROBLEM, reward_bound=POSITIVE.one())
def exact_rewards(
    loss: Loss,
    problem: Problem,
    log_policy: LogPolicy,
    reward_bound: Float[Array, ""],
) -> tuple[Float[Array, "contexts arms"], Float[Array, ""]]:
    """The reward r_t that a loss learns from infinitely many pairs drawn from `log_policy`.

    Args:
        loss: any loss; its closed form is used where it has one.
        problem: a Bandit or a Game.
        log_policy: the proximal centre, which also draws the pairs, shape (contexts, arms).
        reward_bound: R; where the minimiser is solved for, max r - min r <= 2 R.

    Returns:
        Rewards up to a constant in each context, and the solver's residual (0 for closed forms).

    Source: the paper's step (3.1)-(3.2) with the expectation in place of the sample.

    Example:
        >>> import jax.numpy as jnp
        >>> from apo_sim import Bandit, DPO
        >>> bandit = Bandit(jnp.array([[1.0, 0.0]]), jnp.log(jnp.array([[0.5, 0.5]])))
        >>> exact_rewards(DPO(), bandit, bandit.log_ref, jnp.array(2.0))[0].tolist()
        [[1.0, 0.0]]
    """
    log_policy = log_policy_of(problem, log_policy)
    known = population_rewards(loss, problem, log_policy)
    if known is not None:
        return known, jnp.zeros((), known.dtype)
    return _solve(loss, problem, log_policy, reward_bound)


def _solve(loss, problem, log_policy, reward_bound):
    # From the rarest arm to the most common: rare arms follow common ones, and the elimination
    # has to end with those that follow nobody.
    order = jnp.argsort(log_policy, axis=1)
    log_policy = jnp.take_along_axis(log_policy, order, axis=1)
    preference = jnp.take_along_axis(problem.preference, order[:, :, None], axis=1)
    preference = jnp.take_along_axis(preference, order[:, None, :], axis=2)
    # An arm's condition is divided by the probability of drawing it, so that rare arms keep digits.
    lost = jnp.moveaxis(preference, 0, -1)
    data = Comparisons(jnp.swapaxes(lost, 0, 1), lost, jnp.exp(log_policy).T[:, None])
    groups = Groups(jnp.zeros(lost.shape[1:], int), jnp.ones(len(log_policy), bool))
    bounds = jnp.broadcast_to(reward_bound, (problem.num_contexts,))
    rewards, residual = minimise(loss, data, groups, bounds)
    return jnp.take_along_axis(rewards.T, jnp.argsort(order, axis=1), axis=1), jnp.max(residual)
