"""What a cancellation message asks for, and how one is read.

Knows the message contract (docs/message.md) and CloudEvents 1.0; knows nothing of queues or of Job Router.
"""

from __future__ import annotations

import binascii
from base64 import b64decode
from typing import TYPE_CHECKING, Annotated, TypeVar

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping

# One path segment of a URL has to carry the id: no "." or ".." (URLs resolve those away), no control
# characters, not blank. U+FFFD is what the Functions host puts where a body was not UTF-8: the true id is lost.
_JOB_ID = r"^(?!\.{1,2}$)(?![\s\S]*[\x00-\x1f\x7f-\x9f\ufffd])[\s\S]*\S"
_JOB_ID_RULE = "`jobId` is blank, '.' or '..', or has control characters or bytes that were not UTF-8"

# Characters. A longer disposition code may be somebody's words: it is kept as private as a note.
_LONGEST_PLAIN_CODE = 8

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_SPECVERSION = ("cloudEvents:specversion", "cloudEvents_specversion", "ce-specversion")


_Decoded = TypeVar("_Decoded")


class InvalidCancellationError(ValueError):
    """The message can never become a cancellation; the text names the field and never quotes its value."""


class CancellationRequest(msgspec.Struct, frozen=True, rename="camel"):
    """One job to cancel. Unknown fields are ignored; an explicit null means the same as an absent field."""

    job_id: Annotated[str, msgspec.Meta(pattern=_JOB_ID, max_length=1024, description="Id of the job to cancel.")]
    note: Annotated[str, msgspec.Meta(description="Appended to the job's notes.")] | None = None
    disposition_code: (
        Annotated[str, msgspec.Meta(description="Outcome of the job; the service's default is Cancelled.")] | None
    ) = None

    @property
    def private_texts(self) -> tuple[str, ...]:
        """What no log line, dead letter or error may repeat: the note, and a disposition code that may be one."""
        code = self.disposition_code or ""
        return tuple(text for text in (self.note, code if len(code) > _LONGEST_PLAIN_CODE else None) if text)


class _CloudEvent(msgspec.Struct):
    """The part of a structured CloudEvent that matters here; `data` stays undecoded until its turn."""

    specversion: object = msgspec.UNSET
    data: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    data_base64: str | msgspec.UnsetType = msgspec.UNSET


_request_decoder = msgspec.json.Decoder(CancellationRequest)
_event_decoder = msgspec.json.Decoder(_CloudEvent)


def decode_cancellation(
    body: bytes, content_type: str | None = None, properties: Mapping[str, object] | None = None
) -> CancellationRequest:
    """Read a cancellation from a message's body, as plain JSON or as a CloudEvent.

    A structured event is known by its content type or by `specversion` in the object, a binary one by the
    application properties of the CloudEvents AMQP and HTTP bindings (version 1.0 of each).

    Raises:
        InvalidCancellationError: for every body that is not a valid request, and for nothing else.
    """
    body = body.removeprefix(_BYTE_ORDER_MARK)
    if not body.strip():
        raise InvalidCancellationError("The body is empty; a JSON object with `jobId` is expected.")
    binary_version = (
        next((properties[name] for name in _SPECVERSION if name in properties), None) if properties else None
    )
    if binary_version is not None:
        _check_version(binary_version)
        return _decode(_request_decoder, body, "body")
    declared = (content_type or "").partition(";")[0].strip().lower() == "application/cloudevents+json"
    # The search spares nearly every plain message a second decoding: a quote inside a JSON string is escaped,
    # so these bytes are a string of their own, most likely the key.
    if declared or b'"specversion"' in body:
        event = _decode(_event_decoder, body, "CloudEvent" if declared else "body")
        if declared or event.specversion is not msgspec.UNSET:
            return _decode(_request_decoder, _event_data(event), "CloudEvent's `data`")
    return _decode(_request_decoder, body, "body")


def json_schema() -> dict[str, object]:
    """The JSON Schema (2020-12) of the message body, from the type that enforces it."""
    (schema,), components = msgspec.json.schema_components([CancellationRequest], ref_template="#/$defs/{name}")
    name = str(schema["$ref"]).rsplit("/", 1)[-1]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **components[name]}


def _event_data(event: _CloudEvent) -> bytes:
    _check_version(event.specversion)
    if event.data is not msgspec.UNSET:
        return bytes(event.data)
    if event.data_base64 is msgspec.UNSET:
        raise InvalidCancellationError("The CloudEvent has no `data`; the cancellation is expected there.")
    try:
        return b64decode(event.data_base64, validate=True).removeprefix(_BYTE_ORDER_MARK)
    except (binascii.Error, ValueError):
        raise InvalidCancellationError("The CloudEvent's `data_base64` is not base64.") from None


def _check_version(version: object) -> None:
    if version != "1.0":
        raise InvalidCancellationError("The CloudEvent's `specversion` is not '1.0', the version supported here.")


def _decode(decoder: msgspec.json.Decoder[_Decoded], body: bytes, place: str) -> _Decoded:
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:  # its text names types and the path, never a value
        text = str(error).replace("$.", "")
        raise InvalidCancellationError(
            f"The {place} is not valid: {_JOB_ID_RULE if 'matching regex' in text else text}."
        ) from None
    except UnicodeDecodeError:
        raise InvalidCancellationError(f"The {place} is not UTF-8.") from None
    except RecursionError:
        raise InvalidCancellationError(f"The {place} is nested too deeply.") from None
    except msgspec.DecodeError as error:
        raise InvalidCancellationError(f"The {place} is not JSON: {error}.") from None
