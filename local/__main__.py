"""`python -m local`: the embedded stack with the function consuming, until Ctrl-C or SIGTERM."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import threading

from local.job_router import JobRouter
from local.job_router.__main__ import add_answer_options
from local.stack import Stack, as_deployed

_HELP = """\
The embedded stack is up; Ctrl-C or SIGTERM stops it.

  Service Bus     {service_bus}
  administration  http://localhost:{administration}, the queue's properties and counts
  Job Router      {job_router}
  queue           {queue}, its dead letters in {queue}/$DeadLetterQueue
  jobs            demo-1 to demo-{jobs}, all queued

Put the connection strings where a second terminal finds them:

  export SERVICE_BUS='{service_bus}'
  export CANCELLATION_QUEUE={queue}

Send a cancellation:

  {python} -m local.send '{{"jobId": "demo-1", "note": "Customer hung up"}}'

Read the dead-letter queue (nothing is taken out of it):

  {python} -m local.dead_letters

Operate it, as the function's settings would (then: {python} -m ops --help):

  export ServiceBusConnection='{service_bus}'
  export CANCELLATION_QUEUE_NAME={queue}
  export SERVICE_BUS_MANAGEMENT_PORT={administration}
  export JOB_ROUTER_CONNECTION_STRING='{job_router}'
  export PYTHON_THREADPOOL_THREAD_COUNT=16
"""


def main() -> int:
    """Run until told to stop; 1 when a port is taken."""
    parser = argparse.ArgumentParser(prog="python -m local", description=__doc__)
    parser.add_argument("--service-bus-port", type=int, default=0, help="AMQP port; a free one when not given")
    parser.add_argument("--job-router-port", type=int, default=0, help="HTTP port; a free one when not given")
    parser.add_argument("--administration-port", type=int, default=0, help="HTTP port for queue properties and counts")
    parser.add_argument("--queue", default="job-cancellations", help="queue name (default: %(default)s)")
    parser.add_argument("--jobs", type=int, default=10, help="jobs to create, demo-1 onwards (default: %(default)s)")
    add_answer_options(parser)
    parser.add_argument("--no-function", action="store_true", help="broker and Job Router only; nothing consumes")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(levelname)-8s %(name)s %(message)s", stream=sys.stderr)
    logging.getLogger("azure").setLevel(logging.WARNING)
    stop = threading.Event()
    for signal_number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signal_number, lambda *_: stop.set())
    stack = Stack(
        queue=as_deployed(options.queue),
        service_bus_port=options.service_bus_port,
        administration_port=options.administration_port,
        consume=not options.no_function,
        job_router=JobRouter(
            port=options.job_router_port,
            second_cancel=options.second_cancel,
            refusal_status=options.refusal_status,
            dialect=options.dialect,
        ),
    )
    try:
        with stack:
            for number in range(1, options.jobs + 1):
                stack.job_router.add_job(f"demo-{number}")
            print(
                _HELP.format(
                    service_bus=stack.broker.connection_string,
                    job_router=stack.job_router.connection_string,
                    administration=stack.broker.administration.port if stack.broker.administration else "",
                    queue=options.queue,
                    jobs=options.jobs,
                    python=".venv/bin/python",
                ),
                flush=True,
            )
            stop.wait()
    except (OSError, RuntimeError) as error:
        print(f"The embedded stack cannot start: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
