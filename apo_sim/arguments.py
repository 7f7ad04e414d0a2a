"""The parts of a method, checked before anything compiles and brought to one form."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from apo_sim.checks import (
    above_zero,
    as_array,
    as_count,
    as_float,
    check_key,
    check_single,
    concrete,
)
from apo_sim.errors import InvalidArgument
from apo_sim.geometry.bregman import GEOMETRY
from apo_sim.losses import Extra, brings_own_minimiser, derivatives, is_pointwise
from apo_sim.losses.loss import as_loss, is_ours
from apo_sim.momentum import Momentum, Schedule
from apo_sim.preferences.ranked_pairs import RANKER
from apo_sim.problems import Problem

MAX_SAMPLES = 10**12
# A difference of scores at which every loss is flat or has overflowed.
_FAR = 1e30


def check_parts(loss: Any, ranker: Any, geometry: Any) -> None:
    """Refuse what is no loss, ranker or geometry."""
    if not is_pointwise(loss):
        as_loss("loss", loss)
    RANKER("ranker", ranker)
    GEOMETRY("geometry", geometry)


def check_momentum(momentum: Any, iterations: int | None = None, first: int | None = None) -> None:
    """Refuse what is no rule, and a schedule of the wrong length.

    With `first`, the iterations may be a part of those that the schedule is for.
    """
    if isinstance(momentum, type) or not isinstance(momentum, Momentum):
        raise InvalidArgument(
            "momentum",
            momentum,
            "is not a momentum rule",
            "pass an instance such as apo_sim.Constant(0.3), with init and extrapolate",
        )
    if iterations is None or not isinstance(momentum, Schedule):
        return
    # A shorter one would be read past its end, which JAX answers with the last value.
    if (
        momentum.alphas.shape != (iterations,)
        if first is None
        else momentum.alphas.shape[0] < first + iterations
    ):
        raise InvalidArgument(
            "alphas",
            momentum.alphas,
            f"is a schedule of the wrong length for iterations = {iterations}",
            "pass one alpha for each iteration",
        )


def check_solvable(loss: Any) -> None:
    """Refuse a loss that the solver would minimise wrongly: it works on differences, from 0 on."""
    if is_ours(loss) and not jax.tree.leaves(loss):
        return  # without parameters nothing about it can be wrong, and to try it is to compile it
    with jax.ensure_compile_time_eval():
        here = as_array("loss", loss(jnp.asarray(0.7), jnp.asarray(0.2), Extra()))
        there = as_array("loss", loss(jnp.asarray(1.7), jnp.asarray(1.2), Extra()))
        start = () if is_ours(loss) else _at_equal_scores(loss)
    values = concrete(here), concrete(there)
    if values[0] is None or values[1] is None:
        return
    if not (np.isfinite(values[0]) and np.isfinite(values[1])):
        raise InvalidArgument(
            "loss", loss, "is not finite for small scores", "use less extreme parameters"
        )
    if values[0].shape != () or abs(values[0] - values[1]) > 1e-4 * (1 + abs(values[0])):
        raise InvalidArgument(
            "loss",
            loss,
            "is not a scalar function of h_winner - h_loser",
            "write it in the difference, or give it population_rewards and empirical_rewards",
        )
    if not all(part is None or np.isfinite(part) for part in map(concrete, start)):
        raise InvalidArgument(
            "loss",
            loss,
            "is not finite at equal scores, where fits begin, or its slope or curvature is not",
            "write it for every h_winner - h_loser, 0 and below included",
        )


def _at_equal_scores(loss: Any) -> tuple[Array, ...]:
    """Value, slope and curvature; mapped, for of numbers `derivatives` refuses NaN."""
    return jax.vmap(lambda difference: derivatives(loss, difference))(jnp.zeros(1))


def as_beta_schedule(beta: Any, iterations: int, problem: Problem) -> Float[Array, " iterations"]:
    """One proximal weight for each iteration, positive, in the precision of the problem."""
    dtype = problem.log_ref.dtype
    array = as_float("beta", beta, None).astype(dtype)
    if array.ndim > 1 or (array.ndim == 1 and array.shape[0] != iterations):
        raise InvalidArgument(
            "beta",
            beta,
            f"is a schedule of the wrong length for iterations = {iterations}",
            "pass one number, or one for each iteration",
        )
    # In the precision of the run, in which a tiny one may be 0.
    values = concrete(array)
    if values is not None and not np.all(above_zero(values)):
        raise InvalidArgument("beta", beta, "must be positive", "pass numbers above 0, such as 1.0")
    if values is None:
        return jnp.broadcast_to(array, (iterations,))
    # In NumPy, for which nothing has to be compiled.
    return jnp.asarray(np.broadcast_to(values, (iterations,)))


def check_bound(loss: Any, reward_bound: Any, dtype: Any) -> None:
    """Refuse an R at whose walls a loss that asks for ever more is flat to the last bit.

    The solver would look there forever for where the loss still falls.
    """
    values = concrete(reward_bound)
    if values is None or brings_own_minimiser(loss):
        return
    with jax.ensure_compile_time_eval():
        here, far = (
            derivatives(loss, jnp.asarray(d, dtype)) for d in (1.0, min(2.0 * float(values), _FAR))
        )
    slopes = [concrete(derivative[1]) for derivative in (here, far)]
    if slopes[0] is not None and slopes[1] is not None and slopes[0] < 0 and slopes[1] == 0:
        raise InvalidArgument(
            "reward_bound",
            reward_bound,
            f"is so large that the loss is flat in {jnp.dtype(dtype).name}",
            f"pass at most {0.45 * -math.log(jnp.finfo(dtype).tiny):.0f}",
        )


def as_samples(samples: Any, key: Any, iterations: int, dtype: Any = None) -> Any:
    """The number of preference pairs, with a key to draw them by; None for exact preferences.

    The key is one, or one for each iteration. With `dtype`, that of the counts, the number must
    be one that it holds; in single precision a large one is rounded.
    """
    if samples is None:
        return None
    if key is None:
        raise InvalidArgument(
            "key", key, "is missing", "pass key=jax.random.key(seed) with samples"
        )
    check_key("key", key, iterations)
    check_single("samples", samples, "pass one integer >= 1, or jax.vmap over several")
    if isinstance(samples, jax.Array):
        values = concrete(as_array("samples", samples))
        if values is None:
            return samples
        samples = values.item()
    if isinstance(samples, float) and samples.is_integer():
        samples = int(samples)
    samples = as_count("samples", samples, most=10**400)
    if samples > MAX_SAMPLES:
        raise InvalidArgument(
            "samples", samples, "is more than 1e12", "leave samples out for exact preferences"
        )
    short = dtype is not None and jnp.finfo(dtype).bits < 32
    if short and samples > 2 / float(jnp.finfo(dtype).eps):
        raise InvalidArgument(
            "samples",
            samples,
            f"cannot be counted in {jnp.dtype(dtype).name}",
            "make the problem's arrays float32 or float64",
        )
    return samples
