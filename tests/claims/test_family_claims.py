"""The claims about the family of methods and their averages: planted data, other seeds."""

import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit

sys.path.insert(0, str(Path(__file__).parent))
from checked import check, of_group

from apo_sim import families, run
from apo_sim.claims import Study, f1, g4, g5
from apo_sim.losses import SPPO

CYCLE = 0.4 * np.array([[0.0, 1.0, -1.0], [-1.0, 0.0, 1.0], [1.0, -1.0, 0.0]])


@pytest.mark.slow
@pytest.mark.parametrize("id", [of_group(id) for id in ("F1", "G4", "G5")])
def test_another_seed_finds_the_same(id):
    found, other = check(id), check(id, 7)
    assert other.verdict == found.verdict == "holds" and other.flaw is None


# F1


@pytest.mark.parametrize("place", range(len(f1.IDENTITIES)), ids=f1.NAMES)
def test_an_error_in_any_identity_is_found(monkeypatch, place):
    monkeypatch.setattr(f1, "_near", lambda: dict.fromkeys(_facts(), 1.0))
    errors = np.zeros((len(f1.IDENTITIES), 400))
    errors[place, 3] = 1e-6
    monkeypatch.setattr(f1, "_errors", lambda lanes: errors)
    found = f1.family_tree(Study("F1"))
    assert found.verdict == "fails" and found.counterexample is not None
    assert found.counterexample["identity"] == f1.NAMES[place]
    lanes = f1._lanes(Study("F1"), 400)
    assert found.counterexample["eta"] == lanes.eta[3]


@pytest.mark.parametrize("name", f1.DIFFERENT)
def test_what_seems_to_be_the_same_must_differ(monkeypatch, name):
    monkeypatch.setattr(f1, "_errors", lambda lanes: np.zeros((len(f1.IDENTITIES), 400)))
    monkeypatch.setattr(f1, "_near", lambda: dict.fromkeys(_facts(), 1.0))
    assert f1.family_tree(Study("F1")).verdict == "holds"
    monkeypatch.setattr(f1, "_near", lambda: {**dict.fromkeys(_facts(), 1.0), name: 1e-9})
    found = f1.family_tree(Study("F1"))
    assert found.verdict == "fails" and found.counterexample is not None
    assert found.counterexample["not the same"] == name


def _facts() -> tuple[str, ...]:
    return (*f1.DIFFERENT, "step of DNO with s on the target alone")


def test_the_smallest_counterexamples():
    with jax.enable_x64(True):
        facts = {name: float(each) for name, each in f1._near().items()}
    assert facts["INPO and Nash-MD, two arms, ten steps"] < 1e-12
    assert facts["INPO and Nash-MD, three arms, one step"] < 1e-12
    lead = f1.WIN_RATE - 0.5  # of two arms, whatever the policy
    share = (expit(lead) - 0.5) / lead
    assert facts["step of DNO with s on the target alone"] == pytest.approx(share)


# G4 and G5


@pytest.mark.parametrize("lead", [CYCLE, np.triu(np.full((4, 4), 0.5), 1)])
def test_averages_are_those_of_a_run_by_hand(lead):
    lead = lead if lead is CYCLE else lead - lead.T
    arms, horizon = len(lead), 12
    with jax.enable_x64(True):
        found = g4._averages(jnp.asarray(lead), jnp.array(horizon), 20)
    policy, policies = np.full(arms, 1 / arms), []
    for _ in range(horizon + 1):
        policies.append(policy)
        policy = policy * np.exp(np.sqrt(8 * np.log(arms) / horizon) * (lead @ policy))
        policy = policy / policy.sum()
    expected = [np.max(lead @ np.mean(part, axis=0)) for part in (policies[:-1], policies[1:])]
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-14)


def test_the_variance_in_self_play_is_at_most_a_twelfth():
    rng = np.random.default_rng(0)
    for arms in (2, 3, 8, 60):
        lead = np.array([*g4._games(rng, arms, 50)])
        policy = rng.dirichlet(np.ones(arms), len(lead))
        rates = np.einsum("nij,nj->ni", lead, policy)
        variance = np.sum(policy * rates**2, axis=1)
        assert np.all(np.abs(np.sum(policy * rates, axis=1)) < 1e-12)
        assert np.all(variance <= 1 / 12 + 1e-12)
    order = 0.5 * (np.triu(np.ones((500, 500)), 1) - np.tril(np.ones((500, 500)), -1))
    assert np.mean(np.mean(order, axis=1) ** 2) == pytest.approx(1 / 12, rel=1e-4)


def test_all_kinds_of_games_are_games():
    for arms in g4.ARMS:
        lead = g4._games(np.random.default_rng(0), arms, 3)
        assert np.all(lead == -np.swapaxes(lead, 1, 2)) and np.abs(lead).max() <= 0.5
        order, cycle, best = lead[-3:]
        assert sorted((order > 0).sum(axis=1)) == list(range(arms))
        assert len(set(cycle.sum(axis=1))) == 1 or arms == 2
        assert (best > 0).sum() == arms - 1


def test_a_game_above_the_bound_is_found_and_named(monkeypatch):
    monkeypatch.setattr(g4, "_climb", lambda seed, k, t: (np.zeros((1, k, k)), np.zeros(1)))
    place = 3

    def planted(function, tried):
        ratio = np.full(len(tried.horizon), 0.5)
        if tried.lead.shape[1] == 5:
            ratio[place] = 1.001
        return g4.Ratios(ratio, ratio)

    monkeypatch.setattr(g4, "over_lanes", planted)
    found = g4.average_policy(Study("G4"))
    assert found.verdict == "fails" and found.counterexample is not None
    expected = g4._tried(Study("G4"), 5).lead[place]
    np.testing.assert_array_equal(found.counterexample["leads"], expected)


def test_a_start_above_the_optimistic_bound_is_found_and_named(monkeypatch):
    lanes = g5._lanes(np.random.default_rng(0), 3, 2)
    monkeypatch.setattr(g5, "_climb", lambda seed: lanes)

    def planted(function, lanes, optimistic, place=2):
        ratio = np.where(lanes.eta > g5.ALLOWED, 9.0, 0.995)
        ratio[place] = 1.001 if lanes.lead.shape[1] == 10 else 0.995
        return ratio

    monkeypatch.setattr(g5, "over_lanes", planted)
    found = g5.optimistic_average(Study("G5"))
    assert found.verdict == "fails" and found.counterexample is not None
    expected = g5._lanes(Study("G5").rng(10), 10, 60)
    np.testing.assert_array_equal(found.counterexample["leads"], expected.lead[2])
    # Steps beyond the largest that is allowed do not count, and a bound never met is not sharp.
    monkeypatch.setattr(
        g5, "over_lanes", lambda _, lanes, optimistic: np.full(len(lanes.eta), 0.995)
    )
    assert g5.optimistic_average(Study("G5")).verdict == "holds"
    monkeypatch.setattr(g5, "over_lanes", lambda _, lanes, optimistic: np.full(len(lanes.eta), 0.9))
    assert g5.optimistic_average(Study("G5")).verdict == "fails"


def test_without_optimism_the_bound_is_that_of_sppo_and_breaks():
    """The control is SPPO at 1 / eta."""
    start = jnp.log(jnp.array([g5.REFERENCE]))
    game = families.rock_paper_scissors(0.9, start)
    lane = g5.Lanes(jnp.asarray(CYCLE), start[0], jnp.array(g5.ALLOWED))
    found = g5._series(lane, 400, optimistic=False)
    plain = run(game, SPPO(), beta=1 / g5.ALLOWED, iterations=400, save="average")
    times = g5.ALLOWED * np.arange(1, 401) / -np.log(min(g5.REFERENCE))
    np.testing.assert_allclose(found, plain.average_suboptimality * times, rtol=1e-3)
    assert float(found.max()) > 1.5 > 1.0 > float(g5._series(lane, 400).max())
