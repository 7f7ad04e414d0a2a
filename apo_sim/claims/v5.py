"""V5: does it matter whether AdamW or RMSProp trains the network?"""

import dataclasses
import functools

import numpy as np
import xarray as xr

from apo_sim.claims import judge
from apo_sim.claims._studies import worst
from apo_sim.claims.registry import claim
from apo_sim.claims.verdict import Finding, Study
from apo_sim.studies import optimizers
from apo_sim.studies.optimizers import ADAMW, EXTRAPOLATION, RING, RMSPROP, STANDARD, Variant
from apo_sim.studies.ring_protocol import ALPHA, REPORTED, Protocol

# An optimiser matters if it changes the regret as much as extrapolation is reported to.
MARGIN = 1.0 - float(np.mean(REPORTED["extrapolation"]) / np.mean(REPORTED["standard"]))
TENTH = "standard, a tenth of the rate"
VARIANTS = {
    STANDARD: Variant(0.0),
    EXTRAPOLATION: Variant(ALPHA),
    TENTH: Variant(0.0, factor=0.1),
}


@claim(
    id="V5",
    title="AdamW or RMSProp does not matter",
    source="reviews",
    statement=r"On the ring, AdamW ($\beta_1 = 0.9$, $\beta_2 = 0.999$, no decay) and RMSProp, "
    r"each at its best learning rate, have the same average regret up to the share that "
    rf"extrapolation is reported to gain, {100 * MARGIN:.0f} %: with $\alpha = 0$ and with "
    r"$\alpha = 0.3$.",
    control="RMSProp given a tenth of its learning rate, and never extrapolation",
)
def optimizer_does_not_matter(study: Study) -> Finding:
    r"""Compare the average regret of two optimisers on the same networks and the same data.

    Problem: the ring of `studies.ring_protocol`; in a hurry on a coarser lattice for 80
    iterations in place of 300.

    Method: each optimiser has the learning rate at which the standard method does best on other
    replicates. The ratio of the mean regrets with its bootstrap interval over paired seeds, once
    for each alpha; the verdict is the worse.

    Guarantee: statistical, for this task. What extrapolation gains with each optimiser, and with
    others, is the study `optimizers`.

    Reference: the authors' answer in the paper's reviews.

    Example:
        >>> from apo_sim.claims import describe
        >>> describe("V5").source
        'reviews'
    """
    data = _measured(study.effort == "quick", study.sweep_seed())
    regret = optimizers.regret(data).sel(task=RING)
    findings = []
    for variant in (STANDARD, EXTRAPOLATION):
        adamw = regret.sel(optimizer=ADAMW, variant=variant)
        rmsprop = regret.sel(optimizer=RMSPROP, variant=TENTH if study.wrong else variant)
        found = optimizers.ratio(rmsprop, adamw)
        findings.append(
            judge.close(
                found.value,
                (found.low, found.high),
                target=1.0,
                tolerance=MARGIN,
                unit="average regret, RMSProp over AdamW",
                witness={
                    "alpha": VARIANTS[variant].alpha,
                    "adamw": adamw.values,
                    "rmsprop": rmsprop.values,
                },
            )
        )
    factors = optimizers.compared(data, RING, EXTRAPOLATION, STANDARD)
    rates = data.learning_rate.sel(task=RING, variant=STANDARD)
    each = " and ".join(
        f"{float(here.value):.2f} [{float(here.low):.2f}, {float(here.high):.2f}] with {name}, "
        f"at rate {float(rates.sel(optimizer=name)):g}"
        for name in (ADAMW, RMSPROP)
        for here in [factors.sel(optimizer=name)]
    )
    return dataclasses.replace(
        worst(findings),
        instances=data.sizes["seed"],
        note=rf"Extrapolation by {ALPHA:g} multiplies the average regret by {each} "
        f"({data.sizes['seed']} paired seeds, 95 % intervals).",
        draw=lambda figure: optimizers.draw(figure, data),
    )


@functools.lru_cache(maxsize=1)
def _measured(quick: bool, seed: int) -> xr.Dataset:
    """The ring part of the study, for the claim and for its control."""
    return optimizers.measure(
        seeds=12 if quick else 40,
        seed=seed,
        progress=False,
        tuning=7 if quick else 12,
        tasks=[RING],
        optimizers=[ADAMW, RMSPROP],
        variants=VARIANTS,
        rates=5 if quick else optimizers.RATES,
        iterations={RING: 80 if quick else optimizers.ITERATIONS[RING]},
        protocol=Protocol(side=15) if quick else Protocol(),
    )
