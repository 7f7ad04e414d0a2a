"""N21: momentum from pi_t is no momentum, at a smaller beta."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from apo_sim.claims import instances, judge
from apo_sim.claims._studies import Runs, Setting, sampled, uniform_bandits
from apo_sim.claims.registry import claim
from apo_sim.claims.scope import Scope
from apo_sim.claims.verdict import Finding, Study
from apo_sim.losses import DPO, SPPO
from apo_sim.momentum import FromBehaviour
from apo_sim.problems import Bandit
from apo_sim.running import run
from apo_sim.studies.caption import caption

TOLERANCE = 1e-8
LOSSES = (DPO(), SPPO())
# On sampled preferences: short runs with labels enough to compare every arm, and what is shown of
# longer ones.
ARMS, BETA, SAMPLES, ALPHAS = 5, 5.0, (1_000, 10_000), (0.3, 0.6, 0.9)
SHORT, LONG = 3, 20


@claim(
    id="N21",
    title="Momentum from the extrapolated policy is plain iteration at a smaller beta",
    source="ours",
    statement=r"Extrapolating from $\pi_t$, $\log\pi_{t+1} = \log\hat\pi_{t+1} + \alpha("
    r"\log\hat\pi_{t+1} - \log\pi_t)$, at $\beta$ passes through the very policies $\pi_t$ of "
    r"plain iteration at $\beta/(1+\alpha)$, as long as the reward does not depend on $\beta$: "
    r"with exact preferences under DPO and SPPO, and with labels (from the same random numbers) "
    r"that compare all arms.",
    control=r"plain iteration at the same $\beta$",
    scope=Scope(
        "for all",
        "random bandits of every kind, exact preferences; uniform ones, sampled preferences "
        f"(T = {SHORT})",
        arms=ARMS,
        iterations=(SHORT, instances.ITERATIONS),
        beta="from 0.03 to 30; sampled: 5",
        samples=("exact", *SAMPLES),
        alpha="from 0 to 0.999",
    ),
)
def plain_in_disguise(study: Study) -> Finding:
    r"""Judge that both runs visit the same behaviour policies, path by path.

    Problem: the largest error of a log-probability, relative to 1 + |log pi|, at any update:
    with exact preferences, where the reward of SPPO moves with the behaviour policy; and with
    sampled ones from the same keys, so that equal policies draw equal labels.

    Guarantee: an identity. The rule remembers nothing: it only lengthens the last step. On
    sampled preferences it needs labels that compare all arms: where some were never compared the
    loss has many minimisers, and the loop's choice among them depends on beta.

    Reference: ours; the rule is that of the paper's Table 3.

    Example:
        >>> from apo_sim.claims import describe
        >>> describe("N21").source
        'ours'
    """
    tried = instances.random(study.rng(), study.pick(quick=1_000, full=50_000))
    factor = np.ones_like(tried.alpha) if study.wrong else 1 + tried.alpha
    exact = np.asarray(_compare(tried, factor)).max(axis=1)
    runs = _sampled(dataclasses.replace(study, variant="stated"))
    apart = _apart(runs, against=2 if study.wrong else 1)
    short = apart[..., : SHORT + 1].max(axis=-1)
    later = float(np.mean(_apart(runs)[..., -1] > TOLERANCE))
    return dataclasses.replace(
        judge.identity(
            np.concatenate([exact, short.ravel()]),
            TOLERANCE,
            witness=lambda worst: tried.witness(worst) if worst < exact.size else {"beta": BETA},
            note=f"{exact.size:,} exact paths and {short.size:,} sampled ones. Of the sampled, "
            f"{100 * later:.0f} % have parted after {LONG} updates, when some arms get no labels "
            "any more.",
            draw=lambda figure: _draw(figure, apart),
        ),
        facts={"share of sampled paths that part in 20 updates": later},
    )


@jax.jit
def _compare(tried: instances.Instances, factor: Any) -> Any:
    def one(reward: Any, log_ref: Any, alpha: Any, beta: Any, factor: Any) -> Any:
        bandit = Bandit(reward, log_ref)
        shared = {"iterations": instances.ITERATIONS, "save": "path"}
        errors = []
        for loss in LOSSES:
            fast = run(bandit, loss, FromBehaviour(alpha), beta=beta, **shared).behaviour
            plain = run(bandit, loss, beta=beta / factor, **shared).behaviour
            assert fast is not None and plain is not None
            errors.append(jnp.max(jnp.abs(fast - plain) / (1 + jnp.abs(fast))))
        return jnp.stack(errors)

    return jax.vmap(one)(*tried, factor)


# The claim and its control look at the same runs.
@functools.lru_cache(maxsize=1)
def _sampled(study: Study) -> Runs:
    """For every alpha and N: the rule, plain iteration at beta/(1 + alpha), and at beta."""
    settings = [
        setting
        for alpha in ALPHAS
        for n in SAMPLES
        for setting in (
            Setting(n, BETA, alpha, "from behaviour"),
            Setting(n, BETA / (1 + alpha)),
            Setting(n, BETA),
        )
    ]
    bandits = uniform_bandits(study.subkey(0), study.pick(50, 1_000), ARMS)
    return sampled(study.subkey(1), settings, bandits, LONG)


def _apart(runs: Runs, against: int = 1) -> np.ndarray:
    """How far the rule is from its rival, (alpha, samples, seeds, T+1)."""
    behaviour = runs.behaviour.reshape(len(ALPHAS), len(SAMPLES), 3, *runs.behaviour.shape[1:])
    fast, plain = behaviour[:, :, 0], behaviour[:, :, against]
    return np.max(np.abs(fast - plain) / (1 + np.abs(fast)), axis=-1)


def _draw(figure: Figure, apart: np.ndarray) -> None:
    """How many paths are still one, over the updates."""
    caption(
        figure,
        f"K = {ARMS}, β = {BETA:g}, {apart.shape[2]} pairs of runs with the same keys a line; "
        f"equal: to within {TOLERANCE:.0e}",
    )
    axes = figure.subplots()
    t = np.arange(1, LONG + 1)
    for colour, (alpha, rows) in enumerate(zip(ALPHAS, apart, strict=True)):
        for style, n, cell in zip(("--", "-"), SAMPLES, rows, strict=True):
            share = np.mean(np.maximum.accumulate(cell, axis=1)[:, 1:] <= TOLERANCE, axis=0)
            label = rf"$\alpha = {alpha:g}$, N = {n:,}"
            axes.plot(t, 100 * share, style, color=f"C{colour}", label=label)
    axes.set(xlabel="updates $t$", ylabel="paths that are equal up to $t$, per cent")
    axes.set(xticks=range(0, LONG + 1, 5), ylim=(-3, 103))
    axes.legend(loc="lower left")
