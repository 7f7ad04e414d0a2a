"""Models as they are published: read as transformers and llama.cpp do, or refused by name."""

import copy
import json
import re
import shutil
import sys
from pathlib import Path

import gguf
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
import tokenizers

from apo_sim import InvalidArgument
from apo_sim.identity import fingerprint
from apo_sim.llm.models import _gguf_text, loading
from apo_sim.llm.models.text import Tokenizer

sys.path.insert(0, str(Path(__file__).parent))
import model_shapes

pytestmark = pytest.mark.llm
TEXTS = (
    "the 1234 lower's  hello <think> 12",
    "In 2024, it's 3.14%: (a) HELLO'S\n\n  b\t\n",
    "é e\u0301 日本語 ß À",
    "hello<|eot_id|></s><|im_end|>",
)


def logits(model, tokens):
    length = len(tokens)
    mask = jnp.tril(jnp.ones((1, length, length), bool))
    return np.asarray(
        model.network(jnp.asarray([tokens]), jnp.arange(length)[None], None, mask)[0]
    )[0]


def by_numpy(folder, tokens):
    """The logits, after transformers' modeling_llama.py, from the files themselves."""
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(folder)
    weights = {
        name: value.astype(np.float64)
        for path in sorted(folder.glob("model*.safetensors"))
        for name, value in safetensors.numpy.load_file(path).items()
    }
    size, half = len(tokens), config.head_dim // 2
    angles = np.arange(size)[:, None] * frequencies(config.rope_parameters, half)
    angles = np.concatenate([angles, angles], -1)

    def norm(x, name):
        return x / np.sqrt((x**2).mean(-1, keepdims=True) + config.rms_norm_eps) * weights[name]

    def heads(x, name, number):
        return (x @ weights[name].T).reshape(size, number, config.head_dim).transpose(1, 0, 2)

    def rotate(x):
        turned = np.concatenate([-x[..., half:], x[..., :half]], -1)
        return x * np.cos(angles) + turned * np.sin(angles)

    x = weights["model.embed_tokens.weight"][tokens]
    groups = config.num_attention_heads // config.num_key_value_heads
    for number in range(config.num_hidden_layers):
        at = f"model.layers.{number}."
        y = norm(x, f"{at}input_layernorm.weight")
        query = rotate(heads(y, f"{at}self_attn.q_proj.weight", config.num_attention_heads))
        key = rotate(heads(y, f"{at}self_attn.k_proj.weight", config.num_key_value_heads))
        value = heads(y, f"{at}self_attn.v_proj.weight", config.num_key_value_heads)
        score = query @ key.repeat(groups, 0).transpose(0, 2, 1) / np.sqrt(config.head_dim)
        score = np.exp(np.where(np.tril(np.ones((size, size), bool)), score, -np.inf))
        mixed = score / score.sum(-1, keepdims=True) @ value.repeat(groups, 0)
        x = (
            x
            + mixed.transpose(1, 0, 2).reshape(size, -1) @ weights[f"{at}self_attn.o_proj.weight"].T
        )
        y = norm(x, f"{at}post_attention_layernorm.weight")
        gate = y @ weights[f"{at}mlp.gate_proj.weight"].T
        up = y @ weights[f"{at}mlp.up_proj.weight"].T
        x = x + gate / (1 + np.exp(-gate)) * up @ weights[f"{at}mlp.down_proj.weight"].T
    tied = config.tie_word_embeddings
    head = weights["model.embed_tokens.weight" if tied else "lm_head.weight"]
    return norm(x, "model.norm.weight") @ head.T


def frequencies(entry, half):
    """Radians a token of each pair of coordinates, after transformers' modeling_rope_utils.py."""
    found = 1.0 / entry["rope_theta"] ** (np.arange(half) / half)
    if entry["rope_type"] == "linear":
        return found / entry["factor"]
    if entry["rope_type"] == "default":
        return found
    low, high = entry["low_freq_factor"], entry["high_freq_factor"]
    turns = entry["original_max_position_embeddings"] * found / (2 * np.pi)
    smooth = (turns - low) / (high - low)
    between = (1 - smooth) * found / entry["factor"] + smooth * found
    return np.where(turns < low, found / entry["factor"], np.where(turns > high, found, between))


def names(shape):
    return f"{shape.family}, {shape.files}"


@pytest.fixture(scope="module", params=model_shapes.READ, ids=names)
def both(request, tmp_path_factory):
    """A model, and how it was made."""
    made = request.param.make(tmp_path_factory.mktemp("shape"))
    return loading.load(made.model), made


def test_logits_are_those_of_the_modelling_code(both):
    model, made = both
    tokens = [5, 9, 200, 17, 88, 3, 150, 42]
    assert np.abs(logits(model, tokens) - by_numpy(made.theirs, tokens)).max() < 1e-4


@pytest.mark.long
def test_logits_are_those_of_transformers(both):
    torch = pytest.importorskip("torch", reason="PyTorch is in the extra `bench`")
    from transformers import AutoModelForCausalLM

    model, made = both
    tokens = [5, 9, 200, 17, 88, 3, 150, 42] * 5
    theirs = AutoModelForCausalLM.from_pretrained(made.theirs, dtype=torch.float32)
    with torch.no_grad():
        expected = theirs(torch.tensor([tokens])).logits[0].numpy()
    assert np.abs(logits(model, tokens) - expected).max() < 1e-3


def test_tokens_template_and_ends_are_those_of_transformers(both):
    import transformers

    model, made = both
    ours = model.tokenizer
    theirs = getattr(transformers, made.reader).from_pretrained(made.theirs)
    for text in TEXTS:
        assert ours.encode(text) == theirs(text, add_special_tokens=False)["input_ids"]
        if theirs.chat_template is None:
            assert ours.prompt_tokens(text) == theirs(text)["input_ids"]
            continue
        chat = [{"role": "user", "content": text}]
        rendered = theirs.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
        tokens = theirs.apply_chat_template(chat, add_generation_prompt=True)["input_ids"]
        assert (ours.prompt(text), ours.prompt_tokens(text)) == (rendered, tokens)
    assert {ours.inner.id_to_token(token) for token in ours.ends} == set(made.ends)


@pytest.mark.parametrize("shape", model_shapes.REFUSED, ids=lambda shape: shape.what)
def test_what_is_not_computed_is_refused_by_name(shape, tmp_path):
    with pytest.raises(InvalidArgument) as caught:
        loading.load(shape.make(tmp_path))
    assert shape.field in str(caught.value)


def test_the_documentation_has_the_table_of_these_tests():
    assert model_shapes.TABLE.read_text(encoding="utf-8") == model_shapes.table(), (
        "run python tests/robustness/model_shapes.py"
    )


# What lies in a folder, one thing changed at a time.


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return model_shapes.llama3(tmp_path_factory.mktemp("whole")).model


@pytest.fixture
def folder(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "model")


def edited(path, **changes):
    content = json.loads(path.read_text())
    for name, value in changes.items():
        if value == "left out":
            content.pop(name, None)
        else:
            content[name] = value
    path.write_text(json.dumps(content))


def refused(source):
    with pytest.raises(InvalidArgument) as caught:
        loading.load(source)
    return str(caught.value)


@pytest.mark.parametrize(
    "field, value, said",
    [
        ("num_hidden_layers", 10**9, "num_hidden_layers"),
        ("vocab_size", 10**9, "(276, 16)"),
        ("hidden_size", 10**12, "embed_dim"),
        ("intermediate_size", 10**9, "down_proj"),
        ("num_attention_heads", 0, "modulo by zero"),
        ("num_key_value_heads", 3, "num_kv_heads"),
        ("num_key_value_heads", 0, "num_key_value_heads"),
        ("head_dim", 10**9, "k_proj"),
        ("head_dim", "4", "head_dim"),
        ("head_dim", 3, "head_dim"),
        ("max_position_embeddings", -1, "max_position_embeddings"),
        ("rms_norm_eps", None, "rms_norm_eps"),
        ("rms_norm_eps", float("nan"), "norm_eps"),
        ("rope_theta", "10000", "rope_theta"),
        ("rope_theta", None, "rope_theta"),
        ("rope_scaling", "linear", "rope_scaling"),
        ("rope_scaling", {"type": "linear", "factor": "2"}, "factor"),
        ("rope_scaling", {"type": "linear", "factor": 0}, "factor"),
        ("rope_scaling", {"rope_type": None}, "rope_scaling"),
        ("rope_scaling", {"rope_type": "llama3", "factor": 8.0}, "low_freq_factor"),
        ("tie_word_embeddings", "false", "tie_word_embeddings"),
        ("tie_word_embeddings", True, "lm_head.weight is not"),
        ("model_type", ["llama"], "('llama', 'mistral')"),
        ("eos_token_id", "x", "eos_token_id"),
    ],
)
def test_a_field_that_cannot_be_used_is_named_before_anything_is_allocated(
    folder, field, value, said
):
    edited(folder / "config.json", **{field: value})
    assert said in refused(folder)


@pytest.mark.parametrize(
    "changes, config",
    [
        ({"rope_scaling": None}, {"rope_scaling": ()}),
        ({"rope_scaling": {}}, {"rope_scaling": ()}),
        ({"rope_scaling": {"rope_type": "default"}}, {"rope_scaling": ()}),
        ({"rope_theta": "left out"}, {"rope_theta": 10_000}),
        ({"rope_theta": 12345.5}, {"rope_theta": 12345.5}),
        ({"tie_word_embeddings": "left out"}, {"weight_tying": False}),
        ({"head_dim": None}, {"head_dim": 4}),
        ({"hidden_act": "swish"}, {}),
    ],
)
def test_a_field_left_out_is_what_transformers_assumes(folder, changes, config):
    edited(folder / "config.json", **changes)
    found = loading.load(folder).network.config
    assert {name: getattr(found, name) for name in config} == config


def test_a_missing_sliding_window_of_mistral_is_the_one_that_transformers_assumes(folder):
    changes = {"model_type": "mistral", "max_position_embeddings": 8192}
    edited(folder / "config.json", **changes)
    assert loading.load(folder).context == 4096
    for window in (0, -1):  # through which transformers sees nothing at all
        edited(folder / "config.json", sliding_window=window)
        with pytest.raises(InvalidArgument, match=f"sliding_window = {window} .*not a valid size"):
            loading.load(folder)
    edited(folder / "config.json", model_type="llama", sliding_window=7)  # no field of a Llama
    assert loading.load(folder).context == 8192


@pytest.mark.parametrize(
    "listed, ends",
    [
        ({"eos_token_id": [270, 274]}, (275, 270, 274)),
        ({"eos_token_id": 274}, (275, 274)),
        ({"eos_token_id": None}, (275,)),
        (None, (275, 270)),  # config.json's
    ],
)
def test_what_ends_a_response(folder, listed, ends):
    path = folder / "generation_config.json"
    path.unlink() if listed is None else path.write_text(json.dumps(listed))
    tokenizer = loading.load(folder).tokenizer
    assert (tokenizer.end, tokenizer.ends) == (275, ends)


@pytest.mark.parametrize("listed", ["x", [270, "275"], True, 999, -1])
def test_an_end_that_is_no_token_is_refused(folder, listed):
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": listed}))
    assert "eos_token_id" in refused(folder)


def test_files_begin_with_a_byte_order_mark(whole, folder):
    expected = loading.load(whole).tokenizer.prompt_tokens("hello")
    for path in folder.glob("*.json"):
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert loading.load(folder).tokenizer.prompt_tokens("hello") == expected
    (folder / "chat_template.jinja").write_bytes(b"\xef\xbb\xbf{{ messages[0].content }}")
    assert loading.load(folder).tokenizer.prompt("hello") == "hello"


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff\xfe{}", b"[" * 100_000])
@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors.index.json"])
def test_a_damaged_file_is_named(folder, name, content):
    (folder / name).write_bytes(content)
    assert str(folder)[:20] in refused(folder)


def test_the_index_says_which_files_belong_to_the_model(folder):
    index = folder / "model.safetensors.index.json"
    text, places = index.read_text(), json.loads(index.read_text())["weight_map"]
    first, second = sorted(set(places.values()))
    swapped = {name: first if file == second else second for name, file in places.items()}
    for wrong, said in (
        (swapped, "where model.safetensors.index.json lists it"),
        (places | {"lm_head.weight": "../model.safetensors"}, "not a file in the same folder"),
        (places | {"lm_head.weight": "/etc/passwd"}, "not a file in the same folder"),
        ({}, "holds no weight_map"),
    ):
        index.write_text(json.dumps({"weight_map": wrong}))
        assert said in refused(folder)
    index.write_text(text)
    moved = (folder / second).rename(folder / "aside")
    assert f"lacks {second}" in refused(folder)
    index.unlink()
    assert "[2] missing" in refused(folder)
    moved.rename(folder / second)
    loading.load(folder)  # a complete set needs no index


def test_links_and_the_home_directory_are_followed(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "link").symlink_to(folder)
    for source in ("~/model", "~/link", tmp_path / "link" / ".." / "link"):
        model = loading.load(source)
    assert loading.save(model, "~/copy") == tmp_path / "copy"
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer.json").symlink_to("nowhere")
    assert "has no tokenizer.json" in refused(folder)
    hub = tmp_path / "hub" / "snapshots" / "0123"
    shutil.copytree(tmp_path / "copy", hub)
    assert "snapshots/0123" in refused(tmp_path / "hub")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_named(folder, value):
    for path in folder.glob("model-*.safetensors"):
        tensors = safetensors.numpy.load_file(path)
        if "model.norm.weight" in tensors:
            tensors["model.norm.weight"][3] = value
            safetensors.numpy.save_file(tensors, path)
    assert f"model.norm.weight = '{value}'" in refused(folder)


def test_weights_that_overflow_in_a_precision_are_named(tmp_path):
    place = model_shapes.smollm2(tmp_path).model
    tensors = safetensors.numpy.load_file(place / "model.safetensors")
    tensors["model.norm.weight"][3] = 1e5
    model_shapes.write_weights(place, tensors)
    loading.load(place)
    with pytest.raises(InvalidArgument, match=r"inf.*float16"):
        loading.load(place, dtype="float16")
    with pytest.raises(InvalidArgument, match="dtype"):
        loading.load(place, dtype="int8")


def test_integers_are_no_weights(folder):
    for path in folder.glob("model-*.safetensors"):
        tensors = safetensors.numpy.load_file(path)
        safetensors.numpy.save_file({n: t.astype(np.int8) for n, t in tensors.items()}, path)
    assert "'I8'" in refused(folder)


# Tokenizers.


def settings(folder, **changes):
    edited(folder / "tokenizer_config.json", **changes)
    return loading.load(folder).tokenizer


def test_truncation_and_padding_of_an_earlier_use_are_switched_off(whole, folder):
    text = "hello hello hello hello"
    expected = loading.load(whole).tokenizer.prompt_tokens(text)
    inner = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    inner.enable_truncation(3)
    inner.enable_padding(length=100)
    inner.save(str(folder / "tokenizer.json"))
    assert loading.load(folder).tokenizer.prompt_tokens(text) == expected


def test_the_beginning_is_what_the_files_say(folder):
    begin = 269
    plain = {"chat_template": "left out"}
    assert settings(folder, **plain).prompt_tokens("hello") == [begin, 268]
    # Named, but put nowhere: tokenizer.json does not, and nothing asks for it.
    edited(folder / "tokenizer.json", post_processor=None)
    assert settings(folder).prompt_tokens("hello") == [268]
    assert settings(folder, add_bos_token=True).prompt_tokens("hello") == [begin, 268]
    # Not put before a text, but used by a template, once.
    template = "{{ bos_token }}{{ messages[0].content }}"
    for asked in (True, False, "left out"):
        found = settings(folder, chat_template=template, add_bos_token=asked)
        assert found.prompt_tokens("hello") == [begin, 268]
    assert settings(folder, chat_template="{{ messages[0].content }}").prompt_tokens("hello") == [
        268
    ]


def test_contradictions_about_the_beginning_are_named(folder):
    edited(folder / "tokenizer_config.json", chat_template="left out", add_bos_token=False)
    assert "add_bos_token" in refused(folder)
    ends = (
        {"Sequence": {"id": "A", "type_id": 0}},
        {"SpecialToken": {"id": "<|begin_of_text|>", "type_id": 0}},
    )
    whole = json.loads((folder / "tokenizer.json").read_text())["post_processor"]
    edited(folder / "tokenizer.json", post_processor=whole | {"single": ends})
    assert "post_processor" in refused(folder)


def test_padding_is_no_token_of_the_text(folder):
    assert settings(folder).padding == 275  # where there is none, the end
    assert settings(folder, pad_token="<|finetune_right_pad_id|>").padding == 271
    assert settings(folder, pad_token="<added>").padding == 275  # beyond the embeddings


def test_a_token_beyond_the_embeddings_is_refused_where_it_is_used(folder):
    tokenizer = settings(folder, additional_special_tokens=["<new>"])
    tokenizer.prompt_tokens("hello")
    with pytest.raises(InvalidArgument, match=r"<new>.*number 276.*276 tokens"):
        tokenizer.prompt_tokens("hello <new>")


def test_a_prompt_that_is_no_unicode_or_no_text_is_refused(whole):
    tokenizer = loading.load(whole).tokenizer
    for wrong in ("a\ud800", ""):
        tokenizer.template = None if wrong else "{{ '' }}"
        with pytest.raises(InvalidArgument, match="prompt"):
            tokenizer.prompt_tokens(wrong)


def test_the_digest_of_a_tokenizer_tells_all_that_tokens_depend_on(folder):
    found = [loading.load(folder).tokenizer.digest, loading.load(folder).tokenizer.digest]
    found.append(settings(folder, chat_template="{{ bos_token }}").digest)
    found.append(settings(folder, eos_token="<|eom_id|>").digest)
    edited(folder / "tokenizer.json", pre_tokenizer=None)
    found.append(loading.load(folder).tokenizer.digest)
    assert found[0] == found[1] and len(set(found)) == 4


def test_a_judge_s_tokenizer_is_the_same_once_it_has_been_used(folder):
    tokenizer = settings(folder, chat_template="{{ bos_token }}{{ messages[0].content }}")
    before = fingerprint("ranker", tokenizer)
    tokens = tokenizer.prompt_tokens("hello")
    assert fingerprint("ranker", tokenizer) == before
    assert copy.deepcopy(tokenizer).prompt_tokens("hello") == tokens


def test_a_tokenizer_that_cuts_at_random_is_refused(folder):
    inner = json.loads((folder / "tokenizer.json").read_text())["model"]
    edited(folder / "tokenizer.json", model=inner | {"dropout": 0.1})
    assert "dropout" in refused(folder)


def test_kinds_of_gguf_tokens(tmp_path):
    """What the user defined is found in a text and written back; what controls is not written."""
    tokenizer = loading.load(model_shapes.gguf_of("llama-bpe", tmp_path).model).tokenizer
    tokens = tokenizer.encode("hello<think><|eot_id|>")
    assert [tokenizer.inner.id_to_token(token) for token in tokens] == [
        "hello",
        "<think>",
        "<|eot_id|>",
    ]
    assert tokenizer.decode(tokens) == "hello<think>"


def test_thinking_is_part_of_the_text_though_its_marks_control(whole):
    """A tokenizer of which they are special tokens: a response that is cut there has no answer."""
    inner = loading.load(whole).tokenizer.inner
    inner.add_special_tokens(["<think>", "</think>", "<|stop|>"])
    tokenizer = Tokenizer(inner, begin=None, end=inner.token_to_id("<|stop|>"), padding=0)
    for written in ("<think>hello", "<think>hello</think>hello", "</think></think>", "hello", ""):
        assert tokenizer.decode(tokenizer.encode(written)) == written
    assert tokenizer.decode(tokenizer.encode("hello<|stop|>")) == "hello"


@pytest.mark.parametrize(
    "fields, expected",
    [
        ({}, "Hi"),
        ({"tokenizer.ggml.add_bos_token": True}, "<|im_start|>Hi"),
        ({"tokenizer.ggml.add_bos_token": False}, "Hi"),
    ],
)
def test_llama_cpp_puts_the_beginning_before_a_template_without_it(tmp_path, fields, expected):
    model = loading.load(model_shapes.smollm2(tmp_path).model)
    model.tokenizer.template = "{{ messages[0].content }}"
    path = tmp_path / "model.gguf"
    ids = {"bos": 1, "eos": 2}
    inner = model.tokenizer.inner
    model_shapes.write_gguf(path, model, inner, pre="smollm", ids=ids, fields=fields)
    found = loading.load(path)
    assert found.tokenizer.prompt("Hi") == expected
    again = loading.load(loading.save(found, tmp_path / "again")).tokenizer
    assert again.prompt_tokens("Hi") == found.tokenizer.prompt_tokens("Hi")
    assert again.ends == found.tokenizer.ends


def test_a_gguf_file_behind_a_link_keeps_its_name(tmp_path):
    path = model_shapes.gguf_with()(tmp_path)
    (tmp_path / "SmolLM2.Q8_0.gguf").symlink_to(path.rename(tmp_path / "8f3c"))
    assert loading.load(tmp_path / "SmolLM2.Q8_0.gguf").name == "SmolLM2"


@pytest.mark.parametrize(
    "fields, said",
    [
        ({"tokenizer.ggml.eot_token_id": 10**6}, "eot_token_id"),
        ({"tokenizer.ggml.eot_token_id": True}, "eot_token_id"),
        ({"tokenizer.ggml.add_bos_token": "false"}, "add_bos_token"),
        ({"llama.attention.key_length": 16}, "q_proj|k_proj"),
        ({"llama.rope.dimension_count": 2}, "dimension_count"),
        ({"llama.rope.scaling.type": "yarn"}, "rope.scaling.type"),
        ({"llama.rope.scaling.attn_factor": 1.5}, "attn_factor"),
        ({"llama.rope.scale_linear": 0.0}, "scale_linear"),
    ],
)
def test_gguf_fields_that_cannot_be_used_are_named(tmp_path, fields, said):
    assert re.search(said, refused(model_shapes.gguf_with(fields=fields)(tmp_path)))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"tokenizer.ggml.pre": ["smollm"]}, r"tokenizer.ggml.pre = \['smollm'\] is not supported"),
        (
            {"tokenizer.chat_template": None, "tokenizer.chat_template.tool_use": "{{ messages }}"},
            "there are .*chat_template.tool_use",
        ),
    ],
)
def test_gguf_fields_that_leave_open_what_a_text_becomes_are_named(tmp_path, changes, said):
    """A list of templates without a default one: ollama #6522."""
    there = gguf.GGUFReader(model_shapes.gguf_with()(tmp_path)).fields.items()
    fields = {name: field.contents() for name, field in there}
    with pytest.raises(InvalidArgument, match=said):
        _gguf_text.read(fields | changes)


@pytest.mark.parametrize(
    ("fields", "factor"),
    [
        ({}, None),
        ({"scaling.factor": 4.0}, 4.0),
        ({"scale_linear": 4.0}, 4.0),
        ({"scaling.factor": 4.0, "scale_linear": 2.0, "scaling.type": "linear"}, 4.0),
        ({"scaling.factor": 4.0, "scaling.type": "none"}, None),
    ],
)
def test_rotations_are_slowed_down_by_a_factor_as_in_llama_cpp(tmp_path, fields, factor):
    """Its src/llama-model.cpp: the type is linear if none is given, and the factor had a name."""
    given = {f"llama.rope.{name}": value for name, value in fields.items()}
    config = loading.load(model_shapes.gguf_with(fields=given)(tmp_path)).network.config
    slowed = (("rope_type", "linear"), ("factor", factor))
    assert config.rope_scaling == (() if factor is None else slowed)


def test_a_model_saved_over_another_is_read_as_it_was(whole, tmp_path):
    """transformers believes these files more than tokenizer_config.json."""
    model = loading.load(whole)
    (tmp_path / "additional_chat_templates").mkdir()
    left = {
        "chat_template.jinja": "of the model before {{ messages[0].content }}",
        "additional_chat_templates/other.jinja": "of the model before",
        "special_tokens_map.json": '{"eos_token": "he"}',
        "added_tokens.json": '{"of the model before": 999}',
    }
    for name, content in left.items():
        (tmp_path / name).write_text(content)
    again = loading.load(loading.save(model, tmp_path)).tokenizer
    assert again.digest == loading.load(loading.save(model, tmp_path / "new")).tokenizer.digest
    assert again.prompt("the 12") == model.tokenizer.prompt("the 12")
    assert again.ends == model.tokenizer.ends


def test_a_template_says_the_same_once_its_model_is_saved(folder, tmp_path):
    """What the tokenizer does not name is nothing in a template, though generation ends there."""
    path = folder / "tokenizer_config.json"
    settings = json.loads(path.read_text())
    for unnamed in ("eos_token", "pad_token"):
        settings.pop(unnamed, None)
    settings["chat_template"] = "{{ messages[0].content }}{{ eos_token }}{{ pad_token }}"
    path.write_text(json.dumps(settings))
    (folder / "special_tokens_map.json").unlink(missing_ok=True)
    found = loading.load(folder)
    again = loading.load(loading.save(found, tmp_path / "again")).tokenizer
    assert again.prompt("hello") == found.tokenizer.prompt("hello") == "hello"
    assert (again.ends, again.padding) == (found.tokenizer.ends, found.tokenizer.padding)


def test_a_folder_that_cannot_be_written_is_named(whole, tmp_path):
    (tmp_path / "file").write_text("here")
    with pytest.raises(InvalidArgument, match=r"folder = .* cannot be written"):
        loading.save(loading.load(whole), tmp_path / "file")
