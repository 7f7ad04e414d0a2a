"""No momentum: the plain proximal-point method."""

from typing import Any

from apo_sim.momentum.rule import State, Tree
from apo_sim.pytree import pytree_dataclass


@pytree_dataclass
class NoMomentum:
    """The proximal centre is the last policy: iterative DPO, SPPO or IPO as published.

    Example:
        >>> NoMomentum().extrapolate(2.0, NoMomentum().init(1.0), 1)
        (2.0, ())
    """

    def init(self, tree: Tree) -> State:
        return ()

    def extrapolate(self, new: Tree, state: State, t: Any) -> tuple[Tree, State]:
        return new, ()
