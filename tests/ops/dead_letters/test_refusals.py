"""What cannot be done is said in one sentence with a next step, and an exit code; never with a secret."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.ops.dead_letters.conftest import LISTENER, SENDER, SESSIONS

if TYPE_CHECKING:
    from tests.ops.dead_letters.conftest import Site


def refusal(site: Site, *arguments: str, **changes: str | None) -> tuple[int, str]:
    result = site.run(*arguments, **changes)
    assert result.stderr.count("\n") == 1, result.stderr
    assert "Traceback" not in result.output
    assert "SAS_KEY" not in result.output
    return result.exit_code, result.stderr


@pytest.mark.parametrize(
    "connection, words",
    [
        ("SAS_KEY_VALUE", "it has no Endpoint=sb://…"),
        ("Endpoint=https://host;SharedAccessKeyName=a;SharedAccessKey=SAS_KEY_VALUE", "it has no Endpoint=sb://…"),
        ("Endpoint=sb://host;SharedAccessKeyName=a", "it has no SharedAccessKey"),
        ("Endpoint=sb://host;SharedAccessKey=SAS_KEY_VALUE", "it has no SharedAccessKeyName"),
    ],
)
def test_a_bad_connection_string(site: Site, connection: str, words: str) -> None:
    code, text = refusal(site, "list", "--connection", connection)

    assert code == 2
    assert words in text
    assert "Copy it from" in text


def test_a_connection_string_with_a_wrong_key(site: Site) -> None:
    wrong = site.broker.connection_string.replace("SAS_KEY_VALUE", "SAS_KEY_WRONG")

    code, text = refusal(site, "list", ServiceBusConnection=wrong)

    assert code == 3
    assert "does not know this key" in text


def test_no_connection_at_all(site: Site) -> None:
    code, text = refusal(site, "list", ServiceBusConnection=None)

    assert code == 2
    assert "--connection or --namespace" in text


def test_no_queue_named(site: Site) -> None:
    code, text = refusal(site, "list", CANCELLATION_QUEUE_NAME=None)

    assert code == 2
    assert "give --queue, or set CANCELLATION_QUEUE_NAME" in text


@pytest.mark.parametrize("command", [["list"], ["show", "1"], ["resubmit", "--all"]], ids=" ".join)
def test_a_missing_queue(site: Site, command: list[str]) -> None:
    code, text = refusal(site, *command, "--queue", "nope")

    assert code == 3
    assert "There is no queue 'nope'" in text


def test_no_right_to_listen(site: Site) -> None:
    code, text = refusal(site, "list", ServiceBusConnection=site.broker.connection_string_for(SENDER.name))

    assert code == 3
    assert "No Listen right on queue 'job-cancellations'" in text


def test_no_right_to_send_leaves_every_letter_and_the_next_run_sends_it_once(site: Site) -> None:
    site.bury_many(3)

    result = site.run(
        "resubmit", "--all", "--yes", ServiceBusConnection=site.broker.connection_string_for(LISTENER.name)
    )

    assert result.exit_code == 3
    assert "No Send right on queue 'job-cancellations'" in result.stderr
    assert "3 dead letters left; the same command goes on." in result.stderr
    assert (len(site.dead()), site.sent()) == (3, [])

    site.broker.expire_locks("job-cancellations/$deadletterqueue")
    assert site.run("resubmit", "--all", "--yes").exit_code == 0
    assert site.sent_jobs() == ["job-0", "job-1", "job-2"]


def test_a_queue_with_sessions(site: Site) -> None:
    site.bury("job-1", queue=SESSIONS)

    result = site.run("resubmit", "--all", "--yes", "--queue", SESSIONS)

    assert result.exit_code == 3
    assert "Queue 'sessions' requires sessions, which the function cannot consume." in result.stderr
    assert len(site.dead(SESSIONS)) == 1


def test_nothing_listens(site: Site) -> None:
    site.broker.stop()

    code, text = refusal(site, "list")

    assert code == 3
    assert "Nothing listens at localhost:" in text


def test_a_full_queue_leaves_every_letter(site: Site) -> None:
    site.bury_many(3)
    site.broker.refuse_sends()

    result = site.run("resubmit", "--all", "--yes")

    assert result.exit_code == 3
    assert "is full" in result.stderr
    assert len(site.dead()) == 3


def test_verbose_adds_the_traceback(site: Site) -> None:
    result = site.run("list", "--queue", "nope", "--verbose")

    assert result.exit_code == 3
    assert "Traceback" in result.stderr


def test_wrong_usage_is_one_line_that_names_the_help(site: Site) -> None:
    code, text = refusal(site, "list", "--limit", "0")

    assert code == 2
    assert text.endswith("dead-letters list --help\n")


@pytest.mark.parametrize("options", [[], ["--all", "--reason", "x"], ["--all", "1"]], ids=" ".join)
def test_resubmit_wants_to_be_told_which(site: Site, options: list[str]) -> None:
    code, _ = refusal(site, "resubmit", *options)

    assert code == 2
