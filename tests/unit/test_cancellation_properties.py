"""Whatever arrives is a request or an InvalidCancellationError, and the error never quotes the message."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from shared.cancellation import CancellationRequest, InvalidCancellationError, decode_cancellation

# Surrogates too: json.dumps escapes a lone one, as careless senders do.
texts = st.text(st.characters(codec=None), max_size=30)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)
fields = st.sampled_from(["jobId", "note", "dispositionCode", "specversion", "data", "data_base64", "x"])
versions = st.sampled_from(["1.0", "0.3", 1.0, None])
objects = st.dictionaries(fields, values | versions, max_size=7)
events = st.builds(lambda data, rest: {"specversion": "1.0", **rest, "data": data}, objects | values, objects)
content_types = st.none() | st.sampled_from(["application/json", "application/cloudevents+json", ";", ""]) | st.text()
properties = st.none() | st.dictionaries(
    st.sampled_from(["cloudEvents:specversion", "cloudEvents_specversion", "ce-specversion", "ce-type"]) | st.text(),
    versions | values | st.binary(),
    max_size=4,
)


def read(body: bytes, content_type: str | None, application_properties: dict[str, object] | None) -> None:
    """Anything else than a request or the one error fails the test."""
    with suppress(InvalidCancellationError):
        request = decode_cancellation(body, content_type, application_properties)
        assert isinstance(request, CancellationRequest)
        assert request.job_id.strip()
        assert request.job_id not in {".", ".."}


@given(st.binary(max_size=300), content_types, properties)
@example(b"\xef\xbb\xbf\xef\xbb\xbf{}", None, None)
@example(b'{"specversion":"\xff"}', None, None)
@example(b'{"specversion":"1.0","data":{"jobId":"\xff"}}', None, None)
def test_any_bytes_are_a_request_or_invalid(
    body: bytes, content_type: str | None, properties: dict[str, object] | None
) -> None:
    read(body, content_type, properties)


@given(values | objects | events, content_types, properties)
def test_any_json_is_a_request_or_invalid(
    document: object, content_type: str | None, properties: dict[str, object] | None
) -> None:
    read(json.dumps(document).encode(), content_type, properties)


@given(objects | events, st.integers(0, 200), st.binary(max_size=3))
def test_any_damaged_json_is_a_request_or_invalid(document: object, at: int, damage: bytes) -> None:
    body = json.dumps(document).encode()
    read(body[:at] + damage + body[at + len(damage) :], None, None)


@given(
    st.text(st.characters(codec="utf-8"), min_size=1).filter(str.strip).filter(lambda text: text.isprintable()),
    st.none() | st.text(st.characters(codec="utf-8")),
    st.none() | st.text(st.characters(codec="utf-8")),
    st.booleans(),
)
def test_what_was_sent_is_what_is_read(job_id: str, note: str | None, code: str | None, as_event: bool) -> None:
    if job_id in {".", ".."} or "\ufffd" in job_id:
        return
    document: dict[str, object] = {"jobId": job_id, "note": note, "dispositionCode": code}
    if as_event:
        document = {"specversion": "1.0", "data": document}
    assert decode_cancellation(json.dumps(document).encode()) == CancellationRequest(job_id, note, code)


SECRET = "Zq7#customer-text"


def refusal_of(body: bytes, content_type: str | None) -> str:
    """What the error says; nothing when the body is a request."""
    try:
        decode_cancellation(body, content_type)
    except InvalidCancellationError as error:
        return str(error)
    return ""


@settings(max_examples=200)
@given(
    st.sampled_from(["jobId", "dispositionCode", "specversion", "data", "data_base64"]),
    st.sampled_from([1, None, [SECRET], {SECRET: SECRET}, "", "..", f"{SECRET}\n", SECRET]),
    st.sampled_from([SECRET, [SECRET], {SECRET: 1}]),
    st.integers(0, 200),
    st.booleans(),
)
def test_an_error_never_quotes_the_message(field: str, value: object, note: object, cut: int, declared: bool) -> None:
    body = json.dumps({"jobId": "a", "note": note, field: value}).encode()
    for candidate in (body, body[:cut], body.replace(b"Zq7", b"Zq7\xff"), body.replace(b"Zq7", rb"\ud800Zq7")):
        said = refusal_of(candidate, "application/cloudevents+json" if declared else None)
        assert "Zq7" not in said
        assert "customer" not in said
        assert len(said) < 400


def test_the_error_keeps_no_cause_that_would_quote_the_body_in_a_traceback() -> None:
    with pytest.raises(InvalidCancellationError) as caught:
        decode_cancellation(b'{"jobId":"a","note":"Zq7\xff"}')
    assert caught.value.__suppress_context__
