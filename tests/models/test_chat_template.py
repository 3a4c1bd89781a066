"""Chat templates: rendered as transformers renders them, and bounded in size, memory and time."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.utils.chat_template_utils import render_jinja_template

from pytest_aprqa.defects.targets import ENDLESS_TEMPLATE
from pytest_aprqa.models import chat_template
from pytest_aprqa.models.chat_template import LONGEST_OUTPUT, LONGEST_TEMPLATE, TemplateStopped, render_chat
from pytest_aprqa.models.errors import ModelError
from tests.model_fixtures import CHATML_TEMPLATE, LLAMA_TEMPLATE

ASK = [{"role": "user", "content": "What is 2+2?"}]
LOOPS = """{% for m in messages %}
  {% if m['role'] == 'system' %}
    {% continue %}
  {% endif %}
  {%- set text = m['content'] | trim -%}
  [{{ m['role'] }}] {{ text | tojson }} {{ m | tojson(indent=2) }}
{% endfor %}
{% if add_generation_prompt %}go{% endif %}
"""
GENERATION = "{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}|{% endfor %}"
ABSENT = "{{ tools is none }} {{ documents is none }} {{ nothing is defined }} {{ pad_token is defined }}"
TEMPLATES = [CHATML_TEMPLATE, LLAMA_TEMPLATE, LOOPS, GENERATION, ABSENT, "{{ strftime_now('%Y') }}", "plain\n"]


def reference(template, messages, **variables):
    variables.setdefault("add_generation_prompt", True)
    return render_jinja_template([list(messages)], chat_template=template, **variables)[0][0]


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("go_on", [True, False])
def test_the_text_is_that_of_transformers(template, go_on):
    messages = [{"role": "system", "content": "Be kind."}, *ASK, {"role": "assistant", "content": " <é&数> \n"}]
    ours = render_chat(template, messages, bos_token="<s>", eos_token="</s>", add_generation_prompt=go_on)
    assert ours == reference(template, messages, bos_token="<s>", eos_token="</s>", add_generation_prompt=go_on)


@given(
    messages=st.lists(
        st.fixed_dictionaries(
            {
                "role": st.sampled_from(["system", "user", "assistant", "tool"]),
                "content": st.text(st.characters(exclude_categories=["Cs"]), max_size=30),
            }
        ),
        max_size=4,
    ),
    template=st.sampled_from([CHATML_TEMPLATE, LLAMA_TEMPLATE, LOOPS]),
)
@settings(max_examples=60, deadline=None)
def test_any_conversation_is_rendered_as_by_transformers(messages, template):
    assert render_chat(template, messages, bos_token="<s>") == reference(template, messages, bos_token="<s>")


def test_a_prompt_that_looks_like_a_template_is_text():
    hostile = "{{ 7 * 7 }}{% for i in range(9) %}x{% endfor %}"
    assert hostile in render_chat(CHATML_TEMPLATE, [{"role": "user", "content": hostile}])


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("{{ raise_exception('roles must alternate') }}", "cannot be rendered: TemplateError: roles must alternate"),
        ("{{ nope( }}", "cannot be rendered: line 1: unexpected"),
        ("a\n{% for %}", "cannot be rendered: line 2: "),
        ("{{ messages[7].content }}", "UndefinedError"),
        ("{{ 1 // 0 }}", "ZeroDivisionError"),
        ("{{ ''.__class__.__mro__ }}", "SecurityError"),
        ("{{ messages.append(1) }}", "SecurityError"),
        ("{% include '/etc/passwd' %}", "cannot be rendered: TypeError: no loader"),
        ("{{ cycler.__init__.__globals__.os.system('true') }}", "SecurityError"),
    ],
)
def test_a_template_that_cannot_be_rendered_is_one_error(template, words):
    with pytest.raises(ModelError, match=r"^m/tokenizer_config\.json: chat_template: ") as caught:
        render_chat(template, ASK, path=Path("m/tokenizer_config.json"))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_template_may_be_as_long_as_the_limit():
    assert len(render_chat("a" * LONGEST_TEMPLATE, ASK)) == LONGEST_TEMPLATE
    with pytest.raises(ModelError, match=f"is too long .found {LONGEST_TEMPLATE + 1}, limit {LONGEST_TEMPLATE}"):
        render_chat("a" * (LONGEST_TEMPLATE + 1), ASK)


def test_a_text_may_be_as_long_as_the_limit():
    content = "x" * (LONGEST_OUTPUT // 4)
    four = "{% for i in range(4) %}{{ messages[0].content }}{% endfor %}"
    message = [{"role": "user", "content": content}]
    assert len(render_chat(four, message)) == LONGEST_OUTPUT
    with pytest.raises(ModelError, match=f"renders too much text .found > {LONGEST_OUTPUT}, limit {LONGEST_OUTPUT}"):
        render_chat(four + "y", message)


EXPLOSIONS = [
    "{{ 'a' * 10 ** 10 }}",
    "{{ 'x'.center(10 ** 10) }}",
    "{{ '%01000000000d' % 1 }}",
    "{% set ns = namespace(t='ab' * 1000) %}{% for i in range(60) %}{% set ns.t = ns.t ~ ns.t %}{% endfor %}{{ ns.t }}",
]


@pytest.mark.parametrize("template", EXPLOSIONS)
def test_a_template_that_explodes_is_one_error_and_the_next_one_is_rendered(template):
    started = time.monotonic()
    with pytest.raises(ModelError, match=r"chat_template: (needs too much memory|renders too much text)"):
        render_chat(template, ASK)
    assert time.monotonic() - started < 30
    assert render_chat("{{ messages[0].role }} again", ASK) == "user again"


def test_a_template_that_loops_for_ever_ends_at_its_limit_and_is_not_tried_again():
    render_chat("warm", ASK)
    started = time.monotonic()
    with pytest.raises(TemplateStopped, match=r"chat_template: took too long \(limit 1 s\); mend the template"):
        render_chat(ENDLESS_TEMPLATE, ASK, seconds=1)
    assert 0.9 < time.monotonic() - started < 20
    started = time.monotonic()
    with pytest.raises(TemplateStopped):
        render_chat(ENDLESS_TEMPLATE, [{"role": "user", "content": "another"}])
    assert time.monotonic() - started < 0.5
    assert render_chat("{{ messages[0].role }} still", ASK) == "user still"


def test_one_process_renders_all_and_a_killed_one_is_replaced():
    render_chat("first {{ messages[0].content }}", ASK)
    process = chat_template._RENDERER._process
    render_chat("second {{ messages[0].content }}", ASK)
    assert chat_template._RENDERER._process is process
    process.kill()
    process.wait()
    assert render_chat("third {{ messages[0].role }}", ASK) == "third user"
    assert chat_template._RENDERER._process is not process


def test_the_same_conversation_is_rendered_once(monkeypatch):
    text = render_chat("once {{ messages[0].content }}", ASK)
    monkeypatch.setattr(chat_template._RENDERER, "_ask", lambda *arguments: pytest.fail("rendered again"))
    assert render_chat("once {{ messages[0].content }}", ASK) == text


def test_no_rendering_process_outlives_its_parent():
    code = (
        "from pytest_aprqa.models.chat_template import _RENDERER, render_chat\n"
        "render_chat('x', [{'role': 'user', 'content': 'y'}])\n"
        "print(_RENDERER._process.pid, flush=True)\n"
        "import os; os._exit(9)\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 9, result.stderr
    pid = int(result.stdout)
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and _runs(pid):
        time.sleep(0.05)
    assert not _runs(pid)


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
