"""Direct preference optimisation."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from apo_sim.losses.loss import Between, Extra
from apo_sim.problems import Bandit, LogPolicy, Problem
from apo_sim.pytree import pytree_dataclass

_PAIRS_AT_ONCE = 1 << 20


@pytree_dataclass
class DPO:
    """The logistic loss -log sigmoid(h_winner - h_loser).

    Source: the paper's Example 3.1 (Rafailov et al. 2023). Under Bradley-Terry preferences its
    population minimiser is the latent reward, whatever policy collected the data; in other games
    the minimiser has no closed form and is computed numerically.

    Example:
        >>> import jax.numpy as jnp
        >>> round(float(DPO()(jnp.array(2.0), jnp.array(2.0), Extra())), 4)
        0.6931
    """

    def __call__(
        self, h_winner: Float[Array, "..."], h_loser: Float[Array, "..."], extra: Extra
    ) -> Float[Array, "..."]:
        return jax.nn.softplus(h_loser - h_winner)

    def derivatives(self, difference: Array) -> tuple[Array, Array, Array]:
        """Value, slope and curvature from a single exponential."""
        decay = jnp.exp(-jnp.abs(difference))
        value = jnp.log1p(decay) + jnp.maximum(-difference, 0.0)
        tail = 1.0 / (1.0 + decay)
        slope = -jnp.where(difference > 0, decay, 1.0) * tail
        return value, slope, decay * tail * tail

    def derivatives_between(self, arm: Float[Array, "..."], rival: Float[Array, "..."]) -> Between:
        """From an exponential for each arm in place of one for each pair."""
        share = 1.0 / (arm + rival)
        won, lost = arm * share, rival * share
        return Between(-lost, -won, won * lost, won * lost)

    def population_loss(
        self,
        scores: Float[Array, "contexts arms"],
        policy: Float[Array, "contexts arms"],
        win_rate: Float[Array, "contexts arms"],
        extra: Extra,
    ) -> Float[Array, " contexts"]:
        """Mean over all pairs, from how the scores are spread and the pull of the wins.

        -log sigmoid(d) = log(2 cosh(d/2)) - d/2, and the first term asks for no preferences.
        """
        del extra
        pull = jnp.sum(policy * (2.0 * win_rate - 1.0) * scores, axis=1)
        return jax.vmap(_spread)(scores, policy) - pull

    def population_rewards(
        self, problem: Problem, log_policy: LogPolicy
    ) -> Float[Array, "contexts arms"] | None:
        """The latent reward of a bandit; None for a game."""
        del log_policy
        return problem.reward if isinstance(problem, Bandit) else None


@jax.custom_vjp
def _spread(scores: Float[Array, " arms"], policy: Float[Array, " arms"]) -> Float[Array, ""]:
    """E log(2 cosh((h - h')/2)) over two independent draws."""
    return policy @ _mean_over_rivals(_log_two_cosh, scores, policy)


def _spread_forward(scores: Array, policy: Array) -> tuple[Array, tuple[Array, Array]]:
    return _spread(scores, policy), (scores, policy)


def _spread_backward(kept: tuple[Array, Array], slope: Array) -> tuple[Array, None]:
    scores, policy = kept
    lead = _mean_over_rivals(lambda d: jnp.tanh(0.5 * d), scores, policy)
    return slope * policy * lead, None


_spread.defvjp(_spread_forward, _spread_backward)


def _log_two_cosh(d: Array) -> Array:
    return 0.5 * jnp.abs(d) + jnp.log1p(jnp.exp(-jnp.abs(d)))


def _mean_over_rivals(function: Callable[[Array], Array], scores: Array, policy: Array) -> Array:
    """E function(h - h') for every h, over draws of h', some of the pairs at a time."""
    rows = max(1, _PAIRS_AT_ONCE // scores.size)
    if scores.size <= rows:
        # A product with the policy would keep XLA from vectorising over the pairs.
        return jnp.sum(function(scores[:, None] - scores[None, :]) * policy, axis=1)
    return jax.lax.map(lambda h: function(h - scores) @ policy, scores, batch_size=rows)
