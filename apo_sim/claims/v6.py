"""The reviews: extrapolating a network's parameters stands in for (3.6), on sequences too."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from apo_sim.claims import judge
from apo_sim.claims._studies import worst
from apo_sim.claims.registry import claim
from apo_sim.claims.verdict import Finding, Study
from apo_sim.families import lattice, ring_bandit, sequence_bandit
from apo_sim.losses import DPO
from apo_sim.momentum import Constant
from apo_sim.optimizers import AdamW
from apo_sim.policies import MLP, Recurrent
from apo_sim.problems import Bandit
from apo_sim.proximal import ByGradient
from apo_sim.training import train

ALPHA, BETA, ITERATIONS = 0.3, 1.0, 10
SIDE, VOCABULARY, LENGTH = 9, 3, 3
LABELS = {"ring": "fully connected, on the ring", "sequences": "recurrent, over sequences"}
WIDTH, LEARNING_RATE, STEPS = 16, 0.01, 100
# Of what the extrapolation does to the policy, so much may be missed.
SHARE = 0.1
# One interval for each network, both together at 95 %.
TOGETHER = 1 - 0.05 / len(LABELS)


@claim(
    id="V6",
    title="Extrapolating a network's parameters approximates (3.6)",
    source="reviews",
    statement=r"For networks, over sequences too, extrapolating parameters by $\alpha = 0.3$ "
    r"approximates (3.6): $\mathrm{KL}(\pi^{(3.6)}_t \,\|\, \pi_{\theta_t})$, summed over a run, "
    r"is at most a tenth of $\mathrm{KL}(\pi^{(3.6)}_t \,\|\, \hat\pi_t)$, which is what not "
    r"extrapolating at all would miss.",
    control=r"the sign of $\alpha$ in parameters",
)
def parameters_approximate(study: Study) -> Finding:
    r"""Hold what parameter extrapolation misses of (3.6) against what (3.6) does.

    Problem: a fully connected network on the ring (81 actions) and a recurrent one over 27
    sequences, trained on exact preferences with momentum in parameters, beta = 1, 10 iterations;
    in each the exact (3.6) of the same two policies before extrapolation.

    Method: paired over random networks (and rewards, for sequences); each network on its own, the
    verdict is the worse.

    Guarantee: statistical, for networks of this size at random starts; one optimiser (AdamW).

    Reference: the reviews of the paper, its section 5.2.

    Example:
        >>> from apo_sim.claims import describe
        >>> describe("V6").source
        'reviews'
    """
    seeds = study.pick(quick=24, full=200)
    found = {name: _measured(name, seeds, study) for name in LABELS}
    share = {name: missed.sum(1) / moved.sum(1) for name, (missed, moved) in found.items()}
    first = {name: missed[:, 0] / moved[:, 0] for name, (missed, moved) in found.items()}
    note = " ".join(
        f"{LABELS[name].capitalize()}: {np.median(share[name]):.2g} of it is missed over the run, "
        f"{np.median(first[name]):.2g} in the first iteration (medians of {seeds})."
        for name in LABELS
    )
    findings = [
        judge.compare(
            missed.sum(1),
            SHARE * moved.sum(1),
            confidence=TOGETHER,
            unit="KL divergence (nats), above a tenth of what (3.6) moves",
            witness=lambda _, name=name: {"network": name, "share_missed": share[name]},
            note=note,
            draw=_figure(found),
        )
        for name, (missed, moved) in found.items()
    ]
    return worst(findings)


def _measured(name: str, seeds: int, study: Study) -> tuple[np.ndarray, np.ndarray]:
    """What parameters miss of (3.6), and what (3.6) does, in nats, both (seeds, iterations)."""
    keys = jax.random.split(study.key, seeds)
    used = -ALPHA if study.wrong else ALPHA
    missed, moved = _trained(keys, jnp.asarray(used), name=name)
    return np.asarray(missed), np.asarray(moved)


# Compiling takes longer than running.
@functools.partial(
    jax.jit, static_argnames="name", compiler_options={"xla_backend_optimization_level": 1}
)
def _trained(keys: Any, alpha: Any, *, name: str) -> Any:
    """One training a key, momentum in parameters, beside (3.6) with the alpha of the claim."""

    def one(key: Any) -> Any:
        to_params, to_reward, to_run = jax.random.split(key, 3)
        policy, bandit = _task(name, to_reward)
        params = policy.init(to_params)
        found = train(
            dataclasses.replace(bandit, log_ref=policy.log_prob(params)),
            policy,
            DPO(),
            Constant(alpha, unrestricted=True),
            beta=BETA,
            iterations=ITERATIONS,
            step=ByGradient(AdamW(LEARNING_RATE), STEPS),
            params=params,
            key=to_run,
            save="path",
        )
        assert found.log_policy is not None and found.behaviour is not None
        old, new = found.log_policy[:-1], found.log_policy[1:]
        exact = jax.nn.log_softmax(new + ALPHA * (new - old), axis=-1)
        return _divergence(exact, found.behaviour[1:]), _divergence(exact, new)

    return jax.vmap(one)(keys)


def _task(name: str, key: Any) -> tuple[MLP | Recurrent, Bandit]:
    if name == "ring":
        actions = lattice(SIDE)
        return MLP(actions, WIDTH), ring_bandit(actions)
    return Recurrent(VOCABULARY, LENGTH, WIDTH), sequence_bandit(key, VOCABULARY, LENGTH)


def _divergence(log_p: Any, log_q: Any) -> Any:
    """KL in the one context there is, never negative: nothing cancels."""
    apart = log_p - log_q
    return jnp.sum(jnp.exp(log_p) * (apart + jnp.expm1(-apart)), axis=(1, 2))


def _figure(found: dict[str, tuple[np.ndarray, np.ndarray]]) -> Any:
    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        t = np.arange(1, ITERATIONS + 1)
        for colour, (name, (missed, moved)) in zip(("C0", "C3"), found.items(), strict=True):
            middle, low, high = _geometric(missed / moved)
            axes.fill_between(t, low, high, color=colour, alpha=0.2, lw=0)
            axes.plot(t, middle, "o-", color=colour, label=LABELS[name])
        axes.axhline(1.0, color="0.4", ls=":", lw=1.4)
        axes.text(t[-1], 1.1, "no extrapolation at all", color="0.4", ha="right", va="bottom")
        axes.axhline(SHARE, color="C1", lw=1.4)
        axes.text(t[-1], SHARE * 1.1, "the claim: a tenth", color="C1", ha="right", va="bottom")
        axes.set(yscale="log", xlabel="iteration t", ylabel="share of (3.6) that parameters miss")
        axes.legend(loc="lower left")

    return draw


def _geometric(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Geometric mean over the seeds, which come first, and the ends of its 95 % interval."""
    ends = [judge.mean_interval(column) for column in np.log(values).T]
    low, high = np.exp(np.array(ends)).T
    return np.exp(np.log(values).mean(0)), low, high
