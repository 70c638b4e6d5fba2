"""The KQL files: checked by their vendor's language service, and against the log line that they read.

What they return is tested in queries/. The language service needs node and npm. Where they are missing, or npm cannot
install, its tests are skipped; with VENDOR_CHECKS_REQUIRED=1 they fail instead (vendor.py).
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args

import pytest

from shared import processing
from shared.log_line import LogLine
from shared.policy import RULES, Outcome, Verdict
from tests.infra.queries.telling import LOCK_LOST
from tests.infra.vendor import TOOLS, install, unavailable

ROOT = Path(__file__).resolve().parents[2]
QUERIES = {path.stem: path for path in sorted((ROOT / "infra" / "queries").glob("*.kql"))}
STEPS = ("outcomes", "reasons", "latency", "retries", "age", "who-was-hit", "message-story")
ALERTS = ("dead-letters", "oldest-message", "failure-rate", "environment-faults", "nothing-handled")
LINE = {field.name for field in fields(LogLine)} - {"started"} | {"duration_ms"}


def text(name: str) -> str:
    return QUERIES[name].read_text(encoding="utf-8")


def code(name: str) -> str:
    return "\n".join(line for line in text(name).splitlines() if not line.startswith("//"))


@pytest.fixture(scope="module")
def packages(pytestconfig: pytest.Config) -> Path:
    """A folder with the language service in its node_modules."""
    if not shutil.which("node"):
        unavailable("the KQL check needs node, and it is not on the PATH")
    return install(pytestconfig, "kql")


def check(packages: Path, *files: Path) -> tuple[dict[str, Any], str]:
    """What the checker found in each file, by the file's stem, and what it wrote for a person."""
    command = [shutil.which("node") or "node", str(TOOLS / "kql" / "check.mjs"), "--json", *map(str, files)]
    environment = {**os.environ, "KQL_PACKAGES": str(packages)}
    ran = subprocess.run(command, capture_output=True, text=True, timeout=90, env=environment)  # noqa: S603  # our own script
    assert ran.stdout, ran.stderr
    found = {Path(name).stem: result for name, result in json.loads(ran.stdout).items()}
    assert ran.returncode == int(any(result["faults"] for result in found.values()))
    return found, ran.stderr


@pytest.fixture(scope="module")
def checked(packages: Path) -> dict[str, Any]:
    return check(packages, *QUERIES.values())[0]


@pytest.mark.parametrize("name", QUERIES)
def test_the_vendors_language_service_finds_no_fault(checked: dict[str, Any], name: str) -> None:
    assert checked[name]["faults"] == []


@pytest.mark.parametrize(
    "right, wrong, complaint",
    [
        ("Message has", "Mesage has", "'Mesage' does not refer to any known column"),
        ("AppTraces", "AppTrace", "'AppTrace' does not refer to any known table"),
        ("percentile(", "percentil(", "'percentil' does not refer to any known function"),
        ("| summarize", "| sumarize", "Query operator expected"),
        ("bin(TimeGenerated, 5m)", "bin(Message, 5m)", "not compatible with arguments"),
        ('has "outcome"', "> 5", "not defined for the operand types"),
    ],
    ids=["column", "table", "function", "operator", "argument", "type"],
)
def test_the_language_service_rejects(packages: Path, tmp_path: Path, right: str, wrong: str, complaint: str) -> None:
    assert right in text("latency")
    broken = tmp_path / "broken.kql"
    broken.write_text(text("latency").replace(right, wrong, 1), encoding="utf-8")
    found, told = check(packages, broken)
    assert any(complaint in fault["message"] for fault in found["broken"]["faults"]), told
    assert complaint in told


def test_an_alert_reads_no_table_that_the_lock_lost_error_is_in_but_for_our_own_lines(checked: dict[str, Any]) -> None:
    read = {name: set(checked[f"alert-{name}"]["tables"]) for name in ALERTS}
    assert read == {
        "dead-letters": {"AppTraces"},
        "oldest-message": {"AppTraces"},
        "failure-rate": {"AppTraces", "AppRequests"},
        "environment-faults": {"AppTraces"},
        "nothing-handled": {"AppTraces", "AzureMetrics"},
    }


@pytest.mark.parametrize("name", QUERIES)
def test_traces_are_read_as_our_lines_or_not_at_all(name: str) -> None:
    """The host's lock-lost error is no JSON with an outcome, so these steps leave it out."""
    reads = re.findall(r"AppTraces\s*(\|[^\n]*\n\s*\|[^\n]*\n\s*\|[^\n]*\n)", code(name))
    assert reads
    assert code(name).count("AppTraces") == len(reads)
    for read in reads:
        steps = [step.strip() for step in read.strip().split("\n")]
        assert steps[:2] == ['| where Message has "outcome"', "| extend line = parse_json(Message)"]
        assert "line.outcome" in steps[2]
    for lost in LOCK_LOST:
        assert "outcome" not in lost


def test_no_alert_counts_errors_by_their_level() -> None:
    """The lock-lost error is one of them."""
    for name in ALERTS:
        assert not re.search(r"SeverityLevel|AppExceptions|LogLevel", code(f"alert-{name}"))


def test_every_field_that_is_read_is_one_of_the_log_line() -> None:
    read = {name: set(re.findall(r"\bline\.(\w+)", code(name))) for name in QUERIES}
    assert {name: unknown for name, found in read.items() if (unknown := found - LINE)} == {}
    assert LINE - set().union(*read.values()) <= {"delivery_count", "request_id", "request_id_header", "not_settled"}, (
        "a field that nobody looks at"
    )


def test_every_outcome_that_is_named_is_one_that_is_written() -> None:
    source = Path(processing.__file__).read_text(encoding="utf-8")
    written = {kind.__name__ for kind in get_args(Outcome)} | {"SettlementFailed", "Degraded"}
    assert all(f'"{name}"' in source for name in ("SettlementFailed", "Degraded"))
    for name in QUERIES:
        compared = re.findall(r"\boutcome (?:==|!?in) (\([^)]*\)|\"\w+\")", code(name))
        assert set(re.findall(r'"(\w+)"', " ".join(compared))) <= written, name


def test_the_alert_on_environment_faults_knows_every_fault_of_the_environment() -> None:
    repaired = {rule.reason for rule in RULES if rule.verdict is Verdict.REPAIR}
    named = re.findall(r"reason in \(([^)]*)\)", code("alert-environment-faults"))
    assert set(re.findall(r'"(\w+)"', named[0])) == repaired | {"InvalidSettings", "UnexpectedError"}


def test_each_file_says_what_it_answers_and_at_which_step() -> None:
    assert set(QUERIES) == {*STEPS, *(f"alert-{name}" for name in ALERTS)}
    for name in QUERIES:
        comment = [line for line in text(name).splitlines() if line.startswith("//")]
        assert text(name).startswith(comment[0])
        step = STEPS.index(name) + 1 if name in STEPS else 0
        assert f"// Incident step {step}: " in "\n".join(comment)


@pytest.mark.parametrize("name", ALERTS)
def test_each_alert_says_how_its_rule_is_set(name: str) -> None:
    assert re.search(
        r"^// Alert: any row, severity [0-4], window PT\d+[MH], every PT\d+M$", text(f"alert-{name}"), re.M
    )


def test_the_queries_of_the_guide_are_sound_too(packages: Path, tmp_path: Path) -> None:
    guide = (ROOT / "docs" / "monitoring.md").read_text(encoding="utf-8")
    files = []
    for number, query in enumerate(re.findall(r"```kusto\n(.*?)```", guide, re.DOTALL)):
        files.append(tmp_path / f"guide-{number}.kql")
        files[-1].write_text(query, encoding="utf-8")
    assert files
    found, told = check(packages, *files)
    assert all(result["faults"] == [] for result in found.values()), told


def test_the_guide_tells_every_field_of_the_line() -> None:
    guide = (ROOT / "docs" / "monitoring.md").read_text(encoding="utf-8")
    told = re.findall(r"^\| (`\w+`(?:, `\w+`)*) \|", guide, re.MULTILINE)
    assert set(re.findall(r"\w+", " ".join(told))) == LINE


def test_every_alert_has_its_row_in_the_guide() -> None:
    guide = (ROOT / "docs" / "monitoring.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `alert-([\w-]+)` \|", guide, re.MULTILINE) == list(ALERTS)


def test_the_host_samples_neither_our_lines_nor_invocations_nor_exceptions() -> None:
    host = json.loads((ROOT / "host.json").read_text(encoding="utf-8"))
    sampling = host["logging"]["applicationInsights"]["samplingSettings"]
    assert set(sampling["excludedTypes"].split(";")) >= {"Request", "Exception", "Trace"}
    assert "telemetryMode" not in host, "the OpenTelemetry mode does not know samplingSettings: docs/monitoring.md"
