"""One proximal step of a parameterised policy: a loss brought down by an optimiser."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from apo_sim.checks import as_count, as_flag, check_positive, check_single, instance_of
from apo_sim.errors import InvalidArgument
from apo_sim.optimizers import AdamW, as_optimizer
from apo_sim.pytree import like, pytree_dataclass, static

Objective = Callable[[Any, Int[Array, ""]], Float[Array, ""]]


@pytree_dataclass
class Report:
    """How an inner training went.

    Attributes:
        start: the loss before the first step.
        end: the loss after the last step, on the same data.
        gradient: norm of its gradient in the parameters before the last step.
        steps: number of steps taken.
    """

    start: Float[Array, ""]
    end: Float[Array, ""]
    gradient: Float[Array, ""]
    steps: Int[Array, ""]


@pytree_dataclass
class ByGradient:
    """Steps of an optimiser down a loss, a fixed number of them or until the gradient is small.

    Args:
        optimizer: from `apo_sim.optimizers`, or any `optax.GradientTransformation`.
        steps: the most that are taken.
        tolerance: stop once the norm of the gradient is at most this; None: all steps.
        batch: pairs per step, taken in turn from those of the iteration; None: all of them.
        keep_state: whether the optimiser continues from its state in the previous iteration; by
            default it starts afresh, as in a new training run.

    Raises:
        InvalidArgument: something that is not an optimiser, sizes that are not counts, a
            tolerance that is not positive.

    Source: ours; what is done in practice in place of (3.1).

    Example:
        >>> from apo_sim.optimizers import SGD
        >>> step = ByGradient(SGD(0.5), steps=50, tolerance=1e-6)
        >>> params, _, report = step.minimise(lambda x, _: (x - 3.0) ** 2, jnp.zeros(()), None)
        >>> float(params), int(report.steps)
        (3.0, 2)
    """

    optimizer: Any = AdamW(1e-3)
    steps: int = static(default=100)
    tolerance: float | Float[Array, ""] | None = None
    batch: int | None = static(default=None)
    keep_state: bool = static(default=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "optimizer", as_optimizer(self.optimizer))
        as_count("steps", self.steps)
        as_flag("keep_state", self.keep_state)
        if self.batch is not None:
            as_count("batch", self.batch)
            if self.tolerance is not None:
                raise InvalidArgument(
                    "tolerance",
                    self.tolerance,
                    "is never reached by the noisy gradients of batches",
                    "leave out tolerance or batch",
                )
        if self.tolerance is not None:
            check_single("tolerance", self.tolerance, "pass one number above 0")
            check_positive("tolerance", self.tolerance)

    def minimise(self, objective: Objective, params: Any, state: Any) -> tuple[Any, Any, Report]:
        """Minimise an objective.

        Args:
            objective: a scalar function of the parameters and the number of the step.
            params: where to start.
            state: of the optimiser; None for a new one.

        Returns:
            The parameters, the state, and the report; start and end are the objective of step 0.
        """
        if state is None:
            state = self.optimizer.init(params)
        first = jnp.zeros((), int)
        start = objective(params, first)

        def step(carry):
            params, state, number, _ = carry
            # The value is not asked for here: for many losses the slope alone is much cheaper.
            gradient = jax.grad(objective)(params, number)
            change, new_state = self.optimizer.update(gradient, state, params)
            moved = like(optax.apply_updates(params, change), params)
            norm = optax.tree.norm(gradient).astype(start.dtype)
            return moved, like(new_state, state), number + 1, norm

        carry = (params, state, first, jnp.array(jnp.inf, start.dtype))
        if self.tolerance is None:
            carry = jax.lax.fori_loop(0, self.steps, lambda _, carry: step(carry), carry)
        else:
            carry = jax.lax.while_loop(self._goes_on, step, carry)
        params, state, steps, norm = carry
        return params, state, Report(start, objective(params, first), norm, steps)

    def _goes_on(self, carry):
        _, _, number, norm = carry
        # A gradient that is not a number will not become small either.
        return (number < self.steps) & (norm > self.tolerance)


STEP = instance_of(ByGradient, "is no inner training", "pass apo_sim.ByGradient(...)")
