"""Which queue a command acts on, and how it is reached: options first, else the function's own settings."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ops.errors import USAGE, OpsError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import typer
    from azure.core.credentials import TokenCredential
    from azure.servicebus import ServiceBusClient
    from azure.servicebus.management import ServiceBusAdministrationClient

_CONNECTION = "ServiceBusConnection"
_NAMESPACE = f"{_CONNECTION}__fullyQualifiedNamespace"
_CLIENT_ID = f"{_CONNECTION}__clientId"
_QUEUE = "CANCELLATION_QUEUE_NAME"
# Microsoft's emulator and the embedded stack speak AMQP and administration on ports of their own; the connection
# string names the first only. 5300 is the emulator's default.
_MANAGEMENT_PORT = "SERVICE_BUS_MANAGEMENT_PORT"
_SOCKET_TIMEOUT = 10.0  # seconds


@dataclass(frozen=True)
class Target:
    """A queue of a namespace. Either connection_string is given, or fully_qualified_namespace with an identity."""

    queue: str
    host: str
    connection_string: str | None = None
    fully_qualified_namespace: str | None = None
    client_id: str | None = None
    is_emulator: bool = False
    management_port: int = 5300

    def __repr__(self) -> str:
        return f"Target(queue={self.queue!r}, host={self.host!r})"  # a connection string must not reach a screen

    @classmethod
    def from_options(
        cls, connection: str | None, namespace: str | None, queue: str | None, environ: Mapping[str, str]
    ) -> Target:
        """Build it from the options, else from the settings that the function reads.

        connection wins over namespace, an option over a setting.

        Raises:
            OpsError: something is missing or malformed; the sentence says which option or setting to give.
        """
        if connection and namespace:
            raise OpsError("--connection and --namespace exclude each other: give one.", USAGE)
        if not (connection or namespace):
            connection = environ.get(_CONNECTION, "").strip() or None
            namespace = None if connection else environ.get(_NAMESPACE, "").strip() or None
        if not (connection or namespace):
            raise OpsError(f"No Service Bus is named: give --connection or --namespace, or set {_CONNECTION}.", USAGE)
        parsed = _parse(connection) if connection else None
        if parsed and parsed.entity_path:
            _check_queue_name(parsed.entity_path, "--connection", f"{_CONNECTION}, as its EntityPath")
        queue = (queue or environ.get(_QUEUE, "") or (parsed.entity_path if parsed else "") or "").strip()
        if not queue:
            raise OpsError(f"No queue is named: give --queue, or set {_QUEUE}.", USAGE)
        _check_queue_name(queue, "--queue", _QUEUE)
        if parsed:
            if parsed.entity_path not in (None, queue):
                raise OpsError(
                    f"The connection string is for queue '{parsed.entity_path}' (its EntityPath), and queue '{queue}' "
                    f"is named: give --queue {parsed.entity_path}, or a connection string without EntityPath.",
                    USAGE,
                )
            return cls(queue, parsed.host, connection, is_emulator=parsed.is_emulator, management_port=_port(environ))
        host = _host(namespace or "")
        return cls(queue, host, fully_qualified_namespace=host, client_id=environ.get(_CLIENT_ID, "").strip() or None)

    def client(self, **options: Any) -> ServiceBusClient:
        """A new client, to be used as a context manager. options: the SDK's own, such as retry_total."""
        from azure.servicebus import ServiceBusClient

        options = {"socket_timeout": _SOCKET_TIMEOUT, "retry_total": 1, **options}
        if self.connection_string:
            return ServiceBusClient.from_connection_string(self.connection_string, **options)
        return ServiceBusClient(self.host, self._credential(), **options)

    def administration(self) -> ServiceBusAdministrationClient:
        """A new client for queue properties and counts (needs Manage), to be used as a context manager."""
        from azure.servicebus.management import ServiceBusAdministrationClient

        options: dict[str, Any] = {"retry_total": 1, "connection_timeout": _SOCKET_TIMEOUT, "read_timeout": 30}
        if self.connection_string and self.is_emulator:
            from ops.emulator import PlainHttpTransport

            options["transport"] = PlainHttpTransport(self.management_port, connection_timeout=_SOCKET_TIMEOUT)
        if self.connection_string:
            return ServiceBusAdministrationClient.from_connection_string(self.connection_string, **options)
        return ServiceBusAdministrationClient(self.host, self._credential(), **options)

    def _credential(self) -> TokenCredential:
        from azure.identity import DefaultAzureCredential

        # On a laptop `az login`, in Azure the managed identity that the function has.
        return DefaultAzureCredential(managed_identity_client_id=self.client_id)


def target_of(context: typer.Context) -> Target:
    """The target of this command's options.

    Raises:
        OpsError: they do not name one.
    """
    target: Target = context.obj()
    return target


@dataclass(frozen=True)
class _Parsed:
    host: str
    entity_path: str | None
    is_emulator: bool


def _parse(connection: str) -> _Parsed:
    """What the SDK accepts, read before it: its own words on a bad one name no next step."""
    parts = [part.partition("=") for part in connection.strip().rstrip(";").split(";")]
    fields = {name.lower(): value.strip() for name, _, value in parts}
    scheme, _, host = fields.get("endpoint", "").rstrip("/").partition("://")
    key, signature = fields.get("sharedaccesskey"), fields.get("sharedaccesssignature")
    problem = None
    if scheme.lower() != "sb" or not host:
        problem = "it has no Endpoint=sb://…"
    elif not key and (not signature or "sharedaccesskeyname" in fields):
        problem = "it has no SharedAccessKey"
    elif key and not fields.get("sharedaccesskeyname"):
        problem = "it has no SharedAccessKeyName"
    elif key and signature:
        problem = "it has both SharedAccessKey and SharedAccessSignature"
    elif not all(name and value.strip() for name, _, value in parts):
        problem = "a part of it has no '=' or no value"
    elif len(fields) < len(parts):
        problem = "it names something twice"
    elif not _is_host(host):
        problem = "its Endpoint is no sb://host or sb://host:port, the port from 1 to 65535"
    if problem:
        raise OpsError(
            f"The connection string is not one of Service Bus: {problem}. Copy it from the namespace's Shared access "
            "policies, or from what `make local` prints.",
            USAGE,
        )
    emulated = fields.get("usedevelopmentemulator", "").lower() == "true"
    return _Parsed(host, fields.get("entitypath"), emulated)


def _host(namespace: str) -> str:
    _refuse_a_secret(namespace, "--namespace", _NAMESPACE)
    host = namespace.strip().removeprefix("sb://").removeprefix("https://").strip("/")
    if not _is_host(host):
        raise OpsError(f"--namespace (or {_NAMESPACE}) is no host. Give <name>.servicebus.windows.net.", USAGE)
    return host if "." in host else f"{host}.servicebus.windows.net"


def _check_queue_name(queue: str, option: str, setting: str) -> None:
    from shared.secret_detection import is_queue_name

    _refuse_a_secret(queue, option, setting)
    if not is_queue_name(queue):
        form = "up to 260 letters, digits and '.', '-', '_', '/'"
        raise OpsError(f"What {option} (or {setting}) says is no queue's name, which has {form}.", USAGE)


def _refuse_a_secret(value: str, option: str, setting: str) -> None:
    """A host or a queue is named in many sentences: what could be a secret must not become one."""
    from shared.secret_detection import SecretKind, secret_kind

    kind = secret_kind(value)
    # Neither a host nor a queue has such characters.
    if kind in (SecretKind.SERVICE_BUS, SecretKind.JOB_ROUTER) or (kind is None and re.search("[;=]", value)):
        raise OpsError(f"What {option} (or {setting}) says is a connection string: give it with --connection.", USAGE)
    if kind:
        raise OpsError(f"What {option} (or {setting}) says {kind.value}.", USAGE)


def _is_host(text: str) -> bool:
    try:
        parts = urlsplit(f"sb://{text}")
        return bool(parts.hostname) and parts.port != 0 and parts.netloc == text and "@" not in text
    except ValueError:  # a port that is none, a bracket that nobody closes
        return False


def _port(environ: Mapping[str, str]) -> int:
    from shared.secret_detection import quoted_number

    text = environ.get(_MANAGEMENT_PORT, "").strip() or "5300"
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 65_536):
        raise OpsError(f"{_MANAGEMENT_PORT} is not a port from 1 to 65535{quoted_number(text)}.", USAGE)
    return int(text)
