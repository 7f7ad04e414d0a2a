"""Newton's method for convex losses of score differences, with the scores kept in a box.

Many small problems are solved side by side: arrays carry the arms first and the batch last,
because the batch is what the processor's vector lanes run over.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from apo_sim.checks import concrete
from apo_sim.compilation import jit_quickly
from apo_sim.errors import InvalidArgument
from apo_sim.losses import Loss, derivatives
from apo_sim.proximal._box import Held, held_by_walls, into_box
from apo_sim.proximal._conjugate_gradients import error_bound, solve_by_products
from apo_sim.proximal._elimination import solve_flows
from apo_sim.proximal._flows import Flows
from apo_sim.proximal.forces import Comparisons, Forces, forces_of, over_rivals
from apo_sim.proximal.groups import Groups, largest
from apo_sim.pytree import boxed, unboxed

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
# Steps after which halving begins, and elimination.
_PATIENCE = 40
# A last step of this length leaves an error of its square; the other error that a step found by
# conjugate gradients may have.
_SETTLED = 1e-6
# Of the error that products may leave: times the last step's length cubed, and at most.
_INEXACT = 1e-3
_INEXACT_FIRST = 1e-2
_SURE = 1e-9

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
    exact: Bool[Array, " batch"]
    step: Int[Array, ""]


class _Problem(NamedTuple):
    forces: Callable[[Scores], Forces]
    # In which every arm's condition is stated.
    unit: Scores
    groups: Groups
    bound: PerProblem
    # Arms that never lost (1) or never won (-1) under a loss that asks for ever more.
    pinned: Scores
    # How fast the logarithm of the loss's curvature can change, and whether it is largest at 0.
    growth: Float[Array, ""]
    peaked: Bool[Array, ""]


def minimise(
    loss: Loss,
    data: Comparisons,
    groups: Groups,
    reward_bound: PerProblem,
    *,
    by_products: bool = False,
    wide: bool = True,
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
            be right, and by elimination after that; for many arms, and an arm's weight must be the
            same against all of its rivals.
        wide: whether 2 R may be more than exponentials of rewards reach.

    Returns:
        The rewards, known up to a constant in each group of linked arms, and the length of the
        last Newton step (infinite where `MAX_STEPS` were not enough).

    Raises:
        InvalidArgument: a loss that is not convex, or whose slope only jumps.

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
    growth, peaked = _curvature(loss, data.won.dtype)
    others = ~jnp.eye(len(data.won), dtype=bool)[..., None]
    won, lost = (jnp.where(others, part, 0.0) for part in (data.won, data.lost))
    data = Comparisons(won, lost, data.weight)
    pinned = _pinned(loss, data, reward_bound)
    forces = forces_of(loss, data, wide=wide)
    problem = _Problem(forces, data.weight[0], groups, reward_bound, pinned, growth, peaked)
    wall = jnp.minimum(reward_bound, _FIRST_WALL / growth)
    start = _State(
        pinned * wall,
        wall,
        jnp.full_like(wall, jnp.inf),
        jnp.zeros(wall.shape, bool),
        jnp.full(wall.shape, not by_products),
        jnp.zeros((), int),
    )

    def unfinished(state: _State):
        return (state.step < MAX_STEPS) & ~jnp.all(state.done)

    def improve(state: _State) -> _State:
        new = _newton(problem, state, by_products)
        kept = jax.tree.map(lambda old, new: jnp.where(state.done, old, new), state[:5], new[:5])
        return _State(*kept, step=state.step + 1)

    final = jax.lax.while_loop(unfinished, improve, start)
    return final.rewards, jnp.where(final.done, final.moved, jnp.inf)


def _pinned(loss: Loss, data: Comparisons, reward_bound: PerProblem) -> Scores:
    """Arms that only ever won belong on the upper wall, arms that only ever lost on the lower."""
    won, lost = (over_rivals(part) > 0 for part in (data.won, data.lost))
    insatiable = derivatives(loss, 2.0 * reward_bound)[1] < 0
    return jnp.where(insatiable & (won != lost), jnp.where(won, 1.0, -1.0), 0.0).astype(
        data.won.dtype
    )


def _curvature(loss: Loss, dtype: Any) -> tuple[Float[Array, ""], Bool[Array, ""]]:
    """How a loss's curvature changes with the difference.

    Returns:
        The largest |d log loss''/dh| found, 1 for the logistic loss and 0 for the squared one, and
        whether no curvature found is larger than that at 0.

    Raises:
        InvalidArgument: a loss that is not convex, or of straight pieces: what either asks for
            would be taken for no data.
    """
    with jax.ensure_compile_time_eval():
        probes = jnp.asarray(_PROBES, dtype)
        curvature, growth, peaked = _shape(boxed(loss, "loss"), probes)
        known = concrete(curvature)
        if known is None:  # the loss is traced; a slope that only jumps tells so all the same
            known = concrete(derivatives(loss, probes)[2])
    if known is not None:
        _check_convex(loss, known)
    return growth, peaked


def _check_convex(loss: Loss, curvature: np.ndarray) -> None:
    remedy = "fit it by gradient: apo_sim.train with apo_sim.policies.Table(...)"
    if not np.any(curvature):
        raise InvalidArgument(
            "loss",
            loss,
            "has no curvature, and no minimiser that a table could be solved for",
            remedy,
        )
    finite = np.where(np.isfinite(curvature), curvature, 0.0)
    rounding = np.sqrt(np.finfo(finite.dtype).eps) * np.max(np.abs(finite))
    concave = np.flatnonzero(finite < -rounding)
    if concave.size:
        at = min(concave, key=lambda probe: abs(_PROBES[probe]))
        raise InvalidArgument(
            "loss",
            loss,
            f"is not convex: its curvature at a difference of {_PROBES[at]:.3g} is "
            f"{finite[at]:.3g}, and its minimiser could not be told from other points",
            remedy,
        )


@jit_quickly()
def _shape(box: Any, probes: Array) -> tuple[Array, Array, Array]:
    """The curvature of a loss at the probes, how fast it changes, and whether it is most at 0."""
    curvature = derivatives(unboxed(box), probes)[2]
    seen = (curvature > 0) & jnp.isfinite(curvature)
    known = seen[1:] & seen[:-1]
    ratio = jnp.where(known, curvature[1:], 1.0) / jnp.where(known, curvature[:-1], 1.0)
    growth = jnp.max(jnp.abs(jnp.log(ratio)) / jnp.diff(probes))
    return curvature, growth, jnp.max(curvature) <= curvature[len(probes) // 2]


def _newton(problem: _Problem, state: _State, by_products: bool) -> _State:
    """One step on the arms that no wall holds back."""
    rewards = state.rewards
    acting = problem.forces(rewards)
    held = held_by_walls(rewards, state.wall, acting)
    wall, growing = _grown(problem, state)
    flows = _flows(problem, acting, jnp.where(held.top, wall, -wall) - rewards, held)
    if by_products:
        step = _by_products(problem, state, flows)
    else:
        step = solve_flows(flows, acting.error_in_group)
    step = jnp.clip(step, -_LONGEST * wall, _LONGEST * wall)
    length, shortened = _length(problem, step, state.step, growing)
    new = into_box(rewards + length * step, problem.groups, problem.pinned, wall, held)
    moved = jnp.where(shortened, jnp.inf, jnp.max(jnp.abs(new - rewards), axis=0))
    # A wall that nothing touches might as well be the last one.
    last = (wall >= problem.bound) | ~jnp.any(held.either, axis=0)
    enough = jnp.where(_would_let_go(acting, held, moved), _precision(moved), _short(problem))
    settled = (moved <= enough) & ~growing & last
    if not by_products:
        return _State(new, wall, moved, settled, state.exact, state.step)
    doubted = settled & ~state.exact & ~state.done
    off = jax.lax.cond(
        jnp.any(doubted),
        lambda: error_bound(_anchored(flows, problem.groups).only(doubted), step, acting.error),
        lambda: jnp.zeros_like(wall),
    )
    unsure = doubted & (off > _SURE)
    # After a short step products are as exact as they can be, and another one would be in vain.
    in_vain = unsure & (state.moved <= _short(problem))
    exact = state.exact | in_vain | (state.step >= _PATIENCE)
    return _State(new, wall, moved, settled & ~unsure, exact, state.step)


def _by_products(problem: _Problem, state: _State, flows: Flows) -> Scores:
    """The step by products, and by elimination where those were found wanting."""
    wanting = state.exact & ~state.done
    step = solve_by_products(flows.only(~state.exact & ~state.done), _tolerance(state.moved))

    def eliminated():
        # Worked out again, for it is wanted here alone.
        noise = problem.forces(state.rewards).error_in_group
        return jnp.where(wanting, solve_flows(flows, noise), step)

    return jax.lax.cond(jnp.any(wanting), eliminated, lambda: step)


def _would_let_go(acting: Forces, held: Held, moved: PerProblem) -> Bool[Array, " batch"]:
    """Whether the step may have turned the force on an arm that a wall holds.

    Where a few comparisons tie a crowd to the others, a force of 1e-8 decides whether its first arm
    stays at the wall, and the whole crowd with it.
    """
    outward = jnp.where(held.top, acting.net, -acting.net) + acting.error
    return jnp.any(held.either & (outward < acting.curvature * moved), axis=0)


def _flows(problem: _Problem, acting: Forces, pulled: Scores, held: Held) -> Flows:
    """The system of Newton's step, in which held arms go where their wall takes them.

    Args:
        problem: what is solved.
        acting: the forces.
        pulled: how far its wall takes each arm that is held.
        held: arms that the walls hold.
    """
    # An arm on which the loss has no curvature takes a plain gradient step.
    fixed = jnp.where(held.either, pulled, jnp.where(acting.curvature > 0, 0.0, acting.net))
    free = ~held.either & (acting.curvature > 0)
    unit = jnp.broadcast_to(problem.unit, fixed.shape)
    return Flows(acting.rate, acting.curvature, acting.net, fixed, free, unit)


def _anchored(flows: Flows, groups: Groups) -> Flows:
    """The same system with one arm fixed in each group that nothing holds, the strongest one.

    A solution that is shifted to it solves this system, too.
    """
    (strongest, held) = largest(groups, flows.diagonal, 1.0 - flows.free)
    number = jnp.broadcast_to(jnp.arange(len(held))[:, None], held.shape).astype(held.dtype)
    rank = jnp.where(flows.diagonal >= strongest, number, -1.0)
    (last,) = largest(groups, rank)
    return flows._replace(free=flows.free & ((held > 0) | (rank < last)))


def _tolerance(moved: PerProblem) -> PerProblem:
    """How exact a step has to be, so that Newton's method keeps its speed.

    After a step of length d one of about d^2 is to come; the last one is held to `_SURE`.
    """
    precision = jnp.finfo(moved.dtype).eps ** 0.875
    return jnp.clip(_INEXACT * moved**3, precision, _INEXACT_FIRST)


def _grown(problem: _Problem, state: _State) -> tuple[PerProblem, Bool[Array, " batch"]]:
    """Where the walls move to, and whether they move.

    The box starts small and grows, taking along the arms at its walls: out there the logistic
    loss is exponential, and a free arm would find its way at one unit a step.
    """
    growing = (state.moved <= _CALM) & (state.wall < problem.bound)
    farther = jnp.minimum(state.wall + _GROWTH / problem.growth, problem.bound)
    return jnp.where(growing, farther, state.wall), growing


def _length(
    problem: _Problem, step: Scores, number: Int[Array, ""], growing: Bool[Array, " batch"]
) -> tuple[PerProblem, Bool[Array, " batch"]]:
    """How much of a step is taken, and whether that is less than all of it."""
    reach = problem.growth * (jnp.max(step, axis=0) - jnp.min(step, axis=0))
    # From 0 on the quadratic model lies above a loss whose curvature is largest there.
    safe = problem.peaked & (number == 0) & ~jnp.any(problem.pinned, axis=0)
    damped = (reach > _TRUSTED) & ~growing & ~safe
    length = jnp.where(damped, jnp.log1p(reach) / jnp.where(damped, reach, 1.0), 1.0)
    # Projected Newton steps may walk in a circle; now and then half a step leaves it.
    halved = (number > _PATIENCE) & (number % 4 == 0) & ~growing
    return jnp.where(halved, 0.5, 1.0) * length, damped | halved


def _short(problem: _Problem) -> Float[Array, ""]:
    """Steps of this length leave an error of about their square."""
    return jnp.maximum(_SETTLED / jnp.maximum(problem.growth, 1.0), _precision(problem.bound))


def _precision(like: PerProblem) -> Any:
    return jnp.sqrt(jnp.finfo(like.dtype).eps)
