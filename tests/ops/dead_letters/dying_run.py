"""`python -m tests.ops.dead_letters.dying_run SIGNAL POINT NTH ARGUMENT ...`: the tool, with a signal at a point.

NTH: the how-manieth passing of the point. KILL ends the process there as `kill -9` does; INT is a Ctrl-C.
"""

from __future__ import annotations

import itertools
import os
import signal
import sys
from typing import TYPE_CHECKING, Any

from azure.servicebus import ServiceBusReceiver, ServiceBusSender

from ops.__main__ import main
from ops.dead_letters.journal import Journal

if TYPE_CHECKING:
    from collections.abc import Callable

POINTS: dict[str, tuple[Any, str, bool]] = {
    "before sending is noted": (Journal, "begin", False),
    "after sending is noted": (Journal, "begin", True),
    "after the batch is sent": (ServiceBusSender, "send_messages", True),
    "after it is noted as sent": (Journal, "mark_sent", True),
    "before a letter is completed": (ServiceBusReceiver, "complete_message", False),
    "after a letter is completed": (ServiceBusReceiver, "complete_message", True),
    "before it is noted as done": (Journal, "mark_done", False),
    "after it is noted as done": (Journal, "mark_done", True),
    "after a look": (ServiceBusReceiver, "peek_messages", True),
}


def _signalled(method: Callable[..., Any], number: signal.Signals, nth: int, *, after: bool) -> Callable[..., Any]:
    passings = itertools.count(1)

    def call(*arguments: Any, **options: Any) -> Any:
        is_it = next(passings) == nth  # by each thread for itself
        if is_it and not after:
            os.kill(os.getpid(), number)
        result = method(*arguments, **options)
        if is_it and after:
            os.kill(os.getpid(), number)
        return result

    return call


if __name__ == "__main__":
    name, point, count = (sys.argv.pop(1) for _ in range(3))
    owner, attribute, is_after = POINTS[point]
    method = _signalled(getattr(owner, attribute), signal.Signals[f"SIG{name}"], int(count), after=is_after)
    setattr(owner, attribute, method)
    main()
