r"""A certificate for a run: a bound on the gap of its policy, from its own labels."""

from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import stats

from apo_sim.checks import (
    OPEN_SHARE,
    Real,
    as_flag,
    as_float,
    check_normalised,
    checked,
    concrete,
    optional,
    tolerance,
)
from apo_sim.errors import InvalidArgument
from apo_sim.pytree import pytree_dataclass, static
from apo_sim.self_checking import checks_itself
from apo_sim.theory.likelihood_ball import (
    Fit,
    fitted,
    fitted_within,
    largest_contrast,
    log_evidence,
    log_likelihood_ratio,
    unbounded,
)

Numbers = Float[np.ndarray, "..."]

_REWARD_BOUND = Real(
    "must be above 0 and at most 1000",
    # The square of a bound that is not above zero to single precision is none in double either.
    lambda bound: (bound >= np.finfo(np.float32).tiny) & (bound <= 1000),
    "pass an R with |r*| <= R, or None if no bound is known",
).one()
_POLICY = "pass log-probabilities, shape (..., contexts, arms)"


@pytree_dataclass
class Certificate:
    r"""The result of `certify` for X contexts; leading axes are those of the counts.

    Attributes:
        bound: an upper bound on the gap that holds with probability at least $1-\delta$,
            expectation over contexts, shape (...); infinite if the labels and the assumptions
            exclude nothing.
        estimate: the part of the bound that the fitted reward predicts, expectation over contexts;
            it may be negative.
        radius: the rest of the bound, the uncertainty that the labels leave.
        bounds: the bound in each context, shape (..., X); all of them hold at once.
        estimates: the estimate in each context.
        arm: the arm at which the bound of each context is attained, and which may be the best one.
        delta: the probability of failure.
        finite_sample: whether the bound is proven for every number of labels.
    """

    bound: Numbers
    estimate: Numbers
    radius: Numbers
    bounds: Numbers
    estimates: Numbers
    arm: Int[np.ndarray, "..."]
    delta: float = static()
    finite_sample: bool = static()


@checks_itself
@checked(delta=OPEN_SHARE.one(), reward_bound=optional(_REWARD_BOUND), finite_sample=as_flag)
def certify(
    wins: Any,
    log_policy: Any,
    *,
    delta: float = 0.05,
    context_probs: Any = None,
    reward_bound: float | None = None,
    finite_sample: bool = False,
) -> Certificate:
    r"""Bound the gap of a policy from above, using only the labels that it was trained on.

    The rewards that the labels do not rule out are $C = \{r : \ell(r) \ge c\}$, where $\ell(r) =
    \sum_{ij} W_{ij}\log\sigma(r_i - r_j)$ sums over all iterations. The bound is the largest gap
    among them, $\max_{r \in C}\max_y r(y) - E_\pi r$, found by one concave programme per arm. It
    therefore includes the optimisation error, whatever the method. Because C does not depend on the
    policy, the bound holds for all policies at once: certify every iterate, and keep the best.

    In the asymptotic bound (the default), $2(\max\ell - c)$ is a quantile of $\chi^2_{K-1}$
    (Wilks). It is exact in the limit of many labels, where the behaviour policies settle
    down; N17 measures its error with fewer labels. In the finite-sample bound, for a prior $\Pi$
    fixed before the data, $\int e^{\ell(r)}d\Pi(r)\,/\,e^{\ell(r^*)}$ is a martingale of mean 1 in
    the labels, however the pairs are chosen from earlier labels and whenever you stop; by Ville's
    inequality, $\ell(r^*) \ge \log\int e^\ell d\Pi - \log(1/\delta)$ with probability $1-\delta$.
    The prior is a mixture of Gaussians whose integral is bounded from below, so nothing is
    approximated.

    Both bounds assume that labels have the mean $\sigma(r^*_i - r^*_j)$ given the past. The
    finite-sample bound holds for any such labels in [0, 1], including ties that count as half a
    win. With X contexts, each context gets delta / X.

    Args:
        wins: wins[x, i, j], how often i beat j, summed over all iterations, shape (X, K, K);
            leading axes hold separate runs. See `replayed_counts`.
        log_policy: log-probabilities of the policy to certify, shape (..., X, K).
        delta: probability of failure, in (0, 1).
        context_probs: distribution of contexts, shape (X,); uniform by default.
        reward_bound: a known R with $|r^*| \le R$ (1 in the paper's setting). With it, an arm that
            was hardly seen costs at most 2R times its mass; without it, arms that never won (or
            never lost) may make the bound infinite.
        finite_sample: use the bound that is proven for every number of labels, at about twice the
            radius.

    Returns:
        A `Certificate`, in double precision whatever the precision of JAX.

    Raises:
        InvalidArgument: unusable counts, probabilities or bounds, shapes that do not fit, traced
            values, or a reward_bound that the labels refute at this delta.

    Source: ours. Reference for the martingale: Robbins 1970, *Statistical methods related to the
    law of the iterated logarithm*; Howard, Ramdas, McAuliffe and Sekhon 2021.

    Example:
        >>> wins = np.array([[[0.0, 700.0], [300.0, 0.0]]])
        >>> found = certify(wins, np.log([[0.8, 0.2]]))
        >>> round(float(found.estimate), 3), round(float(found.bound), 3)
        (0.169, 0.197)
        >>> round(float(certify(wins, np.log([[0.8, 0.2]]), finite_sample=True).bound), 3)
        0.22
        >>> float(certify(np.zeros((1, 2, 2)), np.log([[0.8, 0.2]])).bound)
        inf
        >>> found = certify(np.zeros((1, 2, 2)), np.log([[0.8, 0.2]]), reward_bound=1.0)
        >>> round(float(found.bound), 3)
        1.6
    """
    wins, log_policy = _as_wins(wins), _as_policy(log_policy)
    if log_policy.shape != wins.shape[:-1]:
        raise InvalidArgument(
            "log_policy",
            log_policy,
            f"does not fit wins of shape {wins.shape}",
            "pass (..., X, K) for (..., X, K, K); add the counts of all iterations up",
        )
    *runs, contexts, arms = log_policy.shape
    share = _as_share(context_probs, contexts)
    wins, policy = wins.reshape(-1, arms, arms), np.exp(log_policy).reshape(-1, arms)
    delta = float(_values("delta", delta))
    bound = np.inf if reward_bound is None else float(_values("reward_bound", reward_bound))
    fit = fitted(wins)
    level = surface(wins, fit, delta / contexts, finite_sample)
    start = fit.rewards if np.isinf(bound) else fitted_within(wins, bound)
    if np.any(log_likelihood_ratio(start, wins, fit.rewards) <= level):
        raise InvalidArgument(
            "reward_bound",
            bound,
            f"is refuted by the labels at delta = {delta:g}",
            "pass a larger bound, or None",
        )
    best = _per_arm(wins, policy, fit, start, level, bound)
    arm = np.argmax(best, axis=1)
    estimates = start[np.arange(len(arm)), arm] - np.einsum("lk,lk->l", policy, start)
    shape = (*runs, contexts)
    bounds, estimates = best.max(axis=1).reshape(shape), estimates.reshape(shape)
    total, estimate = _expected(bounds, share), _expected(estimates, share)
    return Certificate(
        bound=total,
        estimate=estimate,
        radius=np.asarray(total - estimate),
        bounds=bounds,
        estimates=estimates,
        arm=arm.reshape(shape),
        delta=delta,
        finite_sample=finite_sample,
    )


def surface(wins: Numbers, fit: Fit, delta: float, finite_sample: bool) -> Numbers:
    """How much less likely than under the fit a reward may be before it is ruled out, in nats.

    Example:
        >>> wins = np.array([[[0.0, 700.0], [300.0, 0.0]]])
        >>> surface(wins, fitted(wins), 0.05, finite_sample=False).round(2).tolist()
        [-1.92]
    """
    if finite_sample:
        return log_evidence(wins, fit) + np.log(delta)
    return np.full(len(wins), -stats.chi2.isf(delta, wins.shape[1] - 1) / 2)


def _per_arm(
    wins: Numbers, policy: Numbers, fit: Fit, start: Numbers, level: Numbers, bound: float
) -> Numbers:
    """The largest lead of each arm over the policy, shape (lanes, K)."""
    arms = policy.shape[1]
    contrasts = np.eye(arms) - policy[:, None, :]
    found = np.full(policy.shape, np.inf)
    bounded = np.ones(policy.shape, bool) if np.isfinite(bound) else _bounded(wins, policy)
    lane, arm = np.nonzero(bounded)
    found[lane, arm] = largest_contrast(
        contrasts[lane, arm], wins[lane], fit.rewards[lane], start[lane], level[lane], bound
    )
    return found


def _bounded(wins: Numbers, policy: Numbers) -> Bool[np.ndarray, "lanes arms"]:
    """Whether the lead of each arm over the policy is bounded among likely rewards."""
    return ~np.any(unbounded(wins) & (policy[:, None, :] > 0), axis=2)


def _expected(values: Numbers, share: Numbers) -> Numbers:
    """Expectation over contexts; one that never comes up counts for nothing, not even infinite."""
    return np.asarray(np.sum(share * np.where(share > 0, values, 0.0), axis=-1))


def _values(name: str, value: Any) -> Numbers:
    """Real numbers as NumPy has them, refused where they are not known yet."""
    values = concrete(as_float(name, value, None))
    if values is None:
        raise InvalidArgument(
            name,
            value,
            "is traced",
            "call certify outside jax.jit; pass several runs along leading axes",
        )
    # Not by way of JAX, which may be set to single precision.
    return np.asarray(value, float)


def _as_wins(value: Any) -> Numbers:
    wins = _values("wins", value)
    remedy = "pass counts of shape (..., X, K, K) with K >= 2"
    if wins.ndim < 3 or wins.shape[-1] != wins.shape[-2] or wins.shape[-1] < 2:
        raise InvalidArgument("wins", value, f"has shape {wins.shape}", remedy)
    if np.any(wins < 0) or np.any(wins > 1e15):
        raise InvalidArgument("wins", value, "must be at least 0 and at most 1e15", remedy)
    # An arm that meets itself says nothing.
    return wins * (1 - np.eye(wins.shape[-1]))


def _as_policy(value: Any) -> Numbers:
    array = as_float("log_policy", value, None, _POLICY)
    values = _values("log_policy", value)
    if values.ndim < 2:
        raise InvalidArgument("log_policy", value, f"has shape {values.shape}", _POLICY)
    check_normalised("log_policy", array, "pass jax.nn.log_softmax(log_policy)")
    return values - np.logaddexp.reduce(values, axis=-1, keepdims=True)


def _as_share(value: Any, contexts: int) -> Numbers:
    if value is None:
        return np.full(contexts, 1 / contexts)
    array = as_float("context_probs", value, (contexts,), "pass probabilities, shape (contexts,)")
    share = _values("context_probs", value)
    if np.any(share < 0) or abs(share.sum() - 1) > tolerance(array.dtype):
        raise InvalidArgument(
            "context_probs", value, "is not a distribution", "pass numbers >= 0 that sum to 1"
        )
    return share
