"""Judging policies on held-out prompts, against the reference policy's responses to them."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from apo_sim.llm import parameters, stages
from apo_sim.llm.evaluation import Judged, divergence, summary
from apo_sim.llm.models import Model
from apo_sim.llm.pairs import Preference, Tokens
from apo_sim.llm.prompts import Prompt
from apo_sim.llm.rankers import Ranker, check_scores
from apo_sim.llm.sampling import Response, Sampler
from apo_sim.llm.source import JUDGED, Watch, ended, responses, seed_of
from apo_sim.llm.step import ProximalTrainer

Row = dict[str, Any]


class Judge:
    """Draws one response to every held-out prompt, with the same random numbers for all policies.

    Args:
        model: at the reference policy, which is remembered in the host's memory.
        trainer: computes log-probabilities.
        prompts: held out.
        sampler: draws responses from the model.
        ranker: scores them.
        seed: all randomness comes from it.
    """

    def __init__(
        self,
        model: Model,
        trainer: ProximalTrainer,
        prompts: Sequence[Prompt],
        sampler: Sampler,
        ranker: Ranker,
        seed: int,
    ):
        self.model, self.trainer, self.prompts = model, trainer, prompts
        self.sampler, self.ranker, self.seed = sampler, ranker, seed
        self._parameters = parameters.to_host(parameters.of(model.network))

    def reference(self, stage: Path, watch: Watch) -> Row:
        """The row of the reference policy, which the model must be at; comes before all others."""
        drawn, scores = self._draw(stage, watch)
        self._tokens = [ended(response, self.model.tokenizer.end) for response in drawn]
        self._reference = _judged(drawn, scores, np.zeros((2, len(drawn))))
        return summary(self.prompts, self._reference, self._reference, self.seed)

    def row(self, stage: Path, watch: Watch) -> Row:
        """The row of the policy that the model is at, or of what is kept of it."""
        if not stages.ready(stage):
            drawn, scores = self._draw(stage.with_name(f"{stage.name}-drawn"), watch)
            found = dataclasses.asdict(_judged(drawn, scores, self._divergences(drawn, watch)))
            stages.complete(stage, lambda draft: stages.write_json(draft / "judged.json", found))
        judged = Judged(**json.loads((stage / "judged.json").read_text()))
        return summary(self.prompts, judged, self._reference, self.seed)

    def _draw(self, stage: Path, watch: Watch) -> tuple[list[Response], list[float]]:
        asked = [prompt.text for prompt in self.prompts]
        seed = seed_of(self.seed, JUDGED)
        drawn = responses(self.sampler, asked, seed, stage / "answers", watch)
        scores = [
            float(check_scores(self.ranker.scores(prompt, [r.text]), [r])[0])
            for prompt, r in zip(self.prompts, drawn, strict=True)
        ]
        return drawn, scores

    def _divergences(self, drawn: Sequence[Response], watch: Watch) -> np.ndarray:
        """Of the policy from the reference, along its responses, and the reverse, (2, prompts).

        The reference takes the policy's place on the devices for as long as that takes.
        """
        network, pairs = self.model.network, self._beside_reference(drawn)
        with watch("log-probabilities", 2 * self.trainer.parts(len(pairs))) as tick:
            own = self.trainer.token_log_probs(pairs, tick)
            policy = parameters.to_host(parameters.of(network))
            parameters.put(network, self._parameters)
            reference = self.trainer.token_log_probs(pairs, tick)
            parameters.put(network, policy)
        forward = divergence(own[:, 0], reference[:, 0])
        return np.stack([forward, divergence(reference[:, 1], own[:, 1])])

    def _beside_reference(self, drawn: Sequence[Response]) -> list[Preference]:
        """Each response beside the reference's, so that both are scored in one pass."""
        tokenizer = self.model.tokenizer

        def pair(prompt: Prompt, response: Response, other: Tokens) -> Preference:
            asked = tuple(tokenizer.prompt_tokens(prompt.text))
            return Preference(asked, ended(response, tokenizer.end), other)

        return [pair(*three) for three in zip(self.prompts, drawn, self._tokens, strict=True)]


def _judged(drawn: Sequence[Response], scores: list[float], divergences: np.ndarray) -> Judged:
    return Judged(
        texts=[response.text for response in drawn],
        tokens=[len(response.tokens) for response in drawn],
        scores=scores,
        divergence=divergences[0].tolist(),
        reverse_divergence=divergences[1].tolist(),
    )
