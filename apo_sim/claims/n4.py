"""N4: the gap, split exactly into optimisation and statistics."""

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
from apo_sim.claims.verdict import Finding, Study
from apo_sim.loop import run
from apo_sim.momentum import Constant
from apo_sim.problems import Bandit

ARMS, ITERATIONS = 10, 20
TOLERANCE = 1e-9
# The runs of the figure, the first in every batch: this many for each of two alphas.
SHOWN, BETA, SAMPLES, ALPHAS = 60, 5.0, 100.0, (0.0, 0.9)


@claim(
    id="N4",
    title="Exact split of the gap",
    source="ours",
    statement=r"For any rewards $r_t$, with $\bar r = \sum_i w_{T-i} r_i / \sum_k w_k$: "
    r"$$\mathrm{gap}(\hat\pi_T) = \mathbb{E}_{\hat\pi_T}\bigl[\bar r(y^*) - \bar r(y)\bigr] + "
    r"\mathbb{E}_{\hat\pi_T}\bigl[(r^* - \bar r)(y^*) - (r^* - \bar r)(y)\bigr].$$ The first term, "
    r"optimisation, is at most $W_0((1-p)/(e\,p))/\gamma_T$; the second is statistics.",
    control="$w_k$ off by one in $\\bar r$",
)
def exact_split(study: Study) -> Finding:
    r"""Judge the split of the gap and the bound on its first term, on sampled runs.

    Problem: in runs of sampled DPO, the largest error of three equalities: the two terms against
    the gap that the loop reports, and each term with r_bar from the weights against the same
    with r_bar read off the policy, log(pi_hat_T/pi_ref)/gamma_T; and the largest first term
    against N2's bound, at every update.

    Guarantee: an identity and a bound, for any rewards, however wrong. The paper's split through
    the exact policy is a sum of two bounds instead.

    Reference: ours; beside the proof of Theorem 4.4.

    Example:
        >>> from apo_sim.claims import describe
        >>> describe("N4").source
        'ours'
    """
    drawn, solution = _sampled_runs(dataclasses.replace(study, wrong=False))
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
    first, second = (split.statistics[i * SHOWN : (i + 1) * SHOWN, -1] for i in range(2))
    low, high = judge.mean_interval(second - first)
    paper = split.paper_optimisation + split.paper_statistics
    excess = np.mean(paper[: 2 * SHOWN, -1]) / np.mean(gap[: 2 * SHOWN, -1])
    finding = judge.identity(
        errors,
        TOLERANCE,
        witness=lambda worst: drawn.witness(worst // 3),
        unit="reward",
        instances=gap.shape[0],
        note=f"The first term reaches {np.max(split.optimisation / bound):.3f} of its bound. In "
        f"the figure's {SHOWN} bandits $\\alpha = {ALPHAS[1]}$ changes the second term at "
        f"$T = {ITERATIONS}$ by {np.mean(second - first):+.4f} (95 % interval {low:+.4f} to "
        f"{high:+.4f}), and the paper's two terms sum to {excess:.1f} times the gap.",
        draw=_figure(split, bound, paper),
    )
    bounded = judge.upper_bound(split.optimisation, bound, unit="reward")
    return bounded if bounded.verdict == "fails" else finding


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
    count = 2 * SHOWN + study.pick(quick=80, full=2_000)
    reward = rng.uniform(-1, 1, (count, 1, ARMS))
    log_ref = rng.choice([0.0, 1.0, 4.0], (count, 1, 1)) * rng.normal(size=reward.shape)
    alpha = rng.choice([0.0, 0.3, 0.9, 0.99], count)
    beta = 10 ** rng.uniform(-0.5, 1.5, count)
    samples = np.round(10 ** rng.uniform(1, 6, count))
    shown = slice(0, 2 * SHOWN)
    log_ref[shown], beta[shown], samples[shown] = 0.0, BETA, SAMPLES
    alpha[shown] = np.repeat(ALPHAS, SHOWN)
    reward[SHOWN : 2 * SHOWN] = reward[:SHOWN]
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

    return drawn, jax.jit(jax.vmap(one))(drawn, jax.random.split(study.key, count))


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


def _figure(split: Any, bound: np.ndarray, paper: np.ndarray):
    t = np.arange(1, ITERATIONS + 1)

    def mean(series: np.ndarray, index: int) -> np.ndarray:
        return series[index * SHOWN : (index + 1) * SHOWN].mean(axis=0)

    def draw(figure: Figure) -> None:
        panels = figure.subplots(1, 2, sharey=True)
        for index, (axes, alpha) in enumerate(zip(panels, ALPHAS, strict=True)):
            gap = mean(split.suboptimality, index)
            axes.plot(t, mean(paper, index), color="C1", label="the paper's two terms, summed")
            axes.plot(t, gap, color="C0", linewidth=2.6, label="gap = sum of the next two")
            axes.plot(t, mean(split.optimisation, index), color="C4", label="optimisation")
            axes.plot(t, mean(split.statistics, index), color="C3", label="statistics")
            axes.plot(t, mean(bound, index), color="C2", linestyle="--", label="$W_0/\\gamma_T$")
            axes.set(xlabel="updates $T$", ylim=(-0.2, 1.4), xticks=range(0, 21, 5))
            axes.set_title(rf"$\alpha={alpha:g}$")
        panels[0].set_ylabel(f"gap in reward, mean of {SHOWN} bandits")
        panels[1].legend(loc="upper right")

    return draw
