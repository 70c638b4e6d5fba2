"""What a message's body may be, and what becomes of each that may not."""

from __future__ import annotations

import base64
import json
from typing import Any

import msgspec
import pytest

from shared.cancellation import CancellationRequest, InvalidCancellationError, decode_cancellation, json_schema

EVENT = {"specversion": "1.0", "id": "1", "source": "/crm", "type": "cancel"}
STRUCTURED = "application/cloudevents+json"


def encoded(document: object) -> bytes:
    return json.dumps(document).encode()


def refusal(body: bytes, content_type: str | None = None, properties: dict[str, object] | None = None) -> str:
    with pytest.raises(InvalidCancellationError) as caught:
        decode_cancellation(body, content_type, properties)
    return str(caught.value)


def test_a_job_id_alone_is_enough() -> None:
    assert decode_cancellation(b'{"jobId":"job-1"}') == CancellationRequest("job-1")


def test_note_and_disposition_code_are_read() -> None:
    body = encoded({"jobId": "job-1", "note": "caller hung up", "dispositionCode": "Abandoned"})
    assert decode_cancellation(body) == CancellationRequest("job-1", "caller hung up", "Abandoned")


def test_an_explicit_null_is_an_absent_field() -> None:
    assert decode_cancellation(b'{"jobId":"a","note":null,"dispositionCode":null}') == CancellationRequest("a")


def test_an_empty_note_is_kept_as_it_is() -> None:
    assert decode_cancellation(b'{"jobId":"a","note":""}').note == ""


def test_unknown_fields_are_ignored() -> None:
    assert decode_cancellation(b'{"jobId":"a","priority":[1,{"x":null}]}') == CancellationRequest("a")


def test_field_names_are_case_sensitive() -> None:
    assert "`jobId`" in refusal(b'{"jobid":"a"}')


def test_the_last_of_duplicate_keys_counts() -> None:
    assert decode_cancellation(b'{"jobId":"first","jobId":"last"}').job_id == "last"


@pytest.mark.parametrize("body", [b"", b" ", b"\r\n\t ", b"\xef\xbb\xbf", b"\xef\xbb\xbf  "])
def test_an_empty_body_is_refused_as_empty(body: bytes) -> None:
    assert refusal(body).startswith("The body is empty")


def test_a_byte_order_mark_is_tolerated() -> None:
    assert decode_cancellation(b'\xef\xbb\xbf{"jobId":"a"}') == CancellationRequest("a")


def test_a_missing_job_id_is_named() -> None:
    assert "missing required field `jobId`" in refusal(b'{"note":"x"}')


@pytest.mark.parametrize(
    "job_id", ["", " ", "\t\n", "\u00a0", ".", "..", "a\x00b", "a\nb", "\x7f", "a\x85", "\ufffd", "line\r\nbreak"]
)
def test_a_job_id_that_no_url_segment_can_carry_is_refused_by_name(job_id: str) -> None:
    assert "`jobId` is blank, '.' or '..', or has control characters" in refusal(encoded({"jobId": job_id}))


@pytest.mark.parametrize("job_id", ["...", ".a", "a/b", "a b", " a", "日本", "😀", "%2e%2e", "a:cancel", "?", "#"])
def test_any_other_job_id_is_taken_as_it_is(job_id: str) -> None:
    assert decode_cancellation(encoded({"jobId": job_id})).job_id == job_id


def test_a_job_id_has_at_most_1024_characters() -> None:
    assert len(decode_cancellation(encoded({"jobId": "a" * 1024})).job_id) == 1024
    assert "1024" in refusal(encoded({"jobId": "a" * 1025}))


@pytest.mark.parametrize("value", [1, 1.5, True, [], {}, ["a"]])
@pytest.mark.parametrize("field", ["jobId", "note", "dispositionCode"])
def test_a_field_that_is_not_a_string_is_named(field: str, value: object) -> None:
    assert f"`{field}`" in refusal(encoded({"jobId": "a", field: value}))


def test_a_null_job_id_is_refused_by_name() -> None:
    assert "`jobId`" in refusal(b'{"jobId":null}')


@pytest.mark.parametrize("body", [b"[]", b'"a"', b"1", b"null", b"true", b'["specversion"]', b'"specversion"'])
def test_a_body_that_is_not_an_object_is_not_valid(body: bytes) -> None:
    assert refusal(body).startswith("The body is not valid: Expected `object`")


@pytest.mark.parametrize(
    "body",
    [
        b"cancel job 1",
        b"{",
        b'{"jobId":"a"',
        b'{"jobId":"a"}}',
        b"{'jobId':'a'}",
        b'{"jobId":"a",}',
        b"<xml/>",
        b'{"jobId":NaN}',
        b'{"jobId":"a","x":NaN}',
        b'{"jobId":"a","x":Infinity}',
        b'{"jobId":"a\nb"}',
        b"\x00",
    ],
)
def test_a_body_that_is_not_json_is_refused_as_such(body: bytes) -> None:
    assert refusal(body).startswith("The body is not JSON")


def test_bytes_that_are_not_utf8_are_refused_as_such() -> None:
    assert refusal(b'{"jobId":"a\xff"}') == "The body is not UTF-8."


def test_utf16_is_refused() -> None:
    assert "not JSON" in refusal('{"jobId":"a"}'.encode("utf-16"))


@pytest.mark.parametrize("escape", [rb"\ud800", rb"\udc00", rb"\ud800\ud800", rb"\ud800x"])
def test_a_lone_surrogate_is_refused(escape: bytes) -> None:
    assert refusal(b'{"jobId":"a' + escape + b'"}').startswith("The body is not")


def test_a_surrogate_pair_is_a_character() -> None:
    assert decode_cancellation(rb'{"jobId":"\ud83d\ude00"}').job_id == "😀"


@pytest.mark.parametrize("field", ["jobId", "note", "unknown"])
@pytest.mark.parametrize("opening, closing", [(b"[", b"]"), (b'{"a":', b"}")])
def test_deep_nesting_is_refused_not_a_crash(field: str, opening: bytes, closing: bytes) -> None:
    nested = opening * 20_000 + b"1" + closing * 20_000
    body = b'{"jobId":"a","%s":%s}' % (field.encode(), nested)
    try:
        assert decode_cancellation(body) == CancellationRequest("a")  # skipped without recursion: fine as well
    except InvalidCancellationError as error:
        assert str(error).startswith("The body is")  # noqa: PT017  # either end is right, a crash is not


def test_a_body_nested_too_deeply_to_decode_is_refused_as_such() -> None:
    assert refusal(b'{"unknown":' + b"[" * 100_000) == "The body is nested too deeply."


@pytest.mark.parametrize("number", [b"1" * 5_000, b"-1e400", b"1e-400", b"9" * 400 + b".5"])
def test_a_huge_number_in_an_unknown_field_does_no_harm(number: bytes) -> None:
    assert decode_cancellation(b'{"jobId":"a","n":' + number + b"}") == CancellationRequest("a")


def test_a_huge_number_for_a_job_id_is_refused_by_name() -> None:
    assert "`jobId`" in refusal(b'{"jobId":' + b"9" * 5_000 + b"}")


def test_a_note_of_256_kib_is_taken() -> None:
    note = "n" * 256 * 1024
    assert decode_cancellation(encoded({"jobId": "a", "note": note})).note == note


# CloudEvents


@pytest.mark.parametrize("content_type", [STRUCTURED, f"{STRUCTURED}; charset=utf-8", f" {STRUCTURED.upper()} "])
def test_a_structured_event_is_known_by_its_content_type(content_type: str) -> None:
    body = encoded({**EVENT, "data": {"jobId": "a", "note": "n"}})
    assert decode_cancellation(body, content_type) == CancellationRequest("a", "n")


@pytest.mark.parametrize("content_type", [None, "", "application/json", "text/plain"])
def test_a_structured_event_is_known_by_specversion(content_type: str | None) -> None:
    assert decode_cancellation(encoded({**EVENT, "data": {"jobId": "a"}}), content_type).job_id == "a"


def test_a_job_id_beside_the_data_is_not_the_cancellation() -> None:
    assert decode_cancellation(encoded({**EVENT, "jobId": "outer", "data": {"jobId": "inner"}})).job_id == "inner"


@pytest.mark.parametrize("value", [{"specversion": "1.0", "data": {"jobId": "other"}}, ["specversion"], "specversion"])
def test_specversion_inside_an_unknown_field_is_not_an_event(value: object) -> None:
    assert decode_cancellation(encoded({"jobId": "a", "extra": value})).job_id == "a"


def test_specversion_as_the_text_of_a_note_is_not_an_event() -> None:
    assert decode_cancellation(b'{"jobId":"a","note":"specversion"}').note == "specversion"


def test_data_of_the_wrong_kind_beside_a_plain_job_id_is_an_unknown_field() -> None:
    assert decode_cancellation(b'{"jobId":"a","data":5,"note":"specversion"}').job_id == "a"


def test_data_base64_of_an_event_is_decoded() -> None:
    data = base64.b64encode(b'\xef\xbb\xbf{"jobId":"a"}').decode()
    assert decode_cancellation(encoded({**EVENT, "data_base64": data})).job_id == "a"


@pytest.mark.parametrize("data", ["not base64!", "abc", "é"])
def test_data_base64_that_is_not_base64_is_refused_by_name(data: str) -> None:
    assert "`data_base64` is not base64" in refusal(encoded({**EVENT, "data_base64": data}))


def test_data_base64_that_is_not_a_string_is_refused_by_name() -> None:
    assert "`data_base64`" in refusal(encoded({**EVENT, "data_base64": 5}))


def test_an_event_without_data_is_refused_as_such() -> None:
    assert "no `data`" in refusal(encoded(EVENT))


@pytest.mark.parametrize("data", [None, "text", [], 5, {"note": "x"}])
def test_event_data_that_is_not_a_cancellation_is_refused_with_its_place(data: object) -> None:
    assert refusal(encoded({**EVENT, "data": data})).startswith("The CloudEvent's `data` is not valid")


@pytest.mark.parametrize("version", ["0.3", "1", "1.1", 1.0, None, [], {}])
def test_another_specversion_is_refused(version: object) -> None:
    assert "`specversion` is not '1.0'" in refusal(encoded({"specversion": version, "data": {"jobId": "a"}}))


def test_a_declared_event_without_specversion_is_refused() -> None:
    assert "`specversion`" in refusal(b'{"data":{"jobId":"a"}}', STRUCTURED)


def test_a_declared_event_that_is_no_json_is_refused_with_its_place() -> None:
    assert refusal(b"{", STRUCTURED).startswith("The CloudEvent is not JSON")


@pytest.mark.parametrize("name", ["cloudEvents:specversion", "cloudEvents_specversion", "ce-specversion"])
def test_the_body_of_a_binary_event_is_the_data(name: str) -> None:
    properties: dict[str, object] = {name: "1.0", "cloudEvents:type": "cancel"}
    assert decode_cancellation(b'{"jobId":"a","specversion":"0.3"}', "application/json", properties).job_id == "a"


@pytest.mark.parametrize("version", ["0.3", 1.0, b"1.0"])
def test_a_binary_event_of_another_version_is_refused(version: object) -> None:
    assert "`specversion`" in refusal(b'{"jobId":"a"}', None, {"ce-specversion": version})


@pytest.mark.parametrize("properties", [None, {}, {"tenant": "x"}, {"ce-specversion": None}])
def test_other_properties_change_nothing(properties: dict[str, object] | None) -> None:
    assert decode_cancellation(b'{"jobId":"a"}', None, properties).job_id == "a"


# The published schema


def test_the_schema_publishes_the_fields_of_the_contract() -> None:
    schema: dict[str, Any] = json_schema()
    assert list(schema["properties"]) == ["jobId", "note", "dispositionCode"]
    assert schema["required"] == ["jobId"]
    assert schema["type"] == "object"
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema.get("additionalProperties", True) is True


def test_the_schema_names_the_rules_of_a_job_id() -> None:
    schema: dict[str, Any] = json_schema()
    job_id = schema["properties"]["jobId"]
    assert job_id["type"] == "string"
    assert job_id["maxLength"] == 1024
    assert job_id["pattern"].startswith("^")


def test_the_schema_is_json() -> None:
    assert msgspec.json.decode(msgspec.json.encode(json_schema())) == json_schema()


def test_a_structured_event_is_known_by_its_content_type_whatever_its_parameters() -> None:
    body = b'{"data": {"jobId": "call-1"}}'
    with pytest.raises(InvalidCancellationError, match=r"^The CloudEvent's `specversion` is not '1.0', the version"):
        decode_cancellation(body, "application/cloudevents+json; charset=utf-8")


def test_data_that_is_only_nearly_base64_is_refused() -> None:
    event = b'{"specversion": "1.0", "data_base64": "eyJqb2JJZCI6ImEifQ==!"}'
    with pytest.raises(InvalidCancellationError, match=r"^The CloudEvent's `data_base64` is not base64.$"):
        decode_cancellation(event)


def test_the_body_of_a_binary_event_is_called_the_body() -> None:
    with pytest.raises(InvalidCancellationError, match=r"^The body is not JSON"):
        decode_cancellation(b"x", None, {"cloudEvents:specversion": "1.0"})
