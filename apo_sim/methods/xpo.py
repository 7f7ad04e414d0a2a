"""Exploratory preference optimisation: DPO on all data so far, with a bonus for the unfamiliar."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from apo_sim.arguments import check_bound
from apo_sim.checks import NON_NEGATIVE, POSITIVE, check_single
from apo_sim.losses import DPO, derivatives
from apo_sim.methods._states import OnePolicy
from apo_sim.methods.method import Report
from apo_sim.preferences.drawing import counts_by_context
from apo_sim.preferences.noise import PROBABILITY
from apo_sim.problems import LogPolicy, Problem
from apo_sim.proximal.from_counts import rewards_from_counts
from apo_sim.pytree import pytree_dataclass, static

# Newton's steps, and halvings of one; a dozen of the first are usual.
_STEPS, _HALVINGS = 200, 40
# The share of the promised decrease that a step has to bring.
_SUFFICIENT = 1e-4

Scores = Float[Array, " arms"]
Number = Float[Array, ""]


@pytree_dataclass
class Explored:
    """Pairs of a response of the policy and one of the reference, summed up.

    Attributes:
        wins: how often each arm beat each other, or the law of that, shape (contexts, arms, arms).
        reference: how often the reference policy gave each arm, shape (contexts, arms).
    """

    wins: Float[Array, "contexts arms arms"]
    reference: Float[Array, "contexts arms"]


@pytree_dataclass
class PolicyAgainstReference:
    """Pairs of a response of the behaviour policy and one of the reference, added up.

    Args:
        flipped: probability that winner and loser are exchanged, see `Flipped`.
    """

    flipped: float | Float[Array, ""] = 0.0
    accumulated: bool = static(default=True)

    def fixes_shape(self, problem: Problem, samples: Any) -> bool:
        return False

    def exact(self, problem: Problem, behaviour: LogPolicy) -> Explored:
        law = self._law(problem, behaviour) * problem.context_probs[:, None, None, None]
        return _summed_up(law)

    def draw(
        self, key: Key[Array, ""], problem: Problem, behaviour: LogPolicy, samples: Any
    ) -> Explored:
        law = self._law(problem, behaviour)
        flat = law.reshape(law.shape[0], -1)
        drawn = counts_by_context(key, flat, problem.context_probs, samples)
        return _summed_up(drawn.reshape(law.shape).astype(behaviour.dtype))

    def _law(self, problem: Problem, behaviour: LogPolicy) -> Float[Array, "contexts 2 arms arms"]:
        """Of who won, the policy's response or the reference's, and of the two responses."""
        drawn = jnp.exp(behaviour[:, :, None] + problem.log_ref[:, None, :])
        flipped = jnp.asarray(self.flipped, drawn.dtype)
        right, wrong = problem.preference, jnp.swapaxes(problem.preference, 1, 2)
        first, second = (
            (1.0 - flipped) * one + flipped * other
            for one, other in ((right, wrong), (wrong, right))
        )
        return jnp.stack([drawn * first, drawn * second], axis=1)


def _summed_up(pairs: Float[Array, "contexts 2 arms arms"]) -> Explored:
    won, lost = pairs[:, 0], pairs[:, 1]
    return Explored(won + jnp.swapaxes(lost, 1, 2), jnp.sum(pairs, axis=(1, 2)))


@pytree_dataclass
class XPO(OnePolicy):
    """argmin of alpha sum log pi(y~) - sum log sigmoid(r_winner - r_loser), r = beta log pi/pi_ref.

    One response y of each pair is the policy's, the other one, y~, is the reference policy's; both
    sums are over all pairs so far. The bonus is ADDED to what is minimised: it takes probability
    from responses that the reference is known to give, so that arms nobody has seen are tried. It
    is for policies with max r - min r <= 2 R in each context, without which the sum has no least
    value: an arm that lost all its comparisons would lose all its probability.

    In r the bonus is alpha <m, r> / beta - alpha |m| log sum pi_ref exp(r / beta), concave, and the
    problem is convex only where alpha / beta^2 is small against the curvature of the likelihood.
    From DPO's minimiser, projected Newton steps that never climb lead to a point that is
    stationary. The series `residual` certifies this: the largest |r - clip(r - slope / weight)|,
    0 there, with for each arm a weight that its curvature cannot exceed. The series `curvature`,
    the least one among changes that no bound stops, in units of these weights, tells a minimum
    (above 0) from a saddle point; that no other minimum lies lower is certain only for a convex
    problem. An arm that nobody has seen is at the upper bound, where it is best whatever the others
    are.

    Args:
        alpha: weight of the bonus, at least 0; with 0 it is DPO on all data so far.
        beta: weight of the KL divergence from the reference policy, above 0.
        reward_bound: R, above 0.
        flipped: probability of a wrong label, in [0, 1], which the method does not know of.

    Raises:
        InvalidArgument: a number out of range.

    Source: Xie et al. (2024), "Exploratory preference optimization", algorithm 1, which returns
    the best of its policies; here all of them are judged.

    Example:
        >>> import apo_sim as apo
        >>> bandit = apo.Bandit(jnp.array([[1.0, 0.0]]), jnp.log(jnp.array([[0.25, 0.75]])))
        >>> policies = [
        ...     jnp.exp(apo.solve(bandit, XPO(alpha), iterations=1).final_log_policy[0])
        ...     for alpha in (0.0, 0.05)
        ... ]
        >>> [[round(float(p), 3) for p in policy] for policy in policies]
        [[0.475, 0.525], [0.524, 0.476]]
    """

    alpha: float | Float[Array, ""] = 0.01
    beta: float | Float[Array, ""] = 1.0
    reward_bound: float | Float[Array, ""] = 2.0
    flipped: float | Float[Array, ""] = 0.0

    def __post_init__(self) -> None:
        kinds = {"alpha": NON_NEGATIVE, "beta": POSITIVE, "reward_bound": POSITIVE}
        kinds["flipped"] = PROBABILITY
        for name, kind in kinds.items():
            check_single(name, getattr(self, name), kind.remedy)
            kind.check(name, getattr(self, name))

    @property
    def request(self) -> PolicyAgainstReference:
        return PolicyAgainstReference(self.flipped)

    def check(self, problem: Problem, iterations: int, samples: Any, first: int | None) -> None:
        check_bound(DPO(), self.reward_bound, problem.log_ref.dtype)

    def step(
        self, problem: Problem, state: LogPolicy, data: Explored, t: Int[Array, ""]
    ) -> tuple[LogPolicy, Report]:
        log_ref = jax.nn.log_softmax(problem.log_ref, axis=1)
        alpha, beta, bound = (
            jnp.asarray(number, log_ref.dtype)
            for number in (self.alpha, self.beta, self.reward_bound)
        )
        start, _ = rewards_from_counts(DPO(), data.wins, log_ref, beta, bound)
        pairs = jnp.sum(data.reference, axis=1)
        some = jnp.where(pairs > 0, pairs, 1.0)
        objective = jax.vmap(_Objective, (0, 0, 0, None, None))(
            data.wins / some[:, None, None], data.reference / some[:, None], log_ref, alpha, beta
        )
        rewards, residual, curvature = jax.vmap(_descend, (0, 0, None))(objective, start, bound)
        series = {"residual": jnp.max(residual), "curvature": jnp.min(curvature)}
        log_policy = jax.nn.log_softmax(log_ref + rewards / beta, axis=1)
        return log_policy, Report(series=series, rewards=rewards)


class _Objective(NamedTuple):
    """What is minimised in one context, as a mean over its pairs.

    Attributes:
        wins: the share of the pairs in which i beat j, shape (arms, arms).
        reference: the share of the reference's responses, shape (arms,).
        log_ref: log of the reference policy, shape (arms,).
        alpha: weight of the bonus.
        beta: weight of the divergence.
    """

    wins: Float[Array, "arms arms"]
    reference: Scores
    log_ref: Scores
    alpha: Number
    beta: Number

    def value(self, rewards: Scores) -> Number:
        losses, _, _ = derivatives(DPO(), rewards[:, None] - rewards)
        log_policy = jax.nn.log_softmax(self.log_ref + rewards / self.beta)
        return jnp.sum(self.wins * losses) + self.alpha * jnp.sum(self.reference * log_policy)

    def slope(self, rewards: Scores) -> Scores:
        _, slopes, _ = derivatives(DPO(), rewards[:, None] - rewards)
        force = self.wins * slopes
        policy = jax.nn.softmax(self.log_ref + rewards / self.beta)
        bonus = self.reference - jnp.sum(self.reference) * policy
        return jnp.sum(force, axis=1) - jnp.sum(force, axis=0) + self.alpha / self.beta * bonus

    def curvature(self, rewards: Scores) -> Float[Array, "arms arms"]:
        _, _, curvatures = derivatives(DPO(), rewards[:, None] - rewards)
        pulls = (self.wins + self.wins.T) * curvatures
        policy = jax.nn.softmax(self.log_ref + rewards / self.beta)
        spread = jnp.diag(policy) - jnp.outer(policy, policy)
        weight = self.alpha * jnp.sum(self.reference) / self.beta**2
        return jnp.diag(jnp.sum(pulls, axis=1)) - pulls - weight * spread

    def weight(self, rewards: Scores) -> Scores:
        """What the curvature of each arm cannot exceed, whatever its sign."""
        met = jnp.sum(self.wins + self.wins.T, axis=1) - 2.0 * jnp.diagonal(self.wins)
        policy = jax.nn.softmax(self.log_ref + rewards / self.beta)
        found = 0.25 * met + self.alpha / self.beta**2 * jnp.sum(self.reference) * policy
        return jnp.maximum(found, jnp.finfo(found.dtype).tiny)

    def unseen(self) -> Bool[Array, " arms"]:
        """Arms that neither policy has given."""
        return jnp.sum(self.wins + self.wins.T, axis=1) + self.reference == 0


class _Descent(NamedTuple):
    rewards: Scores
    residual: Number
    step: Int[Array, ""]


def _descend(objective: _Objective, start: Scores, bound: Number) -> tuple[Scores, Number, Number]:
    """A stationary point with max r - min r <= 2 R, below the start.

    Only differences of rewards matter, so that set may be taken as the box [-R, R].

    Source: Bertsekas (1982), "Projected Newton methods", with |curvature| where it is negative.
    """
    tolerance = jnp.finfo(start.dtype).eps ** 0.6 * (1.0 + objective.alpha / objective.beta)

    def residual(rewards: Scores) -> Number:
        step = objective.slope(rewards) / objective.weight(rewards)
        return jnp.max(jnp.abs(jnp.clip(rewards - step, -bound, bound) - rewards))

    def unfinished(descent: _Descent) -> Bool[Array, ""]:
        return (descent.step < _STEPS) & (descent.residual > tolerance)

    def improve(descent: _Descent) -> _Descent:
        rewards = _search(objective, descent.rewards, bound, descent.residual)
        return _Descent(rewards, residual(rewards), descent.step + 1)

    middle = 0.5 * (jnp.max(start) + jnp.min(start))
    explored = objective.unseen() & (objective.alpha > 0)
    first = jnp.where(explored, bound, jnp.clip(start - middle, -bound, bound))
    found = jax.lax.while_loop(
        unfinished, improve, _Descent(first, residual(first), jnp.zeros((), int))
    )
    held = _held(found.rewards, objective.slope(found.rewards), bound, tolerance)
    values, _ = _bends(objective, found.rewards, held)
    return found.rewards, found.residual, jnp.min(values)


def _held(rewards: Scores, slope: Scores, bound: Number, near: Number) -> Bool[Array, " arms"]:
    """Arms near a bound that the slope pushes against it."""
    near = jnp.minimum(near, 0.1 * bound)
    return ((rewards >= bound - near) & (slope < 0)) | ((rewards <= near - bound) & (slope > 0))


def _bends(
    objective: _Objective, rewards: Scores, held: Bool[Array, " arms"]
) -> tuple[Scores, Float[Array, "arms arms"]]:
    """Curvatures along axes of the arms that are free, in units of their weights, and the axes.

    What moves held arms, or all arms alike, has infinite curvature.
    """
    free, arms = ~held, len(held)
    root = jnp.sqrt(objective.weight(rewards))
    # Both by themselves, so that no product of tiny numbers is divided by.
    curvature = objective.curvature(rewards) / root / root[:, None]
    among = jnp.where(free[:, None] & free, curvature, 0.0)
    alike = jnp.where(jnp.all(free), root / jnp.linalg.norm(root), 0.0)
    # Far above all others, which the units keep within the number of arms.
    lift = 4.0 * arms
    lifted = among + lift * (jnp.diag(held.astype(among.dtype)) + jnp.outer(alike, alike))
    values, axes = jnp.linalg.eigh(lifted)
    return jnp.where(values > 0.5 * lift, jnp.inf, values), axes / root[:, None]


def _search(objective: _Objective, rewards: Scores, bound: Number, residual: Number) -> Scores:
    """One projected Newton step, halved until it brings what its slope promises."""
    slope = objective.slope(rewards)
    held = _held(rewards, slope, bound, residual)
    values, axes = _bends(objective, rewards, held)
    steep = jnp.maximum(jnp.abs(values), jnp.sqrt(jnp.finfo(slope.dtype).eps))
    newton = -axes @ ((jnp.where(held, 0.0, slope) @ axes) / steep)
    # Longer than the box is wide would only be halved; shortened as a whole it still goes down.
    newton = newton * jnp.minimum(1.0, 2.0 * bound / jnp.maximum(jnp.max(jnp.abs(newton)), bound))
    # Held arms go to their bound.
    step = jnp.where(held, -jnp.sign(slope) * 2.0 * bound, newton)
    before = objective.value(rewards)
    noise = 8.0 * jnp.finfo(slope.dtype).eps * (1.0 + jnp.abs(before))

    def reached(length: Number) -> Scores:
        return jnp.clip(rewards + length * step, -bound, bound)

    def too_long(search: tuple[Number, Int[Array, ""]]) -> Bool[Array, ""]:
        length, halvings = search
        there = reached(length)
        promised = _SUFFICIENT * slope @ (there - rewards)
        return (halvings < _HALVINGS) & ~(objective.value(there) <= before + promised + noise)

    def halve(search: tuple[Number, Int[Array, ""]]) -> tuple[Number, Int[Array, ""]]:
        return 0.5 * search[0], search[1] + 1

    length, _ = jax.lax.while_loop(too_long, halve, (jnp.ones((), slope.dtype), jnp.zeros((), int)))
    return reached(length)
