"""`python -m ops` before any command: options, settings, help, completion."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ops.__main__ import shared_first
from ops.errors import OpsError, explain
from ops.target import Target

CONNECTION = "Endpoint=sb://localhost:5672;SharedAccessKeyName=n;SharedAccessKey=SECRET;UseDevelopmentEmulator=true;"
ROOT = Path(__file__).parents[2]


OPS = f"{sys.executable} -m ops"
SETTINGS = ("ServiceBusConnection", "ServiceBusConnection__fullyQualifiedNamespace", "CANCELLATION_QUEUE_NAME")


def run(*command: str, **changes: str) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if name not in SETTINGS}
    return subprocess.run(  # noqa: S603  # our own module
        command, cwd=ROOT, env=inherited | changes, capture_output=True, text=True, check=False, timeout=60
    )


def shell(script: str, **changes: str) -> subprocess.CompletedProcess[str]:
    """A line of bash; its exit code is that of the first command in the pipe."""
    return run("bash", "-c", f"{script}; exit ${{PIPESTATUS[0]}}", **changes)


def test_options_win_over_settings() -> None:
    settings = {"ServiceBusConnection": CONNECTION, "CANCELLATION_QUEUE_NAME": "from-settings"}

    assert Target.from_options(None, None, None, settings).queue == "from-settings"
    assert Target.from_options(None, None, "given", settings).queue == "given"
    assert Target.from_options(None, "given.example", None, settings).host == "given.example"


def test_a_namespace_needs_no_domain_and_takes_the_settings_identity() -> None:
    settings = {
        "ServiceBusConnection__fullyQualifiedNamespace": "bus",
        "ServiceBusConnection__clientId": "id",
        "CANCELLATION_QUEUE_NAME": "q",
    }

    target = Target.from_options(None, None, None, settings)

    assert (target.fully_qualified_namespace, target.client_id) == ("bus.servicebus.windows.net", "id")


def test_a_connection_string_may_name_the_queue_and_the_case_of_its_fields_does_not_matter() -> None:
    given = "endpoint=sb://bus.example/;sharedaccesskeyname=n;sharedaccesskey=SECRET;entitypath=q"

    target = Target.from_options(given, None, None, {})

    assert (target.host, target.queue, target.is_emulator) == ("bus.example", "q", False)


def test_both_a_connection_and_a_namespace_are_refused() -> None:
    with pytest.raises(OpsError, match="exclude each other"):
        Target.from_options(CONNECTION, "bus", "q", {})


def test_a_target_does_not_show_its_secret() -> None:
    assert "SECRET" not in repr(Target.from_options(CONNECTION, None, "q", {}))


def test_an_error_that_quotes_a_secret_is_shown_without_it() -> None:
    target = Target.from_options(CONNECTION, None, "q", {})

    sentence = explain(RuntimeError(f"cannot parse {CONNECTION}"), target).sentence

    assert "SECRET" not in sentence
    assert "--verbose" in sentence


@pytest.mark.parametrize("command", ["check --no-job-router", "watch --count 1"])
@pytest.mark.parametrize("name", ["--namespace", "--queue", *SETTINGS[1:]])
def test_a_connection_string_in_the_wrong_place_is_refused_without_being_shown(name: str, command: str) -> None:
    given = {"CANCELLATION_QUEUE_NAME": "q", "ServiceBusConnection__fullyQualifiedNamespace": "bus.invalid"}
    options = f"{name} '{CONNECTION}'" if name.startswith("--") else ""

    shown = shell(f"{OPS} {command} {options}", **(given if options else given | {name: CONNECTION}))

    assert "SECRET" not in shown.stdout + shown.stderr
    assert "a connection string: give it with --connection" in shown.stdout + shown.stderr


def test_a_connection_string_that_no_option_stands_before_is_not_shown() -> None:
    shown = shell(f"{OPS} check '{CONNECTION}'")

    assert shown.returncode == 2
    assert "SECRET" not in shown.stderr


@pytest.mark.parametrize(
    "changed, words",
    [
        (CONNECTION + "Foo", "no '=' or no value"),
        (CONNECTION + "EntityPath=;", "no '=' or no value"),
        (CONNECTION + "sharedaccesskey=SECRET", "twice"),
        (CONNECTION + "SharedAccessSignature=SECRET", "both"),
        (CONNECTION.replace("SharedAccessKey=SECRET", "SharedAccessSignature=SECRET"), "no SharedAccessKey"),
        (CONNECTION + "EntityPath=other", "EntityPath"),
        (CONNECTION.replace("5672", "abc"), "port"),
        (CONNECTION.replace("5672", "65536"), "port"),
    ],
)
def test_a_connection_string_that_the_sdk_would_not_take_is_refused(changed: str, words: str) -> None:
    with pytest.raises(OpsError, match=words) as refused:
        Target.from_options(changed, None, "q", {})

    assert refused.value.exit_code == 2
    assert "SECRET" not in refused.value.sentence


@pytest.mark.parametrize("namespace", ["bus.example:abc", "bus.example:0", "https://[bus.example"])
def test_a_namespace_that_is_no_host_is_refused(namespace: str) -> None:
    with pytest.raises(OpsError, match="--namespace") as refused:
        Target.from_options(None, namespace, "q", {})

    assert refused.value.exit_code == 2


@pytest.mark.parametrize(
    "command, code",
    [("send /etc/passwd/x --dry-run", 2), ("schema > /dev/full", 3), ("send - --dry-run <&-", 3)],
)
def test_an_error_without_a_target_is_one_line(command: str, code: int) -> None:
    shown = shell(f"{OPS} {command}")

    assert shown.returncode == code
    assert len(shown.stderr.splitlines()) == 1, shown.stderr


def test_what_the_sdk_logs_is_not_shown_unless_asked_for() -> None:
    code = (
        "import logging\nfrom ops.__main__ import app\n"
        "@app.command('x')\ndef x(): logging.getLogger('azure.servicebus').error('from the SDK')\n"
        "app()"
    )

    assert run(sys.executable, "-c", code, "x").stderr == ""
    assert run(sys.executable, "-c", code, "x", "--verbose").stderr == "from the SDK\n"


@pytest.mark.parametrize("command", ["schema", "check", "check --json"])
def test_a_closed_pipe_ends_a_command_quietly(command: str) -> None:
    # `sleep` holds nothing open: the reader is gone before Python has started.
    shown = shell(f"{OPS} {command} | true")

    assert (shown.returncode, shown.stderr) == (0, "")


def test_rich_says_that_a_pipe_is_closed() -> None:
    code = (
        "import time\nfrom ops.console import stdout\nfrom ops.__main__ import app\n"
        "@app.command('x')\ndef x(): time.sleep(0.2); stdout().print('x'); raise AssertionError\n"
        "app(['x'])"
    )

    shown = shell(f'{sys.executable} -c "{code}" | true')

    assert (shown.returncode, shown.stderr) == (0, "")


@pytest.mark.parametrize("text", ["x", "0", "65536", "-1"])
def test_a_management_port_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(OpsError, match="SERVICE_BUS_MANAGEMENT_PORT is not a port"):
        Target.from_options(CONNECTION, None, "q", {"SERVICE_BUS_MANAGEMENT_PORT": text})


def test_shared_options_may_stand_behind_the_command() -> None:
    given = ["dead-letters", "list", "--queue", "q", "--json", "--connection=c", "--verbose", "--", "--queue"]

    moved = ["--queue", "q", "--connection=c", "--verbose", "dead-letters", "list", "--json", "--", "--queue"]
    assert shared_first(given) == moved


@pytest.mark.parametrize("options", [[], ["dead-letters"], ["dead-letters", "resubmit"]], ids=" ".join)
def test_help_is_there_at_80_columns_and_nothing_slow_is_imported(options: list[str]) -> None:
    code = (
        "import sys\nfrom ops.__main__ import main\ntry:\n    main()\nfinally:\n"
        "    print('slow:', [name for name in ('azure.servicebus', 'azure.identity') if name in sys.modules])"
    )

    shown = run(sys.executable, "-c", code, *options, "--help", COLUMNS="80")

    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.splitlines()[-1] == "slow: []"
    assert max(map(len, shown.stdout.splitlines())) <= 80
    assert "Usage:" in shown.stdout


@pytest.mark.parametrize(
    "words, completed",
    [
        ("dead-letters resu", ["resubmit"]),
        ("dead-letters list --older", ["--older-than"]),
        (
            "dead-letters list --reason JobR",
            [
                f"JobRouter{what}"
                for what in ("AccessDenied", "CertificateInvalid", "Conflict", "CredentialUnavailable", "NotReached")
            ],
        ),
    ],
)
def test_a_shell_completes_commands_options_and_reasons(words: str, completed: list[str]) -> None:
    script, count = str(ROOT / "ops" / "ops"), str(len(words.split()))

    shown = run(script, _OPS_COMPLETE="complete_bash", COMP_WORDS=f"ops {words}", COMP_CWORD=count, PYTHONPATH="")

    assert shown.stdout.split() == completed


def test_the_completion_script_is_for_the_command_of_one_word() -> None:
    shown = run(sys.executable, "-m", "ops", "--show-completion", "bash")

    assert "complete -o default" in shown.stdout
    assert "_OPS_COMPLETE=complete_bash" in shown.stdout
