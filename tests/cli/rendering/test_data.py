"""Values as JSON."""

import json
from dataclasses import dataclass
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

from apo_sim.cli.rendering.data import as_data, print_json


@dataclass(frozen=True)
class Record:
    value: float
    parts: tuple


@pytest.mark.parametrize(
    ("value", "data"),
    [
        (np.float64("nan"), None),
        (-np.inf, None),
        (np.int64(3), 3),
        (np.bool_(True), True),
        (jnp.arange(2), [0, 1]),
        ({1: (2, None)}, {"1": [2, None]}),
        (Path("a/b"), "a/b"),
        (
            Record(0.5, (Record(np.inf, ()), "x")),
            {"value": 0.5, "parts": [{"value": None, "parts": []}, "x"]},
        ),
        (
            xr.Dataset({"gap": ("alpha", [1.0, np.nan])}, {"alpha": [0.0, 0.5]}),
            [{"alpha": 0.0, "gap": 1.0}, {"alpha": 0.5, "gap": None}],
        ),
    ],
    ids=str,
)
def test_every_kind_of_value(capsys, value, data):
    assert as_data(value) == data
    print_json(value)
    assert json.loads(capsys.readouterr().out) == data


@pytest.mark.parametrize("value", [object(), np.float64, Record, {1, 2}, print])
def test_what_json_cannot_hold(value):
    with pytest.raises(TypeError, match="as JSON"):
        as_data(value)
