"""JSON files of a model's folder."""

import json
from pathlib import Path
from typing import Any

from apo_sim import files
from apo_sim.errors import InvalidArgument


def read(path: Path) -> dict[str, Any]:
    """The object that a JSON file of a model holds.

    Raises:
        InvalidArgument: it is not there, no JSON, or no object.

    Example:
        >>> read(Path("/dev/null"))
        Traceback (most recent call last):
        ...
        apo_sim.errors.InvalidArgument: model = '/dev/null' is not JSON; download it again
    """
    text = files.read_text("model", path)
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidArgument("model", str(path), "is not JSON", "download it again") from error
    if not isinstance(found, dict):
        raise InvalidArgument("model", str(path), "is not a JSON object", "download it again")
    return found
