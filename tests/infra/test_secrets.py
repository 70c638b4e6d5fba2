"""No secret is made, read, handed over or put out by the deployment, and nothing accepts one."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.infra.bicep import INFRA, MAIN, MODULES, read
from tests.infra.settings import JOB_ROUTER_SETTINGS, SETTINGS

if TYPE_CHECKING:
    from pathlib import Path

BY_NAME = pytest.mark.parametrize("path", [MAIN, *MODULES], ids=lambda path: path.stem)
ASKS_FOR_KEYS = re.compile(r"\blist(Keys|Secrets|AccountSas|ServiceSas|Credentials|ConnectionStrings)?\s*\(", re.I)
LOOKS_LIKE_A_KEY = re.compile(r"(AccountKey|SharedAccessKey|SharedAccessSignature|accesskey|Password|sig)\s*=", re.I)
NAMES_A_SECRET = re.compile(
    r"password|pwd|secret|token|credential|access_?key|connection_?string|instrumentation", re.I
)


@BY_NAME
def test_nothing_asks_for_keys(path: Path) -> None:
    assert not ASKS_FOR_KEYS.search(path.read_text(encoding="utf-8"))


@BY_NAME
def test_nothing_is_written_down_that_looks_like_a_key(path: Path) -> None:
    assert not LOOKS_LIKE_A_KEY.search(path.read_text(encoding="utf-8"))


@BY_NAME
def test_a_parameter_that_is_a_secret_would_be_a_secure_one(path: Path) -> None:
    for parameter in read(path).of("param").values():
        if NAMES_A_SECRET.search(parameter.name):
            assert parameter.decorators.get("secure"), parameter.name


@BY_NAME
def test_no_output_tells_a_secret(path: Path) -> None:
    for output in read(path).of("output").values():
        assert not NAMES_A_SECRET.search(f"{output.name} {output.value}"), output.name


def test_the_parameter_files_hold_none() -> None:
    for path in INFRA.glob("*.json"):
        assert not LOOKS_LIKE_A_KEY.search(path.read_text(encoding="utf-8")), path.name


def test_the_only_settings_that_name_a_connection_string_hold_none() -> None:
    named = {
        name: str(value) for name, value in (SETTINGS | JOB_ROUTER_SETTINGS).items() if NAMES_A_SECRET.search(name)
    }
    assert named == {
        # Of use only with an identity, because the component takes nothing else: the next test.
        "APPLICATIONINSIGHTS_CONNECTION_STRING": "insights.properties.ConnectionString",
        # Key Vault keeps the secret; the setting says where it is.
        "JOB_ROUTER_CONNECTION_STRING": "'@Microsoft.KeyVault(SecretUri=${jobRouterVaultUri})'",
        "AzureWebJobsStorage__credential": "managedidentity",
        "ServiceBusConnection__credential": "managedidentity",
    }


def test_keys_are_refused_where_that_can_be_said() -> None:
    modules = {path.stem: read(path) for path in MODULES}
    bus = modules["service-bus"].resource("Microsoft.ServiceBus/namespaces").value["properties"]
    storage = modules["storage"].resource("Microsoft.Storage/storageAccounts").value["properties"]
    insights = modules["monitoring"].resource("Microsoft.Insights/components").value["properties"]
    workspace = modules["monitoring"].resource("Microsoft.OperationalInsights/workspaces").value["properties"]
    publishing = modules["function-app"].resource("Microsoft.Web/sites/basicPublishingCredentialsPolicies")
    assert bus["disableLocalAuth"] is True
    assert storage["allowSharedKeyAccess"] is False
    assert storage["allowBlobPublicAccess"] is False
    assert insights["DisableLocalAuth"] is True
    assert workspace["features"]["disableLocalAuth"] is True
    assert publishing.value["properties"]["allow"] is False
    assert "['scm', 'ftp']" in publishing.text


def test_the_app_runs_as_the_one_identity_and_fetches_its_package_with_it() -> None:
    site = read(INFRA / "modules" / "function-app.bicep").resource("Microsoft.Web/sites").value
    assert site["identity"]["type"] == "UserAssigned"
    assert list(site["identity"]["userAssignedIdentities"]) == ["'${identity.id}'"]
    deployment = site["properties"]["functionAppConfig"]["deployment"]["storage"]
    assert deployment["authentication"]["type"] == "UserAssignedIdentity"
    assert str(deployment["authentication"]["userAssignedIdentityResourceId"]) == "identity.id"


def test_transport_is_encrypted() -> None:
    modules = {path.stem: read(path) for path in MODULES}
    bus = modules["service-bus"].resource("Microsoft.ServiceBus/namespaces").value["properties"]
    storage = modules["storage"].resource("Microsoft.Storage/storageAccounts").value["properties"]
    site = modules["function-app"].resource("Microsoft.Web/sites").value["properties"]
    assert bus["minimumTlsVersion"] == "1.2"
    assert (storage["minimumTlsVersion"], storage["supportsHttpsTrafficOnly"]) == ("TLS1_2", True)
    assert (site["httpsOnly"], site["siteConfig"]["minTlsVersion"]) == (True, "1.2")
