"""Options and their help."""

import importlib
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from command import run

from apo_sim import registry
from apo_sim.cli import options
from apo_sim.cli.options import SUBCOMMANDS


@pytest.mark.parametrize(
    ("command", "kinds"),
    [
        ("sweep", ["FAMILIES", "GEOMETRIES", "LOSSES", "MOMENTA", "RANKERS"]),
        ("advise", ["FAMILIES"]),
        ("llm", ["LOSSES"]),
    ],
)
def test_help_lists_the_names_of_the_registry(capsys, command, kinds):
    _, out, _ = run(capsys, command, "--help")
    words = set(re.findall(r"\w+", out))
    for kind in kinds:
        assert set(getattr(registry, kind)) <= words


def test_every_subcommand_has_what_does_it():
    places = {path.stem for path in Path(options.__file__).parent.glob("*.py")}
    assert places == {*(f"{name}_options" for name in SUBCOMMANDS), "__init__", "option_kinds"}
    for name in SUBCOMMANDS.keys() - {"llm"}:  # which needs an extra
        assert callable(importlib.import_module(f"apo_sim.cli.commands.{name}_command").run)


def test_the_completion_of_a_shell_knows_subcommands_and_options(capsys):
    for shell in ("bash", "zsh"):
        status, out, err = run(capsys, "completion", shell)
        assert (status, err) == (0, "") and "apo-sim" in out
        assert all(name in out for name in (*SUBCOMMANDS, "--reward-bound", "--json"))
    # Of tcsh, the parser has no script of its own.
    assert run(capsys, "completion", "dos")[0] == run(capsys, "completion", "tcsh")[0] == 2


@pytest.mark.parametrize(
    "words", [("show", "N2", "--out", ""), ("show", "N2", "--out="), ("show", "")]
)
def test_an_empty_word_is_no_path_to_where_one_stands(capsys, words):
    status, out, err = run(capsys, *words)
    assert (status, out) == (2, "") and "hold an empty value; fill it in" in err


@pytest.mark.skipif(not shutil.which("bash"), reason="no bash")
@pytest.mark.parametrize(("words", "offered"), [("sw", "sweep"), ("sweep --geo", "--geometry")])
def test_bash_completes(capsys, words, offered):
    _, script, _ = run(capsys, "completion", "bash")
    given = f"COMP_WORDS=(apo-sim {words}); COMP_CWORD={len(words.split())}"
    function = re.findall(r"^complete .*-F (\S+)", script, re.M)[-1]
    program = f"{script}\n{given}; {function}; echo ${{COMPREPLY[@]}}"
    done = subprocess.run(["bash", "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [offered]
