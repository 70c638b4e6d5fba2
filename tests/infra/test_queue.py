"""The queue that is deployed, beside host.json, the policy, and what `python -m ops check` would say of it."""

from __future__ import annotations

from datetime import timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

from local.stack import as_deployed
from ops.finding import Result
from ops.queue_rules import findings_of
from shared import call_guard
from shared.processing import HOLD_SECONDS
from shared.redelivery import Backoff
from shared.settings import Settings
from tests.infra.bicep import INFRA, MAIN, read
from tests.infra.iso8601 import duration
from tests.infra.settings import HOST, MINIMAL

if TYPE_CHECKING:
    from azure.servicebus.management import QueueProperties

MODULE = read(INFRA / "modules" / "service-bus.bicep")
QUEUE = MODULE.resource("Microsoft.ServiceBus/namespaces/queues").value["properties"]
NAMESPACE = MODULE.resource("Microsoft.ServiceBus/namespaces").value
SERVICE_BUS = HOST["extensions"]["serviceBus"]
LOCK = duration(QUEUE["lockDuration"])
SETTLING = timedelta(seconds=60)  # opening a connection, peeking, sending, each once more on a new connection


def time_to_live(give_up_after: int) -> timedelta:
    """What the template makes of REDELIVERY_GIVE_UP_AFTER_SECONDS."""
    variables = MODULE.of("var")
    assert str(QUEUE["defaultMessageTimeToLive"]) == "'P${waitingDays + tryingDays}D'"
    assert str(variables["tryingDays"].value) == "giveUpAfterSeconds / 86400 + 1"
    return timedelta(days=variables["waitingDays"].value + give_up_after // 86400 + 1)


def test_a_message_that_is_held_stays_locked_even_when_no_renewal_succeeds() -> None:
    assert timedelta(seconds=HOLD_SECONDS) < LOCK <= timedelta(minutes=5), "five minutes are the most that there is"


def test_the_lock_and_its_renewal_cover_the_longest_delivery() -> None:
    renewal = duration(SERVICE_BUS["maxAutoLockRenewalDuration"])
    settings = Settings.from_environment(MINIMAL)
    attempt = settings.connect_timeout + settings.read_timeout
    waits = sum(call_guard.FIRST_WAIT * 2**number for number in range(call_guard.ATTEMPTS - 1))
    call = timedelta(seconds=call_guard.ATTEMPTS * attempt + waits)
    longest = 2 * call + SETTLING + timedelta(seconds=HOLD_SECONDS)  # cancel, read the job, settle, hold
    assert renewal >= LOCK, "the host would never renew"
    assert longest < LOCK + renewal


def test_no_message_waits_in_the_worker_with_its_lock_running() -> None:
    assert SERVICE_BUS["prefetchCount"] == 0
    assert SERVICE_BUS["autoCompleteMessages"] is True


def test_deliveries_last_until_somebody_has_been_woken_up() -> None:
    """What cannot be postponed is held before each delivery: an hour and three quarters, says service-bus.bicep."""
    held = sum(min(HOLD_SECONDS, Backoff().hold(count)) for count in range(1, QUEUE["maxDeliveryCount"]))
    assert timedelta(minutes=100) < timedelta(seconds=held) < timedelta(minutes=110)


def test_a_message_lives_longer_than_the_function_tries() -> None:
    limits = read(MAIN).of("param")["redeliveryGiveUpAfterSeconds"]
    for give_up_after in (limits.decorators["minValue"], limits.value, limits.decorators["maxValue"]):
        assert time_to_live(give_up_after) >= timedelta(days=7, seconds=give_up_after)
    given = read(MAIN).of("module")["serviceBus"].value["params"]
    assert str(given["giveUpAfterSeconds"]) == "redeliveryGiveUpAfterSeconds"


def test_the_tier_knows_scheduled_messages_and_duplicate_detection() -> None:
    assert NAMESPACE["sku"] == {"name": "Standard", "tier": "Standard"}


def test_duplicates_are_detected_unless_switched_off() -> None:
    assert str(QUEUE["requiresDuplicateDetection"]) == "duplicateDetection"
    assert read(MAIN).of("param")["duplicateDetection"].value is True
    # Long enough for a sender that repeats itself, shorter than any attempt at making good what is wrong.
    assert duration(QUEUE["duplicateDetectionHistoryTimeWindow"]) == timedelta(minutes=10)


def test_the_operators_check_finds_nothing_to_say_against_it() -> None:
    assert QUEUE["enablePartitioning"] is False
    queue = SimpleNamespace(
        name="q",
        requires_session=QUEUE["requiresSession"],
        status="Active",
        forward_to=None,
        dead_lettering_on_message_expiration=QUEUE["deadLetteringOnMessageExpiration"],
        default_message_time_to_live=time_to_live(int(Backoff().give_up_after)),
        max_delivery_count=QUEUE["maxDeliveryCount"],
        lock_duration=LOCK,
        requires_duplicate_detection=True,
    )
    findings = list(findings_of(cast("QueueProperties", queue), Backoff().give_up_after))
    assert [finding for finding in findings if finding.result is not Result.OK] == []


def test_the_embedded_stack_has_the_queue_that_is_deployed() -> None:
    local = as_deployed()
    assert local.name == read(MAIN).of("param")["queueName"].value
    assert timedelta(seconds=local.lock_duration_seconds) == LOCK
    assert local.max_delivery_count == QUEUE["maxDeliveryCount"]
    give_up_after = read(MAIN).of("param")["redeliveryGiveUpAfterSeconds"].value
    assert timedelta(seconds=local.default_time_to_live_seconds or 0) == time_to_live(give_up_after)
    assert local.dead_letter_on_expiration is QUEUE["deadLetteringOnMessageExpiration"]
    assert local.requires_session is QUEUE["requiresSession"]
    window = timedelta(seconds=local.duplicate_detection_window_seconds or 0)
    assert window == duration(QUEUE["duplicateDetectionHistoryTimeWindow"])
    assert read(MAIN).of("param")["duplicateDetection"].value is True
