"""An embedded Service Bus broker for development: a real AMQP 1.0 server, spoken to by the real azure-servicebus.

It makes no claim beyond what this project uses (docs/embedded-stack.md lists it) and refuses the rest clearly.
"""

from local.service_bus.broker import Broker
from local.service_bus.claims import SharedKey
from local.service_bus.queue import QueueCounts, QueueOptions, StoredMessage

__all__ = ["Broker", "QueueCounts", "QueueOptions", "SharedKey", "StoredMessage"]
