"""What a sweep can keep of a run: one number an iteration, by name."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from apo_sim import theory
from apo_sim.errors import InvalidArgument
from apo_sim.loop import Solution
from apo_sim.problems import Bandit, Problem

PerIteration = Float[Array, " iterations"]


@dataclass(frozen=True)
class Series:
    """A series of a run.

    Attributes:
        long_name: what it is, for labels of axes.
        of: from problem, solution and beta (a number or a schedule) to shape (iterations,).
        units: "1" where it has none.
        save: what `apo_sim.run` has to keep for it.
        needs_reward: whether it is defined for a `Bandit` only.
        needs_kl: whether it is defined for the steps of `apo_sim.geometry.KL` only.
    """

    long_name: str
    of: Callable[[Problem, Solution, Any], PerIteration]
    units: str = "1"
    save: str = "metrics"
    needs_reward: bool = False
    needs_kl: bool = False


def _field(name: str) -> Callable[[Problem, Solution, Any], PerIteration]:
    return lambda problem, solution, beta: _measured(solution, name)


def _measured(solution: Solution, name: str) -> Array:
    found = getattr(solution, name, None)
    if found is None:
        raise InvalidArgument(
            "variables",
            name,
            "is not measured by this method",
            f"leave it out, or choose from {', '.join(('suboptimality', 'tv', *solution.series))}",
        )
    return found


def _part(name: str) -> Callable[[Problem, Solution, Any], PerIteration]:
    return lambda problem, solution, beta: getattr(theory.split(problem, solution), name)


def _behaviour_gap(problem: Problem, solution: Solution, beta: Any) -> PerIteration:
    of_contexts = jax.vmap(problem.suboptimality_of)(jnp.exp(solution.behaviour[1:]))
    return of_contexts @ problem.context_probs


def _coverage(name: str) -> Callable[[Problem, Solution, Any], PerIteration]:
    def log_kappa(problem: Problem, solution: Solution, beta: Any) -> PerIteration:
        assert isinstance(problem, Bandit)
        exact = theory.exact_policy(problem, solution.gamma[-1])
        return getattr(
            theory.coverage(solution.log_policy[-1], exact, solution.behaviour[:-1]), name
        )

    return log_kappa


def _visited(name: str) -> Callable[[Problem, Solution, Any], PerIteration]:
    return lambda problem, solution, beta: getattr(theory.visited_bounds(solution, beta), name)


def _least_log_probability(problem: Problem, solution: Solution, beta: Any) -> PerIteration:
    return jnp.min(solution.log_policy[1:], axis=(1, 2))


def _error_of_update(problem: Problem, solution: Solution, beta: Any) -> PerIteration:
    return _mean_square(problem, _measured(solution, "rewards"))


def _error_of_average(problem: Problem, solution: Solution, beta: Any) -> PerIteration:
    moved = solution.log_policy[1:] - solution.log_policy[0]
    return _mean_square(problem, moved / solution.gamma[:, None, None])


def _mean_square(problem: Problem, rewards: Any) -> PerIteration:
    """Variance of the error under the reference: an additive constant is no error."""
    assert isinstance(problem, Bandit)
    reference = jnp.exp(problem.log_ref)
    wrong = rewards - problem.reward
    centred = wrong - jnp.sum(reference * wrong, axis=-1, keepdims=True)
    return jnp.sum(reference * centred**2, axis=-1) @ problem.context_probs


SERIES: dict[str, Series] = {
    "suboptimality": Series(
        "gap of the policy, expectation over contexts", _field("suboptimality"), "reward"
    ),
    "tv": Series("total variation to the optimal policy", _field("tv")),
    "residual": Series("residual of the proximal step's solver", _field("residual")),
    "gamma": Series("total weight on a constant reward, in 1/beta", _field("gamma")),
    "average_suboptimality": Series(
        "gap of the average policy", _field("average_suboptimality"), "reward", "average"
    ),
    "behaviour_suboptimality": Series(
        "gap of the policy after extrapolation", _behaviour_gap, "reward", "path"
    ),
    "optimisation": Series(
        "first term of N4's identity of the gap",
        _part("optimisation"),
        "reward",
        "path",
        True,
        needs_kl=True,
    ),
    "statistics": Series(
        "second term of N4's identity of the gap",
        _part("statistics"),
        "reward",
        "path",
        True,
        needs_kl=True,
    ),
    "paper_optimisation": Series(
        "gap of the exact policy",
        _part("paper_optimisation"),
        "reward",
        "path",
        True,
        needs_kl=True,
    ),
    "paper_statistics": Series(
        "twice the total variation to the exact policy",
        _part("paper_statistics"),
        "reward",
        "path",
        True,
        needs_kl=True,
    ),
    "paper_difference": Series(
        "gap minus that of the exact policy",
        _part("paper_difference"),
        "reward",
        "path",
        True,
        needs_kl=True,
    ),
    "update_error": Series(
        "mean square error of the reward learned in the update, under the reference",
        _error_of_update,
        "reward^2",
        "path",
        True,
    ),
    "average_error": Series(
        "mean square error of the average of the rewards learned, under the reference",
        _error_of_average,
        "reward^2",
        "path",
        True,
        needs_kl=True,
    ),
    "log_coverage_printed": Series(
        "log of kappa_t as printed, for the last policy",
        _coverage("log_printed"),
        "1",
        "path",
        True,
        needs_kl=True,
    ),
    "log_coverage_corrected": Series(
        "log of kappa_t with two maxima, for the last policy",
        _coverage("log_corrected"),
        "1",
        "path",
        True,
        needs_kl=True,
    ),
    "bound_of_update": Series(
        "least R of Assumption 4.3 for the update",
        _visited("consecutive"),
        "reward",
        "path",
        needs_kl=True,
    ),
    "bound_of_all_pairs": Series(
        "least R of Assumption 4.3 for all policies visited so far",
        _visited("all_pairs"),
        "reward",
        "path",
        needs_kl=True,
    ),
    "least_log_probability": Series(
        "least log-probability of an arm", _least_log_probability, "1", "path"
    ),
}
