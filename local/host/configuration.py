"""What the host reads of a function app: host.json, function.json, and the settings they refer to."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


class ConfigurationError(Exception):
    """The listener cannot start; the text names the file or setting."""


@dataclass(frozen=True)
class Trigger:
    """One function with its Service Bus queue trigger. Durations in seconds."""

    function_name: str
    function_directory: Path
    script_file: str
    entry_point: str
    parameter: str
    queue_name: str
    binary: bool
    connection_string: str | None
    fully_qualified_namespace: str | None
    client_id: str | None
    auto_complete: bool
    max_concurrent_calls: int
    max_lock_renewal_seconds: float


def read_trigger(app: Path, settings: Mapping[str, str]) -> Trigger:
    """Read the app's one Service Bus function.

    Raises:
        ConfigurationError: a file, a binding or a setting is missing or not understood.
    """
    service_bus = _load(app / "host.json").get("extensions", {}).get("serviceBus", {})
    functions = sorted(app.glob("*/function.json"))
    if len(functions) != 1:
        raise ConfigurationError(f"Exactly one */function.json is expected in the app, found {len(functions)}.")
    function = _load(functions[0])
    bindings = function.get("bindings", [])
    if len(bindings) != 1 or bindings[0].get("type") != "serviceBusTrigger" or "queueName" not in bindings[0]:
        raise ConfigurationError(
            f"{functions[0].parent.name}/function.json: only one queue serviceBusTrigger is known."
        )
    binding = bindings[0]
    connection = binding.get("connection", "AzureWebJobsServiceBus")
    connection_string = settings.get(connection)
    namespace = settings.get(f"{connection}__fullyQualifiedNamespace")
    if not (connection_string or namespace):
        raise ConfigurationError(
            f"Service Bus connection {connection!r}: no such setting, nor {connection}__fullyQualifiedNamespace."
        )
    return Trigger(
        function_name=functions[0].parent.name,
        function_directory=functions[0].parent,
        script_file=function.get("scriptFile", "__init__.py"),
        entry_point=function.get("entryPoint", "main"),
        parameter=binding["name"],
        queue_name=_resolved(binding["queueName"], settings),
        binary=binding.get("dataType") == "binary",
        connection_string=connection_string,
        fully_qualified_namespace=namespace,
        client_id=settings.get(f"{connection}__clientId"),
        auto_complete=bool(service_bus.get("autoCompleteMessages", True)),
        max_concurrent_calls=int(service_bus.get("maxConcurrentCalls", 16)),
        max_lock_renewal_seconds=_seconds(service_bus.get("maxAutoLockRenewalDuration", "00:05:00")),
    )


def _load(path: Path) -> dict[str, Any]:
    try:
        loaded = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{path.name} cannot be read: {error}") from error
    return loaded if isinstance(loaded, dict) else {}


def _resolved(text: str, settings: Mapping[str, str]) -> str:
    """Replace each %SETTING%, as the platform does in binding expressions."""

    def value(match: re.Match[str]) -> str:
        try:
            return settings[match[1]]
        except KeyError:
            raise ConfigurationError(f"'%{match[1]}%' in function.json does not resolve to a setting.") from None

    return re.sub(r"%([^%]+)%", value, text)


def _seconds(text: str) -> float:
    """A .NET TimeSpan, [d.]hh:mm:ss."""
    match = re.fullmatch(r"(?:(\d+)\.)?(\d+):(\d+):(\d+(?:\.\d+)?)", text)
    if match is None:
        raise ConfigurationError(f"host.json: {text!r} is not a time span (hh:mm:ss).")
    days, hours, minutes, seconds = match.groups()
    return int(days or 0) * 86400 + int(hours) * 3600 + int(minutes) * 60 + float(seconds)
