"""What this machine can do at best, in plain fused loops of the compiler that the library uses."""

from collections.abc import Callable
from statistics import median
from typing import Any

import jax
import jax.numpy as jnp
from paired import CPU_TIME, seconds_of

_IN_A_ROW = 8
"""Exponentials of one element in one pass, so that the pass itself costs little."""


def _rate(amount: float, run: Callable[[], Any]) -> float:
    run()
    return amount / median(seconds_of(run, CPU_TIME) for _ in range(5))


def exps_a_second(elements: int = 2**18, passes: int = 32) -> float:
    """Exponentials in double precision a second, so many in a row that memory does not count.

    The array is too large for a loop that is compiled as a single program, in which an exponential
    takes twice as long.
    """

    @jax.jit
    def loop(x):
        def one_pass(_, x):
            for _ in range(_IN_A_ROW):
                x = jnp.exp(-x)  # tends to 0.567, where no exponential is special
            return x

        return jax.lax.fori_loop(0, passes, one_pass, x)

    x = jnp.linspace(0.0, 1.0, elements)
    return _rate(elements * passes * _IN_A_ROW, lambda: jax.block_until_ready(loop(x)))


def bytes_a_second(elements: int, passes: int = 200) -> float:
    """Bytes read and written a second, by passes over one array of so many doubles."""

    @jax.jit
    def loop(x):
        return jax.lax.fori_loop(0, passes, lambda _, x: 0.5 * x + 1.0, x)

    x = jnp.linspace(0.0, 1.0, elements)
    return _rate(2 * 8 * elements * passes, lambda: jax.block_until_ready(loop(x)))
