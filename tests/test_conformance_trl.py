"""TRL's losses, inside its own trainers, against formulas written by hand and the library's.

Where TRL differs from the paper that a loss is named after, the name of the test says so, and the
test by how much.
"""

import dataclasses
import importlib.util
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.special import expit

from apo_sim.conformance import convert, identify, load_loss, on_log_probabilities, trl
from apo_sim.conformance._calling import bind, observe
from apo_sim.conformance.inputs import random_inputs
from apo_sim.losses import DPO, IPO, KTO, SPPO, ConservativeDPO, RobustDPO, SLiC
from apo_sim.methods.simpo import WithMargin

pytest.importorskip("trl")
torch: Any = pytest.importorskip("torch")

ROOT = Path(__file__).parents[1]
SHORT = random_inputs(10, seed=5)
# Not so far apart that the exponentials of a link leave float32.
MILD = SHORT.rows(np.abs(SHORT.policy_chosen - SHORT.ref_chosen) < 20)


def softplus(x):
    return np.logaddexp(0.0, x)


def both(name, ours, inputs=SHORT, **settings):
    """What TRL's loss and another one answer to the same pairs: values and gradients."""
    found = observe(bind(load_loss(f"trl:{name}"), settings), inputs)
    other = observe(bind(ours, {}), inputs)
    return found, other


def agree(name, ours, factor=1.0, constant=0.0, inputs=SHORT, rtol=1e-9, **settings):
    found, other = both(name, ours, inputs, **settings)
    tolerance: Any = {"rtol": rtol, "atol": rtol * np.abs(found.gradient).max()}
    np.testing.assert_allclose(found.gradient, factor * other.gradient, **tolerance)
    np.testing.assert_allclose(found.values, factor * other.values + constant, rtol=1e-6, atol=1e-6)


BETA = 0.3
CONVERTED = convert("ipo", "trl", "apo_sim", beta=BETA).parameters
OF_IPO = on_log_probabilities(IPO(CONVERTED["tau"]), CONVERTED["beta"])
PER_TOKEN = on_log_probabilities(IPO(CONVERTED["tau"]), CONVERTED["beta"], mean=True)


@pytest.mark.parametrize(
    ("name", "ours", "settings"),
    [
        ("dpo", on_log_probabilities(DPO(), BETA), {}),
        ("sigmoid_norm", on_log_probabilities(DPO(), BETA, mean=True), {}),
        ("hinge", on_log_probabilities(SLiC(), BETA), {}),
        ("ipo", PER_TOKEN, {}),
        ("robust", on_log_probabilities(RobustDPO(0.2), BETA), {"label_smoothing": 0.2}),
        ("online_dpo", on_log_probabilities(DPO(), BETA), {}),
        ("online_ipo", OF_IPO, {}),
        (
            "kto",
            on_log_probabilities(KTO(1.5, 0.7), BETA),
            {"desirable_weight": 1.5, "undesirable_weight": 0.7},
        ),
        (
            "simpo",
            on_log_probabilities(WithMargin(0.6), BETA, reference=False, mean=True),
            {"simpo_gamma": 0.6},
        ),
        (
            "cpo",
            on_log_probabilities(ConservativeDPO(0.1), BETA, reference=False),
            {"label_smoothing": 0.1},
        ),
        (
            "tpo_l",
            on_log_probabilities(WithMargin(0.6), BETA, reference=False, mean=True),
            {"tpo_l_gamma": 0.6},
        ),
    ],
)
def test_losses_that_both_have_agree_in_value_and_gradient(name, ours, settings):
    agree(name, ours, beta=BETA, **settings)


def test_sppo_hard_is_the_library_s_up_to_a_factor_of_2_over_beta_squared():
    factor = convert("sppo", "trl", "apo_sim", beta=BETA).factor
    assert factor == pytest.approx(2 / BETA**2)
    agree("sppo_hard", on_log_probabilities(SPPO(), BETA, log_normalizer=0.5), factor, beta=BETA)


def test_sppo_hard_is_wu_et_al_s_with_hard_labels():
    eta = convert("sppo", "trl", "paper", beta=BETA).parameters["eta"]

    def paper(w, lo, rw, rl):
        return (w - rw - eta * (1 - 0.5)) ** 2 + (lo - rl - eta * (0 - 0.5)) ** 2

    agree("sppo_hard", paper, rtol=1e-6, beta=BETA)


def test_anchored_po_is_kto_without_z0_and_a_constant_1_above_its_paper():
    def paper(w, lo, rw, rl):  # D'Oosterlinck et al. (2024), equation (7)
        return -expit(BETA * (w - rw)) + expit(BETA * (lo - rl))

    agree("apo_zero", paper, constant=1.0, rtol=1e-6, beta=BETA)
    agree("apo_zero", on_log_probabilities(KTO(), BETA, anchor="none"), beta=BETA)


@pytest.mark.parametrize("name", ["dpo", "hinge", "ipo", "sigmoid_norm", "f_js"])
def test_label_smoothing_of_dpo_trainer_is_ignored(name):
    one = observe(bind(load_loss(f"trl:{name}"), {"beta": BETA}), SHORT)
    other = observe(bind(load_loss(f"trl:{name}"), {"beta": BETA, "label_smoothing": 0.3}), SHORT)
    np.testing.assert_array_equal(one.gradient, other.gradient)
    assert "ignored" in [found.what for found in identify(load_loss("trl:dpo")).differences]


@pytest.mark.parametrize("length", [1, 8])
def test_ipo_is_that_of_the_paper_only_for_one_token_else_tau_is_beta_over_the_length(length):
    same = dataclasses.replace(
        SHORT,
        chosen_lengths=np.full(len(SHORT.chosen_lengths), length),
        rejected_lengths=np.full(len(SHORT.chosen_lengths), length),
    )
    tau = BETA / length

    def paper(w, lo, rw, rl):  # Azar et al. (2024), equation (17)
        return (w - rw - lo + rl - 1 / (2 * tau)) ** 2

    agree("ipo", paper, factor=1 / length**2, inputs=same, rtol=1e-6, beta=BETA)


def test_the_two_trainers_of_one_version_mean_two_things_by_ipo():
    with_mean, with_sum = (
        [found.what for found in identify(load_loss(name), beta=0.1).differences]
        for name in ("trl:ipo", "trl:online_ipo")
    )
    assert "tokens" in with_mean and "tokens" not in with_sum


def test_the_coefficient_of_the_alpha_divergence_is_one_less_f_dpo_s_and_fails_in_float64():
    given = {"beta": BETA, "f_alpha_divergence_coef": 0.7}
    alpha = convert("f_dpo_alpha", "trl", "apo_sim", **given).parameters["alpha"]

    def paper(w, lo, rw, rl):  # f'(u) = (1 - u^-alpha) / alpha
        return softplus(-BETA * (np.exp(-alpha * (lo - rl)) - np.exp(-alpha * (w - rw))) / alpha)

    agree("f_alpha", paper, inputs=MILD, rtol=1e-4, **given)
    with pytest.raises(KeyError):
        load_loss("trl:f_alpha")(
            *(torch.full((1,), -1.0, dtype=torch.float64) for _ in range(4)),
            *(torch.ones(1) for _ in range(2)),
        )


def test_losses_of_a_difference_that_the_library_has_not_ask_for_what_their_formula_does():
    e, beta = 1e-3, 0.1
    exo = identify(load_loss("trl:exo_pair"), beta=beta, label_smoothing=e)
    assert exo.name is None and exo.target is not None
    # p = s(beta D) minimises p KL-like terms linearly: beta D* = (2 p - 1) log((1 - e) / e).
    for p, d in exo.target.difference.items():
        assert d == pytest.approx((2 * p - 1) * np.log((1 - e) / e) / beta, abs=1e-3)


def test_kto_s_anchor_is_detached_and_clamped():
    found = identify(load_loss("trl:kto"), beta=0.1)
    assert (found.name, found.differences, found.framework) == ("KTO", (), "torch")
    assert found.error < 1e-12


def test_orpo_is_the_log_odds_ratio_of_means():
    def paper(  # Hong, Lee and Thorne (2024), equation (7)
        policy_chosen_logps, policy_rejected_logps, chosen_lengths, rejected_lengths
    ):
        won, lost = policy_chosen_logps / chosen_lengths, policy_rejected_logps / rejected_lengths
        odds = won - np.log(-np.expm1(won)) - lost + np.log(-np.expm1(lost))
        return BETA * softplus(-odds)

    agree("orpo", paper, rtol=1e-4, beta=BETA)


@pytest.mark.parametrize("name", ["aot", "aot_unpaired", "sft"])
def test_losses_of_a_whole_batch_are_said_to_be_such(name):
    found = identify(load_loss(f"trl:{name}"))
    assert "batch" in [difference.what for difference in found.differences]


def test_the_page_has_a_row_for_every_loss_and_is_as_the_script_writes_it():
    spec = importlib.util.spec_from_file_location(
        "conformance_table", ROOT / "experiments/conformance_table.py"
    )
    assert spec is not None and spec.loader is not None
    table = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = table
    spec.loader.exec_module(table)
    page = table.PAGE.read_text()
    if f"TRL {trl.version()}, " not in page:
        pytest.skip("the page is of another version of TRL")
    assert all(f"\n| {name} |" in page for name in trl.NAMES)
    for name in ("ipo", "simpo"):
        row = table.row(name).split(" | ")
        assert any(line.split(" | ")[:3] == row[:3] for line in page.splitlines())
