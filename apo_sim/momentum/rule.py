"""The interface of momentum rules: a pure pair (init, extrapolate) on any pytree."""

from typing import Any, Protocol, runtime_checkable

import jax
from jaxtyping import Array, Int

from apo_sim.checks import NUMBER, as_float, check_single
from apo_sim.errors import InvalidArgument

Tree = Any
State = Any


@runtime_checkable
class Momentum(Protocol):
    """A rule that turns the policy before extrapolation into the next proximal centre.

    The pytree represents the policy: the log-probabilities of a table (the loop normalises them
    again), the parameters of a network, or sharded arrays. The state is a pytree too.
    """

    def init(self, tree: Tree) -> State:
        """State before the first update; `tree` is the reference policy, pi_hat_0 = pi_0."""
        ...

    def extrapolate(self, new: Tree, state: State, t: int | Int[Array, ""]) -> tuple[Tree, State]:
        """From pi_hat_t (t = 1, 2, ...) to the proximal centre pi_t, and the next state."""
        ...


def step_beyond(new: Tree, old: Tree, weight: Any) -> Tree:
    """new + weight * (new - old), leaf by leaf.

    Example:
        >>> step_beyond({"a": 3.0}, {"a": 1.0}, 0.5)
        {'a': 4.0}
    """
    check_single("weight", weight, "pass one number")
    NUMBER("weight", weight)
    shapes = {name: _shapes(name, tree) for name, tree in (("new", new), ("old", old))}
    if shapes["new"] != shapes["old"]:
        raise InvalidArgument(
            "old", old, "has other shapes than `new`", "pass two pytrees of the same shapes"
        )
    return jax.tree.map(lambda n, o: n + weight * (n - o), new, old)


def _shapes(name: str, tree: Tree) -> Any:
    try:
        leaves, structure = jax.tree.flatten(tree)
    except ValueError as error:
        raise InvalidArgument(name, tree, "is not a pytree", "use keys of a single type") from error
    return structure, [as_float(name, leaf, None).shape for leaf in leaves]


class Extrapolation:
    """Rules of the form pi_t = pi_hat_t + alpha_t (pi_hat_t - pi_hat_{t-1}), (3.6) and (3.7).

    A subclass says what alpha_t is.
    """

    def alpha_at(self, t: int | Int[Array, ""]) -> Any:
        """alpha_t, for t = 1, 2, ..."""
        raise NotImplementedError

    def init(self, tree: Tree) -> State:
        return tree

    def extrapolate(self, new: Tree, state: State, t: int | Int[Array, ""]) -> tuple[Tree, State]:
        return step_beyond(new, state, self.alpha_at(t)), new
