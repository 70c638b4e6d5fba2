"""`python -m local.job_router`, as benchmarks use it."""

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from azure.communication.jobrouter import JobRouterClient
from azure.core.credentials import AzureKeyCredential

ROOT = Path(__file__).parents[2]


@contextmanager
def running(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "local.job_router", *arguments]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:  # noqa: S603  # our own module
        try:
            yield process
        finally:
            process.kill()


def read_address(process: subprocess.Popen[str]) -> tuple[str, str]:
    assert process.stdout is not None
    lines = process.stdout.readline() + process.stdout.readline()
    match = re.fullmatch(r"endpoint: (\S+)\nconnection string: endpoint=\S+/;accesskey=(\S+)\n", lines)
    assert match is not None, lines
    return match[1], match[2]


@pytest.mark.parametrize("interruption", [signal.SIGTERM, signal.SIGINT])
def test_it_serves_the_jobs_asked_for_until_it_is_interrupted(interruption: signal.Signals) -> None:
    with running("--job-count", "2", "--no-record", "--service-time-ms", "1") as process:
        endpoint, key = read_address(process)
        with JobRouterClient(endpoint, AzureKeyCredential(key)) as vendor:
            vendor.cancel_job("job-1")
            assert vendor.get_job("job-0").status == "queued"
        process.send_signal(interruption)
        output, errors = process.communicate(timeout=10)
    assert (process.returncode, output, errors) == (0, "2 requests on 1 connections\n", "")


def test_it_reads_jobs_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "jobs.json"
    file.write_text(json.dumps(["a", {"id": "b", "status": "closed"}]), encoding="utf-8")
    with running("--jobs", str(file)) as process:
        endpoint, key = read_address(process)
        with JobRouterClient(endpoint, AzureKeyCredential(key)) as vendor:
            assert [vendor.get_job(job_id).status for job_id in ("a", "b")] == ["queued", "closed"]


@pytest.mark.parametrize("content", ["{}", "[1]"])
def test_a_file_of_another_shape_is_refused_with_a_sentence(tmp_path: Path, content: str) -> None:
    file = tmp_path / "jobs.json"
    file.write_text(content, encoding="utf-8")
    with running("--jobs", str(file)) as process:
        _, errors = process.communicate(timeout=10)
    assert process.returncode == 1
    assert errors.startswith(str(file))
