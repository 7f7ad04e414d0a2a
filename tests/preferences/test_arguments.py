"""What is no ranker, sampler or data is refused by name, before anything compiles."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import apo_sim as apo
from apo_sim import InvalidArgument
from apo_sim.preferences import (
    Counts,
    FixedPolicy,
    Flipped,
    FromPolicy,
    FromReference,
    Labels,
    Mixture,
    Pairs,
    Pairwise,
    Population,
    Ties,
    draw_counts,
    draw_pairs,
)

# Fields say what they hold, and everything that follows passes something else.
A: Any = {
    kind.__name__: kind
    for kind in (
        apo.BestAgainstWorst,
        Counts,
        FixedPolicy,
        Flipped,
        Labels,
        Mixture,
        Pairs,
        Pairwise,
        Population,
        Ties,
    )
}
LOG_HALF = np.log([[0.5, 0.5]])
BANDIT = apo.Bandit(jnp.array([[1.0, 0.0]]), jnp.asarray(LOG_HALF))
RATE = BANDIT.win_rate(BANDIT.log_ref)
HALVES = np.full((1, 2, 2), 0.25)


@pytest.mark.parametrize(
    ("kind", "arguments", "named"),
    [
        ("Pairwise", ("reference",), "first"),
        ("Pairwise", (FromPolicy(), FromPolicy), "second"),
        ("BestAgainstWorst", (1,), "responses"),
        ("BestAgainstWorst", (2.5,), "responses"),
        ("BestAgainstWorst", (3, None), "sampler"),
        ("FixedPolicy", (LOG_HALF[0],), "log_policy"),
        ("FixedPolicy", (2 * LOG_HALF,), "log_policy"),
        ("FixedPolicy", ([[0.0, -np.inf]],), "log_policy"),
        ("Mixture", ([0.5, 0.6], [FromPolicy(), FromReference()]), "weights"),
        ("Mixture", ([-0.5, 1.5], [FromPolicy(), FromReference()]), "weights"),
        ("Mixture", ([1.0], [FromPolicy(), FromReference()]), "weights"),
        ("Mixture", ([0.5, np.nan], [FromPolicy(), FromReference()]), "weights"),
        ("Mixture", ([1.0], FromPolicy()), "samplers"),
        ("Mixture", ([1.0], ["policy"]), "samplers"),
        ("Flipped", ("pairwise", 0.1), "ranker"),
        ("Flipped", (Pairwise, 0.1), "ranker"),
        ("Flipped", (Pairwise(), -0.1), "probability"),
        ("Flipped", (Pairwise(), [0.1]), "probability"),
        ("Flipped", (Pairwise(), np.nan), "probability"),
        ("Ties", (FromPolicy(), 0.1), "ranker"),
        ("Ties", (Pairwise(), 1.1), "probability"),
        ("Ties", (Pairwise(), 0.1, "keep"), "handling"),
        ("Population", (LOG_HALF, LOG_HALF, RATE), "problem"),
        ("Population", (BANDIT, 2 * LOG_HALF, RATE), "log_policy"),
        ("Population", (BANDIT, LOG_HALF, RATE[0]), "win_rate"),
        ("Population", (BANDIT, LOG_HALF, RATE, -HALVES), "cells"),
        ("Population", (BANDIT, LOG_HALF, RATE, np.full((1, 3, 3), 1 / 9)), "cells"),
        ("Counts", (HALVES[0],), "wins"),
        ("Counts", (-HALVES,), "wins"),
        ("Counts", (0 * HALVES,), "wins"),
        ("Counts", (np.ones((1, 2, 3)),), "wins"),
        ("Pairs", ([0.0], [0], [1]), "context"),
        ("Pairs", ([0], [[0]], [1]), "winner"),
        ("Pairs", ([0], [0, 1], [1]), "winner"),
        ("Pairs", ([0], [0], [-1]), "loser"),
        ("Pairs", ([], [], []), "context"),
        ("Pairs", ([0], None, [1]), "winner"),
        ("Labels", ([1.0], [0.0]), "desirable"),
        ("Labels", ([[1.0, 0.0]], [[0.0]]), "undesirable"),
        ("Labels", ([[1.0, 0.0]], [[0.0, -1.0]]), "undesirable"),
        ("Labels", ([[0.0, 0.0]], [[0.0, 0.0]]), "desirable"),
    ],
)
def test_settings_out_of_their_range_are_named(kind, arguments, named):
    with pytest.raises(InvalidArgument) as caught:
        A[kind](*arguments)
    assert caught.value.argument == named


def test_a_fixed_policy_is_of_a_problem():
    other = FixedPolicy(jnp.log(jnp.full((1, 3), 1 / 3)))
    with pytest.raises(InvalidArgument, match=r"log_policy .* not for the problem's"):
        Pairwise(other, other).cells(BANDIT, BANDIT.log_ref)


GOOD: dict[str, Any] = {
    "key": jax.random.key(0),
    "ranker": Pairwise(),
    "problem": BANDIT,
    "log_policy": BANDIT.log_ref,
    "samples": 3,
}
DRAWS: list[Any] = [draw_counts, draw_pairs]


@pytest.mark.parametrize("draw", DRAWS)
def test_what_can_be_drawn_from_is_drawn_from(draw):
    draw(**GOOD)


@pytest.mark.parametrize(
    ("argument", "bad"),
    [
        ("key", None),
        ("ranker", Pairwise),
        ("problem", LOG_HALF),
        ("log_policy", jnp.asarray(2 * LOG_HALF)),
        ("samples", -1),
    ],
)
def test_what_cannot_be_drawn_from_is_named(argument, bad):
    for draw in DRAWS:
        with pytest.raises(InvalidArgument) as caught:
            draw(**{**GOOD, argument: bad})
        assert caught.value.argument == argument


def test_a_list_needs_its_length_and_its_room():
    traced: Any = draw_pairs
    with pytest.raises(InvalidArgument, match="traced"):
        jax.jit(lambda n: traced(jax.random.key(0), Pairwise(), BANDIT, BANDIT.log_ref, n))(3)
    counted: Any = draw_counts
    wins = jax.jit(lambda n: counted(jax.random.key(0), Pairwise(), BANDIT, BANDIT.log_ref, n))(3)
    assert float(wins.sum()) == 3
