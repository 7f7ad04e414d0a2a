"""N12: exact IPO is SPPO with scaled rewards."""

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from apo_sim import families
from apo_sim.claims import judge
from apo_sim.claims.registry import claim
from apo_sim.claims.scope import Scope
from apo_sim.claims.verdict import Finding, Study
from apo_sim.losses import SPPO
from apo_sim.momentum import Constant
from apo_sim.problems import Game
from apo_sim.running import run
from apo_sim.theory import ipo_beta

ARMS = 5
ITERATIONS = 20


@claim(
    id="N12",
    title="Exact IPO is SPPO with another beta",
    source="ours",
    statement=(
        r"The exact minimiser of the IPO loss with target $1/\tau$ is $$r_t = \frac{2}{\tau}\,"
        r"P(\cdot\succ\pi_t) + \text{const},$$ so IPO at $\beta$ and SPPO at $\beta\tau/2$ visit "
        r"the same policies, for every constant $\alpha$ and on every game."
    ),
    control=r"$\beta\tau$ in place of $\beta\tau/2$",
    scope=Scope(
        "for all",
        r"random games, random references; $\tau$ from 0.1 to 10",
        arms=ARMS,
        iterations=ITERATIONS,
        beta="from 2 to 6, over τ",
        samples="exact",
        alpha="from −0.5 to 0.9",
    ),
)
def ipo_is_sppo(study: Study) -> Finding:
    r"""Compare the path of IPO, by brute-force least squares, with that of SPPO.

    Problem: the population loss of IPO, every ordered pair of arms weighed by how often it is
    drawn and won.

    Method: NumPy's least squares on all pairs, in the middle of a recursion of its own, against
    a run of the loop with the SPPO loss; random games, tau, beta and alpha.

    Guarantee: an identity. The errors are relative to 1 + |log policy|.

    Reference: ours; both losses as the paper writes them.

    Example:
        >>> even = np.full((5, 5), 0.5)
        >>> path = ipo_path(even, np.log(np.full(5, 0.2)), tau=1.0, beta=1.0, alpha=0.3)
        >>> bool(np.allclose(path, np.log(0.2)))  # nobody is preferred, nothing moves
        True
    """
    rng = study.rng()
    count = study.pick(quick=20, full=500)
    keys = jax.random.split(study.subkey(0), count)
    tau, alpha = 10 ** rng.uniform(-1, 1, count), rng.uniform(-0.5, 0.9, count)
    beta = 10 ** rng.uniform(0.3, 0.8, count) / tau
    matched = np.asarray(ipo_beta(beta, tau)) * (2.0 if study.wrong else 1.0)
    games, paths = _sppo_paths(keys, matched, alpha)
    paths = np.asarray(paths)
    errors, first = [], None
    for i in range(count):
        matrix, log_ref = np.asarray(games.preference[i, 0]), np.asarray(games.log_ref[i, 0])
        ipo = ipo_path(matrix, log_ref, tau[i], beta[i], alpha[i])
        first = ipo if first is None else first
        errors.append(np.max(np.abs(ipo - paths[i]) / (1 + np.abs(ipo))))
    assert first is not None
    return judge.identity(
        errors,
        1e-7,
        witness=lambda i: {"tau": tau[i], "beta": beta[i], "alpha": alpha[i], "error": errors[i]},
        note=(
            r"Weights of least squares are the products $\pi_i\pi_j$, so that arms near "
            r"extinction keep half of their digits only; hence the tolerance. The two differ once "
            "preferences are sampled: SPPO regresses each arm by itself, IPO pairs."
        ),
        draw=_figure(first, paths[0]),
    )


def ipo_path(
    preference: np.ndarray, log_ref: np.ndarray, tau: float, beta: float, alpha: float
) -> np.ndarray:
    """log pi_hat_0 ... pi_hat_T of exact IPO on one context, shape (T + 1, K), by least squares."""
    winner, loser = np.nonzero(~np.eye(ARMS, dtype=bool))
    difference = np.eye(ARMS)[winner] - np.eye(ARMS)[loser]
    path, centre = [log_ref], log_ref
    for _ in range(ITERATIONS):
        log_weight = 0.5 * (centre[winner] + centre[loser] + np.log(preference[winner, loser]))
        weight = np.exp(log_weight)
        rewards = np.linalg.lstsq(weight[:, None] * difference, weight / tau, rcond=None)[0]
        path.append(_log_softmax(centre + rewards / beta))
        centre = _log_softmax(path[-1] + alpha * (path[-1] - path[-2]))
    return np.array(path)


def _log_softmax(x: np.ndarray) -> np.ndarray:
    return x - np.logaddexp.reduce(x)


@jax.jit
def _sppo_paths(keys: jax.Array, beta: jax.Array, alpha: jax.Array) -> tuple[Game, jax.Array]:
    def one(key: jax.Array, beta: jax.Array, alpha: jax.Array) -> tuple[Game, jax.Array]:
        to_game, to_reference = jax.random.split(key)
        log_ref = families.dirichlet_reference(to_reference, 1, ARMS)
        game = families.random_game(to_game, log_ref=log_ref, spread=0.45)
        rule = Constant(alpha, unrestricted=True)
        solution = run(game, SPPO(), rule, beta=beta, iterations=ITERATIONS, save="path")
        return game, solution.log_policy[:, 0]

    return jax.vmap(one)(keys, jnp.asarray(beta), jnp.asarray(alpha))


def _figure(ipo: np.ndarray, sppo: np.ndarray):
    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        updates = np.arange(ITERATIONS + 1)
        for arm in range(ARMS):
            color = ("C0", "C3", "C4", "C5", "C2")[arm]
            label = "SPPO at " + r"$\beta\tau/2$" if arm == 0 else None
            axes.plot(updates, np.exp(sppo[:, arm]), color=color, label=label)
            label = r"IPO at $\beta$, by least squares" if arm == 0 else None
            axes.plot(
                updates, np.exp(ipo[:, arm]), "o", markeredgecolor=color, markerfacecolor="white",
                label=label,
            )  # fmt: skip
        axes.set(xlabel="update $t$", ylabel="probability of each arm")
        axes.set_xlim(0, ITERATIONS)
        axes.set_xticks(range(0, ITERATIONS + 1, 5))
        axes.legend()

    return draw
