"""What may not be repeated of what others say: credentials, and the private texts that a request carried.

Pure text work; knows nothing of HTTP or of queues.
"""

from __future__ import annotations

import html
import re
from typing import TYPE_CHECKING
from urllib.parse import unquote

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

RUN = 8  # characters in a row; what repeats so many of a private text repeats the text
_ESCAPES_WITHIN_ESCAPES = 8  # levels undone; each proxy or logger on the way may add one

# An error page may quote the request that it refused, credentials included: as a header, a query or a JSON field.
_SECRETS = re.compile(
    r"""
      \beyJ[\w-]{6,}(?:\.[\w-]*)*  # a JSON Web Token, whatever stands before it
    | (?<![a-z])bearer(?:\s|%20|\+)+[^\s"'<>,;&]+
    | (?<![a-z])sharedaccesssignature(?:[\s:=+"'\\]|%20|%3[ad])+[^\s"'<>]+
    | (?<![a-z])(?:signature|shared_?access_?key|account_?key|access_?key|access_?token|client_?secret|password|sig)
      ["'\\]*\s*(?:[=:]|%3[ad])\s*["'\\]*[^\s&;,"'<>\\]+
    | (?<![a-z])token["'\\]*\s*(?:[=:]|%3[ad])\s*["'\\]*[\w.~+/%=-]{16,}
    """,
    re.IGNORECASE | re.VERBOSE,
)
_ESCAPED = re.compile(r"\\(?:u([0-9a-fA-F]{4})|x([0-9a-fA-F]{2})|U([0-9a-fA-F]{8})|(.))", re.DOTALL)
_SHORT_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f"}


def one_line(text: str, limit: int) -> str:
    """The text on one line, without control characters and credentials, at most `limit` characters."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text[: limit * 20]).split())
    line = _SECRETS.sub("[hidden]", line)
    return line if len(line) <= limit else line[: limit - 1] + "…"


def has_credential(text: str) -> bool:
    """Whether something in the text looks like a credential."""
    return bool(_SECRETS.search(text))


def repeats(said: str, private: Iterable[str]) -> bool:
    """Whether eight characters in a row of a private text, or the whole of a shorter one, can be read in `said`.

    Case, white space and what cannot be printed do not count; neither do JSON, HTML and percent escapes.
    """
    heard = set(_readings(said))
    runs = {reading[i : i + RUN] for reading in heard for i in range(len(reading) - RUN + 1)}
    for reading in (reading for text in private for reading in _readings(text)):
        if len(reading) < RUN:
            if reading and any(reading in text for text in heard):
                return True
        elif any(reading[i : i + RUN] in runs for i in range(len(reading) - RUN + 1)):
            return True
    return False


def _readings(text: str) -> Iterator[str]:
    """The text as written, then with one level of escapes after the other undone; each reduced to what is compared."""
    for _ in range(_ESCAPES_WITHIN_ESCAPES):
        yield from _reduced(text)
        undone = _undo_json(text)
        if undone != text:
            yield from _reduced(undone)
        undone = unquote(html.unescape(undone))
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
