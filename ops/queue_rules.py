"""Which properties of a queue hurt the function, and what to do about each. Pure: no socket."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from ops.finding import Finding, Result
from ops.lengths import spell

if TYPE_CHECKING:
    from collections.abc import Iterator

    from azure.servicebus.management import QueueProperties

# 10 is the service's default. The function itself gives a message back only when it cannot postpone it.
LOWEST_MAX_DELIVERY_COUNT = 10
# The host renews locks while the function runs; below this a short hiccup of the network costs a delivery.
SHORTEST_LOCK = timedelta(minutes=1)
_FOREVER = timedelta(days=3650)  # the service says "never" with about 29,000 years


def findings_of(queue: QueueProperties, give_up_after: float) -> Iterator[Finding]:
    """One finding for each property that matters. give_up_after: seconds, from REDELIVERY_GIVE_UP_AFTER_SECONDS."""
    yield _sessions(queue)
    yield _status(queue)
    expires = _length(queue.default_message_time_to_live)
    expires = expires if expires and expires < _FOREVER else None
    yield _expiry(queue, expires)
    yield _time_to_live(queue, expires, timedelta(seconds=give_up_after))
    yield _deliveries(queue)
    yield _lock(queue)
    yield _duplicates(queue)


def _sessions(queue: QueueProperties) -> Finding:
    if queue.requires_session:
        return Finding(
            "Sessions",
            Result.FAIL,
            "The queue requires sessions; the function's trigger receives nothing from it.",
            "Sessions cannot be switched off: make a new queue without them, and move senders and function to it.",
        )
    return Finding("Sessions", Result.OK, "The queue requires none.")


def _status(queue: QueueProperties) -> Finding:
    status = str(getattr(queue.status, "value", queue.status) or "Active")
    if queue.forward_to:
        return Finding(
            "Status",
            Result.FAIL,
            f"The queue forwards everything to {queue.forward_to}; nothing can be received from it.",
            "Take the forwarding away, or let the function listen on the queue that it forwards to.",
        )
    if status != "Active":
        step = f"Enable it: {_update(queue, '--status Active')}"
        return Finding("Status", Result.FAIL, f"The queue is {status}.", step)
    return Finding("Status", Result.OK, "Active.")


def _expiry(queue: QueueProperties, expires: timedelta | None) -> Finding:
    if queue.dead_lettering_on_message_expiration:
        return Finding("Expiry", Result.OK, "A message that expires becomes a dead letter.")
    always = "every message has a time to live" if expires else "a sender may set a time to live"
    return Finding(
        "Expiry",
        Result.FAIL if expires else Result.WARN,
        f"A message that expires is dropped without a trace, and {always}.",
        f"Keep it as a dead letter: {_update(queue, '--enable-dead-lettering-on-message-expiration true')}",
    )


def _time_to_live(queue: QueueProperties, expires: timedelta | None, give_up_after: timedelta) -> Finding:
    if expires is None:
        return Finding("Time to live", Result.OK, "Messages do not expire, unless their sender says so.")
    if expires >= give_up_after:
        seen = f"{spell(expires)}; the function gives up after {spell(give_up_after)}."
        return Finding("Time to live", Result.OK, seen)
    return Finding(
        "Time to live",
        Result.WARN,
        f"Messages expire after {spell(expires)}, before the function gives up ({spell(give_up_after)}): an outage "
        "cannot be waited out.",
        f"Let them live longer: {_update(queue, f'--default-message-time-to-live {_iso(give_up_after)}')} "
        "(or lower REDELIVERY_GIVE_UP_AFTER_SECONDS).",
    )


def _deliveries(queue: QueueProperties) -> Finding:
    count = queue.max_delivery_count or 0
    if count >= LOWEST_MAX_DELIVERY_COUNT:
        return Finding("Deliveries", Result.OK, f"Up to {count} of a message before the broker dead-letters it.")
    return Finding(
        "Deliveries",
        Result.WARN,
        f"The broker dead-letters a message after {count} deliveries: a few crashes of the app kill good messages.",
        f"Allow {LOWEST_MAX_DELIVERY_COUNT}: {_update(queue, f'--max-delivery-count {LOWEST_MAX_DELIVERY_COUNT}')}",
    )


def _lock(queue: QueueProperties) -> Finding:
    lock = _length(queue.lock_duration) or timedelta()
    if lock >= SHORTEST_LOCK:
        return Finding("Lock", Result.OK, f"{spell(lock)}, renewed by the host while the function runs.")
    return Finding(
        "Lock",
        Result.WARN,
        f"A message's lock ends after {spell(lock)}: one late renewal, and it is delivered twice.",
        f"Lengthen it: {_update(queue, f'--lock-duration {_iso(SHORTEST_LOCK)}')}",
    )


def _duplicates(queue: QueueProperties) -> Finding:
    if queue.requires_duplicate_detection:
        return Finding("Duplicates", Result.OK, "Detected by MessageId; the function's copies have ids of their own.")
    return Finding("Duplicates", Result.OK, "Not detected; a job that is cancelled twice is cancelled once.")


def _length(value: timedelta | str | None) -> timedelta | None:
    return value if isinstance(value, timedelta) else None  # text is what one may send; what comes back is read


def _update(queue: QueueProperties, option: str) -> str:
    return (
        f"az servicebus queue update --resource-group <group> --namespace-name <namespace> --name {queue.name} {option}"
    )


def _iso(time: timedelta) -> str:
    seconds = int(time.total_seconds())
    return f"PT{seconds // 60}M" if seconds % 60 == 0 else f"PT{seconds}S"
