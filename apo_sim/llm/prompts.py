"""Prompts, from a file of one JSON object a line or from a list."""

import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from apo_sim.errors import InvalidArgument


@dataclass(frozen=True)
class Prompt:
    """What a response is asked for.

    Attributes:
        text: what the user says.
        instructions: ids of the verifiable instructions in it (IFEval's), if any.
        kwargs: settings of each instruction, as IFEval has them.

    Example:
        >>> Prompt("Say hello without commas.", ("punctuation:no_comma",), ({},)).instructions
        ('punctuation:no_comma',)
    """

    text: str
    instructions: tuple[str, ...] = ()
    kwargs: tuple[Mapping[str, Any], ...] = field(default=(), hash=False)

    def __post_init__(self):
        if not isinstance(self.text, str) or not self.text.strip():
            raise InvalidArgument("prompt", self.text, "is empty", "pass what the user says")
        if len(self.instructions) != len(self.kwargs):
            raise InvalidArgument(
                "kwargs",
                self.kwargs,
                f"has {len(self.kwargs)} entries for {len(self.instructions)} instructions",
                "pass one for each",
            )

    def as_json(self) -> dict[str, Any]:
        """As a line of a file of prompts."""
        return {
            "prompt": self.text,
            "instruction_id_list": list(self.instructions),
            "kwargs": [dict(entry) for entry in self.kwargs],
        }


def read(path: str | Path) -> list[Prompt]:
    """Prompts of a JSONL file: `prompt` in every line, or the first of `turns`.

    IFEval's `instruction_id_list` and `kwargs` are kept where they are.

    Raises:
        InvalidArgument: a file that is missing or empty, a line that is no JSON object or holds
            no prompt; the line is named.

    Example:
        >>> read("missing.jsonl")
        Traceback (most recent call last):
        ...
        apo_sim.errors.InvalidArgument: prompts = 'missing.jsonl' is not there; pass a JSONL file
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise InvalidArgument("prompts", str(path), "is not there", "pass a JSONL file")
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise InvalidArgument("prompts", str(path), "is not text", "pass a JSONL file") from error
    found = [_line(path, n, line) for n, line in enumerate(lines, 1) if line.strip()]
    if not found:
        raise InvalidArgument("prompts", str(path), "is empty", "pass a file with prompts")
    return found


def as_prompts(name: str, given: Any) -> list[Prompt]:
    """Prompts from a path, or from texts and prompts in a list."""
    if isinstance(given, str | Path):
        return read(given)
    if not isinstance(given, Iterable):
        raise InvalidArgument(name, given, "are no prompts", "pass a JSONL file or a list")
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
            f"cannot be shared out among {number} iterations",
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


def _line(path: Path, number: int, line: str) -> Prompt:
    where = f"line {number} of {path}"
    try:
        entry = json.loads(line)
    except json.JSONDecodeError as error:
        raise InvalidArgument(
            "prompts", where, f"is not JSON ({error.msg})", "write one JSON object a line"
        ) from error
    turns = entry.get("turns") if isinstance(entry, dict) else None
    text = turns[0] if turns else entry.get("prompt") if isinstance(entry, dict) else None
    if not isinstance(text, str) or not text.strip():
        raise InvalidArgument("prompts", where, "holds no prompt", 'write {"prompt": "..."}')
    names = tuple(entry.get("instruction_id_list") or ())
    kwargs = tuple(entry.get("kwargs") or ({},) * len(names))
    try:
        return Prompt(text, names, kwargs)
    except InvalidArgument as error:
        raise InvalidArgument("prompts", where, error.problem, error.remedy) from error
