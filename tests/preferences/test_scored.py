"""Rewards of drawn responses: shares, means, what is not known."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from apo_sim import InvalidArgument
from apo_sim.preferences.scored import Scored

REWARD = jnp.array([[1.0, 0.0, 5.0], [0.3, -0.2, 0.1]])
ANY: Any = None


def test_the_mean_is_that_of_what_was_drawn():
    data = Scored(REWARD, jnp.array([[3.0, 1.0, 0.0], [0.0, 0.0, 0.0]]))
    np.testing.assert_allclose(data.advantage, [[0.25, -0.75, 0.0], [0.0, 0.0, 0.0]], atol=1e-15)
    np.testing.assert_allclose(data.share, [[0.75, 0.25, 0.0], [0.0, 0.0, 0.0]], atol=1e-15)


def test_what_is_known_need_not_be_drawn():
    known = jnp.array([[True, False, True], [True, True, True]])
    data = Scored(REWARD, jnp.array([[3.0, 7.0, 1.0], [0.0, 0.0, 0.0]]), known)
    # The middle arm has no say in the mean; where nothing was drawn, all known arms have.
    expected = [[-1.0, 0.0, 3.0], [0.3 - 0.2 / 3, -0.2 - 0.2 / 3, 0.1 - 0.2 / 3]]
    np.testing.assert_allclose(data.advantage, expected, atol=1e-15)


def test_side_by_side():
    drawn = jnp.arange(12.0).reshape(2, 2, 3) + 1.0
    many = jax.vmap(lambda drawn: Scored(REWARD, drawn).advantage)(drawn)
    one_by_one = [Scored(REWARD, one).advantage for one in drawn]
    np.testing.assert_allclose(many, np.stack(one_by_one), atol=1e-14)


@pytest.mark.parametrize(
    ("argument", "parts"),
    [
        ("reward", {"reward": [[1.0, jnp.nan, 0.0]]}),
        ("reward", {"reward": [1.0, 2.0]}),
        ("reward", {"reward": ANY}),
        ("drawn", {"drawn": [[1.0, -1.0, 0.0]]}),
        ("drawn", {"drawn": [[0.0, 0.0, 0.0]]}),
        ("drawn", {"drawn": [[1.0, 1.0]]}),
        ("known", {"known": [[1.0, 1.0, 0.0]]}),
        ("known", {"known": [[True, True]]}),
        ("known", {"known": "yes"}),
    ],
)
def test_bad_input(argument, parts):
    good = {"reward": [[1.0, 2.0, 3.0]], "drawn": [[1.0, 2.0, 3.0]]}
    with pytest.raises(InvalidArgument) as raised:
        Scored(**good | parts)
    assert raised.value.argument == argument
