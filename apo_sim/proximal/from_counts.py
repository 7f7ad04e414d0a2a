"""The proximal step's reward for sampled preferences: the minimiser for given win counts."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from apo_sim.branches import if_any, in_one_row
from apo_sim.checks import NUMBER, POSITIVE, Real, checked, concrete, optional
from apo_sim.errors import InvalidArgument
from apo_sim.geometry import KL, Geometry
from apo_sim.geometry.bregman import GEOMETRY
from apo_sim.losses import BringsEmpiricalMinimiser, Loss
from apo_sim.losses.loss import as_loss, widest_range
from apo_sim.problems import LogPolicy, as_log_policy
from apo_sim.proximal.forces import Comparisons
from apo_sim.proximal.groups import Groups, groups_of
from apo_sim.proximal.newton import minimise
from apo_sim.pytree import boxed, unboxed

SAMPLED_REWARD_BOUND = 2.0
"""R where none is asked for: rewards in [-1, 1] give |beta log pi/pi_t| up to 2, so it is the
least R under which Assumption 4.3 leaves every such reward realisable."""

# Bytes that one array of pairs may have, to stay in the cache.
_CACHE = 2**17
# Problems side by side pay from so many on, and up to so many.
_SHORTEST, _LONGEST = 16, 64
# From so many arms on steps are found by products.
_MANY_ARMS = 24
_COUNTS = Real(
    "must be counts",
    lambda wins: (wins >= 0) & (wins <= 2.0**53),
    "pass numbers from 0 to 2^53",
    shape=(None, None, None),
)


def _block(arms: int) -> int:
    """Problems solved at a time.

    Every program works on blocks of this one size: another size would be compiled to other
    instructions, and the last bit would depend on how many problems there are.
    """
    fit = _CACHE // (8 * arms**2)
    # So large a problem fills the processor's vectors by itself.
    return min(1 << (fit.bit_length() - 1), _LONGEST) if fit >= _SHORTEST else 1


@checked(
    loss=as_loss,
    wins=_COUNTS,
    beta=POSITIVE.one(),
    reward_bound=POSITIVE.one(),
    geometry=GEOMETRY,
    dual=optional(NUMBER),
)
def rewards_from_counts(
    loss: Loss,
    wins: Float[Array, "contexts arms arms"],
    log_policy: LogPolicy,
    beta: Float[Array, ""],
    reward_bound: Float[Array, ""],
    geometry: Geometry = KL(),
    dual: Float[Array, "contexts arms"] | None = None,
) -> tuple[Float[Array, "contexts arms"], Float[Array, ""]]:
    """The reward r_t that a loss learns from win counts, in every context.

    Assumption 4.3 bounds |beta log pi/pi_t| by R. Its upper half is not convex in r; the convex
    set that both halves imply, max r - min r <= 2 R in each context, is used instead. Of all
    minimisers the one nearest to the proximal centre is returned: groups of arms that were never
    compared with each other keep their share of the probability, and an arm never compared keeps
    its own, r = 0 exactly.

    Args:
        loss: any loss; it may bring its own minimiser.
        wins: wins[x, i, j] counts how often i beat j, shape (contexts, arms, arms).
        log_policy: the proximal centre, shape (contexts, arms).
        beta: proximal weight.
        reward_bound: R.
        geometry: in which an arm keeps its share of the probability.
        dual: dual coordinates of the centre, normalised; None: those of `log_policy`.

    Returns:
        r, for KL beta log(pi_hat/pi_t), and the largest residual of the solver: below 1e-6 the
        differences of r within a group are right to about its square.

    Source: the paper's step (3.1) under Assumption 4.3; the choice among minimisers is ours.

    Example:
        >>> import jax.numpy as jnp
        >>> from apo_sim import DPO
        >>> wins = jnp.array([[[0.0, 3.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0]]])
        >>> uniform = jnp.log(jnp.full((1, 3), 1 / 3))
        >>> r, _ = rewards_from_counts(DPO(), wins, uniform, jnp.array(1.0), jnp.array(2.0))
        >>> round(float(jnp.exp(r[0, 0] - r[0, 1])), 4), abs(float(r[0, 2])) < 1e-6
        (3.0, True)
    """
    if wins.shape[1] != wins.shape[2]:
        raise InvalidArgument("wins", wins, "is not square in its arms", "pass (X, K, K)")
    log_policy = as_log_policy("log_policy", log_policy, wins.shape[:2])
    if dual is None:
        dual = geometry.dual(log_policy)
    elif dual.shape != log_policy.shape:
        raise InvalidArgument(
            "dual", dual, f"is not of the shape of the policy, {log_policy.shape}", "leave it out"
        )
    rewards, residual = _minimiser(loss, wins, geometry, dual, beta, reward_bound)
    # Counts that are no numbers link nobody, and would pass for no data.
    known = jnp.isfinite(jnp.sum(wins, axis=(1, 2)))
    return jnp.where(known[:, None], rewards, jnp.nan), residual


def _minimiser(loss: Any, wins: Array, geometry: Any, dual: Array, beta: Array, bound: Array):
    if isinstance(loss, BringsEmpiricalMinimiser):
        rewards, seen = jax.vmap(loss.empirical_rewards, (0, None))(wins, bound)
        # An arm never drawn gets the value that leaves its probability where it was.
        neutral = geometry.shift(dual, rewards, beta, seen)
        neutral = jnp.where(jnp.any(seen, axis=1), neutral, 0.0)
        return jnp.where(seen, rewards, neutral[:, None]), jnp.zeros((), rewards.dtype)
    contexts = wins.shape[0]
    betas, bounds = (
        jnp.broadcast_to(jnp.asarray(number, wins.dtype), (contexts,)) for number in (beta, bound)
    )
    solve = _side_by_side(_may_be_wide(bound, wins.dtype))
    rewards, label, whole, residual = solve(boxed(loss, "loss"), wins, bounds)
    groups = Groups(label.T, whole)
    # Not within the blocks: a geometry may have numbers of its own for every context.
    kept = _nearest_to_centre(geometry, rewards.T, groups, dual.T, betas, bounds)
    return kept.T, jnp.max(residual)


def _may_be_wide(bound: Any, dtype: Any) -> bool:
    """Whether rewards may be so far apart that another program is wanted for them."""
    known = concrete(bound)
    return known is None or bool(2.0 * known >= widest_range(dtype))


@functools.cache
def _side_by_side(wide: bool) -> Callable[..., tuple[Array, ...]]:
    """What solves a row of problems. Under jax.vmap they join it, however they are nested."""
    solve = jax.custom_batching.custom_vmap(functools.partial(_solve, wide))

    @solve.def_vmap
    def join(axis_size: int, in_batched: Any, box: Any, *arrays: Array):
        if any(jax.tree.leaves(in_batched[0])):  # a loss whose parameters differ between problems
            axes = jax.tree.map(lambda yes: 0 if yes else None, tuple(in_batched))
            return jax.vmap(functools.partial(_solve, wide), axes)(box, *arrays), (True,) * 4
        found = solve(box, *in_one_row(axis_size, in_batched[1:], arrays))
        apart = tuple(part.reshape(axis_size, -1, *part.shape[1:]) for part in found)
        return apart, (True,) * 4

    return solve


def _solve(wide: bool, box: Any, wins: Array, bounds: Array):
    """Rewards, groups and residual of every context, in blocks that stay in the cache."""
    contexts = wins.shape[0]
    block = _block(wins.shape[1])
    blocks = -(-contexts // block)

    def cut(array):
        # The last problem is repeated to fill up its block.
        padding = [(0, blocks * block - contexts)] + [(0, 0)] * (array.ndim - 1)
        return jnp.pad(array, padding, mode="edge").reshape(blocks, block, *array.shape[1:])

    loss = unboxed(box)
    solve = functools.partial(_solve_block, loss, wide)
    found = jax.lax.map(lambda block: solve(*block), (cut(wins), cut(bounds)))
    return tuple(part.reshape(-1, *part.shape[2:])[:contexts] for part in found)


def _solve_block(loss: Any, wide: bool, wins: Array, bounds: Array):
    # Ties of an arm with itself carry no information about differences.
    arms = wins.shape[1]
    lost = jnp.moveaxis(wins * ~jnp.eye(arms, dtype=bool), 0, -1)
    won = jnp.swapaxes(lost, 0, 1)
    met = won + lost
    groups = groups_of(met > 0)
    # A power of two, so that dividing by it rounds nothing.
    most = jnp.max(met, axis=0)
    unit = jnp.exp2(-jnp.floor(jnp.log2(jnp.where(most > 0, most, 1.0))))
    data = Comparisons(won, lost, unit[None])
    many = arms >= _MANY_ARMS
    rewards, residual = minimise(loss, data, groups, bounds, by_products=many, wide=wide)
    return rewards.T, groups.label.T, groups.whole, residual


def _nearest_to_centre(
    geometry: Any,
    rewards: Float[Array, "arms contexts"],
    groups: Groups,
    dual: Float[Array, "arms contexts"],
    beta: Float[Array, " contexts"],
    reward_bound: Float[Array, " contexts"],
) -> Float[Array, "arms contexts"]:
    """Shift every group of linked arms so that its probability stays what it was.

    Under KL that is the minimiser nearest in KL(pi_t || pi), up to the bound on the overall range:
    where the shifts would break it, each group moves as little as the common window allows.
    """
    together = rewards - geometry.shift(dual, rewards, beta, axis=-2)

    def apart(rewards, groups, together, dual, beta, reward_bound):
        linked = groups.linked
        kept = rewards - geometry.shift(dual[None], rewards[None], beta, linked, axis=-2)
        middle = 0.5 * (jnp.max(kept, axis=0) + jnp.min(kept, axis=0))
        highest = jnp.max(jnp.where(linked, kept[None], -jnp.inf), axis=1)
        lowest = jnp.min(jnp.where(linked, kept[None], jnp.inf), axis=1)
        down = jnp.maximum(highest - (middle + reward_bound), 0.0)
        up = jnp.maximum((middle - reward_bound) - lowest, 0.0)
        return jnp.where(groups.whole, together, kept - down + up)

    arrays = rewards, groups, together, dual, beta, reward_bound
    return if_any(~groups.whole, apart, together, *arrays)
