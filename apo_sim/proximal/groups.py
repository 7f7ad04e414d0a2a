"""Groups of arms that a chain of comparisons links: data say nothing across them.

Arrays carry the arms first and the batch last, as everywhere in the solver.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

Links = Bool[Array, "arms arms batch"]
Scores = Float[Array, "arms batch"]


class Groups(NamedTuple):
    """Who belongs together.

    Attributes:
        label: of the group of every arm, the number of an arm in it.
        whole: whether all arms of a problem are one group. Where that is so in all problems, as
            it usually is, what is asked of a group costs the arms, not their square.
    """

    label: Int[Array, "arms batch"]
    whole: Bool[Array, " batch"]

    @property
    def linked(self) -> Links:
        """Whether two arms are in one group; every arm is in one with itself."""
        return self.label[:, None] == self.label


def groups_of(met: Links) -> Groups:
    """The groups that comparisons make.

    Example:
        >>> met = jnp.zeros((3, 3, 1), bool).at[0, 1].set(True).at[1, 0].set(True)
        >>> groups_of(met).linked[:, :, 0].astype(int).tolist()
        [[1, 1, 0], [1, 1, 0], [0, 0, 1]]
    """
    arms, _, batch = met.shape
    names = jnp.broadcast_to(jnp.arange(arms)[:, None], (arms, batch))
    # An arm that met all others makes one group of them.
    rivals = jnp.sum(met & ~jnp.eye(arms, dtype=bool)[..., None], axis=0)
    names = jnp.where(jnp.any(rivals == arms - 1, axis=0), 0, names)

    def spread(state):
        names, _ = state
        lowest = jnp.min(jnp.where(met, names[:, None], arms), axis=0)
        new = jnp.minimum(names, lowest)
        return new, jnp.any(new != names)

    unsettled = jnp.any(names > 0)
    names, _ = jax.lax.while_loop(lambda state: state[1], spread, (names, unsettled))
    return Groups(names, jnp.all(names == 0, axis=0))


def largest(groups: Groups, *values: Scores) -> tuple[Scores, ...]:
    """The largest of each of several values in the group of every arm.

    Example:
        >>> pair = Groups(jnp.zeros((2, 1), int), jnp.ones(1, bool))
        >>> largest(pair, jnp.array([[1.0], [3.0]]))[0].tolist()
        [[3.0], [3.0]]
    """
    stacked = jnp.stack(values)

    def of_all():
        return jnp.broadcast_to(jnp.max(stacked, axis=1, keepdims=True), stacked.shape)

    def of_linked():
        return jnp.max(jnp.where(groups.linked, stacked[:, :, None], -jnp.inf), axis=1)

    return tuple(jax.lax.cond(jnp.all(groups.whole), of_all, of_linked))
