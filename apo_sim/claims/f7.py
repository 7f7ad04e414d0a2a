"""F7: whom DPO and KTO follow where labels contradict each other."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array
from matplotlib.figure import Figure
from scipy.stats import binom

from apo_sim import losses
from apo_sim.claims import judge
from apo_sim.claims.registry import claim
from apo_sim.claims.scope import Scope
from apo_sim.claims.verdict import Finding, Study
from apo_sim.losses import DPO
from apo_sim.methods.kto import KTO
from apo_sim.preferences import Labels
from apo_sim.problems import Bandit
from apo_sim.running import run
from apo_sim.sweep.lanes import over_lanes

BOUND = 4.0
BETAS = (0.02, 1.0)
TOLERANCE = 1e-9
# Next to where a sign turns, rounding decides it.
CLEAR = 1e-6
ARMS, BANDITS = 5, 200
SHOWN_RARE, SHOWN_BETA = 0.01, 0.1


@claim(
    id="F7",
    title="Contradictory labels: whom DPO and KTO follow",
    source="ours",
    statement=r"Of two responses $a$ beats $b$ in a share $p > \frac12$ of their pairs. DPO's "
    r"optimum has $\pi(a) < \pi(b)$ if and only if $p^{1/\beta}\pi_{\mathrm{ref}}(a) < "
    r"(1-p)^{1/\beta}\pi_{\mathrm{ref}}(b)$. KTO with $\lambda_D = \lambda_U$ strictly produces "
    r"$a$: its loss falls in $\pi(a)$ everywhere, whatever the anchor. Beyond its authors: so it "
    r"does wherever $\frac{1-p}{p} < \frac{\lambda_U}{\lambda_D} < \frac{p}{1-p}$; above that "
    r"one of the two takes all, and it may be $b$.",
    control=r"$\lambda_U / \lambda_D$ taken to be twice $p/(1-p)$ where it is to be below that",
    scope=Scope(
        "for all",
        "two responses, random p, references down to 1e-6, weights of the labels from 1/50 to 50; "
        "random bandits for how much KTO loses on more responses",
        arms=2,
        iterations=1,
        beta="from 0.02 to 1",
        samples="exact",
    ),
)
def contradictory_labels(study: Study) -> Finding:
    r"""Judge whose side the optimum of either loss is on.

    Problem: DPO weighs the log-odds of p, over beta, against those of the reference: it follows the
    minority where the reference does so more. KTO's value saturates, and has no such balance.

    Method: the method `KTO`, with its bound on how far an arm falls; the gradient of its loss at
    random policies and anchors; DPO's exact step. The labels are those of the theorem: pairs of the
    two responses, each taken apart into two labels.

    Guarantee: exact; the theorem assumes logistic values and two outputs. It is no robustness to
    noise. KTO is greedy here because nothing in its loss holds it near the reference, as DPO is for
    small beta; in a sample it produces whatever most labels say, however few they are. With more
    responses it shares the mass among all that win more than half the time, and stays there: the
    gap that this leaves is among the facts.

    Reference: Ethayarajh et al. (2024), Theorem 4.3; the condition on the weights is ours.

    Example:
        >>> from apo_sim.claims import describe
        >>> describe("F7").scope.arms
        '2'
    """
    lanes = _lanes(study, study.pick(quick=500, full=10_000))
    inside = np.abs(np.log(lanes.ratio)) < np.log(lanes.p / (1 - lanes.p)) - CLEAR
    above = lanes.ratio > lanes.p / (1 - lanes.p) * (1 + CLEAR)
    twice = np.where(inside, 2 * lanes.p / (1 - lanes.p), lanes.ratio)
    found = over_lanes(_followed, lanes._replace(ratio=twice) if study.wrong else lanes)
    balance = np.log(lanes.p / (1 - lanes.p)) / lanes.beta + _log_odds(lanes.rare)
    dpo = judge.identity(
        (found.dpo - balance) / (1 + np.abs(balance)), TOLERANCE, witness=_witness(lanes)
    )
    floor = np.log1p(-lanes.rare) - BOUND / lanes.beta
    strictly = judge.identity(
        (found.neutral - floor) / np.abs(floor), TOLERANCE, witness=_witness(lanes)
    )
    falls = judge.upper_bound(-found.slope, 0.0, floor=0.0, unit="slope of the loss in pi(a)")
    of_first = np.log(lanes.rare) - BOUND / lanes.beta
    weighted = np.stack([found.weighted_odds + found.weighted, found.weighted])
    off = (weighted - np.stack([of_first, floor])) / np.stack([of_first, floor])
    within = judge.identity(off[1, inside], TOLERANCE, witness=_witness(lanes))
    one_takes_all = judge.identity(
        np.abs(off[:, above]).min(axis=0), TOLERANCE, witness=_witness(lanes)
    )
    either = [float(np.mean(found.weighted_odds[part] < 0)) for part in (inside, above)]
    gaps = _gaps(study)
    wrong = {n: float(binom.cdf((n - 1) // 2, n, 0.6)) for n in (11, 101)}
    return dataclasses.replace(
        judge.worst([dpo, strictly, falls, within, one_takes_all]),
        cells=1,
        instances=lanes.p.size,
        facts={
            "share that follows the minority, DPO": float(np.mean(found.dpo < 0)),
            "share that follows the minority, KTO, equal weights": float(np.mean(found.odds < 0)),
            "share that follows the minority, KTO, weights inside": either[0],
            "share that follows the minority, KTO, weights above": either[1],
            **{f"gap of the optimum, {ARMS} arms, {name}": gap for name, gap in gaps.items()},
            **{
                f"samples in which KTO follows the minority, p = 0.6, {n} pairs": share
                for n, share in wrong.items()
            },
        },
        note=f"DPO follows the minority in {np.mean(found.dpo < 0):.0%} of cases, KTO in none with "
        f"equal weights and in {either[1]:.0%} with weights above the condition. On {ARMS} arms "
        f"its optimum has a gap of {gaps['KTO']:.2f} where DPO's at $\\beta = {SHOWN_BETA:g}$ has "
        f"{gaps['DPO']:.3f}. From {11} pairs at $p = 0.6$ it follows the minority in "
        f"{wrong[11]:.0%} of samples.",
        draw=_draw,
    )


class Lanes(NamedTuple):
    """Two responses with contradictory labels, shape (n,).

    Attributes:
        p: how often the first wins.
        rare: its mass in the reference.
        beta: weight.
        ratio: lambda_U / lambda_D.
        policy: a mass of the first at which the gradient is taken.
        anchor: an anchor, at least 0.
    """

    p: Any
    rare: Any
    beta: Any
    ratio: Any
    policy: Any
    anchor: Any


class Followed(NamedTuple):
    """What comes out.

    Attributes:
        dpo: log of pi(a) / pi(b) of DPO.
        neutral: log pi(b) of KTO with equal weights.
        odds: log of pi(a) / pi(b) there.
        weighted: log pi(b) with the weights of the lane.
        weighted_odds: log of pi(a) / pi(b) there.
        slope: how much KTO's loss falls in the logit of a, at a policy and an anchor of the lane.
    """

    dpo: Any
    neutral: Any
    odds: Any
    weighted: Any
    weighted_odds: Any
    slope: Any


class Fixed(NamedTuple):
    """KTO's loss with an anchor that is given."""

    value: Any

    def __call__(self, h: Any, label: Any, anchor: Any) -> Any:
        return losses.KTO()(h, label, anchor)

    def anchor(self, mean_mismatched_score: Any) -> Any:
        del mean_mismatched_score
        return self.value


def _lanes(study: Study, count: int) -> Lanes:
    rng = study.rng()
    p = rng.uniform(0.505, 0.98, count)
    common = rng.uniform(np.log(1e-6), np.log(1e6), count)
    ratio = np.exp(rng.uniform(np.log(1 / 50), np.log(50), count))
    low, high = np.log(BETAS)
    return Lanes(
        p,
        1 / (1 + np.exp(-common)),
        np.exp(rng.uniform(low, high, count)),
        ratio,
        1 / (1 + np.exp(-rng.uniform(-5, 5, count))),
        rng.exponential(0.5, count),
    )


def _log_odds(rare: Any) -> Any:
    return np.log(rare) - np.log1p(-rare)


def _followed(lane: Lanes) -> Followed:
    log_ref = jnp.log(jnp.stack([lane.rare, 1 - lane.rare]))[None]
    bandit = Bandit(jnp.log(jnp.stack([lane.p, 1 - lane.p]))[None], log_ref)
    dpo = run(bandit, DPO(), beta=lane.beta, iterations=1, output="before").final_log_policy[0]
    won = jnp.stack([lane.p, 1 - lane.p])[None] / 2
    data = Labels(won, 0.5 - won)

    def optimum(ratio: Any) -> Array:
        method = KTO(lane.beta, undesirable=ratio, reward_bound=BOUND)
        (log_policy, _), _ = method.step(bandit, (log_ref, log_ref), data, jnp.asarray(0))
        return log_policy[0]

    neutral, weighted = jax.lax.map(optimum, jnp.stack([jnp.ones_like(lane.ratio), lane.ratio]))

    def loss(logit: Any) -> Array:
        log_policy = jax.nn.log_softmax(jnp.stack([logit, jnp.zeros_like(logit)]))
        return data.mean(Fixed(lane.anchor), lane.beta * (log_policy - log_ref))

    slope = -jax.grad(loss)(jnp.log(lane.policy) - jnp.log1p(-lane.policy))
    return Followed(
        dpo=dpo[0] - dpo[1],
        neutral=neutral[1],
        odds=neutral[0] - neutral[1],
        weighted=weighted[1],
        weighted_odds=weighted[0] - weighted[1],
        slope=slope,
    )


def _gaps(study: Study) -> dict[str, float]:
    """Mean gap of either optimum over random bandits, in reward."""
    reward = study.rng(1).uniform(-1, 1, (BANDITS, ARMS))
    return {name: float(each) for name, each in _optima(jnp.asarray(reward)).items()}


@jax.jit
def _optima(reward: Array) -> dict[str, Array]:
    # Contexts of one problem stand for bandits: the anchor is 0, as it is for each by itself.
    log_ref = jnp.full(reward.shape, -jnp.log(ARMS))
    bandit = Bandit(reward, log_ref)
    method = KTO(SHOWN_BETA, reward_bound=BOUND)
    data = method.request.exact(bandit, log_ref)
    (log_policy, _), _ = method.step(bandit, (log_ref, log_ref), data, jnp.asarray(0))
    dpo = jax.nn.log_softmax(log_ref + reward / SHOWN_BETA, axis=1)
    return {"KTO": bandit.suboptimality(log_policy), "DPO": bandit.suboptimality(dpo)}


def _witness(lanes: Lanes) -> Any:
    return lambda index: {name: each[index % each.size] for name, each in lanes._asdict().items()}


def _draw(figure: Figure) -> None:
    left, right = figure.subplots(1, 2)
    p = np.linspace(0.501, 0.995, 300)
    for beta, colour in ((0.1, "C0"), (0.3, "C3"), (1.0, "C4")):
        odds = np.log(p / (1 - p)) / beta
        left.semilogy(p, 1 / (1 + np.exp(odds)), color=colour, label=rf"$\beta = {beta:g}$")
    left.set(xlabel=r"majority for $a$, $p$", ylabel=r"$\pi_{\mathrm{ref}}(a)$", ylim=(1e-6, 1))
    left.set_title("Below a line DPO follows the minority")
    left.text(0.97, 0.3, "KTO: nowhere", ha="right", color="C2")
    left.legend(loc="lower left", fontsize=7.5)
    ratios = np.geomspace(1 / 50, 50, 300)
    grid_p, grid_ratio = np.meshgrid(p, ratios)
    right.contourf(
        grid_p,
        grid_ratio,
        takes_all(grid_p, grid_ratio, SHOWN_RARE, SHOWN_BETA),
        levels=[0.5, 1.5, 2.5],
        colors=["C2", "C1"],
        alpha=0.4,
    )
    right.set(yscale="log", xlabel=r"majority for $a$, $p$", ylim=(1 / 50, 50))
    right.set(ylabel=r"$\lambda_U / \lambda_D$")
    right.set_title(
        rf"KTO at $\pi_{{\mathrm{{ref}}}}(a) = {SHOWN_RARE:g}$, $\beta = {SHOWN_BETA:g}$"
    )
    right.text(0.9, 1.0, "only $a$", ha="center", va="center", color="0.15")
    right.text(0.52, 12.0, "only $b$", color="0.15")
    right.text(0.56, 0.06, "both", ha="center", color="0.15")


def takes_all(p: Any, ratio: Any, rare: Any, beta: Any) -> np.ndarray:
    """Which response KTO produces alone without a bound: 1 for a, 2 for b, 0 where both stay.

    Where both have c < 0 the mass goes where it costs less, at the anchor 0.

    Example:
        >>> takes_all(0.6, np.array([0.1, 1.0, 20.0]), rare=0.01, beta=0.1).tolist()
        [0, 1, 1]
    """
    first, second = p - (1 - p) * ratio, (1 - p) - p * ratio
    costs = -first / (1 + rare**beta), -second / (1 + (1 - rare) ** beta)
    second_is_cheaper = (first < 0) & (costs[0] > costs[1])
    return np.where(second > 0, 0, np.where(second_is_cheaper, 2, 1))
