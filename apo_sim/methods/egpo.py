"""Extragradient preference optimisation: a look ahead, and then the step from where one stood."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
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
class EGPO(TwoPolicies, OnWinRates):
    """pi_{t+1} ~ pi_t^(1 - pull) pi_ref^pull exp(eta P(. > half_t)), a step as `INPO`'s to half_t.

    That is, half_t ~ pi_t^(1 - pull) pi_ref^pull exp(eta P(. > pi_t)). One full step of the paper
    needs data of two policies, and here an iteration is one draw of data: iterations 0, 2, 4, ...
    make the half steps and iterations 1, 3, 5, ... the full ones. The policy that is judged moves
    in the full ones only; the behaviour policy is pi_t and half_t in turn. So T iterations are
    T / 2 full steps, at the same cost in labels as T iterations of any other method.

    It goes to the equilibrium of the game in which either player pays b KL(policy, pi_ref),
    b = pull / eta: KL(equilibrium, pi_t) <= (1 - pull)^t times that at the start, t full steps
    later, if eta <= 1 / (b + 3), which is pull + 3 eta <= 1.

    Args:
        learning_rate: eta, above 0; a number or one for each iteration, shape (iterations,).
        pull: eta b, weight of the reference policy, in (0, 1]; alike.
        ranker: how a preference pair comes about, see `apo_sim.preferences`.

    Raises:
        InvalidArgument: a step or a pull out of range, something that is not a ranker.

    Source: Zhou, Fazel and Du (2025), "Extragradient preference optimization".

    Example:
        >>> import apo_sim as apo
        >>> game = apo.Game(jnp.array([[[0.5, 0.9], [0.1, 0.5]]]), jnp.log(jnp.full((1, 2), 0.5)))
        >>> solution = apo.solve(game, EGPO(learning_rate=0.3, pull=0.03), iterations=600)
        >>> [round(float(p), 3) for p in jnp.exp(solution.final_log_policy[0])]
        [0.982, 0.018]
    """

    learning_rate: float | Float[Array, "..."] = 0.3
    pull: float | Float[Array, "..."] = 0.03
    ranker: Ranker = Pairwise()

    schedules: ClassVar[dict[str, Real]] = {"learning_rate": POSITIVE, "pull": PULL}
    # Half steps and full ones take turns, so that no policy follows from the one before it.
    moved: ClassVar[None] = None  # pyright: ignore[reportIncompatibleMethodOverride]

    def step(
        self, problem: Problem, state: Any, data: Population | Counts, t: Int[Array, ""]
    ) -> tuple[Any, Report]:
        log_policy, _ = state
        eta, pull = at(self.learning_rate, t, log_policy.dtype), at(self.pull, t, log_policy.dtype)
        log_ref = jax.nn.log_softmax(problem.log_ref, axis=1)
        logits = (1.0 - pull) * log_policy + pull * log_ref + eta * win_rates(data)
        reached = jax.nn.log_softmax(logits, axis=1)
        # Either way the next data come from where this step has led.
        return (jnp.where(t % 2 == 0, log_policy, reached), reached), Report()

    def behaviour(self, state: Any) -> LogPolicy:
        """log pi_t before a half step, log half_t before a full one."""
        return state[1]
