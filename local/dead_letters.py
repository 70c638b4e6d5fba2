"""`python -m local.dead_letters`: show the dead letters of the queue that `make local` printed; takes none out."""

from __future__ import annotations

import os
import sys
from typing import Any

from azure.servicebus import ServiceBusClient


def read_dead_letters(connection_string: str, queue: str) -> list[Any]:
    """Peek all dead letters with the standard client, oldest first."""
    found: list[Any] = []
    with (
        ServiceBusClient.from_connection_string(connection_string) as client,
        client.get_queue_receiver(queue, sub_queue="deadletter") as receiver,
    ):
        while batch := receiver.peek_messages(100, sequence_number=found[-1].sequence_number + 1 if found else 1):
            found += batch
    return found


def main() -> int:
    """Print each dead letter's id, reason, description and body."""
    connection_string = os.environ.get("SERVICE_BUS")
    if not connection_string:
        print("SERVICE_BUS is not set: copy the export lines that `make local` printed.", file=sys.stderr)
        return 2
    letters = read_dead_letters(connection_string, os.environ.get("CANCELLATION_QUEUE", "job-cancellations"))
    for letter in letters:
        print(f"{letter.message_id}\n  {letter.dead_letter_reason}: {letter.dead_letter_error_description}\n  {letter}")
    print(f"{len(letters)} dead letters")
    return 0


if __name__ == "__main__":
    sys.exit(main())
