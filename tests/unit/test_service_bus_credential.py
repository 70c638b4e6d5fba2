"""Which identity is used for Service Bus: the one that the host uses for the trigger."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

import pytest
from azure.identity import DefaultAzureCredential, ManagedIdentityCredential

from local.identity import IdentityEndpoint
from shared.service_bus_credential import credential_of
from shared.settings import ServiceBusSettings
from shared.token_source import BOUNDS

if TYPE_CHECKING:
    from pytest_mock import MockerFixture

CLIENT_ID = "0f8fad5b-d9cb-469f-a165-70867728950e"
RESOURCE_ID = (
    f"/subscriptions/{CLIENT_ID}/resourceGroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/cancel-job"
)


def settings(**changes: Any) -> ServiceBusSettings:
    return ServiceBusSettings("q", fully_qualified_namespace="x.servicebus.windows.net", **changes)


@pytest.fixture
def identity(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.delenv("AZURE_CLIENT_ID", raising=False)
    with IdentityEndpoint() as endpoint:
        for name, value in endpoint.environment.items():
            monkeypatch.setenv(name, value)
        yield endpoint


def asked_for(given: ServiceBusSettings, identity: IdentityEndpoint) -> dict[str, str]:
    """What the platform's identity endpoint is asked for, but for what is in every request."""
    credential_of(given).get_token("https://servicebus.azure.net/.default")
    query = dict(parse_qsl(identity.requests[-1].query))
    return {name: value for name, value in query.items() if name not in ("api-version", "resource")}


@pytest.mark.parametrize(
    "changes, asked",
    [
        ({"credential": "managedidentity"}, {}),
        ({"credential": "managedidentity", "client_id": CLIENT_ID}, {"client_id": CLIENT_ID}),
        (
            {"credential": "managedidentity", "managed_identity_resource_id": RESOURCE_ID},
            {"mi_res_id": RESOURCE_ID},
        ),
        ({"managed_identity_resource_id": RESOURCE_ID}, {"mi_res_id": RESOURCE_ID}),
    ],
)
def test_a_managed_identity_is_asked_for_as_the_platform_names_it(
    identity: IdentityEndpoint, changes: dict[str, str], asked: dict[str, str]
) -> None:
    assert isinstance(credential_of(settings(**changes)), ManagedIdentityCredential)
    assert asked_for(settings(**changes), identity) == asked


def test_without_a_credential_the_default_one_is_used(mocker: MockerFixture) -> None:
    made = mocker.patch("azure.identity.DefaultAzureCredential", spec=DefaultAzureCredential)
    credential_of(settings())
    made.assert_called_once_with(**BOUNDS)  # an argument of None would hide AZURE_CLIENT_ID


def test_a_client_id_alone_is_the_default_credentials_managed_identity(mocker: MockerFixture) -> None:
    made = mocker.patch("azure.identity.DefaultAzureCredential", spec=DefaultAzureCredential)
    credential_of(settings(client_id=CLIENT_ID))
    made.assert_called_once_with(managed_identity_client_id=CLIENT_ID, **BOUNDS)
