"""Momentum on a small transformer, with enough runs to see what it does: twelve contenders.

A transformer of 20,000 parameters learns a generated language. The small size costs realism and
buys many runs. Three rankers hardly ever tie, so every prompt gives a pair. Each contender uses
the best of the same few learning rates, chosen on other prompts with other seeds. Two kinds of
plain training take their rate from another contender instead: one multiplies DPO's by 1/(1 -
alpha), and one goes as far from the reference as APO does. Every seed has its own prompts, both
to train on and to judge on, and all contenders share them, so the intervals of paired differences
over seeds also cover the prompts. The intervals are corrected for the number of comparisons, and
each difference comes with the effect that the study had 80 % power to see.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from apo_sim.checks import as_count, as_seed
from apo_sim.errors import InvalidArgument
from apo_sim.estimate import Estimate
from apo_sim.files import writable_folder
from apo_sim.progress import bar
from apo_sim.records import read_record, write_record
from apo_sim.statistics import several
from apo_sim.studies._paired_power import Difference, difference_of
from apo_sim.studies._transformer_contenders import COMPARISONS, CONTENDERS, Contender
from apo_sim.studies._transformer_twin import predicted
from apo_sim.studies.caption import caption
from apo_sim.studies.wording import sure_sign

RATES = (1e-4, 3e-4, 1e-3, 3e-3)
RESPONSES = 5  # to a prompt, the paper's number
BATCH = 20  # pairs a step
# Seeds that learning rates are chosen on lie apart from those of the study.
_TUNING = 1_000
_EFFECT = 0.05
FIGURES = ("win_rate", "score", "tokens", "kl")
SHIPPED = Path(__file__).with_suffix(".json")
# The same contenders at one small learning rate for all, where momentum has a lead to explain.
SAME_RATE = SHIPPED.with_name("transformer_same_rate.json")


@dataclass(frozen=True)
class ContenderRun:
    """Where one run ended: figures of pi_hat_T or, of ExPO, of where that leads.

    Attributes:
        contender: one of `CONTENDERS`.
        ranker: whose scores made the pairs.
        seed: all its randomness comes from it.
        rate: learning rate.
        pairs: preference pairs of every iteration.
        win_rate: over the reference, on the held-out prompts.
        score: mean of the ranker's.
        tokens: mean length of a response.
        kl: from the reference, in nats a response.
    """

    contender: str
    ranker: str
    seed: int
    rate: float
    pairs: tuple[int, ...]
    win_rate: float
    score: float
    tokens: float
    kl: float


@dataclass(frozen=True)
class PowerSettings:
    """What all runs of the study share.

    Attributes:
        prompts: of an iteration.
        held_out: prompts that every policy is judged on.
        iterations: T.
        beta: proximal weight, but of SimPO.
        rates: learning rates to choose from.
        tuning: seeds that each learning rate is tried with, with each ranker.
        seed: of the first run.
    """

    prompts: int
    held_out: int
    iterations: int
    beta: float
    rates: tuple[float, ...]
    tuning: int
    seed: int


@dataclass(frozen=True)
class PowerResults:
    """What the study measures.

    Attributes:
        configuration: settings of the study.
        rates: the chosen learning rates, by contender.
        predicted: win rate that a table of the same N, T and beta leads to, by contender.
        search: the runs that learning rates were chosen by.
        runs: of every contender with every ranker and seed.
    """

    configuration: PowerSettings
    rates: dict[str, float]
    predicted: dict[str, Estimate]
    search: tuple[ContenderRun, ...]
    runs: tuple[ContenderRun, ...]

    @property
    def rankers(self) -> list[str]:
        """Their names, in order."""
        return list(dict.fromkeys(run.ranker for run in self.runs))


@dataclass(frozen=True)
class _Kept:
    """A run as its file keeps it: plain training is its own and that of ExPO after it."""

    pairs: tuple[int, ...]
    hat: dict[str, float]
    expo: dict[str, float]


def measure(
    *,
    out: str | Path,
    seeds: int = 5,
    seed: int = 0,
    tuning: int = 1,
    prompts: int = 200,
    held_out: int = 400,
    iterations: int = 3,
    beta: float = 0.1,
    rates: Sequence[float] = RATES,
    contenders: Sequence[str] = tuple(CONTENDERS),
    progress: bool = True,
) -> PowerResults:
    """Choose learning rates, run every contender; a study that was stopped goes on where it was.

    Args:
        out: folder of the runs, a file each, and of `results.json`.
        seeds: runs of each contender with each ranker.
        seed: of the first.
        tuning: seeds that each learning rate is tried with, with each ranker.
        prompts: of an iteration.
        held_out: prompts that every policy is judged on.
        iterations: T.
        beta: proximal weight, but of SimPO.
        rates: learning rates to choose from.
        contenders: some of `CONTENDERS`, DPO among them.
        progress: show a bar, on a terminal.

    Raises:
        InvalidArgument: a folder of another study; contenders that are unknown, or without those
            that set their learning rates.
    """
    several(seeds)
    as_seed("seed", seed)
    as_count("tuning", tuning)
    chosen = {name: CONTENDERS[name] for name in contenders if name in CONTENDERS}
    needed = {"DPO", *(one.as_far for one in chosen.values() if one.as_far)}
    if len(chosen) < len(contenders) or not needed <= set(chosen):
        raise InvalidArgument(
            "contenders",
            contenders,
            "name others, or lack DPO or whom one of them follows",
            f"pass some of {list(CONTENDERS)}",
        )
    configuration = PowerSettings(
        prompts=prompts,
        held_out=held_out,
        iterations=iterations,
        beta=beta,
        rates=tuple(rates),
        tuning=tuning,
        seed=seed,
    )
    runs = _Runs(Path(writable_folder("out", out)), configuration)
    searched = {name: one for name, one in chosen.items() if one.searched}
    tried = len(searched) * len(rates) * tuning * len(runs.rankers)
    number = tried + len(chosen) * seeds * len(runs.rankers)
    with bar("runs", number, 0, progress) as tick:
        search = [
            runs.of(name, one, ranker, _TUNING + seed + trial, rate, tick)
            for trial in range(tuning)
            for ranker in runs.rankers
            for name, one in searched.items()
            for rate in rates
        ]
        best = _best(search)
        for name, one in chosen.items():
            if one.longer:
                best[name] = best["DPO"] / (1.0 - one.longer)
            if one.as_far:
                best[name] = _as_far(search, one.as_far, best[one.as_far])
        best = {name: best[name] for name in chosen}
        found = [
            runs.of(name, one, ranker, member, best[name], tick)
            for member in range(seed, seed + seeds)
            for ranker in runs.rankers
            for name, one in chosen.items()
        ]
    results = PowerResults(
        configuration,
        best,
        predicted(chosen, samples=prompts, iterations=iterations, beta=beta, responses=RESPONSES),
        tuple(search),
        tuple(found),
    )
    write_record("out", runs.folder / "results.json", results)
    return results


def _best(search: Sequence[ContenderRun]) -> dict[str, float]:
    """The learning rate of each contender that won most, over rankers and seeds."""
    names = dict.fromkeys(run.contender for run in search)
    rates = dict.fromkeys(run.rate for run in search)

    def won(name: str, rate: float) -> float:
        return searched(search, name, rate, "win_rate")

    return {name: max(rates, key=lambda rate: won(name, rate)) for name in names}


def _as_far(search: Sequence[ContenderRun], name: str, rate: float) -> float:
    """The learning rate at which DPO's KL is that of a contender, as powers between those tried."""
    rates = sorted({run.rate for run in search})
    kls = [searched(search, "DPO", one, "kl") for one in rates]
    log_rate = np.interp(np.log(searched(search, name, rate, "kl")), np.log(kls), np.log(rates))
    return float(np.exp(log_rate))


def searched(search: Sequence[ContenderRun], name: str, rate: float, figure: str) -> float:
    """A figure of a contender at a learning rate of the search, over rankers and seeds."""
    here = [run for run in search if (run.contender, run.rate) == (name, rate)]
    return float(np.mean([getattr(run, figure) for run in here]))


class _Runs:
    """Runs of one study, each kept in a file."""

    def __init__(self, folder: Path, configuration: PowerSettings):
        from apo_sim.studies import _generated_language

        self.folder, self.configuration = folder, configuration
        self.rankers = _generated_language.rankers()
        self._made = None
        _same(folder / "configuration.json", configuration)

    def of(
        self, name: str, one: Contender, ranker: str, seed: int, rate: float, tick: Any
    ) -> ContenderRun:
        """A contender's run."""
        file = self.folder / f"{ranker}-{seed}-{one.runs}-{rate:.6g}.json".replace(" ", "-")
        if not file.exists():
            write_record("out", file, self._run(one, ranker, seed, rate))
        kept = read_record("out", file, _Kept, "remove it, and the run is made again")
        tick(1)
        figures = kept.expo if one.beyond else kept.hat
        return ContenderRun(name, ranker, seed, rate, kept.pairs, **figures)

    def _run(self, one: Contender, ranker: str, seed: int, rate: float) -> _Kept:
        """Figures of pi_hat_T and, of plain DPO, of ExPO after it."""
        from apo_sim.studies import _generated_language as language

        given, place = self.configuration, list(self.rankers).index(ranker)
        # Every ranker has prompts of its own, so that they are independent strata.
        random = np.random.default_rng([seed, place])
        rows, pairs = self._training().train(
            language.prompts(given.prompts * given.iterations, random),
            held_out=language.prompts(given.held_out, random),
            ranker=self.rankers[ranker],
            learning_rate=rate,
            seed=len(self.rankers) * seed + place,
            **one.method(given.beta, given.iterations),
        )
        figures = [
            {figure: getattr(row.figures, figure).value for figure in FIGURES} for row in rows
        ]
        return _Kept(tuple(pairs), figures[0], figures[-1])

    def _training(self) -> Any:
        """Compiled with the first run; what is kept needs none."""
        if self._made is None:
            from apo_sim import llm
            from apo_sim.studies import _generated_language as language
            from apo_sim.studies._repeated_training import RepeatedTraining

            place = self.folder / "model"
            if not (place / "model.safetensors").exists():
                llm.save(language.learned(), place)
            sampling = llm.Sampling(
                responses=RESPONSES,
                temperature=1.0,
                top_p=1.0,
                max_tokens=language.LONGEST,
                max_prompt=language.ASKED,
                batch=500,
            )
            tuning = llm.FineTuning(batch=BATCH)
            self._made = RepeatedTraining(llm.load(place), sampling, tuning)
        return self._made


def _same(file: Path, configuration: PowerSettings) -> None:
    """Refuse a folder of another study."""
    elsewhere = "choose another folder"
    if file.exists() and read_record("out", file, PowerSettings, elsewhere) != configuration:
        raise InvalidArgument("out", str(file.parent), "keeps runs of other settings", elsewhere)
    write_record("out", file, configuration)


def read(path: str | Path = SHIPPED) -> PowerResults:
    """Results of an earlier study; by default those that come with the package.

    Raises:
        InvalidArgument: a file that is missing or something else.
    """
    results = read_record("results", path, PowerResults, "pass its results.json")
    won = [run.win_rate for run in (*results.search, *results.runs)]
    whole = results.rates and results.predicted and results.configuration.held_out
    if not whole or not np.isfinite(won).all():
        raise InvalidArgument(
            "results", str(path), "are not those of a whole study", "pass its results.json"
        )
    return results


def final(results: PowerResults, contender: str, figure: str = "win_rate") -> np.ndarray:
    """A figure of every run of a contender, shape (rankers, seeds).

    Example:
        >>> final(read(), "DPO").shape[0]
        3
    """
    runs = [run for run in results.runs if run.contender == contender]
    return np.array(
        [[getattr(run, figure) for run in runs if run.ranker == name] for name in results.rankers]
    )


def differences(results: PowerResults) -> dict[tuple[str, str], Difference]:
    """Win rates of contenders less those of their rivals, their intervals corrected for all.

    Example:
        >>> found = differences(read())
        >>> all(one.estimate.unit == "win rate" and one.seen > 0 for one in found.values())
        True
    """
    present = {run.contender for run in results.runs}
    pairs = [pair for pair in COMPARISONS if set(pair) <= present]
    return {
        (name, rival): difference_of(
            final(results, name) - final(results, rival), len(pairs), "win rate"
        )
        for name, rival in pairs
    }


@dataclass(frozen=True)
class Reached:
    """Where a contender ends, on average over rankers and seeds.

    Attributes:
        learning_rate: that it was given.
        win_rate: over the reference.
        kl: from the reference, in nats.
    """

    learning_rate: float
    win_rate: float
    kl: float


@dataclass(frozen=True)
class ShortSteps:
    """What momentum wins at the least learning rate of the search, and what its distance does.

    Attributes:
        learning_rate: the least one.
        lead: win rate less that of DPO.
        times_as_far: KL over that of DPO.
        lead_as_far: win rate less that of DPO gone as far, between the learning rates tried; None
            where there was but one.
    """

    learning_rate: float
    lead: float
    times_as_far: float
    lead_as_far: float | None


@dataclass(frozen=True)
class TransformerPowerFinding:
    """What came out of the study of a small transformer.

    Attributes:
        configuration: settings of the study.
        rankers: how many there were.
        seeds: of each contender with each ranker.
        reached: by contender.
        differences: of win rates, by contender and rival.
        short_steps: by contender that has momentum.
        predicted: the difference that a table predicts, by contender and rival.
    """

    configuration: PowerSettings
    rankers: int
    seeds: int
    reached: dict[str, Reached]
    differences: dict[tuple[str, str], Difference]
    short_steps: dict[str, ShortSteps]
    predicted: dict[tuple[str, str], float]

    @property
    def text(self) -> str:
        """All of it in words, a line each."""
        given = self.configuration
        return "\n".join(
            [
                f"A transformer that learned a generated language; {given.iterations} "
                f"iterations of {given.prompts} prompts, β = {given.beta:g}, "
                f"{given.held_out} prompts held out, {self.rankers} rankers, {self.seeds} seeds "
                f"each. Intervals cover all {len(self.differences)} differences together at 95 %.",
                *(
                    f"{name} (learning rate {one.learning_rate:.2g}): win rate over the reference "
                    f"{one.win_rate:.3f}, KL {one.kl:.2f} nats."
                    for name, one in self.reached.items()
                ),
                *(_compared(*pair, one) for pair, one in self.differences.items()),
                *(_at_short_steps(name, one) for name, one in self.short_steps.items()),
                *(
                    f"A table predicts {lead:+.4f} for {name} against {rival}, "
                    f"{self._place(name, rival)} the interval."
                    for (name, rival), lead in self.predicted.items()
                ),
            ]
        )

    def _place(self, name: str, rival: str) -> str:
        found = self.differences[name, rival].estimate
        return "within" if found.low <= self.predicted[name, rival] <= found.high else "outside"


def finding(results: PowerResults) -> TransformerPowerFinding:
    """Where every contender ends, what tells them apart, and what a table would have said.

    Example:
        >>> found = finding(read())
        >>> found.rankers, found.reached["DPO"].learning_rate
        (3, 0.001)
    """
    found, tables = differences(results), results.predicted
    rankers, seeds = final(results, "DPO").shape
    return TransformerPowerFinding(
        results.configuration,
        rankers,
        seeds,
        {
            name: Reached(
                rate,
                float(final(results, name).mean()),
                float(final(results, name, "kl").mean()),
            )
            for name, rate in results.rates.items()
        },
        found,
        {name: _short_steps(results, name) for name in results.rates if CONTENDERS[name].alpha},
        {
            (name, rival): tables[name].value - tables[rival].value
            for name, rival in found
            if name in tables and rival in tables
        },
    )


def _short_steps(results: PowerResults, name: str) -> ShortSteps:
    search, rates = results.search, results.configuration.rates
    wins, kls = (
        {one: [searched(search, one, rate, figure) for rate in rates] for one in ("DPO", name)}
        for figure in ("win_rate", "kl")
    )
    as_far = np.interp(np.log(kls[name][0]), np.log(kls["DPO"]), wins["DPO"])
    return ShortSteps(
        rates[0],
        wins[name][0] - wins["DPO"][0],
        kls[name][0] / kls["DPO"][0],
        wins[name][0] - float(as_far) if len(rates) > 1 else None,
    )


def _compared(name: str, rival: str, one: Difference) -> str:
    word = "beyond" if sure_sign(one.estimate) else "within"
    return (
        f"{name} against {rival}: {one.estimate:+.3f}, {word} the noise; 80 % power to see "
        f"{one.seen:.3f}, {100 * one.power(_EFFECT):.0f} % to see {_EFFECT:g}."
    )


def _at_short_steps(name: str, one: ShortSteps) -> str:
    words = (
        f"At a learning rate of {one.learning_rate:g}, in the search, {name} wins "
        f"{one.lead:+.3f} more than DPO and goes {one.times_as_far:.1f} times as far"
    )
    if one.lead_as_far is None:
        return f"{words}."
    return f"{words}; of DPO gone as far it wins {one.lead_as_far:+.3f} more."


def draw(figure: Figure, results: PowerResults) -> None:
    """Win rates, the differences with what could have been seen, and how far each policy went."""
    figure.set_size_inches(11.0, 4.2)
    caption(
        figure,
        "left: mean over rankers and seeds, marks: each ranker; middle: intervals cover all "
        "together at 95 %, grey: less than what the study had 80 % power to see;\n"
        "right: the search, means over the rankers of its seeds; lines join learning rates",
    )
    axes: Any = figure.subplots(1, 3, width_ratios=(1.1, 1.4, 1.3))
    _draw_rates(axes[0], results)
    _draw_differences(axes[1], differences(results))
    _draw_steps(axes[2], results)


def _draw_rates(axes: Axes, results: PowerResults) -> None:
    names = list(results.rates)
    for place, name in enumerate(names):
        means = final(results, name).mean(axis=1)
        axes.plot(means.mean(), place, "o", color="C0", ms=7)
        for mark, mean in zip("sd^", means, strict=False):
            axes.plot(mean, place, mark, color="0.45", ms=4, mfc="white")
    for mark, ranker in zip("sd^", results.rankers, strict=False):
        axes.plot([], [], mark, color="0.45", ms=4, mfc="white", label=ranker)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set(title="win rate over the reference")
    axes.legend(fontsize=7.5, loc="upper center", bbox_to_anchor=(0.4, -0.08), ncols=3)


def _draw_differences(axes: Axes, found: dict[tuple[str, str], Difference]) -> None:
    for place, one in enumerate(found.values()):
        axes.barh(place, 2 * one.seen, left=-one.seen, height=0.7, color="0.88", zorder=0)
        value, low, high = one.estimate.figures
        ends = [[value - low], [high - value]]
        axes.errorbar(value, place, xerr=ends, fmt="o", color="C0", capsize=2, lw=1.6)
    axes.use_sticky_edges = False
    axes.axvline(0.0, color="0.4", lw=0.8)
    axes.set_yticks(range(len(found)), [f"{name} − {rival}" for name, rival in found])
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    axes.set(title="difference of win rates")


def _draw_steps(axes: Axes, results: PowerResults) -> None:
    search = results.search
    for place, name in enumerate(dict.fromkeys(run.contender for run in search)):
        points = [
            [searched(search, name, rate, figure) for figure in ("kl", "win_rate")]
            for rate in results.configuration.rates
        ]
        style = "o-" if place < 7 else "s--"
        axes.plot(*np.transpose(points), style, color=f"C{place % 7}", ms=3.5, lw=1.2, label=name)
    axes.set(xscale="log", xlabel="KL to the reference, nats", title="win rate by distance gone")
    axes.legend(fontsize=7.5)
