"""Two responses drawn together, the more often the less their comparison tells."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from apo_sim.checks import Real, check_single
from apo_sim.errors import InvalidArgument
from apo_sim.preferences.ranked_pairs import Cells
from apo_sim.problems import Bandit, LogPolicy, Problem
from apo_sim.pytree import pytree_dataclass

_BETA = Real(
    "lies outside [1e-6, 1e6]",
    lambda values: (values >= 1e-6) & (values <= 1e6),
    "pass a number such as 1.0",
)


@pytree_dataclass
class DPOMixP:
    """Pairs (y, y') with probability in proportion to 1/s'(d), d = h(y) - h(y').

    s is the logistic function and h = beta log(pi/pi_ref) of the policy in training. As
    1/s'(d) = 2 + e^d + e^-d, this mixes two kinds of pairs: uniform ones, in a share of K^2, and
    in a share of sum e^(h(y) - h(y')) ones of a response drawn as exp(h) and another as exp(-h).
    The weights undo the slope s' of the comparisons, so that with h near the reward DPO's loss is
    equally curved in all directions, and a gradient step of the right length is a Newton step.

    Args:
        beta: of the loss that is fitted, in [1e-6, 1e6].

    Raises:
        InvalidArgument: a weight out of range.

    Source: Shi, Zhou and Du (2025), "The crucial role of samplers in online direct preference
        optimization".

    Example:
        >>> bandit = Bandit(jnp.array([[2.0, 0.0]]), jnp.log(jnp.array([[0.5, 0.5]])))
        >>> policy = jax.nn.log_softmax(bandit.reward)
        >>> pairs = DPOMixP(beta=1.0).cells(bandit, policy)[0]
        >>> round(float(pairs[0, 1] + pairs[1, 0]), 3)
        0.704
    """

    beta: float | Float[Array, ""] = 1.0

    def __post_init__(self) -> None:
        check_single("beta", self.beta, _BETA.remedy)
        _BETA.check("beta", self.beta)

    def cells(self, problem: Problem, log_policy: LogPolicy) -> Cells:
        log_ref = _finite(problem.log_ref.astype(log_policy.dtype))
        beta = jnp.asarray(self.beta, log_policy.dtype)
        return _cells(problem, beta * (_finite(log_policy) - log_ref))


@pytree_dataclass
class DPOMixR:
    """Pairs (y, y') with probability in proportion to 1/s'(r*(y) - r*(y')), see `DPOMixP`.

    It needs the reward that is to be learned: what `DPOMixP` becomes once it is learned.

    Raises:
        InvalidArgument: a Game, which has no reward.

    Source: Shi, Zhou and Du (2025), "The crucial role of samplers in online direct preference
        optimization".

    Example:
        >>> bandit = Bandit(jnp.array([[2.0, 0.0]]), jnp.log(jnp.array([[0.5, 0.5]])))
        >>> pairs = DPOMixR().cells(bandit, bandit.log_ref)[0]
        >>> round(float(pairs[0, 1] + pairs[1, 0]), 3)
        0.704
    """

    def cells(self, problem: Problem, log_policy: LogPolicy) -> Cells:
        if not isinstance(problem, Bandit):
            raise InvalidArgument(
                "problem", problem, "has no reward to draw pairs by", "pass a Bandit, or DPOMixP()"
            )
        return _cells(problem, _finite(problem.reward.astype(log_policy.dtype)))


def log_weights(scores: Float[Array, "contexts arms"]) -> Float[Array, "contexts arms arms"]:
    """log 1/s'(d) of the differences d of two scores, shape (contexts, arms, arms).

    Example:
        >>> float(jnp.exp(log_weights(jnp.zeros((1, 2))))[0, 0, 1])
        4.0
    """
    lead = scores[:, :, None] - scores[:, None, :]
    return jax.nn.softplus(lead) + jax.nn.softplus(-lead)


def _cells(problem: Any, scores: Float[Array, "contexts arms"]) -> Cells:
    law = jax.nn.softmax(log_weights(scores), axis=(1, 2))
    return 2.0 * law * problem.preference  # a pair can be drawn in two orders


def _finite(scores: Float[Array, "contexts arms"]) -> Float[Array, "contexts arms"]:
    """The same, within a range where products with beta and their differences are finite."""
    large = float(jnp.finfo(scores.dtype).max) * 1e-8
    return jnp.clip(scores, -large, large)
