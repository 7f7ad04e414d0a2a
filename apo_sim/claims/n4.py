"""N4: an identity that splits the gap through the average of the learned rewards."""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from apo_sim import theory
from apo_sim.claims import judge
from apo_sim.claims.registry import claim
from apo_sim.claims.scope import Scope
from apo_sim.claims.verdict import Finding, Study
from apo_sim.momentum import Constant
from apo_sim.problems import Bandit
from apo_sim.running import run
from apo_sim.studies.caption import caption

ARMS, ITERATIONS = 10, 20
TOLERANCE = 1e-9
ALPHAS = (0.0, 0.3, 0.9, 0.99)
# The first runs of a batch are fixed, in groups of this many bandits: two alphas at a usual beta,
# for the figure, and a beta so large that the policy hardly moves.
GROUP = 100
SAMPLES, SHOWN_ALPHAS, EARLY = 1000.0, (0.0, 0.9), 3
USUAL_BETA, LARGE_BETA = 5.0, 1e4


@claim(
    id="N4",
    title="An exact split of the gap",
    source="ours",
    statement=r"For any rewards $r_t$, with $\bar r = \sum_i w_{T-i} r_i / \sum_k w_k$: "
    r"$$\mathrm{gap}(\hat\pi_T) = \mathbb{E}_{\hat\pi_T}\bigl[\bar r(y^*) - \bar r(y)\bigr] + "
    r"\mathbb{E}_{\hat\pi_T}\bigl[(r^* - \bar r)(y^*) - (r^* - \bar r)(y)\bigr].$$ The first term "
    r"is at most $W_0((1-p)/(e\,p))/\gamma_T$. (Neither is an effect: what sampling does to the "
    r"gap is its distance from the run on exact preferences.)",
    control="$w_k$ off by one in $\\bar r$",
    scope=Scope(
        "for all",
        "random bandits, uniform and random references, runs on sampled preferences",
        arms=ARMS,
        iterations=ITERATIONS,
        beta="from 0.3 to 30, and 10,000",
        samples="from 10 to 1,000,000",
        alpha=ALPHAS,
    ),
)
def exact_split(study: Study) -> Finding:
    r"""Judge the split of the gap and the bound on its first term, on sampled runs.

    Problem: in runs of sampled DPO, the largest error of three equalities: the two terms against
    the gap that the loop reports, and each term with r_bar from the weights against the same
    with r_bar read off the policy, log(pi_hat_T/pi_ref)/gamma_T; and the largest first term
    against N2's bound, at every update.

    Guarantee: an identity and a bound, for any rewards, however wrong. It is no decomposition
    into causes: both terms carry the noise of r_bar, with opposite signs, so that the second is
    large where sampling does nothing to the gap, and need not grow where its effect does.

    Reference: ours; beside the proof of Theorem 4.4.

    Example:
        >>> from apo_sim.claims import describe
        >>> describe("N4").source
        'ours'
    """
    drawn, solution = _sampled_runs(dataclasses.replace(study, variant="stated"))
    split, from_weights, bound = jax.tree.map(
        np.asarray, _split(drawn, solution, off_by_one=study.wrong)
    )
    gap = np.asarray(solution.suboptimality)
    errors = np.stack(
        [
            np.max(np.abs(split.optimisation + split.statistics - gap), axis=1),
            np.abs(split.optimisation[:, -1] - from_weights[:, 0]),
            np.abs(split.statistics[:, -1] - from_weights[:, 1]),
        ],
        axis=1,
    )
    facts = _facts(split, bound)
    finding = judge.identity(
        errors,
        TOLERANCE,
        witness=lambda worst: drawn.witness(worst // 3),
        unit="reward",
        instances=gap.shape[0],
        note=rf"The second term is not what sampling does to the gap. At $N = {SAMPLES:,.0f}$, "
        rf"$\beta = {LARGE_BETA:,g}$, $T = {ITERATIONS}$ sampling moves the gap by "
        f"{facts['effect at a large beta']:.1e} and the second term is "
        f"{facts['second term at a large beta']:.1e}, cancelled by noise in the first (correlation "
        rf"{facts['correlation at a large beta']:.4f}); at $\beta = {USUAL_BETA:g}$, "
        rf"$T = {EARLY}$ an $\alpha$ of {SHOWN_ALPHAS[1]} multiplies the effect by "
        f"{facts['growth of the effect']:.2f} and the second term by "
        f"{facts['growth of the second term']:.2f} ({GROUP} bandits each).",
        draw=_figure(split),
    )
    bounded = judge.upper_bound(split.optimisation, bound, unit="reward")
    if bounded.verdict == "fails":
        return bounded
    return dataclasses.replace(finding, facts=facts)


def _facts(split: Any, bound: np.ndarray) -> dict[str, float]:
    """The second term beside what sampling does to the gap: mean sizes over a group of runs."""
    plain, fast, still = (slice(i * GROUP, (i + 1) * GROUP) for i in range(3))
    # At the end where the policy hardly moves; where it moves, after the paper's few updates.
    second, effect = (part[still, -1] for part in (split.statistics, split.paper_difference))
    # Without noise the first term is the gap of the exact policy.
    noise = split.optimisation[still, -1] - split.paper_optimisation[still, -1]

    def growth(part: np.ndarray) -> float:
        early = np.abs(part[:, EARLY - 1])
        return float(early[fast].mean() / early[plain].mean())

    return {
        "effect at a large beta": float(np.abs(effect).mean()),
        "second term at a large beta": float(np.abs(second).mean()),
        "correlation at a large beta": float(np.corrcoef(noise, second)[0, 1]),
        "growth of the effect": growth(split.paper_difference),
        "growth of the second term": growth(split.statistics),
        "largest share of the bound": float(np.max(split.optimisation / bound)),
    }


class _Drawn(NamedTuple):
    """Bandits and how each is run; every field has a leading axis of runs."""

    reward: np.ndarray
    log_ref: np.ndarray
    alpha: np.ndarray
    beta: np.ndarray
    samples: np.ndarray

    def witness(self, index: int) -> dict[str, Any]:
        return {name: field[index] for name, field in self._asdict().items()}


# The check and its control look at the same runs, which are slow to compile.
@functools.lru_cache(maxsize=1)
def _sampled_runs(study: Study) -> tuple[_Drawn, Any]:
    rng = study.rng()
    count = 3 * GROUP + study.pick(quick=80, full=2_000)
    reward = rng.uniform(-1, 1, (count, 1, ARMS))
    log_ref = rng.choice([0.0, 1.0, 4.0], (count, 1, 1)) * rng.normal(size=reward.shape)
    alpha = rng.choice(ALPHAS, count)
    beta = 10 ** rng.uniform(-0.5, 1.5, count)
    samples = np.round(10 ** rng.uniform(1, 6, count))
    plain, fast, still = (slice(i * GROUP, (i + 1) * GROUP) for i in range(3))
    for group, extrapolation in zip((plain, fast, still), (*SHOWN_ALPHAS, 0.0), strict=True):
        alpha[group], log_ref[group], reward[group] = extrapolation, 0.0, reward[plain]
    beta[: 3 * GROUP], samples[: 3 * GROUP] = USUAL_BETA, SAMPLES
    beta[still] = LARGE_BETA
    log_ref -= np.logaddexp.reduce(log_ref, axis=2, keepdims=True)
    drawn = _Drawn(reward, log_ref, alpha, beta, samples)

    def one(drawn: _Drawn, key: Any) -> Any:
        return run(
            Bandit(jnp.asarray(drawn.reward), jnp.asarray(drawn.log_ref)),
            momentum=Constant(jnp.asarray(drawn.alpha)),
            beta=drawn.beta,
            iterations=ITERATIONS,
            samples=drawn.samples,
            key=key,
            save="path",
        )

    keys = jax.random.split(study.key, count)
    # The groups meet the same labels as well: their differences are paired.
    keys = jnp.concatenate([keys[plain]] * 3 + [keys[3 * GROUP :]])
    return drawn, jax.jit(jax.vmap(one))(drawn, keys)


def _split(drawn: _Drawn, solutions: Any, *, off_by_one: bool) -> Any:
    """Both splits, the terms with r_bar from the weights at the end, and N2's bound."""

    def one(drawn: _Drawn, solution: Any) -> Any:
        reward = jnp.asarray(drawn.reward)
        bandit = Bandit(reward, jnp.asarray(drawn.log_ref))
        late = int(off_by_one)
        weights = theory.weights(drawn.alpha, ITERATIONS + late)[late:][::-1]
        average = jnp.tensordot(weights, solution.rewards, axes=1) / jnp.sum(weights)
        policy = jnp.exp(solution.final_log_policy[0])

        def shortfall(values: Any) -> Any:
            return policy @ (values[bandit.best_arm[0]] - values)

        both = jnp.stack([shortfall(average[0]), shortfall((reward - average)[0])])
        bound = theory.sharp_gap(None, solution.gamma, log_p_star=bandit.log_best_ref)
        return theory.split(bandit, solution), both, bound

    return jax.jit(jax.vmap(one))(drawn, solutions)


def _figure(split: Any):
    t = np.arange(1, ITERATIONS + 1)

    def draw(figure: Figure) -> None:
        caption(
            figure,
            rf"mean sizes over {GROUP} bandits, K = {ARMS}, N = {SAMPLES:,.0f}; on the left "
            rf"$\alpha = {SHOWN_ALPHAS[0]:g}$ dashed and $\alpha = {SHOWN_ALPHAS[1]}$ solid, on "
            rf"the right $\alpha = 0$",
        )
        left, right = figure.subplots(1, 2)
        lines = (
            ("C3", "what sampling does to the gap", split.paper_difference),
            ("C0", "second term of the identity", split.statistics),
        )
        for colour, label, part in lines:
            for group, style in enumerate(("--", "-")):
                size = np.abs(part[group * GROUP : (group + 1) * GROUP]).mean(axis=0)
                left.plot(t, size, style, color=colour, label=label if group else None)
            size = np.abs(part[2 * GROUP : 3 * GROUP]).mean(axis=0)
            right.plot(t, size, color=colour, label=label)
        left.set(ylabel="mean size, in reward", title=f"the policy moves, β = {USUAL_BETA:g}")
        right.set(yscale="log", title=f"it hardly moves, β = {LARGE_BETA:,g}")
        for axes in (left, right):
            axes.set(xlabel="updates $T$", xticks=range(0, 21, 5))
        left.set_ylim(bottom=0)
        left.legend()

    return draw
