"""Least right: each role under its own name, on the one resource that it is for, and nothing else."""

from __future__ import annotations

import re
from typing import Any

from tests.infra.bicep import INFRA, MAIN, MODULES, read
from tests.infra.settings import ROOT, table

# Microsoft's built-in roles, https://learn.microsoft.com/azure/role-based-access-control/built-in-roles
ROLES = {
    "Azure Service Bus Data Receiver": ("4f6d3b9b-027b-4f4c-9142-0e5a2a2247e0", "queue"),
    "Azure Service Bus Data Sender": ("69a216fc-b8fb-44d8-bc22-1f3c2cd27a39", "queue"),
    "Storage Blob Data Owner": ("b7e6dc6d-f1e8-4753-8033-0f276bb0955b", "storage"),
    "Monitoring Metrics Publisher": ("3913510d-42f4-4e42-8a64-420c390055eb", "insights"),
    "Communication and Email Service Owner": ("09976791-48a7-449e-bb21-39d1a415f350", "communication"),
}
GUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.I)
WITH_ROLES = [INFRA / "modules" / name for name in ("roles.bicep", "job-router-role.bicep")]


def assignments() -> dict[str, dict[str, Any]]:
    """The body of each role assignment, by the name of the role that it refers to."""
    found: dict[str, dict[str, Any]] = {}
    for path in [MAIN, *MODULES]:
        for resource in read(path).of("resource").values():
            if resource.type.startswith("Microsoft.Authorization/roleAssignments@"):
                said = re.search(r"roleIds\['([^']+)'\]", str(resource.value["properties"]["roleDefinitionId"]))
                assert said, f"{path.name}: {resource.name} takes its role from elsewhere than roleIds"
                assert said[1] not in found, f"{said[1]} is assigned twice"
                found[said[1]] = resource.value
    return found


def test_the_ids_belong_to_the_names() -> None:
    ids: dict[str, str] = {}
    for path in WITH_ROLES:
        ids |= read(path).of("var")["roleIds"].value
    assert ids == {name: role_id for name, (role_id, _) in ROLES.items()}


def test_each_role_is_assigned_on_the_resource_that_it_is_for() -> None:
    assert {name: str(body["scope"]) for name, body in assignments().items()} == {
        name: scope for name, (_, scope) in ROLES.items()
    }


def test_each_assignment_is_the_apps_identity_and_is_named_after_resource_identity_and_role() -> None:
    for name, body in assignments().items():
        scope = body["scope"]
        assert str(body["name"]) == f"guid({scope}.id, principalId, '{name}')"
        assert str(body["properties"]["principalId"]) == "principalId"
        assert body["properties"]["principalType"] == "ServicePrincipal"
    for module in ("roles", "jobRouterRole"):
        given = read(MAIN).of("module")[module].value["params"]
        assert str(given["principalId"]) == "identity.properties.principalId"


def test_no_other_id_stands_anywhere() -> None:
    known = {role_id for role_id, _ in ROLES.values()}
    for path in [MAIN, *MODULES]:
        assert set(GUID.findall(path.read_text(encoding="utf-8"))) <= known, path.name


def test_the_role_on_communication_services_goes_with_the_access_key_mode() -> None:
    assert "= if (empty(jobRouterVaultUri)) {" in read(MAIN).of("module")["jobRouterRole"].text


def test_the_deployment_guide_has_the_same_table() -> None:
    rows = table(ROOT / "docs" / "deploy.md", "roles")
    assert {row[0]: row[1] for row in rows} == {name: role_id for name, (role_id, _) in ROLES.items()}
