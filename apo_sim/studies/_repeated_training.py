"""Many runs of one transformer in one process, that compile once."""

import contextlib
import dataclasses
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax

from apo_sim.llm import FineTuning, Model, ResponseRanker, Sampling
from apo_sim.llm.data.prompts import as_prompts, folds
from apo_sim.llm.data.responses import Sampler
from apo_sim.llm.models import stored_parameters
from apo_sim.llm.training.judging import Judge, Row
from apo_sim.llm.training.objectives import Objective, as_objective
from apo_sim.llm.training.outer import OuterRun
from apo_sim.llm.training.parameter_momentum import Extrapolator, go_beyond
from apo_sim.llm.training.source import Sampled
from apo_sim.llm.training.step import ProximalTrainer


class RepeatedTraining:
    """Runs of `apo_sim.llm.fine_tune`, one after another, with one trainer for each objective.

    `fine_tune` traces its programs anew in every call, which takes longer than a run of so small a
    model.

    Args:
        model: every run begins with its parameters as they are now.
        sampling: how responses are drawn.
        tuning: the inner training; its learning rate is that of no run.
    """

    def __init__(self, model: Model, sampling: Sampling, tuning: FineTuning):
        self.model, self.tuning = model, tuning
        with jax.enable_x64(False):
            self.sampler = Sampler(model, sampling)
            self._begin = stored_parameters.to_host(stored_parameters.of(model.network))
            self._trainers: list[tuple[Objective, ProximalTrainer]] = []

    def train(
        self,
        prompts: Sequence[str],
        *,
        held_out: Sequence[str],
        ranker: ResponseRanker,
        loss: Any,
        momentum: Any,
        beta: Sequence[float],
        expo: float,
        learning_rate: float,
        seed: int,
    ) -> tuple[list[Row], list[int]]:
        """One run, judged at its end: there is an iteration to each of `beta`.

        Returns:
            Rows of pi_hat_T and, with `expo`, of where that leads, as `apo_sim.llm.fine_tune` has
            them; pairs of every iteration.
        """
        network = self.model.network
        with jax.enable_x64(False), tempfile.TemporaryDirectory() as folder:
            stored_parameters.put(network, self._begin)
            trainer, place = self._trainer(as_objective(loss), learning_rate), Path(folder)
            asked, judged = as_prompts("prompts", prompts), as_prompts("held_out", held_out)
            judge = Judge(self.model, trainer, judged, self.sampler, ranker, seed)
            judge.reference(place / "reference", _unseen)
            run = OuterRun(
                model=self.model,
                trainer=trainer,
                extrapolator=Extrapolator(network, momentum),
                source=Sampled(folds(asked, len(beta)), self.sampler, ranker),
                judge=None,
                betas=[float(weight) for weight in beta],
                expo=0.0,
                reference=None,
                seed=seed,
                place=place,
                progress=False,
            )
            pairs = run.all(lambda t, network: None).pairs
            rows = [judge.row(place / "hat", _unseen)]
            if expo:
                go_beyond(network, self._begin, expo)
                rows.append(judge.row(place / "expo", _unseen))
            return rows, pairs

    def _trainer(self, objective: Objective, learning_rate: float) -> ProximalTrainer:
        tuning = dataclasses.replace(self.tuning, learning_rate=learning_rate)
        for known, trainer in self._trainers:
            if known == objective:
                trainer.tuning = tuning
                return trainer
        made = ProximalTrainer(self.model.network, objective, tuning, self.model.tokenizer.padding)
        self._trainers.append((objective, made))
        return made


@contextlib.contextmanager
def _unseen(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """A progress bar that nobody sees."""
    del what, total
    yield lambda number: None
