"""A Log Analytics workspace in memory: the tables as tables.json declares them, and the query files run on them.

duckdb-kql translates a query to SQL and DuckDB runs it. It knows nothing of how the rows come about (telling.py).
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import duckdb_kql

from tests.infra.iso8601 import duration

ROOT = Path(__file__).resolve().parents[3]
QUERIES = {path.stem: path.read_text(encoding="utf-8") for path in (ROOT / "infra" / "queries").glob("*.kql")}
ALERTS = sorted(name for name in QUERIES if name.startswith("alert-"))
TABLES: dict[str, dict[str, str]] = json.loads(
    (ROOT / "tools" / "kql" / "tables.json").read_text(encoding="utf-8"),
)["tables"]
NOW = datetime(2026, 3, 1, 12, 2, 30, tzinfo=UTC)
# A string is never null in Kusto: what was not written is empty.
_TYPES = {
    "datetime": "TIMESTAMP NOT NULL",
    "string": "VARCHAR NOT NULL DEFAULT ''",
    "int": "INTEGER",
    "real": "DOUBLE",
    "bool": "BOOLEAN",
    "dynamic": "JSON",
}

Row = dict[str, Any]


def ago(*, minutes: float = 0.0, seconds: float = 0.0) -> datetime:
    """So long before the queries are asked."""
    return NOW - timedelta(minutes=minutes, seconds=seconds)


class Workspace:
    """Rows go in with `add`; `ask`, `alert` and `firing` answer as of NOW. Times are UTC."""

    def __init__(self) -> None:
        self._connection = duckdb_kql.connect()
        for table, columns in TABLES.items():
            declared = ", ".join(f'"{name}" {_TYPES[type_]}' for name, type_ in columns.items())
            self._connection.execute(f'CREATE TABLE "kept_{table}" ({declared})')

    def add(self, table: str, time: datetime, **columns: object) -> None:
        """One row; columns that are not given are empty. A mapping is a dynamic."""
        row = {"TimeGenerated": time.astimezone(UTC).replace(tzinfo=None), **columns}
        values = [json.dumps(value) if isinstance(value, dict) else value for value in row.values()]
        names, marks = ", ".join(f'"{name}"' for name in row), ", ".join("?" * len(row))
        self._connection.execute(f'INSERT INTO "kept_{table}" ({names}) VALUES ({marks})', values)  # noqa: S608  # names of our own

    def ask(self, query: str, *, window: timedelta = timedelta(days=1), message_id: str = "") -> list[Row]:
        """The result of a KQL text. As in Azure, each table has the rows of the last `window` and no others."""
        for table in TABLES:
            bounds = f"TimeGenerated > '{_plain(NOW - window)}' AND TimeGenerated <= '{_plain(NOW)}'"
            self._connection.execute(
                f'CREATE OR REPLACE VIEW "{table}" AS SELECT * FROM "kept_{table}" WHERE {bounds}'  # noqa: S608  # names of our own
            )
        # The workbook's parameter is put into the text, as the workbook does it.
        translated = _translated(query.replace("{MessageId}", message_id))
        found = self._connection.sql(translated, params=translated.parameters or None)
        kinds = [str(kind) for kind in found.types]
        return [
            {name: _value(value, kind) for name, value, kind in zip(found.columns, row, kinds, strict=True)}
            for row in found.fetchall()
        ]

    def alert(self, name: str) -> list[Row]:
        """The rows of an alert's query over the window that its head asks for: with any row it fires."""
        text = QUERIES[name]
        head = re.search(r"^// Alert: any row, severity \d, window (PT\w+), every PT\w+$", text, re.MULTILINE)
        assert head, name
        return self.ask(text, window=duration(head[1]))

    def firing(self) -> set[str]:
        """The alerts that fire, without the `alert-` of their files."""
        return {name.removeprefix("alert-") for name in ALERTS if self.alert(name)}

    def close(self) -> None:
        self._connection.close()


@cache
def _translated(query: str) -> duckdb_kql.TranslationResult:
    return duckdb_kql.to_sql(query, {table: list(columns) for table, columns in TABLES.items()}, query_now=_plain(NOW))


def _plain(time: datetime) -> datetime:
    return time.replace(tzinfo=None)


def _value(value: object, kind: str) -> object:
    if value is None and kind == "VARCHAR":
        return ""  # the engine's own: what a lookup or a union does not find is null to it, empty in Kusto
    if isinstance(value, datetime):
        return value.replace(tzinfo=UTC)
    return json.loads(value) if kind == "JSON" and isinstance(value, str) else value
