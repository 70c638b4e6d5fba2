"""The identity for Service Bus without a connection string: chosen as the Functions host chooses it for the trigger.

Source: "Azure Functions developer guide", Common properties for identity-based connections.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared.token_source import BOUNDS

if TYPE_CHECKING:
    from azure.core.credentials import TokenCredential

    from shared.settings import ServiceBusSettings


def credential_of(settings: ServiceBusSettings) -> TokenCredential:
    """The managed identity where `__credential` says so, else whatever DefaultAzureCredential finds.

    A resource id can only name a managed identity, so it alone says so too: DefaultAzureCredential takes none.
    """
    from azure.identity import DefaultAzureCredential, ManagedIdentityCredential  # slow, and seldom needed

    if settings.managed_identity_resource_id:
        # azure-identity's own word; it spells it as the environment wants it (mi_res_id, msi_res_id). Any other
        # word is ignored without an error, and the system-assigned identity taken.
        return ManagedIdentityCredential(
            identity_config={"resource_id": settings.managed_identity_resource_id}, **BOUNDS
        )
    if settings.credential:
        return ManagedIdentityCredential(client_id=settings.client_id, **BOUNDS)
    if settings.client_id:
        return DefaultAzureCredential(managed_identity_client_id=settings.client_id, **BOUNDS)
    return DefaultAzureCredential(**BOUNDS)  # which looks at AZURE_CLIENT_ID itself
