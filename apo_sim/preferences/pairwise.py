"""Two independent responses, labelled at random by their preference."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from apo_sim.preferences.drawing import responses
from apo_sim.preferences.ranked_pairs import Cells, Listed
from apo_sim.preferences.samplers import SAMPLER, FromPolicy, Sampler
from apo_sim.problems import Bandit, LogPolicy, Problem
from apo_sim.pytree import pytree_dataclass


@pytree_dataclass
class Pairwise:
    """Two independent responses, the winner drawn from the preference P.

    With samplers p and q, i beats j in a share (p_i q_j + p_j q_i) P(i, j) of the pairs, and i
    meets itself in p_i q_i. An arm that is drawn twice ties with itself: the pair counts among the
    N pairs but carries no information about differences.

    Args:
        first: the sampler of one response, see `apo_sim.preferences.samplers`.
        second: the sampler of the other response.

    Raises:
        InvalidArgument: something that is not a sampler.

    Source: the paper's Algorithm 1, which draws both from the policy in training.

    Example:
        >>> import jax.numpy as jnp
        >>> from apo_sim import Bandit
        >>> bandit = Bandit(jnp.array([[0.5, 0.5]]), jnp.log(jnp.array([[0.5, 0.5]])))
        >>> Pairwise().cells(bandit, bandit.log_ref).tolist()
        [[[0.25, 0.25], [0.25, 0.25]]]
    """

    first: Sampler = FromPolicy()
    second: Sampler = FromPolicy()

    def __post_init__(self) -> None:
        SAMPLER("first", self.first)
        SAMPLER("second", self.second)

    def cells(self, problem: Problem, log_policy: LogPolicy) -> Cells:
        # A pair can be drawn in two orders, so P(i, j) is met twice; with itself an arm has
        # P = 1/2, and the same two orders make the cell p_i q_i.
        first, second = self._laws(problem, log_policy)
        p = jnp.exp(first)
        if first is second:
            both_orders = 2.0 * (p[:, :, None] * p[:, None, :])
        else:
            drawn = p[:, :, None] * jnp.exp(second)[:, None, :]
            both_orders = drawn + jnp.swapaxes(drawn, 1, 2)
        return both_orders * problem.preference

    def pairs(
        self, key: Key[Array, ""], problem: Problem, log_policy: LogPolicy, samples: int
    ) -> Listed:
        to_responses, to_winner = jax.random.split(key)
        laws = self._laws(problem, log_policy)
        one_law = laws[0] is laws[1]
        context, (first, second) = responses(
            to_responses, problem, laws[:1] if one_law else laws, samples, 2 if one_law else 1
        )
        if isinstance(problem, Bandit):
            lead = problem.reward[context, first] - problem.reward[context, second]
            chance = jax.nn.sigmoid(lead)
        else:
            chance = problem.preference[context, first, second]
        wins = jax.random.uniform(to_winner, chance.shape, chance.dtype) < chance
        return context, jnp.where(wins, first, second), jnp.where(wins, second, first)

    def _laws(self, problem: Problem, log_policy: LogPolicy) -> tuple[LogPolicy, LogPolicy]:
        """Of both responses; one object where they are one law, which makes half of the work."""
        first = self.first.log_probs(problem, log_policy)
        second = self.second.log_probs(problem, log_policy)
        return first, second
