"""F12-momentum: what momentum costs where coverage improves from round to round."""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from apo_sim.claims import judge
from apo_sim.claims._coverage import (
    REWARD,
    UPDATES,
    of_accelerated,
    on_path,
    reference,
    sharpness,
    tilted,
    uncertainty,
)
from apo_sim.claims.registry import claim
from apo_sim.claims.scope import Scope
from apo_sim.claims.verdict import Finding, Study
from apo_sim.momentum import Constant
from apo_sim.preferences import FromPolicy, FromReference, Mixture, Pairwise
from apo_sim.problems import Bandit
from apo_sim.running import run
from apo_sim.sweep.lanes import over_lanes
from apo_sim.theory import weights

MASSES = (0.03, 0.01)
ALPHAS = (0.0, 0.5, 0.9)
MANY = 400.0  # N p at which leading order is all there is
SEEN = (0.5, 2.0, 8.0, 32.0, 128.0)  # N p of the figure
TOLERANCE = 0.15
RANDOM_ARMS, SHARPNESS = 5, (0.5, 20.0)


@claim(
    id="F12-momentum",
    title="The price of momentum in coverage",
    source="ours",
    statement=r"Sampled APO that reaches a given $\gamma_T$, $V$ the covariance of the exact "
    r"run's $\pi^*_T$, $I_i$ the information of a label on two responses of $\pi_i$: "
    r"$$NT\;\mathbb{E}\,\mathrm{KL}(\hat\pi_T\|\pi^*_T) \to c(\alpha) = \frac{T}{2}\sum_i "
    r"\frac{w_{T-i}^2}{\beta^2}\operatorname{tr}(VI_i^+),$$ to "
    + f"{100 * TOLERANCE:.0f}"
    + r" % at $Np = 400$. Momentum has its largest weights on the first rounds, whose coverage is "
    r"the reference's: $c(0.9)/c(0)$ is 2.2 at $p = 0.01$, in place of $T/T_{\mathrm{eff}} = 1.2$.",
    control=r"every round covered alike, $c(0)\,T/T_{\mathrm{eff}}$",
    scope=Scope(
        "for all",
        f"the bandits of F12, p = {', '.join(map(str, MASSES))}; labels of the policy in training",
        arms=4,
        iterations=UPDATES,
        beta="such that γ is log(1.5/p) for every α",
        samples=f"N p = {MANY:g}",
        alpha=ALPHAS,
    ),
)
def price_of_momentum(study: Study) -> Finding:
    r"""Judge the error of sampled runs against leading order, by alpha and by who collects.

    Problem: F12 lets a learner refit to all labels, and forget its first guess. APO learns the
    reward anew in every round and adds it to the last: an error of the first round, whose coverage
    is the reference's, stays in the policy with the weight that round has.

    Method: runs of the loop at equal accumulated weight gamma_T, means over seeds with Student's
    intervals corrected for all cells, over the constant c(alpha) of leading order along the exact
    path. Beside it the price of an extrapolation of 0.9, c(0.9)/c(0), on random problems.

    Guarantee: to leading order in 1/N, for a table whose arms are all drawn. Momentum costs where
    the on-policy labels are better than the reference's and brings something where they are worse:
    late in a run that has all but settled on an arm. N6, on the gap at long runs, is of that kind.

    Reference: ours; after Kim, Yun, Lee and Jun (2026) and the leading order of maximum likelihood.

    Example:
        >>> [round(constant(0.01, alpha, on_policy=True)) for alpha in ALPHAS]
        [383, 483, 862]
        >>> [round(constant(0.01, alpha, on_policy=False)) for alpha in ALPHAS]
        [1246, 1288, 1474]
    """
    count = study.pick(quick=1500, full=10_000)
    stated = dataclasses.replace(study, variant="stated")
    found = _measured(stated, (0.0,), MASSES, (MANY,), count)[0, :, :, 0]
    labels = UPDATES * np.round(MANY / np.array(MASSES))
    cells = []
    for i, k in np.ndindex(found.shape[:2]):
        expected = constant(MASSES[i], ALPHAS[k], on_policy=True)
        if study.wrong:
            expected = constant(MASSES[i], 0.0, on_policy=True) * _inflation(ALPHAS[k])
        ratio = found[i, k] * labels[i] / expected
        cells.append(
            judge.close(
                float(ratio.mean()),
                judge.mean_interval(ratio, judge.together(found[..., 0].size)),
                1.0,
                TOLERANCE,
                witness=lambda _, i=i, k=k: {"p": MASSES[i], "alpha": ALPHAS[k], "N p": MANY},
                unit="error over leading order",
                instances=count,
            )
        )
    worst = max(cells, key=lambda cell: abs(float(cell.measured or 0.0) - 1.0))
    decisive = judge.worst([worst, *cells])
    dear, cheap = _on_random_problems(stated)
    costs = {
        f"{alpha:g}": constant(0.01, alpha, on_policy=True) / constant(0.01, 0.0, on_policy=True)
        for alpha in ALPHAS[1:]
    }
    measured = found[1].mean(axis=-1)
    return dataclasses.replace(
        decisive,
        cells=len(cells),
        instances=len(cells) * count,
        facts={
            "price by alpha, p = 0.01": costs,
            "price by alpha, p = 0.01, measured": {
                f"{alpha:g}": measured[k] / measured[0] for k, alpha in enumerate(ALPHAS) if k
            },
            "price where every round is covered alike": {
                f"{alpha:g}": _inflation(alpha) for alpha in ALPHAS[1:]
            },
            "gain of on-policy labels by alpha, p = 0.01": {
                f"{alpha:g}": constant(0.01, alpha, on_policy=False)
                / constant(0.01, alpha, on_policy=True)
                for alpha in ALPHAS
            },
            "random problems, price where coverage improves": [float(q) for q in dear],
            "random problems, price where it worsens": [float(q) for q in cheap],
        },
        note=rf"At $p = 0.01$ momentum of 0.9 multiplies the error by {costs['0.9']:.2f} (measured "
        f"{measured[-1] / measured[0]:.2f}), not by {_inflation(0.9):.2f} as where coverage stays. "
        f"On random problems the median price is {dear[1]:.2f} where on-policy labels are the "
        f"better ones, {cheap[1]:.2f} where they are not.",
        draw=lambda figure: _draw(figure, stated),
    )


class Lanes(NamedTuple):
    """One run a lane: mass of a good arm, labels a round, extrapolation, who collects, seed."""

    p: Any
    samples: Any
    alpha: Any
    beta: Any
    offline: Any
    seed: Any


def constant(p: float, alpha: float, *, on_policy: bool) -> float:
    """c(alpha) for one of the bandits."""
    target = tilted(p, sharpness(p))
    path = on_path(alpha, p) if on_policy else [reference(p)] * UPDATES
    return of_accelerated(alpha, sharpness(p), [uncertainty(target, [each]) for each in path])


def _inflation(alpha: float) -> float:
    """T / T_eff."""
    share = np.asarray(weights(alpha, UPDATES))
    return float(UPDATES * np.sum(share**2) / share.sum() ** 2)


# The variants of the check share the runs.
@functools.lru_cache(maxsize=2)
def _measured(
    study: Study,
    offline: tuple[float, ...],
    masses: tuple[float, ...],
    seen: tuple[float, ...],
    count: int,
) -> np.ndarray:
    """KL(pi_hat_T || exact), shape (who collects, masses, alphas, N, seeds)."""
    seeds = study.rng(len(seen)).integers(2**32, size=count, dtype=np.uint32)
    shape = (len(offline), len(masses), len(ALPHAS), len(seen), count)
    who, i, k, j, s = (index.ravel() for index in np.indices(shape))
    p = np.array(masses)[i]
    beta = np.array([[_beta(m, alpha) for alpha in ALPHAS] for m in masses])[i, k]
    samples, alpha = np.round(np.array(seen)[j] / p), np.array(ALPHAS)[k]
    lanes = Lanes(p, samples, alpha, beta, np.array(offline)[who], seeds[s])
    return over_lanes(_lane, lanes).reshape(shape)


def _beta(p: float, alpha: float) -> float:
    return float(np.sum(np.asarray(weights(alpha, UPDATES)))) / sharpness(p)


def _lane(lane: Lanes) -> Any:
    rest = 0.5 - lane.p
    reward = jnp.asarray(REWARD)[None]
    bandit = Bandit(reward, jnp.log(jnp.stack([lane.p, lane.p, rest, rest]))[None])
    collects = Mixture(
        jnp.stack([1.0 - lane.offline, lane.offline]), (FromPolicy(), FromReference())
    )
    found = run(
        bandit,
        momentum=Constant(lane.alpha),
        beta=lane.beta,
        ranker=Pairwise(collects, collects),
        iterations=UPDATES,
        samples=lane.samples,
        key=jax.random.key(lane.seed),
    ).final_log_policy
    exact = jax.nn.log_softmax(bandit.log_ref + jnp.log(1.5 / lane.p) * reward, axis=1)
    return jnp.sum(jnp.exp(found) * (found - exact))


@functools.lru_cache(maxsize=1)
def _on_random_problems(study: Study) -> tuple[np.ndarray, np.ndarray]:
    """Quartiles of c(0.9)/c(0), where on-policy labels do better than the reference's, and not."""
    rng = study.rng(2)
    prices, gains = [], []
    for _ in range(study.pick(quick=200, full=2000)):
        reward = rng.uniform(-1, 1, RANDOM_ARMS)
        log_ref = np.log(rng.dirichlet(np.ones(RANDOM_ARMS)) + 1e-3)
        weight = float(np.exp(rng.uniform(*np.log(SHARPNESS))))

        def policy(at: float, log_ref: np.ndarray = log_ref, reward: np.ndarray = reward) -> Any:
            logits = log_ref + at * reward
            return np.exp(logits - np.logaddexp.reduce(logits))

        def error(
            alpha: float, *, on_policy: bool = True, reward: Any = reward, weight: Any = weight
        ) -> float:
            path = _fractions(alpha) * weight * on_policy
            left = [uncertainty(policy(weight), [policy(at)], reward) for at in path]
            return of_accelerated(alpha, weight, left)

        plain = error(0.0)
        prices.append(error(0.9) / plain)
        gains.append(error(0.0, on_policy=False) / plain)
    better = np.array(gains) > 1
    quartiles = (0.25, 0.5, 0.75)
    return (
        np.quantile(np.array(prices)[better], quartiles),
        np.quantile(np.array(prices)[~better], quartiles),
    )


def _fractions(alpha: float) -> np.ndarray:
    """The weight of pi_0 ... pi_{T-1} over gamma_T: w_2 + ... + w_{i+1} over w_1 + ... + w_T."""
    share = np.asarray(weights(alpha, UPDATES), float)
    return np.concatenate([[0.0], np.cumsum(share[1:])]) / share.sum()


def _draw(figure: Figure, study: Study) -> None:
    count = study.pick(quick=100, full=1000)
    found = _measured(study, (0.0, 1.0), (0.01,), SEEN, count)[:, 0].mean(axis=-1)
    axes = figure.subplots()
    labels = UPDATES * np.array(SEEN) / 0.01
    for k, (alpha, colour) in enumerate(zip(ALPHAS, ("C0", "C1", "C3"), strict=True)):
        for who, style in ((0, "-"), (1, "--")):
            axes.loglog(SEEN, found[who, k], "o", color=colour, markersize=4)
            bound = constant(0.01, alpha, on_policy=who == 0) / labels
            name = rf"$\alpha = {alpha:g}$" if who == 0 else None
            axes.loglog(SEEN, bound, style, color=colour, linewidth=1.2, label=name)
    axes.loglog([], [], "-", color="0.4", label="labels of the policy")
    axes.loglog([], [], "--", color="0.4", label="labels of the reference")
    axes.set(xlabel="$Np$", ylabel=r"mean $\mathrm{KL}(\hat\pi_T\|\pi^*_T)$, nats", ylim=(5e-4, 5))
    axes.set(title=r"Lines: $c(\alpha)/NT$; dots: runs at the same $\gamma_T$, $p = 0.01$")
    axes.legend(loc="lower left", fontsize=8)
