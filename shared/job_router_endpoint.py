"""Job Router's endpoint and its connection string, as the portal shows them: read, checked, never repeated in full."""

from __future__ import annotations

from base64 import b64decode
from ipaddress import ip_address
from urllib.parse import SplitResult, urlsplit

from shared.secret_detection import is_host, quoted_host


def parse_connection_string(connection_string: str) -> tuple[str, str]:
    """(endpoint, access key); ValueError names the part that is missing or malformed, and repeats none."""
    pairs = (part.partition("=") for part in connection_string.split(";") if part.strip())
    fields = {name.strip().lower(): value.strip() for name, _, value in pairs}
    missing = [name for name in ("endpoint", "accesskey") if not fields.get(name)]
    if missing:
        raise ValueError(f"has no {' and no '.join(missing)}; the form is endpoint=https://…;accesskey=…")
    if not _is_base64(fields["accesskey"]):
        raise ValueError("has an accesskey that is not base64")
    return fields["endpoint"], fields["accesskey"]


def normalise_endpoint(endpoint: str) -> str:
    """Scheme and authority without a default port or a trailing slash.

    Raises:
        ValueError: says what is wrong, and repeats at most scheme and host.
    """
    parts, host, port = _split(endpoint.strip())
    if parts is None or not is_host(f"[{host}]" if ":" in host else host):
        raise ValueError(
            "is not the URL of a Communication Services resource, https://<resource>.communication.azure.com"
        )
    present = {
        "user info": "@" in parts.netloc,
        "a path": parts.path not in ("", "/"),
        "a query": bool(parts.query),
        "a fragment": bool(parts.fragment),
    }
    found = [name for name, is_there in present.items() if is_there]
    if found:
        surplus = " and ".join(found)
        raise ValueError(f"is not the URL of a Communication Services resource: it has {surplus}; leave that out")
    if parts.scheme != "https" and not (parts.scheme == "http" and _is_loopback(host)):
        # Only the one scheme that is often meant is repeated: what stands before the colon could be anything.
        raise ValueError("is not an https URL" + (quoted_host("http", host) if parts.scheme == "http" else ""))
    authority = f"[{host}]" if ":" in host else host
    default_port = 443 if parts.scheme == "https" else 80
    return f"{parts.scheme}://{authority}" + (f":{port}" if port not in (None, default_port) else "")


def _split(endpoint: str) -> tuple[SplitResult | None, str, int | None]:
    """(parts, host, port); no parts where there is no URL. urlsplit's own errors quote what they refuse."""
    try:
        parts = urlsplit(endpoint)
        return parts, parts.hostname or "", parts.port
    except ValueError:
        return None, "", None


def _is_base64(key: str) -> bool:
    try:
        return bool(b64decode(key, validate=True))
    except ValueError:
        return False


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
