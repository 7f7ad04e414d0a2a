"""Assumption 4.3: one bound R for all policies, and what it leaves of realizability."""

import dataclasses
import functools
import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from apo_sim import families, theory
from apo_sim.claims import judge
from apo_sim.claims._two_arms import GAP, every_count, fitted_difference
from apo_sim.claims.registry import claim
from apo_sim.claims.scope import Scope
from apo_sim.claims.verdict import Finding, Study
from apo_sim.losses import DPO
from apo_sim.momentum import Constant
from apo_sim.problems import Bandit
from apo_sim.running import run

# The classes of two arms: all policies with |beta log-odds| up to a reach.
REACHES = (1.0, 2.0, 4.0, 8.0)
UPDATES = 2
PAIRS = (1, 5, 20)
BETAS = (0.1, 1.0, 10.0)
SEEDS = (1000, 10_000)  # quick, full
TOO_SMALL = GAP / 2  # reach that the first exact update exceeds already
# Of the runs on random bandits that show how R grows.
ARMS, BETA, ITERATIONS, SAMPLES = 5, 1.0, 100, 1000.0
ALPHAS = (0.0, 0.3, 0.9)
COLORS = ("C0", "C3", "C5")
SHOWN = 0.3
ENOUGH = 2.0  # the R that one update may need (A4.2)


@claim(
    id="A4.3",
    title="Boundedness: against realizability",
    source="paper",
    statement=(
        r"$$|\beta\log(\pi/\pi_t)| \le R \quad\text{for all}\quad \pi, \pi_t \in \Pi,$$ while "
        r"$\Pi$ is realizable (A4.2): around every centre $\pi_t$ that a sampled run visits it "
        r"contains the exact update, proportional to $\pi_t e^{r^*/\beta}$. Some bounded $\Pi$ "
        r"does both for $T \ge 2$ (tried: two arms, $T = 2$)."
    ),
    scope=Scope(
        "exists",
        f"two arms, reward gap {GAP}, uniform reference; classes of all policies with β times "
        f"log-odds up to {REACHES[0]:g} ... {REACHES[-1]:g} either way",
        arms=2,
        iterations=UPDATES,
        beta=BETAS,
        samples=PAIRS,
        alpha=0,
    ),
    repair="$T = 1$: around the reference alone",
    control=(
        f"$T = 1$ and the class up to {TOO_SMALL:g}, half the reward gap, which the first exact "
        "update leaves"
    ),
    errata=(
        r"Assumptions 4.2 and 4.3 exclude each other for $T \ge 2$. With positive probability no "
        r"label of the first update goes against $y^*$; the minimiser is then the extreme policy "
        r"of $\Pi$, and the exact update from there leaves $\Pi$. Without sampling a bounded class "
        r"does for a fixed $T$, with an $R$ that grows with $T/(1-\alpha)$ (N8)."
    ),
)
def boundedness(study: Study) -> Finding:
    r"""Look for a bounded class of policies that is realizable around every centre visited.

    Problem: two arms. A bounded class has a largest log-odds. If all labels of the first update
    that say anything favour y*, the loss falls without end in the log-odds, so that its minimiser
    over the class is the policy of the largest; with momentum the centre lies even beyond. The
    exact update adds Delta/beta to the log-odds. So no bounded class contains it, and the event
    has the probability ((1 + sigma(Delta))/2)^N - 2^-N at least.

    Method: `apo.run` from N pairs within classes of several sizes: the share of runs that visit
    a centre whose exact update is outside, with Clopper-Pearson intervals that cover together.
    Beside it, the probability from all data sets, without a run. And on random bandits, how the R
    over all pairs of policies visited grows.

    Guarantee: fails in every class, for every N and beta. The upper half of Assumption 4.3 is not
    convex in r either, so the solver keeps to the convex set implied by both halves,
    max r - min r <= 2 R around the centre of the moment, in which |beta log pi/pi_t| reaches 2 R.

    Reference: Assumptions 4.2 and 4.3 of the paper; that they exclude each other is ours.

    Example:
        >>> [round(probability_of_leaving(8.0, pairs), 4) for pairs in (1, 20)]
        [0.3112, 0.0152]
    """
    stated = dataclasses.replace(study, variant="stated")
    updates = UPDATES if study.variant == "stated" else 1
    reaches = (TOO_SMALL,) if study.wrong else REACHES
    cells = list(itertools.product(reaches, PAIRS, BETAS))
    centres = _centres(stated)
    left = np.array(
        [
            int(np.sum(np.max(np.abs(centres[cell][:, :updates] + GAP), axis=1) > _edge(cell[0])))
            for cell in cells
        ]
    )
    seeds = study.pick(*SEEDS)
    each = judge.together(len(cells))
    least, most = int(np.argmin(left)), int(np.argmax(left))
    # No class will do if runs leave each of them; one will if no run leaves any.
    verdict = "fails" if left[least] else "not reproduced" if left[most] else "holds"
    at = least if verdict == "fails" else most
    exact = {pairs: probability_of_leaving(REACHES[-1], pairs) for pairs in PAIRS}
    grown = _growth(stated)
    sampled, exactly = (float(np.asarray(b.all_pairs)[:, -1].mean()) for b in grown.end)
    consecutive = np.asarray(grown.end[0].consecutive)
    reach, pairs, beta = cells[at]
    return Finding(
        verdict,
        measured=left[at] / seeds,
        bound=0.0,
        interval=judge.clopper_pearson(int(left[at]), seeds, each),
        unit="share of runs whose exact update leaves the class",
        instances=len(cells) * seeds,
        cells=len(cells),
        counterexample={
            "reward": [GAP / 2, -GAP / 2],
            "reference": [0.5, 0.5],
            "beta": beta,
            "samples": pairs,
            "iterations": updates,
            "largest beta * log-odds in the class": reach,
            "runs that leave it": left[at],
            "of": seeds,
        }
        if verdict == "fails"
        else None,
        facts={
            **{f"probability of leaving, N = {pairs}": p for pairs, p in exact.items()},
            **{
                f"share of runs that leave, N = {pairs}": float(
                    np.mean(centres[REACHES[-1], pairs, 1.0][:, 1] + GAP > _edge(REACHES[-1]))
                )
                for pairs in PAIRS
            },
            f"R over all pairs, sampled, α = {SHOWN:g}": sampled,
            f"R over all pairs, exact, α = {ALPHAS[-1]:g}": exactly,
            "updates": grown.sampled.size,
            "largest R of a single sampled update": float(consecutive.max()),
        },
        note=(
            f"Runs leave the largest class with probability {exact[PAIRS[0]]:.3f}, "
            f"{exact[PAIRS[1]]:.3f}, {exact[PAIRS[2]]:.4f} at N = 1, 5, 20, and with some "
            rf"probability at any N. On random bandits the $R$ over all pairs of policies visited "
            f"passes the {ENOUGH:g} of a single update: after {grown.sampled.size} sampled updates "
            rf"($\alpha = {SHOWN:g}$) it is {sampled:.0f}, after exact ones ($\alpha = 0.9$) "
            rf"{exactly:.0f} (N8). Single sampled updates reach {consecutive.max():.1f}, since the "
            r"solver enforces the convex set $\max r - \min r \le 2R$."
        ),
        draw=lambda figure: _draw(figure, centres, grown),
    )


def probability_of_leaving(reach: float, pairs: int) -> float:
    """How likely the exact update from pi_1 leaves the class, from all data sets.

    Args:
        reach: the largest beta log-odds of the class.
        pairs: preference pairs of the first update, N.

    Example:
        >>> round(probability_of_leaving(1.0, 1), 4)  # sigma(Delta)/2
        0.3112
    """
    wins, losses, probability = every_count(pairs)
    fitted = fitted_difference(wins, losses, reach)
    return float(probability[fitted + GAP > _edge(reach)].sum())


def _edge(reach: float) -> float:
    return reach * (1 + 1e-9)  # what the solver leaves of its constraint


# The variants of the check judge the same runs.
@functools.lru_cache(maxsize=1)
def _centres(study: Study) -> dict[tuple[float, int, float], np.ndarray]:
    """beta log-odds of the centres visited, (seeds, updates), by reach, N and beta."""
    keys = jax.random.split(study.subkey(1), study.pick(*SEEDS))
    settings = list(itertools.product((TOO_SMALL, *REACHES), PAIRS, BETAS))
    reach, pairs, beta = (jnp.asarray(column, float) for column in zip(*settings, strict=True))
    return dict(zip(settings, np.asarray(_visit(reach, pairs, beta, keys)), strict=True))


@jax.jit
def _visit(reach: jax.Array, pairs: jax.Array, beta: jax.Array, keys: jax.Array) -> jax.Array:
    def one(reach: Any, pairs: Any, beta: Any, key: Any) -> jax.Array:
        bandit = Bandit(jnp.array([[GAP / 2, -GAP / 2]]), families.uniform_reference(1, 2))
        solution = run(
            bandit,
            DPO(),
            beta=beta,
            iterations=UPDATES,
            samples=pairs,
            key=key,
            reward_bound=reach / 2,  # from the reference the whole class, up to its edge
            save="path",
        )
        centres = solution.behaviour[:-1, 0]
        return beta * (centres[:, 0] - centres[:, 1])

    runs = jax.vmap(one, in_axes=(None, None, None, 0))
    return jax.vmap(runs, in_axes=(0, 0, 0, None))(reach, pairs, beta, keys)


@dataclasses.dataclass(frozen=True)
class Growth:
    """R over all pairs after every update, means over seeds (T,), and two of the runs whole.

    Attributes:
        sampled: with momentum `SHOWN`.
        exact: one for every entry of `ALPHAS`.
        end: the sampled runs, and the exact ones of the largest alpha.
    """

    sampled: np.ndarray
    exact: list[np.ndarray]
    end: tuple[theory.VisitedBounds, theory.VisitedBounds]


@functools.lru_cache(maxsize=1)
def _growth(study: Study) -> Growth:
    keys = jax.random.split(study.subkey(0), study.pick(quick=32, full=128))
    iterations = study.pick(quick=ITERATIONS, full=10 * ITERATIONS)
    sampled = visited_bounds(keys, SHOWN, SAMPLES, iterations)
    exact = [visited_bounds(keys, alpha, None, iterations) for alpha in ALPHAS]
    mean, *means = (np.asarray(bounds.all_pairs).mean(axis=0) for bounds in (sampled, *exact))
    return Growth(mean, means, (sampled, exact[-1]))


@functools.partial(jax.jit, static_argnames="iterations")
def visited_bounds(
    keys: jax.Array,
    alpha: Any,
    samples: Any,
    iterations: int,
) -> theory.VisitedBounds:
    """Run DPO on a random bandit for every key and measure R, (runs, iterations).

    Without samples, preferences are exact.

    Example:
        >>> bounds = visited_bounds(jax.random.key(0)[None], 0.9, None, 30)
        >>> float(bounds.consecutive.max()) < 2 < float(bounds.all_pairs[0, -1])
        True
    """

    def one(key: jax.Array) -> theory.VisitedBounds:
        to_rewards, to_data = jax.random.split(key)
        bandit = families.uniform_bandit(to_rewards, 1, ARMS)
        solution = run(
            bandit,
            DPO(),
            Constant(alpha),
            beta=BETA,
            iterations=iterations,
            samples=samples,
            key=to_data,
            save="path",
        )
        return theory.visited_bounds(solution, BETA)

    return jax.vmap(one)(keys)


def _draw(figure: Figure, centres: dict, grown: Growth) -> None:
    left, right = figure.subplots(1, 2)
    fine = np.linspace(GAP, 10, 200)
    cells = len(REACHES) * len(PAIRS)
    for pairs, color in zip(PAIRS, ("C0", "C3", "C4"), strict=True):
        left.plot(fine, [probability_of_leaving(reach, pairs) for reach in fine], color=color)
        seeds = centres[REACHES[0], pairs, 1.0].shape[0]
        counts = [
            int(np.sum(centres[reach, pairs, 1.0][:, 1] + GAP > _edge(reach))) for reach in REACHES
        ]
        share = np.array(counts) / seeds
        ends = [judge.clopper_pearson(count, seeds, judge.together(cells)) for count in counts]
        errors = np.abs(np.array(ends).T - share)
        left.errorbar(REACHES, share, errors, fmt="o", color=color, label=f"N = {pairs}, runs")
    left.plot([], [], color="0.5", label="from all data sets")
    left.set(yscale="log", xlabel=r"largest $\beta\,$log-odds in the class")
    left.set(ylabel="share whose exact update leaves it", title="Two arms, T = 2")
    left.legend(fontsize=7.5, loc="lower left", ncols=2)
    left.set_ylim(1e-3, 1)
    updates = np.arange(1, grown.sampled.size + 1)
    shown = np.unique(np.geomspace(1, updates.size, 100).astype(int)) - 1
    for alpha, color, bounds in zip(ALPHAS, COLORS, grown.exact, strict=True):
        label = rf"exact, $\alpha = {alpha:g}$"
        right.loglog(updates[shown], bounds[shown], color=color, label=label)
    label = rf"sampled, $\alpha = {SHOWN:g}$"
    right.loglog(updates[shown], grown.sampled[shown], color="C3", linestyle="--", label=label)
    right.axhline(ENOUGH, color="0.5", linestyle=":")
    right.text(updates[-1], ENOUGH, "enough for one update", color="0.4", ha="right", va="bottom")
    right.set(xlabel="updates $T$", ylabel="least possible $R$")
    right.set_title("Random bandits, all pairs visited")
    right.legend(fontsize=7.5)
