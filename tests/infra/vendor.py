"""Vendors' tools that tests run: installed by npm from tools/*/package-lock.json, once, into pytest's cache.

Where a tool cannot be had its tests are skipped; with VENDOR_CHECKS_REQUIRED=1 they fail instead.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path
from typing import NoReturn

import pytest

TOOLS = Path(__file__).resolve().parents[2] / "tools"


def required() -> bool:
    """Whether a check that does not run is a failure."""
    return os.environ.get("VENDOR_CHECKS_REQUIRED") == "1"


def unavailable(why: str) -> NoReturn:
    """Skip the test, or fail it where the check is required."""
    if required():
        pytest.fail(why)
    pytest.skip(why)


def cached(config: pytest.Config, tool: str) -> Path:
    """The tool's folder in pytest's cache: another one for each lock file."""
    lock = (TOOLS / tool / "package-lock.json").read_bytes()
    return config.cache.mkdir(f"{tool}-{hashlib.sha256(lock).hexdigest()[:12]}")


def installed(config: pytest.Config, tool: str, part: str = "node_modules") -> Path | None:
    """The folder that the tool is installed in, its own or the one in the cache, if that has this part (a glob)."""
    own, kept = TOOLS / tool, cached(config, tool)
    if any(own.glob(part)):
        return own
    return kept if (kept / "installed").exists() and any(kept.glob(part)) else None


def install(config: pytest.Config, tool: str, part: str = "node_modules", seconds: int = 90) -> Path:
    """As installed(), after installing what is not there yet, for which npm gets so many seconds."""
    if folder := installed(config, tool, part):
        return folder
    npm = shutil.which("npm")
    if not npm:
        unavailable(f"tools/{tool} needs npm, and it is not on the PATH")
    folder = cached(config, tool)
    for name in ("package.json", "package-lock.json"):
        shutil.copy(TOOLS / tool / name, folder)
    command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    try:
        ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=seconds)  # noqa: S603  # found above
    except subprocess.TimeoutExpired:
        unavailable(f"npm did not install tools/{tool} within {seconds} seconds")
    if ran.returncode:
        unavailable(f"npm could not install tools/{tool}: {' '.join(ran.stderr.splitlines()[:4])}")
    if not any(folder.glob(part)):  # npm says nothing when it cannot get an optional package
        unavailable(f"npm installed tools/{tool} without {part}")
    (folder / "installed").touch()
    return folder
