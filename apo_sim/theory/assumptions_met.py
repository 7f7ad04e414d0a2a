"""How far a run satisfies the paper's assumptions."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from apo_sim.checks import POSITIVE, checked
from apo_sim.problems import PROBLEM, Bandit, PerContext, Problem
from apo_sim.pytree import pytree_dataclass
from apo_sim.theory.closed_form_arguments import Number, as_proximal_weight
from apo_sim.theory.paths import PerIteration, SavedPath, check_fits, path_with

Scalar = Float[Array, ""]


@pytree_dataclass
class Assumptions:
    """The constants of the paper's assumptions that a run has met.

    Attributes:
        reward_bound: R of Assumption 4.3 for the updates made, the largest
            |beta_t log pi_hat_{t+1}/pi_t|, shape ().
        reward_bound_by_update: the same of each update, shape (iterations,).
        reward_bound_all_pairs: R as Assumption 4.3 states it, for every visited policy against
            every proximal centre: the largest |beta_t log pi/pi_t|, shape () (N8).
        reward_span: the largest max_y r_t - min_y r_t, at most twice reward_bound, shape ().
        gap: Delta_x of Assumption 4.6, shape (contexts,); None for a `Game`.
        dominance: Delta_x of Assumption B.1, negative if it fails, shape (contexts,).
        log_p_star: log of the reference mass of the best arm, shape (contexts,).
    """

    reward_bound: Scalar
    reward_bound_by_update: PerIteration
    reward_bound_all_pairs: Scalar
    reward_span: Scalar
    gap: PerContext | None
    dominance: PerContext
    log_p_star: PerContext

    @property
    def gap_holds(self) -> Bool[Array, ""]:
        """Whether Assumption 4.6 holds: one best arm in every context, and a latent reward."""
        return jnp.asarray(False) if self.gap is None else jnp.all(self.gap > 0)

    @property
    def dominance_holds(self) -> Bool[Array, ""]:
        """Whether Assumption B.1 holds with some positive Delta in every context."""
        return jnp.all(self.dominance > 0)


@pytree_dataclass
class VisitedBounds:
    """The least R of Assumption 4.3 after every update, shape (iterations,).

    Attributes:
        consecutive: for the update alone, |beta_t log pi_hat_{t+1}/pi_t|.
        all_pairs: for every policy visited so far against every centre visited so far, as the
            assumption states it (N8).
    """

    consecutive: PerIteration
    all_pairs: PerIteration


@checked(solution=path_with("log_policy", "behaviour"), beta=POSITIVE)
def visited_bounds(solution: SavedPath, beta: Number) -> VisitedBounds:
    """How the R of Assumption 4.3 grows along a run.

    Args:
        solution: the run, with its path saved.
        beta: its proximal weight, a number or a schedule of shape (iterations,).

    Returns:
        A `VisitedBounds`.

    Raises:
        InvalidArgument: no path saved, beta not positive or of another length.

    Source: ours (N8).

    Example:
        >>> from types import SimpleNamespace
        >>> path = jnp.log(jnp.array([[[0.5, 0.5]], [[0.8, 0.2]], [[0.9, 0.1]]]))
        >>> run = SimpleNamespace(log_policy=path, behaviour=path)
        >>> visited_bounds(run, 2.0).all_pairs.round(4).tolist()  # 2 log(0.5/0.1) at last
        [1.8326, 3.2189]
    """
    log_policy, behaviour = solution.log_policy, solution.behaviour
    beta = as_proximal_weight(beta, behaviour.shape[0] - 1)
    centres = behaviour[:-1]
    highest = jax.lax.cummax(jnp.maximum(log_policy, behaviour))[1:]
    lowest = jax.lax.cummin(jnp.minimum(log_policy, behaviour))[1:]
    updates = jnp.arange(beta.shape[0])

    def farthest(last: Array) -> Array:
        apart = jnp.maximum(highest[last] - centres, centres - lowest[last])
        return jnp.max(jnp.where(updates <= last, beta * jnp.max(apart, axis=(1, 2)), 0.0))

    # One update after another: all at once would hold the square of the path.
    return VisitedBounds(
        consecutive=beta * jnp.max(jnp.abs(log_policy[1:] - centres), axis=(1, 2)),
        all_pairs=jax.lax.map(farthest, updates),
    )


@checked(problem=PROBLEM, solution=path_with("log_policy", "behaviour", "rewards"), beta=POSITIVE)
def assumptions(problem: Problem, solution: SavedPath, beta: Number) -> Assumptions:
    """Measure the constants of Assumptions 4.3, 4.6 and B.1 on a run.

    Assumption 4.2 (realizability) needs no measure on a table, which contains every policy.

    Args:
        problem: what was run.
        solution: the run, with its path saved.
        beta: its proximal weight, a number or a schedule of shape (iterations,).

    Returns:
        An `Assumptions`.

    Raises:
        InvalidArgument: no path saved, beta not positive or of another length.

    Example:
        >>> from types import SimpleNamespace
        >>> problem = Bandit(jnp.array([[1.0, 0.0]]), jnp.log(jnp.array([[0.5, 0.5]])))
        >>> path = jnp.log(jnp.array([[[0.5, 0.5]], [[0.8, 0.2]]]))
        >>> rewards = jnp.array([[[1.0, 0.0]]])
        >>> run = SimpleNamespace(
        ...     gamma=jnp.ones(1), log_policy=path, behaviour=path, rewards=rewards
        ... )
        >>> round(float(assumptions(problem, run, 2.0).reward_bound), 4)  # 2 log(0.5/0.2)
        1.8326
    """
    check_fits(problem, solution)
    log_policy, behaviour, rewards = solution.log_policy, solution.behaviour, solution.rewards
    beta = as_proximal_weight(beta, rewards.shape[0])
    centres = behaviour[:-1]
    by_update = beta * jnp.max(jnp.abs(log_policy[1:] - centres), axis=(1, 2))
    highest = jnp.maximum(jnp.max(log_policy, axis=0), jnp.max(behaviour, axis=0))
    lowest = jnp.minimum(jnp.min(log_policy, axis=0), jnp.min(behaviour, axis=0))
    farthest = jnp.max(jnp.maximum(highest - centres, centres - lowest), axis=(1, 2))
    return Assumptions(
        reward_bound=jnp.max(by_update),
        reward_bound_by_update=by_update,
        reward_bound_all_pairs=jnp.max(beta * farthest),
        reward_span=jnp.max(jnp.ptp(rewards, axis=2)),
        gap=problem.gap if isinstance(problem, Bandit) else None,
        dominance=problem.dominance,
        log_p_star=problem.log_best_ref,
    )
