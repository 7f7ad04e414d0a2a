"""`apo-sim llm`, on a tiny model that is saved as any other."""

import json

import pytest

from apo_sim import cli
from apo_sim.llm.models import loading, tiny

pytestmark = pytest.mark.llm


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    """The command asks for double precision by a variable that other tests must not inherit."""
    monkeypatch.setenv("JAX_ENABLE_X64", "1")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("command")
    loading.save(tiny.model(num_layers=1), place / "model")
    lines = [json.dumps({"prompt": f"w{number} w{number + 1}"}) for number in range(8)]
    (place / "prompts.jsonl").write_text("\n".join(lines))
    (place / "more.jsonl").write_text("\n".join([*lines, '{"prompt": "w1 w1 w1 w1 w1"}']))
    return place


def arguments(folder, out, *more):
    prompts = str(folder / "prompts.jsonl")
    sizes = ("--max-tokens", "6", "--max-prompt", "4", "--sample-batch", "20", "--batch", "4")
    named = ("--model", str(folder / "model"), "--prompts", prompts, "--held-out", prompts)
    return ["llm", "--out", str(out), *named, *sizes, "--ranker", "length", *more]


@pytest.mark.filterwarnings("default::apo_sim.llm.PromptsLeftOut")
def test_it_prints_a_row_for_every_policy_and_goes_on(folder, tmp_path, capsys):
    command = arguments(
        folder, tmp_path / "run", "--beta", "0.1", "1", "--learning-rate", "1e-3",
        "--save", str(tmp_path / "saved"),
    )  # fmt: skip
    assert cli.main([*command, "--prompts", str(folder / "more.jsonl")]) == 0
    shown, said = capsys.readouterr()
    assert "apo-sim: prompts: of 9, 0 cannot be ranked and 1 are longer than max_prompt" in said
    assert "test_command.py" not in said and "PromptsLeftOut" not in said
    for policy in ("reference", "pi_hat_1", "pi_1", "pi_hat_2"):
        assert policy in shown
    assert (tmp_path / "run/policies.svg").is_file()
    assert loading.load(tmp_path / "saved").parameters == tiny.model(num_layers=1).parameters
    before = (tmp_path / "run/results.json").read_text()
    assert cli.main(command) == 0  # nothing is left to do
    assert (tmp_path / "run/results.json").read_text() == before
    assert cli.main([*command, "--alpha", "0.5"]) == 2
    assert "holds another run: momentum" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--loss", "dop"), "did you mean 'dpo'"),
        (("--ranker", "lenght"), "did you mean 'length'"),
        (("--beta", "0"), "must be positive"),
        (("--prompts", "none.jsonl"), "does not exist"),
        (("--model", "none"), "pass 'smollm2'"),
        (("--dtype", "float16"), "is unknown"),
        (("--max-tokens", "9999"), "exceed the context"),
        (("--fsdp", "64"), "ask for fewer shards"),
        (("--ranker", "verifiable"), "cannot be ranked"),
        (("--seed", "-1"), "seed = -1 is not a valid seed"),
        (("--iterations", "0"), "iterations = 0"),
        (("--alpha", "nan"), "alpha = nan"),
        (("--out", "s3://bucket/run"), "out = 's3:/bucket/run' is an address"),
        (("--save", __file__), "save = "),
        (("--save", "/dev/null/model"), "save = '/dev/null"),
        (("--distributed",), "JAX_COORDINATOR_ADDRESS = None is not set, and no cluster"),
        (("--learning-rate", "1e30", "--beta", "1"), "diverges in iteration 1"),
    ],
)
def test_bad_usage_is_named(folder, tmp_path, capsys, more, said):
    assert cli.main(arguments(folder, tmp_path / "run", *more)) in (1, 2)
    assert said in capsys.readouterr().err
