"""Plays all calls of the matrix with one settlement fault: broker, Job Router and host are real, faults are aimed."""

from __future__ import annotations

import json
import logging
import ssl
import sys
import threading
from collections import Counter, defaultdict
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
import trustme
from azure.identity import EnvironmentCredential
from azure.servicebus import ServiceBusClient, ServiceBusMessage

from local.host import FunctionsHost, InvocationResult
from local.host.configuration import read_trigger
from local.host.worker import make_worker
from local.job_router import DEVELOPMENT_ACCESS_KEY, JobRouter
from local.service_bus import Broker, QueueOptions, SharedKey
from local.stack import APP
from shared.call_guard import CallGuard
from shared.job_router import AccessKeyAuth, EntraIdAuth, JobRouterClient
from shared.processing import Queue, process
from shared.redelivery import Backoff
from shared.settings import ServiceBusSettings
from shared.settlement import ServiceBusSettler
from tests.fault_matrix.cases import CALLS, NOTE, SAS_KEY, Call, Case, Settling

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from local.host.worker import Body, Datums, Worker
    from local.job_router import Dialect, Job
    from local.service_bus import StoredMessage
    from shared.cancellation import CancellationRequest
    from shared.job_router_error import RequestId

QUEUE = QueueOptions(
    "job-cancellations",
    lock_duration_seconds=5.0,
    max_delivery_count=100,  # a dropped connection hits all that are in flight; how often is not the question here
    duplicate_detection_window_seconds=600.0,
)
_USED_UP: dict[str | bytes, Any] = {"CancelJobFirstAttemptTime": "2020-01-01T00:00:00+00:00", "CancelJobAttempt": 5}
_KEY = SharedKey("root", SAS_KEY, frozenset({"Listen", "Send", "Manage"}))


@dataclass
class Played:
    """What is left to see after all calls were played with one settlement fault."""

    jobs: dict[str, Job]
    letters: dict[str, list[StoredMessage]]
    lines: dict[str, list[dict[str, Any]]]
    struck: set[str]
    results: list[InvocationResult]
    left: int
    texts: list[str] = field(default_factory=list)  # everything that anybody could read


def play(
    settling: Settling, calls: Iterable[Call] = CALLS, *, second_cancel: int = 409, dialect: Dialect = "recorded"
) -> Played:
    """Send one message for each call, and wait until nothing is left."""
    cases = {case.job_id: case for case in (Case(call, settling) for call in calls)}
    results: list[InvocationResult] = []
    with ExitStack() as opened:
        patch = opened.enter_context(pytest.MonkeyPatch.context())
        # Each close of the client waits for a keep-alive thread that sleeps for a second; nothing idles that long here.
        patch.setattr("azure.servicebus._pyamqp.client.AMQPClient._keep_alive", lambda _client: None)
        broker = opened.enter_context(Broker([QUEUE], keys=[_KEY]))
        router = opened.enter_context(JobRouter(record=False, second_cancel=second_cancel, dialect=dialect))
        written = opened.enter_context(_written())
        connection = broker.connection_string_for(_KEY.name)
        settings = {
            "CANCELLATION_QUEUE_NAME": QUEUE.name,
            "ServiceBusConnection": connection,
            "PYTHON_THREADPOOL_THREAD_COUNT": "16",
        }
        faults = _SettlementFaults(settling, broker)
        at_work = _AtWork()
        worker = _Worker(make_worker(read_trigger(APP, settings), settings), faults, at_work)
        settler = ServiceBusSettler(ServiceBusSettings(QUEUE.name, connection))
        opened.callback(settler.close)
        # No waits between attempts, and no shedding: a row must not depend on the rows beside it.
        queue = Queue(_Settler(settler, faults), Backoff(0.05, 0.2, 8 * 3600.0), wait=lambda _: None)
        application = (_Clients(router, cases, opened), _Guard(), queue, process)
        for name in ("cancel_job_function", "__app__.cancel_job_function"):
            if name in sys.modules:
                patch.setattr(sys.modules[name], "_application", application)
        for case in cases.values():
            _prepare(router, case)
        _send(connection, cases)
        with FunctionsHost(APP, settings, worker=worker, on_result=results.append):
            # A delivery whose lock was lost may still schedule a copy of what another one has completed.
            while broker.wait_until(lambda _: _left(broker) == 0, 90):
                if at_work.wait_until_idle(30) and _left(broker) == 0:
                    break
        left = _left(broker)
        letters = broker.messages(QUEUE.name, dead_letter=True)
    return _played(router, letters, written, faults, results, left)


def _prepare(router: JobRouter, case: Case) -> None:
    if case.call.job_status:
        router.add_job(case.job_id, case.call.job_status)
    if case.call.fault:
        router.faults.add(case.call.fault)


def _send(connection: str, cases: Mapping[str, Case]) -> None:
    messages = [
        ServiceBusMessage(
            json.dumps({"jobId": job_id, "note": NOTE}),
            message_id=job_id,
            application_properties=_USED_UP if case.call.used_up else {},
        )
        for job_id, case in cases.items()
    ]
    with (
        ServiceBusClient.from_connection_string(connection) as client,
        client.get_queue_sender(QUEUE.name) as sender,
    ):
        sender.send_messages(messages)


def _left(broker: Broker) -> int:
    counts = broker.counts(QUEUE.name)
    return counts.active + counts.locked + counts.scheduled + counts.deferred


def _played(
    router: JobRouter,
    letters: list[StoredMessage],
    written: list[logging.LogRecord],
    faults: _SettlementFaults,
    results: list[InvocationResult],
    left: int,
) -> Played:
    by_id: dict[str, list[StoredMessage]] = defaultdict(list)
    for letter in letters:
        by_id[str(letter.application_properties.get("CancelJobMessageId") or letter.message_id)].append(letter)
    lines: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for record in written:
        if record.name == "cancel_job":
            fields = json.loads(record.getMessage())
            lines[fields.get("message_id", "")].append(fields)
    formatter = logging.Formatter("%(message)s")  # with the traceback, as a handler would write it
    texts = [formatter.format(record) for record in written]
    texts += [str(letter.application_properties) for letter in letters]
    texts += [result.error for result in results if result.error]
    jobs = {job.id: job for job in router.jobs()}
    return Played(jobs, by_id, lines, set(faults.struck), results, left, texts)


class _Records(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.found.append(record)


@contextmanager
def _written() -> Iterator[list[logging.LogRecord]]:
    """Every record that reaches the root logger, down to DEBUG where a library's own level lets it through."""
    handler, root, level = _Records(), logging.getLogger(), logging.getLogger().level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        yield handler.found
    finally:
        root.removeHandler(handler)
        root.setLevel(level)


class _Guard(CallGuard):
    """A new one at each call."""

    def call(self, request: Callable[[], Any], *, may_shed: bool = True) -> Any:
        return CallGuard(wait=lambda _: None).call(request, may_shed=may_shed)


class _Clients:
    """A client as good as the message's call says, as long as its fault lasts; then a good one."""

    def __init__(self, router: JobRouter, cases: Mapping[str, Case], opened: ExitStack) -> None:
        self._cases = cases
        self._used: Counter[str] = Counter()
        self._lock = threading.Lock()
        key = AccessKeyAuth(DEVELOPMENT_ACCESS_KEY)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
        stranger = opened.enter_context(JobRouter(record=False, tls=context))
        closed = opened.enter_context(JobRouter(record=False))
        closed.down()
        self._clients = {
            "good": JobRouterClient(router.endpoint, key, connect_timeout=10, read_timeout=20),
            "impatient": JobRouterClient(router.endpoint, key, connect_timeout=0.4, read_timeout=0.4),
            "refused": JobRouterClient(closed.endpoint, key),
            "dns": JobRouterClient("https://nowhere.invalid", key),
            "certificate": JobRouterClient(stranger.endpoint, key),
            "credential": JobRouterClient(router.endpoint, EntraIdAuth(EnvironmentCredential)),
        }
        for client in self._clients.values():
            opened.callback(client.close)

    def cancel_job(self, request: CancellationRequest, *, trace_parent: str | None = None) -> RequestId:
        call = self._cases[request.job_id].call
        return self._clients[self._name(call, request.job_id)].cancel_job(request, trace_parent=trace_parent)

    def get_job_status(self, job_id: str, *, trace_parent: str | None = None, private: tuple[str, ...] = ()) -> str:
        return self._clients["good"].get_job_status(job_id, trace_parent=trace_parent, private=private)

    def _name(self, call: Call, job_id: str) -> str:
        with self._lock:
            self._used[job_id] += 1
            over = call.deliveries is not None and self._used[job_id] > call.attempts * call.deliveries
        return "good" if over else call.client


class _SettlementFaults:
    """Strikes each message once, just before its settlement, or, for a completion, after the function returned."""

    def __init__(self, settling: Settling, broker: Broker) -> None:
        self._settling = settling
        self._broker = broker
        self._lock = threading.Lock()
        self._refusing = 0
        self._ids: dict[object, tuple[str, int]] = {}
        self.struck: set[str] = set()

    def remember(self, metadata: Datums) -> int:
        """Learn which message a sequence number and a lock token belong to."""
        values = {name: value for name, (_, value) in metadata.items()}
        properties = json.loads(values["ApplicationProperties"])
        first_id = properties.get("CancelJobMessageId") or values["MessageId"]
        number = int(values["SequenceNumber"])
        self._ids[number] = self._ids[values["LockToken"]] = (first_id, number)
        return number

    def before_settling(self, key: object) -> None:
        match self._settling:
            case Settling.LINK_DROPPED if self._first(key):
                self._broker.drop_connections()
            case Settling.LOCK_LOST if self._first(key):
                self._broker.expire_locks(QUEUE.name, self._ids[key][1])

    def before_completing(self, key: object) -> None:
        self.before_settling(key)  # which has come before where the function settled
        if self._settling is Settling.LOCK_LOST_AFTER and self._first(key):
            self._broker.expire_locks(QUEUE.name, self._ids[key][1])

    @contextmanager
    def around_sending(self, key: object) -> Iterator[None]:
        strikes = self._settling is Settling.SEND_REFUSED and self._first(key)
        self._refuse(strikes)
        try:
            yield
        finally:
            self._refuse(-strikes)

    def _refuse(self, more: int) -> None:
        with self._lock:
            self._refusing += more
            if self._refusing:
                self._broker.refuse_sends()
            else:
                self._broker.take_sends()

    def _first(self, key: object) -> bool:
        first_id = self._ids[key][0]
        with self._lock:
            if first_id in self.struck:
                return False
            self.struck.add(first_id)
            return True


@dataclass(frozen=True)
class _Settler:
    inner: ServiceBusSettler
    faults: _SettlementFaults

    def dead_letter(self, lock_token: str, reason: str, description: str) -> None:
        self.faults.before_settling(lock_token)
        self.inner.dead_letter(lock_token, reason, description)

    def send_copy(self, sequence_number: int, delay: float, history: Mapping[str, str | int]) -> None:
        self.faults.before_settling(sequence_number)
        with self.faults.around_sending(sequence_number):
            self.inner.send_copy(sequence_number, delay, history)


class _AtWork:
    """How many invocations are under way."""

    def __init__(self) -> None:
        self._count = 0
        self._change = threading.Condition()

    @contextmanager
    def one(self) -> Iterator[None]:
        self._add(1)
        try:
            yield
        finally:
            self._add(-1)

    def wait_until_idle(self, timeout: float) -> bool:
        with self._change:
            return self._change.wait_for(lambda: self._count == 0, timeout)

    def _add(self, more: int) -> None:
        with self._change:
            self._count += more
            self._change.notify_all()


@dataclass(frozen=True)
class _Worker:
    inner: Worker
    faults: _SettlementFaults
    at_work: _AtWork

    def invoke(self, invocation_id: str, body: Body, metadata: Datums, trace_parent: str) -> str | None:
        number = self.faults.remember(metadata)
        with self.at_work.one():
            error = self.inner.invoke(invocation_id, body, metadata, trace_parent)
        if error is None:
            self.faults.before_completing(number)
        return error

    def close(self) -> None:
        self.inner.close()
