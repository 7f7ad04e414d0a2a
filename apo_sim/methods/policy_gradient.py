"""The policy gradient of a softmax policy on a table, with a baseline."""

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
class PolicyGradient(OnRewards):
    """theta_{t+1} = theta_t + eta f_t A_t on the logits theta of each context.

    f is the share of each arm in what was drawn, and A the reward minus its mean over that, so
    that the step is the score-function estimate of the gradient pi (r - E r) of the expected
    reward in the context. The mean contains the response that it is taken from: with the true
    reward the expected step from n responses is (1 - 1/n) of the exact one.

    Args:
        learning_rate: eta, above 0; a number or one for each iteration, shape (iterations,).
        source: of the reward, see `apo_sim.methods.reward_sources`; both responses of a pair must
            come from the policy.

    Raises:
        InvalidArgument: a step out of range, something that is not a reward source.

    Source: Williams (1992), "Simple statistical gradient-following algorithms"; for softmax bandits
        Mei et al. (2020), "On the global convergence rates of softmax policy gradient methods".

    Example:
        >>> import apo_sim as apo, jax.numpy as jnp
        >>> bandit = apo.Bandit(jnp.array([[1.0, 0.0]]), jnp.log(jnp.array([[0.5, 0.5]])))
        >>> solution = apo.solve(bandit, PolicyGradient(learning_rate=1.0), iterations=3)
        >>> [round(float(gap), 3) for gap in solution.suboptimality]
        [0.378, 0.275, 0.203]
    """

    learning_rate: float | Float[Array, "..."] = 1.0
    source: RewardSource = TrueReward()

    schedules: ClassVar[dict[str, Real]] = {"learning_rate": POSITIVE}
    needs_own_responses: ClassVar[bool] = True

    def _improve(
        self, problem: Problem, log_policy: LogPolicy, scored: Scored, data: Any, t: Int[Array, ""]
    ) -> LogPolicy:
        eta = at(self.learning_rate, t, log_policy.dtype)
        # Log-probabilities are logits, and a constant more or less changes nothing.
        return jax.nn.log_softmax(log_policy + eta * scored.share * scored.advantage, axis=1)
