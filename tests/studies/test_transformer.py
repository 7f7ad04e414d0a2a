"""The study of momentum on a language model: what it says of given results, and a tiny run."""

import copy

import numpy as np
import pytest
from matplotlib.figure import Figure

from apo_sim import InvalidArgument
from apo_sim.studies import transformer


@pytest.fixture
def results():
    return transformer.read()


def with_rate(results, method, rate):
    changed = copy.deepcopy(results)
    for run in changed["runs"]:
        if run["method"] == method:
            run["rows"][-1]["win_rate"] = [rate, rate - 0.02, rate + 0.02]
    return changed


def test_the_results_of_the_package_are_whole(results):
    assert {run["method"] for run in results["runs"]} == set(transformer.METHODS)
    last = f"pi_hat_{results['configuration']['iterations']}"
    for run in results["runs"]:
        assert run["rows"][0]["policy"] == "reference" and run["rows"][-1]["policy"] == last
        for row in run["rows"]:
            low, high = row["win_rate"][1:]
            assert low <= row["win_rate"][0] <= high


def test_the_finding_tells_a_gain_from_noise(results):
    level = with_rate(with_rate(results, "DPO", 0.5), "APO", 0.51)
    assert "within the noise" in transformer.finding(level)
    assert "beyond the noise" in transformer.finding(with_rate(level, "APO", 0.8))


def test_figure_and_table_show_every_policy(results):
    figure = Figure()
    transformer.draw(figure, results)
    assert len(figure.axes) == 4
    shown = transformer.table(results["runs"][0]["rows"])
    assert shown.row_count == len(results["runs"][0]["rows"])


def test_the_rival_has_the_same_total_weight():
    momentum, betas = transformer.rule("matched beta", 0.3, (0.1, 1.0))
    assert np.allclose(betas, [0.07, 0.7]) and "NoMomentum" in repr(momentum)
    with pytest.raises(InvalidArgument, match="is unknown"):
        transformer.rule("PPO", 0.3, 1.0)


def test_other_files_are_refused(tmp_path):
    (tmp_path / "other.json").write_text("[]")
    with pytest.raises(InvalidArgument, match="are not those of a study"):
        transformer.read(tmp_path / "other.json")


@pytest.mark.llm
def test_methods_meet_the_same_prompts_and_the_study_goes_on(tmp_path):
    from apo_sim import llm
    from apo_sim.llm import models, tiny

    models.save(tiny.model(num_layers=1), tmp_path / "model")
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text("\n".join(f'{{"prompt": "w{n} w{n + 1}"}}' for n in range(8)))
    settings = {
        "out": tmp_path / "out",
        "model": str(tmp_path / "model"),
        "prompts": str(prompts),
        "held_out": str(prompts),
        "ranker": "length",
        "beta": (0.5, 1.0),
        "iterations": 2,
        "methods": ("DPO", "APO"),
        "progress": False,
        "settings": {
            "sampling": llm.Sampling(max_tokens=6, max_prompt=4, batch=20),
            "tuning": llm.FineTuning(learning_rate=1e-3, batch=4),
        },
    }
    found = transformer.measure(**settings)
    rows = {run["method"]: run["rows"] for run in found["runs"]}
    # Until the first extrapolation APO is DPO.
    assert rows["APO"][1] == rows["DPO"][1]
    assert rows["APO"][-1] != rows["DPO"][-1]
    assert (
        transformer.measure(**settings) == found == transformer.read(tmp_path / "out/results.json")
    )
