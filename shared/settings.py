"""Everything the function reads from its environment, read once, with one error that names every problem."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING

from shared.job_router_endpoint import normalise_endpoint, parse_connection_string
from shared.redelivery import Backoff
from shared.secret_detection import SecretKind, is_host, is_queue_name, quoted_number, secret_kind
from shared.worker_threads import THREADS_SETTING, thread_count

if TYPE_CHECKING:
    from collections.abc import Mapping

_CONNECTION = "ServiceBusConnection"
_NAMESPACE = f"{_CONNECTION}__fullyQualifiedNamespace"
_CREDENTIAL = f"{_CONNECTION}__credential"
_CLIENT_ID = f"{_CONNECTION}__clientId"
_RESOURCE_ID = f"{_CONNECTION}__managedIdentityResourceId"
_MANAGED_IDENTITY = "managedidentity"
# Of the host's other words these may be quoted, because they are known; the function has no credential for them.
_OTHER_CREDENTIALS = frozenset(
    ("workloadidentity", "workloadidentityfederation", "managedidentityasfederatedidentity", "azurepipelines")
)
_GUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_IDENTITY = re.compile(
    r"/subscriptions/[^/\s]+/resourcegroups/[^/\s]+/providers/Microsoft\.ManagedIdentity/userAssignedIdentities/[^/\s]+",
    re.IGNORECASE,
)
_PORTAL = "Copy it from the Communication Services resource, page Keys."


@dataclass(frozen=True)
class ServiceBusSettings:
    """The very connection that the trigger uses: a connection string, or a namespace with an identity.

    credential: `managedidentity`, or None for DefaultAzureCredential. client_id or managed_identity_resource_id, never
    both, name a user-assigned identity.
    """

    queue_name: str
    connection_string: str | None = None
    fully_qualified_namespace: str | None = None
    client_id: str | None = None
    credential: str | None = None
    managed_identity_resource_id: str | None = None

    def __repr__(self) -> str:
        # No value at all: none of them is known not to be a secret that was put into the wrong setting.
        return f"ServiceBusSettings({'connection string' if self.connection_string else 'identity'})"


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
            SettingsError: names every missing or malformed setting and how to correct it.
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


def usable_service_bus(environ: Mapping[str, str]) -> ServiceBusSettings | None:
    """The queue's own settings, where they are good, whatever else is wrong; None where they are not."""
    problems: list[str] = []
    found = _service_bus(environ, problems)
    return None if problems else found


def _job_router(environ: Mapping[str, str], problems: list[str]) -> tuple[str, str | None]:
    connection_string = environ.get("JOB_ROUTER_CONNECTION_STRING", "").strip()
    endpoint = environ.get("JOB_ROUTER_ENDPOINT", "").strip()
    if bool(connection_string) == bool(endpoint):
        problems.append(
            f"JOB_ROUTER_CONNECTION_STRING and JOB_ROUTER_ENDPOINT are both {'set' if endpoint else 'missing'}: "
            "set the first for an access key or the second for a managed identity."
        )
        return "", None
    if connection_string:
        name, its_own = "JOB_ROUTER_CONNECTION_STRING", SecretKind.JOB_ROUTER
    else:
        name, its_own = "JOB_ROUTER_ENDPOINT", None
    if _is_misplaced(name, connection_string or endpoint, problems, its_own):
        return "", None
    key = None
    try:
        if connection_string:
            endpoint, key = parse_connection_string(connection_string)
        return normalise_endpoint(endpoint), key
    except ValueError as error:
        problems.append(f"{name} {error}. {_PORTAL}")
    return "", None


def _is_misplaced(name: str, text: str, problems: list[str], its_own: SecretKind | None = None) -> bool:
    """Whether the text is a secret that belongs elsewhere; its_own is the kind that belongs into this setting."""
    kind = secret_kind(text)
    if kind in (None, its_own):
        return False
    problems.append(f"{name} {kind.value}.")
    return True


def _service_bus(environ: Mapping[str, str], problems: list[str]) -> ServiceBusSettings:
    settings = ServiceBusSettings(
        queue_name=environ.get("CANCELLATION_QUEUE_NAME", "").strip(),
        connection_string=environ.get(_CONNECTION, "").strip() or None,
        fully_qualified_namespace=environ.get(_NAMESPACE, "").strip() or None,
        client_id=environ.get(_CLIENT_ID, "").strip() or None,
        credential=environ.get(_CREDENTIAL, "").strip().lower() or None,
        managed_identity_resource_id=environ.get(_RESOURCE_ID, "").strip() or None,
    )
    _check_queue_name(settings.queue_name, problems)
    if settings.connection_string:
        _check_connection_string(settings.connection_string, problems)
    elif settings.fully_qualified_namespace:
        _check_namespace(settings.fully_qualified_namespace, problems)
        _check_identity(settings, problems)
    else:
        problems.append(f"{_CONNECTION} and {_NAMESPACE} are both missing: set one, as for the trigger.")
    return settings


def _check_queue_name(queue_name: str, problems: list[str]) -> None:
    name = "CANCELLATION_QUEUE_NAME"
    if not queue_name:
        problems.append(f"{name} is missing: set it to the queue that the cancellations arrive on.")
    elif not (_is_misplaced(name, queue_name, problems) or is_queue_name(queue_name)):
        problems.append(f"{name} is not a queue's name, which has up to 260 letters, digits and '.', '-', '_', '/'.")


def _check_connection_string(connection_string: str, problems: list[str]) -> None:
    if _is_misplaced(_CONNECTION, connection_string, problems, SecretKind.SERVICE_BUS):
        return
    endpoint = re.search(r"(?:^|;)\s*endpoint\s*=\s*sb://([^/;]*)", connection_string, re.IGNORECASE)
    if not (endpoint and is_host(endpoint[1].strip())):
        problems.append(
            f"{_CONNECTION} is not a Service Bus connection string; it starts with Endpoint=sb://<namespace>. "
            "Copy it from the namespace, page Shared access policies."
        )


def _check_namespace(namespace: str, problems: list[str]) -> None:
    host = re.sub(r"^(?:sb|https)://", "", namespace, flags=re.IGNORECASE).rstrip("/")  # as the host takes it too
    if not (_is_misplaced(_NAMESPACE, namespace, problems) or is_host(host)):
        problems.append(f"{_NAMESPACE} is not a host name. Set it to <namespace>.servicebus.windows.net.")


def _check_identity(settings: ServiceBusSettings, problems: list[str]) -> None:
    credential = settings.credential
    if credential not in (None, _MANAGED_IDENTITY) and not _is_misplaced(_CREDENTIAL, credential, problems):
        named = f"'{credential}'" if credential in _OTHER_CREDENTIALS else "what it says"
        problems.append(
            f"{_CREDENTIAL} is not {_MANAGED_IDENTITY}: the function does not support {named}. Set it to "
            f"{_MANAGED_IDENTITY}, or remove it for DefaultAzureCredential."
        )
    for name, value, form, what in (
        (_CLIENT_ID, settings.client_id, _GUID, "a client id (a GUID)"),
        (_RESOURCE_ID, settings.managed_identity_resource_id, _IDENTITY, "the resource id of a managed identity"),
    ):
        if value and not (form.fullmatch(value) or _is_misplaced(name, value, problems)):
            problems.append(f"{name} is not {what}. Copy it from the identity's overview page, JSON view.")
    if settings.client_id and settings.managed_identity_resource_id:
        problems.append(f"{_CLIENT_ID} and {_RESOURCE_ID} are both set: remove one, they name one identity.")


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
        _refuse_number(name, text, f"a number of seconds {bounds}", f"{default:g}", problems)
    return value


def _threads(environ: Mapping[str, str], problems: list[str]) -> int:
    # Where it is absent the platform leaves the number to ThreadPoolExecutor, whose documentation this is from.
    text = environ.get(THREADS_SETTING, "").strip() or str(min(32, (os.cpu_count() or 1) + 4))
    threads = thread_count(text)
    if threads is None:
        _refuse_number(THREADS_SETTING, text, "a whole number of threads from 1 to 9999", "16", problems)
    return threads or 1


def _refuse_number(name: str, text: str, wanted: str, example: str, problems: list[str]) -> None:
    if not _is_misplaced(name, text, problems):
        problems.append(f"{name} is not {wanted}{quoted_number(text)}. Set it to one, such as {example}, or remove it.")
