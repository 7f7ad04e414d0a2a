"""Families of problems to draw from, each a pure function of a key.

References are log-probabilities, to be passed on as `log_ref`. Every function works inside
`jax.jit` and `jax.vmap`, over keys and over numbers such as `gap` or `p_star`; sizes are plain
integers. Where contexts or arms are left out they are those of `log_ref`, else 1 and 10. Another
distribution of contexts, or a reference that depends on the rewards, is one
`dataclasses.replace` away:

    >>> import dataclasses
    >>> first, second = jax.random.split(jax.random.key(0))
    >>> bandit = uniform_bandit(first, contexts=3, arms=5)
    >>> log_ref = best_arm_reference(second, bandit.best_arm, 5, p_star=1e-6)
    >>> hard = dataclasses.replace(bandit, log_ref=log_ref)
    >>> [round(float(log_p), 4) for log_p in hard.log_best_ref]  # log 1e-6
    [-13.8155, -13.8155, -13.8155]
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from apo_sim.checks import (
    LEAD,
    NON_NEGATIVE,
    POSITIVE,
    Real,
    as_array,
    as_count,
    as_float,
    as_key,
    check_room,
    checked,
    concrete,
    optional,
    within,
)
from apo_sim.errors import InvalidArgument
from apo_sim.problems import Bandit, Game, LogPolicy, PerContext, as_log_policy
from apo_sim.sequences import all_sequences
from apo_sim.theory.closed_form_arguments import log_probability

Matrix = Float[Array, "contexts arms arms"]
Features = Float[Array, "contexts arms dimension"]


_DEFAULT_ARMS = 10
# Arrays of the size of a problem that are held while it is made.
_COPIES = 4
_GAP = within("in [0, 2]", lambda gap: (gap >= 0) & (gap <= 2))
_BELOW_HALF = within("in (0, 1/2)", lambda share: (share > 0) & (share < 0.5)).one()
_WIN_RATE = within("in (1/2, 1]", lambda rate: (rate > 0.5) & (rate <= 1)).one()
_SPREAD = within("in (0, 1/2]", lambda spread: (spread > 0) & (spread <= 0.5)).one()

# References


@checked(contexts=as_count, arms=as_count)
def uniform_reference(contexts: int, arms: int) -> LogPolicy:
    """The same mass on every arm.

    Example:
        >>> jnp.exp(uniform_reference(1, 4)).round(6).tolist()
        [[0.25, 0.25, 0.25, 0.25]]
    """
    contexts, arms = _count_sizes(contexts, arms)
    return jnp.asarray(np.full((contexts, arms), -np.log(arms)))


@checked(key=as_key, contexts=as_count, arms=as_count, concentration=POSITIVE.one())
def dirichlet_reference(key: Any, contexts: int, arms: int, concentration: Any = 1.0) -> LogPolicy:
    """Masses from a symmetric Dirichlet distribution, each context on its own.

    Args:
        key: a `jax.random.key`.
        contexts: number of contexts, at least 1.
        arms: number of arms, at least 2.
        concentration: above 0; 1 is uniform on the simplex, small values are nearly
            deterministic.

    Raises:
        InvalidArgument: concentration not positive, sizes too small, no key.

    Example:
        >>> log_ref = dirichlet_reference(jax.random.key(0), 2, 3, concentration=0.1)
        >>> jnp.exp(log_ref).sum(axis=1).round(6).tolist()
        [1.0, 1.0]
    """
    shape = _count_sizes(contexts, arms)
    return jax.nn.log_softmax(_log_gamma(key, concentration, shape), axis=1)


@checked(key=as_key, contexts=as_count, arms=as_count, exponent=NON_NEGATIVE.one())
def zipf_reference(key: Any, contexts: int, arms: int, exponent: Any = 1.0) -> LogPolicy:
    """Mass proportional to rank**-exponent, the ranks in an order of their own per context.

    Args:
        key: a `jax.random.key`.
        contexts: number of contexts, at least 1.
        arms: number of arms, at least 2.
        exponent: at least 0, which is uniform.

    Raises:
        InvalidArgument: exponent negative or not finite, sizes too small, no key.

    Example:
        >>> log_ref = zipf_reference(jax.random.key(0), 1, 3)
        >>> sorted((11 * jnp.exp(log_ref[0])).round(4).tolist())
        [2.0, 3.0, 6.0]
    """
    contexts, arms = _count_sizes(contexts, arms)
    ranks = jnp.broadcast_to(jnp.arange(1.0, arms + 1.0), (contexts, arms))
    ranks = jax.random.permutation(key, ranks, axis=1, independent=True)
    return jax.nn.log_softmax(-exponent * jnp.log(ranks), axis=1)


@checked(key=as_key, arms=as_count, concentration=POSITIVE.one())
def best_arm_reference(
    key: Any,
    best_arm: Any,
    arms: int,
    p_star: Any = None,
    concentration: Any = 1.0,
    *,
    log_p_star: Any = None,
) -> LogPolicy:
    """Prescribed mass on one arm of each context, the rest spread as by `dirichlet_reference`.

    Args:
        key: a `jax.random.key`.
        best_arm: the arm that gets the mass, such as `problem.best_arm`, shape (contexts,).
        arms: number of arms, at least 2.
        p_star: the mass, in (0, 1), a number or one for each context, shape (contexts,).
        concentration: of the rest, above 0.
        log_p_star: log of the mass, in place of p_star, for masses that underflow.

    Raises:
        InvalidArgument: mass outside (0, 1), given twice or not at all; best_arm no arms.

    Example:
        >>> log_ref = best_arm_reference(jax.random.key(0), jnp.array([2]), 3, log_p_star=-690.0)
        >>> round(float(log_ref[0, 2]), 3)
        -690.0
    """
    best_arm = _as_arms(best_arm, arms)
    contexts, arms = _count_sizes(best_arm.shape[0], arms)
    log_p = _log_mass(p_star, log_p_star, contexts)
    own = jnp.arange(arms) == best_arm[:, None]
    rest = jnp.where(own, -jnp.inf, _log_gamma(key, concentration, (contexts, arms)))
    rest = jax.nn.log_softmax(rest, axis=1) + jnp.log(-jnp.expm1(log_p))[:, None]
    return jnp.where(own, log_p[:, None], rest)


# Bandits


@checked(key=as_key, contexts=optional(as_count), arms=optional(as_count))
def uniform_bandit(
    key: Any, contexts: int | None = None, arms: int | None = None, log_ref: Any = None
) -> Bandit:
    """Independent rewards, uniform in [-1, 1].

    Args:
        key: a `jax.random.key`.
        contexts: number of contexts; that of log_ref, or 1.
        arms: number of arms; that of log_ref, or 10.
        log_ref: reference log-probabilities, shape (contexts, arms); uniform if left out.

    Raises:
        InvalidArgument: sizes too small or not those of log_ref, log_ref unusable, no key.

    Example:
        >>> bandit = uniform_bandit(jax.random.key(0), contexts=2, arms=5)
        >>> bandit.reward.shape, bool(jnp.all(jnp.abs(bandit.reward) <= 1))
        ((2, 5), True)
    """
    log_ref = _as_reference(log_ref, contexts, arms)
    reward = jax.random.uniform(key, log_ref.shape, log_ref.dtype, minval=-1.0, maxval=1.0)
    return Bandit(reward, log_ref)


@checked(key=as_key, gap=_GAP, contexts=optional(as_count), arms=optional(as_count))
def gap_bandit(
    key: Any,
    gap: Any,
    contexts: int | None = None,
    arms: int | None = None,
    log_ref: Any = None,
) -> Bandit:
    """Rewards in [-1, 1] whose best arm leads the runner-up by exactly `gap`.

    The best reward is uniform in [gap - 1, 1], all others but the runner-up are uniform below it.

    Args:
        key: a `jax.random.key`.
        gap: Delta of Assumption 4.6, in [0, 2], a number or one for each context.
        contexts: number of contexts; that of log_ref, or 1.
        arms: number of arms; that of log_ref, or 10.
        log_ref: reference log-probabilities, shape (contexts, arms); uniform if left out.

    Raises:
        InvalidArgument: gap outside [0, 2], sizes too small or not those of log_ref, no key.

    Example:
        >>> bandit = gap_bandit(jax.random.key(0), 0.25, arms=4)
        >>> round(float(bandit.gap[0]), 6)
        0.25
    """
    log_ref = _as_reference(log_ref, contexts, arms)
    shape = log_ref.shape
    gap = _per_context("gap", gap, shape[0])
    to_arms, to_best, to_rest = jax.random.split(key, 3)
    unit = jax.random.uniform(to_best, shape[:1], log_ref.dtype)
    second = (-1 + unit * (2 - gap.astype(log_ref.dtype)))[:, None]
    first = jnp.minimum(second + gap[:, None].astype(log_ref.dtype), 1.0)
    rest = -1 + jax.random.uniform(to_rest, shape, log_ref.dtype) * (second + 1)
    leaders = jax.lax.top_k(jax.random.uniform(to_arms, shape), 2)[1]
    arm = jnp.arange(shape[1])
    reward = jnp.where(arm == leaders[:, 1:], second, rest)
    return Bandit(jnp.where(arm == leaders[:, :1], first, reward), log_ref)


@checked(gap=LEAD, arms=as_count, contexts=as_count)
def two_level_bandit(
    p_star: Any = None,
    gap: Any = 1.0,
    arms: int = 2,
    contexts: int = 1,
    *,
    log_p_star: Any = None,
) -> Bandit:
    """The worst case of the sharp bounds: arm 0 leads, all others tie `gap` below it.

    With gap = `theory.worst_case_gap(p_star, gamma)` it attains `theory.sharp_gap`, with any
    gap `theory.sharp_tv` (N2, N3; ours).

    Args:
        p_star: reference mass of arm 0, in (0, 1), a number or one for each context; the
            others share the rest equally.
        gap: reward gap, above 0, a number or one for each context; rewards are half of it
            above and below zero, so beyond 2 they leave [-1, 1].
        arms: number of arms, at least 2.
        contexts: number of contexts, at least 1.
        log_p_star: log of the mass, in place of p_star, for masses that underflow.

    Raises:
        InvalidArgument: mass outside (0, 1), given twice or not at all; gap not positive.

    Example:
        >>> bandit = two_level_bandit(0.1, gap=0.5, arms=4)
        >>> bandit.reward.tolist(), jnp.exp(bandit.log_ref[0]).round(6).tolist()
        ([[0.25, -0.25, -0.25, -0.25]], [0.1, 0.3, 0.3, 0.3])
    """
    contexts, arms = _count_sizes(contexts, arms)
    gap = _per_context("gap", gap, contexts)
    log_p = _log_mass(p_star, log_p_star, contexts)
    first = jnp.arange(arms) == 0
    log_rest = jnp.log(-jnp.expm1(log_p)) - jnp.log(float(arms - 1))
    reward = jnp.where(first, gap[:, None], -gap[:, None]) / 2
    return Bandit(reward, jnp.where(first, log_p[:, None], log_rest[:, None]))


@checked(key=as_key, levels=as_count, contexts=optional(as_count), arms=optional(as_count))
def tied_bandit(
    key: Any,
    levels: int = 3,
    contexts: int | None = None,
    arms: int | None = None,
    log_ref: Any = None,
) -> Bandit:
    """Rewards on few levels, equally spaced in [-1, 1], so that arms tie, the best ones too.

    Args:
        key: a `jax.random.key`.
        levels: number of levels, at least 1; every arm takes one at random.
        contexts: number of contexts; that of log_ref, or 1.
        arms: number of arms; that of log_ref, or 10.
        log_ref: reference log-probabilities, shape (contexts, arms); uniform if left out.

    Raises:
        InvalidArgument: levels not a count, sizes too small or not those of log_ref, no key.

    Example:
        >>> bandit = tied_bandit(jax.random.key(0), levels=2, arms=8)
        >>> sorted(set(bandit.reward[0].tolist()))
        [-1.0, 1.0]
    """
    log_ref = _as_reference(log_ref, contexts, arms)
    level = jax.random.randint(key, log_ref.shape, 0, levels)
    return Bandit(jnp.linspace(-1.0, 1.0, levels, dtype=log_ref.dtype)[level], log_ref)


@checked(key=as_key, contexts=as_count, arms=as_count, dimension=as_count)
def random_features(key: Any, contexts: int, arms: int, dimension: int) -> Features:
    """Standard normal features phi(x, y), shape (contexts, arms, dimension).

    Example:
        >>> random_features(jax.random.key(0), 2, 5, 3).shape
        (2, 5, 3)
    """
    shape = _count_sizes(contexts, arms)
    return jax.random.normal(key, (*shape, dimension))


@checked(key=as_key, features=Real(shape=(None, None, None)))
def linear_bandit(key: Any, features: Any, log_ref: Any = None) -> Bandit:
    """Rewards linear in features, <phi(x, y), theta>, scaled so that the largest is 1 in size.

    With a log-linear reference the exact policies of a run stay log-linear in phi.

    Args:
        key: a `jax.random.key`, which draws theta's direction.
        features: phi, shape (contexts, arms, dimension), see `random_features`.
        log_ref: reference log-probabilities, shape (contexts, arms); uniform if left out.

    Raises:
        InvalidArgument: features of another shape or not finite, log_ref unusable, no key.

    Example:
        >>> features = random_features(jax.random.key(0), 2, 50, 3)
        >>> bandit = linear_bandit(jax.random.key(1), features)
        >>> float(jnp.max(jnp.abs(bandit.reward))), int(jnp.linalg.matrix_rank(bandit.reward))
        (1.0, 2)
    """
    contexts, arms, dimension = features.shape
    log_ref = _as_reference(log_ref, contexts, arms)
    score = features @ jax.random.normal(key, (dimension,), features.dtype)
    largest = jnp.max(jnp.abs(score))
    reward = score / jnp.where(largest > 0, largest, 1.0)
    return Bandit(reward.astype(log_ref.dtype), log_ref)


@checked(side=as_count, extent=POSITIVE.one())
def lattice(side: int, extent: Any = 1.0) -> Float[Array, "1 arms 2"]:
    """Actions in the plane: the points of a square lattice on [-extent, extent]^2, row by row.

    Args:
        side: points along an axis, at least 2.
        extent: half the width of the square, above 0.

    Raises:
        InvalidArgument: fewer than two points, an extent that is not positive.

    Example:
        >>> lattice(2).tolist()
        [[[-1.0, -1.0], [1.0, -1.0], [-1.0, 1.0], [1.0, 1.0]]]
    """
    if side < 2:
        raise InvalidArgument("side", side, "leaves only one action", "pass an integer >= 2")
    check_room("side", side, (side, side, 2))
    axis = jnp.linspace(-extent, extent, side)
    return jnp.stack(jnp.meshgrid(axis, axis), axis=-1).reshape(1, side**2, 2)


@checked(actions=Real(shape=(None, None, 2)), radius=POSITIVE.one(), decay=POSITIVE.one())
def ring_bandit(actions: Any, radius: Any = 0.5, decay: Any = 0.3) -> Bandit:
    """Actions in the plane, rewarded for being near a circle: exp(-|distance to it| / decay).

    Args:
        actions: coordinates, shape (contexts, arms, 2).
        radius: of the circle about the origin, above 0; may be traced.
        decay: distance over which the reward falls by a factor e, above 0; may be traced.

    Raises:
        InvalidArgument: coordinates of another shape, a radius or a decay that is not positive.

    Source: the simulation in the paper's reviews, which gives no numbers. Uniform reference.

    Example:
        >>> ring = ring_bandit(jnp.array([[[0.5, 0.0], [0.0, 0.8]]]))
        >>> ring.reward.round(4).tolist()
        [[1.0, 0.3679]]
    """
    distance = jnp.abs(jnp.linalg.norm(actions, axis=-1) - radius)
    log_ref = uniform_reference(*distance.shape).astype(distance.dtype)
    return Bandit(jnp.exp(-distance / decay), log_ref)


@checked(key=as_key)
def sequence_bandit(key: Any, vocabulary: int, length: int, log_ref: Any = None) -> Bandit:
    """Arms are all sequences of tokens, rewarded for tokens at places and for neighbours.

    The score is the sum of one normal number for each token at its place and one for each pair
    of neighbours at theirs, scaled so that the rewards run from -1 to 1.

    Args:
        key: a `jax.random.key`.
        vocabulary: number of tokens V, at least 2.
        length: tokens in a sequence L, at least 1; V^L arms, in lexicographic order.
        log_ref: reference log-probabilities, shape (1, V^L); uniform if left out.

    Raises:
        InvalidArgument: sizes that are not counts or are too large to enumerate, log_ref unusable,
            no key.

    Source: ours, for the reviews' question 7.

    Example:
        >>> bandit = sequence_bandit(jax.random.key(0), vocabulary=3, length=2)
        >>> bandit.num_arms, float(bandit.reward.min()), float(bandit.reward.max())
        (9, -1.0, 1.0)
    """
    tokens = all_sequences(vocabulary, length)
    log_ref = _as_reference(log_ref, 1, tokens.shape[0])
    drawn = jax.random.normal(key, (length + (length - 1) * vocabulary, vocabulary), log_ref.dtype)
    of_token, of_pair = drawn[:length], drawn[length:].reshape(length - 1, vocabulary, vocabulary)
    place = jnp.arange(length)
    score = jnp.sum(of_token[place, tokens], axis=1)
    score += jnp.sum(of_pair[place[1:] - 1, tokens[:, :-1], tokens[:, 1:]], axis=1)
    share = (score - jnp.min(score)) / (jnp.max(score) - jnp.min(score))
    return Bandit((2.0 * share - 1.0)[None], log_ref)


# Games


@checked(key=as_key, contexts=optional(as_count), arms=optional(as_count), dominance=_BELOW_HALF)
def dominant_game(
    key: Any,
    contexts: int | None = None,
    arms: int | None = None,
    dominance: Any = 0.1,
    log_ref: Any = None,
) -> Game:
    """A game with a dominant arm, as Assumption B.1 asks for, and otherwise in disorder.

    The others beat each other at random, cycles included, and the dominant arm beats each of
    them by a random amount on top of what the assumption needs: from three arms on no reward
    explains it.

    Args:
        key: a `jax.random.key`.
        contexts: number of contexts; that of log_ref, or 1.
        arms: number of arms; that of log_ref, or 10.
        dominance: Delta of Assumption B.1, in (0, 1/2); the game's own is at least this.
        log_ref: reference log-probabilities, shape (contexts, arms); uniform if left out.

    Raises:
        InvalidArgument: dominance outside (0, 1/2), sizes too small or not those of log_ref.

    Example:
        >>> game = dominant_game(jax.random.key(0), contexts=3, arms=5, dominance=0.2)
        >>> bool(jnp.all(game.dominance > 0.2 - 1e-6))
        True
    """
    log_ref = _as_reference(log_ref, contexts, arms)
    shape = log_ref.shape
    dominance = dominance.astype(log_ref.dtype)
    to_arm, to_others, to_best = jax.random.split(key, 3)
    spread = 0.5 - dominance
    others = 0.5 + _skew(to_others, shape, -spread, spread, log_ref.dtype)
    best = jnp.argmax(jax.random.uniform(to_arm, shape), axis=1)
    own = jnp.arange(shape[1]) == best[:, None]
    row, column = own[:, :, None], own[:, None, :]
    # Against each opponent the best arm must do better, by `dominance`, than any other arm.
    least = jnp.max(jnp.where(row, 0.5, others), axis=1) + dominance
    share = jax.random.uniform(to_best, shape, log_ref.dtype)
    leads = jnp.minimum(least + share * (1.0 - least), 1.0)
    preference = jnp.where(row & ~column, leads[:, None, :], others)
    return Game(jnp.where(column & ~row, 1.0 - leads[:, :, None], preference), log_ref)


@checked(key=as_key, contexts=optional(as_count), arms=optional(as_count), margin=_BELOW_HALF)
def transitive_game(
    key: Any,
    contexts: int | None = None,
    arms: int | None = None,
    margin: Any = 0.01,
    log_ref: Any = None,
) -> Game:
    """A game with a strict order of its arms that no reward explains.

    Of two arms the one higher in a random order wins with a probability uniform in
    [1/2 + margin, 1], whatever their distance in it; so from three arms on it is not
    Bradley-Terry, and Assumption B.1 may fail.

    Args:
        key: a `jax.random.key`.
        contexts: number of contexts; that of log_ref, or 1.
        arms: number of arms; that of log_ref, or 10.
        margin: least lead of the higher arm, in (0, 1/2).
        log_ref: reference log-probabilities, shape (contexts, arms); uniform if left out.

    Raises:
        InvalidArgument: margin outside (0, 1/2), sizes too small or not those of log_ref.

    Example:
        >>> game = transitive_game(jax.random.key(0), arms=4)
        >>> wins = (game.preference[0] > 0.5).sum(axis=1)
        >>> sorted(wins.tolist())
        [0, 1, 2, 3]
    """
    log_ref = _as_reference(log_ref, contexts, arms)
    to_order, to_leads = jax.random.split(key)
    preference = 0.5 + _skew(to_leads, log_ref.shape, margin, 0.5, log_ref.dtype)
    return Game(_shuffled(to_order, preference), log_ref)


@checked(win_rate=_WIN_RATE)
def rock_paper_scissors(win_rate: Any = 0.9, log_ref: Any = None) -> Game:
    """Three arms in a cycle: each beats the next one with probability `win_rate`.

    Args:
        win_rate: in (1/2, 1].
        log_ref: reference log-probabilities, shape (contexts, 3); one uniform context if left
            out.

    Raises:
        InvalidArgument: win_rate outside (1/2, 1], log_ref unusable.

    Example:
        >>> rock_paper_scissors(0.75).preference.tolist()
        [[[0.5, 0.75, 0.25], [0.25, 0.5, 0.75], [0.75, 0.25, 0.5]]]
    """
    log_ref = _as_reference(log_ref, None, 3)
    cycle = jnp.array([[0.0, 1.0, -1.0], [-1.0, 0.0, 1.0], [1.0, -1.0, 0.0]], log_ref.dtype)
    preference = 0.5 + (win_rate.astype(log_ref.dtype) - 0.5) * cycle
    return Game(jnp.broadcast_to(preference, (log_ref.shape[0], 3, 3)), log_ref)


@checked(key=as_key, contexts=optional(as_count), arms=optional(as_count), spread=_SPREAD)
def random_game(
    key: Any,
    contexts: int | None = None,
    arms: int | None = None,
    log_ref: Any = None,
    spread: Any = 0.5,
) -> Game:
    """Independent preferences, uniform in [1/2 - spread, 1/2 + spread].

    Args:
        key: a `jax.random.key`.
        contexts: number of contexts; that of log_ref, or 1.
        arms: number of arms; that of log_ref, or 10.
        log_ref: reference log-probabilities, shape (contexts, arms); uniform if left out.
        spread: in (0, 1/2].

    Raises:
        InvalidArgument: spread outside (0, 1/2], sizes too small or not those of log_ref.

    Example:
        >>> game = random_game(jax.random.key(0), arms=3, spread=0.1)
        >>> bool(jnp.all(jnp.abs(game.preference - 0.5) <= 0.1))
        True
    """
    log_ref = _as_reference(log_ref, contexts, arms)
    return Game(0.5 + _skew(key, log_ref.shape, -spread, spread, log_ref.dtype), log_ref)


def _count_sizes(contexts: Any, arms: Any) -> tuple[int, int]:
    contexts, arms = as_count("contexts", contexts), as_count("arms", arms)
    if arms < 2:
        raise InvalidArgument("arms", arms, "leaves nothing to compare", "pass an integer >= 2")
    larger = ("arms", arms) if arms > contexts else ("contexts", contexts)
    check_room(*larger, (contexts, arms), _COPIES)
    return contexts, arms


def _as_reference(log_ref: Any, contexts: Any, arms: Any) -> LogPolicy:
    """`log_ref`, of the sizes asked for, or the uniform reference of those sizes."""
    if log_ref is None:
        return uniform_reference(
            1 if contexts is None else contexts, _DEFAULT_ARMS if arms is None else arms
        )
    log_ref = as_float("log_ref", log_ref, (None, None))
    for name, asked, size in zip(
        ("contexts", "arms"), (contexts, arms), log_ref.shape, strict=True
    ):
        if asked is not None and as_count(name, asked) != size:
            raise InvalidArgument(
                name,
                asked,
                f"differs from that of log_ref, {size}",
                f"leave {name} out, or change one of them",
            )
    _count_sizes(*log_ref.shape)
    return as_log_policy("log_ref", log_ref, log_ref.shape)


def _as_arms(best_arm: Any, arms: Any) -> Int[Array, " contexts"]:
    as_array("best_arm", best_arm)
    array = jnp.asarray(best_arm)
    remedy = "pass one index of an arm for each context, such as problem.best_arm"
    if array.ndim != 1 or array.size == 0 or not jnp.issubdtype(array.dtype, jnp.integer):
        raise InvalidArgument(
            "best_arm", best_arm, f"has shape {array.shape} and dtype {array.dtype}", remedy
        )
    values = concrete(array)
    if values is not None and np.any((values < 0) | (values >= arms)):
        raise InvalidArgument("best_arm", best_arm, f"is not below arms = {arms}", remedy)
    return array


def _per_context(name: str, value: Any, contexts: int) -> PerContext:
    """A number, or one for each context, as the latter."""
    shape = () if jnp.ndim(value) == 0 else (contexts,)
    return jnp.broadcast_to(as_float(name, value, shape), (contexts,))


def _log_mass(p_star: Any, log_p_star: Any, contexts: int) -> PerContext:
    """The logarithm of a mass that leaves some to the other arms."""
    name, given, certain = (
        ("log_p_star", log_p_star, 0) if p_star is None else ("p_star", p_star, 1)
    )
    values = None if given is None else concrete(as_array(name, given))
    if values is not None and np.any(values == certain):
        raise InvalidArgument(
            name, given, "leaves no mass for the other arms", "pass a probability below 1"
        )
    log_p = log_probability(p_star, log_p_star)
    return _per_context(name, log_p, contexts)


def _log_gamma(key: Any, concentration: Any, shape: tuple[int, int]) -> LogPolicy:
    """Logarithms of gamma variates: a Dirichlet sample, once normalised, that never underflows."""
    return jax.random.loggamma(key, concentration, shape)


def _skew(key: Any, shape: tuple[int, ...], low: Any, high: Any, dtype: Any) -> Matrix:
    """Antisymmetric matrices, their upper triangles uniform in [low, high]."""
    check_room("arms", shape[1], (*shape, shape[1]), _COPIES)
    uniform = jax.random.uniform(key, (*shape, shape[1]), dtype, low, high)
    upper = jnp.triu(uniform, 1)
    return upper - jnp.swapaxes(upper, 1, 2)


def _shuffled(key: Any, preference: Matrix) -> Matrix:
    """The same games with their arms in random order."""
    contexts, arms, _ = preference.shape
    order = jnp.broadcast_to(jnp.arange(arms), (contexts, arms))
    order = jax.random.permutation(key, order, axis=1, independent=True)
    return jax.vmap(lambda matrix, arms: matrix[arms][:, arms])(preference, order)
