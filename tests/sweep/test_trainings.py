"""Many trainings at once: the numbers of single ones, whatever the interruption."""

import contextlib
import os
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import apo_sim as apo
from apo_sim import families
from apo_sim.methods import TrainingDiverged
from apo_sim.policies import Table
from apo_sim.sweep.trainings import trainings
from apo_sim.training import SERIES

# One worker for all: they share what is compiled.
pytestmark = pytest.mark.xdist_group("trainings")

MODULE = sys.modules["apo_sim.sweep.trainings"]
LANES = {
    "seed": np.array([0, 1, 2, 3, 3]),
    "alpha": np.array([0.0, 0.3, 0.0, 0.3, 0.6]),
    "rate": np.array([0.1, 0.1, 0.2, 0.2, 0.1]),
}


def arguments(lane) -> dict[str, Any]:
    key = jax.random.key(lane["seed"])
    return {
        "problem": families.uniform_bandit(key, 1, 4),
        "policy": Table(1, 4),
        "momentum": apo.Constant(lane["alpha"]),
        "step": apo.ByGradient(apo.AdamW(lane["rate"]), steps=3, keep_state=True),
        "samples": 8,
        "beta": jnp.array([1.0, 2.0, 0.5, 1.0, 1.5, 1.0]),
        "key": key,
    }


def run(lanes=LANES, setup=arguments, **settings):
    return trainings(setup, lanes, **{"iterations": 6, "block": 2, **settings})


def same(found, expected):
    assert set(found) == {*SERIES, "diverged"} == set(expected)
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values, err_msg=name)


@pytest.fixture(scope="module")
def whole():
    return run()


def test_lanes_are_single_trainings(whole):
    @jax.jit
    def single(lane):
        return apo.train(**arguments(lane), iterations=6)

    for number in range(5):
        lane = {name: values[number] for name, values in LANES.items()}
        found = single(lane)
        for name in SERIES:
            assert whole[name].shape == (5, 6)
            np.testing.assert_allclose(
                whole[name][number], getattr(found, name), rtol=1e-9, atol=1e-14, err_msg=name
            )
    assert whole["diverged"].tolist() == [0] * 5
    assert len(np.unique(whole["suboptimality"][:, -1])) == 5


def test_a_lane_does_not_depend_on_the_others(whole):
    few = {name: values[[1, 4]] for name, values in LANES.items()}
    same(run(few), {name: values[[1, 4]] for name, values in whole.items()})


def interrupted_after(blocks):
    """A bar that somebody interrupts."""

    @contextlib.contextmanager
    def bar(what, total, done, show):
        ticks = []

        def advance(more):
            ticks.append(more)
            if len(ticks) == blocks:
                raise KeyboardInterrupt

        yield advance

    return bar


def begins(seen):
    """A bar that notes where it starts."""

    @contextlib.contextmanager
    def bar(what, total, done, show):
        seen.append(done)
        yield lambda more: None

    return bar


def test_interrupted_and_resumed_gives_the_same_bits(whole, tmp_path, monkeypatch):
    def interrupt(blocks):
        monkeypatch.setattr(MODULE, "bar", interrupted_after(blocks))
        with pytest.raises(KeyboardInterrupt):
            run(out=tmp_path)

    interrupt(1)
    stored = (tmp_path / "checkpoint.npz").read_bytes()
    # Once more amid the writing of the next one: the last whole one stays.
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):

        def replace(draft, path):
            raise KeyboardInterrupt

        patch.setattr(os, "replace", replace)
        run(out=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.npz"]
    assert (tmp_path / "checkpoint.npz").read_bytes() == stored
    starts: list[int] = []
    monkeypatch.setattr(MODULE, "bar", begins(starts))
    same(run(out=tmp_path), whole)
    # What is complete is read only.
    same(run(out=tmp_path), whole)
    assert starts == [2, 6]


def tiny(lane) -> dict[str, Any]:
    """Exact preferences and an inner training that may go wrong."""
    key = jax.random.key(0)
    return {
        "problem": families.two_level_bandit(0.3),
        "policy": Table(1, 2),
        "loss": apo.IPO(),
        "step": apo.ByGradient(apo.SGD(lane["rate"]), steps=30),
        "beta": jnp.array([1.0, 1.0, 50.0, 1.0]),
        "key": key,
    }


def run_tiny(rates, **settings):
    return run({"rate": np.array(rates)}, tiny, **{"iterations": 4, **settings})


def test_resumed_on_more_devices(tmp_path, monkeypatch):
    """Which fill up their batches with other lanes."""
    rates = [1e-4, 1.5e-4, 2e-4, 2.5e-4, 3e-4]
    expected = run_tiny(rates)
    monkeypatch.setattr(MODULE, "bar", interrupted_after(1))
    with pytest.raises(KeyboardInterrupt):
        run_tiny(rates, out=tmp_path)
    monkeypatch.undo()
    monkeypatch.setattr(MODULE, "_TOGETHER", 3)
    found = run_tiny(rates, out=tmp_path)
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-9, atol=1e-14)


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stored")
    run_tiny([1e-4, 2e-4], out=folder, configuration={"width": 8})
    return folder


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"iterations": 3}, "iterations is 4 there and 3 here"),
        ({"rates": [1e-4]}, r"lanes is \{'rate': \[0.0001, 0.0002\]\} there and .*\[0.0001\]"),
        ({"configuration": {"width": 16}}, "width is 8 there and 16 here"),
        ({"configuration": {}}, "width is 8 there and None here"),
        ({"configuration": {"width": 8, "depth": 2}}, "depth is None there and 2 here"),
    ],
)
def test_a_checkpoint_of_other_trainings_is_refused(stored, change, message):
    before = (stored / "checkpoint.npz").read_bytes()
    settings = {"rates": [1e-4, 2e-4], "configuration": {"width": 8}, **change}
    with pytest.raises(apo.InvalidArgument, match=rf"out = .* holds another training: {message}"):
        run_tiny(out=stored, **settings)
    assert (stored / "checkpoint.npz").read_bytes() == before


def test_a_damaged_checkpoint_is_named(stored, tmp_path):
    content = (stored / "checkpoint.npz").read_bytes()
    flipped = bytearray(content)
    flipped[content.index("iterations".encode("utf-32-le"))] ^= 1
    for damaged in (b"", b"no checkpoint", content[: len(content) // 2], bytes(flipped)):
        (tmp_path / "checkpoint.npz").write_bytes(damaged)
        with pytest.raises(apo.InvalidArgument, match=r"out = .* cannot be read; remove it"):
            run_tiny([1e-4, 2e-4], out=tmp_path, configuration={"width": 8})


def test_a_folder_that_cannot_be_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(apo.InvalidArgument, match=r"out = .* cannot be written"):
        run_tiny([1e-4], out=tmp_path / "file")


def test_lanes_that_diverge_are_refused_or_reported(tmp_path):
    rates = [1e-4, 0.1, 1e6]
    with pytest.raises(TrainingDiverged, match=r"lane 2.* diverges in iteration 1;"):
        run_tiny(rates)
    found = run_tiny(rates, diverging="report", out=tmp_path)
    assert found["diverged"].tolist() == [0, 3, 1]
    for name, values in found.items():
        assert np.isfinite(values).all(), name
    assert found["loss_after"][2].tolist() == [0.0] * 4
    assert np.all(found["loss_after"][1, :2] > 0) and not found["loss_after"][1, 2:].any()
    # The others do not notice.
    alone = run_tiny([1e-4])
    for name, values in alone.items():
        np.testing.assert_array_equal(values[0], found[name][0], err_msg=name)
    # Complete, but not what somebody asks for who wants none that diverges.
    with pytest.raises(TrainingDiverged, match="lane 1"):
        run_tiny(rates, out=tmp_path)
