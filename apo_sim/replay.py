"""Draw the labels of a run again: a run does not keep its data, but its key determines them."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from apo_sim.arguments import as_samples
from apo_sim.checks import instance_of
from apo_sim.compilation import jit_quickly
from apo_sim.errors import InvalidArgument
from apo_sim.loop import METHOD, Solution
from apo_sim.methods.requests import CountedPairs
from apo_sim.problems import PROBLEM, Problem
from apo_sim.pytree import boxed, unboxed
from apo_sim.self_checking import checks_itself

_SOLUTION = instance_of(Solution, "is not a run", "pass what apo.run or apo.solve returned")


@checks_itself
def replayed_counts(
    problem: Problem, solution: Solution, *, samples: Any, method: Any = None
) -> Float[Array, "iterations contexts arms arms"]:
    """Draw the win counts of a run again, from its key and its behaviour policies.

    Args:
        problem: the problem of the run.
        solution: a sampled run with ``save="path"``.
        samples: the number N of samples of the run.
        method: the method passed to `apo_sim.solve`, whose ranker labels the pairs; by default, as
            in `apo_sim.run`, Bradley-Terry labels on pairs from the behaviour policy.

    Returns:
        wins[t, x, i, j], how often i beat j in iteration t, shape (iterations, X, K, K).

    Raises:
        InvalidArgument: something that is not a problem, run, method or number of samples; a run
            without its path or of exact preferences; a method that counts no pairs.

    Example:
        >>> import apo_sim as apo
        >>> bandit = apo.families.uniform_bandit(jax.random.key(0), 1, 3)
        >>> solution = apo.run(
        ...     bandit, beta=1.0, iterations=2, samples=100, key=jax.random.key(1), save="path"
        ... )
        >>> wins = replayed_counts(bandit, solution, samples=100)
        >>> wins.shape, wins.sum(axis=(1, 2, 3)).tolist()
        ((2, 1, 3, 3), [100.0, 100.0])
    """
    PROBLEM("problem", problem)
    _SOLUTION("solution", solution)
    request = _request(method)
    behaviour = solution.path.behaviour[:-1]
    iterations, key = behaviour.shape[0], solution.state.key
    if behaviour.shape[1:] != problem.log_ref.shape:
        raise InvalidArgument(
            "problem", problem, "is not the problem of the run", "pass the same problem"
        )
    if key is None:
        raise InvalidArgument(
            "solution", solution, "has no labels: its preferences are exact", "run with samples="
        )
    if samples is None:
        raise InvalidArgument("samples", samples, "is missing", "pass the number used in the run")
    drawn_by = key.shape[0] if key.ndim else iterations
    samples = as_samples(samples, key, drawn_by, problem.log_ref.dtype)
    # A run that was continued has its last iterations in its path.
    steps = solution.state.t - iterations + jnp.arange(iterations)
    keys = key[steps] if key.ndim else jax.vmap(lambda t: jax.random.fold_in(key, t))(steps)
    fixed = samples if request.fixes_shape(problem, samples) else None
    number = None if fixed is not None else jnp.asarray(samples, problem.log_ref.dtype)
    drawn = _drawn(problem, boxed(request, "method"), keys, behaviour, number, fixed=fixed)
    if not hasattr(drawn, "wins"):
        raise InvalidArgument(
            "method",
            method,
            "does not use win counts",
            "pass a method that is trained on win counts",
        )
    return drawn.wins


@jit_quickly(static_argnames=("fixed",))
def _drawn(
    problem: Problem, box: Any, keys: Any, behaviour: Any, samples: Any, *, fixed: Any
) -> Any:
    """The data of every iteration, in the order of the loop."""
    request, number = unboxed(box), samples if fixed is None else fixed
    return jax.lax.map(lambda one: request.draw(one[0], problem, one[1], number), (keys, behaviour))


def _request(method: Any) -> Any:
    if method is None:
        return CountedPairs()
    METHOD("method", method)
    return method.request
