"""Chi-squared preference optimisation: offline pairs, a link that keeps near the reference."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from apo_sim.arguments import check_bound
from apo_sim.checks import POSITIVE, check_single
from apo_sim.geometry import ChiSquareKL
from apo_sim.geometry.bregman import check_reference
from apo_sim.losses import DPO
from apo_sim.methods._states import TwoPolicies
from apo_sim.methods.method import Report
from apo_sim.methods.requests import CountedPairs
from apo_sim.preferences import Counts, Pairwise, Ranker
from apo_sim.preferences.ranked_pairs import RANKER
from apo_sim.problems import LogPolicy, Problem
from apo_sim.proximal.from_counts import rewards_from_counts
from apo_sim.pytree import pytree_dataclass


@pytree_dataclass
class ChiPO(TwoPolicies):
    """argmin of -sum log sigmoid(clip(beta f(z_winner) - beta f(z_loser))), f(z) = z + log z.

    z = pi / pi_ref, and the clip is to [-2 R, 2 R]. All pairs so far, drawn from the reference
    policy, are fitted anew in every iteration. On a table every reward r is the beta f(z) of a
    policy, up to a constant: pi = pi_ref W(exp((r - Z) / beta)), W Lambert's function and Z the
    normaliser. So the likeliest rewards with max r - min r <= 2 R, within which the clip does
    nothing, are found first. In its first iteration it is `Proximal(geometry=ChiSquareKL())` from
    the reference policy; where that one then goes on from the policy it has come to, this one
    stays at the reference and adds up the data.

    Args:
        beta: weight of the divergence, chi-square (halved) plus KL, above 0.
        reward_bound: R, above 0.
        ranker: how a preference pair comes about; its policy is the reference policy.

    Raises:
        InvalidArgument: a number out of range, something that is not a ranker.

    Source: Huang et al. (2024), "Correcting the mythos of KL-regularization", algorithm 1.

    Example:
        >>> import apo_sim as apo
        >>> bandit = apo.Bandit(jnp.array([[1.0, 0.0]]), jnp.log(jnp.array([[0.5, 0.5]])))
        >>> solution = apo.solve(bandit, ChiPO(beta=1.0), iterations=1)
        >>> z = 2.0 * jnp.exp(solution.final_log_policy[0])
        >>> round(float((z[0] + jnp.log(z[0])) - (z[1] + jnp.log(z[1]))), 6)
        1.0
    """

    beta: float | Float[Array, ""] = 1.0
    reward_bound: float | Float[Array, ""] = 2.0
    ranker: Ranker = Pairwise()

    def __post_init__(self) -> None:
        for name in ("beta", "reward_bound"):
            check_single(name, getattr(self, name), POSITIVE.remedy)
            POSITIVE.check(name, getattr(self, name))
        RANKER("ranker", self.ranker)

    @property
    def request(self) -> CountedPairs:
        return CountedPairs(self.ranker, accumulated=True)

    def check(self, problem: Problem, iterations: int, samples: Any, first: int | None) -> None:
        check_bound(DPO(), self.reward_bound, problem.log_ref.dtype)
        check_reference(ChiSquareKL(), problem.log_ref)

    def step(
        self, problem: Problem, state: Any, data: Counts, t: Int[Array, ""]
    ) -> tuple[Any, Report]:
        _, log_ref = state
        geometry = ChiSquareKL(log_ref)
        beta, bound = (jnp.asarray(n, log_ref.dtype) for n in (self.beta, self.reward_bound))
        dual = geometry.dual(log_ref)
        rewards, residual = rewards_from_counts(
            DPO(), data.wins, log_ref, beta, bound, geometry, dual
        )
        log_policy = geometry.policy(geometry.step(dual, rewards, beta))
        return (log_policy, log_ref), Report(series={"residual": residual}, rewards=rewards)

    def behaviour(self, state: Any) -> LogPolicy:
        """log of the reference policy, which all the data come from."""
        return state[1]
