"""Problem families by name, each a function of a key, of sizes and of parameters of its own."""

import inspect
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from apo_sim import families
from apo_sim.checks import WIDEST, Real, checked
from apo_sim.errors import InvalidArgument
from apo_sim.problems import Bandit, Problem

Family = Callable[..., Problem]
"""`family(key, contexts, arms, **parameters)`; parameters are numbers, maybe traced."""

SIZES = ("key", "contexts", "arms")
_SPREAD = Real(
    "must be within 1e300 of 0",
    # Single precision holds no such number, and every number of its own is within.
    lambda spread: abs(spread) <= np.float64(WIDEST),
    "pass a number such as 1.0",
).one()


@checked(spread=_SPREAD)
def uniform(key: Any, contexts: int, arms: int, spread: Any = 1.0) -> Bandit:
    """Rewards uniform in [-spread, spread], uniform reference."""
    bandit = families.uniform_bandit(key, contexts, arms)
    return Bandit(bandit.reward * spread, bandit.log_ref)


@checked(spread=_SPREAD)
def zipf(key: Any, contexts: int, arms: int, exponent: Any = 1.0, spread: Any = 1.0) -> Bandit:
    """Rewards uniform in [-spread, spread], a Zipf-like reference in random order."""
    of_reference, of_rewards = jax.random.split(key)
    log_ref = families.zipf_reference(of_reference, contexts, arms, exponent)
    bandit = families.uniform_bandit(of_rewards, log_ref=log_ref)
    return Bandit(bandit.reward * spread, bandit.log_ref)


def gap(key: Any, contexts: int, arms: int, gap: Any = 0.1) -> Bandit:
    """The best arm leads by `gap`."""
    return families.gap_bandit(key, gap, contexts, arms)


def two_level(key: Any, contexts: int, arms: int, p_star: Any = 0.1, gap: Any = 1.0) -> Bandit:
    """One arm of reference mass `p_star` leads all others by `gap`."""
    return families.two_level_bandit(p_star, gap, arms, contexts)


def tied(key: Any, contexts: int, arms: int) -> Bandit:
    """Rewards on three levels."""
    return families.tied_bandit(key, contexts=contexts, arms=arms)


def linear(key: Any, contexts: int, arms: int) -> Bandit:
    """Rewards linear in three random features."""
    of_features, of_rewards = jax.random.split(key)
    features = families.random_features(of_features, contexts, arms, 3)
    return families.linear_bandit(of_rewards, features)


def dominant(key: Any, contexts: int, arms: int, dominance: Any = 0.1) -> Problem:
    """Games with an arm that beats all others alike: Assumption B.1."""
    return families.dominant_game(key, contexts, arms, dominance)


def transitive(key: Any, contexts: int, arms: int) -> Problem:
    """Games with an order of the arms, not Bradley-Terry."""
    return families.transitive_game(key, contexts, arms)


def rock_paper_scissors(key: Any, contexts: int, arms: int, win_rate: Any = 0.9) -> Problem:
    """Three arms in a circle."""
    if (contexts, arms) != (1, 3):
        raise InvalidArgument(
            "arms", arms, "does not fit rock-paper-scissors", "pass arms=3, contexts=1"
        )
    return families.rock_paper_scissors(win_rate)


def random_game(key: Any, contexts: int, arms: int, spread: Any = 0.5) -> Problem:
    """Any antisymmetric preferences."""
    return families.random_game(key, contexts, arms, spread=jnp.asarray(spread))


NAMED: dict[str, Family] = {
    family.__name__: family
    for family in (
        uniform,
        zipf,
        gap,
        two_level,
        tied,
        linear,
        dominant,
        transitive,
        rock_paper_scissors,
        random_game,
    )
}


def parameters_of(family: Family) -> dict[str, Any]:
    """The family's own parameters with their defaults.

    Raises:
        InvalidArgument: it does not take a key and sizes, or does not say what it takes.

    Example:
        >>> parameters_of(two_level)
        {'p_star': 0.1, 'gap': 1.0}
    """
    remedy = "write family(key, contexts, arms, **parameters)"
    try:
        parameters = inspect.signature(family).parameters
    except (TypeError, ValueError):
        raise InvalidArgument("family", family, "does not reveal its arguments", remedy) from None
    if not {*SIZES} <= {*parameters}:
        raise InvalidArgument("family", family, "takes different arguments", remedy)
    several = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return {
        name: None if parameter.default is parameter.empty else parameter.default
        for name, parameter in parameters.items()
        if name not in SIZES and parameter.kind not in several
    }
