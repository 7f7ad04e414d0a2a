"""Responses of a policy, by Tunix's sampler."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from tunix.generate import sampler as tunix

from apo_sim.checks import as_count, as_seed, check_positive, check_single
from apo_sim.errors import InvalidArgument
from apo_sim.llm.models.loading import Model
from apo_sim.llm.models.meshes import fetched, local_mesh

_COLDEST = 1e-6
# Stands for "no token here". Tunix tells padding by its number, and a number of the vocabulary may
# also be a token of the prompt, which would then be masked while sampling, but not in training.
_NOTHING = -1


@dataclass(frozen=True)
class Sampling:
    """How responses are drawn. The defaults are the paper's.

    Args:
        responses: n, to each prompt.
        temperature: of the softmax over tokens, at least 1e-6.
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
        # Further down, logits over temperature are no numbers of single precision any more.
        if self.temperature < _COLDEST:
            raise InvalidArgument(
                "temperature",
                self.temperature,
                f"is below {_COLDEST}",
                "pass more: at that, the likeliest token is certain already",
            )
        if self.top_p > 1.0:
            raise InvalidArgument("top_p", self.top_p, "is above 1", "pass a share in (0, 1]")


@dataclass(frozen=True)
class Response:
    """One response.

    Attributes:
        tokens: as drawn, without the token that ends it.
        ended: whether it ended by itself, and not by the longest length.
        text: decoded.
        end: the token that ended it; None: the model's usual one.
    """

    tokens: tuple[int, ...]
    ended: bool
    text: str
    end: int | None = None


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
        self._inner = _OfTokens(self._network, _Numbers(), cache)

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

        Raises:
            InvalidArgument: more prompts than `batch`, or one that is too long.
        """
        settings, tokenizer = self.sampling, self.model.tokenizer
        if not 0 < len(prompts) <= settings.batch:
            raise InvalidArgument(
                "prompts", f"{len(prompts)} prompts", "are no batch", f"pass 1 to {settings.batch}"
            )
        asked = np.full((settings.batch, settings.max_prompt), _NOTHING, np.int32)
        for place, prompt in enumerate(prompts):
            tokens = tokenizer.prompt_tokens(prompt)
            if len(tokens) > settings.max_prompt:
                raise InvalidArgument(
                    "prompts",
                    prompt,
                    f"is of {len(tokens)} tokens, more than max_prompt = {settings.max_prompt}",
                    "raise max_prompt, or leave the prompt out",
                )
            asked[place, -len(tokens) :] = tokens
        # Always the same shapes, so that there is one program.
        asked[len(prompts) :] = asked[len(prompts) - 1]
        drawn = self._inner.draw(asked, settings, tokenizer.ends, seed)
        return [self._response(tokens) for tokens in drawn[: len(prompts)]]

    def _response(self, tokens: np.ndarray) -> Response:
        tokenizer, ends = self.model.tokenizer, np.isin(tokens, self.model.tokenizer.ends)
        ended = bool(ends.any())
        length = int(ends.argmax()) if ended else len(tokens)
        own = tuple(map(int, tokens[:length]))
        return Response(own, ended, tokenizer.decode(own), int(tokens[length]) if ended else None)


class _OfTokens(tunix.Sampler):
    """Tunix's sampler of texts, given tokens in place of texts, and giving back all of them.

    Tunix puts a beginning token before each text by rules of its own, and cuts the ends off: with
    several of them, nothing says which one was drawn.
    """

    def draw(
        self, asked: np.ndarray, sampling: Sampling, ends: Sequence[int], seed: int
    ) -> np.ndarray:
        """Tokens after the prompts, shape (batch, max_tokens); any after the first end."""
        self.eos_ids = jnp.asarray(ends)
        state = self.init_sample_state(
            jnp.asarray(asked),
            total_sampling_steps=sampling.max_prompt + sampling.max_tokens,
            include_logits=False,
            forbidden_token_ids=None,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            top_k=None,
            beam_size=None,
            seed=jax.random.key(as_seed("seed", seed)),
        )
        parameters = self._flattened_transformer_state
        state = self._compiled_prefill_fn(parameters, state, None, echo=False)
        state = self._compiled_decode_fn(parameters, state)
        return np.asarray(state.token_buffer)[:, sampling.max_prompt :]


class _Numbers:
    """The names that Tunix's sampler asks of a tokenizer, for one that is given tokens."""

    def pad_id(self) -> int:
        return _NOTHING

    def bos_id(self) -> None:
        return None

    def eos_id(self) -> None:
        return None

    def encode(self, text: Any) -> Any:
        return text

    def decode(self, tokens: Any) -> Any:
        return tokens


def _cache(network: Any) -> tuple[int, int, int]:
    config = network.config
    return config.num_layers, config.num_kv_heads, config.head_dim
