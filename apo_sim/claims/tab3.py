"""Table 3: momentum from the policy before extrapolation, or from the one after."""

import functools

import xarray as xr

from apo_sim.claims import judge
from apo_sim.claims._studies import worst
from apo_sim.claims.registry import claim
from apo_sim.claims.verdict import Finding, Study
from apo_sim.studies import stability

ALPHAS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6)
STABLE = 0.3
JUDGED, FEWER = 300, 30
# One interval for each rival of alpha = 0.3, all of them together at 95 %.
TOGETHER = 1 - 0.05 / (len(ALPHAS) - 1)


@claim(
    id="Tab3",
    title="Momentum from the output is more stable",
    source="paper",
    statement=r"Momentum $\hat\pi_{t+1} - \pi_t$ scatters more than $\hat\pi_{t+1} - \hat\pi_t$, "
    r"and of all $\alpha$ from 0.1 to 0.6 the steadiest is 0.3: the standard deviation over data "
    r"of the gap after two updates and extrapolations.",
    control="momentum from the output given a tenth of the labels",
)
def steadier_momentum(study: Study) -> Finding:
    r"""Compare the scatter over data of the two variants of momentum, bandit by bandit.

    Problem: random bandits of five arms, N = 300, beta = 5; pi_2 after extrapolation, which is
    what the table evaluates.

    Method: many draws of the data for each bandit; the standard deviations of the gap on the same
    bandit are paired (`studies.stability`). Two parts, the scatter of the variants at alpha = 0.3
    and alpha = 0.3 against its rivals; the verdict is the worse.

    Guarantee: statistical, for bandits; the table is of one language model and one run a cell.

    Reference: Table 3 of the paper.

    Example:
        >>> from apo_sim.claims import describe
        >>> describe("Tab3").source
        'paper'
    """
    data = _measured(*study.pick(quick=(320, 20), full=(4000, 100)), study.sweep_seed())
    spread = stability.scatter(data).sel(iteration=stability.EARLY)
    ahead = spread.sel(momentum="constant", samples=FEWER if study.wrong else JUDGED)
    behind = spread.sel(momentum="from_behaviour", samples=JUDGED)
    steady = ahead.sel(alpha=STABLE).values
    ratio = stability.ratio(spread.sel(samples=JUDGED, alpha=STABLE))
    shared = {
        "unit": "standard deviation of the gap (reward)",
        "witness": {
            "alphas": ALPHAS,
            "from_output": ahead.sel(alpha=list(ALPHAS)).mean("seed").values,
            "from_behaviour": behind.sel(alpha=list(ALPHAS)).mean("seed").values,
        },
        "note": rf"At $\alpha = {STABLE}$ and N = {JUDGED} the scatter from $\pi_t$ is {ratio} "
        rf"times that from $\hat\pi_t$. {stability.finding(data)}",
        "draw": lambda figure: stability.draw(figure, data),
    }
    rivals = [ahead.sel(alpha=alpha).values for alpha in ALPHAS if alpha != STABLE]
    findings = [judge.compare(steady, behind.sel(alpha=STABLE).values, **shared)]
    findings += [judge.compare(steady, r, confidence=TOGETHER, **shared) for r in rivals]
    return worst(findings)


@functools.lru_cache(maxsize=1)
def _measured(seeds: int, bandits: int, seed: int) -> xr.Dataset:
    """The study, for the claim and for its control."""
    return stability.measure(
        seeds=seeds, bandits=bandits, seed=seed, progress=False, samples=(FEWER, JUDGED)
    )
