"""Many messages to the queue: in the SDK's batches, with a bar, and so that an interruption leaves nobody guessing."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from ops.console import progress
from ops.errors import INTERRUPTED, OpsError, explain
from ops.interrupt import Interrupt

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from azure.servicebus import ServiceBusMessage, ServiceBusMessageBatch, ServiceBusSender

    from ops.rows import Row
    from ops.target import Target

# So that Ctrl-C is obeyed within a moment; a batch of short messages would take thousands.
BATCH = 250
# Bytes of a batch that stay free. The SDK counts the messages in it but not all of its envelope: some 20 bytes and the
# first message's id, which has 128 characters at most, so 512 bytes.
_ENVELOPE = 1024


def message_of(row: Row, due: datetime | None) -> ServiceBusMessage:
    """What goes over the wire. due: when it is to be enqueued, UTC; None for at once."""
    from azure.servicebus import ServiceBusMessage

    return ServiceBusMessage(
        row.body,
        message_id=row.message_id or str(uuid.uuid4()),
        content_type="application/json",
        scheduled_enqueue_time_utc=due,
    )


def send_all(target: Target, rows: Iterable[Row], total: int, due: datetime | None) -> int:
    """Send every row, in the order given; returns how many that were.

    Raises:
        OpsError: it failed or was interrupted; the sentence says how many are sent and how to go on.
    """
    with (
        target.client() as client,
        client.get_queue_sender(target.queue) as sender,
        Interrupt() as interrupt,
        progress("messages sent:", total) as bar,
    ):
        sending = _Sending(sender, due)
        try:
            for row in rows:
                if interrupt.requested:
                    break
                bar(sending.add(row))
            else:
                bar(sending.flush())
        except KeyboardInterrupt:  # the second Ctrl-C: somebody is in a hurry
            interrupt.requested = True
        except Exception as error:
            before = explain(error, target, "Send")
            raise OpsError(f"{before.sentence} {_so_far(sending, total)}", before.exit_code) from error
        if interrupt.requested and sending.sent < total:
            raise OpsError(f"Interrupted. {_so_far(sending, total)}", INTERRUPTED)
    return sending.sent


class _Sending:
    """One sender and the batch that is being filled. sent: how many the queue has; line: the last one's."""

    def __init__(self, sender: ServiceBusSender, due: datetime | None) -> None:
        self.sent = 0
        self.line = 0
        self._sender = sender
        self._due = due
        self._room = sender.create_message_batch().max_size_in_bytes - _ENVELOPE  # the link's limit, by its tier
        self._batch = self._empty_batch()
        self._count = 0
        self._last = 0

    def add(self, row: Row) -> int:
        """Take a row into the batch; returns how many messages that made go out."""
        from azure.servicebus.exceptions import MessageSizeExceededError

        message, gone = message_of(row, self._due), 0
        try:
            self._batch.add_message(message)
        except MessageSizeExceededError:
            gone = self.flush()
            try:
                self._batch.add_message(message)
            except MessageSizeExceededError:
                raise OpsError(f"The message of line {row.line} is larger than the queue takes.") from None
        self._count, self._last = self._count + 1, row.line
        return gone + (self.flush() if self._count >= BATCH else 0)

    def flush(self) -> int:
        """Send what the batch holds; returns how many."""
        gone = self._count
        if gone:
            self._sender.send_messages(self._batch)
            self.sent, self.line, self._count = self.sent + gone, self._last, 0
            self._batch = self._empty_batch()
        return gone

    def _empty_batch(self) -> ServiceBusMessageBatch:
        return self._sender.create_message_batch(max_size_in_bytes=self._room)


def _so_far(sending: _Sending, total: int) -> str:
    if not sending.sent:
        return "Nothing is known to be sent; begin again (a job that is cancelled twice is cancelled once)."
    return (
        f"{sending.sent:,} of {total:,} messages are sent, up to line {sending.line:,}. "
        f"Go on with --from-line {sending.line + 1}."
    )
