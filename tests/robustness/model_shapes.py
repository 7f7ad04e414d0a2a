"""Tiny models in the shapes of real ones: what is read, what is refused, and the table of both.

Run as a script, it writes docs/compatibility.md; a test compares the two.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import safetensors.numpy
import tokenizers
from tokenizers import Regex, decoders, normalizers, pre_tokenizers, processors
from tokenizers import models as kinds

from apo_sim.llm.models import _checkpoint, _gguf_file, loading, tiny

TABLE = Path(__file__).parents[2] / "docs" / "compatibility.md"


@dataclass(frozen=True)
class Made:
    """A model in its shape, and what it is compared with.

    Attributes:
        model: what is loaded.
        theirs: the folder in which transformers finds the same.
        ends: tokens that end a response.
        reader: transformers' class that reads the tokenizer.
    """

    model: Path
    theirs: Path
    ends: tuple[str, ...]
    reader: str = "AutoTokenizer"


@dataclass(frozen=True)
class Shape:
    """A family of models and the files that they come in."""

    family: str
    files: str
    make: Callable[[Path], Made]


@dataclass(frozen=True)
class Refused:
    """What is refused, and the field that the message names."""

    what: str
    field: str
    make: Callable[[Path], Path]


# Tokenizers.

MERGES = ["Ġ t", "h e", "Ġt he", "l l", "1 2", "12 3", "3 4", "Ġ Ġ", "i n", "' s", "e r", "o w"]
LLAMA3_CUT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
TEKKEN_CUT = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
BYTES = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
GPT2 = pre_tokenizers.ByteLevel(add_prefix_space=False)


def cut_by(expression: str) -> Any:
    return pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(expression), "isolated"), BYTES])


# As these models' own tokenizer.json have it; the last is Falcon's, and llama.cpp's default.
CUTS = {
    "llama-bpe": cut_by(LLAMA3_CUT),
    "smaug-bpe": cut_by(LLAMA3_CUT),
    "qwen2": cut_by(LLAMA3_CUT.replace("{1,3}", "")),
    "tekken": cut_by(TEKKEN_CUT),
    "smollm": pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), GPT2]),
    "gpt-2": GPT2,
    "default": pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"[\p{P}\$\+<=>\^~\|]+"), "isolated"),
            GPT2,
            pre_tokenizers.Digits(individual_digits=False),
            pre_tokenizers.Split(Regex("[0-9][0-9][0-9]"), "isolated"),
        ]
    ),
}


def of_bytes(
    pre: str, special: Sequence[str], begin: str | None = None, user: Sequence[str] = ()
) -> tokenizers.Tokenizer:
    """A byte-level tokenizer, as GPT-2 and all after it have them."""
    names = [*sorted(pre_tokenizers.ByteLevel.alphabet()), *(m.replace(" ", "") for m in MERGES)]
    if pre in ("llama-bpe", "tekken"):
        names.append("hello")  # a token that no merge makes
    # Special tokens first or last, as in SmolLM2 and Llama 3.
    names = [*special, *names] if pre == "smollm" else [*names, *special]
    names += user
    inner = tokenizers.Tokenizer(
        kinds.BPE(
            {name: place for place, name in enumerate(names)},
            [tuple(merge.split(" ")) for merge in MERGES],
            ignore_merges=pre in ("llama-bpe", "tekken"),
        )
    )
    if pre == "qwen2":
        inner.normalizer = normalizers.NFC()  # type: ignore[assignment]
    inner.pre_tokenizer, inner.decoder = CUTS[pre], decoders.ByteLevel()  # type: ignore[assignment]
    return finished(inner, special, begin, user)


def of_pieces(special: Sequence[str] = ()) -> tokenizers.Tokenizer:
    """A tokenizer of SentencePiece's kind, as Llama 2, TinyLlama and Mistral have it."""
    merges = ["▁ t", "h e", "▁t he", "l l", "e r", "▁ w"]
    letters = [*"▁abcdefghijklmnopqrstuvwxyz", *"ABCDEHILNST", *"0123456789", *"<|>[]/.,'"]
    bytes_ = [f"<0x{byte:02X}>" for byte in range(256)]
    made = [merge.replace(" ", "") for merge in merges]
    names = ["<unk>", "<s>", "</s>", *bytes_, *made, *letters, *special]
    inner = tokenizers.Tokenizer(
        kinds.BPE(
            {name: place for place, name in enumerate(names)},
            [tuple(merge.split(" ")) for merge in merges],
            unk_token="<unk>",
            fuse_unk=True,
            byte_fallback=True,
        )
    )
    inner.normalizer = normalizers.Sequence(  # type: ignore[assignment]
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    inner.decoder = decoders.Sequence(  # type: ignore[assignment]
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    return finished(inner, ["<unk>", "<s>", "</s>", *special], "<s>")


def finished(
    inner: tokenizers.Tokenizer,
    special: Sequence[str],
    begin: str | None,
    user: Sequence[str] = (),
) -> tokenizers.Tokenizer:
    inner.add_special_tokens([tokenizers.AddedToken(name, special=True) for name in special])
    inner.add_tokens([tokenizers.AddedToken(name, normalized=False) for name in user])
    if begin is not None:
        inner.post_processor = processors.TemplateProcessing(  # type: ignore[assignment]
            [begin, "$A"], [begin, "$A", begin, "$B:1"], [(begin, inner.token_to_id(begin))]
        )
    return inner


# Templates, shortened from those of the models.

CHATML = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] "
    "+ '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
LLAMA2 = (
    "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' %}"
    "{{ '[INST] ' + message['content'] | trim + ' [/INST]' }}{% endif %}{% endfor %}"
)
TINYLLAMA = (
    "{% for message in messages %}\n{{ '<|user|>\n' + message['content'] + eos_token }}\n"
    "{% if loop.last and add_generation_prompt %}\n{{ '<|assistant|>' }}\n{% endif %}\n{% endfor %}"
)
LLAMA3 = (
    "{{- bos_token }}{%- if strftime_now is defined %}{%- set year = strftime_now('%Y') %}"
    "{%- else %}{%- set year = 'unknown' %}{%- endif %}"
    "{%- if tools is not none %}{{- 'Environment: ipython' }}{%- endif %}"
    "{%- for message in messages %}{{- '<|start_header_id|>' + message['role'] + "
    "'<|end_header_id|>\n\n' + year[:2] + message['content'] | trim + '<|eot_id|>' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}"
    "{%- endif %}"
)
LLAMA3_SPECIAL = (
    "<|begin_of_text|>",
    "<|end_of_text|>",
    "<|finetune_right_pad_id|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eom_id|>",
    "<|eot_id|>",
)
LLAMA3_ROTATIONS = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
CHAT_SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")


# Folders.


def folder(
    place: Path,
    inner: tokenizers.Tokenizer,
    settings: Mapping[str, Any],
    *,
    generation: Mapping[str, Any] | None = None,
    shards: int = 1,
    **changes: Any,
) -> Path:
    """A folder as Hugging Face has them: weights of a random model, and these settings.

    `config` among the changes goes into config.json (None: leaves a field out), the others are
    sizes of the model.
    """
    written = changes.pop("config", {})
    words = changes.pop("vocab_size", inner.get_vocab_size())
    model = tiny.model(vocab_size=words, **{"num_layers": 1, **changes})
    loading.save(model, place)
    config = json.loads((place / "config.json").read_text())
    config |= dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"), "left out") | written
    write(place / "config.json", {name: v for name, v in config.items() if v != "left out"})
    inner.save(str(place / "tokenizer.json"))
    write(place / "tokenizer_config.json", settings)
    (place / "generation_config.json").unlink()
    if generation is not None:
        write(place / "generation_config.json", generation)
    if shards > 1:
        shard(place, shards)
    return place


def shard(place: Path, number: int) -> None:
    """Several files and an index, and beside them what is found beside real ones."""
    whole = place / "model.safetensors"
    tensors = safetensors.numpy.load_file(whole)
    whole.unlink()
    names, places = sorted(tensors), {}
    for part in range(number):
        file = f"model-{part + 1:05}-of-{number:05}.safetensors"
        mine = names[part::number]
        safetensors.numpy.save_file({n: tensors[n] for n in mine}, place / file, {"format": "pt"})
        places |= dict.fromkeys(mine, file)
    write(place / "model.safetensors.index.json", {"metadata": {}, "weight_map": places})
    safetensors.numpy.save_file(
        {"tok_embeddings.weight": np.zeros((2, 2), np.float32)}, place / "consolidated.safetensors"
    )
    (place / "._model-00001-of-00002.safetensors").write_bytes(b"\0\5\26\7 of another system")


def write(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content))


def llama2(place: Path) -> Made:
    settings = {
        "tokenizer_class": "LlamaTokenizer",
        "bos_token": {"__type": "AddedToken", "content": "<s>"},
        "eos_token": {"__type": "AddedToken", "content": "</s>"},
        "unk_token": {"__type": "AddedToken", "content": "<unk>"},
        "add_bos_token": True,
        "add_eos_token": False,
        "legacy": False,
        "chat_template": LLAMA2,
    }
    config = {"head_dim": "left out", "rope_theta": "left out", "hidden_act": "silu"}
    made = folder(place / "llama-2", of_pieces(), settings, shards=2, config=config, num_kv_heads=4)
    return Made(made, made, ("</s>",))


def tinyllama(place: Path) -> Made:
    settings = {
        "tokenizer_class": "LlamaTokenizer",
        "bos_token": "<s>",
        "eos_token": "</s>",
        "pad_token": "</s>",
        "unk_token": "<unk>",
        "legacy": False,
        "chat_template": TINYLLAMA,
    }
    made = folder(place / "tinyllama", of_pieces(), settings, config={"rope_scaling": None})
    return Made(made, made, ("</s>",))


def llama3(place: Path) -> Made:
    inner = of_bytes("llama-bpe", LLAMA3_SPECIAL, "<|begin_of_text|>")
    ends = [inner.token_to_id(name) for name in ("<|end_of_text|>", "<|eot_id|>")]
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<|begin_of_text|>",
        "eos_token": "<|eot_id|>",
        "model_max_length": 100,
        "chat_template": LLAMA3,
    }
    made = folder(
        place / "llama-3",
        inner,
        settings,
        generation={"eos_token_id": ends, "do_sample": True, "temperature": 0.6},
        shards=2,
        rope_theta=500_000,
        config={"eos_token_id": ends[0], "rope_theta": 500_000.0},
    )
    return Made(made, made, ("<|end_of_text|>", "<|eot_id|>"))


def llama32(place: Path) -> Made:
    inner = of_bytes("llama-bpe", LLAMA3_SPECIAL, "<|begin_of_text|>")
    names = ("<|end_of_text|>", "<|eom_id|>", "<|eot_id|>")
    settings = {
        "tokenizer_class": "PreTrainedTokenizer",
        "bos_token": "<|begin_of_text|>",
        "eos_token": "<|eot_id|>",
        "pad_token": "<|finetune_right_pad_id|>",
    }
    made = folder(
        place / "llama-3.2",
        inner,
        settings,
        generation={"eos_token_id": [inner.token_to_id(name) for name in names]},
        rope_theta=500_000,
        head_dim=16,
        weight_tying=True,
        rope_scaling=tuple(LLAMA3_ROTATIONS.items()),
    )
    (made / "chat_template.jinja").write_text(LLAMA3)
    return Made(made, made, names)


def distilled(place: Path) -> Made:
    """As DeepSeek-R1-Distill-Llama-8B: the class of Llama 2 for the tokenizer of Llama 3."""
    made = llama3(place)
    path = made.model / "tokenizer_config.json"
    write(path, json.loads(path.read_text()) | {"tokenizer_class": "LlamaTokenizerFast"})
    return Made(made.model, made.theirs, made.ends, "PreTrainedTokenizerFast")


def llama5(place: Path) -> Made:
    """As transformers 5 writes it: rope_parameters, and no special tokens in the template."""
    made = llama3(place)
    config = json.loads((made.model / "config.json").read_text())
    config["rope_parameters"] = {"rope_type": "linear", "factor": 4.0, "rope_theta": 20_000.0}
    for name in ("rope_theta", "rope_scaling"):
        del config[name]
    write(made.model / "config.json", config)
    return made


def mistral(place: Path, window: int | None) -> Made:
    settings = {
        "tokenizer_class": "LlamaTokenizer",
        "bos_token": "<s>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "add_bos_token": True,
        "legacy": False,
        "chat_template": LLAMA2.replace("| trim ", ""),
    }
    config = {
        "model_type": "mistral",
        "architectures": ["MistralForCausalLM"],
        "sliding_window": window,
        "torch_dtype": "bfloat16",
        "head_dim": None,
    }
    made = folder(
        place / "mistral",
        of_pieces(["[INST]", "[/INST]"]),
        settings,
        shards=2,
        config=config,
        rope_theta=1_000_000,
    )
    return Made(made, made, ("</s>",))


def smollm2(place: Path) -> Made:
    settings = {
        "tokenizer_class": "GPT2Tokenizer",
        "bos_token": "<|im_start|>",
        "eos_token": "<|im_end|>",
        "pad_token": "<|im_end|>",
        "unk_token": "<|endoftext|>",
        "additional_special_tokens": ["<|im_start|>", "<|im_end|>"],
        "chat_template": CHATML,
    }
    made = folder(
        place / "smollm2",
        of_bytes("smollm", CHAT_SPECIAL),
        settings,
        generation={"eos_token_id": 2, "pad_token_id": 2},
        weight_tying=True,
        rope_theta=100_000,
    )
    return Made(made, made, ("<|im_end|>",), "PreTrainedTokenizerFast")


def smollm(place: Path) -> Made:
    """A base model: no template, and a beginning token of number 0 that is also the end."""
    settings = {
        "tokenizer_class": "GPT2Tokenizer",
        "bos_token": "<|endoftext|>",
        "eos_token": "<|endoftext|>",
        "unk_token": "<|endoftext|>",
    }
    made = folder(
        place / "smollm", of_bytes("smollm", CHAT_SPECIAL), settings, config={"eos_token_id": 0}
    )
    return Made(made, made, ("<|endoftext|>",), "PreTrainedTokenizerFast")


def saved(place: Path) -> Made:
    source = llama3(place / "source")
    made = loading.save(loading.load(source.model), place / "saved")
    return Made(made, source.theirs, source.ends)


# GGUF files.


def gguf_of(
    pre: str,
    place: Path,
    *,
    quantised: bool = False,
    spare: int = 0,
    scaling: Mapping[str, Any] | None = None,
) -> Made:
    """A file of a Llama with the tokenizer of this name, and the same in a folder."""
    begins = pre in ("llama-bpe", "tekken")
    special = LLAMA3_SPECIAL if begins else CHAT_SPECIAL
    begin, end = ("<|begin_of_text|>", "<|eot_id|>") if begins else (None, "<|im_end|>")
    inner = of_bytes(pre, special, begin, user=["<think>"])
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": begin or "<|im_start|>",
        "eos_token": end,
        "chat_template": LLAMA3 if begins else CHATML,
    }
    slowed = {} if scaling is None else {"rope_scaling": tuple(scaling.items())}
    sizes: dict[str, Any] = {"embed_dim": 32, "hidden_dim": 32, "head_dim": 8, **slowed}
    theirs = folder(
        place / f"{pre}-folder",
        inner,
        settings,
        vocab_size=inner.get_vocab_size() + spare,
        rope_theta=500_000,
        **sizes,
    )
    model = loading.load(theirs)
    path = place / f"{pre}.gguf"
    turns = {"eot": "<|eot_id|>", "eom": "<|eom_id|>"} if begins else {}
    ids = {name: inner.token_to_id(token) for name, token in turns.items()}
    ids |= {"bos": inner.token_to_id(begin or "<|im_start|>"), "eos": inner.token_to_id(end)}
    write_gguf(path, model, inner, pre=pre, ids=ids, quantised=quantised)
    if quantised:
        write_weights(theirs, _checkpoint.weights(loading.load(path).network))
    ends = ("<|eot_id|>", "<|eom_id|>") if begins else ("<|im_end|>",)
    return Made(path, theirs, ends)


def write_weights(place: Path, tensors: dict[str, np.ndarray]) -> None:
    safetensors.numpy.save_file(tensors, place / "model.safetensors", {"format": "pt"})


def write_gguf(
    path: Path,
    model: loading.Model,
    inner: tokenizers.Tokenizer,
    *,
    pre: str | None,
    ids: Mapping[str, int],
    quantised: bool = False,
    fields: Mapping[str, Any] | None = None,
    tensors: Mapping[str, np.ndarray] | None = None,
) -> None:
    """As llama.cpp's converter writes it: queries and keys interleaved, kinds of tokens beside."""
    config = model.network.config
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(config.num_layers)
    writer.add_context_length(model.context)
    writer.add_embedding_length(config.embed_dim)
    writer.add_feed_forward_length(config.hidden_dim)
    writer.add_head_count(config.num_heads)
    writer.add_head_count_kv(config.num_kv_heads)
    writer.add_rope_freq_base(float(config.rope_theta))
    writer.add_layer_norm_rms_eps(config.norm_eps)
    scaling = dict(config.rope_scaling)
    if scaling.get("rope_type") == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(scaling["factor"])
    if scaling.get("rope_type") == "llama3":
        writer.add_tensor(
            "rope_freqs.weight", slowed_by(config.head_dim, config.rope_theta, scaling)
        )
    writer.add_tokenizer_model("gpt2")
    if pre is not None:
        writer.add_tokenizer_pre(pre)
    added = {token.content: token.special for token in inner.get_added_tokens_decoder().values()}
    names = [inner.id_to_token(number) for number in range(inner.get_vocab_size())]
    writer.add_token_list(names)
    writer.add_token_types([{None: 1, True: 3, False: 4}[added.get(name)] for name in names])
    writer.add_token_merges([*MERGES])
    for name, token in ids.items():
        getattr(writer, f"add_{name}_token_id")(token)
    if model.tokenizer.template is not None:
        writer.add_chat_template(model.tokenizer.template)
    for name, value in (fields or {}).items():
        kinds = {str: writer.add_string, int: writer.add_uint32, bool: writer.add_bool}
        (kinds | {float: writer.add_float32})[type(value)](name, value)
    for name, tensor in _checkpoint.weights(model.network).items():
        if name.endswith(("q_proj.weight", "k_proj.weight")):
            halves = tensor.reshape(-1, 2, config.head_dim // 2, config.embed_dim)
            tensor = halves.swapaxes(1, 2).reshape(tensor.shape)
        values = np.ascontiguousarray(tensor)
        if quantised and values.ndim == 2:
            packed = gguf.quantize(values, gguf.GGMLQuantizationType.Q8_0)
            writer.add_tensor(
                _gguf_file.tensor_name(name), packed, raw_dtype=gguf.GGMLQuantizationType.Q8_0
            )
        else:
            writer.add_tensor(_gguf_file.tensor_name(name), values)
    for name, values in (tensors or {}).items():
        writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def slowed_by(head: int, theta: float, entry: Mapping[str, Any]) -> np.ndarray:
    """As llama.cpp's convert_hf_to_gguf.py computes it, one rotation after the other."""
    low, high = (
        entry["original_max_position_embeddings"] / entry[f"{name}_freq_factor"]
        for name in ("low", "high")
    )
    found = []
    for place in range(0, head, 2):
        length = 2 * np.pi * theta ** (place / head)
        if length < high:
            found.append(1.0)
        elif length > low:
            found.append(entry["factor"])
        else:
            smooth = (low / length - 1) / (entry["high_freq_factor"] - 1)
            found.append(1 / ((1 - smooth) / entry["factor"] + smooth))
    return np.array(found, np.float32)


READ = [
    Shape("Llama 2", "index and shards, consolidated.safetensors beside them", llama2),
    Shape("TinyLlama", "model.safetensors", tinyllama),
    Shape("Llama 3", "index and shards", llama3),
    Shape("Llama 3, children of class LlamaTokenizer", "index and shards", distilled),
    Shape("Llama 3.1, 3.2", "model.safetensors, chat_template.jinja", llama32),
    Shape("Llama, written by transformers 5", "index and shards, rope_parameters", llama5),
    Shape("Mistral 7B v0.1", "index and shards, a sliding window", lambda p: mistral(p, 100)),
    Shape("Mistral 7B v0.2, v0.3", "index and shards", lambda p: mistral(p, None)),
    Shape("SmolLM2 Instruct", "model.safetensors", smollm2),
    Shape("SmolLM, base", "model.safetensors", smollm),
    Shape("any of these, after `llm.save`", "model.safetensors", saved),
    Shape("Llama 3", "GGUF, `llama-bpe`", lambda p: gguf_of("llama-bpe", p)),
    Shape(
        "Llama 3.1",
        "GGUF, `llama-bpe`, `rope_freqs`",
        lambda p: gguf_of(
            "llama-bpe", p, scaling=LLAMA3_ROTATIONS | {"original_max_position_embeddings": 8192}
        ),
    ),
    Shape("Llama 3, Smaug", "GGUF, `smaug-bpe`", lambda p: gguf_of("smaug-bpe", p)),
    Shape("SmolLM2", "GGUF, `smollm`, Q8_0", lambda p: gguf_of("smollm", p, quantised=True)),
    Shape("Mistral Nemo", "GGUF, `tekken`", lambda p: gguf_of("tekken", p)),
    Shape(
        "Llamas with Qwen2's tokenizer",
        "GGUF, `qwen2`, more embeddings than tokens",
        lambda p: gguf_of("qwen2", p, spare=9),
    ),
    Shape(
        "Llamas with GPT-2's tokenizer",
        "GGUF, `gpt-2`, linear rotations",
        lambda p: gguf_of("gpt-2", p, scaling={"rope_type": "linear", "factor": 2.0}),
    ),
    Shape("Llamas with Falcon's tokenizer", "GGUF, `default`", lambda p: gguf_of("default", p)),
]


# What is refused.


def changed(**config: Any) -> Callable[[Path], Path]:
    def make(place: Path) -> Path:
        made = smollm2(place).model
        path = made / "config.json"
        write(path, json.loads(path.read_text()) | config)
        return made

    return make


def gguf_with(**given: Any) -> Callable[[Path], Path]:
    def make(place: Path) -> Path:
        model = loading.load(smollm2(place).model)
        ids = {"bos": 1, "eos": 2}
        path = place / "model.gguf"
        write_gguf(path, model, model.tokenizer.inner, **{"pre": "smollm", "ids": ids, **given})
        return path

    return make


def adapter(place: Path) -> Path:
    made = smollm2(place).model
    write(made / "adapter_config.json", {"peft_type": "LORA"})
    return made


def pickled(place: Path) -> Path:
    made = smollm2(place).model
    (made / "model.safetensors").rename(made / "pytorch_model.bin")
    return made


def sentence_piece_only(place: Path) -> Path:
    made = llama2(place).model
    (made / "tokenizer.json").rename(made / "tokenizer.model")
    return made


def of_another_kind(place: Path) -> Path:
    path = gguf_with()(place)
    path.write_bytes(path.read_bytes().replace(b"gpt2", b"bert"))
    return path


REFUSED = [
    Refused(
        "other architectures, as Qwen2 and Gemma", "of type 'qwen2'", changed(model_type="qwen2")
    ),
    Refused("another activation than SiLU", "hidden_act", changed(hidden_act="relu")),
    Refused("biases", "attention_bias", changed(attention_bias=True)),
    Refused("biases", "mlp_bias", changed(mlp_bias=True)),
    Refused("attention in both directions", "is_causal", changed(is_causal=False)),
    Refused(
        "quantised folders (GPTQ, AWQ, bitsandbytes, FP8)",
        "quantization_config",
        changed(quantization_config={"quant_method": "gptq"}),
    ),
    Refused(
        "rotations of other kinds (dynamic, yarn, longrope)",
        "rope_scaling",
        changed(rope_scaling={"type": "dynamic", "factor": 2.0}),
    ),
    Refused(
        "rotations of a part of each head",
        "partial_rotary_factor",
        changed(partial_rotary_factor=0.5),
    ),
    Refused("adapters that are not merged", "adapter_config.json", adapter),
    Refused("weights as pytorch_model.bin", "model.safetensors", pickled),
    Refused("a tokenizer.model without tokenizer.json", "tokenizer.json", sentence_piece_only),
    Refused("GGUF without a name of its pre-tokenizer", "tokenizer.ggml.pre", gguf_with(pre=None)),
    Refused(
        "GGUF with a pre-tokenizer of another name",
        "tokenizer.ggml.pre",
        gguf_with(pre="deepseek-llm"),
    ),
    Refused(
        "GGUF with tokenizers of SentencePiece's kind (Llama 2, Mistral)",
        "tokenizer.ggml.model",
        of_another_kind,
    ),
    Refused(
        "GGUF with experts (Mixtral)",
        "expert_count",
        gguf_with(fields={"llama.expert_count": 8}),
    ),
    Refused(
        "GGUF with attention in both directions",
        "attention.causal",
        gguf_with(fields={"llama.attention.causal": False}),
    ),
    Refused(
        "GGUF with rotations of no published Llama",
        "rope_freqs.weight",
        gguf_with(tensors={"rope_freqs.weight": np.full(2, 3.0, np.float32)}),
    ),
    Refused("GGUF in several files", "split.count", gguf_with(fields={"split.count": 2})),
]


def table() -> str:
    """The documentation's page."""
    lines = [
        "# Which models load",
        "",
        "Written by `python tests/robustness/model_shapes.py`; every row is a test on a tiny model",
        "of that shape. Folders are read as Hugging Face's transformers reads them. GGUF files are",
        "read as llama.cpp reads them, with the tokens of the model's own tokenizer in",
        "transformers. If the class named in tokenizer_config.json splits plain text differently",
        "from tokenizer.json, then tokenizer.json counts, as with PreTrainedTokenizerFast. An",
        "example is SmolLM2, whose class GPT2Tokenizer does not split numbers into digits in",
        "transformers 5.",
        "",
        "| family | files | logits | tokens | template | ends of text |",
        "|---|---|---|---|---|---|",
    ]
    same = "as transformers"
    for shape in READ:
        tokens = "as tokenizer.json" if shape.make in (smollm, smollm2, distilled) else same
        ends = "eos, eot, eom" if "GGUF" in shape.files else "all of the configuration's"
        lines.append(f"| {shape.family} | {shape.files} | {same} | {tokens} | {same} | {ends} |")
    lines += [
        "",
        "Logits are compared with a forward pass in NumPy, which follows the modelling code of",
        "transformers and uses the configuration as completed by transformers. If PyTorch is",
        "installed, they are also compared with transformers itself. The tokenizer's end of text",
        "always ends a response, and so do the end tokens of generation_config.json (or else",
        "config.json). Responses are decoded unchanged: `clean_up_tokenization_spaces` is not",
        "applied.",
        "",
        "If there is a chat template, it alone decides where the beginning token is placed.",
        "Without a template, the token comes first if tokenizer.json or add_bos_token says so.",
        "llama.cpp puts it before a template that does not write it, and finds <|eot_id|>,",
        "<|eom_id|> and <|im_end|> by their names; GGUF files are treated the same way here.",
        "Templates are rendered by transformers' own code in a separate process, with limits of",
        "two seconds of processor time, a gibibyte of memory and a million characters per prompt.",
        "",
        "These models are refused, with a message that names the field:",
        "",
        "| model | field |",
        "|---|---|",
        *(f"| {refused.what} | `{refused.field}` |" for refused in REFUSED),
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    TABLE.write_text(table(), encoding="utf-8")
