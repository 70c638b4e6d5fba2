"""Fixtures of the unit tests."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

from tests.unit.edges import Edges

if TYPE_CHECKING:
    from pytest_mock import MockerFixture


@pytest.fixture
def edges(mocker: MockerFixture, caplog: pytest.LogCaptureFixture) -> Edges:
    caplog.set_level(logging.INFO, "cancel_job")
    return Edges(mocker, caplog)
