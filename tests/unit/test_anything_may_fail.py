"""Every dependency may raise anything at any call: each delivery ends in one known way, with exactly one line."""

from __future__ import annotations

import inspect
import json
import logging
from random import Random
from typing import TYPE_CHECKING, Any

import azure.core.exceptions
import azure.identity
import azure.servicebus.exceptions
import pytest
import requests.exceptions
import urllib3.exceptions

from shared.call_guard import CallGuard
from shared.job_router_error import JobRouterError, RequestId
from shared.policy import READ_RULES, RULES
from shared.processing import Queue, RedeliveryError, SettlementError, process
from shared.service_bus_errors import CopyTooLargeError, MessageGoneError, SendRightMissingError, SilentServiceBusError
from tests.unit.edges import BACKOFF, BAD, GOOD, LONG_AGO, NOW, error, message

if TYPE_CHECKING:
    from collections.abc import Callable

PLANTED = "accesskey=planted-secret"
CASES = 10_000
OWN_REASONS = {"InvalidCancellation", "RetriesExhausted", "UnexpectedError", "Code"}
REASONS = OWN_REASONS | {rule.reason for rule in (*RULES, *READ_RULES) if rule.reason}


def _made(kind: type[Exception]) -> Exception:
    for arguments in ((PLANTED,), (), (PLANTED, PLANTED), (PLANTED, PLANTED, PLANTED)):
        try:
            return kind(*arguments)
        except Exception:  # noqa: BLE001, S112  # an exception class takes what it takes
            continue
    return kind.__new__(kind)


def _exported(*modules: Any) -> list[type[Exception]]:
    found = {
        kind
        for module in modules
        for kind in vars(module).values()
        if inspect.isclass(kind) and issubclass(kind, Exception)
    }
    return sorted(found, key=lambda kind: f"{kind.__module__}.{kind.__qualname__}")


def _of_python() -> list[type[Exception]]:
    import builtins

    return [kind for kind in _exported(builtins) if not issubclass(kind, (Warning, ExceptionGroup))]


LIBRARIES = _exported(
    requests.exceptions,
    urllib3.exceptions,
    azure.core.exceptions,
    azure.identity,
    azure.servicebus.exceptions,
)
OWN: list[Callable[[], Exception]] = [
    lambda: error(404),
    lambda: error(400),
    lambda: error(409),
    lambda: error(422),
    lambda: error(401),
    lambda: error(503, retry_after=1e300),
    lambda: JobRouterError(404, "Http404", "No site here."),
    MessageGoneError,
    SendRightMissingError,
    SilentServiceBusError,
    lambda: CopyTooLargeError(300_000, 262_144),
]
ANY: list[Callable[[], Exception]] = [
    *OWN,
    *(lambda kind=kind: _made(kind) for kind in (*LIBRARIES, *_of_python())),
]


class Delivery:
    """One delivery whose dependencies raise what `fails` says, and what became of it."""

    def __init__(self, body: bytes, fails: Callable[[str], Exception | None], **of_message: Any) -> None:
        self.settled: list[tuple[str, str]] = []
        self.copies = 0
        self.held = 0
        self.lines: list[dict[str, Any]] = []
        self.raised: Exception | None = None
        self._fails = fails
        # A handler that breaks comes after the one that sees the line.
        handlers = [_Handler(self.lines.append), _Handler(lambda _: self._maybe("log"))]
        logger = logging.getLogger("cancel_job")
        for handler in handlers:
            logger.addHandler(handler)
        guard = CallGuard(clock=lambda: 0.0, wait=lambda _: None, jitter=lambda: 0.0)
        queue = Queue(self, BACKOFF, self._wait, now=self._now, jitter=self._jitter)
        try:
            process(message(body, **of_message), "inv-1", None, self, guard, queue)
        except Exception as raised:  # noqa: BLE001  # it is looked at below
            self.raised = raised
        finally:
            for handler in handlers:
                logger.removeHandler(handler)

    def cancel_job(self, *_: Any, **__: Any) -> RequestId:
        self._maybe("cancel")
        return RequestId("trace-id", "req-1")

    def get_job_status(self, *_: Any, **__: Any) -> str:
        self._maybe("read")
        return "queued"

    def dead_letter(self, _token: str, reason: str, description: str) -> None:
        self._maybe("dead-letter")
        self.settled.append((reason, description))

    def send_copy(self, *_: Any) -> None:
        self._maybe("copy")
        self.copies += 1

    def _wait(self, _: float) -> None:
        self.held += 1

    def _now(self) -> Any:
        self._maybe("now")
        return NOW

    def _jitter(self) -> float:
        self._maybe("jitter")
        return 0.5

    def _maybe(self, dependency: str) -> None:
        failure = self._fails(dependency)
        if failure is not None:
            raise failure

    @property
    def end(self) -> str:
        """How it ended; a name that no assertion allows where it ended in no known way."""
        if self.raised is not None:
            known = isinstance(self.raised, (RedeliveryError, SettlementError))
            return "held and abandoned" if known and not (self.settled or self.copies) else f"raised {self.raised!r}"
        match (len(self.settled), self.copies):
            case (0, 0):
                return "completed"
            case (1, 0):
                return "dead-lettered"
            case (0, 1):
                return "postponed"
        return f"settled {self.settled} and copied {self.copies}"


class _Handler(logging.Handler):
    def __init__(self, see: Callable[[dict[str, Any]], None]) -> None:
        super().__init__()
        self._see = see

    def emit(self, record: logging.LogRecord) -> None:
        self._see(json.loads(record.getMessage()))


def check(delivery: Delivery) -> str:
    """What holds of each delivery; returns how it ended."""
    lines = [line for line in delivery.lines if "invocation_id" in line]
    assert len(lines) == 1
    (line,) = lines
    end = delivery.end
    assert end in ("completed", "dead-lettered", "postponed", "held and abandoned")
    if end == "completed":
        assert line["outcome"] in ("Cancelled", "AlreadyCancelled")
    if end == "dead-lettered":
        assert delivery.settled[0][0] in REASONS
        assert line["outcome"] == "DeadLetter"
    if end == "postponed":
        assert line["outcome"] == "Redeliver"
    if end == "held and abandoned":
        lost = str(line.get("not_settled")) == "MessageLockLostError"
        assert delivery.held == (0 if lost else 1)
    assert "planted" not in json.dumps(delivery.lines) + str(delivery.settled) + str(delivery.raised)
    return end


@pytest.fixture(autouse=True)
def quiet(capsys: pytest.CaptureFixture[str]) -> None:
    logging.getLogger("cancel_job").setLevel(logging.INFO)


def test_ten_thousand_deliveries_each_end_in_one_known_way() -> None:
    random = Random(13)  # noqa: S311  # reproducible on purpose
    ends: dict[str, int] = {}
    for _ in range(CASES):
        body = random.choice([GOOD, GOOD, GOOD, BAD])
        rate = random.choice([0.1, 0.3, 0.7])
        said_no = False

        def fails(dependency: str, rate: float = rate) -> Exception | None:
            nonlocal said_no
            if random.random() > rate:
                return None
            failure = random.choice(ANY)()
            # What Job Router itself says may condemn a message.
            said_no = said_no or (isinstance(failure, JobRouterError) and failure.from_job_router)
            return failure

        properties = random.choice([{}, {}, {}, LONG_AGO])
        delivery = Delivery(body, fails, properties=properties)
        end = check(delivery)
        ends[end] = ends.get(end, 0) + 1
        if body == GOOD and not properties and not said_no:
            assert end != "dead-lettered"
    assert set(ends) == {"completed", "dead-lettered", "postponed", "held and abandoned"}


@pytest.mark.parametrize("kind", LIBRARIES, ids=lambda kind: f"{kind.__module__}.{kind.__qualname__}")
@pytest.mark.parametrize("edge", ["cancel", "read", "dead-letter", "copy", "log"])
def test_whatever_a_library_raises_at_an_edge_costs_no_message(kind: type[Exception], edge: str) -> None:
    def fails(dependency: str) -> Exception | None:
        if dependency == edge:
            return _made(kind)
        if edge == "read" and dependency == "cancel":
            return error(409)
        if edge == "copy" and dependency == "cancel":
            return error(503)
        return None

    end = check(Delivery(BAD if edge == "dead-letter" else GOOD, fails))
    assert (
        end
        == {
            "cancel": "postponed",
            "read": "postponed",
            "dead-letter": "held and abandoned",
            "copy": "held and abandoned",
            "log": "completed",
        }[edge]
    )


def test_an_unexpected_error_is_named_with_its_place_and_without_its_text() -> None:
    def fails(dependency: str) -> Exception | None:
        return KeyError(PLANTED) if dependency == "cancel" else None

    delivery = Delivery(GOOD, fails)
    (line,) = delivery.lines
    assert (line["outcome"], line["reason"]) == ("Redeliver", "UnexpectedError")
    assert "KeyError in unit/test_anything_may_fail.py, line " in line["description"]


def test_an_unexpected_error_that_lasts_ends_as_a_dead_letter_of_that_name() -> None:
    delivery = Delivery(GOOD, lambda d: KeyError(PLANTED) if d == "cancel" else None, properties=LONG_AGO)
    assert delivery.settled[0][0] == "UnexpectedError"
