"""The gap, split in two ways: through the run on exact preferences, and by an identity (N4)."""

import jax
import jax.numpy as jnp
from jaxtyping import Array

from apo_sim.checks import checked
from apo_sim.problems import PROBLEM, Bandit, Problem
from apo_sim.pytree import pytree_dataclass
from apo_sim.theory.closed_forms import exact_policy, with_reward
from apo_sim.theory.paths import Path, PerIteration, SavedPath, check_fits, path_with


@pytree_dataclass
class Split:
    r"""Two splits of the gap of pi_hat_1 ... pi_hat_T; every field has shape (iterations,).

    What sampling does to the gap of DPO is `paper_difference`. (With SPPO or IPO the exact reward
    moves with the policy, so that the run on exact preferences is not pi*_t, and the difference has
    that in it, too.) N4's terms are no effects: both carry the
    noise of the averaged reward, with opposite signs, and it cancels in their sum.

    Attributes:
        suboptimality: the gap itself, in units of reward, expectation over contexts.
        optimisation: $\bar r(y^*) - E_{\hat\pi}\bar r$, the first term of N4; at most `sharp_gap`.
        statistics: $(r^*-\bar r)(y^*) - E_{\hat\pi}(r^*-\bar r)$, the second term of N4. The two
            sum to the gap.
        paper_optimisation: the gap of the exact policy pi*_t (proof of Theorem 4.4).
        paper_statistics: 2 DTV(pi_hat_t, pi*_t); the sum of these two only bounds the gap.
        paper_difference: the gap of pi_hat_t minus that of pi*_t, which the previous one bounds;
            with paper_optimisation it sums to the gap.
    """

    suboptimality: PerIteration
    optimisation: PerIteration
    statistics: PerIteration
    paper_optimisation: PerIteration
    paper_statistics: PerIteration
    paper_difference: PerIteration


@checked(problem=PROBLEM, solution=path_with("log_policy", "gamma"))
def split(problem: Problem, solution: SavedPath) -> Split:
    r"""Split the gap of a run in two ways, at every iteration.

    The paper goes through $\pi^*_T \propto \pi_{\rm ref}e^{\gamma_T r^*}$, the run on exact
    preferences: what it loses, and what sampling changes. N4's identity averages the rewards met,
    $\bar r = \sum w_{T-i}r_i/\sum w = \log(\hat\pi_T/\pi_{\rm ref})/\gamma_T$ up to a constant in
    y; its first term obeys a sharp bound whatever the rewards.

    Args:
        problem: a `Bandit`, what was run.
        solution: the run, with its path saved.

    Returns:
        A `Split`.

    Raises:
        InvalidArgument: no path saved, no latent reward.

    Example:
        >>> from types import SimpleNamespace
        >>> problem = Bandit(jnp.array([[1.0, 0.0]]), jnp.log(jnp.array([[0.5, 0.5]])))
        >>> path = jnp.log(jnp.array([[[0.5, 0.5]], [[0.8, 0.2]]]))
        >>> rewards = jnp.array([[[jnp.log(4.0), 0.0]]])
        >>> run = SimpleNamespace(
        ...     gamma=jnp.ones(1), log_policy=path, behaviour=path, rewards=rewards
        ... )
        >>> parts = split(problem, run)
        >>> round(float(parts.optimisation[0]), 4), round(float(parts.statistics[0]), 4)
        (0.2773, -0.0773)
    """
    problem = with_reward(problem)
    check_fits(problem, solution)
    log_policy, gamma = solution.log_policy[1:], solution.gamma
    log_exact = jax.vmap(exact_policy, (None, 0))(problem, gamma)
    policy, exact = jnp.exp(log_policy), jnp.exp(log_exact)
    regret = _regret(problem, problem.reward)
    average_regret = _regret(problem, (log_policy - problem.log_ref) / gamma[:, None, None])
    moved = _difference_of_exponentials(log_policy, log_exact)

    def expectation(per_arm: Path) -> PerIteration:
        return jnp.sum(per_arm, axis=2) @ problem.context_probs

    return Split(
        suboptimality=expectation(policy * regret),
        optimisation=expectation(policy * average_regret),
        statistics=expectation(policy * (regret - average_regret)),
        paper_optimisation=expectation(exact * regret),
        paper_statistics=expectation(jnp.abs(moved)),
        paper_difference=expectation(moved * regret),
    )


def _regret(problem: Bandit, reward: Array) -> Array:
    """What each arm falls short of the optimal arm; `reward` may have leading axes."""
    optimal = jnp.arange(problem.num_arms) == problem.best_arm[:, None]
    return jnp.sum(jnp.where(optimal, reward, 0.0), axis=-1, keepdims=True) - reward


def _difference_of_exponentials(log_a: Path, log_b: Path) -> Path:
    """exp(log_a) - exp(log_b), exact where the two are close, and without overflow."""
    apart = log_a - log_b
    return -jnp.sign(apart) * jnp.expm1(-jnp.abs(apart)) * jnp.exp(jnp.maximum(log_a, log_b))
