"""The comparison of methods: judged as it says, fair, and what is planted is found."""

import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure

import apo_sim as apo
from apo_sim.errors import InvalidArgument
from apo_sim.methods import Accelerated, Method, OptimisticMD
from apo_sim.preferences import Flipped, Pairwise
from apo_sim.studies import field
from apo_sim.studies.field import MomentumAdds
from apo_sim.studies.field_methods import BANDITS, EACH, GAMES, ONCE, TRIALS, Setting
from apo_sim.studies.field_problems import BANDIT_KINDS, bandit, game

sys.path.insert(0, str(Path(__file__).parent))
from planted_field import planted

# With the other studies: they share what is compiled.
pytestmark = pytest.mark.xdist_group("studies")

SIZE = {"problems": "games", "methods": ["optimistic MD"], "seeds": 4, "tuning": 3}
SIZE |= {"labels": [40, 400], "flipped": [0.0, 0.1], "alphas": [0.5], "iterations": 4}
SIZE |= {"progress": False}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("field")


@pytest.fixture(scope="module")
def data(folder) -> xr.Dataset:
    with jax.enable_x64(True):
        return field.measure(**SIZE, out=folder)


@pytest.mark.parametrize("problems", ["bandits", "games"])
def test_every_method_can_be_made_and_has_as_many_trials(problems):
    """With traced settings, and on its problem: a run of it is traced."""
    methods = field.PROBLEMS[problems][0]
    number = jax.ShapeDtypeStruct((), jnp.result_type(float))
    whole = jax.ShapeDtypeStruct((), np.uint32)
    lane = dict.fromkeys(("first", "second", "alpha", "flipped", "labels"), number)
    lane |= {"seed": whole, "replicate": whole, "problem": jax.ShapeDtypeStruct((), jnp.int32)}
    for name, contender in methods.items():
        assert len(set(contender.trials)) == TRIALS, name
        found = jax.eval_shape(lambda lane, name=name: field._lane(lane, problems, name, 4), lane)
        assert found.shape == (), name
        first, second = contender.trials[-1]
        features = jnp.eye(10)[None]
        plain = contender.make(Setting(first, second, 0.0, 0.1, 100.0, features))
        assert isinstance(plain, Method)
        assert contender.accelerates <= (contender.labels == EACH)


def test_judged_is_what_the_chosen_trial_leaves_on_seeds_of_its_own(data):
    cell = {"problem": "cyclic", "flipped": 0.1, "labels": 400}
    name = "optimistic MD, α = 0.5"
    step = GAMES["optimistic MD"].trials[int(data.best.sel({"contender": name, **cell}))][0]
    for seed in range(2):
        replicate = SIZE["tuning"] + seed
        own = jax.random.fold_in(jax.random.key(np.uint32(0)), np.uint32(replicate))
        of_problem, of_data = jax.random.split(own)
        ranker = Flipped(Pairwise(), 0.1)
        found = apo.solve(
            game(of_problem, 1)[0],
            Accelerated(OptimisticMD(step, ranker), apo.Constant(0.5)),
            iterations=4,
            samples=100,
            key=of_data,
        )
        judged = data.gap.sel({"contender": name, **cell}).isel(seed=seed)
        assert float(judged) == pytest.approx(float(found.suboptimality[-1]), rel=1e-9)


def test_the_trial_chosen_is_the_best_on_the_seeds_of_tuning(data):
    least = data.tuning_gap.min("trial")
    xr.testing.assert_equal(data.tuning_gap.isel(trial=data.best), least)


def test_what_is_kept_is_used_again_and_other_settings_are_refused(data, folder):
    again = field.measure(**SIZE, out=folder)
    xr.testing.assert_equal(again, data)
    with pytest.raises(InvalidArgument, match="other settings"):
        field.measure(**{**SIZE, "seed": 1}, out=folder)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"seeds": 1}, "seeds"),
        ({"tuning": 0}, "tuning"),
        ({"problems": "mazes"}, "problems"),
        ({"methods": ["XPO"]}, "methods"),
        ({"labels": [41]}, "labels"),
    ],
)
def test_bad_input(change, named):
    with pytest.raises(InvalidArgument) as caught:
        field.measure(**{**SIZE, **change})
    assert caught.value.argument == named


def test_the_bandits_are_what_they_are_called():
    key = jax.random.key(3)
    uniform, rare, linear = (bandit(key, place)[0] for place in range(len(BANDIT_KINDS)))
    np.testing.assert_allclose(jnp.exp(uniform.log_ref), 0.1, rtol=1e-12)
    assert float(rare.log_best_ref[0]) == pytest.approx(np.log(0.01))
    features = np.asarray(bandit(key, 2)[1][0])
    left = np.linalg.lstsq(features, np.asarray(linear.reward[0]), rcond=None)[0]
    np.testing.assert_allclose(features @ left, linear.reward[0], atol=1e-12)
    assert np.linalg.matrix_rank(features) == 3


def test_a_planted_winner_leads_everywhere_and_alone():
    data = planted({"χPO": -0.05, "NPG, true reward": -0.19})
    left = field.standing(field.rivals(data).gap)
    assert bool(left.sel(contender="χPO").all()) and int(left.sum()) == left.isel(contender=0).size
    found = field.finding(data)
    assert len(found.leaders) == found.cells == 18
    for leader in found.leaders.values():
        assert (leader.method, leader.standing, leader.methods) == ("χPO", 1, 32)
        assert leader.gap.value == pytest.approx(0.15, abs=0.01)
        assert leader.gap.n == data.sizes["seed"]
    # Who is told the rewards is no rival.
    assert len(found.league) == 32 and "NPG, true reward" not in found.league
    assert next(iter(found.league.items())) == ("χPO", pytest.approx(1.0))
    assert found.at_an_end == 0 < found.choices
    assert "on the whole (mean ratio to the least gap): χPO 1.00" in found.text


def test_what_is_alike_is_not_told_apart():
    data = planted({})
    assert bool(field.standing(field.rivals(data).gap).all())
    found = field.finding(data)
    assert set(found.momentum.values()) == {MomentumAdds(0, 0)}
    assert "surely changes nothing in any of 18 cells of each method" in found.text


def test_planted_momentum_is_found_in_its_method_alone():
    data = planted({"XPO, α = 0.3": -0.03, "SPPO, α = 0.3": 0.03})
    adds = field.momentum_adds(data)
    assert adds.contender.values[adds.sure.any(field.CELL)].tolist() == [
        "SPPO, α = 0.3",
        "XPO, α = 0.3",
    ]
    assert float(adds["mean"].sel(contender="XPO, α = 0.3").mean()) == pytest.approx(
        -0.15, abs=0.01
    )
    found = field.finding(data)
    sure = {name: each for name, each in found.momentum.items() if each != MomentumAdds(0, 0)}
    assert sure == {"SPPO, α = 0.3": MomentumAdds(0, 18), "XPO, α = 0.3": MomentumAdds(18, 0)}
    assert "SPPO, α = 0.3 0 and 18; XPO, α = 0.3 18 and 0" in found.text


def test_ends_of_a_line_are_counted_and_those_of_a_grid_are_not():
    data = planted({})
    data = data.assign(best=xr.zeros_like(data.best))
    at_end = field.ends(data)
    assert bool(at_end.sel(contender="SPPO").all()) and not bool(at_end.sel(contender="XPO").any())


@pytest.mark.parametrize("problems", ["bandits", "games"])
def test_the_figure_marks_who_is_not_surely_beaten(problems):
    data = planted({"SPPO": -0.05, "SPPO, α = 0.3": -0.08}, problems)
    figure = Figure(layout="constrained")
    field.draw(figure, data)
    figure.draw_without_rendering()
    titles = {axes.get_title(loc): axes for axes in figure.axes for loc in ("left", "center")}
    standing = next(axes for title, axes in titles.items() if title.startswith("Mean gap"))
    cells = len(data.problem) * 6
    circles = np.asarray(standing.lines[0].get_xydata())
    names = [text.get_text() for text in standing.get_yticklabels()]
    assert len(circles) == cells
    assert {names[int(row)] for _, row in circles} == {"SPPO, α = 0.3"}
    momentum = next(axes for title, axes in titles.items() if title.startswith("Change"))
    rows = [int(row) for _, row in np.asarray(momentum.lines[0].get_xydata())]
    names = [text.get_text() for text in momentum.get_yticklabels()]
    assert rows.count(names.index("SPPO, α = 0.3")) == cells
    # The intervals of all others hold at once in 19 of 20 figures; one cell is forgiven.
    assert len(rows) <= cells + 1


def test_offline_methods_are_those_that_get_their_labels_at_once():
    assert {name for name, one in BANDITS.items() if one.labels == ONCE} == {
        "DPO, offline",
        "conservative DPO, offline",
        "robust DPO, offline",
        "IPO, offline",
        "χPO",
        "KTO",
        "SimPO",
        "pessimistic MLE",
        "greedy MLE",
    }
