"""Mending the body of one letter before it is sent again; only a body that the function accepts gets through."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import tempfile
from base64 import b64decode, b64encode
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ops.errors import PROBLEMS_FOUND, USAGE, OpsError
from shared.cancellation import InvalidCancellationError, decode_cancellation

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ops.dead_letters.letter import Letter


def with_body(letter: Letter, text: str) -> Letter:
    """The letter with another body.

    Raises:
        OpsError: the function would not accept it; the sentence names the field.
    """
    try:
        request = decode_cancellation(text.encode(), letter.content_type, letter.properties)
    except InvalidCancellationError as error:
        raise OpsError(f"Nothing was sent, the new body is no cancellation: {error}", PROBLEMS_FOUND) from None
    return letter.with_body(text, request.job_id)


def with_job_id(letter: Letter, job_id: str) -> Letter:
    """The letter with another job id, where the body, or the CloudEvent in it, has its `jobId`.

    Raises:
        OpsError: the body is no JSON object, or the function would not accept the new one.
    """
    try:
        given = json.loads(letter.body.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        given = None
    if not isinstance(given, dict):
        raise OpsError("The body is not a JSON object, so it has no place for a job id. Use --edit.", USAGE)
    mended = with_body(letter, json.dumps(_set(given, job_id, letter.content_type), ensure_ascii=False))
    if mended.job_id != job_id:  # an event of an unusual form, which is read in another place than it was put
        raise OpsError("Nothing was sent, the function would still read another job id. Use --edit.", PROBLEMS_FOUND)
    return mended


def edited(letter: Letter, environ: Mapping[str, str]) -> Letter:
    """The letter with the body that the person leaves in their editor, VISUAL or EDITOR.

    Raises:
        OpsError: the editor fails, or the function would not accept the new body.
    """
    try:
        command = shlex.split(environ.get("VISUAL") or environ.get("EDITOR") or "vi") or ["vi"]
    except ValueError as error:
        raise OpsError(f"EDITOR is no command ({error}). Set EDITOR.", USAGE) from error
    descriptor, name = tempfile.mkstemp(suffix=".json", prefix=f"dead-letter-{letter.sequence_number}-")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(letter.body)
        try:
            code = subprocess.run([*command, name], check=False).returncode  # noqa: S603  # the person's own editor
        except OSError as error:
            raise OpsError(f"The editor {command[0]!r} cannot be started ({error.strerror}). Set EDITOR.") from error
        if code:
            raise OpsError(f"The editor {command[0]!r} ended with code {code}; nothing was sent.")
        try:
            text = Path(name).read_bytes().decode()
        except UnicodeDecodeError:
            raise OpsError("Nothing was sent, the new body is not UTF-8.", PROBLEMS_FOUND) from None
    finally:
        Path(name).unlink(missing_ok=True)
    return with_body(letter, text)


def _set(given: dict[str, Any], job_id: str, content_type: str | None) -> dict[str, Any]:
    is_event = "specversion" in given or (content_type or "").lower().startswith("application/cloudevents+json")
    if not is_event:
        return given | {"jobId": job_id}
    if "data_base64" in given and "data" not in given:
        try:
            data = json.loads(b64decode(given["data_base64"], validate=True))
        except (ValueError, TypeError):
            data = None
        changed = json.dumps(_object(data) | {"jobId": job_id}, ensure_ascii=False)
        return given | {"data_base64": b64encode(changed.encode()).decode()}
    return given | {"data": _object(given.get("data", {})) | {"jobId": job_id}}


def _object(data: object) -> dict[str, Any]:
    if not isinstance(data, dict):  # whatever it is, it would be gone, and perhaps a note with it
        raise OpsError("The event's data is not a JSON object, so it has no place for a job id. Use --edit.", USAGE)
    return data
