"""The workbook shows the very queries of infra/queries, in the order in which an incident is worked."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from tools.kql.workbook import QUERIES, STEPS, WORKBOOK, rendered

ITEMS: list[dict[str, Any]] = json.loads(WORKBOOK.read_text(encoding="utf-8"))["items"]
SHOWN = [item for item in ITEMS if item["type"] == 3]


def test_the_workbook_is_what_the_queries_make_it() -> None:
    assert WORKBOOK.read_text(encoding="utf-8") == rendered(), "run: python tools/kql/workbook.py"


def test_each_query_is_shown_word_for_word() -> None:
    texts = {path.stem: path.read_text(encoding="utf-8") for path in QUERIES.glob("*.kql")}
    assert {item["name"]: item["content"]["query"] for item in SHOWN} == {
        name: text for name, text in texts.items() if not name.startswith("alert-")
    }


def test_the_queries_stand_in_the_order_in_which_an_incident_is_worked() -> None:
    steps = [re.search(r"// Incident step (\d):", item["content"]["query"]) for item in SHOWN]
    assert [int(step[1]) for step in steps if step] == list(range(1, len(STEPS) + 1))


def test_each_query_stands_under_a_heading_with_the_number_of_its_step() -> None:
    for number, (name, heading, _) in enumerate(STEPS, start=1):
        place = next(index for index, item in enumerate(ITEMS) if item["name"] == name)
        assert ITEMS[place - 1]["content"]["json"].startswith(f"## {number}. {heading}\n")


def test_it_has_the_form_of_a_gallery_template() -> None:
    """As the published schema of workbooks asks: version, items, and for each item its type, content and name."""
    document = json.loads(WORKBOOK.read_text(encoding="utf-8"))
    assert document["version"] == "Notebook/1.0"
    assert document["$schema"].endswith("/schema/workbook.json")
    names = [item["name"] for item in ITEMS]
    assert len(names) == len(set(names))
    versions = {3: "KqlItem/1.0", 9: "KqlParameterItem/1.0"}
    for item in ITEMS:
        assert item["type"] in (1, 3, 9)
        if item["type"] in versions:
            assert item["content"]["version"] == versions[item["type"]]


def test_each_parameter_that_a_query_uses_is_asked_for_and_each_time_range_is_the_shared_one() -> None:
    (parameters,) = (item["content"]["parameters"] for item in ITEMS if item["type"] == 9)
    asked = {parameter["name"] for parameter in parameters}
    used = {name for item in SHOWN for name in re.findall(r"\{(\w+)\}", item["content"]["query"])}
    assert used | {item["content"]["timeContextFromParameter"] for item in SHOWN} == asked


def test_the_steps_are_those_of_the_monitoring_guide() -> None:
    guide = (Path(__file__).resolve().parents[2] / "docs" / "monitoring.md").read_text(encoding="utf-8")
    assert re.findall(r"^\d\. `([\w-]+)\.kql`", guide, re.MULTILINE) == [name for name, _, _ in STEPS]
