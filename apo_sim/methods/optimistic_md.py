"""Optimistic mirror descent: a step that expects the last change of the win rates once more."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from apo_sim.checks import POSITIVE, Real
from apo_sim.methods._on_win_rates import OnWinRates
from apo_sim.methods._schedules import at
from apo_sim.methods.method import Report
from apo_sim.preferences import Counts, Pairwise, Population, Ranker, win_rates
from apo_sim.problems import LogPolicy, Problem
from apo_sim.pytree import pytree_dataclass


@pytree_dataclass
class OptimisticMD(OnWinRates):
    """pi_{t+1} ~ pi_t exp(eta (2 q_t - q_{t-1})), with q_t = P(. > pi_t) and q_{-1} = q_0.

    Optimistic multiplicative weights: no price on leaving the reference, which is only where it
    starts. With one step length it is the same as two sequences, hat_{t+1} ~ hat_t exp(eta q_t) and
    pi_{t+1} ~ hat_{t+1} exp(eta q_t). The average of pi_1 ... pi_T is exploitable by at most
    log(1 / p_min) / (eta T) for eta <= 1 / sqrt(2), p_min the smallest probability at the start;
    for small steps the last policy goes to an equilibrium, too.

    Args:
        learning_rate: eta, above 0; a number or one for each iteration, shape (iterations,).
        ranker: how a preference pair comes about, see `apo_sim.preferences`.

    Raises:
        InvalidArgument: a step not above 0, something that is not a ranker.

    Source: Daskalakis and Panageas (2019), "Last-iterate convergence: zero-sum games and
        constrained min-max optimization"; the bound is ours, after Syrgkanis et al. (2015), with
        win rates that are Lipschitz with constant 1/2.

    Example:
        >>> import apo_sim as apo
        >>> start = jnp.log(jnp.array([[0.6, 0.3, 0.1]]))
        >>> game = apo.families.rock_paper_scissors(0.9, log_ref=start)
        >>> solution = apo.solve(game, OptimisticMD(learning_rate=1.0), iterations=300)
        >>> [round(float(p), 3) for p in jnp.exp(solution.final_log_policy[0])]
        [0.333, 0.333, 0.333]
    """

    learning_rate: float | Float[Array, "..."] = 0.5
    ranker: Ranker = Pairwise()

    schedules: ClassVar[dict[str, Real]] = {"learning_rate": POSITIVE}

    def init(self, problem: Problem, key: Key[Array, ""] | None) -> Any:
        log_ref = super().init(problem, key)
        return log_ref, jnp.zeros_like(log_ref)

    def step(
        self, problem: Problem, state: Any, data: Population | Counts, t: Int[Array, ""]
    ) -> tuple[Any, Report]:
        log_policy, last = state
        rates = win_rates(data)
        change = jnp.where(t == 0, 0.0, rates - last)
        eta = at(self.learning_rate, t, log_policy.dtype)
        log_policy = jax.nn.log_softmax(log_policy + eta * (rates + change), axis=1)
        return (log_policy, rates), Report()

    def policy(self, state: Any) -> LogPolicy:
        return state[0]

    def moved(self, state: Any, log_policy: LogPolicy) -> Any:
        """The state with another policy in its place, see `Movable`."""
        return (log_policy, state[1])
