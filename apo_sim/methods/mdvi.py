"""Mirror descent value iteration in a bandit: policies that average their rewards."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from apo_sim.checks import NON_NEGATIVE, check_positive, check_single
from apo_sim.methods._on_rewards import OnRewards
from apo_sim.methods.reward_sources import RewardSource, TrueReward
from apo_sim.preferences.scored import Scored
from apo_sim.problems import LogPolicy, Problem
from apo_sim.pytree import pytree_dataclass


@pytree_dataclass
class MDVI(OnRewards):
    """pi_{t+1} = argmax <q_t, pi> - lambda KL(pi || pi_t) + tau H(pi).

    log pi_{t+1} = (lambda log pi_t + q_t) / (lambda + tau) up to a constant, q_t the reward that
    iteration t sees. With tau = 0 it is dual averaging, pi_{t+1} ~ pi_0 exp(sum of q / lambda);
    else rewards are averaged with weights that fall as (lambda / (lambda + tau))^age.

    Args:
        temperature: lambda, price of leaving the policy before, above 0.
        entropy: tau, weight of the entropy, at least 0.
        source: of the reward, see `apo_sim.methods.reward_sources`.

    Raises:
        InvalidArgument: a number out of its range, something that is not a reward source.

    Source: Vieillard et al. (2020), "Leverage the average", MD-VI(lambda, tau) at discount 0; they
        start from the uniform policy.

    Example:
        >>> import apo_sim as apo
        >>> bandit = apo.Bandit(jnp.array([[1.0, 0.0]]), jnp.log(jnp.array([[0.5, 0.5]])))
        >>> solution = apo.solve(bandit, MDVI(temperature=1.0, entropy=1.0), iterations=3)
        >>> [round(float(gap), 3) for gap in solution.suboptimality]
        [0.378, 0.321, 0.294]
    """

    temperature: float | Float[Array, ""] = 1.0
    entropy: float | Float[Array, ""] = 0.0
    source: RewardSource = TrueReward()

    def __post_init__(self) -> None:
        super().__post_init__()
        check_single("temperature", self.temperature, "pass one number above 0")
        check_positive("temperature", self.temperature)
        check_single("entropy", self.entropy, "pass one number, at least 0")
        NON_NEGATIVE.check("entropy", self.entropy)

    def _improve(
        self, problem: Problem, log_policy: LogPolicy, scored: Scored, data: Any, t: Int[Array, ""]
    ) -> LogPolicy:
        price, entropy = (
            jnp.asarray(number, log_policy.dtype) for number in (self.temperature, self.entropy)
        )
        total = price + entropy
        return jax.nn.log_softmax(price / total * log_policy + scored.advantage / total, axis=1)
