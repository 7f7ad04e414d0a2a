"""How much a program is optimised: little where it runs by itself, and the compiler takes longest.

A run of ten arms takes milliseconds, for which the compiler takes four seconds. With fewer
optimisations it takes half of them, and what runs by itself is up to a fifth slower, which is less
until some hundred thousand iterations. Runs side by side are worth all optimisations.
"""

import functools
import os
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.core import Tracer

_QUICKLY: dict[str, str | bool | int | float] = {
    "xla_backend_optimization_level": 1,
    "xla_cpu_use_fusion_emitters": False,
}


def jit_quickly(static_argnames: Sequence[str] = ()) -> Callable[[Callable[..., Any]], Any]:
    """`jax.jit`, which compiles in haste what runs by itself on a processor.

    What is called within `jax.jit`, `jax.vmap` and the like is compiled as they are. So is all
    where the environment's `XLA_FLAGS` say how much to optimise.

    Args:
        static_argnames: as in `jax.jit`.

    Example:
        >>> @jit_quickly(static_argnames=["times"])
        ... def scaled(number, times):
        ...     return number * times
        >>> float(scaled(2.0, times=3)), float(jax.jit(lambda number: scaled(number, times=3))(2.0))
        (6.0, 6.0)
    """

    def decorate(function: Callable[..., Any]) -> Any:
        thorough = jax.jit(function, static_argnames=static_argnames)
        quick = jax.jit(function, static_argnames=static_argnames, compiler_options=_QUICKLY)

        @functools.wraps(function)
        def call(*arguments: Any, **named: Any) -> Any:
            compiled = quick if _runs_by_itself((arguments, named)) else thorough
            return compiled(*arguments, **named)

        return call

    return decorate


def _runs_by_itself(inputs: Any) -> bool:
    if "xla_backend_optimization_level" in os.environ.get("XLA_FLAGS", ""):
        return False
    # A number made here is traced where everything is, whatever the inputs are.
    numbers = *jax.tree.leaves(inputs), jnp.zeros(())
    traced = any(isinstance(number, Tracer) for number in numbers)
    return not traced and jax.default_backend() == "cpu"
