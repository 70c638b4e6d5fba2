"""What went wrong in a call to Job Router, read from whatever answered: the service, a gateway, or the network.

Sources: the service's OpenAPI file (2023-11-01) for the body `{"error": …}` and the header x-ms-error-code; recordings
of the vendor's SDK tests for `{"communicationError": …}`, which is what the service was seen to answer
(docs/decisions/0011-recorded-service.md).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from http import HTTPStatus
from math import isfinite
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from shared.redaction import RUN, has_credential, holds, one_line, repeats, runs_in_common, unescape_html

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

# Codes of this client's own, for what has no answer from the service to take a code from.
TIMEOUT = "Timeout"
CONNECTION_FAILED = "ConnectionFailed"
TLS_VERIFICATION_FAILED = "TlsVerificationFailed"
CREDENTIAL_UNAVAILABLE = "CredentialUnavailable"
NOT_JOB_ROUTER = "NotJobRouter"

# What reading the job back gave where that was no status; the descriptions show it in a status's place.
NO_SUCH_JOB = "no such job"
UNREADABLE = "could not be read"

BYTE_ORDER_MARK = b"\xef\xbb\xbf"  # some proxies and frameworks write one before JSON
ERROR_KEYS = ("communicationError", "error")
CLIENT_REQUEST_ID = "x-ms-client-request-id"
# In the order in which the service's support can make most of them; the last is our own.
_SUPPORT_IDS = ("trace-id", "x-ms-request-id", "x-azure-ref", "MS-CV")

_MARKUP = re.compile(r"<(script|style)\b.*?</\1\s*>|<[^<>]*>", re.DOTALL | re.IGNORECASE)
_CODE = re.compile(r"[A-Za-z0-9_.-]{1,100}")
_SUPPORT_ID = re.compile(r"[A-Za-z0-9_.:+/=|-]{1,128}")
_PLAIN_ID = re.compile(r"[0-9A-Fa-f-]{1,64}")  # as trace ids are; no credential is written so
_MESSAGE_LIMIT = 500
_TARGET_LIMIT = 200
_MOST_DETAILS = 10
_LEFT_OUT = "(What was answered repeats the note or the disposition code, and is left out.)"


class RequestId(NamedTuple):
    """An id that the service's support can look up, and the header that it stood in."""

    header: str
    value: str

    def __str__(self) -> str:
        return f"{self.header}: {self.value}"


@dataclass(eq=False)
class JobRouterError(Exception):
    """A call that Job Router did not answer with success. Holds no credential, and no note of the request.

    status: HTTP status, None when no answer came. code: the service's, or one of this module's, or `HttpNNN`.
    specific_code: what the service says more precisely than by repeating the HTTP reason; else the same as code.
    from_job_router: its error document shows that Job Router itself answered, and not something in between.
    details: each `code: message`. retry_after: seconds the service asked to wait, None when it did not.
    job_status: what reading the job gave after it was refused; NO_SUCH_JOB, UNREADABLE, or None when it was not read.
    """

    status: int | None
    code: str
    message: str
    specific_code: str = ""
    target: str | None = None
    details: tuple[str, ...] = ()
    inner_codes: tuple[str, ...] = ()
    retry_after: float | None = None
    request_id: RequestId | None = None
    from_job_router: bool = field(default=False, kw_only=True)
    job_status: str | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        self.specific_code = self.specific_code or self.code

    def __str__(self) -> str:
        known = [f"status={self.status}", *([str(self.request_id)] if self.request_id else [])]
        return f"{self.specific_code}: {self.message} ({', '.join(known)})"


def error_from_response(
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    client_request_id: str,
    now: Callable[[], datetime],
    private: tuple[str, ...] = (),
) -> JobRouterError:
    """Read Job Router's error document, or make do with the status where something else answered.

    private: what the request carried and no error may repeat, such as a note.
    """
    document = _object(_decoded(body))
    error = next((found for key in ERROR_KEYS if (found := _object(document.get(key)))), {})
    named = code_or_none(headers.get("x-ms-error-code")) or code_or_none(error.get("code"))
    text = body[:20_000].decode("utf-8", "replace") if not document else ""
    details = [_object(detail) for detail in _list(error.get("details"))[:_MOST_DETAILS]]
    inner_codes = _inner_codes(error)
    read = JobRouterError(
        status=status,
        code=named or f"Http{status}",
        message=_text(error.get("message") or unescape_html(_MARKUP.sub(" ", text)), _MESSAGE_LIMIT),
        specific_code=_specific_code(named, map(_code_of, details), inner_codes),
        target=_text(error.get("target"), _TARGET_LIMIT) or None,
        details=tuple(_detail(detail) for detail in details if detail),
        inner_codes=tuple(inner_codes),
        retry_after=_retry_after(headers, now),
        request_id=request_id_of(headers, client_request_id),
        from_job_router=bool(named),
    )
    return _without(read, private, client_request_id)


def request_id_of(headers: Mapping[str, str], client_request_id: str, private: tuple[str, ...] = ()) -> RequestId:
    """The id that the service's support looks up first: of the answer's headers, else the one that we sent."""
    for name in _SUPPORT_IDS:
        value = headers.get(name, "")
        if not _SUPPORT_ID.fullmatch(value) or repeats_long(value, private):
            continue
        if _PLAIN_ID.fullmatch(value) or not has_credential(value):
            return RequestId(name, value)
    return RequestId(CLIENT_REQUEST_ID, client_request_id)


def repeats_long(value: str, private: tuple[str, ...]) -> bool:
    """Whether a code or an id repeats a private text; a text of fewer than eight characters may be part of any."""
    return any(len(text) >= RUN for text in private) and repeats(value, [text for text in private if len(text) >= RUN])


def code_or_none(value: object) -> str | None:
    """The value where it is a code or a status: letters, digits, `_ . -`, at most 100, and no credential."""
    return value if isinstance(value, str) and _CODE.fullmatch(value) and not has_credential(value) else None


def _without(error: JobRouterError, private: tuple[str, ...], client_request_id: str) -> JobRouterError:
    """The error without what repeats a private text; without all that was answered where only the whole repeats it."""
    common = runs_in_common(_answered(error), private) if private else frozenset()
    if not common:
        return error
    long = frozenset(run for run in common if len(run) >= RUN)  # a shorter text may be part of any code or id

    def kept(value: str, instead: str) -> str:
        return instead if holds(value, long) else value

    http_code, own_id = f"Http{error.status}", RequestId(CLIENT_REQUEST_ID, client_request_id)
    code = kept(error.code, http_code)
    without = replace(
        error,
        message=_LEFT_OUT,
        details=(),
        code=code,
        specific_code=kept(error.specific_code, code),
        target=kept(error.target or "", "") or None,
        inner_codes=tuple(code for code in error.inner_codes if kept(code, "")),
        request_id=own_id if error.request_id and not kept(error.request_id.value, "") else error.request_id,
    )
    if holds(_answered(replace(without, message="")), long):
        return replace(without, code=http_code, specific_code=http_code, target=None, inner_codes=(), request_id=own_id)
    return without


def _answered(error: JobRouterError) -> str:
    """Everything in the error that came from outside."""
    request_id = error.request_id.value if error.request_id else ""
    codes = (error.code, error.specific_code, *error.inner_codes)
    return " ".join((error.message, *error.details, *codes, error.target or "", request_id))


def _specific_code(named: str | None, details: Iterable[str], inner_codes: list[str]) -> str:
    """The first detail's code, else the innermost code, where the code itself only repeats the HTTP reason."""
    if named is None or named.lower() not in _http_reasons():
        return ""
    return next(filter(None, details), "") or (inner_codes[-1] if inner_codes else "")


@lru_cache(maxsize=1)
def _http_reasons() -> frozenset[str]:
    return frozenset("".join(c for c in status.phrase.lower() if c.isalnum()) for status in HTTPStatus)


def _inner_codes(error: dict[str, object]) -> list[str]:
    codes: list[str] = []
    inner = _object(error.get("innererror"))
    for _ in range(_MOST_DETAILS):
        codes.append(_code_of(inner))
        inner = _object(inner.get("innererror"))
    return [code for code in codes if code]


def _retry_after(headers: Mapping[str, str], now: Callable[[], datetime]) -> float | None:
    """Seconds, from the millisecond headers first, then Retry-After as a number or as an HTTP date (RFC 9110)."""
    for name, unit in (("retry-after-ms", 0.001), ("x-ms-retry-after-ms", 0.001), ("retry-after", 1.0)):
        value = headers.get(name)
        seconds = None if value is None else _number(value, unit)
        if seconds is None and value is not None:
            seconds = _seconds_until(value, now())
        if seconds is not None and isfinite(seconds):
            return max(0.0, seconds)
    return None


def _number(value: str, unit: float) -> float | None:
    try:
        return float(value) * unit
    except ValueError:
        return None


def _seconds_until(value: str, now: datetime) -> float | None:
    try:
        date = parsedate_to_datetime(value)
        return ((date if date.tzinfo else date.replace(tzinfo=UTC)) - now).total_seconds()
    except (ArithmeticError, IndexError, TypeError, ValueError):  # a date of any absurdity; ArithmeticError: its year
        return None


def _decoded(body: bytes) -> object:
    try:
        return msgspec.json.decode(body.removeprefix(BYTE_ORDER_MARK))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None  # not JSON: the status and the plain text have to do


def _object(value: object) -> dict[str, object]:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _code_of(error: dict[str, object]) -> str:
    return code_or_none(error.get("code")) or ""


def _detail(detail: dict[str, object]) -> str:
    code, message = _code_of(detail), _text(detail.get("message"), _MESSAGE_LIMIT)
    return f"{code}: {message}" if code else message


def _text(value: object, limit: int) -> str:
    return "" if value is None else one_line(str(value), limit)
