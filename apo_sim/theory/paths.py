"""What theory needs to see of a run."""

from typing import Protocol, runtime_checkable

import jax.numpy as jnp
from jaxtyping import Array, Float

from apo_sim.errors import InvalidArgument

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


def saved(solution: PolicyPath, name: str) -> Array:
    """The saved path called `name`, refused if the run did not keep it.

    Raises:
        InvalidArgument: with the remedy, if it is None.
    """
    path = getattr(solution, name)
    if path is None:
        raise InvalidArgument(
            "solution", solution, f"has no {name}", 'run it again with save="path"'
        )
    return jnp.asarray(path)
