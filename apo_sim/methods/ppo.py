"""PPO with a clipped ratio on a table of logits, as public code for language models has it."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, Key

from apo_sim.checks import NON_NEGATIVE, as_count, check_positive, check_single
from apo_sim.methods._on_rewards import OnRewards, RewardState
from apo_sim.methods.method import Report
from apo_sim.methods.reward_sources import RewardSource, TrueReward
from apo_sim.optimizers import AdamW, Optimizer, as_optimizer
from apo_sim.preferences.scored import Scored
from apo_sim.problems import LogPolicy, Problem
from apo_sim.pytree import like, pytree_dataclass, static

# What public code adds to the variance of the advantages before it divides by its root.
_TINY = 1e-8

Table = Float[Array, "contexts arms"]


@pytree_dataclass
class PPOState(RewardState):
    """Where it stands.

    Attributes:
        optimizer: the optimiser's state, which goes on from iteration to iteration.
    """

    optimizer: Any


@pytree_dataclass
class PPO(OnRewards):
    """Gradient ascent on E min(rho A, clip(rho, 1 - c, 1 + c) A), rho = pi / pi_t, on logits.

    The expectation is over what was drawn from pi_t. A is r - kl_coefficient log(pi_t / pi_ref)
    minus its mean over what was drawn in the context, divided by its root mean square over all
    that was drawn; A and pi_t stay what they are during the epochs. An epoch is one step on all
    that was drawn. The baseline is that mean; there is no value network.

    Args:
        source: of the reward, see `apo_sim.methods.reward_sources`; both responses of a pair must
            come from the policy.
        clip: c, above 0; no ratio is clipped from below from 1 on.
        epochs: gradient steps an iteration.
        kl_coefficient: price of log(pi_t / pi_ref), at least 0.
        optimizer: from `apo_sim.optimizers`, or any `optax.GradientTransformation`.

    Raises:
        InvalidArgument: a number out of its range, something that is no source or optimiser.

    Source: Schulman et al. (2017), "Proximal policy optimization algorithms", equation (7);
        penalty, normalised advantages, four epochs and Adam as in TRL's PPOTrainer, whose
        numbers the defaults are but for the step of Adam.

    Example:
        >>> import apo_sim as apo
        >>> bandit = apo.Bandit(jnp.array([[1.0, 0.0]]), jnp.log(jnp.array([[0.5, 0.5]])))
        >>> solution = apo.solve(bandit, PPO(optimizer=apo.AdamW(0.1)), iterations=3)
        >>> [round(float(gap), 3) for gap in solution.suboptimality]
        [0.318, 0.191, 0.111]
    """

    source: RewardSource = TrueReward()
    clip: float | Float[Array, ""] = 0.2
    epochs: int = static(default=4)
    kl_coefficient: float | Float[Array, ""] = 0.05
    optimizer: Optimizer = AdamW(0.05)

    needs_own_responses: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_single("clip", self.clip, "pass one number above 0")
        check_positive("clip", self.clip)
        as_count("epochs", self.epochs)
        check_single("kl_coefficient", self.kl_coefficient, "pass one number, at least 0")
        NON_NEGATIVE.check("kl_coefficient", self.kl_coefficient)
        object.__setattr__(self, "optimizer", as_optimizer(self.optimizer))

    def init(self, problem: Problem, key: Key[Array, ""] | None) -> PPOState:
        start = super().init(problem, key)
        return PPOState(start.source, start.log_policy, self.optimizer.init(start.log_policy))

    def step(
        self, problem: Problem, state: Any, data: Any, t: Int[Array, ""]
    ) -> tuple[PPOState, Report]:
        source, scored = self.source.learn(problem, state.source, data, t)
        old = state.log_policy
        weight = scored.drawn / jnp.sum(scored.drawn)
        advantage = self._advantage(problem, old, scored, weight)

        def epoch(_, carry):
            logits, optimizer = carry
            slope = self._slope(logits, old, weight, advantage)
            change, after = self.optimizer.update(-slope, optimizer, logits)
            return like(optax.apply_updates(logits, change), logits), like(after, optimizer)

        logits, optimizer = jax.lax.fori_loop(0, self.epochs, epoch, (old, state.optimizer))
        new = PPOState(source, jax.nn.log_softmax(logits, axis=1), optimizer)
        return new, Report(rewards=scored.advantage)

    def _advantage(
        self, problem: Problem, log_policy: LogPolicy, scored: Scored, weight: Table
    ) -> Table:
        log_ref = jax.nn.log_softmax(problem.log_ref, axis=1)
        price = jnp.asarray(self.kl_coefficient, log_policy.dtype)
        reward = scored.advantage - price * (log_policy - log_ref)
        centred = reward - jnp.sum(scored.share * reward, axis=1, keepdims=True)
        return centred / jnp.sqrt(jnp.sum(weight * centred**2) + _TINY)

    def _slope(self, logits: Table, old: LogPolicy, weight: Table, advantage: Table) -> Table:
        """Gradient of the clipped objective in the logits."""
        log_policy = jax.nn.log_softmax(logits, axis=1)
        clip = jnp.asarray(self.clip, logits.dtype)
        ratio = jnp.exp(log_policy - old)
        clipped = jnp.where(advantage > 0, ratio > 1.0 + clip, ratio < 1.0 - clip)
        # Of an arm without weight the ratio may be infinite.
        pull = jnp.where(clipped | (weight == 0), 0.0, weight * ratio * advantage)
        return pull - jnp.exp(log_policy) * jnp.sum(pull, axis=1, keepdims=True)
