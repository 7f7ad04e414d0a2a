"""The box that rewards are kept in: which arms its walls hold, and the way back into it."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from apo_sim.proximal.forces import Forces
from apo_sim.proximal.groups import Groups, largest

Scores = Float[Array, "arms batch"]
Arms = Bool[Array, "arms batch"]
Wall = Float[Array, " batch"]


class Held(NamedTuple):
    """Arms that a wall keeps from going where they are pushed.

    Attributes:
        top: at the upper wall.
        bottom: at the lower wall.
    """

    top: Arms
    bottom: Arms

    @property
    def either(self) -> Arms:
        """At one of them."""
        return self.top | self.bottom


def held_by_walls(rewards: Scores, wall: Wall, acting: Forces) -> Held:
    """Arms at a wall that the forces on them do not surely push inward.

    Example:
        >>> one = jnp.ones((1, 1))
        >>> acting = Forces(one, 0.1 * one, 0.1 * one, jnp.ones((1, 1, 1)), one)
        >>> bool(held_by_walls(one, jnp.ones(1), acting).top[0, 0])
        True
    """
    seen = acting.curvature > 0
    top = (rewards >= wall) & (acting.net >= -acting.error) & seen
    bottom = (rewards <= -wall) & (acting.net <= acting.error) & seen
    return Held(top, bottom)


def into_box(target: Scores, groups: Groups, pinned: Scores, wall: Wall, held: Held) -> Scores:
    """Shift every group of linked arms to where the box cuts least off it, and cut.

    A group that is held stays, unless it can be centred; one with pinned arms at one wall only
    spreads to the other.

    Args:
        target: where the arms would go.
        groups: who is linked with whom.
        pinned: 1 for arms that belong on the upper wall, -1 for the lower one, else 0.
        wall: half of the side of the box.
        held: which arms its walls hold.

    Example:
        >>> pair = Groups(jnp.zeros((2, 1), int), jnp.ones(1, bool))
        >>> free, target = jnp.zeros((2, 1), bool), jnp.array([[1.0], [3.0]])
        >>> into_box(target, pair, jnp.zeros((2, 1)), jnp.ones(1), Held(free, free)).tolist()
        [[-1.0], [1.0]]
    """
    loose = pinned == 0
    high, minus_low, at_top, at_bottom, pinned_top, pinned_bottom = largest(
        groups,
        jnp.where(loose, target, -jnp.inf),
        jnp.where(loose, -target, -jnp.inf),
        held.top.astype(target.dtype),
        held.bottom.astype(target.dtype),
        (pinned > 0).astype(target.dtype),
        (pinned < 0).astype(target.dtype),
    )
    low = -minus_low
    at_top, at_bottom, pinned_top, pinned_bottom = (
        flag > 0 for flag in (at_top, at_bottom, pinned_top, pinned_bottom)
    )
    fits = high - low <= 2.0 * wall
    free = jnp.clip(0.0, low + wall, high - wall)
    shift = jnp.where(fits, 0.5 * (high + low), jnp.where(at_top | at_bottom, 0.0, free))
    shift = jnp.where(pinned_top, jnp.maximum(low + wall, 0.0), shift)
    shift = jnp.where(pinned_bottom, jnp.minimum(high - wall, 0.0), shift)
    stays = (at_top & at_bottom) | (pinned_top & pinned_bottom)
    stays |= (pinned_top & at_bottom) | (pinned_bottom & at_top)
    shift = jnp.where(stays | ~jnp.isfinite(shift), 0.0, shift)
    return jnp.where(loose, jnp.clip(target - shift, -wall, wall), pinned * wall)
