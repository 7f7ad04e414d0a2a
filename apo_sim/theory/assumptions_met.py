"""How far a run satisfies the paper's assumptions."""

import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float

from apo_sim.problems import Bandit, PerContext, Problem
from apo_sim.pytree import pytree_dataclass
from apo_sim.theory.arguments import as_proximal_weight
from apo_sim.theory.paths import PerIteration, PolicyPath, saved

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


def assumptions(problem: Problem, solution: PolicyPath, beta: ArrayLike) -> Assumptions:
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
    log_policy, behaviour = saved(solution, "log_policy"), saved(solution, "behaviour")
    rewards = saved(solution, "rewards")
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
