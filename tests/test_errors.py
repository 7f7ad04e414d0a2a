"""What errors say, and that they cross processes."""

import pickle

import numpy as np
import pytest

from apo_sim.errors import InvalidArgument, UnknownName


def test_the_message_names_argument_value_and_remedy():
    error = InvalidArgument("beta", -1.0, "must be positive", "pass a number above 0")
    assert str(error) == "beta = -1.0 must be positive; pass a number above 0"
    assert (error.argument, error.value, error.remedy) == ("beta", -1.0, "pass a number above 0")
    assert isinstance(error, ValueError)


def test_long_values_are_shortened():
    array = InvalidArgument("reward", np.zeros((30, 40)), "is dull", "pass another")
    assert str(array).startswith("reward = array of shape (30, 40) is dull")
    text = InvalidArgument("save", "x" * 1000, "is long", "pass a short one")
    assert len(str(text)) < 120 and "..." in str(text)
    scalar = InvalidArgument("beta", np.float64(2.5), "is odd", "pass another")
    assert "2.5" in str(scalar)


@pytest.mark.parametrize(
    ("given", "offer"),
    [("n2", "did you mean 'N2'?"), ("N22", "did you mean 'N2'?"), ("zzz", "known: N2, T4.1")],
)
def test_unknown_names_come_with_an_offer(given, offer):
    error = UnknownName("claim", given, ["N2", "T4.1"])
    assert str(error) == f"claim = {given!r} is unknown; {offer}"
    assert error.known == ["N2", "T4.1"]
    assert isinstance(error, InvalidArgument)


@pytest.mark.parametrize(
    "error", [InvalidArgument("a", 1, "is b", "pass c"), UnknownName("a", "x", ["y", "z"])]
)
def test_errors_survive_pickling(error):
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert vars(again) == vars(error)
