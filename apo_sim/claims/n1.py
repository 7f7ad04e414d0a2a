"""N1: where the reward stands still, momentum is a smaller proximal weight."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from apo_sim import theory
from apo_sim.claims import instances, judge
from apo_sim.claims.registry import claim
from apo_sim.claims.scope import Scope
from apo_sim.claims.verdict import Finding, Study
from apo_sim.losses import SPPO
from apo_sim.momentum import Constant
from apo_sim.problems import Bandit
from apo_sim.running import run

ITERATIONS = 30
TOLERANCE = 1e-10
# Where the reward moves, the two paths part: SPPO on bandits of uniform rewards and reference.
MOVING_ALPHA, MOVING_BETA = 0.9, 2.0
# The first instances are fixed: those of the figure, and how they are drawn.
ALPHAS = (0.0, 0.3, 0.6, 0.9)
COLOURS = ("C0", "C5", "C4", "C3")


@claim(
    id="N1",
    title="With a reward that stands still, momentum is a smaller proximal weight",
    source="ours",
    statement=r"DPO with exact Bradley-Terry preferences, whose reward $r^*$ does not depend on "
    r"the policy that collects data: accelerated preference optimisation with $(\alpha, \beta)$ "
    r"runs through the same policies as the plain proximal point method with "
    r"$$\beta_t = \beta\,\frac{1-\alpha}{1-\alpha^{t+1}}, \qquad t = 0, 1, \dots$$",
    control=r"the schedule $\beta_t$ one update late",
    scope=Scope(
        "for all",
        "random bandits, rewards uniform, tied or on two levels, any reference",
        arms=instances.ARMS,
        iterations=ITERATIONS,
        beta="from 0.03 to 32",
        samples="exact",
        alpha="any in [0, 1)",
    ),
)
def momentum_is_a_smaller_beta(study: Study) -> Finding:
    r"""Judge that APO(alpha, beta) and plain proximal point at matched beta_t coincide.

    Problem: the largest error of a log-probability, relative to 1 + |log pi|, at any update of
    two runs of the loop: one with momentum at beta, one without at beta_t.

    Method: DPO on random bandits. Beside them SPPO, whose exact reward P(y > pi_t) moves with the
    policy from three arms on: the largest distance of the two paths in a log-probability.

    Guarantee: an identity where the reward does not depend on the behaviour policy. There
    whatever momentum gains with exact preferences, a smaller beta gains as well, and the fair
    control of an experiment is matched beta, not alpha = 0. Under SPPO and IPO the paths differ;
    on a cycle momentum then leaves the equilibrium faster than matched beta does (N22).

    Reference: ours.

    Example:
        >>> from apo_sim.claims import describe
        >>> describe("N1").source
        'ours'
    """
    drawn = instances.random(study.rng(), study.pick(quick=2_000, full=100_000))
    shown = instances.two_level(np.full(4, np.log(0.05)), 0.5, np.array(ALPHAS), 2.0)
    tried = instances.join(shown, drawn)
    error, fast, plain = map(np.asarray, _compare(tried, late=study.wrong))
    apart, divergence = _apart_under_sppo(study.rng(1))
    finding = judge.identity(
        error,
        TOLERANCE,
        witness=lambda worst: tried.witness(worst, ITERATIONS - 1),
        note=rf"Every policy of {ITERATIONS} updates is compared, for $\alpha$ from 0 to "
        rf"$1 - {1 - tried.alpha.max():.4f}$ and $\beta$ from {tried.beta.min():.2f} to "
        f"{tried.beta.max():.0f}. Under SPPO, whose exact reward moves with the policy, "
        rf"$\alpha = {MOVING_ALPHA}$ and its matched $\beta$ are {apart:.2f} nats apart in some "
        rf"log-probability (median over bandits, $K = {instances.ARMS}$, $\beta = "
        rf"{MOVING_BETA:g}$), {divergence:.0e} in KL divergence: the arms that differ are rare "
        "ones. What sampled preferences change is N6.",
        draw=_figure(fast[:4], plain[:4]),
    )
    facts = {"apart under SPPO, nats": apart, "KL divergence under SPPO, nats": divergence}
    return dataclasses.replace(finding, facts=facts)


def _compare(tried: instances.Instances, late: bool) -> Any:
    def one(reward: Any, log_ref: Any, alpha: Any, beta: Any) -> Any:
        bandit = Bandit(reward, log_ref)
        betas = theory.matched_beta(alpha, beta, ITERATIONS + late)[int(late) :]
        rule = Constant(alpha)
        fast = run(bandit, momentum=rule, beta=beta, iterations=ITERATIONS, save="path")
        plain = run(bandit, beta=betas, iterations=ITERATIONS, save="path")
        apart = jnp.abs(fast.log_policy - plain.log_policy) / (1 + jnp.abs(fast.log_policy))
        return jnp.max(apart), fast.suboptimality, plain.suboptimality

    return jax.jit(jax.vmap(one))(*tried)


def _apart_under_sppo(rng: np.random.Generator) -> tuple[float, float]:
    """How far momentum and matched beta are apart under SPPO at most, medians over bandits."""
    reward = rng.uniform(-1, 1, (200, 1, instances.ARMS))
    apart, divergence = map(np.asarray, _part(reward))
    return float(np.median(apart)), float(np.median(divergence))


@jax.jit
def _part(reward: Any) -> Any:
    def one(reward: Any) -> Any:
        bandit = Bandit(reward, jnp.full(reward.shape, -jnp.log(float(instances.ARMS))))
        path = functools.partial(run, bandit, SPPO(), iterations=ITERATIONS, save="path")
        fast = path(momentum=Constant(MOVING_ALPHA), beta=MOVING_BETA).log_policy
        plain = path(beta=theory.matched_beta(MOVING_ALPHA, MOVING_BETA, ITERATIONS)).log_policy
        assert fast is not None and plain is not None
        divergence = jnp.sum(jnp.exp(fast) * (fast - plain), axis=-1)
        return jnp.max(jnp.abs(fast - plain)), jnp.max(divergence)

    return jax.vmap(one)(reward)


def _figure(fast: np.ndarray, plain: np.ndarray):
    t = np.arange(1, ITERATIONS + 1)
    schedules = [np.asarray(theory.matched_beta(alpha, 1.0, ITERATIONS)) for alpha in ALPHAS]

    def draw(figure: Figure) -> None:
        left, right = figure.subplots(1, 2, width_ratios=(3, 2))
        for colour, alpha, gap, control, betas in zip(
            COLOURS, ALPHAS, fast, plain, schedules, strict=True
        ):
            label = rf"$\alpha={alpha:g}$"
            left.plot(t, gap, color=colour)
            left.plot(t[1::3], control[1::3], "o", color="0.4", fillstyle="none", markersize=5)
            right.plot(t, betas, color=colour)
            right.text(t[-1] + 0.7, betas[-1], label, color=colour, va="center")
        left.plot([], [], color="0.2", label=r"with momentum, weight $\beta$")
        left.plot(
            [], [], "o", color="0.4", fillstyle="none", label=r"without, matched weight $\beta_t$"
        )
        left.legend(loc="upper right")
        left.set(yscale="log", ylim=(1e-9, 300), xlabel="updates $t$")
        left.set(ylabel="gap, in reward", title="Exact DPO: the same path")
        right.set(xlabel="updates $t$", ylabel=r"matched weight $\beta_t\,/\,\beta$")
        right.set(xlim=(0, 41), ylim=(0, 1.06), xticks=range(0, 31, 10), title="The schedule")

    return draw
