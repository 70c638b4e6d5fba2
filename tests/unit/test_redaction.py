"""What may not be repeated of what others say."""

from __future__ import annotations

import html
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.redaction import RUN, has_credential, one_line, repeats

NOTE = "Customer Jane Roe, phone 555-0199, changed her mind"


def test_a_text_is_one_line_without_control_characters() -> None:
    assert one_line("a\r\n\tb\x00c\x1b[0m", 100) == "a b c [0m"


def test_a_text_that_is_too_long_ends_in_an_ellipsis() -> None:
    assert one_line("x" * 11, 10) == "x" * 9 + "…"
    assert one_line("x" * 10, 10) == "x" * 10


@pytest.mark.parametrize(
    "said", ["The token is expired.", "The signature is wrong.", "Signature mismatch", "key: value"]
)
def test_plain_words_about_credentials_are_not_hidden(said: str) -> None:
    assert one_line(said, 100) == said
    assert not has_credential(said)


@pytest.mark.parametrize(
    "said",
    [
        NOTE[9:18],
        NOTE[9:18].upper(),
        " ".join(NOTE[9:25]),
        f"You said: {NOTE}",
        json.dumps(json.dumps(json.dumps(NOTE + "\n"))),
        html.escape(html.escape("<Jane Roe, phone>")),
        "".join(f"%{ord(c):02x}" for c in NOTE[:20]),
        "".join(f"\\x{ord(c):02x}" for c in NOTE[:20]),
        "".join(f"\\U{ord(c):08x}" for c in NOTE[:20]),
        "J\u200ba\u200bn\u200be Roe, phone",
    ],
)
def test_eight_characters_in_a_row_repeat_a_text_however_they_are_written(said: str) -> None:
    assert repeats(said, [NOTE])


@pytest.mark.parametrize("said", ["", "Jane Roe", "mind her changed", "The job is closed."])
def test_fewer_or_others_do_not(said: str) -> None:
    assert not repeats(said, [NOTE])


def test_a_short_text_is_repeated_whole() -> None:
    assert repeats("the note 'V I P' is refused", ["vip"])
    assert not repeats("the note is refused", ["vip"])
    assert not repeats("anything", ["", " \n"])


def test_a_character_beyond_sixteen_bits_is_known_by_its_two_escapes() -> None:
    assert repeats(json.dumps("😀" * RUN), ["😀" * RUN])


def test_escapes_are_undone_to_a_depth_that_nobody_reaches_and_no_further() -> None:
    said = NOTE.replace("a", "&")
    for _ in range(12):
        said = html.escape(said)
    assert not repeats(said.replace("Customer", ""), ["x&y&z&x&y&z&"])


@given(st.text(max_size=80), st.text(min_size=1, max_size=80), st.text(max_size=80))
def test_a_text_within_another_is_found(before: str, private: str, after: str) -> None:
    dense = "".join(private.casefold().split())
    if len(dense) >= RUN and not set("\\&%") & set(before[-9:] + private + after[:9]):
        assert repeats(before + private + after, [private])
