"""Values as JSON, for programs that read what the command prints."""

import dataclasses
import json
import math
import os
from collections.abc import Mapping
from typing import Any


def print_json(value: Any) -> None:
    """Print a value as JSON."""
    print(json.dumps(as_data(value), indent=2, ensure_ascii=False, allow_nan=False), flush=True)


def as_data(value: Any) -> Any:
    """A value as JSON can hold it; what is not finite becomes null.

    Records become objects of their fields, a labelled table a list of its rows, arrays lists.

    Raises:
        TypeError: for what JSON has no place for.

    Example:
        >>> as_data({"gap": (0.5, math.inf)})
        {'gap': [0.5, None]}
    """
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: as_data(getattr(value, f.name)) for f in dataclasses.fields(value)}
    return _of_container(value)


def _of_container(value: Any) -> Any:
    if hasattr(value, "data_vars"):  # a dataset, whose package need not be there
        return as_data(value.to_dataframe().reset_index().to_dict("records"))
    if isinstance(value, Mapping):
        return {str(name): as_data(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [as_data(entry) for entry in value]
    if hasattr(value, "tolist") and not isinstance(value, type):  # arrays and their scalars
        return as_data(value.tolist())
    raise TypeError(f"cannot write a {type(value).__name__} as JSON")
