"""N22: how fast extrapolation leaves the equilibrium of a cycle."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from apo_sim.claims import judge
from apo_sim.claims.registry import claim
from apo_sim.claims.scope import Scope
from apo_sim.claims.verdict import Finding, Study
from apo_sim.losses import SPPO
from apo_sim.momentum import Constant
from apo_sim.problems import Game
from apo_sim.running import run

ALPHAS = (-0.9, -0.6, -0.3, 0.0, 0.3, 0.6, 0.9)
ARMS = (3, 5)
SMALL = 0.03  # mu / min(1, (1 - alpha)^2): the formula is the leading order in it
UPDATES = 4000
# So close to the equilibrium that the game is linear, and far enough from rounding.
START = 1e-6
OF_ROOTS, OF_FORMULA = 1e-4, 0.01  # relative tolerances


@claim(
    id="N22",
    title="Growth rate on a cycle",
    source="ours",
    statement=(
        r"SPPO with exact preferences near an equilibrium $\pi^*$ that plays every arm, $\pm i\mu$ "
        r"the largest eigenvalues there of the linearised reward over $\beta$: per update "
        r"$\sqrt{\mathrm{KL}(\pi^*\|\pi_t)}$ grows by $$\mu^2\,\frac{1 - \alpha + 2\alpha^2}"
        r"{2(1-\alpha)^3}$$ nats, to 1 % where $\mu \le 0.03\min(1, (1-\alpha)^2)$. No constant "
        r"$\alpha \in (-1, 1)$ converges, whatever $\mu$; a negative one less than halves the "
        r"growth of $\alpha = 0$, in the limit $\alpha \to -1$."
    ),
    control=r"the growth of a smaller $\beta$ of equal weight, $\mu^2/(2(1-\alpha)^2)$",
    scope=Scope(
        "for all",
        "random games whose equilibrium is inside the simplex; exact roots beside them",
        arms=ARMS,
        iterations=UPDATES,
        beta="such that μ is as stated",
        samples="exact",
        alpha=ALPHAS,
    ),
)
def growth_on_cycles(study: Study) -> Finding:
    r"""Measure how fast runs leave the equilibrium, against the formula and the exact roots.

    Problem: with log-probabilities x and the linearised reward over beta J, extrapolation is
    x_{t+1} = (1 + alpha)(1 + J) x_t - alpha (1 + J) x_{t-1}. J is antisymmetric in the inner
    product weighted by the equilibrium, so that its eigenvalues are pairs +-i mu, and the growth
    is the logarithm of the larger root of z^2 - (1 + alpha)(1 + i mu) z + alpha (1 + i mu).

    Method: runs of the loop from 1e-6 off the equilibrium of random games, mu from the Jacobian of
    their win rates; the growth over the second half of a run. The largest root, for alpha in
    (-1, 1) and mu from 0.001 to 100, tells that none of them converges.

    Guarantee: leading order in mu; (1 - alpha + 2 alpha^2)/(1 - alpha)^3 increases on (-1, 1),
    from 1/2. That none converges is exact: on the unit circle the equation has z = 1 alone for
    alpha > -1/2, and below it is the other root that leaves the circle. Against plain updates of
    the same weight, at beta (1 - alpha), every alpha but 0 is worse, by 1 + 2 alpha^2/(1 - alpha):
    what a negative one gains is a larger beta.

    Reference: ours. Optimistic updates, which do converge there, are N23.

    Example:
        >>> round(growth(0.0), 3), round(growth(0.9)), round(growth(-0.999), 3)
        (0.5, 860, 0.25)
    """
    count = study.pick(quick=6, full=40)
    alphas = np.array(ALPHAS)
    small = SMALL * np.minimum(1, (1 - alphas) ** 2)
    measured = leaving(study, count, [Constant(a, unrestricted=True) for a in ALPHAS], small)
    exact = np.log(_largest_root(alphas, small))
    claimed = small**2 * (1 / (2 * (1 - alphas) ** 2) if study.wrong else growth(alphas))
    grid = np.meshgrid(np.linspace(-0.999, 0.999, 400), np.geomspace(1e-3, 100, 100))
    least = float(np.log(_largest_root(*grid)).min())

    def witness(worst: int) -> dict[str, Any]:
        game, alpha = divmod(worst, alphas.size)
        return {
            "alpha": alphas[alpha],
            "mu": small[alpha],
            "growth": measured[game, alpha],
            "claimed": claimed[alpha],
        }

    of_formula = judge.identity(measured / claimed - 1, OF_FORMULA, witness=witness)
    of_roots = judge.identity(measured / exact - 1, OF_ROOTS, witness=witness)
    none_converges = judge.upper_bound(-least, 0.0, floor=0.0, unit="nats an update")
    decisive = judge.worst([of_formula, of_roots, none_converges])
    equal_weight = 1 + 2 * 0.9**2 / (1 - 0.9)
    return dataclasses.replace(
        decisive,
        cells=1,
        instances=measured.size,
        facts={
            "largest error of the formula": of_formula.measured,
            "largest error of the roots": of_roots.measured,
            "growth over mu squared by alpha": dict(
                zip(map(str, ALPHAS), growth(alphas), strict=True)
            ),
            "least share of the growth without momentum": float(growth(-1.0) / growth(0.0)),
            "times the growth at equal weight, alpha 0.9": equal_weight,
        },
        note=(
            f"The runs follow the exact roots to {of_roots.measured:.0e}. Over {grid[0].size:,} "
            rf"pairs of $\alpha$ and $\mu$ the least growth by the roots is {least:.1e} nats an "
            r"update, so none converges. At equal weight an update $\alpha = 0.9$ grows "
            f"{equal_weight:.0f} times as fast as no momentum."
        ),
        draw=_figure(measured / small**2),
    )


def growth(alpha: Any) -> Any:
    """What the formula says of the growth an update, over mu squared."""
    return (1 - alpha + 2 * alpha**2) / (2 * (1 - alpha) ** 3)


def leaving(study: Study, count: int, rules: Sequence[Any], mus: np.ndarray) -> np.ndarray:
    """Growth an update of the distance to equilibrium, shape (games, rules), in nats.

    Args:
        study: seeds the games.
        count: of games for each number of arms.
        rules: momentum rules.
        mus: one a rule; beta is chosen such that the linearised reward over it has it.
    """
    found = []
    for arms in ARMS:
        for number in range(count):
            equilibrium, lead = _game(study.rng(arms * 1000 + number), arms)
            speed, direction = _turning(equilibrium, lead)
            log_ref = np.log(equilibrium) + START * direction
            game = Game(jnp.asarray(0.5 + lead)[None], jax.nn.log_softmax(log_ref)[None])
            betas = speed / np.asarray(mus)
            found.append(
                [
                    float(_growth(game, equilibrium, rule, beta))
                    for rule, beta in zip(rules, betas, strict=True)
                ]
            )
    return np.array(found)


def _game(rng: np.random.Generator, arms: int) -> tuple[np.ndarray, np.ndarray]:
    """A random equilibrium that plays all arms, and leads P - 1/2 of a game that has it."""
    equilibrium = rng.dirichlet(np.full(arms, 3.0))
    root = np.sqrt(equilibrium)
    drawn = rng.normal(size=(arms, arms))
    off = np.eye(arms) - np.outer(root, root)
    turned = off @ (drawn - drawn.T) @ off / np.outer(root, root)
    return equilibrium, rng.uniform(0.1, 0.5) * turned / np.abs(turned).max()


def _turning(equilibrium: np.ndarray, lead: np.ndarray) -> tuple[float, np.ndarray]:
    """The largest eigenvalue i mu of the linearised win rate, over i, and its direction."""
    game = Game(jnp.asarray(0.5 + lead)[None], jnp.log(jnp.asarray(equilibrium))[None])

    def win_rate(log_policy: Any) -> Any:
        return game.win_rate(jax.nn.log_softmax(log_policy)[None])[0]

    values, vectors = np.linalg.eig(np.asarray(jax.jacobian(win_rate)(game.log_ref[0])))
    fastest = int(np.argmax(np.imag(values)))
    direction = np.real(vectors[:, fastest])
    return float(np.imag(values[fastest])), direction / np.abs(direction).max()


@functools.partial(jax.jit, static_argnames="updates")
def _growth(game: Game, equilibrium: Any, rule: Any, beta: Any, updates: int = UPDATES) -> Any:
    solution = run(game, SPPO(), rule, beta=beta, iterations=updates, save="path")
    path = solution.behaviour
    assert path is not None

    def log_distance(t: int) -> Any:
        apart = path[t, 0] - jnp.log(equilibrium)
        return jnp.log(jnp.sum(equilibrium * (jnp.expm1(apart) - apart))) / 2  # nothing cancels

    half = updates // 2
    return (log_distance(updates) - log_distance(half)) / (updates - half)


def _largest_root(alpha: Any, mu: Any) -> np.ndarray:
    """Modulus of the larger root of z^2 - (1 + alpha)(1 + i mu) z + alpha (1 + i mu)."""
    turned = 1 + 1j * np.asarray(mu)
    middle = (1 + alpha) * turned / 2
    spread = np.sqrt(middle**2 - alpha * turned)
    return np.maximum(np.abs(middle + spread), np.abs(middle - spread))


def _figure(measured: np.ndarray) -> Any:
    line = np.linspace(-0.99, 0.92, 300)

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        axes.semilogy(line, growth(line), color="C2", label="formula")
        axes.semilogy(
            line,
            1 / (2 * (1 - line) ** 2),
            "--",
            color="0.5",
            label=r"no momentum, $\beta(1-\alpha)$",
        )
        axes.semilogy(ALPHAS, measured.mean(axis=0), "o", color="C0", label="runs")
        axes.axhline(0.25, color="0.6", linestyle=":", linewidth=1.2)
        axes.text(
            0.9, 0.26, "half of the growth without momentum", color="0.4", ha="right", va="bottom"
        )
        axes.set(xlabel=r"$\alpha$", ylabel=r"growth of the distance an update, over $\mu^2$")
        axes.set(xlim=(-1, 1), title="Near the equilibrium of a cycle")
        axes.legend(loc="upper left")

    return draw
