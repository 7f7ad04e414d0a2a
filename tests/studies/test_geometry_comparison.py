"""The comparison of geometries: what is planted is found, and one program serves them all."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from apo_sim.errors import InvalidArgument
from apo_sim.momentum import Constant
from apo_sim.problems import Bandit
from apo_sim.registry import FAMILIES
from apo_sim.running import run
from apo_sim.studies import geometry_comparison
from apo_sim.studies.geometry_comparison import COMMON, CONTENDERS, OWN, beaten, ends, winners
from apo_sim.studies.geometry_kinds import COLOURS, KINDS, AnyKind, scale
from apo_sim.sweep.lanes import replicate_problem

# With the other studies: they share what is compiled.
pytestmark = pytest.mark.xdist_group("studies")

SIZE = {"seeds": 6, "arms": 3, "weights": [0.1, 1.0, 10.0], "alphas": [0.0, 0.9]}
SIZE |= {"samples": [10, 1000], "horizons": [2, 4], "progress": False}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("geometries")


@pytest.fixture(scope="module")
def data(folder) -> xr.Dataset:
    with jax.enable_x64(True):
        return geometry_comparison.measure(**SIZE, out=folder)


def bandit() -> Bandit:
    log_ref = jax.nn.log_softmax(jnp.array([[0.3, -0.2, 0.1, 0.9]]))
    return Bandit(jnp.array([[0.7, -0.3, 0.2, -0.8]]), log_ref)


@pytest.mark.parametrize("name", KINDS)
def test_the_one_program_runs_every_geometry(name):
    which = jnp.asarray(list(KINDS).index(name))
    settings = {"momentum": Constant(0.5), "beta": 2.0 * scale(name, 4), "iterations": 4}
    sampled = {"samples": 200, "key": jax.random.key(3)}
    # Sampled runs take long to compile; these two have something of their own in them.
    for data in ({}, sampled) if name in ("χ² + KL", "Euclidean") else ({},):
        alone = run(bandit(), geometry=KINDS[name], **settings, **data)
        found = run(bandit(), geometry=AnyKind(which), **settings, **data)
        np.testing.assert_allclose(found.suboptimality, alone.suboptimality, rtol=1e-9)
        np.testing.assert_allclose(found.tv, alone.tv, rtol=1e-9)


def test_a_wrong_number_is_another_geometry():
    settings = {"beta": 1.0, "iterations": 4}
    found = run(bandit(), geometry=AnyKind(jnp.asarray(2)), **settings).suboptimality
    assert not np.allclose(found, run(bandit(), **settings).suboptimality, rtol=0.01)


@pytest.mark.parametrize("arms", [3, 10])
def test_small_steps_are_alike_at_equal_weights(arms):
    even = jnp.full((1, arms), -jnp.log(float(arms)))
    reward = jnp.linspace(-1.0, 1.0, arms)[None]
    steps = []
    for name, kind in KINDS.items():
        geometry = kind.at(even)
        dual = geometry.step(geometry.dual(even), reward, 1e5 * scale(name, arms))
        steps.append(np.exp(geometry.policy(dual)) - 1 / arms)
    for step in steps[1:]:
        np.testing.assert_allclose(step, steps[0], rtol=1e-3, atol=1e-9)


def test_judged_is_what_a_run_at_the_chosen_beta_leaves_on_seeds_of_its_own(data):
    trials = data.sizes["trial"]
    for name, contest, seed in (("KL", OWN, 0), ("Burg", COMMON, 5)):
        cell = {"alpha": 0.9, "samples": 10, "iteration": 2}
        weight = float(data.best.sel(contest=contest, geometry=name, **cell))
        problem, key = replicate_problem(
            FAMILIES["uniform"], np.uint32(0), np.uint32(trials + seed), 1, 3
        )
        found = run(
            problem,
            momentum=Constant(0.9),
            beta=weight * scale(name, 3),
            iterations=2,
            samples=10,
            key=key,
            geometry=KINDS[name],
        )
        judged = data.gap.sel(contest=contest, geometry=name, seed=seed, **cell)
        assert float(judged) == pytest.approx(float(found.suboptimality[-1]), rel=1e-9)


def test_the_betas_are_those_of_the_least_mean_gap_on_the_trials(data):
    mean = data.tuning_gap.mean("trial")
    own = data.best.sel(contest=OWN)
    np.testing.assert_allclose(mean.sel(weight=own), mean.min("weight"))
    common = data.best.sel(contest=COMMON)
    assert bool((common == common.isel(geometry=0)).all())
    total = mean.sum("geometry")
    at = total.sel(weight=common.isel(geometry=0, drop=True))
    np.testing.assert_allclose(at, total.min("weight"))


def test_lost_is_where_the_best_arm_has_no_mass(data):
    small = data.lost.sel(weight=0.1)
    assert 0 < float(small.mean()) < 1
    assert float(data.lost.sel(geometry="Burg").mean()) == 0


def test_what_is_kept_is_used_again_and_other_settings_are_refused(data, folder):
    again = geometry_comparison.measure(**SIZE, out=folder)
    xr.testing.assert_equal(again.drop_attrs(), data.drop_attrs())
    kept = folder / "tuning_0.nc"
    before = kept.stat().st_mtime_ns
    with pytest.raises(InvalidArgument, match="other settings"):
        geometry_comparison.measure(**{**SIZE, "seed": 1}, out=folder)
    assert kept.stat().st_mtime_ns == before


def planted(means: list[float], noise: float = 0.01, seeds: int = 40) -> xr.DataArray:
    """Gaps of one cell, (geometry, seed), with the given means."""
    values = np.random.default_rng(0).normal(np.array(means)[:, None], noise, (5, seeds))
    return xr.DataArray(values, {"geometry": list(CONTENDERS)}, ("geometry", "seed"))


@pytest.mark.parametrize("winner", range(5))
def test_the_winner_is_found_and_all_others_are_beaten(winner):
    means = [0.3] * 5
    means[winner] = 0.2
    gap = planted(means)
    assert int(winners(gap)) == winner
    lost = beaten(gap)
    assert [bool(lost.sel(geometry=name)) for name in CONTENDERS] == [i != winner for i in range(5)]


def test_nobody_wins_where_two_are_equal_and_neither_is_beaten():
    gap = planted([0.2, 0.2, 0.3, 0.4, 0.5])
    assert int(winners(gap)) == -1
    assert [bool(beaten(gap).sel(geometry=name)) for name in CONTENDERS] == [False] * 2 + [True] * 3


def test_the_ends_of_the_grid_are_counted(data):
    best = data.best.copy(data=np.full(data.best.shape, 1.0))
    best.loc[{"contest": OWN, "geometry": "KL"}] = 10.0
    assert int(ends(data.assign(best=best)).sum()) == ends(data).size // 5


def won_by_euclid_at_10(data: xr.Dataset) -> xr.Dataset:
    """Gaps that all are alike but for one cell at each N = 10, where Euclidean is ahead."""
    noise = np.random.default_rng(1).normal(0.5, 1e-3, data.gap.shape)
    gap = data.gap.copy(data=noise)
    gap.loc[{"samples": 10, "geometry": "Euclidean"}] -= 0.25
    return data.assign(gap=gap)


def test_the_finding_counts_the_cells(data):
    found = geometry_comparison.finding(won_by_euclid_at_10(data))
    assert found.cells == data.gap.isel(geometry=0, contest=0, seed=0).size == 8
    assert list(found.contests) == [OWN, COMMON]
    for contest in found.contests.values():
        assert list(contest.won) == ["Euclidean"]
        assert {(c.samples, c.iterations, c.alpha) for c in contest.won["Euclidean"]} == {
            (10, t, alpha) for t in (2, 4) for alpha in (0.0, 0.9)
        }
        assert contest.beaten == {name: 4 for name in CONTENDERS} | {"Euclidean": 0}
    assert found.lead is not None and found.lead.cell.samples == 10
    first, second = found.lead.gaps.items()
    assert first[0] == "Euclidean" and first[1].n == SIZE["seeds"]
    assert first[1].value == pytest.approx(0.25, abs=0.01)
    assert second[1].value == pytest.approx(0.5, abs=0.01)
    assert found.choices == 5 * found.cells and found.lost["Burg"].most.value == 0.0
    assert found.lost["KL"].most.value >= found.lost["KL"].own.value
    assert "surely the least gap has Euclidean in 4 (N = 10, T = 2" in found.text


def test_the_figure_shows_who_is_not_beaten(data):
    data = won_by_euclid_at_10(data)
    figure = Figure(layout="constrained")
    geometry_comparison.draw(figure, data)
    figure.draw_without_rendering()
    *_, panel = figure.axes
    bars = [patch for patch in panel.patches if isinstance(patch, Rectangle)]
    shown = [(int(bar.get_x()), to_hex(bar.get_facecolor())) for bar in bars]
    rows = 2 * data.sizes["iteration"] * data.sizes["alpha"]
    assert [colour for column, colour in shown if column == 0] == [
        to_hex(COLOURS["Euclidean"])
    ] * rows
    assert len([1 for column, _ in shown if column == 1]) == 5 * rows


@pytest.mark.parametrize(
    ("settings", "argument"), [({"seeds": 1}, "seeds"), ({"tuning": 0}, "tuning")]
)
def test_bad_input(settings, argument):
    with pytest.raises(InvalidArgument) as caught:
        geometry_comparison.measure(**{**SIZE, **settings})
    assert caught.value.argument == argument
