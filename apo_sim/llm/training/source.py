"""Where the preference pairs of an iteration come from: responses drawn, ranked and paired."""

import json
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import jax
import numpy as np

from apo_sim.checks import function_of
from apo_sim.errors import InvalidArgument
from apo_sim.llm import stages
from apo_sim.llm.data.preference_pairs import (
    Pairing,
    Preference,
    Tokens,
    TopAgainstBottom,
    preferences,
)
from apo_sim.llm.data.prompts import Prompt
from apo_sim.llm.data.rankers import ResponseRanker, check_scores
from apo_sim.llm.data.responses import Response, Sampler
from apo_sim.llm.models import stored_parameters
from apo_sim.llm.models.loading import Model

# Purposes that randomness is drawn for.
DATA, ORDER, JUDGED, OTHERS = range(4)
# Batches of responses that are stored together.
_BATCHES = 8

Watch = Callable[[str, int], Any]


class PromptsLeftOut(UserWarning):
    """Some prompts cannot be used: they are too long, or the ranker cannot score them."""


@runtime_checkable
class Source(Protocol):
    """Brings the preference data of an iteration."""

    def pairs(
        self, model: Model, t: int, beta: float, seed: int, folder: Path, watch: Watch
    ) -> list[Preference]:
        """Preference pairs between responses of pi_t (t = 0, 1, ...), where the model is now.

        Args:
            model: its network is at the proximal centre.
            t: updates made so far.
            beta: proximal weight of the coming update.
            seed: all randomness comes from it.
            folder: of this iteration; what is kept there need not be drawn again.
            watch: makes a progress bar, given what is counted and how many there are.
        """
        ...


@dataclass(frozen=True)
class Sampled:
    """n responses to every prompt of the iteration's fold, ranked, and made into pairs.

    Args:
        folds: the prompts of each iteration.
        sampler: draws responses from the model.
        ranker: scores them.
        pairing: makes pairs of the scores.
    """

    folds: Sequence[Sequence[Prompt]]
    sampler: Sampler
    ranker: ResponseRanker
    pairing: Pairing = TopAgainstBottom()

    def pairs(
        self, model: Model, t: int, beta: float, seed: int, folder: Path, watch: Watch
    ) -> list[Preference]:
        prompts = self.folds[t]
        number = self.sampler.sampling.responses
        asked = [prompt.text for prompt in prompts for _ in range(number)]
        drawn = responses(self.sampler, asked, seed, folder / "responses", watch)
        random = np.random.default_rng(seed)
        found = []
        for place, prompt in enumerate(prompts):
            here = drawn[place * number : (place + 1) * number]
            scores = check_scores(self.ranker.scores(prompt, [r.text for r in here]), here)
            tokens = tuple(model.tokenizer.prompt_tokens(prompt.text))
            given = [ended(response, model.tokenizer.end) for response in here]
            found += preferences(tokens, given, scores, self.pairing, random, beta)
        return found


def responses(
    sampler: Sampler, asked: Sequence[str], seed: int, folder: Path, watch: Watch
) -> list[Response]:
    """One response to each prompt; each process draws its share, and all of them are kept.

    Kept responses are used again only with the weights that they were drawn from.
    """
    of = stages.mark(stored_parameters.digest(sampler.model.network), list(asked), seed)
    size = _BATCHES * sampler.sampling.batch
    parts = range(-(-len(asked) // size))
    mine = [part for part in parts if part % jax.process_count() == jax.process_index()]
    files = [folder.with_name(f"{folder.name}-{part:05d}") for part in parts]
    with sampler.on_own_devices(), watch("responses", len(asked)) as tick:
        for part in mine:
            here = asked[part * size : (part + 1) * size]
            if stages.ready(files[part], of):
                tick(len(here))
                continue
            found = sampler.draw_all(here, seed, part, tick=tick)
            stages.complete(files[part], _writer(found), of, alone=True)
    stages.together(str(folder))
    return [response for file in files for response in _read(file)]


def ended(response: Response, end: int) -> Tokens:
    """What the model is trained on: the tokens of a response, and its end token if it ended."""
    last = end if response.end is None else response.end
    return (*response.tokens, last) if response.ended else response.tokens


def check_pairs(found: Any, model: Model) -> None:
    """Refuse pairs that cannot be used: JAX would silently read past the vocabulary.

    Raises:
        InvalidArgument: no list of pairs; a token outside the vocabulary; a weight that is not
            finite.
    """
    remedy = "let the source return a list of Preference"
    if not isinstance(found, Sequence) or not all(isinstance(p, Preference) for p in found):
        raise InvalidArgument("source", found, "gives no preference pairs", remedy)
    config = model.network.config
    size = getattr(config, "vocab_size", None) or config.num_embed  # Gemma's name for it
    for place, pair in enumerate(found):
        texts = (pair.prompt, pair.winner, pair.loser)
        tokens = [token for text in (*texts, pair.other) for token in text]
        if not all(texts) or not all(0 <= token < size for token in tokens):
            raise InvalidArgument(
                "source",
                pair,
                f"is a pair (number {place + 1}) with an empty text, or with tokens outside "
                f"[0, {size})",
                "pass the model's own tokens",
            )
        numbers = (pair.weight, pair.log_normalizer)
        if not np.isfinite(numbers).all() or pair.weight < 0:
            raise InvalidArgument(
                "source",
                pair,
                f"is a pair (number {place + 1}) whose weight or log_normalizer is no finite "
                "number, or whose weight is negative",
                "pass counts or probabilities",
            )


def usable(
    name: str, prompts: Sequence[Prompt], fits: Callable[[str], bool], ranker: ResponseRanker
) -> list[Prompt]:
    """The prompts that are short enough and can be ranked; a warning counts the others.

    Raises:
        InvalidArgument: there are none.
    """
    accepts = getattr(ranker, "accepts", lambda _: True)
    function_of(None)("ranker.accepts", accepts)
    ranked = [prompt for prompt in prompts if accepts(prompt)]
    found = [prompt for prompt in ranked if fits(prompt.text)]
    if not found:
        raise InvalidArgument(
            name,
            f"{len(prompts)} prompts",
            "are all too long, or cannot be ranked",
            "raise max_prompt, or choose another ranker",
        )
    if len(found) < len(prompts):
        warnings.warn(
            f"{name}: of {len(prompts)}, {len(prompts) - len(ranked)} cannot be ranked and "
            f"{len(ranked) - len(found)} are longer than max_prompt; they are left out",
            PromptsLeftOut,
            stacklevel=4,
        )
    return found


def _writer(found: Sequence[Response]) -> Callable[[Path], Any]:
    def write(draft: Path) -> None:
        lines = [json.dumps(vars(response)) for response in found]
        (draft / "responses.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")

    return write


def _read(folder: Path) -> list[Response]:
    lines = (folder / "responses.jsonl").read_text(encoding="utf-8").splitlines()
    entries = [json.loads(line) for line in lines]
    return [Response(**{**entry, "tokens": tuple(entry["tokens"])}) for entry in entries]
