"""Names of the library's own objects: each by its name, and a user's never taken for one."""

import dataclasses

import jax.numpy as jnp
import pytest

import apo_sim as apo
from apo_sim import registry
from apo_sim.errors import InvalidArgument, UnknownName
from apo_sim.registry import FAMILIES, GEOMETRIES, LOSSES, METHODS, MOMENTA, RANKERS
from apo_sim.registry.choice import label_of

ALL = (METHODS, LOSSES, MOMENTA, RANKERS, GEOMETRIES, FAMILIES)


def dpo(winner, loser, extra):
    return (winner - loser) ** 2


@pytest.mark.parametrize("names", ALL, ids=lambda names: names.argument)
def test_a_name_is_its_object_and_the_object_its_name(names):
    for name in names:
        by_name = names.chosen(name)
        assert (by_name.identity, by_name.label) == (name, name)
        if not isinstance(names[name], type) and not registry.takes_alpha(by_name):
            assert names.chosen(names[name]) == by_name
    with pytest.raises(UnknownName, match=names.argument):
        names.chosen("nothing at all")


@pytest.mark.parametrize("names", ALL, ids=lambda names: names.argument)
def test_what_is_no_object_of_the_kind_is_refused_with_the_names(names):
    for value in (3, None, b"dpo", type(apo.DPO())):
        with pytest.raises(InvalidArgument, match=f"{names.argument} = .*{next(iter(names))}"):
            names.chosen(value)


def test_every_rule_of_alpha_has_the_alpha_that_it_is_given():
    rules = [MOMENTA.chosen(name) for name in MOMENTA]
    made = {rule.label: registry.rule_of(rule, 0.25) for rule in rules}
    assert made["constant"] == apo.Constant(0.25) and made["averaging"] == apo.Averaging(0.25)
    assert made["unrestricted"] == apo.Constant(0.25, unrestricted=True)
    assert made["from_behaviour"] == apo.FromBehaviour(0.25)
    assert made["none"] == apo.NoMomentum() and made["nesterov"] == apo.Nesterov()
    own = MOMENTA.chosen(apo.Constant(0.5))
    assert registry.rule_of(own, 0.25) == apo.Constant(0.5)


def test_numbers_count_by_value_and_settings_by_content():
    assert LOSSES.chosen(apo.IPO(1)) == LOSSES.chosen(apo.IPO(jnp.array(1.0)))
    half, other = LOSSES.chosen(apo.IPO(0.5)), LOSSES.chosen(apo.IPO(0.25))
    assert half == LOSSES.chosen(apo.IPO(0.5)) and half != other
    assert RANKERS.chosen(apo.BestAgainstWorst(5)).label == "best_against_worst"
    assert GEOMETRIES.chosen(apo.Euclidean(lazy=False)).label == "euclidean_agile"


def test_a_users_function_is_never_called_by_a_name_of_ours():
    chosen = LOSSES.chosen(dpo)
    assert chosen.label == "dpo #2" and chosen != LOSSES.chosen("dpo")
    assert chosen == LOSSES.chosen(dpo) and chosen.refusal is None


def test_an_object_whose_content_cannot_be_told_is_like_no_other():
    class Opaque:
        def __call__(self, winner, loser, extra):
            return (winner - loser) ** 2

        def __reduce_ex__(self, protocol):
            raise TypeError("not for pickling")

    one = Opaque()
    first, second = LOSSES.chosen(one), LOSSES.chosen(one)
    assert first != second and first.label == "Opaque"
    assert isinstance(first.refusal, InvalidArgument) and "version" in first.refusal.remedy


def test_the_record_of_an_object_is_not_taken_for_a_name():
    with pytest.raises(InvalidArgument, match="pass the object itself"):
        LOSSES.chosen(LOSSES.chosen(apo.IPO(0.5)).identity)


@dataclasses.dataclass(frozen=True)
class Both:
    """A class of a user's, with a field that prints long."""

    ranker: object = apo.Pairwise()
    weights: object = None
    share: float = 1 / 3


@pytest.mark.parametrize(
    ("value", "label"),
    [
        (Both(), "Both()"),
        (Both(weights=jnp.ones((3, 2)), share=0.25), "Both(weights=array(3, 2), share=0.25)"),
        (Both(apo.BestAgainstWorst(3)), "Both(ranker=BestAgainstWorst(responses=3))"),
        (Both(dpo), "Both(ranker=dpo)"),
        (Both(weights="x" * 99), f"Both(weights='{'x' * 43}..."),
        (apo.Schedule(jnp.array([0.1, 0.2])), "Schedule(alphas=array(2,))"),
        (lambda x: x, "<lambda>"),
        (object(), "object"),
    ],
)
def test_labels_are_short(value, label):
    assert label_of(value) == label and len(label) <= 60
