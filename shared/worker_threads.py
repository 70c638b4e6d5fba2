"""Worker threads: from Python 3.13 on, makes the platform's thread pool as large as its setting says.

Knows the runtime library by its name only, and nothing of messages.
"""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Any

from shared.log_line import write_worker_line

if TYPE_CHECKING:
    from collections.abc import Mapping

THREADS_SETTING = "PYTHON_THREADPOOL_THREAD_COUNT"  # the platform's own
_LIBRARY = "azure_functions_runtime_v1"


class PoolTooSmallError(Exception):
    """The pool has fewer threads than the setting says, even after the library started a new one."""


def ensure_threads(environ: Mapping[str, str]) -> Exception | None:
    """Have the runtime library start its pool again where it has fewer threads than the setting says.

    When a placeholder is specialised, the platform's proxy starts the pool before it fills the environment
    (azure-functions-python-worker, proxy_worker/dispatcher.py, _handle__function_environment_reload_request). The pool
    then has as many threads as there are processors, and four.

    Call it while the function's module is loaded: the environment is complete, and no invocation of the function can
    have taken the old pool. Work that is running or queued on the old pool is finished there: the library shuts it
    down without waiting and without cancelling. The library is never imported here: where the platform has not loaded
    it (Python 3.12 and earlier, tests), the pool is not the library's.

    Returns:
        What went wrong, for report_threads_not_set; None where there are enough threads or there is nothing to do.
        Nothing is raised: a function with too few threads is slow, one that cannot be loaded handles no message.
    """
    library = sys.modules.get(_LIBRARY)
    threads = thread_count(environ.get(THREADS_SETTING, ""))
    if library is None or threads is None:
        return None
    try:
        _start_larger_pool(library, threads)
    except Exception as error:  # noqa: BLE001  # whatever it is, the messages come first
        return error
    return None


def report_threads_not_set(error: Exception) -> None:
    """Write the line about it. Call it during an invocation: the host drops lines that are written at load."""
    text = f"The worker may have fewer threads than {THREADS_SETTING} says; messages then wait in it while their "
    text += "locks run. Until the cause is corrected, set maxConcurrentCalls in host.json to the instance's processors "
    text += "plus 4."
    if isinstance(error, PoolTooSmallError):  # our own words; a library's may hold anything
        text += f" The cause: {error}"
    write_worker_line(logging.WARNING, "ThreadsNotSet", type(error).__name__, text)


def thread_count(text: str) -> int | None:
    """The setting's value as a number of threads; None unless it is a whole number from 1 to 9999."""
    text = text.strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 5 and int(text) > 0 else None


def _start_larger_pool(library: Any, threads: int) -> None:
    size = _size(library.get_threadpool_executor())
    if size is not None and size >= threads:
        return
    library.start_threadpool_executor()
    size = _size(library.get_threadpool_executor())
    if size is not None and size < threads:
        raise PoolTooSmallError(f"{_LIBRARY} was asked for {threads} threads and has {size}.")


def _size(pool: Any) -> int | None:
    """In threads; None where it cannot be known, as ThreadPoolExecutor has no public name for it."""
    return 0 if pool is None else getattr(pool, "_max_workers", None)
