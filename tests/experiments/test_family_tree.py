"""The page of the family tree says what claim F1 checks, and its figure draws all of it."""

import sys
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from apo_sim.claims import f1

sys.path.insert(0, str(Path(__file__).parents[2] / "experiments"))
import family_tree

ROOT = family_tree.ROOT


def test_the_page_is_what_the_script_writes():
    written = (ROOT / "docs/family_tree.md").read_text(encoding="utf-8")
    assert written == family_tree.page(family_tree.facts())
    assert "](family_tree.svg)" in written and (ROOT / "docs/family_tree.svg").exists()


def test_every_identity_of_the_claim_is_drawn_with_its_words():
    edges = {tuple(map(family_tree.box_of, pair)) for pair in f1.IDENTITIES}
    for first, second in edges:
        assert {first, second} <= family_tree.PLACES.keys()
        assert family_tree.words_of(first, second)
    assert family_tree.APART.keys() == set(f1.DIFFERENT)
    # What the claim's own figure draws, with N12 where that is from, is here too.
    drawn = {frozenset(edge) for edge in edges} | {
        frozenset(edge[:2]) for edge in family_tree.ELSEWHERE
    }
    without = {frozenset(edge[:2]) for edge in f1.EDGES} - drawn
    assert without == {frozenset({"DPO", "ExPO"})}  # by way of APO


def test_the_figure_draws_and_a_missing_fact_stops_it():
    figure, found = Figure(), family_tree.facts()
    family_tree.draw(figure, found)
    words = {text.get_text() for text in figure.axes[0].texts}
    assert {"same $\\eta$", "≠ two steps:\n4 apart"} <= words
    with pytest.raises(KeyError, match="INPO"):
        family_tree.draw(Figure(), {})
