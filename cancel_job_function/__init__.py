"""Entry point of the function: builds what shared/ holds once per worker, then handles one message at a call."""

from __future__ import annotations

import logging
import os
import threading
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import azure.functions as func

from shared.call_guard import CallGuard
from shared.job_router import AccessKeyAuth, EntraIdAuth, JobRouterClient
from shared.processing import Queue, hold, postpone, process
from shared.redelivery import Backoff
from shared.settings import ServiceBusSettings, Settings, SettingsError, usable_service_bus
from shared.settlement import ServiceBusSettler
from shared.worker_threads import ensure_threads, report_threads_not_set

if TYPE_CHECKING:
    from collections.abc import Callable

# The SDKs tell each step at INFO; in Application Insights that would be many lines a message, paid by the gigabyte.
logging.getLogger("azure").setLevel(logging.WARNING)
# It warns of headers that it cannot read, and quotes them: they may repeat a note.
logging.getLogger("urllib3").setLevel(logging.ERROR)


class _Application(NamedTuple):
    job_router: JobRouterClient
    guard: CallGuard
    queue: Queue
    process: Callable[..., None]


_application: _Application | None = None
_building = threading.Lock()
_never = threading.Event()
# At load: later, invocations would already wait in a pool that is too small.
_threads_error = ensure_threads(os.environ)


def main(message: func.ServiceBusMessage, context: func.Context) -> None:
    """Cancel the job that the message names. Returning completes the message, raising abandons it."""
    try:
        application = _get_application()
    except Exception as error:  # noqa: BLE001  # bad settings, or what nobody foresaw: neither burns a delivery
        service_bus = error.service_bus if isinstance(error, SettingsError) else usable_service_bus(os.environ)
        if service_bus is None:
            hold(message, context.invocation_id, error, _never.wait)
        with _building:  # one settler, however many first messages come at once
            queue = _queue_of(service_bus, Backoff())
        postpone(message, context.invocation_id, error, queue)
        return
    trace = context.trace_context
    parent = trace.trace_parent or None if trace else None
    job_router, guard, queue, handle = application
    handle(message, context.invocation_id, parent, job_router, guard, queue)


def _get_application() -> _Application:
    # Built at the first message, not at load: a failure at load would make the host abandon each message at once.
    global _application
    with _building:
        if _application is None:
            settings = Settings.from_environment(os.environ)
            auth = AccessKeyAuth(settings.access_key) if settings.access_key else EntraIdAuth()
            client = JobRouterClient(
                settings.endpoint,
                auth,
                connect_timeout=settings.connect_timeout,
                read_timeout=settings.read_timeout,
                pool_size=settings.threads,
            )
            queue = _queue_of(settings.service_bus, settings.backoff)
            _application = _Application(client, CallGuard(), queue, _process(settings))
            if _threads_error is not None:
                report_threads_not_set(_threads_error)
        return _application


def _process(settings: Settings) -> Callable[..., None]:
    if not settings.opentelemetry:
        return process
    from shared.telemetry import instrument  # a quarter of a second of imports: only where asked for

    return instrument(process, settings.endpoint)


@lru_cache(maxsize=1)
def _queue_of(settings: ServiceBusSettings, backoff: Backoff) -> Queue:
    return Queue(ServiceBusSettler(settings), backoff, wait=_never.wait)
