"""Scripted faults: what goes wrong, for which requests, how often. exchange.py plays them on the wire."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from local.job_router.errors import code_for_status, error_reply
from local.job_router.wire import Reply

FaultKind = Literal[
    "status",
    "delay",
    "slow_body",
    "reset_before",
    "reset_after",
    "half_body",
    "not_json",
    "redirect",
    "close",
    "interim",
]
_DEFAULT_STATUS = {"status": 503, "not_json": 200, "redirect": 302}
_GATEWAY_PAGE = b"<!DOCTYPE html><html><body><h1>Our services are not available right now</h1></body></html>"


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong.

    kind, where the request is processed:
        `delay`: wait `delay_seconds`, then send the usual answer; a client that gave up meanwhile has
        cancelled the job all the same. `slow_body`: the headers at once, the body dripping for
        `delay_seconds`. `half_body`: half of the announced body, then closed. `reset_after`: RST instead of
        the answer. `interim`: `status` (103) at once, after `delay_seconds` the usual answer.
    kind, where it is not:
        `status`: answer `status` (503) with an error of the service's, or with `body` as it is, which is then the
        answer of something in between. `not_json`: `status` (200) with an HTML page. `redirect`: `status` (302)
        with a Location; `headers` can name another.
        `reset_before`: RST. `close`: FIN without an answer.
    job_id, method: only for requests with these (the job id decoded); None: any.
    times: how many requests it befalls; None: every one until it is removed.
    delay_seconds: except for `slow_body`, a wait before whatever the kind does.
    """

    kind: FaultKind
    job_id: str | None = None
    method: str | None = None
    times: int | None = 1
    status: int | None = None
    retry_after: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    delay_seconds: float = 0.0

    def __post_init__(self) -> None:
        if self.kind not in get_args(FaultKind):
            raise ValueError(f"{self.kind!r} is not a kind of fault. Use one of: {', '.join(get_args(FaultKind))}.")
        if self.times is not None and self.times < 1:
            raise ValueError(f"times is {self.times!r}. Use 1 or more, or None for every request.")

    @property
    def replaces_answer(self) -> bool:
        """Whether this fault answers in the service's place."""
        return self.kind in _DEFAULT_STATUS

    def reply(self, endpoint: str) -> Reply:
        """The answer of a fault that replaces the service's; a redirect leads to `endpoint` by default."""
        status = self.status or _DEFAULT_STATUS[self.kind]
        headers = dict(self.headers)
        if self.retry_after is not None:
            headers["Retry-After"] = self.retry_after
        if self.kind == "redirect":
            headers = {"Location": f"{endpoint}/moved", **headers}
        if status in (204, 304):
            return Reply(status, headers=headers)  # by definition without a body
        body = self.body
        if body is None and self.kind == "not_json":
            body = _GATEWAY_PAGE
        if body is None and self.kind == "status":
            return error_reply(status, code_for_status(status), f"Scripted answer {status}.", headers=headers)
        content_type = headers.pop("Content-Type", None) or _guess_content_type(body or b"")
        return Reply(status, body or b"", content_type, headers)


class FaultScript:
    """The faults still to come, matched in the order they were added; safe to use from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._remaining: list[tuple[Fault, int | None]] = []

    def add(self, *faults: Fault) -> None:
        with self._lock:
            self._remaining += [(fault, fault.times) for fault in faults]

    def remove(self, fault: Fault) -> None:
        """Take a fault out, however often it was added; nothing happens when it is used up."""
        with self._lock:
            self._remaining = [entry for entry in self._remaining if entry[0] is not fault]

    def clear(self) -> None:
        with self._lock:
            self._remaining = []

    @property
    def pending(self) -> list[Fault]:
        """The faults that some request can still meet."""
        with self._lock:
            return [fault for fault, _ in self._remaining]

    def take(self, method: str, job_id: str | None) -> Fault | None:
        """The first fault for this request, counted as used."""
        if not self._remaining:  # without the lock: the usual case of a load test
            return None
        with self._lock:
            for index, (fault, remaining) in enumerate(self._remaining):
                if fault.job_id not in (None, job_id) or fault.method not in (None, method):
                    continue
                if remaining == 1:
                    del self._remaining[index]
                elif remaining is not None:
                    self._remaining[index] = (fault, remaining - 1)
                return fault
        return None


def _guess_content_type(body: bytes) -> str:
    match body.lstrip()[:1]:
        case b"<":
            return "text/html"
        case b"{" | b"[":
            return "application/json"
        case _:
            return "text/plain"
