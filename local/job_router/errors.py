"""Error replies: as the service was recorded to answer, or as it documents (Azure.Core.Foundations.ErrorResponse).

Source of the recorded shape: docs/decisions/0011-recorded-service.md. A reply is made once, with every field that the
specification knows; `in_dialect` makes of it what goes over the wire.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from http import HTTPStatus
from typing import Any, Literal, get_args

from local.job_router.wire import Reply

Dialect = Literal["recorded", "specified"]
DIALECTS: tuple[Dialect, ...] = get_args(Dialect)
_ERROR_CODE = "x-ms-error-code"


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
    """A reply with the error in full; sent as `in_dialect` makes it."""
    document = error(code, message, target=target, details=details, inner_codes=inner_codes)
    return Reply(status, headers={_ERROR_CODE: code, **(headers or {})}, error=document)


def in_dialect(reply: Reply, dialect: Dialect, path: str) -> Reply:
    """The reply as it goes over the wire; one without an error of the service's stays as it is.

    Recorded: the one key `communicationError` with the HTTP reason as its code; what is specific stands in
    `details[].code`, and only on 400; the target is the request's path; no innererror, no x-ms-error-code. Access that
    is denied was never recorded of Job Router: it is answered as its sister services were reported to.
    """
    if reply.error is None:
        return reply
    if dialect == "specified":
        return replace(reply, body=json.dumps({"error": reply.error}).encode(), error=None)
    headers = {name: value for name, value in reply.headers.items() if name not in (_ERROR_CODE, "WWW-Authenticate")}
    if reply.status == 401:
        document = {"error": {"code": reply.error["code"], "message": reply.error["message"]}}
    else:
        recorded = {"code": code_for_status(reply.status), "message": reply.error["message"], "target": path}
        if reply.status == 400:
            recorded["details"] = [
                {"code": detail["code"], "message": detail["message"]}
                for detail in reply.error.get("details") or [reply.error]
            ]
        document = {"communicationError": recorded}
    return replace(reply, body=json.dumps(document).encode(), headers=headers, error=None)


def code_for_status(status: int) -> str:
    """A code for an answer that has none of its own: 503 becomes `ServiceUnavailable`."""
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        return f"Http{status}"
    return "".join(character for character in phrase if character.isalnum())
