r"""All Bradley-Terry rewards that the labels do not rule out, and the largest contrast among them.

Rewards are (K,) up to a constant, and $\ell(r) = \sum_{ij} W_{ij}\log\sigma(r_i - r_j)$ is
concave. A ball $\{r : \ell(r) - \ell(\bar r) \ge c\}$ is convex, so that the largest $\langle v,
r\rangle$ in it is one concave programme for each v. Many programmes are solved at once, a *lane*
each: interior points, each Newton step on the lanes that still move.
"""

from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Int

Wins = Float[np.ndarray, "lanes arms arms"]
Rewards = Float[np.ndarray, "lanes arms"]
Curvatures = Float[np.ndarray, "lanes arms arms"]
PerLane = Float[np.ndarray, " lanes"]
Lanes = Int[np.ndarray, " lanes"]

# Standard deviations of the Gaussian priors that `log_evidence` mixes.
SCALES = (0.5, 1.0, 2.0, 4.0)
# The fit is the mode under a Gaussian of variance 1e8, which exists however few labels there are.
_FLAT = (100.0, 1e4, 1e6, 1e8)
# Weights of the objective against the barrier; the last one sets the accuracy of the optimum.
_INTO_BOX = (1.0, 1e2, 1e4, 1e6, 1e8)
_ONTO_BALL = (1.0, 30.0, 1e3, 1e5, 1e7, 1e9)
_NEWTON_STEPS, _HALVINGS = 100, 40
_LOOSE, _TIGHT = 0.05, 1e-9  # squared Newton decrements, on the way and at the end
# Lanes times entries of a matrix that are worked on at once: they stay in cache.
_AT_ONCE = 1 << 17


Derivatives = tuple[PerLane, Rewards, Curvatures]  # value, gradient, negative Hessian


@runtime_checkable
class _Objective(Protocol):
    """What is climbed in some lanes, at a weight; -inf outside of its domain."""

    def value(self, rewards: Rewards, lanes: Lanes, weight: float) -> PerLane: ...

    def derivatives(self, rewards: Rewards, lanes: Lanes, weight: float) -> Derivatives: ...


class Fit(NamedTuple):
    """What `fitted` returns.

    Attributes:
        rewards: the mode of the likelihood under a nearly flat prior, shape (lanes, K).
        modes: the modes under Gaussian priors of the `SCALES`, shape (scales, lanes, K).
    """

    rewards: Rewards
    modes: Float[np.ndarray, "scales lanes arms"]


def fitted(wins: Wins) -> Fit:
    r"""Fit the reward by maximum likelihood, with a prior that matters only where there is none.

    Args:
        wins: W[., i, j], how often i beat j, shape (lanes, K, K).

    Example:
        >>> fit = fitted(np.array([[[0.0, 30.0], [10.0, 0.0]]]))
        >>> round(float(fit.rewards[0, 0] - fit.rewards[0, 1]), 6)  # log 3
        1.098612
    """
    rewards = np.zeros(wins.shape[:2])
    objective = _Penalised(wins, np.inf)
    visited = []
    for weight in (*(scale**2 for scale in SCALES), *_FLAT):
        rewards = _climb(objective, rewards, weight, _TIGHT)
        visited.append(rewards)
    return Fit(rewards, np.stack(visited[: len(SCALES)]))


def fitted_within(wins: Wins, bound: float) -> Rewards:
    """The maximum-likelihood reward among those in [-bound, bound].

    Example:
        >>> rewards = fitted_within(np.array([[[0.0, 30.0], [10.0, 0.0]]]), 0.5)
        >>> bool(np.allclose(rewards, [[0.5, -0.5]], atol=1e-6))
        True
    """
    rewards = np.zeros(wins.shape[:2])
    for weight in _INTO_BOX:
        rewards = _climb(_Penalised(wins, bound), rewards, weight, _TIGHT)
    return rewards


def log_likelihood_ratio(rewards: Rewards, wins: Wins, base: Rewards) -> PerLane:
    """How much more likely the labels are under `rewards` than under `base`, in nats.

    Example:
        >>> wins = np.array([[[0.0, 3.0], [1.0, 0.0]]])
        >>> even, better = np.zeros((1, 2)), np.array([[1.0, 0.0]])
        >>> log_likelihood_ratio(better, wins, even).round(4).tolist()
        [0.5196]
    """
    # One by one, since the two sums are so large that little would be left of their difference.
    each = _log_sigmoid(_differences(rewards)) - _log_sigmoid(_differences(base))
    return _total(wins, each)


def log_evidence(wins: Wins, fit: Fit) -> PerLane:
    r"""A lower bound on the log-evidence over the likelihood of the fit, in nats.

    The evidence is $\int e^{\ell(r)} d\Pi(r)$, the prior $\Pi$ a mixture of centred Gaussians.
    For a Gaussian q of mean m and covariance S, $\log\int e^\ell d\Pi \ge E_q \ell -
    KL(q\|\Pi)$, and since $\log 2\cosh(\sqrt u/2)$ is concave in u,
    $E_q\log\sigma(z) \ge \bar z/2 - \log 2\cosh(\xi/2)$ with $\xi^2 = E_q z^2$. Nothing is
    approximated: it is a lower bound for any m and S.

    Reference: Jaakkola and Jordan 2000, *Bayesian parameter estimation via variational methods*.

    Example:
        >>> wins = np.array([[[0.0, 30.0], [10.0, 0.0]]])
        >>> log_evidence(wins, fitted(wins)).round(2).tolist()
        [-2.08]
    """
    arms = wins.shape[1]
    base = _log_sigmoid(_differences(fit.rewards))
    found = []
    for scale, mode in zip(SCALES, fit.modes, strict=True):
        gap = _differences(mode)
        slope = np.where(np.abs(gap) < 1e-4, 0.25, np.tanh(gap / 2) / (2 * np.where(gap, gap, 1)))
        precision = _laplacian(_pairs(wins) * slope) + np.eye(arms) / scale**2
        spread = np.linalg.inv(precision)
        own = np.diagonal(spread, axis1=1, axis2=2)
        size = np.sqrt(gap**2 + own[:, :, None] + own[:, None, :] - 2 * spread)
        each = gap / 2 - np.logaddexp(size / 2, -size / 2) - base
        expected = _total(wins, each)
        moments = (own.sum(axis=1) + np.sum(mode**2, axis=1)) / scale**2
        log_volumes = 2 * arms * np.log(scale) + np.linalg.slogdet(precision)[1]
        found.append(expected - (moments - arms + log_volumes) / 2)
    return np.logaddexp.reduce(found, axis=0) - np.log(len(SCALES))


def unbounded(wins: Wins) -> Bool[np.ndarray, "lanes arms arms"]:
    """Whether r_y - r_i can be as large as one likes without the labels getting unlikely.

    It can unless i beat an arm that beat an arm ... that beat y.

    Returns:
        One answer for each (y, i), shape (lanes, K, K).

    Example:
        >>> unbounded(np.array([[[0.0, 3.0], [0.0, 0.0]]])).tolist()
        [[[False, True], [False, False]]]
    """
    beat = (wins > 0) | np.eye(wins.shape[1], dtype=bool)
    for _ in range((wins.shape[1] - 1).bit_length()):
        beat = beat.astype(np.float32) @ beat.astype(np.float32) > 0
    return ~np.swapaxes(beat, 1, 2)


def largest_contrast(
    contrasts: Rewards, wins: Wins, base: Rewards, start: Rewards, level: PerLane, bound: float
) -> PerLane:
    r"""The largest $\langle v, r\rangle$ with $\ell(r) - \ell(\text{base}) \ge$ level in the box.

    Args:
        contrasts: v, shape (lanes, K), of sum zero; one that is bounded in the ball.
        wins: W, shape (lanes, K, K).
        base: reward that the likelihood is compared with.
        start: reward inside both the ball and the box.
        level: log-likelihood ratio on the surface of the ball, negative for a ball round `base`.
        bound: rewards are in [-bound, bound]; infinite for no box.

    Returns:
        The optimum, from above, to about 1e-9: in a box it is bounded by duality, which no error of
        the optimiser can undo.

    Example:
        >>> wins = np.array([[[0.0, 30.0], [10.0, 0.0]]])
        >>> base = fitted(wins).rewards
        >>> lead = np.array([[1.0, -1.0]])
        >>> largest_contrast(lead, wins, base, base, np.array([-2.0]), np.inf).round(4).tolist()
        [1.8827]
    """
    found = np.empty(len(contrasts))
    size = max(1, _AT_ONCE // wins.shape[1] ** 2)
    for first in range(0, len(contrasts), size):
        part = slice(first, first + size)
        logs = _log_sigmoid(_differences(base[part]))
        objective = _Contrast(contrasts[part], wins[part], logs, level[part], bound)
        rewards = start[part]
        constraints = 1 if np.isinf(bound) else 1 + 2 * wins.shape[1]
        *way, last = constraints * np.array(_ONTO_BALL)
        for weight in way:
            rewards = _climb(objective, rewards, weight, _LOOSE)
        rewards = _climb(objective, rewards, last, _TIGHT)
        if np.isinf(bound):
            reached = np.einsum("lk,lk->l", contrasts[part], rewards)
        else:
            reached = _from_above(objective, rewards)
        found[part] = reached + constraints / last  # the duality gap on the central path
    return found


def _from_above(objective: "_Contrast", rewards: Rewards) -> PerLane:
    r"""The largest contrast in the box where a tangent of the likelihood is likely enough.

    The likelihood is concave, so that its tangent, of slope g, holds more rewards than the ball.
    The dual is $\min_{\mu\ge0} R\|v + \mu g\|_1 + \mu(\text{slack} - g^\top r)$, which is
    piecewise linear: its minimum is where an entry of $v + \mu g$ vanishes, or at 0.
    """
    v, bound = objective.contrasts, objective.bound
    likelihood, slope, _ = _slopes(rewards, objective.wins, objective.logs)
    offset = likelihood - objective.level - np.einsum("lk,lk->l", slope, rewards)
    turns = np.maximum(-v / np.where(np.abs(slope) < 1e-200, np.inf, slope), 0.0)
    turns = np.concatenate([turns, np.zeros_like(turns[:, :1])], axis=1)
    left = np.abs(v[:, None, :] + turns[:, :, None] * slope[:, None, :]).sum(axis=2)
    return np.min(bound * left + turns * offset[:, None], axis=1)


class _Penalised(NamedTuple):
    """weight * log-likelihood, and a Gaussian or, for a finite bound, the barrier of the box."""

    wins: Wins
    bound: float

    def value(self, rewards: Rewards, lanes: Lanes, weight: float) -> PerLane:
        logs = _log_sigmoid(_differences(rewards))
        return weight * _total(self.wins[lanes], logs) + self._prior(rewards)

    def derivatives(self, rewards: Rewards, lanes: Lanes, weight: float) -> Derivatives:
        likelihood, gradient, curvature = _slopes(rewards, self.wins[lanes], 0.0)
        of_prior, its_curvature = self._slopes_of_prior(rewards)
        return (
            weight * likelihood + self._prior(rewards),
            weight * gradient + of_prior,
            weight * curvature + its_curvature,
        )

    def _prior(self, rewards: Rewards) -> PerLane:
        if np.isinf(self.bound):
            return -np.sum(rewards**2, axis=1) / 2
        return _box(rewards, self.bound)

    def _slopes_of_prior(self, rewards: Rewards) -> tuple[Rewards, Curvatures]:
        if np.isinf(self.bound):
            return -rewards, _diagonal(np.ones_like(rewards))
        return _slopes_of_box(rewards, self.bound)


class _Contrast(NamedTuple):
    """weight * contrast, and the barriers of the ball and of the box."""

    contrasts: Rewards
    wins: Wins
    logs: Wins  # of the probabilities under the reward that the ball is round
    level: PerLane
    bound: float

    def value(self, rewards: Rewards, lanes: Lanes, weight: float) -> PerLane:
        logs = _log_sigmoid(_differences(rewards)) - self.logs[lanes]
        slack = _total(self.wins[lanes], logs) - self.level[lanes]
        return self._total(rewards, lanes, weight, slack)

    def derivatives(self, rewards: Rewards, lanes: Lanes, weight: float) -> Derivatives:
        likelihood, gradient, curvature = _slopes(rewards, self.wins[lanes], self.logs[lanes])
        slack = likelihood - self.level[lanes]
        of_box, its_curvature = _slopes_of_box(rewards, self.bound)
        gradient = gradient / slack[:, None]
        total = curvature / slack[:, None, None] + gradient[:, :, None] * gradient[:, None, :]
        if np.isinf(self.bound):
            total = total + 1.0  # a constant may be added to the rewards
        return (
            self._total(rewards, lanes, weight, slack),
            weight * self.contrasts[lanes] + gradient + of_box,
            total + its_curvature,
        )

    def _total(self, rewards: Rewards, lanes: Lanes, weight: float, slack: PerLane) -> PerLane:
        inside = slack > 0
        reached = np.sum(self.contrasts[lanes] * rewards, axis=1)
        barrier = np.log(np.where(inside, slack, 1.0)) + _box(rewards, self.bound)
        return np.where(inside, weight * reached + barrier, -np.inf)


def _climb(objective: _Objective, start: Rewards, weight: float, tolerance: float) -> Rewards:
    """Newton's method with a line search, in every lane until its decrement is small."""
    rewards = start.copy()
    lanes = np.arange(len(rewards))
    for _ in range(_NEWTON_STEPS):
        here = rewards[lanes]
        before, gradient, curvature = objective.derivatives(here, lanes, weight)
        trace = np.trace(curvature, axis1=1, axis2=2)[:, None, None]
        ridge = 1e-14 * trace * np.eye(here.shape[1])
        step = np.linalg.solve(curvature + ridge, gradient[:, :, None])[:, :, 0]
        decrement = np.einsum("lk,lk->l", gradient, step)
        rewards[lanes] = _searched(objective, here, step, decrement, before, lanes, weight)
        lanes = lanes[decrement > tolerance]
        if not lanes.size:
            break
    return rewards


def _searched(
    objective: _Objective,
    here: Rewards,
    step: Rewards,
    decrement: PerLane,
    before: PerLane,
    lanes: Lanes,
    weight: float,
) -> Rewards:
    """Where the longest of the halved steps leads that climbs enough; `here` if none does."""
    rounding = 8 * np.finfo(float).eps * np.abs(before)
    found, length = here.copy(), 1.0
    searching = np.arange(len(lanes))
    for _ in range(_HALVINGS):
        trial = here[searching] + length * step[searching]
        climbed = objective.value(trial, lanes[searching], weight) - before[searching]
        enough = climbed >= 0.1 * length * decrement[searching] - rounding[searching]
        found[searching[enough]] = trial[enough]
        searching, length = searching[~enough], length / 2
        if not searching.size:
            break
    return found


def _slopes(rewards: Rewards, wins: Wins, base: Wins | float) -> Derivatives:
    """The log-likelihood over that of the base, its gradient and the observed information."""
    pairs = _pairs(wins)
    logs = _log_sigmoid(_differences(rewards))
    beats = np.exp(logs)
    gradient = np.sum(wins - pairs * beats, axis=2)
    return _total(wins, logs - base), gradient, _laplacian(pairs * beats * (1 - beats))


def _box(rewards: Rewards, bound: float) -> PerLane:
    """The barrier of the box, -inf outside of it; 0 for an infinite one."""
    share = rewards / bound
    inside = np.max(np.abs(share), axis=1) < 1
    share = np.where(inside[:, None], share, 0.0)
    return np.where(inside, np.sum(np.log1p(-(share**2)), axis=1), -np.inf)


def _slopes_of_box(rewards: Rewards, bound: float) -> tuple[Rewards, Curvatures]:
    """The gradient and the negative Hessian of the barrier, inside of the box."""
    share = rewards / bound
    left = 1 - share**2
    of_arm = 2 / bound**2 * (1 + share**2) / left**2
    return -2 * share / bound / left, _diagonal(of_arm)


def _total(wins: Wins, logs: Wins) -> PerLane:
    return np.einsum("lij,lij->l", wins, logs)


def _differences(rewards: Rewards) -> Float[np.ndarray, "lanes arms arms"]:
    return rewards[:, :, None] - rewards[:, None, :]


def _pairs(wins: Wins) -> Wins:
    return wins + np.swapaxes(wins, 1, 2)


def _laplacian(weights: Wins) -> Curvatures:
    return _diagonal(np.sum(weights, axis=2)) - weights


def _diagonal(entries: Rewards) -> Curvatures:
    return np.eye(entries.shape[1]) * entries[:, :, None]


def _log_sigmoid(x: np.ndarray) -> np.ndarray:
    return np.minimum(x, 0) - np.log1p(np.exp(-np.abs(x)))
