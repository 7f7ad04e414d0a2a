"""REBEL: regression of relative rewards on the log-ratios of pairs of responses."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from apo_sim.checks import POSITIVE, Real
from apo_sim.methods._on_rewards import OnRewards
from apo_sim.methods._schedules import at
from apo_sim.methods.reward_sources import RewardSource, TrueReward
from apo_sim.preferences import Counts
from apo_sim.preferences.scored import Scored
from apo_sim.problems import LogPolicy, Problem
from apo_sim.proximal.groups import groups_of
from apo_sim.pytree import pytree_dataclass


@pytree_dataclass
class REBEL(OnRewards):
    """argmin sum over pairs of (l(y) - l(y') - eta (r(y) - r(y')))^2, l = log pi / pi_t.

    A table brings the sum to 0: l = eta r up to a constant in every group of arms that the drawn
    pairs link. Of all minimisers it is the one nearest to pi_t, in which each group keeps its
    probability; an arm that was not drawn keeps its own. Where all arms are linked it is the step
    of `NPG`.

    Args:
        learning_rate: eta, above 0; a number or one for each iteration, shape (iterations,).
        source: of the reward, see `apo_sim.methods.reward_sources`. Single responses make a pair
            with every other one of their context.

    Raises:
        InvalidArgument: a step out of range, something that is not a reward source.

    Source: Gao et al. (2024), "REBEL: reinforcement learning via regressing relative rewards",
        Algorithm 1; the choice among minimisers is ours.

    Example:
        >>> import apo_sim as apo
        >>> bandit = apo.Bandit(jnp.array([[1.0, 0.0]]), jnp.log(jnp.array([[0.5, 0.5]])))
        >>> solution = apo.solve(bandit, REBEL(learning_rate=1.0), iterations=3)
        >>> [round(float(gap), 3) for gap in solution.suboptimality]
        [0.269, 0.119, 0.047]
    """

    learning_rate: float | Float[Array, "..."] = 1.0
    source: RewardSource = TrueReward()

    schedules: ClassVar[dict[str, Real]] = {"learning_rate": POSITIVE}

    def _improve(
        self, problem: Problem, log_policy: LogPolicy, scored: Scored, data: Any, t: Int[Array, ""]
    ) -> LogPolicy:
        moved = at(self.learning_rate, t, log_policy.dtype) * scored.advantage
        linked = _linked(data, scored)
        # The probability of the group of each arm, after the step and before it.
        after, before = (
            jax.nn.logsumexp(jnp.where(linked, scores[:, None, :], -jnp.inf), axis=2)
            for scores in (log_policy + moved, log_policy)
        )
        return jax.nn.log_softmax(log_policy + moved - (after - before), axis=1)


def _linked(data: Any, scored: Scored) -> Bool[Array, "contexts arms arms"]:
    """Whether two arms are linked by a chain of pairs; every arm is with itself."""
    arms = scored.reward.shape[1]
    itself = jnp.eye(arms, dtype=bool)[None]
    if isinstance(data, Counts):
        met = jnp.moveaxis(data.wins + jnp.swapaxes(data.wins, 1, 2) > 0, 0, -1)
        return jnp.moveaxis(groups_of(met).linked, -1, 0)
    # Single responses, or a law in which every pair has its chance.
    return itself | (scored.known[:, :, None] & scored.known[:, None, :])
