"""Figures of a policy: known answers, and what each must not see."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apo_sim.llm.data.prompts import Prompt
from apo_sim.llm.evaluation.held_out import (
    Judged,
    length_controlled,
    summary,
    win,
)

pytestmark = pytest.mark.llm


def judged(texts, scores, ratio=None):
    ratio = [0.0] * len(texts) if ratio is None else ratio
    return Judged(texts, [len(t) for t in texts], scores, ratio, ratio)


def test_wins_that_length_explains_are_not_counted():
    random = np.random.default_rng(0)
    longer = random.normal(size=2_000) * 50

    def won(longer):
        chance = 1 / (1 + np.exp(-3 * np.tanh(longer / 50)))
        return (random.uniform(size=2_000) < chance).astype(float)

    by_length = won(longer)
    assert abs(length_controlled(by_length, longer).value - 0.5) < 0.03
    # Longer responses that win because they are longer: the plain rate sees it, this one does not.
    shifted = longer + 40
    wins = won(shifted)
    assert wins.mean() > 0.65 and abs(length_controlled(wins, shifted).value - 0.5) < 0.05
    # Control: wins that have nothing to do with length stay.
    fair = (random.uniform(size=2_000) < 0.8).astype(float)
    assert abs(length_controlled(fair, shifted).value - fair.mean()) < 0.03


@given(st.lists(st.tuples(st.floats(-5, 5), st.floats(-5, 5)), min_size=1, max_size=20))
def test_a_win_is_the_others_loss(scores):
    one, other = np.array(scores).T
    assert np.array_equal(win(one, other), 1.0 - win(other, one))
    assert np.all(win(one, one) == 0.5)


def test_instructions_are_counted_by_prompt_and_by_instruction():
    both = Prompt("a", ("punctuation:no_comma", "change_case:english_lowercase"), ({}, {}))
    one = Prompt("b", ("punctuation:no_comma",), ({},))
    texts = ["No commas here but capital letters", "no commas here"]
    row = summary([both, one], judged(texts, [0.5, 1.0]), judged(texts, [0.0, 1.0]))
    assert row.strict and row.strict.value == 0.5
    assert row.instructions and row.instructions.value == 0.75 == row.win_rate.value
    mixed = summary(
        [Prompt("nothing asked"), one], judged(texts, [0.0, 0.0]), judged(texts, [0.0, 0.0])
    )
    assert mixed.strict is None
