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


def run(*command: str, **changes: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603  # our own module
        command, cwd=ROOT, env=os.environ | changes, capture_output=True, text=True, check=False, timeout=60
    )


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
                for what in ("AccessDenied", "CertificateInvalid", "CredentialUnavailable", "NotReached")
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
