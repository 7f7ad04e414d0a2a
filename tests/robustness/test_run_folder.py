"""A run's folder: whatever is damaged there is found, and what is computed again is the same."""

import random
import shutil
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_run import LAST, STEPS, model, run

from apo_sim import InvalidArgument
from apo_sim.llm import Model, stages
from apo_sim.llm.models import stored_parameters
from apo_sim.llm.training.parameter_momentum import Extrapolator
from apo_sim.llm.training.step import ProximalTrainer

# One worker for all: they share what is compiled.
pytestmark = [
    pytest.mark.llm,
    pytest.mark.xdist_group("run"),
    pytest.mark.filterwarnings("ignore::apo_sim.llm.stages.StageLost"),
]


class Killed(BaseException):
    """The process ends here: nothing of ours is done any more."""


@pytest.fixture(scope="module")
def halfway(tmp_path_factory, finished):
    """The folder of the same run, killed within the second proximal step."""
    folder = tmp_path_factory.mktemp("halfway") / "run"
    advance, left = ProximalTrainer._advance, [STEPS + LAST]

    def counted(self: Any, *arguments: Any) -> Any:
        left[0] -= 1
        if left[0] == 0:
            raise Killed
        return advance(self, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ProximalTrainer, "_advance", counted)
        with pytest.raises(Killed):
            run(folder)
    assert (folder / "iteration-2/step/log.json").is_file()
    return folder, finished[1]


def flip(file: Path, chance: random.Random) -> None:
    content = bytearray(file.read_bytes())
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    file.write_bytes(content)


def truncate(file: Path, chance: random.Random) -> None:
    content = file.read_bytes()
    file.write_bytes(content[: chance.randrange(len(content))])


def overwrite(file: Path, chance: random.Random) -> None:
    file.write_bytes(chance.randbytes(file.stat().st_size))


def empty(file: Path, chance: random.Random) -> None:
    file.write_bytes(b"")


def delete(file: Path, chance: random.Random) -> None:
    file.unlink()


DAMAGES = (flip, flip, truncate, overwrite, empty, delete)


def ending(folder: Path, expected: Any) -> str:
    """How the run in a damaged folder ends: the same, or refused in words of ours."""
    try:
        assert run(folder) == expected
    except InvalidArgument as error:
        assert "run.json" in str(error) or "holds something else" in str(error), error
        return "named"
    assert run(folder) == expected  # and the folder is mended
    return "same"


def tried(folder: Path, expected: Any, work: Path, files: list[Path], chance: Any) -> list[str]:
    """Damage one file after the other, each in a copy of its own."""
    found = []
    for file in files:
        shutil.copytree(folder, work / "copy")
        chance.choice(DAMAGES)(work / "copy" / file, chance)
        found.append(ending(work / "copy", expected))
        shutil.rmtree(work / "copy")
    return found


def files_of(folder: Path) -> list[Path]:
    return sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("kind", ["finished", "halfway"])
def test_damaged_files_are_computed_again(kind, request, tmp_path):
    folder, expected = request.getfixturevalue(kind)
    shutil.copytree(folder, tmp_path / "run")
    files = files_of(folder)[::-1]
    # One of each kind, at once.
    for name, damage in (
        ("seal.json", overwrite),
        ("log.json", flip),
        ("judged.json", truncate),
        ("log.npy", delete),
        ("responses.jsonl", empty),
        ("results.json", flip),
        ("manifest.ocdbt", flip),
    ):
        damage(tmp_path / "run" / next(f for f in files if f.name == name), random.Random(0))
    assert run(tmp_path / "run") == expected


@pytest.mark.parametrize("damage", [flip, truncate, overwrite, empty, delete])
def test_what_says_what_the_folder_is_of_cannot_be_computed_again(finished, tmp_path, damage):
    shutil.copytree(finished[0], tmp_path / "run")
    damage(tmp_path / "run/run.json", random.Random(0))
    with pytest.raises(InvalidArgument, match=r"is damaged: run.json|holds something else"):
        run(tmp_path / "run")


def test_a_run_resumed_on_another_day_goes_on_with_its_own_date(tmp_path, monkeypatch):
    """Templates such as Llama 3.2's write the date into every prompt."""

    def begun(day: int, folder: str) -> dict[str, Any]:
        monkeypatch.setattr(time, "time", lambda: 86_400.0 * day)
        dated = model()
        dated.tokenizer.template = "w{{ strftime_now('%d') | int }} {{ messages[0].content }}"
        return run(tmp_path / folder, model=dated)

    advance = ProximalTrainer._advance

    def killed(self: Any, *arguments: Any) -> Any:
        if (tmp_path / "run/iteration-1/hat").exists():
            raise Killed
        return advance(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(ProximalTrainer, "_advance", killed)
        with pytest.raises(Killed):
            begun(2, "run")
    shutil.rmtree(tmp_path / "run/iteration-2")  # its responses are still to be drawn
    expected = begun(2, "whole")
    assert begun(9, "run") == expected
    assert begun(9, "other") != expected


@pytest.mark.long
@pytest.mark.parametrize("kind", ["finished", "halfway"])
def test_every_file_may_be_damaged(kind, request, tmp_path):
    folder, expected = request.getfixturevalue(kind)
    files = files_of(folder) + [Path("run.json"), Path("results.json")] * 2
    found = tried(folder, expected, tmp_path, files, random.Random(1))
    print(f"{kind}: {len(found)} damages, {found.count('named')} named, the others the same bits")
    assert len(found) > 50


@pytest.mark.long
def test_every_folder_may_be_deleted_or_be_a_file(finished, tmp_path):
    folder, expected = finished
    for place in sorted(path for path in folder.rglob("*") if path.is_dir()):
        for becomes in ("nothing", "a file"):
            copy = tmp_path / "copy"
            shutil.copytree(folder, copy)
            lost = copy / place.relative_to(folder)
            shutil.rmtree(lost)
            if becomes == "a file":
                lost.write_text("not a folder")
            try:
                assert run(copy) == expected, lost
            except InvalidArgument as error:  # only we make those folders
                assert becomes == "a file" and "cannot be written" in str(error), (lost, error)
            shutil.rmtree(copy)


@pytest.mark.parametrize("lost", ["judged-hat", "judged-hat-drawn", "hat", "judged-centre"])
def test_what_an_earlier_iteration_lost_is_computed_from_its_own_policy(finished, tmp_path, lost):
    folder, expected = finished
    shutil.copytree(folder, tmp_path / "run")
    for name in {lost, lost.removesuffix("-drawn")}:
        shutil.rmtree(tmp_path / "run/iteration-1" / name)
    before = files_of(tmp_path / "run")
    assert run(tmp_path / "run") == expected
    assert set(files_of(tmp_path / "run")) > set(before)
    # Control: from the policy of the last iteration it would be another row.
    rows = {row["policy"]: row for row in expected["rows"]}
    assert rows["pi_hat_1"]["figures"]["kl"] != rows["pi_hat_2"]["figures"]["kl"]


@pytest.mark.long
def test_a_ranker_that_changed_its_mind_leaves_no_stale_stage(tmp_path):
    """What follows from a stage that came out differently is computed again, too."""

    class Moody:
        version = "says something else each time"
        sign = 1.0

        def scores(self, prompt, responses):
            return np.array([Moody.sign * len(response) for response in responses])

    changes: dict[str, Any] = {"ranker": Moody(), "held_out": None}
    run(tmp_path / "run", **changes)
    Moody.sign = -1.0
    fresh = run(tmp_path / "fresh", **changes)
    for name in ("hat", "pairs"):
        shutil.rmtree(tmp_path / "run/iteration-1" / name)
    found = run(tmp_path / "run", **changes)
    assert found["policies"] == fresh["policies"] and found["steps"] == fresh["steps"]


def test_damage_is_told(finished, tmp_path):
    shutil.copytree(finished[0], tmp_path / "run")
    (tmp_path / "run/iteration-2/judged-hat/judged.json").write_text("{}")
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        assert run(tmp_path / "run") == finished[1]
    said = [str(entry.message) for entry in told if entry.category is stages.StageLost]
    assert len(said) == 1
    assert "iteration-2/judged-hat: judged.json is not as it was written" in said[0]


def test_all_weights_count(finished):
    """NVIDIA-NeMo/RL #415: another model under the old name."""
    other = model()
    name, leaf = next((n, x) for n, x in stored_parameters.named(other.network) if "q_proj" in n)
    leaf.set_value(leaf.get_value().at[0, 0, 0].add(1e-3))
    with pytest.raises(InvalidArgument, match=r"holds another run: model is 'tiny, \w+' there"):
        run(finished[0], model=other)
    assert stored_parameters.digest(other.network) != stored_parameters.digest(model().network), (
        name
    )


def changed(**parts: Any) -> Model:
    found = model()
    for name, value in parts.items():
        setattr(found.tokenizer, name, value)
    return found


def test_the_tokenizer_and_the_template_count(finished):
    template = "{{ messages[0]['content'] }} w1"
    for other in (changed(template=template), changed(padding=5), changed(begin=3)):
        with pytest.raises(InvalidArgument, match="holds another run: tokenizer is"):
            run(finished[0], model=other)


def test_the_environment_counts(finished, monkeypatch):
    monkeypatch.setattr("apo_sim.llm.training._run_file.environment", lambda: {"jax": "0.1"})
    with pytest.raises(InvalidArgument, match=r"holds another run: jax is .* there and '0.1' here"):
        run(finished[0])


def test_momentum_is_walked_again_whatever_it_remembers(tmp_path, monkeypatch):
    """Averaging remembers a centre and a mean: both follow from the policies that are kept."""
    import apo_sim as apo

    rule, extrapolate, calls = apo.Averaging(0.5), Extrapolator.extrapolate, []
    changes: dict[str, Any] = {"momentum": rule, "iterations": 3, "beta": 1.0, "held_out": None}
    expected = run(tmp_path / "whole", **changes)

    def killed(self: Any, network: Any, t: int) -> None:
        calls.append(t)
        if calls == [1, 2]:
            raise Killed
        extrapolate(self, network, t)

    monkeypatch.setattr(Extrapolator, "extrapolate", killed)
    with pytest.raises(Killed):
        run(tmp_path / "run", **changes)
    assert run(tmp_path / "run", **changes) == expected
    assert calls == [1, 2, 1, 2]
