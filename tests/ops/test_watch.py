"""Watching: counts, ages and rates as they are, from the service or by peeking; live on a terminal."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from azure.core.exceptions import AzureError

from ops.counts import Count, Rates, Sample, Sampler
from ops.target import Target
from tests.ops.conftest import LISTENER, QUEUE, SENDER, SESSIONS
from tests.ops.silent_relay import SilentRelay

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.ops.conftest import Stage

ROOT = Path(__file__).resolve().parents[2]
WATCH = [sys.executable, "-m", "ops", "watch", "--interval", "0.1"]


def fill(stage: Stage, *, dead: int = 0, active: int = 0, scheduled: int = 0) -> None:
    from azure.servicebus import ServiceBusClient, ServiceBusMessage

    due = datetime.now(UTC) + timedelta(hours=1)
    with ServiceBusClient.from_connection_string(stage.broker.connection_string) as client:
        with client.get_queue_sender(QUEUE) as sender:
            sender.send_messages([ServiceBusMessage("x", scheduled_enqueue_time_utc=due) for _ in range(scheduled)])
            sender.send_messages([ServiceBusMessage("x") for _ in range(dead)])
        with client.get_queue_receiver(QUEUE) as receiver:
            for _ in range(dead):
                (message,) = receiver.receive_messages(1, max_wait_time=5)
                receiver.dead_letter_message(message, reason="JobNotFound")
        with client.get_queue_sender(QUEUE) as sender:
            sender.send_messages([ServiceBusMessage("x") for _ in range(active)])


def values(line: str) -> dict[str, str]:
    _, *parts = line.split(" ")
    return dict(part.replace(">=", "=>=", 1).split("=", 1) for part in parts)


def between_looks(monkeypatch: pytest.MonkeyPatch, *acts: Callable[[], None]) -> None:
    """What happens while `watch` waits for its next look, instead of the waiting."""
    remaining = iter(acts)
    monkeypatch.setattr("ops.watch._wait", lambda _seconds: next(remaining)())


def test_counts_and_ages(stage: Stage) -> None:
    fill(stage, dead=1, active=3, scheduled=2)

    result = stage.run("watch", "--count", "1")

    assert result.exit_code == 0, result.output
    (line,) = result.stdout.splitlines()
    found = values(line)
    assert (found["active"], found["scheduled"], found["dead_lettered"]) == ("3", "2", "1")
    assert 0 <= int(found["oldest_active"]) < 60
    assert 0 <= int(found["oldest_dead_letter"]) < 60
    assert found["active_per_minute"] == "-"
    assert result.stderr == ""


def test_an_empty_queue_has_no_ages(stage: Stage) -> None:
    found = values(stage.run("watch", "--count", "1").stdout.strip())

    assert (found["active"], found["oldest_active"], found["oldest_dead_letter"]) == ("0", "-", "-")


def test_watching_takes_nothing(stage: Stage) -> None:
    fill(stage, active=2)

    stage.run("watch", "--count", "2", "--interval", "0.1")

    assert [(message.state, message.delivery_count) for message in stage.broker.messages(QUEUE)] == [("active", 0)] * 2


def test_the_next_look_shows_what_changed(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    between_looks(monkeypatch, lambda: fill(stage, active=5))

    first, second = stage.run("watch", "--count", "2").stdout.splitlines()

    assert (values(first)["active"], values(second)["active"]) == ("0", "5")
    assert float(values(second)["active_per_minute"]) > 0
    assert values(second)["scheduled_per_minute"] == "0.0"


def test_without_the_manage_right_it_peeks(stage: Stage) -> None:
    fill(stage, dead=1, active=3, scheduled=2)

    result = stage.run("watch", "--count", "1", ServiceBusConnection=stage.key_of(LISTENER))

    assert result.exit_code == 0, result.output
    found = values(result.stdout.strip())
    assert (found["active"], found["scheduled"], found["dead_lettered"]) == ("3", "2", "1")
    assert "Counted by peeking. No Manage right" in result.stderr


def test_a_longer_queue_is_at_least_what_was_peeked(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ops.counts.PEEK_LIMIT", 4)
    monkeypatch.setattr("ops.counts._PAGE", 2)
    fill(stage, active=9, dead=1)

    result = stage.run("watch", "--count", "2", "--interval", "0.1", ServiceBusConnection=stage.key_of(LISTENER))

    found = values(result.stdout.splitlines()[-1])
    assert (found["active"], found["dead_lettered"]) == (">=4", "1")
    assert (found["active_per_minute"], found["dead_lettered_per_minute"]) == ("-", "0.0")


def test_an_emulator_whose_administration_is_elsewhere_is_peeked_at(stage: Stage) -> None:
    fill(stage, active=1)

    result = stage.run("watch", "--count", "1", SERVICE_BUS_MANAGEMENT_PORT="1")

    assert values(result.stdout.strip())["active"] == "1"
    assert "set SERVICE_BUS_MANAGEMENT_PORT" in result.stderr


def test_the_oldest_active_message_is_found_behind_scheduled_ones(stage: Stage) -> None:
    fill(stage, scheduled=300, active=1)

    found = values(stage.run("watch", "--count", "1").stdout.strip())

    assert found["oldest_active"] != "-"


def test_it_goes_on_when_the_broker_comes_back(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    between_looks(monkeypatch, stage.broker.stop, stage.broker.start)

    result = stage.run("watch", "--count", "3")

    assert result.exit_code == 0, result.output
    assert len(result.stdout.splitlines()) == 2
    assert "Nothing listens at localhost:" in result.stderr
    assert "Trying again." in result.stderr


def test_a_broker_that_falls_silent_is_told_and_asked_again(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ops.counts._PEEK_SECONDS", 1)
    with SilentRelay(stage.broker.port) as relay:
        between_looks(monkeypatch, relay.fall_silent, relay.speak)
        connection = stage.key_of(LISTENER).replace(f":{stage.broker.port}", f":{relay.port}")

        result = stage.run("watch", "--count", "3", ServiceBusConnection=connection)

    assert result.exit_code == 0, result.output
    assert len(result.stdout.splitlines()) == 2
    assert "did not answer in time" in result.stderr
    assert "Trying again." in result.stderr


def out_of_reach(stage: Stage) -> Target:
    """The broker as a namespace of Azure whose HTTPS is blocked."""
    target = Target.from_options(stage.broker.connection_string, None, QUEUE, {})
    return replace(target, is_emulator=False)  # so its administration is looked for with HTTPS, where none is


def test_where_https_is_blocked_it_peeks(stage: Stage) -> None:
    fill(stage, active=2, dead=1)

    with Sampler(out_of_reach(stage)) as sampler:
        sample = sampler.look()

    assert (sample.active.number, sample.dead_lettered.number) == (2, 1)
    assert sampler.why_peeking is not None
    assert "port 443 is not reachable" in sampler.why_peeking


def test_it_does_not_settle_for_peeking_while_nothing_is_reachable(stage: Stage) -> None:
    target = Target.from_options(stage.broker.connection_string, None, QUEUE, stage.settings)
    with Sampler(target) as sampler:
        sampler.look()
        stage.broker.stop()
        with pytest.raises(AzureError):
            sampler.look()
        sampler.close()
        stage.broker.start()
        sampler.look()

    assert sampler.why_peeking is None


def test_colour_in_a_pipe_does_not_change_the_lines(stage: Stage) -> None:
    result = stage.run("watch", "--count", "1", FORCE_COLOR="1", TERM="xterm-256color")

    (line,) = result.stdout.splitlines()
    assert values(line)["active"] == "0"


def test_ctrl_c_is_the_usual_end(stage: Stage) -> None:
    with subprocess.Popen(  # noqa: S603
        WATCH, cwd=ROOT, env=stage.process_environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert "active=0" in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
        assert process.stderr.read() == ""


def test_a_terminal_gets_one_table_that_changes_in_place(stage: Stage) -> None:
    fill(stage, dead=1, active=3)
    ours, theirs = pty.openpty()
    environment = {**stage.process_environment(), "TERM": "xterm-256color", "COLUMNS": "80"}
    with subprocess.Popen([*WATCH, "--count", "2"], cwd=ROOT, env=environment, stdout=theirs) as process:  # noqa: S603
        os.close(theirs)
        shown = read_all(ours)
    assert process.returncode == 0
    assert f"{QUEUE} at localhost:" in shown
    assert "dead letters" in shown
    assert "\x1b[2K" in shown  # lines are drawn over


def read_all(terminal: int) -> str:
    found = b""
    try:
        while part := os.read(terminal, 4096):
            found += part
    except OSError:  # how Linux says that the other end is closed
        pass
    os.close(terminal)
    return found.decode()


@pytest.mark.parametrize(
    "options, words",
    [
        (["--queue", "nope"], "There is no queue 'nope'"),
        (["--connection", "SAS_KEY_VALUE"], "Copy it from"),
    ],
)
def test_what_never_worked_ends_with_a_sentence(stage: Stage, options: list[str], words: str) -> None:
    result = stage.run("watch", *options)

    assert result.exit_code in (2, 3)
    assert words in result.stderr
    assert "Traceback" not in result.stderr


def test_no_right_to_listen(stage: Stage) -> None:
    result = stage.run("watch", ServiceBusConnection=stage.key_of(SENDER))

    assert result.exit_code == 3
    assert "No Listen right" in result.stderr


def test_a_queue_with_sessions_can_be_watched(stage: Stage) -> None:
    result = stage.run("watch", "--count", "1", "--queue", SESSIONS)

    assert result.exit_code == 0, result.output
    assert values(result.stdout.strip())["active"] == "0"


# Rates


def sample(seconds: float, active: int, *, at_least: bool = False) -> Sample:
    moment = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    return Sample(moment, Count(active, at_least), Count(0), Count(0), None, None)


def rates_of(*samples: Sample) -> list[float | None]:
    rates = Rates()
    return [rates.add(one)[0] for one in samples]


def test_a_rate_is_the_change_per_minute() -> None:
    assert rates_of(sample(0, 10), sample(30, 40), sample(45, 10)) == [None, 60.0, 0.0]


def test_a_rate_looks_back_a_minute_and_no_further() -> None:
    found = rates_of(*(sample(10 * step, 0 if step < 5 else 100) for step in range(14)))

    assert found[5] == 120.0  # 100 within 50 seconds
    assert found[10] == 100.0
    assert found[-1] == 0.0


def test_looks_that_are_far_apart_are_still_compared() -> None:
    assert rates_of(sample(0, 0), sample(600, 50), sample(1200, 150)) == [None, 5.0, 10.0]


def test_a_count_that_may_be_higher_gives_no_rate() -> None:
    assert rates_of(sample(0, 10, at_least=True), sample(60, 20)) == [None, None]
