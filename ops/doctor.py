"""The examination behind `check`: one finding after the other, nothing sent, nothing taken out of the queue."""

from __future__ import annotations

import socket
import uuid
from typing import TYPE_CHECKING

from ops.errors import OpsError, RightMissingError, explain
from ops.finding import Finding, Result
from shared.redelivery import Backoff

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from azure.servicebus import ServiceBusClient

    from ops.target import Target
    from shared.settings import Settings

_CONNECT_SECONDS = 5.0
_PEEK_SECONDS = 30  # as in counts.py
_CALLS_AT_ONCE = 16  # maxConcurrentCalls in host.json
_AMQP, _AMQPS = 5672, 5671
_NOT_CHECKED = "https://not-checked.invalid"  # stands in for Job Router where nobody wants it looked at
_SETTINGS_PREFIX = "The function's settings have to be mended: "


def examine(
    make_target: Callable[[], Target], environ: Mapping[str, str], *, with_job_router: bool = True
) -> Iterator[Finding]:
    """Look at everything that a cancellation needs, the nearest first.

    make_target: raises OpsError where no queue is named. with_job_router: False leaves out Job Router and its settings.
    """
    target: Target | None = None
    problem: OpsError | None = None
    try:
        target = make_target()
    except OpsError as error:
        problem = error
    settings, finding = _settings(_as_the_function_sees(environ, target, with_job_router=with_job_router))
    yield finding
    if settings:
        yield _threads(settings)
    if problem:
        yield Finding("Service Bus", Result.FAIL, problem.sentence)
    if target:
        yield from _service_bus(target, settings.backoff if settings else Backoff())
    if settings and with_job_router:
        yield _job_router(settings)


def _as_the_function_sees(
    environ: Mapping[str, str], target: Target | None, *, with_job_router: bool
) -> Mapping[str, str]:
    """The environment, with what the options say on top."""
    found = dict(environ)
    if target:
        found["CANCELLATION_QUEUE_NAME"] = target.queue
        found["ServiceBusConnection"] = target.connection_string or ""
        found["ServiceBusConnection__fullyQualifiedNamespace"] = target.fully_qualified_namespace or ""
    if not with_job_router:
        found |= {"JOB_ROUTER_ENDPOINT": _NOT_CHECKED, "JOB_ROUTER_CONNECTION_STRING": ""}
    return found


def _settings(environ: Mapping[str, str]) -> tuple[Settings | None, Finding]:
    from shared.settings import Settings, SettingsError

    try:
        settings = Settings.from_environment(environ)
    except SettingsError as error:
        return None, Finding("Settings", Result.FAIL, str(error).removeprefix(_SETTINGS_PREFIX))
    return settings, Finding("Settings", Result.OK, "All that the function reads are there and well formed.")


def _threads(settings: Settings) -> Finding:
    if settings.threads >= _CALLS_AT_ONCE:
        return Finding("Threads", Result.OK, f"A worker handles {settings.threads} messages at once.")
    return Finding(
        "Threads",
        Result.WARN,
        f"The host sends {_CALLS_AT_ONCE} messages at once, and a worker handles {settings.threads}.",
        f"Set PYTHON_THREADPOOL_THREAD_COUNT to {_CALLS_AT_ONCE}, as the function app has it.",
    )


def _service_bus(target: Target, backoff: Backoff) -> Iterator[Finding]:
    network = _network(target)
    yield network
    if network.result is Result.FAIL:
        return
    try:
        made = target.client()
    except Exception as error:  # noqa: BLE001  # what the SDK does not take ends no examination
        yield Finding("Service Bus", Result.FAIL, explain(error, target).sentence)
        return
    with made as client:
        receive = _right("Receive", "Listen", target, lambda: _peek(client, target), "A receiver opened and peeked.")
        yield receive
        send = _right(
            "Send", "Send", target, lambda: _open_sender(client, target), "A sender opened; nothing was sent."
        )
        yield send
    if Result.OK in (receive.result, send.result):
        yield from _properties(target, backoff.give_up_after)


def _network(target: Target) -> Finding:
    host, _, port = target.host.partition(":")
    number = int(port) if port.isdigit() else _AMQP if target.is_emulator else _AMQPS
    try:
        socket.create_connection((host, number), _CONNECT_SECONDS).close()
    except UnicodeError:  # 'a..b': what no name server can be asked
        return Finding("Network", Result.FAIL, explain(ConnectionError("not known"), target).sentence)
    except OSError as error:
        # Every failure on the way to a host is one of its connection, also a name that nobody knows.
        return Finding("Network", Result.FAIL, explain(ConnectionError(str(error)), target).sentence)
    return Finding("Network", Result.OK, f"{host} answers on port {number}.")


def _right(name: str, right: str, target: Target, act: Callable[[], None], seen: str) -> Finding:
    try:
        act()
    except Exception as error:  # noqa: BLE001  # whatever it is, the doctor tells it and goes on
        return Finding(name, Result.FAIL, explain(error, target, right).sentence)
    return Finding(name, Result.OK, seen)


def _peek(client: ServiceBusClient, target: Target) -> None:
    with client.get_queue_receiver(target.queue) as receiver:  # prefetches nothing, so it takes nothing
        receiver.peek_messages(1, timeout=_PEEK_SECONDS)
        # Peeking goes past the link, and only receiving would tell that the broker has closed it (as it does where
        # sessions are required): but receiving takes a message. By now the link knows; an SDK that hides it elsewhere
        # costs this one finding for who lacks the Manage right.
        error = getattr(getattr(getattr(receiver, "_handler", None), "_link", None), "_error", None)
        if isinstance(error, Exception):
            raise error


def _open_sender(client: ServiceBusClient, target: Target) -> None:
    with client.get_queue_sender(target.queue):
        pass


def _properties(target: Target, give_up_after: float) -> Iterator[Finding]:
    from ops.queue_rules import findings_of

    try:
        with target.administration() as administration:
            queue = administration.get_queue(target.queue)
    except Exception as error:  # noqa: BLE001  # not knowing them is no fault of the queue
        yield _unread(error, target)
        return
    yield from findings_of(queue, give_up_after)


def _unread(error: Exception, target: Target) -> Finding:
    name, instead = "Queue", "In the portal, see that the queue has no sessions and dead-letters what expires."
    if getattr(error, "status_code", None) in (401, 403):
        missing = RightMissingError("Manage", target)
        return Finding(name, Result.SKIP, f"Its properties were not read. {missing.sentence}", instead)
    if target.is_emulator:
        instead = "Set SERVICE_BUS_MANAGEMENT_PORT to the port that `make local` (or the emulator) prints."
        seen = f"Its properties were not read: nothing tells them on port {target.management_port}."
        return Finding(name, Result.SKIP, seen, instead)
    return Finding(name, Result.SKIP, f"Its properties were not read. {explain(error, target).sentence}", instead)


def _job_router(settings: Settings) -> Finding:
    from shared.job_router import AccessKeyAuth, EntraIdAuth, JobRouterClient, JobRouterError
    from shared.policy import Verdict, rule_for

    key = settings.access_key
    client = JobRouterClient(
        settings.endpoint,
        AccessKeyAuth(key) if key else EntraIdAuth(),
        connect_timeout=settings.connect_timeout,
        read_timeout=settings.read_timeout,
    )
    accepted = f"{settings.endpoint} accepts the {'access key' if key else 'identity'}"
    try:
        client.get_job_status(f"ops-check-{uuid.uuid4()}")
    except JobRouterError as error:
        if error.status == 404 and error.from_job_router:
            return Finding("Job Router", Result.OK, f"{accepted}; it knows no job that cannot exist.")
        rule = rule_for(error)
        result = Result.WARN if rule.verdict is Verdict.REDELIVER and error.status else Result.FAIL
        return Finding("Job Router", result, f"{settings.endpoint}: {error}", rule.advice)
    finally:
        client.close()
    return Finding("Job Router", Result.OK, f"{accepted}.")
