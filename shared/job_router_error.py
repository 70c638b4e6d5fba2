"""What went wrong in a call to Job Router, read from whatever answered: the service, a gateway, or the network."""

from __future__ import annotations

import html
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from math import isfinite
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

# Codes of this client's own, for what has no answer from the service to take a code from.
TIMEOUT = "Timeout"
CONNECTION_FAILED = "ConnectionFailed"
TLS_VERIFICATION_FAILED = "TlsVerificationFailed"
CREDENTIAL_UNAVAILABLE = "CredentialUnavailable"
NOT_JOB_ROUTER = "NotJobRouter"

_MARKUP = re.compile(r"<(script|style)\b.*?</\1\s*>|<[^>]*>", re.DOTALL | re.IGNORECASE)
# A gateway's error page may quote the request that it refused, credentials included.
_SECRETS = re.compile(r"(?i)\b(signature|accesskey|sharedaccesskey|sig)=[^\s&;,\"'<]+|\bbearer\s+[\w.~+/=-]+")
_MESSAGE_LIMIT = 500
_CODE_LIMIT = 100


@dataclass(eq=False)
class JobRouterError(Exception):
    """A call that Job Router did not answer with success.

    status: HTTP status, None when no answer came. code: the service's, or one of this module's, or `HttpNNN`.
    retry_after: seconds the service asked to wait, None when it did not. request_id: for the service's support.
    """

    status: int | None
    code: str
    message: str
    target: str | None = None
    details: tuple[str, ...] = ()
    inner_codes: tuple[str, ...] = ()
    retry_after: float | None = None
    request_id: str | None = None

    def __str__(self) -> str:
        return f"{self.code}: {self.message} (status={self.status}, request id={self.request_id})"


def error_from_response(
    status: int, headers: Mapping[str, str], body: bytes, request_id: str, now: Callable[[], datetime]
) -> JobRouterError:
    """Read the documented error body, or make do with the status where a gateway answered something else."""
    document = _object(_decoded(body))
    error = _object(document.get("error")) or document
    text = body[:20_000].decode("utf-8", "replace") if not document else ""
    return JobRouterError(
        status=status,
        code=_text(headers.get("x-ms-error-code") or error.get("code"), _CODE_LIMIT) or f"Http{status}",
        message=_text(error.get("message") or html.unescape(_MARKUP.sub(" ", text)), _MESSAGE_LIMIT),
        target=_text(error.get("target"), _CODE_LIMIT) or None,
        details=tuple(
            _text(f"{detail.get('code')}: {detail.get('message')}", _MESSAGE_LIMIT)
            for detail in map(_object, _list(error.get("details"))[:10])
        ),
        inner_codes=tuple(_inner_codes(error)),
        retry_after=_retry_after(headers, now),
        request_id=headers.get("x-ms-request-id") or request_id,
    )


def _inner_codes(error: dict[str, object]) -> list[str]:
    codes: list[str] = []
    inner = _object(error.get("innererror"))
    while inner and len(codes) < 10:
        codes.append(_text(inner.get("code"), _CODE_LIMIT))
        inner = _object(inner.get("innererror"))
    return [code for code in codes if code]


def _retry_after(headers: Mapping[str, str], now: Callable[[], datetime]) -> float | None:
    """Seconds, from the millisecond headers first, then Retry-After as a number or as an HTTP date (RFC 9110)."""
    for name, unit in (("retry-after-ms", 0.001), ("x-ms-retry-after-ms", 0.001), ("retry-after", 1.0)):
        value = headers.get(name)
        if value is None:
            continue
        try:
            seconds = float(value) * unit
        except ValueError:
            try:
                date = parsedate_to_datetime(value)
            except ValueError:
                continue
            seconds = ((date if date.tzinfo else date.replace(tzinfo=UTC)) - now()).total_seconds()
        if isfinite(seconds):
            return max(0.0, seconds)
    return None


def _decoded(body: bytes) -> object:
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None  # not JSON: the status and the plain text have to do


def _object(value: object) -> dict[str, object]:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _text(value: object, limit: int) -> str:
    """One line without control characters or credentials, at most `limit` characters."""
    if value is None:
        return ""
    line = " ".join("".join(c if c.isprintable() else " " for c in str(value)[: limit * 20]).split())
    line = _SECRETS.sub("[hidden]", line)
    return line if len(line) <= limit else line[: limit - 1] + "…"
