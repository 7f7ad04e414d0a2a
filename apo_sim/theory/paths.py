"""What theory needs to see of a run."""

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from jaxtyping import Array, Float

from apo_sim.checks import Kind, as_float
from apo_sim.errors import InvalidArgument
from apo_sim.problems import Problem

Path = Float[Array, "policies contexts arms"]
PerIteration = Float[Array, " iterations"]


@runtime_checkable
class PolicyPath(Protocol):
    """A run that kept its path: what `apo_sim.run` returns with ``save="path"``, or alike.

    Attributes:
        gamma: accumulated weights gamma_1 ... gamma_T, shape (iterations,).
        log_policy: log pi_hat_0 ... log pi_hat_T, shape (iterations + 1, contexts, arms).
        behaviour: log pi_0 ... log pi_T, shape (iterations + 1, contexts, arms).
        rewards: r_0 ... r_{T-1}, shape (iterations, contexts, arms).
    """

    @property
    def gamma(self) -> Array:
        """Accumulated weights."""
        ...

    @property
    def log_policy(self) -> Array | None:
        """Before extrapolation."""
        ...

    @property
    def behaviour(self) -> Array | None:
        """After extrapolation."""
        ...

    @property
    def rewards(self) -> Array | None:
        """One for every update."""
        ...


@dataclass(frozen=True)
class SavedPath:
    """What was asked for of a run, of fitting sizes; fields as of `PolicyPath`, else None."""

    gamma: Any = None
    log_policy: Any = None
    behaviour: Any = None
    rewards: Any = None


def path_with(*fields: str) -> Kind:
    """The kind of a run that kept these parts of its path.

    Example:
        >>> path_with("rewards")("solution", None)
        Traceback (most recent call last):
        ...
        apo_sim.errors.InvalidArgument: solution = None has no rewards; run it again with \
save="path"
    """

    def kind(name: str, solution: Any) -> SavedPath:
        found = {field: getattr(solution, field, None) for field in fields}
        for field, value in found.items():
            if value is None or isinstance(solution, type):
                raise InvalidArgument(
                    name, solution, f"has no {field}", 'run it again with save="path"'
                )
        found = {field: as_float(f"{name}.{field}", value, None) for field, value in found.items()}
        _check_sizes(name, solution, found)
        return SavedPath(**found)

    return kind


def check_fits(problem: Problem, solution: SavedPath) -> None:
    """Refuse the run of another problem.

    Raises:
        InvalidArgument: its contexts or arms are not those of the problem.
    """
    if solution.log_policy.shape[1:] != problem.log_ref.shape:
        raise InvalidArgument(
            "solution",
            solution,
            f"has contexts and arms {solution.log_policy.shape[1:]}, but the problem has "
            f"{problem.log_ref.shape}",
            "pass the problem that was run",
        )


def _check_sizes(name: str, solution: Any, found: dict[str, Array]) -> None:
    points = found["log_policy"].shape
    updates = (points[0] - 1 if points else 0, *points[1:])
    wanted = {"log_policy": points, "behaviour": points, "rewards": updates, "gamma": updates[:1]}
    for field, array in found.items():
        if array.shape != wanted[field] or len(points) != 3 or points[0] < 2:
            raise InvalidArgument(
                name,
                solution,
                f"has a {field} of shape {array.shape} beside a log_policy of shape {points}",
                "pass the run unchanged",
            )
