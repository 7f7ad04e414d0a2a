"""Intervals of few data: none without width, none that covers less often than it says."""

import dataclasses

import numpy as np
import pytest
import xarray as xr

from apo_sim import InvalidArgument
from apo_sim.estimate import Estimate
from apo_sim.statistics import bootstrap, clopper_pearson, mean_and_half
from apo_sim.studies import long_run, momentum_rules, transformer
from apo_sim.transformer_rows import HeldOutFigures, PolicyRow


def of_prompts(scores, others, **changes):
    """A row of the table for such scores of a policy and of the reference."""
    pytest.importorskip("tunix")
    from apo_sim.llm.data.prompts import Prompt
    from apo_sim.llm.evaluation.held_out import Judged, summary

    def judged(given):
        number = len(given)
        texts, ones, nothing = ["so"] * number, [1] * number, [0.0] * number
        return Judged(texts, ones, given, nothing, nothing)

    prompts = [Prompt(str(place)) for place in range(len(scores))]
    policy = judged(scores)
    return summary(prompts, policy, policy if others is None else judged(others))


@pytest.mark.llm
def test_four_wins_of_four_leave_room_for_losses():
    row = of_prompts([1.0] * 4, [0.0] * 4)
    rate, low, high = row.win_rate.figures
    # Without a loss the lower end is where four wins have the probability 0.025.
    assert rate == high == 1.0 and abs(low - 0.025**0.25) < 1e-5
    rate, low, high = row.lc_win_rate.figures
    assert rate > 0.99 and low < 0.7 and high >= rate
    # Four equal numbers say nothing of their spread.
    assert row.score.figures == (1.0, -np.inf, np.inf)
    lost = of_prompts([0.0] * 4, [1.0] * 4).win_rate
    assert np.allclose(lost.figures, [0.0, 0.0, 1.0 - 0.025**0.25], atol=1e-5)


@pytest.mark.llm
def test_one_prompt_has_no_interval_of_a_mean_and_a_wide_one_of_a_share():
    row = of_prompts([3.0], [1.0])
    assert row.characters.figures == (2.0, -np.inf, np.inf)
    assert row.kl.figures == (0.0, -np.inf, np.inf)
    assert row.win_rate.figures == pytest.approx((1.0, 0.025, 1.0), rel=1e-9)
    assert row.lc_win_rate.low < 0.2


@pytest.mark.llm
def test_the_reference_against_itself_is_known():
    row = of_prompts([1.0, 2.0, 5.0], None)
    assert row.win_rate == row.lc_win_rate and row.win_rate.figures == (0.5, 0.5, 0.5)
    assert row.kl.figures == (0.0, 0.0, 0.0)
    assert row.score.low < row.score.value < row.score.high


@pytest.mark.llm
@pytest.mark.parametrize("number", [5, 30])
def test_intervals_cover_as_often_as_they_say(number):
    from apo_sim.llm.evaluation.held_out import length_controlled, mean, share

    covered, repetitions, random = np.zeros(3), 50, np.random.default_rng(number)
    for _ in range(repetitions):
        scores = random.normal(1.0, 2.0, number)
        won, tied = random.uniform(size=(2, number)) < np.array([[0.6], [0.2]])
        wins = np.where(tied, 0.5, won.astype(float))
        truths = (1.0, 0.8 * 0.6 + 0.2 * 0.5, 0.8 * 0.6 + 0.2 * 0.5)
        found = mean(scores), share(wins), length_controlled(wins, np.zeros(number))
        covered += [one.low <= truth <= one.high for truth, one in zip(truths, found, strict=True)]
    assert (covered >= 0.88 * repetitions).all(), covered


def test_parts_of_successes_count_against_both_ends():
    assert clopper_pearson(2.5, 4) == (clopper_pearson(2, 4)[0], clopper_pearson(3, 4)[1])
    assert clopper_pearson(3 * (1 / 3), 3) == clopper_pearson(1, 3)
    assert clopper_pearson(0.1 + 0.2 + 0.7, 1)[1] == 1.0  # more than one by a rounding


def test_one_seed_gives_no_interval_and_is_refused_before_it_is_run():
    alone = xr.DataArray([1.0], dims="seed")
    with pytest.raises(InvalidArgument, match="seeds = 1 gives no interval"):
        mean_and_half(alone)
    with pytest.raises(InvalidArgument, match="seeds = 1 gives no interval"):
        bootstrap(lambda values: values.mean(axis=-1), alone)
    with pytest.raises(InvalidArgument, match="seeds = 1 gives no interval"):
        momentum_rules.measure(seeds=1, arms=10**9)
    with pytest.raises(InvalidArgument, match="seeds = 2 gives no interval; pass at least 4"):
        long_run.measure(seeds=2, arms=3, lengths=[3, 6], budget=60, betas=[1.0])


def results(wins):
    """Of a study with one seed, in which plain updates lose everywhere."""

    def run(method, won):
        known = Estimate(1.0, -np.inf, np.inf)
        figures = {field.name: known for field in dataclasses.fields(HeldOutFigures)}
        row = PolicyRow("pi_hat_1", 1, HeldOutFigures(**{**figures, "wins": tuple(won)}))
        return transformer.TransformerRun(method, 0, (1.0,), (row, row), (), (2,))

    runs = run("APO", wins), run("DPO", [0.0] * len(wins))
    settings = transformer.TransformerSettings("tiny", 2, len(wins), "length", 0.3, (1.0,), 1, {})
    return transformer.TransformerResults(settings, {}, runs)


def test_a_difference_that_all_prompts_share_is_not_called_significant():
    unanimous = results([1.0] * 4)
    for given in (unanimous, results([1.0])):
        lead = transformer.difference(given, "APO", "DPO")
        assert lead.value == 1.0 and (lead.low, lead.high) == (-np.inf, np.inf)
    assert "+1.000 against DPO, within the noise that" in transformer.finding(unanimous).text
    # Control: where the prompts differ there is an interval, and it decides.
    lead = transformer.difference(results([1.0, 0.5] * 20), "APO", "DPO")
    assert 0.6 < lead.low < lead.value == 0.75 < lead.high < 0.9


def test_figures_without_an_interval_are_written_and_drawn_without_one():
    import matplotlib.figure

    rows = results([1.0] * 4).runs[0].rows
    assert transformer.cell(rows[0], "kl") == "1.00"
    assert transformer.table(rows).row_count == 2
    figure = matplotlib.figure.Figure()
    transformer.draw_run(figure, rows)
    figure.draw_without_rendering()
