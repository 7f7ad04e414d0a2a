"""The explorer's data: those that the program makes, whole, and the same inside the page."""

import base64
import json

import numpy as np
import pytest

from apo_sim.errors import InvalidArgument
from apo_sim.report import _explorer, explorer_runs


def test_the_grid_is_whole_and_says_how_it_was_made():
    data = _explorer.read()
    grids = (
        tuple(explorer_runs.METHODS),
        explorer_runs.GEOMETRIES,
        explorer_runs.ARMS,
        explorer_runs.ALPHAS,
        explorer_runs.WEIGHTS,
        explorer_runs.SAMPLES,
        explorer_runs.HORIZONS,
    )
    for name, values in zip(_explorer.AXES, grids, strict=True):
        assert tuple(data[name].values.tolist()) == values
    assert all(bool(np.isfinite(data[name]).all()) for name in _explorer.PARTS)
    assert data.attrs["made_by"] == "experiments/explorer.py"
    assert data.attrs["seeds"] == explorer_runs.SEEDS
    assert bool((data.optimisation >= 0).all()) and bool((data.half >= 0).all())
    # A gap is never negative, whatever sampling takes off.
    assert float((data.optimisation + data.statistics).min()) > -1e-6


@pytest.mark.parametrize(
    ("method", "geometry", "arms"), [("SPPO", "Euclidean", 3), ("DPO", "KL", 10)]
)
def test_some_cells_are_made_again(method, geometry, arms):
    cell = {"method": method, "geometry": geometry, "arms": arms}
    few = {"alphas": [0.3], "weights": [1.0], "samples": [300], "horizons": [1, 5]}
    again = explorer_runs.measure(
        seeds=explorer_runs.SEEDS, methods=[method], geometries=[geometry], arms=[arms], **few
    )
    stored = _explorer.read().sel(alpha=[0.3], weight=[1.0], samples=[300], iteration=[1, 5])
    stored = stored.sel({name: [value] for name, value in cell.items()})
    for name in _explorer.PARTS:
        # The stored ones have single precision.
        assert np.allclose(again[name], stored[name], rtol=1e-5, atol=1e-8), name


def test_the_page_has_the_same_to_three_digits_and_in_few_bytes():
    text = _explorer.embedded()
    assert len(text.encode()) < 300_000
    content = json.loads(text)
    data = _explorer.read()
    assert [axis["name"] for axis in content["axes"]] == list(_explorer.AXES)
    for name in _explorer.PARTS:
        packed = np.frombuffer(base64.b64decode(content[name]), "<f2").astype(float)
        assert np.isfinite(packed).all()
        expected = data[name].values.ravel()
        assert np.allclose(packed * content["unit"], expected, rtol=1e-3, atol=1e-10)


def test_every_dial_starts_at_a_value_that_it_has():
    for dial in _explorer.dials():
        assert 0 <= dial.start < len(dial.values)
        assert dial.values[dial.start] == _explorer._text(_explorer.START[dial.name])


def test_a_single_seed_has_no_interval():
    with pytest.raises(InvalidArgument, match="seeds"):
        explorer_runs.measure(seeds=1)
