"""Momentum rules at equal total weight: which turns the same step into the smaller gap?

    python experiments/momentum_rules.py
    python experiments/momentum_rules.py --quick

Every rule gets the beta at which its total weight on a constant reward, gamma_T, is that of plain
updates. With exact Bradley-Terry preferences all of them then end at the same policy; what differs
with sampled preferences is the rule alone. The same seed meets the same problem and the same
random numbers under every rule.
"""

from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from script import console, start

import apo_sim as apo
from apo_sim import sweep
from apo_sim.report import style

RULES = {
    "none": ("none", 0.0),
    "constant 0.3": ("constant", 0.3),
    "constant 0.9": ("constant", 0.9),
    "t/(t+3)": ("nesterov", 0.0),
    "averaging 0.3": ("averaging", 0.3),
    "from behaviour 0.3": ("from_behaviour", 0.3),
}
OBJECTS = {
    "none": lambda alpha: apo.NoMomentum(),
    "constant": apo.Constant,
    "nesterov": lambda alpha: apo.Nesterov(),
    "averaging": apo.Averaging,
    "from_behaviour": apo.FromBehaviour,
}
SAMPLES = [30, 100, 300, 1000, 3000, 10000]
Z = 1.96


@dataclass(frozen=True)
class Options:
    """Final gap of every momentum rule at equal gamma_T, exact and sampled.

    Args:
        out: folder for the stores and the figure.
        quick: fewer seeds.
        family: of problems, as in `apo-sim sweep`.
        arms: number of arms.
        beta: proximal weight of plain updates.
        iterations: length of the runs.
        seeds: of every cell.
        seed: all randomness is folded from it.
    """

    out: Path = Path("results/momentum_rules")
    quick: bool = False
    family: str = "uniform"
    arms: int = 10
    beta: float = 5.0
    iterations: int = 20
    seeds: int = 2000
    seed: int = 0


def equal_beta(rule: str, alpha: float, beta: float, iterations: int) -> float:
    """The beta at which a rule's gamma_T is that of plain updates, iterations / beta."""
    bandit = apo.Bandit(jnp.array([[0.5, -0.5]]), jnp.full((1, 2), -jnp.log(2.0)))
    momentum = OBJECTS[rule](alpha)
    gamma = apo.run(bandit, momentum=momentum, beta=1.0, iterations=iterations).gamma[-1]
    return float(gamma) * beta / iterations


def final_gaps(options: Options) -> xr.Dataset:
    """`exact` (rule, seed) and `sampled` (rule, samples, seed)."""
    seeds = 100 if options.quick else options.seeds
    suffix = "_quick" if options.quick else ""
    found: dict[str, list[xr.DataArray]] = {"exact": [], "sampled": []}
    for label, (rule, alpha) in RULES.items():
        for kind, samples in (("exact", None), ("sampled", SAMPLES)):
            place = f"{kind}_{label.replace(' ', '_').replace('/', '_')}{suffix}.zarr"
            dataset = sweep(
                options.family,
                momentum=rule,
                alpha=alpha,
                beta=equal_beta(rule, alpha, options.beta, options.iterations),
                samples=samples,
                arms=options.arms,
                iterations=options.iterations,
                seeds=seeds,
                seed=options.seed,
                variables=["suboptimality"],
                out=options.out / place,
            )
            gap = dataset.suboptimality.isel(iteration=-1).load()
            found[kind].append(gap.reset_coords(drop=True))
    rules = xr.Variable("rule", list(RULES))
    return xr.Dataset({kind: xr.concat(gaps, dim=rules) for kind, gaps in found.items()})


def against_none(gaps: xr.DataArray) -> tuple[xr.DataArray, xr.DataArray]:
    """Mean paired difference to plain updates, and half its 95 % interval."""
    difference = gaps - gaps.sel(rule="none")
    half = Z * difference.std("seed", ddof=1) / difference.sizes["seed"] ** 0.5
    return difference.mean("seed"), half


def finding(gaps: xr.Dataset) -> str:
    """One sentence: who is best and who is worst with the fewest and with the most labels."""
    apart = float(abs(gaps.exact - gaps.exact.sel(rule="none")).max())
    mean, half = against_none(gaps.sampled)
    texts = []
    for n in (SAMPLES[0], SAMPLES[-1]):
        plain = float(gaps.sampled.sel(samples=n, rule="none").mean())
        order = mean.sel(samples=n).sortby(mean.sel(samples=n)).rule.values
        words = [
            f"{rule} {100 * mean.sel(rule=rule, samples=n) / plain:+.1f} % "
            f"± {100 * half.sel(rule=rule, samples=n) / plain:.1f} %"
            for rule in (order[0], order[-1])
        ]
        texts.append(f"at N = {n:,} from {words[0]} to {words[1]}")
    runs = gaps.sampled.size
    return (
        f"At equal gamma_T exact runs end within {apart:.1g} of each other; sampled ones differ "
        f"from plain updates {'; '.join(texts)} ({runs:,} runs, 95 % paired intervals)."
    )


def draw(figure: Figure, gaps: xr.Dataset) -> None:
    left, right = figure.subplots(1, 2)
    mean, half = against_none(gaps.sampled)
    plain = gaps.sampled.sel(rule="none").mean("seed")
    lines = []
    for number, rule in enumerate(RULES):
        # A little to the side of each other, so that every interval shows.
        n = np.array(SAMPLES) * 1.04 ** (number - 2.5)
        colour = {"color": f"C{number}"}
        gap = gaps.sampled.sel(rule=rule)
        spread = Z * gap.std("seed", ddof=1) / gap.sizes["seed"] ** 0.5
        lines.append(left.errorbar(n, gap.mean("seed"), spread, marker="o", **colour))
        if rule != "none":
            relative, width = 100 * mean.sel(rule=rule) / plain, 100 * half.sel(rule=rule) / plain
            right.errorbar(n, relative, width, marker="o", **colour)
    exact = float(gaps.exact.sel(rule="none").mean())
    lines.append(left.axhline(exact, color="0.3", ls="--", lw=1.2))
    right.axhline(0.0, color="0.3", lw=1)
    left.set(xscale="log", yscale="log", ylabel="final gap", title="gap")
    right.set(xscale="log", ylabel="% of the gap of plain updates", title="difference to none")
    for axes in (left, right):
        axes.set_xlabel("preference pairs an iteration, $N$")
    figure.legend(lines, [*RULES, "exact"], loc="outside lower center", ncols=4)


def main(options: Options) -> None:
    jax.config.update("jax_enable_x64", True)
    gaps = final_gaps(options)
    name = "momentum_rules_quick" if options.quick else "momentum_rules"
    path = style.save(lambda figure: draw(figure, gaps), name, options.out)
    console.print(finding(gaps), soft_wrap=True)
    console.print(f"Figure: {path}", soft_wrap=True)


if __name__ == "__main__":
    start(main, Options)
