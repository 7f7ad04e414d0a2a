"""F6: pessimistic maximum likelihood pays for what the best policy's features leave uncertain."""

import functools
from typing import Any

import jax
import numpy as np
from matplotlib.figure import Figure

from apo_sim.claims import _pessimism as pessimism
from apo_sim.claims import judge
from apo_sim.claims.f6b import four_arms
from apo_sim.claims.registry import claim
from apo_sim.claims.scope import Scope
from apo_sim.claims.verdict import Finding, Study
from apo_sim.studies.caption import caption

SEEDS = 80  # all of them below a figure says that it is above the 90 % quantile
LABELS = (1e2, 1e4, 1e6)
FIXED = 0.01  # lambda where it is not 1 / n


@claim(
    id="F6",
    title="Pessimistic maximum likelihood and coverage of the best policy",
    source="ours",
    statement=r"Rewards $\theta^* \cdot \phi$, $|\theta^*| \le B$, and $\Sigma$ the mean of the "
    r"squared differences of features over $n$ labels: with probability $1 - \delta$ the policy of "
    r"the largest worst case over the ball around the likeliest $\theta$ has $$\mathrm{gap} \le "
    r"2\rho\,\bigl|(\Sigma + \lambda I)^{-1/2}(E_{\pi^*}\phi - v)\bigr|,\qquad \rho = C\sqrt{"
    r"\frac{d + \log\frac1\delta}{\zeta^2 n} + \lambda B^2},$$ $\zeta = 1/(2 + e^{LB} + e^{-LB})$, "
    r"at $C = 1$, which the theorem leaves open.",
    control="the arm of the highest likeliest reward in place of the policy",
    scope=Scope(
        "with probability",
        "random features, parameters and laws of pairs that leave some pairs rare, B = |θ*| = 1, "
        "v = 0, λ = 1/n or 0.01; the bandit of F6b",
        arms=pessimism.ARMS,
        iterations=1,
        samples=LABELS,
    ),
)
def covered_by_data(study: Study) -> Finding:
    r"""Judge the gap of the pessimistic policy against its bound, on random and hard bandits.

    Problem: labels tell of differences of features that were compared. A policy whose features
    differ along others may look good by chance; its worst case over the ball does not.

    Method: many laws of pairs, many data sets of each; the largest ratio of 80, which is above the
    90 % quantile of all bandits with 95 %. Beside it the lemma behind it, that the true parameter
    is in the ball.

    Guarantee: the theorem's, for some C. At C = 1 the bound is met to a half or two thirds, but the
    ball is not always large enough: where lambda B^2 is most of the radius and a direction is
    nearly unseen, the likeliest parameter may be as far as 2 B off, so that the lemma needs C = 2.
    At a fixed lambda the bound does not go to 0 with n.

    Reference: Zhu, Jordan and Jiao (2023), Lemma 3.1 and Theorem 3.2.

    Example:
        >>> lanes = drawn(np.random.default_rng(0), 3, 0)
        >>> lanes.features.shape, np.linalg.norm(lanes.parameter, axis=1).round(6).tolist()
        ((3, 1, 4, 2), [1.0, 1.0, 1.0])
    """
    count = study.pick(150, 200)
    lanes, runs = _measured(study.sweep_seed(), count)
    taken = runs.greedy if study.wrong else runs.pessimistic
    ratio = runs.pessimistic / runs.bound
    decisive = np.argmax(taken / runs.bound, axis=1)[:, None]
    gap, bound = (np.take_along_axis(each, decisive, axis=1)[:, 0] for each in (taken, runs.bound))

    def witness(worst: int) -> dict[str, Any]:
        named = {name: each[worst] for name, each in lanes._asdict().items() if name != "key"}
        return {**named, "gap": gap[worst]}

    worst = ratio.max(axis=1)
    fixed = lanes.regularization == FIXED
    distance = np.quantile(runs.off, 1 - pessimism.DELTA, axis=1).max()
    facts = {
        "largest ratio, λ = 1/n": float(worst[~fixed].max()),
        "largest ratio, λ = 0.01": float(worst[fixed].max()),
        "largest 90 % quantile of the parameter's distance over the radius": float(distance),
    }
    range_of_rewards = np.ptp(
        np.einsum("nkd,nd->nk", lanes.features[:, 0], lanes.parameter), axis=1
    )
    return Finding(
        **_figures(judge.upper_bound(gap, bound, trivial=range_of_rewards, witness=witness)),
        unit="reward",
        instances=ratio.size,
        facts=facts,
        note=f"At most {facts['largest ratio, λ = 1/n']:.2f} of the bound is met at λ = 1/n and "
        f"{facts['largest ratio, λ = 0.01']:.2f} at λ = {FIXED:g}; the true parameter is "
        f"within {distance:.2f} of the radius in 90 % of data sets of any bandit.",
        draw=lambda figure: _draw(figure, lanes, runs),
    )


def drawn(rng: np.random.Generator, count: int, seed: int) -> pessimism.Lanes:
    """Random linear bandits with rare pairs, and the hard one in between, with a key of each."""
    features = rng.normal(size=(count, pessimism.ARMS, pessimism.FEATURES))
    features /= np.linalg.norm(features, axis=2).max(axis=1)[:, None, None]
    parameter = rng.normal(size=(count, pessimism.FEATURES))
    parameter /= np.linalg.norm(parameter, axis=1)[:, None]
    law = np.zeros((count, pessimism.ARMS, pessimism.ARMS))
    pairs = np.triu_indices(pessimism.ARMS, 1)
    law[:, *pairs] = rng.dirichlet(np.full(len(pairs[0]), 0.3), count)
    labels = rng.choice(LABELS, count)
    regularization = np.where(rng.random(count) < 0.5, 1 / labels, FIXED)
    return pessimism.Lanes(
        features[:, None],
        parameter,
        law + np.swapaxes(law, 1, 2),
        regularization,
        labels,
        np.asarray(jax.random.key_data(jax.random.split(jax.random.key(seed), count))),
    )


def _figures(finding: Finding) -> dict[str, Any]:
    names = ("verdict", "measured", "bound", "ratio", "counterexample")
    return {name: getattr(finding, name) for name in names}


@functools.lru_cache(maxsize=2)
def _measured(seed: int, count: int) -> tuple[pessimism.Lanes, pessimism.Runs]:
    """The bandits, and what became of them, shapes (bandits, seeds)."""
    random = drawn(np.random.default_rng(seed), count, seed)
    hard = four_arms(np.array(LABELS), seed)
    joined = pessimism.Lanes(
        *(np.concatenate(fields) for fields in zip(random, hard, strict=True))
    )  # fmt: skip
    keys = jax.random.split(jax.random.key(seed), len(joined.labels) * SEEDS)
    repeated = pessimism.Lanes(*(np.repeat(each, SEEDS, axis=0) for each in joined))
    runs = pessimism.run(repeated._replace(key=np.asarray(jax.random.key_data(keys))))
    return joined, pessimism.Runs(*(each.reshape(-1, SEEDS) for each in runs))


def _draw(figure: Figure, lanes: pessimism.Lanes, runs: pessimism.Runs) -> None:
    caption(
        figure,
        f"One bandit a dot: the largest gap of {SEEDS} data sets, against the bound; the line is "
        "where both are equal",
    )
    panels = figure.subplots(1, 2, sharex=True, sharey=True)
    fixed = lanes.regularization == FIXED
    kinds = (("pessimistic", runs.pessimistic), ("greedy", runs.greedy))
    for axes, (name, gaps) in zip(panels, kinds, strict=True):
        for chosen, label, colour in ((~fixed, "λ = 1/n", "C0"), (fixed, "λ = 0.01", "C1")):
            bound = np.median(runs.bound[chosen], axis=1)
            # A gap of 0 is at the floor.
            axes.loglog(bound, np.maximum(gaps[chosen].max(axis=1), 1e-7), ".", color=colour)
            axes.plot([], [], ".", color=colour, label=label)
        ends = np.array([runs.bound.min(), runs.bound.max()])
        axes.plot(ends, ends, color="0.4", linewidth=1)
        axes.set(xlabel="bound", title=name)
    panels[0].set(ylabel="gap")
    panels[0].legend(loc="lower right")
