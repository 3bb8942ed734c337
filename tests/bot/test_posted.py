"""What Slack posts as a form is read as urllib reads it, only faster."""

from __future__ import annotations

import json
from urllib.parse import parse_qsl, urlencode

from hypothesis import given
from hypothesis import strategies as st

from bot.app import bolt_request

_TEXTS = st.text(st.characters(codec="utf-8"), max_size=40)


@given(st.dictionaries(_TEXTS, _TEXTS | st.integers() | st.none(), max_size=5))
def test_the_payload_of_a_form_is_what_was_posted(payload: dict[str, object]):
    form = urlencode({"payload": json.dumps(payload, ensure_ascii=False)})
    assert bolt_request(form.encode(), {}).body == payload


@given(st.dictionaries(_TEXTS.filter(lambda name: "payload" not in name), _TEXTS, min_size=1, max_size=5))
def test_a_command_is_read_field_by_field(fields: dict[str, str]):
    form = urlencode(fields)
    assert bolt_request(form.encode(), {}).body == dict(parse_qsl(form, keep_blank_values=True))
