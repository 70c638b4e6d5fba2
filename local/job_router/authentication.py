"""Who may call: access-key signatures are recomputed from the received bytes, bearer tokens are asked about.

The scheme is the one documented for Azure Communication Services: https://learn.microsoft.com/rest/api/communication/authentication
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import lru_cache

from local.job_router.errors import error, error_reply
from local.job_router.wire import Reply, Request

MAX_CLOCK_SKEW = timedelta(minutes=5)
SIGNED_HEADERS = "x-ms-date;host;x-ms-content-sha256"


class Authenticator:
    """Checks requests against one access key (base64) and, where given, a judge of bearer tokens."""

    def __init__(self, access_key: str, token_verifier: Callable[[str], bool] | None) -> None:
        try:
            self._key = base64.b64decode(access_key, validate=True)
        except binascii.Error as problem:
            raise ValueError("access_key is not base64. Use a key as it stands in a connection string.") from problem
        self._token_verifier = token_verifier

    def refusal(self, request: Request, now: datetime) -> Reply | None:
        """The 401 to answer, naming the part that failed; None when the request may pass."""
        scheme, _, parameters = request.headers.get("authorization", "").partition(" ")
        match scheme.lower():
            case "hmac-sha256":
                return self._signature_refusal(request, parameters, now)
            case "bearer":
                return self._token_refusal(parameters.strip())
            case "":
                return _denied("MissingAuthorization", "Authorization", "The request carries no credentials.")
            case _:
                return _denied("InvalidAuthorization", "Authorization", "The scheme is neither HMAC-SHA256 nor Bearer.")

    def _signature_refusal(self, request: Request, parameters: str, now: datetime) -> Reply | None:
        signed_headers, separator, signature = parameters.partition("&Signature=")
        if not separator or signed_headers.lower() != f"signedheaders={SIGNED_HEADERS}":
            return _denied(
                "InvalidAuthorization",
                "Authorization",
                f"The parameters are not of the form SignedHeaders={SIGNED_HEADERS}&Signature=….",
            )
        date = request.headers.get("x-ms-date", "")
        signed_at = _parse_date(date)
        if signed_at is None:
            return _denied("InvalidDate", "x-ms-date", "The date is missing or not an RFC 1123 date in GMT.")
        if abs(now - signed_at) > MAX_CLOCK_SKEW:
            return _denied("InvalidDate", "x-ms-date", "The date is more than 5 minutes from the service's time.")
        content_hash = base64.b64encode(hashlib.sha256(request.body).digest()).decode()
        if not _same(request.headers.get("x-ms-content-sha256", ""), content_hash):
            return _denied("InvalidContentHash", "x-ms-content-sha256", "The hash is not that of the body received.")
        host = request.headers.get("host", "")
        string_to_sign = f"{request.method}\n{request.target}\n{date};{host};{content_hash}"
        digest = hmac.digest(self._key, string_to_sign.encode(), "sha256")
        if not _same(signature, base64.b64encode(digest).decode()):
            return _denied(
                "InvalidSignature",
                "Authorization",
                "The signature is not that of the method, path, query, date, host and content hash received.",
            )
        return None

    def _token_refusal(self, token: str) -> Reply | None:
        if self._token_verifier is not None and token and self._token_verifier(token):
            return None
        return _denied("InvalidToken", "Authorization", "The bearer token is unknown, expired or for another audience.")


def _denied(inner_code: str, target: str, message: str) -> Reply:
    return error_reply(
        401,
        "Denied",
        f"Denied by the resource provider. {message}",
        target=target,
        details=[error(inner_code, message, target=target)],
        inner_codes=[inner_code],
        headers={"WWW-Authenticate": "HMAC-SHA256, Bearer"},
    )


def _same(received: str, expected: str) -> bool:
    return hmac.compare_digest(received.encode(), expected.encode())


# Under load thousands of requests carry the same second, and parsing a date is slower than the HMAC.
@lru_cache(maxsize=64)
def _parse_date(value: str) -> datetime | None:
    if not value.endswith(" GMT"):
        return None
    try:
        return parsedate_to_datetime(value).astimezone(UTC)
    except ValueError:
        return None
