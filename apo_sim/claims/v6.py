"""The reviews: extrapolating a network's parameters stands in for (3.6), on sequences too."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from apo_sim.claims import judge
from apo_sim.claims.registry import claim
from apo_sim.claims.scope import Scope
from apo_sim.claims.verdict import Finding, Study
from apo_sim.estimate import Estimate
from apo_sim.families import lattice, ring_bandit, sequence_bandit
from apo_sim.losses import DPO
from apo_sim.momentum import Constant
from apo_sim.optimizers import AdamW
from apo_sim.policies import MLP, Attention
from apo_sim.problems import Bandit
from apo_sim.proximal import ByGradient
from apo_sim.studies.caption import caption
from apo_sim.training import train

ALPHAS, BETA, ITERATIONS = (0.3, 0.9), 1.0, 10
SIDE, VOCABULARY, LENGTH = 9, 3, 3
LABELS = {
    "ring": "fully connected, on the ring",
    "attention": "attention, over sequences",
}
WIDTH, LEARNING_RATE, STEPS = 16, 0.01, 100
PLANTED = 0.5  # share missed


@claim(
    id="V6",
    title="Extrapolating a network's parameters approximates (3.6)",
    source="reviews",
    statement=r"For networks, over sequences too, extrapolating parameters approximates (3.6) "
    r"better than not extrapolating at all: the share $$\frac{\sum_t \mathrm{KL}("
    r"\pi^{(3.6)}_t \,\|\, \pi_{\theta_t})}{\sum_t \mathrm{KL}(\pi^{(3.6)}_t \,\|\, "
    r"\hat\pi_t)} < 1$$ of what (3.6) does is missed over the 10 iterations of a run, in geometric "
    r"mean over networks: asked for two networks and $\alpha \in \{0.3, 0.9\}$, at $\beta = 1$.",
    control=r"the sign of $\alpha$ in parameters",
    power=f"a share of {PLANTED:g} in place of the geometric mean of every cell",
    scope=Scope(
        "where",
        "small networks at random starts, trained by AdamW: fully connected on the ring, attention "
        "over sequences",
        arms=(SIDE**2, VOCABULARY**LENGTH),
        iterations=ITERATIONS,
        beta=BETA,
        samples="exact",
        alpha=ALPHAS,
    ),
)
def parameters_approximate(study: Study) -> Finding:
    r"""Hold what parameter extrapolation misses of (3.6) against what (3.6) does.

    Problem: a fully connected network on the ring (81 actions) and an attention network over 27
    sequences, trained on exact preferences with momentum in parameters; in each iteration the
    exact (3.6) of the same two policies before extrapolation.

    Method: paired over random networks (and rewards, for sequences): the logarithm of the share,
    Student's intervals for all cells together.

    Guarantee: statistical, for networks of this size at random starts; one optimiser (AdamW). A
    geometric mean is of typical networks: at a large alpha a few stray so far that they make the
    mean, and the facts have that share too. Recurrent networks, and what the difference does to
    the gap, are in the study `sequences`.

    Reference: the reviews of the paper, its section 5.2.

    Example:
        >>> from apo_sim.claims import describe
        >>> describe("V6").source
        'reviews'
    """
    seeds = study.pick(quick=48, full=300)
    found = {
        (name, alpha): _measured(name, seeds, alpha, study.seed, study.wrong)
        for name in LABELS
        for alpha in ALPHAS
    }
    totals = {
        f"{name}, α = {alpha:g}": (missed.sum(1), moved.sum(1))
        for (name, alpha), (missed, moved) in found.items()
    }
    logs = {name: np.log(missed / moved) for name, (missed, moved) in totals.items()}
    if study.planted:
        logs = {name: each - each.mean() + np.log(PLANTED) for name, each in logs.items()}
    cells = {name: _share(log) for name, log in judge.estimates(logs).items()}
    of_mean = {name: float(missed.sum() / moved.sum()) for name, (missed, moved) in totals.items()}
    first = {
        f"{name}, α = {alpha:g}": float(np.exp(np.mean(np.log(missed[:, 0] / moved[:, 0]))))
        for (name, alpha), (missed, moved) in found.items()
    }
    astray = {name: int(np.sum(missed > moved)) for name, (missed, moved) in totals.items()}
    facts: dict[str, Any] = {f"share missed, {name}": cell for name, cell in cells.items()}
    facts |= {f"share of the mean, {name}": share for name, share in of_mean.items()}
    facts |= {f"share missed first, {name}": share for name, share in first.items()}
    facts |= {f"networks astray, {name}": count for name, count in astray.items()}
    small, large = ([cells[f"{name}, α = {a:g}"].value for name in LABELS] for a in ALPHAS)
    worst = max(of_mean, key=of_mean.__getitem__)
    return judge.where(
        cells,
        high=1.0,
        unit="cells where parameters miss less than all",
        instances=seeds * len(cells),
        facts=facts,
        note=(
            rf"Of what (3.6) does {min(small):.0%} to {max(small):.0%} is missed at "
            rf"$\alpha = {ALPHAS[0]:g}$ and {min(large):.0%} to {max(large):.0%} at "
            rf"$\alpha = {ALPHAS[1]:g}$ (geometric means over {seeds} networks), the first "
            f"iteration missing most, {min(first.values()):.0%} to {max(first.values()):.0%}. The "
            f"share of the mean divergence is larger, up to {of_mean[worst]:.0%} ({worst}, where "
            f"{astray[worst]} networks stray farther from (3.6) than no extrapolation)."
        ),
        draw=_figure(found),
    )


# The planted effect is put into what was measured already.
@functools.cache
def _measured(
    name: str, seeds: int, alpha: float, seed: int, wrong: bool
) -> tuple[np.ndarray, np.ndarray]:
    """What parameters miss of (3.6), and what (3.6) does, in nats, both (seeds, iterations)."""
    keys = jax.random.split(Study("V6", seed=seed).key, seeds)
    used = -alpha if wrong else alpha
    missed, moved = _trained(keys, jnp.asarray(alpha), jnp.asarray(used), name=name)
    return np.asarray(missed), np.asarray(moved)


# Compiling takes longer than running.
@functools.partial(
    jax.jit, static_argnames="name", compiler_options={"xla_backend_optimization_level": 1}
)
def _trained(keys: Any, alpha: Any, used: Any, *, name: str) -> Any:
    """One training a key, with `used` in parameters, beside (3.6) with alpha."""

    def one(key: Any) -> Any:
        to_params, to_reward, to_run = jax.random.split(key, 3)
        policy, bandit = _task(name, to_reward)
        params = policy.init(to_params)
        found = train(
            dataclasses.replace(bandit, log_ref=policy.log_prob(params)),
            policy,
            DPO(),
            Constant(used, unrestricted=True),
            beta=BETA,
            iterations=ITERATIONS,
            step=ByGradient(AdamW(LEARNING_RATE), STEPS),
            params=params,
            key=to_run,
            save="path",
        )
        old, new = found.log_policy[:-1], found.log_policy[1:]
        exact = jax.nn.log_softmax(new + alpha * (new - old), axis=-1)
        return _divergence(exact, found.behaviour[1:]), _divergence(exact, new)

    return jax.vmap(one)(keys)


def _task(name: str, key: Any) -> tuple[MLP | Attention, Bandit]:
    if name == "ring":
        actions = lattice(SIDE)
        return MLP(actions, WIDTH), ring_bandit(actions)
    return Attention(VOCABULARY, LENGTH, WIDTH), sequence_bandit(key, VOCABULARY, LENGTH)


def _divergence(log_p: Any, log_q: Any) -> Any:
    """KL in the one context there is, never negative: nothing cancels."""
    apart = log_p - log_q
    return jnp.sum(jnp.exp(log_p) * (apart + jnp.expm1(-apart)), axis=(1, 2))


def _figure(found: dict[tuple[str, float], tuple[np.ndarray, np.ndarray]]) -> Any:
    def draw(figure: Figure) -> None:
        seeds = len(next(iter(found.values()))[0])
        caption(
            figure,
            f"Geometric means over {seeds} networks with 95 % intervals, each iteration by itself",
        )
        panels = figure.subplots(1, len(ALPHAS), sharey=True)
        t = np.arange(1, ITERATIONS + 1)
        for axes, alpha in zip(panels, ALPHAS, strict=True):
            for colour, name in zip(("C0", "C3"), LABELS, strict=True):
                missed, moved = found[name, alpha]
                middle, low, high = _geometric(missed / moved)
                axes.fill_between(t, low, high, color=colour, alpha=0.2, lw=0)
                axes.plot(t, middle, "o-", color=colour, label=LABELS[name])
            axes.axhline(1.0, color="0.4", ls=":", lw=1.4)
            axes.text(t[-1], 1.1, "no extrapolation at all", color="0.4", ha="right", va="bottom")
            axes.set(yscale="log", xlabel="iteration $t$", title=rf"$\alpha = {alpha:g}$")
        panels[0].set_ylabel("share of (3.6) that parameters miss")
        panels[0].legend(loc="lower left", fontsize=7.5)

    return draw


def _share(log: Estimate) -> Estimate:
    value, low, high = map(float, np.exp(log.figures))
    return Estimate(value, low, high, "share", log.n)


def _geometric(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Geometric mean over the seeds, which come first, and the ends of its 95 % interval."""
    ends = [judge.mean_interval(column) for column in np.log(values).T]
    low, high = np.exp(np.array(ends)).T
    return np.exp(np.log(values).mean(0)), low, high
