"""The method once more, as plain NumPy loops: the oracle of the closed forms."""

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np

from apo_sim.problems import Bandit, Game


@dataclass
class Run:
    """What theory reads of a run."""

    log_policy: Any
    behaviour: Any = None
    rewards: Any = None
    gamma: Any = None


def log_normalise(logits):
    return logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True)


def run(log_ref, reward_of, alpha, beta, iterations):
    """The path of Algorithm 1; `reward_of(t, log pi_t)` gives r_t, shape (contexts, arms)."""
    alpha = np.broadcast_to(alpha, (iterations,))
    beta = np.broadcast_to(beta, (iterations,))
    before, after, rewards = [log_ref], [log_ref], []
    for t in range(iterations):
        rewards.append(reward_of(t, after[-1]))
        before.append(log_normalise(after[-1] + rewards[-1] / beta[t]))
        after.append(log_normalise(before[-1] + alpha[t] * (before[-1] - before[-2])))
    return Run(np.array(before), np.array(after), np.array(rewards))


def solution(log_ref, reward_of, alpha, beta, iterations):
    """A run with the attributes that theory reads, gamma from the definition of the weights."""
    path = run(log_ref, reward_of, alpha, beta, iterations)
    weights = (1 - alpha ** np.arange(1, iterations + 1)) / (1 - alpha)
    path.gamma = np.cumsum(weights) / beta
    return path


def random_log_policy(rng, contexts, arms, spread=3.0):
    return log_normalise(spread * rng.normal(size=(contexts, arms)))


def random_bandit(seed, contexts=2, arms=4):
    rng = np.random.default_rng(seed)
    reward = rng.uniform(-1, 1, (contexts, arms))
    context_probs = rng.dirichlet(np.ones(contexts))
    log_ref = random_log_policy(rng, contexts, arms)
    return Bandit(jnp.asarray(reward), jnp.asarray(log_ref), jnp.asarray(context_probs))


def random_game(seed, contexts=2, arms=4):
    rng = np.random.default_rng(seed)
    upper = np.triu(rng.uniform(size=(contexts, arms, arms)), 1)
    lower = np.tril(1 - np.swapaxes(upper, 1, 2), -1)
    preference = upper + lower + np.eye(arms) / 2
    return Game(jnp.asarray(preference), jnp.asarray(random_log_policy(rng, contexts, arms)))
