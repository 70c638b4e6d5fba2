"""What may not be repeated of what others say: credentials, and the private texts that a request carried.

Pure text work; knows nothing of HTTP or of queues.
"""

from __future__ import annotations

import html
import re
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import unquote

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

RUN = 8  # characters in a row; what repeats so many of a private text repeats the text
_ESCAPES_WITHIN_ESCAPES = 8  # levels undone; each proxy or logger on the way may add one

# An error page may quote the request that it refused, credentials included: as a header, a query or a JSON field.
_NAMES = (
    "signature|shared_?access_?key|account_?key|access_?key|access_?token|client_?secret|client_?assertion|password|sig"
)
_ESCAPED = re.compile(r"\\(?:U([0-9a-fA-F]{8})|x([0-9a-fA-F]{2})|[uU]([0-9a-fA-F]{4})|(.))", re.DOTALL)
_SHORT_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f"}
_ABSURD_REFERENCE = re.compile(r"&#0*[0-9]{8,};?")  # no character has such a number, and int() refuses 4,300 digits


@lru_cache(maxsize=1)
def _secrets() -> re.Pattern[str]:
    """Compiled when something fails, not at cold start."""
    return re.compile(
        rf"""
          \beyJ[\w-]{{6,}}(?:\.[\w-]*)*  # a JSON Web Token, whatever stands before it
        | (?<![a-z])(?:bearer|basic)(?:[\s+:"'\\]|%20)+[^\s"'<>,;&]{{8,}}
        | (?<![a-z])sharedaccesssignature(?:[\s:=+"'\\]|%(?:25)*(?:20|3[ad]))+[^\s"'<>]+
        | (?<![a-z])(?:{_NAMES})["'\\]*\s*(?:[=:]|%(?:25)*3[ad])[\s\[("'\\]*[^\s&;,"'<>\\]+
        | (?<![a-z])(?:{_NAMES})\s+[\w+/=%-]{{20,}}  # in a table of an error page
        | (?<![a-z])token["'\\]*\s*(?:[=:]|%(?:25)*3[ad])[\s\[("'\\]*[\w.~+/%=-]{{16,}}
        | //[^\s/@:]+:[^\s/@]+@  # user and password in a URL
        """,
        re.IGNORECASE | re.VERBOSE,
    )


def one_line(text: str, limit: int) -> str:
    """The text on one line, without control characters and credentials, at most `limit` characters."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text[: limit * 20]).split())
    if any(has_credential(undone) for undone in _undone(line)):
        return "[hidden]"  # a mask would end at the first escape within the credential
    line = _secrets().sub("[hidden]", line)
    return line if len(line) <= limit else line[: limit - 1] + "…"


def has_credential(text: str) -> bool:
    """Whether something in the text looks like a credential."""
    return bool(_secrets().search(text))


def unescape_html(text: str) -> str:
    """As html.unescape, which raises ValueError for a number of too many digits."""
    return html.unescape(_ABSURD_REFERENCE.sub("\ufffd", text))


def runs_in_common(said: str, private: Iterable[str]) -> frozenset[str]:
    """The runs of eight characters of the private texts that can be read in `said`; of a shorter text, the whole of it.

    Case, white space and what cannot be printed do not count; neither do JSON, HTML and percent escapes. Each private
    text is read once: a note may be long.
    """
    heard = set(_readings(said))
    runs = {reading[i : i + RUN] for reading in heard for i in range(len(reading) - RUN + 1)}
    found: set[str] = set()
    for reading in (reading for text in private for reading in _readings(text)):
        if len(reading) >= RUN:
            found.update(run for i in range(len(reading) - RUN + 1) if (run := reading[i : i + RUN]) in runs)
        elif reading and any(reading in text for text in heard):
            found.add(reading)
    return frozenset(found)


def holds(said: str, runs: frozenset[str]) -> bool:
    """Whether one of these runs can be read in `said`."""
    return bool(runs) and any(run in reading for reading in _readings(said) for run in runs)


def repeats(said: str, private: Iterable[str]) -> bool:
    """Whether `said` repeats eight characters in a row of a private text, or the whole of a shorter one."""
    return bool(runs_in_common(said, private))


def _readings(text: str) -> Iterator[str]:
    """The text as written and with its escapes undone, each reduced to what is compared."""
    yield from _reduced(text)
    for undone in _undone(text):
        yield from _reduced(undone)


def _undone(text: str) -> Iterator[str]:
    """The text with one level of escapes after the other undone; nothing where it has none."""
    for _ in range(_ESCAPES_WITHIN_ESCAPES):
        plain = _undo_json(text)
        if plain != text:
            yield plain
        undone = unquote(unescape_html(plain))
        if undone != plain:
            yield undone
        if undone == text:
            return
        text = undone


def _reduced(text: str) -> Iterator[str]:
    dense = "".join(text.casefold().split())
    yield dense
    if not dense.isprintable():
        yield "".join(c for c in dense if c.isprintable())


def _undo_json(text: str) -> str:
    if "\\" not in text:
        return text
    undone = _ESCAPED.sub(_character, text)
    # Two \u escapes may stand for one character beyond the sixteenth bit.
    return undone.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _character(escape: re.Match[str]) -> str:
    code = escape[1] or escape[2] or escape[3]
    if code:
        return chr(int(code, 16)) if int(code, 16) < 0x110000 else ""
    return _SHORT_ESCAPES.get(escape[4], escape[4])
