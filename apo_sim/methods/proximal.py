"""The Bregman proximal-point method with momentum: iterative DPO, IPO, SPPO and their like."""

from typing import Any, ClassVar, Protocol, runtime_checkable

import jax.numpy as jnp
from jax.core import Tracer
from jaxtyping import Array, Float, Int, Key

from apo_sim.arguments import as_beta_schedule, check_momentum, check_parts
from apo_sim.checks import POSITIVE, as_count, instance_of
from apo_sim.geometry import KL, Geometry
from apo_sim.losses import DPO, Loss, PointwiseLoss
from apo_sim.methods.method import Report
from apo_sim.methods.on_table import OnTable
from apo_sim.methods.requests import Request
from apo_sim.momentum import Momentum, NoMomentum
from apo_sim.preferences import Pairwise, Ranker
from apo_sim.problems import LogPolicy, Problem
from apo_sim.pytree import pytree_dataclass
from apo_sim.self_checking import checks_itself


@runtime_checkable
class Fit(Protocol):
    """How a proximal step is fitted, and what the policy is made of: a table or a network."""

    begins_at_random: ClassVar[bool]

    def request(self, method: "Proximal") -> Request:
        """The data that it needs."""
        ...

    def init(self, method: "Proximal", problem: Problem, key: Key[Array, ""] | None) -> Any:
        """The state before the first iteration."""
        ...

    def step(
        self, method: "Proximal", problem: Problem, state: Any, data: Any, beta: Any, t: Any
    ) -> tuple[Any, Report]:
        """A proximal step from the state's behaviour policy, and the extrapolation after it."""
        ...

    def policy(self, method: "Proximal", state: Any) -> LogPolicy:
        """log pi_hat."""
        ...

    def behaviour(self, method: "Proximal", state: Any) -> LogPolicy:
        """log pi, the proximal centre of the next step."""
        ...

    def check(self, method: "Proximal", problem: Problem, samples: Any) -> None:
        """Refuse what cannot be fitted."""
        ...

    def divergence(self, beta: Any, iteration: int) -> Exception:
        """What to raise where the run is not finite any more."""
        ...


FIT = instance_of(Fit, "cannot fit a step", "pass an instance such as apo_sim.methods.OnTable()")


@pytree_dataclass
class Proximal:
    """pi_hat = argmax <r, pi> - beta B(pi, pi_t), r fitted by a loss, and momentum after it.

    Args:
        loss: what the proximal step fits, see `apo_sim.losses`.
        momentum: what happens between two steps, see `apo_sim.momentum`; it acts on the dual
            coordinates of the geometry, which for KL are log-probabilities.
        geometry: the Bregman divergence B, see `apo_sim.geometry`.
        beta: proximal weight, above 0; a number or one for each iteration, shape (iterations,).
        ranker: how a preference pair comes about, see `apo_sim.preferences`.
        fit: how the step is fitted: `OnTable` from exact preferences or win counts, `OnNetwork`
            by gradient on a parameterised policy.
        first: the iteration that a schedule of `beta` begins with; 0 but for a run continued.

    Raises:
        InvalidArgument: something that is not a loss, rule, geometry, ranker or fit, or a weight or
            number of iterations out of range.

    Source: the paper's Algorithm 1; ours for geometries other than KL.

    Example:
        >>> import apo_sim as apo
        >>> bandit = apo.Bandit(jnp.array([[1.0, 0.0]]), jnp.log(jnp.array([[0.5, 0.5]])))
        >>> method = Proximal(momentum=apo.Constant(0.5), beta=1.0)
        >>> solution = apo.solve(bandit, method, iterations=3)
        >>> [round(float(gap), 3) for gap in solution.suboptimality]
        [0.269, 0.076, 0.014]
    """

    loss: Loss | PointwiseLoss = DPO()
    momentum: Momentum = NoMomentum()
    geometry: Geometry = KL()
    beta: Float[Array, "..."] | float = 1.0
    ranker: Ranker = Pairwise()
    fit: Fit = OnTable()
    first: Int[Array, ""] | int = 0

    def __post_init__(self) -> None:
        check_parts(self.loss, self.ranker, self.geometry)
        check_momentum(self.momentum)
        POSITIVE.check("beta", self.beta)
        FIT("fit", self.fit)
        if not isinstance(self.first, Tracer):
            as_count("first", self.first, least=0)

    @property
    def request(self) -> Request:
        return self.fit.request(self)

    @property
    def begins_at_random(self) -> bool:
        return self.fit.begins_at_random

    def init(self, problem: Problem, key: Key[Array, ""] | None) -> Any:
        return self.fit.init(self, problem, key)

    def step(
        self, problem: Problem, state: Any, data: Any, t: Int[Array, ""]
    ) -> tuple[Any, Report]:
        betas = jnp.asarray(self.beta, problem.log_ref.dtype)
        beta = betas[t - self.first] if betas.ndim else betas
        return self.fit.step(self, problem, state, data, beta, t)

    def policy(self, state: Any) -> LogPolicy:
        return self.fit.policy(self, state)

    def behaviour(self, state: Any) -> LogPolicy:
        return self.fit.behaviour(self, state)

    @checks_itself
    def check(self, problem: Any, iterations: int, samples: Any, first: int | None) -> None:
        as_beta_schedule(self.beta, iterations, problem)
        # A training may be the first part of a longer one, which the schedule is for.
        part_of_longer = first is None and self.fit.begins_at_random
        check_momentum(self.momentum, iterations, 0 if part_of_longer else first)
        self.fit.check(self, problem, samples)

    def divergence(self, iteration: int) -> Exception:
        return self.fit.divergence(self.beta, iteration)
