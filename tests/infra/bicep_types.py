"""Holds what a Bicep file says of a resource against the vendor's description of its type.

It finds properties that do not exist, are read-only or are missing, values of another basic type, strings outside the
list of values, and broken lengths, ranges and patterns. In one point it is stricter than the compiler, which lets any
string pass where the list is open (`Storage | StorageV2 | string`): here only those that are named do.

An expression is followed where the file itself says what it is (bicep_expressions.py); otherwise it passes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from tests.infra.bicep import walk
from tests.infra.bicep_expressions import Kind, possible

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.infra.bicep import Declaration, Template

    Shape = dict[str, Any]  # an Object or DiscriminatedObject, as it is printed

BASIC = {"any", "array", "bool", "int", "object", "string"}


@dataclass(frozen=True)
class ResourceType:
    """What the vendor says of one resource type, in one version."""

    version: str
    scopes: str
    body: Shape
    named: dict[str, Shape]  # the objects that its properties refer to by their names

    @classmethod
    def of(cls, printed: list[dict[str, Any]]) -> ResourceType:
        """Read what `azmcp bicepschema get` prints."""
        (resource,) = (entry for entry in printed if entry["$type"] == "Resource")
        named = {entry["name"]: entry for entry in printed if entry["$type"] in ("Object", "DiscriminatedObject")}
        return cls(resource["name"].partition("@")[2], resource["writableScopes"], resource["bodyType"], named)


def complaints(template: Template, resource: Declaration, known: ResourceType) -> list[str]:
    """What is wrong with a resource: `file: resource: path: what`."""
    checker = _Checker(template, known)
    body = {name: value for name, value in resource.value.items() if name not in ("parent", "scope", "dependsOn")}
    found = [*checker.place(resource), *checker.shape("", body, known.body)]
    return [f"{template.path.name}: {resource.name}: {complaint}" for complaint in dict.fromkeys(found)]


def wrong_reads(template: Template, known: Mapping[str, ResourceType]) -> Iterator[str]:
    """Properties that the file reads of a resource (`storage.properties.primaryEndpoints.blob`) and that it has not."""
    resources = template.of("resource")
    for node in walk(template.root):
        path = (node.text or b"").decode()
        if node.type == "member_expression" and re.fullmatch(r"\w+(\.\w+)+", path):
            if node.parent and node.parent.type in ("member_expression", "call_expression"):
                continue  # a part of what is read, or a function
            name, *rest = path.split(".")
            if name in resources and (found := known.get(resources[name].type.partition("@")[0])):
                yield from (f"{template.path.name}: {path}: {what}" for what in _follow(rest, found))


def _follow(names: list[str], known: ResourceType) -> Iterator[str]:
    shape = known.body
    for position, name in enumerate(names, 1):
        if "discriminator" in shape:
            return
        found = {entry["name"]: entry for entry in shape["properties"]}.get(name)
        if found is None:
            if "additionalPropertiesType" not in shape:
                yield f"no such property: {name}"
            return
        if "WriteOnly" in found.get("flags", ""):
            yield f"{name} cannot be read"
        if found["type"] not in known.named:
            if position < len(names) and found["type"] not in ("any", "object"):
                yield f"{name} is {found['type']}"
            return
        shape = known.named[found["type"]]


@dataclass(frozen=True)
class _Checker:
    template: Template
    known: ResourceType

    def place(self, resource: Declaration) -> Iterator[str]:
        """Whether parent is of the type above, and scope is for types that can be put on another resource."""
        if parent := resource.value.get("parent"):
            found = self.template.of("resource").get(str(parent))
            above = resource.type.partition("@")[0].rpartition("/")[0]
            if not found or found.type.partition("@")[0] != above:
                yield f"parent: {parent} is no {above}"
        if "scope" in resource.value and self.known.scopes == "ResourceGroup":
            yield "scope: this type goes into a resource group and nowhere else"

    def shape(self, at: str, value: dict[str, Any], shape: Shape) -> Iterator[str]:
        """Check an object."""
        if "discriminator" not in shape:
            yield from self.properties(at, value, shape["properties"], shape.get("additionalPropertiesType"))
            return
        key = shape["discriminator"]
        elements = {
            next(entry["type"] for entry in element["properties"] if entry["name"] == key): [
                *shape["baseProperties"],
                *(entry for entry in element["properties"] if entry["name"] != key),
            ]
            for element in shape["elements"]
        }
        if key not in value:
            yield f"{_join(at, key)}: is missing"
            return
        rest = {name: given for name, given in value.items() if name != key}
        chosen = possible(value[key], self.template)
        if not chosen or not all(isinstance(name, str) for name in chosen):
            yield from min((list(self.properties(at, rest, entries)) for entries in elements.values()), key=len)
            return
        for name in chosen:
            if name in elements:
                yield from self.properties(at, rest, elements[name])
            else:
                yield f"{_join(at, key)}: {name!r} is none of {', '.join(elements)}"

    def properties(
        self, at: str, value: dict[str, Any], entries: list[dict[str, Any]], others: str | None = None
    ) -> Iterator[str]:
        """Check an object's properties; others is the type of those that are not listed, None where there are none."""
        listed = {entry["name"]: entry for entry in entries}
        for name, given in value.items():
            where = _join(at, name)
            if name not in listed:
                if others:
                    yield from self.value(where, given, others)
                else:
                    near = get_close_matches(name, listed, 1)
                    yield f"{where}: no such property" + (f", but {near[0]}" if near else "")
            elif "ReadOnly" in listed[name].get("flags", ""):
                yield f"{where}: is read-only"
            else:
                yield from self.value(where, given, listed[name]["type"], listed[name].get("modifiers", ""))
        for name, entry in listed.items():
            if "Required" in entry.get("flags", "") and name not in value:
                yield f"{_join(at, name)}: is missing"

    def value(self, at: str, given: Any, said: str, modifiers: str = "") -> Iterator[str]:
        """Check everything that a value may be against a type as it is printed: `string`, `A | B | string`, `A[]`."""
        for value in possible(given, self.template):
            yield from self.one(at, value, said, modifiers)

    def one(self, at: str, value: Any, said: str, modifiers: str) -> Iterator[str]:
        """Check one value. A name in said is an object's where there is such an object, else a string's value."""
        many = said.endswith("[]")  # of the whole union: `A | B[]` are many of A or B
        names = said.removesuffix("[]").split(" | ")
        shapes = [self.known.named[name] for name in names if name in self.known.named]
        literals = [name for name in names if name not in BASIC and not (len(names) == 1 and shapes)]
        kinds = {*(name for name in names if name in BASIC), *["string"][: len(literals)], *["object"][: len(shapes)]}
        kind = _kind(value)
        if value is None or (said == "any"):
            return
        if kind != "array" if many else kind not in kinds:
            yield f"{at}: {_shown(value)} where {said} belongs"
        elif many and isinstance(value, list):
            for position, item in enumerate(value):
                yield from self.value(f"{at}[{position}]", item, said.removesuffix("[]"))
        elif isinstance(value, str) and literals and value not in literals:
            yield f"{at}: {value!r} is none of {', '.join(literals)}"
        elif isinstance(value, dict) and shapes:
            yield from min((list(self.shape(at, value, shape)) for shape in shapes), key=len)
        yield from (f"{at}: {what}" for what in _outside(value, modifiers))


def _outside(value: Any, modifiers: str) -> Iterator[str]:
    """Where a value, or one that a param's own limits let through, breaks `minLength: 3, pattern: ^[a-z0-9]+$`."""
    numbers, _, pattern = modifiers.partition("pattern: ")
    for name, number in re.findall(r"(m\w+): (-?\d+)", numbers):
        own = value.limits.get(name) if isinstance(value, Kind) else value if isinstance(value, int) else len(value)
        if own is not None and (own < int(number) if name.startswith("min") else own > int(number)):
            yield f"{own} is outside {name} {number}"
    if pattern and isinstance(value, str) and not re.search(pattern, value):
        yield f"{value!r} does not match {pattern}"


def _kind(value: Any) -> str:
    if isinstance(value, Kind):
        return value.name
    return {bool: "bool", int: "int", str: "string", list: "array", dict: "object"}.get(type(value), "null")


def _shown(value: Any) -> str:
    return repr(value) if isinstance(value, (str, int)) else _kind(value)


def _join(at: str, name: str) -> str:
    return f"{at}.{name}" if at else name
