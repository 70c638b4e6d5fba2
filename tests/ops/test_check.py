"""The doctor: what is well, what is not, what to do, and that looking changes nothing."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from local.job_router import Fault
from tests.ops.conftest import HURTING, LISTENER, QUEUE, SENDER, SESSIONS

if TYPE_CHECKING:
    from typer.testing import Result

    from tests.ops.conftest import Stage

ALL = [
    "Settings",
    "Threads",
    "Network",
    "Receive",
    "Send",
    "Sessions",
    "Status",
    "Expiry",
    "Time to live",
    "Deliveries",
    "Lock",
    "Duplicates",
    "Job Router",
]


def lines(result: Result) -> dict[str, str]:
    """Each check's mark and sentence."""
    found = [line for line in result.stdout.splitlines() if line[:4].strip() in ("ok", "warn", "FAIL", "skip")]
    return {line[6:18].strip(): f"{line[:4].strip()}: {line[20:]}" for line in found}


def test_all_is_well(stage: Stage) -> None:
    result = stage.run("check")

    assert result.exit_code == 0, result.output
    assert list(lines(result)) == ALL
    assert all(line.startswith("ok: ") for line in lines(result).values()), result.stdout
    assert result.stdout.endswith("13 well.\n")


def test_looking_changes_nothing(stage: Stage) -> None:
    stage.run("send", "--job-id", "job-1")

    stage.run("check")

    (message,) = stage.broker.messages(QUEUE)
    assert (message.state, message.delivery_count) == ("active", 0)
    assert [request.method for request in stage.job_router.requests] == ["GET"]


def test_every_setting_that_is_missing_is_named(stage: Stage) -> None:
    result = stage.run("check", **dict.fromkeys(stage.settings))

    assert result.exit_code == 1
    assert lines(result)["Settings"].startswith("FAIL: ")
    for name in ("CANCELLATION_QUEUE_NAME", "ServiceBusConnection", "JOB_ROUTER_CONNECTION_STRING"):
        assert name in lines(result)["Settings"]


def test_options_stand_in_for_settings(stage: Stage) -> None:
    connection = stage.broker.connection_string

    result = stage.run(
        "check",
        *("--connection", connection, "--queue", QUEUE),
        ServiceBusConnection=None,
        CANCELLATION_QUEUE_NAME=None,
    )

    assert result.exit_code == 0, result.output


def test_a_bad_connection_string(stage: Stage) -> None:
    result = stage.run("check", ServiceBusConnection="Endpoint=sb://host;SharedAccessKeyName=a")

    assert result.exit_code == 1
    assert "has no SharedAccessKey" in lines(result)["Service Bus"]
    assert lines(result)["Job Router"].startswith("ok: ")


@pytest.mark.parametrize("more", ["Foo", "SharedAccessSignature=s", "EntityPath=other"])
def test_a_connection_string_that_the_sdk_would_not_take_is_a_finding(stage: Stage, more: str) -> None:
    result = stage.run("check", "--json", ServiceBusConnection=f"{stage.broker.connection_string.rstrip(';')};{more}")

    assert result.exit_code == 1
    found = {check["check"]: check["result"] for check in json.loads(result.stdout)["checks"]}
    assert found["Service Bus"] == "fail"
    assert found["Job Router"] == "ok"


def test_a_client_that_cannot_be_made_is_a_finding(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_target: object) -> None:
        raise ValueError("SharedAccessKey=TOPSECRET is no key")

    monkeypatch.setattr("ops.target.Target.client", refuse)

    result = stage.run("check", "--json")

    assert result.exit_code == 1
    found = {check["check"]: check for check in json.loads(result.stdout)["checks"]}
    assert found["Service Bus"]["result"] == "fail"
    assert "TOPSECRET" not in result.output
    assert found["Job Router"]["result"] == "ok"


def test_a_name_that_can_be_no_host_is_a_finding(stage: Stage) -> None:
    result = stage.run("check", "--namespace", "a..b", ServiceBusConnection=None)

    assert "There is no host 'a..b'" in lines(result)["Network"]
    assert lines(result)["Job Router"].startswith("ok: ")


def test_colour_in_a_pipe_does_not_change_the_lines(stage: Stage) -> None:
    coloured = stage.run("check", FORCE_COLOR="1", COLUMNS="40")

    assert lines(coloured) == lines(stage.run("check"))
    assert list(lines(coloured)) == ALL


def test_a_setting_that_is_malformed_does_not_hide_the_rest(stage: Stage) -> None:
    result = stage.run("check", REDELIVERY_GIVE_UP_AFTER_SECONDS="soon")

    assert result.exit_code == 1
    assert "REDELIVERY_GIVE_UP_AFTER_SECONDS" in lines(result)["Settings"]
    assert lines(result)["Receive"].startswith("ok: ")


def test_nothing_listens(stage: Stage) -> None:
    stage.broker.stop()

    result = stage.run("check")

    assert result.exit_code == 1
    assert "Nothing listens at localhost:" in lines(result)["Network"]
    assert "Receive" not in lines(result)
    assert lines(result)["Job Router"].startswith("ok: ")


def test_a_wrong_key(stage: Stage) -> None:
    wrong = stage.broker.connection_string.replace("SAS_KEY_VALUE", "SAS_KEY_WRONG")

    result = stage.run("check", ServiceBusConnection=wrong)

    assert result.exit_code == 1
    assert "does not know this key" in lines(result)["Receive"]
    assert "SAS_KEY" not in result.output


def test_a_missing_queue(stage: Stage) -> None:
    result = stage.run("check", "--queue", "nope")

    assert result.exit_code == 1
    assert "There is no queue 'nope'" in lines(result)["Receive"]
    assert "There is no queue 'nope'" in lines(result)["Send"]


def test_no_right_to_send(stage: Stage) -> None:
    result = stage.run("check", ServiceBusConnection=stage.key_of(LISTENER))

    assert result.exit_code == 1
    assert lines(result)["Receive"].startswith("ok: ")
    assert lines(result)["Send"].startswith("FAIL: No Send right on queue 'job-cancellations'")


def test_no_right_to_listen(stage: Stage) -> None:
    result = stage.run("check", ServiceBusConnection=stage.key_of(SENDER))

    assert result.exit_code == 1
    assert lines(result)["Receive"].startswith("FAIL: No Listen right on queue 'job-cancellations'")
    assert lines(result)["Send"].startswith("ok: ")


def test_without_the_manage_right_the_properties_are_skipped(stage: Stage) -> None:
    both = stage.run("check", ServiceBusConnection=stage.key_of(LISTENER))

    assert lines(both)["Queue"].startswith("skip: ")
    assert "No Manage right" in lines(both)["Queue"]


def test_an_emulator_whose_administration_is_elsewhere_is_no_failure(stage: Stage) -> None:
    result = stage.run("check", SERVICE_BUS_MANAGEMENT_PORT="1")

    assert result.exit_code == 0
    assert lines(result)["Queue"].startswith("skip: ")
    assert "SERVICE_BUS_MANAGEMENT_PORT" in lines(result)["Queue"]


def test_a_queue_with_sessions(stage: Stage) -> None:
    result = stage.run("check", "--queue", SESSIONS)

    assert result.exit_code == 1
    assert lines(result)["Receive"].startswith("FAIL: Queue 'sessions' requires sessions")
    assert lines(result)["Sessions"].startswith("FAIL: ")
    assert "make a new queue" in lines(result)["Sessions"]


@pytest.mark.parametrize(
    "check, mark, words",
    [
        ("Expiry", "FAIL", "--enable-dead-lettering-on-message-expiration true"),
        ("Time to live", "warn", "--default-message-time-to-live PT480M"),
        ("Deliveries", "warn", "--max-delivery-count 10"),
        ("Lock", "warn", "--lock-duration PT1M"),
    ],
)
def test_a_property_that_hurts_comes_with_the_command_that_mends_it(
    stage: Stage, check: str, mark: str, words: str
) -> None:
    result = stage.run("check", "--queue", HURTING)

    assert result.exit_code == 1
    assert lines(result)[check].startswith(f"{mark}: ")
    assert f"--name {HURTING} {words}" in lines(result)[check]


def test_a_warning_fails_only_when_strict(stage: Stage) -> None:
    assert stage.run("check", PYTHON_THREADPOOL_THREAD_COUNT="1").exit_code == 0
    assert stage.run("check", "--strict", PYTHON_THREADPOOL_THREAD_COUNT="1").exit_code == 1


def test_a_wrong_access_key_of_job_router(stage: Stage) -> None:
    wrong = f"endpoint={stage.job_router.endpoint}/;accesskey=d3Jvbmc="

    result = stage.run("check", JOB_ROUTER_CONNECTION_STRING=wrong)

    assert result.exit_code == 1
    assert lines(result)["Job Router"].startswith("FAIL: ")
    assert "Check the access key in JOB_ROUTER_CONNECTION_STRING" in lines(result)["Job Router"]
    assert "d3Jvbmc" not in result.output


@pytest.mark.parametrize(
    "fault, words",
    [
        (Fault("status", status=503, times=None), "warn: "),
        (Fault("status", status=429, times=None), "warn: "),
        (Fault("status", status=403, times=None), "FAIL: "),
        (Fault("status", status=404, body=b"<html>nothing here</html>", times=None), "FAIL: "),
        (Fault("not_json", times=None), "FAIL: "),
        (Fault("redirect", times=None), "FAIL: "),
        (Fault("reset_before", times=None), "FAIL: "),
    ],
    ids=lambda value: value.kind if isinstance(value, Fault) else None,
)
def test_what_job_router_answers(stage: Stage, fault: Fault, words: str) -> None:
    stage.job_router.faults.add(fault)

    result = stage.run("check")

    assert lines(result)["Job Router"].startswith(words)
    assert result.exit_code == (1 if words == "FAIL: " else 0)


def test_job_router_can_be_left_out(stage: Stage) -> None:
    result = stage.run("check", "--no-job-router", JOB_ROUTER_CONNECTION_STRING=None)

    assert result.exit_code == 0
    assert "Job Router" not in lines(result)
    assert stage.job_router.requests == []


def test_json_says_the_same(stage: Stage) -> None:
    result = stage.run("check", "--json", "--queue", HURTING)

    document = json.loads(result.stdout)
    assert result.exit_code == 1
    assert document["well"] is False
    assert [check["check"] for check in document["checks"]] == ALL
    expiry = document["checks"][ALL.index("Expiry")]
    assert expiry["result"] == "fail"
    assert expiry["nextStep"].startswith("Keep it as a dead letter: az servicebus queue update")
