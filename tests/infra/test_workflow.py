"""The GitHub workflow against its published schema and against the rules of this project; azure.yaml by its structure.

The workflow's schema comes with check-jsonschema. No package carries that of azure.yaml: its few keys are checked here.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.infra.bicep import INFRA, read
from tests.infra.settings import ROOT

WORKFLOW = ROOT / ".github" / "workflows" / "deploy.yml"
TEXT = WORKFLOW.read_text(encoding="utf-8")
SCHEMAS = ("vendor.github-workflows", "custom.github-workflows-require-timeout")


def load(path: Path) -> Any:
    return YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))


JOBS: dict[str, Any] = load(WORKFLOW)["jobs"]
STEPS = [step for job in JOBS.values() for step in job["steps"]]


def complaints(path: Path, schema: str) -> str:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, str(path)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60)  # noqa: S603  # our own interpreter
    return "" if ran.returncode == 0 else ran.stdout + ran.stderr


@pytest.mark.parametrize("schema", SCHEMAS)
def test_the_workflow_is_valid(schema: str) -> None:
    assert complaints(WORKFLOW, schema) == ""


@pytest.mark.parametrize(
    "right, wrong, schema",
    [
        ("runs-on: ubuntu-latest", "run-on: ubuntu-latest", SCHEMAS[0]),
        ("needs: test", "need: test", SCHEMAS[0]),
        ("id-token: write", "id-token: please", SCHEMAS[0]),
        ("timeout-minutes: 10", "continue-on-error: false", SCHEMAS[1]),
    ],
)
def test_the_schema_refuses(tmp_path: Path, right: str, wrong: str, schema: str) -> None:
    assert right in TEXT
    broken = tmp_path / "broken.yml"
    broken.write_text(TEXT.replace(right, wrong), encoding="utf-8")
    assert complaints(broken, schema)


def test_each_action_is_pinned_and_known() -> None:
    used = {step["uses"] for step in STEPS if "uses" in step}
    assert all(re.fullmatch(r"[\w-]+/[\w-]+@(v\d+(\.\d+)*|[0-9a-f]{40})", action) for action in used)
    assert {action.partition("/")[0] for action in used} == {"actions", "azure"}


def test_both_pythons_are_tested_before_anything_is_published() -> None:
    assert JOBS["test"]["strategy"]["matrix"]["python"] == ["3.11", "3.13"]
    assert [step["run"] for step in JOBS["test"]["steps"] if "run" in step] == ["make lint", "make test"]
    assert (JOBS["package"]["needs"], JOBS["publish"]["needs"]) == ("test", "package")


def test_the_vendors_checks_cannot_be_skipped_unseen() -> None:
    assert JOBS["test"]["env"] == {"VENDOR_CHECKS_REQUIRED": "1"}
    assert "export VENDOR_CHECKS_REQUIRED=1" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def test_only_main_is_published_and_only_that_job_may_sign_in() -> None:
    assert JOBS["publish"]["if"] == "github.ref == 'refs/heads/main' && github.event_name != 'pull_request'"
    assert JOBS["publish"]["environment"] == "production"
    assert JOBS["publish"]["permissions"] == {"contents": "read", "id-token": "write"}
    assert load(WORKFLOW)["permissions"] == {"contents": "read"}
    assert TEXT.count("id-token") == 1
    assert {step["uses"].partition("@")[0] for step in JOBS["publish"]["steps"] if "uses" in step} == {
        *("actions/download-artifact", "azure/login")
    }


def test_no_secret_is_read_and_no_outside_text_reaches_a_shell() -> None:
    assert "secrets." not in TEXT
    for step in STEPS:
        assert "${{" not in step.get("run", ""), "an expression in a script: pass it through env"


def test_what_is_published_is_the_package_that_was_built_by_the_interpreter_of_the_app() -> None:
    runtime = read(INFRA / "modules" / "function-app.bicep").resource("Microsoft.Web/sites").value["properties"]
    version = runtime["functionAppConfig"]["runtime"]["version"]
    (python,) = (step for step in JOBS["package"]["steps"] if step.get("uses", "").startswith("actions/setup-python"))
    assert python["with"]["python-version"] == version
    assert version in JOBS["test"]["strategy"]["matrix"]["python"]
    uploaded, downloaded = (
        next(step["with"] for step in JOBS[job]["steps"] if f"/{kind}-artifact@" in step.get("uses", ""))
        for job, kind in (("package", "upload"), ("publish", "download"))
    )
    assert uploaded["name"] == downloaded["name"] == "package-${{ github.sha }}"
    assert uploaded["path"] == "package.zip"
    assert any("--src package.zip" in step.get("run", "") for step in JOBS["publish"]["steps"])


def test_the_guide_sets_each_variable_that_the_workflow_reads() -> None:
    guide = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
    read_by_the_workflow = set(re.findall(r"vars\.(\w+)", TEXT))
    assert read_by_the_workflow == set(re.findall(r"gh variable set (\w+)", guide))


def test_azure_yaml_names_what_azd_needs() -> None:
    document = load(ROOT / "azure.yaml")
    assert document.keys() == {"name", "infra", "services"}
    assert re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", document["name"])
    assert document["infra"] == {"provider": "bicep", "path": "infra", "module": "main"}
    assert document["services"] == {"cancel-job": {"project": ".", "language": "python", "host": "function"}}
    assert (ROOT / document["infra"]["path"] / f"{document['infra']['module']}.bicep").is_file()


def test_azd_finds_the_app_by_its_tag() -> None:
    (service,) = load(ROOT / "azure.yaml")["services"]
    app = read(INFRA / "modules" / "function-app.bicep").resource("Microsoft.Web/sites").value
    assert str(app["tags"]) == f"union(tags, {{ 'azd-service-name': '{service}' }})"
