"""What a log shows: runs of NumPy with every effect and healthy ones, in three formats."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from apo_sim import InvalidArgument
from apo_sim.explain import Effect, draw, explain, read_log
from apo_sim.explain._columns import canonical
from apo_sim.explain._commands import COMMANDS
from apo_sim.explain._levels import levels
from apo_sim.explain.log import Series

sys.path.insert(0, str(Path(__file__).parent))
from simulated_runs import (
    Run,
    Table,
    pairs,
    rows,
    without,
    write_csv,
    write_jsonl,
    write_ours,
    write_trl,
)

pytestmark = pytest.mark.llm


def wide():
    """More responses than can be told apart by few features."""
    return Table(200, 16, 64, seed=3)


def by_length():
    """Lengths that the policy can tell."""
    table = Table()
    table.features[..., 0] = (table.lengths - 35) / 20
    return table


LIKES_LENGTH = by_length()
OVERFITTED = Run(table=Table(responses=2), beta=2.0, pairs=60, steps=400, eval_every=20)
HEALTHY = {
    "dpo": Run(beta=0.5),
    "ipo": Run(loss="ipo"),
    "slic": Run(loss="hinge", beta=0.5, rate=0.01),
    "cdpo": Run(loss="cdpo", optimizer="rmsprop", rate=0.01),
    "simpo": Run(loss="simpo", beta=20.0),
    "gradient descent": Run(optimizer="sgd", rate=0.5, beta=0.5),
    "on policy": Run(drawn="policy", beta=0.5, rate=0.01),
    "wide": Run(table=wide(), beta=0.5, steps=400, batch=64, rate=0.01),
    "held out": Run(beta=0.5, eval_every=20),
}
# Runs, the columns that their tool does not log, and what they show.
ILL = {
    "displacement": (Run(table=wide(), beta=0.1, steps=400, batch=64), (), Effect.DISPLACEMENT),
    "displacement by log-probabilities": (
        Run(table=wide(), beta=0.1, steps=400, batch=64),
        ("rewards/chosen", "rewards/rejected", "kl", "entropy"),
        Effect.DISPLACEMENT,
    ),
    "dead": (Run(rate=1e-7), ("lost_updates",), Effect.DEAD_LEARNING_RATE),
    "dead ipo": (Run(loss="ipo", rate=1e-7), (), Effect.DEAD_LEARNING_RATE),
    "beta": (Run(rate=2e-3, steps=100), (), Effect.BETA_HARDLY_COUNTS),
    "beta, rmsprop": (
        Run(table=wide(), rate=1e-3, steps=60, optimizer="rmsprop"),
        (),
        Effect.BETA_HARDLY_COUNTS,
    ),
    "saturated": (
        Run(table=Table(responses=2), beta=5.0, noise=False, steps=600),
        (),
        Effect.SATURATED_LOSS,
    ),
    "bfloat16": (Run(dtype="bfloat16", begin=0.02, rate=2e-5), (), Effect.LOST_UPDATES),
    "length": (
        Run(table=LIKES_LENGTH, drawn="policy", judge=0.1 * LIKES_LENGTH.lengths),
        (),
        Effect.LENGTH_DRIFT,
    ),
    "over-fitted": (OVERFITTED, (), Effect.OVER_OPTIMISATION),
    "far": (
        Run(
            table=Table(spread=50.0, responses=2, dimension=256),
            loss="ipo",
            drawn="uniform",
            noise=False,
            beta=0.002,
            rate=0.5,
            steps=400,
        ),
        ("entropy",),
        Effect.KL_EXPLOSION,
    ),
    "collapse": (
        Run(drawn="policy", beta=0.1, rate=0.2, steps=400),
        (),
        Effect.ENTROPY_COLLAPSE,
    ),
    "diverged": (
        Run(loss="ipo", optimizer="sgd", rate=1e4, beta=1.0, steps=200),
        (),
        Effect.DIVERGED,
    ),
}


def logged(run):
    with np.errstate(all="ignore"):
        return rows(run)


@pytest.fixture(scope="module")
def displaced():
    return logged(ILL["displacement"][0])


@pytest.mark.parametrize("name", ILL)
def test_an_effect_is_named_and_no_other(name, tmp_path):
    run, absent, effect = ILL[name]
    found = without(logged(run), *absent)
    for write in (write_trl, write_csv, write_jsonl, write_ours):
        assert explain(write(found, tmp_path), beta=run.beta).effects == {effect}


@pytest.mark.parametrize("name", HEALTHY)
def test_a_healthy_run_shows_nothing(name, tmp_path):
    run = HEALTHY[name]
    found = logged(run)
    for write in (write_trl, write_csv, write_ours):
        explained = explain(write(found, tmp_path), beta=run.beta)
        assert not explained.diagnoses
        assert "nothing conspicuous" in str(explained)


def test_a_diagnosis_says_what_was_seen_and_when(tmp_path):
    (found,) = explain(write_trl(logged(OVERFITTED), tmp_path)).diagnoses
    held_out = [row for row in logged(OVERFITTED) if "eval_loss" in row]
    best = min(held_out, key=lambda row: row["eval_loss"])["step"]
    assert abs(found.steps[0] - best) <= 60 and found.steps[1] == 400
    assert found.evidence["held_out_loss at last"] > found.evidence["held_out_loss at best"]
    assert found.evidence["loss at last"] < found.evidence["loss at first"]
    assert "steps" in str(found) and found.remedy in str(found)


def test_mass_leaves_both_at_the_exact_optimum_too():
    """Small beta, four responses or more: that both fall is no fault by itself."""
    table = Table(200, 8, 64)
    run = Run(table=table)
    for beta, falls in ((0.1, True), (3.0, False)):
        logits = table.log_ref + table.reward / beta
        log_policy = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
        data = pairs(run, table.log_ref, 20_000, np.random.default_rng(0))
        ratio = (log_policy - table.log_ref)[data[0], data[1]].mean()
        assert (ratio < -5.0) if falls else (ratio > 0.05)


def test_beta_and_dtype_that_are_told_count(tmp_path, displaced):
    file = write_csv(displaced, tmp_path)
    assert explain(file, beta=0.1).effects == {Effect.DISPLACEMENT}
    # The same rewards of a larger beta are less than one nat.
    assert not explain(file, beta=0.5).effects
    dead = write_csv(without(logged(Run(rate=1e-7)), "lost_updates"), tmp_path)
    assert explain(dead).effects == {Effect.DEAD_LEARNING_RATE}
    assert explain(dead, dtype="bfloat16").effects == {Effect.LOST_UPDATES}
    (tmp_path / "config.json").write_text(json.dumps({"torch_dtype": "bfloat16"}))
    assert explain(dead).effects == {Effect.LOST_UPDATES}
    assert explain(dead, dtype="float32").effects == {Effect.DEAD_LEARNING_RATE}
    hostile: Any = (("beta", -1.0), ("beta", "x"), ("dtype", "int4"))
    for name, value in hostile:
        with pytest.raises(InvalidArgument, match=name):
            explain(dead, **{name: value})


def test_order_and_repetition_of_steps_change_nothing(tmp_path, displaced):
    (expected,) = explain(write_csv(displaced, tmp_path)).diagnoses
    shuffled = [displaced[place] for place in np.random.default_rng(0).permutation(400)]
    assert explain(write_csv(shuffled, tmp_path)).diagnoses == (expected,)
    # A run that was stopped at 250 and went on from 200: what it threw away does not count.
    thrown = [row | {"rewards/chosen": 9.0, "loss": 50.0} for row in displaced[200:250]]
    resumed = displaced[:200] + thrown + displaced[200:]
    assert explain(write_csv(resumed, tmp_path)).diagnoses == (expected,)


def test_iterations_are_not_taken_for_one_another(tmp_path):
    # Margins begin at zero in each; end to end they would look like noise, or like a saw.
    found = logged(HEALTHY["dpo"])
    assert not explain(write_ours(found, tmp_path, iterations=3), beta=0.5).effects
    ill = logged(ILL["displacement"][0])
    explained = explain(write_ours(ill, tmp_path, iterations=3), beta=0.1)
    assert explained.effects == {Effect.DISPLACEMENT}


def test_some_numbers_that_are_missing_or_not_finite(tmp_path, displaced):
    holes = [
        row | ({"rewards/chosen": None, "entropy": float("nan")} if place % 7 == 0 else {})
        for place, row in enumerate(displaced)
    ]
    for write in (write_trl, write_csv):
        assert explain(write(holes, tmp_path)).effects == {Effect.DISPLACEMENT}
    # Trainers with loss scaling skip a step now and then.
    skipped = [row | ({"grad_norm": np.inf} if row["step"] == 30 else {}) for row in displaced]
    assert explain(write_trl(skipped, tmp_path)).effects == {Effect.DISPLACEMENT}
    # Their filter of losses that are not finite leaves the gradient's norm as the only sign.
    gone = [row | ({"grad_norm": np.nan} if row["step"] > 200 else {}) for row in displaced]
    (found,) = explain(write_trl(gone, tmp_path)).diagnoses
    assert found.effect == Effect.DIVERGED and found.steps == (201, 400)


def test_what_cannot_be_judged_is_said(tmp_path, displaced):
    few = [{"step": row["step"], "loss": row["loss"]} for row in displaced]
    explained = explain(write_csv(few, tmp_path))
    said = {one.effect: one.why for one in explained.unjudged}
    assert not explained.effects
    assert said[Effect.DISPLACEMENT] == (
        "no column chosen_reward or rejected_reward or chosen_log_prob or rejected_log_prob"
    )
    assert {Effect.LENGTH_DRIFT, Effect.ENTROPY_COLLAPSE, Effect.KL_EXPLOSION} <= set(said)
    assert Effect.DIVERGED not in said and "could not be judged" in str(explained)
    one = explain(write_csv(displaced[:1], tmp_path))
    assert not one.effects and "at least 8" in str(one)
    # A change that noise would hide is not called dead.
    noisy = np.random.default_rng(0).normal(scale=0.5, size=40)
    held = [
        {"step": step, "rewards/margins": float(m)} for step, m in enumerate(noisy - noisy.mean())
    ]
    assert Effect.DEAD_LEARNING_RATE not in explain(write_csv(held, tmp_path)).effects


def test_half_of_a_pair_of_columns_is_not_called_too_short(tmp_path, displaced):
    half = [{"step": row["step"], "rewards/chosen": row["rewards/chosen"]} for row in displaced]
    said = {one.effect: one.why for one in explain(write_csv(half, tmp_path)).unjudged}
    assert said[Effect.DISPLACEMENT].startswith("no column rejected_reward or ")


@pytest.mark.parametrize("between", [",", ";", "\t"])
@pytest.mark.parametrize("decimal", [".", ","])
def test_fields_and_decimals_are_separated_as_elsewhere(between, decimal, tmp_path, displaced):
    names = ("step", "rewards/chosen", "rewards/rejected")
    rows = [[str(row[name]).replace(".", decimal) for name in names] for row in displaced]
    lines = [between.join(f'"{field}"' for field in row) for row in ([*names], *rows)]
    file = tmp_path / "log.csv"
    file.write_text("\r\n".join(lines))
    if decimal == between:
        with pytest.raises(InvalidArgument, match="which is not a number"):
            explain(file)
    else:
        assert explain(file).effects == {Effect.DISPLACEMENT}
        assert explain(file.rename(tmp_path / "log.tsv")).effects == {Effect.DISPLACEMENT}


def test_a_list_of_rows_alone_is_a_log(tmp_path, displaced):
    """`json.dump(trainer.state.log_history, file)`."""
    file = tmp_path / "log.json"
    file.write_text(json.dumps(displaced, indent=1))
    assert explain(file).effects == {Effect.DISPLACEMENT}


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("log.json", "", "it is empty"),
        ("log.csv", "", "no figures"),
        ("log.json", '{"log_history": [{"loss": 0.6}, {"lo', "cut off"),
        ("log.json", '{"log_history": [{"loss": 0.6} ; 3]}', "cut off, or no JSON"),
        ("log.json", '{"log_history": [1, 2]}', "where a row should be"),
        ("log.json", '{"model": 3}', "no list called"),
        ("log.json", '{"log_history": []}', "no figures"),
        ("log.jsonl", '{"loss": 1}\nloss', "line 2 is not JSON"),
        ("log.jsonl", "[" * 100_000, "line 1 is not JSON"),
        ("log.csv", "step,loss\n1,high\n", "loss = 'high' in row 1, which is not a number"),
        ("log.csv", "step,loss\n1,2,3\n", "more fields"),
        ("log.csv", "a,b\n1,2\n", "its columns are a, b"),
        ("log.txt", "x", "not a known kind of log"),
    ],
)
def test_files_that_are_no_logs_are_named_with_a_remedy(name, content, said, tmp_path):
    file = tmp_path / name
    file.write_text(content)
    with pytest.raises(InvalidArgument, match=said) as caught:
        explain(file)
    assert str(file) in str(caught.value) and ";" in str(caught.value)


def test_files_that_cannot_be_read(tmp_path):
    (tmp_path / "log.csv").write_bytes(b"step,loss\n1,\xff\xfe\n")
    for path, said in (
        (tmp_path / "none.csv", "cannot be read"),
        (tmp_path, "neither results.json nor trainer_state.json"),
        (tmp_path / "log.csv", "is not text"),
        (3, "not a path"),
    ):
        with pytest.raises(InvalidArgument, match=said):
            explain(path)


def test_a_folder_of_checkpoints_has_the_last_ones_log(tmp_path, displaced):
    for number in (100, 90):
        (tmp_path / f"checkpoint-{number}").mkdir()
        write_trl(displaced[:number], tmp_path / f"checkpoint-{number}")
    assert explain(tmp_path).rows == 101


def test_rows_are_read_one_by_one(tmp_path):
    # The file is larger than what is read at a time; rows lie across the borders.
    number = 12_000
    file = tmp_path / "trainer_state.json"
    history = [{"step": n, "loss": 0.7, "text": "]}{[" * 40} for n in range(number)]
    file.write_text(json.dumps({"log_history": history, "last": "x"}, indent=1))
    assert file.stat().st_size > 2 << 20
    assert explain(file).rows == number


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("train/rewards/chosen", "chosen_reward"),
        ("eval_rewards/accuracies", "held_out_accuracy"),
        ("eval/loss", "held_out_loss"),
        ("LR", "learning_rate"),
        ("train/reject_reward", "rejected_reward"),  # OpenRLHF
        ("train/acc", "accuracy"),
        ("train_loss", None),  # of the whole run, in the last row of the Hugging Face trainers
        ("eval_runtime", None),
    ],
)
def test_names_of_other_tools(name, known):
    assert canonical(name) == known


def of_grpo(random, step, rises):
    """A row of TRL's GRPOTrainer: the loss is an advantage's mean, 0 but for rounding."""
    share = step / 200
    return {
        "step": step,
        "loss": 1e-7 * random.normal(),
        "grad_norm": 0.07 + 0.01 * random.normal(),
        "learning_rate": 5e-7,
        "reward": 1.0 + rises * share + 0.1 * random.normal(),
        "reward_std": 0.4,
        "rewards/format_reward/mean": 0.5,
        "frac_reward_zero_std": 0.1,
        "completions/mean_length": 400 + 5 * random.normal(),
        "completion_length": 400.0,
        "completions/clipped_ratio": 0.25,
        "kl": 1e-4 * share,
        "num_tokens": 1e4 * step,
    }


@pytest.mark.parametrize("rises", [0.0, 1.0])
def test_the_loss_of_a_policy_gradient_is_no_sign_of_a_dead_rate(rises, tmp_path):
    random = np.random.default_rng(0)
    found = explain(write_trl([of_grpo(random, k, rises) for k in range(1, 201)], tmp_path))
    assert not found.effects
    (why,) = (one.why for one in found.unjudged if one.effect is Effect.DEAD_LEARNING_RATE)
    assert "policy gradient" in why
    shown = {one.name: one for one in found.courses}
    assert shown["ended"].first == shown["ended"].last == 0.75  # what is not cut off
    assert shown["reward"].beyond_noise == (rises > 0) and not shown["loss"].beyond_noise


def test_rows_of_llama_factory_have_their_own_name_of_a_step(tmp_path):
    lines = [
        {"current_steps": k, "total_steps": 90, "loss": 0.7 - 0.01 * k, "lr": 1e-6, "accuracy": 0.5}
        for k in range(60)
    ]
    lines.append({"current_steps": 60, "total_steps": 90, "epoch": 1.0, "percentage": 66.7})
    # Taken up again from step 30: what came first does not count.
    log = read_log(write_jsonl([row | {"loss": 9.0} for row in lines[30:60]] + lines, tmp_path))
    loss = log.columns["loss"]
    assert loss.step.tolist() == list(range(60)) and loss.value.max() == pytest.approx(0.7)


def test_a_log_of_supervised_training_shows_what_it_can(tmp_path):
    noise = 0.01 * np.random.default_rng(0).normal(size=80)
    rows = [
        {"step": k, "epoch": k / 16, "loss": 2 * 0.97**k + noise[k], "learning_rate": 2e-4}
        for k in range(80)
    ]
    rows += [{"step": k, "eval_loss": 1.0 - 0.005 * k, "eval_runtime": 3.0} for k in (15, 31, 47)]
    rows.append({"step": 80, "total_flos": 1e15, "train_loss": 0.9, "train_runtime": 60.0})
    found = explain(write_trl(rows, tmp_path))
    assert not found.effects and "looked for: diverged, dead learning rate" in found.summary
    assert [one.name for one in found.courses] == ["loss", "held_out_loss", "learning_rate"]


def test_too_few_rows_are_not_called_healthy(tmp_path):
    rows = [{"step": k, "rewards/margins": 40.0 * k, "eval_loss": 0.7} for k in range(4)]
    found = explain(write_trl(rows, tmp_path))
    assert "saturated" not in found.summary and "beta hardly counts" not in found.summary
    (margin,) = (one for one in found.courses if one.name == "margin")
    assert (margin.first, margin.last, margin.beyond_noise) == (0.0, 120.0, None)
    assert f"{margin.label}" in str(found) and "120" in str(found)


def test_the_picture_has_a_panel_for_every_scale(tmp_path, displaced):
    log = read_log(write_ours(displaced, tmp_path, iterations=2))
    figure = Figure()
    draw(figure, {"one": log, "other": log}, "a note")
    panels = {place.get_title(): place for place in figure.axes}
    assert {"loss", "log-probability, nats", "reward", "entropy, nats"} <= set(panels)
    assert "score" not in panels and figure.get_suptitle() == "a note"
    # Of each log two columns, in each iteration: faint rows once, means twice; and a border.
    lines: Any = panels["log-probability, nats"].lines
    borders = [line for line in lines if line.get_linestyle() == ":" and len(line.get_xdata()) == 2]
    assert len(lines) - len(borders) == 2 * 2 * (1 + 2) and len(borders) == 2
    assert borders[0].get_xdata()[0] == len(displaced)
    # What is drawn is what was logged.
    faint = min(lines, key=lambda line: line.get_linewidth())
    expected = [row["logps/chosen"] for row in displaced] * 2
    np.testing.assert_allclose(faint.get_ydata(), expected)


def change(values):
    found = levels(Series(np.zeros(100), np.arange(100.0), values))
    assert found is not None
    return found.change()


def test_levels_hold_noise_and_see_a_jump():
    random, wrong, missed = np.random.default_rng(0), 0, 0
    for _ in range(200):
        noise = random.normal(size=100)
        low, high = change(noise)
        wrong += not low <= 0 <= high
        jump = noise + 5.0 * (np.arange(100) > 70)
        missed += change(jump)[0] <= 0
    assert wrong <= 10 and missed <= 10


SHOWN = {
    Effect.DIVERGED: lambda shown: "diverges" in shown,
    Effect.DEAD_LEARNING_RATE: lambda shown: shown[5e-7] < 1e-4 and shown[0.1] > 0.3,
    Effect.LOST_UPDATES: lambda shown: shown["bfloat16"] < 0.1 and shown["float32"] > 0.99,
    Effect.BETA_HARDLY_COUNTS: lambda shown: (
        shown[20, 0.05] < 1.1 * shown[20, 0.2] and shown[2000, 0.05] > 3.9 * shown[2000, 0.2]
    ),
    Effect.SATURATED_LOSS: lambda shown: shown[2000][0] < 1e-3 and shown[2000][1] > 7,
    Effect.DISPLACEMENT: lambda shown: shown[1] < shown[0] < -1 and shown[2] > 1,
    Effect.LENGTH_DRIFT: lambda shown: shown[-1] > 1.5 * shown[0],
    Effect.ENTROPY_COLLAPSE: lambda shown: shown[-1] < 0.01 * shown[0],
    Effect.KL_EXPLOSION: lambda shown: shown[-1] > 20,
    Effect.OVER_OPTIMISATION: lambda shown: (
        (np.diff(shown[0]) > 0).all() and shown[1].max() > shown[1][-1] + 0.05 > shown[1][0]
    ),
}


@pytest.mark.parametrize("effect", Effect)
def test_the_command_shows_the_effect_on_a_table(effect, capsys):
    names: dict = {}
    exec(COMMANDS[effect], names)
    assert SHOWN[effect](names["shown"])
    assert capsys.readouterr().out
