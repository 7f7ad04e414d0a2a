"""The safetensors of a model's folder: which files belong to it, and which tensor is where."""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors

from apo_sim.errors import InvalidArgument
from apo_sim.llm.models import _model_json

WHOLE, INDEX = "model.safetensors", "model.safetensors.index.json"
# Precisions of weights; what is stored as integers or in 8 bits needs scales beside it.
_PRECISIONS = ("F64", "F32", "F16", "BF16")
_AGAIN = "download it again"


@dataclass(frozen=True)
class Tensor:
    """A tensor that is not yet read.

    Attributes:
        path: its file.
        name: in the file.
        shape: from the file's head.
    """

    path: Path
    name: str
    shape: tuple[int, ...]

    def read(self) -> np.ndarray:
        """Its values.

        Raises:
            InvalidArgument: the file cannot be read any more.
        """
        try:
            with safetensors.safe_open(self.path, framework="numpy") as opened:  # type: ignore[attr-defined]
                return opened.get_tensor(self.name)
        except (safetensors.SafetensorError, OSError) as error:
            raise _damaged(self.path) from error


def tensors(folder: Path) -> dict[str, Tensor]:
    """All tensors of a model, by name.

    As in transformers, they are in model.safetensors, or else in the files that
    model.safetensors.index.json names; what else lies beside them (consolidated.safetensors,
    adapters, files whose names begin with a dot) belongs to others. Without an index, a complete
    set of model-00001-of-0000N.safetensors will do.

    Raises:
        InvalidArgument: a file that is missing or damaged, a tensor that is not where the index
            says, or of a precision that is not read here.
    """
    if (folder / WHOLE).is_file():
        return _of_file(folder / WHOLE)
    if not (folder / INDEX).is_file():
        return _together([_of_file(path) for path in _numbered(folder)])
    places = _index(folder / INDEX)
    paths = {name: folder / name for name in sorted(set(places.values()))}
    for path in paths.values():
        if not path.is_file():
            raise InvalidArgument("model", str(folder), f"lacks {path.name}", _AGAIN)
    by_file = {name: _of_file(path) for name, path in paths.items()}
    for tensor, name in places.items():
        if tensor not in by_file[name]:
            raise InvalidArgument(
                "model", str(folder), f"lacks {tensor} in {name}, where {INDEX} lists it", _AGAIN
            )
    # A tensor that is in two files is the one that the index names.
    return _together(list(by_file.values())) | {t: by_file[n][t] for t, n in places.items()}


def _of_file(path: Path) -> dict[str, Tensor]:
    try:
        with safetensors.safe_open(path, framework="numpy") as opened:  # type: ignore[attr-defined]
            heads = {name: opened.get_slice(name) for name in opened.keys()}  # noqa: SIM118
            found = {name: (head.get_dtype(), head.get_shape()) for name, head in heads.items()}
    except (safetensors.SafetensorError, OSError) as error:
        raise _damaged(path) from error
    for name, (precision, _) in found.items():
        if precision not in _PRECISIONS:
            raise InvalidArgument(
                name,
                precision,
                f"in {path} is not a precision of unquantised weights",
                f"pass a model in one of {_PRECISIONS}; quantised models are read from GGUF",
            )
    return {name: Tensor(path, name, tuple(shape)) for name, (_, shape) in found.items()}


def _together(parts: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {name: tensor for part in parts for name, tensor in part.items()}


def _index(path: Path) -> dict[str, str]:
    """Which file holds which tensor."""
    found = _model_json.read(path).get("weight_map")
    if not isinstance(found, dict) or not found:
        raise InvalidArgument("model", str(path), "holds no weight_map", _AGAIN)
    places = {tensor: str(name) for tensor, name in found.items()}
    for name in places.values():
        if Path(name).name != name or not name.endswith(".safetensors"):
            raise InvalidArgument(
                "model",
                str(path),
                f"names {name!r}, which is not a file in the same folder",
                _AGAIN,
            )
    return places


def _numbered(folder: Path) -> list[Path]:
    found = {}
    for path in folder.iterdir():
        if match := re.fullmatch(r"model-(\d{5})-of-(\d{5})\.safetensors", path.name):
            found[int(match[1]), int(match[2])] = path
    if not found:
        raise InvalidArgument(
            "model",
            str(folder),
            "holds no safetensors",
            f"pass a folder with {WHOLE}, or with {INDEX} and the files that it names",
        )
    number = max(of for _, of in found)
    missing = [part for part in range(1, number + 1) if (part, number) not in found]
    if missing or len(found) != number:
        raise InvalidArgument(
            "model",
            str(folder),
            f"has neither {INDEX} nor all of model-*-of-{number:05}.safetensors: {missing} missing",
            _AGAIN,
        )
    return [found[part, number] for part in range(1, number + 1)]


def _damaged(path: Path) -> InvalidArgument:
    return InvalidArgument("model", str(path), "cannot be read as safetensors", _AGAIN)
