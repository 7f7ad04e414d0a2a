"""Judging policies on held-out prompts, against the reference policy's responses to them."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from apo_sim.llm import stages
from apo_sim.llm.data.preference_pairs import Preference, Tokens
from apo_sim.llm.data.prompts import Prompt
from apo_sim.llm.data.rankers import ResponseRanker, check_scores
from apo_sim.llm.data.responses import Response, Sampler, seed_of
from apo_sim.llm.evaluation.held_out import Judged, summary
from apo_sim.llm.models import stored_parameters
from apo_sim.llm.models.loading import Model
from apo_sim.llm.training.source import JUDGED, Watch, ended, responses
from apo_sim.llm.training.step import ProximalTrainer
from apo_sim.statistics import divergence
from apo_sim.transformer_rows import HeldOutFigures


class Judge:
    """Draws one response to every held-out prompt, with the same random numbers for all policies.

    Args:
        model: at the reference policy, which is remembered in the host's memory.
        trainer: computes log-probabilities.
        prompts: held out.
        sampler: draws responses from the model.
        ranker: scores them, each beside the reference's response to the same prompt.
        seed: all randomness comes from it.
    """

    def __init__(
        self,
        model: Model,
        trainer: ProximalTrainer,
        prompts: Sequence[Prompt],
        sampler: Sampler,
        ranker: ResponseRanker,
        seed: int,
    ) -> None:
        self.model: Model = model
        self.trainer: ProximalTrainer = trainer
        self.prompts: Sequence[Prompt] = prompts
        self.sampler: Sampler = sampler
        self.ranker: ResponseRanker = ranker
        self.seed: int = seed
        self._parameters = stored_parameters.to_host(stored_parameters.of(model.network))

    def reference(self, stage: Path, watch: Watch) -> HeldOutFigures:
        """Figures of the reference policy, which the model must be at; comes before all others."""
        drawn = self._draw(stage, watch)
        scores = [
            self._scores(prompt, r.text) for prompt, r in zip(self.prompts, drawn, strict=True)
        ]
        self._tokens = [ended(response, self.model.tokenizer.end) for response in drawn]
        self._reference = _judged(drawn, np.stack(scores, axis=1), np.zeros((2, len(drawn))))
        return summary(self.prompts, self._reference, self._reference)

    def figures(self, stage: Path, watch: Watch) -> HeldOutFigures:
        """Figures of the policy that the model is at, or of what is kept of it."""
        of = stored_parameters.digest(self.model.network)
        if not stages.ready(stage, of):
            drawn = self._draw(stage.with_name(f"{stage.name}-drawn"), watch)
            scores = self._beside_scores(drawn)
            found = dataclasses.asdict(_judged(drawn, scores, self._divergences(drawn, watch)))
            stages.complete(
                stage, lambda draft: stages.write_json(draft / "judged.json", found), of
            )
        judged = Judged(**stages.read_json(stage / "judged.json"))
        return summary(self.prompts, judged, self._reference)

    def _draw(self, stage: Path, watch: Watch) -> list[Response]:
        asked = [prompt.text for prompt in self.prompts]
        seed = seed_of(self.seed, JUDGED)
        return responses(self.sampler, asked, seed, stage / "answers", watch)

    def _beside_scores(self, drawn: Sequence[Response]) -> np.ndarray:
        """Of each response and of the reference's, in one call: a ranker may compare, (2, prompts).

        Source: yuchenlin/LLM-Blender #16.
        """
        texts = [response.text for response in drawn]
        three = zip(self.prompts, texts, self._reference.texts, strict=True)
        return np.stack([self._scores(prompt, *pair) for prompt, *pair in three], axis=1)

    def _scores(self, prompt: Prompt, *texts: str) -> np.ndarray:
        return check_scores(self.ranker.scores(prompt, list(texts)), texts)

    def _divergences(self, drawn: Sequence[Response], watch: Watch) -> np.ndarray:
        """Of the policy from the reference, along its responses, and the reverse, (2, prompts).

        The reference takes the policy's place on the devices for as long as that takes.
        """
        network, pairs = self.model.network, self._beside_reference(drawn)
        with watch("log-probabilities", 2 * self.trainer.parts(len(pairs))) as tick:
            own = self.trainer.token_log_probs(pairs, tick)
            policy = stored_parameters.to_host(stored_parameters.of(network))
            stored_parameters.put(network, self._parameters)
            reference = self.trainer.token_log_probs(pairs, tick)
            stored_parameters.put(network, policy)
        forward = divergence(own[:, 0], reference[:, 0])
        return np.stack([forward, divergence(reference[:, 1], own[:, 1])])

    def _beside_reference(self, drawn: Sequence[Response]) -> list[Preference]:
        """Each response beside the reference's, so that both are scored in one pass."""
        tokenizer = self.model.tokenizer

        def pair(prompt: Prompt, response: Response, other: Tokens) -> Preference:
            asked = tuple(tokenizer.prompt_tokens(prompt.text))
            return Preference(asked, ended(response, tokenizer.end), other)

        return [pair(*three) for three in zip(self.prompts, drawn, self._tokens, strict=True)]


def _judged(drawn: Sequence[Response], scores: np.ndarray, divergences: np.ndarray) -> Judged:
    own, *others = scores.tolist()
    return Judged(
        texts=[response.text for response in drawn],
        tokens=[len(response.tokens) for response in drawn],
        scores=own,
        divergence=divergences[0].tolist(),
        reverse_divergence=divergences[1].tolist(),
        beside=others[0] if others else None,
    )
