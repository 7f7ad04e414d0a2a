"""Prompts, from a file of one JSON object a line or from a list."""

import json
import zlib
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from apo_sim import files
from apo_sim.errors import InvalidArgument
from apo_sim.llm.data._instruction_settings import check_settings
from apo_sim.self_checking import checks_itself


@checks_itself
@dataclass(frozen=True)
class Prompt:
    """What a response is asked for.

    Attributes:
        text: what the user says.
        instructions: ids of the verifiable instructions in it (IFEval's), if any.
        kwargs: settings of each instruction, as IFEval has them.

    Raises:
        InvalidArgument: no text; instructions and kwargs that do not belong together; a setting
            that is missing or out of its range (`apo_sim.llm.data._instruction_settings`).

    Example:
        >>> Prompt("Say hello without commas.", ("punctuation:no_comma",), ({},)).instructions
        ('punctuation:no_comma',)
    """

    text: str
    instructions: tuple[str, ...] = ()
    kwargs: tuple[Mapping[str, Any], ...] = field(default=(), hash=False)

    def __post_init__(self) -> None:
        if not isinstance(self.text, str) or not self.text.strip():
            raise InvalidArgument("prompt", self.text, "is not text", "pass what the user says")
        try:
            self.text.encode()
        except UnicodeEncodeError:
            raise InvalidArgument(
                "prompt", self.text, "contains half of a surrogate pair", "pass valid Unicode"
            ) from None
        if not _is_list_of(str, self.instructions):
            raise InvalidArgument(
                "instructions", self.instructions, "is not a list of ids", "pass a list of texts"
            )
        if not _is_list_of(Mapping, self.kwargs):
            raise InvalidArgument(
                "kwargs", self.kwargs, "is not a list of settings", "pass a list of dictionaries"
            )
        if len(self.instructions) != len(self.kwargs):
            raise InvalidArgument(
                "kwargs",
                self.kwargs,
                f"has {len(self.kwargs)} entries for {len(self.instructions)} instructions",
                "pass one for each",
            )
        for name, settings in zip(self.instructions, self.kwargs, strict=True):
            check_settings(name, settings)
        try:
            json.dumps(self.as_json(), sort_keys=True)
        except (TypeError, ValueError, RecursionError) as error:
            raise InvalidArgument(
                "kwargs", self.kwargs, f"cannot be written as JSON ({error})", "pass plain data"
            ) from None

    def as_json(self) -> dict[str, Any]:
        """As a line of a file of prompts."""
        return {
            "prompt": self.text,
            "instruction_id_list": list(self.instructions),
            "kwargs": [dict(entry) for entry in self.kwargs],
        }


def read(path: str | Path, name: str = "prompts") -> list[Prompt]:
    """Prompts of a JSONL file: `prompt` in every line, or the first of `turns`.

    IFEval's `instruction_id_list` and `kwargs` are kept where they are. Lines end with a line feed
    and nothing else: other signs that end one, such as U+2028, may stand within a text.

    Args:
        path: of the file, in UTF-8.
        name: of the argument that it comes from, for messages.

    Raises:
        InvalidArgument: a file that is missing or empty, a line that is not a JSON object, holds no
            prompt, or instructions whose settings cannot be used; the line is named.

    Example:
        >>> read("missing.jsonl")
        Traceback (most recent call last):
        ...
        apo_sim.errors.InvalidArgument: prompts = 'missing.jsonl' does not exist; pass a JSONL file
    """
    file = files.as_path(name, path)
    if not file.is_file():
        problem = "is not a file" if file.exists() else "does not exist"
        raise InvalidArgument(name, str(path), problem, "pass a JSONL file")
    lines = files.read_text(name, path).split("\n")
    found = [
        _line(name, f"line {number} of {path}", line)
        for number, line in enumerate(lines, 1)
        if line.strip()
    ]
    if not found:
        raise InvalidArgument(name, str(path), "is empty", "pass a file with prompts")
    return found


def as_prompts(name: str, given: Any) -> list[Prompt]:
    """Prompts from a path, or from texts and prompts in a list."""
    if isinstance(given, str | Path):
        return read(given, name)
    # Mappings and tables would give their keys, and sets another order in every process.
    unfit = isinstance(given, Mapping | Set) or hasattr(given, "columns")
    if unfit or not isinstance(given, Iterable):
        raise InvalidArgument(name, given, "are not prompts", "pass a JSONL file or a list")
    found = [prompt if isinstance(prompt, Prompt) else Prompt(prompt) for prompt in given]
    if not found:
        raise InvalidArgument(name, given, "are empty", "pass at least one prompt")
    return found


def folds(prompts: Sequence[Prompt], number: int) -> list[list[Prompt]]:
    """As many parts of equal size, one for each iteration, as the paper has them.

    Raises:
        InvalidArgument: fewer prompts than parts.

    Example:
        >>> [[prompt.text for prompt in part] for part in folds([Prompt("a"), Prompt("b")], 2)]
        [['a'], ['b']]
    """
    size = len(prompts) // number
    if size == 0:
        raise InvalidArgument(
            "prompts",
            f"{len(prompts)} prompts",
            f"cannot be divided among {number} iterations",
            "pass more prompts, or fewer iterations",
        )
    return [list(prompts[part * size : (part + 1) * size]) for part in range(number)]


def digest(prompts: Sequence[Prompt]) -> str:
    """What tells lists of prompts apart.

    Example:
        >>> digest([Prompt("a"), Prompt("b")])
        '2 prompts, 12e96b53'
    """
    lines = json.dumps([prompt.as_json() for prompt in prompts], sort_keys=True)
    return f"{len(prompts)} prompts, {zlib.crc32(lines.encode()):08x}"


def _line(name: str, where: str, line: str) -> Prompt:
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError) as error:
        reason = getattr(error, "msg", None) or str(error)
        raise InvalidArgument(
            name, where, f"is not JSON ({reason})", "write one JSON object a line"
        ) from error
    if not isinstance(entry, dict):
        entry = {}
    turns = entry.get("turns")
    text = turns[0] if isinstance(turns, list) and turns else entry.get("prompt")
    if not isinstance(text, str) or not text.strip():
        raise InvalidArgument(name, where, "holds no prompt", 'write {"prompt": "..."}')
    asked, settings = entry.get("instruction_id_list") or [], entry.get("kwargs") or []
    if isinstance(asked, list) and settings == []:
        settings = [{}] * len(asked)
    try:
        return Prompt(text, _tuple(asked), _tuple(settings))
    except InvalidArgument as error:
        raise InvalidArgument(
            name, where, f"{error.argument}: {error.problem}", error.remedy
        ) from (error)


def _tuple(found: Any) -> Any:
    """A list as a tuple, its empty entries as no settings; anything else is refused later."""
    return tuple({} if one is None else one for one in found) if isinstance(found, list) else found


def _is_list_of(kind: type, given: Any) -> bool:
    return isinstance(given, tuple | list) and all(isinstance(one, kind) for one in given)
