"""Error replies in the shape the service documents (Azure.Core.Foundations.ErrorResponse)."""

import json
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from local.job_router.wire import Reply


def error(
    code: str,
    message: str,
    *,
    target: str | None = None,
    details: Sequence[Mapping[str, Any]] = (),
    inner_codes: Sequence[str] = (),
) -> dict[str, Any]:
    """An error object; `inner_codes` become nested `innererror` objects, the outermost first."""
    inner: dict[str, Any] | None = None
    for inner_code in reversed(inner_codes):
        inner = {"code": inner_code} if inner is None else {"code": inner_code, "innererror": inner}
    document = {
        "code": code,
        "message": message,
        "target": target,
        "details": list(details) or None,
        "innererror": inner,
    }
    return {name: value for name, value in document.items() if value is not None}


def error_reply(
    status: int,
    code: str,
    message: str,
    *,
    target: str | None = None,
    details: Sequence[Mapping[str, Any]] = (),
    inner_codes: Sequence[str] = (),
    headers: Mapping[str, str] | None = None,
) -> Reply:
    document = {"error": error(code, message, target=target, details=details, inner_codes=inner_codes)}
    return Reply(status, json.dumps(document).encode(), headers={"x-ms-error-code": code, **(headers or {})})


def code_for_status(status: int) -> str:
    """A code for an answer that has none of its own: 503 becomes `ServiceUnavailable`."""
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        return f"Http{status}"
    return "".join(character for character in phrase if character.isalnum())
