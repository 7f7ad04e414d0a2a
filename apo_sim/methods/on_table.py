"""The proximal step of a policy that is a table: the reward fitted, added, normalised."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from apo_sim.arguments import check_bound, check_solvable
from apo_sim.checks import check_positive, check_single, one_of
from apo_sim.errors import Diverged, InvalidArgument
from apo_sim.geometry.bregman import check_reference
from apo_sim.losses import brings_own_minimiser, is_pointwise
from apo_sim.methods.method import Report
from apo_sim.methods.requests import CountedPairs, Request
from apo_sim.preferences import Population
from apo_sim.problems import LogPolicy, Problem
from apo_sim.proximal.exact import EXACT_REWARD_BOUND, exact_rewards
from apo_sim.proximal.from_counts import SAMPLED_REWARD_BOUND, rewards_from_counts
from apo_sim.pytree import like, pytree_dataclass, static

OUTPUT = ("before", "after")


@pytree_dataclass
class TableState:
    """Where a table stands between two steps. X contexts, K arms.

    Attributes:
        dual: dual coordinates of the proximal centre, maybe not normalised, shape (X, K).
        gamma: those of a constant reward of one that runs along.
        momentum: state of the rule on both.
        log_policy: log pi_hat, shape (X, K).
        log_ref: log pi_ref, shape (X, K), which some geometries are relative to.
    """

    dual: Float[Array, "contexts arms"]
    gamma: Float[Array, ""]
    momentum: Any
    log_policy: LogPolicy
    log_ref: LogPolicy


@pytree_dataclass
class OnTable:
    """The minimiser itself: in closed form or solved for, from exact preferences or win counts.

    Args:
        reward_bound: R of Assumption 4.3 (max r_t - min r_t <= 2 R in each context); None: 2 for
            sampled preferences, 40 (never binding) for exact ones.
        output: "before" for metrics of pi_hat (the paper's method), "after" for metrics of the
            extrapolated pi (ExPO).

    Raises:
        InvalidArgument: a bound that is no number above 0, an unknown output.

    Source: the paper's Algorithm 1.

    Example:
        >>> OnTable(reward_bound=3.0)
        OnTable(reward_bound=3.0, output='before')
    """

    reward_bound: float | Float[Array, ""] | None = None
    output: str = static(default="before")

    begins_at_random: ClassVar[bool] = False

    def __post_init__(self) -> None:
        one_of(OUTPUT)("output", self.output)
        if self.reward_bound is not None:
            check_single("reward_bound", self.reward_bound, "pass one number above 0")
            check_positive("reward_bound", self.reward_bound)

    def request(self, method: Any) -> Request:
        return CountedPairs(method.ranker)

    def init(self, method: Any, problem: Problem, key: Key[Array, ""] | None) -> TableState:
        log_ref = jax.nn.log_softmax(problem.log_ref, axis=1)
        dual = method.geometry.at(log_ref).dual(log_ref)
        zero = jnp.zeros((), log_ref.dtype)
        return TableState(dual, zero, method.momentum.init((dual, zero)), log_ref, log_ref)

    def step(
        self, method: Any, problem: Problem, state: TableState, data: Any, beta: Any, t: Any
    ) -> tuple[TableState, Report]:
        geometry = method.geometry.at(state.log_ref)
        rewards, residual = self._learn(method, geometry, problem, state, data, beta)
        # A constant reward of one runs along, so that gamma is what the rule really did.
        dual, weights, total = geometry.normalise(geometry.step(state.dual, rewards, beta))
        gamma = state.gamma + 1.0 / beta
        extrapolated, momentum = like(
            method.momentum.extrapolate((dual, gamma), state.momentum, t + 1),
            ((dual, gamma), state.momentum),
        )
        if self.output == "after":
            _, weights, total = geometry.normalise(extrapolated[0])
            gamma = extrapolated[1]
        log_policy = geometry.log_policy(dual)
        (after, gamma_after), log_ref = extrapolated, state.log_ref
        new = TableState(after, gamma_after, momentum, log_policy, log_ref)
        series = {"gamma": gamma, "residual": residual}
        return new, Report(weights, total, series=series, rewards=rewards)

    def _learn(self, method, geometry, problem, state, data, beta):
        # Normalised only where somebody looks: the exact step of a bandit never does.
        centre = geometry.policy(state.dual)
        sampled = not isinstance(data, Population)
        usual = SAMPLED_REWARD_BOUND if sampled else EXACT_REWARD_BOUND
        bound = usual if self.reward_bound is None else self.reward_bound
        # What is known stays so within `jax.jit`: less is compiled where R is known to be small.
        with jax.ensure_compile_time_eval():
            bound = jnp.asarray(bound, centre.dtype)
        if not sampled and data.cells is None:
            return like(exact_rewards(method.loss, problem, centre, bound), (centre, beta))
        wins = data.wins if sampled else data.cells
        # Where arms may vanish, their coordinates hold more than the policy does.
        vanish = not geometry.legendre
        dual = geometry.normalise(state.dual)[0] if vanish else geometry.dual(centre)
        found = rewards_from_counts(method.loss, wins, centre, beta, bound, geometry, dual)
        return like(found, (centre, beta))

    def policy(self, method: Any, state: TableState) -> LogPolicy:
        return state.log_policy

    def behaviour(self, method: Any, state: TableState) -> LogPolicy:
        return method.geometry.at(state.log_ref).policy(state.dual)

    def check(self, method: Any, problem: Problem, samples: Any) -> None:
        if is_pointwise(method.loss):
            raise InvalidArgument(
                "loss",
                method.loss,
                "takes single responses, so it defines no reward for a table",
                "fit it by gradient: apo_sim.train with apo_sim.policies.Table(...)",
            )
        if self.reward_bound is not None:
            check_bound(method.loss, self.reward_bound, problem.log_ref.dtype)
        if not brings_own_minimiser(method.loss):
            check_solvable(method.loss)
        check_reference(method.geometry, problem.log_ref)

    def divergence(self, beta: Any, iteration: int) -> Exception:
        return Diverged(
            "beta",
            beta,
            iteration,
            "raise it, extrapolate less, run fewer iterations or use double precision; or check "
            "what your own loss, rule or ranker returns",
        )
