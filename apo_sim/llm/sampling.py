"""Responses of a policy, by Tunix's sampler: compiled once, whatever the iteration."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from flax import nnx
from tunix.generate import sampler as tunix

from apo_sim.checks import as_count, check_positive, check_single
from apo_sim.errors import InvalidArgument
from apo_sim.llm.models import Model


@dataclass(frozen=True)
class Sampling:
    """How responses are drawn. The defaults are the paper's.

    Args:
        responses: n, to each prompt.
        temperature: of the softmax over tokens, above 0.
        top_p: share of the probability that the tokens drawn from hold, in (0, 1].
        max_tokens: longest response, in tokens.
        max_prompt: longest prompt, in tokens; a longer one is left out of the run.
        batch: responses drawn side by side.

    Raises:
        InvalidArgument: a setting out of its range.

    Example:
        >>> Sampling(max_tokens=64).temperature
        0.7
    """

    responses: int = 5
    temperature: float = 0.7
    top_p: float = 0.9
    max_tokens: int = 2048
    max_prompt: int = 512
    batch: int = 40

    def __post_init__(self):
        for name in ("responses", "max_tokens", "max_prompt", "batch"):
            as_count(name, getattr(self, name))
        for name in ("temperature", "top_p"):
            check_single(name, getattr(self, name), "pass one number")
            check_positive(name, getattr(self, name))
        if self.top_p > 1.0:
            raise InvalidArgument("top_p", self.top_p, "is above 1", "pass a share in (0, 1]")


@dataclass(frozen=True)
class Response:
    """One response.

    Attributes:
        tokens: as drawn, without the token that ends it.
        ended: whether it ended by itself, and not by the longest length.
        text: decoded.
    """

    tokens: tuple[int, ...]
    ended: bool
    text: str


class Sampler:
    """Draws responses from a model as it stands at that moment.

    Args:
        model: whose network may change between two calls, but not its shapes.
        sampling: how to draw.

    Raises:
        InvalidArgument: prompt and response together longer than the model's context.
    """

    def __init__(self, model: Model, sampling: Sampling):
        longest = sampling.max_prompt + sampling.max_tokens
        if longest > model.context:
            raise InvalidArgument(
                "max_tokens",
                sampling.max_tokens,
                f"and max_prompt = {sampling.max_prompt} exceed the context of {model.context}",
                "lower one of them",
            )
        self.model, self.sampling = model, sampling
        # The sampler holds the network's own variables, so that it follows the training.
        self._inner = tunix.Sampler(
            model.network, model.tokenizer, tunix.CacheConfig(longest + 1, *_cache(model.network))
        )

    def fits(self, prompt: str) -> bool:
        """Whether a prompt is short enough."""
        return len(self.model.tokenizer.prompt_tokens(prompt)) <= self.sampling.max_prompt

    def draw(self, prompts: Sequence[str], seed: int) -> list[Response]:
        """One response to each of at most `batch` prompts.

        Args:
            prompts: what the user says; a prompt given twice gets two responses.
            seed: all randomness comes from it.
        """
        settings, tokenizer = self.sampling, self.model.tokenizer
        asked = [tokenizer.prompt(prompt) for prompt in prompts]
        # Always the same shapes, so that there is one program.
        asked += [asked[-1]] * (settings.batch - len(asked))
        self._inner.transformer_state = nnx.variables(self.model.network)
        drawn = self._inner(
            asked,
            max_generation_steps=settings.max_tokens,
            max_prompt_length=settings.max_prompt,
            temperature=settings.temperature,
            top_p=settings.top_p,
            eos_tokens=[tokenizer.end],
            seed=jax.random.key(seed),  # type: ignore[arg-type]
        )
        return [self._response(np.asarray(tokens)) for tokens in drawn.tokens[: len(prompts)]]

    def _response(self, tokens: np.ndarray) -> Response:
        tokenizer, longest = self.model.tokenizer, self.sampling.max_tokens
        tokens = tokens[:longest]
        text = tokenizer.decode(tokens)
        return Response(tuple(map(int, tokens)), len(tokens) < longest, text)


def _cache(network: Any) -> tuple[int, int, int]:
    config = network.config
    return config.num_layers, config.num_kv_heads, config.head_dim
