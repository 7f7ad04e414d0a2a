"""Sweeps over objects: the numbers of `run`, objects told apart by content, named in the store."""

import dataclasses
import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import apo_sim as apo
from apo_sim.errors import InvalidArgument
from apo_sim.methods import CountedPairs, ListedPairs, Proximal, Report
from apo_sim.registry import FAMILIES
from apo_sim.sweep import replicate_problem, sweep

# One worker for all sweeps: they share what is compiled.
pytestmark = pytest.mark.xdist_group("sweep")

SMALL: dict[str, Any] = {"beta": 5.0, "iterations": 4, "arms": 3, "seeds": 3, "progress": False}


def own(seed: int, **settings: Any) -> np.ndarray:
    """The gap of a replicate of `SMALL`, by `run`."""
    problem, key = replicate_problem(FAMILIES["uniform"], 0, seed, 1, 3)
    extra = {"key": key} if "samples" in settings else {}
    return np.asarray(apo.run(problem, beta=5.0, iterations=4, **settings, **extra).suboptimality)


def squared(winner, loser, extra):
    return (winner - loser - 1.0) ** 2


@dataclasses.dataclass(frozen=True)
class Hinge:
    """A smooth hinge, a loss of a user's."""

    margin: float = 1.0

    def __call__(self, winner, loser, extra):
        return jax.nn.softplus(self.margin - winner + loser)


@dataclasses.dataclass(frozen=True)
class Twice:
    """A rule of a user's: every step is made twice."""

    def init(self, tree):
        return tree

    def extrapolate(self, new, state, t):
        centre = jax.tree.map(lambda n, o: 2.0 * n - o, new, state)
        return centre, centre


def test_cells_are_runs_with_the_losses():
    losses = {"IPO(tau=0.5)": apo.IPO(0.5), "Hinge(margin=0.5)": Hinge(0.5)}
    found = sweep(loss=list(losses.values()), alpha=0.5, **SMALL).suboptimality
    assert found.dims == ("loss", "seed", "iteration")
    assert found.loss.values.tolist() == list(losses)
    for name, loss in losses.items():
        expected = own(2, loss=loss, momentum=apo.Constant(0.5))
        np.testing.assert_allclose(found.sel(loss=name, seed=2), expected, rtol=0, atol=1e-9)


def test_rankers_are_an_axis():
    rankers = {"pairwise": apo.Pairwise(), "BestAgainstWorst(responses=3)": apo.BestAgainstWorst(3)}
    found = sweep(ranker=list(rankers.values()), loss="sppo", samples=200, **SMALL).suboptimality
    assert found.ranker.values.tolist() == list(rankers)
    for name, ranker in rankers.items():
        expected = own(2, loss=apo.SPPO(), ranker=ranker, samples=200)
        np.testing.assert_allclose(found.sel(ranker=name, seed=2), expected, rtol=0, atol=1e-12)


def test_rules_and_geometries_are_axes():
    rules = ["none", apo.Constant(0.5), Twice()]
    found = sweep(momentum=rules, geometry=["kl", apo.Euclidean()], **SMALL).suboptimality
    assert found.momentum.values.tolist() == ["none", "Constant(alpha=0.5)", "Twice()"]
    assert found.geometry.values.tolist() == ["kl", "euclidean"]
    for place, rule in enumerate((apo.NoMomentum(), *rules[1:])):
        for at, geometry in enumerate((apo.KL(), apo.Euclidean())):
            expected = own(1, momentum=rule, geometry=geometry)
            np.testing.assert_allclose(found[place, at, 1], expected, rtol=0, atol=1e-12)


@dataclasses.dataclass(frozen=True)
class Lazy:
    """A method of a user's that stays at the reference, or draws where it stays."""

    random: bool = False
    request = CountedPairs()

    @property
    def begins_at_random(self):
        return self.random

    def init(self, problem, key):
        shift = jax.random.normal(key, problem.log_ref.shape) if self.random else 0.0
        return jax.nn.log_softmax(problem.log_ref + shift, axis=1)

    def step(self, problem, state, data, t):
        return state, Report()

    def policy(self, state):
        return state

    behaviour = policy


@dataclasses.dataclass(frozen=True)
class Listing(Lazy):
    """One that wants its pairs one by one."""

    request = ListedPairs(one_by_one=True)


def test_methods_are_an_axis():
    other = Proximal(apo.IPO(0.5), apo.Constant(0.5), beta=2.0)
    found = sweep(method=["proximal", other, Lazy()], alpha=0.3, samples=100, **SMALL)
    assert found.method.values.tolist()[::2] == ["proximal", "Lazy()"]
    problem, key = replicate_problem(FAMILIES["uniform"], 0, 1, 1, 3)
    solved = apo.solve(problem, other, iterations=4, samples=100, key=key)
    for place, expected in enumerate(
        (
            own(1, momentum=apo.Constant(0.3), samples=100),
            solved.suboptimality,
            np.full(4, problem.suboptimality_of(jnp.exp(problem.log_ref))[0]),
        )
    ):
        np.testing.assert_allclose(found.suboptimality[place, 1], expected, rtol=0, atol=1e-12)


def test_a_method_of_its_own_leaves_none_of_the_settings_in_the_dataset(tmp_path):
    short = {name: value for name, value in SMALL.items() if name != "beta"}
    given = {"method": Proximal(beta=2.0), "variables": ["tv", "gamma"], **short}
    found = sweep(out=tmp_path / "store", **given).load()
    assert set(found.coords) == {
        *("method", "contexts", "arms", "draws", "iterations", "iteration", "seed"),
        "spread",
    }
    np.testing.assert_allclose(found.gamma, np.broadcast_to(np.arange(1, 5) / 2.0, (3, 4)))
    kept = {**json.loads(found.attrs["configuration"]), "method": Proximal(beta=2.0)}
    assert sweep(**kept).identical(found)
    with pytest.raises(InvalidArgument, match="holds another sweep: method is "):
        sweep(out=tmp_path / "store", **{**given, "method": Proximal(beta=2.5)})


def test_a_method_that_begins_at_random_begins_anew_for_every_seed():
    short = {name: value for name, value in SMALL.items() if name != "beta"}
    first = sweep(method=Lazy(random=True), variables="tv", **short).tv.isel(iteration=0)
    assert len(set(first.values.tolist())) == 3


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"method": Lazy(), "beta": 1.0}, "beta = .*does not apply to the method Lazy"),
        ({"method": Lazy(), "loss": "ipo"}, "loss = .*does not apply to the method Lazy"),
        ({"method": ["proximal", Lazy()], "beta": 1.0, "alpha": [0.0, 0.5]}, "alpha = .*not apply"),
        ({"method": ["proximal", Lazy()]}, "beta = .*is missing"),
        ({"method": Proximal}, "method = .*is not a method"),
        ({"method": Lazy(), "variables": "gamma"}, "gamma.*is not measured.*suboptimality, tv"),
        ({"method": Lazy(), "variables": "update_error"}, "rewards.*is not measured"),
        ({"method": Lazy(), "variables": "statistics"}, "is not defined for the method Lazy"),
        ({"method": Listing(), "samples": 10}, "samples = .*sets array sizes"),
    ],
)
def test_what_a_method_does_not_know_is_refused(settings, words):
    with pytest.raises(ValueError, match=words):
        sweep(**{"iterations": 2, "arms": 3, "seeds": 1, "progress": False, **settings})


def test_a_rule_of_its_own_leaves_no_alpha_in_the_dataset():
    found = sweep(momentum=apo.Constant(0.5), **SMALL)
    assert "alpha" not in found.coords and str(found.momentum.values) == "Constant(alpha=0.5)"
    mixed = sweep(momentum=["constant", apo.Constant(0.5)], alpha=0.5, **SMALL)
    np.testing.assert_allclose(*mixed.suboptimality, rtol=0, atol=1e-15)


def test_an_object_is_ours_by_its_name():
    by_name = sweep(loss="ipo", momentum="nesterov", **SMALL)
    by_object = sweep(loss=apo.IPO(), momentum=apo.Nesterov(), **SMALL)
    assert by_object.identical(by_name)


def test_what_prints_alike_is_numbered():
    pair = [lambda w, o, extra: (w - o - 1.0) ** 2, lambda w, o, extra: (w - o - 0.5) ** 2]
    found = sweep(loss=[*pair, squared], **SMALL).suboptimality
    assert found.loss.values.tolist() == ["<lambda>", "<lambda> #2", "squared"]
    np.testing.assert_array_equal(found.sel(loss="<lambda>"), found.sel(loss="squared"))
    assert np.abs(found[0] - found[1]).max() > 1e-6


def test_a_store_of_another_object_is_refused_by_name(tmp_path):
    given = {"loss": ["dpo", Hinge(0.5)], "momentum": Twice(), **SMALL}
    out = tmp_path / "store.zarr"
    first = sweep(out=out, **given).load()
    again = {**given, "loss": [apo.DPO(), Hinge(0.5)], "momentum": Twice()}
    assert sweep(out=out, **again).load().identical(first)
    for change, name in (
        ({"loss": ["dpo", Hinge(0.6)]}, "loss"),
        ({"loss": ["dpo", squared]}, "loss"),
        ({"momentum": "none"}, "momentum"),
        ({"ranker": apo.BestAgainstWorst(3)}, "ranker"),
        ({"geometry": "euclidean"}, "geometry"),
    ):
        with pytest.raises(InvalidArgument, match=f"holds another sweep: {name} is "):
            sweep(out=out, **{**given, **change})
    assert sweep(out=out, **given).load().identical(first)


def test_another_beta_schedule_is_another_sweep(tmp_path):
    sweep(alpha=0.5, out=tmp_path / "store", **SMALL)
    with pytest.raises(InvalidArgument, match="beta_schedule is 'constant' there and 'matched' h"):
        sweep(alpha=0.5, beta_schedule="matched", out=tmp_path / "store", **SMALL)


def test_an_object_without_an_identity_is_swept_in_memory_only(tmp_path):
    class Opaque:
        def __init__(self):
            self.function = np.vectorize(abs)  # has no content that could be told
            self.shift = iter([1.0])

        def __call__(self, winner, loser, extra):
            return (winner - loser - 1.0) ** 2

    with pytest.raises(InvalidArgument, match=r"loss = .* cannot be distinguished .* `version`"):
        sweep(loss=Opaque(), out=tmp_path / "store", **SMALL)
    assert not list(tmp_path.iterdir())


def test_a_dataset_is_rerun_once_objects_are_put_in_their_places():
    found = sweep(loss=["dpo", Hinge(0.5)], momentum="averaging", alpha=[0.0, 0.5], **SMALL)
    kept = json.loads(found.attrs["configuration"])
    with pytest.raises(InvalidArgument, match="pass the object itself"):
        sweep(**kept)
    assert sweep(**{**kept, "loss": ["dpo", Hinge(0.5)]}).identical(found)


def test_an_object_that_is_a_tuple_is_one_object():
    from typing import NamedTuple

    class Rule(NamedTuple):
        factor: float

        def init(self, tree):
            return tree

        def extrapolate(self, new, state, t):
            return jax.tree.map(lambda n, o: n + self.factor * (n - o), new, state), new

    found = sweep(momentum=Rule(0.5), **SMALL)
    np.testing.assert_allclose(
        found.suboptimality, sweep(alpha=0.5, **SMALL).suboptimality, rtol=0, atol=1e-14
    )


def test_any_alpha_has_a_matched_beta():
    rivals = {"momentum": "unrestricted", "beta_schedule": ["constant", "matched"]}
    found = sweep(alpha=[-0.3, 0.0, 1.2], **rivals, **SMALL).suboptimality
    momentum, matched = found.transpose("beta_schedule", ...)
    np.testing.assert_allclose(momentum, matched, rtol=0, atol=1e-12)
    assert np.abs(momentum[0] - momentum[2]).max() > 1e-3


def test_a_schedule_of_beta_is_fed_into_the_program_of_momentum():
    from apo_sim.sweep import _planning

    made = _planning.make_plan(
        "uniform",
        {"momentum": ["none", "constant"], "alpha": [0.0, 0.5], "beta": 5.0, "iterations": 3},
        seeds=2,
        seed=0,
        variables="tv",
    )
    assert len({shape for shape, _ in made.shapes()}) == 1
    matched = dataclasses.replace(
        made, settings={**made.settings, "beta_schedule": ("constant", "matched")}
    )
    assert {shape for shape, _ in matched.shapes()} == {shape for shape, _ in made.shapes()}
    of_units = [unit.numbers["matched"].max() for unit in matched.units()]
    assert sorted(set(of_units)) == [0.0, 1.0]


def test_precision_is_that_of_the_call():
    with jax.enable_x64(False):
        found = sweep(loss=Hinge(0.5), momentum=Twice(), **SMALL)
    assert found.suboptimality.dtype == jnp.float32 and np.isfinite(found.suboptimality).all()
