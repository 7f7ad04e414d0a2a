"""The likeliest parameter of linear rewards in a ball, for Bradley-Terry's model of pairs."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from apo_sim.geometry.root import increasing_root

# Newton's steps to the likelihood's maximum; a dozen are usual.
_FIT_STEPS = 100
# Steps longer than this, in the leads that they change, are shortened.
_TRUSTED = 1.0

Matrix = Float[Array, "features features"]
Vector = Float[Array, " features"]
Features = Float[Array, "contexts arms features"]
Number = Float[Array, ""]


class _Fit(NamedTuple):
    parameter: Vector
    # By how much the last step changed the lead of an arm over another one.
    moved: Number
    step: Int[Array, ""]


def likeliest(
    features: Features,
    share: Float[Array, "contexts arms arms"],
    covariance: Matrix,
    bound: Number,
) -> tuple[Vector, Number]:
    """The parameter of the largest Bradley-Terry likelihood in a ball, the shortest of several.

    Newton's method, each step the minimum of the quadratic model in the ball; long ones are
    shortened, as the self-concordance of the logistic loss demands.

    Args:
        features: phi, shape (contexts, arms, features).
        share: the share of all pairs in which i beat j, shape (contexts, arms, arms).
        covariance: mean of the squared differences of features.
        bound: radius of the ball.

    Returns:
        The parameter, and by how much the last step changed any lead theta . (phi_i - phi_j).

    Source: Tran-Dinh, Li and Cevher (2015) for the length of the steps.
    """
    axes, known = _compared(covariance)
    apart = differences(features @ axes * known)
    tolerance = jnp.sqrt(jnp.finfo(bound.dtype).eps)

    def unfinished(fit: _Fit) -> Bool[Array, ""]:
        return (fit.step < _FIT_STEPS) & (fit.moved > tolerance)

    def improve(fit: _Fit) -> _Fit:
        lead = apart @ fit.parameter
        slope = -jnp.einsum("xij,xijd->d", share * jax.nn.sigmoid(-lead), apart)
        curvature = squared(share * jax.nn.sigmoid(lead) * jax.nn.sigmoid(-lead), apart)
        # Nothing depends on the other coordinates, and they stay at 0.
        curvature = curvature + jnp.diag(1.0 - known)
        change = _in_ball(curvature, curvature @ fit.parameter - slope, bound) - fit.parameter
        reach = jnp.max(jnp.abs(apart @ change))
        length = jnp.where(reach > _TRUSTED, jnp.log1p(reach) / reach, 1.0)
        return _Fit(fit.parameter + length * change, length * reach, fit.step + 1)

    start = _Fit(jnp.zeros_like(known), jnp.full_like(bound, jnp.inf), jnp.zeros((), int))
    found = jax.lax.while_loop(unfinished, improve, start)
    return axes @ found.parameter, found.moved


def _compared(covariance: Matrix) -> tuple[Matrix, Vector]:
    """Axes of the space of features, and which of them any pair differs along: 1, or 0."""
    values, axes = jnp.linalg.eigh(covariance)
    noise = len(values) * jnp.finfo(values.dtype).eps * values[-1]
    return axes, (values > noise).astype(values.dtype)


def _in_ball(curvature: Matrix, pull: Vector, bound: Number) -> Vector:
    """argmin over |theta| <= B of theta . H theta / 2 - pull . theta."""
    values, axes = jnp.linalg.eigh(curvature)
    values = jnp.maximum(values, jnp.finfo(values.dtype).eps * values[-1])
    along = pull @ axes
    length = jnp.linalg.norm(along)
    noise = jnp.full_like(bound, 4.0 * jnp.finfo(bound.dtype).eps)

    def shorter(weight: Number) -> tuple[Number, Number, Number]:
        theta = along / (values + weight)
        size = jnp.maximum(jnp.linalg.norm(theta), jnp.finfo(bound.dtype).tiny)
        slope = jnp.sum(theta**2 / (values + weight)) / size**3
        # 1 / |theta| is nearly linear in the multiplier.
        return bound / size - 1.0, bound * slope, noise

    weight = increasing_root(shorter, jnp.zeros_like(bound), jnp.zeros_like(bound), length / bound)
    inside = jnp.linalg.norm(along / values) <= bound
    return axes @ (along / (values + jnp.where(inside, 0.0, weight)))


def squared(weight: Float[Array, "contexts arms arms"], apart: Any) -> Matrix:
    """Sum of weight_ij d_ij d_ij^T over the differences d of features."""
    return jnp.einsum("xij,xijd,xije->de", weight, apart, apart)


def differences(features: Features) -> Float[Array, "contexts arms arms features"]:
    """phi_i - phi_j, taken before anything is squared, so that what all arms share cancels."""
    return features[:, :, None] - features[:, None]
