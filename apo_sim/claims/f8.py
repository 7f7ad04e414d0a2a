"""F8: what IPO and DPO make of labels without noise."""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array
from matplotlib.figure import Figure
from scipy.sparse.csgraph import connected_components
from scipy.special import logsumexp

from apo_sim.claims import judge
from apo_sim.claims.registry import claim
from apo_sim.claims.scope import Scope
from apo_sim.claims.verdict import Finding, Study
from apo_sim.losses import DPO, IPO, Extra
from apo_sim.proximal.from_counts import rewards_from_counts

ARMS = 5
BETAS = (0.1, 0.5, 2.0)
BOUNDS = (2.5, 5.0, 10.0, 20.0)
TAU = 0.7
# An h that DPO does reach, in logits of the preference, is far from the largest of the bounds.
INSIDE = 0.9
POLICY_TOLERANCE, RANGE_TOLERANCE = 1e-9, 1e-6
LABELS = (20, 50, 200, 1000)


@claim(
    id="F8",
    title="Labels without noise: IPO stays near the reference, DPO does not",
    source="ours",
    statement=r"Pairs from $\pi_{\mathrm{ref}}$ with full support, any $P$. IPO's loss has one "
    r"stationary policy, its minimiser $\pi_{\mathrm{ref}}\exp(\frac{2}{\beta\tau}P(y \succ "
    r"\pi_{\mathrm{ref}}))$, so that no $|\log\pi/\pi_{\mathrm{ref}}|$ exceeds $2/(\beta\tau)$. "
    r"DPO's has none if some arms always beat the rest: with $\max h - \min h \le 2R$ it is best "
    r"to use all of that, at every $\beta$, and the mass of the rest falls as $e^{-2R/\beta}$. "
    r"Otherwise it has one.",
    control=r"$\tau$ taken to be twice what it is in IPO's closed form",
    scope=Scope(
        "for all",
        "random games; random tournaments (P is 0 or 1 throughout), split ones, in which some arms "
        "always win against the rest, and those that are not; random references",
        arms=ARMS,
        iterations=1,
        beta=BETAS,
        samples="exact",
    ),
)
def labels_without_noise(study: Study) -> Finding:
    r"""Judge IPO's closed form and uniqueness, and where DPO ends on labels that are certain.

    Problem: a preference that is certain asks DPO for an infinite difference of rewards, which no
    beta outweighs: its loss is one of beta log(pi/pi_ref), and beta only sets the unit. IPO
    asks for 1/tau.

    Method: IPO's gradient and curvature are taken by differentiation of the loss summed over pairs;
    a Newton step from any policy must arrive at the closed form, since the loss is quadratic in the
    logits, with the covariance of the arms as its curvature, whose least eigenvalue is at least the
    least mass. DPO is solved under a bound R that grows. Which games are split is found from the
    graph of who ever wins against whom.

    Guarantee: exact. IPO's part is Theorem 2 of its paper, which asks for equal supports of the
    reference and of what draws the pairs. DPO's part is there for two arms; for more it is Ford's
    condition for the maximum likelihood of Bradley and Terry. Cycles of certain wins do not hurt
    DPO. A sample may be split where preferences are not certain: the shares are among the facts.

    Reference: Azar et al. (2024), section 4.2 and Theorem 2; Ford (1957).

    Example:
        >>> from apo_sim.claims import describe
        >>> describe("F8").scope.iterations
        '1'
    """
    count = study.pick(quick=60, full=1000)
    tried = _games(study.rng(), count)
    tau = 2 * TAU if study.wrong else TAU
    wins = tried.log_ref[:, :, None] + tried.log_ref[:, None, :]
    wins = np.exp(wins) * tried.preference
    errors, curvature = [], []
    for place, beta in enumerate(BETAS):
        start = study.rng(1 + place).normal(size=tried.log_ref.shape, scale=3.0)
        arrived, least = _newton(start, tried.log_ref, wins, beta)
        errors.append(np.abs(np.asarray(arrived) - ipo_in_closed_form(tried, beta, tau)))
        curvature.append(np.exp(tried.log_ref).min(axis=1) / (np.asarray(least) / beta**2))
    ipo = judge.identity(
        np.stack(errors), POLICY_TOLERANCE, unit="error of a log-probability",
        witness=lambda worst: _witness(tried, (worst // ARMS) % len(tried.log_ref)),
    )  # fmt: skip
    convex = judge.upper_bound(np.stack(curvature), 1.0, unit="least mass over least curvature")
    found = _solved(tried, wins)
    used = np.ptp(found.rewards, axis=-1) / (2 * np.array(BOUNDS)[:, None])
    split = tried.split
    at_bound = judge.identity(
        used[:, :, split] - 1, RANGE_TOLERANCE, unit="share of the bound not used"
    )
    bounded = judge.upper_bound(used[:, -1, ~split], INSIDE, unit="share of the largest bound")
    slopes = _slopes(found, tried)
    steep = judge.identity(slopes + 2, 0.01, unit="error of the exponent")
    shares = _samples_that_split(study.rng(9), study.pick(quick=400, full=5000))
    last = {b: float(found.log_losers[i, -1, :].max()) for i, b in enumerate(BETAS)}
    return dataclasses.replace(
        judge.worst([ipo, convex, at_bound, bounded, steep]),
        cells=1,
        instances=(len(BETAS) * (1 + len(BOUNDS))) * len(tried.log_ref),
        facts={
            "largest error of IPO's closed form": ipo.measured,
            "least mass over least curvature of IPO": convex.measured,
            "largest share of the bound used by DPO, games not split": bounded.measured,
            **{
                f"share of samples in which DPO has no minimiser, N = {n:,}": share
                for n, share in shares.items()
            },
        },
        note=f"With $R = {BOUNDS[-1]:g}$ arms that always lose keep at most "
        + ", ".join(rf"$10^{{{v / np.log(10):.0f}}}$ ($\beta = {b:g}$)" for b, v in last.items())
        + " with DPO. Bradley-Terry labels of rewards in [-1, 1] leave DPO without a minimiser in "
        + ", ".join(f"{share:.0%} (N = {n:,})" for n, share in shares.items())
        + f" of samples on {ARMS} arms.",
        draw=lambda figure: _draw(figure, found, tried),
    )


class Games(NamedTuple):
    """Preferences, with references and who can never lose.

    Attributes:
        preference: shape (n, K, K).
        log_ref: shape (n, K).
        split: whether some arms always beat the rest, shape (n,).
        losers: which arms are the last such group, shape (n, K).
    """

    preference: np.ndarray
    log_ref: np.ndarray
    split: np.ndarray
    losers: np.ndarray


class Solved(NamedTuple):
    """DPO's rewards under bounds, shape (betas, bounds, n, K), and what losers keep.

    Attributes:
        rewards: beta log(pi / pi_ref), up to a constant.
        log_losers: log of the mass of the losers of the split games.
    """

    rewards: np.ndarray
    log_losers: np.ndarray


def ipo_in_closed_form(tried: Games, beta: float, tau: float) -> np.ndarray:
    """log of pi_ref exp(2 W / (beta tau)), shape (n, K)."""
    win_rate = np.einsum("nij,nj->ni", tried.preference, np.exp(tried.log_ref))
    free = tried.log_ref + 2 * win_rate / (beta * tau)
    return free - _log_sum(free, keepdims=True)


def _games(rng: np.random.Generator, count: int) -> Games:
    log_ref = np.log(rng.dirichlet(np.full(ARMS, 1.0), 3 * count) * 0.95 + 0.05 / ARMS)
    soft = rng.uniform(0.02, 0.98, (count, ARMS, ARMS))
    certain = rng.choice([0.0, 1.0], (2 * count, ARMS, ARMS))
    # In the second part the first arms always beat the rest; which ones they are plays no part.
    first = rng.integers(1, ARMS, count)
    above = np.arange(ARMS) < first[:, None]
    beats = above[:, :, None] & ~above[:, None, :]
    certain[:count] = np.where(beats, 1.0, certain[:count])
    upper = np.triu(np.concatenate([soft, certain]), 1)
    preference = upper + np.tril(1 - np.swapaxes(upper, 1, 2), -1) + 0.5 * np.eye(ARMS)
    groups = [_last_group(each) for each in preference]
    losers = np.array(groups)
    return Games(preference, log_ref, np.any(~losers, axis=1), losers)


def _last_group(wins: np.ndarray) -> np.ndarray:
    """The arms that never beat any other; all of them if there is no such group."""
    off = (wins > 0) & ~np.eye(len(wins), dtype=bool)
    count, label = connected_components(off, connection="strong")
    leaves = [g for g in range(count) if not off[np.ix_(label == g, label != g)].any()]
    return label == leaves[0]


@jax.jit
def _newton(start: Any, log_ref: Any, wins: Any, beta: Any) -> tuple[Array, Array]:
    """Where a Newton step of IPO's loss leads, and the least curvature across normalisation."""

    def loss(logits: Array, log_ref: Array, wins: Array) -> Array:
        h = beta * (jax.nn.log_softmax(logits) - log_ref)
        return jnp.sum(wins * IPO(TAU)(h[:, None], h[None, :], Extra()))

    def one(logits: Array, log_ref: Array, wins: Array) -> tuple[Array, Array]:
        slope: Any = jax.grad(loss)(logits, log_ref, wins)
        curvature = jax.hessian(loss)(logits, log_ref, wins)
        # Along a constant the loss is flat; what is added there changes no policy.
        step = jnp.linalg.solve(curvature + beta**2 / ARMS, slope)
        values = jnp.linalg.eigvalsh(curvature)
        return jax.nn.log_softmax(logits - step), values[1] / 2

    return jax.vmap(one)(start, log_ref, wins)


# A few solves of many small problems: what optimised code saves is less than it costs.
@functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
def _rewards(wins: Any, log_ref: Any, beta: Any, bound: Any) -> Array:
    return rewards_from_counts(DPO(), wins, log_ref, beta, bound)[0]


def _log_sum(values: np.ndarray, keepdims: bool = False) -> np.ndarray:
    return np.asarray(logsumexp(values, axis=-1, keepdims=keepdims))


def _solved(tried: Games, wins: np.ndarray) -> Solved:
    rewards = np.array(
        [[_rewards(wins, tried.log_ref, b, bound) for bound in BOUNDS] for b in BETAS]
    )
    free = tried.log_ref + rewards / np.array(BETAS)[:, None, None, None]
    log_policy = free - _log_sum(free, keepdims=True)
    lost = _log_sum(np.where(tried.losers, log_policy, -np.inf))[..., tried.split]
    return Solved(rewards, lost)


def _slopes(found: Solved, tried: Games) -> np.ndarray:
    """d log(mass of the losers) / d(R / beta) at the largest bounds, of two groups only.

    With more groups the middle ones lie in between, and share the bound.
    """
    two = np.array([
        connected_components((p > 0) & ~np.eye(ARMS, dtype=bool), connection="strong")[0] == 2
        for p in tried.preference[tried.split]
    ])  # fmt: skip
    last = found.log_losers[0][:, two]
    return (last[-1] - last[-2]) / ((BOUNDS[-1] - BOUNDS[-2]) / BETAS[0])


def _samples_that_split(rng: np.random.Generator, count: int) -> dict[int, float]:
    """How often a sample of Bradley-Terry labels leaves DPO without a minimiser."""
    reward = rng.uniform(-1, 1, (count, ARMS))
    chance = 1 / (1 + np.exp(reward[:, None, :] - reward[:, :, None])) / ARMS**2
    shares = {}
    for number in LABELS:
        wins = rng.multinomial(number, chance.reshape(count, -1)).reshape(chance.shape)
        shares[number] = float(np.mean([not _last_group(each).all() for each in wins]))
    return shares


def _witness(tried: Games, game: int) -> dict[str, Any]:
    return {"preference": tried.preference[game], "reference": np.exp(tried.log_ref[game])}


def _draw(figure: Figure, found: Solved, tried: Games) -> None:
    left, right = figure.subplots(1, 2)
    colours = dict(zip(BETAS, ("C0", "C3", "C4"), strict=True))
    line = np.linspace(0.5, 1 - 1e-4, 400)
    left.plot(line, np.log(line / (1 - line)), color="C3", label=r"DPO: $\log\frac{p}{1-p}$")
    left.plot(
        line, (2 * line - 1) / TAU, color="C2", label=rf"IPO: $(2p-1)/\tau$, $\tau = {TAU:g}$"
    )
    left.set(xlabel="how often the better arm wins, $p$", ylim=(0, 9))
    left.set(ylabel=r"$\beta$ times the log-odds gained", title="Two arms")
    left.legend(loc="upper left", fontsize=7.5)
    game = int(np.flatnonzero(tried.split)[0])
    place = int(np.sum(tried.split[:game]))
    for row, beta in enumerate(BETAS):
        lost = -found.log_losers[row, :, place] / np.log(10)
        right.plot(BOUNDS, lost, "o-", color=colours[beta], label=rf"DPO, $\beta = {beta:g}$")
        ipo = _log_sum(ipo_in_closed_form(tried, beta, TAU)[game][tried.losers[game]])
        right.axhline(-ipo / np.log(10), color=colours[beta], linestyle=":", linewidth=1.2)
    right.plot([], [], ":", color="0.4", label=r"IPO, same $\beta$")
    right.set(xlabel="bound $R$ on the rewards", title="Arms that always lose", yscale="log")
    right.set(ylabel="orders of magnitude that they lose", xlim=(0, 21))
    right.set_ylim(1, 2000)
    right.legend(loc="upper left", fontsize=7.5, ncols=2)
