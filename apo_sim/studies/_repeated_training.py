"""Many runs of one transformer in one process, each from where the first began."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax

from apo_sim.llm import FineTuning, Model, Sampling, fine_tune
from apo_sim.llm.models import stored_parameters
from apo_sim.transformer_rows import PolicyRow


class RepeatedTraining:
    """Runs of `apo_sim.llm.fine_tune`, one after another: the model is loaded and compiled once.

    Args:
        model: every run begins with its parameters as they are now.
        sampling: how responses are drawn.
        tuning: the inner training; its learning rate is that of no run.
    """

    def __init__(self, model: Model, sampling: Sampling, tuning: FineTuning):
        self.model, self.sampling, self.tuning = model, sampling, tuning
        with jax.enable_x64(False):
            self._begin = stored_parameters.to_host(stored_parameters.of(model.network))

    def train(
        self,
        prompts: Sequence[str],
        *,
        learning_rate: float,
        beta: Sequence[float],
        **settings: Any,
    ) -> tuple[list[PolicyRow], list[int]]:
        """One run, judged at its end: there is an iteration to each of `beta`.

        Args:
            prompts: of all iterations.
            learning_rate: of this run.
            beta: proximal weight of every iteration.
            settings: further arguments of `apo_sim.llm.fine_tune`.

        Returns:
            Rows of pi_hat_T and, with `expo`, of where that leads, as `apo_sim.llm.fine_tune` has
            them; pairs of every iteration.
        """
        stored_parameters.put(self.model.network, self._begin)
        outcome = fine_tune(
            self.model,
            prompts,
            iterations=len(beta),
            beta=list(beta),
            sampling=self.sampling,
            tuning=dataclasses.replace(self.tuning, learning_rate=learning_rate),
            judge_every=False,
            progress=False,
            **settings,
        )
        return outcome.rows[1:], outcome.pairs
