"""The study of momentum on a language model: what it says of given results, and a tiny run."""

import dataclasses
import math

import jax
import numpy as np
import pytest
from hypothesis import given
from matplotlib.figure import Figure

import apo_sim as apo
from apo_sim import InvalidArgument, families, testing, theory
from apo_sim.estimate import Estimate
from apo_sim.records import write_record
from apo_sim.studies import transformer
from apo_sim.studies.wording import sure_sign


@pytest.fixture
def results():
    return transformer.read()


def with_wins(results, wins):
    """The same results, but of runs with these wins: from a method to a row for each seed."""
    first = results.runs[0]
    *before, end = first.rows
    runs = [
        dataclasses.replace(
            first,
            method=method,
            seed=seed,
            rows=(*before, with_figures(end, wins=tuple(won.tolist()))),
        )
        for method, rows in wins.items()
        for seed, won in enumerate(rows)
    ]
    return dataclasses.replace(results, runs=tuple(runs))


def with_figures(row, **changed):
    return dataclasses.replace(row, figures=dataclasses.replace(row.figures, **changed))


def test_the_results_of_the_package_are_whole(results):
    assert {"DPO", "APO"} <= set(results.methods) <= set(transformer.METHODS)
    last = f"pi_hat_{results.configuration.iterations}"
    for run in results.runs:
        assert run.rows[0].policy == "reference" and run.end.policy == last
        for row in run.rows:
            won = row.figures.win_rate
            assert won.low <= won.value <= won.high and won.n == len(row.figures.wins)


def test_methods_are_compared_prompt_by_prompt(results):
    """Prompts differ far more than methods do: only pairing sees the difference."""
    random, seeds = np.random.default_rng(0), 3
    easy = random.choice([0.0, 1.0], 400)
    better = np.where(random.uniform(size=400) < 0.1, 1.0, easy)
    wins = {"DPO": [easy] * seeds, "APO": [better] * seeds, "matched beta": [better] * seeds}
    paired = with_wins(results, wins)
    found = transformer.finding(paired)
    lead = found.leads["DPO"]
    assert lead == transformer.difference(paired, "APO", "DPO")
    assert np.isclose(lead.value, np.mean(better - easy)) and 0.0 < lead.low < lead.value
    assert lead.value < lead.high < lead.low + 0.06 < lead.low + 4 * np.std(easy) / np.sqrt(400)
    # Nothing differs, so nothing tells how far off the zero is.
    assert found.leads["matched beta"].value == 0.0
    assert found.leads["matched beta"].figures == (0.0, -math.inf, math.inf)
    assert [sure_sign(each) for each in found.leads.values()] == [1, 0]
    assert f"win rate by {lead:+.3f} against DPO, beyond" in found.text
    # Control: the same wins of one method on other prompts are no pairs.
    wins["APO"] = [random.permutation(better) for _ in range(seeds)]
    apart = transformer.difference(with_wins(results, wins), "APO", "DPO")
    assert apart.low < 0.0 < apart.high


def test_seeds_that_disagree_widen_the_interval(results):
    level = np.full(400, 0.5)
    wins = {"DPO": [level] * 4, "APO": [level + shift for shift in (0.3, -0.3, 0.3, -0.3)]}
    found = transformer.difference(with_wins(results, wins), "APO", "DPO")
    assert found.high - found.low > 0.3  # though within a seed no two prompts differ


def test_only_runs_of_the_same_seeds_are_compared(results):
    level = np.full(4, 0.5)
    lacking = with_wins(results, {"DPO": [level] * 2, "APO": [level] * 3})
    with pytest.raises(InvalidArgument, match="do not have the same seeds"):
        transformer.difference(lacking, "APO", "DPO")


def test_figure_and_table_show_every_policy(results):
    figure = Figure()
    transformer.draw(figure, results)
    assert len(figure.axes) == 4
    rows = results.runs[0].rows
    assert transformer.table(rows).row_count == len(rows)


def test_a_study_without_the_rival_says_what_it_leaves_open(results):
    level = np.full(4, 0.5)
    without = with_wins(results, {"DPO": [level] * 2, "APO": [level] * 2})
    found = transformer.finding(without)
    assert list(found.leads) == ["DPO"] and "matched beta was not run" in found.text
    figure = Figure()
    transformer.draw(figure, without)
    legend = figure.axes[0].get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["DPO", "APO"]
    level_of_all = dict.fromkeys(transformer.METHODS, [level] * 2)
    found = transformer.finding(with_wins(results, level_of_all))
    assert list(found.leads) == ["DPO", "matched beta"] and "not run" not in found.text


def test_the_finding_says_where_every_method_ends(results):
    found = transformer.finding(results)
    ends = [run.end.figures for run in results.runs if run.method == "APO"]
    assert found.methods["APO"].win_rates == [figures.win_rate.value for figures in ends]
    assert found.methods["APO"].kl == np.mean([figures.kl.value for figures in ends])
    assert found.methods["APO"].gamma == pytest.approx(153.0)
    assert found.scored == "instructions"
    assert found.reference == pytest.approx(
        np.mean([run.rows[0].figures.instructions.value for run in results.runs])
    )


def test_full_marks_are_those_of_the_policy_before_extrapolation(results):
    row = results.runs[0].rows[0]
    rows = [
        with_figures(dataclasses.replace(row, iteration=t), win_rate=Estimate(won, won, won))
        for t, won in ((0, 0.5), (1, 0.6), (1, 0.7))
    ]
    figure = Figure()
    transformer.draw_run(figure, rows)
    lines = [line for line in figure.axes[0].lines if line.get_marker() == "o"]
    shown = {str(line.get_markerfacecolor()): line for line in lines}
    assert np.asarray(shown["C0"].get_ydata()).tolist() == [0.5, 0.6]
    assert np.asarray(shown["white"].get_ydata()).tolist() == [0.7]


def test_known_weights_of_the_papers_beta():
    momentum, matched = transformer.rule("matched beta", 0.3, (0.01, 0.1, 1.0), 3)
    assert isinstance(momentum, apo.NoMomentum)
    np.testing.assert_allclose(matched, [1 / 100, 1 / 40, 1 / 13], rtol=1e-12)
    np.testing.assert_allclose(np.cumsum(1 / np.array(matched)), [100, 140, 153], rtol=1e-12)
    for method, alpha in (("DPO", 0.0), ("APO", 0.3)):
        momentum, betas = transformer.rule(method, 0.3, (0.01, 0.1, 1.0), 3)
        assert getattr(momentum, "alpha", 0.0) == alpha and betas == (0.01, 0.1, 1.0)
    with pytest.raises(InvalidArgument, match="is unknown"):
        transformer.rule("PPO", 0.3, 1.0, 3)


@given(testing.alphas(0.999), testing.betas() | testing.schedules(testing.betas(), 5))
def test_the_rival_has_the_gamma_of_momentum_after_every_iteration(alpha, beta):
    _, matched = transformer.rule("matched beta", alpha, beta, 5)
    of_momentum = theory.gamma(alpha, beta, 5)
    np.testing.assert_allclose(np.cumsum(1 / np.array(matched)), of_momentum, rtol=1e-12)
    # The first step is that of momentum, in the precision that a transformer is computed in.
    assert np.float32(matched[0]) == np.float32(np.broadcast_to(beta, 5)[0])
    # Control: the limit of the schedule, beta (1 - alpha), is ahead of momentum from the start.
    limit = np.cumsum(1 / ((1 - alpha) * np.broadcast_to(beta, 5)))
    assert alpha < 1e-9 or limit[0] > of_momentum[0] * (1 + 1e-12)


def test_the_rival_takes_the_path_of_momentum_where_preferences_are_exact():
    bandit = families.uniform_bandit(jax.random.key(0), contexts=2, arms=4)

    def path(momentum, beta):
        betas = np.asarray(beta)
        found = apo.run(bandit, momentum=momentum, beta=betas, iterations=3, save="path")
        return np.asarray(found.log_policy)

    of_momentum, of_rival = (
        path(*transformer.rule(method, 0.3, (0.01, 0.1, 1.0), 3))
        for method in ("APO", "matched beta")
    )
    np.testing.assert_allclose(of_rival, of_momentum, rtol=1e-9)
    # Control: DPO takes the same first step only.
    of_dpo = path(*transformer.rule("DPO", 0.3, (0.01, 0.1, 1.0), 3))
    apart = np.abs(of_dpo - of_momentum).max(axis=(1, 2))
    assert apart[1] < 1e-9 < 1.0 < apart[2] < apart[3]


def test_the_results_of_the_package_are_of_these_weights(results):
    """Of those, and not of others that went by the same name."""
    given = results.configuration
    for run in results.runs:
        _, betas = transformer.rule(run.method, given.alpha, given.beta, given.iterations)
        np.testing.assert_allclose(run.beta, betas, rtol=1e-12)
    # All methods share the reference and, whatever they do later, the first update.
    for seed in {run.seed for run in results.runs}:
        first, *others = [run for run in results.runs if run.seed == seed]
        for run in others:
            assert run.rows[:2] == first.rows[:2] and run.pairs[0] == first.pairs[0]


def test_other_files_are_refused(tmp_path):
    (tmp_path / "other.json").write_text("[]")
    with pytest.raises(InvalidArgument, match=r"other.json.* cannot be read"):
        transformer.read(tmp_path / "other.json")
    results = transformer.read()
    for without in ({"DPO": [np.array([])]}, {}):
        write_record("out", tmp_path / "other.json", with_wins(results, without))
        with pytest.raises(InvalidArgument, match="have no policies to compare"):
            transformer.read(tmp_path / "other.json")


@pytest.mark.llm
def test_methods_meet_the_same_prompts_and_the_study_goes_on(tmp_path):
    from apo_sim import llm
    from apo_sim.llm.models import loading, tiny

    loading.save(tiny.model(num_layers=1), tmp_path / "model")
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
        "progress": False,
        "settings": {
            "sampling": llm.Sampling(max_tokens=6, max_prompt=4, batch=20),
            "tuning": llm.FineTuning(learning_rate=1e-3, batch=4),
        },
    }
    found = transformer.measure(**settings)
    rows = {run.method: run.rows for run in found.runs}
    # Until the first extrapolation all methods are one.
    assert rows["DPO"][1] == rows["APO"][1] == rows["matched beta"][1]
    assert rows["APO"][-1] != rows["DPO"][-1] != rows["matched beta"][-1] != rows["APO"][-1]
    assert {run.method: run.beta for run in found.runs} == {
        "DPO": (0.5, 1.0),
        "APO": (0.5, 1.0),
        "matched beta": pytest.approx((0.5, 1 / (0.3 / 0.5 + 1.0))),
    }
    assert len(rows["APO"][-1].figures.wins) == 8
    lead = transformer.difference(found, "APO", "DPO")
    assert lead.low <= lead.value <= lead.high
    assert (
        transformer.measure(**settings) == found == transformer.read(tmp_path / "out/results.json")
    )
