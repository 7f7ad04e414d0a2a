"""Modules of the user's: what they declare is judged and shown, and what is wrong is said."""

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from command import run

from apo_sim import cli
from apo_sim.claims import registry

IMPORTS = "from apo_sim.claims import Scope, claim, judge\n"
CALL = 'claim(id="{id}", title="Mine", source="{source}", statement="1 < 2."{more})'
BODY = "\ndef check(study):\n    return judge.upper_bound(1.0, 0.0 if study.wrong else 2.0)\n"


def declared(id="own-one", source="ours", more=', control="the bound"'):
    return IMPORTS + "@" + CALL.format(id=id, source=source, more=more) + BODY


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty working directory; what is imported from it is forgotten."""
    before, ids = set(sys.modules), set(registry.names())
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    for name in set(sys.modules) - before:
        if str(tmp_path) in str(getattr(sys.modules[name], "__spec__", "")):
            del sys.modules[name]
    for id in set(registry.names()) - ids:
        registry.forget(id)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        # Run-time type checks, under which tests run, leave out the names of functions.
        (declared(more=""), "argument: 'control' (own_wrong.py:2)"),
        (declared(more=', control="c", scope=Scope("always", "x")'),
         "UnknownName: quantifier = 'always' is unknown; known: for all"),
        (declared(source="me"), "UnknownName: source = 'me' is unknown; known: paper, reviews, "
         "ours (own_wrong.py:2)"),
        (declared(id="N2"), "InvalidArgument: id = 'N2' is already used by apo_sim.claims.n2"),
        (declared(more=', control="c", scope=Scope("for all", "x", T=10)'),
         "got an unexpected keyword argument 'T' (own_wrong.py:2)"),
        ("import jax.numpy as jnp\n\njnp.ones(3) + jnp.ones(4)\n",
         "TypeError: add got incompatible shapes for broadcasting: (3,), (4,). (own_wrong.py:3)"),
        ("def half():\n    return 1 / 0\n\nhalf()\n",
         "ZeroDivisionError: division by zero (own_wrong.py:4)"),
        ("import own_helper\n", "ValueError: helpless (own_helper.py:2)"),
        ("x = 1\ndef check(:\n", "SyntaxError: invalid syntax (own_wrong.py, line 2)"),
        ("def check():\nx = 1\n", "IndentationError: expected an indented block"),
        ("x = 1\0\n", "SyntaxError: source code string cannot contain null bytes"),
        ("import no_such_module_here\n",
         "ModuleNotFoundError: No module named 'no_such_module_here' (own_wrong.py:1)"),
        ("from own_wrong import check\n", "ImportError: cannot import name 'check'"),
        ("from . import check\n",
         "ImportError: attempted relative import with no known parent package (own_wrong.py:1)"),
        ("import sys\nsys.exit(0)\n", "SystemExit: 0 (own_wrong.py:2)"),
        ("class Stop(BaseException): ...\nraise Stop\n", "imported: Stop (own_wrong.py:2)"),
        ("raise ValueError('one\\n\\n  two')\n", "ValueError: one two (own_wrong.py:1)"),
        ("raise ValueError('x' * 9000)\n", f"ValueError: {'x' * 397}... (own_wrong.py:1)"),
    ],
    ids=lambda text: text.splitlines()[-1][:24],
)  # fmt: skip
@pytest.mark.parametrize("command", [["validate"], ["show", "own-one"], ["claims"]])
def test_a_module_that_cannot_be_imported_is_refused_in_its_own_words(
    capsys, folder, command, text, said
):
    (folder / "own_wrong.py").write_text(text)
    (folder / "own_helper.py").write_text("\nraise ValueError('helpless')\n")
    status, out, err = run(capsys, *command, "--module", "own_wrong")
    assert (status, out) == (cli.USAGE, "")
    assert err.startswith("apo-sim: module = 'own_wrong' names a module that cannot be imported: ")
    assert said in err and "does not exist" not in err
    assert err.count("\n") == 1 and not (folder / "results").exists()


@pytest.mark.parametrize(
    "name", ["own_mine.py", "./own_mine", "folder/own_mine", "a..b", ".", ".own_mine", "own_mine.b"]
)
def test_what_is_no_name_of_a_module_is_said_not_to_exist(capsys, folder, name):
    (folder / "own_mine.py").write_text(declared())
    (folder / "folder").mkdir()
    (folder / "folder/own_mine.py").write_text(declared())
    status, _, err = run(capsys, "claims", "--module", name)
    assert status == cli.USAGE
    assert err == (
        f"apo-sim: module = {name!r} names a module that does not exist; pass the name of a "
        "module, such as my_claims for the file my_claims.py\n"
    )


def test_ctrl_c_during_an_import_is_an_interruption(capsys, folder):
    (folder / "own_interrupted.py").write_text("raise KeyboardInterrupt\n")
    status, _, err = run(capsys, "claims", "--module", "own_interrupted")
    assert (status, err) == (cli.INTERRUPTED, "")


def test_the_claims_of_a_package_are_those_of_the_modules_it_imports(capsys, folder):
    for name, text in (("own_package", "from own_package import inner\n"), ("own_bare", "")):
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text(text)
        (folder / name / "inner.py").write_text(declared(id=f"{name}-claim"))
    status, out, _ = run(capsys, "claims", "--module", "own_package")
    assert status == cli.DONE and [line.split()[0] for line in out.splitlines()] == [
        "id",
        "own_package-claim",
    ]
    status, _, err = run(capsys, "claims", "--module", "own_bare")
    assert status == cli.USAGE and "pass one of its modules, such as own_bare.my_claims" in err
    status, out, _ = run(capsys, "claims", "--module", "own_bare.inner", "--json")
    assert [claim["id"] for claim in json.loads(out)] == ["own_bare-claim"]


def test_a_claim_without_its_module_is_shown_as_its_verdict_has_it(capsys, folder):
    (folder / "own_mine.py").write_text(declared())
    assert run(capsys, "validate", "--module", "own_mine", "--jobs", 1)[0] == cli.DONE
    with_module = run(capsys, "show", "own-one", "--module", "own_mine", "--json")[1]
    registry.forget("own-one")
    status, out, _ = run(capsys, "show", "own-one")
    assert status == cli.DONE and "1 < 2." in out and "the bound: fails" in out
    assert json.loads(run(capsys, "show", "own-one", "--json")[1]) == json.loads(with_module)


@pytest.mark.parametrize("command", [["show"], ["validate", "--claim"]])
def test_an_unknown_claim_may_be_ones_own(capsys, folder, command):
    status, _, err = run(capsys, *command, "own-one")
    assert status == cli.USAGE
    assert "claim = 'own-one' is unknown" in err and "add --module NAME" in err
    (folder / "own_mine.py").write_text(declared(id="own-two"))
    _, _, err = run(capsys, *command, "own-one", "--module", "own_mine")
    assert "did you mean 'own-two'?" in err and "--module NAME" not in err


def test_show_says_where_the_verdict_of_the_reference_run_is(capsys, folder):
    (folder / "own_mine.py").write_text(declared())
    run(capsys, "validate", "--module", "own_mine", "--jobs", 1)
    _, out, _ = run(capsys, "show", "own-one", "--out", "elsewhere")
    assert (
        "elsewhere yet. Run: apo-sim validate --module own_mine" in out and "reference" not in out
    )
    (folder / "experiments").mkdir()
    (folder / "results").rename(folder / "experiments/reference")
    _, out, _ = run(capsys, "show", "own-one", "--out", "elsewhere")
    assert "apo-sim show own-one --out experiments/reference" in out


def test_a_check_that_leaves_the_program_is_broken(capsys, folder):
    (folder / "own_leaving.py").write_text(
        declared().replace("    return", "    raise SystemExit(0)\n    return")
    )
    for jobs in (1, 2):
        status, out, _ = run(capsys, "validate", "--module", "own_leaving", "--jobs", jobs)
        assert status == cli.UNSOUND and "own-one is broken: SystemExit: 0" in out
