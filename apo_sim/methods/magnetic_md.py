"""Magnetic mirror descent: a step that is drawn towards a magnet, which may move."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from apo_sim.checks import POSITIVE, Real, as_count, optional
from apo_sim.methods._on_win_rates import OnWinRates
from apo_sim.methods._schedules import at
from apo_sim.methods.method import Report
from apo_sim.preferences import Counts, Pairwise, Population, Ranker, win_rates
from apo_sim.problems import LogPolicy, Problem
from apo_sim.pytree import pytree_dataclass, static


@pytree_dataclass
class MagneticMD(OnWinRates):
    """pi_{t+1} ~ [pi_t rho^(eta a) exp(eta P(. > pi_t))]^(1 / (1 + eta a)).

    The magnet rho is the reference policy. Then it goes to the equilibrium of the game in which
    either player pays a times KL(policy, pi_ref): KL(equilibrium, pi_t) is at most
    (1 + eta a)^-t times that at the start, if eta <= 4 a (the win rates are Lipschitz with
    constant 1/2). With `refresh` the magnet moves to the policy now and then; if each time this is
    near that equilibrium, the run goes on to one of the game without a price.

    It is `INPO` with learning_rate = eta / (1 + eta a) and pull = eta a / (1 + eta a).

    Args:
        learning_rate: eta, above 0; a number or one for each iteration, shape (iterations,).
        temperature: a, price on leaving the magnet, above 0; alike.
        refresh: move the magnet to the policy after every so many iterations; None: never.
        ranker: how a preference pair comes about, see `apo_sim.preferences`.

    Raises:
        InvalidArgument: a step or a temperature not above 0, a `refresh` that is no count,
            something that is no ranker.

    Source: Sokota et al. (2023), "A unified approach to reinforcement learning, quantal response
        equilibria, and two-player zero-sum games", section 3 and Theorem 3.4; Wang et al. (2024),
        "Magnetic preference optimization", for `refresh`.

    Example:
        >>> import apo_sim as apo
        >>> game = apo.Game(jnp.array([[[0.5, 0.9], [0.1, 0.5]]]), jnp.log(jnp.full((1, 2), 0.5)))
        >>> solution = apo.solve(game, MagneticMD(learning_rate=0.4), iterations=200)
        >>> [round(float(p), 3) for p in jnp.exp(solution.final_log_policy[0])]
        [0.982, 0.018]
    """

    learning_rate: float | Float[Array, "..."] = 0.4
    temperature: float | Float[Array, "..."] = 0.1
    refresh: int | None = static(default=None)
    ranker: Ranker = Pairwise()

    schedules: ClassVar[dict[str, Real]] = {"learning_rate": POSITIVE, "temperature": POSITIVE}

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "refresh", optional(as_count)("refresh", self.refresh))

    def init(self, problem: Problem, key: Key[Array, ""] | None) -> Any:
        log_ref = super().init(problem, key)
        return log_ref, log_ref

    def step(
        self, problem: Problem, state: Any, data: Population | Counts, t: Int[Array, ""]
    ) -> tuple[Any, Report]:
        log_policy, magnet = state
        temperature = at(self.temperature, t, log_policy.dtype)
        # eta / (1 + eta a), which eta a cannot take out of the range of floats.
        eta = 1.0 / (1.0 / at(self.learning_rate, t, log_policy.dtype) + temperature)
        pull = eta * temperature
        logits = (1.0 - pull) * log_policy + pull * magnet + eta * win_rates(data)
        log_policy = jax.nn.log_softmax(logits, axis=1)
        if self.refresh is not None:
            magnet = jnp.where((t + 1) % self.refresh == 0, log_policy, magnet)
        return (log_policy, magnet), Report()

    def policy(self, state: Any) -> LogPolicy:
        return state[0]

    def moved(self, state: Any, log_policy: LogPolicy) -> Any:
        """The state with another policy in its place, see `Movable`."""
        return (log_policy, state[1])
