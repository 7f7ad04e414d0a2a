"""Sweeps: the numbers of `run`, whatever the layout, the interruption or the damage."""

import importlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

import apo_sim as apo
from apo_sim.errors import InvalidArgument
from apo_sim.sweep import ClusterLost, cluster, lanes, sweep
from apo_sim.sweep._store import Store

sys.path.insert(0, str(Path(__file__).parent))
from same_bits import EXACT, SWEEP

# One worker for all: they share what is compiled.
pytestmark = pytest.mark.xdist_group("sweep")

PROGRAM = Path(__file__).parent / "same_bits.py"
SMALL: dict[str, Any] = {"beta": 5.0, "iterations": 4, "arms": 3, "seeds": 5}


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> xr.Dataset:
    return sweep(out=tmp_path_factory.mktemp("sweep") / "whole.zarr", **SWEEP).load()


def elsewhere(out, kind, devices) -> subprocess.Popen:
    root = str(PROGRAM.parents[2])
    return subprocess.Popen(
        [sys.executable, str(PROGRAM), str(out), kind, str(devices)],
        env={**os.environ, "PYTHONPATH": root},
        stderr=subprocess.PIPE,
        text=True,
    )


def opened(path) -> xr.Dataset:
    return xr.open_zarr(path, consolidated=False, chunks=None).load()


def test_dimensions_names_and_units(whole):
    assert whole.suboptimality.dims == ("alpha", "samples", "seed", "iteration")
    assert whole.suboptimality.shape == (3, 2, 48, 6)
    assert set(whole.data_vars) == {"suboptimality", "tv", "residual"}
    assert list(whole.samples.values) == [100, 1000] and list(whole.iteration.values) == [
        *range(1, 7)
    ]
    assert float(whole.beta) == 5.0 and str(whole.loss.values) == "dpo"
    assert whole.suboptimality.attrs["units"] == "reward"
    assert all(np.isfinite(values).all() for values in whole.data_vars.values())


@pytest.mark.parametrize("samples", [None, 100])
def test_a_cell_is_a_run(samples):
    found = sweep(**{**SWEEP, "samples": samples, "alpha": [0.0, 0.5], "seed": 7, "seeds": 5})
    of_problem, of_data = jax.random.split(jax.random.fold_in(jax.random.key(7), 2))
    bandit = apo.families.uniform_bandit(of_problem, 1, 4)
    extra = {} if samples is None else {"samples": samples, "key": of_data}
    own = apo.run(bandit, momentum=apo.Constant(0.5), beta=5.0, iterations=6, **extra)
    cell = found.sel(alpha=0.5, seed=2)
    np.testing.assert_allclose(cell.suboptimality, own.suboptimality, rtol=0, atol=1e-12)
    np.testing.assert_allclose(cell.tv, own.tv, rtol=0, atol=1e-12)
    # The control: another replicate is another problem.
    assert np.abs(found.sel(alpha=0.5, seed=3).suboptimality - own.suboptimality).max() > 1e-6


def test_four_devices_give_the_same_bits(whole, tmp_path):
    process = elsewhere(tmp_path / "four.zarr", "sampled", 4)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert opened(tmp_path / "four.zarr").identical(whole)


def test_killed_twice_and_resumed_gives_the_same_bits(tmp_path):
    out = tmp_path / "killed.zarr"
    chunks = [0]
    for _ in range(2):
        process = elsewhere(out, "exact", 1)
        # As soon as something new is stored: another kill is an interruption amid the work.
        deadline, stored = time.monotonic() + 120, 0
        while time.monotonic() < deadline and process.poll() is None:
            stored = len(list((out / "residual").glob("c/**/*"))) if out.exists() else 0
            if stored > chunks[-1]:
                break
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        chunks.append(stored)
    assert chunks == sorted(set(chunks)) and len(chunks) == 3
    assert np.isnan(opened(out).suboptimality).any()
    resumed = sweep(out=out, **EXACT).load()
    assert resumed.identical(sweep(out=tmp_path / "whole.zarr", **EXACT).load())


def test_only_what_is_missing_is_computed(whole, tmp_path, monkeypatch):
    out = tmp_path / "whole.zarr"
    computed = []

    def counted(unit, seed):
        computed.append(unit)
        return lanes.compute(unit, seed)

    monkeypatch.setattr(sys.modules["apo_sim.sweep.sweep"], "compute", counted)
    sweep(out=out, **SWEEP)
    units = len(computed)
    assert units == 3 * 2 * 3
    sweep(out=out, **SWEEP)
    assert len(computed) == units
    damaged = next(path for path in sorted((out / "tv").glob("c/**/*")) if path.is_file())
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(bytes(content))
    with pytest.raises(Exception, match=r"(?i)crc|checksum"):
        opened(out)
    assert sweep(out=out, **SWEEP).load().identical(whole)
    assert len(computed) == units + 1
    damaged.write_bytes(damaged.read_bytes()[:10])
    assert sweep(out=out, **SWEEP).load().identical(whole)
    assert len(computed) == units + 2


def test_a_dataset_is_rerun_from_itself(whole):
    again = sweep(**json.loads(whole.attrs["configuration"]))
    assert again.identical(whole)


def test_more_values_leave_the_others_as_they_are(whole):
    wider = {**SWEEP, "alpha": [0.3, 0.5, 0.9], "seeds": 60, "chunk": 999}
    there = sweep(**wider).sel(alpha=[0.3, 0.9], seed=range(48))
    assert there.suboptimality.equals(whole.suboptimality.sel(alpha=[0.3, 0.9]))


def test_shorter_runs_end_in_missing_values():
    found = sweep("uniform", **{**SMALL, "iterations": [2, 4]}, alpha=0.3)
    short, long = found.suboptimality.sel(iterations=2), found.suboptimality.sel(iterations=4)
    assert np.isnan(short.sel(iteration=[3, 4])).all() and np.isfinite(long).all()
    np.testing.assert_array_equal(short.sel(iteration=[1, 2]), long.sel(iteration=[1, 2]))


def test_names_and_parameters_are_axes():
    found = sweep(
        "two_level", momentum=["none", "nesterov"], p_star=[0.1, 0.5], loss=["dpo", "ipo"], **SMALL
    )
    assert found.suboptimality.dims == ("momentum", "p_star", "loss", "seed", "iteration")
    last = found.suboptimality.isel(iteration=-1, seed=0).sel(loss="dpo")
    assert (last.sel(momentum="nesterov") < last.sel(momentum="none")).all()
    assert (last.sel(p_star=0.5) < last.sel(p_star=0.1)).all()


def test_matched_beta_takes_the_same_path_with_exact_preferences_only():
    both = {"beta_schedule": ["constant", "matched"], "alpha": [0.0, 0.7]}
    rivals = {**SWEEP, **both, "samples": 30}
    exact = sweep(**{**rivals, "samples": None}).suboptimality
    np.testing.assert_allclose(
        exact.sel(beta_schedule="constant"),
        exact.sel(beta_schedule="matched"),
        rtol=0,
        atol=1e-12,
    )
    sampled = sweep(**rivals).suboptimality
    apart = np.abs(sampled.sel(beta_schedule="constant") - sampled.sel(beta_schedule="matched"))
    assert apart.sel(alpha=0.0).max() < 1e-12
    assert apart.sel(alpha=0.7).max() > 1e-4


def test_a_family_of_the_user(tmp_path):
    def steep(key, contexts, arms, slope=1.0):
        reward = slope * jnp.arange(arms, dtype=float) * jnp.ones((contexts, 1)) / arms
        return apo.Bandit(reward, jnp.full((contexts, arms), -jnp.log(arms)))

    found = sweep(steep, slope=[0.5, 1.0], **SMALL)
    exact = apo.run(steep(None, 1, 3, 0.5), beta=5.0, iterations=4)
    np.testing.assert_allclose(
        found.suboptimality.sel(slope=0.5, seed=0), exact.suboptimality, atol=1e-12
    )
    assert "steep" in found.attrs["configuration"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"alpha": []}, "alpha = .* is an empty axis"),
        ({"alpha": [0.0, 0.0]}, "value twice"),
        ({"alpha": [0.0, 1.5]}, r"alpha = 1.5 lies outside \[0, 1\)"),
        ({"alpha": [float("nan")]}, "alpha = nan is not finite"),
        ({"alpha": [[0.1]]}, "alpha = .* is not a number"),
        ({"beta": 0.0}, "beta = 0.0 must be positive"),
        ({"beta": None}, "beta = None is missing"),
        ({"samples": [10.5]}, "samples = 10.5 is not an integer"),
        ({"samples": 0}, "samples = 0"),
        ({"iterations": 2.5}, "iterations = 2.5 is not an integer"),
        ({"arms": 1}, "arms = 1"),
        ({"seeds": 0}, "seeds = 0 is not a count"),
        ({"seed": -1}, "seed = -1 is not a valid seed"),
        ({"chunk": 0}, "chunk = 0 is not a count"),
        ({"variables": ["gap"]}, "variables = 'gap' is unknown"),
        ({"variables": []}, "variables = None is unknown"),
        ({"loss": "dpi"}, "did you mean 'dpo'"),
        ({"momentum": ["nesterow"]}, "did you mean 'nesterov'"),
        ({"ranker": "pairwize"}, "did you mean 'pairwise'"),
        ({"geometry": "euclidian"}, "did you mean 'euclidean'"),
        ({"beta_schedule": "match"}, "did you mean 'matched'"),
        ({"loss": 3}, "loss = 3 is not a loss; pass an object such as apo_sim.DPO.*dpo, ipo, sppo"),
        ({"loss": apo.DPO}, "is not a loss"),
        ({"loss": ["dpo", apo.DPO()]}, "contains a value twice"),
        ({"loss": [apo.IPO(0.5), apo.IPO(0.5)]}, "contains a value twice"),
        ({"loss": {apo.DPO()}}, "has no order"),
        ({"loss": lambda winner: winner}, "loss = .* has another signature"),
        ({"loss": lambda w, o, extra: w}, "is not a scalar function of h_winner - h_loser"),
        ({"loss": apo.KTO()}, "takes single responses"),
        ({"ranker": apo.DPO()}, "ranker = .* is not a ranker"),
        ({"geometry": apo.geometry.KL}, "geometry = .* is not a geometry"),
        ({"geometry": "euclidean", "variables": ["statistics"]}, "not defined in the geometry"),
        ({"momentum": apo.Constant}, "momentum = .* is not a momentum rule"),
        (
            {"momentum": apo.Schedule(jnp.array([0.1, 0.2]))},
            "alphas .* wrong length for iterations = 4",
        ),
        (
            {"momentum": apo.Constant(0.3), "alpha": 0.5},
            r"alpha = 0.5 does not apply to .*alpha=0.3\)",
        ),
        ({"momentum": ["constant", apo.Nesterov(), apo.Constant(0.3)], "alpha": [0, 0.5]}, "alpha"),
        ({"momentum": "matched_beta"}, 'schedule of beta, .* beta_schedule="matched"'),
        ({"momentum": "nesterov", "beta_schedule": "matched"}, "not known for the rule nesterov"),
        ({"family": "unform"}, "did you mean 'uniform'"),
        ({"spraed": 1.0}, "did you mean 'spread'"),
        ({"family": "zipf", "exponent": -1.0}, "exponent"),
        ({"seeds": 10**9, "iterations": 10**5}, "grid = '1,000,000,000 runs' .* GiB of memory"),
        ({"seeds": 10**9, "iterations": 10**5, "out": "here"}, "GiB of disk"),
        ({"cluster": "tcp://127.0.0.1:1"}, "cluster = .* does not answer"),
    ],
    ids=lambda part: re.sub(r" at 0x\w+", "", str(part)),
)
def test_bad_input_is_named_before_anything_runs(change, message, monkeypatch, tmp_path):
    def never(*_):
        raise AssertionError("computed")

    monkeypatch.setattr(sys.modules["apo_sim.sweep.sweep"], "compute", never)
    monkeypatch.setattr(cluster, "_PATIENCE", 0.5)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidArgument, match=message):
        sweep(**{**SMALL, **change})
    assert not list(tmp_path.iterdir())


def test_a_store_of_another_sweep_is_refused(tmp_path):
    out = tmp_path / "store.zarr"
    sweep("uniform", alpha=[0.0, 0.5], out=out, **SMALL)
    before = opened(out)
    for change, difference in (
        ({"beta": 4.0}, "beta is 5.0 there and 4.0 here"),
        ({"alpha": [0.0, 0.6]}, r"alpha is \[0.0, 0.5\] there and \[0.0, 0.6\] here"),
        ({"seed": 1}, "seed is 0 there and 1 here"),
        ({"family": "tied"}, "family is 'uniform' there and 'tied' here"),
        ({"chunk": 1}, "chunk = 1 differs from that of the store"),
    ):
        with pytest.raises(InvalidArgument, match=difference):
            sweep(**{"family": "uniform", "alpha": [0.0, 0.5], "out": out, **SMALL, **change})
    assert opened(out).identical(before)


@pytest.mark.parametrize("what", ["file", "folder", "group"])
def test_a_store_that_is_not_ours_is_refused(tmp_path, what):
    out = tmp_path / "out"
    if what == "file":
        out.write_text("mine")
    elif what == "folder":
        out.mkdir()
        (out / "mine.txt").write_text("mine")
    else:
        xr.Dataset({"mine": ("x", [1, 2])}).to_zarr(out, consolidated=False)
    with pytest.raises(InvalidArgument, match="is not the store of a sweep"):
        sweep(out=out, **SMALL)


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidArgument, match="cannot be written"):
        sweep(out=tmp_path / "file" / "store", **SMALL)


@pytest.fixture(scope="module")
def dask_client():
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=None
        ) as workers,
        distributed.Client(workers, set_as_default=False) as client,
    ):
        yield client


@pytest.mark.filterwarnings("ignore")  # Dask's own, of files and loops that it closes late
def test_two_workers_give_the_same_bits(whole, tmp_path, dask_client):
    found = sweep(out=tmp_path / "dask.zarr", cluster=dask_client, **SWEEP).load()
    assert found.identical(whole)
    deadline = time.monotonic() + 20
    while any(dask_client.has_what().values()):  # results are not kept there once fetched
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.filterwarnings("ignore")
def test_a_cluster_that_goes_away_loses_nothing(tmp_path, monkeypatch, dask_client):
    """The last test that needs those workers."""
    out = tmp_path / "lost.zarr"
    workers = dask_client.cluster
    written, schedulers = [], []
    keep = Store.write

    def write(self, unit, results):
        keep(self, unit, results)
        written.append(unit)
        if len(written) <= 2:
            schedulers.append(importlib.import_module("dask").config.get("scheduler", None))
        if len(written) == 2:
            workers.close()

    monkeypatch.setattr(Store, "write", write)
    with pytest.raises(ClusterLost, match=r"after \d+ of 72 units .* goes on from there"):
        sweep(out=out, cluster=workers.scheduler_address, **EXACT)
    assert 2 <= len(written) < 72
    resumed = sweep(out=out, **EXACT).load()
    assert len(written) == 72
    assert resumed.identical(sweep(**EXACT))
    # A client that is left behind as the default would fail whatever is saved afterwards.
    assert schedulers == [None, None]
