"""What is sent at once fits into a message on the wire, envelope and all."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from ops.errors import OpsError
from ops.rows import Row
from ops.sending import _Sending, send_all
from ops.target import Target
from tests.ops.conftest import QUEUE

if TYPE_CHECKING:
    from tests.ops.conftest import Stage


def line_of(size: int) -> str:
    """One JSON line of that many bytes."""
    empty = len(json.dumps({"jobId": "job-1", "note": ""}))
    return json.dumps({"jobId": "job-1", "note": "x" * (size - empty)})


def test_a_batch_that_is_full_by_the_sdks_count_is_taken(stage: Stage) -> None:
    result = stage.run("send", "-", given=f"{line_of(1262)}\n" * 600)

    assert result.exit_code == 0, result.output
    assert len(stage.bodies()) == 600


def test_batches_of_rows_of_every_size_are_taken(stage: Stage) -> None:
    target = Target.from_options(stage.broker.connection_string, None, QUEUE, {})
    with target.client() as client, client.get_queue_sender(QUEUE) as sender:
        for size in range(1240, 1291):
            sending = _Sending(sender, None)
            body = line_of(size).encode()
            while not sending.sent:  # the first batch that is full
                sending.add(Row(1, body))
            assert sending.sent < 250, "the batch is full by its size, not by its count"


def test_the_longest_message_id_finds_room_in_the_envelope(stage: Stage) -> None:
    target = Target.from_options(stage.broker.connection_string, None, QUEUE, {})
    rows = [Row(number, line_of(1000).encode(), f"{number:03}".ljust(128, "\U0001f4e6")) for number in range(1, 400)]

    assert send_all(target, rows, len(rows), None) == 399


def test_the_largest_row_is_taken_alone(stage: Stage) -> None:
    result = stage.run("send", "-", given=f"{line_of(240 * 1024)}\n" * 2)

    assert result.exit_code == 0, result.output
    assert len(stage.bodies()) == 2


@pytest.mark.parametrize("size", [256 * 1024, 300_000])
def test_a_message_that_no_batch_takes_is_named_and_those_before_it_are_sent(stage: Stage, size: int) -> None:
    target = Target.from_options(stage.broker.connection_string, None, QUEUE, {})
    rows = [Row(1, b"{}"), Row(2, line_of(size).encode()), Row(3, b"{}")]

    with pytest.raises(OpsError, match=r"line 2 is larger than the queue takes\. 1 of 3 messages are sent.*line 1\."):
        send_all(target, rows, 3, None)
    assert stage.bodies() == ["{}"]
