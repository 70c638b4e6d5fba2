"""The worker has as many threads as the setting says, though the platform's proxy starts the pool without it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from tests.host.proxy_order import APP, CALLS, EARLIER

pytestmark = pytest.mark.skipif(sys.version_info < (3, 13), reason="the vendor's runtime library needs Python 3.13")


@pytest.fixture(scope="module")
def seen() -> dict[str, Any]:
    """What happened in a process that the real library was driven in, as on an instance with two processors."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHON_THREADPOOL_THREAD_COUNT"}
    command = [sys.executable, "-m", "tests.host.proxy_order"]
    ran = subprocess.run(  # noqa: S603  # our own script
        command, cwd=APP, env={**environment, "PYTHON_CPU_COUNT": "2"}, capture_output=True, text=True, timeout=60
    )
    assert ran.returncode == 0, ran.stderr
    result: dict[str, Any] = json.loads(ran.stdout)
    return result


def test_the_proxy_starts_the_pool_before_the_setting_is_there(seen: dict[str, Any]) -> None:
    """Where this fails, the library has corrected it, and shared/worker_threads.py can go."""
    assert seen["first_pool"] == 6


def test_sixteen_invocations_run_at_once(seen: dict[str, Any]) -> None:
    assert (seen["loaded"], seen["calls"]) == ("success", ["success"] * CALLS)
    assert seen["pool"] == 16


def test_nothing_that_runs_or_is_queued_on_the_smaller_pool_is_lost(seen: dict[str, Any]) -> None:
    assert seen["earlier"] == [True] * EARLIER
