"""Momentum in games: who gains inside Assumption B.1, and what it does where preferences cycle.

There it depends on beta and on the number of updates (N11), and so the study names both. Both what
the method outputs, its last policy, and the average policy, which is what converges in
games without a best arm. The rival is plain iteration at the matched beta.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from apo_sim.errors import InvalidArgument
from apo_sim.estimate import Estimate
from apo_sim.losses import Loss
from apo_sim.statistics import mean_and_half, mean_estimate, several
from apo_sim.studies.caption import caption
from apo_sim.studies.game_kinds import KINDS, three_arms
from apo_sim.studies.kept import place
from apo_sim.studies.wording import plus_minus
from apo_sim.sweep import sweep

ALPHAS = (-0.3, 0.0, 0.3, 0.6, 0.9)
LOSSES = ("sppo", "ipo")
SAMPLES = (1e2, 1e4)
SHOWN = ("Assumption B.1", "best arm only", "cycle")
POLICIES = {"last": "suboptimality", "average": "average_suboptimality"}
POINTS = 100  # iterations kept, evenly spread over their logarithms


def measure(
    *,
    seeds: int,
    seed: int = 0,
    out: str | Path | None = None,
    progress: bool = True,
    beta: float = 5.0,
    iterations: int = 2000,
    sampled_iterations: int = 300,
    alphas: Sequence[float] = ALPHAS,
    losses: Sequence[str | Loss] = LOSSES,
    samples: Sequence[float] = SAMPLES,
) -> xr.Dataset:
    """Exploitability of the last and of the average policy of random games of every kind.

    Returns:
        With exact preferences `last` and `average`, dimensions (loss, beta_schedule, kind,
        alpha, seed, iteration), of some iterations; momentum and its rival, the matched beta.
        After `sampled_iterations`, `last_sampled` and `average_sampled`, dimensions (samples, loss,
        kind, alpha, seed), of which `samples` = inf has exact preferences.

    Example:
        >>> data = measure(seeds=2, iterations=4, sampled_iterations=2, losses=["sppo"], samples=[])
        >>> dict(data.average_sampled.sizes)
        {'samples': 1, 'loss': 1, 'kind': 5, 'alpha': 5, 'seed': 2}
    """
    if sampled_iterations > iterations:
        raise InvalidArgument(
            "sampled_iterations", sampled_iterations, "is beyond the exact runs", "pass fewer"
        )

    def swept(store: str, **settings: Any) -> xr.Dataset:
        data = sweep(
            three_arms,
            loss=list(losses),
            momentum="unrestricted",
            kind=range(len(KINDS)),
            alpha=list(alphas),
            **settings,
            arms=3,
            beta=beta,
            seeds=several(seeds),
            seed=seed,
            variables=list(POLICIES.values()),
            progress=progress,
            out=place(out, store),
        )
        return data.rename({old: new for new, old in POLICIES.items()}).assign_coords(
            kind=list(KINDS)
        )

    exact = swept("exact", beta_schedule=["constant", "matched"], iterations=iterations)
    kept = np.unique(np.geomspace(1, iterations, POINTS).round().astype(int))
    noisy = _ends(exact.sel(beta_schedule="constant"), sampled_iterations).expand_dims(
        samples=[np.inf]
    )
    if len(samples):
        found = swept("sampled", samples=list(samples), iterations=sampled_iterations)
        noisy = xr.concat(
            [_ends(found, sampled_iterations).transpose("samples", ...), noisy], "samples"
        )
    data = exact.drop_vars("samples", errors="ignore").sel(iteration=kept).load()
    noisy = noisy.rename({name: f"{name}_sampled" for name in POLICIES})
    return data.merge(noisy).assign(sampled_iterations=sampled_iterations)


def _ends(data: xr.Dataset, iteration: int) -> xr.Dataset:
    """The policies after so many iterations, without what describes the run."""
    kept = data[list(POLICIES)].sel(iteration=iteration)
    return kept.drop_vars([n for n in kept.coords if n not in kept.dims]).load()


def final(data: xr.Dataset, policy: str, kind: str, **where: Any) -> xr.DataArray:
    """Exploitability of the last or the average policy at the end of the exact runs, over seeds.

    Args:
        data: what `measure` returned.
        policy: "last" or "average".
        kind: of the games.
        **where: alpha, and maybe loss and beta_schedule; by default the first loss, with momentum.
    """
    chosen = {"loss": data.loss.values[0], "beta_schedule": "constant", "kind": kind, **where}
    return data[policy].isel(iteration=-1).sel(chosen)


@dataclass(frozen=True)
class GamesFinding:
    """What momentum changes of the exploitability, paired game by game.

    Unless said otherwise: of the average policy, after the exact updates, with the first loss, of
    the largest alpha in place of 0.

    Attributes:
        beta: proximal weight.
        loss: the first.
        alpha: the largest extrapolation.
        negative: the least one.
        updates: exact ones.
        sampled_updates: of `sampled`.
        games: of each kind.
        plain: the exploitability without momentum, by kind.
        change: what momentum changes, by kind.
        last: what it changes of the last policy, on cycles.
        over_matched: its exploitability less that of the matched beta, on cycles.
        last_negative: what the least alpha changes of the last policy, on cycles.
        negative_change: what it changes of the average one.
        sampled: the change on cycles by N, which is infinite for exact preferences.
        other_losses: the change on cycles, by loss.
    """

    beta: float
    loss: str
    alpha: float
    negative: float
    updates: int
    sampled_updates: int
    games: int
    plain: dict[str, float]
    change: dict[str, Estimate]
    last: Estimate
    over_matched: Estimate
    last_negative: Estimate
    negative_change: Estimate
    sampled: dict[float, Estimate]
    other_losses: dict[str, Estimate]

    @property
    def text(self) -> str:
        """All of it in words."""
        kinds = [
            f"{kind}: {self.plain[kind]:.4f}, change {plus_minus(change)}"
            for kind, change in self.change.items()
        ]
        text = (
            f"beta = {self.beta:g}, {self.loss.upper()}: the exploitability of the average policy "
            f"after {self.updates} exact updates, alpha = {self.alpha:g} in place of 0: "
            f"{'; '.join(kinds)}. On cycles alpha = {self.alpha:g} changes that of the last policy "
            f"by {plus_minus(self.last)}, and that of the average by "
            f"{plus_minus(self.over_matched)} against the matched beta; alpha = "
            f"{self.negative:g} changes the last by {plus_minus(self.last_negative)} and the "
            f"average by {plus_minus(self.negative_change)}"
        )
        for n, change in self.sampled.items():
            pairs = "exact preferences" if math.isinf(n) else f"N = {n:g}"
            text += (
                f"; after {self.sampled_updates} updates with {pairs} alpha = {self.alpha:g} "
                f"changes the average by {plus_minus(change)}"
            )
        for other, change in self.other_losses.items():
            text += (
                f"; with {other.upper()}, after {self.updates} exact updates, by "
                f"{plus_minus(change)}"
            )
        return f"{text} ({self.games} games of each kind, paired 95 % intervals, each by itself)."


def finding(data: xr.Dataset) -> GamesFinding:
    """What the largest alpha does to each kind of game; on cycles, whether anything else helps."""
    strong, weak = float(data.alpha[-1]), float(data.alpha[0])
    loss, *others = (str(name) for name in data.loss.values)

    def change(policy: str, kind: str, alpha: float = strong, **where: Any) -> Estimate:
        pair = [final(data, policy, kind, **where, alpha=each) for each in (alpha, 0.0)]
        return _change(pair[0] - pair[1])

    strongest = final(data, "average", "cycle", alpha=strong)
    rival = final(data, "average", "cycle", alpha=strong, beta_schedule="matched")
    ends = data.average_sampled.sel(loss=loss, kind="cycle")
    sampled = ends.sel(alpha=strong) - ends.sel(alpha=0.0)
    return GamesFinding(
        beta=float(data.beta),
        loss=loss,
        alpha=strong,
        negative=weak,
        updates=int(data.iteration[-1]),
        sampled_updates=int(data.sampled_iterations),
        games=data.sizes["seed"],
        plain={kind: float(final(data, "average", kind, alpha=0.0).mean("seed")) for kind in KINDS},
        change={kind: change("average", kind) for kind in KINDS},
        last=change("last", "cycle"),
        over_matched=_change(strongest - rival),
        last_negative=change("last", "cycle", weak),
        negative_change=change("average", "cycle", weak),
        sampled={float(n): _change(sampled.sel(samples=n)) for n in data.samples.values},
        other_losses={other: change("average", "cycle", loss=other) for other in others},
    )


def _change(values: xr.DataArray) -> Estimate:
    return mean_estimate(values.values, unit="exploitability")


def draw(figure: Figure, data: xr.Dataset) -> None:
    """The last and the average policy over the updates, and the average from sampled pairs."""
    figure.set_size_inches(7.0, 7.0)
    panels = figure.subplots(3, len(SHOWN), sharey="row")
    loss = data.loss.values[0]
    caption(
        figure,
        rf"{str(loss).upper()}, $\beta = {float(data.beta):g}$; means over {data.sizes['seed']} "
        "games of three arms of each kind, bars their 95 % intervals",
    )
    for column, kind in zip(panels.T, SHOWN, strict=True):
        here = data.sel(loss=loss, kind=kind)
        for axes, policy in zip(column, POLICIES, strict=False):
            _over_updates(axes, here[policy])
        _over_alpha(column[2], here.average_sampled)
        column[0].set_title(kind)
        column[0].set_ylim(1e-8, 1.0)
        column[1].set_xlabel("updates")
        column[2].set_xlabel(r"$\alpha$")
        column[2].set_xticks(data.alpha.values)
    updates = int(data.sampled_iterations)
    for axes, name in zip(
        panels[:, 0], ("last policy", "average policy", f"average, {updates} updates"), strict=True
    ):
        axes.set_ylabel(f"exploitability,\n{name}")
    alphas = [Line2D([], [], color=f"C{i}") for i in range(data.sizes["alpha"])]
    names = [rf"$\alpha = {alpha:g}$" for alpha in data.alpha.values]
    dashed = Line2D([], [], color=f"C{len(alphas) - 1}", ls="--", lw=1.2)
    figure.legend(
        [*alphas, dashed],
        [*names, rf"matched $\beta$ of $\alpha = {float(data.alpha[-1]):g}$"],
        loc="outside lower center",
        ncols=len(alphas) + 1,
        columnspacing=1.2,
        handlelength=1.5,
    )


def _over_updates(axes: Axes, values: xr.DataArray) -> None:
    """Mean over the games, for every alpha, and the matched beta of the largest."""
    for colour, alpha in enumerate(values.alpha.values):
        one = values.sel(alpha=alpha, beta_schedule="constant")
        axes.loglog(values.iteration, one.mean("seed"), color=f"C{colour}", lw=1.4)
    rival = values.sel(beta_schedule="matched").isel(alpha=-1).mean("seed")
    axes.loglog(values.iteration, rival, "--", color=f"C{values.alpha.size - 1}", lw=1.2)


def _over_alpha(axes: Axes, values: xr.DataArray) -> None:
    """Mean over the games with its interval, for every number of pairs."""
    for colour, n in zip(("C5", "C0"), values.samples.values[:-1], strict=False):
        mean, half = mean_and_half(values.sel(samples=n))
        name = rf"$N = 10^{{{np.log10(n):.0f}}}$"
        axes.errorbar(values.alpha, mean, half, fmt="o-", color=colour, lw=1.4, label=name)
    mean, half = mean_and_half(values.sel(samples=np.inf))
    axes.errorbar(values.alpha, mean, half, fmt="o:", color="0.3", lw=1.4, label="exact")
    axes.set_yscale("log")
    axes.legend(fontsize=7, loc="upper left")
