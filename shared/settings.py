"""Everything the function reads from its environment, read once, with one error that names every problem."""

from __future__ import annotations

import binascii
import os
from base64 import b64decode
from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING

from shared.job_router import normalise_endpoint, parse_connection_string
from shared.redelivery import Backoff
from shared.worker_threads import THREADS_SETTING, thread_count

if TYPE_CHECKING:
    from collections.abc import Mapping

_CONNECTION = "ServiceBusConnection"
_PORTAL = "Copy it from the Communication Services resource, page Keys."


@dataclass(frozen=True)
class ServiceBusSettings:
    """The very connection that the trigger uses: a connection string, or a namespace with an identity."""

    queue_name: str
    connection_string: str | None = None
    fully_qualified_namespace: str | None = None
    client_id: str | None = None

    def __repr__(self) -> str:
        return f"ServiceBusSettings(queue_name={self.queue_name!r})"  # a connection string must not reach a log


class SettingsError(Exception):
    """One or more settings are missing or malformed; the text names each, with the next step, and no secret.

    service_bus: the queue's own settings, where at least those are good; messages can then be postponed.
    """

    def __init__(self, text: str, service_bus: ServiceBusSettings | None = None) -> None:
        super().__init__(text)
        self.service_bus = service_bus


@dataclass(frozen=True)
class Settings:
    """access_key None means Microsoft Entra ID. Timeouts in seconds."""

    endpoint: str
    access_key: str | None
    service_bus: ServiceBusSettings
    connect_timeout: float
    read_timeout: float
    backoff: Backoff
    threads: int
    opentelemetry: bool = False

    def __repr__(self) -> str:
        return f"Settings(endpoint={self.endpoint!r})"

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Settings:
        """Read and check all settings.

        Raises:
            SettingsError: names every missing or malformed setting and how to mend it.
        """
        problems: list[str] = []
        service_bus = _service_bus(environ, problems)
        usable = None if problems else service_bus
        endpoint, access_key = _job_router(environ, problems)
        settings = cls(
            endpoint=endpoint,
            access_key=access_key,
            service_bus=service_bus,
            connect_timeout=_seconds(environ, "JOB_ROUTER_CONNECT_TIMEOUT_SECONDS", 5.0, 60, problems),
            read_timeout=_seconds(environ, "JOB_ROUTER_READ_TIMEOUT_SECONDS", 15.0, 60, problems),
            backoff=_backoff(environ, problems),
            threads=_threads(environ, problems),
            # Not a problem when it is neither: no message may wait for telemetry.
            opentelemetry=environ.get("CANCEL_JOB_OPENTELEMETRY", "").strip().lower() in ("true", "1"),
        )
        if problems:
            raise SettingsError("The function's settings have to be mended: " + " ".join(problems), usable)
        return settings


def _job_router(environ: Mapping[str, str], problems: list[str]) -> tuple[str, str | None]:
    connection_string = environ.get("JOB_ROUTER_CONNECTION_STRING", "").strip()
    endpoint = environ.get("JOB_ROUTER_ENDPOINT", "").strip()
    if bool(connection_string) == bool(endpoint):
        problems.append(
            f"JOB_ROUTER_CONNECTION_STRING and JOB_ROUTER_ENDPOINT are both {'set' if endpoint else 'missing'}: "
            "set the first for an access key or the second for a managed identity."
        )
        return "", None
    name, key = "JOB_ROUTER_ENDPOINT", None
    try:
        if connection_string:
            name = "JOB_ROUTER_CONNECTION_STRING"
            endpoint, key = parse_connection_string(connection_string)
            b64decode(key, validate=True)
        return normalise_endpoint(endpoint), key
    except binascii.Error:
        problems.append(f"{name} has an accesskey that is not base64. {_PORTAL}")
    except ValueError as error:
        problems.append(f"{name} {error}. {_PORTAL}")
    return "", None


def _service_bus(environ: Mapping[str, str], problems: list[str]) -> ServiceBusSettings:
    queue_name = environ.get("CANCELLATION_QUEUE_NAME", "").strip()
    if not queue_name:
        problems.append("CANCELLATION_QUEUE_NAME is missing: set it to the queue that the cancellations arrive on.")
    connection_string = environ.get(_CONNECTION, "").strip()
    namespace = environ.get(f"{_CONNECTION}__fullyQualifiedNamespace", "").strip()
    if not (connection_string or namespace):
        problems.append(
            f"{_CONNECTION} and {_CONNECTION}__fullyQualifiedNamespace are both missing: set one, as for the trigger."
        )
    elif connection_string and "endpoint=" not in connection_string.lower():
        problems.append(f"{_CONNECTION} is not a Service Bus connection string; it starts with Endpoint=sb://.")
    client_id = environ.get(f"{_CONNECTION}__clientId", "").strip()
    return ServiceBusSettings(queue_name, connection_string or None, namespace or None, client_id or None)


def _backoff(environ: Mapping[str, str], problems: list[str]) -> Backoff:
    default = Backoff()
    first = _seconds(environ, "REDELIVERY_FIRST_DELAY_SECONDS", default.first_delay, 3600, problems)
    longest = _seconds(environ, "REDELIVERY_LONGEST_DELAY_SECONDS", default.longest_delay, 86_400, problems)
    give_up = _seconds(environ, "REDELIVERY_GIVE_UP_AFTER_SECONDS", default.give_up_after, 30 * 86_400, problems)
    grace = _seconds(environ, "JOB_NOT_FOUND_GRACE_SECONDS", default.job_not_found_grace, 86_400, problems, least=0.0)
    return Backoff(first, max(first, longest), give_up, grace)


def _seconds(
    environ: Mapping[str, str], name: str, default: float, limit: int, problems: list[str], least: float | None = None
) -> float:
    """least: the smallest value that is taken; None for anything above 0."""
    text = environ.get(name, "").strip()
    try:
        value = float(text) if text else default
    except ValueError:
        value = -1.0
    if not (isfinite(value) and value <= limit and (value > 0 if least is None else value >= least)):
        bounds = f"above 0 and up to {limit}" if least is None else f"from {least:g} to {limit}"
        problems.append(f"{name} is not a number of seconds {bounds}: {text!r}.")
    return value


def _threads(environ: Mapping[str, str], problems: list[str]) -> int:
    # Where it is absent the platform leaves the number to ThreadPoolExecutor, whose documentation this is from.
    text = environ.get(THREADS_SETTING, "").strip() or str(min(32, (os.cpu_count() or 1) + 4))
    threads = thread_count(text)
    if threads is None:
        problems.append(f"{THREADS_SETTING} is not a whole number of threads from 1 to 9999: {text[:20]!r}.")
    return threads or 1
