"""The sides of the benchmark compute what the library computes, and it says what it measured."""

import dataclasses
import json
import math
import pathlib
import sys

import jax
import numpy as np
import pytest
import scipy.special

import apo_sim as apo

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "experiments"))
import paired
import peers_numpy as peers
import peers_scipy
import rivals
import speed_hard


@pytest.mark.parametrize("name", ["exact_plain", "exact_tuned"])
def test_exact_path(name):
    bandit = apo.families.uniform_bandit(jax.random.key(0), contexts=3, arms=7)
    alphas = np.array([0.0, 0.6])
    suboptimality, tv = getattr(peers, name)(
        np.asarray(bandit.reward), np.asarray(bandit.log_ref), alphas, beta=2.0, iterations=5
    )
    for index, alpha in enumerate(alphas):
        ours = apo.run(bandit, momentum=apo.Constant(float(alpha)), beta=2.0, iterations=5)
        np.testing.assert_allclose(suboptimality[index], ours.suboptimality, atol=1e-12)
        np.testing.assert_allclose(tv[index], ours.tv, atol=1e-12)


def test_sampled_step():
    bandit = apo.families.uniform_bandit(jax.random.key(1), contexts=1, arms=4)
    cells = peers.pair_law(np.asarray(bandit.log_ref[0]), np.asarray(bandit.preference[0]))
    np.testing.assert_allclose(cells, apo.Pairwise().cells(bandit, bandit.log_ref)[0], atol=1e-15)

    rng = np.random.default_rng(0)
    wins = np.stack([peers.draw_wins(rng, cells, 500) for _ in range(3)])
    rewards = peers.best_rewards(wins)
    win_prob = scipy.special.expit(rewards[:, :, None] - rewards[:, None, :])
    expected = (wins + np.swapaxes(wins, 1, 2)) * win_prob
    # The likelihood is concave, and its slope vanishes where wins are what the scores expect.
    np.testing.assert_allclose(expected.sum(axis=2), wins.sum(axis=2), rtol=1e-10)


@pytest.mark.parametrize("kind", speed_hard.KINDS)
def test_the_judge_of_hard_counts_finds_the_optimum_in_the_box(kind):
    bound = 2.0
    wins = speed_hard.KINDS[kind](np.random.default_rng(3), 12)
    scores = peers_scipy.best_in_box(wins, bound)
    chance = scipy.special.expit(scores[:, None] - scores)
    slope = ((wins + wins.T) * chance - wins).sum(axis=1)
    # The likelihood is concave: no arm within gains by moving, none at a wall by moving inward.
    at_wall = np.abs(scores) >= bound
    assert np.all(np.abs(scores) <= bound)
    assert np.all(np.where(at_wall, slope * scores < 1e-8, np.abs(slope) < 1e-8))
    assert at_wall.any() or kind != "walls"


def test_the_judge_agrees_with_newtons_method_where_no_wall_binds():
    cells = peers.pair_law(np.full(6, -math.log(6)), np.full((6, 6), 0.5))
    wins = peers.draw_wins(np.random.default_rng(0), cells, 600)
    expected = peers.best_rewards(wins[None])[0]
    apart = peers_scipy.best_in_box(wins, 2.0) - expected
    assert np.ptp(expected) > 0.1 and np.ptp(apart) < 1e-12


@pytest.fixture
def shared():
    wins = np.array([[[0.0, 3.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0]]])
    return rivals.Shared(wins)


def test_errors_are_of_differences_within_a_group(shared):
    lead = math.log(3.0)
    assert shared.widest == pytest.approx(lead)
    # Where the arm stands that met nobody does not matter.
    assert shared.error(lambda wins: [[lead, 0.0, 7.0]]) < 1e-9
    assert shared.error(lambda wins: [[lead, 0.5, 0.0]]) == pytest.approx(0.5)


def test_a_peer_that_is_never_accurate_is_told_at_its_best(shared):
    lead = math.log(3.0)

    def solve(tolerance, wins):
        if tolerance < 1e-8:
            raise RuntimeError("did not converge")
        return [[lead + 1e-3 + tolerance, 0.0, 0.0]]

    tolerance, error = shared.loosest(solve)
    assert tolerance == pytest.approx(1e-8) and error == pytest.approx(1e-3, rel=1e-4)
    name = {name: rivals.Rival(name, lambda: [0.0, 0.0], 2, error, "") for name in ("apo_sim", "x")}
    name["apo_sim"] = dataclasses.replace(name["apo_sim"], error=0.0)
    rows = rivals.in_turn(list(name.values()), 1, "")
    assert rows["x"]["times as slow"] is None and rows["x"]["largest error"] == error
    assert isinstance(rows["apo_sim"]["times as slow"], paired.Spread)


@dataclasses.dataclass(frozen=True)
class Options:
    part: str = "all"
    quick: bool = True


def test_an_interrupted_benchmark_keeps_what_it_has(tmp_path, capsys):
    spread = paired.Spread.of([2.0, 1.0, 4.0])

    def first(options):
        yield paired.Rows("a", "Title", [{"side": "x", "ratio": spread, "error": math.inf}])
        yield paired.Target("speed", 2.0, 1.5, "x", True)
        raise KeyboardInterrupt

    def second(options):
        raise AssertionError

    out = tmp_path / "new" / "figures.json"
    with pytest.raises(SystemExit, match="130"):
        paired.run_parts({"first": first, "second": second}, Options(), out)
    found = json.loads(out.read_text(encoding="utf-8"))
    assert found["rows"]["a"]["rows"] == [{"side": "x", "ratio": [2.0, 1.0, 4.0], "error": None}]
    assert found["targets"][0]["measured"] == 2.0 and found["quick"] is True
    shown = capsys.readouterr().out
    assert "2 (1–4)" in shown and "speed" in shown and "met" in shown


CASES = {
    "pairs": lambda bandit: rivals.Case(bandit, 500),
    "best against worst": lambda bandit: rivals.Case(bandit, 500, ranker=apo.BestAgainstWorst(3)),
    "game": lambda bandit: rivals.Case(apo.Game(bandit.preference, bandit.log_ref), 500),
}


@pytest.mark.parametrize("kind", CASES)
def test_pytorch_is_asked_the_same(kind):
    torch = pytest.importorskip("torch", reason="PyTorch is in the extra `bench`")
    import peers_torch

    bandit = apo.families.uniform_bandit(jax.random.key(1), contexts=1, arms=5)
    log_policy = apo.families.dirichlet_reference(jax.random.key(2), 1, 5)
    case = CASES[kind](bandit)
    problem = rivals.torch_problem(case)
    policy = torch.tensor(np.exp(np.asarray(log_policy)))
    cells = case.ranker.cells(case.problem, log_policy)
    np.testing.assert_allclose(problem.cells(policy).numpy(), cells, atol=1e-14)
    gap = case.problem.suboptimality(log_policy)
    np.testing.assert_allclose(problem.gap(policy).numpy(), [gap], atol=1e-14)
    wins = peers_torch.draw_wins(peers_torch.counts_by_binomials, problem.cells(policy), 500)
    assert wins.sum() <= 500 and (wins.diagonal(dim1=1, dim2=2) == 0).all()
    unlikely = np.asarray(cells) < 1e-12
    assert (wins.numpy()[unlikely] == 0).all()
