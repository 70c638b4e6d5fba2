"""How often Job Router is called: a few attempts for a blip, and none at all while it is known to be down."""

from __future__ import annotations

import random
import threading
import time
from typing import TYPE_CHECKING, TypeVar

from shared.job_router_error import JobRouterError
from shared.policy import Verdict, rule_for

if TYPE_CHECKING:
    from collections.abc import Callable

Answer = TypeVar("Answer")

# A blip is over within a few seconds; what lasts longer is for a later delivery, not for a thread to sit out.
ATTEMPTS = 3
FIRST_WAIT = 1.0  # seconds; the longest wait after the first attempt, doubled after the second
SHORT_RETRY_AFTER = 3.0  # seconds; a longer Retry-After is left to redelivery
# Seconds. No attempt starts later than this after the first. An attempt may be a cancel and a read, each with both
# timeouts: by default the last one ends within a minute, well inside the five for which the host renews the lock.
PATIENCE = 10.0

FAILED_CALLS_BEFORE_SHEDDING = 5  # in a row, each after its own attempts
PROBE_INTERVAL = 5.0  # seconds; twelve requests a minute tell soon enough that the service is back
LONGEST_PROBE_INTERVAL = 300.0  # seconds; Retry-After moves the next probe, but not out of sight


class CallGuard:
    """One per worker, for all its threads."""

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[float], object] = time.sleep,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._clock, self._wait, self._jitter = clock, wait, jitter
        self._lock = threading.Lock()
        self._failed_calls = 0
        self._next_probe = 0.0
        self._last_error: JobRouterError | None = None
        self._retry_at = 0.0  # what the last error's Retry-After asked for

    def call(self, request: Callable[[], Answer], *, may_shed: bool = True) -> Answer:
        """The request's answer, after as many attempts as it needs and may have.

        Raises:
            JobRouterError: of the last attempt, or, without any, of the calls that failed before.
        """
        if may_shed:
            self._shed()
        started = self._clock()
        attempt = 0
        while True:
            attempt += 1
            try:
                answer = request()
            except JobRouterError as error:
                verdict = rule_for(error).verdict
                may_pass = verdict in (Verdict.REDELIVER, Verdict.CONFLICT)
                wait = self._wait_after(attempt, error, started) if may_pass else None
                if wait is not None:
                    self._wait(wait)
                    continue
                if verdict in (Verdict.REDELIVER, Verdict.REPAIR):
                    self._failed(error)
                else:
                    self._succeeded()  # a refusal is an answer: the service works
                raise
            else:
                self._succeeded()
                return answer

    def _wait_after(self, attempt: int, error: JobRouterError, started: float) -> float | None:
        """Seconds to wait before one more attempt; None when there is none."""
        retry_after = error.retry_after or 0.0
        if attempt == ATTEMPTS or retry_after > SHORT_RETRY_AFTER or self._is_shedding():
            return None
        wait = retry_after + self._jitter() * FIRST_WAIT * 2 ** (attempt - 1)
        return wait if self._clock() + wait - started <= PATIENCE else None

    def _is_shedding(self) -> bool:
        return self._failed_calls >= FAILED_CALLS_BEFORE_SHEDDING

    def _shed(self) -> None:
        if not self._is_shedding():
            return
        with self._lock:
            error, now = self._last_error, self._clock()
            if error is None or not self._is_shedding():
                return
            if now >= self._next_probe:
                self._next_probe = now + PROBE_INTERVAL
                return  # this call is the probe
        # Without what was answered: it may be about another customer's message.
        message = "(Not called now: the calls before this one failed in this way.)"
        left = self._retry_at - now
        raise JobRouterError(
            error.status,
            error.code,
            message,
            retry_after=left if left > 0 else None,
            from_job_router=error.from_job_router,
        )

    def _failed(self, error: JobRouterError) -> None:
        with self._lock:
            self._failed_calls += 1
            self._last_error = error
            self._retry_at = self._clock() + (error.retry_after or 0.0)
            pause = min(max(PROBE_INTERVAL, error.retry_after or 0.0), LONGEST_PROBE_INTERVAL)
            self._next_probe = self._clock() + pause

    def _succeeded(self) -> None:
        if self._failed_calls:
            with self._lock:
                self._failed_calls, self._last_error = 0, None
