"""Azure's resource types as Microsoft's own tool prints them: the latest stable version of each, and without a network.

docs/decisions/0010-bicep-types.md says why this tool. Each answer takes it a second, so they are kept.
"""

from __future__ import annotations

import json
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from tests.infra.bicep_types import ResourceType

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

# It reports to its vendor unless told not to; then `bicepschema get` opens no network socket (seen with strace).
SILENT = {"AZURE_MCP_COLLECT_TELEMETRY": "false"}
REFUSAL = "Resource type {} with apiVersion "  # … not supported: it knows the type, and has no description of it
BINARY = "node_modules/@azure/mcp-*/dist/azmcp*"  # npm installs the package of this platform only


def ask(packages: Path, kept: Path, resource_types: Iterable[str]) -> tuple[dict[str, ResourceType], dict[str, str]]:
    """The types that it knows, and of the others what it says instead. packages is where it is installed."""
    (program,) = packages.glob(BINARY)
    names = sorted(set(resource_types))
    with ThreadPoolExecutor(2) as pool:
        answers = dict(zip(names, pool.map(lambda name: _answer(program, kept, name), names), strict=True))
    known = {
        name: ResourceType.of(answer["results"]["BicepSchemaResult"])
        for name, answer in answers.items()
        if answer["status"] == 200
    }
    return known, {name: answer["message"] for name, answer in answers.items() if name not in known}


def _answer(program: Path, kept: Path, resource_type: str) -> dict[str, Any]:
    file = kept / f"{resource_type.replace('/', '_')}.json"
    if file.exists():
        return json.loads(file.read_text(encoding="utf-8"))  # type: ignore[no-any-return]
    command = [str(program), "bicepschema", "get", "--resource-type", resource_type]
    environment = {**os.environ, **SILENT}
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment)  # noqa: S603  # from our lock file
    start = ran.stdout.find("{\n")  # of a failure it also writes a log, before or after
    assert start >= 0, ran.stdout + ran.stderr
    answer: dict[str, Any] = json.JSONDecoder().raw_decode(ran.stdout, start)[0]
    if answer["status"] == 200 or answer["message"].startswith(REFUSAL.format(resource_type)):
        whole = file.with_suffix(".new")
        whole.write_text(json.dumps(answer), encoding="utf-8")
        whole.replace(file)
    return answer
