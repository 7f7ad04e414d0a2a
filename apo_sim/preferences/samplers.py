"""Who draws a response: the policy in training, the reference, nobody in particular."""

from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from apo_sim.checks import (
    Real,
    as_float,
    check_single,
    concrete,
    instance_of,
    sequence_of,
    tolerance,
)
from apo_sim.errors import InvalidArgument
from apo_sim.problems import Bandit, LogPolicy, Problem, as_log_policy
from apo_sim.pytree import pytree_dataclass


@runtime_checkable
class Sampler(Protocol):
    """The law of a response, given the policy in training (that after extrapolation)."""

    def log_probs(self, problem: Problem, log_policy: LogPolicy) -> LogPolicy:
        """Log-probabilities of the response, shape (contexts, arms)."""
        ...


# Logits times more than that need not be finite numbers any more.
_WEIGHT = Real(
    "lies outside [-1e6, 1e6]", lambda values: abs(values) <= 1e6, "pass a number such as 0.5"
)

SAMPLER = instance_of(
    Sampler, "is not a sampler", "pass an instance such as apo_sim.preferences.FromReference()"
)


@pytree_dataclass
class FromPolicy:
    """The response is drawn from the policy in training, as on-policy methods do.

    Source: the paper's Algorithm 1.

    Example:
        >>> from apo_sim import families
        >>> bandit = families.uniform_bandit(jax.random.key(0), 1, 3)
        >>> FromPolicy().log_probs(bandit, bandit.log_ref) is bandit.log_ref
        True
    """

    def log_probs(self, problem: Problem, log_policy: LogPolicy) -> LogPolicy:
        return log_policy


@pytree_dataclass
class FromReference:
    """The response is drawn from the reference policy, as offline data are.

    Example:
        >>> from apo_sim import Bandit
        >>> bandit = Bandit(jnp.zeros((1, 2)), jnp.log(jnp.array([[0.25, 0.75]])))
        >>> FromReference().log_probs(bandit, jnp.log(jnp.full((1, 2), 0.5))).round(4).tolist()
        [[-1.3863, -0.2877]]
    """

    def log_probs(self, problem: Problem, log_policy: LogPolicy) -> LogPolicy:
        return problem.log_ref.astype(log_policy.dtype)


@pytree_dataclass
class Uniform:
    """Every arm is drawn equally often.

    Example:
        >>> from apo_sim import families
        >>> bandit = families.uniform_bandit(jax.random.key(0), 1, 4)
        >>> jnp.exp(Uniform().log_probs(bandit, bandit.log_ref)).tolist()
        [[0.25, 0.25, 0.25, 0.25]]
    """

    def log_probs(self, problem: Problem, log_policy: LogPolicy) -> LogPolicy:
        return jnp.full_like(log_policy, -np.log(problem.num_arms))


@pytree_dataclass
class FixedPolicy:
    """The response is drawn from a distribution that stays what it is.

    Args:
        log_policy: its log-probabilities, shape (contexts, arms), normalised, all finite.

    Raises:
        InvalidArgument: log-probabilities that are none; another shape than the problem's.

    Example:
        >>> from apo_sim import families
        >>> bandit = families.uniform_bandit(jax.random.key(0), 1, 2)
        >>> behaviour = FixedPolicy(jnp.log(jnp.array([[0.9, 0.1]])))
        >>> jnp.exp(behaviour.log_probs(bandit, bandit.log_ref)).round(6).tolist()
        [[0.9, 0.1]]
    """

    log_policy: LogPolicy

    def __post_init__(self) -> None:
        shape = as_float("log_policy", self.log_policy, (None, None)).shape
        log_policy = as_log_policy("log_policy", self.log_policy, shape)
        object.__setattr__(self, "log_policy", log_policy)

    def log_probs(self, problem: Problem, log_policy: LogPolicy) -> LogPolicy:
        if self.log_policy.shape != log_policy.shape:
            raise InvalidArgument(
                "log_policy",
                self.log_policy,
                f"is not for the problem's contexts and arms {log_policy.shape}",
                "pass one log-probability for each of them",
            )
        return self.log_policy.astype(log_policy.dtype)


@pytree_dataclass
class Mixture:
    """The response is drawn from one of several samplers, chosen at random each time.

    Args:
        weights: the probability of each sampler, shape (samplers,).
        samplers: as many of them.

    Raises:
        InvalidArgument: weights that are not a distribution, something that is not a sampler, or
            different numbers of the two.

    Example:
        >>> from apo_sim import Bandit
        >>> bandit = Bandit(jnp.zeros((1, 2)), jnp.log(jnp.array([[0.25, 0.75]])))
        >>> half = Mixture([0.5, 0.5], [FromReference(), Uniform()])
        >>> jnp.exp(half.log_probs(bandit, bandit.log_ref)).round(4).tolist()
        [[0.375, 0.625]]
    """

    weights: Float[Array, " samplers"]
    samplers: tuple[Sampler, ...]

    def __post_init__(self) -> None:
        samplers = _SAMPLERS("samplers", self.samplers)
        weights = as_float("weights", self.weights, (None,))
        if weights.shape != (len(samplers),):
            raise InvalidArgument(
                "weights", self.weights, f"is not for {len(samplers)} samplers", "pass one for each"
            )
        _check_distribution("weights", weights)
        object.__setattr__(self, "samplers", samplers)
        object.__setattr__(self, "weights", weights)

    def log_probs(self, problem: Problem, log_policy: LogPolicy) -> LogPolicy:
        parts = jnp.stack([s.log_probs(problem, log_policy) for s in self.samplers])
        weights = self.weights.astype(log_policy.dtype)[:, None, None]
        return jax.nn.logsumexp(parts, axis=0, b=weights)


@pytree_dataclass
class LogitMixture:
    """The response is drawn from softmax(a log pi + b log pi_ref + c r*), pi in training.

    Greedier or more timid than the policy, or pointing away from it. The second of the two pairs of
    samplers that `DPOMixP` mixes is (a, b) = (beta, -beta) against (-beta, beta); that of `DPOMixR`
    is c = 1 against c = -1. Of large models one draws such as (3/2, -1/2) against (1/2, 1/2).

    Args:
        of_policy: a, in [-1e6, 1e6].
        of_reference: b, in the same range.
        of_reward: c, in the same range; only a Bandit has rewards, and 0 asks for none.

    Raises:
        InvalidArgument: a weight that is no number in its range; a weight of rewards on a Game.

    Source: Shi, Zhou and Du (2025), "The crucial role of samplers in online direct preference
        optimization".

    Example:
        >>> from apo_sim import Bandit
        >>> bandit = Bandit(jnp.zeros((1, 2)), jnp.log(jnp.array([[0.25, 0.75]])))
        >>> uniform = jnp.log(jnp.full((1, 2), 0.5))
        >>> beyond = LogitMixture(2.0, -1.0).log_probs(bandit, uniform)
        >>> jnp.exp(beyond).round(4).tolist()
        [[0.75, 0.25]]
    """

    of_policy: float | Float[Array, ""] = 1.0
    of_reference: float | Float[Array, ""] = 0.0
    of_reward: float | Float[Array, ""] = 0.0

    def __post_init__(self) -> None:
        for name in ("of_policy", "of_reference", "of_reward"):
            check_single(name, getattr(self, name), _WEIGHT.remedy)
            _WEIGHT.check(name, getattr(self, name))

    def log_probs(self, problem: Problem, log_policy: LogPolicy) -> LogPolicy:
        terms = [(self.of_policy, log_policy), (self.of_reference, problem.log_ref)]
        if isinstance(problem, Bandit):
            terms.append((self.of_reward, problem.reward))
        elif not _is_zero(self.of_reward):
            raise InvalidArgument(
                "of_reward", self.of_reward, "needs rewards, which a Game does not have", "pass 0"
            )
        logits = sum(_weighted(weight, part, log_policy.dtype) for weight, part in terms)
        return jax.nn.log_softmax(logits, axis=1)


def _is_zero(number: Any) -> bool:
    value = concrete(number)
    return value is not None and not np.any(value)


def _weighted(weight: Any, values: Array, dtype: Any) -> Array:
    """Their product, finite even where an arm has vanished."""
    large = float(jnp.finfo(dtype).max) / 16
    finite = jnp.clip(values.astype(dtype), -large, large)
    return jnp.clip(jnp.asarray(weight, dtype) * finite, -large, large)


_SAMPLERS = sequence_of(SAMPLER, "is not a list of samplers", "pass a list of samplers")


def _check_distribution(name: str, weights: Any) -> None:
    values = concrete(weights)
    if values is None:
        return
    if np.any(values < 0) or abs(values.sum() - 1) > tolerance(weights.dtype):
        raise InvalidArgument(
            name, weights, "is not a distribution", "divide non-negative weights by their sum"
        )
