"""F11: how fast gradient descent on DPO's loss is, by which pairs are drawn."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure
from scipy.special import expit

from apo_sim.claims import judge
from apo_sim.claims.registry import claim
from apo_sim.claims.scope import Scope
from apo_sim.claims.verdict import Finding, Study
from apo_sim.losses import DPO, Extra
from apo_sim.methods.requests import CountedPairs
from apo_sim.preferences import Pairwise, Ranker, Uniform
from apo_sim.preferences.mixed_pairs import DPOMixP, DPOMixR, log_weights
from apo_sim.preferences.samplers import LogitMixture
from apo_sim.problems import Bandit
from apo_sim.sweep.lanes import over_lanes

ARMS = (3, 8)
STEPS = 8
RANGES = (0.1, 4.0)  # of the rewards, where ours is judged
VISIBLE = 1e-7  # an error below is the rounding of the rewards
# Of the source's bounds, by the pairs that are drawn.
RATES = {"uniform": 0.588, "by reward": 0.5, "by policy": 0.611}
NAMES = tuple(RATES)


@claim(
    id="F11",
    title="Linear and quadratic samplers of pairs",
    source="ours",
    statement=r"A table, rewards of range $R$, exact gradients of DPO's loss from "
    r"$\pi_{\mathrm{ref}}$ on, step $1/(\beta^2 K)$, each unordered pair of arms with weight $4$ "
    r"(uniform), $1/s'(\Delta r)$ (DPO-Mix-R) or $1/s'(\Delta h)$ (DPO-Mix-P), $h = \beta\log\pi/"
    r"\pi_{\mathrm{ref}}$. For $R = 1$ the largest error of a difference, $\delta_T = \max_{y, y'}|"
    r"\Delta r - \Delta h|$, is at most $0.588^T$, $0.5^{2^T - 1}$ and $0.611^{2^T - 1}$. Sharp, "
    r"for every $K$ and $R \le 4$: it is at most $|d_T|$, of rewards on two levels, $d_0 = R$, "
    r"$$d' = d - w[s(R) - s(R - d)],\qquad w = 4,\ \tfrac{1}{s'(R)},\ \tfrac{1}{s'(R - d)};$$ "
    r"uniform pairs end at the rate $\tanh^2(R/2)$, which is $0.214$ for $R = 1$.",
    control="mixed pairs by policy without their uniform part, at the same step",
    scope=Scope(
        "for all",
        "random bandits, rewards uniform, on two levels or spread to the ends of their range, "
        "random references; rewards an adversary climbs to",
        arms=ARMS,
        iterations=f"every T up to {STEPS} with an error above {VISIBLE:g}",
        beta="from 0.1 to 10",
        samples="exact",
    ),
)
def samplers(study: Study) -> Finding:
    r"""Judge the errors of gradient descent against the source's bounds and the worst case.

    Problem: the source states its rates for rewards in [0, 1], without saying how near they come.
    Its figures are quoted here from a summary. Its coefficient of uniform pairs is taken to be
    2 K^2, weight 4: with half of it the rate in the limit is 1 - 2 s'(1) = 0.607, above 0.588.

    Method: the gradient of the library's DPO loss on the cells of three rankers, for random
    bandits, and for rewards that an adversary climbs to through three steps.

    Guarantee: the rates are the source's. That two levels are worst is measured, and proved for
    the limit of uniform pairs only: from h = 0 on h is monotone in r with slope at most 1, so that
    a step is a stochastic matrix on r - h, any two rows of which share 4 s'(R). Mixed pairs make
    all curvatures of the loss equal, and the step of weight 1/s' is then Newton's. Both are needed:
    at a fixed step, with weight 4 on average as uniform pairs have, the mixed law is linear, at
    (1 - q)/(1 + q) on two levels of equal size, q = 4 s'(R).

    Reference: Shi, Zhou and Du (2025), "The crucial role of samplers in online direct preference
    optimization", Theorems 1 to 3; the sharp recursion is ours.

    Example:
        >>> [round(float(found[1]), 4) for found in worst_case(1.0)]
        [0.0758, 0.1752, 0.0758]
        >>> round(float(worst_case(1.0)[0][-1] / worst_case(1.0)[0][-2]), 3)
        0.214
    """
    parts, ratios = [], {}
    for arms in ARMS:
        drawn = _drawn(study, arms)
        found = errors(drawn, wrong=study.wrong)
        ends = np.stack([worst_case(r) for r in drawn.width], axis=1)[:, :, 1:]
        parts.append(_judged(found, ends, drawn, "the worst case on two levels"))
        unit = drawn.width == 1.0
        source = np.broadcast_to(_of_source()[:, None], found[:, unit].shape)
        parts.append(_judged(found[:, unit], source, drawn.at(unit), "the source's bound"))
        seen = ends > VISIBLE
        ratios[arms] = np.where(seen, found / np.where(seen, ends, 1.0), 0.0).max(axis=(1, 2))
    peaks = _peaks(study.seed, study.pick(quick=60, full=300))
    end = worst_case(1.0)
    met, limit, fixed = _met(end), float(np.tanh(0.5) ** 2), _at_fixed_step(1.0)
    return dataclasses.replace(
        judge.worst(parts),
        cells=1,
        facts={
            **{
                f"largest error over the source's bound, {name}": ratio
                for name, ratio in zip(NAMES, met, strict=True)
            },
            **{
                f"largest error over the worst case, {name}": max(
                    float(each[number]) for each in ratios.values()
                )
                for number, name in enumerate(NAMES)
            },
            "rate of uniform pairs in the limit": limit,
            "rate of mixed pairs at the fixed step of uniform ones": fixed,
            "adversary's ratio to the worst case, to a tenth": round(float(peaks.max()), 1),
        },
        note=f"Of the source's bounds at most {', '.join(f'{ratio:.2f}' for ratio in met)} is met; "
        f"uniform pairs end at {limit:.3f} a step, not 0.588. At the fixed step of uniform pairs "
        f"the mixed law is linear, too, at {fixed:.2f}.",
        draw=lambda figure: _draw(figure, end),
    )


class Drawn(NamedTuple):
    """Bandits of one context with a weight, one a lane.

    Attributes:
        reward: shape (n, 1, K).
        log_ref: shape (n, 1, K).
        beta: shape (n,).
        width: max r - min r, shape (n,).
    """

    reward: Any
    log_ref: Any
    beta: Any
    width: Any

    def at(self, chosen: np.ndarray) -> "Drawn":
        """Those of them."""
        return Drawn(*(field[chosen] for field in self))


def worst_case(width: float) -> np.ndarray:
    """d_0 ... d_T of rewards on two levels, in absolute value, by `NAMES`, shape (3, T + 1)."""
    weights: tuple[Callable[[float], float], ...] = (
        lambda d: 4.0,
        lambda d: 1 / _slope(width),
        lambda d: 1 / _slope(width - d),
    )
    found = np.zeros((3, STEPS + 1))
    for number, weight in enumerate(weights):
        left = width
        for t in range(STEPS + 1):
            found[number, t] = abs(left)
            left -= weight(left) * (expit(width) - expit(width - left))
    return found


def errors(drawn: Drawn, *, wrong: bool = False) -> np.ndarray:
    """The errors delta_1 ... delta_T by gradient descent, shape (3, n, T)."""
    return np.moveaxis(np.asarray(over_lanes(_lane, drawn, wrong=wrong)), 1, 0)


def _slope(lead: Any) -> Any:
    return expit(lead) * expit(-lead)


def _of_source() -> np.ndarray:
    """Its bounds on the errors after 1 ... T steps for rewards of range 1, shape (3, T)."""
    t = np.arange(1, STEPS + 1)
    return np.stack([RATES["uniform"] ** t, *(RATES[n] ** (2.0**t - 1) for n in NAMES[1:])])


def _met(end: np.ndarray) -> list[float]:
    return [
        float(np.max((bent[1:] / bound)[bent[1:] > VISIBLE]))
        for bent, bound in zip(end, _of_source(), strict=True)
    ]


def _at_fixed_step(width: float) -> float:
    """The rate in the limit of mixed pairs of weight 4 on average, on two levels of two arms each.

    A step is r - h times the identity minus the Laplacian of the weights times the slopes.
    """
    reward = np.array([0.0, 0.0, width, width])
    slopes = _slope(reward[:, None] - reward)
    pull = 4 / np.mean(1 / slopes) * np.ones_like(slopes)
    curvatures = np.linalg.eigvalsh(np.diag(pull.sum(axis=1)) - pull)[1:]
    return float(np.abs(1 - curvatures / len(reward)).max())


def _rankers(beta: Any, wrong: bool) -> tuple[Ranker, ...]:
    by_policy = DPOMixP(beta)
    if wrong:
        by_policy = Pairwise(LogitMixture(beta, -beta), LogitMixture(-beta, beta))
    return Pairwise(Uniform(), Uniform()), DPOMixR(), by_policy


def _lane(lane: Drawn, wrong: bool, steps: int = STEPS) -> Any:
    """Gradient descent in the logits, from the reference policy, by each of the rankers."""
    bandit = Bandit(lane.reward, lane.log_ref)
    arms, beta = lane.reward.shape[1], lane.beta

    def scores(logits: Any) -> Any:
        return beta * (jax.nn.log_softmax(logits, axis=1) - lane.log_ref)

    def coefficient(ranker: Any, h: Any) -> Any:
        """The total weight of all ordered pairs, half of it for each order of a pair."""
        if isinstance(ranker, DPOMixP | DPOMixR):
            of = lane.reward if isinstance(ranker, DPOMixR) else h
            return jnp.sum(jnp.exp(log_weights(of))) / 2
        uniform = isinstance(ranker.first, Uniform)
        lead = h[:, :, None] - h[:, None, :]
        return 2.0 * arms**2 if uniform else jnp.sum(jnp.exp(lead))

    def descend(ranker: Any) -> Any:
        request = CountedPairs(ranker)

        def step(logits: Any, _: None) -> tuple[Any, Any]:
            data = request.exact(bandit, jax.nn.log_softmax(logits, axis=1))
            slope = jax.grad(lambda at: data.mean(DPO(), scores(at), Extra()))(logits)
            rate = coefficient(ranker, scores(logits)) / (beta**2 * arms)
            logits = logits - rate * slope
            left = lane.reward - scores(logits)
            return logits, jnp.max(left) - jnp.min(left)

        return jax.lax.scan(step, lane.log_ref, None, length=steps)[1]

    return jnp.stack([descend(ranker) for ranker in _rankers(beta, wrong)])


def _drawn(study: Study, arms: int) -> Drawn:
    """Rewards of several kinds, half of them of range 1."""
    rng, count = study.rng(arms), study.pick(quick=300, full=10_000)
    kind = rng.integers(3, size=(count, 1))
    uniform = rng.uniform(size=(count, arms))
    levels = rng.integers(2, size=(count, arms)).astype(float)
    bent = rng.beta(0.2, 0.2, size=(count, arms))
    reward = np.select([kind == 0, kind == 1], [uniform, levels], bent)
    # The first two arms hold the ends of the range.
    reward[:, 0], reward[:, 1] = 0.0, 1.0
    low, high = np.log(RANGES)
    width = np.where(rng.random(count) < 0.5, 1.0, np.exp(rng.uniform(low, high, count)))
    log_ref = rng.normal(size=(count, arms)) * 2
    log_ref -= np.logaddexp.reduce(log_ref, axis=1, keepdims=True)
    beta = 10 ** rng.uniform(-1, 1, count)
    reward = reward * width[:, None]
    return Drawn(reward[:, None], log_ref[:, None], beta, width)


def _judged(found: np.ndarray, bound: np.ndarray, drawn: Drawn, of: str) -> Finding:
    seen = bound > VISIBLE

    def witness(worst: int) -> dict[str, Any]:
        sampler, lane, step = (int(part[worst]) for part in np.nonzero(seen))
        return {
            "pairs": NAMES[sampler],
            "against": of,
            "reward": drawn.reward[lane, 0],
            "reference": np.exp(drawn.log_ref[lane, 0]),
            "beta": drawn.beta[lane],
            "steps": step + 1,
        }

    return judge.upper_bound(
        found[seen],
        bound[seen],
        rounding=1e-7,
        floor=1e-12,
        witness=witness,
        unit="largest error of a difference of rewards",
    )


# The variants of the check share what the adversary found.
@functools.lru_cache(maxsize=1)
def _peaks(seed: int, steps: int, restarts: int = 12, arms: int = 4) -> np.ndarray:
    """How much of the worst case for range 1 an adversary reaches, by restart."""
    starts = jnp.asarray(np.random.default_rng(seed).normal(size=(restarts, arms)))
    ends = worst_case(1.0)[:, 1:4]
    seen = ends > VISIBLE

    def objective(free: Any) -> Any:
        reward = jax.nn.sigmoid(2.0 * free)[None]
        log_ref = jnp.full((1, arms), -np.log(arms))
        found = _lane(Drawn(reward, log_ref, jnp.ones(()), jnp.ones(())), False, ends.shape[1])
        return jnp.max(jnp.where(seen, found / ends, 0.0))

    return np.asarray(judge.climb(objective, starts, steps=steps, learning_rate=0.2).all_values)


def _draw(figure: Figure, end: np.ndarray) -> None:
    axes = figure.subplots()
    steps = np.arange(1, STEPS + 1)
    words = ("uniform", "DPO-Mix-R", "DPO-Mix-P")
    colours = ("0.3", "C0", "C2")
    for name, colour, bent, bound in zip(words, colours, end, _of_source(), strict=True):
        seen = bent > 1e-15
        axes.semilogy(np.arange(STEPS + 1)[seen], bent[seen], "o-", color=colour, label=name)
        axes.semilogy(steps, bound, "--", color=colour, linewidth=1)
    axes.semilogy([], [], "--", color="0.5", linewidth=1, label="the source's bounds")
    axes.set(xlabel="gradient steps", ylim=(1e-13, 2), xlim=(0, STEPS))
    axes.set(ylabel="largest error of a difference of rewards")
    axes.set(title="The worst rewards in [0, 1], and what was promised")
    axes.legend(loc="lower right")
