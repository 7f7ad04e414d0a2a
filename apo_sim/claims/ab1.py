"""Assumption B.1: one arm does better than every other against every opponent."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from apo_sim import families
from apo_sim.claims import judge
from apo_sim.claims.registry import claim
from apo_sim.claims.verdict import Finding, Study
from apo_sim.problems import Bandit, Game

_FAMILIES = {
    "transitive": families.transitive_game,
    "random": families.random_game,
}
FAMILIES = tuple(_FAMILIES)
ARMS = (3, 5, 10)
# Per family and number of arms: share with B.1, its interval, share with an arm that beats all.
Shares = dict[tuple[str, int], tuple[float, tuple[float, float], float]]


@claim(
    id="AB.1",
    title="Dominance: free under Bradley-Terry, rare elsewhere",
    source="paper",
    statement=(
        r"Assumption B.1: $P(y^*\succ y') - P(y\succ y') \ge \Delta > 0$ for all $y \ne y^*$ and "
        r"all $y'$. Bradley-Terry rewards in $[-1, 1]$ with a gap $\delta$ always meet it, at "
        r"the price $$\frac{\delta}{\Delta} \le \frac{\delta}{\sigma(2) - \sigma(2 - \delta)} "
        r"\le 4\cosh^2 1 \approx 9.52.$$"
    ),
    control=r"the assumption asked for against the opponent $y' = y^*$ only",
)
def dominance(study: Study) -> Finding:
    r"""Find how much smaller the dominance of a Bradley-Terry problem is than its reward gap.

    Problem: the sigmoid is flattest where the opponent is worst, so the least lead of y* is
    against the worst arm: Delta = sigma(D) - sigma(D - delta), with D the range of the rewards.

    Method: random rewards with a prescribed gap, and an adversary. On other games, how often
    the assumption holds at all.

    Guarantee: tight, attained when the range is 2. Since Delta is the rate of Theorem B.2,
    learning from win rates is 4 to 9.5 times slower than learning from rewards.

    Reference: Assumption B.1 of the paper; the relation to the gap is ours.

    Example:
        >>> float(largest_price(np.array(1e-6), _sigmoid(2.0), own=False).round(2))
        9.52
    """
    reward, price, shares = _measured(dataclasses.replace(study, wrong=False))
    ordered = np.sort(reward, axis=1)
    gap = ordered[:, -1] - ordered[:, -2]
    bound = largest_price(gap, 0.5 if study.wrong else _sigmoid(2.0), study.wrong)
    row = _row(shares, 1)
    cycle = float(families.rock_paper_scissors(0.9).dominance[0])
    return judge.upper_bound(
        price,
        bound,
        witness=lambda worst: {"reward": reward[worst], "price": price[worst]},
        unit="reward gap / dominance",
        note=(
            f"All {np.sum(price > 0)} Bradley-Terry problems meet the assumption. Of games with "
            f"{ARMS[1]} arms {row} (intervals of 95 %), though in every transitive game one arm "
            f"beats all others: the assumption asks for more than a best arm. "
            rf"Rock-paper-scissors misses it by far, with $\Delta = {cycle:.1f}$."
        ),
        draw=_figure(gap, price, shares),
    )


# The control changes the bound only, so both runs of the check share what is measured.
@functools.lru_cache(maxsize=1)
def _measured(study: Study) -> tuple[np.ndarray, np.ndarray, Shares]:
    """Rewards drawn and climbed to, (n, K), their prices, (n,), and the shares among games."""
    starts = study.rng(1).normal(size=(study.pick(quick=16, full=256), 5))
    steps = study.pick(quick=300, full=2000)
    top = judge.climb(lambda raw: _price(jnp.tanh(raw)), starts, steps=steps)
    reward = np.concatenate([_rewards(study), np.tanh(np.asarray(top.all_params))])
    return reward, np.asarray(jax.jit(jax.vmap(_price))(reward)), _shares(study)


def largest_price(gap: Any, best: float, own: bool) -> Any:
    """The bound of the statement, or with `own` what the opponent y* alone would give."""
    return gap / (best - _sigmoid(-gap if own else 2.0 - gap))


def _sigmoid(x):
    return 1 / (1 + np.exp(-x))


def _price(reward: jax.Array) -> jax.Array:
    """Reward gap over dominance of one Bradley-Terry context."""
    bandit = Bandit(reward[None], jnp.full((1, reward.shape[0]), -jnp.log(reward.shape[0])))
    return bandit.gap[0] / bandit.dominance[0]


def _rewards(study: Study) -> np.ndarray:
    """Rewards of five arms in [-1, 1], with gaps of every order of magnitude."""
    rng, count = study.rng(), study.pick(quick=1000, full=100_000)
    gap = 10 ** rng.uniform(-3, np.log10(1.9), count)
    second = -1 + rng.uniform(size=count) * (2 - gap)
    others = -1 + rng.uniform(size=(count, 3)) * (second + 1)[:, None]
    return np.column_stack([second + gap, second, others])


@functools.partial(jax.jit, static_argnames="family")
def _meets(keys: jax.Array, family: str) -> tuple[jax.Array, jax.Array]:
    """Per draw and number of arms: whether B.1 holds, and whether one arm beats every other."""

    def first(matrix: jax.Array, arms: int) -> tuple[jax.Array, jax.Array]:
        # In both families the first few of many arms follow the family's own law.
        game = Game(matrix[:, :arms, :arms], families.uniform_reference(1, arms))
        own = jnp.eye(arms, dtype=bool)
        beats = jnp.any(jnp.all((game.preference[0] > 0.5) | own, axis=1))
        return game.dominance[0] > 0, beats

    def one(key: jax.Array) -> tuple[jax.Array, jax.Array]:
        matrix = _FAMILIES[family](key, 1, ARMS[-1]).preference
        meets, beats = zip(*[first(matrix, arms) for arms in ARMS], strict=True)
        return jnp.stack(meets), jnp.stack(beats)

    return jax.vmap(one)(keys)


def _shares(study: Study) -> Shares:
    count = study.pick(quick=2000, full=50_000)
    shares = {}
    for i, family in enumerate(FAMILIES):
        meets, beats = _meets(jax.random.split(study.subkey(2 + i), count), family)
        for j, arms in enumerate(ARMS):
            interval = judge.clopper_pearson(int(meets[:, j].sum()), count)
            shares[family, arms] = float(meets[:, j].mean()), interval, float(beats[:, j].mean())
    return shares


def _row(shares: Shares, index: int) -> str:
    parts = []
    for family in FAMILIES:
        low, high = shares[family, ARMS[index]][1]
        parts.append(f"{100 * low:.1f} to {100 * high:.1f} % of the {family} ones meet it")
    return " and ".join(parts)


def _figure(gap: np.ndarray, price: np.ndarray, shares):
    some = np.linspace(0, gap.size - 1, min(gap.size, 1500)).astype(int)
    grid = np.geomspace(1e-3, 2, 200)

    def draw(figure: Figure) -> None:
        left, right = figure.subplots(1, 2)
        left.semilogx(gap[some], price[some], ".", color="C0", markersize=3, alpha=0.5)
        bound = largest_price(grid, _sigmoid(2.0), False)
        left.semilogx(grid, bound, color="C2", label="largest possible")
        left.axhline(4.0, color="0.5", linestyle="--", label="opponent $y^*$ only")
        left.set_title("Price of the sigmoid")
        left.set(xlabel=r"reward gap $\delta$", ylabel=r"$\delta\;/\;\Delta$", ylim=(0, 10.5))
        left.set_xlim(1e-3, 2)
        left.legend(loc="lower left")
        for i, arms in enumerate(ARMS):
            place = np.arange(len(FAMILIES)) + 0.25 * (i - 1)
            cells = [shares[family, arms] for family in FAMILIES]
            share = np.array([cell[0] for cell in cells])
            ends = np.array([cell[1] for cell in cells]).T
            color = ("C5", "C0", "C6")[i]
            right.bar(place, [cell[2] for cell in cells], 0.22, color="0.9")
            right.bar(place, share, 0.22, color=color, label=f"{arms} arms")
            errors = np.clip([share - ends[0], ends[1] - share], 0, None)
            right.errorbar(place, share, errors, fmt="none", ecolor="0.2", linewidth=1)
        right.set_title("Games that meet the assumption")
        right.set(xticks=range(len(FAMILIES)), xticklabels=FAMILIES, ylim=(0, 1.18))
        right.set_ylabel("share (grey: one arm beats all others)")
        right.legend(loc="upper right", ncols=3, fontsize=7.5)
        right.grid(axis="x", visible=False)

    return draw
