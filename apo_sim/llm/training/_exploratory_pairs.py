"""Preference pairs of a response of the policy and one of the reference policy, as XPO asks for."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from apo_sim.llm.data.preference_pairs import Pairing, Preference, preferences
from apo_sim.llm.data.prompts import Prompt
from apo_sim.llm.data.rankers import ResponseRanker, check_scores
from apo_sim.llm.data.responses import Sampler, seed_of
from apo_sim.llm.models.loading import Model
from apo_sim.llm.training._reference import Reference
from apo_sim.llm.training.source import Watch, ended, responses


@dataclass(frozen=True)
class Explored:
    """n responses of either policy to every prompt of the iteration's fold, ranked two by two.

    Args:
        folds: the prompts of each iteration.
        sampler: draws responses from the model.
        ranker: scores them.
        pairing: says which of the two won.
        reference: the reference policy, which the model is for a while.

    Source: Xie et al. (2024), algorithm 1, line 3.
    """

    folds: Sequence[Sequence[Prompt]]
    sampler: Sampler
    ranker: ResponseRanker
    pairing: Pairing
    reference: Reference

    def pairs(
        self, model: Model, t: int, beta: float, seed: int, folder: Path, watch: Watch
    ) -> list[Preference]:
        prompts, number = self.folds[t], self.sampler.sampling.responses
        asked = [prompt.text for prompt in prompts for _ in range(number)]
        own = responses(self.sampler, asked, seed, folder / "responses", watch)
        with self.reference.lent():
            other = responses(
                self.sampler, asked, seed_of(seed, 1), folder / "responses-reference", watch
            )
        random, found = np.random.default_rng(seed), []
        for place, prompt in enumerate(prompts):
            tokens = tuple(model.tokenizer.prompt_tokens(prompt.text))
            here = slice(place * number, (place + 1) * number)
            for two in zip(own[here], other[here], strict=True):
                texts = [response.text for response in two]
                scores = check_scores(self.ranker.scores(prompt, texts), texts)
                given = [ended(response, model.tokenizer.end) for response in two]
                if given[0] == given[1]:  # no preference, but the bonus is for them, too
                    found.append(Preference(tokens, given[0], given[1], winner_from_reference=True))
                found += [
                    replace(pair, winner_from_reference=pair.winner == given[1])
                    for pair in preferences(tokens, given, scores, self.pairing, random, beta)
                ]
        return found
