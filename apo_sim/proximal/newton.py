"""Newton's method for convex losses of score differences, with the scores kept in a box.

Many small problems are solved side by side: arrays carry the arms first and the batch last,
because the batch is what the processor's vector lanes run over.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from apo_sim.checks import concrete
from apo_sim.errors import InvalidArgument
from apo_sim.losses import Loss, derivatives
from apo_sim.proximal.box import Held, held_by_walls, into_box
from apo_sim.proximal.conjugate_gradients import Flows, error_bound, solve_by_products
from apo_sim.proximal.elimination import solve_flows
from apo_sim.proximal.forces import Comparisons, Forces, forces, over_rivals
from apo_sim.proximal.groups import Groups

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
# A last step of this length leaves an error of its square; the other error that a step found by
# conjugate gradients may have, and one that another such step would not bring down to it.
_SETTLED = 1e-6
_SURE = 1e-9
_HOPELESS = 1e-6

Scores = Float[Array, "arms batch"]
PerProblem = Float[Array, " batch"]


class _State(NamedTuple):
    rewards: Scores
    # Where the walls of the box are by now.
    wall: PerProblem
    # How far the last step went, infinite if it was cut short.
    moved: PerProblem
    done: Bool[Array, " batch"]
    # Whether steps are found by elimination.
    exact: Bool[Array, ""]
    step: Int[Array, ""]


class _Problem(NamedTuple):
    data: Comparisons
    groups: Groups
    bound: PerProblem
    # Arms that never lost (1) or never won (-1) under a loss that asks for ever more.
    pinned: Scores
    # How fast the logarithm of the loss's curvature can change.
    growth: Float[Array, ""]


def minimise(
    loss: Loss,
    data: Comparisons,
    groups: Groups,
    reward_bound: PerProblem,
    *,
    by_products: bool = False,
) -> tuple[Scores, PerProblem]:
    """Minimise sum_ij W_ij loss(r_i - r_j) over rewards with max r - min r <= 2 R.

    The loss sees differences only, so that set may be taken as the box [-R, R]. Each step is
    Newton's on the arms that no wall of the box holds back, shortened as the generalised
    self-concordance of the loss demands, and projected onto the box.

    Where the loss is so flat that moving a group of arms changes nothing that double precision
    can see, the group stays where it is.

    Args:
        loss: convex, a function of the difference of two scores.
        data: the comparisons of every problem.
        groups: which arms a chain of comparisons links.
        reward_bound: R of every problem, finite.
        by_products: find steps by conjugate gradients for as long as the last one can be shown to
            be right, and by elimination after that; of problems with many arms, one at a time, in
            units that make the conditions of all arms alike.

    Returns:
        The rewards, known up to a constant in each group of linked arms, and the length of the
        last Newton step (infinite where `MAX_STEPS` were not enough).

    Raises:
        InvalidArgument: a loss without curvature, whose slope only jumps.

    Source: ours; Bertsekas (1982) for the projection, Sun and Tran-Dinh (2019) for the length.

    Example:
        >>> from apo_sim.losses import DPO
        >>> from apo_sim.proximal.groups import groups_of
        >>> wins = jnp.array([[0.0, 3.0], [1.0, 0.0]])[..., None]
        >>> data = Comparisons(jnp.swapaxes(wins, 0, 1), wins, jnp.ones((1, 1, 1)))
        >>> r, _ = minimise(DPO(), data, groups_of(wins > -1), jnp.array([2.0]))
        >>> round(float(jnp.exp(r[0, 0] - r[1, 0])), 6)
        3.0
    """
    _check_curved(loss)
    others = ~jnp.eye(len(data.won), dtype=bool)[..., None]
    won, lost = (jnp.where(others, part, 0.0) for part in (data.won, data.lost))
    data = Comparisons(won, lost, data.weight)
    pinned = _pinned(loss, data, reward_bound)
    problem = _Problem(data, groups, reward_bound, pinned, _curvature_growth(loss, pinned.dtype))
    wall = jnp.minimum(reward_bound, _FIRST_WALL / problem.growth)
    start = _State(
        pinned * wall,
        wall,
        jnp.full_like(wall, jnp.inf),
        jnp.zeros(wall.shape, bool),
        jnp.array(not by_products),
        jnp.zeros((), int),
    )

    def unfinished(state: _State):
        return (state.step < MAX_STEPS) & ~jnp.all(state.done)

    def improve(state: _State) -> _State:
        new = _newton(loss, problem, state, by_products)
        kept = jax.tree.map(lambda old, new: jnp.where(state.done, old, new), state[:4], new[:4])
        return _State(*kept, exact=new.exact, step=state.step + 1)

    final = jax.lax.while_loop(unfinished, improve, start)
    return final.rewards, jnp.where(final.done, final.moved, jnp.inf)


def _check_curved(loss: Loss) -> None:
    """Refuse a loss of straight pieces: no curvature would be taken for no data."""
    with jax.ensure_compile_time_eval():
        curvature = concrete(derivatives(loss, jnp.asarray(_PROBES))[2])
    if curvature is not None and not np.any(curvature):
        raise InvalidArgument(
            "loss",
            loss,
            "has no curvature, and no minimiser that a table could be solved for",
            "fit it by gradient: apo_sim.train with apo_sim.policies.Table(...)",
        )


def _pinned(loss: Loss, data: Comparisons, reward_bound: PerProblem) -> Scores:
    """Arms that only ever won belong on the upper wall, arms that only ever lost on the lower."""
    won, lost = (over_rivals(part) > 0 for part in (data.won, data.lost))
    insatiable = derivatives(loss, 2.0 * reward_bound)[1] < 0
    return jnp.where(insatiable & (won != lost), jnp.where(won, 1.0, -1.0), 0.0).astype(
        data.won.dtype
    )


def _curvature_growth(loss: Loss, dtype: Any) -> Float[Array, ""]:
    """The largest |d log loss''/dh| found: 1 for the logistic loss, 0 for the squared one."""
    probes = jnp.asarray(_PROBES, dtype)
    curvature = derivatives(loss, probes)[2]
    known = (curvature[1:] > 0) & (curvature[:-1] > 0)
    ratio = jnp.where(known, curvature[1:], 1.0) / jnp.where(known, curvature[:-1], 1.0)
    return jnp.max(jnp.abs(jnp.log(ratio)) / jnp.diff(probes))


def _newton(loss: Loss, problem: _Problem, state: _State, by_products: bool) -> _State:
    """One step on the arms that no wall holds back."""
    rewards = state.rewards
    acting = forces(loss, problem.data, rewards)
    held = held_by_walls(rewards, state.wall, acting)
    wall, growing = _grown(problem, state)
    pulled = jnp.where(held.either, jnp.where(held.top, wall, -wall) - rewards, 0.0)
    flows, noise = _system(acting, held, pulled)
    if by_products:
        step = jax.lax.cond(state.exact, _eliminate, _multiply, problem, flows, noise)
    else:
        step = _eliminate(problem, flows, noise)
    step = jnp.clip(step, -_LONGEST * wall, _LONGEST * wall)
    length, shortened = _length(problem, step, state.step, growing)
    new = into_box(rewards + length * step, problem.groups, problem.pinned, wall, held)
    moved = jnp.where(shortened, jnp.inf, jnp.max(jnp.abs(new - rewards), axis=0))
    # A wall that nothing touches might as well be the last one.
    last = (wall >= problem.bound) | ~jnp.any(held.either, axis=0)
    settled = (moved <= _short(problem)) & ~growing & last
    if not by_products:
        return _State(new, wall, moved, settled, state.exact, state.step)
    off = jax.lax.cond(
        jnp.any(settled) & ~state.exact,
        lambda: _off(problem, flows, noise, step, held),
        lambda: jnp.zeros_like(wall),
    )
    unsure = settled & (off > _SURE)
    # Where another step by products has nothing left to improve, or could not be vouched for.
    in_vain = unsure & ((moved <= _SURE) | (off > _HOPELESS))
    return _State(new, wall, moved, settled & ~unsure, state.exact | jnp.any(in_vain), state.step)


def _grown(problem: _Problem, state: _State) -> tuple[PerProblem, Bool[Array, " batch"]]:
    """Where the walls move to, and whether they move.

    The box starts small and grows, taking along the arms at its walls: out there the logistic
    loss is exponential, and a free arm would find its way at one unit a step.
    """
    growing = (state.moved <= _CALM) & (state.wall < problem.bound)
    farther = jnp.minimum(state.wall + _GROWTH / problem.growth, problem.bound)
    return jnp.where(growing, farther, state.wall), growing


def _system(acting: Forces, held: Held, pulled: Scores) -> tuple[Flows, Scores]:
    """The system of Newton's step, in which held arms go where their wall takes them.

    Args:
        acting: the forces.
        held: arms that the walls hold.
        pulled: how far a wall takes each of them.

    Returns:
        The system, and the rounding error of its right-hand side.
    """
    stuck = held.either
    drawn = over_rivals(acting.rate, stuck.astype(pulled.dtype))
    # An arm on which the loss has no curvature takes a plain gradient step.
    anchor = jnp.where(stuck | (acting.curvature <= 0), 1.0, drawn)
    free = jnp.where(stuck[None] | stuck[:, None], 0.0, acting.rate)
    force = jnp.where(stuck, pulled, acting.net + over_rivals(acting.rate, pulled))
    return Flows(free, anchor, force), jnp.where(stuck, 0.0, acting.error_in_group)


def _length(
    problem: _Problem, step: Scores, number: Int[Array, ""], growing: Bool[Array, " batch"]
) -> tuple[PerProblem, Bool[Array, " batch"]]:
    """How much of a step is taken, and whether that is less than all of it."""
    reach = problem.growth * (jnp.max(step, axis=0) - jnp.min(step, axis=0))
    damped = (reach > _TRUSTED) & ~growing
    length = jnp.where(damped, jnp.log1p(reach) / jnp.where(damped, reach, 1.0), 1.0)
    # Projected Newton steps may walk in a circle; now and then half a step leaves it.
    halved = (number > _PATIENCE) & (number % 4 == 0) & ~growing
    return jnp.where(halved, 0.5, 1.0) * length, damped | halved


def _eliminate(problem: _Problem, flows: Flows, noise: Scores) -> Scores:
    return solve_flows(*flows, noise)


def _multiply(problem: _Problem, flows: Flows, noise: Scores) -> Scores:
    return solve_by_products(_in_one_unit(problem, flows))


def _off(problem: _Problem, flows: Flows, noise: Scores, step: Scores, held: Held) -> PerProblem:
    """How far a step found by products may be off."""
    free = ~held.either & (over_rivals(flows.rate) > 0)
    itself = jnp.eye(len(free), dtype=bool)[..., None]
    linked = problem.groups.linked & (free & free[:, None] | itself)
    unit = problem.data.weight[0]
    return error_bound(_in_one_unit(problem, flows), step, noise / unit, linked)


def _in_one_unit(problem: _Problem, flows: Flows) -> Flows:
    """The system in one unit for all arms, in which it is symmetric; a power of two rounds none."""
    unit = problem.data.weight[0]
    return Flows(flows.rate / unit, flows.anchor / unit, flows.force / unit)


def _short(problem: _Problem) -> Float[Array, ""]:
    """Steps of this length leave an error of about their square."""
    precision = jnp.sqrt(jnp.finfo(problem.bound.dtype).eps)
    return jnp.maximum(_SETTLED / jnp.maximum(problem.growth, 1.0), precision)
