"""As many seeds as a verdict needs: looks at more and more of them, until the interval decides."""

from collections.abc import Callable

from apo_sim.claims.verdict import Finding, Study
from apo_sim.claims.words import Effort, Ruling
from apo_sim.statistics import CONFIDENCE, looks

# From a number of seeds, and the confidence that its intervals must have, to what they show.
Look = Callable[[int, float], Finding]


def until_decided(
    study: Study, look: Look, *, quick: int, full: int, confidence: float = CONFIDENCE
) -> Finding:
    """What the first look finds that decides: at full effort at more and more seeds.

    At quick effort there is one look. At full effort the level is divided over the looks
    (`apo_sim.statistics.looks`), so that the verdict is wrong no more often than that of one look
    at all seeds might be, and a clear case ends early. What is undecided takes, over all looks, up
    to twice the seeds of the last one.

    Args:
        study: what the check was given.
        look: judges that many seeds with intervals of that confidence, all together.
        quick: number of seeds at quick effort, and least one at full effort.
        full: number of seeds of the last look.
        confidence: of all looks together.

    Example:
        >>> from apo_sim.claims import judge
        >>> def look(seeds, confidence):
        ...     return judge.failure_rate(0, seeds, 0.01, confidence=confidence)
        >>> until_decided(Study("mine", "full"), look, quick=100, full=10_000).instances
        625
    """
    if study.effort == Effort.QUICK:
        return look(quick, confidence)
    *earlier, last = looks(quick, full, confidence)
    for seeds, each in earlier:
        finding = look(seeds, each)
        if decides(finding):
            return finding
    return look(*last)


def decides(finding: Finding) -> bool:
    """Whether more seeds could change nothing that is still open.

    Example:
        >>> decides(Finding("fails")), decides(Finding("not reproduced"))
        (True, False)
    """
    open_cells = (finding.regions or {}).get("undecided")
    return finding.verdict != Ruling.NOT_REPRODUCED and not open_cells
