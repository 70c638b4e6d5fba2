"""Who may do what: shared access signatures checked for real, as the service does on `$cbs`."""

from __future__ import annotations

import hmac
import time
from base64 import b64encode
from dataclasses import dataclass
from urllib.parse import parse_qs, quote_plus, unquote_plus

ROOT_KEY_NAME = "RootManageSharedAccessKey"


@dataclass(frozen=True)
class SharedKey:
    """A shared access policy. `rights` are of Listen, Send, Manage; Manage includes the others."""

    name: str
    key: str
    rights: frozenset[str]


ROOT_KEY = SharedKey(ROOT_KEY_NAME, "SAS_KEY_VALUE", frozenset({"Listen", "Send", "Manage"}))


class ClaimRefusedError(Exception):
    """The token does not prove what it claims; the text says why, without the token."""


def rights_of(token: str, keys: dict[str, SharedKey]) -> frozenset[str]:
    """The rights that a SharedAccessSignature token carries; ClaimRefusedError when it proves nothing."""
    prefix, _, rest = token.partition(" ")
    if prefix != "SharedAccessSignature":
        raise ClaimRefusedError("InvalidSignature: only SharedAccessSignature tokens are known here.")
    raw = dict(part.partition("=")[::2] for part in rest.split("&"))
    fields = {name: values[0] for name, values in parse_qs(rest).items()}
    key = keys.get(fields.get("skn", ""))
    if key is None:
        raise ClaimRefusedError(f"InvalidSignature: no policy is named {fields.get('skn')!r}.")
    signed = f"{raw.get('sr', '')}\n{raw.get('se', '')}"
    expected = b64encode(hmac.digest(key.key.encode(), signed.encode(), "sha256")).decode()
    if not hmac.compare_digest(expected, unquote_plus(quote_plus(fields.get("sig", "")))):
        raise ClaimRefusedError("InvalidSignature: the token has an invalid signature.")
    expiry = fields.get("se", "")
    if not (expiry.isascii() and expiry.isdigit()) or int(expiry) < time.time():
        raise ClaimRefusedError("ExpiredToken: the token is past its expiry.")
    return key.rights | ({"Listen", "Send"} if "Manage" in key.rights else frozenset())
