"""`schema`: the message's JSON Schema, from the type that enforces it."""

from __future__ import annotations

import sys


def schema() -> None:
    """Print the JSON Schema (2020-12) of a cancellation message's body.

    It is written from the type that the function decodes with.
    docs/message.schema.json is this output.

    Example:
    [bold]
        python -m ops schema > message.schema.json
    [/bold]
    """
    sys.stdout.write(schema_text())


def schema_text() -> str:
    """The schema as it stands in docs/message.schema.json."""
    import json

    from shared.cancellation import json_schema

    return json.dumps(json_schema(), indent=2) + "\n"
