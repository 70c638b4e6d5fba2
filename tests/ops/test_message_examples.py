"""docs/message.md: what it shows is true, and what can be run here is run."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from shared.cancellation import CancellationRequest, decode_cancellation
from tests.ops.conftest import QUEUE

if TYPE_CHECKING:
    from tests.ops.conftest import Stage

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "message.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


def test_the_python_example_sends_a_cancellation(stage: Stage, tmp_path: Path) -> None:
    (code,) = blocks("python")
    environment = {"SERVICE_BUS": stage.broker.connection_string, "CANCELLATION_QUEUE": QUEUE, "PATH": ""}

    done = subprocess.run(  # noqa: S603
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60
    )

    assert done.returncode == 0, done.stderr
    (message,) = stage.broker.messages(QUEUE)
    assert message.message_id == "cancel-demo-1"
    assert decode_cancellation(bytes(message.body)) == CancellationRequest("demo-1", "Customer hung up")


def test_the_json_examples_are_cancellations() -> None:
    decoded = [decode_cancellation(body.encode()) for body in blocks("json")]

    assert len(decoded) == 2
    assert {request.job_id for request in decoded} == {"8780b28c-7079-4de1-9143-4d369289e958"}


def test_the_shell_example_is_shell_and_sends_a_cancellation() -> None:
    (code,) = blocks("bash")

    subprocess.run(["bash", "-n"], input=code, text=True, check=True, timeout=10)  # noqa: S607
    (body,) = re.findall(r"--data '(.*)'", code)
    assert decode_cancellation(body.encode()).job_id == "demo-1"
    (properties,) = re.findall(r"--header 'BrokerProperties: (.*)'", code)
    assert json.loads(properties) == {"MessageId": "cancel-demo-1"}


def test_every_language_sends_the_same() -> None:
    for language in ("python", "javascript", "csharp", "bash"):
        (code,) = blocks(language)
        assert "demo-1" in code
        assert "Customer hung up" in code
        assert "cancel-" in code
        assert "application/json" in code
