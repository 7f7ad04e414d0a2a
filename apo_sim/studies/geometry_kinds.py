"""The geometries that the study compares, and all of them in one compiled program."""

from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from apo_sim.geometry import KL, Burg, ChiSquareKL, Euclidean, Tsallis
from apo_sim.geometry.bregman import Geometry
from apo_sim.pytree import pytree_dataclass

KINDS: dict[str, Geometry] = {
    "KL": KL(),
    "Tsallis 1/2": Tsallis(0.5),
    "Burg": Burg(),
    "χ² + KL": ChiSquareKL(),
    "Euclidean": Euclidean(),
    "Euclidean, agile": Euclidean(lazy=False),
}
COLOURS = dict(zip(KINDS, ("C0", "C3", "C4", "C5", "C2", "C6"), strict=True))


def scale(kind: str, arms: int) -> float:
    """The beta at which a small step from the uniform policy is as long as that of KL at beta 1.

    It is phi''(1/K) of KL over that of the kind: pi moves by (r - mean r) / (beta phi'').

    Example:
        >>> [round(scale(kind, 4), 6) for kind in KINDS]
        [1.0, 0.5, 0.25, 0.5, 4.0, 4.0]
    """
    even = jnp.full((1, arms), -jnp.log(float(arms)))
    geometry = KINDS[kind].at(even)
    stretch = jax.jvp(geometry.dual, (even,), (jnp.ones_like(even),))[1]
    return 1.0 / float(stretch[0, 0])


@pytree_dataclass
class AnyKind:
    """The geometry of a number, which may be traced: one program serves all of `KINDS`.

    Only the one asked for is computed, as long as the number is the same for all runs under
    `jax.vmap`.

    Args:
        which: place in `among`.
        among: the geometries.
    """

    which: Int[Array, ""] | int
    among: tuple[Geometry, ...] = tuple(KINDS.values())

    # Dual coordinates are then taken as the loop has them, which is right for every geometry.
    legendre: ClassVar[bool] = False
    of_log_ratio: ClassVar[bool] = False

    def at(self, log_ref: Any) -> "AnyKind":
        return AnyKind(self.which, tuple(one.at(log_ref) for one in self.among))

    def dual(self, log_policy: Any) -> Any:
        return self._picked(lambda one: one.dual(log_policy))

    def normalise(self, dual: Any) -> Any:
        return self._picked(lambda one: one.normalise(dual))

    def log_policy(self, dual: Any) -> Any:
        return self._picked(lambda one: one.log_policy(dual))

    def policy(self, dual: Any) -> Any:
        return self._picked(lambda one: one.policy(dual))

    def step(self, dual: Any, reward: Any, beta: Any) -> Any:
        return self._picked(lambda one: one.step(dual, reward, beta))

    def shift(self, dual: Any, reward: Any, beta: Any, where: Any = None, axis: int = -1) -> Any:
        return self._picked(lambda one: one.shift(dual, reward, beta, where, axis))

    def score(self, log_policy: Any, log_centre: Any) -> Any:
        return self._picked(lambda one: one.score(log_policy, log_centre))

    def normaliser(self, dual: Any, mass: Any = 1.0) -> Any:
        return self._picked(lambda one: one.normaliser(dual, mass))

    def divergence(self, log_policy: Any, log_centre: Any) -> Any:
        return self._picked(lambda one: one.divergence(log_policy, log_centre))

    def _picked(self, of: Callable[[Any], Any]) -> Any:
        calls = [lambda one=one: of(one) for one in self.among]
        return jax.lax.switch(self.which, calls)
