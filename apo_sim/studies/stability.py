"""How much the gap scatters over data: momentum from the policy output, or from its behaviour.

Table 3 of the paper compares the two after a few updates and extrapolations. Momentum from the
behaviour is plain iteration with longer steps (N21), and the two, like any two alphas, do not come
equally far: after two updates a constant reward has the weight 2 + 2 alpha with the one and 2 +
2 alpha + alpha^2 with the other. So the scatter is also given for each unit of that weight. Many
draws of the data meet each of a number of bandits, and the bandits are what is independent: the
standard deviations of two rules on the same bandit are paired.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from apo_sim import families
from apo_sim.estimate import Estimate
from apo_sim.problems import Bandit
from apo_sim.statistics import mean_and_half, ratio_estimate, several
from apo_sim.studies.caption import caption
from apo_sim.studies.kept import place
from apo_sim.studies.momentum_rules import total_weight
from apo_sim.sweep import replicate_problem, sweep

ALPHAS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6)
SAMPLES = (30, 300, 3000)
# What Table 3 evaluates.
EARLY = 2
LABELS = {"constant": r"from $\hat\pi_t$ (the method)", "from_behaviour": r"from $\pi_t$"}


def one_of(key: Any, contexts: int, arms: int, first: Any, bandits: Any) -> Bandit:
    """One of a fixed set of bandits, which the key picks: many replicates meet the same one.

    So the data of no two replicates have random numbers in common, as they would if the bandit
    were an axis of the sweep.

    Args:
        key: of the replicate.
        contexts: number of contexts.
        arms: number of arms.
        first: number of the first bandit.
        bandits: how many there are.

    Example:
        >>> keys = jax.random.split(jax.random.key(0), 8)
        >>> met = jax.vmap(lambda key: one_of(key, 1, 3, 0, 2).reward[0, 0])(keys)
        >>> len(set(met.tolist()))
        2
    """
    number = jnp.asarray(first, int) + jax.random.randint(key, (), 0, jnp.asarray(bandits, int))
    return families.uniform_bandit(jax.random.key(number), contexts, arms)


def measure(
    *,
    seeds: int,
    seed: int = 0,
    out: str | Path | None = None,
    progress: bool = True,
    bandits: int = 100,
    arms: int = 5,
    beta: float = 5.0,
    iterations: int = 10,
    alphas: Sequence[float] = ALPHAS,
    samples: Sequence[int] = SAMPLES,
) -> xr.Dataset:
    """The gap after extrapolation, dimensions (momentum, alpha, samples, seed, iteration).

    The coordinate `bandit` says which of them a seed met.

    Example:
        >>> data = measure(seeds=9, bandits=2, arms=3, iterations=2, alphas=[0.3], samples=[100])
        >>> data.behaviour_suboptimality.groupby("bandit").mean().sizes["bandit"]
        2
    """
    # Other bandits for another seed, and a number that single precision holds as well.
    first = float(seed * bandits % 2**24)
    data = sweep(
        one_of,
        momentum=list(LABELS),
        alpha=list(alphas),
        samples=list(samples),
        arms=arms,
        beta=beta,
        iterations=iterations,
        seeds=several(seeds),
        seed=seed,
        variables=["behaviour_suboptimality"],
        progress=progress,
        out=place(out, "stability"),
        first=first,
        bandits=bandits,
    ).load()

    def rewards(replicate):
        problem, _ = replicate_problem(
            one_of, seed, replicate, 1, arms, first=first, bandits=bandits
        )
        assert isinstance(problem, Bandit)
        return problem.reward[0]

    met = np.asarray(jax.vmap(rewards)(jnp.arange(seeds)))
    _, bandit = np.unique(met, axis=0, return_inverse=True)
    return data.assign_coords(bandit=("seed", bandit))


def scatter(data: xr.Dataset) -> xr.DataArray:
    """Standard deviation of the gap over data, one a bandit.

    The bandits stand in the dimension `seed`, since they are what is independent here.
    """
    groups = data.behaviour_suboptimality.groupby("bandit")
    # A bandit that a single seed met has no scatter.
    return groups.std("seed", ddof=1).rename(bandit="seed").dropna("seed")


def steadiest(spread: xr.DataArray) -> xr.DataArray:
    """The alpha of least mean scatter; `spread` has dimensions (alpha, seed, ...)."""
    return spread.mean("seed").idxmin("alpha")


def ratio(spread: xr.DataArray) -> Estimate:
    """The mean scatter of momentum from behaviour over that of the method."""
    pair = spread.sel(momentum=["from_behaviour", "constant"])
    return ratio_estimate(pair.transpose("momentum", "seed"))


@dataclass(frozen=True)
class BestAlphas:
    """The alphas of the method that are best after some number of updates.

    Attributes:
        steadiest: of the least scatter.
        steadiest_for_gamma: of the least scatter for each unit of gamma.
        smallest_gap: of the smallest mean gap.
    """

    steadiest: float
    steadiest_for_gamma: float
    smallest_gap: float


@dataclass(frozen=True)
class StabilityFinding:
    """Which momentum is the steadier one.

    Attributes:
        updates: after which the two are compared.
        alpha: the largest.
        samples: N.
        raw: scatter of momentum from the behaviour over that of momentum from the output.
        for_gamma: the same for each unit of gamma that they have moved.
        best: by number of updates, early and at the end.
        bandits: what the intervals are over.
        draws: of the data, in a cell.
    """

    updates: int
    alpha: float
    samples: int
    raw: Estimate
    for_gamma: Estimate
    best: dict[int, BestAlphas]
    bandits: int
    draws: int

    @property
    def text(self) -> str:
        """All of it in words."""
        steadiest, smallest = (
            ", ".join(f"{getattr(each, name):g} at t = {t}" for t, each in self.best.items())
            for name in ("steadiest", "smallest_gap")
        )
        fairest = ", ".join(f"{each.steadiest_for_gamma:g}" for each in self.best.values())
        return (
            f"After {self.updates} updates (alpha = {self.alpha:g}, N = {self.samples:,}) the gap "
            f"of momentum from pi_t scatters over data {self.raw:.3f} times as much as that of "
            f"momentum from pi_hat_t; for each unit of gamma that they have moved, "
            f"{self.for_gamma:.3f} times. The alpha of the method with the least scatter is "
            f"{steadiest} (for each unit of gamma {fairest}); that with the smallest mean gap "
            f"{smallest} ({self.bandits} bandits, {self.draws:,} draws of the data in a cell, 95 % "
            "intervals over bandits)."
        )


def finding(data: xr.Dataset) -> StabilityFinding:
    """Which momentum is the steadier one, raw and for the way it has come, and at which alpha."""
    n, alpha = _middle(data), float(data.alpha.max())
    here = data.sel(samples=n)
    spread = scatter(here)
    early = spread.sel(iteration=EARLY)
    fair = early / moved(data, EARLY)
    return StabilityFinding(
        updates=EARLY,
        alpha=alpha,
        samples=n,
        raw=ratio(early.sel(alpha=alpha)),
        for_gamma=ratio(fair.sel(alpha=alpha)),
        best={t: _best(here, spread, t) for t in (EARLY, data.sizes["iteration"])},
        bandits=spread.sizes["seed"],
        draws=data.sizes["seed"],
    )


def _best(data: xr.Dataset, spread: xr.DataArray, iterations: int) -> BestAlphas:
    method = {"iteration": iterations, "momentum": "constant"}
    fair = spread / moved(data, iterations)
    gap = data.behaviour_suboptimality.sel(method).mean("seed")
    return BestAlphas(
        float(steadiest(spread.sel(method))),
        float(steadiest(fair.sel(method))),
        float(gap.idxmin("alpha")),
    )


def moved(data: xr.Dataset, iterations: int) -> xr.DataArray:
    """How far a constant reward moves the policy in so many updates, (momentum, alpha)."""
    weights = [
        [total_weight(momentum, alpha, iterations, after=True) for alpha in data.alpha.values]
        for momentum in data.momentum.values
    ]
    coordinates = {"momentum": data.momentum, "alpha": data.alpha}
    return xr.DataArray(weights, coordinates, ("momentum", "alpha"))


def _middle(data: xr.Dataset) -> int:
    return int(data.samples[data.sizes["samples"] // 2])


def draw(figure: Figure, data: xr.Dataset) -> None:
    """Scatter over alpha after two updates, as it is and for each unit of gamma."""
    n = _middle(data)
    spread = scatter(data.sel(samples=n)).sel(iteration=EARLY)
    way = moved(data, EARLY)
    caption(
        figure,
        f"after {EARLY} updates and extrapolations, K = {int(data.arms)}, β = "
        f"{float(data.beta):g}, N = {n:,}; bands: 95 % intervals over {spread.sizes['seed']} "
        "bandits,\npaired with the least α, each point by itself",
    )
    left, right = figure.subplots(1, 2, sharey=True)
    for axes, values in ((left, spread), (right, spread / way)):
        for colour, (momentum, label) in zip(("C0", "C4"), LABELS.items(), strict=True):
            here = values.sel(momentum=momentum)
            least = here.isel(alpha=0, drop=True)
            mean, half = (part / least.mean("seed") for part in mean_and_half(here - least))
            band = 1 + mean - half, 1 + mean + half
            axes.fill_between(data.alpha, *band, color=colour, alpha=0.2, lw=0)
            axes.plot(data.alpha, 1 + mean, "o-", color=colour, label=label)
            if axes is left:
                pace = way.sel(momentum=momentum) / way.sel(momentum=momentum)[0]
                axes.plot(data.alpha, pace, ":", color=colour, lw=1.4)
        axes.set_xlabel(r"extrapolation $\alpha$")
    left.plot([], [], ":", color="0.3", lw=1.4, label=r"in step with $\gamma_t$")
    left.set_ylabel(rf"scatter, relative to $\alpha = {float(data.alpha[0]):g}$")
    left.set_title("scatter of the gap over data")
    right.set_title(r"for each unit of $\gamma_t$")
    left.legend(loc="upper left")
