"""No note in a line, a reason, a description or an exception, however Job Router echoes it. Over real sockets.

The oracle is written anew here, from the rule: after undoing JSON and HTML escapes, without case and white space, no
eight characters in a row of a note may be read. What the function says by itself, and the job's id, do not count.
"""

from __future__ import annotations

import html
import json
import logging
import traceback
from typing import TYPE_CHECKING, Any

import pytest
from azure.functions.servicebus import ServiceBusMessage
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from local.job_router import Fault, JobRouter
from shared.call_guard import CallGuard
from shared.cancellation import CancellationRequest
from shared.job_router import JobRouterClient, JobRouterError
from shared.processing import Queue, process
from shared.redelivery import Backoff

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

RUN = 8  # characters
NOTE = 'Customer Jane Roe\n  phone 555-0199-17,\tchanged   her mind - "très" <b>'
PHONE = "+1 555 019 99"  # 13 characters


class Place:
    """A client of a Job Router that answers as it is told, and whatever anybody can read of one delivery."""

    def __init__(self, router: JobRouter, client: JobRouterClient) -> None:
        self._router = router
        self._client = client

    def texts(self, cancellation: dict[str, str], answer: Fault) -> list[str]:
        """The log lines, what the dead letter or the copy carries, and every exception with its causes."""
        self._router.faults.clear()
        self._router.faults.add(answer)
        settled: list[Any] = []
        records = _Records()
        logger = logging.getLogger("cancel_job")
        logger.addHandler(records)
        try:
            process(
                ServiceBusMessage(
                    body=json.dumps(cancellation).encode(),
                    application_properties={},
                    user_properties={},
                    message_id="m-1",
                    sequence_number=1,
                ),
                "inv-1",
                None,
                self._client,
                CallGuard(wait=lambda _: None),
                Queue(_Settler(settled), Backoff(), wait=lambda _: None),  # type: ignore[arg-type]
            )
        finally:
            logger.removeHandler(records)
        self._router.faults.clear()
        self._router.faults.add(answer)
        request = CancellationRequest(
            cancellation["jobId"], cancellation.get("note"), cancellation.get("dispositionCode")
        )
        try:
            self._client.cancel_job(request)
        except JobRouterError as error:
            settled += [repr(error), "".join(traceback.format_exception(error))]
        return [*records.found, *map(str, settled)]


class _Records(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.found.append(record.getMessage())


class _Settler:
    def __init__(self, settled: list[Any]) -> None:
        self._settled = settled

    def dead_letter(self, _lock_token: str, reason: str, description: str) -> None:
        self._settled += [reason, description]

    def send_copy(self, _sequence_number: int, _delay: float, history: dict[str, Any]) -> None:
        self._settled.append(history)


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    logging.getLogger("cancel_job").setLevel(logging.INFO)
    with JobRouter(record=False) as router:
        router.add_job("job-1")
        client = JobRouterClient.from_connection_string(router.connection_string)
        yield Place(router, client)
        client.close()


def _readings(text: str) -> set[str]:
    """The text as somebody may read it: as it is, and with one kind of escape after the other undone."""
    readings, latest = {text}, text
    for _ in range(6):
        try:
            undone = json.loads(f'"{latest}"', strict=False)
        except ValueError:
            undone = latest
        latest = html.unescape(undone)
        readings |= {undone, latest}
    return {"".join(reading.casefold().split()) for reading in readings}


def leaked(note: str, texts: list[str], silent: list[str]) -> set[str]:
    """The runs of the note that can be read in the texts, and not in those of a service that says nothing."""
    runs = {reading[i : i + RUN] for reading in _readings(note) for i in range(len(reading) - RUN + 1)}
    heard = "\n".join(reading for text in texts for reading in _readings(text))
    own = "\n".join(reading for text in silent for reading in _readings(text))
    return {run for run in runs if run in heard and run not in own}


ESCAPINGS: dict[str, Callable[[str], str]] = {
    "as it is": lambda text: text,
    "on one line": lambda text: " ".join(text.split()),
    "without white space": lambda text: "".join(text.split()),
    "JSON": lambda text: json.dumps(text, ensure_ascii=False)[1:-1],
    "ASCII": lambda text: json.dumps(text)[1:-1],
    "JSON twice": lambda text: json.dumps(json.dumps(text))[1:-1],
    "HTML": html.escape,
    "HTML numbers": lambda text: "".join(f"&#{ord(c)};" for c in text),
    "HTML in JSON": lambda text: json.dumps(html.escape(text))[1:-1],
    "upper case": str.upper,
    "lower case": str.lower,
    "middle": lambda text: text[4:18],
}


def _body(error: dict[str, Any], shape: str) -> bytes:
    return json.dumps({shape: error}).encode()


def _error(field: str, echo: str) -> dict[str, Any]:
    error: dict[str, Any] = {"code": "BadRequest", "message": "Refused.", "target": "/routing/jobs/job-1:cancel"}
    match field:
        case "code" | "message" | "target":
            error[field] = echo
        case "detail code":
            error["details"] = [{"code": echo, "message": "It is so."}]
        case "detail message":
            error["details"] = [{"code": "Invalid", "message": echo}]
        case "detail target":
            error["details"] = [{"code": "Invalid", "message": "It is so.", "target": echo}]
        case "inner code":
            error["innererror"] = {"code": "Outer", "innererror": {"code": echo}}
        case "split":
            error["message"] = echo[: len(echo) // 2]
            error["details"] = [{"code": "", "message": echo[len(echo) // 2 :]}]
    return error


FIELDS = (
    *("code", "message", "target", "detail code", "detail message", "detail target", "inner code", "split"),
    *("x-ms-error-code", "trace-id", "x-ms-request-id", "page"),
)


def _answer(status: int, field: str, echo: str, shape: str = "communicationError") -> Fault:
    if field == "page":
        return Fault("status", status=status, times=None, body=f"<p>You said: {echo}</p>".encode())
    headers = {}
    if field not in ("code", "message", "target", "split") and "detail" not in field and "inner" not in field:
        line = "".join(c for c in echo if c.isprintable()).encode("latin-1", "ignore").decode("latin-1")
        headers[field] = line
    return Fault("status", status=status, times=None, headers=headers, body=_body(_error(field, echo), shape))


def _silent(status: int, shape: str = "communicationError") -> Fault:
    return Fault("status", status=status, times=None, body=_body({"code": "BadRequest", "message": ""}, shape))


@pytest.mark.parametrize("shape", ["communicationError", "error"])
@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("escaping", ESCAPINGS)
@pytest.mark.parametrize("note", [NOTE, PHONE, "OneWordOnlyNote123"], ids=["sentence", "phone", "word"])
def test_no_note_is_told(place: Place, note: str, escaping: str, field: str, shape: str) -> None:
    cancellation = {"jobId": "job-1", "note": note}
    for status in (400, 422, 503):
        texts = place.texts(cancellation, _answer(status, field, ESCAPINGS[escaping](note), shape))
        assert leaked(note, texts, place.texts(cancellation, _silent(status, shape))) == set()


@pytest.mark.parametrize("field", FIELDS)
def test_no_disposition_code_longer_than_eight_characters_is_told(place: Place, field: str) -> None:
    cancellation = {"jobId": "job-1", "dispositionCode": "Jane.Roe-complained"}
    texts = place.texts(cancellation, _answer(422, field, cancellation["dispositionCode"]))
    assert leaked(cancellation["dispositionCode"], texts, place.texts(cancellation, _silent(422))) == set()


def test_what_repeats_no_note_is_told(place: Place) -> None:
    texts = place.texts({"jobId": "job-1", "note": NOTE}, _answer(422, "detail code", "QueueIsClosed"))
    assert "QueueIsClosed" in texts[0]
    assert "Refused." in texts[0]


_notes = st.text(min_size=RUN, max_size=60) | st.text('abcABC \\u0041&amp;<>"\n\t', min_size=RUN, max_size=40)


@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(_notes, st.lists(st.sampled_from(sorted(ESCAPINGS)), min_size=1, max_size=3), st.data())
def test_no_note_of_any_text_is_told(place: Place, note: str, escapings: list[str], data: st.DataObject) -> None:
    note = note.encode("utf-8", "replace").decode()
    start = data.draw(st.integers(0, len(note) - 1), "start")
    echo = note[start : data.draw(st.integers(start, len(note)), "stop")]
    for escaping in escapings:
        echo = ESCAPINGS[escaping](echo)
    echo = (
        data.draw(st.sampled_from(["", "near ", "'", "\\"]), "before") + echo + data.draw(st.text(max_size=8), "after")
    )
    field = data.draw(st.sampled_from(FIELDS), "field")
    status = data.draw(st.sampled_from([400, 404, 422, 503]), "status")
    cancellation = {"jobId": "job-1", "note": note}
    texts = place.texts(cancellation, _answer(status, field, echo.encode("utf-8", "replace").decode()))
    assert leaked(note, texts, place.texts(cancellation, _silent(status))) == set()
