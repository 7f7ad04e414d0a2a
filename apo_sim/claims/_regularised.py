"""Preference games with a price on leaving the reference, and their equilibria.

Either player pays price * KL(policy, pi_ref). The equilibrium is the one policy with
log pi = log pi_ref + P(. > pi) / price up to a constant; it is solved for by Newton's method, which
knows nothing of the methods whose last policy is judged against it.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from apo_sim.claims import judge
from apo_sim.claims.verdict import ClaimError, Study
from apo_sim.problems import Game

# KL(equilibrium, what was found), by its certificate. Bounds are judged where they are well above.
CERTIFIED = 1e-22
JUDGED = 1e-12
NEWTON, HALVINGS = 60, 2.0 ** -np.arange(16)


class Games(NamedTuple):
    """Games of one context, each with its price.

    Attributes:
        preference: P(y > y'), shape (n, K, K).
        log_ref: reference log-probabilities, shape (n, K).
        price: shape (n,).
        log_equilibrium: log-probabilities, shape (n, K).
    """

    preference: np.ndarray
    log_ref: np.ndarray
    price: np.ndarray
    log_equilibrium: np.ndarray

    def witness(self, index: int) -> dict[str, Any]:
        """One game as plain data."""
        return {
            "preference": self.preference[index],
            "reference": np.exp(self.log_ref[index]),
            "price": self.price[index],
            "equilibrium": np.exp(self.log_equilibrium[index]),
        }


def games(preference: np.ndarray, log_ref: np.ndarray, price: np.ndarray) -> Games:
    """Games with their equilibria."""
    return Games(preference, log_ref, price, equilibria(preference, log_ref, price))


def random(
    rng: np.random.Generator, count: int, arms: int, prices: tuple[float, float] = (0.05, 5.0)
) -> Games:
    """Random games of every kind that rates are sensitive to.

    Preferences are uniform, certain either way, of a cycle with noise, or those of uniform
    rewards; references go from uniform to some that leave an arm 1e-9; prices are log-uniform.

    Example:
        >>> drawn = random(np.random.default_rng(0), count=20, arms=3)
        >>> bool(np.all(certificate(*drawn) < CERTIFIED))
        True
    """
    entries = rng.uniform(-1, 1, (count, arms, arms))
    cycle = _cycle(arms) + 0.2 * entries
    rewards = rng.uniform(0, 1, (count, arms))
    by_reward = rewards[:, :, None] - rewards[:, None]
    kind = rng.integers(4, size=(count, 1, 1))
    upper = np.select([kind == 0, kind == 1, kind == 2], [entries, np.sign(entries), cycle])
    lead = np.where(kind == 3, by_reward, _antisymmetric(np.clip(upper, -1, 1))) / 2
    spread = rng.choice([0.0, 1.0, 6.0], (count, 1)) * rng.normal(size=(count, arms))
    log_ref = _log_softmax(np.maximum(spread, spread.max(axis=1, keepdims=True) - 20))
    low, high = np.log(prices)
    return games(0.5 + lead, log_ref, np.exp(rng.uniform(low, high, count)))


def join(*parts: Games) -> Games:
    """All of them in one, in order; of equal numbers of arms."""
    return Games(*(np.concatenate(fields) for fields in zip(*parts, strict=True)))


def equilibria(preference: np.ndarray, log_ref: np.ndarray, price: np.ndarray) -> np.ndarray:
    """The log-probabilities of the equilibria, shape (n, K).

    Newton's method with a step that is halved until the residual falls. Its matrix
    1 - (P - 1/2) S / price, S the covariance of the policy, is never singular: the eigenvalues of
    an antisymmetric matrix times a positive one are imaginary.

    Raises:
        ClaimError: if one is not found to within its certificate.

    Example:
        >>> even = np.full((1, 2, 2), 0.5)
        >>> np.exp(equilibria(even, np.log([[0.7, 0.3]]), np.ones(1))).round(6).tolist()
        [[0.7, 0.3]]
    """
    lead, paid = preference - 0.5, price[:, None]

    def residual(logits: np.ndarray) -> np.ndarray:
        policy = np.exp(_log_softmax(logits))
        return logits - log_ref - np.einsum("nab,...nb->...na", lead, policy) / paid

    logits = log_ref.copy()
    for _ in range(NEWTON):
        if np.all(certificate(preference, log_ref, price, _log_softmax(logits)) < CERTIFIED / 100):
            break
        policy = np.exp(_log_softmax(logits))
        covariance = policy[:, :, None] * (np.eye(policy.shape[1]) - policy[:, None])
        matrix = np.eye(policy.shape[1]) - lead @ covariance / paid[:, :, None]
        step = np.linalg.solve(matrix, residual(logits)[:, :, None])[:, :, 0]
        tried = logits - HALVINGS[:, None, None] * step
        best = np.argmin(np.square(residual(tried)).sum(axis=-1), axis=0)
        logits = tried[best, np.arange(len(logits))]
    found = _log_softmax(logits)
    missed = certificate(preference, log_ref, price, found)
    if not np.all(missed < CERTIFIED):
        raise ClaimError(
            f"an equilibrium was found only to within a divergence of {np.max(missed):.1e}"
        )
    return found


def certificate(
    preference: np.ndarray, log_ref: np.ndarray, price: np.ndarray, log_policy: np.ndarray
) -> np.ndarray:
    """What KL(equilibrium, policy) is at most, shape (n,).

    With g = log pi - log pi_ref - P(. > pi) / price, KL both ways is <pi - pi*, g>: the
    preferences drop out, as P - 1/2 is antisymmetric. That is at most TV(pi, pi*) range(g), and by
    Pinsker at least 4 TV^2; so it is at most range(g)^2 / 4.
    """
    rates = np.einsum("nab,nb->na", preference - 0.5, np.exp(log_policy))
    off = log_policy - log_ref - rates / price[:, None]
    return np.square(np.ptp(off, axis=1)) / 4


def divergence(log_equilibrium: Any, log_policy: Any) -> Any:
    """KL(equilibrium, policy) in which nothing cancels, over the last axis; in JAX."""
    apart = log_policy - log_equilibrium
    return jnp.sum(jnp.exp(log_equilibrium) * (jnp.expm1(apart) - apart), axis=-1)


def as_game(preference: Any, log_ref: Any) -> Game:
    """A game of one context."""
    return Game(preference[None], log_ref[None])


def climb(
    study: Study,
    score: Callable[[Games, Any], Any],
    price: np.ndarray,
    step: np.ndarray,
    *,
    arms: int,
    steps: int,
) -> tuple[Games, np.ndarray, np.ndarray]:
    """Games that an adversary reaches by gradient ascent through the loop.

    It moves all preferences and the equilibrium; the reference is the one that makes it so.
    A check and its negative control share the starts.

    Args:
        study: seeds the starts.
        score: what is climbed, from one game and a step to a scalar.
        price: one a start, shape (n,); given, not climbed.
        step: alike.
        arms: number of arms.
        steps: steps of Adam.

    Returns:
        The best game of every start with the equilibria solved for anew, its score, and the best
        score of every start so far, shape (steps, n).
    """
    rng = dataclasses.replace(study, variant="stated").rng(1)
    # Every other start is near a cycle, whose win rates turn fastest; the others are anywhere.
    near = (np.arange(price.size) % 2 == 1)[:, None]
    starts = {
        "lead": rng.normal(size=(price.size, arms, arms)) + 2 * near[:, :, None] * _cycle(arms),
        "equilibrium": np.where(near, 0.5, 2.0) * rng.normal(size=(price.size, arms)),
        "price": price,
        "step": step,
    }

    def build(params: Any) -> Games:
        lead = _antisymmetric(jnp.tanh(params["lead"])) / 2
        log_equilibrium = jax.nn.log_softmax(params["equilibrium"])
        paid = jax.lax.stop_gradient(params["price"])
        rates = lead @ jnp.exp(log_equilibrium)
        log_ref = jax.nn.log_softmax(log_equilibrium - rates / paid)
        return Games(0.5 + lead, log_ref, paid, log_equilibrium)  # type: ignore[arg-type]

    def objective(params: Any) -> Any:
        return score(build(params), jax.lax.stop_gradient(params["step"]))

    top = judge.climb(objective, starts, steps=steps, learning_rate=0.1)
    built = jax.jit(jax.vmap(build))(top.all_params)
    found = games(*(np.asarray(field) for field in built[:3]))
    return found, np.asarray(top.all_values), np.asarray(top.trace)


def _cycle(arms: int) -> np.ndarray:
    """Signs of P - 1/2 where each arm beats those up to half way round, shape (K, K)."""
    places = np.arange(arms)
    ahead = (places - places[:, None]) % arms
    return np.sign(arms / 2 - ahead) * (ahead > 0)


def _antisymmetric(upper: Any) -> Any:
    upper = upper * np.triu(np.ones(upper.shape[-2:]), 1)
    return upper - upper.swapaxes(-1, -2)


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    return logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True)
