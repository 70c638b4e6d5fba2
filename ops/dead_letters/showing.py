"""`dead-letters show`: one letter, whole, with what it has been through and what to do next."""

from __future__ import annotations

import json
from contextlib import suppress
from textwrap import indent
from typing import TYPE_CHECKING

from rich.padding import Padding
from rich.text import Text

from ops.console import harmless, plain, table
from ops.dead_letters.advice import advice_for
from ops.dead_letters.letter import RESUBMITTED_AS, RESUBMITTED_AT, RESUBMITTED_FROM, RESUBMITTED_TIMES
from ops.errors import PROBLEMS_FOUND, USAGE, OpsError
from shared.redelivery import ATTEMPT, FIRST_ATTEMPT_TIME, FIRST_ENQUEUED_TIME, MESSAGE_ID

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import Console

    from ops.dead_letters.letter import Letter

_HISTORY = {ATTEMPT, FIRST_ATTEMPT_TIME, FIRST_ENQUEUED_TIME, MESSAGE_ID}
_HISTORY |= {RESUBMITTED_AS, RESUBMITTED_AT, RESUBMITTED_FROM, RESUBMITTED_TIMES}
_MOST_NAMED = 8  # numbers in a sentence


def only_one(letters: Iterable[Letter], given: str, queue: str) -> Letter:
    """The single letter that an id stands for.

    Raises:
        OpsError: there is none, or several; the sentence gives their numbers.
    """
    found = list(letters)
    if not found:
        hint = " Digits are a sequence number; write id:… for a MessageId of digits." if given.isdigit() else ""
        raise OpsError(
            f"No dead letter '{plain(given)}' in queue '{queue}'.{hint} See: python -m ops dead-letters list",
            PROBLEMS_FOUND,
        )
    if len(found) > 1:
        numbers = ", ".join(str(letter.sequence_number) for letter in found[:_MOST_NAMED])
        more = ", …" if len(found) > _MOST_NAMED else ""
        text = f"{len(found)} dead letters have the id '{plain(given)}'. Give one of their numbers: {numbers}{more}."
        raise OpsError(text, USAGE)
    return found[0]


def show_letter(console: Console, letter: Letter) -> None:
    """Print it: why, what next, history, body, properties."""
    advice = advice_for(letter.reason, letter.sequence_number)
    console.print(Text.assemble(("Dead letter ", "name"), (str(letter.sequence_number), "name")))
    _part(console, "Reason", Text(plain(letter.reason), "reason"), Text(plain(letter.description)))
    if letter.problem:
        _part(console, "Body is not a cancellation", Text(letter.problem, "warn"))
    _part(console, "The policy", Text(advice.meaning))
    _part(console, "Next", Text(advice.next_step, "good"))
    _part(console, "History", *(Text(line) for line in history(letter)))
    _part(console, "Body")
    # Into a pipe each line as it is: folded or padded, a long one would be no JSON any more.
    console.print(Text(indent(pretty(letter.body), "  ")), soft_wrap=not console.is_terminal)
    named = {name: value for name, value in letter.properties.items() if name not in _HISTORY}
    if named:
        made = table("property", "type", "value")
        for name, value in named.items():
            made.add_row(Text(plain(name)), type(value).__name__, Text(plain(str(value))))
        _part(console, "Application properties", made)
    made = table("property", "value")
    made.add_row("message_id", Text(plain(str(letter.message_id))))
    for name, value in letter.record["properties"].items():
        if name != "message_id":
            made.add_row(name, Text(plain(str(value))))
    for name, value in letter.record["annotations"].items():
        made.add_row(Text(plain(name)), Text(plain(str(value))))
    _part(console, "Message", made)


def history(letter: Letter) -> list[str]:
    """What happened to it, in order, a line each; times in UTC."""
    lines = []
    if letter.first_enqueued:
        lines.append(f"{letter.first_enqueued:%Y-%m-%d %H:%M:%S}  sent as {plain(str(letter.first_id))}")
    given = letter.properties
    if letter.resubmitted_times:
        at = plain(str(given.get(RESUBMITTED_AT, "?"))).replace("T", " ")[:19]
        times = letter.resubmitted_times
        lines.append(
            f"{at}  sent again by a person as {plain(str(given.get(RESUBMITTED_AS)))}"
            + (f", the {times}th time" if times > 1 else "")
        )
    if letter.first_attempt:
        lines.append(f"{letter.first_attempt:%Y-%m-%d %H:%M:%S}  first attempt")
    tried = f"{letter.attempts} attempt{'s' * (letter.attempts != 1)} in all" if letter.attempts else "never tried"
    last = f"{letter.enqueued:%Y-%m-%d %H:%M:%S}" if letter.enqueued else "?"
    lines.append(f"{last}  last enqueued; {tried}, delivery count {letter.delivery_count}")
    lines.append(f"{'then':<19}  dead-lettered as {plain(letter.reason)}")
    return lines


def pretty(body: bytes) -> str:
    """The body as indented JSON where it is JSON, else as it is; nothing in it steers the terminal."""
    text = body.decode("utf-8", "replace")
    with suppress(ValueError, RecursionError):
        text = json.dumps(json.loads(text.removeprefix("\ufeff")), indent=2, ensure_ascii=False)
    return "\n".join(harmless(line) for line in text.split("\n")) or "(empty)"


def _part(console: Console, heading: str, *content: object) -> None:
    console.print()
    console.print(Text(heading, "name"))
    for item in content:
        console.print(Padding(item, (0, 0, 0, 2), expand=False))  # type: ignore[arg-type]
