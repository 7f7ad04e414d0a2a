"""N23: optimistic updates converge where extrapolation leaves."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from apo_sim import families
from apo_sim.claims import judge
from apo_sim.claims.n22 import ARMS, OF_ROOTS, UPDATES, leaving
from apo_sim.claims.registry import claim
from apo_sim.claims.scope import Scope
from apo_sim.claims.verdict import Finding, Study
from apo_sim.losses import SPPO
from apo_sim.momentum import Constant, Momentum, NoMomentum
from apo_sim.pytree import pytree_dataclass
from apo_sim.running import run

MUS = (0.01, 0.02, 0.03)
OF_FORMULA = 0.01
# The run of the figure, far from the equilibrium.
BETA, LONG, WIN_RATE, REFERENCE = 1.0, 2000, 0.9, (0.5, 0.3, 0.2)


@claim(
    id="N23",
    title="Optimistic updates converge on a cycle",
    source="ours",
    statement=(
        r"SPPO with exact preferences and $$\log\pi_{t+1} = \log\pi_t + (2 r_t - r_{t-1})/\beta + "
        r"\text{const},$$ near an equilibrium that plays every arm, $\pm i\mu$ the largest "
        r"eigenvalues as in N22: the distance *shrinks* per update by $\mu^2/2$ nats, to 1 % where "
        r"$\mu \le 0.03$, and all modes decay wherever $\mu < 1/\sqrt3$."
    ),
    control=r"the sign of the correction, $\log\pi_t + r_{t-1}/\beta$",
    scope=Scope(
        "for all",
        "random games whose equilibrium is inside the simplex; exact roots beside them",
        arms=ARMS,
        iterations=UPDATES,
        beta="such that μ is as stated",
        samples="exact",
    ),
)
def optimistic_updates(study: Study) -> Finding:
    r"""Measure how fast optimistic updates approach the equilibrium of a cycle.

    Problem: extrapolating the policy also extrapolates what it has already done; an optimistic
    update extrapolates the reward alone, 2 r_t - r_{t-1} in place of r_t. In log-probabilities
    pi_hat_{t+1} = pi_t + r_t/beta, so that it is a momentum rule: pi_{t+1} = pi_hat_{t+1} +
    (pi_hat_{t+1} - pi_t) - (pi_hat_t - pi_{t-1}).

    Method: as for N22; the larger root of z^2 - (1 + 2 i mu) z + i mu, along the runs and for mu
    up to 1/sqrt(3), where it is on the unit circle.

    Guarantee: leading order in mu, and of the linearised game only; from afar the note has one
    run, and the literature convergence of the last policy for small steps. From afar a mu below
    1/sqrt(3) is not enough: with the win rates 1, 0.55 and 0.55, a run from the uniform reference
    converges at mu = 0.5, and at 0.55 still goes round after 20,000 updates.

    Reference: the comparison is ours; the update is optimistic mirror descent's (Rakhlin and
    Sridharan 2013; Daskalakis and Panageas 2019 for the last policy).

    Example:
        >>> rule = Optimistic()
        >>> state = rule.init(jnp.array(0.0))
        >>> centre, state = rule.extrapolate(jnp.array(1.0), state, 1)  # r_0 = 1, r_{-1} = 0
        >>> float(centre), float(rule.extrapolate(centre + 3.0, state, 2)[0])  # + 2 * 3 - 1
        (2.0, 7.0)
    """
    mus = np.array(MUS)
    rules = [Optimistic(-1.0 if study.wrong else 1.0)] * len(MUS)
    measured = leaving(study, study.pick(quick=6, full=40), rules, mus)
    exact = np.log(_largest_root(mus))

    def witness(worst: int) -> dict[str, Any]:
        game, place = divmod(worst, mus.size)
        return {"mu": mus[place], "growth": measured[game, place]}

    of_formula = judge.identity(measured / (-(mus**2) / 2) - 1, OF_FORMULA, witness=witness)
    of_roots = judge.identity(measured / exact - 1, OF_ROOTS, witness=witness)
    below = np.linspace(1e-3, 0.999 / np.sqrt(3), 2000)
    decays = judge.upper_bound(_largest_root(below), 1.0, rounding=0.0, floor=0.0, unit="root")
    decisive = judge.worst([of_formula, of_roots, decays])
    paths = {name: np.asarray(_far(rule)) for name, rule in RULES.items()}
    ends = {name: path[-1] for name, path in paths.items()}
    return dataclasses.replace(
        decisive,
        cells=1,
        instances=measured.size,
        facts={
            "largest error of the formula": of_formula.measured,
            "largest error of the roots": of_roots.measured,
            "exploitability of the last policy": ends,
        },
        note=(
            f"From afar, on one rock-paper-scissors (win rate {WIN_RATE}, $\\beta = {BETA:g}$), "
            f"the last of {LONG:,} policies has exploitability {ends['optimistic']:.0e} with "
            f"optimistic updates, {ends['α = 0']:.2f} without momentum, {ends['α = 0.9']:.2f} with "
            rf"$\alpha = 0.9$ and {ends['α = −0.9']:.2f} with $-0.9$."
        ),
        draw=lambda figure: _draw(figure, paths),
    )


@pytree_dataclass
class Optimistic:
    """pi_{t+1} = pi_hat_{t+1} + weight ((pi_hat_{t+1} - pi_t) - (pi_hat_t - pi_{t-1})).

    The reward before the first is zero. The weight is one; a control turns its sign. A step of
    log-probabilities is a reward up to a constant, which is taken out: the normaliser is not this
    rule's to extrapolate, and would grow like the Fibonacci numbers.
    """

    weight: Any = 1.0

    def init(self, tree: Any) -> Any:
        return tree, jax.tree.map(jnp.zeros_like, tree)

    def extrapolate(self, new: Any, state: Any, t: Any) -> Any:
        centre, last = state
        step = jax.tree.map(lambda n, c: _centred(n - c), new, centre)
        ahead = jax.tree.map(lambda n, s, o: n + self.weight * (s - o), new, step, last)
        return ahead, (ahead, step)


def _centred(step: Any) -> Any:
    return step - jnp.mean(step, axis=-1, keepdims=True) if jnp.ndim(step) else step


RULES: dict[str, Momentum] = {
    "α = 0": NoMomentum(),
    "α = 0.9": Constant(0.9),
    "α = −0.9": Constant(-0.9, unrestricted=True),
    "optimistic": Optimistic(),
}
COLOURS = dict(zip(RULES, ("0.45", "C3", "C0", "C2"), strict=True))


def _largest_root(mu: Any) -> np.ndarray:
    """Modulus of the larger root of z^2 - (1 + 2 i mu) z + i mu."""
    middle = (1 + 2j * np.asarray(mu)) / 2
    spread = np.sqrt(middle**2 - 1j * np.asarray(mu))
    return np.maximum(np.abs(middle + spread), np.abs(middle - spread))


@functools.partial(jax.jit)
def _far(rule: Any) -> Any:
    """Exploitability of pi_hat_1 ... pi_hat_T on one cycle, from a reference far off."""
    game = families.rock_paper_scissors(WIN_RATE, jnp.log(jnp.array([REFERENCE])))
    return run(game, SPPO(), rule, beta=BETA, iterations=LONG).suboptimality


def _draw(figure: Figure, paths: dict[str, np.ndarray]) -> None:
    axes = figure.subplots()
    updates = np.arange(1, LONG + 1)
    for name, path in paths.items():
        axes.loglog(updates, np.maximum(path, 1e-13), color=COLOURS[name], label=name)
    axes.set(xlabel="updates $T$", ylabel="exploitability of the last policy", ylim=(1e-13, 2))
    axes.set_title(rf"Rock-paper-scissors, $\beta = {BETA:g}$")
    axes.legend(loc="lower left")
