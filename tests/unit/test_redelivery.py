"""When a message is tried again, and what it remembers of the attempts before."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from azure.functions.servicebus import ServiceBusMessage
from hypothesis import given
from hypothesis import strategies as st

from shared.redelivery import ATTEMPT, FIRST_ATTEMPT_TIME, FIRST_ENQUEUED_TIME, MESSAGE_ID, Attempt, Backoff

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
ENQUEUED = datetime(2026, 3, 1, 11, 59, 58, 250_000, tzinfo=UTC)
MIDNIGHT = datetime(2026, 3, 1, tzinfo=UTC)
SINCE = datetime(2026, 3, 1, 9, 0, 0, tzinfo=UTC)

seconds = st.floats(0.001, 1e6)
backoffs = st.builds(lambda first, more, end: Backoff(first, first + more, end), seconds, seconds, seconds)
waits = st.floats(0, 1e9)
jitters = st.floats(0, 1)
NAMES = (ATTEMPT, FIRST_ATTEMPT_TIME, FIRST_ENQUEUED_TIME, MESSAGE_ID)
junk = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.integers(), max_size=2)
times = st.datetimes(timezones=st.timezones() | st.just(timezone(timedelta(hours=14)))).map(datetime.isoformat)


def message(
    properties: dict[str, Any] | None = None,
    delivery_count: int | None = 1,
    enqueued: datetime | None = ENQUEUED,
    message_id: str | None = "msg-1",
) -> ServiceBusMessage:
    return ServiceBusMessage(
        body=b"",
        application_properties=properties,  # type: ignore[arg-type]  # the host may leave them out
        user_properties={},
        message_id=message_id,  # type: ignore[arg-type]  # and so may a sender
        delivery_count=delivery_count,
        enqueued_time_utc=enqueued,
    )


def attempt(properties: dict[str, Any] | None = None, **of_message: Any) -> Attempt:
    return Attempt.of(message(properties, **of_message), NOW)


# The waits


@pytest.mark.parametrize(
    "waited, longest", [(0, 15), (30, 15), (60, 30), (300, 150), (3600, 1800), (7200, 1800), (28_800, 1800)]
)
def test_the_window_is_half_of_the_time_waited_between_its_bounds(waited: float, longest: float) -> None:
    assert Backoff().window(waited) == longest


@pytest.mark.parametrize("jitter, delay", [(0.0, 0.0), (0.5, 30.0), (1.0, 60.0)])
def test_a_delay_is_a_part_of_the_window(jitter: float, delay: float) -> None:
    assert Backoff().delay(120.0, None, jitter) == delay


def test_retry_after_comes_before_the_jitter() -> None:
    assert Backoff().delay(120.0, 100.0, 0.5) == 130.0


def test_retry_after_never_puts_a_message_off_for_longer_than_it_is_tried_for() -> None:
    assert Backoff(give_up_after=600.0).delay(0.0, 1e9, 0.0) == 600.0


@given(backoffs, waits, st.none() | st.floats(0, 1e9), jitters)
def test_a_delay_is_at_least_retry_after_and_at_most_the_longest_delay_longer(
    backoff: Backoff, waited: float, retry_after: float | None, jitter: float
) -> None:
    asked = min(retry_after or 0.0, backoff.give_up_after)
    assert asked <= backoff.delay(waited, retry_after, jitter) <= asked + backoff.longest_delay


def test_a_message_is_tried_often_enough_in_eight_hours_and_not_without_end() -> None:
    waited, attempts = 0.0, 1
    while waited < Backoff().give_up_after:
        waited += Backoff().delay(waited, None, jitter=0.5)
        attempts += 1
    assert 30 < attempts < 60


@pytest.mark.parametrize("delivery_count, seconds", [(0, 15), (1, 15), (2, 30), (5, 240), (8, 1800), (1_000_000, 1800)])
def test_what_cannot_be_postponed_is_kept_for_longer_at_each_delivery(delivery_count: int, seconds: float) -> None:
    assert Backoff().hold(delivery_count) == seconds


# What a message remembers


@pytest.mark.parametrize("properties", [None, {}, {"tenant": "contoso"}])
def test_a_message_without_a_past_is_at_its_first_attempt(properties: dict[str, Any] | None) -> None:
    assert attempt(properties) == Attempt(1, NOW, ENQUEUED, "msg-1")


def test_a_copy_knows_its_past() -> None:
    properties = {
        ATTEMPT: 7,
        FIRST_ATTEMPT_TIME: "2026-03-01T09:00:00+00:00",
        FIRST_ENQUEUED_TIME: "2026-03-01T00:00:00.000+00:00",
        MESSAGE_ID: "first-id",
    }
    assert attempt(properties, message_id="first-id~1") == Attempt(7, SINCE, MIDNIGHT, "first-id")


@pytest.mark.parametrize("delivery_count, number", [(None, 1), (0, 1), (1, 1), (2, 2), (10, 10)])
def test_each_delivery_is_an_attempt(delivery_count: int | None, number: int) -> None:
    assert attempt(delivery_count=delivery_count).number == number


def test_deliveries_of_a_copy_count_on_from_its_own_attempt() -> None:
    assert attempt({ATTEMPT: 4}, delivery_count=3).number == 6


@pytest.mark.parametrize("number", [1, 2, 1_000_000])
def test_an_attempt_of_up_to_a_million_is_believed(number: int) -> None:
    assert attempt({ATTEMPT: number}).number == number


@pytest.mark.parametrize("number", [None, True, False, 0, -1, 1.0, 2.5, "3", "", [4], {}, 1_000_001, 10**30])
def test_an_attempt_that_is_no_such_number_is_the_first(number: object) -> None:
    assert attempt({ATTEMPT: number}).number == 1


NOT_A_TIME: list[object] = [None, True, 1767225600, 1.5, "", "yesterday", "2026-13-01T00:00:00+00:00", [], {}]
NAIVE = "2026-03-01T09:00:00"
BEYOND_THE_CALENDAR = ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-12:00"]


@pytest.mark.parametrize("time", [*NOT_A_TIME, NAIVE, *BEYOND_THE_CALENDAR])
def test_a_first_attempt_at_no_time_is_now(time: object) -> None:
    assert attempt({FIRST_ATTEMPT_TIME: time}).since == NOW


@pytest.mark.parametrize("time", [*NOT_A_TIME, NAIVE, *BEYOND_THE_CALENDAR])
def test_where_the_first_enqueuing_was_at_no_time_the_messages_own_counts(time: object) -> None:
    assert attempt({FIRST_ENQUEUED_TIME: time}).first_enqueued == ENQUEUED


@pytest.mark.parametrize(
    "time", ["2026-03-01T09:00:00Z", "2026-03-01T10:00:00+01:00", "2026-02-28T23:00:00-10:00", "20260301T090000+0000"]
)
def test_a_time_may_have_any_offset(time: str) -> None:
    assert attempt({FIRST_ATTEMPT_TIME: time}).since == SINCE


def test_times_are_kept_in_utc() -> None:
    assert attempt({FIRST_ATTEMPT_TIME: "2026-03-01T10:00:00+01:00"}).since.tzinfo is UTC


def test_a_first_attempt_in_the_future_is_now() -> None:
    assert attempt({FIRST_ATTEMPT_TIME: "2026-03-01T12:00:01+00:00"}).since == NOW


@pytest.mark.parametrize("enqueued", [ENQUEUED, ENQUEUED.replace(tzinfo=None)])
def test_the_hosts_enqueued_time_is_utc_whether_it_says_so_or_not(enqueued: datetime) -> None:
    assert attempt(enqueued=enqueued).first_enqueued == ENQUEUED


def test_an_enqueued_time_that_nobody_knows_stays_unknown() -> None:
    assert attempt(enqueued=None).first_enqueued is None


@pytest.mark.parametrize("first_id", [None, "", 5, True, ["x"]])
def test_a_first_message_id_that_is_none_leaves_the_messages_own(first_id: object) -> None:
    assert attempt({MESSAGE_ID: first_id}).message_id == "msg-1"


@given(st.dictionaries(st.sampled_from(NAMES), junk | times), st.none() | st.integers(0, 2**31 - 1))
def test_whatever_the_properties_say_there_is_an_attempt(properties: dict[str, Any], count: int | None) -> None:
    found = attempt(properties, delivery_count=count)
    assert found.number >= max(1, count or 0)
    assert found.since <= NOW
    assert isinstance(found.message_id, str)


# What a message hands on


def test_the_next_attempt_carries_the_whole_past() -> None:
    assert Attempt(2, SINCE, ENQUEUED, "msg-1").next_properties() == {
        ATTEMPT: 3,
        FIRST_ATTEMPT_TIME: "2026-03-01T09:00:00+00:00",
        FIRST_ENQUEUED_TIME: "2026-03-01T11:59:58.250+00:00",
        MESSAGE_ID: "msg-1",
    }


@pytest.mark.parametrize("message_id", [None, ""])
def test_what_is_not_known_is_not_handed_on(message_id: str | None) -> None:
    assert Attempt(1, SINCE, None, message_id).next_properties().keys() == {ATTEMPT, FIRST_ATTEMPT_TIME}


@given(
    st.integers(1, 999_999),
    st.datetimes(max_value=NOW.replace(tzinfo=None), timezones=st.just(UTC)),
    st.none() | st.datetimes(timezones=st.just(UTC)),
    st.none() | st.text(min_size=1),
)
def test_what_is_handed_on_is_read_again(
    number: int, since: datetime, enqueued: datetime | None, message_id: str | None
) -> None:
    past = Attempt(number, since, enqueued, message_id)
    # The host passes application properties through JSON.
    properties = json.loads(json.dumps(past.next_properties()))
    assert attempt(properties, enqueued=None, message_id=None) == Attempt(
        number + 1,
        since.replace(microsecond=0),
        enqueued and enqueued.replace(microsecond=enqueued.microsecond // 1000 * 1000),
        message_id,
    )


def test_the_first_attempt_stays_the_first_through_many_copies() -> None:
    found = attempt()
    for hours in range(1, 6):
        copy = message(found.next_properties(), message_id=f"copy-{hours}", enqueued=NOW + timedelta(hours=hours))
        found = Attempt.of(copy, NOW + timedelta(hours=hours))
    assert found == Attempt(6, NOW, ENQUEUED, "msg-1")


# The end


@pytest.mark.parametrize(
    "elapsed, last", [(-1.0, False), (0.0, False), (599.9, False), (600.0, True), (86_400.0, True)]
)
def test_an_attempt_is_the_last_once_the_time_is_up(elapsed: float, last: bool) -> None:
    made = Attempt(5, SINCE, None, None)
    assert made.is_last(Backoff(give_up_after=600.0), SINCE + timedelta(seconds=elapsed)) is last


def test_the_time_a_message_waited_on_the_queue_does_not_count() -> None:
    waited = attempt(enqueued=NOW - timedelta(days=30))
    assert not waited.is_last(Backoff(), NOW)


# The age


def test_the_age_counts_from_the_first_enqueueing() -> None:
    assert attempt().age(NOW) == 1.75
    assert attempt({FIRST_ENQUEUED_TIME: (NOW - timedelta(hours=1)).isoformat()}).age(NOW) == 3600


def test_a_broker_whose_clock_is_ahead_makes_no_negative_age() -> None:
    assert attempt(enqueued=NOW + timedelta(seconds=3)).age(NOW) == 0


def test_a_message_without_an_enqueued_time_has_no_age() -> None:
    assert attempt(enqueued=None).age(NOW) is None
