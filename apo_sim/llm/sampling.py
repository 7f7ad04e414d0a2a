"""Responses of a policy, by Tunix's sampler."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from flax import nnx
from tunix.generate import sampler as tunix

from apo_sim.checks import as_count, check_positive, check_single
from apo_sim.errors import InvalidArgument
from apo_sim.llm.devices import fetched, local_mesh
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
    """Draws responses from a model as it stands at that moment, by one program for all of them.

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
        self._network = model.network
        if jax.process_count() > 1:
            self._network = nnx.clone(model.network)
            self._release()
        # Tunix compiles for each of its samplers again. This one holds the network's variables,
        # not their values, so that it follows the training.
        cache = tunix.CacheConfig(longest + 1, *_cache(model.network))
        self._inner = tunix.Sampler(self._network, model.tokenizer, cache)

    def fits(self, prompt: str) -> bool:
        """Whether a prompt is short enough."""
        return len(self.model.tokenizer.prompt_tokens(prompt)) <= self.sampling.max_prompt

    @contextlib.contextmanager
    def on_own_devices(self) -> Iterator[None]:
        """Within it, draw; all processes enter together.

        Of several processes each draws from a copy of the network on its own devices, since
        Tunix's sampler sees no others.
        """
        if jax.process_count() == 1:
            yield
            return
        state = nnx.state(self.model.network)
        layout = dict(nnx.to_flat_state(nnx.get_named_sharding(state, local_mesh())))
        own = dict(nnx.to_flat_state(nnx.state(self._network)))
        for path, leaf in nnx.to_flat_state(state):
            own[path].set_value(jax.device_put(fetched(leaf.get_value()), layout[path].get_value()))
        try:
            yield
        finally:
            self._release()

    def _release(self) -> None:
        """Leave the devices to the training."""
        for _, leaf in nnx.to_flat_state(nnx.state(self._network)):
            leaf.set_value(None)

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
