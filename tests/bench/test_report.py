"""What a reader gets: the table, the JSON, the picture, and the command that makes them."""

from __future__ import annotations

import json
import os
import socket
import xml.etree.ElementTree as ElementTree
from typing import TYPE_CHECKING

import pytest

import bench.__main__ as command
from bench.picture import WIDTH, picture
from bench.report import as_json, table, verdict
from bench.rows import Curve, Measured, Row, Spread

if TYPE_CHECKING:
    from pathlib import Path

SVG = "{http://www.w3.org/2000/svg}"
SDK = "official SDK"


def spread(median: float) -> Spread:
    return Spread(median, median * 0.9, median * 1.2)


MET = Row("CPU per cancel", "µs", spread(900), SDK, spread(2900), 0.33, note="signing included")
MISSED = Row("CPU per <call>", "µs", spread(900), "raw | http.client", spread(300), 2.5)
ALONE = Row("memory that stays", "MiB", Spread(1.25, 1.25, 1.25), limit=2, note="after 18,000 more messages")
FASTER = Row("throughput", "/s", spread(600), SDK, spread(250), 1.5, more_is_better=True)
WITHOUT_GOAL = Row("time to settle", "ms", spread(0.0123))
CURVE = Curve("Throughput, 20 ms", "in flight", "cancels per second", [1, 4, 64], [44, 150, 600], [40, 130, 250])
PARTS = {
    "calls": Measured([MET, MISSED]),
    "memory": Measured([ALONE, WITHOUT_GOAL]),
    "throughput": Measured([FASTER], [CURVE]),
}


def test_the_table_has_a_block_for_each_part_in_their_order() -> None:
    titles = [line for line in table(PARTS).splitlines() if line.startswith("#")]
    assert titles == ["### CPU per call", "### Memory", "### Throughput"]


@pytest.mark.parametrize(
    "row, line",
    [
        (MET, "| CPU per cancel | 900 µs (810 to 1,080) | 2,900 µs (2,610 to 3,480) | 0.31 | ≤ 0.33 | yes |"),
        (FASTER, "| throughput | 600 /s (540 to 720) | 250 /s (225 to 300) | 2.40 | ≥ 1.5 | yes |"),
        (ALONE, "| memory that stays | 1.25 MiB |  |  | ≤ 2 MiB | yes |"),
        (WITHOUT_GOAL, "| time to settle | 0.012 ms (0.011 to 0.015) |  |  |  |  |"),
    ],
)
def test_a_row_shows_medians_with_their_spread_the_ratio_and_the_goal(row: Row, line: str) -> None:
    assert line in table({"calls": Measured([row])}).splitlines()


def test_a_missed_goal_is_told_in_bold() -> None:
    assert table({"calls": Measured([MISSED])}).splitlines()[-1].endswith("| 3.00 | ≤ 2.5 | **no** |")


def test_the_peer_is_named_once_where_a_block_has_only_one() -> None:
    assert table({"calls": Measured([MET, FASTER])}).count(SDK) == 1
    assert f"| {SDK}: 2,900 µs" in table({"calls": Measured([MET, MISSED])})


def test_a_name_cannot_break_the_table() -> None:
    for line in table(PARTS).splitlines():
        assert line.count("|") in (0, 7)


def test_notes_stand_beneath_their_block_and_only_once() -> None:
    twice = Row("CPU per read", "µs", spread(1), note=MET.note)
    assert table({"calls": Measured([MET, twice])}).endswith("|\n\n- signing included")
    lines = table({"calls": Measured([MET, twice, ALONE, MISSED])}).splitlines()
    assert lines[-2:] == ["- [1] signing included", f"- [2] {ALONE.note}"]
    assert [line.split(" | ")[0] for line in lines[4:8]] == [
        f"| {MET.what} [1]",
        f"| {twice.what} [1]",
        f"| {ALONE.what} [2]",
        f"| {MISSED.what}",
    ]


def test_the_verdict_counts_the_goals_and_names_the_missed() -> None:
    assert verdict(PARTS).splitlines() == [
        "3 of 4 goals are met.",
        "Not met:",
        "- CPU per <call>: 3.00 of raw | http.client, goal ≤ 2.5",
    ]
    assert verdict({"calls": Measured([MET])}) == "1 of 1 goals are met."


def test_the_json_holds_every_row_with_its_spread_and_every_curve() -> None:
    read = json.loads(as_json(PARTS, 3))
    first = read["parts"]["calls"]["rows"][0]
    assert first["ours"] == {"median": 900, "low": 810, "high": 1080}
    assert (round(first["ratio"], 2), first["is_met"], read["rounds"]) == (0.31, True, 3)
    assert read["parts"]["memory"]["rows"][0]["peer"] is None
    assert read["parts"]["throughput"]["curves"][0]["ours"] == [44, 150, 600]


def test_the_json_says_what_machine_it_was_but_not_whose() -> None:
    text = as_json(PARTS, 3)
    assert {"python", "system", "architecture", "cpus"} <= json.loads(text)["machine"].keys()
    assert os.path.sep not in json.dumps(json.loads(text)["machine"])
    assert socket.gethostname() not in text


def test_the_picture_is_small_well_formed_and_as_wide_as_a_readme() -> None:
    text = picture(PARTS, "Python 3.13 & 2 CPUs")
    root = ElementTree.fromstring(text)  # noqa: S314  # our own
    assert root.tag == f"{SVG}svg"
    assert int(root.attrib["width"]) == WIDTH
    assert len(text.encode()) < 20_000


def test_the_picture_shows_bars_with_goals_and_a_line_for_each_side() -> None:
    root = ElementTree.fromstring(picture(PARTS, "2 CPUs"))  # noqa: S314
    texts = [element.text for element in root.iter(f"{SVG}text")]
    assert "0.31 of it, goal ≤ 0.33" in texts
    assert "3.00 of it, goal ≤ 2.5" in texts
    assert FASTER.what not in texts, "what the curves tell needs no bar"
    assert len(list(root.iter(f"{SVG}polyline"))) == 2


def test_nothing_in_the_picture_lies_outside_of_it() -> None:
    many = [Row(f"a long name of a row, number {n}, which goes on", "µs", spread(n), SDK, spread(1), 1) for n in (1, 9)]
    root = ElementTree.fromstring(picture({"calls": Measured(many), **PARTS}, "2 CPUs"))  # noqa: S314
    height = float(root.attrib["height"])
    for bar in root.iter(f"{SVG}rect"):
        assert float(bar.attrib["x"]) + float(bar.attrib["width"]) <= WIDTH
    for text in root.iter(f"{SVG}text"):
        assert float(text.attrib["x"]) < WIDTH
        assert float(text.attrib["y"]) < height


def test_a_picture_of_parts_without_peers_is_well_formed_too() -> None:
    ElementTree.fromstring(picture({"memory": Measured([ALONE])}, ""))  # noqa: S314
    ElementTree.fromstring(picture({}, ""))  # noqa: S314


def test_the_command_writes_what_is_asked_for_and_exits_0_with_a_goal_missed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    asked: list[tuple[str, int]] = []

    def measured(name: str, rounds: int) -> Measured:
        asked.append((name, rounds))
        return PARTS[name]

    monkeypatch.setattr(command, "_in_a_process", measured)
    files = ["--json", str(tmp_path / "b.json"), "--svg", str(tmp_path / "b.svg")]
    assert command.main(["--parts", "throughput,calls", "--quick", *files]) == 0
    assert asked == [("calls", 1), ("throughput", 1)]
    out = capsys.readouterr()
    assert out.out.endswith(
        "2 of 3 goals are met.\nNot met:\n- CPU per <call>: 3.00 of raw | http.client, goal ≤ 2.5\n"
    )
    assert "calls (1 of 2)" in out.err
    assert json.loads((tmp_path / "b.json").read_text(encoding="utf-8"))["rounds"] == 1
    ElementTree.parse(tmp_path / "b.svg")  # noqa: S314


def test_a_part_that_fails_does_not_keep_the_others_from_being_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def measured(name: str, _rounds: int) -> Measured:
        if name == "calls":
            raise RuntimeError("no server")
        return PARTS[name]

    monkeypatch.setattr(command, "_in_a_process", measured)
    monkeypatch.chdir(tmp_path)
    assert command.main(["--parts", "calls,memory"]) == 1
    out = capsys.readouterr()
    assert "calls could not be measured: no server" in out.err
    assert "memory that stays" in out.out
    assert out.out.endswith("Not measured: calls.\n")
    assert list(tmp_path.iterdir()) == []


def test_a_part_runs_in_a_process_of_its_own_and_its_error_comes_back() -> None:
    with pytest.raises(ModuleNotFoundError, match="no_such_part"):
        command._in_a_process("no_such_part", 1)
