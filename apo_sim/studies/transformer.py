"""Momentum on a real language model: iterative DPO against its extrapolation.

The third contender, the matched beta, can be run beside them; the results that are kept do not have
it. All meet the same prompts and random numbers. The matched beta is plain iteration whose gamma,
the total weight of the rewards, is that of extrapolation after every iteration. With exact
preferences and an exact proximal step on a table it takes the path of extrapolation; a few steps of
an optimiser are no exact proximal step, so how far each method went stands beside what it won.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.table import Table

from apo_sim import theory
from apo_sim.checks import as_count
from apo_sim.errors import InvalidArgument
from apo_sim.estimate import Estimate
from apo_sim.files import writable_folder
from apo_sim.momentum import Constant, Momentum, NoMomentum
from apo_sim.records import read_record, write_record
from apo_sim.statistics import percentile_ends
from apo_sim.studies.caption import caption
from apo_sim.studies.wording import sure_sign
from apo_sim.transformer_rows import PolicyRow, StepRow

METHODS = ("DPO", "APO", "matched beta")
FIGURES = {
    "strict": "prompts followed",
    "loose": "prompts followed, loosely",
    "instructions": "instructions followed",
    "win_rate": "win rate over the reference",
    "lc_win_rate": "win rate, length controlled",
    "characters": "characters",
    "kl": "KL to the reference, nats",
}
# What a terminal of eighty characters holds.
_COLUMNS = {
    "strict": "strict",
    "loose": "loose",
    "win_rate": "win rate",
    "lc_win_rate": "win, LC",
    "characters": "characters",
    "kl": "KL, nats",
}
_RESAMPLES = 4_000
REFERENCE = Path(__file__).with_suffix(".json")
_COLOURS = {"DPO": "C0", "APO": "C1", "matched beta": "C2"}


@dataclass(frozen=True)
class TransformerRun:
    """One run of a method.

    Attributes:
        method: one of `METHODS`.
        seed: all its randomness comes from it.
        beta: proximal weight of every iteration.
        rows: every policy judged.
        steps: every inner step.
        pairs: preference pairs of every iteration.
    """

    method: str
    seed: int
    beta: tuple[float, ...]
    rows: tuple[PolicyRow, ...]
    steps: tuple[StepRow, ...]
    pairs: tuple[int, ...]

    @property
    def end(self) -> PolicyRow:
        """The policy that the run ends with."""
        return self.rows[-1]


@dataclass(frozen=True)
class TransformerSettings:
    """What all runs of the study share.

    Attributes:
        model: what `apo_sim.llm.load` takes.
        prompts: how many to train on, over all iterations.
        held_out: how many to judge on.
        ranker: verifiable, length or brevity.
        alpha: extrapolation of APO.
        beta: proximal weight of DPO and APO in every iteration.
        iterations: T.
        others: further arguments of `apo_sim.llm.fine_tune`, in words.
    """

    model: str
    prompts: int
    held_out: int
    ranker: str
    alpha: float
    beta: tuple[float, ...]
    iterations: int
    others: dict[str, str]


@dataclass(frozen=True)
class TransformerResults:
    """What the study measures.

    Attributes:
        configuration: settings of the study.
        environment: version of JAX, and the device.
        runs: of every method with every seed.
    """

    configuration: TransformerSettings
    environment: dict[str, str]
    runs: tuple[TransformerRun, ...]

    @property
    def methods(self) -> list[str]:
        """Those that were run, in order."""
        return list(dict.fromkeys(run.method for run in self.runs))

    def of(self, method: str) -> list[TransformerRun]:
        """The runs of a method."""
        return [run for run in self.runs if run.method == method]


def measure(
    *,
    out: str | Path,
    model: str = "smollm2",
    prompts: int | str | Path = 60,
    held_out: int | str | Path = 40,
    ranker: str = "verifiable",
    methods: Sequence[str] = METHODS,
    seeds: int = 1,
    seed: int = 0,
    alpha: float = 0.3,
    beta: Any = (0.01, 0.1, 1.0),
    iterations: int = 3,
    progress: bool = True,
    settings: Mapping[str, Any] | None = None,
) -> TransformerResults:
    """Run every method with every seed; a study that was stopped goes on where it was.

    Args:
        out: folder of the runs, and of `results.json`.
        model: what `apo_sim.llm.load` takes.
        prompts: a JSONL file, or how many are generated.
        held_out: the same, to judge every policy on.
        ranker: verifiable, length or brevity.
        methods: some of `METHODS`.
        seeds: runs of each method.
        seed: of the first run.
        alpha: extrapolation.
        beta: proximal weight; a number or one for each iteration.
        iterations: T.
        progress: show bars, on a terminal.
        settings: `sampling`, `tuning`, `lora` and `mesh` of `apo_sim.llm.fine_tune`.

    Source: the paper's section 5, with the rival that reviewers asked for.
    """
    from apo_sim import llm

    as_count("seeds", seeds)
    folder = writable_folder("out", out)
    chosen, judged = llm.chosen_prompts(prompts, held_out, seed)
    settings = dict(settings or {})
    runs = []
    for number in range(seed, seed + seeds):
        for method in methods:
            momentum, betas = rule(method, alpha, beta, iterations)
            outcome = llm.fine_tune(
                llm.load(model, mesh=settings.get("mesh")),
                chosen,
                held_out=judged,
                ranker=llm.ranker(ranker),
                momentum=momentum,
                beta=betas,
                iterations=iterations,
                seed=number,
                out=folder / f"{method.replace(' ', '-')}-{number}",
                progress=progress,
                **settings,
            )
            runs.append(
                TransformerRun(
                    method=method,
                    seed=number,
                    beta=_each_of(betas, iterations),
                    rows=tuple(outcome.rows),
                    steps=tuple(outcome.steps),
                    pairs=tuple(outcome.pairs),
                )
            )
    results = TransformerResults(
        TransformerSettings(
            model=model,
            prompts=len(chosen),
            held_out=len(judged),
            ranker=ranker,
            alpha=alpha,
            beta=_each_of(beta, iterations),
            iterations=iterations,
            others={name: repr(value) for name, value in settings.items()},
        ),
        {"jax": jax.__version__, "device": jax.devices()[0].device_kind},
        tuple(runs),
    )
    write_record("out", folder / "results.json", results)
    return results


def _each_of(beta: Any, iterations: int) -> tuple[float, ...]:
    return tuple(np.broadcast_to(np.asarray(beta, float), iterations).tolist())


def rule(method: str, alpha: float, beta: Any, iterations: int) -> tuple[Momentum, Any]:
    """Momentum and proximal weights of a method.

    Args:
        method: one of `METHODS`.
        alpha: extrapolation.
        beta: proximal weight of DPO and of APO; a number or one for each iteration.
        iterations: T.

    Returns:
        The rule, and the proximal weight: the given one, or beta_0 ... beta_{T-1} of the matched
        beta, which give plain iteration the gamma of APO after every iteration.

    Raises:
        InvalidArgument: a method that is unknown; otherwise as `apo_sim.theory.matched_beta`.

    Example:
        >>> momentum, betas = rule("matched beta", 0.3, (0.01, 0.1, 1.0), 3)
        >>> momentum, [round(beta, 4) for beta in betas]
        (NoMomentum(), [0.01, 0.025, 0.0769])
    """
    if method not in METHODS:
        raise InvalidArgument("method", method, "is unknown", f"pass one of {METHODS}")
    if method != "matched beta":
        return (Constant(alpha) if method == "APO" else NoMomentum()), beta
    # In double precision: the first weight is beta itself, to the last digit that is used of it.
    with jax.enable_x64(True):
        matched = theory.matched_beta(alpha, np.asarray(beta, float), iterations)
    return NoMomentum(), np.asarray(matched).tolist()


def read(path: str | Path = REFERENCE) -> TransformerResults:
    """Results of an earlier study; by default those that come with the package.

    Raises:
        InvalidArgument: a file that is missing or something else.
    """
    results = read_record("results", path, TransformerResults, "pass its results.json")
    if not results.runs or not all(
        run.beta and run.rows and run.end.figures.wins for run in results.runs
    ):
        raise InvalidArgument(
            "results", str(path), "have no policies to compare", "pass those of a whole study"
        )
    return results


def table(rows: Sequence[PolicyRow]) -> Table:
    """Every policy of one run, a row each, with half of each 95 % interval."""
    shown = Table(box=None, pad_edge=False, header_style="bold")
    shown.add_column("policy", no_wrap=True)
    for name in _COLUMNS.values():
        shown.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        shown.add_row(row.policy, *(_narrow(name, _figure(row, name)) for name in _COLUMNS))
    return shown


def final(results: TransformerResults, method: str, figure: str) -> list[float]:
    """A figure of pi_hat_T, of every seed of a method."""
    return [getattr(run.end.figures, figure).value for run in results.of(method)]


def _figure(row: PolicyRow, name: str) -> Estimate | None:
    return getattr(row.figures, name)


@dataclass(frozen=True)
class MethodEnd:
    """Where a method ends: figures of pi_hat_T.

    Attributes:
        gamma: total weight of the rewards.
        win_rates: over the reference, of every seed.
        score: mean over the seeds of what `TransformerFinding.scored` names.
        kl: to the reference in nats, mean over the seeds.
    """

    gamma: float
    win_rates: list[float]
    score: float
    kl: float


@dataclass(frozen=True)
class TransformerFinding:
    """What came out of the study.

    Attributes:
        configuration: settings of the study.
        scored: what the ranker looks at: instructions followed, or its own score.
        reference: that of the reference policy, mean over the runs.
        methods: where each of them ends.
        leads: what extrapolation adds to the win rate of each rival.
    """

    configuration: TransformerSettings
    scored: str
    reference: float
    methods: dict[str, MethodEnd]
    leads: dict[str, Estimate]

    @property
    def text(self) -> str:
        """All of it in words, a line each."""
        given = self.configuration
        lines = [
            f"{given.model}, {given.iterations} iterations, {given.prompts} prompts, "
            f"{given.held_out} held out, ranker: {given.ranker}."
        ]
        lines += [
            f"{method} (gamma {end.gamma:.0f}): win rate over the reference "
            f"{np.mean(end.win_rates):.3f}{_each(end.win_rates)}, {self.scored} {end.score:.3f} "
            f"(reference {self.reference:.3f}), KL {end.kl:.3g} nats."
            for method, end in self.methods.items()
        ]
        lines += [_lead(rival, lead) for rival, lead in self.leads.items()]
        if self.leads and "matched beta" not in self.leads:
            lines.append(
                "The matched beta was not run: a larger gamma alone may make the difference."
            )
        return "\n".join(lines)


def finding(results: TransformerResults) -> TransformerFinding:
    """Where every method ends, and what extrapolation changes against each rival.

    Example:
        >>> found = finding(read())
        >>> list(found.methods), list(found.leads)
        (['DPO', 'APO'], ['DPO'])
    """
    scored = "score" if results.runs[0].rows[0].figures.strict is None else "instructions"
    methods = results.methods
    references = [_figure(run.rows[0], scored) for run in results.runs]
    return TransformerFinding(
        results.configuration,
        scored,
        float(np.mean([estimate.value for estimate in references if estimate])),
        {
            method: MethodEnd(
                gamma(results, method)[-1],
                final(results, method, "win_rate"),
                float(np.mean(final(results, method, scored))),
                float(np.mean(final(results, method, "kl"))),
            )
            for method in methods
        },
        {
            rival: difference(results, "APO", rival)
            for rival in methods
            if "APO" in methods and rival != "APO"
        },
    )


def _each(rates: Sequence[float]) -> str:
    return "" if len(rates) == 1 else f" (seeds: {', '.join(f'{rate:.3f}' for rate in rates)})"


def _lead(rival: str, lead: Estimate) -> str:
    changes = "Extrapolation changes the win rate by "
    if math.isinf(lead.low):
        return (
            f"{changes}{lead.value:+.3f} against {rival}, within the noise that such alike prompts "
            "leave."
        )
    word = "beyond" if sure_sign(lead) else "within"
    return f"{changes}{lead:+.3f} against {rival}, {word} the noise."


def gamma(results: TransformerResults, method: str) -> list[float]:
    """Total weight of the rewards of a method after every iteration, as `apo_sim.theory.gamma`.

    Example:
        >>> for method in ("DPO", "APO"):
        ...     method, [round(value) for value in gamma(read(), method)]
        ('DPO', [100, 110, 111])
        ('APO', [100, 140, 153])
    """
    betas = results.of(method)[0].beta
    alpha = results.configuration.alpha if method == "APO" else 0.0
    return np.asarray(theory.gamma(alpha, np.asarray(betas), len(betas))).tolist()


def difference(results: TransformerResults, method: str, rival: str) -> Estimate:
    """Win rate of pi_hat_T over the reference, of a method less that of its rival.

    Both are judged on the same held-out prompts with the same random numbers, so the difference is
    taken prompt by prompt.

    Returns:
        The mean and its 95 % interval over prompts and, with several seeds, over seeds: a
        bootstrap that draws both anew. Its ends are infinite where all prompts say the same, or
        there is but one: then nothing tells how far off the mean is.

    Raises:
        InvalidArgument: a method without runs, or with other seeds than its rival.
    """
    wins = {
        name: {run.seed: run.end.figures.wins for run in results.of(name)}
        for name in (method, rival)
    }
    seeds = sorted(wins[method])
    if not seeds or seeds != sorted(wins[rival]):
        raise InvalidArgument(
            "method", method, f"and {rival!r} do not have the same seeds", "run both with them"
        )
    paired = np.array([np.subtract(wins[method][s], wins[rival][s]) for s in seeds])
    mean, low, high = float(paired.mean()), -math.inf, math.inf
    if np.ptp(paired) > 0 and paired.shape[1] > 1:
        random = np.random.default_rng(0)
        rows, columns = (random.integers(0, size, (_RESAMPLES, size)) for size in paired.shape)
        means = [paired[r][:, c].mean() for r, c in zip(rows, columns, strict=True)]
        low, high = map(float, percentile_ends(means))
    return Estimate(mean, low, high, "win rate", paired.size)


def draw(figure: Figure, results: TransformerResults) -> None:
    """Win rate, instructions and divergence of every policy: full marks pi_hat, hollow ones pi.

    Means over the seeds, with the interval of a single run over prompts; faint lines are the runs.
    """
    runs = {method: [run.rows for run in results.of(method)] for method in results.methods}
    _draw_policies(figure, runs)


def draw_run(figure: Figure, rows: Sequence[PolicyRow]) -> None:
    """The figure of a single run."""
    _draw_policies(figure, {"this run": [rows]})


def _draw_policies(figure: Figure, runs: Mapping[str, Sequence[Sequence[PolicyRow]]]) -> None:
    """Of every method all runs, each with its policies in order."""
    panels = ("win_rate", "lc_win_rate", "instructions", "kl")
    titles = dict(FIGURES)
    if next(iter(runs.values()))[0][0].figures.instructions is None:
        panels, titles["score"] = ("win_rate", "lc_win_rate", "score", "kl"), "score of the ranker"
    axes = figure.subplots(1, len(panels))
    figure.set_size_inches(11.0, 3.4)
    for place, name in zip(axes, panels, strict=True):
        for shift, (method, of_method) in enumerate(runs.items()):
            colour = _COLOURS.get(method, "C0")
            _plot(place, of_method, name, 0.08 * (shift - 1), colour, method)
        place.set(xlabel="iteration", title=titles[name])
        place.xaxis.get_major_locator().set_params(integer=True)
    axes[0].axhline(0.5, color="0.4", lw=0.8, ls=":")
    axes[1].axhline(0.5, color="0.4", lw=0.8, ls=":")
    axes[0].legend()
    caption(
        figure,
        "full: π̂, hollow: the extrapolated π that acts; bars: 95 % intervals of one run over its "
        "held-out prompts, averaged over the seeds; faint: single seeds",
    )


def _plot(
    place: Axes,
    runs: Sequence[Sequence[PolicyRow]],
    name: str,
    shift: float,
    colour: str,
    label: str,
) -> None:
    """Lines and full marks for pi_hat, hollow marks for the extrapolated pi that acts."""
    rows = runs[0]
    figures = np.array([[_drawable(_figure(row, name)) for row in run] for run in runs])
    iterations = np.array([row.iteration for row in rows])
    # Of every iteration pi_hat comes first, and what acts after it.
    hats = np.diff(iterations, prepend=-1) > 0
    if len(runs) > 1:
        place.plot(iterations[hats] + shift, figures[:, hats, 0].T, color=colour, lw=0.8, alpha=0.4)
    mean = figures.mean(axis=0)
    for chosen, style, face, beside in ((hats, "o-", colour, 0.0), (~hats, "o", "white", 0.16)):
        if not chosen.any():
            continue
        values = mean[chosen]
        place.errorbar(
            iterations[chosen] + shift + beside,
            values[:, 0],
            np.abs(values[:, 1:] - values[:, :1]).T,
            fmt=style,
            color=colour,
            mfc=face,
            label=label if chosen is hats else None,
            capsize=2,
            lw=1.6,
        )


def _drawable(estimate: Estimate | None) -> tuple[float, ...]:
    """Value and ends, NaN in place of what no axis can show."""
    figures = (math.nan,) * 3 if estimate is None else estimate.figures
    return tuple(figure if math.isfinite(figure) else math.nan for figure in figures)


def cell(row: PolicyRow, name: str) -> str:
    """A figure of `FIGURES` with its interval, if it has one, as text.

    Example:
        >>> first, *_, last = read().runs[0].rows
        >>> cell(first, "kl"), cell(last, "characters")
        ('0.00 [0.00, 0.00]', '139 [118, 160]')
    """
    estimate = _figure(row, name)
    if estimate is None or not _is_bounded(estimate):
        return _middle(name, estimate)
    return format(estimate, _spec(name))


def _narrow(name: str, estimate: Estimate | None) -> str:
    if estimate is None or not _is_bounded(estimate):
        return _middle(name, estimate)
    return f"{_middle(name, estimate)}±{0.5 * (estimate.high - estimate.low):{_spec(name)}}"


def _middle(name: str, estimate: Estimate | None) -> str:
    return "-" if estimate is None else format(estimate.value, _spec(name))


def _spec(name: str) -> str:
    return ".0f" if name == "characters" else ".2f"


def _is_bounded(estimate: Estimate) -> bool:
    return math.isfinite(estimate.low) and math.isfinite(estimate.high)
