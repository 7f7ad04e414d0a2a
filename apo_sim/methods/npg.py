"""The natural policy gradient of a softmax policy on a table."""

from typing import Any, ClassVar

import jax
from jaxtyping import Array, Float, Int

from apo_sim.checks import POSITIVE, Real
from apo_sim.methods._on_rewards import OnRewards
from apo_sim.methods._schedules import at
from apo_sim.methods.reward_sources import RewardSource, TrueReward
from apo_sim.preferences.scored import Scored
from apo_sim.problems import LogPolicy, Problem
from apo_sim.pytree import pytree_dataclass


@pytree_dataclass
class NPG(OnRewards):
    """pi_{t+1} ~ pi_t exp(eta A_t), with A_t the reward minus its mean over what was drawn.

    It is mirror descent, and with the true reward exact iterative DPO at beta = 1 / eta. An arm of
    unknown reward moves as one of the mean reward would.

    Args:
        learning_rate: eta, above 0; a number or one for each iteration, shape (iterations,).
        source: of the reward, see `apo_sim.methods.reward_sources`.

    Raises:
        InvalidArgument: a step out of range, something that is not a reward source.

    Source: Kakade (2001), "A natural policy gradient"; the softmax form is Agarwal et al. (2021),
        "On the theory of policy gradient methods", at discount 0.

    Example:
        >>> import apo_sim as apo, jax.numpy as jnp
        >>> bandit = apo.Bandit(jnp.array([[1.0, 0.0]]), jnp.log(jnp.array([[0.5, 0.5]])))
        >>> solution = apo.solve(bandit, NPG(learning_rate=1.0), iterations=3)
        >>> [round(float(gap), 3) for gap in solution.suboptimality]
        [0.269, 0.119, 0.047]
    """

    learning_rate: float | Float[Array, "..."] = 1.0
    source: RewardSource = TrueReward()

    schedules: ClassVar[dict[str, Real]] = {"learning_rate": POSITIVE}

    def _improve(
        self, problem: Problem, log_policy: LogPolicy, scored: Scored, data: Any, t: Int[Array, ""]
    ) -> LogPolicy:
        eta = at(self.learning_rate, t, log_policy.dtype)
        return jax.nn.log_softmax(log_policy + eta * scored.advantage, axis=1)
