"""Drawing responses: their distribution, one program for all policies, what is out of range."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats

from apo_sim import InvalidArgument
from apo_sim.llm import Sampling, tiny
from apo_sim.llm.sampling import Sampler

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
    tokens = jnp.asarray([model.tokenizer.prompt_tokens(prompt)], jnp.int32)
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
    assert not any("_fn" in name for name in compiled), compiled
    with jax.enable_x64(False):
        Sampler(sampler.model, sampler.sampling).draw(["w5"], 0)
    assert any("_decode_fn" in name for name in compiled)  # a second sampler compiles again


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


@pytest.mark.parametrize(
    "changes, said",
    [
        ({"responses": 0}, "responses = 0"),
        ({"temperature": 0.0}, "temperature = 0.0 must be positive"),
        ({"top_p": 1.5}, "top_p = 1.5 is above 1"),
        ({"max_tokens": 0}, "max_tokens = 0"),
    ],
)
def test_settings_out_of_range_are_named(changes, said):
    with pytest.raises(InvalidArgument, match=said.replace(".", r"\.")):
        Sampling(**changes)
