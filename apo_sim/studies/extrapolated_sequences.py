"""Three ways to extrapolate a policy over sequences: how far apart, and does the gap notice?

Whole sequences, normalised over all of them, are the exact (3.6). A sampler that mixes the logits
of two language models normalises at each token; practice extrapolates the parameters. All three
train the same network from the same start on exact preferences.
"""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from apo_sim.families import sequence_bandit
from apo_sim.momentum import Constant
from apo_sim.one_of import OneOf
from apo_sim.optimizers import AdamW
from apo_sim.policies import Attention, Recurrent
from apo_sim.proximal import ByGradient
from apo_sim.spaces import InLogProbabilities, InParameters, InTokens, Space
from apo_sim.statistics import bootstrap, mean_and_half, ratio_of_means, several
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


def lost(data: xr.Dataset, space: str) -> tuple[float, float, float]:
    """Share of the gap saved by the exact extrapolation that another space does not save.

    Returns:
        The share, and the ends of its 95 % interval.
    """
    gap = regret(data)
    exact = gap.sel(space="exact")
    parts = xr.concat([gap.sel(space=space) - exact, gap.sel(space=NONE) - exact], "part")
    low, high = bootstrap(ratio_of_means, parts.transpose("part", "seed"))
    return float(ratio_of_means(parts.transpose("part", "seed").values)), float(low), float(high)


def beyond_noise(data: xr.Dataset, space: str, rival: str) -> xr.DataArray:
    """Where the regret of a space is above (1) or below (-1) that of a rival, else 0.

    By the 95 % interval of the paired difference, dimensions (network, alpha, beta).
    """
    gap = regret(data)
    mean, half = mean_and_half(gap.sel(space=space) - gap.sel(space=rival))
    return xr.where(abs(mean) > half, np.sign(mean), 0.0)


def finding(data: xr.Dataset) -> str:
    """How far apart the spaces are, what it does to the gap, where parameters fail."""
    return " ".join([*_distances(data), *_gaps(data), _failures(data), _conclusion(data)])


def _distances(data: xr.Dataset) -> list[str]:
    """One sentence a network: the KL divergence from (3.6), beside that of the training step."""
    sentences = []
    for network, here in _networks(data):
        parts = []
        for space in ("tokens", "parameters"):
            for alpha in data.alpha.values:
                cell = here.sel(space=space, alpha=alpha).sum("iteration")
                pair = xr.concat([cell.kl_to_exact, cell.moved], "part").transpose("part", "seed")
                low, high = bootstrap(ratio_of_means, pair)
                share = f"{float(ratio_of_means(pair.values)):.2g} [{low:.2g}, {high:.2g}]"
                parts.append(f"{share} of it in {space} at alpha = {alpha:g}")
        sentences.append(
            f"The KL divergence of the extrapolated {network} policy from the exact (3.6), summed "
            f"over {data.sizes['iteration']} iterations and measured by that of the training "
            f"steps, is {', '.join(parts)}."
        )
    return sentences


def _gaps(data: xr.Dataset) -> list[str]:
    """One sentence a network: paired differences of the average gap."""
    sentences = []
    for network, here in _networks(data):
        gap = regret(here)
        parts = []
        for alpha in data.alpha.values:
            exact = gap.sel(space="exact", alpha=alpha)
            saved, tokens, parameters = (
                plus_minus(gap.sel(space=space, alpha=alpha) - exact)
                for space in (NONE, "tokens", "parameters")
            )
            parts.append(
                f"{saved} without momentum, {tokens} in tokens and {parameters} in parameters "
                f"at alpha = {alpha:g}"
            )
        sentences.append(
            f"The {network} policy's average gap is above that of (3.6) by {'; '.join(parts)}."
        )
    return sentences


def _failures(data: xr.Dataset) -> str:
    """Where extrapolation in parameters does worse than none at all."""
    worse = beyond_noise(data, "parameters", NONE) > 0
    end = data.suboptimality.isel(iteration=-1)
    last, half = mean_and_half(end.sel(space="parameters") - end.sel(space=NONE))
    settings = (worse | (last > half)).stack(setting=("network", "alpha", "beta"))
    failed = [
        f"{network} at alpha = {alpha:g}, beta = {beta:g}"
        for network, alpha, beta in settings.setting.values[settings.values]
    ]
    apart = (data.kl_to_exact > data.moved).sel(space="parameters").mean(("seed", "iteration"))
    stray = apart.stack(setting=("network", "alpha", "beta"))
    network, alpha, beta = stray.setting.values[int(np.argmax(stray.values))]
    return (
        f"Extrapolating parameters ends or averages worse than no momentum in "
        f"{', '.join(failed) or 'no setting'}; it strays farther from (3.6) than the step of "
        f"training moves the policy most often with {network} at alpha = {alpha:g}, beta = "
        f"{beta:g} (in {float(stray.max()):.0%} of the iterations). Inner trainings diverged in "
        f"{int((data.diverged > 0).sum())} runs."
    )


def _conclusion(data: xr.Dataset) -> str:
    """One sentence, from paired intervals alone."""
    at_worst, counts = [], []
    for space in ("tokens", "parameters"):
        differs = beyond_noise(data, space, "exact")
        shares = {
            (network, alpha): lost(here.sel(alpha=alpha), space)
            for network, here in _networks(data)
            for alpha in data.alpha.values
        }
        (network, alpha), worst = max(shares.items(), key=lambda item: item[1][0])
        share, low, high = (f"{100 * number:.0f}" for number in worst)
        at_worst.append(
            f"{space} lose at worst {share} % [{low}, {high}] ({network}, alpha = {alpha:g})"
        )
        counts.append(
            f"{space} do worse than (3.6) in {int((differs > 0).sum())} and better in "
            f"{int((differs < 0).sum())}"
        )
    settings = data.sizes["network"] * data.sizes["alpha"] * data.sizes["beta"]
    return (
        f"Conclusion: of the average gap that (3.6) saves at beta = {float(data.beta[0]):g}, "
        f"{' and '.join(at_worst)}, and beyond the noise {' and '.join(counts)} of {settings} "
        f"settings of network, alpha and beta ({data.sizes['seed']} paired seeds each, 95 % "
        f"intervals, each by itself)."
    )


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
