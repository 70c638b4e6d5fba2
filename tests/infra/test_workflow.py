"""The GitHub workflow against its published schema and against the rules of this project; azure.yaml by its structure.

The workflow's schema comes with check-jsonschema. No package carries that of azure.yaml: its few keys are checked here.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from itertools import pairwise
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
GUIDE = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
(FUNCTION,) = (path.parent.name for path in ROOT.glob("*/function.json"))
# An az that lists the function of that name, from a given call on, and a clock that stands still.
SHELL = """
calls=0
az() {
    [[ "$1 $2 $3" == "functionapp function show" ]] || return 2
    while [[ $# -gt 0 && "$1" != --function-name ]]; do shift; done
    calls=$((calls + 1)) && [[ "$2" == "%s" && $calls -ge %d ]]
}
sleep() { :; }
"""


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


def last_step(function: str, listed_from_call: int) -> int:
    """The exit code of what the workflow does last, run as GitHub would."""
    script = SHELL % (function, listed_from_call) + JOBS["publish"]["steps"][-1]["run"]
    environment = {"APP": "app", "GROUP": "group", "PATH": "/usr/bin:/bin"}
    command = ["bash", "-e", "-c", script]
    return subprocess.run(command, env=environment, check=False, capture_output=True, timeout=30).returncode  # noqa: S603


@pytest.mark.parametrize("listed_from_call", [1, 3], ids=["at once", "after a while"])
def test_a_run_is_green_when_the_host_lists_the_function(listed_from_call: int) -> None:
    assert last_step(FUNCTION, listed_from_call) == 0


@pytest.mark.parametrize("function, listed_from_call", [(FUNCTION, 1000), ("another", 1)], ids=["none", "another"])
def test_a_run_is_red_when_the_host_does_not_list_the_function(function: str, listed_from_call: int) -> None:
    """Publishing succeeds also when the host cannot load what it was sent."""
    assert last_step(function, listed_from_call) == 1


@pytest.mark.parametrize("text", [TEXT, GUIDE], ids=["workflow", "guide"])
def test_libraries_are_installed_where_the_app_runs(text: str) -> None:
    """package.zip has none."""
    commands = re.findall(r"az functionapp deployment source config-zip .+", text)
    assert commands
    for command in map(shlex.split, commands):
        assert dict(pairwise(command))["--build-remote"] == "true"


def test_the_guide_sets_each_variable_that_the_workflow_reads() -> None:
    read_by_the_workflow = set(re.findall(r"vars\.(\w+)", TEXT))
    assert read_by_the_workflow == set(re.findall(r"gh variable set (\w+)", GUIDE))


def test_a_variable_reaches_the_input_that_it_is_for() -> None:
    (login,) = (step["with"] for step in STEPS if step.get("uses", "").startswith("azure/login@"))
    assert login == {name: f"${{{{ vars.AZURE_{name.replace('-', '_').upper()} }}}}" for name in login}
    for step in JOBS["publish"]["steps"]:
        for name, value in step.get("env", {}).items():
            variable = re.fullmatch(r"\$\{\{ vars\.(\w+) \}\}", value)
            assert variable, value
            assert f"gh variable set {variable[1]} --body ${name}\n" in GUIDE, "the guide has the same name for it"


def test_the_guide_trusts_the_environment_that_the_workflow_publishes_from() -> None:
    """Azure compares the subject letter by letter; any other environment, or a branch, cannot sign in."""
    (subject,) = re.findall(r"--subject (\S+)", GUIDE)
    assert JOBS["publish"]["environment"] == "production"
    assert subject.endswith(":environment:production")


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
