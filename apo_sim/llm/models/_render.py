"""A process of its own in which chat templates are rendered: run as a script, it imports no JAX.

A template is a program of whoever made the model. Neither jinja2's sandbox nor anything else inside
one process bounds what it takes: a string times ten billion is one call. Here the operating system
does: a request that takes too long ends this process, and one that takes too much memory fails.
"""

import contextlib
import json
import signal
import sys
from collections.abc import Callable
from datetime import datetime
from typing import Any

# Of processor time for one prompt; of memory for all of them, beside what the packages take that
# transformers imports (PyTorch, where it is installed, maps gibibytes); of characters for one.
SECONDS = 2.0
BYTES = 1 << 30
CHARACTERS = 1_000_000


def main() -> None:
    """Answer one request a line, until there are no more."""
    from transformers.utils.chat_template_utils import render_jinja_template

    # Ctrl-C is meant for the process that asks.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _bound_memory()
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        _bound_time(SECONDS)
        found = answer(render_jinja_template, json.loads(line))
        _bound_time(0.0)
        print(json.dumps(found), flush=True)


def answer(render: Callable[..., Any], request: dict[str, Any]) -> dict[str, str]:
    """What a template makes of a prompt, or what is wrong.

    Args:
        render: transformers' `render_jinja_template`.
        request: `template`, `text`, the names of special `tokens`, and the `moment` that
            `strftime_now` tells, None for the present one.

    Returns:
        `text`; or `refused`, the template's own words; or `broken`, why it cannot be rendered.

    Example:
        >>> from transformers.utils.chat_template_utils import render_jinja_template as render
        >>> asked = {"text": "Hi", "tokens": {"bos_token": "<s>"}, "moment": "2024-07-26T12:00:00"}
        >>> answer(render, asked | {"template": "{{ bos_token }}{{ messages[0].content }}"})
        {'text': '<s>Hi'}
        >>> answer(render, asked | {"template": "{{ strftime_now('%d %b %Y') }}"})
        {'text': '26 Jul 2024'}
        >>> answer(render, asked | {"template": "{{ raise_exception('no') }}"})
        {'refused': 'no'}
    """
    chat = [{"role": "user", "content": request["text"]}]
    moment = request["moment"]
    told = {} if moment is None else {"strftime_now": datetime.fromisoformat(moment).strftime}
    try:
        rendered, _ = render(
            [chat],
            chat_template=request["template"],
            add_generation_prompt=True,
            **request["tokens"],
            **told,
        )
    except Exception as error:
        # What `raise_exception` raises is of this very class, and not of one derived from it.
        if type(error).__module__ == "jinja2.exceptions" and type(error).__name__ == (
            "TemplateError"
        ):
            return {"refused": str(error)}
        return {"broken": f"{type(error).__name__}: {error}"[:200]}
    if len(rendered[0]) > CHARACTERS:
        return {"broken": f"more than {CHARACTERS:,} characters for one prompt"}
    return {"text": rendered[0]}


def _bound_time(seconds: float) -> None:
    # Nobody handles this signal, so that it ends the process even within one long call.
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_PROF, seconds)


def _bound_memory() -> None:
    with contextlib.suppress(ImportError, ValueError, OSError):  # not on every system
        import resource

        bound = _mapped(resource.getpagesize()) + BYTES
        resource.setrlimit(resource.RLIMIT_AS, (bound, bound))


def _mapped(page: int) -> int:
    """Bytes of this process's memory, where the system says."""
    with contextlib.suppress(OSError), open("/proc/self/statm") as file:
        return page * int(file.read().split()[0])
    return 0


if __name__ == "__main__":
    main()
