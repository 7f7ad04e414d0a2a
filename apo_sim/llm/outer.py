"""The outer loop on a transformer: sample, rank, pair, proximal step, extrapolation, evaluation."""

import contextlib
import dataclasses
import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np

from apo_sim.checks import as_count, check_positive
from apo_sim.configuration import check_same, described
from apo_sim.errors import InvalidArgument
from apo_sim.llm import pairs, parameters, stages
from apo_sim.llm.extrapolation import Extrapolator
from apo_sim.llm.judge import Judge
from apo_sim.llm.lora import LoRA, adapted
from apo_sim.llm.models import Model
from apo_sim.llm.pairs import Pairing, Preference, TopAgainstBottom
from apo_sim.llm.prompts import Prompt, as_prompts, digest, folds
from apo_sim.llm.rankers import Ranker
from apo_sim.llm.sampling import Sampler, Sampling
from apo_sim.llm.source import DATA, ORDER, Sampled, Source, Watch, seed_of, usable
from apo_sim.llm.step import FineTuning, ProximalTrainer
from apo_sim.losses import DPO, Loss
from apo_sim.momentum import Constant, Momentum, NoMomentum
from apo_sim.progress import bar

PAPER_BETA = (0.01, 0.1, 1.0)
PAPER_ALPHA = 0.3


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
        source: of preference pairs, in the place of `prompts`, `ranker`, `sampling`, `pairing`
            and `held_out`.
        seed: all randomness comes from it.
        out: folder of the run. Every stage is kept there, and a run that was stopped at any
            moment goes on to the same result when it is started again; the folder of a run with
            other arguments is refused. None: nothing is kept.
        mesh: that the model was loaded on; None: one device.
        progress: show bars, on a terminal.
        watch_policy: told of t and the network whenever it is pi_hat_t, t = 1 ... T.

    Returns:
        An `Outcome`; the output of the method is pi_hat_T.

    Raises:
        InvalidArgument: anything unusable, named, before compilation; a folder of another run; a
            checkpoint that is damaged; a full disk, and then nothing written is lost.

    Source: the paper's Algorithm 1 with its section 5.

    Example:
        >>> from apo_sim.llm import Length, tiny
        >>> outcome = train(
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
    iterations = as_count("iterations", iterations)
    betas = _betas(beta, iterations)
    with contextlib.ExitStack() as stack:
        # Transformers are computed in single precision or less, whatever the session's setting.
        stack.enter_context(jax.enable_x64(False))
        if mesh is not None:
            stack.enter_context(mesh)
        if lora is not None:
            model = lora.into(model)
        settings = {
            "loss": loss,
            "momentum": momentum,
            "ranker": ranker,
            "sampling": sampling,
            "pairing": pairing,
            "tuning": tuning,
            "lora": lora,
            "source": source,
        }
        plan = {
            "iterations": iterations,
            "beta": betas,
            "seed": seed,
            "model": f"{model.name}, {parameters.digest(model.network)}",
            **{name: described(value) for name, value in settings.items()},
        }
        judged = None
        if source is None:
            if ranker is None:
                raise InvalidArgument("ranker", None, "is missing", "pass one, as Verifiable()")
            sampler = Sampler(model, sampling)
            asked = _usable("prompts", prompts, sampler, ranker)
            plan["prompts"] = digest(asked)
            source = Sampled(folds(asked, iterations), sampler, ranker, pairing)
            if held_out is not None:
                found = _usable("held_out", held_out, sampler, ranker)
                plan["held_out"] = digest(found)
                judged = found, sampler, ranker
        place = Path(stack.enter_context(tempfile.TemporaryDirectory()) if out is None else out)
        _begin(place, plan)
        trainer = ProximalTrainer(model.network, loss, tuning, model.tokenizer.padding)
        run = _Run(
            model=model,
            trainer=trainer,
            extrapolator=Extrapolator(
                model.network, momentum, None if lora is None else adapted(model.network)
            ),
            source=source,
            judge=None if judged is None else Judge(model, trainer, *judged, seed),
            betas=betas,
            lora=lora,
            seed=seed,
            place=place,
            progress=progress and jax.process_index() == 0,
        )
        outcome = run.all(watch_policy or (lambda t, network: None))
        return dataclasses.replace(outcome, folder=None if out is None else place)


def _usable(name: str, given: Any, sampler: Sampler, ranker: Ranker) -> list[Prompt]:
    return usable(name, as_prompts(name, given), sampler.fits, ranker)


@dataclasses.dataclass
class _Run:
    """A run between two moments at which it may be killed: all of it is in the folder."""

    model: Model
    trainer: ProximalTrainer
    extrapolator: Extrapolator
    source: Source
    judge: Judge | None
    betas: list[float]
    lora: LoRA | None
    seed: int
    place: Path
    progress: bool

    def all(self, told: Callable[[int, Any], None]) -> Outcome:
        """Go on from what is kept to pi_hat_T."""
        rows, steps, counts = [], [], []
        if self.judge is not None:
            figures = self.judge.reference(self.place / "reference", self._watching("reference"))
            rows.append({"policy": "reference", "iteration": 0, **figures})
        last = len(self.betas)
        resumed = self._resume()
        for t in range(1, last + 1):
            folder = self.place / f"iteration-{t}"
            if t > resumed:
                self._update(t, folder)
                told(t, self.model.network)
            log = json.loads((folder / "hat" / "log.json").read_text())
            steps += [{"iteration": t, **entry} for entry in log["steps"]]
            counts.append(log["pairs"])
            rows += self._judged(folder / "judged-hat", t, "pi_hat")
            if t < last:
                if t > resumed:
                    self._extrapolate(t, folder)
                if not isinstance(self.extrapolator.momentum, NoMomentum):
                    rows += self._judged(folder / "judged-centre", t, "pi")
                # One proximal centre is enough to go on from.
                stages.remove(self.place / f"iteration-{t - 1}" / "centre")
            self._report(rows, steps, counts)
        return Outcome(self.model, rows, steps, counts, None)

    def _resume(self) -> int:
        """Go to where the last proximal centre was kept: how many iterations are done."""
        for t in range(len(self.betas), 0, -1):
            folder = self.place / f"iteration-{t}"
            if stages.ready(folder / "centre"):
                kept = parameters.read(folder / "centre", self._centre())
                parameters.put(self.model.network, kept["policy"])
                self.extrapolator.state = parameters.to_host(kept["momentum"])
                return t
        return 0

    def _update(self, t: int, folder: Path) -> None:
        """From pi_{t-1} to pi_hat_t: data, proximal step, and what is kept of them."""
        network, hat = self.model.network, folder / "hat"
        if stages.ready(hat):
            parameters.put(network, parameters.read(hat, parameters.of(network)))
            return
        found, reference = self._data(t, folder)
        steps = self.trainer.parts(len(found) * self.trainer.tuning.epochs)
        with self._watch(f"iteration {t}: steps", steps) as tick:
            log = self.trainer.step(
                found,
                reference,
                beta=self.betas[t - 1],
                seed=seed_of(self.seed, ORDER, t),
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
            drawn = self.source.pairs(
                self.model,
                t - 1,
                self.betas[t - 1],
                seed_of(self.seed, DATA, t),
                folder,
                self._watching(f"iteration {t}"),
            )
            if not drawn:
                raise InvalidArgument(
                    "prompts",
                    f"iteration {t}",
                    "gives no pairs: all responses tie",
                    "pass more prompts, more responses, or a ranker with finer scores",
                )
            stages.complete(stage, lambda draft: pairs.write(draft, drawn))
        # Read back, so that all processes have the first one's, whatever their rankers said.
        found = pairs.read(stage)
        stage = folder / "reference"
        if not stages.ready(stage):
            parts = self.trainer.parts(len(found))
            with self._watch(f"iteration {t}: log-probabilities", parts) as tick:
                reference = self.trainer.log_probs(found, tick)
            stages.complete(stage, lambda draft: stages.write_array(draft / "log.npy", reference))
        return found, np.load(stage / "log.npy")

    def _extrapolate(self, t: int, folder: Path) -> None:
        self.extrapolator.extrapolate(self.model.network, t)
        parameters.write(folder / "centre", self._centre())

    def _centre(self) -> dict[str, Any]:
        """What the next iteration starts from."""
        policy = parameters.of(self.model.network)
        return {"policy": policy, "momentum": self.extrapolator.state}

    def _judged(self, stage: Path, t: int, policy: str) -> list[dict[str, Any]]:
        if self.judge is None:
            return []
        name = f"{policy}_{t}"
        figures = self.judge.row(stage, self._watching(name))
        return [{"policy": name, "iteration": t, **figures}]

    def _report(self, rows: list[Any], steps: list[Any], counts: list[int]) -> None:
        if jax.process_index() == 0:
            content = {"rows": rows, "steps": steps, "pairs": counts}
            draft = self.place / ".results.json"
            draft.write_text(json.dumps(content, indent=1))
            draft.replace(self.place / "results.json")

    def _watching(self, where: str) -> Watch:
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


def _begin(place: Path, plan: dict[str, Any]) -> None:
    """Refuse a folder of something else, and begin an empty one."""
    file = place / "run.json"
    try:
        place.mkdir(parents=True, exist_ok=True)
        if file.is_file():
            theirs = json.loads(file.read_text())
            check_same(place, "run", theirs, json.loads(json.dumps(plan)))
            return
        if any(place.iterdir()) and jax.process_index() == 0:
            raise InvalidArgument(
                "out", str(place), "holds something else", "choose an empty or a new folder"
            )
        stages.together("looked")
        stages.write_json(file, plan)
    except OSError as error:
        raise stages.cannot_write(place, error) from error
