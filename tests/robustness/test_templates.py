"""Chat templates: rendered as transformers does, and bounded, whatever they do."""

import os
import subprocess
import sys
import textwrap
import threading
import time

import pytest
from transformers.utils.chat_template_utils import render_jinja_template

from apo_sim import InvalidArgument
from apo_sim.llm.models import _template
from apo_sim.llm.models._template import rendered

pytestmark = pytest.mark.llm
TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}
SAY = "{{ messages[0]['content'] }}"


@pytest.mark.parametrize(
    "source",
    [
        SAY,
        "{{ bos_token }}" + SAY + "{{ eos_token }}{{ pad_token }}",
        "{% for m in messages %}\n  {{ m.role }}: {{ m.content | trim }}\n{% endfor %}\n",
        "{{ messages | tojson }}{{ messages | tojson(indent=1) }}",
        "{% if tools is not none %}tools{% endif %}{% if documents %}documents{% endif %}" + SAY,
        "{% if add_generation_prompt %}" + SAY + "{% endif %}",
        "{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}{% endfor %}",
        "{% for i in range(9) %}{% if i == 3 %}{% break %}{% endif %}{% continue %}{% endfor %}"
        + SAY,
        "{% set x = namespace(n=0) %}{% set x.n = 5 %}{{ x.n }}{{ strftime_now('%Y') }}",
        "{% macro f(n) %}{% if n %}{{ n }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(9) }}",
    ],
)
def test_a_template_renders_as_in_transformers(source):
    text = "  Grüße, 'you' & <me>\n"
    chat = [[{"role": "user", "content": text}]]
    (expected,), _ = render_jinja_template(
        chat, chat_template=source, add_generation_prompt=True, bos_token="<s>", eos_token="</s>"
    )
    assert rendered(source, text, TOKENS) == expected


@pytest.mark.parametrize(
    "source",
    [
        "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
        "{% macro f(n) %}{% if n %}{{ f(n-1) }}{{ f(n-1) }}{% endif %}{% endmacro %}{{ f(60) }}",
        "{{ 7 ** (7 ** 12) }}",
        "{{ 'a' * 10 ** 11 }}",
        "{{ 'a'.ljust(10 ** 11) }}",
        "{{ '%99999999999d' % 1 }}",
        "{{ 'a' | center(10 ** 11) }}",
        "{{ [messages] * 10 ** 10 }}",
        "{% set x = namespace(s='a') %}{% for i in range(99) %}{% set x.s = x.s * 2 %}{% endfor %}",
        "{% for i in range(99999) %}{{ 'a' * 100 }}{% endfor %}",
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
        "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{% include '/etc/passwd' %}",
        "{% for %}",
        "{{ nothing.of.this }}",
        "{{ messages[0] + 1 }}",
        "{{ messages.append(1) }}",
    ],
    ids=lambda source: source[:40],
)
def test_a_template_that_takes_too_much_or_is_broken_is_refused(source):
    began = time.monotonic()
    with pytest.raises(InvalidArgument, match=r"chat_template = .*cannot be rendered"):
        rendered(source, "Hi", TOKENS)
    assert time.monotonic() - began < 30  # two seconds of one processor, however many share it
    assert rendered(SAY, "Hi", TOKENS) == "Hi"  # the next one has another process, if need be


def test_a_template_may_refuse_a_prompt():
    with pytest.raises(InvalidArgument, match="prompt = 'only in French' is rejected"):
        rendered("{{ raise_exception('only in French') }}", "Hi", TOKENS)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is bounded otherwise")
def test_memory_that_packages_take_is_not_counted(tmp_path):
    """PyTorch alone maps more than a template may take, and transformers imports it."""
    greedy = "import mmap\nkept = mmap.mmap(-1, 2 << 30, prot=mmap.PROT_READ)"
    (tmp_path / "sitecustomize.py").write_text(greedy)
    source = """
    from apo_sim import InvalidArgument
    from apo_sim.llm.models._template import rendered
    print(len(rendered("{{ 'a' * 900000 }}", "Hi", {})))
    try:
        rendered("{{ 'a' * 10 ** 11 }}", "Hi", {})
    except InvalidArgument as error:
        print("MemoryError" in str(error))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(source)],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["900000", "True"]


def test_threads_share_the_process():
    found = {}
    threads = [
        threading.Thread(target=lambda n=n: found.update({n: rendered(SAY, str(n), TOKENS)}))
        for n in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {n: str(n) for n in range(20)}


def test_an_interrupted_question_leaves_no_answer_behind(monkeypatch):
    rendered(SAY, "before", TOKENS)
    with monkeypatch.context() as patched:
        patched.setattr(_template, "_line", interrupted)
        with pytest.raises(KeyboardInterrupt):
            rendered(SAY, "asked, but not read", TOKENS)
    assert rendered(SAY, "after", TOKENS) == "after"


def interrupted(process):
    raise KeyboardInterrupt


PROGRAM = """
import os
from apo_sim.llm.models import _template
_template.rendered("{{ 1 }}", "Hi", {})
print(_template._PROCESS._started.pid, flush=True)
os.kill(os.getpid(), 9)
"""


def test_no_process_is_left_when_the_one_that_asks_is_killed():
    ended = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)
    pid, deadline = int(ended.stdout), time.monotonic() + 5
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not alive(pid)


def alive(pid):
    status = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True)
    return status.stdout.strip()[:1] not in ("", "Z")
