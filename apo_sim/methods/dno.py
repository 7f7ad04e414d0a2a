"""Direct Nash optimisation: the win rates against oneself, regressed on by log-ratios."""

from typing import ClassVar

import jax
from jaxtyping import Array, Float, Int

from apo_sim.checks import POSITIVE, Real
from apo_sim.methods._on_win_rates import OnWinRates
from apo_sim.methods._schedules import at
from apo_sim.methods.method import Report
from apo_sim.preferences import Counts, Pairwise, Population, Ranker, win_rates
from apo_sim.problems import LogPolicy, Problem
from apo_sim.pytree import pytree_dataclass


@pytree_dataclass
class DNO(OnWinRates):
    """The policy whose h = beta log(pi / pi_t) fits r_t(y) = P(y > pi_t) in differences.

    Over pairs (y, y'), with s the logistic function, it minimises the log loss
    -s(r_t(y) - r_t(y')) log s(h(y) - h(y')) - s(r_t(y') - r_t(y)) log s(h(y') - h(y)).
    A table fits every target: h = r_t up to a constant, however often which pair is met, so
    pi_{t+1} ~ pi_t exp(r_t / beta), the exact step of SPPO. The same holds for any other proper
    loss of s(h(y) - h(y')). It does not if s is on the side of the target alone: least squares of
    h(y) - h(y') on s(r_t(y) - r_t(y')) - 1/2 makes about a quarter of that step.

    From samples r_t is what `win_rates` makes of the pairs, and the fit to it is as exact. Where
    the arms fall into parts that were never compared with each other, the loss leaves open how far
    these are apart; then the win rates decide, whose average over the draws is 1/2 in each part.

    Args:
        beta: proximal weight (the paper's eta), above 0; a number or one for each iteration,
            shape (iterations,).
        ranker: how a preference pair comes about, see `apo_sim.preferences`.

    Raises:
        InvalidArgument: a weight not above 0, something that is not a ranker.

    Source: Rosset et al. (2024), "Direct Nash optimization", Algorithm 1.

    Example:
        >>> import apo_sim as apo, jax.numpy as jnp
        >>> game = apo.Game(jnp.array([[[0.5, 0.9], [0.1, 0.5]]]), jnp.log(jnp.full((1, 2), 0.5)))
        >>> fitted, exact = DNO(beta=0.5), apo.methods.Proximal(apo.SPPO(), beta=0.5)
        >>> [float(apo.solve(game, method, iterations=5).tv[-1]) for method in (fitted, exact)]
        [0.017986, 0.017986]
    """

    beta: float | Float[Array, "..."] = 1.0
    ranker: Ranker = Pairwise()

    schedules: ClassVar[dict[str, Real]] = {"beta": POSITIVE}

    def step(
        self, problem: Problem, state: LogPolicy, data: Population | Counts, t: Int[Array, ""]
    ) -> tuple[LogPolicy, Report]:
        rates = win_rates(data)
        beta = at(self.beta, t, state.dtype)
        return jax.nn.log_softmax(state + rates / beta, axis=1), Report(rewards=rates)
