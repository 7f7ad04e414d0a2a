# pyright: reportMissingTypeStubs=false
# What optax exports is annotated, but the package does not say so.
"""Optimisers for the inner training: those of optax, with settings that may be traced.

Any `optax.GradientTransformation` works too; these three are pytrees, so that one compiled program
can run many learning rates side by side.
"""

from typing import Any, Protocol, runtime_checkable

import optax
from jaxtyping import Array, Float

from apo_sim.checks import NON_NEGATIVE, check_extrapolation, check_positive, check_single
from apo_sim.errors import InvalidArgument
from apo_sim.pytree import opaque, pytree_dataclass, static

Number = float | int | Float[Array, ""]


@runtime_checkable
class Optimizer(Protocol):
    """What optax calls a gradient transformation."""

    def init(self, params: Any) -> Any:
        """State before the first step."""
        ...

    def update(self, updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        """From a gradient to what is added to the parameters."""
        ...


class _Settings:
    """An optimiser made of its settings whenever it is used."""

    def _transformation(self) -> optax.GradientTransformation:
        raise NotImplementedError

    def init(self, params: Any) -> Any:
        return self._transformation().init(params)

    def update(self, updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        return self._transformation().update(updates, state, params)

    def _check(self, *shares: str) -> None:
        check_single("learning_rate", self.learning_rate, "pass one number")  # type: ignore[attr-defined]
        check_positive("learning_rate", self.learning_rate)  # type: ignore[attr-defined]
        for name in shares:
            check_single(name, getattr(self, name), "pass one number")
            check_extrapolation(getattr(self, name), unrestricted=False, name=name)


@pytree_dataclass
class SGD(_Settings):
    """Stochastic gradient descent.

    Args:
        learning_rate: step size, above 0.
        momentum: share of the old velocity kept at each step (heavy ball), in [0, 1).

    Raises:
        InvalidArgument: a setting out of its range.

    Example:
        >>> import jax.numpy as jnp
        >>> rule = SGD(0.5)
        >>> float(rule.update(jnp.array(2.0), rule.init(jnp.array(1.0)))[0])
        -1.0
    """

    learning_rate: Number
    momentum: Number = 0.0

    def __post_init__(self) -> None:
        self._check("momentum")

    def _transformation(self) -> optax.GradientTransformation:
        return optax.sgd(self.learning_rate, self.momentum)  # type: ignore[arg-type]


@pytree_dataclass
class AdamW(_Settings):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019), with the reviews' defaults.

    Args:
        learning_rate: step size, above 0.
        b1: decay rate of the mean of the gradients, in [0, 1).
        b2: decay rate of the mean of their squares, in [0, 1).
        weight_decay: decay of the parameters at each step, in units of the step size.

    Raises:
        InvalidArgument: a setting out of its range.

    Example:
        >>> import jax.numpy as jnp
        >>> rule = AdamW(0.5)
        >>> round(
        ...     float(rule.update(jnp.array(2.0), rule.init(jnp.array(1.0)), jnp.array(1.0))[0]), 4
        ... )
        -0.5
    """

    learning_rate: Number
    b1: Number = 0.9
    b2: Number = 0.999
    weight_decay: Number = 0.0

    def __post_init__(self) -> None:
        self._check("b1", "b2")
        check_single("weight_decay", self.weight_decay, "pass one number")
        NON_NEGATIVE.check("weight_decay", self.weight_decay)

    def _transformation(self) -> optax.GradientTransformation:
        return optax.adamw(self.learning_rate, self.b1, self.b2, weight_decay=self.weight_decay)  # type: ignore[arg-type]


@pytree_dataclass
class RMSProp(_Settings):
    """Gradients divided by the root of the mean of their squares (the paper's optimiser).

    Args:
        learning_rate: step size, above 0.
        decay: decay rate of the mean of squares, in [0, 1).

    Raises:
        InvalidArgument: a setting out of its range.

    Example:
        >>> import jax.numpy as jnp
        >>> rule = RMSProp(0.5, decay=0.75)
        >>> round(float(rule.update(jnp.array(2.0), rule.init(jnp.array(1.0)))[0]), 4)
        -1.0
    """

    learning_rate: Number
    decay: Number = 0.99

    def __post_init__(self) -> None:
        self._check("decay")

    def _transformation(self) -> optax.GradientTransformation:
        return optax.rmsprop(self.learning_rate, self.decay)  # type: ignore[arg-type]


@pytree_dataclass
class _Optax:
    """A transformation of optax, as part of the compiled program: it is made of functions."""

    transformation: Any = static()

    def init(self, params: Any) -> Any:
        return self.transformation.init(params)

    def update(self, updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        return self.transformation.update(updates, state, params)


def as_optimizer(value: Any) -> Optimizer:
    """Return an optimiser that is a pytree, from one of these or one of optax.

    Raises:
        InvalidArgument: the value is not an optimiser.

    Example:
        >>> as_optimizer(SGD(0.1))
        SGD(learning_rate=0.1, momentum=0.0)
    """
    if isinstance(value, type) or not isinstance(value, Optimizer):
        raise InvalidArgument(
            "optimizer",
            value,
            "is not an optimiser",
            "pass an instance such as apo_sim.AdamW(1e-3), or one of optax",
        )
    made_of_functions = isinstance(value, optax.GradientTransformation) or opaque(value)
    return _Optax(value) if made_of_functions else value
