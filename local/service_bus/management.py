"""The operations of a queue's `$management` node, one function each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from proton import UNDESCRIBED, Array, Data

from local.service_bus.codec import decode, encode, milliseconds
from local.service_bus.queue import LockLostError

if TYPE_CHECKING:
    from collections.abc import Callable

    from local.service_bus.queue import Queue

LOCK_LOST = "com.microsoft:message-lock-lost"
LOCK_LOST_TEXT = (
    "The lock supplied is invalid. Either the lock expired, or the message has already been removed from the queue."
)


class ManagementError(Exception):
    """An operation that ends with another status than 200."""

    def __init__(self, status: int, condition: str | None, description: str) -> None:
        super().__init__(description)
        self.status, self.condition, self.description = status, condition, description


def perform(operation: str, queue: Queue, body: dict[str, Any]) -> Any:
    """Carry out an operation and return the answer's body.

    Raises:
        ManagementError: with the status to answer.
    """
    name = operation.removeprefix("com.microsoft:")
    if name not in OPERATIONS:
        raise ManagementError(501, "amqp:not-implemented", f"The embedded broker does not know {operation!r}.")
    try:
        return OPERATIONS[name](queue, body)
    except LockLostError:
        raise ManagementError(410, LOCK_LOST, LOCK_LOST_TEXT) from None
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        # A body that does not fit its operation is the asker's mistake: it must not end the broker's thread.
        text = f"The body of {operation!r} is not understood ({type(error).__name__}: {error})."
        raise ManagementError(400, "amqp:not-allowed", text) from error


def right_for(operation: str) -> str:
    return "Send" if operation.endswith(("schedule-message", "cancel-scheduled-message")) else "Listen"


def _update_disposition(queue: Queue, body: dict[str, Any]) -> Any:
    status = body.get("disposition-status")
    for tag in _tags(body):
        match status:
            case "completed":
                queue.complete(tag)
            case "abandoned":
                queue.abandon(tag)
            case "defered":
                queue.defer(tag)
            case "suspended":
                queue.dead_letter(tag, body.get("deadletter-reason"), body.get("deadletter-description"))
            case _:
                raise ManagementError(400, "amqp:not-allowed", f"Unknown disposition-status {status!r}.")
    return {}


def _renew_lock(queue: Queue, body: dict[str, Any]) -> Any:
    expirations = [milliseconds(queue.renew(tag)) for tag in _tags(body)]
    return {"expirations": Array(UNDESCRIBED, Data.TIMESTAMP, *expirations)}


def _peek_message(queue: Queue, body: dict[str, Any]) -> Any:
    found = [
        {"message": encode(entry, peeked=True)}
        for entry in queue.peek(int(body.get("from-sequence-number", 1)), int(body.get("message-count", 1)))
    ]
    if not found:
        raise ManagementError(204, None, "There are no messages to peek at.")
    return {"messages": found}


def _schedule_message(queue: Queue, body: dict[str, Any]) -> Any:
    numbers = [queue.send(decode(bytes(item["message"]))) for item in body["messages"]]
    return {"sequence-numbers": Array(UNDESCRIBED, Data.LONG, *numbers)}


def _cancel_scheduled_message(queue: Queue, body: dict[str, Any]) -> Any:
    for number in _elements(body["sequence-numbers"]):
        if not queue.cancel_scheduled(int(number)):
            raise ManagementError(404, "com.microsoft:message-not-found", f"No scheduled message {number}.")
    return {}


def _receive_by_sequence_number(queue: Queue, body: dict[str, Any]) -> Any:
    found = []
    for number in _elements(body["sequence-numbers"]):
        entry = queue.entries.get(int(number))
        if entry is None or entry.state != "deferred":
            raise ManagementError(404, "com.microsoft:message-not-found", f"No deferred message {number}.")
        queue.lock(entry)
        found.append({"lock-token": entry.lock_token, "message": encode(entry)})
    return {"messages": found}


def _tags(body: dict[str, Any]) -> list[str]:
    return [token.bytes_le.decode("ascii", "replace") for token in _elements(body["lock-tokens"])]


def _elements(value: Any) -> list[Any]:
    return list(value.elements) if isinstance(value, Array) else list(value)


OPERATIONS: dict[str, Callable[[Queue, dict[str, Any]], Any]] = {
    "update-disposition": _update_disposition,
    "renew-lock": _renew_lock,
    "peek-message": _peek_message,
    "schedule-message": _schedule_message,
    "cancel-scheduled-message": _cancel_scheduled_message,
    "receive-by-sequence-number": _receive_by_sequence_number,
}
