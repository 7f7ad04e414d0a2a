"""What a training log shows: one call."""

from typing import Any

from apo_sim.checks import check_positive, check_single
from apo_sim.errors import InvalidArgument
from apo_sim.explain.course import courses
from apo_sim.explain.diagnosis import Diagnosis, Effect, Explanation, Unjudged
from apo_sim.explain.log import Log
from apo_sim.explain.reading import read_log
from apo_sim.explain.rules import RULES, Evidence
from apo_sim.self_checking import checks_itself

_DTYPES = ("bfloat16", "float16", "float32", "float64")


@checks_itself
def explain(log: Any, *, beta: float | None = None, dtype: str | None = None) -> Explanation:
    r"""Name what a training log shows.

    Every figure is judged by the level it begins and the level it ends at, each an interval that
    holds for all rules of a log together; a rule that finds none of its columns says so.

    Args:
        log: results.json of a run of `llm.fine_tune`, trainer_state.json of TRL, or a CSV or JSONL
            file of such columns (`step`, `loss`, `rewards/chosen`, ...); or the folder of the run.
        beta: proximal weight, to know rewards as log-ratios; None: the customary .1.
        dtype: of the trained parameters, such as "bfloat16"; None: what config.json beside the
            log says, if there is one.

    Returns:
        An `Explanation`; print it. A healthy run has no diagnoses.

    Raises:
        InvalidArgument: a file that is no log, with what to pass instead; beta or dtype unusable.

    Source: ours; displacement: Razin et al. (2024); over-optimisation: Gao, Schulman and Hilton
    (2023).

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> rows = "".join(f"{step},0.6931,0.000{step % 2}\n" for step in range(40))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = Path(folder, "log.csv")
        ...     _ = file.write_text("step,loss,rewards/margins\n" + rows)
        ...     found = explain(file)
        >>> [str(effect) for effect in found.effects]
        ['dead learning rate']
    """
    if beta is not None:
        check_single("beta", beta, "pass one number, or None")
        check_positive("beta", beta)
    if dtype is not None and dtype not in _DTYPES:
        raise InvalidArgument("dtype", dtype, "is unknown", f"pass one of {', '.join(_DTYPES)}")
    return diagnosed(read_log(log), beta, dtype)


def diagnosed(found: Log, beta: float | None = None, dtype: str | None = None) -> Explanation:
    """What `explain` says of a log that has been read.

    Args:
        found: the log.
        beta: proximal weight; None: the customary .1.
        dtype: of the trained parameters; None: what the log says.

    Example:
        >>> from apo_sim.explain.log import Collector
        >>> collector = Collector("a list")
        >>> for step in range(40):
        ...     collector.add({"step": step, "loss": 0.69, "margin": 0.0})
        >>> [str(effect) for effect in diagnosed(collector.log()).effects]
        ['dead learning rate']
    """
    evidence = Evidence(found, beta, dtype or found.dtype)
    results = [result for rule in RULES for result in _as_list(rule(evidence))]
    end = [one for one in results if isinstance(one, Diagnosis) and one.effect is Effect.DIVERGED]
    results = end or results  # what comes before an end like that is its beginning
    diagnoses = _without_doubles([one for one in results if isinstance(one, Diagnosis)])
    seen = {one.effect for one in diagnoses}
    unjudged = [one for one in results if isinstance(one, Unjudged) and one.effect not in seen]
    return Explanation(found.source, found.rows, tuple(diagnoses), tuple(unjudged), courses(found))


def _as_list(result: Diagnosis | Unjudged | None) -> list[Diagnosis | Unjudged]:
    return [] if result is None else [result]


def _without_doubles(diagnoses: list[Diagnosis]) -> list[Diagnosis]:
    """Each effect once; where the dtype stops a run, its learning rate is not what is dead."""
    found = {one.effect: one for one in diagnoses}
    if Effect.LOST_UPDATES in found:
        found.pop(Effect.DEAD_LEARNING_RATE, None)
    return list(found.values())
