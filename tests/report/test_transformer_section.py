"""The report's section on a language model: whose results it shows."""

import dataclasses
import json

from apo_sim.records import as_plain, write_record
from apo_sim.report._transformer_section import section
from apo_sim.studies import transformer


def test_own_results_come_first_and_those_of_an_older_version_are_passed_over(tmp_path):
    results = transformer.read()
    assert not section(tmp_path).own
    file = tmp_path / "llm/full/results.json"
    file.parent.mkdir(parents=True)
    own = dataclasses.replace(results, runs=tuple(results.of("DPO")))
    write_record("out", file, own)
    shown = section(tmp_path)
    seeds = len({run.seed for run in own.runs})
    assert shown.own and len(shown.rows) == seeds + len(own.runs)
    assert not any("APO" in line for line in shown.finding)
    # What the logs say of the steps: of the first seed, and of whatever they hold.
    seed, steps = own.runs[0].seed, own.runs[0].steps
    assert shown.runs == [f"DPO, seed {seed}"] and shown.course.width > shown.course.height
    (loss,) = (cells for label, cells in shown.courses if label == "loss")
    assert loss == [f"{steps[0].loss:.3g} → {steps[-1].loss:.3g}"]
    assert shown.seen == ["DPO: nothing conspicuous; looked for: diverged."]
    older = as_plain(own)
    for run in older["runs"]:
        del run["rows"][-1]["figures"]["wins"]
    file.write_text(json.dumps(older))
    again = section(tmp_path)
    assert not again.own and len(again.rows) == seeds + len(results.runs)
