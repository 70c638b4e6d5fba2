"""How often Job Router is called, on a clock that the tests move."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import pytest

from shared import job_router_error
from shared.call_guard import (
    ATTEMPTS,
    FAILED_CALLS_BEFORE_SHEDDING,
    LONGEST_PROBE_INTERVAL,
    PATIENCE,
    PROBE_INTERVAL,
    SHORT_RETRY_AFTER,
    CallGuard,
)
from shared.job_router_error import JobRouterError, RequestId
from shared.policy import Redeliver, outcome_of_error, rule_for

if TYPE_CHECKING:
    from collections.abc import Iterator

SHED = "Not called now"


def error(status: int | None = 503, code: str = "Busy", retry_after: float | None = None) -> JobRouterError:
    return JobRouterError(
        status,
        code,
        "Said of another customer's job.",
        target="another-job",
        details=("D: of another customer's job",),
        inner_codes=("Inner",),
        retry_after=retry_after,
        request_id=RequestId("trace-id", "another-request"),
        from_job_router=status is not None and code != job_router_error.NOT_JOB_ROUTER,
    )


REFUSALS = [error(404), error(400), error(409), error(412), error(405), error(501)]
REPAIRS = [
    error(401),
    error(403),
    error(302),
    error(407),
    JobRouterError(404, "Http404", "No site here."),  # by something in between
    error(200, job_router_error.NOT_JOB_ROUTER),
    error(None, job_router_error.TLS_VERIFICATION_FAILED),
    error(None, job_router_error.CREDENTIAL_UNAVAILABLE),
]
PASSING = [
    error(408),
    error(429),
    error(500),
    error(503),
    error(None, job_router_error.TIMEOUT),
    error(None, job_router_error.CONNECTION_FAILED),
]


class Service:
    """A guard on a clock of its own, before a service that answers what a test says; the last answer stays."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.jitter = 0.0
        self.takes = 0.0  # seconds a request takes
        self.waits: list[float] = []
        self.requests = 0
        self.answers: list[JobRouterError | str] = ["ok"]
        self.guard = CallGuard(lambda: self.now, self._wait, lambda: self.jitter)

    def _wait(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds

    def request(self) -> str:
        self.requests += 1
        self.now += self.takes
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, JobRouterError):
            raise answer
        return answer

    def call(self, *answers: JobRouterError | str, may_shed: bool = True) -> str:
        self.answers = list(answers) or self.answers
        return self.guard.call(self.request, may_shed=may_shed)

    def failure(self, *answers: JobRouterError | str, may_shed: bool = True) -> JobRouterError:
        with pytest.raises(JobRouterError) as caught:
            self.call(*answers, may_shed=may_shed)
        return caught.value

    def requests_of_one_call(self, *answers: JobRouterError | str, may_shed: bool = True) -> int:
        before = self.requests
        self.answers = list(answers) or self.answers
        with suppress(JobRouterError):
            self.guard.call(self.request, may_shed=may_shed)
        return self.requests - before

    def fail(self, calls: int, failure: JobRouterError | None = None) -> None:
        for _ in range(calls):
            self.failure(failure or error())


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
def shedding(service: Service) -> Service:
    """A service that has just failed so often that it is not called any more."""
    service.fail(FAILED_CALLS_BEFORE_SHEDDING)
    return service


# The attempts of one call


def test_an_answer_is_returned_at_once(service: Service) -> None:
    assert service.call("answer") == "answer"
    assert (service.requests, service.waits) == (1, [])


@pytest.mark.parametrize("failure", PASSING, ids=str)
def test_a_blip_is_tried_again(service: Service, failure: JobRouterError) -> None:
    assert service.call(failure, "answer") == "answer"


def test_a_call_has_three_attempts(service: Service) -> None:
    assert service.requests_of_one_call(error()) == ATTEMPTS == 3


def test_the_last_attempts_error_is_raised(service: Service) -> None:
    last = error(502)
    assert service.failure(error(503), error(504), last) is last


@pytest.mark.parametrize("jitter, waits", [(0.0, [0.0, 0.0]), (0.5, [0.5, 1.0]), (1.0, [1.0, 2.0])])
def test_the_waits_between_attempts_double_and_are_jittered(
    service: Service, jitter: float, waits: list[float]
) -> None:
    service.jitter = jitter
    service.failure(error())
    assert service.waits == waits


def test_a_short_retry_after_is_waited_with_the_jitter_on_top(service: Service) -> None:
    service.jitter = 0.5
    service.call(error(429, retry_after=SHORT_RETRY_AFTER), "answer")
    assert service.waits == [SHORT_RETRY_AFTER + 0.5]


def test_a_longer_retry_after_is_left_to_redelivery(service: Service) -> None:
    assert service.requests_of_one_call(error(429, retry_after=SHORT_RETRY_AFTER + 0.1)) == 1


def test_an_attempt_may_start_as_long_as_patience_lasts(service: Service) -> None:
    service.takes, service.jitter = PATIENCE - 1.0, 1.0
    assert service.requests_of_one_call(error()) == 2


def test_no_attempt_starts_after_patience_has_ended(service: Service) -> None:
    service.takes, service.jitter = PATIENCE - 0.9, 1.0
    assert service.requests_of_one_call(error()) == 1


def test_a_wait_that_would_outlast_patience_is_not_begun(service: Service) -> None:
    service.takes, service.jitter = PATIENCE - 0.9, 1.0
    service.failure(error())
    assert service.waits == []


def test_waits_count_towards_patience(service: Service) -> None:
    service.takes, service.jitter = 1.0, 1.0
    # 1 s, wait 3 + 1 s, 1 s: the next wait of 3 + 2 s would end after 11 s.
    assert service.requests_of_one_call(error(retry_after=3.0)) == 2


@pytest.mark.parametrize("failure", [*REFUSALS, *REPAIRS], ids=str)
def test_what_time_does_not_mend_is_not_tried_again(service: Service, failure: JobRouterError) -> None:
    assert service.requests_of_one_call(failure) == 1


@pytest.mark.parametrize("failure", [*REFUSALS, *REPAIRS], ids=str)
def test_what_time_does_not_mend_is_raised_as_it_is(service: Service, failure: JobRouterError) -> None:
    assert service.failure(failure) is failure


def test_a_refusal_after_a_blip_ends_the_attempts(service: Service) -> None:
    refusal = error(404)
    assert service.failure(error(503), refusal, "answer") is refusal


# Shedding


@pytest.mark.parametrize("failure", [*PASSING, *REPAIRS], ids=str)
def test_after_five_failed_calls_in_a_row_the_service_is_not_called(service: Service, failure: JobRouterError) -> None:
    service.fail(5, failure)
    assert service.requests_of_one_call("ok") == 0


def test_after_four_failed_calls_the_service_is_called(service: Service) -> None:
    service.fail(4)
    assert service.requests_of_one_call("ok") == 1


@pytest.mark.parametrize("answer", ["ok", *REFUSALS], ids=str)
def test_an_answer_between_failed_calls_starts_the_count_again(service: Service, answer: JobRouterError | str) -> None:
    service.fail(4)
    service.requests_of_one_call(answer)
    service.fail(4)
    assert service.requests_of_one_call("ok") == 1


def test_a_call_that_succeeds_at_its_last_attempt_has_not_failed(service: Service) -> None:
    service.fail(4)
    service.call(error(), error(), "ok")
    service.fail(1)
    assert service.requests_of_one_call("ok") == 1


def test_refusals_never_lead_to_shedding(service: Service) -> None:
    service.fail(20, error(404))
    assert service.requests_of_one_call("ok") == 1


def test_an_error_of_our_own_is_no_failure_of_the_service(service: Service) -> None:
    def broken() -> str:
        raise ZeroDivisionError

    for _ in range(5):
        with pytest.raises(ZeroDivisionError):
            service.guard.call(broken)
    assert service.requests_of_one_call("ok") == 1


def test_the_call_that_brings_shedding_about_raises_its_own_error(service: Service) -> None:
    service.fail(4)
    last = error()
    assert service.failure(last) is last


@pytest.mark.parametrize("failure", [*PASSING, *REPAIRS], ids=str)
def test_a_call_that_is_shed_falls_under_the_rule_of_the_last_failure(
    service: Service, failure: JobRouterError
) -> None:
    service.fail(5, failure)
    assert rule_for(service.failure()) == rule_for(failure)


def test_a_call_that_is_shed_carries_nothing_that_was_said_of_another_message(shedding: Service) -> None:
    shed = shedding.failure()
    assert (shed.target, shed.details, shed.inner_codes, shed.retry_after, shed.request_id) == (
        None,
        (),
        (),
        None,
        None,
    )
    assert "another" not in shed.message


def test_a_call_that_is_shed_says_so_in_the_messages_description(shedding: Service) -> None:
    outcome = outcome_of_error(shedding.failure(), "job-1", 1)
    assert isinstance(outcome, Redeliver)
    assert SHED in outcome.description


def test_a_call_that_is_shed_knows_how_long_the_service_asked_to_wait(service: Service) -> None:
    service.fail(5, error(retry_after=600.0))
    service.now += 100.0
    assert service.failure().retry_after == 500.0


# Probes


def test_no_call_goes_through_before_the_probe_is_due(shedding: Service) -> None:
    shedding.now += PROBE_INTERVAL - 0.1
    assert shedding.requests_of_one_call("ok") == 0


def test_after_the_interval_one_call_goes_through(shedding: Service) -> None:
    shedding.now += PROBE_INTERVAL
    assert shedding.requests_of_one_call("ok") == 1


def test_the_interval_counts_from_the_end_of_the_failed_call(service: Service) -> None:
    service.takes = 20.0
    service.fail(5)
    service.takes = 0.0
    service.now += PROBE_INTERVAL - 0.1
    assert service.requests_of_one_call("ok") == 0


def test_a_probe_has_one_attempt(shedding: Service) -> None:
    shedding.now += PROBE_INTERVAL
    assert shedding.requests_of_one_call(error()) == 1


def test_a_probe_that_fails_raises_its_own_error(shedding: Service) -> None:
    shedding.now += PROBE_INTERVAL
    own = error()
    assert shedding.failure(own) is own


def test_after_a_failed_probe_no_call_goes_through_for_another_interval(shedding: Service) -> None:
    shedding.now += PROBE_INTERVAL
    shedding.failure(error())
    shedding.now += PROBE_INTERVAL - 0.1
    assert shedding.requests_of_one_call("ok") == 0


def test_after_another_interval_comes_the_next_probe(shedding: Service) -> None:
    shedding.now += PROBE_INTERVAL
    shedding.failure(error())
    shedding.now += PROBE_INTERVAL
    assert shedding.requests_of_one_call("ok") == 1


@pytest.mark.parametrize("answer", ["ok", *REFUSALS], ids=str)
def test_an_answered_probe_ends_shedding(shedding: Service, answer: JobRouterError | str) -> None:
    shedding.now += PROBE_INTERVAL
    shedding.requests_of_one_call(answer)
    assert shedding.requests_of_one_call("ok") == 1


def test_once_shedding_has_ended_a_call_has_all_its_attempts(shedding: Service) -> None:
    shedding.now += PROBE_INTERVAL
    shedding.call("ok")
    assert shedding.requests_of_one_call(error()) == ATTEMPTS


def test_once_shedding_has_ended_it_takes_five_failed_calls_again(shedding: Service) -> None:
    shedding.now += PROBE_INTERVAL
    shedding.call("ok")
    shedding.fail(4)
    assert shedding.requests_of_one_call("ok") == 1


@pytest.mark.parametrize(
    "retry_after, pause",
    [(1.0, PROBE_INTERVAL), (60.0, 60.0), (LONGEST_PROBE_INTERVAL, 300.0), (86_400.0, LONGEST_PROBE_INTERVAL)],
)
def test_retry_after_moves_the_probe_but_not_out_of_sight(service: Service, retry_after: float, pause: float) -> None:
    service.fail(5, error(retry_after=retry_after))
    service.now += pause - 0.1
    early = service.requests_of_one_call("ok")
    service.now += 0.1
    assert (early, service.requests_of_one_call("ok")) == (0, 1)


# Calls that may not be shed


def test_a_last_attempt_is_called_whatever_came_before(shedding: Service) -> None:
    assert shedding.call("answer", may_shed=False) == "answer"


def test_a_call_that_may_not_be_shed_has_one_attempt_while_others_are(shedding: Service) -> None:
    assert shedding.requests_of_one_call(error(), may_shed=False) == 1


def test_a_call_that_may_not_be_shed_ends_shedding_with_its_answer(shedding: Service) -> None:
    shedding.call("ok", may_shed=False)
    assert shedding.requests_of_one_call("ok") == 1


def test_a_call_that_may_not_be_shed_puts_off_the_probe_with_its_failure(shedding: Service) -> None:
    shedding.now += PROBE_INTERVAL
    shedding.failure(error(), may_shed=False)
    assert shedding.requests_of_one_call("ok") == 0


# Threads


def test_of_sixteen_threads_one_sends_the_probe(shedding: Service) -> None:
    start, two_deciding = threading.Barrier(16), threading.Barrier(2)

    class Time(float):
        """Compared so slowly that a second thread would see the same, if it were let in."""

        def __ge__(self, other: float) -> bool:
            due = super().__ge__(other)
            with suppress(threading.BrokenBarrierError):  # broken once nobody else came: only one may decide
                two_deciding.wait(0.2)
            return due

    def call(_: int) -> bool:
        start.wait(10)
        return SHED not in shedding.failure().message

    shedding.now = Time(shedding.now + PROBE_INTERVAL)
    shedding.answers = [error()]
    with ThreadPoolExecutor(16) as threads:
        assert sum(threads.map(call, range(16))) == 1


def test_a_probe_under_way_keeps_the_other_calls_back(shedding: Service) -> None:
    under_way, answered = threading.Event(), threading.Event()

    def slow() -> str:
        under_way.set()
        answered.wait(10)
        return "ok"

    shedding.now += PROBE_INTERVAL
    with ThreadPoolExecutor(1) as threads:
        probe = threads.submit(shedding.guard.call, slow)
        assert under_way.wait(10)
        kept_back = shedding.requests_of_one_call("ok")
        answered.set()
        assert (probe.result(10), kept_back) == ("ok", 0)


def test_a_call_goes_through_where_another_ended_shedding_just_before(shedding: Service) -> None:
    guard, lock = shedding.guard, shedding.guard._lock

    @contextmanager
    def behind_a_call_that_succeeds() -> Iterator[None]:
        guard._lock = lock
        guard.call(lambda: "ok", may_shed=False)
        with lock:
            yield

    guard._lock = behind_a_call_that_succeeds()  # type: ignore[assignment]
    assert shedding.requests_of_one_call("ok") == 1
