"""Sequences of tokens as arms: all of them, in lexicographic order."""

import math
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Int

from apo_sim.checks import as_count
from apo_sim.errors import InvalidArgument

MAX_SEQUENCES = 2**16


def check_sequences(vocabulary: Any, length: Any) -> None:
    """Refuse what is no count, and sets of sequences too large to enumerate."""
    vocabulary, length = as_count("vocabulary", vocabulary), as_count("length", length)
    if vocabulary < 2:
        raise InvalidArgument(
            "vocabulary", vocabulary, "has only one token", "pass an integer >= 2"
        )
    # The number of a language model's sequences has more digits than Python prints.
    magnitude = length * math.log10(vocabulary)
    if magnitude > 15 or vocabulary**length > MAX_SEQUENCES:
        number = f"10^{magnitude:.0f}" if magnitude > 15 else f"{vocabulary**length:,}"
        raise InvalidArgument(
            "length",
            length,
            f"gives {vocabulary}^{length} = {number} sequences, too many to enumerate",
            f"choose at most {MAX_SEQUENCES:,} sequences",
        )


def all_sequences(vocabulary: int, length: int) -> Int[Array, "sequences length"]:
    """The tokens of every sequence, in the order of `log_prob`.

    Example:
        >>> all_sequences(2, 2).tolist()
        [[0, 0], [0, 1], [1, 0], [1, 1]]
    """
    check_sequences(vocabulary, length)
    number = jnp.arange(vocabulary**length)
    places = vocabulary ** jnp.arange(length - 1, -1, -1)
    return number[:, None] // places % vocabulary
