"""Simple preference optimisation: log-probabilities per token, a margin and no reference."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from apo_sim.arguments import check_bound
from apo_sim.checks import NON_NEGATIVE, POSITIVE, as_float, check_single
from apo_sim.errors import InvalidArgument
from apo_sim.geometry.root import increasing_root
from apo_sim.losses import DPO, Extra
from apo_sim.methods._states import TwoPolicies
from apo_sim.methods.method import Report
from apo_sim.methods.requests import CountedPairs
from apo_sim.preferences import Counts, Pairwise, Ranker
from apo_sim.preferences.ranked_pairs import RANKER
from apo_sim.problems import LogPolicy, Problem
from apo_sim.proximal.from_counts import rewards_from_counts
from apo_sim.proximal.groups import groups_of
from apo_sim.pytree import pytree_dataclass

_LOGISTIC = DPO()

Arms = Float[Array, "contexts arms"]


@pytree_dataclass
class WithMargin:
    """-log sigmoid(h_winner - h_loser - margin), for SimPO's scores.

    Args:
        margin: at least 0.

    Example:
        >>> loss = WithMargin(margin=2.0)
        >>> round(float(loss(jnp.array(2.0), jnp.array(0.0), Extra())), 4)
        0.6931
    """

    margin: float | Float[Array, ""] = 0.0

    def __call__(
        self, h_winner: Float[Array, "..."], h_loser: Float[Array, "..."], extra: Extra
    ) -> Float[Array, "..."]:
        return _LOGISTIC(h_winner - self.margin, h_loser, extra)

    def derivatives(self, difference: Array) -> tuple[Array, Array, Array]:
        """Value, slope and curvature."""
        return _LOGISTIC.derivatives(difference - self.margin)


@pytree_dataclass
class SimPO(TwoPolicies):
    """argmin of -sum log sigmoid(h_winner - h_loser - margin), h = beta log pi(y) / |y|.

    All pairs so far, drawn from the reference policy, are fitted anew in every iteration; the
    reference plays no other part. On a table every h is that of a policy, up to a constant c: pi =
    exp(|y| (h + c) / beta), c the root of an increasing function. So the h of least loss with
    max h - min h <= 2 R is found first; among arms that no chain of comparisons links the data do
    not tell, and each such group keeps the probability that it had in the reference. Two arms of
    one length, one of which wins a share p of the time, part by the d = h_1 - h_2 with
    p sigmoid(margin - d) = (1 - p) sigmoid(margin + d): by more than the log-odds of p.

    Args:
        beta: weight of the log-probability per token, above 0.
        margin: gamma, at least 0, on the scale of h; the literature also gives gamma / beta.
        lengths: |y| in tokens, above 0, shape (contexts, arms); None: all of them 1.
        reward_bound: R, above 0.
        ranker: how a preference pair comes about; its policy is the reference policy.

    Raises:
        InvalidArgument: a number out of range, lengths that are not for the problem's arms.

    Source: Meng, Xia and Chen (2024), "SimPO", equation (6); the choice among minimisers is ours.

    Example:
        >>> import apo_sim as apo
        >>> bandit = apo.Bandit(jnp.array([[1.0, 0.0]]), jnp.log(jnp.array([[0.1, 0.9]])))
        >>> solution = apo.solve(bandit, SimPO(beta=1.0, margin=0.0), iterations=1)
        >>> log_odds = solution.final_log_policy[0, 0] - solution.final_log_policy[0, 1]
        >>> round(float(log_odds), 6)  # as many as of the preference, whatever the reference
        1.0
    """

    beta: float | Float[Array, ""] = 2.0
    margin: float | Float[Array, ""] = 1.0
    lengths: Arms | None = None
    reward_bound: float | Float[Array, ""] = 4.0
    ranker: Ranker = Pairwise()

    def __post_init__(self) -> None:
        kinds = {"beta": POSITIVE, "margin": NON_NEGATIVE, "reward_bound": POSITIVE}
        for name, kind in kinds.items():
            check_single(name, getattr(self, name), kind.remedy)
            kind.check(name, getattr(self, name))
        if self.lengths is not None:
            lengths = as_float("lengths", self.lengths, (None, None))
            POSITIVE.check("lengths", lengths)
            object.__setattr__(self, "lengths", lengths)
        RANKER("ranker", self.ranker)

    @property
    def request(self) -> CountedPairs:
        return CountedPairs(self.ranker, accumulated=True)

    def check(self, problem: Problem, iterations: int, samples: Any, first: int | None) -> None:
        if self.lengths is not None and self.lengths.shape != problem.log_ref.shape:
            raise InvalidArgument(
                "lengths",
                self.lengths,
                f"are not for the problem's contexts and arms {problem.log_ref.shape}",
                "pass one for each of them",
            )
        check_bound(WithMargin(self.margin), self.reward_bound, problem.log_ref.dtype)

    def step(
        self, problem: Problem, state: Any, data: Counts, t: Int[Array, ""]
    ) -> tuple[Any, Report]:
        _, log_ref = state
        dtype = log_ref.dtype
        beta, margin, bound = (
            jnp.asarray(number, dtype) for number in (self.beta, self.margin, self.reward_bound)
        )
        scores, residual = rewards_from_counts(WithMargin(margin), data.wins, log_ref, beta, bound)
        lengths = jnp.ones_like(log_ref) if self.lengths is None else self.lengths.astype(dtype)
        met = jnp.moveaxis(data.wins + jnp.swapaxes(data.wins, 1, 2) > 0, 0, -1)
        linked = jnp.moveaxis(groups_of(met).linked, -1, 0)
        log_policy = _policy_of(scores / beta, lengths, log_ref, linked)
        return (log_policy, log_ref), Report(series={"residual": residual}, rewards=scores)

    def behaviour(self, state: Any) -> LogPolicy:
        """log of the reference policy, which all the data come from."""
        return state[1]


def _policy_of(scores: Arms, lengths: Arms, log_ref: LogPolicy, linked: Any) -> LogPolicy:
    """log pi = |y| (h + c), with a c for every group that lets it keep its probability.

    Args:
        scores: h / beta, shape (contexts, arms).
        lengths: |y|.
        log_ref: log of the policy whose probabilities of groups are kept.
        linked: which two arms are in one group, shape (contexts, arms, arms).
    """
    log_mass = jax.nn.logsumexp(jnp.where(linked, log_ref[:, None], -jnp.inf), axis=2)
    # Where some arm alone would have the mass of its group, and where none has more than its share.
    alone = jnp.where(linked, log_mass[..., None] / lengths[:, None] - scores[:, None], jnp.inf)
    high = jnp.min(alone, axis=2)
    arms = scores.shape[1]
    share = jnp.where(linked, (log_mass[..., None] - jnp.log(arms)) / lengths[:, None], jnp.inf)
    low = jnp.min(share - scores[:, None], axis=2)

    def excess(shift: Arms) -> tuple[Arms, Arms, Arms]:
        exponents = lengths[:, None] * (scores[:, None] + shift[..., None])
        terms = jnp.where(linked, jnp.exp(exponents - log_mass[..., None]), 0.0)
        total = jnp.sum(terms, axis=2)
        slope = jnp.sum(lengths[:, None] * terms, axis=2) / total
        sizes = 1.0 + jnp.max(jnp.where(linked, jnp.abs(exponents), 0.0), axis=2)
        return jnp.log(total), slope, jnp.finfo(shift.dtype).eps * sizes

    shift = increasing_root(excess, low, high, high)
    # What the last digits of the shift leave is divided by.
    return jax.nn.log_softmax(lengths * (scores + shift), axis=1)
