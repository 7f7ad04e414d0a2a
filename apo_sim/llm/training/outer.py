"""The outer loop on a transformer: sample, rank, pair, proximal step, extrapolation, evaluation."""

import contextlib
import dataclasses
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np

from apo_sim.checks import checked
from apo_sim.errors import InvalidArgument
from apo_sim.geometry import KL, Geometry
from apo_sim.interruption import interruptible
from apo_sim.llm import stages
from apo_sim.llm.data import preference_pairs
from apo_sim.llm.data.preference_pairs import Pairing, Preference, TopAgainstBottom
from apo_sim.llm.data.prompts import Prompt, as_prompts, folds
from apo_sim.llm.data.rankers import ResponseRanker
from apo_sim.llm.data.responses import Sampler, Sampling, seed_of
from apo_sim.llm.models import stored_parameters
from apo_sim.llm.models.adapters import trained
from apo_sim.llm.models.loading import Model
from apo_sim.llm.models.lora import LoRA
from apo_sim.llm.models.text import dated
from apo_sim.llm.training import _run_file
from apo_sim.llm.training._exploratory_pairs import Explored
from apo_sim.llm.training._judging import Judge
from apo_sim.llm.training._reference import Reference
from apo_sim.llm.training._train_arguments import (
    KINDS,
    as_betas,
    as_method,
    check_batch,
    check_model,
    check_source,
)
from apo_sim.llm.training._watching import response_figures
from apo_sim.llm.training.objectives import Objective
from apo_sim.llm.training.parameter_momentum import Extrapolator, go_beyond
from apo_sim.llm.training.source import (
    DATA,
    ORDER,
    OTHERS,
    Sampled,
    Source,
    Watch,
    check_pairs,
    usable,
)
from apo_sim.llm.training.step import FineTuning, ProximalTrainer, StepDiverged
from apo_sim.losses import DPO, Loss, PointwiseLoss
from apo_sim.momentum import Constant, Momentum, NoMomentum
from apo_sim.progress import bar
from apo_sim.records import as_plain, from_plain, write_record
from apo_sim.self_checking import checks_itself
from apo_sim.transformer_rows import PolicyRow, StepRow

PAPER_BETA = (0.01, 0.1, 1.0)
PAPER_ALPHA = 0.3


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a run leaves behind.

    Attributes:
        model: pi_hat_T, or where ExPO leads from it, with its adapters if it has any; `llm.save`
            merges them.
        rows: every policy judged, in order: the reference, pi_hat_1, pi_1, ... pi_hat_T; empty
            without held-out prompts.
        steps: every inner step.
        pairs: preference pairs of every iteration.
        folder: of the run, or None.
    """

    model: Model
    rows: list[PolicyRow]
    steps: list[StepRow]
    pairs: list[int]
    folder: Path | None


@checked(**KINDS)
@checks_itself
def fine_tune(
    model: Model,
    prompts: Any = None,
    *,
    ranker: ResponseRanker | None = None,
    loss: Loss | PointwiseLoss | Objective = DPO(),
    momentum: Momentum = Constant(PAPER_ALPHA),
    geometry: Geometry = KL(),
    beta: Any = PAPER_BETA,
    iterations: int = 3,
    sampling: Sampling = Sampling(),
    pairing: Pairing = TopAgainstBottom(),
    tuning: FineTuning = FineTuning(),
    lora: LoRA | None = None,
    expo: float = 0.0,
    held_out: Any = None,
    judge_every: bool = True,
    source: Source | None = None,
    seed: int = 0,
    out: str | Path | None = None,
    mesh: jax.sharding.Mesh | None = None,
    progress: bool = True,
    watch_policy: Callable[[int, Any], None] | None = None,
) -> Outcome:
    """Iterative preference optimisation of a transformer, with momentum on its parameters.

    For t = 0 ... T-1: n responses to each prompt of a fold are drawn from pi_t, ranked and paired;
    pi_hat_{t+1} is trained from pi_t with reference pi_t; pi_{t+1} is its extrapolation. The
    defaults are the paper's. Losses and momentum rules are those of the rest of the library.

    Args:
        model: see `apo_sim.llm.load`; trained in place.
        prompts: a JSONL file, texts or `Prompt`s, shared out among the iterations.
        ranker: scores the responses.
        loss: what the proximal step fits: a loss of pairs, one of labelled responses (KTO), or an
            `Objective`, such as `simpo()`, `ipo_per_token()`, `chipo()` and `xpo()`.
        momentum: the rule.
        geometry: the distance of the proximal step: KL, or an f-divergence of `apo_sim.geometry`,
            whose score is a function of log(policy / proximal centre) of the response alone. An
            `Objective` has its own.
        beta: proximal weight; a number or one for each iteration.
        iterations: T, at least 1.
        sampling: how responses are drawn.
        pairing: how scores become pairs.
        tuning: the inner training.
        lora: train adapters, which the model then carries; None: all parameters.
        expo: weight of ExPO, the step beyond pi_hat_T, away from the reference, that a run may
            end with; see `apo_sim.llm.expo`.
        held_out: prompts to judge policies on; None: none is judged.
        judge_every: judge every policy, or else the reference and the last ones alone: pi_hat_T
            and where ExPO leads from it.
        source: of preference pairs, in the place of `prompts`, `ranker`, `sampling`, `pairing`
            and `held_out`.
        seed: all randomness comes from it.
        out: folder of the run. Every stage is kept there, and a run that was stopped at any
            moment goes on to the same result when it is started again. What is damaged or gone
            from it is computed again from the policy that it belongs to, with a warning. A folder
            whose results depend on anything else (weights, tokenizer, settings, versions, device)
            is refused; objects of yours count by their content, see `apo_sim.identity`. None:
            nothing is kept.
        mesh: that the model was loaded on; None: one device.
        progress: show bars, on a terminal.
        watch_policy: told of t and the network when it is pi_hat_t, t = 1 ... T, each once; also of
            those that are read back.

    Returns:
        An `Outcome`; the output of the method is pi_hat_T, or ExPO's.

    Raises:
        InvalidArgument: anything unusable, named, before compilation; a folder of another run, or
            one that another process is at work in; a full disk, and then nothing written is lost.
        StepDiverged: losses, policies or figures that are no finite numbers any more.

    Source: the paper's Algorithm 1 with its section 5.

    Example:
        >>> from apo_sim.llm import Length
        >>> from apo_sim.llm.models import tiny
        >>> outcome = fine_tune(
        ...     tiny.model(num_layers=1),
        ...     ["w3 w4", "w5"],
        ...     ranker=Length(),
        ...     iterations=1,
        ...     beta=1.0,
        ...     sampling=Sampling(max_tokens=8, max_prompt=4, batch=10),
        ...     tuning=FineTuning(batch=2),
        ... )
        >>> len(outcome.steps), outcome.pairs
        (1, [2])
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(interruptible())
        # Transformers are computed in single precision or less, whatever the session's setting.
        stack.enter_context(jax.enable_x64(False))
        if mesh is not None:
            stack.enter_context(mesh)
        moment = _run_file.began(out)
        stack.enter_context(dated(moment))
        betas = as_betas(beta, iterations)
        objective = as_method(loss, momentum, geometry, iterations)
        check_source(source, sampling, prompts=prompts, ranker=ranker, held_out=held_out)
        check_model(model, mesh)
        check_batch(tuning, mesh)
        if lora is not None:
            model = lora.into(model)
        moved = None if lora is None else trained(model.network)
        reference = None
        if objective.anchored or objective.explores or expo:
            reference = Reference(model.network, moved)
        settings = {
            "loss": loss,
            "momentum": momentum,
            "geometry": geometry,
            "ranker": ranker,
            "sampling": sampling,
            "pairing": pairing,
            "tuning": tuning,
            "lora": lora,
            "expo": expo,
            "source": source,
            "iterations": iterations,
            "beta": betas,
            "seed": seed,
        }
        judged = None
        if source is None:
            assert ranker is not None  # check_source has seen to it
            sampler = Sampler(model, sampling)
            settings["prompts"] = asked = _usable("prompts", prompts, sampler, ranker)
            drawn = folds(asked, iterations), sampler, ranker, pairing
            source = Sampled(*drawn)
            if objective.explores and reference is not None:
                source = Explored(*drawn, reference)
            if held_out is not None:
                settings["held_out"] = found = _usable("held_out", held_out, sampler, ranker)
                judged = found, sampler, ranker
        if out is None:
            place = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        else:
            place = stack.enter_context(_run_file.opened(out, model, mesh, settings, moment))
        trainer = ProximalTrainer(model.network, objective, tuning, model.tokenizer.padding)
        run = OuterRun(
            model=model,
            trainer=trainer,
            extrapolator=Extrapolator(model.network, momentum, moved),
            source=source,
            judge=None if judged is None else Judge(model, trainer, *judged, seed),
            judge_every=judge_every,
            betas=betas,
            expo=expo,
            reference=reference,
            seed=seed,
            place=place,
            progress=progress and jax.process_index() == 0,
        )
        outcome = run.all(watch_policy or (lambda t, network: None))
        return dataclasses.replace(outcome, folder=None if out is None else place)


def _usable(name: str, given: Any, sampler: Sampler, ranker: ResponseRanker) -> list[Prompt]:
    return usable(name, as_prompts(name, given), sampler.fits, ranker)


@dataclasses.dataclass
class OuterRun:
    """The path of the policies, walked from its beginning: what is kept is read, the rest computed.

    A run that goes on passes through every policy once more, so that whatever is computed again,
    lost or damaged, is computed from the policy that it belongs to.
    """

    model: Model
    trainer: ProximalTrainer
    extrapolator: Extrapolator
    source: Source
    judge: Judge | None
    judge_every: bool
    betas: list[float]
    expo: float
    reference: Reference | None
    seed: int
    place: Path
    progress: bool
    # What the last step was fitted to, part by part: of all iterations where scores are anchored.
    data: list[tuple[list[Preference], np.ndarray]] = dataclasses.field(default_factory=list)

    def all(self, told: Callable[[int, Any], None]) -> Outcome:
        """From the reference to pi_hat_T."""
        rows: list[PolicyRow] = []
        steps: list[StepRow] = []
        counts: list[int] = []
        if self.judge is not None:
            figures = self.judge.reference(self.place / "reference", self._watching("reference"))
            rows.append(PolicyRow("reference", 0, figures))
        last = len(self.betas)
        for t in range(1, last + 1):
            folder = self.place / f"iteration-{t}"
            log, pairs = self._update(t, folder)
            told(t, self.model.network)
            steps += log
            counts.append(pairs)
            if self.judge_every or t == last:
                rows += self._judged(folder / "judged-hat", t, "pi_hat")
            if t < last:
                self._extrapolate(t)
                if self.judge_every and not isinstance(self.extrapolator.momentum, NoMomentum):
                    rows += self._judged(folder / "judged-centre", t, "pi")
            self._report(rows, steps, counts)
        if self.expo and self.reference is not None:
            go_beyond(self.model.network, self.reference.values, self.expo)
            self._check_finite(last, "ExPO's parameters are not finite")
            rows += self._judged(self.place / f"iteration-{last}" / "judged-expo", last, "expo")
            self._report(rows, steps, counts)
        return Outcome(self.model, rows, steps, counts, None)

    def _update(self, t: int, folder: Path) -> tuple[list[StepRow], int]:
        """From pi_{t-1} to pi_hat_t; what was noted on the way, and how many pairs it took."""
        network, hat = self.model.network, folder / "hat"
        of = stored_parameters.digest(network)
        ready = stages.ready(hat, of)
        if self.trainer.objective.anchored or not ready:
            self.data.append(self._data(t, folder, of))
        if ready:
            stored_parameters.put(network, stored_parameters.read(hat, self._moved()))
            kept = stages.read_json(hat / "log.json")
            return from_plain(list[StepRow], kept["steps"]), kept["pairs"]
        drawn = len(self.data[-1][0])
        if not self.trainer.objective.anchored:
            self.data = self.data[-1:]
        found = [pair for pairs, _ in self.data for pair in pairs]
        reference = np.concatenate([log_probs for _, log_probs in self.data])
        steps = self.trainer.parts(len(found) * self.trainer.tuning.epochs)
        with self._watch(f"iteration {t}: steps", steps) as tick:
            log = self.trainer.step(
                found,
                reference,
                beta=self.betas[t - 1],
                seed=seed_of(self.seed, ORDER, t),
                iteration=t,
                folder=folder / "step",
                tick=tick,
            )
        seen = response_figures(self.data[-1][0], self.model.tokenizer.ends)
        log = [dataclasses.replace(row, **seen) for row in log]
        content = {"steps": as_plain(log), "pairs": drawn}
        stored_parameters.write(
            hat,
            self._moved(),
            of,
            beside=lambda draft: stages.write_json(draft / "log.json", content),
        )
        stages.remove(folder / "step")
        return log, drawn

    def _data(self, t: int, folder: Path, of: str) -> tuple[list[Preference], np.ndarray]:
        """The pairs of an iteration, and the log-probabilities that their scores compare with."""
        stage = folder / "pairs"
        if not stages.ready(stage, of):
            drawn = self.source.pairs(
                self.model,
                t - 1,
                self.betas[t - 1],
                seed_of(self.seed, DATA, t),
                folder,
                self._watching(f"iteration {t}"),
            )
            check_pairs(drawn, self.model)
            if not drawn:
                raise InvalidArgument(
                    "prompts",
                    f"iteration {t}",
                    "gives no pairs: all responses tie",
                    "pass more prompts, more responses, or a ranker with finer scores",
                )
            if self.trainer.objective.needs_others:
                random = np.random.default_rng(seed_of(self.seed, OTHERS, t))
                drawn = preference_pairs.with_others(drawn, random)
            stages.complete(stage, lambda draft: preference_pairs.write(draft, drawn), of)
        # Read back, so that all processes have the first one's, whatever their rankers said.
        found, of = preference_pairs.read(stage), stages.seal(stage)
        stage = folder / "reference"
        if not stages.ready(stage, of):
            parts = self.trainer.parts(len(found))
            at_reference: Any = contextlib.nullcontext()
            if self.trainer.objective.anchored and self.reference is not None:
                at_reference = self.reference.lent()
            with self._watch(f"iteration {t}: log-probabilities", parts) as tick, at_reference:
                reference = self.trainer.log_probs(found, tick)
            if not np.isfinite(reference).all():
                raise self._diverged(t, "the proximal centre's log-probabilities are not finite")
            stages.complete(
                stage, lambda draft: stages.write_array(draft / "log.npy", reference), of
            )
        return found, np.load(stage / "log.npy")

    def _moved(self) -> dict[str, Any]:
        """The parameters that differ from policy to policy."""
        return stored_parameters.of(self.model.network, self.extrapolator.names)

    def _extrapolate(self, t: int) -> None:
        """From pi_hat_t to pi_t; nothing of it is kept, since it follows from the policies kept."""
        self.extrapolator.extrapolate(self.model.network, t)
        self._check_finite(t, "the extrapolated parameters are not finite")

    def _check_finite(self, t: int, what: str) -> None:
        if not stored_parameters.are_finite(self.model.network):
            raise self._diverged(t, what)

    def _diverged(self, t: int, what: str) -> StepDiverged:
        return StepDiverged(self.trainer.tuning.learning_rate, t, what)

    def _judged(self, stage: Path, t: int, policy: str) -> list[PolicyRow]:
        if self.judge is None:
            return []
        name = f"{policy}_{t}"
        row = PolicyRow(name, t, self.judge.figures(stage, self._watching(name)))
        try:
            as_plain(row)
        except ValueError:
            raise self._diverged(t, f"the figures of {name} are not finite") from None
        return [row]

    def _report(self, rows: list[PolicyRow], steps: list[StepRow], counts: list[int]) -> None:
        if jax.process_index() == 0:
            content = {"rows": rows, "steps": steps, "pairs": counts}
            write_record("out", self.place / "results.json", content)

    def _watching(self, where: str) -> Watch:
        return lambda what, total: self._watch(f"{where}: {what}", total)

    @contextlib.contextmanager
    def _watch(self, what: str, total: int) -> Iterator[Callable[[int], None]]:
        with bar(what, total, 0, self.progress) as tick:
            yield tick
