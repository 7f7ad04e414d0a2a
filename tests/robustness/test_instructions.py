"""Prompts and their instructions as they come: one verdict for one response, and whole lines."""

import json
from pathlib import Path

import pytest

from apo_sim import InvalidArgument

pytest.importorskip("tunix")

from apo_sim.llm.data import instructions, prompts
from apo_sim.llm.data._instruction_settings import SETTINGS
from apo_sim.llm.data._verifiers import registry
from apo_sim.llm.data.prompts import Prompt
from apo_sim.llm.data.rankers import Verifiable, followed
from apo_sim.llm.evaluation.held_out import Judged, summary

pytestmark = pytest.mark.llm

# What every instruction takes, and responses that follow it and that do not.
WORDS = "one two three four"
EXAMPLES = {
    "keywords:existence": ({"keywords": ["C++", "tea"]}, "Tea and c++", "tea and C"),
    "keywords:frequency": (
        {"keyword": "a.b", "frequency": 2, "relation": "at least"},
        "a.b or A.B",
        "a.b axb",
    ),
    "keywords:forbidden_words": ({"forbidden_words": ["C++", "a.b"]}, "C axb", "in C++ only"),
    "keywords:letter_frequency": (
        {"letter": "#", "let_frequency": 2, "let_relation": "at least"},
        "# #",
        "#",
    ),
    "language:response_language": (
        {"language": "de"},
        "Das ist ein Satz in deutscher Sprache.",
        "This is a sentence in English.",
    ),
    "length_constraints:number_paragraphs": ({"num_paragraphs": 2}, "a\n***\nb", "a"),
    "length_constraints:number_words": (
        {"num_words": 4.0, "relation": "at least"},
        WORDS,
        "one",
    ),
    "length_constraints:nth_paragraph_first_word": (
        {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "River"},
        "sea\n\nriver one",
        "river\n\nsea",
    ),
    "detectable_content:number_placeholders": ({"num_placeholders": 1}, "[name]", "name"),
    "detectable_content:postscript": ({"postscript_marker": "P.P.S."}, "So.\nP.P.S. no", "pxpys"),
    "detectable_format:number_bullet_lists": ({"num_bullets": 1}, "* a", "a"),
    "detectable_format:constrained_response": ({}, "My answer is yes.", "Yes."),
    "detectable_format:number_highlighted_sections": ({"num_highlights": 1}, "*so*", "so"),
    "detectable_format:multiple_sections": (
        {"section_spliter": "(Part)", "num_sections": 2},
        "(Part) 1\na\n(Part) 2\nb",
        "Part 1\na\nPart 2\nb",
    ),
    "detectable_format:json_format": ({}, '{"a": 1}', "a"),
    "detectable_format:title": ({}, "<<a>>", "a"),
    "combination:two_responses": ({}, "a ****** b", "a"),
    "combination:repeat_prompt": ({"prompt_to_repeat": "Say hi"}, "say hi. Hi", "Hi"),
    "startend:end_checker": ({"end_phrase": "Bye."}, "So. Bye.", "So."),
    "startend:quotation": ({}, '"a"', "a"),
    "change_case:english_capital": ({}, "ALL OF THIS IS IN CAPITAL LETTERS", "not this"),
    "change_case:english_lowercase": ({}, "all of this is in small letters", "Not This"),
    "punctuation:no_comma": ({}, "a b", "a, b"),
}
# Not here: those for which NLTK's model of sentences has to be downloaded first.
NEED_MORE = {"length_constraints:number_sentences", "change_case:capital_word_frequency"}


@pytest.fixture
def file(tmp_path, monkeypatch):
    """A path that is short enough for messages."""
    monkeypatch.chdir(tmp_path)
    return Path("prompts.jsonl")


def test_every_instruction_of_the_package_has_its_settings():
    assert set(SETTINGS) == set(registry()) == set(EXAMPLES) | NEED_MORE
    for name, wanted in SETTINGS.items():
        assert set(registry()[name](name).get_instruction_args_keys()) == set(wanted), name


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_verdict_is_the_right_one_and_always_the_same(name):
    settings, good, bad = EXAMPLES[name]
    prompt = Prompt("?", (name,), ({**settings, "unset": None},))
    assert all(followed(prompt, good)[0].all() for _ in range(5))
    assert not any(followed(prompt, bad)[0].any() for _ in range(5))


@pytest.mark.parametrize(
    ("name", "setting"), [(name, s) for name, wanted in SETTINGS.items() for s in wanted]
)
def test_what_is_missing_or_wrong_is_refused_when_the_prompts_are_read(name, setting, file):
    known = EXAMPLES.get(name, ({},))[0]
    if name in NEED_MORE:
        number, relation = SETTINGS[name]
        known = {number: 3, relation: "at least"}
    line = {"prompt": "a", "instruction_id_list": [name]}
    for value in (None, "", [], -1, 1.5, True, {"a": 1}):
        line["kwargs"] = [{**known, setting: value}]
        file.write_text('{"prompt": "b"}\n' + json.dumps(line))
        with pytest.raises(InvalidArgument, match=r"line 2 of .*prompts\.jsonl.*kwargs") as caught:
            prompts.read(file)
        assert setting in str(caught.value)


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"instruction_id_list": "punctuation:no_comma"}, "not a list of ids"),
        ({"instruction_id_list": [["punctuation:no_comma"]]}, "not a list of ids"),
        (
            {"instruction_id_list": ["punctuation:no_comma"], "kwargs": {"a": 1}},
            "not a list of settin",
        ),
        ({"instruction_id_list": ["punctuation:no_comma"], "kwargs": [3]}, "not a list of setting"),
        (
            {"instruction_id_list": ["punctuation:no_comma"], "kwargs": [{"n": 3}]},
            "'n', which punct",
        ),
        (
            {
                "instruction_id_list": ["length_constraints:nth_paragraph_first_word"],
                "kwargs": [{"num_paragraphs": 1, "nth_paragraph": 2, "first_word": "a"}],
            },
            "beyond the last",
        ),
        ({"instruction_id_list": ["length_constraints:number_words"]}, "lacks num_words"),
        (
            {
                "instruction_id_list": ["length_constraints:number_words"],
                "kwargs": [{"num_words": 3, "relation": "at most"}],
            },
            "no usable relation",
        ),
        (
            {
                "instruction_id_list": ["language:response_language"],
                "kwargs": [{"language": "en-US"}],
            },
            "no usable language",
        ),
        ({"turns": "several letters", "prompt": 7}, "holds no prompt"),
        ({"prompt": "half \ud800"}, "half of a surrogate pair"),
    ],
)
def test_lines_that_would_mean_something_else_are_refused(file, entry, said):
    file.write_text(json.dumps({"prompt": "a", **entry}))
    with pytest.raises(InvalidArgument, match=said) as caught:
        prompts.read(file)
    assert "line 1 of" in str(caught.value)


def test_settings_that_are_null_are_as_good_as_absent(file):
    line = {"prompt": "a", "instruction_id_list": ["punctuation:no_comma"] * 2}
    file.write_text(json.dumps({**line, "kwargs": [None, {"num_words": None}]}))
    assert followed(prompts.read(file)[0], "a")[0].tolist() == [True, True]


@pytest.mark.parametrize("sign", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c", "\x1e", "\r"])
def test_only_a_line_feed_ends_a_line(file, sign):
    texts = [f"First.{sign}Second.", "Another."]
    written = (json.dumps({"prompt": text}, ensure_ascii=False) for text in texts)
    file.write_bytes(b"\xef\xbb\xbf" + "\r\n\r\n".join(written).encode())
    assert [prompt.text for prompt in prompts.read(file)] == texts


@pytest.mark.parametrize(
    "content",
    [b"\xff\xfe{\x00}\x00", b"[" * 100_000, b'{"prompt": ' + b"9" * 5000 + b"}", b"\n \n"],
    ids=["UTF-16", "nested", "digits", "blank"],
)
def test_files_that_hold_no_prompts_are_named(file, content):
    file.write_bytes(content)
    with pytest.raises(InvalidArgument, match="held_out = ") as caught:
        prompts.as_prompts("held_out", file)
    assert "prompts.jsonl" in str(caught.value.value)


def test_a_response_that_is_still_thinking_follows_nothing():
    both = ("punctuation:no_comma", "change_case:english_capital")
    prompt = Prompt("?", both, ({}, {}))
    cut, empty = "<think>\nlet me think about", "<think> so </think>\n"
    again = "<think>so</think><think>or rather", "so</think>", "well <think>or", "<think>a<think>"
    for response in (cut, empty, "", " \n", *again):
        strict, loose = followed(prompt, response)
        assert strict.tolist() == loose.tolist() == [False, False]
    answer = "<think> a, b </think>THIS IS A PLAIN ANSWER IN ENGLISH"
    assert followed(prompt, answer)[0].all()
    assert Verifiable().scores(prompt, [cut, answer]).tolist() == [0.0, 1.1]
    judged = Judged([cut, answer], [3, 3], [0.0, 0.0], [0.0, 0.0], [0.0, 0.0])
    row = summary([prompt] * 2, judged, judged)
    found = row.strict, row.loose, row.instructions
    assert [one and one.value for one in found] == [0.5] * 3


def test_generated_prompts_end_where_instructions_do():
    made = instructions.generate(3, most=100)
    assert max(len(prompt.instructions) for prompt in made) > 2
    with pytest.raises(InvalidArgument, match="number = 1000000000 is more than"):
        instructions.generate(10**9)
