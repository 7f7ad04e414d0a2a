"""Momentum in games: the kinds of games, the sweep against single runs, planted differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure

from apo_sim import SPPO, Constant, Game, InvalidArgument, run
from apo_sim.studies import momentum_in_games
from apo_sim.studies.game_kinds import KINDS, three_arms
from apo_sim.studies.momentum_in_games import final, finding
from apo_sim.sweep import replicate_problem

# One worker measures once, for all of the tests.
pytestmark = pytest.mark.xdist_group("games")

SMALL = {"seeds": 24, "iterations": 500, "sampled_iterations": 5, "losses": ["sppo"]}


@pytest.fixture(scope="module")
def data() -> xr.Dataset:
    return momentum_in_games.measure(**SMALL, samples=[])


@pytest.fixture(scope="module")
def drawn() -> dict[str, Game]:
    keys = jax.random.split(jax.random.key(0), 200)
    return {
        kind: jax.vmap(lambda key, place=place: three_arms(key, 1, 3, place))(keys)
        for place, kind in enumerate(KINDS)
    }


def wins(game: Game) -> np.ndarray:
    """How many others each arm beats, sorted, (games, 3)."""
    return np.sort(np.asarray((game.preference[:, 0] > 0.5).sum(axis=-1)), axis=1)


def test_games_are_of_their_kind(drawn):
    dominance = {
        kind: np.asarray(jax.vmap(lambda g: g.dominance[0])(drawn[kind])) for kind in KINDS
    }
    assert np.all(dominance["Assumption B.1"] > 0.1 - 1e-6)
    assert np.all(dominance["best arm only"] < 0) and np.all(dominance["cycle"] < 0)
    assert np.all(wins(drawn["best arm only"])[:, -1] == 2)
    assert np.all(wins(drawn["transitive"]) == [0, 1, 2])
    assert np.all(wins(drawn["cycle"]) == 1)
    assert {tuple(row) for row in wins(drawn["any game"])} == {(0, 1, 2), (1, 1, 1)}
    for game in drawn.values():  # built again, they are checked
        Game(game.preference[:, 0], game.log_ref[:, 0])


def test_games_and_references_are_random(drawn):
    for game in drawn.values():
        assert np.unique(np.asarray(game.log_ref[:, 0, 0])).size > 190
    np.testing.assert_allclose(
        np.exp(np.asarray(drawn["cycle"].log_ref[:, 0])).mean(axis=0), 1 / 3, atol=0.06
    )
    assert np.unique(np.asarray(drawn["cycle"].preference[:, 0, 0, 1])).size > 190


def test_a_cell_is_a_run(data):
    problem, _ = replicate_problem(three_arms, 0, 3, 1, 3, kind=KINDS.index("cycle"))
    own = run(problem, SPPO(), Constant(0.6), beta=5.0, iterations=500, save="average")
    for policy, series in (("last", "suboptimality"), ("average", "average_suboptimality")):
        found = final(data, policy, "cycle", alpha=0.6).isel(seed=3)
        assert float(found) == pytest.approx(float(getattr(own, series)[-1]), rel=1e-3)


def test_without_momentum_the_rival_is_the_same(data):
    plain = data.sel(alpha=0.0)
    np.testing.assert_allclose(
        plain.average.sel(beta_schedule="matched"),
        plain.average.sel(beta_schedule="constant"),
        atol=1e-5,
    )


def test_momentum_helps_under_dominance_and_moves_cycles_to_the_boundary(data):
    def change(policy: str, kind: str) -> float:
        pair = [final(data, policy, kind, alpha=alpha) for alpha in (0.9, 0.0)]
        return float((pair[0] - pair[1]).mean())

    assert change("average", "Assumption B.1") < 0
    assert change("last", "Assumption B.1") < 0
    assert change("last", "cycle") > 0.02


def test_a_planted_change_is_reported(data):
    flat = xr.zeros_like(data.average) + 0.125 * (data.alpha == 0.9) * (data.kind == "cycle")
    planted = data.assign(average=flat.transpose(*data.average.dims))
    found = finding(planted)
    # Where all games agree, nothing says how far off the change is.
    assert found.change["cycle"].figures == (0.125,) * 3 and found.change["cycle"].n == 24
    assert {kind: each.value for kind, each in found.change.items() if each.value} == {
        "cycle": 0.125
    }
    assert set(found.plain.values()) == {0.0}
    # Of the last policy and of sampled runs nothing was planted.
    last = [final(data, "last", "cycle", alpha=alpha) for alpha in (0.9, 0.0)]
    assert found.last.value == pytest.approx(float((last[0] - last[1]).mean()))
    assert list(found.sampled) == [np.inf] and found.other_losses == {}
    assert found.negative_change.value == found.over_matched.value == 0.0
    assert "cycle: 0.0000, change 0.125." in found.text


def test_figure(data):
    momentum_in_games.draw(Figure(), data)


def test_what_does_not_fit_is_refused():
    with pytest.raises(InvalidArgument, match="arms"):
        three_arms(jax.random.key(0), 1, 4)
    with pytest.raises(InvalidArgument, match="sampled_iterations"):
        momentum_in_games.measure(seeds=2, iterations=3, sampled_iterations=4)
    assert jnp.ndim(three_arms(jax.random.key(0), 1, 3).preference) == 3
