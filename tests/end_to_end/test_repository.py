"""What holds of the repository as a whole: the README's table, the package's edges, the commands."""

from __future__ import annotations

import ast
import json
import re
import signal
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest

from shared.policy import READ_RULES, RULES, Rule, Verdict

ROOT = Path(__file__).resolve().parents[2]
DEPLOYED = [*sorted((ROOT / "shared").glob("*.py")), *sorted((ROOT / "cancel_job_function").glob("*.py"))]


def test_the_readme_and_the_policy_say_the_same() -> None:
    table = (ROOT / "README.md").read_text(encoding="utf-8").split("<!-- policy -->")[1]
    first, second = (
        [tuple(cell.strip() for cell in line.strip("|").split("|")) for line in part.splitlines()[2:]]
        for part in table.strip().split("\n\n")
    )
    assert first == [(rule.when, rule.verdict.value, _reason(rule)) for rule in RULES]
    assert second == [(rule.when, rule.verdict.value, _reason(rule)) for rule in READ_RULES]


def _reason(rule: Rule) -> str:
    if rule.reason:
        return f"`{rule.reason}`"
    has_none = rule.verdict in (Verdict.READ_JOB, Verdict.COMPLETE)
    return "" if has_none else "the service's code, else `HttpNNN`"


@pytest.mark.parametrize("path", DEPLOYED, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_nothing_deployed_imports_what_is_not(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    modules = [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    modules += [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    assert not {module.split(".")[0] for module in modules} & {"local", "ops", "bench", "tests"}


def test_no_deployed_file_grows_unreadable() -> None:
    assert {path.name: n for path in DEPLOYED if (n := len(path.read_text(encoding="utf-8").splitlines())) > 275} == {}


def test_funcignore_keeps_development_out_of_the_package() -> None:
    ignored = (ROOT / ".funcignore").read_text(encoding="utf-8").split()
    top = {path.name for path in ROOT.iterdir() if not any(fnmatch(path.name, pattern) for pattern in ignored)}
    deployed = {"cancel_job_function", "shared", "host.json", "requirements.txt"}
    assert top == deployed


def test_every_setting_in_the_sample_is_a_setting_of_the_readme() -> None:
    sample = json.loads((ROOT / "local.settings.sample.json").read_text(encoding="utf-8"))
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [name for name in sample["Values"] if f"`{name}`" not in readme] == []


def test_the_demo_ends_as_the_policy_says() -> None:
    done = subprocess.run([sys.executable, "-m", "local.demo"], cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(
        r"^41 messages: 26 cancelled, 3 already cancelled, 12 dead-lettered, 0 not", done.stdout, re.MULTILINE
    )


def test_the_stack_runs_until_it_is_told_to_stop() -> None:
    arguments = [sys.executable, "-m", "local", "--jobs", "1"]
    with subprocess.Popen(arguments, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:  # noqa: S603
        assert process.stdout is not None
        lines = iter(process.stdout.readline, "")
        connection_string = next(
            line.split("SERVICE_BUS='")[1].strip("'\n") for line in lines if "SERVICE_BUS='" in line
        )
        environment = {"SERVICE_BUS": connection_string, "PATH": ""}
        for command in (["local.send", '{"jobId": "ghost"}'], ["local.dead_letters"]):
            run = [sys.executable, "-m", *command]
            done = subprocess.run(run, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)  # noqa: S603
            assert done.returncode == 0, done.stderr
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
