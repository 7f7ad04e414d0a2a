"""V1b: what the ten reported figures of the ring task say by themselves."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from apo_sim.claims import judge
from apo_sim.claims.registry import claim
from apo_sim.claims.scope import Scope
from apo_sim.claims.verdict import Finding, Study
from apo_sim.studies.ring_protocol import ALPHA, BETA, ITERATIONS, REPORTED, SEGMENT

WITHIN, BEYOND = 1.1, 1.5  # factors: of the late figures, and of the one that does not fit
STANDARD, EXTRAPOLATION = (np.array(row) for row in REPORTED.values())
CENTRES = SEGMENT * (np.arange(STANDARD.size) + 0.5)


@claim(
    id="V1b",
    title="The reported rows are one curve at two speeds, late",
    source="ours",
    statement=r"With extrapolation's iterations counted $1/(1-\alpha)$ times, the reported rows of "
    r"the ring task are one curve late, to a factor "
    rf"{WITHIN:g}: log-linear interpolation of the standard row gives segment 3 of extrapolation, "
    r"and interpolation of extrapolation segments 4 and 5 of the standard row. In segment 2 they "
    rf"are not: extrapolation is above that curve by a factor {BEYOND:g} or more.",
    control="both rows at the same speed",
    scope=Scope(
        "for all",
        "the ten figures that the reviews report, at the centres of their segments",
        iterations=ITERATIONS,
        beta=BETA,
        alpha=(0.0, ALPHA),
    ),
)
def two_speeds(study: Study) -> Finding:
    r"""Predict the figures of each reported row from the other one, at 1/(1 - alpha) the speed.

    Problem: no run and no protocol, the ten figures alone. Segment 3 of extrapolation lies between
    segments 4 and 5 of the standard row once its iterations count 1/(1 - alpha); segments 4 and 5
    of the standard row lie between segments 2 to 4 of extrapolation. Segment 3 of the standard row
    would hang on segment 2 of extrapolation, which is off the curve, and is off with it. Segments
    4 and 5 of extrapolation lie beyond the standard row and can be met by prolonging it only.

    Guarantee: three figures, each met or not, and no noise known. What it means: late in a run
    the reported gain of extrapolation is what longer steps would give.

    Reference: ours, on the simulation in the paper's reviews.

    Example:
        >>> x, y = np.array([0.0, 2.0]), np.array([1.0, 0.01])
        >>> round(float(_on_curve(1.0, x, y)), 6)
        0.1
    """
    speed = 1.0 if study.wrong else 1 / (1 - ALPHA)
    predicted = _late(speed)
    reported = np.array([EXTRAPOLATION[2], STANDARD[3], STANDARD[4]])
    factors = predicted / reported
    early = float(_on_curve(speed * CENTRES[1], CENTRES, STANDARD))
    fits = judge.upper_bound(
        np.exp(np.abs(np.log(factors))),
        WITHIN,
        unit="factor between predicted and reported",
        witness=lambda worst: {"predicted": predicted[worst], "reported": reported[worst]},
    )
    apart = judge.upper_bound(BEYOND, EXTRAPOLATION[1] / early, unit="factor in segment 2")
    finding = judge.worst([fits, apart])
    speeds = np.linspace(1.3, 1.6, 301)
    misfit = [float(np.sum(np.log(_late(s) / reported) ** 2)) for s in speeds]
    best = float(speeds[int(np.argmin(misfit))])
    beyond = _on_curve(speed * CENTRES[3:], CENTRES, STANDARD)
    return Finding(
        finding.verdict,
        measured=finding.measured,
        bound=finding.bound,
        unit=finding.unit,
        instances=factors.size + 1,
        counterexample=finding.counterexample,
        facts={
            "predicted, extrapolation in segment 3": float(predicted[0]),
            "predicted, standard in segments 4 and 5": predicted[1:].tolist(),
            "predicted, extrapolation in segment 2": early,
            "prolonged to extrapolation in segments 4 and 5": beyond.tolist(),
            "predicted, standard in segment 3": float(
                _on_curve(CENTRES[2], speed * CENTRES, EXTRAPOLATION)
            ),
            "speed that fits best": best,
        },
        note=(
            f"Predicted {predicted[0]:.4f}, {predicted[1]:.4f} and {predicted[2]:.4f} against "
            f"{reported[0]:.4f}, {reported[1]:.4f} and {reported[2]:.4f} reported, and "
            f"{early:.3f} against {EXTRAPOLATION[1]:.3f} in segment 2; the speed that fits the "
            f"three best is {best:.2f}. The standard row prolonged beyond its end would have "
            f"extrapolation at {beyond[0]:.4f} and {beyond[1]:.4f} in segments 4 and 5 "
            f"({EXTRAPOLATION[3]:.4f} and {EXTRAPOLATION[4]:.4f} reported)."
        ),
        draw=_draw,
    )


def _late(speed: float) -> np.ndarray:
    """Segment 3 of extrapolation, then segments 4 and 5 of the standard row, as predicted."""
    of_extrapolation = _on_curve(speed * CENTRES[2:3], CENTRES, STANDARD)
    of_standard = _on_curve(CENTRES[3:], speed * CENTRES, EXTRAPOLATION)
    return np.concatenate([of_extrapolation, of_standard])


def _on_curve(at: Any, x: np.ndarray, y: np.ndarray) -> Any:
    """Log-linear interpolation of y over x, its last piece prolonged beyond the end."""
    left = np.clip(np.searchsorted(x, at) - 1, 0, x.size - 2)
    share = (at - x[left]) / (x[left + 1] - x[left])
    return np.exp((1 - share) * np.log(y[left]) + share * np.log(y[left + 1]))


def _draw(figure: Figure) -> None:
    left, right = figure.subplots(1, 2, sharey=True)
    for axes, speed in ((left, 1.0), (right, 1 / (1 - ALPHA))):
        axes.semilogy(CENTRES, STANDARD, "o-", color="0.35", label="standard")
        axes.semilogy(speed * CENTRES, EXTRAPOLATION, "s--", color="C1", label="extrapolation")
    left.set(xlabel="iterations", ylabel="average regret, as reported", title="As reported")
    right.set(xlabel=r"iterations, $/(1-\alpha)$ with extrapolation", title="At equal weight")
    left.legend(loc="lower left")
