"""The Bicep files against their vendor's own types of Azure's resources (docs/decisions/0010-bicep-types.md).

The tool that carries the types knows one version of each. Of those in LATER it is a later version than ours: a property
or a value that is new since ours passes here, and Azure may refuse it. For the others the check is exact.

The tool is a download of 59 MB, so it is installed only where VENDOR_CHECKS_REQUIRED=1 asks for it. Once it is there,
the tests run unasked. They are in one file, so that one process installs it.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.infra.azmcp import BINARY, REFUSAL, ask
from tests.infra.bicep import INFRA, MAIN, MODULES, Declaration, Template, parse, read
from tests.infra.bicep_types import ResourceType, complaints, wrong_reads
from tests.infra.vendor import TOOLS, cached, install, installed, required

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.timeout(400)  # the first test waits for the download, and for a second's work on each type

EVERY = [MAIN, *MODULES]
RESOURCES = [(path, found) for path in EVERY for found in read(path).of("resource").values()]
VERSIONS = dict(found.type.split("@") for _, found in RESOURCES)
# Version 2.0.5 refers to their descriptions but was packed without them. They were compared once with those published.
LACKING = {
    f"Microsoft.Insights/{name}"
    for name in ("actionGroups", "diagnosticSettings", "metricAlerts", "scheduledQueryRules")
}
LATER = {
    "Microsoft.Communication/communicationServices": "2025-05-01",
    "Microsoft.ManagedIdentity/userAssignedIdentities": "2024-11-30",
    "Microsoft.OperationalInsights/workspaces": "2025-02-01",
    "Microsoft.Storage/storageAccounts": "2025-01-01",
    "Microsoft.Storage/storageAccounts/blobServices": "2025-01-01",
    "Microsoft.Storage/storageAccounts/blobServices/containers": "2025-01-01",
    "Microsoft.Web/serverfarms": "2024-11-01",
    "Microsoft.Web/sites": "2024-11-01",
    "Microsoft.Web/sites/basicPublishingCredentialsPolicies": "2024-11-01",
    "Microsoft.Web/sites/config": "2024-11-01",
}


class Answers(NamedTuple):
    known: dict[str, ResourceType]
    refused: dict[str, str]  # what the tool says instead


@pytest.fixture(scope="module")
def answers(pytestconfig: pytest.Config) -> Answers:
    if not required() and not installed(pytestconfig, "bicep", BINARY):
        pytest.skip("the vendor's Bicep types are a download of 59 MB: VENDOR_CHECKS_REQUIRED=1 asks for it")
    packages = install(pytestconfig, "bicep", BINARY, seconds=240)
    return Answers(*ask(packages, cached(pytestconfig, "bicep"), VERSIONS))


def wrong(template: Template, answers: Answers) -> list[str]:
    """All that is wrong in a file."""
    found = list(wrong_reads(template, answers.known))
    for resource in template.of("resource").values():
        known = answers.known.get(resource.type.partition("@")[0])
        if known and not resource.existing:
            found += complaints(template, resource, known)
    return found


def test_the_tool_knows_every_type_but_the_four_that_it_lacks(answers: Answers) -> None:
    assert answers.refused.keys() == LACKING, (
        "a type that does not exist, or one that a newer package has: check it too"
    )
    for name, message in answers.refused.items():
        assert message.startswith(REFUSAL.format(name)), message


def test_the_other_types_are_known_in_our_version_or_in_the_later_one_that_is_named(answers: Answers) -> None:
    assert {name: found.version for name, found in answers.known.items()} == {
        name: LATER.get(name, version) for name, version in VERSIONS.items() if name not in LACKING
    }
    assert all(VERSIONS[name] < version for name, version in LATER.items())


@pytest.mark.parametrize(
    "path, resource",
    [(path, found) for path, found in RESOURCES if not found.existing and found.type.partition("@")[0] not in LACKING],
    ids=lambda value: value.name if isinstance(value, Declaration) else value.stem,
)
def test_a_resource_is_as_its_type_describes_it(answers: Answers, path: Path, resource: Declaration) -> None:
    assert complaints(read(path), resource, answers.known[resource.type.partition("@")[0]]) == []


@pytest.mark.parametrize("path", EVERY, ids=lambda path: path.stem)
def test_what_is_read_of_a_resource_is_there_to_be_read(answers: Answers, path: Path) -> None:
    assert list(wrong_reads(read(path), answers.known)) == []


BROKEN = {
    "misspelt": (
        *("service-bus", "lockDuration: 'PT5M'", "lockDuratoin: 'PT5M'"),
        "queue: properties.lockDuratoin: no such property, but lockDuration",
    ),
    "misspelt-in-a-branch": (
        *("function-app", "name: 'function:cancel_job_function'", "nam: 'function:cancel_job_function'"),
        "app: properties.functionAppConfig.scaleAndConcurrency.alwaysReady[0].nam: no such property, but name",
    ),
    "read-only": (
        *("service-bus", "maxDeliveryCount: 30", "accessedAt: '2024-01-01T00:00:00Z'"),
        "queue: properties.accessedAt: is read-only",
    ),
    "missing": ("storage", "  kind: 'StorageV2'\n", "", "storage: kind: is missing"),
    "not-in-the-open-list": (
        *("storage", "'StorageV2'", "'StorageV9'"),
        "storage: kind: 'StorageV9' is none of Storage, StorageV2, BlobStorage, FileStorage, BlockBlobStorage",
    ),
    "not-in-the-closed-list": (
        *("storage", "publicAccess: 'None'", "publicAccess: 'Nobody'"),
        "packages: properties.publicAccess: 'Nobody' is none of Container, Blob, None",
    ),
    "no-such-kind": (
        *("function-app", "['scm', 'ftp']", "['scm', 'ftps']"),
        "noBasicPublishing: name: 'ftps' is none of ftp, scm",
    ),
    "int-for-string": (
        *("service-bus", "lockDuration: 'PT5M'", "lockDuration: 5"),
        "queue: properties.lockDuration: 5 where string belongs",
    ),
    "string-for-int": (
        *("service-bus", "maxDeliveryCount: 30", "maxDeliveryCount: '30'"),
        "queue: properties.maxDeliveryCount: '30' where int belongs",
    ),
    "param-for-bool": (
        *("service-bus", "param duplicateDetection bool", "param duplicateDetection string"),
        "queue: properties.requiresDuplicateDetection: string where bool belongs",
    ),
    "array-for-object": (
        *("storage", "sku: {\n    name: 'Standard_LRS'\n  }", "sku: ['Standard_LRS']"),
        "storage: sku: array where Sku belongs",
    ),
    "int-for-a-setting": (
        *("function-app", "CANCELLATION_QUEUE_NAME: queueName", "CANCELLATION_QUEUE_NAME: 5"),
        "appSettings: properties.CANCELLATION_QUEUE_NAME: 5 where string belongs",
    ),
    "too-many": (
        *("storage", "name: 'default'\n", "name: 'default'\n  properties: { deleteRetentionPolicy: { days: 366 } }\n"),
        "blobs: properties.deleteRetentionPolicy.days: 366 is outside maxValue 365",
    ),
    "param-lets-it-be-too-long": (
        *("storage", "@maxLength(24)", "@maxLength(25)"),
        "storage: name: 25 is outside maxLength 24",
    ),
    "other-pattern": (
        *("monitoring", "'${namePrefix}-logs-${suffix}'", "'logs_1'"),
        "workspace: name: 'logs_1' does not match ^[A-Za-z0-9][A-Za-z0-9-]+[A-Za-z0-9]$",
    ),
    "parent": (
        *("storage", "parent: blobs", "parent: storage"),
        "packages: parent: storage is no Microsoft.Storage/storageAccounts/blobServices",
    ),
    "scope": (
        *("storage", "  kind: 'StorageV2'\n", "  kind: 'StorageV2'\n  scope: blobs\n"),
        "storage: scope: this type goes into a resource group and nowhere else",
    ),
    "reads-what-is-not-there": (
        *("function-app", "insights.properties.ConnectionString", "insights.properties.connectionString"),
        "insights.properties.connectionString: no such property: connectionString",
    ),
}


@pytest.mark.parametrize("file, right, broken, complaint", BROKEN.values(), ids=BROKEN)
def test_the_types_refuse(answers: Answers, file: str, right: str, broken: str, complaint: str) -> None:
    path = INFRA / "modules" / f"{file}.bicep"
    text = path.read_text(encoding="utf-8")
    assert text.count(right) == 1
    template = parse(text.replace(right, broken).encode(), path)
    assert wrong(template, answers) == [f"{file}.bicep: {complaint}"]


def test_the_lock_file_names_every_platform_and_no_registry() -> None:
    packages = json.loads((TOOLS / "bicep" / "package-lock.json").read_text(encoding="utf-8"))["packages"]
    platforms = [name.rpartition("/mcp-")[2] for name in packages if "/mcp-" in name]
    assert platforms == [f"{system}-{cpu}" for system in ("darwin", "linux", "win32") for cpu in ("arm64", "x64")]
    for name, package in packages.items():
        assert "resolved" not in package, name
        assert not name or package["integrity"].startswith("sha512-"), name
        assert "/mcp-" not in name or (package["optional"] and package["os"] and package["cpu"]), name
