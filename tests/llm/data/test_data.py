"""Prompts, rankers and pairs."""

import json

import jax.numpy as jnp
import numpy as np
import pandas
import pytest

import apo_sim as apo
from apo_sim import InvalidArgument
from apo_sim.llm.data import instructions, preference_pairs, prompts, rankers
from apo_sim.llm.data.prompts import Prompt
from apo_sim.llm.training.source import PromptsLeftOut, usable

pytestmark = pytest.mark.llm

# One response that follows each instruction that is generated, and one that does not.
FOLLOWED = {
    "punctuation:no_comma": ({}, "no comma", "a, b"),
    "change_case:english_lowercase": ({}, "this is all in lower case", "This Is Not"),
    "change_case:english_capital": ({}, "THIS IS ALL IN CAPITAL LETTERS", "this is not"),
    "detectable_format:title": ({}, "<<a title>> text", "text"),
    "detectable_format:number_bullet_lists": ({"num_bullets": 2}, "* a\n* b", "* a"),
    "detectable_format:number_highlighted_sections": ({"num_highlights": 1}, "*so*", "so"),
    "startend:quotation": ({}, '"quoted"', "not quoted"),
    "startend:end_checker": ({"end_phrase": "Any questions?"}, "So. Any questions?", "So."),
    "detectable_content:postscript": ({"postscript_marker": "P.S."}, "Yes.\nP.S. no", "Yes."),
    "detectable_content:number_placeholders": ({"num_placeholders": 1}, "[name]", "name"),
    "keywords:existence": ({"keywords": ["tea"]}, "some tea", "some"),
    "keywords:forbidden_words": ({"forbidden_words": ["tea"]}, "some", "some tea"),
    "length_constraints:number_words": (
        {"relation": "at least", "num_words": 3},
        "one two three",
        "one two",
    ),
}


@pytest.mark.parametrize("name", instructions.INSTRUCTIONS)
def test_every_generated_instruction_can_be_followed_and_broken(name):
    kwargs, good, bad = FOLLOWED[name]
    prompt = Prompt("?", (name,), (kwargs,))
    assert rankers.followed(prompt, good)[0].all()
    assert not rankers.followed(prompt, bad)[0].any()
    assert not rankers.followed(prompt, "  ")[0].any()
    scores = rankers.Verifiable().scores(prompt, [good, bad, ""])
    assert scores[0] > max(scores[1:])


def test_generated_prompts_are_verifiable_different_and_come_back_from_a_file(tmp_path):
    made = instructions.generate(200, seed=3)
    assert len({prompt.text for prompt in made}) == 200
    assert all(rankers.can_verify(prompt) for prompt in made)
    assert {name for prompt in made for name in prompt.instructions} == set(
        instructions.INSTRUCTIONS
    )
    assert made == instructions.generate(200, seed=3) != instructions.generate(200, seed=4)
    file = tmp_path / "prompts.jsonl"
    file.write_text("\n".join(json.dumps(prompt.as_json()) for prompt in made))
    assert prompts.read(file) == made


def test_turns_and_plain_prompts_are_read(tmp_path):
    file = tmp_path / "prompts.jsonl"
    file.write_text('{"turns": ["first", "second"]}\n\n{"prompt": "third"}\n')
    assert [prompt.text for prompt in prompts.read(file)] == ["first", "third"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("[1]", "holds no prompt"),
        ('{"prompt": ""}', "holds no prompt"),
        ('{"prompt": "a", "instruction_id_list": ["x"], "kwargs": []}', None),
        ('{"prompt": "a", "instruction_id_list": ["x"], "kwargs": [{}, {}]}', "has 2 entries"),
        ("{", "is not JSON"),
    ],
)
def test_lines_that_are_no_prompts_are_named(tmp_path, line, said):
    file = tmp_path / "prompts.jsonl"
    file.write_text(line)
    if said is None:
        assert prompts.read(file)[0].kwargs == ({},)
        return
    with pytest.raises(InvalidArgument, match=said) as caught:
        prompts.read(file)
    assert "line 1" in str(caught.value)


@pytest.mark.parametrize(
    "given",
    [{"prompt": ["a", "b"]}, pandas.DataFrame({"prompt": ["a"]}), {"a", "b"}, {"a": 1}.keys()],
)
def test_what_would_give_other_texts_or_another_order_is_no_list_of_prompts(given):
    with pytest.raises(InvalidArgument, match=r"prompts = .* are not prompts; pass a JSONL file"):
        prompts.as_prompts("prompts", given)
    # Control: what has its texts in order is one, whatever its class.
    for texts in (("a", "b"), pandas.Series(["a", "b"]), np.array(["a", "b"]), iter("ab")):
        assert [prompt.text for prompt in prompts.as_prompts("prompts", texts)] == ["a", "b"]


def test_a_folder_is_no_file_of_prompts(tmp_path):
    with pytest.raises(InvalidArgument, match=r"is not a file; pass a JSONL file"):
        prompts.read(tmp_path)


def test_rankers_that_misbehave_are_named():
    prompt = Prompt("?")
    with pytest.raises(InvalidArgument, match="2 finite numbers"):
        rankers.RewardModel(lambda p, r: [1.0]).scores(prompt, ["a", "b"])
    with pytest.raises(InvalidArgument, match="2 finite numbers"):
        rankers.RewardModel(lambda p, r: [1.0, float("nan")]).scores(prompt, ["a", "b"])
    with pytest.raises(InvalidArgument, match="no verifiable instructions"):
        rankers.Verifiable().scores(prompt, ["a"])
    with pytest.raises(InvalidArgument, match="is unknown"):
        rankers.verifiable(Prompt("?", ("punctuation:no_coma",), ({},)))
    with pytest.raises(InvalidArgument, match="is unknown"):
        rankers.named("lenght")


def test_pairs_follow_bradley_and_terry():
    rule, scores = preference_pairs.BradleyTerry(20_000, scale=2.0), np.array([1.0, 0.0])
    found = np.array(rule(scores, np.random.default_rng(0)))
    chance = 1 / (1 + np.exp(-0.5))
    share = (found[:, 0] == 0).mean()
    assert abs(share - chance) < 4 * np.sqrt(chance * (1 - chance) / 20_000)


def test_top_against_bottom_says_nothing_of_ties():
    rule = preference_pairs.TopAgainstBottom()
    assert rule(np.array([1.0, 1.0, 1.0]), np.random.default_rng(0)) == []
    assert rule(np.array([1.0, 3.0, 2.0]), np.random.default_rng(0)) == [(1, 0)]


def test_the_normaliser_is_that_of_a_bandit_whose_arms_are_the_responses():
    scores, beta = np.array([0.3, -0.5, 1.0]), 0.7
    bandit = apo.Bandit(jnp.asarray(scores)[None], jnp.log(jnp.full((1, 3), 1 / 3)))
    win_rate = bandit.win_rate(bandit.log_ref)[0]
    expected = beta * np.log(np.mean(np.exp(win_rate / beta)))
    assert abs(preference_pairs.log_normalizer(scores, beta) - expected) < 1e-12


def test_identical_responses_make_no_pair():
    made = preference_pairs.preferences(
        (1,),
        [(2,), (2,)],
        np.array([0.0, 1.0]),
        preference_pairs.TopAgainstBottom(),
        np.random.default_rng(0),
        1.0,
    )
    assert made == []


def test_prompts_that_cannot_be_used_are_counted():
    class Choosy(rankers.Length):
        def accepts(self, prompt):
            return "x" not in prompt.text

    given = [Prompt(text) for text in ("a", "a b c", "x", "b", "x y z")]

    def fits(text):
        return len(text) < 5

    with pytest.warns(PromptsLeftOut, match="of 5, 2 cannot be ranked and 1 are longer than"):
        found = usable("prompts", given, fits, Choosy())
    assert [prompt.text for prompt in found] == ["a", "b"]
    assert usable("prompts", found, fits, Choosy()) == found  # and says nothing
    with pytest.raises(InvalidArgument, match="are all too long, or cannot be ranked"):
        usable("prompts", given[1:3], fits, Choosy())
