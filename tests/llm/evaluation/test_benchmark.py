import numpy as np
import pytest

from apo_sim.errors import InvalidArgument, UnknownName
from apo_sim.llm.data.prompts import Prompt
from apo_sim.llm.data.responses import Sampling
from apo_sim.llm.evaluation.benchmark import Benchmark, Scores, evaluate, marked
from apo_sim.llm.evaluation.generated_maths import GeneratedGSMSymbolic, is_answer
from apo_sim.llm.evaluation.instruction_following import InstructionFollowing
from apo_sim.llm.models import tiny

pytestmark = pytest.mark.llm


@pytest.fixture(scope="module")
def problems():
    pytest.importorskip("reasoning_gym")
    return GeneratedGSMSymbolic(6, seed=3)


def test_who_knows_the_answers_is_right_and_who_is_one_off_is_wrong(problems):
    assert len(problems.prompts) == 6
    right = [f"I think so. #### {answer}" for answer in problems.answers]
    wrong = [f"I think so. #### {float(answer) + 1}" for answer in problems.answers]
    assert marked(problems, [right])["correct"].tolist() == [[1.0] * 6]
    assert marked(problems, [wrong, right])["correct"].tolist() == [[0.0] * 6, [1.0] * 6]
    assert isinstance(problems, Benchmark)


def test_problems_follow_from_the_seed(problems):
    assert problems.prompts == GeneratedGSMSymbolic(6, seed=3).prompts
    assert problems.prompts != GeneratedGSMSymbolic(6, seed=4).prompts
    assert "seed 3" in problems.name


@pytest.mark.parametrize(
    "response",
    [
        "#### 1234",
        r"The answer is \boxed{1234}.",
        r"\boxed{1234\text{ dollars}}",
        "So she earns $1,234.00 a year.",
        "First 17, then 20. Final answer: 1234.0",
        "**1234**",
        "<think>9 or 10?</think>It is 1234.",
        "Answer: 2468/2",
    ],
)
def test_an_answer_is_read_in_the_forms_it_comes_in(response):
    pytest.importorskip("math_verify")
    assert is_answer(response, "1234")
    assert not is_answer(response, "1235")


@pytest.mark.parametrize(
    "response", ["", "I do not know.", "<think>It is 1234", "1234</think>", "12 34 is it"]
)
def test_what_says_no_such_number_is_wrong(response):
    pytest.importorskip("math_verify")
    assert not is_answer(response, "1234")


def test_loose_verdicts_forgive_what_strict_ones_do_not():
    commas = Prompt("Without commas.", ("punctuation:no_comma",), ({},))
    both = Prompt(
        "Without commas and in capitals.",
        ("punctuation:no_comma", "change_case:english_capital"),
        ({}, {}),
    )
    benchmark = InstructionFollowing([commas, both], title="two")
    found = benchmark.marks(0, "Sure, here it is:\nno commas in this line")
    assert (found["prompt_strict"], found["prompt_loose"]) == (0.0, 1.0)
    found = benchmark.marks(1, "no commas")
    assert (found["prompt_strict"], found["instruction_strict"]) == (0.0, 0.5)


def test_checkers_of_ifbench_are_there_and_ask_for_their_settings():
    numbers = Prompt("Name three.", ("count:numbers",), ({"N": 3},))
    benchmark = InstructionFollowing([numbers])
    assert benchmark.marks(0, "1, 2 and 3")["prompt_strict"] == 1.0
    assert benchmark.marks(0, "1 and 2")["prompt_strict"] == 0.0
    with pytest.raises(InvalidArgument, match="lacks N of count:numbers"):
        InstructionFollowing([Prompt("Name some.", ("count:numbers",), ({},))])
    with pytest.raises(InvalidArgument, match="does not accept"):
        InstructionFollowing([Prompt("Name 3.", ("count:numbers",), ({"N": 3, "M": 2},))])
    with pytest.raises(UnknownName):
        InstructionFollowing([Prompt("Name 3.", ("count:nonsense",), ({},))])


@pytest.mark.parametrize(
    ("name", "settings", "said"),
    [
        ("count:numbers", {"N": -1}, "has a setting in whose place count:numbers draws another"),
        ("sentence:keyword", {"word": "", "N": 1}, "draws another"),
        # Zero is a word's place, and read as absent there.
        (
            "repeat:repeat_span",
            {"prompt_to_repeat": "a b c d", "n_start": 0, "n_end": 2},
            "draws another",
        ),
        ("count:numbers", {"N": "3"}, "cannot be used by count:numbers"),
        ("ratio:overlap", {"reference_text": 2, "percentage": 2}, "cannot be used by ratio"),
        ("sentence:keyword", {"word": 2, "N": 2}, "cannot be used by sentence:keyword"),
        ("count:words_japanese", {"N": 0}, "cannot be used by count:words_japanese"),
        ("format:list", {"sep": 2}, "cannot be used by format:list"),
    ],
)
def test_settings_that_ifbench_would_draw_by_chance_are_refused(name, settings, said):
    """Of the kind of allenai/olmo-eval #296: verdicts that differ from call to call."""
    with pytest.raises(InvalidArgument, match=rf"kwargs = .*{said}"):
        InstructionFollowing([Prompt("?", (name,), (settings,))])


def test_a_response_of_signs_alone_is_judged():
    quotes = InstructionFollowing([Prompt("Explain quotes.", ("format:quote_unquote",), ({},))])
    marks = [quotes.marks(0, text)["prompt_strict"] for text in ("---", '"', '"a" b', '"a"')]
    assert marks == [1.0, 0.0, 1.0, 0.0]


def test_what_nltk_lacks_is_said_before_responses_are_drawn(monkeypatch):
    def lacking(*args, **options):
        raise LookupError("Resource punkt not found.")

    monkeypatch.setattr("nltk.word_tokenize", lacking)
    prompt = Prompt("?", ("words:keywords_specific_position",), ({"keyword": "a", "n": 9, "m": 1},))
    with pytest.raises(InvalidArgument, match="need NLTK data that are not installed"):
        InstructionFollowing([prompt])


def test_a_model_answers_and_the_same_seed_answers_the_same():
    class Short:
        name, prompts = "short", [Prompt("red blue"), Prompt("red"), Prompt("blue")]

        def marks(self, number, response):
            return {"letters": min(len(response), 40) / 40}

    sampling = Sampling(max_tokens=6, max_prompt=8, batch=2)
    model = tiny.model(num_layers=1)
    first, again, other = (
        evaluate(model, Short(), sampling, seeds=2, seed=seed, progress=False).metrics["letters"]
        for seed in (0, 0, 1)
    )
    assert first.shape == (2, 3) and (first == again).all() and (first != other).any()
    assert (first[0] != first[1]).any()


def test_scores_come_back_from_their_file(tmp_path):
    scores = Scores("one", {"correct": np.array([[1.0, 0.0], [0.5, 1.0]])})
    scores.write(tmp_path / "scores.json")
    again = Scores.read(tmp_path / "scores.json")
    assert (
        again.benchmark == "one" and (again.metrics["correct"] == scores.metrics["correct"]).all()
    )


@pytest.mark.parametrize(
    "marks", ["[1]", "[[]]", "[[2.0]]", "[[NaN]]", "[[null]]", "[[1], [1, 0]]", "[" * 100_000]
)
def test_a_file_of_other_numbers_than_marks_holds_no_scores(tmp_path, marks):
    file = tmp_path / "scores.json"
    file.write_text(f'{{"benchmark": "one", "metrics": {{"correct": {marks}}}}}')
    with pytest.raises(InvalidArgument, match="holds no scores"):
        Scores.read(file)
    file.write_text('{"benchmark": "one", "metrics": {"a": [[1, 0]], "b": [[1]]}}')
    with pytest.raises(InvalidArgument, match="holds no scores"):
        Scores.read(file)


@pytest.mark.parametrize("place", ["missing/scores.json", "."])
def test_a_place_that_takes_no_scores_is_named(tmp_path, place):
    with pytest.raises(InvalidArgument, match=r"path = .* cannot be written \("):
        Scores("one", {"correct": np.ones((1, 3))}).write(tmp_path / place)


def test_what_does_not_pair_is_not_compared():
    scores = Scores("one", {"correct": np.ones((1, 3))})
    with pytest.raises(InvalidArgument, match="is not one"):
        scores.less(Scores("two", {"correct": np.ones((1, 3))}))
    with pytest.raises(InvalidArgument, match="does not pair"):
        scores.less(Scores("one", {"correct": np.ones((2, 3))}))


def test_equal_marks_leave_open_what_so_few_prompts_cannot_tell():
    scores = Scores("one", {"correct": np.ones((1, 10))})
    (level,), (difference,) = scores.rows(), scores.less(scores)
    assert level.estimate.low == pytest.approx(0.025**0.1) and level.estimate.high == 1.0
    assert difference.estimate.high == pytest.approx(1 - 0.025**0.1)


@pytest.mark.parametrize("marks", [{}, {"correct": 2.0}, {"correct": "yes"}, 1.0])
def test_marks_that_are_none_are_refused(marks):
    class Broken:
        name, prompts = "broken", [Prompt("red")]

        def marks(self, number, response):
            return marks

    with pytest.raises(InvalidArgument, match="marks"):
        marked(Broken(), [["blue"]])
