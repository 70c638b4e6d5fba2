"""`python -m tests.end_to_end.crashing_host POINT`: the host stand-in, killed as by kill -9 at a point of the way."""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING, Any

from local.host.__main__ import run
from shared.job_router import JobRouterClient
from shared.settlement import ServiceBusSettler

if TYPE_CHECKING:
    from collections.abc import Callable

POINTS: dict[str, tuple[Any, str, bool]] = {
    "before the call": (JobRouterClient, "cancel_job", False),
    "after the call": (JobRouterClient, "cancel_job", True),
    "before the copy is sent": (ServiceBusSettler, "send_copy", False),
    "after the copy is sent": (ServiceBusSettler, "send_copy", True),
    "before dead-lettering": (ServiceBusSettler, "dead_letter", False),
    "after dead-lettering": (ServiceBusSettler, "dead_letter", True),
}


def _dying(method: Callable[..., Any], *, after: bool) -> Callable[..., Any]:
    def die(*arguments: Any, **options: Any) -> None:
        if after:
            method(*arguments, **options)
        os.kill(os.getpid(), signal.SIGKILL)

    return die


if __name__ == "__main__":
    owner, name, after = POINTS[sys.argv.pop(1)]
    setattr(owner, name, _dying(getattr(owner, name), after=after))
    run()
