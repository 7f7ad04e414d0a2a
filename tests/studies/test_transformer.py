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


def with_wins(results, wins):
    """The same results, but of runs with these wins: from a method to a row for each seed."""
    runs = []
    for method, rows in wins.items():
        for seed, won in enumerate(rows):
            run = {**copy.deepcopy(results["runs"][0]), "method": method, "seed": seed}
            run["rows"][-1]["wins"] = won.tolist()
            runs.append(run)
    return {**results, "runs": runs}


def test_the_results_of_the_package_are_whole(results):
    assert {run["method"] for run in results["runs"]} == set(transformer.METHODS)
    last = f"pi_hat_{results['configuration']['iterations']}"
    for run in results["runs"]:
        assert run["rows"][0]["policy"] == "reference" and run["rows"][-1]["policy"] == last
        for row in run["rows"]:
            low, high = row["win_rate"][1:]
            assert low <= row["win_rate"][0] <= high


def test_methods_are_compared_prompt_by_prompt(results):
    """Prompts differ far more than methods do: only pairing sees the difference."""
    random, seeds = np.random.default_rng(0), 3
    easy = random.choice([0.0, 1.0], 400)
    better = np.where(random.uniform(size=400) < 0.1, 1.0, easy)
    wins = {"DPO": [easy] * seeds, "APO": [better] * seeds, "matched beta": [better] * seeds}
    paired = with_wins(results, wins)
    lead, low, high = transformer.difference(paired, "APO", "DPO")
    assert np.isclose(lead, np.mean(better - easy)) and 0.0 < low < lead < high
    assert high - low < 0.06 < 4 * np.std(easy) / np.sqrt(400)
    assert transformer.difference(paired, "APO", "matched beta") == [0.0, 0.0, 0.0]
    found = transformer.finding(paired)
    assert "against DPO, beyond the noise" in found
    assert "against matched beta, within the noise" in found
    # Control: the same wins of one method on other prompts are no pairs.
    wins["APO"] = [random.permutation(better) for _ in range(seeds)]
    _, low, high = transformer.difference(with_wins(results, wins), "APO", "DPO")
    assert low < 0.0 < high


def test_seeds_that_disagree_widen_the_interval(results):
    level = np.full(400, 0.5)
    wins = {"DPO": [level] * 4, "APO": [level + shift for shift in (0.3, -0.3, 0.3, -0.3)]}
    _, low, high = transformer.difference(with_wins(results, wins), "APO", "DPO")
    assert high - low > 0.3  # though within a seed no two prompts differ


def test_only_runs_of_the_same_seeds_are_compared(results):
    level = np.full(4, 0.5)
    lacking = with_wins(results, {"DPO": [level] * 2, "APO": [level] * 3})
    with pytest.raises(InvalidArgument, match="do not have the same seeds"):
        transformer.difference(lacking, "APO", "DPO")


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
    assert len(rows["APO"][-1]["wins"]) == 8
    lead, low, high = transformer.difference(found, "APO", "DPO")
    assert low <= lead <= high
    assert (
        transformer.measure(**settings) == found == transformer.read(tmp_path / "out/results.json")
    )
