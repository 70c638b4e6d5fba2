"""`python -m local.send BODY ...`: put messages on the queue that `make local` printed."""

from __future__ import annotations

import argparse
import os
import sys
import uuid

from azure.servicebus import ServiceBusClient, ServiceBusMessage


def main() -> int:
    """Send each argument as one message."""
    parser = argparse.ArgumentParser(prog="python -m local.send", description=__doc__)
    parser.add_argument("body", nargs="+", help='a message body, such as {"jobId": "demo-1"}')
    bodies = parser.parse_args().body
    connection_string = os.environ.get("SERVICE_BUS")
    if not connection_string:
        print("SERVICE_BUS is not set: copy the export lines that `make local` printed.", file=sys.stderr)
        return 2
    queue = os.environ.get("CANCELLATION_QUEUE", "job-cancellations")
    with ServiceBusClient.from_connection_string(connection_string) as client, client.get_queue_sender(queue) as sender:
        for body in bodies:
            message = ServiceBusMessage(body, message_id=str(uuid.uuid4()), content_type="application/json")
            sender.send_messages(message)
            print(f"sent {message.message_id}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
