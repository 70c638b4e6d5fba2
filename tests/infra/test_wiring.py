"""What is connected with what: every wire that fits its socket by type, and would still be the wrong one."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from shared.settings import Settings
from tests.infra.bicep import INFRA, MAIN, MODULES, read, value_of, walk
from tests.infra.settings import JOB_ROUTER_SETTINGS, MINIMAL, ROOT, SETTINGS

if TYPE_CHECKING:
    from pathlib import Path

BY_NAME = pytest.mark.parametrize("path", [MAIN, *MODULES], ids=lambda path: path.stem)
MODULE_CALLS = read(MAIN).of("module")
APP = read(INFRA / "modules" / "function-app.bicep")
SITE = APP.resource("Microsoft.Web/sites").value["properties"]
GUIDE = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")

# Parameters that main.bicep makes up or renames; every other one carries what has its name.
COMPOSED = {
    ("serviceBus", "namespaceName"): "'${namePrefix}-bus-${suffix}'",
    ("serviceBus", "giveUpAfterSeconds"): "redeliveryGiveUpAfterSeconds",
    ("storage", "storageName"): "take('st${suffix}${namePrefix}', 24)",
    ("functionApp", "planName"): "'${namePrefix}-plan-${suffix}'",
    ("functionApp", "identityName"): "identity.name",
    ("functionApp", "jobRouterEndpoint"): "'https://${communication.properties.hostName}'",
}
# What a module makes, and under which name the others learn of it.
PUT_OUT = {
    "namespaceName": ("serviceBus", "namespace.name"),
    "queueName": ("serviceBus", "queue.name"),
    "namespaceHost": ("serviceBus", "'${namespace.name}.servicebus.windows.net'"),
    "storageName": ("storage", "storage.name"),
    "packageContainerName": ("storage", "packages.name"),
    "insightsName": ("monitoring", "insights.name"),
    # the id that `az monitor log-analytics query --workspace` takes, which is not the resource's
    "workspaceId": ("monitoring", "workspace.properties.customerId"),
}


def module_parameters() -> dict[tuple[str, str], str]:
    """Module and parameter, and the text of what main.bicep gives it."""
    return {
        (module.name, name): str(value)
        for module in MODULE_CALLS.values()
        for name, value in module.value["params"].items()
    }


def properties(value: Any) -> dict[str, Any]:
    """All properties in a body, however deep."""
    if isinstance(value, list):
        return {name: found for item in value for name, found in properties(item).items()}
    if not isinstance(value, dict):
        return {}
    return value | properties(list(value.values()))


def upper_snake(name: str) -> str:
    return re.sub(r"(?=[A-Z])", "_", name).upper()


# The settings


def test_an_identity_is_chosen_by_its_client_id() -> None:
    """Asked for by its principal id, which is what roles are assigned to, Azure knows no such identity."""
    choosing = {name: str(value) for name, value in SETTINGS.items() if re.search("client_?id$", name, re.I)}
    assert choosing == dict.fromkeys(
        ("AZURE_CLIENT_ID", "AzureWebJobsStorage__clientId", "ServiceBusConnection__clientId"),
        "identity.properties.clientId",
    )


def test_telemetry_signs_in_with_the_apps_identity() -> None:
    """The component refuses a key (DisableLocalAuth)."""
    parts = str(SETTINGS["APPLICATIONINSIGHTS_AUTHENTICATION_STRING"]).strip("'").split(";")
    assert dict(part.split("=") for part in parts) == {
        "ClientId": "${identity.properties.clientId}",
        "Authorization": "AAD",
    }


@pytest.mark.parametrize(
    "setting, parameter",
    [
        ("CANCELLATION_QUEUE_NAME", "queueName"),
        ("ServiceBusConnection__fullyQualifiedNamespace", "namespaceHost"),
        ("JOB_ROUTER_ENDPOINT", "jobRouterEndpoint"),
    ],
)
def test_a_setting_that_names_a_resource_carries_the_parameter_for_it(setting: str, parameter: str) -> None:
    assert str((SETTINGS | JOB_ROUTER_SETTINGS)[setting]) == parameter


def test_the_host_and_the_package_use_the_blob_endpoint_of_the_account() -> None:
    """The app has no right on tables, queues and files."""
    services = {name: str(value) for name, value in SETTINGS.items() if name.endswith("ServiceUri")}
    assert services == {"AzureWebJobsStorage__blobServiceUri": "storage.properties.primaryEndpoints.blob"}
    package = SITE["functionAppConfig"]["deployment"]["storage"]
    assert package["type"] == "blobContainer"
    assert package["value"].text == "'${storage.properties.primaryEndpoints.blob}${packageContainerName}'"


def test_the_code_accepts_the_endpoint_and_the_host_as_they_are_composed() -> None:
    """hostName and the namespace's name come without a scheme; the code wants https, and a host that it can resolve."""
    endpoint = module_parameters()["functionApp", "jobRouterEndpoint"].strip("'")
    host = str(read(INFRA / "modules" / "service-bus.bicep").of("output")["namespaceHost"].value).strip("'")
    composed = {
        "JOB_ROUTER_ENDPOINT": endpoint.replace("${communication.properties.hostName}", "r.communication.azure.com"),
        "ServiceBusConnection__fullyQualifiedNamespace": host.replace("${namespace.name}", "n"),
    }
    settings = Settings.from_environment(MINIMAL | composed)
    assert settings.endpoint == MINIMAL["JOB_ROUTER_ENDPOINT"]
    assert settings.service_bus.fully_qualified_namespace == MINIMAL["ServiceBusConnection__fullyQualifiedNamespace"]


# The app


def test_references_to_key_vault_are_read_with_the_apps_identity() -> None:
    """Else with the system-assigned one, which there is not: access-key mode would have no key."""
    assert str(SITE["keyVaultReferenceIdentity"]) == "identity.id"


def test_the_plan_is_flex_consumption_on_linux() -> None:
    """functionAppConfig and scaling with an identity alone exist on no other; Python exists on Linux only."""
    plan = APP.resource("Microsoft.Web/serverfarms").value
    assert plan["sku"] == {"name": "FC1", "tier": "FlexConsumption"}
    assert plan["properties"]["reserved"] is True
    assert str(SITE["serverFarmId"]) == "plan.id"


def test_what_is_kept_running_is_the_group_of_the_function() -> None:
    """Azure takes any name; with another one instances are paid for and never used."""
    (folder,) = (path.parent.name for path in ROOT.glob("*/function.json"))
    groups = [value_of(node) for node in walk(APP.root) if node.type == "object"]
    assert {group["name"] for group in groups if "instanceCount" in group} == {f"function:{folder}"}


def test_the_app_starts_after_its_rights_are_given() -> None:
    """One that starts without them fails until somebody restarts it, and no value that it takes makes it wait."""
    assert "roles" in map(str, MODULE_CALLS["functionApp"].value["dependsOn"])


# The modules


@pytest.mark.parametrize("module, parameter", module_parameters())
def test_a_parameter_of_a_module_carries_what_has_its_name(module: str, parameter: str) -> None:
    given = module_parameters()[module, parameter]
    if (module, parameter) in COMPOSED:
        assert given == COMPOSED[module, parameter]
    else:
        assert given.rpartition(".")[2] == parameter


def test_no_exception_is_left_over() -> None:
    assert COMPOSED.keys() <= module_parameters().keys()


def test_who_needs_what_a_module_makes_waits_for_that_module() -> None:
    """A name that is taken from elsewhere is the same name, of a resource that may not exist yet."""
    for (module, parameter), given in module_parameters().items():
        maker, _ = PUT_OUT.get(parameter, (module, ""))
        if maker != module:
            assert given == f"{maker}.outputs.{parameter}", f"{module}: {parameter}"


def test_each_module_puts_out_what_the_name_says() -> None:
    put_out = {
        name: (module.name, str(output.value))
        for module in MODULE_CALLS.values()
        for name, output in read(INFRA / module.type).of("output").items()
    }
    assert put_out == PUT_OUT


def test_each_output_of_main_is_what_the_name_says() -> None:
    outputs = {name: str(output.value) for name, output in read(MAIN).of("output").items()}
    assert outputs.pop("identityPrincipalId") == "identity.properties.principalId"
    assert outputs.pop("jobRouterEndpoint") == module_parameters()["functionApp", "jobRouterEndpoint"], "as the app has"
    for name, value in outputs.items():
        assert value in (name, f"{PUT_OUT.get(name, ('',))[0]}.outputs.{name}")


@BY_NAME
def test_what_exists_already_is_found_by_its_own_name(path: Path) -> None:
    for resource in read(path).of("resource").values():
        if resource.existing:
            assert re.fullmatch(rf"{resource.name}(Services)?Name", str(resource.value["name"])), resource.name


def test_communication_services_and_the_right_on_it_are_in_its_own_resource_group() -> None:
    where = "resourceGroup(communicationServicesResourceGroup)"
    assert str(read(MAIN).of("resource")["communication"].value["scope"]) == where
    assert str(MODULE_CALLS["jobRouterRole"].value["scope"]) == where


def test_telemetry_lies_in_the_workspace_that_the_alerts_query() -> None:
    """Without it the component is a classic one, which Azure does not make any more."""
    component = read(INFRA / "modules" / "monitoring.bicep").resource("Microsoft.Insights/components").value
    assert str(component["properties"]["WorkspaceResourceId"]) == "workspace.id"


@BY_NAME
def test_nothing_is_closed_to_the_public_network_while_there_is_no_private_one(path: Path) -> None:
    """The app reaches the namespace, the account and Azure Monitor over it: docs/deploy.md, Private networking."""
    assert "virtualNetworkSubnetId" not in SITE
    for resource in read(path).of("resource").values():
        said = {name: value for name, value in properties(resource.value).items() if "publicNetworkAccess" in name}
        assert set(said.values()) <= {"Enabled"}, resource.name
        assert "networkAcls" not in properties(resource.value), resource.name


# azd and the guide


def test_azd_reads_each_parameter_from_the_variable_of_its_name() -> None:
    given = json.loads((INFRA / "main.parameters.json").read_text(encoding="utf-8"))["parameters"]
    read_from = {name: entry["value"] for name, entry in given.items()}
    assert read_from.pop("location") == "${AZURE_LOCATION}", "what azd itself calls it"
    assert read_from == {name: f"${{{upper_snake(name)}}}" for name in read_from}


def test_the_guide_tells_to_set_each_variable_that_azd_reads() -> None:
    """One that is not set is an empty text. AZURE_LOCATION azd asks for; AZURE_RESOURCE_GROUP it reads itself."""
    (paragraph,) = (part for part in GUIDE.split("\n\n") if part.startswith("**With azd**"))
    told = set(re.findall(r"`([A-Z][A-Z_]+)`", paragraph))
    needed = set(re.findall(r"\$\{(\w+)\}", (INFRA / "main.parameters.json").read_text(encoding="utf-8")))
    assert told - {"AZURE_RESOURCE_GROUP"} == needed - {"AZURE_LOCATION"}
    assert "AZURE_RESOURCE_GROUP" in told


def test_each_output_that_a_document_reads_exists() -> None:
    documents = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    used = {name for path in documents for name in re.findall(r"\$\(output (\w+)\)", path.read_text(encoding="utf-8"))}
    assert {"functionAppName", "workspaceId"} <= used, "the documents write it in another way now: follow them"
    assert used <= read(MAIN).of("output").keys()
