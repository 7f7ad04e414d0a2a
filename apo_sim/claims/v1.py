"""V1: the ring task of the rebuttal, reproduced."""

import functools

import xarray as xr

from apo_sim.claims import judge
from apo_sim.claims._studies import worst
from apo_sim.claims.registry import claim
from apo_sim.claims.verdict import Finding, Study
from apo_sim.studies import ring
from apo_sim.studies.ring import EXTRAPOLATION, LONGER, NEAR, STANDARD


@claim(
    id="V1",
    title="The ring task",
    source="reviews",
    statement=r"A network of width 256 on a ring of rewards, $\beta = 1$, 300 iterations: "
    r"extrapolation with $\alpha = 0.3$ lowers the average regret of each of five segments, and "
    r"the ten figures are those of the reviews up to a factor 1.5.",
    control="the two methods swapped",
)
def ring_task(study: Study) -> Finding:
    r"""Compare extrapolation of parameters with the standard method, network by network.

    Problem: `studies.ring_protocol` says what is open in the description and how it was filled in:
    by the protocol whose standard row comes nearest to the reported one, found without looking at
    extrapolation (`studies.ring_search`).

    Method: paired differences over networks and data in each segment, all five together at 95 %;
    then the largest factor between a measured and a reported figure.

    Guarantee: statistical, for this protocol. The figures of extrapolation are a prediction.

    Reference: the simulation in the paper's reviews.

    Example:
        >>> from apo_sim.claims import describe
        >>> describe("V1").source
        'reviews'
    """
    data = _measured(study.pick(quick=20, full=60), study.seed)
    regret = ring.regret(data)
    table = ring.compared(data)
    note = (
        f"{ring.finding(data)} The policy ends on one point of the circle, not on the circle: "
        "regret does not ask for more."
    )
    shared = {"note": note, "draw": lambda figure: ring.draw(figure, data)}
    findings = []
    for segment in regret.segment.values:
        here = regret.sel(segment=segment)
        pair = [here.sel(variant=name).values for name in (EXTRAPOLATION, STANDARD)]
        findings.append(
            judge.compare(
                *(pair[::-1] if study.wrong else pair),
                confidence=1 - 0.05 / regret.sizes["segment"],
                unit="average regret, extrapolation minus standard (reward)",
                witness={"segment": int(segment), "regret": [p.mean() for p in pair]},
                **shared,
            )
        )
    farthest = float(table.factor.max())
    findings.append(
        Finding(
            "holds" if farthest <= NEAR else "not reproduced",
            measured=farthest,
            bound=NEAR,
            unit="largest factor between measured and reported",
            instances=data.sizes["seed"],
            **shared,
        )
    )
    return worst(findings)


@functools.lru_cache(maxsize=1)
def _measured(seeds: int, seed: int) -> xr.Dataset:
    """The experiment, for the claim and for its control."""
    methods = (STANDARD, EXTRAPOLATION, LONGER)
    return ring.measure(seeds=seeds, seed=seed, progress=False, methods=methods)
