"""Secret detection: which kind of secret a setting's text looks like, and which values may be quoted at all.

Pure text work; knows no setting but the names of those that a secret belongs into.
"""

from __future__ import annotations

import re
from enum import Enum

_REPLACE = "and replace that secret, which others may have seen here"


class SecretKind(Enum):
    """The value is what an error says after the setting's name: what the text looks like, and the next step."""

    REFERENCE = (
        "is a Key Vault or App Configuration reference that was not resolved: check that the secret exists, and that "
        "the app's identity may read it (role Key Vault Secrets User on the vault)"
    )
    SERVICE_BUS = "looks like a Service Bus connection string: put it into ServiceBusConnection"
    STORAGE = "looks like a storage connection string: put it into AzureWebJobsStorage"
    APPLICATION_INSIGHTS = (
        "looks like an Application Insights connection string: put it into APPLICATIONINSIGHTS_CONNECTION_STRING"
    )
    SAS = f"looks like a SAS token, which belongs into no setting of its own: remove it, {_REPLACE}"
    JOB_ROUTER = "looks like a connection string: put it into JOB_ROUTER_CONNECTION_STRING"
    ACCESS_TOKEN = "looks like an access token, which belongs into no setting: remove it"  # noqa: S105  # a sentence
    USER_INFO = f"is a URL with a user name or a password: leave out what stands before the @, {_REPLACE}"
    QUERY = "is a URL with a query or a fragment: give scheme and host only"
    KEY = (
        "looks like a key without its connection string: put the whole connection string into "
        "JOB_ROUTER_CONNECTION_STRING or ServiceBusConnection"
    )


# The first that is found counts: a Service Bus connection string may hold a SAS token, a SAS token a URL.
_SIGNS = {
    SecretKind.REFERENCE: r"@microsoft\.(?:keyvault|appconfiguration)\b",
    SecretKind.SERVICE_BUS: r"endpoint\s*=\s*sb:|sharedaccesskey(?:name)?\s*=",
    SecretKind.STORAGE: r"accountkey\s*=|defaultendpointsprotocol\s*=",
    SecretKind.APPLICATION_INSIGHTS: r"instrumentationkey\s*=",
    SecretKind.SAS: r"sharedaccesssignature|(?<![a-z])sig\s*=",
    SecretKind.JOB_ROUTER: r"(?<![a-z])accesskey\s*=|endpoint\s*=\s*https?:",
    SecretKind.ACCESS_TOKEN: r"\beyj[\w-]{6,}\.|\bbearer\s",
    SecretKind.USER_INFO: r"^[a-z][a-z0-9+.-]*:.*@|^[^\s/]+:[^\s/]+@",
    SecretKind.QUERY: r"^[a-z][a-z0-9+.-]*://[^?#]*[?#].",
}
_PATTERNS = {kind: re.compile(sign, re.IGNORECASE | re.DOTALL) for kind, sign in _SIGNS.items()}
_KEY = re.compile(r"[A-Za-z0-9+/_-]{43,}={0,2}")  # base64 of 32 bytes or more
_LONG_WORD = re.compile(r"[A-Za-z0-9]{40,}")
_HOST = re.compile(r"[a-z0-9._-]{1,253}|\[[0-9a-f:.]+\]", re.IGNORECASE)  # the rest is for a name server to judge
_QUEUE_NAME = re.compile(r"[A-Za-z0-9._/-]{1,260}")  # "Quotas and limits for Service Bus": the length
_PORT = re.compile(r":[0-9]{1,5}$")
_NUMBER_LIKE = re.compile(r"[0-9.,+\- ]{1,12}")
_HARMLESS_LABEL = 40  # characters; a longer part of a host's name could be a key


def secret_kind(text: str) -> SecretKind | None:
    """Which kind of secret a setting's whole text looks like; None for none that is known."""
    kind = next((kind for kind, pattern in _PATTERNS.items() if pattern.search(text)), None)
    return kind or (SecretKind.KEY if _is_key(text) else None)


def is_host(text: str) -> bool:
    """Whether the text has the letters of a host name or an address, with or without a port."""
    return bool(_HOST.fullmatch(_PORT.sub("", text)))


def is_queue_name(text: str) -> bool:
    """Whether Service Bus takes the text as the name of a queue."""
    return bool(_QUEUE_NAME.fullmatch(text))


def quoted_number(text: str) -> str:
    """`: '61'` for a text that can only be a number; nothing for all others, which could hold a secret."""
    return f": {text!r}" if _NUMBER_LIKE.fullmatch(text) else ""


def quoted_host(scheme: str, host: str) -> str:
    """`: 'http://host'` for what can only be a host's name; nothing for all others, which could hold a secret."""
    is_harmless = is_host(host) and all(len(label) <= _HARMLESS_LABEL for label in host.split("."))
    return f": '{scheme}://{host}'" if is_harmless else ""


def _is_key(text: str) -> bool:
    if not _KEY.fullmatch(text):
        return False
    if "=" in text or "+" in text:
        return True
    # Without them a long name could be meant. A key has digits all over, and no separators.
    return any(len(re.findall(r"[0-9]+", word)) >= 4 for word in _LONG_WORD.findall(text))
