"""A terminal for one command: runs it on a pseudo-terminal, and tells what is on the screen when it has ended.

Understands what Rich writes there: lines, carriage returns, cursor up, erase; everything else is ignored.
"""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_SECONDS = 120.0  # longer than any command needs
_PIECE = re.compile(r"\x1b\[([0-9;?]*)([A-Za-z])|\x1b\][^\x07]*\x07|([\r\n])|([^\x1b\r\n]+)|\x1b")


def run(command: str, folder: Path, environment: Mapping[str, str], answer: str = "") -> tuple[str, int]:
    """Run a bash command; returns all that it wrote, and the exit code. answer: typed at the first question.

    Raises:
        TimeoutError: it does not end within two minutes.
    """
    ours, theirs = pty.openpty()
    with subprocess.Popen(  # noqa: S603
        ["bash", "-c", command],  # noqa: S607
        cwd=folder,
        env={**environment, "TERM": "xterm-256color"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    ) as process:
        os.close(theirs)
        seen, deadline = b"", time.monotonic() + _SECONDS
        while piece := _read(ours, deadline, process):
            seen += piece
            if answer and b"[y/N] " in seen:
                os.write(ours, f"{answer}\n".encode())
                answer = ""
        os.close(ours)
        return seen.decode(), process.wait()


def screen(written: str) -> str:
    """What is left to see of what was written to a terminal."""
    lines, row, column = [""], 0, 0
    for found in _PIECE.finditer(written):
        number, letter, end, text = found.groups()
        if text:
            line = lines[row].ljust(column)
            lines[row] = line[:column] + text + line[column + len(text) :]
            column += len(text)
        elif end == "\r":
            column = 0
        elif end == "\n":
            row += 1
            lines += [""] * (row - len(lines) + 1)
        elif letter == "A":
            row = max(0, row - int(number or 1))
        elif letter == "K":
            lines[row] = "" if number == "2" else lines[row][:column]
    return "\n".join(line.rstrip() for line in lines).strip("\n")


def _read(ours: int, deadline: float, process: subprocess.Popen[bytes]) -> bytes:
    if not select.select([ours], [], [], max(0.0, deadline - time.monotonic()))[0]:
        process.kill()
        raise TimeoutError("The command did not end within two minutes.")
    try:
        return os.read(ours, 65536)
    except OSError:  # how a pseudo-terminal says that the other side has closed
        return b""
