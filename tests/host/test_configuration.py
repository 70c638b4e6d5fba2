"""What keeps the listener from starting is told by the name of the file or setting."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from local.host import ConfigurationError
from local.host.configuration import read_trigger
from tests.host.conftest import write_app

if TYPE_CHECKING:
    from pathlib import Path

_CODE = "def main(message, context):\n    pass\n"
_GOOD = {"QUEUE": "work", "Bus": "Endpoint=sb://localhost"}


def test_settings_and_host_json_become_the_trigger(tmp_path: Path) -> None:
    name = write_app(tmp_path, _CODE, maxConcurrentCalls=3, maxAutoLockRenewalDuration="01:02:03")

    trigger = read_trigger(tmp_path, _GOOD)

    assert (trigger.function_name, trigger.queue_name) == (name, "work")
    assert (trigger.max_concurrent_calls, trigger.max_lock_renewal_seconds) == (3, 3723.0)
    assert (trigger.auto_complete, trigger.binary) == (True, False)


@pytest.mark.parametrize(
    "settings, named", [({"Bus": "Endpoint=sb://localhost"}, "%QUEUE%"), ({"QUEUE": "work"}, "Bus")]
)
def test_missing_setting_is_named(tmp_path: Path, settings: dict[str, str], named: str) -> None:
    write_app(tmp_path, _CODE)

    with pytest.raises(ConfigurationError, match=named):
        read_trigger(tmp_path, settings)


def test_namespace_with_identity_stands_in_for_a_connection_string(tmp_path: Path) -> None:
    write_app(tmp_path, _CODE)
    settings = {"QUEUE": "work", "Bus__fullyQualifiedNamespace": "ns.example", "Bus__clientId": "me"}

    trigger = read_trigger(tmp_path, settings)

    assert (trigger.connection_string, trigger.fully_qualified_namespace) == (None, "ns.example")
    assert trigger.client_id == "me"


def test_missing_host_json_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"host\.json"):
        read_trigger(tmp_path, _GOOD)


def test_host_json_that_is_not_json_is_named(tmp_path: Path) -> None:
    (tmp_path / "host.json").write_text("{")

    with pytest.raises(ConfigurationError, match=r"host\.json"):
        read_trigger(tmp_path, _GOOD)


def test_two_functions_are_one_too_many(tmp_path: Path) -> None:
    write_app(tmp_path, _CODE)
    write_app(tmp_path, _CODE)

    with pytest.raises(ConfigurationError, match="found 2"):
        read_trigger(tmp_path, _GOOD)


@pytest.mark.parametrize("binding", [{"type": "queueTrigger"}, {"type": "httpTrigger"}])
def test_another_trigger_is_refused(tmp_path: Path, binding: dict[str, Any]) -> None:
    write_app(tmp_path, _CODE, binding=binding)

    with pytest.raises(ConfigurationError, match="serviceBusTrigger"):
        read_trigger(tmp_path, _GOOD)


def test_time_span_that_is_none_is_quoted(tmp_path: Path) -> None:
    write_app(tmp_path, _CODE, maxAutoLockRenewalDuration="soon")

    with pytest.raises(ConfigurationError, match="soon"):
        read_trigger(tmp_path, _GOOD)
