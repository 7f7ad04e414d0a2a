"""Nash mirror descent: towards the equilibrium of a game with a price on leaving the reference."""

from typing import Any, ClassVar

import jax
from jaxtyping import Array, Float, Int

from apo_sim.checks import POSITIVE, Real
from apo_sim.methods._on_win_rates import PULL, OnWinRates
from apo_sim.methods._schedules import at
from apo_sim.methods._states import TwoPolicies
from apo_sim.methods.method import Report
from apo_sim.preferences import Counts, Pairwise, Population, Ranker, win_rates
from apo_sim.problems import LogPolicy, Problem
from apo_sim.pytree import pytree_dataclass


@pytree_dataclass
class NashMD(TwoPolicies, OnWinRates):
    """pi_{t+1} ~ mix_t exp(eta P(. > mix_t)), with mix_t ~ pi_t^(1 - pull) pi_ref^pull.

    Both responses of a pair come from the mixture, so that an arm's share of wins estimates
    P(. > mix_t). With falling steps eta_t = 2 / (tau (t + 2)) and pull_t = tau eta_t the policy
    goes to the equilibrium of the game in which either player pays tau KL(policy, pi_ref), and
    KL(equilibrium, pi_T) <= 8 / (tau^2 (T + 1)). With constant ones the mixture, not the policy,
    goes to such an equilibrium, of the price tau / (1 - pull), tau = pull / eta.

    Args:
        learning_rate: eta, above 0; a number or one for each iteration, shape (iterations,).
        pull: eta tau, share of the reference policy in the mixture, in (0, 1]; alike.
        ranker: how a preference pair comes about, see `apo_sim.preferences`.

    Raises:
        InvalidArgument: a step or a pull out of range, something that is not a ranker.

    Source: Munos et al. (2023), "Nash learning from human feedback", section 5.

    Example:
        >>> import apo_sim as apo, jax.numpy as jnp
        >>> game = apo.Game(jnp.array([[[0.5, 0.9], [0.1, 0.5]]]), jnp.log(jnp.full((1, 2), 0.5)))
        >>> solution = apo.solve(game, NashMD(learning_rate=1.0, pull=0.1), iterations=50)
        >>> [round(float(p), 3) for p in jnp.exp(solution.final_log_policy[0])]
        [0.982, 0.018]
    """

    learning_rate: float | Float[Array, "..."] = 1.0
    pull: float | Float[Array, "..."] = 0.1
    ranker: Ranker = Pairwise()

    schedules: ClassVar[dict[str, Real]] = {"learning_rate": POSITIVE, "pull": PULL}

    def step(
        self, problem: Problem, state: Any, data: Population | Counts, t: Int[Array, ""]
    ) -> tuple[Any, Report]:
        _, mixture = state
        dtype = mixture.dtype
        eta = at(self.learning_rate, t, dtype)
        log_policy = jax.nn.log_softmax(mixture + eta * win_rates(data), axis=1)
        # The pull of the next iteration; the last of a schedule serves after the end.
        pull = at(self.pull, t + 1, dtype)
        log_ref = jax.nn.log_softmax(problem.log_ref, axis=1)
        mixed = jax.nn.log_softmax((1.0 - pull) * log_policy + pull * log_ref, axis=1)
        return (log_policy, mixed), Report()

    def behaviour(self, state: Any) -> LogPolicy:
        """log of the mixture, which both responses of the next pairs come from."""
        return state[1]
