"""What goes wrong between the terminal and the queue, each as one sentence with a next step.

Knows the errors of azure-servicebus, azure-identity and of the network; never repeats a secret.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from shared.redaction import one_line

if TYPE_CHECKING:
    from ops.target import Target

# Exit codes, the same for every command.
PROBLEMS_FOUND = 1
USAGE = 2
REFUSED = 3
INTERRUPTED = 130

_ROLES = {
    "Listen": "Azure Service Bus Data Receiver",
    "Send": "Azure Service Bus Data Sender",
    "Manage": "Azure Service Bus Data Owner",
}
_NEXT_STEPS = {
    "MessagingEntityDisabledError": "is disabled. Enable it on the queue's page in the portal",
    "ServiceBusQuotaExceededError": "is full. Let its messages be handled, or raise its maximum size",
    "ServiceBusServerBusyError": "is throttled by Service Bus. Wait a minute and try again",
}
_USER_INFO = re.compile(r"://[^/\s]*@")  # a password may stand there
_LONGEST = 300  # characters of what somebody else said


class OpsError(Exception):
    """A sentence for the person at the terminal, and what the process exits with."""

    def __init__(self, sentence: str, exit_code: int = REFUSED) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.exit_code = exit_code


class RightMissingError(OpsError):
    """The identity may not do it; `right` is Listen, Send or Manage."""

    def __init__(self, right: str, target: Target) -> None:
        grant = f"give the identity the role {_ROLES[right]}"
        if target.connection_string:
            grant = f"use a connection string of a policy with {right}"
        super().__init__(f"No {right} right on queue '{target.queue}' at {target.host}: {grant}.")
        self.right = right


def explain(error: Exception, target: Target, right: str = "Listen") -> OpsError:
    """Turn what the SDK or the network raised into one sentence with a next step.

    right: which one the call needed, for a refusal that does not name it.
    """
    if isinstance(error, OpsError):
        return error
    kind, text = _kinds(error), str(error)
    where = f"queue '{target.queue}' at {target.host}"
    if "OperationTimeoutError" in kind:
        return OpsError(f"{target.host} did not answer in time for {where}. Check the network, then try again.")
    if kind & {"ServiceBusConnectionError", "ServiceRequestError", "ServiceResponseError", "ConnectionError"}:
        return OpsError(_unreachable(text, target))
    if kind & {"CredentialUnavailableError"}:
        return OpsError("No Microsoft Entra ID credential was found. Run `az login`, or give --connection.")
    if "ServiceBusAuthorizationError" in kind or _status(error) == 403:
        return RightMissingError(_right(text) or right, target)
    if kind & {"ServiceBusAuthenticationError", "ClientAuthenticationError"} or _status(error) == 401:
        named = _right(text)
        return RightMissingError(named, target) if named else OpsError(_not_known(target))
    if kind & {"MessagingEntityNotFoundError", "ResourceNotFoundError"}:
        return OpsError(_no_queue(target))
    if "mgmt link" in text:  # the SDK has no better answer to a link that the namespace closes
        return OpsError(f"{_no_queue(target)} If it does exist, the identity lacks the {right} right.")
    if "session" in text.lower():
        return OpsError(_sessions(target))
    for name, sentence in _NEXT_STEPS.items():
        if name in kind:
            return OpsError(f"The {where} {sentence}.")
    if "ServiceBusError" in kind or "AzureError" in kind:
        return OpsError(f"Service Bus refused: {said(text)} Try again; --verbose shows the whole error.")
    if isinstance(error, OSError):
        return OpsError(f"{said(text)}. Check the path and its permissions.")
    return OpsError(f"Unexpected {type(error).__name__}: {said(text)} Run again with --verbose for the traceback.")


def said(text: str) -> str:
    """What somebody else said, on one line, without secrets, not longer than a few lines of a terminal."""
    # A secret could reach a text only through what another library quotes.
    return one_line(_USER_INFO.sub("://[hidden]@", text), _LONGEST)


def _kinds(error: Exception) -> set[str]:
    # By name: importing the libraries only to compare would cost every `--help` a third of a second.
    return {kind.__name__ for kind in type(error).__mro__}


def _status(error: Exception) -> int | None:
    status = getattr(error, "status_code", None)
    return status if isinstance(status, int) else None


def _right(text: str) -> str | None:
    return next((right for right in _ROLES if f"'{right}'" in text or f"{right} claim" in text), None)


def _no_queue(target: Target) -> str:
    return f"There is no queue '{target.queue}' at {target.host}. Check --queue or CANCELLATION_QUEUE_NAME."


def _sessions(target: Target) -> str:
    return (
        f"Queue '{target.queue}' requires sessions, which the function cannot consume. Create a queue without "
        "sessions, and send there."
    )


def _not_known(target: Target) -> str:
    if target.connection_string:
        return f"{target.host} does not know this key. Copy the connection string again from Shared access policies."
    return f"{target.host} does not accept this identity. Run `az login` for the right tenant, then try again."


def _unreachable(text: str, target: Target) -> str:
    if re.search(r"not known|nodename|getaddrinfo|resolution|resolve", text, re.IGNORECASE):
        return f"There is no host '{target.host}'. Check the namespace's name, and this machine's DNS."
    if re.search(r"refused", text, re.IGNORECASE):
        return f"Nothing listens at {target.host}. Start the stack (make local), or check the host and its port."
    if re.search(r"certificate", text, re.IGNORECASE):
        return f"The certificate of {target.host} is not trusted. Check for a proxy that inspects TLS."
    if re.search(r"timed out|timeout", text, re.IGNORECASE):
        return f"{target.host} did not answer in time. Check the firewall: AMQP needs port 5671 outwards."
    return f"{target.host} cannot be reached: {said(text)}"
