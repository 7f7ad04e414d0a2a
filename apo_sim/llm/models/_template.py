"""Chat templates, rendered as transformers renders them, within bounds of time and memory."""

import atexit
import contextlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from typing import Any

from apo_sim.errors import InvalidArgument
from apo_sim.llm.models import _render

_REMEDY = "correct chat_template in the model's tokenizer_config.json or chat_template.jinja"
_QUIET = {"TRANSFORMERS_VERBOSITY": "error", "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1"}
# Threads of NumPy's would count as memory.
_ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}


def rendered(template: str, text: str, tokens: Mapping[str, str], moment: str | None = None) -> str:
    """The conversation in which a user says a text, up to where the response begins.

    Args:
        template: jinja2 source, with all that transformers gives to templates.
        text: what the user says.
        tokens: names of the special tokens, as `bos_token`.
        moment: that its `strftime_now` tells, in ISO 8601; None: the present one.

    Raises:
        InvalidArgument: the template refuses the text, is broken, or takes more than two seconds,
            a gibibyte, or a million characters.

    Source: transformers' `apply_chat_template`.

    Example:
        >>> rendered("{{ bos_token }}[{{ messages[0]['content'] }}]", "Hi", {"bos_token": "<s>"})
        '<s>[Hi]'
        >>> rendered("{{ 'a' * 10 ** 11 }}", "Hi", {})
        Traceback (most recent call last):
        ...
        apo_sim.errors.InvalidArgument: chat_template = ... cannot be rendered (MemoryError: ); ...
    """
    asked = {"template": template, "text": text, "tokens": dict(tokens), "moment": moment}
    found = _PROCESS.ask(asked)
    if "refused" in found:
        raise InvalidArgument(
            "prompt", found["refused"], "is rejected by the chat template", "change the prompt"
        )
    if "broken" in found:
        raise InvalidArgument(
            "chat_template", template, f"cannot be rendered ({found['broken']})", _REMEDY
        )
    return found["text"]


class _Process:
    """The process that renders: started when first asked, and again when a template ended it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._started: subprocess.Popen[str] | None = None
        self._owner = 0

    def ask(self, request: dict[str, Any]) -> dict[str, str]:
        with self._lock:
            try:
                process = self._running(request)
                return _exchange(process, request) or self._ended()
            except BaseException:
                # Interrupted between question and answer, the next question would get this answer.
                self.close()
                raise

    def _running(self, request: dict[str, Any]) -> "subprocess.Popen[str]":
        # A fork shares its parent's pipes, and must not read its answers.
        if self._started is None or self._owner != os.getpid():
            self._started = subprocess.Popen(
                [sys.executable, "-P", _render.__file__],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=os.environ | _QUIET | _ONE_THREAD,
                encoding="ascii",
            )
            self._owner = os.getpid()
            if not _line(self._started):
                raise InvalidArgument(
                    "chat_template",
                    request["template"],
                    f"cannot be rendered: {sys.executable} does not run {_render.__file__}",
                    "install transformers for that interpreter",
                )
        return self._started

    def _ended(self) -> dict[str, str]:
        self.close()
        return {"broken": f"more than {_render.SECONDS:g} seconds for one prompt"}

    def close(self) -> None:
        process, self._started = self._started, None
        if process is None or self._owner != os.getpid():
            return
        process.kill()
        for pipe in (process.stdin, process.stdout):
            with contextlib.suppress(OSError):
                pipe.close()  # type: ignore[union-attr]
        process.wait()


def _exchange(process: "subprocess.Popen[str]", request: dict[str, Any]) -> dict[str, str]:
    """The answer; nothing if the process ended before it."""
    try:
        process.stdin.write(json.dumps(request) + "\n")  # type: ignore[union-attr]
        process.stdin.flush()  # type: ignore[union-attr]
    except BrokenPipeError:
        return {}
    line = _line(process)
    return json.loads(line) if line else {}


def _line(process: "subprocess.Popen[str]") -> str:
    return process.stdout.readline()  # type: ignore[union-attr]


_PROCESS = _Process()
atexit.register(_PROCESS.close)
