"""The study of a small transformer: what it says of given results, its twin, and a tiny run."""

import dataclasses
import math
from pathlib import Path

import jax
import numpy as np
import pytest
from matplotlib.figure import Figure

import apo_sim as apo
from apo_sim.errors import InvalidArgument
from apo_sim.estimate import Estimate
from apo_sim.records import write_record
from apo_sim.studies import _transformer_twin, transformer_power
from apo_sim.studies._transformer_contenders import COMPARISONS, CONTENDERS, Contender
from apo_sim.studies.transformer_power import ContenderRun, PowerResults, PowerSettings
from apo_sim.studies.wording import sure_sign

pytestmark = pytest.mark.xdist_group("studies")


@pytest.fixture(scope="module")
def results():
    return transformer_power.read()


def test_the_results_of_the_package_are_whole(results):
    given = results.configuration
    assert set(results.rates) == {run.contender for run in results.runs} == set(CONTENDERS)
    rankers, seeds = transformer_power.final(results, "DPO").shape
    assert rankers == 3 and seeds >= 4 and given.iterations >= 3 and given.prompts >= 200
    assert {run.seed for run in results.runs}.isdisjoint(run.seed for run in results.search)
    for run in results.runs:
        assert run.rate == results.rates[run.contender]
        # Hardly a tie: nearly every prompt gives a pair.
        assert sum(run.pairs) > 0.8 * given.prompts * given.iterations


def test_the_learning_rate_is_the_best_of_the_search(results):
    for name in ("DPO", "APO .9", "KTO"):
        won = {}
        for run in results.search:
            if run.contender == name:
                won.setdefault(run.rate, []).append(run.win_rate)
        assert results.rates[name] == max(won, key=lambda rate: np.mean(won[rate]))
    assert results.rates["longer .9"] == pytest.approx(10 * results.rates["DPO"])


def test_at_one_small_learning_rate_momentum_leads_and_a_longer_step_leads_it():
    """What an untuned comparison shows, and its control."""
    results = transformer_power.read(transformer_power.SAME_RATE)
    found = transformer_power.differences(results)
    assert results.rates["DPO"] == results.rates["APO .9"] == 1e-4
    assert sure_sign(found["APO .9", "DPO"].estimate) == 1
    assert sure_sign(found["APO .9", "longer .9"].estimate) == -1


def test_a_planted_lead_is_found_and_no_other(results):
    """With as much scatter as there was, an effect that the study could see."""
    before = transformer_power.differences(results)["KTO", "DPO"]
    lead = 2 * before.seen - before.estimate.value
    runs = [
        dataclasses.replace(run, win_rate=run.win_rate + lead * (run.contender == "KTO"))
        for run in results.runs
    ]
    found = transformer_power.finding(dataclasses.replace(results, runs=tuple(runs)))
    after = found.differences
    assert sure_sign(after["KTO", "DPO"].estimate) == 1
    assert f"KTO against DPO: {after['KTO', 'DPO'].estimate:+.3f}, beyond" in found.text
    same = transformer_power.differences(results)
    assert all(after[pair] == same[pair] for pair in COMPARISONS if "KTO" not in pair)


def test_the_figure_shows_every_contender_and_comparison(results):
    figure = Figure()
    transformer_power.draw(figure, results)
    rates, differences, _ = figure.axes
    assert [label.get_text() for label in rates.get_yticklabels()] == list(results.rates)
    assert len(differences.get_yticklabels()) == len(COMPARISONS)


def test_the_page_on_language_models_has_these_figures(results):
    docs = Path(__file__).parents[2] / "docs/how_to/language_model.md"
    text = docs.read_text(encoding="utf-8").replace("−", "-")
    for (name, rival), one in transformer_power.differences(results).items():
        figures = f"{one.estimate:+.3f} | {one.seen:.3f} |"
        assert f"| {name} - {rival} | {figures}" in text
    same = transformer_power.differences(transformer_power.read(transformer_power.SAME_RATE))
    assert f"wins {same['APO .9', 'DPO'].estimate:.3f} more often" in text


def test_what_momentum_wins_at_short_steps_is_what_its_distance_wins():
    """A contender that goes where DPO goes at a larger learning rate has no lead of its own."""
    reached = {  # by learning rate: win rate and KL
        "DPO": {0.1: (0.5, 1.0), 0.2: (0.6, 4.0), 0.4: (0.7, 16.0)},
        "APO .9": {0.1: (0.65, 8.0), 0.2: (0.8, 32.0), 0.4: (0.8, 64.0)},
    }
    search = [
        ContenderRun(name, "length", 0, rate, (1,), won, 0.0, 1.0, kl)
        for name, row in reached.items()
        for rate, (won, kl) in row.items()
    ]
    settings = PowerSettings(1, 1, 1, 0.1, (0.1, 0.2, 0.4), 1, 0)
    results = PowerResults(settings, {}, {}, tuple(search), ())
    found = transformer_power._short_steps(results, "APO .9")
    assert (found.learning_rate, found.times_as_far) == (0.1, 8.0)
    assert found.lead == pytest.approx(0.15)
    # Half way from 4 to 16 on the logarithm.
    assert found.lead_as_far == pytest.approx(0.0, abs=1e-12)
    settings = dataclasses.replace(settings, rates=(0.1,))
    alone = dataclasses.replace(results, configuration=settings)
    assert transformer_power._short_steps(alone, "APO .9").lead_as_far is None


def test_the_finding_says_where_every_contender_ends(results):
    found = transformer_power.finding(results)
    assert {name: one.learning_rate for name, one in found.reached.items()} == results.rates
    of_dpo = transformer_power.final(results, "DPO")
    assert found.reached["DPO"].win_rate == of_dpo.mean()
    assert (found.rankers, found.seeds) == of_dpo.shape
    assert set(found.predicted) < set(found.differences) == set(COMPARISONS)
    assert set(found.short_steps) == {"APO .3", "APO .9"}
    lines = found.text.splitlines()
    parts = (found.reached, found.differences, found.short_steps, found.predicted)
    assert len(lines) == 1 + sum(map(len, parts))


def test_other_files_are_refused(tmp_path, results):
    (tmp_path / "other.json").write_text("[]")
    with pytest.raises(InvalidArgument, match=r"other.json.* cannot be read"):
        transformer_power.read(tmp_path / "other.json")
    lost = dataclasses.replace(results.runs[0], win_rate=math.nan)
    for changed in ({"runs": (lost,)}, {"rates": {}}, {"predicted": {}}):
        write_record("out", tmp_path / "other.json", dataclasses.replace(results, **changed))
        with pytest.raises(InvalidArgument, match="not those of a whole study"):
            transformer_power.read(tmp_path / "other.json")


def test_the_twins_reward_is_the_win_rate_over_the_reference():
    twin = _transformer_twin.twin()
    score = np.arange(_transformer_twin.ARMS)
    beats = (score[:, None] > score) + 0.5 * (score[:, None] == score)
    np.testing.assert_allclose(twin.reward[0], beats @ np.exp(twin.log_ref[0]), atol=1e-12)


def test_on_the_twin_a_larger_step_leads_where_beta_is_large():
    """Exact for all that labels say: what is left between them is the length of the step."""
    names = {"DPO": Contender(), "APO": Contender(alpha=0.9), "matched": Contender(matched=0.9)}
    names |= {"again": Contender(), "KTO": Contender(loss="KTO"), "longer": Contender(longer=0.9)}
    found = _transformer_twin.predicted(
        names, samples=10**8, iterations=3, beta=5.0, responses=2, seeds=4
    )
    assert found["again"] == found["DPO"] and set(found) == {"DPO", "APO", "matched", "again"}
    assert min(found["APO"].value, found["matched"].value) > found["DPO"].value + 0.05
    assert all(one.high - one.low < 2e-4 for one in found.values())


@pytest.mark.llm
def test_rankers_hardly_tie_and_the_judge_is_partly_cyclic():
    from apo_sim.llm import Prompt
    from apo_sim.studies import _generated_language as language

    random = np.random.default_rng(0)
    for ranker in language.rankers().values():
        for asked in language.prompts(20, random):
            texts = [language.response(asked, random) for _ in range(5)]
            scores = ranker.scores(Prompt(asked), texts)
            assert len(set(texts)) < 5 or np.ptp(scores) > 0
    # Three directions of which each beats the next.
    one, two, three = ("w1", "w11", "w21")
    asked = "w1 w2 w3"
    odds = [language.judged(asked, *pair) for pair in ((one, two), (two, three), (three, one))]
    assert min(odds) > 0.5 or max(odds) < 0.5


@pytest.mark.llm
def test_runs_that_share_their_programs_are_those_of_train(tmp_path):
    from apo_sim import llm
    from apo_sim.studies import _generated_language as language
    from apo_sim.studies._repeated_training import RepeatedTraining

    with jax.enable_x64(False):
        language_model = language.learned(steps=2, batch=4)
    llm.save(language_model, tmp_path / "model")
    sampling = llm.Sampling(3, 1.0, 1.0, max_tokens=4, max_prompt=3, batch=12)
    random = np.random.default_rng(0)
    asked, judged = language.prompts(8, random), language.prompts(6, random)
    ranker = llm.Length(-1)
    runs = RepeatedTraining(llm.load(tmp_path / "model"), sampling, llm.FineTuning(batch=4))
    settings = {"held_out": judged, "ranker": ranker, "seed": 3, "beta": [0.1, 0.1]}
    settings |= {"loss": apo.DPO(), "momentum": apo.Constant(0.5), "expo": 0.3}
    # The second run begins where the first did, at another learning rate.
    runs.train(asked, learning_rate=1e-2, **settings)
    rows, pairs = runs.train(asked, learning_rate=1e-3, **settings)
    outcome = llm.fine_tune(
        llm.load(tmp_path / "model"),
        asked,
        iterations=2,
        sampling=sampling,
        tuning=llm.FineTuning(batch=4, learning_rate=1e-3),
        progress=False,
        **settings,
    )
    assert pairs == outcome.pairs
    for ours, theirs in zip(rows, outcome.rows[-2:], strict=True):
        for figure in ("win_rate", "kl", "tokens"):
            pair = [getattr(row.figures, figure).value for row in (ours, theirs)]
            np.testing.assert_allclose(*pair, rtol=1e-4, atol=1e-6)


@pytest.mark.llm
def test_a_study_goes_on_where_it_was_and_refuses_other_settings(tmp_path, monkeypatch):
    """What is kept needs no training: here all runs are made up."""
    made = []

    def run(self, one, ranker, seed, rate):
        made.append((one.runs, ranker, seed, rate))
        won = 0.5 + 10 * rate + 0.001 * seed
        figures = {str(name): won for name in transformer_power.FIGURES}
        return transformer_power._Kept((2,), figures, {**figures, "win_rate": 0.9})

    monkeypatch.setattr(transformer_power._Runs, "_run", run)
    monkeypatch.setattr(
        transformer_power,
        "predicted",
        lambda chosen, **settings: {"DPO": Estimate(1.0, 1.0, 1.0)},
    )
    settings = {"out": tmp_path, "seeds": 2, "rates": (1e-3, 1e-2), "progress": False}
    first = transformer_power.measure(**settings)
    # ExPO's runs are DPO's, wherever they have the same learning rate.
    number = len(made)
    assert number == len(set(made)) and first.rates["DPO"] == 1e-2
    assert first.rates["ExPO"] == 1e-3  # its runs are equally good everywhere: the first
    (tmp_path / f"length-target-0-DPO-{1e-2:.6g}.json").unlink()
    assert transformer_power.measure(**settings) == first and len(made) == number + 1
    assert transformer_power.read(tmp_path / "results.json") == first
    with pytest.raises(InvalidArgument, match="keeps runs of other settings"):
        transformer_power.measure(**settings, beta=0.2)
    with pytest.raises(InvalidArgument, match="or lack DPO"):
        transformer_power.measure(**settings, contenders=("APO .3",))
