"""Writes infra/workbook.json from the queries in infra/queries, in the order in which an incident is worked.

`python tools/kql/workbook.py` after a query has changed; a test says when that was forgotten.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
QUERIES = ROOT / "infra" / "queries"
WORKBOOK = ROOT / "infra" / "workbook.json"

# (query, heading, what to look for); the place in this list is the step of the incident.
STEPS = (
    ("outcomes", "Is something wrong, and since when?", "Green days are all Cancelled and AlreadyCancelled."),
    ("reasons", "What is the cause?", "The most frequent row first; its example names the setting or service."),
    ("latency", "Is Job Router slow?", "A plateau near 20 or 60 seconds is a service that does not answer at all."),
    ("retries", "Do retries get through?", "Few should go beyond the second attempt. Nothing should be given back."),
    ("age", "How late do cancellations come?", "A line that rises is an outage; one that falls is being made up."),
    ("who-was-hit", "Who was hit?", "Those that come again need nothing. Dead letters are sent again by hand."),
    (
        "message-story",
        "What happened to one message?",
        "Its MessageId, from the list above, goes into the field on top.",
    ),
)
_INTRODUCTION = """# Cancellations of Job Router jobs

Work from top to bottom: what, why, how bad, who. `docs/monitoring.md` says what to do at each alert. One lock-lost
error of the host after each dead letter is expected and is counted nowhere here."""


def workbook() -> dict[str, Any]:
    """The gallery template: a time range, a message id, then a heading and a query for each step."""
    items: list[dict[str, Any]] = [_text("introduction", _INTRODUCTION), _parameters()]
    for number, (name, heading, look) in enumerate(STEPS, start=1):
        items += [_text(f"step-{number}", f"## {number}. {heading}\n\n{look}"), _query(name)]
    return {
        "version": "Notebook/1.0",
        "items": items,
        "fallbackResourceIds": [],
        "$schema": "https://github.com/Microsoft/Application-Insights-Workbooks/blob/master/schema/workbook.json",
    }


def rendered() -> str:
    """The file's text."""
    return json.dumps(workbook(), indent=2, ensure_ascii=False) + "\n"


def _text(name: str, markdown: str) -> dict[str, Any]:
    return {"type": 1, "content": {"json": markdown}, "name": name}


def _parameters() -> dict[str, Any]:
    hours = (1, 4, 12, 24, 72, 168)
    time_range = {
        "id": "5f1c9d52-6f0a-4b57-9a55-0c8f4d3c2a01",
        "version": "KqlParameterItem/1.0",
        "name": "TimeRange",
        "label": "Time range",
        "type": 4,
        "isRequired": True,
        "value": {"durationMs": 4 * 3_600_000},
        "typeSettings": {"selectableValues": [{"durationMs": hour * 3_600_000} for hour in hours], "allowCustom": True},
    }
    message_id = {
        "id": "5f1c9d52-6f0a-4b57-9a55-0c8f4d3c2a02",
        "version": "KqlParameterItem/1.0",
        "name": "MessageId",
        "label": "MessageId (step 7)",
        "type": 1,
        "value": "",
    }
    content = {
        "version": "KqlParameterItem/1.0",
        "parameters": [time_range, message_id],
        "style": "pills",
        "queryType": 0,
        "resourceType": "microsoft.operationalinsights/workspaces",
    }
    return {"type": 9, "content": content, "name": "parameters"}


def _query(name: str) -> dict[str, Any]:
    content = {
        "version": "KqlItem/1.0",
        "query": (QUERIES / f"{name}.kql").read_text(encoding="utf-8"),
        "size": 0,
        "timeContextFromParameter": "TimeRange",
        "queryType": 0,
        "resourceType": "microsoft.operationalinsights/workspaces",
    }
    return {"type": 3, "content": content, "name": name}


if __name__ == "__main__":
    WORKBOOK.write_text(rendered(), encoding="utf-8")
