"""Reads a Bicep file into plain values, so that tests can walk it. Syntax only: it compiles nothing.

A literal becomes its Python value, everything else (a name, a call, a string with ${…}) an Expression with its text.
A loop is a list of the one body that it repeats, an object with a condition is that object.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tree_sitter_bicep
from tree_sitter import Language, Parser

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tree_sitter import Node

INFRA = Path(__file__).resolve().parents[2] / "infra"
MAIN = INFRA / "main.bicep"
MODULES = sorted((INFRA / "modules").glob("*.bicep"))
_PARSER = Parser(Language(tree_sitter_bicep.language()))


@dataclass(frozen=True)
class Expression:
    """Anything that is worked out at deployment."""

    text: str
    node: Node | None = field(default=None, compare=False, repr=False)

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Declaration:
    """A param, var, output, resource or module. value: the default, the value, or the body."""

    kind: str
    name: str
    node: Node
    value: Any = None
    type: str = ""  # of a param or output its type, of a resource Microsoft.…/…@version, of a module its path
    existing: bool = False
    decorators: dict[str, Any] = field(default_factory=dict)

    @property
    def text(self) -> str:
        return _text(self.node)


@dataclass(frozen=True)
class Template:
    """One file."""

    path: Path
    root: Node
    declarations: list[Declaration]

    def of(self, kind: str) -> dict[str, Declaration]:
        """All params, vars, outputs, resources or modules, by their names."""
        return {found.name: found for found in self.declarations if found.kind == kind}

    def resource(self, resource_type: str) -> Declaration:
        """The one resource of a type that the file makes (not one that it only refers to)."""
        (found,) = (
            found
            for found in self.of("resource").values()
            if not found.existing and found.type.partition("@")[0] == resource_type
        )
        return found


@cache
def read(path: Path) -> Template:
    """Read a file."""
    return parse(path.read_bytes(), path)


def parse(source: bytes, path: Path = MAIN) -> Template:
    """Read a text."""
    root = _PARSER.parse(source).root_node
    declarations: list[Declaration] = []
    decorators: dict[str, Any] = {}
    for node in root.named_children:
        if node.type == "decorators":
            decorators = dict(_decorator(child) for child in node.named_children)
        elif node.type.endswith("_declaration"):
            declarations.append(_declaration(node, decorators))
            decorators = {}
    return Template(path, root, declarations)


def errors(node: Node) -> Iterator[str]:
    """Where the syntax is wrong."""
    if node.type == "ERROR" or node.is_missing:
        yield f"line {node.start_point[0] + 1}: {_text(node)[:60]!r}"
    for child in node.children:
        yield from errors(child)


def walk(node: Node) -> Iterator[Node]:
    """A node and all below it."""
    yield node
    for child in node.named_children:
        yield from walk(child)


def value_of(node: Node) -> Any:
    """The Python value of a literal, else an Expression."""
    match node.type:
        case "string":
            if any(child.type == "interpolation" for child in node.named_children):
                return Expression(_text(node), node)
            return "".join(_text(child) for child in node.named_children)
        case "number":
            return int(_text(node))
        case "boolean":
            return _text(node) == "true"
        case "null":
            return None
        case "array":
            return [value_of(child) for child in node.named_children if child.type != "comment"]
        case "object":
            pairs = [child.named_children for child in node.named_children if child.type == "object_property"]
            return {_key(pair[0]): value_of([part for part in pair if part.type != "comment"][-1]) for pair in pairs}
        case "if_statement":
            return value_of(node.named_children[-1])
        case "for_statement":
            return [value_of(node.named_children[-1])]
        case _:
            return Expression(_text(node), node)


def names_used(node: Node) -> set[str]:
    """Names of params, vars, resources, modules and functions that an expression refers to."""
    found: set[str] = set()
    for child in node.named_children:
        if node.type == "object_property" and child == node.named_children[0] and child.type == "identifier":
            continue  # a property's own name
        if child.type in ("property_identifier", "type", "comment"):
            continue
        found |= {_text(child)} if child.type == "identifier" else names_used(child)
    return found


def _declaration(node: Node, decorators: dict[str, Any]) -> Declaration:
    kind = {"parameter": "param", "variable": "var"}.get(node.type.removesuffix("_declaration"), node.type)
    kind = kind.removesuffix("_declaration")
    parts = [child for child in node.named_children if child.type != "comment"]
    name, rest = _text(parts[0]), parts[1:]
    said = ""
    if kind in ("param", "output", "resource", "module"):
        said, rest = (value_of(rest[0]) if rest[0].type == "string" else _text(rest[0])), rest[1:]
    existing = any(child.type == "existing" for child in node.children)
    value = value_of(rest[-1]) if rest else None
    if kind in ("resource", "module") and isinstance(value, list):
        (value,) = value  # made in a loop
    return Declaration(kind, name, node, value, said, existing, decorators)


def _decorator(node: Node) -> tuple[str, Any]:
    call = node.named_children[0]
    name, arguments = call.named_children[0], call.named_children[1]
    values = [value_of(child) for child in arguments.named_children]
    return _text(name), values[0] if values else True


def _key(node: Node) -> str:
    return str(value_of(node)) if node.type == "string" else _text(node)


def _text(node: Node) -> str:
    return (node.text or b"").decode()
