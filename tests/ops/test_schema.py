"""The published schema: equal to the code's, and of the same opinion as the function."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from shared.cancellation import InvalidCancellationError, decode_cancellation, json_schema

if TYPE_CHECKING:
    from tests.ops.conftest import Stage

PUBLISHED = Path(__file__).resolve().parents[2] / "docs" / "message.schema.json"
VALIDATOR = Draft202012Validator(json_schema())


def takes(body: object) -> bool:
    try:
        decode_cancellation(json.dumps(body).encode())
    except InvalidCancellationError:
        return False
    return True


def test_the_published_file_is_what_the_command_prints(stage: Stage) -> None:
    result = stage.run("schema")

    assert result.exit_code == 0
    assert result.stdout == PUBLISHED.read_text(encoding="utf-8"), "python -m ops schema > docs/message.schema.json"


def test_the_published_file_is_the_schema_of_the_type() -> None:
    published = json.loads(PUBLISHED.read_text(encoding="utf-8"))

    assert published == json_schema()
    Draft202012Validator.check_schema(published)


@pytest.mark.parametrize(
    "body",
    [
        {"jobId": "8780b28c-7079-4de1-9143-4d369289e958"},
        {"jobId": "ä/b c", "note": None, "dispositionCode": None, "extra": [1]},
        {"jobId": "x" * 1024, "note": "", "dispositionCode": "Gone"},
        {"jobId": "..."},
    ],
)
def test_the_schema_takes_what_the_function_takes(body: dict[str, Any]) -> None:
    VALIDATOR.validate(body)
    assert takes(body)


@pytest.mark.parametrize(
    "body",
    [
        {},
        [],
        "job-1",
        {"jobId": None},
        {"jobId": 5},
        {"jobId": ""},
        {"jobId": "  "},
        {"jobId": "."},
        {"jobId": ".."},
        {"jobId": "a\nb"},
        {"jobId": "a\ufffdb"},
        {"jobId": "x" * 1025},
        {"jobId": "a", "note": 5},
        {"jobId": "a", "dispositionCode": ["Gone"]},
    ],
)
def test_the_schema_refuses_what_the_function_refuses(body: object) -> None:
    assert not VALIDATOR.is_valid(body)
    assert not takes(body)


_ODD = st.text(st.sampled_from(". \t\n\x00\x7f\x85\u00a0\ufffdaé/%🙂"), max_size=6)


@given(st.fixed_dictionaries({"jobId": _ODD | st.none() | st.integers()}, optional={"note": _ODD | st.booleans()}))
def test_schema_and_function_never_differ(body: dict[str, Any]) -> None:
    assert VALIDATOR.is_valid(body) == takes(body)
