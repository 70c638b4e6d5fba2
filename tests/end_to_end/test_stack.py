"""The stack leaves this process as it found it."""

from __future__ import annotations

import os

import pytest

from local.stack import Stack


def test_the_environment_is_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CANCELLATION_QUEUE_NAME", "mine")
    before = dict(os.environ)
    with Stack() as stack:
        during = dict(os.environ)
    assert during["CANCELLATION_QUEUE_NAME"] == stack.queue.name
    assert dict(os.environ) == before
