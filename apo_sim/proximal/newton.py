"""Newton's method for convex losses of score differences, with the scores kept in a box.

Many small problems are solved side by side: arrays carry the arms first and the batch last,
because the batch is what the processor's vector lanes run over.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from apo_sim.losses import Loss, derivatives
from apo_sim.proximal.elimination import solve_flows

MAX_STEPS = 200

# Differences at which the growth of a loss's curvature is looked up.
_PROBES = 100.0 * np.sinh(np.linspace(-8.0, 8.0, 129)) / np.sinh(8.0)
# No step is longer than this many times R; a flat loss would ask for any length.
_LONGEST = 4.0
# Steps of this reach are taken whole: the length of the steps in which separable arms part is 1.
_TRUSTED = 1.1
# The first wall of the box and what it grows by, in units of the loss's own scale, and how short
# a step lets it grow.
_FIRST_WALL = 8.0
_GROWTH = 4.0
_CALM = 0.3
# Steps after which halving begins.
_PATIENCE = 40

Scores = Float[Array, "arms batch"]
Pairs = Float[Array, "arms arms batch"]
Links = Bool[Array, "arms arms batch"]
Held = Bool[Array, "arms batch"]


class Comparisons(NamedTuple):
    """How often arms met, and who won.

    An arm of probability 1e-200 obeys the same optimality condition as any other, so every arm's
    condition is stated in a unit of its own.

    Attributes:
        won: won[i, j] times the weight of the pair {i, j} is how often i beat j; the diagonal
            is not used.
        weight: weight[i, j] is the weight of the pair {i, j} in the unit of arm i,
            broadcastable to `won`.
    """

    won: Pairs
    weight: Float[Array, "#arms #arms batch"]


class _State(NamedTuple):
    rewards: Scores
    # Where the walls of the box are by now.
    wall: Float[Array, " batch"]
    # How far the last step went, infinite if it was cut short.
    moved: Float[Array, " batch"]
    done: Bool[Array, " batch"]
    step: Int[Array, ""]


class _Forces(NamedTuple):
    # What pushes each arm up, and what it can be wrong by: on its own, and as a share of the
    # sum over a group, in which the rounding of every pair cancels.
    net: Scores
    error: Scores
    error_in_group: Scores
    # How each arm yields to each other arm.
    rate: Pairs


class _Problem(NamedTuple):
    data: Comparisons
    linked: Links
    bound: Float[Array, " batch"]
    # Arms that never lost (1) or never won (-1) under a loss that asks for ever more.
    pinned: Scores
    # How fast the logarithm of the loss's curvature can change.
    growth: Float[Array, ""]


def minimise(
    loss: Loss, data: Comparisons, linked: Links, reward_bound: Float[Array, " batch"]
) -> tuple[Scores, Float[Array, " batch"]]:
    """Minimise sum_ij W_ij loss(r_i - r_j) over rewards with max r - min r <= 2 R.

    The loss sees differences only, so that set may be taken as the box [-R, R]. Each step is
    Newton's on the arms that no wall of the box holds back, shortened as the generalised
    self-concordance of the loss demands, and projected onto the box.

    Where the loss is so flat that moving a group of arms changes nothing that double precision
    can see, the group stays where it is.

    Args:
        loss: convex, a function of the difference of two scores.
        data: the comparisons of every problem.
        linked: which arms a chain of comparisons links, see `components`.
        reward_bound: R of every problem, finite.

    Returns:
        The rewards, known up to a constant in each group of linked arms, and the length of the
        last Newton step (infinite where `MAX_STEPS` were not enough).

    Source: ours; Bertsekas (1982) for the projection, Sun and Tran-Dinh (2019) for the length.

    Example:
        >>> from apo_sim.losses import DPO
        >>> data = Comparisons(jnp.array([[0.0, 3.0], [1.0, 0.0]])[..., None], jnp.ones((1, 1, 1)))
        >>> r, _ = minimise(DPO(), data, jnp.ones((2, 2, 1), bool), jnp.array([2.0]))
        >>> round(float(jnp.exp(r[0, 0] - r[1, 0])), 6)
        3.0
    """
    arms = linked.shape[0]
    others = ~jnp.eye(arms, dtype=bool)[..., None]
    data = Comparisons(jnp.where(others, data.won, 0.0), data.weight)
    pinned = _pinned(loss, data, reward_bound)
    problem = _Problem(data, linked, reward_bound, pinned, _curvature_growth(loss, pinned.dtype))
    wall = jnp.minimum(reward_bound, _FIRST_WALL / problem.growth)
    start = _State(
        pinned * wall,
        wall,
        jnp.full_like(wall, jnp.inf),
        jnp.zeros(wall.shape, bool),
        jnp.zeros((), int),
    )

    def unfinished(state: _State):
        return (state.step < MAX_STEPS) & ~jnp.all(state.done)

    def improve(state: _State) -> _State:
        new = _newton(loss, problem, state)
        kept = jax.tree.map(lambda old, new: jnp.where(state.done, old, new), state[:4], new[:4])
        return _State(*kept, step=state.step + 1)

    final = jax.lax.while_loop(unfinished, improve, start)
    return final.rewards, jnp.where(final.done, final.moved, jnp.inf)


def components(met: Links) -> Links:
    """Which arms are linked by a chain of comparisons; every arm is linked with itself.

    Example:
        >>> met = jnp.zeros((3, 3, 1), bool).at[0, 1].set(True).at[1, 0].set(True)
        >>> components(met)[:, :, 0].astype(int).tolist()
        [[1, 1, 0], [1, 1, 0], [0, 0, 1]]
    """
    arms, _, batch = met.shape
    names = jnp.broadcast_to(jnp.arange(arms)[:, None], (arms, batch))

    def spread(state):
        names, _ = state
        lowest = jnp.min(jnp.where(met, names[None], arms), axis=1)
        new = jnp.minimum(names, lowest)
        return new, jnp.any(new != names)

    names, _ = jax.lax.while_loop(lambda state: state[1], spread, (names, jnp.array(True)))
    return names[:, None] == names[None]


def _pinned(loss: Loss, data: Comparisons, reward_bound) -> Scores:
    """Arms that only ever won belong on the upper wall, arms that only ever lost on the lower."""
    won = jnp.any(data.won > 0, axis=1)
    lost = jnp.any(data.won > 0, axis=0)
    insatiable = derivatives(loss, 2.0 * reward_bound)[1] < 0
    return jnp.where(insatiable & (won != lost), jnp.where(won, 1.0, -1.0), 0.0).astype(
        data.won.dtype
    )


def _curvature_growth(loss: Loss, dtype) -> Float[Array, ""]:
    """The largest |d log loss''/dh| found: 1 for the logistic loss, 0 for the squared one."""
    probes = jnp.asarray(_PROBES, dtype)
    curvature = derivatives(loss, probes)[2]
    known = (curvature[1:] > 0) & (curvature[:-1] > 0)
    ratio = jnp.where(known, curvature[1:], 1.0) / jnp.where(known, curvature[:-1], 1.0)
    return jnp.max(jnp.abs(jnp.log(ratio)) / jnp.diff(probes))


def _newton(loss: Loss, problem: _Problem, state: _State) -> _State:
    """One step on the arms that no wall holds back."""
    rewards, wall = state.rewards, state.wall
    forces = _forces(loss, problem.data, rewards)
    top = (rewards >= wall) & (forces.net >= -forces.error)
    bottom = (rewards <= -wall) & (forces.net <= forces.error)
    held = (top | bottom) & jnp.any(forces.rate > 0, axis=1)

    # The box starts small and grows, taking along the arms at its walls: out there the logistic
    # loss is exponential, and a free arm would find its way at one unit a step.
    growing = (state.moved <= _CALM) & (wall < problem.bound)
    wall = jnp.where(growing, jnp.minimum(wall + _GROWTH / problem.growth, problem.bound), wall)
    pulled = jnp.where(held, jnp.where(top, wall, -wall) - rewards, 0.0)

    drawn = jnp.where(held[None], forces.rate, 0.0)
    anchor = jnp.where(held, 1.0, jnp.sum(drawn, axis=1))
    # An arm on which the loss has no curvature takes a plain gradient step.
    anchor = jnp.where(jnp.any(forces.rate > 0, axis=1), anchor, 1.0)
    free = jnp.where(held[None] | held[:, None], 0.0, forces.rate)
    force = jnp.where(held, pulled, forces.net + jnp.sum(drawn * pulled[None], axis=1))
    step = solve_flows(free, anchor, force, jnp.where(held, 0.0, forces.error_in_group))
    step = jnp.clip(step, -_LONGEST * wall, _LONGEST * wall)

    reach = problem.growth * (jnp.max(step, axis=0) - jnp.min(step, axis=0))
    cut = (reach > _TRUSTED) & ~growing
    length = jnp.where(cut, jnp.log1p(reach) / jnp.where(cut, reach, 1.0), 1.0)
    # Projected Newton steps may walk in a circle; now and then half a step leaves it.
    halved = (state.step > _PATIENCE) & (state.step % 4 == 0) & ~growing
    length = jnp.where(halved, 0.5, 1.0) * length
    new = _into_box(rewards + length * step, problem, wall, top & held, bottom & held)
    moved = jnp.max(jnp.abs(new - rewards), axis=0)
    moved = jnp.where(cut | halved, jnp.inf, moved)
    settled = (moved <= jnp.sqrt(jnp.finfo(rewards.dtype).eps)) & ~growing
    # A wall that nothing touches might as well be the last one.
    final = (wall >= problem.bound) | ~jnp.any(held, axis=0)
    return _State(new, wall, moved, settled & final, state.step)


def _forces(loss: Loss, data: Comparisons, rewards: Scores) -> _Forces:
    _, slope, curvature = derivatives(loss, rewards[:, None] - rewards[None, :])
    # What i feels from j must be exactly the opposite of what j feels from i, or rounding drowns
    # a link that is 1e-12 times weaker than its neighbours. Rounding the products by a bit keeps
    # the compiler from fusing them with the subtraction, which would round the two unlike.
    precision = jnp.finfo(rewards.dtype)
    push = jax.lax.reduce_precision(-data.won * slope, precision.nexp, precision.nmant - 1)
    pull, yields = jnp.swapaxes(push, 0, 1), data.won * curvature
    flow = data.weight * (push - pull)
    rate = data.weight * (yields + jnp.swapaxes(yields, 0, 1))
    rounding = 4.0 * precision.eps
    # The rewards are rounded, and so are the forces that they exert.
    blur = jnp.max(jnp.abs(rewards), axis=0) * rate
    error = jnp.sum(data.weight * (jnp.abs(push) + jnp.abs(pull)) + blur, axis=1)
    in_group = jnp.sum(jnp.abs(flow), axis=1)
    return _Forces(jnp.sum(flow, axis=1), rounding * error, rounding * in_group, rate)


def _into_box(target: Scores, problem: _Problem, wall, top: Held, bottom: Held) -> Scores:
    """Shift every group of linked arms to where the box cuts least off it, and cut.

    A group that is held stays, unless it can be centred; one with pinned arms at one wall only
    spreads to the other.
    """
    linked, pinned = problem.linked, problem.pinned
    loose = linked & (pinned == 0)[None]
    high = jnp.max(jnp.where(loose, target[None], -jnp.inf), axis=1)
    low = jnp.min(jnp.where(loose, target[None], jnp.inf), axis=1)
    at_top = jnp.any(linked & top[None], axis=1)
    at_bottom = jnp.any(linked & bottom[None], axis=1)
    pinned_top = jnp.any(linked & (pinned > 0)[None], axis=1)
    pinned_bottom = jnp.any(linked & (pinned < 0)[None], axis=1)
    fits = high - low <= 2.0 * wall
    free = jnp.clip(0.0, low + wall, high - wall)
    shift = jnp.where(fits, 0.5 * (high + low), jnp.where(at_top | at_bottom, 0.0, free))
    shift = jnp.where(pinned_top, jnp.maximum(low + wall, 0.0), shift)
    shift = jnp.where(pinned_bottom, jnp.minimum(high - wall, 0.0), shift)
    stays = (at_top & at_bottom) | (pinned_top & pinned_bottom)
    stays |= (pinned_top & at_bottom) | (pinned_bottom & at_top)
    shift = jnp.where(stays | ~jnp.isfinite(shift), 0.0, shift)
    return jnp.where(pinned == 0, jnp.clip(target - shift, -wall, wall), pinned * wall)
