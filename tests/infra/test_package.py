"""The package that is published: which files it has, and that it works where nothing but requirements.txt is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

from local.job_router import JobRouter
from tools import package

ROOT = package.ROOT
RUNNER = Path(__file__).with_name("one_message_in_the_package.py")
NEVER_PUBLISHED = (
    *(".env", ".git/config", ".github/workflows/deploy.yml", ".venv-3.13/bin/python", "local.settings.json"),
    *("local.settings.production.json", "shared/__pycache__/policy.cpython-313.pyc", "tests/x.py", "local/x.py"),
    *("infra/main.bicep", "azure.yaml", "tools/package.py", "docs/deploy.md", "ops/x.py", "bench/x.py"),
    *("requirements-dev.txt", "requirements-ops.txt", "requirements-telemetry.txt", "constraints.txt", "package.zip"),
    *("pyproject.toml", "Makefile", "README.md", "CHANGELOG.md", "node_modules/x/index.js"),
)


def test_the_package_holds_the_app_and_nothing_else() -> None:
    python = [path for folder in ("cancel_job_function", "shared") for path in (ROOT / folder).glob("*.py")]
    expected = [path.relative_to(ROOT).as_posix() for path in python]
    expected += ["cancel_job_function/function.json", "host.json", "requirements.txt"]
    assert package.files() == sorted(expected)
    assert len(expected) > 15


def test_what_must_not_leave_the_house_does_not(tmp_path: Path) -> None:
    for name in (*NEVER_PUBLISHED, "host.json", "shared/policy.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x", encoding="utf-8")
    (tmp_path / ".funcignore").write_bytes((ROOT / ".funcignore").read_bytes())
    assert package.files(tmp_path) == ["host.json", "shared/policy.py"]


def test_every_rule_of_funcignore_is_about_something_that_there_is_or_may_be() -> None:
    may_be = {"mutants", "node_modules", "package*.zip", "LICENSE", "__pycache__", "*.pyc", ".venv*", "*_env", ".*"}
    rules = [line for line in (ROOT / ".funcignore").read_text(encoding="utf-8").splitlines() if line]
    assert [rule for rule in rules if rule not in may_be and not list(ROOT.glob(rule))] == []
    assert len(rules) == len(set(rules))


def test_the_same_files_make_the_same_bytes(tmp_path: Path) -> None:
    first, second = tmp_path / "1.zip", tmp_path / "2.zip"
    assert package.build(first) == package.build(second) == package.files()
    assert first.read_bytes() == second.read_bytes()


def test_the_command_says_what_it_packed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert package.main(["--output", str(tmp_path / "app.zip")]) == 0
    *names, summary = capsys.readouterr().out.splitlines()
    assert names == package.files()
    assert summary.startswith(f"{len(names)} files, ")
    with ZipFile(tmp_path / "app.zip") as built:
        assert built.namelist() == names
        assert built.testzip() is None


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The unpacked package and the interpreter of a new virtual environment with requirements.txt in it."""
    folder = tmp_path_factory.mktemp("package")
    package.build(folder / "app.zip")
    with ZipFile(folder / "app.zip") as built:
        built.extractall(folder / "app")
    python = folder / "venv" / ("Scripts" if os.name == "nt" else "bin") / "python"
    run(sys.executable, "-m", "venv", str(folder / "venv"))
    run(str(python), "-m", "pip", "install", "--quiet", "-r", str(folder / "app" / "requirements.txt"))
    return folder / "app", python


def run(*command: str, cwd: Path | None = None, env: dict[str, str] | None = None) -> str:
    ran = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=170)  # noqa: S603  # ours
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_package_handles_a_message_with_its_requirements_alone(app: tuple[Path, Path]) -> None:
    folder, python = app
    with JobRouter() as job_router:
        job_router.add_job("job-1")
        environment = {
            "CANCELLATION_QUEUE_NAME": "job-cancellations",
            "ServiceBusConnection": "Endpoint=sb://localhost;SharedAccessKeyName=n;SharedAccessKey=aw==",
            "JOB_ROUTER_CONNECTION_STRING": job_router.connection_string,
            "PYTHONWARNINGS": "error",
        }
        told = json.loads(run(str(python), "-I", str(RUNNER), str(folder), cwd=folder, env=environment))
        assert job_router.job("job-1").status == "cancelled"
    assert told["line"]["outcome"] == "Cancelled"
    assert told["line"]["job_id"] == "job-1"
    assert {Path(path).is_relative_to(folder.parent) for path in told["imported_from"]} == {True}
    assert set(told["modules"]) == {path.stem for path in (folder / "shared").glob("*.py")} - {"__init__"}


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_requirements_agree_with_each_other(app: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    folder, python = app
    assert run(str(python), "-m", "pip", "check") == "No broken requirements found.\n"
    installed = {found["name"].lower() for found in json.loads(run(str(python), "-m", "pip", "list", "--format=json"))}
    assert "azure-functions-worker" not in installed
    package_bytes = (folder.parent / "app.zip").stat().st_size
    site = [path for path in (folder.parent / "venv").rglob("*") if path.is_file() and path.suffix != ".pyc"]
    megabytes = sum(path.stat().st_size for path in site) / 1e6
    with capsys.disabled():
        sys.stdout.write(
            f"\npackage: {package_bytes:,} bytes; with its {len(installed)} libraries {megabytes:.0f} MB\n"
        )
    assert package_bytes < 200_000, "something big has crept in"
