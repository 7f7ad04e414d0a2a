"""B1: closed form and matched beta in the dual coordinates of any geometry."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from apo_sim import theory
from apo_sim.claims import instances, judge
from apo_sim.claims._arbitrary import ArbitraryRewards
from apo_sim.claims.registry import claim
from apo_sim.claims.scope import Scope
from apo_sim.claims.verdict import Finding, Study
from apo_sim.geometry import Euclidean, Geometry
from apo_sim.losses import DPO, SPPO, Loss
from apo_sim.momentum import Constant
from apo_sim.problems import Bandit
from apo_sim.running import run
from apo_sim.studies import game_kinds
from apo_sim.studies.game_kinds import three_arms
from apo_sim.studies.geometry_kinds import COLOURS, KINDS

ITERATIONS = 30
TOLERANCE = 1e-9
# Less is no mass: normalised a second time, a vanished arm may be a rounding unit above 0.
LOG_NOTHING = float(np.log(1e-12))
ALPHAS = (0.0, 0.3, 0.9)
AGILE = "Euclidean, agile"
CYCLE = game_kinds.KINDS.index("cycle")
KEPT = tuple(name for name in KINDS if name != AGILE)
# Where the agile method is set against the lazy one: loss, extrapolation (None: of any size), and
# whether on cyclic games in place of bandits.
STANDING = "DPO"
SETTINGS: dict[str, tuple[Loss, float | None, bool]] = {
    STANDING: (DPO(), None, False),
    "SPPO": (SPPO(), None, False),
    "SPPO on cycles, α = 0": (SPPO(), 0.0, True),
    "SPPO on cycles, α = 0.9": (SPPO(), 0.9, True),
}
AGILE_BETAS = (0.3, 30.0)


@claim(
    id="B1",
    title="Closed form and matched beta in any geometry",
    source="ours",
    statement=r"With $z = \varphi'(\pi)$ in place of $\log\pi$ Theorem 4.1 and N1 hold word for "
    r"word, for KL, Tsallis ($q = \frac12$), Burg, $\chi^2$ + KL and the lazy Euclidean geometry: "
    r"$$\hat z_T = z_{\mathrm{ref}} + \sum_{i<T} \frac{w_{T-i}}{\beta_i}\,r_i - \lambda$$ for any "
    r"rewards, and for those that stand still momentum is plain iteration at the matched "
    r"$\beta_t$. The agile Euclidean geometry takes the lazy one's path where rewards stand still, "
    r"and elsewhere until a step from a $\pi_t$ with an arm at 0.",
    control="$w_k$ off by one, and the schedule $\\beta_t$ one update late",
    scope=Scope(
        "for all",
        "random bandits; rewards that are a random nonlinear function of the policy, or stand "
        "still; any schedule of beta; for the agile method also cyclic games",
        arms=instances.ARMS,
        iterations=ITERATIONS,
        beta="from 0.03 to 32, times up to 2 from update to update",
        samples="exact",
        alpha=ALPHAS,
    ),
)
def dual_closed_form(study: Study) -> Finding:
    r"""Judge the closed form in dual coordinates against the loop, geometry by geometry.

    Problem: the largest error of a log-probability, relative to 1 + |log pi|; of a probability for
    Euclidean, whose arms reach 0. Every geometry gets moving rewards with a random schedule of
    beta, and rewards that stand still with the matched one.

    Method: the agile Euclidean run is compared with the lazy one at every update. Its first
    difference may not come before the update after the first policy with an arm at 0.

    Guarantee: an identity wherever coordinates forget nothing. The agile method forgets how far a
    vanished arm fell below 0, which shows once that arm would have to come back: on cycles it
    does. Where rewards stand still it never does, since an arm vanishes only if its reward is
    below the average of those that are left, and that average only rises.

    Reference: ours; Theorem 4.1 of the paper for KL.

    Example:
        >>> from apo_sim.claims import describe
        >>> describe("B1").source
        'ours'
    """
    rng = study.rng()
    count = study.pick(quick=500, full=20_000)
    tried = instances.random(rng, count)
    tried.alpha[:] = rng.choice(ALPHAS, count)
    mixing = rng.normal(size=(count, instances.ARMS, instances.ARMS))
    uneven = 2.0 ** rng.uniform(-1, 1, (count, ITERATIONS))
    errors = {name: _errors(KINDS[name], tried, mixing, uneven, study.wrong) for name in KEPT}
    agile = _agile(study.sweep_seed(), study.pick(quick=300, full=5000))
    finding = judge.identity(
        np.concatenate([np.ravel(each) for each in errors.values()]),
        TOLERANCE,
        witness=lambda worst: {
            "geometry": KEPT[worst // (2 * count)],
            "what": ("closed form", "matched beta")[worst // count % 2],
            **tried.witness(worst % count, ITERATIONS - 1),
        },
        instances=len(KEPT) * count,
        draw=lambda figure: _draw(figure, errors, agile),
    )
    early = judge.upper_bound(
        np.concatenate([each.before for each in agile.values()] + [agile[STANDING].largest]),
        TOLERANCE,
        unit="probability, agile against lazy",
        witness=lambda worst: {"instance": int(worst)},
    )
    shares = {name: float(each.differs.mean()) for name, each in agile.items()}
    facts: dict[str, Any] = {
        **{f"largest error, {name}": float(each.max()) for name, each in errors.items()},
        **{f"agile differs, {name}": share for name, share in shares.items()},
        **{
            f"agile largest difference, {name}": float(each.largest.max())
            for name, each in agile.items()
        },
        **{
            f"agile had an arm at 0, {name}": float((each.zero < ITERATIONS).mean())
            for name, each in agile.items()
        },
    }
    finding = dataclasses.replace(
        finding,
        facts=facts,
        note="The agile method differs from the lazy one in "
        + ", ".join(f"{share:.0%} ({name})" for name, share in shares.items())
        + f" of runs of {ITERATIONS} updates, in none before the update after a policy with an arm "
        f"at 0. Errors are relative to $1 + |\\log\\pi|$, for Euclidean those of probabilities.",
    )
    return judge.worst([finding, early])


def _errors(
    geometry: Geometry, tried: instances.Instances, mixing: Any, uneven: Any, wrong: bool
) -> np.ndarray:
    """Both errors of every instance, closed form and matched beta, shape (2, n)."""
    matched_of = functools.partial(theory.matched_beta, iterations=ITERATIONS + 1)
    schedules = jax.vmap(matched_of)(tried.alpha, tried.beta)[:, int(wrong) : ITERATIONS + wrong]
    stated, off, matched = _compare(geometry, *tried, mixing, uneven, schedules)
    return np.stack([off if wrong else stated, matched])


@functools.partial(jax.jit, static_argnums=0)
def _compare(geometry: Geometry, *lanes: Any) -> Any:
    def one(reward, log_ref, alpha, beta, mixing, uneven, schedule):
        bandit, rule = Bandit(reward, log_ref), Constant(alpha)
        path = functools.partial(run, bandit, geometry=geometry, iterations=ITERATIONS, save="path")
        betas = beta * uneven
        moved = path(ArbitraryRewards(mixing, of_probabilities=True), rule, beta=betas)
        # After one more extrapolation every reward has the weight w_{k+1} in place of w_k.
        stated, off = (
            theory.closed_form(
                bandit, moved.rewards, alpha, betas, geometry=geometry, extrapolated=late
            )
            for late in (False, True)
        )
        fast, plain = path(momentum=rule, beta=beta), path(beta=schedule)
        return (
            _apart(geometry, moved.final_log_policy, stated),
            _apart(geometry, moved.final_log_policy, off),
            _apart(geometry, fast.path.log_policy, plain.path.log_policy),
        )

    return jax.vmap(one)(*lanes)


def _apart(geometry: Geometry, found: Any, expected: Any) -> Any:
    if isinstance(geometry, Euclidean):
        return jnp.max(jnp.abs(jnp.exp(found) - jnp.exp(expected)))
    return jnp.max(jnp.abs(found - expected) / (1 + jnp.abs(expected)))


@dataclasses.dataclass(frozen=True)
class Agile:
    """The agile runs of one setting beside the lazy ones, axis (runs,); T updates.

    Attributes:
        apart: largest difference of a probability after t updates, shape (runs, T + 1).
        zero: the first t whose pi_t has an arm at 0; T if there is none before the last.
    """

    apart: np.ndarray
    zero: np.ndarray

    @property
    def differs(self) -> np.ndarray:
        """Whether any policy does."""
        return self.largest > TOLERANCE

    @property
    def largest(self) -> np.ndarray:
        """The largest difference of the whole run."""
        return self.apart.max(axis=1)

    @property
    def before(self) -> np.ndarray:
        """The largest difference up to the update from that policy, that one excluded."""
        early = np.arange(self.apart.shape[1]) <= self.zero[:, None]
        return np.max(np.where(early, self.apart, 0.0), axis=1)


# The variants of the check look at the same runs.
@functools.lru_cache(maxsize=1)
def _agile(seed: int, count: int) -> dict[str, Agile]:
    """Agile and lazy runs of every setting, on problems of their own kind."""
    rng = np.random.default_rng(seed)
    keys = jax.random.split(jax.random.key(seed), count)
    low, high = np.log10(AGILE_BETAS)
    beta = 10 ** rng.uniform(low, high, count)
    drawn = instances.random(rng, count)
    found = {}
    for name, (loss, alpha, cyclic) in SETTINGS.items():
        alphas = drawn.alpha if alpha is None else np.full(count, alpha)
        lanes = (keys, drawn.reward, drawn.log_ref, alphas, beta)
        found[name] = Agile(*map(np.asarray, _side_by_side(loss, cyclic, *lanes)))
    return found


@functools.partial(jax.jit, static_argnums=(0, 1))
def _side_by_side(loss: Any, cyclic: bool, *lanes: Any) -> Any:
    def one(key, reward, log_ref, alpha, beta):
        problem = three_arms(key, 1, 3, CYCLE) if cyclic else Bandit(reward, log_ref)
        path = functools.partial(
            run, problem, loss, Constant(alpha), beta=beta, iterations=ITERATIONS, save="path"
        )
        lazy, agile = (path(geometry=Euclidean(lazy=lazy)).path for lazy in (True, False))
        apart = jnp.abs(jnp.exp(lazy.log_policy) - jnp.exp(agile.log_policy))
        vanished = jnp.any(agile.behaviour[:-1] < LOG_NOTHING, axis=(1, 2))
        first = jnp.where(jnp.any(vanished), jnp.argmax(vanished), ITERATIONS)
        return jnp.max(apart, axis=(1, 2)), first

    return jax.vmap(one)(*lanes)


def _draw(figure: Figure, errors: dict[str, np.ndarray], agile: dict[str, Agile]) -> None:
    left, right = figure.subplots(1, 2)
    for place, (name, each) in enumerate(errors.items()):
        for half, marker in zip(each, ("o", "s"), strict=True):
            ends = np.maximum(np.quantile(half, [0.5, 1.0]), 1e-17)
            left.plot(ends, [place, place], color=COLOURS[name])
            left.plot(ends[1], place, marker, color=COLOURS[name], fillstyle="none")
    left.plot([], [], "o", color="0.4", fillstyle="none", label="closed form, worst")
    left.plot([], [], "s", color="0.4", fillstyle="none", label=r"matched $\beta$, worst")
    left.axvline(TOLERANCE, color="C1", linestyle="--", linewidth=1.2, label="what is allowed")
    left.set(xscale="log", xlim=(1e-17, 1e-8), xlabel="error, median to worst")
    left.set_yticks(range(len(errors)), list(errors))
    left.set(ylim=(len(errors) + 0.4, -0.6), title="An identity in each geometry")
    left.legend(loc="lower left", ncols=1)
    since = np.arange(-5, ITERATIONS)
    for (name, each), colour in zip(agile.items(), ("0.6", "C0", "C4", "C3"), strict=True):
        met = each.zero < ITERATIONS
        share = []
        for lag in since:
            t = each.zero[met] + lag
            known = (t >= 0) & (t <= ITERATIONS)
            apart = each.apart[met][known, t[known]]
            share.append(np.mean(apart > TOLERANCE) if known.sum() >= 10 else np.nan)
        right.plot(since, share, color=colour, label=name)
    right.axvline(0, color="0.3", linestyle="--", linewidth=1)
    right.set(xlabel=r"updates since a policy $\pi_t$ had an arm at 0", ylim=(-0.04, 1.04))
    right.set(ylabel="share of runs that differ", title="Agile against lazy Euclidean")
    right.legend(loc="center right")
