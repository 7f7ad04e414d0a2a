"""F10: whether averaging rewards controls their errors, and what extrapolation does with them."""

import dataclasses
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from apo_sim.claims import judge
from apo_sim.claims.registry import claim
from apo_sim.claims.scope import Scope
from apo_sim.claims.verdict import Finding, Study
from apo_sim.loop import solve
from apo_sim.methods import MDVI, TrueReward
from apo_sim.momentum import Constant
from apo_sim.preferences.scored import Scored
from apo_sim.problems import Bandit
from apo_sim.pytree import pytree_dataclass
from apo_sim.sweep.lanes import over_lanes

ARMS, ITERATIONS = 5, 30
KINDS = ("none", "independent", "constant", "alternating", "the last alone", "the first alone",
         "worst case")  # fmt: skip
METHODS = ("average", "momentum", "entropy")
TOLERANCE = 1e-9
# What is compared at equal weight: runs whose errors decide, not how far they have come.
GAMMA, NOISE = 60.0, 1.0
ALPHAS, DECAYS = (0.3, 0.6, 0.9), (0.5, 0.8, 0.9)
QUOTED = (0.3, 0.9)
JUDGED = (0.9, 0.9)
# Errors of iteration j as a power of j, of one mean square.
CHANGING = {"that grow": 0.5, "that shrink": -0.5}


@claim(
    id="F10",
    title="Averaging against extrapolation with errors in the rewards",
    source="reviews",
    statement=r"Rewards $r^* + \varepsilon_j$ in iteration $j$, uniform start. "
    r"MD-VI($\lambda$, 0), which is DPO at $\beta = \lambda$, has after $k$ iterations a gap of "
    r"at most $2\|\frac1k\sum_j\varepsilon_j\|_\infty + \frac4k(r_{\max} + \lambda\log K)$. "
    r"Beyond its authors: so has any method that adds rewards up with weights $w_j \ge 0$, with "
    r"$\bar\varepsilon = \sum w_j\varepsilon_j/\sum w_j$ and $\gamma$ the sum over $\beta$: "
    r"$$\mathrm{gap} \le 2\|\bar\varepsilon\|_\infty + \frac{\log K}{\gamma}.$$ Momentum is one, "
    r"$w_j \propto 1 - \alpha^{k-j}$, and MD-VI with entropy, $b^{k-1-j}$. At equal $\gamma$ and "
    rf"independent errors the plain average has a smaller gap than $\alpha = {JUDGED[0]:g}$ and "
    rf"than $b = {JUDGED[1]:g}$.",
    control="half of the average error in the bounds",
    scope=Scope(
        "for all",
        "random bandits with rewards in [-1, 1], uniform reference; errors: none, independent, "
        "constant, alternating, in one iteration alone, and the worst case; on average over "
        "independent ones at equal weight",
        arms=ARMS,
        iterations=f"1 to {ITERATIONS}",
        beta="from 0.03 to 30",
        alpha="from 0 to 0.95",
    ),
)
def averaging(study: Study) -> Finding:
    r"""Judge the bound on the gap, and compare methods that weigh the same errors otherwise.

    Problem: does dual averaging control errors in the rewards where extrapolation does not?

    Method: the errors are planted in the source of the rewards. The policies must be those of the
    weighted sum of all rewards. Errors of all kinds against both bounds, after every iteration;
    the worst case takes from the best arm what it gives to the others, and a little more. At equal
    gamma the three methods see the same independent errors, and are compared in pairs.

    Guarantee: the first bound is Theorem 1 of its authors at discount 0, where its values are those
    of the bandit; they assume rewards bounded by r_max. Ours follows in a line: pi_k maximises
    <r* + bar eps, pi> - KL(pi || uniform) / gamma, so that against the best arm it gives up
    log K / gamma and twice the error. The first term is attained, in the worst case with a large
    gamma. Averaging is no gift of MD-VI, it is the proximal point's; extrapolation keeps it, and
    only favours old errors: its variance is k / k_eff that of the average, which tends to 1. With
    entropy it tends to (1 - b) / (1 + b), whatever k. None of them averages a constant error.
    The average is best for errors of one size: where they grow over the run momentum is ahead,
    where they shrink entropy is (facts).

    Reference: Vieillard et al. (2020), "Leverage the average", Theorem 1; the rest is ours.

    Example:
        >>> [round(float(variance(weights_of("momentum", 0.9, k)) * k), 3) for k in (5, 30, 1000)]
        [1.174, 1.117, 1.004]
    """
    tried = _tried(study, study.pick(quick=700, full=20_000))
    found = over_lanes(_solved, tried, iterations=ITERATIONS)
    errors, gammas = _weighed(tried)
    off = _off(tried, found, errors, gammas)
    formula = judge.identity(off, TOLERANCE, witness=_witness(tried))
    share = 0.5 if study.wrong else 1.0
    size = 2 * share * np.abs(errors).max(axis=-1)
    gap = np.stack([each.gap for each in found], axis=1)
    sharp = size + math.log(ARMS) / gammas
    ours = judge.upper_bound(gap, sharp, unit="gap", witness=_witness(tried))
    k = np.arange(1, ITERATIONS + 1)
    largest = np.abs(tried.reward).max(axis=1)[:, None]
    theorem = size[:, 0] + 4 / k * (largest + tried.beta[:, None] * math.log(ARMS))
    theirs = judge.upper_bound(gap[:, 0], theorem, unit="gap", witness=_witness(tried))
    equal, *changing = (
        _at_equal_weight(study, study.pick(quick=10_000, full=100_000), power)
        for power in (0.0, *CHANGING.values())
    )
    plain = equal["average"]
    rivals = f"α = {JUDGED[0]:g}", f"b = {JUDGED[1]:g}"
    parts = [
        judge.compare(plain, equal[name], confidence=judge.together(len(rivals)), unit="gap")
        for name in rivals
    ]
    by_kind = {name: _largest(gap / sharp, tried, name) for name in KINDS}
    return dataclasses.replace(
        judge.worst([formula, ours, theirs, *parts]),
        cells=len(parts),
        instances=tried.beta.size * len(METHODS) + plain.size * len(equal),
        facts={
            "largest share of the first bound that is met": theirs.ratio,
            **{
                f"largest share of ours that is met, {name}": each for name, each in by_kind.items()
            },
            **{
                f"variance of the error over that of the average, α = {a:g}, k = {n}": float(
                    n * variance(weights_of("momentum", a, n))
                )
                for a in QUOTED
                for n in (5, ITERATIONS, 300)
            },
            **{f"gap at equal weight, {name}": float(each.mean()) for name, each in equal.items()},
            **{
                f"gap at equal weight, errors {how}, {name}": float(gaps[name].mean())
                for how, gaps in zip(CHANGING, changing, strict=True)
                for name in ("average", *rivals)
            },
        },
        note=f"At most {theirs.ratio:.2f} of the first bound is met and {ours.ratio:.2f} of ours. "
        f"At $\\gamma = {GAMMA:g}$ and $k = {ITERATIONS}$ the mean gap is {plain.mean():.3f} for "
        "the average, "
        + ", ".join(f"{equal[f'α = {a:g}'].mean():.3f} (α = {a:g})" for a in QUOTED)
        + f" and {equal['b = 0.9'].mean():.3f} with entropy, b = 0.9.",
        draw=lambda figure: _draw(figure, equal),
    )


class Tried(NamedTuple):
    """Bandits with errors, shape (n, ...).

    Attributes:
        reward: r*, shape (n, K).
        errors: those of the rewards, shape (n, T, K).
        beta: the proximal weight; lambda of MD-VI without entropy, and lambda + tau with it.
        alpha: of the momentum.
        decay: b = lambda / (lambda + tau) of MD-VI with entropy.
        kind: number of the kind of errors.
    """

    reward: Any
    errors: Any
    beta: Any
    alpha: Any
    decay: Any
    kind: Any


class Path(NamedTuple):
    """Policies after 1 ... T iterations, log-probabilities (n, T, K), and their gaps (n, T)."""

    log_policy: Any
    gap: Any


@pytree_dataclass
class Planted(TrueReward):
    """The bandit's reward with an error of its own in each iteration."""

    errors: Any

    def learn(self, problem: Any, state: Any, data: Any, t: Any) -> tuple[Any, Scored]:
        seen = problem.reward + self.errors[t]
        return state, Scored(seen, jnp.ones_like(seen), jnp.ones(seen.shape, bool))


def weights_of(method: str, number: Any, iterations: int) -> np.ndarray:
    """w_0 ... w_{k-1} of the rewards after k iterations.

    Args:
        method: one of `METHODS`.
        number: alpha of the momentum, or b of the entropy; the average has none.
        iterations: k.

    Example:
        >>> weights_of("momentum", 0.5, 3).tolist(), weights_of("entropy", 0.5, 3).tolist()
        ([1.75, 1.5, 1.0], [0.25, 0.5, 1.0])
    """
    age = np.arange(iterations)[::-1]
    if method == "average":
        return np.ones(iterations)
    return number**age if method == "entropy" else (1 - number ** (age + 1)) / (1 - number)


def variance(weights: np.ndarray) -> float:
    """That of the weighted mean of independent errors of variance one."""
    return float(np.sum(weights**2) / np.sum(weights) ** 2)


def _tried(study: Study, count: int) -> Tried:
    rng = study.rng()
    reward = rng.uniform(-1, 1, (count, ARMS))
    kind = np.arange(count) % len(KINDS)
    scale = 10 ** rng.uniform(-2, 0.5, (count, 1, 1))
    noise = scale * rng.normal(size=(count, ITERATIONS, ARMS))
    step = np.arange(ITERATIONS)[:, None]
    constant = noise[:, :1] * np.ones((ITERATIONS, 1))
    # The best arm loses what its rivals gain, so that all seem alike, and a little more.
    top = reward.max(axis=1, keepdims=True)
    rival = np.sort(reward, axis=1)[:, :1]
    half = 0.5 * (top - rival) * 1.01
    worst = np.where(reward == top, -half, np.where(reward == rival, half, -half))[:, None, :]
    choices = [
        0 * noise, noise, constant, constant * (-1.0) ** step, noise * (step == ITERATIONS - 1),
        noise * (step == 0), worst * np.ones((ITERATIONS, 1)),
    ]  # fmt: skip
    errors = np.select([(kind == i)[:, None, None] for i in range(len(KINDS))], choices)
    beta = 10 ** rng.uniform(-1.5, 1.5, count)
    beta = np.where(kind == len(KINDS) - 1, 1e-2 * beta, beta)
    alpha, decay = rng.uniform(0, 0.95, count), rng.uniform(0.05, 0.98, count)
    return Tried(reward, errors, beta, alpha, decay, kind)


def _solved(lane: Tried, iterations: int) -> tuple[Path, ...]:
    """Paths of the three methods."""
    log_ref = jnp.full((1, ARMS), -math.log(ARMS))
    bandit = Bandit(lane.reward[None], log_ref)
    source = Planted(lane.errors)
    shortfall = jnp.max(lane.reward) - lane.reward

    def of(log_policy: Any) -> Path:
        return Path(log_policy, jnp.exp(log_policy) @ shortfall)

    def averaged(price: Any, entropy: Any) -> Path:
        found = solve(bandit, MDVI(price, entropy, source), iterations=iterations, save="path")
        return of(found.path.log_policy[1:, 0])

    rule = Constant(lane.alpha)

    def step(carry: Any, t: Any) -> tuple[Any, Any]:
        dual, state = carry
        new = dual + (lane.reward + lane.errors[t]) / lane.beta
        return rule.extrapolate(new, state, t + 1), jax.nn.log_softmax(new)

    start = (log_ref[0], rule.init(log_ref[0]))
    _, momentum = jax.lax.scan(step, start, jnp.arange(iterations))
    return (
        averaged(lane.beta, jnp.zeros_like(lane.beta)),
        of(momentum),
        averaged(lane.decay * lane.beta, (1 - lane.decay) * lane.beta),
    )


def _weighed(tried: Tried) -> tuple[np.ndarray, np.ndarray]:
    """Weighted mean errors, shape (n, methods, T, K), and gamma, shape (n, methods, T)."""
    numbers = {"average": tried.alpha, "momentum": tried.alpha, "entropy": tried.decay}
    weights = np.zeros((tried.beta.size, len(METHODS), ITERATIONS, ITERATIONS))
    for row, method in enumerate(METHODS):
        for k in range(1, ITERATIONS + 1):
            weights[:, row, k - 1, :k] = weights_of(method, numbers[method][:, None], k)
    total = weights.sum(axis=-1)
    mean = np.einsum("nmkj,njy->nmky", weights / total[..., None], tried.errors)
    return mean, total / tried.beta[:, None, None]


def _off(tried: Tried, found: Any, errors: np.ndarray, gammas: np.ndarray) -> np.ndarray:
    """Differences of log-probabilities against gamma times those of the reward that is seen."""
    log_policy = np.stack([each.log_policy for each in found], axis=1)
    wanted = gammas[..., None] * (tried.reward[:, None, None] + errors)
    apart = [each - each.max(axis=-1, keepdims=True) for each in (log_policy, wanted)]
    return (apart[0] - apart[1]) / (1 + np.abs(wanted).max(axis=-1, keepdims=True))


def _at_equal_weight(study: Study, count: int, power: float) -> dict[str, np.ndarray]:
    """Gaps after all iterations, of methods with the same gamma and the same errors."""
    rng = study.rng(1)
    reward = rng.uniform(-1, 1, (count, ARMS))
    size = np.arange(1, ITERATIONS + 1) ** power
    size = NOISE * size / np.sqrt(np.mean(size**2))
    errors = size[:, None] * rng.normal(size=(count, ITERATIONS, ARMS))
    gaps = {}
    for alpha, decay in zip(ALPHAS, DECAYS, strict=True):
        chosen = (("average", 0.0), ("momentum", alpha), ("entropy", decay))
        names = ("average", f"α = {alpha:g}", f"b = {decay:g}")
        for name, (method, number) in zip(names, chosen, strict=True):
            weights = weights_of(method, number, ITERATIONS)
            mean = np.einsum("j,njy->ny", weights / weights.sum(), errors)
            logits = GAMMA * (reward + mean)
            policy = np.exp(logits - logits.max(axis=1, keepdims=True))
            policy /= policy.sum(axis=1, keepdims=True)
            gaps[name] = reward.max(axis=1) - np.sum(policy * reward, axis=1)
    return gaps


def _largest(ratio: np.ndarray, tried: Tried, name: str) -> float:
    return float(ratio[tried.kind == KINDS.index(name)].max())


def _witness(tried: Tried) -> Any:
    def witness(index: int) -> dict[str, Any]:
        place = index % tried.beta.size
        return {"reward": tried.reward[place], "beta": tried.beta[place]}

    return witness


def _draw(figure: Figure, equal: dict[str, np.ndarray]) -> None:
    left, right = figure.subplots(1, 2)
    ks = np.unique(np.geomspace(1, 300, 60).astype(int))
    shown = (
        ("average", 0.0, "average", "C2", "-"),
        ("momentum", 0.3, r"$\alpha = 0.3$", "C0", "-"),
        ("momentum", 0.9, r"$\alpha = 0.9$", "C3", "-"),
        ("entropy", 0.9, "entropy, b = 0.9", "C4", "--"),
        ("entropy", 0.5, "entropy, b = 0.5", "C5", "--"),
    )
    for method, number, label, colour, style in shown:
        values = [math.sqrt(variance(weights_of(method, number, int(k)))) for k in ks]
        left.loglog(ks, values, style, color=colour, label=label)
    left.set(xlabel="iterations $k$", ylabel="error of the weighted reward, over one's")
    left.set(title="Independent errors")
    left.legend(loc="lower left", fontsize=7.5)
    names = sorted(equal)
    means = [equal[name].mean() for name in names]
    bars = [np.ptp(judge.mean_interval(equal[name])) / 2 for name in names]
    colours = ["C2" if n == "average" else "C0" if n.startswith("α") else "C4" for n in names]
    right.bar(range(len(names)), means, yerr=bars, color=colours, capsize=3)
    right.set_xticks(range(len(names)), names, fontsize=7.5, rotation=35)
    right.set(ylabel="mean gap", title=rf"Equal weight $\gamma = {GAMMA:g}$, $k = {ITERATIONS}$")
