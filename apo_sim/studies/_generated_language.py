"""A language of thirty words, a small transformer that has learned it, and three rankers of it.

The words lie on a circle. A text begins at the first word of its prompt, goes on by steps of -1 to
2, and ends after each word with the same probability. The rankers hardly ever tie: a smooth target
of length, a reward model that is fitted here to generated labels, and a judge of pairs whose taste
is partly cyclic.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import optax
import scipy.optimize
import scipy.special
from flax import nnx

from apo_sim.llm import Model, PairwiseJudge, Preference, ResponseRanker, RewardModel
from apo_sim.llm.data.batches import batches
from apo_sim.llm.models import tiny
from apo_sim.llm.training.step import response_log_probs

WORDS = tiny.WORDS[2:]
STEPS = (-1, 0, 1, 2)
ENDS = 0.12  # probability that a text ends after a word
LONGEST = 16  # words of a response
ASKED = 3  # words of a prompt
TARGET = 10  # words that the smooth target of length wants
_LABELS = 1_000
# Of a word's angle to the prompt's first, of a step, and nothing of the length.
_TASTE = np.array([-1.0, 2.0, 0.5, 1.5, 0.0])


def prompts(number: int, random: np.random.Generator) -> list[str]:
    """So many prompts, three words each.

    Example:
        >>> prompts(1, np.random.default_rng(0))
        ['w25 w19 w15']
    """
    return [" ".join(f"w{n}" for n in random.integers(30, size=ASKED)) for _ in range(number)]


def response(prompt: str, random: np.random.Generator) -> str:
    """A response as the language has it, one to `LONGEST` words.

    Example:
        >>> response("w3 w4 w5", np.random.default_rng(0))
        'w4 w4 w4 w3 w2 w1'
    """
    words = min(int(random.geometric(ENDS)), LONGEST)
    first = int(prompt.split()[0][1:])
    places = first + np.cumsum(random.choice(STEPS, size=words))
    return " ".join(f"w{place % 30}" for place in places)


def learned(seed: int = 0, *, steps: int = 800, batch: int = 64) -> Model:
    """A transformer of two layers, trained on texts of the language by maximum likelihood.

    Args:
        seed: of weights and texts.
        steps: of Adam.
        batch: texts a step.

    Example:
        >>> learned(steps=1, batch=2).parameters
        20640
    """
    model = tiny.model(seed, embed_dim=32, hidden_dim=64, head_dim=8)
    random = np.random.default_rng(seed)
    graph, state = nnx.split(model.network)
    optimizer = optax.adam(optax.cosine_decay_schedule(1e-2, steps))

    def cost(state: Any, texts: Any) -> Any:
        return -response_log_probs(nnx.merge(graph, state), texts).mean()

    def step(carry: Any, texts: Any) -> Any:
        state, moments = carry
        value, gradient = jax.value_and_grad(cost)(state, texts)
        change, moments = optimizer.update(gradient, moments)
        return (optax.apply_updates(state, change), moments), value

    with jax.enable_x64(False):
        drawn = [_texts(model, random, batch) for _ in range(steps)]
        stacked = jax.tree.map(lambda *parts: np.stack(parts), *drawn)
        begun = state, optimizer.init(state)
        (state, _), _ = jax.jit(lambda carry, all_: jax.lax.scan(step, carry, all_))(begun, stacked)
    nnx.update(model.network, state)
    return model


def _texts(model: Model, random: np.random.Generator, number: int) -> Any:
    """Two responses of the language to each of half as many prompts, as arrays of one shape."""
    end = model.tokenizer.end

    def tokens(prompt: str) -> tuple[int, ...]:
        text = response(prompt, random)
        # What is cut off has no end.
        ending = (end,) if len(text.split()) < LONGEST else ()
        return (*model.tokenizer.encode(text), *ending)

    asked = prompts(number // 2, random)
    pairs = [Preference(tuple(model.tokenizer.encode(p)), tokens(p), tokens(p)) for p in asked]
    (found,) = batches(pairs, len(pairs), beta=1.0, padding=model.tokenizer.padding)
    return found


@functools.lru_cache(maxsize=100_000)
def features(prompt: str, text: str) -> np.ndarray:
    """What the rankers see of a response, shape (5,); zero of one without words.

    Cosine and sine of the words' angle to the prompt's first, and of the angle of a step, both on
    average; the logarithm of one more than the words.

    Example:
        >>> features("w0 w1 w2", "w0 w0 w0").round(2).tolist()
        [1.0, 0.0, 1.0, 0.0, 1.39]
    """
    places = np.array([int(word[1:]) for word in text.split()])
    if not places.size:
        return np.zeros(5)
    first = int(prompt.split()[0][1:])
    steps = np.diff(places, prepend=first)
    angles = (2 * np.pi / len(WORDS)) * np.array([(places - first).mean(), steps.mean()])
    turns = np.exp(2j * np.pi / len(WORDS) * (places - first)).mean(), np.exp(1j * angles[1])
    parts = [part for turn in turns for part in (turn.real, turn.imag)]
    return np.array([*parts, np.log1p(places.size)])


def rankers() -> dict[str, ResponseRanker]:
    """The three rankers by name: a target of length, a fitted reward model, a judge of pairs.

    Example:
        >>> list(rankers())
        ['length target', 'reward model', 'pairwise judge']
    """
    weights = fitted()
    return {
        "length target": RewardModel(_each(_length)),
        "reward model": RewardModel(_each(lambda p, text: float(features(p, text) @ weights))),
        "pairwise judge": PairwiseJudge(judged),
    }


def _each(score: Callable[[str, str], float]) -> Callable[[str, Any], list[float]]:
    return lambda prompt, responses: [score(prompt, text) for text in responses]


def _length(prompt: str, text: str) -> float:
    """Characters tell texts of as many words apart."""
    del prompt
    characters = 3.6 * TARGET
    return -abs(float(np.log((len(text) + 1) / characters)))


def fitted(seed: int = 1) -> np.ndarray:
    """Weights of the features that explain labels of a hidden taste, shape (5,).

    A thousand pairs of responses of the language, each labelled by Bradley and Terry's law; the
    likelihood is penalised by a ridge.

    Example:
        >>> weights = fitted()
        >>> bool(np.corrcoef(weights, fitted(2))[0, 1] > 0.9)
        True
    """
    random = np.random.default_rng(seed)
    asked = prompts(_LABELS, random)
    apart = np.array(
        [features(p, response(p, random)) - features(p, response(p, random)) for p in asked]
    )
    wins = random.uniform(size=_LABELS) < scipy.special.expit(apart @ _TASTE)
    signed = np.where(wins, 1.0, -1.0)[:, None] * apart

    def cost(weights: np.ndarray) -> tuple[float, np.ndarray]:
        odds = signed @ weights
        value = np.logaddexp(0.0, -odds).mean() + 0.5e-3 * weights @ weights
        return value, -scipy.special.expit(-odds) @ signed / _LABELS + 1e-3 * weights

    return scipy.optimize.minimize(cost, np.zeros(5), jac=True).x


def judged(prompt: str, first: str, second: str) -> float:
    """P(first beats second): one part taste, the other a cycle in the angle that texts have.

    Example:
        >>> one, other = judged("w0 w1 w2", "w1", "w9"), judged("w0 w1 w2", "w9", "w1")
        >>> round(one + other, 12)
        1.0
    """
    one, other = features(prompt, first), features(prompt, second)
    cycle = one[0] * other[1] - one[1] * other[0]
    return float(scipy.special.expit(0.5 * (one - other)[4] + 3.0 * cycle))
