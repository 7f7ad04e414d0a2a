"""Iterative Nash policy optimisation: Nash mirror descent against oneself."""

from typing import ClassVar

import jax
from jaxtyping import Array, Float, Int

from apo_sim.checks import POSITIVE, Real
from apo_sim.methods._on_win_rates import PULL, OnWinRates
from apo_sim.methods._schedules import at
from apo_sim.methods.method import Report
from apo_sim.preferences import Counts, Pairwise, Population, Ranker, win_rates
from apo_sim.problems import LogPolicy, Problem
from apo_sim.pytree import pytree_dataclass


@pytree_dataclass
class INPO(OnWinRates):
    """pi_{t+1} ~ pi_t^(1 - pull) pi_ref^pull exp(eta P(. > pi_t)).

    `NashMD` with another opponent: the policy itself in place of its mixture with the reference.
    So it stands still at the equilibrium of the game in which either player pays
    tau KL(policy, pi_ref), tau = pull / eta, whatever the step; and as it is `MagneticMD` in other
    parameters, KL(equilibrium, pi_t) falls by the factor 1 - pull an iteration wherever
    eta^2 <= 4 pull (1 - pull).

    Args:
        learning_rate: eta, above 0 (the paper's 1 / eta); a number or one for each iteration,
            shape (iterations,).
        pull: eta tau, weight of the reference policy, in (0, 1]; alike.
        ranker: how a preference pair comes about, see `apo_sim.preferences`.

    Raises:
        InvalidArgument: a step or a pull out of range, something that is not a ranker.

    Source: Zhang et al. (2024), "Iterative Nash policy optimization", its exact step; the factor
        is ours, from Theorem 3.4 of Sokota et al. (2023).

    Example:
        >>> import apo_sim as apo, jax.numpy as jnp
        >>> game = apo.Game(jnp.array([[[0.5, 0.9], [0.1, 0.5]]]), jnp.log(jnp.full((1, 2), 0.5)))
        >>> solution = apo.solve(game, INPO(learning_rate=1.0, pull=0.1), iterations=100)
        >>> [round(float(p), 3) for p in jnp.exp(solution.final_log_policy[0])]
        [0.982, 0.018]
    """

    learning_rate: float | Float[Array, "..."] = 1.0
    pull: float | Float[Array, "..."] = 0.1
    ranker: Ranker = Pairwise()

    schedules: ClassVar[dict[str, Real]] = {"learning_rate": POSITIVE, "pull": PULL}

    def step(
        self, problem: Problem, state: LogPolicy, data: Population | Counts, t: Int[Array, ""]
    ) -> tuple[LogPolicy, Report]:
        eta, pull = at(self.learning_rate, t, state.dtype), at(self.pull, t, state.dtype)
        log_ref = jax.nn.log_softmax(problem.log_ref, axis=1)
        logits = (1.0 - pull) * state + pull * log_ref + eta * win_rates(data)
        return jax.nn.log_softmax(logits, axis=1), Report()
