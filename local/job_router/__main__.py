"""Run the stand-in on its own: `python -m local.job_router --port 8088 --job-count 1000`."""

import argparse
import json
import signal
import threading
from pathlib import Path

from local.job_router.errors import DIALECTS
from local.job_router.server import REFUSAL_STATUSES, SECOND_CANCEL_STATUSES, JobRouter


def main() -> None:
    arguments = _parse_arguments()
    stop = threading.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, lambda *_: stop.set())
    with JobRouter(
        port=arguments.port,
        service_time_seconds=arguments.service_time_ms / 1000,
        second_cancel=arguments.second_cancel,
        refusal_status=arguments.refusal_status,
        dialect=arguments.dialect,
        record=not arguments.no_record,
    ) as router:
        if arguments.jobs is not None:
            _add_jobs_from(arguments.jobs, router)
        for number in range(arguments.job_count):
            router.add_job(f"job-{number}")
        print(f"endpoint: {router.endpoint}", flush=True)
        print(f"connection string: {router.connection_string}", flush=True)
        stop.wait()
    print(f"{router.requests_handled} requests on {router.connections_accepted} connections", flush=True)


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m local.job_router", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 (the default) takes any free port")
    jobs = parser.add_mutually_exclusive_group()
    jobs.add_argument("--jobs", type=Path, metavar="FILE", help='JSON: ["id", {"id": "other", "status": "closed"}]')
    jobs.add_argument("--job-count", type=int, default=0, metavar="N", help="add queued jobs job-0 to job-(N-1)")
    parser.add_argument("--service-time-ms", type=float, default=0.0, metavar="X", help="how long each answer takes")
    add_answer_options(parser)
    parser.add_argument("--no-record", action="store_true", help="do not remember requests; for load tests")
    return parser.parse_args()


def add_answer_options(parser: argparse.ArgumentParser) -> None:
    """What nobody has seen of the real service, or has seen in two forms, as options."""
    parser.add_argument(
        "--second-cancel",
        type=int,
        choices=SECOND_CANCEL_STATUSES,
        default=409,
        help="what cancelling a cancelled job answers (default: %(default)s)",
    )
    parser.add_argument(
        "--refusal-status",
        type=int,
        choices=REFUSAL_STATUSES,
        default=409,
        help="what cancelling a closed or completed job answers (default: %(default)s)",
    )
    parser.add_argument(
        "--dialect",
        choices=DIALECTS,
        default="recorded",
        help="errors and headers as recorded of the service, or as it specifies them (default: %(default)s)",
    )


def _add_jobs_from(path: Path, router: JobRouter) -> None:
    entries = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(entries, list):
        raise SystemExit(f"{path} is not a JSON array of job ids or of objects with id and status.")
    for entry in entries:
        match entry:
            case str(job_id):
                router.add_job(job_id)
            case {"id": str(job_id), **rest}:
                router.add_job(job_id, str(rest.get("status", "queued")))
            case _:
                raise SystemExit(f"{path}: {entry!r} is neither a job id nor an object with id and status.")


if __name__ == "__main__":
    main()
