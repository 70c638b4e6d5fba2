"""The worker under test: the function app in a process of its own, which can be killed at any moment."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_OURS = ("JOB_ROUTER_", "ServiceBusConnection", "CANCELLATION_QUEUE_NAME", "REDELIVERY_", "AZURE_", "PYTHON_THREADPOOL")


class Worker:
    """Starts and kills `python -m local.host`; one process at a time, its log lines in files of `folder`."""

    def __init__(self, folder: Path, settings: Mapping[str, str]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._settings = dict(settings)
        self._process: subprocess.Popen[bytes] | None = None
        self._log: IO[bytes] | None = None
        self.logs: list[Path] = []

    def start(self, changes: Mapping[str, str | None] | None = None, module: Sequence[str] = ("local.host",)) -> None:
        """Start with the settings, or with some of them changed or (None) left out."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith(_OURS)}
        environment |= {n: v for n, v in {**self._settings, **(changes or {})}.items() if v is not None}
        self.logs.append(self._folder / f"worker-{len(self.logs) + 1}.log")
        self._log = self.logs[-1].open("wb")
        self._process = subprocess.Popen(  # noqa: S603  # our own modules
            [sys.executable, "-m", *module], env=environment, stdout=self._log, stderr=subprocess.STDOUT
        )

    def kill(self) -> None:
        """kill -9."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """Ask it to end, as the platform does."""
        self._end(signal.SIGTERM)

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def wait(self, timeout_seconds: float) -> int:
        """Its exit code, once it has ended by itself; negative for a signal."""
        if self._process is None:
            raise RuntimeError("No worker was started.")
        code = self._process.wait(timeout_seconds)
        self._close()
        return code

    def _end(self, signal_number: signal.Signals) -> None:
        if self._process is None:
            return
        self._process.send_signal(signal_number)
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._close()

    def _close(self) -> None:
        if self._log:
            self._log.close()
        self._process = self._log = None
