"""Strategies of hypothesis for problems, policies and parameters: test your own methods with them.

Not imported by `apo_sim` itself, and the only module that needs hypothesis. Arrays have one shape
unless a strategy is passed for `contexts` or `arms`: JAX compiles a property once a shape.

    >>> import apo_sim as apo
    >>> from apo_sim import testing
    >>> from hypothesis import given, settings
    >>> @settings(max_examples=5, deadline=None)
    ... @given(testing.bandits(), testing.betas(), testing.alphas())
    ... def test_momentum_is_a_smaller_beta(bandit, beta, alpha):
    ...     fast = apo.run(bandit, momentum=apo.Constant(alpha), beta=beta, iterations=3)
    ...     smaller = apo.theory.matched_beta(alpha, beta, 3)
    ...     plain = apo.run(bandit, beta=smaller, iterations=3)
    ...     error = abs(fast.final_log_policy - plain.final_log_policy)
    ...     assert (error <= 1e-9 * (1 + abs(plain.final_log_policy))).all()
    >>> test_momentum_is_a_smaller_beta()
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from apo_sim.checks import (
    NON_NEGATIVE,
    POSITIVE,
    SHARE,
    Kind,
    as_count,
    checked,
    instance_of,
    optional,
    within,
)
from apo_sim.errors import InvalidArgument
from apo_sim.problems import Bandit, Game

try:
    from hypothesis import strategies as st
    from hypothesis.extra import numpy as arrays_of
except ImportError as _missing:  # pragma: no cover
    raise ImportError(
        "apo_sim.testing needs hypothesis; install it with pip install 'apo-sim[test]'"
    ) from _missing

Size = int | st.SearchStrategy[int]


def _size(name: str, value: Any) -> Any:
    return value if isinstance(value, st.SearchStrategy) else as_count(name, value)


def _strategy(name: str, value: Any) -> Any:
    is_one = instance_of(
        st.SearchStrategy, "is not a strategy", "pass one, such as testing.alphas()"
    )
    return is_one(name, value)


def _as_it_is(kind: Kind) -> Kind:
    """A number as Python has it: single precision would round an alpha near 1 to 1."""

    def number(name: str, value: Any) -> float:
        kind(name, value)
        return float(value)

    return number


_BELOW_ONE = _as_it_is(SHARE.one())
_ABOVE_ZERO = _as_it_is(POSITIVE.one())
_AT_LEAST_ZERO = _as_it_is(NON_NEGATIVE.one())
_GAP = _as_it_is(within("in [0, 2)", lambda gap: (gap >= 0) & (gap < 2)).one())
_BELOW_HALF = _as_it_is(within("in [0, 1/2)", lambda d: (d >= 0) & (d < 0.5)).one())

__all__ = [
    "alphas",
    "bandits",
    "betas",
    "context_distributions",
    "games",
    "keys",
    "policies",
    "reward_paths",
    "schedules",
    "win_counts",
]


@checked(max_value=_BELOW_ONE)
def alphas(max_value: float = 1 - 1e-12) -> st.SearchStrategy[float]:
    """Extrapolations in [0, max_value], as close to 1 as asked for.

    Example:
        >>> from hypothesis import find
        >>> find(alphas(), lambda alpha: alpha > 0.5) < 1
        True
    """
    special = [a for a in (0.0, 0.3, 0.9, 0.999, 1 - 1e-6) if a <= max_value]
    return st.sampled_from([*special, max_value]) | _floats(0.0, max_value)


@checked(min_value=_ABOVE_ZERO, max_value=_ABOVE_ZERO)
def betas(min_value: float = 1e-3, max_value: float = 1e3) -> st.SearchStrategy[float]:
    """Proximal weights, uniform in their logarithm.

    Example:
        >>> from hypothesis import find
        >>> find(betas(), lambda beta: True)
        1.0
    """
    if min_value > max_value:
        raise InvalidArgument("min_value", min_value, "is above max_value", "swap the two")
    exponents = st.floats(float(np.log10(min_value)), float(np.log10(max_value)))
    return exponents.map(lambda exponent: float(np.clip(10.0**exponent, min_value, max_value)))


@checked(elements=_strategy, iterations=as_count)
def schedules(elements: st.SearchStrategy[float], iterations: int) -> st.SearchStrategy[jax.Array]:
    """Arrays of shape (iterations,), such as `schedules(alphas(), 5)`.

    Example:
        >>> from hypothesis import find
        >>> find(schedules(betas(), 3), lambda beta: True).tolist()
        [1.0, 1.0, 1.0]
    """
    return st.lists(elements, min_size=iterations, max_size=iterations).map(jnp.array)


def keys() -> st.SearchStrategy[jax.Array]:
    """Random keys.

    Example:
        >>> from hypothesis import find
        >>> find(keys(), lambda key: True) == jax.random.key(0)
        Array(True, dtype=bool)
    """
    return st.integers(0, 2**32 - 1).map(jax.random.key)


@checked(contexts=_size, arms=_size, max_log_ratio=_AT_LEAST_ZERO)
def policies(
    contexts: Size = 2, arms: Size = 4, max_log_ratio: float = 30.0
) -> st.SearchStrategy[jax.Array]:
    """Normalised log-probabilities, shape (contexts, arms); also for `log_ref`.

    Args:
        contexts: number of contexts, or a strategy for it.
        arms: number of arms, or a strategy for it.
        max_log_ratio: log of the largest mass over the smallest; 690 reaches 1e-300.

    Example:
        >>> from hypothesis import find
        >>> jnp.exp(find(policies(1, 2), lambda policy: True)).round(6).tolist()
        [[0.5, 0.5]]
    """
    return _shapes(contexts, arms).flatmap(lambda shape: _policies(shape, max_log_ratio))


@checked(contexts=as_count)
def context_distributions(contexts: int) -> st.SearchStrategy[jax.Array]:
    """Probabilities of contexts, shape (contexts,); some contexts may never come up.

    Example:
        >>> from hypothesis import find
        >>> find(context_distributions(2), lambda probs: True).shape
        (2,)
    """
    weights = arrays_of.arrays(np.float64, (contexts,), elements=_floats(0.0, 1.0))
    some = weights.filter(lambda weights: weights.sum() > 1e-3)
    return (some | st.just(np.ones(contexts))).map(lambda w: jnp.asarray(w / w.sum()))


@checked(contexts=_size, arms=_size, min_gap=_GAP, max_log_ratio=_AT_LEAST_ZERO)
def bandits(
    contexts: Size = 2,
    arms: Size = 4,
    *,
    min_gap: float = 0.0,
    max_log_ratio: float = 30.0,
) -> st.SearchStrategy[Bandit]:
    """Bandits with rewards in [-1, 1] and any reference policy and distribution of contexts.

    Args:
        contexts: number of contexts, or a strategy for it.
        arms: number of arms, or a strategy for it.
        min_gap: least lead of the best arm, below 2; at 0 arms may tie.
        max_log_ratio: log of the largest reference mass over the smallest.

    Example:
        >>> from hypothesis import find
        >>> find(bandits(1, 2), lambda bandit: True).reward.shape
        (1, 2)
    """

    def of_shape(shape):
        # Coarse rewards are there for their ties, which random ones never have.
        element = _floats(-1.0, 1.0) | st.integers(-2, 2).map(lambda level: level / 2)
        rewards = arrays_of.arrays(np.float64, shape, elements=element)
        if min_gap > 0:
            best = arrays_of.arrays(np.int64, shape[:1], elements=st.integers(0, shape[1] - 1))
            rewards = st.builds(_with_gap, rewards, best, st.just(min_gap))
        return st.builds(
            Bandit,
            rewards.map(jnp.asarray),
            _policies(shape, max_log_ratio),
            context_distributions(shape[0]),
        )

    return _shapes(contexts, arms).flatmap(of_shape)


@checked(
    contexts=_size,
    arms=_size,
    min_dominance=optional(_BELOW_HALF),
    max_log_ratio=_AT_LEAST_ZERO,
)
def games(
    contexts: Size = 2,
    arms: Size = 4,
    *,
    min_dominance: float | None = None,
    max_log_ratio: float = 30.0,
) -> st.SearchStrategy[Game]:
    """Games with any preferences, cycles and certain wins included.

    Args:
        contexts: number of contexts, or a strategy for it.
        arms: number of arms, or a strategy for it.
        min_dominance: Delta of Assumption B.1, in [0, 1/2), which one arm then fulfils; None
            for no such arm.
        max_log_ratio: log of the largest reference mass over the smallest.

    Example:
        >>> from hypothesis import find
        >>> game = find(games(1, 3, min_dominance=0.2), lambda game: True)
        >>> bool(game.dominance[0] > 0.2 - 1e-6)
        True
    """

    def of_shape(shape):
        element = _floats(0.0, 1.0) | st.sampled_from([0.0, 0.5, 1.0])
        matrices = arrays_of.arrays(np.float64, (*shape, shape[1]), elements=element)
        matrices = matrices.map(_antisymmetric)
        if min_dominance is not None:
            matrices = st.builds(_with_dominance, matrices, st.just(min_dominance))
        return st.builds(
            Game,
            matrices.map(jnp.asarray),
            _policies(shape, max_log_ratio),
            context_distributions(shape[0]),
        )

    return _shapes(contexts, arms).flatmap(of_shape)


@checked(iterations=as_count, contexts=as_count, arms=as_count, max_size=_ABOVE_ZERO)
def reward_paths(
    iterations: int, contexts: int = 2, arms: int = 4, max_size: float = 10.0
) -> st.SearchStrategy[jax.Array]:
    """Any rewards r_0 ... r_{T-1}, shape (iterations, contexts, arms), for `closed_form`.

    Example:
        >>> from hypothesis import find
        >>> find(reward_paths(3), lambda rewards: True).shape
        (3, 2, 4)
    """
    shape = (iterations, contexts, arms)
    elements = _floats(-max_size, max_size)
    return arrays_of.arrays(np.float64, shape, elements=elements).map(jnp.asarray)


@checked(contexts=_size, arms=_size, max_count=as_count)
def win_counts(
    contexts: Size = 2, arms: Size = 4, max_count: int = 10**6
) -> st.SearchStrategy[jax.Array]:
    """Counts wins[x, i, j] of i beating j, shape (contexts, arms, arms).

    Zeros abound: arms never seen, arms that never lost, arms compared within groups only.

    Example:
        >>> from hypothesis import find
        >>> float(find(win_counts(1, 3), lambda wins: True).sum())
        0.0
    """
    count = st.just(0) | st.integers(0, 3) | st.integers(0, max_count)
    return _shapes(contexts, arms).flatmap(
        lambda shape: arrays_of.arrays(np.int64, (*shape, shape[1]), elements=count).map(
            lambda counts: jnp.asarray(counts, dtype=float)
        )
    )


def _shapes(contexts: Size, arms: Size) -> st.SearchStrategy[tuple[int, int]]:
    return st.tuples(_sizes(contexts), _sizes(arms))


def _floats(low: float, high: float) -> st.SearchStrategy[float]:
    """Numbers that XLA and NumPy agree on: XLA takes subnormal ones for zero."""
    return st.floats(low, high, allow_subnormal=False)


def _sizes(size: Size) -> st.SearchStrategy[int]:
    return size if isinstance(size, st.SearchStrategy) else st.just(size)


def _policies(shape: tuple[int, int], max_log_ratio: float) -> st.SearchStrategy[jax.Array]:
    logits = arrays_of.arrays(np.float64, shape, elements=_floats(-max_log_ratio, 0.0))
    return logits.map(lambda z: jnp.asarray(z - np.logaddexp.reduce(z, axis=1, keepdims=True)))


def _with_gap(reward: np.ndarray, best: np.ndarray, gap: float) -> np.ndarray:
    """Squeeze the others into what lies `gap` below the best arm, which gets reward 1."""
    squeezed = (reward + 1.0) * (2.0 - gap) / 2.0 - 1.0
    return np.where(np.arange(reward.shape[1]) == best[:, None], 1.0, squeezed)


def _antisymmetric(matrix: np.ndarray) -> np.ndarray:
    """The upper triangle's preferences, in both directions."""
    upper = np.triu(matrix, 1)
    lower = np.tril(1.0 - np.swapaxes(matrix, 1, 2), -1)
    return upper + lower + 0.5 * np.eye(matrix.shape[1])


def _with_dominance(preference: np.ndarray, dominance: float) -> np.ndarray:
    """Let arm 0 do better by `dominance`, against every opponent, than any other arm."""
    tamed = 0.5 + (1.0 - 2.0 * dominance) * (preference - 0.5)
    least = tamed[:, 1:].max(axis=1) + dominance
    # What its own row had to say now says how much better than needed it does.
    leads = np.minimum(least + preference[:, 0] * (1.0 - least), 1.0)[:, 1:]
    tamed[:, 0, 1:], tamed[:, 1:, 0] = leads, 1.0 - leads
    return tamed
