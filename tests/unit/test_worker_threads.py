"""When the runtime library is asked for a larger pool, and what is reported where that fails."""

from __future__ import annotations

import json
import logging
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from shared.worker_threads import PoolTooSmallError, ensure_threads, report_threads_not_set

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_mock import MockerFixture, MockType

LIBRARY = "azure_functions_runtime_v1"
SIXTEEN = {"PYTHON_THREADPOOL_THREAD_COUNT": "16"}


def pool(size: int) -> Any:
    return SimpleNamespace(_max_workers=size)


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch, mocker: MockerFixture) -> Callable[..., MockType]:
    """Has the library loaded; its pool is first the first argument, and the second once it was started again."""

    def load(first: Any, started: Any = None) -> MockType:
        library: MockType = mocker.Mock(spec=["get_threadpool_executor", "start_threadpool_executor"])
        library.get_threadpool_executor.side_effect = lambda: (
            started if library.start_threadpool_executor.called else first
        )
        monkeypatch.setitem(sys.modules, LIBRARY, library)
        return library

    return load


@pytest.mark.parametrize("first", [pool(6), None], ids=["smaller", "none yet"])
def test_a_pool_that_is_too_small_is_started_again(loaded: Callable[..., MockType], first: Any) -> None:
    library = loaded(first, pool(16))
    assert ensure_threads(SIXTEEN) is None
    library.start_threadpool_executor.assert_called_once_with()


@pytest.mark.parametrize("size", [16, 17])
def test_a_pool_that_is_large_enough_is_kept(loaded: Callable[..., MockType], size: int) -> None:
    library = loaded(pool(size))
    assert ensure_threads(SIXTEEN) is None
    library.start_threadpool_executor.assert_not_called()


def test_a_pool_whose_size_cannot_be_known_is_started_again_without_a_complaint(
    loaded: Callable[..., MockType],
) -> None:
    library = loaded(object(), object())
    assert ensure_threads(SIXTEEN) is None
    library.start_threadpool_executor.assert_called_once_with()


@pytest.mark.parametrize("value", [None, "", " ", "x", "0", "-1", "1.5", "²", "10000"])
def test_the_pool_is_left_alone_where_the_setting_names_no_number(
    loaded: Callable[..., MockType], value: str | None
) -> None:
    library = loaded(pool(6))
    assert ensure_threads({} if value is None else {"PYTHON_THREADPOOL_THREAD_COUNT": value}) is None
    assert library.mock_calls == []


def test_the_library_is_not_imported_where_it_is_not_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, LIBRARY, raising=False)
    assert ensure_threads(SIXTEEN) is None
    assert LIBRARY not in sys.modules


def test_a_library_that_starts_a_small_pool_again_is_an_error(loaded: Callable[..., MockType]) -> None:
    loaded(pool(6), pool(6))
    error = ensure_threads(SIXTEEN)
    assert isinstance(error, PoolTooSmallError)
    assert str(error) == f"{LIBRARY} was asked for 16 threads and has 6."


def test_whatever_the_library_raises_is_returned(loaded: Callable[..., MockType]) -> None:
    library = loaded(pool(6))
    library.start_threadpool_executor.side_effect = fault = RuntimeError("can't start new thread")
    assert ensure_threads(SIXTEEN) is fault


def test_a_library_without_the_function_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, LIBRARY, SimpleNamespace())
    assert isinstance(ensure_threads(SIXTEEN), AttributeError)


def test_the_error_is_one_warning_that_says_the_next_step(caplog: pytest.LogCaptureFixture) -> None:
    report_threads_not_set(PoolTooSmallError("asked for 16 and has 6."))
    (record,) = caplog.records
    line = json.loads(record.getMessage())
    assert (record.levelno, line["outcome"], line["reason"]) == (logging.WARNING, "ThreadsNotSet", "PoolTooSmallError")
    assert "set maxConcurrentCalls in host.json" in line["description"]
    assert line["description"].endswith("The cause: asked for 16 and has 6.")
