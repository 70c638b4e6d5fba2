"""Brokers with a client and a settler each."""

from __future__ import annotations

import logging
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from local.service_bus import Broker

if TYPE_CHECKING:
    from collections.abc import Iterator


from tests.scheduled_copy.copying import Bus, new_broker


@pytest.fixture(scope="module", autouse=True)
def no_keep_alive() -> Iterator[None]:
    """Each close of the client waits for a keep-alive thread that sleeps for a second; nothing idles that long here."""
    logging.getLogger("proton").setLevel(logging.CRITICAL)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("azure.servicebus._pyamqp.client.AMQPClient._keep_alive", lambda _client: None)
        yield


@pytest.fixture
def opened() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def broker(opened: ExitStack) -> Broker:
    return opened.enter_context(new_broker())


@pytest.fixture
def bus(broker: Broker, opened: ExitStack) -> Bus:
    return Bus(broker, opened)


@pytest.fixture(scope="module")
def carrier() -> Iterator[Bus]:
    """For tests that only look at what a copy carries: opening the client's links takes a second each time."""
    with ExitStack() as stack:
        yield Bus(stack.enter_context(new_broker()), stack)
