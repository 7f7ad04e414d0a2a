"""Three ways to extrapolate a policy over sequences: how far apart, and does the gap notice?

Whole sequences, normalised over all of them, are the exact (3.6). A sampler that mixes the logits
of two language models normalises at each token; practice extrapolates the parameters. All three
train the same network from the same start on exact preferences.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from apo_sim.estimate import Estimate
from apo_sim.families import sequence_bandit
from apo_sim.momentum import Constant
from apo_sim.one_of import OneOf
from apo_sim.optimizers import AdamW
from apo_sim.policies import Attention, Recurrent
from apo_sim.proximal import ByGradient
from apo_sim.spaces import InLogProbabilities, InParameters, InTokens, Space
from apo_sim.statistics import mean_and_half, mean_estimate, ratio_estimate, several
from apo_sim.studies.caption import caption
from apo_sim.studies.wording import plus_minus
from apo_sim.sweep.trainings import trainings

NETWORKS: dict[str, Callable[..., Any]] = {"recurrent": Recurrent, "attention": Attention}
SPACES: dict[str, Space] = {
    "exact": InLogProbabilities(),
    "tokens": InTokens(),
    "parameters": InParameters(),
}
# Without momentum all spaces are one.
NONE = "none"
RIVALS = ("tokens", "parameters")  # of the exact one
_SETTING = ("network", "alpha", "beta")
LABELS = {
    NONE: "no momentum",
    "exact": "whole sequences (3.6)",
    "tokens": "each token",
    "parameters": "parameters",
}
COLOURS = dict(zip(LABELS, ("0.45", "C2", "C0", "C1"), strict=True))
KEPT = ("suboptimality", "kl_to_exact", "tv_to_exact", "moved")
WIDTH, STEPS, LEARNING_RATE = 16, 300, 0.01


def setup(
    network: str, vocabulary: int, length: int, seed: int
) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """What `apo_sim.sweep.trainings` runs: from the numbers of a lane to a training.

    A lane has `replicate`, `alpha`, `beta` and `which`, the place of its space in `SPACES`. All
    lanes of a replicate start from the same network, which is the reference policy, and have the
    same rewards.

    Example:
        >>> lane = {"replicate": 1, "alpha": 0.3, "beta": 1.0, "which": 2}
        >>> jax.eval_shape(lambda: setup("recurrent", 2, 3, seed=0)(lane)["problem"].reward).shape
        (1, 8)
    """
    policy = NETWORKS[network](vocabulary, length, WIDTH)

    def of_lane(lane: dict[str, Any]) -> dict[str, Any]:
        key = jax.random.fold_in(jax.random.key(seed), lane["replicate"])
        to_params, to_reward, to_data = jax.random.split(key, 3)
        # Single precision is plenty for what networks learn, and twice as fast.
        params = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), policy.init(to_params))
        return {
            "problem": sequence_bandit(to_reward, vocabulary, length, policy.log_prob(params)),
            "policy": policy,
            "params": params,
            "momentum": Constant(lane["alpha"]),
            "beta": lane["beta"],
            "step": ByGradient(AdamW(LEARNING_RATE), STEPS),
            "space": OneOf(jnp.asarray(lane["which"]), tuple(SPACES.values())),
            "key": to_data,
        }

    return of_lane


def measure(
    *,
    seeds: int,
    seed: int = 0,
    out: str | Path | None = None,
    progress: bool = True,
    vocabulary: int = 4,
    length: int = 4,
    iterations: int = 20,
    alphas: Sequence[float] = (0.3, 0.9),
    betas: Sequence[float] = (1.0, 0.1),
    networks: Sequence[str] = tuple(NETWORKS),
) -> xr.Dataset:
    """Series of every space, dimensions (network, space, alpha, beta, seed, iteration).

    Seeds are paired: they share rewards and the network at the start. The space `none` has no
    momentum, whatever alpha says. `diverged` is the iteration from which on a training stands
    still, because its loss grew beyond bounds; 0 for never.
    """
    several(seeds)
    cases = [(NONE, 0.0), *((space, alpha) for space in SPACES for alpha in alphas)]
    places = [0 if space == NONE else list(SPACES).index(space) for space, _ in cases]
    case, beta, replicate = (
        axis.ravel() for axis in np.meshgrid(range(len(cases)), betas, range(seeds), indexing="ij")
    )
    lanes = {
        "replicate": replicate,
        "alpha": np.array([alpha for _, alpha in cases])[case],
        "beta": beta,
        "which": np.array(places)[case],
    }
    parts = []
    for network in networks:
        found = trainings(
            setup(network, vocabulary, length, seed),
            lanes,
            iterations=iterations,
            configuration={"network": network, "vocabulary": vocabulary, "length": length}
            | {"seed": seed, "width": WIDTH, "steps": STEPS, "learning_rate": LEARNING_RATE},
            out=None if out is None else Path(out) / network,
            progress=progress,
            diverging="report",
        )
        shape = (len(cases), len(betas), seeds, iterations)
        shaped: dict[str, np.ndarray] = {
            name: found[name].astype(float).reshape(shape) for name in KEPT
        }
        shaped["diverged"] = found["diverged"].reshape(shape[:-1])
        parts.append({name: _by_space(values, len(alphas)) for name, values in shaped.items()})
    dims = ("network", "space", "alpha", "beta", "seed", "iteration")
    stacked = {name: np.stack([part[name] for part in parts]) for name in parts[0]}
    return xr.Dataset(
        {name: (dims[: values.ndim], values) for name, values in stacked.items()},
        {
            "network": list(networks),
            "space": list(LABELS),
            "alpha": list(alphas),
            "beta": list(betas),
            "iteration": np.arange(1, iterations + 1),
            "sequences": vocabulary**length,
        },
    )


def _by_space(values: np.ndarray, alphas: int) -> np.ndarray:
    """From (cases, ...) to (spaces, alphas, ...): no momentum is the same for every alpha."""
    none = np.broadcast_to(values[:1, None], (1, alphas, *values.shape[1:]))
    return np.concatenate([none, values[1:].reshape(len(SPACES), alphas, *values.shape[1:])])


def regret(data: xr.Dataset) -> xr.DataArray:
    """The gap averaged over the iterations."""
    return data.suboptimality.mean("iteration")


def lost(data: xr.Dataset, space: str) -> Estimate:
    """Share of the gap saved by the exact extrapolation that another space does not save."""
    gap = regret(data)
    exact = gap.sel(space="exact")
    parts = xr.concat([gap.sel(space=space) - exact, gap.sel(space=NONE) - exact], "part")
    return ratio_estimate(parts.transpose("part", "seed"))


def beyond_noise(data: xr.Dataset, space: str, rival: str) -> xr.DataArray:
    """Where the regret of a space is above (1) or below (-1) that of a rival, else 0.

    By the 95 % interval of the paired difference, dimensions (network, alpha, beta).
    """
    gap = regret(data)
    mean, half = mean_and_half(gap.sel(space=space) - gap.sel(space=rival))
    return xr.where(abs(mean) > half, np.sign(mean), 0.0)


@dataclass(frozen=True)
class Apart:
    """How far one network is from (3.6) at one alpha, in each space.

    Attributes:
        distance: the KL divergence from it over that of the training steps, by space.
        gap: the average gap less that of (3.6), by space and without momentum.
        lost: the share of what (3.6) saves that a space does not, by space.
    """

    distance: dict[str, Estimate]
    gap: dict[str, Estimate]
    lost: dict[str, Estimate]


@dataclass(frozen=True)
class SequenceSetting:
    """A network and a setting of it."""

    network: str
    alpha: float
    beta: float

    def __str__(self) -> str:
        return f"{self.network} at alpha = {self.alpha:g}, beta = {self.beta:g}"


@dataclass(frozen=True)
class SequencesFinding:
    """What it matters where a policy over sequences is extrapolated.

    Attributes:
        updates: T.
        beta: proximal weight of `apart`.
        seeds: paired.
        apart: by network and alpha.
        worse_than_none: where extrapolating parameters ends or averages worse than no momentum.
        strays_most: where it is most often farther from (3.6) than the training step moves.
        strays: in which share of the iterations there.
        diverged: runs with an inner training that did.
        worse: in how many settings a space surely does worse than (3.6).
        better: in how many it surely does better.
        settings: of network, alpha and beta.
    """

    updates: int
    beta: float
    seeds: int
    apart: dict[tuple[str, float], Apart]
    worse_than_none: list[SequenceSetting]
    strays_most: SequenceSetting
    strays: float
    diverged: int
    worse: dict[str, int]
    better: dict[str, int]
    settings: int

    def worst(self, space: str) -> tuple[str, float]:
        """The network and the alpha with which a space loses most."""
        return max(self.apart, key=lambda place: self.apart[place].lost[space].value)

    @property
    def text(self) -> str:
        """All of it in words."""
        networks = list(dict.fromkeys(network for network, _ in self.apart))
        return " ".join(
            [
                *map(self._distances, networks),
                *map(self._gaps, networks),
                self._failures(),
                self._conclusion(),
            ]
        )

    def _of(self, network: str) -> dict[float, Apart]:
        return {alpha: each for (name, alpha), each in self.apart.items() if name == network}

    def _distances(self, network: str) -> str:
        here = self._of(network)
        parts = [
            f"{each.distance[space]:.2g} of it in {space} at alpha = {alpha:g}"
            for space in RIVALS
            for alpha, each in here.items()
        ]
        return (
            f"The KL divergence of the extrapolated {network} policy from the exact (3.6), summed "
            f"over {self.updates} iterations and measured by that of the training steps, is "
            f"{', '.join(parts)}."
        )

    def _gaps(self, network: str) -> str:
        parts = []
        for alpha, each in self._of(network).items():
            none, tokens, parameters = (plus_minus(each.gap[s]) for s in (NONE, *RIVALS))
            parts.append(
                f"{none} without momentum, {tokens} in tokens and {parameters} in parameters at "
                f"alpha = {alpha:g}"
            )
        return f"The {network} policy's average gap is above that of (3.6) by {'; '.join(parts)}."

    def _failures(self) -> str:
        return (
            "Extrapolating parameters ends or averages worse than no momentum in "
            f"{', '.join(map(str, self.worse_than_none)) or 'no setting'}; it strays farther from "
            "(3.6) than the step of training moves the policy most often with "
            f"{self.strays_most} (in {self.strays:.0%} of the iterations). Inner trainings "
            f"diverged in {self.diverged} runs."
        )

    def _conclusion(self) -> str:
        at_worst, counts = [], []
        for space in RIVALS:
            network, alpha = self.worst(space)
            shares = self.apart[network, alpha].lost[space].figures
            share, low, high = (f"{100 * number:.0f}" for number in shares)
            at_worst.append(
                f"{space} lose at worst {share} % [{low}, {high}] ({network}, alpha = {alpha:g})"
            )
            counts.append(
                f"{space} do worse than (3.6) in {self.worse[space]} and better in "
                f"{self.better[space]}"
            )
        return (
            f"Conclusion: of the average gap that (3.6) saves at beta = {self.beta:g}, "
            f"{' and '.join(at_worst)}, and beyond the noise {' and '.join(counts)} of "
            f"{self.settings} settings of network, alpha and beta ({self.seeds} paired seeds each, "
            "95 % intervals, each by itself)."
        )


def finding(data: xr.Dataset) -> SequencesFinding:
    """How far apart the spaces are, what it does to the gap, where parameters fail."""
    worse = beyond_noise(data, "parameters", NONE) > 0
    end = data.suboptimality.isel(iteration=-1)
    last, half = mean_and_half(end.sel(space="parameters") - end.sel(space=NONE))
    failed = (worse | (last > half)).stack(setting=_SETTING)
    apart = (data.kl_to_exact > data.moved).sel(space="parameters").mean(("seed", "iteration"))
    stray = apart.stack(setting=_SETTING)
    differs = {space: beyond_noise(data, space, "exact") for space in RIVALS}
    return SequencesFinding(
        updates=data.sizes["iteration"],
        beta=float(data.beta[0]),
        seeds=data.sizes["seed"],
        apart={
            (network, float(alpha)): _apart(here.sel(alpha=alpha))
            for network, here in _networks(data)
            for alpha in data.alpha.values
        },
        worse_than_none=[_place(setting) for setting in failed.setting.values[failed.values]],
        strays_most=_place(stray.setting.values[int(np.argmax(stray.values))]),
        strays=float(stray.max()),
        diverged=int((data.diverged > 0).sum()),
        worse={space: int((sign > 0).sum()) for space, sign in differs.items()},
        better={space: int((sign < 0).sum()) for space, sign in differs.items()},
        settings=failed.size,
    )


def _apart(here: xr.Dataset) -> Apart:
    gap, summed = regret(here), here.sum("iteration")
    exact = gap.sel(space="exact")
    return Apart(
        distance={
            space: ratio_estimate(
                xr.concat([cell.kl_to_exact, cell.moved], "part").transpose("part", "seed")
            )
            for space in RIVALS
            for cell in [summed.sel(space=space)]
        },
        gap={
            space: mean_estimate((gap.sel(space=space) - exact).values, unit="reward")
            for space in (NONE, *RIVALS)
        },
        lost={space: lost(here, space) for space in RIVALS},
    )


def _place(setting: tuple[str, float, float]) -> SequenceSetting:
    network, alpha, beta = setting
    return SequenceSetting(str(network), float(alpha), float(beta))


def _networks(data: xr.Dataset) -> list[tuple[str, xr.Dataset]]:
    """Every network with its data at the first beta."""
    return [(str(n), data.sel(network=n).isel(beta=0)) for n in data.network.values]


def draw(figure: Figure, data: xr.Dataset) -> None:
    """Gap and distance from (3.6) over the iterations, a column a network, at the largest alpha."""
    alpha = float(data.alpha.max())
    panels = figure.subplots(2, data.sizes["network"], sharex=True, sharey="row", squeeze=False)
    for (network, here), (gap, distance) in zip(_networks(data), panels.T, strict=True):
        cell = here.sel(alpha=alpha)
        for space, colour in COLOURS.items():
            mean, half = mean_and_half(cell.suboptimality.sel(space=space))
            _band(gap, mean, mean - half, mean + half, colour)
            if space in ("tokens", "parameters"):
                _band(distance, *_geometric(cell.kl_to_exact.sel(space=space)), colour)
        _band(distance, *_geometric(cell.moved.sel(space="parameters")), "0.2", ":")
        gap.set_title(rf"{network}, $\alpha$ = {alpha:g}, $\beta$ = {float(data.beta[0]):g}")
        gap.set_ylim(bottom=0)
        distance.set(yscale="log", xlabel="iteration t")
    caption(
        figure,
        f"Bands: 95 % intervals over {data.sizes['seed']} seeds, of the mean gap and of the "
        "geometric mean of the divergence",
    )
    panels[0, 0].set_ylabel("gap (reward)")
    panels[1, 0].set_ylabel("KL to (3.6), nats\n(dotted: of the step)")
    handles = [Line2D([], [], color=COLOURS[space], label=LABELS[space]) for space in LABELS]
    handles.append(Line2D([], [], color="0.2", ls=":", label="training step"))
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), handlelength=1.5)


def _geometric(values: xr.DataArray) -> tuple[xr.DataArray, xr.DataArray, xr.DataArray]:
    """Geometric mean over the seeds and the ends of its interval, from 1e-10 up."""
    mean, half = mean_and_half(xr.DataArray(np.log(values.clip(1e-10))))
    return math.e**mean, math.e ** (mean - half), math.e ** (mean + half)


def _band(axes: Any, mean: Any, low: Any, high: Any, colour: str, style: str = "-") -> None:
    axes.fill_between(mean.iteration, low, high, color=colour, alpha=0.2, lw=0)
    axes.plot(mean.iteration, mean, style, color=colour)
