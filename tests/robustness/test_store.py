"""The store of a sweep: any damage is found or harmless, and nothing but its own sweep is in it."""

import dataclasses
import errno
import json
import random
import shutil
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr
from zarr.storage import LocalStore

import apo_sim as apo
from apo_sim.errors import InvalidArgument
from apo_sim.files import alone_in
from apo_sim.sweep import sweep, trainings

pytestmark = pytest.mark.xdist_group("sweep")

STORE = sys.modules["apo_sim.sweep._store"]
SETTINGS: dict[str, Any] = {
    "family": "uniform",
    "beta": 1.0,
    "iterations": 3,
    "seeds": 3,
    "arms": 3,
    "alpha": [0.0, 0.3],
    "loss": ["dpo", "ipo"],
    "chunk": 2,
}
SMALL: dict[str, Any] = {"beta": 1.0, "iterations": 2, "seeds": 2, "arms": 3}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    out = tmp_path_factory.mktemp("whole") / "store.zarr"
    return out, sweep(out=out, **SETTINGS).load()


@pytest.fixture
def copy(whole, tmp_path):
    return shutil.copytree(whole[0], tmp_path / "store.zarr")


def opened(path):
    return xr.open_zarr(path, consolidated=False, chunks=None).load()


def files(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


def flip(path, rng, whole):
    content = bytearray(path.read_bytes())
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(content)


def cut(path, rng, whole):
    path.write_bytes(path.read_bytes()[: rng.randrange(path.stat().st_size)])


def wipe(path, rng, whole):
    path.write_bytes(bytes(path.stat().st_size))


def lose(path, rng, whole):
    path.unlink()


def lose_the_folder(path, rng, whole):
    shutil.rmtree(path.parent)


def take_another(path, rng, whole):
    path.write_bytes(rng.choice(files(whole)).read_bytes())


DAMAGES = (flip, flip, flip, cut, wipe, lose, lose_the_folder, take_another)


def damaged(copy, whole, seed):
    """Damage a file of a store, and hold what a sweep makes of it against the whole one."""
    rng = random.Random(seed)
    path = rng.choice(files(copy))
    DAMAGES[seed % len(DAMAGES)](path, rng, whole[0])
    copy.mkdir(exist_ok=True)
    assert sweep(out=copy, **SETTINGS).load().identical(whole[1])
    assert opened(copy).identical(whole[1])


@pytest.mark.parametrize("seed", range(8))
def test_damage_to_any_file_is_mended(copy, whole, seed):
    damaged(copy, whole, seed)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(8, 208))
def test_much_damage_to_any_file_is_mended(copy, whole, seed):
    damaged(copy, whole, seed)


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("zarr.json", '\\"beta\\": 1.0', '\\"beta\\": 2.0'),
        ("zarr.json", "draws beta iterations", "draws gamma iterations"),
        ("tv/zarr.json", '"loss",', '"lose",'),
        ("tv/zarr.json", "total variation", "total variety"),
        ("alpha/zarr.json", "float64", "int64"),
    ],
)
def test_changed_words_are_mended(copy, whole, file, old, new):
    text = (copy / file).read_text()
    assert old in text
    (copy / file).write_text(text.replace(old, new))
    assert sweep(out=copy, **SETTINGS).load().identical(whole[1])
    assert (copy / file).read_text() == text


def test_chunks_that_changed_places_are_computed_again(copy, whole):
    first, second = (copy / f"tv/c/{alpha}/0/0/0" for alpha in (0, 1))
    content = first.read_bytes(), second.read_bytes()
    assert content[0] != content[1]
    first.write_bytes(content[1])
    second.write_bytes(content[0])
    assert sweep(out=copy, **SETTINGS).load().identical(whole[1])


def test_arrays_of_another_sweep_are_computed_again(copy, whole, tmp_path):
    sweep(out=tmp_path / "other.zarr", **{**SETTINGS, "seed": 1})
    shutil.rmtree(copy / "tv")
    shutil.copytree(tmp_path / "other.zarr/tv", copy / "tv")
    assert sweep(out=copy, **SETTINGS).load().identical(whole[1])


def test_strangers_in_the_folder_are_left_alone(copy, whole):
    (copy / ".DS_Store").write_text("")
    (copy / "notes").mkdir()
    shutil.copytree(copy / "alpha", copy / "omega")
    assert sweep(out=copy, **SETTINGS).load().identical(whole[1])
    assert (copy / "notes").is_dir()


def test_a_store_of_an_older_version_is_refused(copy):
    root = json.loads((copy / "zarr.json").read_text())
    del root["attributes"]["layout"]
    (copy / "zarr.json").write_text(json.dumps(root))
    for name in ("tv", "residual", "suboptimality"):
        (copy / name / "zarr.json").unlink()
    with pytest.raises(InvalidArgument, match="the store of another version of apo-sim"):
        sweep(out=copy, **SETTINGS)


def test_another_environment_is_another_sweep(copy, monkeypatch):
    own = STORE.environment()
    monkeypatch.setattr(STORE, "environment", lambda: {**own, "jaxlib": "0.0.1"})
    with pytest.raises(InvalidArgument, match=r"jaxlib is .* there and '0.0.1' here"):
        sweep(out=copy, **SETTINGS)


def test_what_is_finished_is_only_read(copy, whole, monkeypatch):
    """On a disk that is full or read-only, and while another process is at work there."""

    def never(*_, **__):
        raise OSError(errno.EROFS, "Read-only file system")

    for name in ("write_bytes", "clear_drafts", "alone_in"):
        monkeypatch.setattr(STORE, name, never)
    monkeypatch.setattr(LocalStore, "set", never)
    full = shutil._ntuple_diskusage(100, 100, 0)  # type: ignore[attr-defined]
    monkeypatch.setattr(shutil, "disk_usage", lambda path: full)
    with alone_in("out", copy):
        assert sweep(out=copy, **SETTINGS).load().identical(whole[1])
        # Nor is it another sweep where single values are passed elsewhere, or are the usual ones.
        axes = {name: value for name, value in SETTINGS.items() if isinstance(value, list)}
        again: dict[str, Any] = {"beta_schedule": "constant", **axes}
        again |= dict(reversed(SETTINGS.items()))
        assert sweep(out=copy, **again).load().identical(whole[1])


def test_a_disk_that_fills_up_or_goes_away_is_named(tmp_path, monkeypatch):
    write, units = STORE.Store.write, []

    def gone(self, unit, found):
        units.append(unit)
        if len(units) == 2:
            shutil.rmtree(self.path)
        write(self, unit, found)

    with monkeypatch.context() as patch:
        patch.setattr(STORE.Store, "write", gone)
        with pytest.raises(InvalidArgument, match=r"out = .*cannot be written"):
            sweep(out=tmp_path / "gone", chunk=1, **SMALL)

    async def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(LocalStore, "set", full)
    with pytest.raises(InvalidArgument, match=r"cannot be written \(No space left on device\)"):
        sweep(out=tmp_path / "full", **SMALL)


def test_a_store_that_another_process_writes_is_refused(tmp_path):
    out = tmp_path / "store.zarr"
    out.mkdir()
    with alone_in("out", out), pytest.raises(InvalidArgument, match="in use by another process"):
        sweep(out=out, **SMALL)
    assert sweep(out=out, **SMALL).tv.shape == (2, 2)


def test_a_store_half_begun_is_gone_on_with(tmp_path, monkeypatch):
    """Whatever is the last file that was written, and with it half written."""
    expected = sweep(**SMALL)
    write, left = STORE.write_bytes, 0

    def stopped(path, content):
        nonlocal left
        left -= 1
        if left < 0:
            (path.parent / f".{path.name}.7.part").write_bytes(content[:5])
            raise KeyboardInterrupt
        write(path, content)

    for steps in (0, 5, 20):
        out = tmp_path / str(steps)
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(STORE, "write_bytes", stopped)
            left = steps
            sweep(out=out, **SMALL)
        assert sweep(out=out, **SMALL).load().identical(expected)
        assert not list(out.rglob("*.part"))


@dataclasses.dataclass
class Tilted:
    """A family with a setting."""

    slope: float

    def __call__(self, key, contexts, arms):
        reward = self.slope * jnp.arange(arms, dtype=float) * jnp.ones((contexts, 1))
        return apo.Bandit(reward, jnp.full((contexts, arms), -jnp.log(arms)))


def closure(slope):
    return lambda key, contexts, arms: Tilted(slope)(key, contexts, arms)


@pytest.mark.parametrize("make", [Tilted, closure])
def test_a_family_counts_by_its_content(tmp_path, make):
    out = tmp_path / "store.zarr"
    first = sweep(make(0.1), out=out, **SMALL).load()
    assert sweep(make(0.1), out=out, **SMALL).load().identical(first)
    with pytest.raises(InvalidArgument, match="holds another sweep: family is"):
        sweep(make(0.2), out=out, **SMALL)


def test_a_family_that_changed_is_run_as_it_is_now():
    family = Tilted(0.1)
    first = sweep(family, **SMALL)
    family.slope = 0.5
    expected = sweep(Tilted(0.5), **SMALL)
    np.testing.assert_array_equal(sweep(family, **SMALL).suboptimality, expected.suboptimality)
    assert not np.array_equal(first.suboptimality, expected.suboptimality)


def test_a_family_without_content_is_run_but_not_stored(tmp_path):
    nothing = iter([1, 2])

    def family(key, contexts, arms):
        assert nothing is not None
        return Tilted(0.1)(key, contexts, arms)

    assert sweep(family, **SMALL).tv.shape == (2, 2)
    with pytest.raises(
        InvalidArgument, match=r"family = .* cannot be distinguished .* give it a `version`"
    ):
        sweep(family, out=tmp_path / "store.zarr", **SMALL)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("family", "message"),
    [
        (lambda key, contexts, arms: 1.0, "does not return a problem"),
        (lambda key: None, "takes different arguments"),
        (
            lambda key, contexts, arms: apo.Bandit(
                jnp.asarray(np.sort(jax.random.normal(key, (contexts, arms)))),
                jnp.full((contexts, arms), -np.log(arms)),
            ),
            r"cannot be compiled \(.*write it in JAX",
        ),
        (max, "does not reveal its arguments|takes different arguments"),
    ],
)
def test_what_is_no_family_is_named(family, message):
    with pytest.raises(InvalidArgument, match=f"family = .* ?(?:{message})"):
        sweep(family, **SMALL)


def test_numbers_that_grow_too_large_are_named():
    with pytest.raises(InvalidArgument, match=r"alpha=1\.5.* lead to numbers .* in iteration \d+"):
        sweep(momentum="unrestricted", alpha=[0.0, 1.5], **{**SMALL, "iterations": 2000})


def setup(rate):
    def of_lane(lane):
        return {
            "problem": apo.families.two_level_bandit(0.3),
            "policy": apo.policies.Table(1, 2),
            "step": apo.ByGradient(apo.SGD(rate), steps=2),
            "beta": 1.0,
            "key": jax.random.key(lane["seed"]),
        }

    return of_lane


def trained(rate, **settings):
    return trainings(setup(rate), {"seed": np.arange(2)}, iterations=2, block=1, **settings)


@pytest.fixture(scope="module")
def trained_whole(tmp_path_factory):
    out = tmp_path_factory.mktemp("trained")
    return out, trained(0.1, out=out)


def test_a_setup_counts_by_its_content(trained_whole):
    out, _ = trained_whole
    with pytest.raises(InvalidArgument, match="holds another training: setup is"):
        trained(0.2, out=out)


@pytest.mark.parametrize("seed", range(10))
def test_a_damaged_checkpoint_is_named_or_harmless(trained_whole, tmp_path, seed):
    out, expected = trained_whole
    content = bytearray((out / "checkpoint.npz").read_bytes())
    rng = random.Random(seed)
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    (tmp_path / "checkpoint.npz").write_bytes(content)
    try:
        found = trained(0.1, out=tmp_path)
    except InvalidArgument as error:
        assert str(error.value).endswith("checkpoint.npz")
    else:
        for name, values in expected.items():
            np.testing.assert_array_equal(found[name], values, err_msg=name)


def test_trainings_of_another_process_are_left_to_it(tmp_path):
    with alone_in("out", tmp_path), pytest.raises(InvalidArgument, match="in use by another"):
        trained(0.1, out=tmp_path)
