r"""The gap and its rates in any geometry: what log(1/p)/gamma and exp(-gamma Delta) are for KL.

The policy of an accumulated weight gamma is the one of most
$\langle r^*, \pi\rangle - B_\Phi(\pi, \pi_{\rm ref})/\gamma$ (`exact_policy`). Which rewards leave
it the largest gap is a concave problem in the policy itself: to reach pi, gamma r* has to be
phi'(pi) - phi'(pi_ref), so that

$$\gamma\,\mathrm{gap} = \sum_{y \ne y^*} \pi_y\,[\phi'(\pi_{{\rm ref},y}) - \phi'(\pi_y)]
+ (1-s)\,[\phi'(s) - \phi'(p)], \qquad s = \pi_{y^*},\ p = \pi_{{\rm ref},y^*},$$

and p phi'(p) is convex, (1-s) phi'(s) concave for every generator here. With a multiplier mu for
the total mass, each arm's share falls with mu by itself, which leaves one root in one number; at
the solution $\gamma\,\mathrm{gap} = \sum_{y\ne y^*} \pi_y^2\phi''(\pi_y) + (1-s)^2\phi''(s)$.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from apo_sim.checks import POSITIVE, checked, concrete
from apo_sim.errors import InvalidArgument
from apo_sim.geometry import KL, Burg, ChiSquareKL, Euclidean, Geometry, Tsallis
from apo_sim.geometry.bregman import GEOMETRY, check_reference
from apo_sim.problems import PROBLEM, Bandit, LogPolicy, PerContext, Problem
from apo_sim.pytree import boxed, unboxed
from apo_sim.theory.closed_form_arguments import Number
from apo_sim.theory.closed_forms import with_reward
from apo_sim.theory.optimisation import sharp_gap, wright_omega

Terms = Float[Array, "contexts arms"]

# So many halve any interval of logarithms to its last digit in double precision.
_HALVINGS = 120


@checked(problem=PROBLEM, gamma=POSITIVE.one(), geometry=GEOMETRY)
def gap_bregman(problem: Problem, gamma: Number, geometry: Geometry = KL()) -> PerContext:
    r"""The textbook bound on the gap, $B_\Phi(\pi^*, \pi_{\rm ref})/\gamma$.

    It is log(1/p)/gamma for KL (`gap_gibbs`), and infinite for Burg, whose divergence knows no
    policy without an arm. Never attained: `sharp_gap_of` is below it.

    Args:
        problem: a `Bandit`; of its rewards only the best arm matters.
        gamma: accumulated weight, above 0, see `apo_sim.theory.gamma`.
        geometry: the Bregman divergence of the updates.

    Returns:
        The bound in each context, shape (contexts,), in units of reward.

    Raises:
        InvalidArgument: the problem has no latent reward, gamma is not positive.

    Source: the rate of the Bregman proximal point (Chen and Teboulle 1993).

    Example:
        >>> bandit = Bandit(jnp.array([[1.0, 0.0]]), jnp.log(jnp.array([[0.5, 0.5]])))
        >>> gap_bregman(bandit, 2.0, Euclidean()).tolist()
        [0.125]
    """
    problem = with_reward(problem)
    check_reference(geometry, problem.log_ref)
    optimal = jnp.where(_on_best(problem), 0.0, -jnp.inf).astype(problem.log_ref.dtype)
    return geometry.at(problem.log_ref).divergence(optimal, problem.log_ref) / gamma


@checked(problem=PROBLEM, gamma=POSITIVE.one(), geometry=GEOMETRY)
def sharp_gap_of(problem: Problem, gamma: Number, geometry: Geometry = KL()) -> PerContext:
    r"""The largest gap over all rewards with this best arm and reference, in any geometry.

    Over gamma, W_0((1-p)/(e p)) for KL (`sharp_gap`); half of `gap_bregman` for Euclidean; and
    $K - 1 + (\sqrt a - 1)^2$ for Burg, a the larger of 1 and 1/p - 1/(the largest mass of any other
    arm). For Tsallis and chi-square with KL it is a root in one number, see the module. It holds
    for Euclidean rewards that stand still, lazy or agile. Source: ours (B2).

    Args:
        problem: a `Bandit`; of its rewards only the best arm matters.
        gamma: accumulated weight, above 0.
        geometry: KL, Tsallis, Burg, ChiSquareKL or Euclidean.

    Returns:
        The bound in each context, shape (contexts,), in units of reward: attained by the rewards
        `geometry.score(worst_policy(problem, geometry), log_ref) / gamma`, for Burg a supremum.

    Raises:
        InvalidArgument: as `gap_bregman`; a geometry of another kind.

    Example:
        >>> bandit = Bandit(jnp.array([[1.0, 0.0]]), jnp.log(jnp.array([[0.5, 0.5]])))
        >>> [round(float(sharp_gap_of(bandit, 1.0, g)[0]), 3) for g in (KL(), Burg(), Euclidean())]
        [0.278, 1.0, 0.125]
    """
    problem = with_reward(problem)
    if isinstance(geometry, KL):
        return sharp_gap(None, gamma, log_p_star=problem.log_best_ref)
    return _worst(problem, geometry)[1] / gamma


@checked(problem=PROBLEM, geometry=GEOMETRY)
def worst_policy(problem: Problem, geometry: Geometry = KL()) -> LogPolicy:
    """The policy whose rewards attain `sharp_gap_of`, which depends on no gamma.

    For KL and ChiSquareKL its rewards have two levels. For Tsallis and Euclidean an arm lies the
    lower the rarer, respectively the likelier, it is. For Burg it is a limit: all arms but the best
    and the likeliest other one have lost their mass.

    Args:
        problem: a `Bandit`; of its rewards only the best arm matters.
        geometry: KL, Tsallis, Burg, ChiSquareKL or Euclidean.

    Returns:
        Log-probabilities, shape (contexts, arms).

    Raises:
        InvalidArgument: the problem has no latent reward; a geometry of another kind.

    Example:
        >>> bandit = Bandit(jnp.array([[1.0, 0.0]]), jnp.log(jnp.array([[0.5, 0.5]])))
        >>> jnp.exp(worst_policy(bandit, Euclidean())).tolist()
        [[0.75, 0.25]]
    """
    return _worst(with_reward(problem), geometry)[0]


@checked(problem=PROBLEM)
def exact_from(problem: Problem) -> PerContext:
    r"""The gamma from which on the Euclidean policy is the optimal arm alone.

    $\gamma = \max_{y \ne y^*} (1 + \pi_{{\rm ref},y} - p)/\Delta_y$: the projection keeps one arm
    once its coordinate is above every other by 1. Source: ours (B3).

    Args:
        problem: a `Bandit`.

    Returns:
        gamma in each context, shape (contexts,); infinite where two arms tie for the best.

    Raises:
        InvalidArgument: the problem has no latent reward.

    Example:
        >>> bandit = Bandit(jnp.array([[1.0, 0.0]]), jnp.log(jnp.array([[0.5, 0.5]])))
        >>> exact_from(bandit).tolist()
        [1.0]
    """
    problem = with_reward(problem)
    lead = _lead(problem)
    ahead = jnp.exp(problem.log_ref) - jnp.exp(problem.log_best_ref)[:, None]
    # A difference this small divides into more than a float holds.
    tied = lead < 1 / jnp.finfo(lead.dtype).max
    needed = jnp.where(tied, jnp.inf, (1.0 + ahead) / jnp.where(tied, 1.0, lead))
    return jnp.max(jnp.where(_on_best(problem), 0.0, needed), axis=1)


@checked(problem=PROBLEM, gamma=POSITIVE.one(), geometry=GEOMETRY)
def log_tail(problem: Problem, gamma: Number, geometry: Geometry = KL()) -> PerContext:
    r"""What the logarithm of the total variation to the optimal policy tends to as gamma grows.

    | geometry | leading term of the total variation |
    | --- | --- |
    | KL | $\sum_y (\pi_{{\rm ref},y}/p)\,e^{-\gamma\Delta_y}$ |
    | ChiSquareKL | the same times $e^{1/p}$: a delay of 1/p in gamma Delta |
    | Tsallis, Burg (q = 0) | $\sum_y [(1-q)\gamma\Delta_y]^{-1/(1-q)}$, whatever pi_ref was |
    | Euclidean | 0 from `exact_from` on |

    Sums are over all arms but the best. Source: ours (B3).

    Args:
        problem: a `Bandit` whose best arm leads.
        gamma: accumulated weight, above 0.
        geometry: KL, Tsallis, Burg, ChiSquareKL (relative to the problem's reference) or
            Euclidean.

    Returns:
        The logarithm in each context, shape (contexts,); -inf for Euclidean.

    Raises:
        InvalidArgument: two arms tie for the best; a geometry of another kind.

    Example:
        >>> bandit = Bandit(jnp.array([[1.0, 0.0]]), jnp.log(jnp.array([[0.5, 0.5]])))
        >>> [round(float(log_tail(bandit, 100.0, g)[0]), 2) for g in (KL(), Tsallis(0.5), Burg())]
        [-100.0, -7.82, -4.61]
    """
    problem = with_reward(problem)
    others, lead = ~_on_best(problem), _lead(problem)
    known = concrete(jnp.where(others, lead, 1.0))
    if known is not None and not known.all():
        raise InvalidArgument(
            "problem",
            problem,
            "has no unique best arm",
            "make the reward of the best arm larger than all others",
        )
    lead = jnp.where(others, lead, 1.0)
    if isinstance(geometry, Tsallis | Burg):
        terms = -jnp.log((1.0 - geometry.q) * gamma * lead) / (1.0 - geometry.q)
    elif isinstance(geometry, KL | ChiSquareKL):
        delay = jnp.exp(-problem.log_best_ref) if isinstance(geometry, ChiSquareKL) else 0.0
        log_odds = problem.log_ref - problem.log_best_ref[:, None]
        terms = log_odds + jnp.reshape(delay, (-1, 1)) - gamma * lead
    elif isinstance(geometry, Euclidean):
        terms = jnp.full_like(lead, -jnp.inf)
    else:
        raise _unknown(geometry)
    return jax.nn.logsumexp(jnp.where(others, terms, -jnp.inf), axis=1)


def _worst(problem: Bandit, geometry: Any) -> tuple[LogPolicy, PerContext]:
    """The policy of the worst rewards, and gamma times their gap."""
    check_reference(geometry, problem.log_ref)
    if not isinstance(geometry, tuple(_WORST)):
        raise _unknown(geometry)
    return _solved(boxed(geometry, "geometry"), problem)


@jax.jit
def _solved(geometry: Any, problem: Bandit) -> tuple[LogPolicy, PerContext]:
    geometry = unboxed(geometry).at(problem.log_ref)
    find = next(find for kind, find in _WORST.items() if isinstance(geometry, kind))
    on_best = _on_best(problem)
    log_worst = find(geometry, problem, on_best)
    log_s = jnp.max(jnp.where(on_best, log_worst, -jnp.inf), axis=1, keepdims=True)
    odds = -jnp.expm1(log_s) / jnp.exp(log_s)
    stretch = _stretch(geometry, log_worst)
    of_best = jnp.exp(log_s) * odds**2 * stretch
    # What an arm adds has a limit as it vanishes: 0, but 1 for Burg.
    vanished = 1.0 if isinstance(geometry, Burg) else 0.0
    some = jnp.isfinite(log_worst)
    of_other = jnp.where(some, jnp.exp(log_worst) * jnp.where(some, stretch, 0.0), vanished)
    return log_worst, jnp.sum(jnp.where(on_best, of_best, of_other), axis=1)


def _worst_of_kl(geometry: KL, problem: Bandit, on_best: Bool[Array, "contexts arms"]) -> LogPolicy:
    log_p = problem.log_best_ref
    log_s = -jnp.log1p(sharp_gap(None, 1.0, log_p_star=log_p))
    moved = jnp.log(-jnp.expm1(log_s)) - jnp.log(-jnp.expm1(log_p))
    return jnp.where(on_best, log_s[:, None], problem.log_ref + moved[:, None])


def _worst_of_burg(geometry: Burg, problem: Bandit, on_best: Any) -> LogPolicy:
    """All that is not on the best arm lies on the likeliest other one."""
    others = jnp.where(on_best, -jnp.inf, problem.log_ref)
    rival = jnp.arange(problem.num_arms) == jnp.argmax(others, axis=1)[:, None]
    ratio = jnp.exp(problem.log_best_ref - jnp.max(others, axis=1))  # of p to the rival's mass
    # a is 1/p - 1/rival; below 1 no policy with a second arm is as bad as the best arm's limit.
    a = (1.0 - ratio) * jnp.exp(-problem.log_best_ref)
    log_s = -0.5 * jnp.log(jnp.maximum(a, 1.0))
    log_rest = jnp.log(-jnp.expm1(log_s))
    return jnp.where(on_best, log_s[:, None], jnp.where(rival, log_rest[:, None], -jnp.inf))


def _worst_of_euclidean(geometry: Euclidean, problem: Bandit, on_best: Any) -> LogPolicy:
    """Halfway to the optimal policy."""
    log_half = -jnp.log(jnp.asarray(2.0, problem.log_ref.dtype))
    return log_half + jnp.where(on_best, jnp.logaddexp(0.0, problem.log_ref), problem.log_ref)


def _worst_by_root(geometry: Any, problem: Bandit, on_best: Any) -> LogPolicy:
    """The best arm's share at which the shares of the others, by its multiplier, are the rest."""
    log_p, dual = problem.log_best_ref, geometry.dual(problem.log_ref)
    of_best = jnp.argmax(on_best, axis=1)[:, None]

    def log_total(log_s):
        log_policy = jnp.where(on_best, log_s[:, None], problem.log_ref)
        moved = jnp.take_along_axis(dual - geometry.dual(log_policy), of_best, axis=1)
        stretch = jnp.take_along_axis(_stretch(geometry, log_policy), of_best, axis=1)
        multiplier = moved + (-jnp.expm1(log_s) * jnp.exp(-log_s))[:, None] * stretch
        shares = _log_share(geometry, dual - multiplier)
        return jax.nn.logsumexp(jnp.where(on_best, log_s[:, None], shares), axis=1)

    # The best arm never loses: its share lies between p and 1.
    log_s = _halved(log_total, log_p, jnp.zeros_like(log_p))
    log_rest = jnp.log(-jnp.expm1(log_s))

    # Of a tiny p that multiplier has no digits left, and the others' own one is found again.
    def multiplier_of(log_share):
        each = dual - geometry.dual(log_share) - _stretch(geometry, log_share)
        return jnp.max(jnp.where(on_best, -jnp.inf, each), axis=1)

    def log_shares(multiplier):
        shares = _log_share(geometry, dual - multiplier[:, None])
        return jnp.where(on_best, -jnp.inf, shares)

    def log_missing(multiplier):
        return log_rest - jax.nn.logsumexp(log_shares(multiplier), axis=1)

    whole = jnp.broadcast_to(log_rest[:, None], dual.shape)
    even = whole - jnp.log(jnp.asarray(problem.num_arms - 1, whole.dtype))
    multiplier = _halved(log_missing, multiplier_of(whole), multiplier_of(even))
    shares = log_shares(multiplier)
    shares = shares + (log_rest - jax.nn.logsumexp(shares, axis=1))[:, None]
    return jnp.where(on_best, log_s[:, None], shares)


def _halved(function: Callable[[Array], Array], low: Array, high: Array) -> Array:
    """Where an increasing function is 0, between a place too low and one too high."""

    def halve(_, ends):
        low, high = ends
        middle = 0.5 * (low + high)
        above = function(middle) > 0
        return jnp.where(above, low, middle), jnp.where(above, middle, high)

    return jax.lax.fori_loop(0, _HALVINGS, halve, (low, high))[0]


def _stretch(geometry: Any, log_policy: Terms) -> Terms:
    """pi phi''(pi), which is the derivative of phi' in log pi."""
    return jax.jvp(geometry.dual, (log_policy,), (jnp.ones_like(log_policy),))[1]


def _log_share(geometry: Any, value: Terms) -> Terms:
    """log pi where phi'(pi) + pi phi''(pi), the derivative of pi phi'(pi), is what is given."""
    if isinstance(geometry, ChiSquareKL):
        assert geometry.log_ref is not None  # which `at` has filled in
        log_2 = jnp.log(jnp.asarray(2.0, value.dtype))
        return geometry.log_ref + jnp.log(wright_omega(value - 1.0 + log_2)) - log_2
    q = geometry.q
    # Where the derivative is nowhere that large, no share is too large.
    least = jnp.finfo(value.dtype).tiny
    return -jnp.log(jnp.maximum(1.0 - (1.0 - q) * value, least) / q) / (1.0 - q)


def _on_best(problem: Bandit) -> Bool[Array, "contexts arms"]:
    return jnp.arange(problem.num_arms) == problem.best_arm[:, None]


def _lead(problem: Bandit) -> Terms:
    return jnp.max(problem.reward, axis=1, keepdims=True) - problem.reward


def _unknown(geometry: Any) -> InvalidArgument:
    return InvalidArgument(
        "geometry",
        geometry,
        "is not covered by this theory",
        "pass KL(), Tsallis(), Burg(), ChiSquareKL() or Euclidean()",
    )


_WORST: dict[type, Callable[[Any, Bandit, Any], LogPolicy]] = {
    KL: _worst_of_kl,
    Tsallis: _worst_by_root,
    Burg: _worst_of_burg,
    ChiSquareKL: _worst_by_root,
    Euclidean: _worst_of_euclidean,
}
