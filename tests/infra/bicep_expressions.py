"""What an expression of a Bicep file can turn out to be, as far as the file itself says it. Nothing is evaluated."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import reduce
from itertools import chain, product
from operator import or_
from typing import TYPE_CHECKING, Any

from tests.infra.bicep import Expression, value_of

if TYPE_CHECKING:
    from tree_sitter import Node

    from tests.infra.bicep import Declaration, Template

# Functions of the language that return the same type whatever they are given.
_RETURNS = {
    **dict.fromkeys(("empty", "contains", "startsWith", "endsWith", "bool"), "bool"),
    **dict.fromkeys(("guid", "loadTextContent", "string", "subscriptionResourceId", "resourceId"), "string"),
    **dict.fromkeys(("toLower", "toUpper", "uniqueString", "replace", "format", "join"), "string"),
    **dict.fromkeys(("int", "length", "indexOf"), "int"),
    **dict.fromkeys(("range", "split", "map", "filter"), "array"),
}
_LIMITS = ("minLength", "maxLength", "minValue", "maxValue")


@dataclass(frozen=True)
class Kind:
    """A value of which the file says the basic type alone. limits: those that the param declares, when it is one."""

    name: str
    limits: dict[str, int] = field(default_factory=dict)


def possible(value: Any, template: Template) -> list[Any]:
    """What a value may be: Python values (with Expressions in them) and Kinds. Empty: the file does not say."""
    if not isinstance(value, Expression):
        return [value]
    return _possible(value.node, template) if value.node else []


def _possible(node: Node, template: Template) -> list[Any]:
    match node.type:
        case "parenthesized_expression":
            return _possible(node.named_children[0], template)
        case "ternary_expression":
            return [found for side in node.named_children[1:] for found in _possible(side, template)]
        case "call_expression":
            function, arguments = node.named_children
            if _text(function) == "union":
                return _union([_possible(argument, template) for argument in arguments.named_children])
            return [Kind(_RETURNS[_text(function)])] if _text(function) in _RETURNS else []
        case "identifier":
            return _named(node, template)
        case "member_expression":
            return _member(node, template)
        case _:
            value = value_of(node)
            if not isinstance(value, Expression):
                return [value]
            return [Kind("string")] if node.type == "string" else []


def _named(node: Node, template: Template) -> list[Any]:
    name = _text(node)
    loop = node.parent
    while loop and not (loop.type == "for_statement" and _text(loop.named_children[0]) == name):
        loop = loop.parent
    if loop:
        lists = [found for found in _possible(loop.named_children[1], template) if isinstance(found, list)]
        return [found for items in lists for item in items for found in possible(item, template)]
    for declaration in template.declarations:
        if declaration.name == name and declaration.kind == "param":
            return _parameter(declaration)
        if declaration.name == name and declaration.kind == "var":
            return possible(declaration.value, template)
    return []


def _parameter(parameter: Declaration) -> list[Any]:
    if "allowed" in parameter.decorators:
        return list(parameter.decorators["allowed"])
    limits = {name: value for name, value in parameter.decorators.items() if name in _LIMITS}
    return [Kind(parameter.type, limits)] if parameter.type in ("string", "int", "bool", "object", "array") else []


def _member(node: Node, template: Template) -> list[Any]:
    owner, name = node.named_children[0], _text(node.named_children[-1])
    if _text(owner) in template.of("resource") and name in ("id", "name", "type"):
        return [Kind("string")]
    objects = [found for found in _possible(owner, template) if isinstance(found, dict) and name in found]
    return [value for found in objects for value in possible(found[name], template)]


def _union(arguments: list[list[Any]]) -> list[Any]:
    """Of objects: one for each way to choose what the arguments are, as far as all are known."""
    if all(isinstance(value, dict) for argument in arguments for value in argument):
        return [reduce(or_, chosen) for chosen in product(*arguments)]
    return [Kind("object")] if Kind("object") in chain(*arguments) else []


def _text(node: Node) -> str:
    return (node.text or b"").decode()
