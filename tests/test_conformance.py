"""What a loss is said to be: losses written by hand in NumPy, faults planted, and the library's."""

import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit

import apo_sim as apo
from apo_sim import cli
from apo_sim.conformance import convert, identify, load_loss, on_log_probabilities
from apo_sim.errors import InvalidArgument, MissingExtra
from apo_sim.geometry.links import AlphaDivergence, ForwardKL, JensenShannon, MixedChiSquare
from apo_sim.losses import DPO, IPO, KTO, SPPO, ConservativeDPO, Extra, RobustDPO, SLiC
from apo_sim.methods.simpo import WithMargin


def softplus(x):
    return np.logaddexp(0.0, x)


def lead(w, lo, rw, rl):
    return w - rw - lo + rl


def whats(found):
    return sorted(difference.what for difference in found.differences)


def close(found, **expected):
    assert found.parameters.keys() >= expected.keys(), found.parameters
    for name, value in expected.items():
        assert found.parameters[name] == pytest.approx(value, rel=1e-5), name


def cdpo(e, beta=0.1):
    return lambda *x: (1 - e) * softplus(-beta * lead(*x)) + e * softplus(beta * lead(*x))


def robust(e, beta=0.1):
    def loss(*x):
        d = beta * lead(*x)
        return ((1 - e) * softplus(-d) - e * softplus(d)) / (1 - 2 * e)

    return loss


def simpo(
    policy_chosen_logps, policy_rejected_logps, chosen_lengths, rejected_lengths, beta, gamma
):
    d = policy_chosen_logps / chosen_lengths - policy_rejected_logps / rejected_lengths
    return softplus(gamma - beta * d)


def ipo_per_token(w, lo, rw, rl, chosen_lengths, rejected_lengths):
    return ((w - rw) / chosen_lengths - (lo - rl) / rejected_lengths - 1 / (2 * 0.1)) ** 2


def sppo(w, lo, rw, rl, half=0.5, beta=0.2):
    return half * ((beta * (w - rw) - 0.5) ** 2 + (beta * (lo - rl) + 0.5) ** 2)


def sppo_exact(
    policy_chosen_logps, policy_rejected_logps, ref_chosen_logps, ref_rejected_logps, log_normalizer
):
    h, k = policy_chosen_logps - ref_chosen_logps, policy_rejected_logps - ref_rejected_logps
    return 0.5 * ((0.2 * h - 1 + log_normalizer) ** 2 + (0.2 * k + log_normalizer) ** 2)


def sppo_of_the_public_code(w, lo, rw, rl):
    return (w - rw - 0.5 / 0.1) ** 2 + (lo - rl + 0.5 / 0.1) ** 2


def kto(policy_logps, ref_logps, labels, policy_kl_logps, ref_kl_logps):
    z = np.maximum(0.0, (policy_kl_logps - ref_kl_logps).mean())
    h = 0.1 * (policy_logps - ref_logps - z)
    return np.where(labels, 1.5 * expit(-h), 0.7 * expit(h))


def chi(w, lo, rw, rl):
    h, k = w - rw, lo - rl
    return softplus(-0.1 * (np.exp(h) + h - np.exp(k) - k))


def xpo(sign):
    def loss(
        policy_chosen_logps,
        policy_rejected_logps,
        ref_chosen_logps,
        ref_rejected_logps,
        chosen_from_ref,
    ):
        given = (
            policy_chosen_logps,
            policy_rejected_logps,
            ref_chosen_logps,
            ref_rejected_logps,
        )
        bonus = np.where(chosen_from_ref, policy_chosen_logps, policy_rejected_logps)
        return softplus(-0.5 * lead(*given)) + sign * 0.01 * bonus

    return loss


@pytest.mark.parametrize(
    ("loss", "settings", "name", "parameters"),
    [
        (lambda *x: softplus(-0.1 * lead(*x)), {}, "DPO", {"beta": 0.1}),
        (cdpo(0.1), {}, "cDPO", {"beta": 0.1, "noise": 0.1}),
        (robust(0.2), {}, "robust DPO", {"beta": 0.1, "noise": 0.2}),
        (lambda *x: (lead(*x) - 2.5) ** 2, {}, "IPO", {"beta": 1.0, "tau": 0.4}),
        (sppo, {}, "SPPO", {"beta": 0.2, "log_normalizer": 0.5}),
        (sppo_exact, {}, "SPPO", {"beta": 0.2}),
        (
            lambda *x: np.maximum(0, 2 - 0.3 * lead(*x)),
            {},
            "SLiC",
            {"beta": 0.3, "margin": 2.0},
        ),
        (kto, {}, "KTO", {"beta": 0.1, "desirable": 1.5, "undesirable": 0.7}),
        (simpo, {"beta": 2.0, "gamma": 1.0}, "SimPO", {"beta": 2.0, "margin": 1.0}),
        (chi, {}, "chi-PO", {"beta": 0.1}),
        (xpo(+1), {}, "XPO", {"beta": 0.5, "alpha": 0.01}),
    ],
)
def test_losses_by_hand_are_known_with_their_parameters(loss, settings, name, parameters):
    found = identify(loss, **settings)
    assert (found.name, found.differences) == (name, ())
    close(found, **parameters)


RNG = np.random.default_rng(3)
BETAS = [0.01, float(np.exp(RNG.uniform(np.log(0.02), np.log(3.0)))), 9.0]


@pytest.mark.parametrize("beta", BETAS)
@pytest.mark.parametrize(
    ("loss", "name", "changes"),
    [
        (DPO(), "DPO", {}),
        (ConservativeDPO(0.3), "cDPO", {}),
        (RobustDPO(0.05), "robust DPO", {}),
        (IPO(tau=0.7), "IPO", {}),
        (SPPO(), "SPPO", {"log_normalizer": None}),
        (SLiC(2.0), "SLiC", {}),
        (KTO(1.3, 0.8), "KTO", {}),
        (WithMargin(1.5), "SimPO", {"reference": False, "mean": True}),
    ],
)
def test_the_losses_of_the_library_are_themselves(loss, name, changes, beta):
    found = identify(on_log_probabilities(loss, beta, **changes))
    assert (found.name, found.differences, found.framework) == (name, (), "jax")
    close(found, beta=beta)
    for field in ("noise", "tau", "margin", "desirable", "undesirable"):
        if hasattr(loss, field):
            close(found, **{field: getattr(loss, field)})


@pytest.mark.parametrize(
    ("link", "name"),
    [
        (ForwardKL(), "f-DPO (forward KL)"),
        (JensenShannon(), "f-DPO (Jensen-Shannon)"),
        (AlphaDivergence(0.35), "f-DPO (alpha divergence)"),
        (MixedChiSquare(), "chi-PO"),
    ],
)
def test_the_links_of_the_library_are_themselves(link, name):
    found = identify(on_log_probabilities(DPO(), 0.2, link=link))
    assert (found.name, found.differences) == (name, ())
    close(found, beta=0.2, **({"alpha": 0.35} if hasattr(link, "alpha") else {}))


@pytest.mark.parametrize("loss", [apo.DPO(), apo.KTO()])
def test_a_loss_of_the_library_may_be_passed_as_it_is(loss):
    found = identify(loss, beta=0.3)
    assert (found.name, found.differences) == (type(loss).__name__, ())
    close(found, beta=0.3)


def twice(w, lo, rw, rl, beta=0.1):
    return softplus(-beta * (beta * (w - rw) - beta * (lo - rl)))


def ipo_twice(w, lo, rw, rl, beta=0.1):
    return (beta * lead(w, lo, rw, rl) - 1 / (2 * beta)) ** 2


def unsmoothed(w, lo, rw, rl, beta=0.1, label_smoothing=0.0):
    return softplus(-beta * lead(w, lo, rw, rl))


def per_token(w, lo, rw, rl, chosen_lengths, rejected_lengths):
    return softplus(-0.1 * ((w - rw) / chosen_lengths - (lo - rl) / rejected_lengths))


def simpo_of_sums(policy_chosen_logps, policy_rejected_logps, chosen_lengths, rejected_lengths):
    return softplus(1.0 - 0.1 * (policy_chosen_logps - policy_rejected_logps))


def kto_by_jax(anchor):
    def loss(policy_logps, ref_logps, labels, policy_kl_logps, ref_kl_logps):
        h = 0.1 * (policy_logps - ref_logps - anchor(policy_kl_logps - ref_kl_logps))
        return jnp.where(labels, jax.nn.sigmoid(-h), jax.nn.sigmoid(h))

    return loss


def stopped(function):
    return lambda apart: jax.lax.stop_gradient(function(apart.mean()))


@pytest.mark.parametrize(
    ("loss", "settings", "name", "what"),
    [
        (xpo(-1), {}, "XPO", ["bonus"]),
        (per_token, {}, "DPO", ["tokens"]),
        (ipo_per_token, {}, "IPO", ["tokens"]),
        (simpo_of_sums, {}, "SimPO", ["tokens"]),
        (lambda w, lo, rw, rl: softplus(-lead(lo, w, rl, rw)), {}, "DPO", ["swapped"]),
        (lambda w, lo, rw, rl: cdpo(0.1)(lo, w, rl, rw), {}, "cDPO", ["swapped"]),
        (lambda w, lo, rw, rl: (lead(lo, w, rl, rw) - 5) ** 2, {}, "IPO", ["swapped"]),
        (lambda w, lo, rw, rl: sppo(lo, w, rl, rw), {}, "SPPO", ["swapped"]),
        (
            lambda w, lo, rw, rl: np.maximum(0, 1 - lead(lo, w, rl, rw)),
            {},
            "SLiC",
            ["swapped"],
        ),
        (unsmoothed, {}, "DPO", ["ignored"]),
        (unsmoothed, {"beta": 0.1, "label_smoothing": 0.2}, "DPO", ["ignored"]),
        (cdpo(0.0), {"label_smoothing": 0.2}, "DPO", ["ignored"]),
        (lambda *x: sppo(*x, half=1.0), {}, "SPPO", ["scale"]),
        (sppo_of_the_public_code, {}, "SPPO", ["scale"]),
        (twice, {"beta": 0.1}, "DPO", ["applied twice"]),
        (cdpo(0.0, beta=0.09), {"beta": 0.3}, "DPO", ["applied twice"]),
        (ipo_twice, {"beta": 0.1}, "IPO", ["applied twice"]),
        (cdpo(0.0, beta=0.5), {"beta": 0.3}, "DPO", ["parameter"]),
        (lambda w, lo, rw, rl: softplus(lo - w), {}, "DPO", ["reference"]),
        (lambda w, lo, rw, rl: (w - lo - 5) ** 2, {}, "IPO", ["reference"]),
        (lambda w, lo, rw, rl: sppo(w, lo, 0 * rw, 0 * rl), {}, "SPPO", ["reference"]),
        (lambda *x: 2.5 * softplus(-lead(*x)), {}, "DPO", ["scale"]),
        (lambda *x: softplus(1 - lead(*x)), {}, "DPO", ["margin"]),
        (lambda *x: softplus(-lead(*x)) - 0.3 * x[0], {}, "DPO", ["likelihood"]),
        (kto_by_jax(lambda z: jnp.maximum(0, z.mean())), {}, "KTO", ["detached"]),
        (kto_by_jax(stopped(lambda z: z)), {}, "KTO", ["anchor"]),
        (kto_by_jax(stopped(lambda z: jnp.maximum(0, -z))), {}, "KTO", ["anchor"]),
        (kto_by_jax(jnp.zeros_like), {}, "KTO", ["anchor"]),
        (kto_by_jax(stopped(lambda z: jnp.maximum(0, z))), {}, "KTO", []),
    ],
)
def test_planted_faults_are_found_and_nothing_else(loss, settings, name, what):
    found = identify(loss, **settings)
    assert (found.name, whats(found)) == (name, what), str(found)


def test_what_is_said_of_a_fault():
    assert "a factor 1/2 is missing" in str(identify(lambda *x: sppo(*x, half=1.0)))
    assert "eta = 1 / beta" in str(identify(sppo_of_the_public_code))
    assert "0.1^2" in str(identify(twice, beta=0.1))
    assert "label_smoothing is ignored" in str(identify(unsmoothed))


def test_ipo_under_the_name_of_another_tool_is_no_fault():
    def loss(w, lo, rw, rl, beta=0.1):
        return (lead(w, lo, rw, rl) - 1 / (2 * beta)) ** 2

    assert identify(loss, beta=0.25).differences == ()
    close(identify(loss, beta=0.25), tau=0.5)


def test_value_without_a_gradient_is_seen():
    def loss(w, lo, rw, rl):
        d = w - rw - lo + rl
        return jax.nn.softplus(-d) + jax.lax.stop_gradient(jnp.sin(d))

    assert whats(identify(loss)) == ["value"]


@pytest.mark.parametrize(
    ("loss", "wanted"),
    [
        (lambda *x: np.exp(-0.1 * lead(*x)), lambda p: np.log(p / (1 - p)) / 0.2),
        (
            lambda *x: np.maximum(0, 2 - lead(*x)) ** 2,
            lambda p: 2 * (2 * p - 1),
        ),
        # One part in a thousand is enough not to be DPO, and moves the target by as little.
        (lambda *x: softplus(-lead(*x)) + 1e-3 * np.exp(-0.5 * lead(*x) ** 2), None),
    ],
)
def test_of_a_loss_that_is_unknown_the_target_is_said(loss, wanted):
    found = identify(loss)
    assert found.name is None and found.target is not None
    assert found.target.reference and not found.target.mean
    for p, d in found.target.difference.items():
        if wanted is not None:
            assert d == pytest.approx(wanted(p), abs=1e-4)
    assert "not a known loss" in str(found) and "at p = 0.9" in str(found)


def test_an_unknown_loss_of_single_responses_has_no_target():
    found = identify(lambda w, lo, rw, rl: softplus(rw - w) + softplus(lo - rl))
    assert (found.name, found.target) == (None, None)


def test_targets_of_hinge_and_of_certain_losses():
    def loss(w, lo, rw, rl):  # neither hinge nor logistic, flat between -1 and 1 for p = 1/2
        d = lead(w, lo, rw, rl)
        return np.maximum(0, 1 - d) + 0.5 * np.maximum(0, -3 - d)

    target = identify(loss).target
    assert target is not None
    assert target.difference[0.5] == pytest.approx(0.0, abs=0.2)
    assert target.difference[0.9] == pytest.approx(1.0, abs=1e-3)


def test_a_loss_may_return_a_mean_or_a_tuple_or_couple_its_batch():
    mean = identify(lambda *x: softplus(-lead(*x)).mean())
    several = identify(lambda *x: (softplus(-lead(*x)), x[0], {}))
    assert (mean.name, mean.differences) == (several.name, several.differences) == ("DPO", ())
    sorts = identify(lambda *x: softplus(np.sort(x[1] - x[3]) - np.sort(x[0] - x[2])))
    assert (sorts.name, whats(sorts)) == ("DPO", ["batch"])


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (3.0, "loss = 3.0 is not callable"),
        (DPO, "is not callable"),
        (lambda a, b: a - b, "takes different arguments"),
        (lambda a, b, c: a - b, "takes different arguments"),
        (lambda a, b, c, d: "x", "does not return numbers"),
        (lambda a, b, c, d: a.no_such_method(), "fails (AttributeError"),
        (lambda a, b, c, d: jnp.zeros_like(a, int), "fails (TypeError: grad requires real-valued"),
        (lambda *x: x[0] if len(x[0]) == 2 else {}["more"], "fails (KeyError: 'more')"),
        (lambda a, b, c, d: a * np.nan, "is not finite"),
        (lambda policy_chosen_logps, policy_rejected_logps, x: 0.0, "also takes x"),
    ],
)
def test_what_cannot_be_asked_is_said_in_a_line(loss, message):
    with pytest.raises(InvalidArgument) as failure:
        identify(loss)
    assert message in str(failure.value) and "\n" not in str(failure.value)


def test_nothing_depends_on_the_precision_of_the_caller():
    with jax.enable_x64(False):
        found = identify(on_log_probabilities(DPO(), 0.1))
    assert found.name == "DPO" and found.error < 1e-8


# The losses of each tool as it writes them: of the log-ratios u of the winner and v of the loser,
# which are means over the tokens for SimPO.
FORMULAS: dict[str, dict[str, Any]] = {
    "cdpo": {
        "apo_sim": lambda u, v, beta, noise: (
            (1 - noise) * softplus(-beta * (u - v)) + noise * softplus(beta * (u - v))
        ),
        "trl": lambda u, v, beta, label_smoothing: cdpo(label_smoothing, beta)(u, v, 0, 0),
        "openrlhf": lambda u, v, beta, label_smoothing: cdpo(label_smoothing, beta)(u, v, 0, 0),
    },
    "robust": {
        "apo_sim": lambda u, v, beta, noise: RobustDPO(noise)(
            jnp.asarray(beta * u), jnp.asarray(beta * v), Extra()
        ),
        "trl": lambda u, v, beta, label_smoothing: robust(label_smoothing, beta)(u, v, 0, 0),
    },
    "kto": {
        "apo_sim": lambda u, v, beta, desirable, undesirable: (
            desirable * expit(-beta * u) + undesirable * expit(beta * v)
        ),
        "trl": lambda u, v, beta, desirable_weight, undesirable_weight: (
            desirable_weight * (1 - expit(beta * u)) + undesirable_weight * (1 - expit(-beta * v))
        ),
    },
    "f_dpo_alpha": {
        "apo_sim": lambda u, v, beta, alpha: softplus(
            beta * (np.exp(-alpha * u) - np.exp(-alpha * v)) / alpha
        ),
        "trl": lambda u, v, beta, f_alpha_divergence_coef: softplus(
            -beta
            * (
                np.expm1((f_alpha_divergence_coef - 1) * u)
                - np.expm1((f_alpha_divergence_coef - 1) * v)
            )
            / (f_alpha_divergence_coef - 1)
        ),
    },
    "ipo": {
        "apo_sim": lambda u, v, beta, tau: (beta * (u - v) - 1 / tau) ** 2,
        "paper": lambda u, v, tau: (u - v - 1 / (2 * tau)) ** 2,
        "trl": lambda u, v, beta: (u - v - 1 / (2 * beta)) ** 2,
        "openrlhf": lambda u, v, beta: (u - v - 1 / (2 * beta)) ** 2,
    },
    "simpo": {
        "apo_sim": lambda u, v, beta, margin: softplus(margin - beta * (u - v)),
        "paper": lambda u, v, beta, gamma: softplus(gamma - beta * u + beta * v),
        "trl": lambda u, v, beta, simpo_gamma: softplus(-beta * (u - v - simpo_gamma / beta)),
        "authors": lambda u, v, beta, gamma_beta_ratio: softplus(
            -beta * (u - v - gamma_beta_ratio)
        ),
    },
    "slic": {
        "apo_sim": lambda u, v, beta, margin: np.maximum(0, margin - beta * (u - v)),
        "trl": lambda u, v, beta: np.maximum(0, 1 - beta * (u - v)),
    },
    "sppo": {
        "apo_sim": lambda u, v, beta: sppo(u, v, 0, 0, beta=beta),
        "paper": lambda u, v, eta: (u - eta / 2) ** 2 + (v + eta / 2) ** 2,
        "trl": lambda u, v, beta: (u - 0.5 / beta) ** 2 + (v + 0.5 / beta) ** 2,
    },
}
GIVEN = {
    "beta": 0.3,
    "tau": 0.7,
    "noise": 0.2,
    "label_smoothing": 0.2,
    "margin": 1.7,
    "gamma": 1.7,
    "simpo_gamma": 1.7,
    "gamma_beta_ratio": 0.6,
    "eta": 2.5,
    "alpha": 0.3,
    "f_alpha_divergence_coef": 0.3,
    "desirable": 1.2,
    "undesirable": 0.6,
    "desirable_weight": 1.2,
    "undesirable_weight": 0.6,
}


@pytest.mark.parametrize(
    ("loss", "source", "target"),
    [(n, a, b) for n, tools in FORMULAS.items() for a in tools for b in tools],
)
def test_conversion_leaves_the_loss_as_it_is_but_for_a_factor(loss, source, target):
    before, after = FORMULAS[loss][source], FORMULAS[loss][target]
    names = before.__code__.co_varnames[2 : before.__code__.co_argcount]
    given = {name: GIVEN[name] for name in names}
    found = convert(loss, source, target, **given)
    u, v = RNG.normal(size=(2, 50))
    old, new = before(u, v, **given), after(u, v, **found.parameters)
    np.testing.assert_allclose(old, found.factor * new, rtol=1e-9, atol=1e-12)
    if source == target:
        again = convert(loss, target, source, **found.parameters)
        assert again.parameters == pytest.approx(found.parameters)


@pytest.mark.parametrize(
    ("arguments", "parameters", "message"),
    [
        (("ipoo", "trl", "apo_sim"), {}, "did you mean 'ipo'?"),
        (("ipo", "trll", "apo_sim"), {}, "did you mean 'trl'?"),
        (("ipo", "trl", "apo_sim"), {}, "beta = None is missing"),
        (("ipo", "trl", "apo_sim"), {"beta": -1.0}, "beta = -1.0 must be"),
        (("ipo", "trl", "apo_sim"), {"tau": 1.0}, "parameters = 'tau' is unknown"),
        (("cdpo", "trl", "apo_sim"), {"beta": 1.0, "label_smoothing": 0.5}, "in [0, 1/2)"),
    ],
)
def test_conversion_refuses(arguments, parameters, message):
    with pytest.raises(InvalidArgument) as failure:
        convert(*arguments, **parameters)
    assert message in str(failure.value)


MODULE = """
import numpy as np

class Losses:
    @staticmethod
    def dpo(w, lo, rw, rl, beta=0.1):
        return np.logaddexp(0.0, -beta * (w - rw - lo + rl))
"""


def test_the_command_names_a_loss_of_a_file_in_this_folder(capsys, monkeypatch, tmp_path):
    (tmp_path / "losses_by_hand.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    path = list(sys.path)
    status = cli.main(["conform", "losses_by_hand:Losses.dpo", "--settings", "beta=0.5"])
    out = capsys.readouterr().out
    assert status == 0 and "This is DPO with beta = 0.5" in out
    assert sys.path == path


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["no_such_module_here:dpo"], "names a module that does not exist"),
        (["json:no_such_function"], "is not defined in its module"),
        (["json"], "is not the name of a loss"),
        (["json:dumps"], "takes different arguments"),
        (["json:dumps", "--settings", "beta"], "write NAME=NUMBER"),
        (["trl:dpq"], "did you mean 'dpo'?"),
    ],
)
def test_the_command_refuses_in_a_line(capsys, arguments, message):
    assert cli.main(["conform", *arguments]) == cli.USAGE
    out, err = capsys.readouterr()
    assert out == "" and message in err and err.count("\n") == 1


def test_what_is_missing_for_trl_is_said(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "trl", None)
    with pytest.raises(MissingExtra, match=r"pip install 'apo-sim\[bench\]'"):
        load_loss("trl:dpo")
    assert cli.main(["conform", "trl:dpo"]) == cli.USAGE
    assert "apo-sim[bench]" in capsys.readouterr().err


def test_a_module_that_lacks_something_is_named(capsys, tmp_path, monkeypatch):
    (tmp_path / "lacks_something.py").write_text("import no_such_module_here\n")
    monkeypatch.chdir(tmp_path)
    assert cli.main(["conform", "lacks_something:dpo"]) == cli.USAGE
    said = capsys.readouterr().err
    assert "No module named 'no_such_module_here' (lacks_something.py:1)" in said
