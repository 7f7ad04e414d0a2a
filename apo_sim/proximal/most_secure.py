"""The policy of the best worst case over a ball of parameters of linear rewards."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from apo_sim.problems import LogPolicy
from apo_sim.proximal.likeliest import Features, Matrix, Number, Vector

# Newton's steps of the interior-point method; fifty are usual.
_PATH_STEPS = 500
# The barrier's weight falls by this factor once a Newton step is shorter than _CENTRED.
_FALL = 0.1
_CENTRED = 0.25
_CENTRED_LAST = 1e-4

Arms = Float[Array, "contexts arms"]


class _Path(NamedTuple):
    policy: Arms
    # Of the dual problem, shorter than 1.
    direction: Vector
    # Of the logarithmic barriers.
    weight: Number
    # Length of the last Newton step in the metric of the barriers.
    decrement: Number
    step: Int[Array, ""]


def most_secure(
    features: Features, context_probs: Float[Array, " contexts"], parameter: Vector, penalty: Matrix
) -> tuple[LogPolicy, Number]:
    """argmax over policies of u . theta - |penalty u|, u the mean of the features.

    It is the saddle point of u . theta - w . penalty u over policies and |w| <= 1. An
    interior-point method: barriers on both keep them inside, and damped Newton steps follow the
    saddle point while the barriers are lifted.

    Args:
        features: phi - v, shape (contexts, arms, features).
        context_probs: law of contexts.
        parameter: theta.
        penalty: radius (Sigma + lambda I)^(-1/2).

    Returns:
        log of the policy, and a bound on how far its value is below the maximum: the duality gap.

    Source: Nemirovski (1999), "On self-concordant convex-concave functions", for the steps.
    """
    gain = context_probs[:, None] * (features @ parameter)
    risk = context_probs[:, None, None] * (features @ penalty)
    # In units of the largest numbers at hand.
    unit = jnp.max(jnp.abs(gain)) + jnp.max(jnp.linalg.norm(risk, axis=-1))
    unit = jnp.where(unit > 0, unit, 1.0)
    gain, risk = gain / unit, risk / unit
    least = jnp.finfo(gain.dtype).eps ** 0.65

    def unfinished(path: _Path) -> Bool[Array, ""]:
        last = path.weight <= least
        return (path.step < _PATH_STEPS) & ~(last & (path.decrement <= _CENTRED_LAST))

    def improve(path: _Path) -> _Path:
        fallen = jnp.maximum(_FALL * path.weight, least)
        weight = jnp.where(path.decrement <= _CENTRED, fallen, path.weight)
        change, turn, decrement = _newton(gain, risk, path.policy, path.direction, weight)
        length = jnp.where(decrement > _CENTRED, 1.0 / (1.0 + decrement), 1.0)
        policy = path.policy * (1.0 + length * change)
        policy = policy / jnp.sum(policy, axis=1, keepdims=True)
        return _Path(policy, path.direction + length * turn, weight, decrement, path.step + 1)

    start = _Path(
        policy=jnp.full_like(gain, 1.0 / gain.shape[1]),
        direction=jnp.zeros_like(parameter),
        weight=jnp.ones((), gain.dtype),
        decrement=jnp.array(jnp.inf, gain.dtype),
        step=jnp.zeros((), int),
    )
    found = jax.lax.while_loop(unfinished, improve, start)
    return jnp.log(found.policy), unit * _duality_gap(gain, risk, found.policy, found.direction)


def _newton(
    gain: Arms, risk: Features, policy: Arms, direction: Vector, weight: Number
) -> tuple[Arms, Vector, Number]:
    """Newton's step to the saddle point of gain . pi - w . (risk . pi) with both barriers.

    Returns:
        The changes of log pi and of w, and their length in the metric of the barriers.
    """
    contexts, arms, number = risk.shape
    room = 1.0 - direction @ direction
    itself = jnp.eye(number, dtype=gain.dtype)
    bent = 2.0 * weight * (itself + 2.0 * jnp.outer(direction, direction) / room) / room
    weighed = (policy[..., None] * risk).reshape(-1, number)
    member = jnp.repeat(jnp.eye(contexts, dtype=gain.dtype), arms, axis=0) * policy.reshape(-1, 1)
    # All at once: eliminating the arms would cancel what the barrier leaves of their curvature.
    border = jnp.concatenate([weighed, member], axis=1)
    corner = jnp.zeros((number + contexts,) * 2, gain.dtype).at[:number, :number].set(-bent)
    top = jnp.concatenate([weight * jnp.eye(contexts * arms, dtype=gain.dtype), border], axis=1)
    system = jnp.concatenate([top, jnp.concatenate([border.T, corner], axis=1)])
    push = policy * (gain - risk @ direction) + weight
    pull = 2.0 * weight * direction / room - jnp.sum(weighed, axis=0)
    target = jnp.concatenate([push.ravel(), pull, jnp.zeros(contexts, gain.dtype)])
    change, turn, _ = jnp.split(
        jnp.linalg.solve(system, target), [contexts * arms, contexts * arms + number]
    )
    decrement = jnp.sqrt(change @ change + turn @ bent @ turn / weight)
    return change.reshape(contexts, arms), turn, decrement


def _duality_gap(gain: Arms, risk: Features, policy: Arms, direction: Vector) -> Number:
    total = jnp.einsum("xy,xyd->d", policy, risk)
    above = jnp.sum(jnp.max(gain - risk @ direction, axis=1))
    return jnp.maximum(above - jnp.sum(policy * gain) + jnp.linalg.norm(total), 0.0)
