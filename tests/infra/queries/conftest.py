"""A workspace for each test, the function to fill it, and one evening of the whole stack for each module."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.infra.queries.evening import Evening, play
from tests.infra.queries.function import Function
from tests.infra.queries.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def workspace() -> Iterator[Workspace]:
    made = Workspace()
    yield made
    made.close()


@pytest.fixture
def function() -> Function:
    return Function()


@pytest.fixture(scope="session")
def evening() -> Evening:
    return play()
