"""The outer loop on a transformer: sample, rank, pair, proximal step, extrapolation, evaluation."""

import contextlib
import dataclasses
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from apo_sim.checks import as_count, check_positive
from apo_sim.errors import InvalidArgument
from apo_sim.llm import evaluation, parameters, stages
from apo_sim.llm.evaluation import Judged
from apo_sim.llm.extrapolation import Extrapolator
from apo_sim.llm.lora import LoRA, adapted
from apo_sim.llm.models import Model
from apo_sim.llm.pairs import Pairing, Preference, TopAgainstBottom
from apo_sim.llm.prompts import Prompt, as_prompts, folds
from apo_sim.llm.rankers import Ranker, check_scores
from apo_sim.llm.sampling import Sampler, Sampling
from apo_sim.llm.source import Sampled, Source, ended, responses, seed_of, usable
from apo_sim.llm.step import FineTuning, ProximalTrainer
from apo_sim.losses import DPO, Loss
from apo_sim.momentum import Constant, Momentum, NoMomentum
from apo_sim.progress import bar

PAPER_BETA = (0.01, 0.1, 1.0)
PAPER_ALPHA = 0.3
# Purposes that randomness is drawn for.
_DATA, _ORDER, _JUDGED = range(3)


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a run leaves behind.

    Attributes:
        model: pi_hat_T.
        rows: figures of every policy, in order: the reference, pi_hat_1, pi_1, ... pi_hat_T; each
            with `policy`, `iteration` and those of `evaluation.summary`; empty without held-out
            prompts.
        steps: loss, margin, accuracy and learning rate of every inner step, with `iteration`.
        pairs: preference pairs of every iteration.
        folder: of the run, or None.
    """

    model: Model
    rows: list[dict[str, Any]]
    steps: list[dict[str, Any]]
    pairs: list[int]
    folder: Path | None


def train(
    model: Model,
    prompts: Any = None,
    *,
    ranker: Ranker | None = None,
    loss: Loss = DPO(),
    momentum: Momentum = Constant(PAPER_ALPHA),
    beta: Any = PAPER_BETA,
    iterations: int = 3,
    sampling: Sampling = Sampling(),
    pairing: Pairing = TopAgainstBottom(),
    tuning: FineTuning = FineTuning(),
    lora: LoRA | None = None,
    held_out: Any = None,
    source: Source | None = None,
    seed: int = 0,
    out: str | Path | None = None,
    mesh: jax.sharding.Mesh | None = None,
    configuration: Mapping[str, Any] | None = None,
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
        loss: what the proximal step fits.
        momentum: the rule.
        beta: proximal weight; a number or one for each iteration.
        iterations: T, at least 1.
        sampling: how responses are drawn.
        pairing: how scores become pairs.
        tuning: the inner training.
        lora: train adapters and merge them after each iteration; None: all parameters.
        held_out: prompts to judge every policy on; None: none is judged.
        source: of preference pairs, in the place of `prompts`, `ranker`, `sampling`, `pairing`.
        seed: all randomness comes from it.
        out: folder of the run. Every stage is kept there, and a run that was stopped at any
            moment goes on to the same result when it is started again; None: nothing is kept.
        mesh: that the model was loaded on; None: one device.
        configuration: what else the result depends on, as plain data: a folder of another
            configuration is refused.
        progress: show bars, on a terminal.
        watch_policy: told of t and the network whenever it is pi_hat_t, t = 1 ... T.

    Returns:
        An `Outcome`; the output of the method is pi_hat_T.

    Raises:
        InvalidArgument: anything unusable, named, before compilation; a folder of another run; a
            checkpoint that is damaged; a full disk, and then nothing written is lost.

    Source: the paper's Algorithm 1 with its section 5.
    """
    iterations = as_count("iterations", iterations)
    betas = _betas(beta, iterations)
    with contextlib.ExitStack() as stack:
        # Transformers are computed in single precision or less, whatever the session's setting.
        stack.enter_context(jax.enable_x64(False))
        if mesh is not None:
            stack.enter_context(mesh)
        if lora is not None:
            model = lora.into(model)
        judge = None
        if source is None:
            source, judge = _sources(
                model, prompts, held_out, ranker, iterations, sampling, pairing, seed
            )
        place = Path(stack.enter_context(tempfile.TemporaryDirectory()) if out is None else out)
        plan = {
            "iterations": iterations,
            "beta": betas,
            "seed": seed,
            "loss": repr(loss),
            "momentum": repr(momentum),
            "model": model.name,
            **(configuration or {}),
        }
        _check_same(place, plan)
        run = _Run(model, loss, momentum, betas, tuning, lora, source, judge, seed, place, progress)
        outcome = run.all(watch_policy or (lambda t, network: None))
        return dataclasses.replace(outcome, folder=None if out is None else place)


def _sources(
    model: Model,
    prompts: Any,
    held_out: Any,
    ranker: Ranker | None,
    iterations: int,
    sampling: Sampling,
    pairing: Pairing,
    seed: int,
) -> tuple[Source, "_Judge | None"]:
    """Where pairs come from, and who judges, of the prompts that can be used."""
    for name, given in (("prompts", prompts), ("ranker", ranker)):
        if given is None:
            raise InvalidArgument(name, None, "is missing", "pass one")
    assert ranker is not None
    fits = Sampler(model, sampling).fits
    chosen = usable("prompts", as_prompts("prompts", prompts), fits, ranker)
    folds(chosen, iterations)
    source = Sampled(chosen, iterations, sampling, ranker, pairing)
    if held_out is None:
        return source, None
    judged = usable("held_out", as_prompts("held_out", held_out), fits, ranker)
    return source, _Judge(judged, sampling, ranker, seed)


@dataclasses.dataclass
class _Judge:
    """Draws responses to the held-out prompts, and holds them against the reference policy's."""

    prompts: Sequence[Prompt]
    sampling: Sampling
    ranker: Ranker
    seed: int
    reference: Judged | None = None
    reference_tokens: list[tuple[int, ...]] = dataclasses.field(default_factory=list)

    def draw(self, model: Model, folder: Path, watch: Any) -> tuple[list[Any], list[float]]:
        asked = [prompt.text for prompt in self.prompts]
        # Every policy answers with the same random numbers.
        seed = seed_of(self.seed, _JUDGED)
        drawn = responses(model, asked, self.sampling, seed, folder / "answers", watch)
        scores = [
            float(check_scores(self.ranker.scores(prompt, [r.text]), [r])[0])
            for prompt, r in zip(self.prompts, drawn, strict=True)
        ]
        return drawn, scores

    def beside_reference(self, model: Model, drawn: Sequence[Any]) -> list[Preference]:
        """Each response beside the reference's, so that both are scored in one pass."""
        end, tokenizer = model.tokenizer.end, model.tokenizer
        return [
            Preference(tuple(tokenizer.prompt_tokens(prompt.text)), ended(response, end), other)
            for prompt, response, other in zip(
                self.prompts, drawn, self.reference_tokens, strict=True
            )
        ]


class _Run:
    def __init__(
        self, model, loss, momentum, betas, tuning, lora, source, judge, seed, place, progress
    ):
        self.model, self.momentum, self.betas, self.lora = model, momentum, betas, lora
        self.source, self.judge, self.seed, self.place = source, judge, seed, place
        self.progress = progress and jax.process_index() == 0
        paths = None if lora is None else adapted(model.network)
        self.trainer = ProximalTrainer(model.network, loss, tuning, model.tokenizer.padding)
        self.extrapolator = Extrapolator(model.network, momentum, paths)
        self.reference = None if judge is None else parameters.to_host(parameters.of(model.network))

    def all(self, told: Callable[[int, Any], None]) -> Outcome:
        rows, steps, pairs = [], [], []
        if self.judge is not None:
            rows.append(self._judge_reference())
        last = len(self.betas)
        resumed = self._resume()
        for t in range(1, last + 1):
            folder = self.place / f"iteration-{t}"
            if t > resumed:
                self._update(t, folder)
                told(t, self.model.network)
            log = json.loads((folder / "hat" / "log.json").read_text())
            steps += [{"iteration": t, **entry} for entry in log["steps"]]
            pairs.append(log["pairs"])
            rows += self._judged(folder / "judged-hat", t, "pi_hat")
            if t > resumed and t < last:
                self._extrapolate(t, folder)
            if t < last and not isinstance(self.momentum, NoMomentum):
                rows += self._judged(folder / "judged-centre", t, "pi")
            self._forget(t)
            self._report(rows, steps, pairs)
        return Outcome(self.model, rows, steps, pairs, None)

    def _resume(self) -> int:
        """Go to where the last proximal centre was kept: how many iterations are done."""
        for t in range(len(self.betas), 0, -1):
            folder = self.place / f"iteration-{t}"
            if stages.ready(folder / "centre"):
                kept = {"policy": parameters.of(self.model.network), "momentum": self._momentum()}
                kept = parameters.read(folder / "centre", kept)
                parameters.put(self.model.network, kept["policy"])
                self._set_momentum(kept["momentum"])
                return t
        return 0

    def _update(self, t: int, folder: Path) -> None:
        """From pi_{t-1} to pi_hat_t: data, proximal step, and what is kept of them."""
        network, hat = self.model.network, folder / "hat"
        if stages.ready(hat):
            parameters.put(network, parameters.read(hat, parameters.of(network)))
            return
        found, reference = self._data(t, folder)
        parts = self.trainer.steps(len(found)) * self.trainer.tuning.accumulate
        with self._watch(f"iteration {t}: steps", parts) as tick:
            log = self.trainer.step(
                found,
                reference,
                beta=self.betas[t - 1],
                seed=seed_of(self.seed, _ORDER, t),
                folder=folder / "step",
                tick=tick,
            )
        if self.lora is not None:
            self.lora.merge(network)
        content = {"steps": log, "pairs": len(found)}
        parameters.write(
            hat,
            parameters.of(network),
            beside=lambda draft: stages.write_json(draft / "log.json", content),
        )
        stages.remove(folder / "step")

    def _data(self, t: int, folder: Path) -> tuple[list[Preference], np.ndarray]:
        """The pairs of an iteration and their log-probabilities under the proximal centre.

        Both are kept: once the step has begun, the centre is no more.
        """
        stage = folder / "pairs"
        if not stages.ready(stage):
            found = self.source.pairs(
                self.model,
                t - 1,
                self.betas[t - 1],
                seed_of(self.seed, _DATA, t),
                folder,
                self._watching(f"iteration {t}"),
            )
            if not found:
                raise InvalidArgument(
                    "prompts",
                    f"iteration {t}",
                    "gives no pairs: all responses tie",
                    "pass more prompts, more responses, or a ranker with finer scores",
                )
            parts = -(-len(found) // self.trainer.tuning.batch) * self.trainer.tuning.accumulate
            with self._watch(f"iteration {t}: log-probabilities", parts) as tick:
                reference = self.trainer.log_probs(found, tick)

            def write(draft: Path) -> None:
                if jax.process_index() == 0:
                    np.save(draft / "reference.npy", reference)
                stages.write_json(draft / "pairs.json", [dataclasses.astuple(p) for p in found])

            stages.complete(stage, write)
        entries = json.loads((stage / "pairs.json").read_text())
        found = [
            Preference(tuple(asked), tuple(winner), tuple(loser), *numbers)
            for asked, winner, loser, *numbers in entries
        ]
        return found, np.load(stage / "reference.npy")

    def _extrapolate(self, t: int, folder: Path) -> None:
        self.extrapolator.extrapolate(self.model.network, t)
        kept = {"policy": parameters.of(self.model.network), "momentum": self._momentum()}
        parameters.write(folder / "centre", kept)

    def _momentum(self) -> dict[str, Any]:
        return {".".join(map(str, path)): s for path, s in self.extrapolator.state.items()}

    def _set_momentum(self, kept: dict[str, Any]) -> None:
        state = self.extrapolator.state
        for path in state:
            state[path] = parameters.to_host(kept[".".join(map(str, path))])

    def _forget(self, t: int) -> None:
        """What no resumption can need any more: one proximal centre is enough."""
        last = t == len(self.betas)
        if t > 1 and not last:
            stages.remove(self.place / f"iteration-{t - 1}" / "centre")

    def _judge_reference(self) -> dict[str, Any]:
        judge = self.judge
        assert judge is not None
        stage = self.place / "reference"
        drawn, scores = judge.draw(
            self.model, stage, lambda w, n: self._watch(f"reference: {w}", n)
        )
        judge.reference_tokens = [ended(r, self.model.tokenizer.end) for r in drawn]
        none = [0.0] * len(drawn)
        judge.reference = Judged(
            [r.text for r in drawn], [len(r.tokens) for r in drawn], scores, none, none
        )
        figures = evaluation.summary(judge.prompts, judge.reference, judge.reference, self.seed)
        return {"policy": "reference", "iteration": 0, **figures}

    def _judged(self, stage: Path, t: int, policy: str) -> list[dict[str, Any]]:
        judge = self.judge
        if judge is None or judge.reference is None:
            return []
        if not stages.ready(stage):
            name = f"{policy}_{t}"
            drawn, scores = judge.draw(
                self.model, stage.with_name(f"{stage.name}-drawn"), self._watching(name)
            )
            ratio = self._log_ratio(judge.beside_reference(self.model, drawn), name)
            texts, tokens = [r.text for r in drawn], [len(r.tokens) for r in drawn]
            judged = Judged(texts, tokens, scores, ratio[:, 0].tolist(), ratio[:, 1].tolist())
            content = dataclasses.asdict(judged)
            stages.complete(stage, lambda d: stages.write_json(d / "judged.json", content))
        judged = Judged(**json.loads((stage / "judged.json").read_text()))
        figures = evaluation.summary(judge.prompts, judged, judge.reference, self.seed)
        return [{"policy": f"{policy}_{t}", "iteration": t, **figures}]

    def _log_ratio(self, pairs: list[Preference], name: str) -> np.ndarray:
        """log policy - log reference policy of both responses, shape (pairs, 2).

        The reference takes the policy's place on the devices for as long as that takes.
        """
        network, parts = self.model.network, -(-len(pairs) // self.trainer.tuning.batch)
        parts *= self.trainer.tuning.accumulate
        with self._watch(f"{name}: log-probabilities", 2 * parts) as tick:
            own = self.trainer.log_probs(pairs, tick)
            policy = parameters.to_host(parameters.of(network))
            parameters.put(network, self.reference or {})
            reference = self.trainer.log_probs(pairs, tick)
            parameters.put(network, policy)
        return own - reference

    def _report(self, rows: list[Any], steps: list[Any], pairs: list[int]) -> None:
        if jax.process_index() == 0:
            content = {"rows": rows, "steps": steps, "pairs": pairs}
            draft = self.place / ".results.json"
            draft.write_text(json.dumps(content, indent=1))
            draft.replace(self.place / "results.json")

    def _watching(self, where: str) -> Callable[[str, int], Any]:
        return lambda what, total: self._watch(f"{where}: {what}", total)

    @contextlib.contextmanager
    def _watch(self, what: str, total: int) -> Iterator[Callable[[int], None]]:
        with bar(what, total, 0, self.progress) as tick:
            yield tick


def _betas(beta: Any, iterations: int) -> list[float]:
    check_positive("beta", beta)
    values = np.asarray(beta, float)
    if values.shape not in ((), (iterations,)):
        raise InvalidArgument(
            "beta", beta, f"has shape {values.shape}", f"pass one number, or {iterations}"
        )
    return [float(value) for value in np.broadcast_to(values, iterations)]


def _check_same(place: Path, plan: dict[str, Any]) -> None:
    """Refuse a folder of something else, and begin an empty one."""
    file = place / "run.json"
    try:
        place.mkdir(parents=True, exist_ok=True)
        if not file.is_file():
            if any(place.iterdir()) and jax.process_index() == 0:
                raise InvalidArgument(
                    "out", str(place), "holds something else", "choose an empty or a new folder"
                )
            stages.together("plan")
            stages.write_json(file, plan)
            stages.together("planned")
            return
    except OSError as error:
        raise stages.cannot_write(place, error) from error
    theirs, ours = json.loads(file.read_text()), json.loads(json.dumps(plan))
    for name in (*ours, *(name for name in theirs if name not in ours)):
        if theirs.get(name) != ours.get(name):
            raise InvalidArgument(
                "out",
                str(place),
                f"holds another run: {name} is {theirs.get(name)!r} there and "
                f"{ours.get(name)!r} here",
                "choose an empty or a new folder",
            )
