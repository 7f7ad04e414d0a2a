"""What policies over sequences share: all prefixes as a tree, level by level.

Level l holds the vocabulary^l prefixes of length l in lexicographic order, so that the children
of a prefix lie side by side and a sequence is an action with a number of its own.
"""

from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from apo_sim.checks import as_count
from apo_sim.policies.policy import Policy
from apo_sim.problems import LogPolicy
from apo_sim.sequences import check_sequences

# Every level has a number of prefixes of its own.
Level = Float[Array, "_ vocabulary"]


@runtime_checkable
class SequencePolicy(Policy, Protocol):
    """A policy whose actions are all sequences, in lexicographic order.

    Attributes:
        vocabulary: number of tokens.
        length: tokens in a sequence.
    """

    vocabulary: int
    length: int


def check_sizes(vocabulary: Any, length: Any, width: Any) -> None:
    """Refuse what is no count, and sets of sequences too large to enumerate."""
    as_count("width", width)
    check_sequences(vocabulary, length)


def log_joint(conditionals: tuple[Level, ...]) -> LogPolicy:
    """log-probability of every whole sequence, shape (1, sequences).

    Example:
        >>> half = jnp.log(jnp.full((1, 2), 0.5))
        >>> jnp.exp(log_joint((half, jnp.concatenate([half, half])))).round(4).tolist()
        [[0.25, 0.25, 0.25, 0.25]]
    """
    joint = jnp.zeros(1, conditionals[0].dtype)
    for level in conditionals:
        joint = (joint[:, None] + level).ravel()
    return joint[None]


def normal(key: Any, shape: tuple[int, int]) -> Float[Array, "..."]:
    """Weights of a layer, of variance 1 / inputs."""
    return jax.random.normal(key, shape) / shape[0] ** 0.5
