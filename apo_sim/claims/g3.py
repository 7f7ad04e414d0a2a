"""G3: the rate of Nash mirror descent with falling steps, and what constant ones go to."""

import dataclasses
import functools
from typing import Any

import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from apo_sim.claims import _regularised as priced
from apo_sim.claims import judge
from apo_sim.claims._regularised import Games
from apo_sim.claims.registry import claim
from apo_sim.claims.scope import Scope
from apo_sim.claims.verdict import Finding, Study
from apo_sim.loop import solve
from apo_sim.methods.nash_md import NashMD
from apo_sim.studies.caption import caption
from apo_sim.sweep.lanes import over_lanes

ARMS, OF_ADVERSARY = (3, 8), 5
UPDATES, CONSTANT = 2000, 400
# Where the limit of T^2 KL is judged: the run is over its start, and it is no rounding.
FROM_PRICE, FROM_LIMIT, OF_LIMIT = 0.2, 1e-3, 0.03
OF_MIXTURE, OF_REPLY = 1e-20, 1e-9
PRICES, CLIMBED, RESTARTS = (0.02, 0.04, 0.06, 0.1, 0.3), 40, 4


@claim(
    id="G3",
    title="Nash-MD: rate, and limit of constant steps",
    source="ours",
    statement=(
        r"Nash-MD with exact preferences, $\pi^*_\tau$ the equilibrium of the game with price "
        r"$\tau$. Falling steps $\eta_t = 2/(\tau(t+2))$, pull $\tau\eta_t$: "
        r"$$\mathrm{KL}(\pi^*_\tau\|\pi_T) \le \frac{8}{\tau^2(T+1)},$$ and in truth "
        r"$T^2\,\mathrm{KL}$ goes to $c = \frac12 v^\top S v \le \frac{1}{2\tau^2}$, with "
        r"$(1 - 2B)v = 4B w$, $w = P(\cdot \succ \pi^*_\tau)/\tau$, $B = (P - \frac12)S/\tau$, $S$ "
        r"the covariance of $\pi^*_\tau$ (judged after 2,000 updates, to 3 %, where $\tau \ge 0.2$ "
        r"and $c\tau^2 \ge 10^{-3}$). Constant $\eta$, pull $p = \tau\eta$ and "
        r"$\eta^2 \le 4p/(1-p)$: in general not the policy but the mixture goes to an "
        r"equilibrium, $\pi^*_{\tau/(1-p)}$, and the policy to the reply "
        r"$\pi_{\mathrm{ref}}\,e^{P(\cdot \succ \pi^*_{\tau/(1-p)})/\tau}$ to it."
    ),
    control=r"price $\tau$ for the equilibrium that the mixture goes to",
    scope=Scope(
        "for all",
        "random games, some certain, cyclic or transitive, references that leave an arm 1e-9, "
        "prices from 0.05 to 5; games an adversary climbs to (K = 5, prices from 0.02)",
        arms=ARMS,
        iterations=f"every T up to {UPDATES:,}; {CONSTANT} constant steps",
        samples="exact",
    ),
)
def nash_md_rate(study: Study) -> Finding:
    r"""Judge the bound for falling steps, the limit of T^2 KL, and the limit of constant steps.

    Problem: the bound comes from KL_{t+1} <= (1 - eta tau) KL_t + 2 eta^2, whose last term is paid
    for a mixture that is off by no more than the pull. As KL_0 <= 1 / (2 tau), it says nothing new
    before T = 16 / tau.

    Method: equilibria by Newton's method, certified. An adversary climbs to the largest ratio in
    the first 40 updates.

    Guarantee: the bound is the theorem's. Ours is the limit: near the equilibrium the error of the
    logits obeys d_{t+1} = (1 - pull)(1 + eta A S) d - eta pull A S w with A = P - 1/2, so that it
    goes to -v / t; as A is antisymmetric, c is at most twice the variance of log pi*/pi_ref,
    and so at most 1 / (2 tau^2).
    A constant-step mixture is one of INPO with (1 - p) eta in place of eta, which G1 covers; the
    reply is an identity there.

    Reference: Munos et al. (2023), section 5; the limit and constant steps are ours.

    Example:
        >>> rps = np.array([[[0.5, 1.0, 0.0], [0.0, 0.5, 1.0], [1.0, 0.0, 0.5]]])
        >>> fair = priced.games(rps, np.log(np.full((1, 3), 1 / 3)), np.ones(1))
        >>> limit(fair).tolist()
        [0.0]
    """
    runs = _falling(dataclasses.replace(study, variant="stated"))
    bound = judged_bound(runs)
    limits = judged_limit(runs)
    stays = _constant(dataclasses.replace(study, variant="stated"))
    of_mixture = judge.upper_bound(
        stays.mixture_to_tau if study.wrong else stays.mixture,
        OF_MIXTURE,
        unit="nats",
        witness=lambda worst: {"pull": stays.pull[worst], "price": stays.price[worst]},
    )
    of_reply = judge.identity(stays.off_reply, OF_REPLY)
    decisive = judge.worst([bound, limits, of_mixture, of_reply])
    counts = runs.counts
    exponent = np.log2(runs.scaled[counts, -1] / runs.scaled[counts, UPDATES // 2 - 1])
    facts = {
        "largest ratio, random games": float(runs.share.max()),
        "largest ratio, adversary": float(runs.climbed.max()),
        "exponent, median": float(np.median(exponent)),
        "exponent, least": float(exponent.min()),
        "exponent, largest": float(exponent.max()),
        "largest limit times price squared": float(runs.limit.max()),
        "games whose limit is judged": int(counts.sum()),
        "largest error of the limit": limits.measured,
        "median KL from the policy of constant steps to the equilibrium at tau": float(
            np.median(stays.policy_to_tau)
        ),
        "largest KL from the policy of constant steps to the equilibrium at tau": float(
            stays.policy_to_tau.max()
        ),
        "largest KL from the mixture to its equilibrium": float(stays.mixture.max()),
    }
    return dataclasses.replace(
        decisive,
        cells=1,
        instances=bound.instances + len(stays.pull),
        facts=facts,
        note=f"At most {runs.share.max():.4f} of the bound on random games and "
        f"{runs.climbed.max():.4f} for an adversary. From {UPDATES // 2:,} to {UPDATES:,} updates "
        f"KL falls with the exponent {np.median(exponent):.3f} ({exponent.min():.3f} to "
        f"{exponent.max():.3f}). Constant steps leave the policy a median "
        f"{np.median(stays.policy_to_tau):.0e} nats from the equilibrium at $\\tau$, and up to "
        f"{stays.policy_to_tau.max():.2f}.",
        draw=lambda figure: _draw(figure, runs, stays),
    )


@dataclasses.dataclass(frozen=True)
class Falling:
    """Runs with falling steps; n games.

    Attributes:
        games: the random ones, by number of arms.
        scaled: tau^2 KL after 1, 2, ... updates, shape (n, UPDATES).
        limit: tau^2 c, shape (n,).
        price: shape (n,).
        against: the adversary's games.
        climbed: share of the bound on them, shape (m, UPDATES).
    """

    games: tuple[Games, ...]
    scaled: np.ndarray
    limit: np.ndarray
    price: np.ndarray
    against: Games
    climbed: np.ndarray

    @property
    def after(self) -> np.ndarray:
        """Numbers of updates."""
        return np.arange(1, self.scaled.shape[1] + 1)

    @property
    def share(self) -> np.ndarray:
        """KL over the bound on it, (n, UPDATES)."""
        return self.scaled * (1 + self.after) / 8

    @property
    def counts(self) -> np.ndarray:
        """Whether the limit is judged, (n,)."""
        return (self.limit >= FROM_LIMIT) & (self.price >= FROM_PRICE)


@dataclasses.dataclass(frozen=True)
class Constant:
    """Ends of runs with constant steps, each of shape (n,).

    Attributes:
        pull: share of the reference.
        price: tau.
        mixture: KL from the equilibrium at tau / (1 - pull) to the mixture.
        mixture_to_tau: KL from the equilibrium at tau to the mixture.
        policy_to_tau: KL from the equilibrium at tau to the policy.
        off_reply: largest difference of a log-probability of the policy and of the reply.
    """

    pull: np.ndarray
    price: np.ndarray
    mixture: np.ndarray
    mixture_to_tau: np.ndarray
    policy_to_tau: np.ndarray
    off_reply: np.ndarray


def limit(games: Games) -> np.ndarray:
    """What T^2 KL goes to, by the linearised steps, shape (n,)."""
    policy = np.exp(games.log_equilibrium)
    paid = games.price[:, None, None]
    lead = (games.preference - 0.5) / paid
    covariance = policy[:, :, None] * (np.eye(policy.shape[1]) - policy[:, None])
    turned = lead @ covariance
    rates = lead @ policy[:, :, None]
    error = np.linalg.solve(np.eye(policy.shape[1]) - 2 * turned, 4 * turned @ rates)
    return np.sum(error * (covariance @ error), axis=(1, 2)) / 2


def judged_bound(runs: Falling) -> Finding:
    """The bound on random games and on the adversary's, after every update."""
    return judge.upper_bound(
        np.concatenate([runs.share.ravel(), runs.climbed.ravel()]),
        1.0,
        floor=1e-12,
        unit="share of the bound",
        instances=len(runs.share) + len(runs.climbed),
        witness=lambda worst: _witness(runs, worst),
    )


def judged_limit(runs: Falling) -> Finding:
    """T^2 KL after all updates against its limit, where that is judged."""
    counts = runs.counts
    error = runs.scaled[counts, -1] * runs.after[-1] ** 2 / runs.limit[counts] - 1
    return judge.identity(error, OF_LIMIT, witness=lambda worst: {"error": error[worst]})


# The variants of the check look at the same runs.
@functools.lru_cache(maxsize=1)
def _falling(study: Study) -> Falling:
    count = study.pick(quick=400, full=5000)
    drawn = tuple(priced.random(study.rng(arms), count, arms) for arms in ARMS)
    left = np.concatenate([over_lanes(_left, games, updates=UPDATES) for games in drawn])
    price = np.concatenate([games.price for games in drawn])
    of_limit = np.concatenate([limit(games) for games in drawn])
    tau = np.repeat(PRICES, RESTARTS)

    def score(game: Games, _: Any) -> Any:
        bound = 8 / (game.price**2 * (1 + jnp.arange(1, CLIMBED + 1)))
        return jnp.max(jnp.log(_left(game, CLIMBED)[1:] / bound))

    against, _, _ = priced.climb(
        study, score, tau, tau, arms=OF_ADVERSARY, steps=study.pick(quick=150, full=2000)
    )
    worst = over_lanes(_left, against, updates=UPDATES)[:, 1:]
    share = against.price[:, None] ** 2 * worst * (2 + np.arange(UPDATES)) / 8
    scaled = price[:, None] ** 2 * left[:, 1:]
    return Falling(drawn, scaled, price**2 * of_limit, price, against, share)


def _left(game: Games, updates: int) -> Any:
    """KL before and after each update with falling steps."""
    eta = 2 / (game.price * (jnp.arange(updates) + 2))
    method = NashMD(eta, eta * game.price)  # type: ignore[arg-type]
    problem = priced.as_game(game.preference, game.log_ref)
    path = solve(problem, method, iterations=updates, save="path").log_policy
    assert path is not None
    return priced.divergence(game.log_equilibrium, path[:, 0])


@functools.lru_cache(maxsize=1)
def _constant(study: Study) -> Constant:
    """Constant steps up to the longest; a pull of a tenth or more, so that the runs end."""
    rng, count = study.rng(2), study.pick(quick=300, full=5000)
    parts = []
    for arms in ARMS:
        pull = rng.uniform(0.1, 0.6, count)
        eta = np.sqrt(4 * pull / (1 - pull)) * np.where(rng.random(count) < 0.5, 1.0, 0.3)
        tau = pull / eta
        drawn = priced.random(rng, count, arms)
        raised, plain = (
            priced.games(drawn.preference, drawn.log_ref, price)
            for price in (tau / (1 - pull), tau)
        )
        lanes = (plain, raised.log_equilibrium, eta, pull)
        parts.append((pull, tau, *over_lanes(_end, lanes)))
    return Constant(*(np.concatenate(field) for field in zip(*parts, strict=True)))


def _end(lane: Any) -> Any:
    plain, log_raised, eta, pull = lane
    problem = priced.as_game(plain.preference, plain.log_ref)
    end = solve(problem, NashMD(eta, pull), iterations=CONSTANT)
    policy, mixture = end.final_log_policy[0], end.final_behaviour[0]
    reply = plain.log_ref + plain.preference @ jnp.exp(log_raised) / plain.price
    off = policy - reply
    return (
        priced.divergence(log_raised, mixture),
        priced.divergence(plain.log_equilibrium, mixture),
        priced.divergence(plain.log_equilibrium, policy),
        (jnp.max(off) - jnp.min(off)) / 2,
    )


def _witness(runs: Falling, worst: int) -> dict[str, Any]:
    game, after = divmod(worst, UPDATES)
    for games in (*runs.games, runs.against):
        if game < len(games.price):
            return {**games.witness(game), "updates": after + 1}
        game -= len(games.price)
    raise AssertionError(worst)


def _draw(figure: Figure, runs: Falling, stays: Constant) -> None:
    caption(figure, "Left and middle: falling steps; right: constant ones, a game a dot")
    rate, of_limit, constant = figure.subplots(1, 3)
    after = runs.after
    of_adversary = 8 * runs.climbed / (1 + after)
    rate.loglog(after, 8 / (1 + after), color="C1", label="bound")
    rate.loglog(after, np.max(of_adversary, axis=0), color="C3", label="adversary")
    rate.loglog(after, np.max(runs.scaled, axis=0), color="C0", label="worst random")
    rate.loglog(after, np.median(runs.scaled, axis=0), color="C2", label="median")
    rate.loglog(after, 1 / (2 * after**2), ":", color="0.4", label=r"$1/(2T^2)$")
    rate.set(xlabel="updates $T$", ylabel=r"$\tau^2\,$KL", ylim=(1e-17, 20))
    rate.set_title("Against the bound")
    rate.legend(loc="lower left")
    counts = runs.counts
    x, y = runs.limit[counts], runs.scaled[counts, -1] * after[-1] ** 2
    of_limit.loglog(x, y, ".", ms=3, color="C0")
    ends = np.array([x.min(), x.max()])
    of_limit.loglog(ends, ends, color="C1", linewidth=1)
    of_limit.set(
        xlabel=r"limit $\tau^2 c$", ylabel=rf"$\tau^2 T^2\,$KL after {after[-1]:,} updates"
    )
    of_limit.set_title("Against the limit")
    for left, colour, label in (
        (stays.policy_to_tau, "C3", r"policy, price $\tau$"),
        (stays.mixture_to_tau, "C4", r"mixture, price $\tau$"),
        (stays.mixture, "C2", r"mixture, $\tau/(1-p)$"),
    ):
        constant.semilogy(stays.pull, np.maximum(left, 1e-34), ".", ms=3, color=colour, label=label)
    constant.set(xlabel="pull $p$", ylabel="KL from the equilibrium", ylim=(1e-35, 1e16))
    constant.set_title("Constant steps")
    constant.legend(loc="upper left", markerscale=3)
