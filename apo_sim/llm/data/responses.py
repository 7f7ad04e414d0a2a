"""Responses of a policy, drawn token by token."""

import contextlib
import functools
import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Int
from tunix.generate.sampler import sample_top_p
from tunix.sft.utils import build_positions_from_mask, make_causal_attn_mask

from apo_sim.checks import as_count, as_seed, check_positive, check_single
from apo_sim.errors import InvalidArgument
from apo_sim.llm import _thinking
from apo_sim.llm._programs import shared
from apo_sim.llm.models.adapters import adapted
from apo_sim.llm.models.llama import Llama
from apo_sim.llm.models.loading import Model
from apo_sim.llm.models.meshes import evenly, fetched, local_mesh

_COLDEST = 1e-6


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

    def __post_init__(self) -> None:
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
                "pass a larger one: at this temperature, the likeliest token is already certain",
            )
        if self.top_p > 1.0:
            raise InvalidArgument("top_p", self.top_p, "is above 1", "pass a share in (0, 1]")


@dataclass(frozen=True)
class Response:
    """One response.

    Attributes:
        tokens: as drawn, without the token that ends it.
        ended: whether it ended by itself, and not by the longest length.
        text: decoded; of a response whose `<think>` the chat template has written, with that.
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
        self.model: Model = model
        self.sampling: Sampling = sampling
        self._own = None
        self._drawn = _program(nnx.graphdef(model.network), sampling, model.tokenizer.ends)

    def fits(self, prompt: str) -> bool:
        """Whether a prompt is short enough."""
        return len(self.model.tokenizer.prompt_tokens(prompt)) <= self.sampling.max_prompt

    @contextlib.contextmanager
    def on_own_devices(self) -> Iterator[None]:
        """Within it, draw; all processes enter together.

        Of several processes each draws from a copy of the network on its own devices, so that
        none waits for the others' longest response.
        """
        if jax.process_count() == 1:
            yield
            return
        state = nnx.state(self.model.network)
        layout = nnx.get_named_sharding(state, local_mesh())
        self._own = jax.tree.map(
            lambda leaf, place: jax.device_put(fetched(leaf), evenly(place, leaf.shape)),
            state,
            layout,
        )
        try:
            yield
        finally:
            self._own = None  # leaves the devices to the training

    def draw_all(
        self, prompts: Sequence[str], *seeds: int, tick: Callable[[int], None]
    ) -> list[Response]:
        """One response to each of any number of prompts, batch after batch.

        Args:
            prompts: what the user says.
            seeds: together with the place of a batch, all randomness comes from them.
            tick: told how many responses have been drawn with every batch.
        """
        found = []
        for place in range(0, len(prompts), self.sampling.batch):
            here = prompts[place : place + self.sampling.batch]
            found += self.draw(here, seed_of(*seeds, place))
            tick(len(here))
        return found

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
                "prompts",
                f"{len(prompts)} prompts",
                "do not form a batch",
                f"pass 1 to {settings.batch} prompts",
            )
        # Always the same shapes, so that there is one program; the last prompt fills up.
        asked = np.full((settings.batch, settings.max_prompt), tokenizer.padding, np.int32)
        there = np.zeros(asked.shape, bool)
        for place, prompt in enumerate(prompts):
            tokens = tokenizer.prompt_tokens(prompt)
            if len(tokens) > settings.max_prompt:
                raise InvalidArgument(
                    "prompts",
                    prompt,
                    f"has {len(tokens)} tokens, more than max_prompt = {settings.max_prompt}",
                    "raise max_prompt, or leave the prompt out",
                )
            begin = settings.max_prompt - len(tokens)
            asked[place:, begin:] = tokens
            there[place:] = np.arange(settings.max_prompt) >= begin
        state = nnx.state(self.model.network) if self._own is None else self._own
        drawn = self._drawn(state, asked, there, jax.random.key(as_seed("seed", seed)))
        found = np.asarray(drawn)[: len(prompts)]
        return [self._response(*both) for both in zip(prompts, found, strict=True)]

    def _response(self, prompt: str, tokens: np.ndarray) -> Response:
        tokenizer, ends = self.model.tokenizer, np.isin(tokens, self.model.tokenizer.ends)
        ended = bool(ends.any())
        length = int(ends.argmax()) if ended else len(tokens)
        own = tuple(map(int, tokens[:length]))
        # Without it, one that is cut while it thinks reads as an answer (vllm #13125).
        opens = tokenizer.prompt(prompt).rstrip().endswith(_thinking.OPEN)
        text = (_thinking.OPEN if opens else "") + tokenizer.decode(own)
        return Response(own, ended, text, int(tokens[length]) if ended else None)


def seed_of(*numbers: int) -> int:
    """A seed of its own for each combination of numbers.

    Example:
        >>> seed_of(0, 1) != seed_of(1, 0)
        True
    """
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


@shared
def _program(graph: Any, sampling: Sampling, ends: tuple[int, ...]) -> Callable[..., Array]:
    """What draws from any network of this graph."""
    return jax.jit(functools.partial(_drawn, graph, sampling, ends))


def _drawn(
    graph: Any,
    sampling: Sampling,
    ends: tuple[int, ...],
    state: Any,
    asked: Int[Array, "batch prompt"],
    there: Bool[Array, "batch prompt"],
    key: Any,
) -> Int[Array, "batch response"]:
    """Tokens after the prompts, which end on the right; any after the first end.

    Args:
        graph: of the network.
        sampling: how to draw.
        ends: tokens that end a response.
        state: of the network.
        asked: the prompts.
        there: which of their tokens there are.
        key: all randomness comes from it.
    """
    network, (batch, begin) = nnx.merge(graph, state), asked.shape
    last = begin + sampling.max_tokens - 1
    there = jnp.pad(there, ((0, 0), (0, sampling.max_tokens)), constant_values=True)
    positions = build_positions_from_mask(there)

    def token(logits: Any, place: Any) -> Int[Array, " batch"]:
        at = jax.random.fold_in(key, place)
        found, _ = sample_top_p(logits, at, sampling.temperature, sampling.top_p, None)
        return found.astype(jnp.int32)

    def going_on(carry: tuple[Any, ...]) -> Any:
        place, _, _, ended = carry
        return (place < last) & ~jnp.all(ended)

    def further(carry: tuple[Any, ...]) -> tuple[Any, ...]:
        place, tokens, cache, ended = carry
        seen = there & (jnp.arange(last + 1) <= place)
        before = jax.lax.dynamic_slice_in_dim(tokens, place - begin, 1, axis=1)
        here = jax.lax.dynamic_slice_in_dim(positions, place, 1, axis=1)
        # Made anew, since adapters write to their modules, which those of outside do not allow.
        logits, cache = nnx.merge(graph, state)(before, here, cache, seen[:, None])
        found = token(logits, place)
        tokens = jax.lax.dynamic_update_slice_in_dim(
            tokens, found[:, None], place + 1 - begin, axis=1
        )
        return place + 1, tokens, cache, ended | jnp.isin(found, jnp.asarray(ends))

    mask = make_causal_attn_mask(there)[:, :begin]
    kwargs = {}
    if "decode_only_last_token" in inspect.signature(type(network).__call__).parameters:
        kwargs["decode_only_last_token"] = True
    cache = _empty_cache(network, batch, last + 1)
    logits, cache = network(asked, positions[:, :begin], cache, mask, **kwargs)
    first = token(logits, begin - 1)
    tokens = jnp.zeros((batch, sampling.max_tokens), jnp.int32).at[:, 0].set(first)
    start = jnp.asarray(begin), tokens, cache, jnp.isin(first, jnp.asarray(ends))
    return jax.lax.while_loop(going_on, further, start)[1]


def _empty_cache(network: Any, batch: int, length: int) -> Any:
    """Keys and values, none yet; in single precision where adapters make them so."""
    parameters = jax.tree.leaves(nnx.state(network, nnx.Param))
    dtype = getattr(network.config, "dtype", parameters[0].dtype)
    make = getattr(type(network), "init_cache", Llama.init_cache)  # some of Tunix's have none
    cache = make(network, batch, length, dtype)
    if not adapted(network):
        return cache
    return jax.tree.map(
        lambda leaf: leaf.astype(jnp.float32) if jnp.issubdtype(leaf, jnp.floating) else leaf, cache
    )
