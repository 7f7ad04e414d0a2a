"""The ring task: what extrapolation does where a network learns, beside what the reviews report.

The protocol is the one whose standard method comes nearest to the reported row (`ring_search`), and
was chosen without looking at extrapolation. Beside it stand three rivals: plain iteration at the
matched beta, which takes the same path with exact DPO on a table; plain iteration with a learning
rate longer by 1/(1 - alpha), since an inner training that is far from its end goes as far as its
steps; and extrapolation of log-probabilities in place of parameters.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib.animation
import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.patches import Circle

from apo_sim import theory
from apo_sim.estimate import Estimate
from apo_sim.files import as_path, cannot_write
from apo_sim.spaces import InLogProbabilities
from apo_sim.statistics import mean_and_half, mean_estimate, several
from apo_sim.studies.caption import caption
from apo_sim.studies.ring_protocol import (
    ALPHA,
    BETA,
    ITERATIONS,
    REPORTED,
    SEGMENT,
    Protocol,
    segments,
    setup,
)
from apo_sim.sweep import trainings
from apo_sim.training import train

METHODS: tuple[str, ...] = (
    "standard",
    "extrapolation",
    "matched beta",
    "longer steps",
    "extrapolation of log-probabilities",
)
STANDARD, EXTRAPOLATION, MATCHED, LONGER, EXACT = METHODS
COLOURS: dict[str, str] = dict(zip(METHODS, ("0.35", "C0", "C4", "C3", "C2"), strict=True))
LINES = {MATCHED: "--", LONGER: "-.", EXACT: ":"}
# Replicates that no trial of the search has seen.
FIRST = 100_000
KEPT = ("behaviour_suboptimality", "suboptimality", "kl_to_exact", "tv_to_exact", "moved")
FRAMES = 10  # iterations between two pictures of the policy
# A figure within this factor of the reported one counts as reproduced.
NEAR = 1.5


def measure(
    *,
    seeds: int,
    seed: int = 0,
    out: str | Path | None = None,
    progress: bool = True,
    protocol: Protocol = Protocol(),
    alpha: float = ALPHA,
    iterations: int = ITERATIONS,
    methods: Sequence[str] = METHODS,
) -> xr.Dataset:
    """Series of every method, dimensions (variant, seed, iteration), and pictures of one policy.

    `policy` has dimensions (pictured, frame, action): the policy that acts, for one seed, of the
    standard method and of extrapolation, every tenth iteration.
    """
    several(seeds)
    in_parameters = [name for name in methods if name != EXACT]
    parts = []
    for names, options in ((in_parameters, {}), ([EXACT], {"space": InLogProbabilities()})):
        chosen = [name for name in names if name in methods]
        if chosen:
            found = trainings(
                setup(protocol, seed, **options),
                _lanes(chosen, seeds, alpha, iterations, protocol),
                iterations=iterations,
                configuration={"seed": seed, "protocol": dataclasses.asdict(protocol)},
                out=None if out is None else Path(out) / ("parameters" if not options else "exact"),
                progress=progress,
            )
            parts.append(_labelled(found, chosen, seeds))
    data = xr.concat(parts, "variant").sel(variant=list(methods))
    pictures = _pictures(protocol, seed, alpha, iterations)
    data = data.assign(policy=pictures).assign_attrs(
        protocol=str(protocol), radius=protocol.radius, alpha=alpha, beta=BETA, seed=seed
    )
    return data


def _lanes(
    methods: Sequence[str], seeds: int, alpha: float, iterations: int, protocol: Protocol
) -> dict[str, Any]:
    matched = np.asarray(theory.matched_beta(alpha, BETA, iterations))
    plain = np.full(iterations, BETA)
    rate = protocol.learning_rate
    alphas = [alpha if name in (EXTRAPOLATION, EXACT) else 0.0 for name in methods]
    betas = [matched if name == MATCHED else plain for name in methods]
    rates = [rate / (1 - alpha) if name == LONGER else rate for name in methods]
    return {
        "replicate": np.tile(FIRST + np.arange(seeds), len(methods)),
        "alpha": np.repeat(alphas, seeds),
        "beta": np.repeat(betas, seeds, axis=0),
        "learning_rate": np.repeat(rates, seeds),
    }


def _labelled(found: dict[str, np.ndarray], methods: Sequence[str], seeds: int) -> xr.Dataset:
    dims = ("variant", "seed", "iteration")
    shape = (len(methods), seeds, -1)
    series = {name: (dims, found[name].astype(float).reshape(shape)) for name in KEPT}
    data = xr.Dataset(series, {"variant": list(methods)})
    return data.assign_coords(iteration=1 + np.arange(data.sizes["iteration"]))


def _pictures(protocol: Protocol, seed: int, alpha: float, iterations: int) -> xr.DataArray:
    """The policy that acts, every so many iterations."""
    of_lane = setup(protocol, seed)
    policies = []
    for rate in (0.0, alpha):
        given = of_lane({"replicate": FIRST, "alpha": rate, "beta": BETA})
        path = train(**given, iterations=iterations, save="path").behaviour
        assert path is not None
        policies.append(np.exp(np.asarray(path[::FRAMES, 0])))
    return xr.DataArray(
        np.asarray(policies),
        {
            "pictured": [STANDARD, EXTRAPOLATION],
            "frame": FRAMES * np.arange(policies[0].shape[0]),
        },
        ("pictured", "frame", "action"),
    )


def regret(data: xr.Dataset) -> xr.DataArray:
    """Average regret of the policy that acts, dimensions (variant, seed, segment).

    Example:
        >>> dims = ("variant", "seed", "iteration")
        >>> series = {"behaviour_suboptimality": (dims, np.ones((1, 2, 120)))}
        >>> regret(xr.Dataset(series, {"variant": ["standard"]})).shape
        (1, 2, 2)
    """
    values = segments(data.behaviour_suboptimality.transpose(..., "iteration").values)
    coordinates = {"variant": data.variant, "segment": 1 + np.arange(values.shape[-1])}
    return xr.DataArray(values, coordinates, ("variant", "seed", "segment"))


def compared(data: xr.Dataset) -> xr.Dataset:
    """Mean regret and half its 95 % interval beside the reported figures, (variant, segment).

    `factor` is how far the two are apart, at least 1.
    """
    mean, half = mean_and_half(regret(data).sel(variant=list(REPORTED)))
    reported = xr.DataArray(list(REPORTED.values()), mean.coords, mean.dims)
    factor = np.exp(abs(np.log(mean / reported)))
    return xr.Dataset({"mean": mean, "half": half, "reported": reported, "factor": factor})


def ahead(data: xr.Dataset, method: str, rival: str) -> xr.DataArray:
    """Whether a method's interval lies wholly below its rival's, in every segment."""
    mean, half = mean_and_half(regret(data))
    return (mean + half).sel(variant=method) < (mean - half).sel(variant=rival)


@dataclass(frozen=True)
class RingFinding:
    """The ten figures beside those reported, and what extrapolation is ahead of.

    Attributes:
        regret: average regret in every segment, by method.
        ahead: the segments where the interval of extrapolation lies below the standard method's.
        over_rivals: regret of extrapolation less that of each rival in every segment, paired.
        seeds: how many there were.
    """

    regret: dict[str, list[Estimate]]
    ahead: list[int]
    over_rivals: dict[str, list[Estimate]]
    seeds: int

    def near(self, method: str) -> int:
        """How many of a method's figures are within a factor `NEAR` of those reported."""
        factors = [
            abs(np.log(found.value / reported))
            for found, reported in zip(self.regret[method], REPORTED[method], strict=True)
        ]
        return int(np.sum(np.exp(factors) <= NEAR))

    @property
    def text(self) -> str:
        """All of it in words."""
        rows = [
            f"{method}: "
            + ", ".join(
                f"{_plus_minus(found)} ({reported:.4f})"
                for found, reported in zip(each, REPORTED[method], strict=True)
            )
            for method, each in self.regret.items()
        ]
        near = {method: self.near(method) for method in self.regret}
        figures = sum(map(len, self.regret.values()))
        words = [
            f"Average regret of every {SEGMENT} iterations, in brackets as reported: "
            f"{'; '.join(rows)}",
            f"{sum(near.values())} of {figures} figures are within a factor {NEAR} of those "
            f"reported (standard {near[STANDARD]}, chosen to be; extrapolation "
            f"{near[EXTRAPOLATION]}, predicted)",
            "intervals of extrapolation lie below those of the standard method in segments "
            f"{', '.join(map(str, self.ahead)) or 'none'}",
            *(f"against {rival}: {_signed(each)}" for rival, each in self.over_rivals.items()),
        ]
        return f"{'. '.join(words)} ({self.seeds} seeds, 95 % intervals, each by itself)."


def finding(data: xr.Dataset) -> RingFinding:
    """The ten figures beside those reported, where extrapolation is ahead, and of what."""
    values = regret(data)
    leads = ahead(data, EXTRAPOLATION, STANDARD)
    return RingFinding(
        {method: _each_segment(values.sel(variant=method)) for method in REPORTED},
        leads.segment[leads.values].values.tolist(),
        {rival: _over(data, rival) for rival in (MATCHED, LONGER, EXACT) if rival in data.variant},
        data.sizes["seed"],
    )


def _over(data: xr.Dataset, rival: str) -> list[Estimate]:
    """Regret of extrapolation minus that of a rival, segment by segment."""
    values = regret(data)
    return _each_segment(values.sel(variant=EXTRAPOLATION) - values.sel(variant=rival))


def _each_segment(values: xr.DataArray) -> list[Estimate]:
    return [
        mean_estimate(values.sel(segment=segment).values, unit="reward")
        for segment in values.segment
    ]


def _signed(estimates: Sequence[Estimate]) -> str:
    return ", ".join(_plus_minus(each, "+") for each in estimates)


def _plus_minus(estimate: Estimate, sign: str = "") -> str:
    return f"{estimate.value:{sign}.4f} +- {(estimate.high - estimate.low) / 2:.4f}"


def draw(figure: Figure, data: xr.Dataset) -> None:
    """Regret over the iterations, and of every segment beside the figures reported."""
    caption(figure, _intervals(data))
    left, right = figure.subplots(1, 2)
    for method in data.variant.values:
        mean, half = mean_and_half(data.behaviour_suboptimality.sel(variant=method))
        colour = COLOURS[str(method)]
        band = mean - half, mean + half
        left.fill_between(data.iteration, *band, color=colour, alpha=0.2, lw=0)
        style = LINES.get(str(method), "-")
        left.semilogy(data.iteration, mean, style, color=colour, label=str(method), lw=1.5)
    left.set(xlabel="iteration", ylabel="regret of the policy that acts")
    _from_half_of_the_least(left, data.behaviour_suboptimality)
    left.legend(fontsize=7)
    table = compared(data)
    for method, shift in ((STANDARD, -0.12), (EXTRAPOLATION, 0.12)):
        here = table.sel(variant=method)
        colour = COLOURS[method]
        right.errorbar(
            here.segment + shift,
            here["mean"],
            yerr=here.half,
            fmt="o",
            color=colour,
            capsize=2,
            label=f"{method}, here",
        )
        right.plot(here.segment + shift, here.reported, "_", color="C1", ms=11, mew=2, label=None)
    right.plot([], [], "_", color="C1", ms=11, mew=2, label="reported")
    right.set(yscale="log", xlabel=f"segment of {SEGMENT} iterations", ylabel="average regret")
    right.set_xticks(table.segment)
    right.set_ylim(bottom=min(float(table[name].min()) for name in ("mean", "reported")) / 2)
    right.legend(fontsize=7)


def _intervals(data: xr.Dataset) -> str:
    """What bands and bars are."""
    seeds = data.sizes["seed"]
    return f"Bands and bars: 95 % intervals of the mean over {seeds} networks, each point by itself"


def _from_half_of_the_least(axes: Any, values: xr.DataArray) -> None:
    """A logarithmic axis of means over the seeds; an interval that reaches zero runs out of it."""
    axes.set_ylim(bottom=float(values.mean("seed").min()) / 2)


@dataclass(frozen=True)
class RingSpacesFinding:
    """How far extrapolation of parameters is from that of log-probabilities, segment by segment.

    Attributes:
        apart: KL divergence of the one from the other, in nats.
        steps: the mean of it as a multiple of that of the update.
        over_exact: regret less that of extrapolated log-probabilities, paired.
        seeds: how many there were.
    """

    apart: list[Estimate]
    steps: list[float]
    over_exact: list[Estimate]
    seeds: int

    @property
    def text(self) -> str:
        """All of it in words."""
        texts = [
            f"segment {1 + place}: {_nats(apart)}, {steps:.2g}"
            for place, (apart, steps) in enumerate(zip(self.apart, self.steps, strict=True))
        ]
        return (
            "KL divergence of extrapolated parameters from the exact extrapolation (3.6) of the "
            "same policies, in nats, and as a multiple of that of the update: "
            f"{'; '.join(texts)}. Regret minus that of extrapolated log-probabilities: "
            f"{_signed(self.over_exact)} ({self.seeds} seeds, 95 % intervals)."
        )


def finding_spaces(data: xr.Dataset) -> RingSpacesFinding:
    """How far the two extrapolations are apart, and whether the gap notices."""
    parts = [part.mean("iteration") for part in _by_segment(data.sel(variant=EXTRAPOLATION))]
    return RingSpacesFinding(
        [mean_estimate(part.kl_to_exact.values, unit="nats") for part in parts],
        [float(part.kl_to_exact.mean() / part.moved.mean()) for part in parts],
        _over(data, EXACT),
        data.sizes["seed"],
    )


def _by_segment(data: xr.Dataset) -> list[xr.Dataset]:
    count = data.sizes["iteration"] // SEGMENT
    return [data.isel(iteration=slice(SEGMENT * i, SEGMENT * (i + 1))) for i in range(count)]


def _nats(estimate: Estimate) -> str:
    return f"{estimate.value:.2g} +- {(estimate.high - estimate.low) / 2:.2g}"


def draw_spaces(figure: Figure, data: xr.Dataset) -> None:
    """How far the two extrapolations are apart, beside the step itself; and the gap of each."""
    caption(
        figure,
        "Left: median and middle half of the "
        f"{data.sizes['seed']} networks; right: means with 95 % intervals",
    )
    left, right = figure.subplots(1, 2)
    here = data.sel(variant=EXTRAPOLATION)
    lines = (
        (here.moved, "0.35", "the update, KL"),
        (here.kl_to_exact, "C0", "apart, KL"),
        (here.tv_to_exact, "C4", "apart, total variation"),
    )
    for values, colour, label in lines:
        low, middle, high = np.quantile(values.transpose("seed", "iteration"), [0.25, 0.5, 0.75], 0)
        left.fill_between(data.iteration, low, high, color=colour, alpha=0.2, lw=0)
        left.plot(data.iteration, middle, color=colour, label=label, lw=1.3)
    left.set(yscale="log", xlabel="iteration", ylabel="nats; total variation")
    left.set(title="parameters from log-probabilities", ylim=(1e-8, 2))
    left.legend(loc="upper right", fontsize=7.5)
    for variant in (EXTRAPOLATION, EXACT):
        mean, half = mean_and_half(regret(data).sel(variant=variant))
        shift = 0.1 if variant == EXACT else -0.1
        right.errorbar(
            mean.segment + shift,
            mean,
            yerr=half,
            fmt="o",
            capsize=2,
            color=COLOURS[variant],
            label="of parameters" if variant == EXTRAPOLATION else "of log-probabilities",
        )
    right.set(yscale="log", xlabel=f"segment of {SEGMENT} iterations", ylabel="average regret")
    right.set(title="extrapolation", xticks=mean.segment)
    _from_half_of_the_least(right, regret(data).sel(variant=[EXTRAPOLATION, EXACT]))
    right.legend(fontsize=7.5)


def draw_policies(figure: Figure, data: xr.Dataset) -> None:
    """The policy on the plane at a few iterations, the standard method above extrapolation."""
    last = int(data.frame[-1])
    shown = [min(t, last) for t in (0, 20, 60, 120, last)]
    figure.set_size_inches(7, 3.3)
    caption(
        figure,
        "Policy that acts, of one network; colours up to the largest probability of each picture; "
        "dotted: the best actions",
    )
    grid = figure.subplots(2, len(shown), sharex=True, sharey=True)
    for row, method in zip(grid, data.policy.pictured.values, strict=True):
        for axes, t in zip(row, shown, strict=True):
            _picture(axes, data.policy.sel(pictured=method, frame=t).values, data.radius)
            if method == STANDARD:
                axes.set_title(f"t = {t}")
        row[0].set_ylabel(str(method))


def animate(data: xr.Dataset, path: str | Path) -> Path:
    """Write the policy of both methods over the iterations as an animated GIF."""
    figure = Figure(figsize=(5, 2.7), dpi=80, layout="constrained")
    panels = figure.subplots(1, 2)
    images = []
    for axes, method in zip(panels, data.policy.pictured.values, strict=True):
        images.append(_picture(axes, data.policy.sel(pictured=method, frame=0).values, data.radius))
        axes.set_title(str(method))
    title = figure.suptitle("")

    def show(number: int) -> list[Any]:
        for image, method in zip(images, data.policy.pictured.values, strict=True):
            values = data.policy.sel(pictured=method).isel(frame=number).values
            image.set_data(_square(values / values.max()))
        title.set_text(f"t = {int(data.frame[number])}")
        return [*images, title]

    film = matplotlib.animation.FuncAnimation(figure, show, data.sizes["frame"])  # type: ignore[arg-type]
    path = as_path("path", path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        film.save(path, writer=matplotlib.animation.PillowWriter(fps=6), dpi=figure.dpi)
    except OSError as error:
        raise cannot_write("path", path, error) from None
    return path


def _picture(axes: Any, values: np.ndarray, radius: float) -> Any:
    """Probabilities of a lattice, each picture scaled to its own largest, and the circle."""
    image = axes.imshow(
        _square(values / values.max()), extent=(-1, 1, -1, 1), origin="lower", vmin=0, vmax=1
    )
    axes.add_patch(Circle((0, 0), radius, fill=False, ec="C1", lw=0.8, ls=":"))
    axes.set(xticks=[], yticks=[])
    axes.grid(False)
    return image


def _square(values: np.ndarray) -> np.ndarray:
    side = round(values.size**0.5)
    return values.reshape(side, side)
