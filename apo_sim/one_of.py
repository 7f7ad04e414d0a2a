"""One of several objects of a kind, picked by a number, so that one compiled program runs them all.

What picks lies inside of the program: no alternative costs a compilation of its own, and runs of
different ones go side by side.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from apo_sim.checks import check_single, concrete
from apo_sim.errors import InvalidArgument
from apo_sim.pytree import pytree_dataclass


@pytree_dataclass
class States:
    """The states of all alternatives, in their order."""

    each: tuple[Any, ...]


@pytree_dataclass
class OneOf:
    """The alternative of a number, wherever one of them could stand.

    A momentum rule, if they are momentum rules; likewise an optimiser, a space, a loss that is
    solved for, or any function. All of them are computed, each with a state of its own, and the
    results of one are passed on. They must return trees of one form.

    Args:
        which: place of the alternative, from 0; may be traced.
        among: the alternatives.

    Raises:
        InvalidArgument: no alternatives, or a number that is the place of none.

    Source: ours.

    Example:
        >>> from apo_sim import Averaging, Constant
        >>> rule = OneOf(1, (Averaging(0.5), Constant(0.5)))
        >>> float(rule.extrapolate(2.0, rule.init(1.0), 1)[0])
        2.5
        >>> float(OneOf(0, (jnp.exp, jnp.log))(0.0))
        1.0
    """

    which: int | Int[Array, ""]
    among: tuple[Any, ...]

    def __post_init__(self) -> None:
        if not isinstance(self.among, tuple | list) or not self.among:
            raise InvalidArgument(
                "among", self.among, "has no alternatives", "pass a tuple with at least one"
            )
        object.__setattr__(self, "among", tuple(self.among))
        _check_place(self.which, len(self.among))

    def __call__(self, *given: Any) -> Any:
        return self._picked([one(*given) for one in self.among])

    def init(self, *given: Any, **named: Any) -> States:
        """The state of a rule, an optimiser or a space."""
        return States(tuple(one.init(*given, **named) for one in self.among))

    def extrapolate(self, *given: Any, **named: Any) -> tuple[Any, ...]:
        """What a momentum rule or a space does with its state."""
        return self._step("extrapolate", given, named)

    def update(self, *given: Any, **named: Any) -> tuple[Any, ...]:
        """What an optimiser does with its state."""
        return self._step("update", given, named)

    def _step(self, method: str, given: Sequence[Any], named: Mapping[str, Any]) -> tuple[Any, ...]:
        """A method that is given a state, and returns the next one as the last of its results."""
        found = [
            getattr(one, method)(
                *(_own(value, place) for value in given),
                **{name: _own(value, place) for name, value in named.items()},
            )
            for place, one in enumerate(self.among)
        ]
        results = self._picked([result[:-1] for result in found])
        return (*results, States(tuple(result[-1] for result in found)))

    def _picked(self, results: list[Any]) -> Any:
        number = jnp.asarray(self.which, jnp.int32)
        return jax.tree.map(lambda *each: jax.lax.select_n(number, *_alike(each)), *results)


def _own(value: Any, place: int) -> Any:
    """An argument as the alternative of a place is to see it: of all states, its own."""
    return value.each[place] if isinstance(value, States) else value


def _check_place(which: Any, count: int) -> None:
    remedy = f"pass an integer from 0 to {count - 1}"
    check_single("which", which, remedy)
    array = isinstance(which, jax.Array | np.generic | np.ndarray)
    integer = jnp.issubdtype(which.dtype, jnp.integer) if array else isinstance(which, int)
    if not integer or isinstance(which, bool):
        raise InvalidArgument("which", which, "is not an integer", remedy)
    place = concrete(which)
    if place is not None and not 0 <= place < count:
        raise InvalidArgument("which", which, "is not the index of an alternative", remedy)


def _alike(leaves: tuple[Any, ...]) -> list[Any]:
    """In one precision and of one shape."""
    dtype = jnp.result_type(*leaves)
    return jnp.broadcast_arrays(*(jnp.asarray(leaf, dtype) for leaf in leaves))
