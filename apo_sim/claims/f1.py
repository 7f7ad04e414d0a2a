"""F1: which methods of the literature are one and the same, and which only seem to be."""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from apo_sim import families
from apo_sim.claims import instances, judge
from apo_sim.claims.n23 import Optimistic
from apo_sim.claims.registry import claim
from apo_sim.claims.scope import Scope
from apo_sim.claims.verdict import Finding, Study
from apo_sim.loop import Policies, solve
from apo_sim.losses import SPPO
from apo_sim.methods import (
    DNO,
    INPO,
    MDVI,
    NPG,
    REBEL,
    RLHF,
    MagneticMD,
    NashMD,
    OptimisticMD,
    Proximal,
)
from apo_sim.momentum import Constant
from apo_sim.problems import Bandit, Game
from apo_sim.pytree import pytree_dataclass
from apo_sim.running import run

ITERATIONS = 10
TOLERANCE = 1e-12
# RLHF fits its reward by Newton's method, which stops at a residual of 1e-6: differences of the
# reward are then right to about its square, and a step of 10 multiplies that.
FITTED_TOLERANCE = 1e-10
APART = 0.01  # of a log-probability: so far off is what only seems to be the same
ETAS = (0.03, 10.0)
# The counterexamples are on these, at a step and a pull of their own.
WIN_RATE, REFERENCE, ETA, PULL = 0.9, (0.5, 0.3, 0.2), 4.0, 0.5


@claim(
    id="F1",
    title="The family tree of methods",
    source="ours",
    statement=r"With exact preferences these go through the same policies: NPG($\eta$) $=$ DPO at "
    r"$\beta = 1/\eta$ $=$ REBEL($\eta$) $=$ MD-VI($1/\eta$, 0); RLHF($\beta$) $=$ one step of "
    r"DPO($\beta$), then at rest; ExPO $=$ one step with momentum; DNO($\beta$) $=$ SPPO($\beta$), "
    r"which is DPO($\beta$) of $u$ where $P(y \succ y') = \frac12 + u(y) - u(y')$; "
    r"OptimisticMD($\eta$) $=$ SPPO($1/\eta$) with the rule of N23 from the second step on; "
    r"INPO($e, p$) $=$ MagneticMD($e/(1-p), p/e$); MagneticMD($\eta, a$) with a magnet that moves "
    r"each step $=$ SPPO($1/\eta + a$). Not the same: INPO and Nash-MD on more than two arms; DNO "
    r"with the logistic function on the target alone and SPPO; OptimisticMD and the rule of N23 "
    r"from the first step on; RLHF and *two* steps of DPO.",
    control=r"$\eta$ taken for $\beta$: DPO at $\beta = \eta$ in place of $1/\eta$",
    scope=Scope(
        "for all",
        "random bandits, rewards uniform, tied or on two levels; random games and references; "
        "η from 0.03 to 10, p from 0.01 to 0.99; one small problem for each counterexample",
        arms=instances.ARMS,
        iterations=ITERATIONS,
        beta="from 0.1 to 33",
        samples="exact",
        alpha="from 0 to 0.999",
    ),
)
def family_tree(study: Study) -> Finding:
    r"""Judge each identity between two methods, and that what only seems to be one is none.

    Problem: every method is written in the parameters of its own paper; so a comparison may set a
    method against itself, at another step, or find two to be one that are not.

    Method: both methods run on the same random problems, all policies compared; the largest error
    of a log-probability, relative to 1 + |log pi|. RLHF has an allowance of its own, that of the
    solver which fits its reward. Of what only seems to be an identity one
    problem is enough, the smallest there is: as few arms and steps as can tell.

    Guarantee: identities, in any number of steps. On two arms win rates against any policy differ
    by P - 1/2, so that INPO is Nash-MD there; on three the second step differs. With s on the
    target alone DNO makes (s(d) - 1/2)/d of the step on two arms whose win rates are d apart:
    between 0.231 and 1/4. IPO is SPPO at another beta: N12. Samples split most of these pairs.

    Reference: ours, of the papers named in `apo_sim.methods`; NPG as mirror descent is Agarwal et
    al. (2021), MD-VI as dual averaging Vieillard et al. (2020).

    Example:
        >>> NAMES[0], len(NAMES)
        ('NPG = DPO', 10)
    """
    lanes = _lanes(study, study.pick(quick=400, full=20_000))
    errors = np.asarray(_errors(lanes))
    apart = {name: float(each) for name, each in _near().items()}
    count = len(lanes.eta)
    parts = [
        judge.identity(
            errors[places],
            tolerance,
            witness=lambda worst, places=places: _witness(
                lanes, int(places[worst // count]), worst % count
            ),
            instances=errors.size,
        )
        for places, tolerance in ((EXACT, TOLERANCE), (FITTED, FITTED_TOLERANCE))
    ]
    none = judge.upper_bound(
        [-apart[name] for name in DIFFERENT],
        -APART,
        unit="least difference of what is not the same",
        witness=lambda worst: {"not the same": DIFFERENT[worst], "difference": apart},
    )
    share = apart["step of DNO with s on the target alone"]
    return dataclasses.replace(
        judge.worst([*parts, none]),
        cells=1,
        facts={
            **{
                f"largest error, {name}": each.max()
                for name, each in zip(NAMES, errors, strict=True)
            },
            **apart,
        },
        note=f"On rock-paper-scissors the second policy of INPO and that of Nash-MD are "
        f"{apart['INPO and Nash-MD, three arms, two steps']:.2f} apart in a log-probability. "
        f"DNO with the logistic function on the target alone makes {share:.3f} of SPPO's step on "
        f"two arms at win rate {WIN_RATE}. IPO at another $\\beta$ is N12.",
        draw=lambda figure: _draw(figure, errors, apart),
    )


class Lanes(NamedTuple):
    """Problems and numbers, one a lane.

    Attributes:
        reward: of a bandit in [-1, 1], shape (n, 1, K).
        log_ref: shape (n, 1, K).
        preference: of a game, shape (n, 1, K, K).
        eta: step, shape (n,).
        beta: what stands for 1 / eta in DPO, shape (n,).
        alpha: extrapolation, shape (n,).
        pull: share of the reference, shape (n,).
    """

    reward: Any
    log_ref: Any
    preference: Any
    eta: Any
    beta: Any
    alpha: Any
    pull: Any


def _lanes(study: Study, count: int) -> Lanes:
    rng = study.rng()
    drawn = instances.random(rng, count)
    lead = rng.uniform(-0.5, 0.5, (count, 1, instances.ARMS, instances.ARMS))
    upper = np.triu(lead, 1)
    preference = 0.5 + upper - np.swapaxes(upper, -1, -2)
    low, high = np.log(ETAS)
    eta = np.exp(rng.uniform(low, high, count))
    beta = eta if study.wrong else 1 / eta
    pull = rng.uniform(0.01, 0.99, count)
    return Lanes(drawn.reward, drawn.log_ref, preference, eta, beta, drawn.alpha, pull)


@pytree_dataclass
class FromTheSecond(Optimistic):
    """`Optimistic` with q_{-1} = q_0 in place of q_{-1} = 0: nothing to correct the first time."""

    def extrapolate(self, new: Any, state: Any, t: Any) -> Any:
        ahead, (_, step) = super().extrapolate(new, state, t)
        ahead = jax.tree.map(lambda n, a: jnp.where(t == 1, n, a), new, ahead)
        return ahead, (ahead, step)


def _path(problem: Bandit | Game, method: Any, iterations: int = ITERATIONS) -> Policies:
    return solve(problem, method, iterations=iterations, save="path").path.log_policy


def _of_rewards(lane: Lanes) -> dict[str, Any]:
    """Policies on a bandit, of the methods that look at its rewards."""
    bandit, worth = Bandit(lane.reward, lane.log_ref), lane.reward / 4
    rewards, betas = jnp.stack([lane.reward, worth]), jnp.stack([lane.beta, 1 / lane.eta])
    dpo, of_worth = jax.vmap(lambda r, b: _path(Bandit(r, lane.log_ref), Proximal(beta=b)))(
        rewards, betas
    )
    rule = Constant(lane.alpha)
    once = run(bandit, momentum=rule, beta=1 / lane.eta, iterations=1, output="after")
    return {
        "NPG": _path(bandit, NPG(lane.eta)),
        "DPO": dpo,
        "REBEL": _path(bandit, REBEL(lane.eta)),
        "MD-VI": _path(bandit, MDVI(1 / lane.eta, 0.0)),
        "RLHF": _path(bandit, RLHF(1 / lane.eta), 2),
        "one step of DPO": dpo[jnp.array([0, 1, 1])],  # where RLHF stays
        "ExPO": jax.nn.log_softmax(dpo[1] + lane.alpha * (dpo[1] - lane.log_ref), axis=-1),
        "one step with momentum": once.final_behaviour,
        "DPO of u": of_worth,
    }


def _of_games(lane: Lanes) -> dict[str, Any]:
    """Policies on a game, of the methods that look at win rates."""
    game, worth = Game(lane.preference, lane.log_ref), lane.reward / 4
    additive = 0.5 + worth[:, :, None] - worth[:, None, :]
    beta = 1 / lane.eta
    sppo, of_additive, heavier = jax.vmap(
        lambda p, b: _path(Game(p, lane.log_ref), Proximal(SPPO(), beta=b))
    )(
        jnp.stack([lane.preference, additive, lane.preference]),
        jnp.stack([beta, beta, beta + lane.pull]),
    )
    rule = run(game, SPPO(), FromTheSecond(), beta=beta, iterations=ITERATIONS, save="path")
    magnet = MagneticMD(lane.eta / (1 - lane.pull), lane.pull / lane.eta)
    return {
        "DNO": _path(game, DNO(beta)),
        "SPPO": sppo,
        "SPPO on the game of u": of_additive,
        "SPPO at another beta": heavier,
        "OptimisticMD": _path(game, OptimisticMD(lane.eta)),
        "SPPO with the rule of N23": rule.path.behaviour,
        "INPO": _path(game, INPO(lane.eta, lane.pull)),
        "MagneticMD": _path(game, magnet),
        "MagneticMD, moving magnet": _path(game, MagneticMD(lane.eta, lane.pull, refresh=1)),
    }


# The two that must be the same.
IDENTITIES = (
    ("NPG", "DPO"),
    ("NPG", "REBEL"),
    ("NPG", "MD-VI"),
    ("RLHF", "one step of DPO"),
    ("ExPO", "one step with momentum"),
    ("SPPO on the game of u", "DPO of u"),
    ("DNO", "SPPO"),
    ("OptimisticMD", "SPPO with the rule of N23"),
    ("INPO", "MagneticMD"),
    ("MagneticMD, moving magnet", "SPPO at another beta"),
)
NAMES = tuple(" = ".join(pair) for pair in IDENTITIES)
IS_FITTED = np.array(["RLHF" in pair for pair in IDENTITIES])
EXACT, FITTED = np.flatnonzero(~IS_FITTED), np.flatnonzero(IS_FITTED)


# Few problems run through many methods once: what optimised code saves is less than it costs.
@functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
def _errors(lanes: Lanes) -> Any:
    """The largest relative error of a log-probability, shape (identities, n)."""

    def one(lane: Lanes) -> Any:
        found = {**_of_rewards(lane), **_of_games(lane)}
        return jnp.stack([_apart(found[a], found[b], relative=True) for a, b in IDENTITIES])

    return jax.vmap(one, out_axes=1)(lanes)


def _apart(found: Any, expected: Any, *, relative: bool = False) -> Any:
    apart = jnp.abs(found - expected)
    return jnp.max(apart / (1 + jnp.abs(expected)) if relative else apart)


# What must be apart, by the names of the facts.
DIFFERENT = (
    "INPO and Nash-MD, three arms, two steps",
    "OptimisticMD and the rule of N23 from the first step on, two arms, one step",
    "RLHF and DPO, two arms, two steps",
    "DNO with s on the target alone and SPPO, whose step is longer",
)


@jax.jit
def _near() -> dict[str, Any]:
    """How far two methods are apart that seem to be one, on the smallest problem that tells."""
    duel = Game(jnp.array([[[0.5, WIN_RATE], [1 - WIN_RATE, 0.5]]]), jnp.log(jnp.full((1, 2), 0.5)))
    cycle = families.rock_paper_scissors(WIN_RATE, jnp.log(jnp.array([REFERENCE])))
    nash, inpo = NashMD(ETA, PULL), INPO(ETA, PULL)
    games = {name: _path(cycle, each, 2) for name, each in (("nash", nash), ("inpo", inpo))}
    rule = run(duel, SPPO(), Optimistic(), beta=1 / ETA, iterations=1, save="path")
    steps = _path(Bandit(jnp.array([[1.0, 0.0]]), duel.log_ref), Proximal(beta=1 / ETA), 2)
    rates = duel.win_rate(duel.log_ref)[0]
    lead = rates[0] - rates[1]
    # Least squares on two arms has one difference, which is fitted whatever weighs it.
    share = (jax.nn.sigmoid(lead) - 0.5) / lead
    first, second = (_apart(games["nash"][t], games["inpo"][t]) for t in (1, 2))
    return {
        "INPO and Nash-MD, two arms, ten steps": _apart(_path(duel, nash), _path(duel, inpo)),
        "INPO and Nash-MD, three arms, one step": first,
        DIFFERENT[0]: second,
        DIFFERENT[1]: _apart(_path(duel, OptimisticMD(ETA), 1), rule.path.behaviour),
        DIFFERENT[2]: _apart(steps[1], steps[2]),  # RLHF stays where the first step leads
        DIFFERENT[3]: (1 - share) * lead * ETA,
        "step of DNO with s on the target alone": share,
    }


def _witness(lanes: Lanes, identity: int, lane: int) -> dict[str, Any]:
    named = {key: np.squeeze(each[lane]) for key, each in lanes._asdict().items()}
    return {"identity": NAMES[identity], **named}


# Where the methods stand in the figure, and whether they look at win rates in place of rewards.
NODES = {
    "REBEL": (0, 3, r"REBEL($\eta$)", False),
    "NPG": (0, 2, r"NPG($\eta$)", False),
    "MD-VI": (0, 1, r"MD-VI($\lambda, \tau$)", False),
    "ExPO": (1, 3, r"ExPO($\beta, \alpha$)", False),
    "DPO": (1, 2, r"DPO($\beta$)", False),
    "RLHF": (1, 1, r"RLHF($\beta$)", False),
    "DNO": (2, 3, r"DNO($\beta$)", True),
    "SPPO": (2, 2, r"SPPO($\beta$)", True),
    "IPO": (2, 1, r"IPO($\beta, \tau$)", True),
    "OptimisticMD": (3, 3, r"OptimisticMD($\eta$)", True),
    "MagneticMD": (3, 2, r"MagneticMD($\eta, a$)", True),
    "INPO": (3, 1, r"INPO($e, p$)", True),
    "Nash-MD": (3, 0, r"Nash-MD($e, p$)", True),
}
# What the second is of the first, and where its words stand in columns and rows.
EDGES = (
    ("NPG", "REBEL", r"same $\eta$", (0.04, 2.5)),
    ("NPG", "MD-VI", "$\\lambda = 1/\\eta$\n$\\tau = 0$", (0.04, 1.5)),
    ("NPG", "DPO", r"$\beta = 1/\eta$", (0.5, 2.14)),
    ("DPO", "ExPO", "one step,\nmomentum $\\alpha$", (1.04, 2.62)),
    ("DPO", "RLHF", "one step,\nsame $\\beta$", (1.04, 1.5)),
    ("DPO", "SPPO", "same $\\beta$ if\n$P = \\frac{1}{2} + u - u'$", (1.5, 2.22)),
    ("SPPO", "DNO", r"same $\beta$", (2.04, 2.6)),
    ("SPPO", "IPO", "N12: SPPO\nat $\\beta\\tau/2$", (2.04, 1.5)),
    ("SPPO", "OptimisticMD", "$\\beta = 1/\\eta$,\nN23's rule", (2.68, 2.5)),
    ("SPPO", "MagneticMD", "magnet moves:\n$\\beta = 1/\\eta + a$", (2.46, 1.78)),
    ("MagneticMD", "INPO", "$\\eta = e/(1-p)$\n$a = p/e$", (3.04, 1.5)),
)
BESIDE = ("REBEL", "MD-VI", "ExPO", "RLHF", "DNO", "IPO", "OptimisticMD", "INPO")


def _draw(figure: Figure, errors: np.ndarray, apart: dict[str, float]) -> None:
    """The tree: methods are nodes, and an edge says in which parameters two are the same."""
    axes = figure.subplots()
    axes.set(xlim=(-0.42, 3.62), ylim=(-0.22, 3.3), xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    for first, second, words, place in EDGES:
        _join(axes, first, second, color="0.35", linewidth=1.4)
        beside = "left" if second in BESIDE else "center"
        axes.text(*place, words, fontsize=7, ha=beside, va="center", color="0.15")
    _join(axes, "INPO", "Nash-MD", color="C1", linewidth=1.4, linestyle=(0, (3, 2)))
    axes.text(3.04, 0.5, "not the same from\nthe 2nd step on", fontsize=7, va="center", color="C1")
    for column, row, name, games in NODES.values():
        box = {"boxstyle": "round,pad=0.35", "facecolor": ("#e3eff7", "#e2f3ee")[games]}
        box |= {"edgecolor": ("C0", "C2")[games], "linewidth": 1.1}
        axes.text(column, row, name, fontsize=8, ha="center", va="center", bbox=box)
    axes.text(-0.4, 0.1, "methods on rewards", fontsize=8, color="C0", weight="bold")
    axes.text(0.66, 0.1, "methods on win rates", fontsize=8, color="C2", weight="bold")
    axes.set_xlabel(
        f"Solid: the same policies, largest relative error {errors[EXACT].max():.0e} (RLHF, which "
        f"fits its reward: {errors[FITTED].max():.0e}; IPO: N12).\nDashed: "
        f"{apart[DIFFERENT[0]]:.2f} apart in a log-probability on three arms. DNO with $s$ on its "
        "target alone is not SPPO: "
        f"{apart['step of DNO with s on the target alone']:.2f} of the step.",
        loc="left",
        fontsize=7.5,
    )


def _join(axes: Axes, first: str, second: str, **style: Any) -> None:
    (x, y, *_), (to_x, to_y, *_) = NODES[first], NODES[second]
    axes.plot([x, to_x], [y, to_y], zorder=0, **style)
