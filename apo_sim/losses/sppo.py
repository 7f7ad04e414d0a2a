"""Self-play preference optimisation."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from apo_sim.losses.loss import Extra
from apo_sim.problems import LogPolicy, Problem
from apo_sim.pytree import pytree_dataclass

_BISECTIONS = 60


@pytree_dataclass
class SPPO:
    """The loss (h_winner - 1 + b)^2 / 2 + (h_loser + b)^2 / 2, with b = beta log Z.

    Source: the paper's Example 3.2 (Wu et al. 2024). Every response is regressed on whether it
    won, so the population minimiser is P(y > proximal centre). The paper writes log Z, but its own
    definitions require beta log Z: only then is h = P - b normalised.

    Example:
        >>> import jax.numpy as jnp
        >>> float(SPPO()(jnp.array(1.0), jnp.array(0.5), Extra()))
        0.125
    """

    def __call__(
        self, h_winner: Float[Array, "..."], h_loser: Float[Array, "..."], extra: Extra
    ) -> Float[Array, "..."]:
        won = h_winner - 1.0 + extra.log_normalizer
        lost = h_loser + extra.log_normalizer
        return 0.5 * (won**2 + lost**2)

    def population_rewards(
        self, problem: Problem, log_policy: LogPolicy
    ) -> Float[Array, "contexts arms"]:
        """P(y > policy)."""
        return problem.win_rate(log_policy)

    def population_loss(
        self,
        scores: Float[Array, "contexts arms"],
        policy: Float[Array, "contexts arms"],
        win_rate: Float[Array, "contexts arms"],
        extra: Extra,
    ) -> Float[Array, " contexts"]:
        """Mean over all pairs: every arm on its own wins and loses so often."""
        shifted = scores + extra.log_normalizer
        values = win_rate * (shifted - 1.0) ** 2 + (1.0 - win_rate) * shifted**2
        return jnp.sum(policy * values, axis=1)

    def empirical_rewards(
        self, wins: Float[Array, "arms arms"], reward_bound: Float[Array, ""]
    ) -> tuple[Float[Array, " arms"], Bool[Array, " arms"]]:
        """The share of its comparisons that each arm won, kept within a range of 2R.

        Every arm that was drawn is seen; the others are at 0.
        """
        won, lost = wins.sum(axis=1), wins.sum(axis=0)
        drawn = won + lost
        seen = drawn > 0
        share = _clip_to_range(won / jnp.where(seen, drawn, 1.0), drawn, 2.0 * reward_bound)
        return jnp.where(seen, share, 0.0), seen


def _clip_to_range(
    target: Float[Array, " arms"], weight: Float[Array, " arms"], width: Float[Array, ""]
) -> Float[Array, " arms"]:
    """The vector nearest to `target` in weighted least squares whose range is at most `width`.

    It is `target` clipped to a window; where the window sits is a monotone root in one number.
    """

    def halve(_, bracket):
        low, high = bracket
        middle = 0.5 * (low + high)
        pull = jnp.sum(weight * (jnp.clip(target, middle, middle + width) - target))
        return jnp.where(pull < 0, middle, low), jnp.where(pull < 0, high, middle)

    low, high = jax.lax.fori_loop(0, _BISECTIONS, halve, (jnp.min(target) - width, jnp.max(target)))
    start = 0.5 * (low + high)
    wide_enough = jnp.max(target) - jnp.min(target) <= width
    return jnp.where(wide_enough, target, jnp.clip(target, start, start + width))
