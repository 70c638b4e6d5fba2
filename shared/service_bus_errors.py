"""What goes wrong with settling. The texts say what to do; none holds anything that Service Bus answered."""

from __future__ import annotations

# Seconds for the whole of a settlement: connecting, signing in, asking, the answer, and once more on a new connection.
SETTLE_WITHIN = 28.0


class MessageGoneError(Exception):
    """The queue no longer holds the message: its lock was lost and somebody else settled it, or it expired."""


class SendRightMissingError(Exception):
    """The connection may receive but not send; the text says what to grant."""

    def __init__(self) -> None:
        super().__init__(
            "Delayed redelivery needs the Send right on the queue: give the function app's identity the role Azure "
            "Service Bus Data Sender, or use a policy with Listen and Send in ServiceBusConnection. Until then an "
            "outage of more than some minutes turns good messages into dead letters (MaxDeliveryCountExceeded)."
        )


class CopyTooLargeError(Exception):
    """The message leaves no room for what a copy has to carry; the text names its size and the limit."""

    def __init__(self, size: int, limit: int) -> None:
        super().__init__(
            f"A message with a body of {size:,} bytes leaves no room, within the limit of {limit:,} bytes, for what a "
            "copy has to carry. Send smaller messages; Job Router needs an id and a note."
        )


class SilentServiceBusError(Exception):
    """Service Bus did not answer in time; the connection was cut."""

    def __init__(self) -> None:
        super().__init__(
            f"Service Bus was silent for {SETTLE_WITHIN:g} seconds. Check the network between the function and the "
            "namespace (firewalls, private endpoints, port 5671), and the namespace's own health."
        )


def is_lock_lost(error: Exception) -> bool:
    """Whether an error of the settler's says that somebody else has the message by now."""
    from azure.servicebus.exceptions import MessageLockLostError

    return isinstance(error, MessageLockLostError)


def answers() -> tuple[type[Exception], ...]:
    """What the broker says, or what we say of its answer: the connection itself works."""
    from azure.servicebus.exceptions import (
        MessageLockLostError,
        ServiceBusAuthorizationError,
        ServiceBusQuotaExceededError,
    )

    return (
        MessageLockLostError,
        MessageGoneError,
        CopyTooLargeError,
        ServiceBusAuthorizationError,
        ServiceBusQuotaExceededError,
    )
