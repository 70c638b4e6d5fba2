"""The screens of docs/operating.md: an incident on the embedded stack, and what `python -m ops` really says of it.

Each command runs as a process of its own, 80 columns wide and without colour. What differs from run to run (times,
ports, random ids) is replaced, so that the same code gives the same page. `--svg` draws the README's picture too.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import re
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from azure.servicebus import ServiceBusClient, ServiceBusMessage

from local.job_router import Fault
from local.stack import Stack
from shared.redelivery import ATTEMPT, FIRST_ATTEMPT_TIME, FIRST_ENQUEUED_TIME, MESSAGE_ID
from tools import terminal

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "operating.md"
PICTURE = ROOT / "docs" / "ops.svg"
QUEUE = "job-cancellations"
COLUMNS = 80

_STORY = datetime(2026, 3, 11, 6, 5, tzinfo=UTC)  # when the incident is worked, whenever the script runs
_STEP = timedelta(minutes=10)  # times are told to so much; a run takes less than half of it
_GIVEN_UP = timedelta(hours=8, minutes=10)  # a message with such a past is given up at its next failure

_SCREEN = re.compile(r"(<!-- screen: (?P<name>[\w-]+) -->\n).*?(<!-- /screen -->)", re.DOTALL)
_TIME = re.compile(r"(\d{4}-\d\d-\d\d)([T ])(\d\d:\d\d)(:\d\d)?(\.\d+)?")
_CLOCK = re.compile(r"(?<=, )\d\d:\d\d:\d\d UTC")
_WATCH_COLUMNS = 37
_OLDEST = re.compile(r"(now  per minute) +oldest$", re.MULTILINE)
_AGE = re.compile(r"^(dead letters +\d+)  +(?:\d+ min )?\d{1,2} s$", re.MULTILINE)
_RANDOM = re.compile(r"\b(?:[0-9a-f]{32}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\b")


class _Slow(Stack):
    """The stack with the waiting of production: what is postponed stays scheduled while the incident is worked."""

    @property
    def settings(self) -> dict[str, str]:
        return {
            **super().settings,
            "REDELIVERY_FIRST_DELAY_SECONDS": "3600",
            "REDELIVERY_LONGEST_DELAY_SECONDS": "3600",
        }


class Incident:
    """A night: a sender with wrong bodies, Job Router down for a while, and then an access key that is no more."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self.known: set[str] = set()  # ids that are the same in every run

    def play(self) -> None:
        """Up to the morning: thirteen dead letters of five reasons, three messages that wait."""
        faults, add_job = self._stack.job_router.faults, self._stack.job_router.add_job
        for number in (4711, 4712, 4713):  # the order's number instead of the job's id
            self._send(f"order-{number}", {"jobId": f"order-{number}"})
        for number in (1, 2):
            add_job(self._job(number), "closed")
            self._send(f"call-{number:02}", {"jobId": self._job(number), "note": "Customer hung up"})
        for number in (3, 4):
            add_job(self._job(number))
            self._send(f"call-{number:02}", {"job_id": self._job(number), "note": "Customer hung up"})
        outage = _fault(503, "ServiceUnavailable", "The service is temporarily unavailable.")
        faults.add(outage)
        for number in (5, 6):
            add_job(self._job(number))
            self._send(f"call-{number:02}", {"jobId": self._job(number)}, attempts=23)
        faults.remove(outage)
        add_job(self._job(7))
        self._send("call-07", {"jobId": self._job(7)})  # goes well
        faults.add(_fault(401, "Denied", "Denied by the resource provider."))
        for number in range(8, 12):
            add_job(self._job(number))
            self._send(f"call-{number:02}", {"jobId": self._job(number), "note": "Customer hung up"}, attempts=22)
        for number in range(12, 15):
            add_job(self._job(number))
            self._send(f"call-{number:02}", {"jobId": self._job(number)})

    def mend(self) -> None:
        """The new access key is in the settings."""
        self._stack.job_router.faults.clear()
        time.sleep(6)  # the function asks a service that failed again only every five seconds

    def heal(self) -> None:
        """What was postponed is due, and everything that can be cancelled is."""
        for _ in range(4):
            self._stack.broker.clock.advance(3700)
            if self._stack.broker.wait_until(lambda _broker: self._waiting() == 0, timeout=8):
                return
        raise RuntimeError("The queue did not empty after the cause was mended. Run again; look at the function's log.")

    def _job(self, number: int) -> str:
        job = f"8780b28c-7079-4de1-9143-4d36928900{number:02}"
        self.known.add(job)
        return job

    def _send(self, name: str, body: dict[str, str], *, attempts: int = 0) -> None:
        """Send one and wait until the function is done with it, so that the order is the same in every run."""
        message = ServiceBusMessage(json.dumps(body), message_id=f"cancel-{name}", content_type="application/json")
        if attempts:  # the past of a message that has waited for eight hours
            since = (datetime.now(UTC) - _GIVEN_UP).isoformat(timespec="seconds")
            message.application_properties = {
                ATTEMPT: attempts,
                FIRST_ATTEMPT_TIME: since,
                FIRST_ENQUEUED_TIME: since,
                MESSAGE_ID: f"cancel-{name}",
            }
            message.message_id = f"cancel-{name}~{'0' * 32}"
        with (
            ServiceBusClient.from_connection_string(self._stack.broker.connection_string) as client,
            client.get_queue_sender(QUEUE) as sender,
        ):
            sender.send_messages(message)
        if not self._stack.broker.wait_until(lambda _broker: self._at_work() == 0, timeout=30):
            raise RuntimeError(f"The function did not finish with {name}. Run again; look at the function's log.")

    def _at_work(self) -> int:
        counts = self._stack.broker.counts(QUEUE)
        return counts.active + counts.locked

    def _waiting(self) -> int:
        return self._at_work() + self._stack.broker.counts(QUEUE).scheduled


class Recorder:
    """Runs commands in a folder of its own and keeps what they print, under names."""

    def __init__(self, stack: Stack, folder: Path, known: set[str]) -> None:
        administration = stack.broker.administration
        self._folder = folder
        self._known = known
        self._start = datetime.now(UTC)
        self._ports = {
            str(stack.broker.port): "45672",
            str(administration.port if administration else 0): "45673",
            str(stack.job_router.port): "48080",
        }
        self._environment = {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "PYTHONUTF8": "1",
            "HOME": str(folder),
            "XDG_STATE_HOME": str(folder),
            "COLUMNS": str(COLUMNS),
            **stack.settings,
            "SERVICE_BUS_MANAGEMENT_PORT": str(administration.port if administration else 0),
        }
        self.screens: dict[str, str] = {}

    def run(self, name: str, command: str, answer: str = "") -> None:
        """Keep the screen of a command. answer: typed where it asks."""
        written, code = terminal.run(command, self._folder, self._environment, answer)
        ended = [f"$ echo $?\n{code}"] if code else []
        self.screens[name] = "\n".join([f"$ {command}", self._stable(terminal.screen(written)), *ended]) + "\n"

    def picture(self, command: str) -> str:
        """The screen of a command as an SVG, with its colours."""
        from rich.console import Console
        from rich.text import Text

        done = subprocess.run(  # noqa: S603
            ["bash", "-c", command],  # noqa: S607
            cwd=self._folder,
            env=self._environment | {"FORCE_COLOR": "1", "TERM": "xterm-256color", "COLORTERM": "truecolor"},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            encoding="utf-8",
            timeout=120,
            check=True,
        )
        out = self._stable(done.stdout)
        with open(os.devnull, "w", encoding="utf-8") as nowhere:
            console = Console(record=True, width=COLUMNS, file=nowhere)
            console.print(Text.from_ansi(out.strip("\n")))
        drawn = console.export_svg(title=command, unique_id="ops")
        return re.sub(r"\s*@font-face \{.*?\}", "", drawn, flags=re.DOTALL)  # they would be fetched from elsewhere

    def _stable(self, text: str) -> str:
        text = _TIME.sub(self._time, text)
        text = _CLOCK.sub(f"{_STORY:%H:%M:%S} UTC", text)
        for port, instead in self._ports.items():
            text = re.sub(rf"(?<=[: ]){port}\b", instead, text)
        random: dict[str, str] = {}
        text = _RANDOM.sub(lambda found: self._id(found[0], random), text)
        # Ages of what has just come; the column is as wide as the longest, and a slow machine would make it wider.
        text = _OLDEST.sub(r"\1  oldest", text)
        text = _AGE.sub(lambda found: found[1] + "12 s".rjust(_WATCH_COLUMNS - len(found[1])), text)
        text = re.sub(r"(oldest_dead_letter=)\d+", r"\g<1>12", text)
        return text.replace(f"{self._folder}/", "~/")

    def _time(self, found: re.Match[str]) -> str:
        """The same distance from the story's moment, in whole steps, written as it was."""
        seen = datetime.fromisoformat(f"{found[1]}T{found[3]}{found[4] or ':00'}+00:00")
        told = _STORY + round((seen - self._start) / _STEP) * _STEP
        seconds = f"{told:%S}" if found[4] else ""
        return f"{told:%Y-%m-%d}{found[2]}{told:%H:%M}" + (f":{seconds}" if seconds else "") + _zeros(found[5])

    def _id(self, found: str, random: dict[str, str]) -> str:
        if found in self._known or not found.strip("0"):
            return found
        digits = f"{len(random) + 1:x}".rjust(32, "7")
        plain = (
            digits
            if "-" not in found
            else "-".join(digits[a:b] for a, b in ((0, 8), (8, 12), (12, 16), (16, 20), (20, 32)))
        )
        return random.setdefault(found, plain)


def record(folder: Path) -> tuple[dict[str, str], str]:
    """Play the incident and work it in the order of docs/operating.md; returns the screens by name, and the picture."""
    ops, letters = "python -m ops", "python -m ops dead-letters"
    with _Slow() as stack:
        incident = Incident(stack)
        recorder = Recorder(stack, folder, incident.known)
        run = recorder.run
        incident.play()
        run("watch", f"{ops} watch --count 1")
        run("watch-lines", f"{ops} watch --count 1 >> queue.log; cat queue.log")
        run("list", f"{letters} list")
        run("list-json", f"{letters} list --reason JobNotFound --json | jq -r .jobId")
        picture = recorder.picture(f"{letters} list")
        run("show", f"{letters} show cancel-call-08")
        run("check", f"{ops} check")
        incident.mend()
        run("check-mended", f"{ops} check | tail -n 2")
        chosen = "--reason JobRouterAccessDenied --reason RetriesExhausted"
        run("resubmit-dry", f"{letters} resubmit {chosen}")
        run("resubmit", f"{letters} resubmit {chosen} --yes")
        incident.heal()
        run("show-invalid", f"{letters} show cancel-call-03 | head -n 13")
        job = sorted(incident.known)[2]
        run("set-job-id", f"{letters} resubmit cancel-call-03 --set-job-id {job}")
        run("set-job-id-yes", f"{letters} resubmit cancel-call-03 --set-job-id {job} --yes")
        run("export", f"{letters} export closed.jsonl --reason JobNotCancellable")
        run("purge", f"{letters} purge closed.jsonl", answer="y")
        run("restore", f"{letters} restore closed.jsonl")
        incident.heal()
        run("watch-after", f"{ops} watch --count 1")
        (folder / "jobs.csv").write_text(
            f"jobId,note\n{sorted(incident.known)[3]},Customer hung up\n ,Who?\n{sorted(incident.known)[4]},\n"
        )
        run("send", f'{ops} send --job-id {job} --note "Customer hung up" --message-id cancel-call-03')
        run("send-dry", f"{ops} send jobs.csv --dry-run")
        run("send-file", f"{ops} send jobs.csv --skip-invalid")
        run("schema", f"{ops} schema")
        run("error", f"{ops} watch --queue job-cancelations --count 1")
    return recorder.screens, picture


def _fault(status: int, code: str, message: str) -> Fault:
    body = json.dumps({"error": {"code": code, "message": message}})
    return Fault("status", status=status, times=None, body=body.encode())


def _zeros(fraction: str | None) -> str:
    return "." + "0" * (len(fraction) - 1) if fraction else ""


def fill(page: str, screens: dict[str, str]) -> str:
    """The page with each screen between its markers.

    Raises:
        KeyError: the page asks for a screen that nobody recorded.
    """
    return _SCREEN.sub(lambda found: f"{found[1]}```text\n{screens[found['name']]}```\n{found[3]}", page)


def main() -> int:
    """Write the page, and with --svg the picture."""
    parser = argparse.ArgumentParser(prog="python -m tools.screens", description=__doc__)
    parser.add_argument("--svg", action="store_true", help="draw docs/ops.svg too")
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)  # the incident is the function's to log, and nobody's to read here
    with tempfile.TemporaryDirectory() as folder:
        screens, picture = record(Path(folder))
    page = PAGE.read_text(encoding="utf-8")
    unused = screens.keys() - {found["name"] for found in _SCREEN.finditer(page)}
    if unused:
        print(f"Recorded, but not on the page: {', '.join(sorted(unused))}.", file=sys.stderr)
    PAGE.write_text(fill(page, screens), encoding="utf-8")
    print(f"{len(screens)} screens are in {PAGE.relative_to(ROOT)}.")
    if options.svg:
        PICTURE.write_text(picture, encoding="utf-8")
        print(f"{PICTURE.relative_to(ROOT)} is drawn, {len(picture):,} characters.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
