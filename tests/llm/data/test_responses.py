"""Drawing responses: their distribution, one program for all policies, what is out of range."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats

from apo_sim import InvalidArgument
from apo_sim.llm import Sampling
from apo_sim.llm.data.prompts import Prompt
from apo_sim.llm.data.rankers import Verifiable
from apo_sim.llm.data.responses import Response, Sampler
from apo_sim.llm.models import tiny
from apo_sim.llm.models.text import Tokenizer
from apo_sim.llm.training import source

pytestmark = pytest.mark.llm
SETTINGS = {"max_prompt": 4, "batch": 200}


@pytest.fixture(scope="module")
def sampler():
    with jax.enable_x64(False):
        yield Sampler(
            tiny.model(num_layers=1), Sampling(max_tokens=1, temperature=2.0, top_p=0.8, **SETTINGS)
        )


@pytest.fixture
def compiled():
    """Names of what is compiled from here on."""
    found = []

    def listen(event, duration_secs, **details):
        if "backend_compile" in event:
            found.append(details.get("fun_name"))

    jax.monitoring.register_event_duration_secs_listener(listen)
    yield found
    jax.monitoring.unregister_event_duration_listener(listen)


def expected(model, prompt, sampling):
    """Probability of each token to come next: of the likeliest, so many that they hold top-p."""
    return law(model, model.tokenizer.prompt_tokens(prompt), sampling)


def law(model, prompt, sampling):
    tokens = jnp.asarray([prompt], jnp.int32)
    size = tokens.shape[1]
    mask = jnp.tril(jnp.ones((1, size, size), bool))
    with jax.enable_x64(False):
        logits, _ = model.network(tokens, jnp.arange(size)[None], None, mask)
    chances = scipy.special.softmax(np.asarray(logits, float)[0, -1] / sampling.temperature)
    order = np.argsort(-chances)
    before = np.cumsum(chances[order]) - chances[order]
    chances[order[before > sampling.top_p]] = 0.0
    return chances / chances.sum()


def counts(sampler, prompt, draws=10):
    with jax.enable_x64(False):
        drawn = [
            response for seed in range(draws) for response in sampler.draw([prompt] * 200, seed)
        ]
    end = sampler.model.tokenizer.end
    first = [response.tokens[0] if response.tokens else end for response in drawn]
    return np.bincount(first, minlength=len(tiny.WORDS))


def goodness(found, chances):
    """p-value of the counts under the chances, over the tokens that can come."""
    can = chances > 0
    assert found[~can].sum() == 0
    return scipy.stats.chisquare(found[can], found.sum() * chances[can]).pvalue


def test_tokens_come_as_often_as_temperature_and_top_p_say(sampler):
    found = counts(sampler, "w3")
    chances = expected(sampler.model, "w3", sampler.sampling)
    assert 3 < (chances > 0).sum() < len(tiny.WORDS) - 3
    assert goodness(found, chances) > 1e-3
    cooler = chances ** (2.0 / 1.5)  # as another temperature has it: that would be noticed
    assert goodness(found, cooler / cooler.sum()) < 1e-3


def test_one_program_follows_the_policy(sampler, compiled):
    before = counts(sampler, "w5", draws=2)
    compiled.clear()
    head = sampler.model.network.lm_head.w
    old = head.get_value()
    with jax.enable_x64(False):
        head.set_value(0.5 * old[:, ::-1])
    try:
        after = counts(sampler, "w5")
        assert len(sampler.draw(["w5", "w6 w7"], 0)) == 2
        assert goodness(after, expected(sampler.model, "w5", sampler.sampling)) > 1e-3
    finally:
        head.set_value(old)
    assert not np.array_equal(after[:200], before)
    with jax.enable_x64(False):
        same = Sampler(tiny.model(1, num_layers=1), Sampling(**vars(sampler.sampling)))
        assert same.draw(["w5"], 0) != sampler.draw(["w5"], 0)  # by its own model
        assert "_drawn" not in str(compiled), compiled
        Sampler(sampler.model, dataclasses.replace(sampler.sampling, top_p=0.7)).draw(["w5"], 0)
    assert "_drawn" in str(compiled)


def test_a_response_ends_or_is_cut():
    with jax.enable_x64(False):
        sampler = Sampler(
            tiny.model(num_layers=1), Sampling(max_tokens=6, temperature=1.0, top_p=1.0, **SETTINGS)
        )
        drawn = sampler.draw(["w3"] * 200, 0)
        again = sampler.draw(["w3"] * 200, 0)
    end = sampler.model.tokenizer.end
    assert drawn == again
    assert {response.ended for response in drawn} == {True, False}
    for response in drawn:
        assert end not in response.tokens
        assert len(response.tokens) == 6 or response.ended


def with_tokenizer(**changes):
    model = tiny.model(num_layers=1)
    settings = {"begin": None, "end": 1, "padding": 0} | changes
    return dataclasses.replace(model, tokenizer=Tokenizer(model.tokenizer.inner, **settings))


@pytest.mark.parametrize(
    "changes, prompt, tokens",
    [
        # The token that pads is also one of the prompt's, which a mask by number would hide.
        ({"padding": 5}, "w3 w4 w3", [5, 6, 5]),
        # A beginning of number 0, which Tunix takes for none.
        ({"begin": 0, "padding": 1}, "w3", [0, 5]),
        # Two beginnings, of which Tunix would leave one.
        ({"begin": 5}, "w3 w3 w4", [5, 5, 6]),
    ],
)
def test_what_is_sampled_from_is_what_is_trained_on(changes, prompt, tokens):
    model = with_tokenizer(**changes)
    assert model.tokenizer.prompt_tokens(prompt) == tokens
    with jax.enable_x64(False):
        sampler = Sampler(model, Sampling(max_tokens=1, temperature=1.0, top_p=1.0, **SETTINGS))
        found = counts(sampler, prompt)
    chances = expected(model, prompt, sampler.sampling)
    assert goodness(found, chances) > 1e-3
    for wrong in (tokens[1:], tokens[:1]):  # without a token, there is another law
        assert goodness(found, law(model, wrong, sampler.sampling)) < 1e-3


def test_any_of_several_ends_ends_a_response_and_is_kept():
    model = with_tokenizer(ends=(7, 9))
    assert model.tokenizer.ends == (1, 7, 9)
    with jax.enable_x64(False):
        sampler = Sampler(model, Sampling(max_tokens=12, temperature=1.0, top_p=1.0, **SETTINGS))
        drawn = sampler.draw(["w3"] * 200, 0)
    assert {response.end for response in drawn} == {1, 7, 9, None}
    for response in drawn:
        assert not {1, 7, 9} & set(response.tokens)
        assert response.ended == (response.end is not None)
        last = (response.end,) if response.ended else ()
        assert source.ended(response, 1) == (*response.tokens, *last)
    assert source.ended(Response((5,), True, "w3"), 1) == (5, 1)  # kept before ends were


@pytest.mark.parametrize(
    ("template", "opened"),
    [
        ("{{ messages[0].content }} <think>\n", "<think>"),
        ("<think> </think> w9", ""),
        (None, ""),
    ],
)
def test_thinking_that_the_template_opens_is_part_of_the_text(template, opened):
    """As in DeepSeek-R1 and its children: vllm-project/vllm #13125, renderers #137."""
    model = with_tokenizer(template=template)
    with jax.enable_x64(False):
        sampler = Sampler(model, Sampling(1, 1.0, 1.0, max_tokens=4, max_prompt=12, batch=20))
        drawn = sampler.draw(["w3"] * 20, 0)
    for response in drawn:
        assert response.text == opened + model.tokenizer.decode(response.tokens)
    # A response that is cut while it thinks is no answer.
    prompt = Prompt("?", ("punctuation:no_comma",), ({},))
    scores = Verifiable().scores(prompt, [response.text for response in drawn if response.tokens])
    assert set(scores) == {0.0 if opened else 1.1}


def test_prompts_that_are_no_batch_are_refused(sampler):
    for prompts in ([], ["w3"] * 201, ["w3 w4 w5 w6 w7"]):
        with pytest.raises(InvalidArgument, match="prompts"):
            sampler.draw(prompts, 0)


@pytest.mark.parametrize(
    "changes, said",
    [
        ({"responses": 0}, "responses = 0"),
        ({"temperature": 0.0}, "temperature = 0.0 must be positive"),
        ({"temperature": 1e-9}, "temperature = 1e-09 is below 1e-06"),
        ({"top_p": 1.5}, "top_p = 1.5 is above 1"),
        ({"max_tokens": 0}, "max_tokens = 0"),
    ],
)
def test_settings_out_of_range_are_named(changes, said):
    with pytest.raises(InvalidArgument, match=said.replace(".", r"\.")):
        Sampling(**changes)
