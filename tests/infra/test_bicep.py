"""The Bicep files: syntax, names that mean something, and modules that fit each other. Azure was not asked."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.infra.bicep import INFRA, MAIN, MODULES, Declaration, Template, errors, names_used, parse, read, walk

EVERY = [MAIN, *MODULES]
BY_NAME = pytest.mark.parametrize("path", EVERY, ids=lambda path: path.stem)
# Functions of the Bicep language that are used here.
FUNCTIONS = {
    *("empty", "guid", "loadJsonContent", "loadTextContent", "replace", "resourceGroup", "string"),
    "subscriptionResourceId",
    *("take", "toLower", "union", "uniqueString"),
}
DECORATORS = {"allowed", "description", "maxLength", "maxValue", "minLength", "minValue", "secure"}


def loop_names(template: Template) -> set[str]:
    return {
        node.named_children[0].text.decode()
        for node in walk(template.root)
        if node.type == "for_statement" and node.named_children[0].text
    }


def limits(parameter: Declaration) -> set[str]:
    return set(parameter.decorators) & {"allowed", "minLength", "maxLength", "minValue", "maxValue"}


@BY_NAME
def test_the_syntax_is_right(path: Path) -> None:
    template = read(path)
    assert list(errors(template.root)) == []
    assert not template.root.has_error


def test_wrong_syntax_is_found() -> None:
    assert list(errors(parse(b"resource x 'M.S/n@2024-01-01' = {\n  name: \n  location = 'a'\n").root))


@BY_NAME
def test_each_resource_type_has_a_dated_version(path: Path) -> None:
    for resource in read(path).of("resource").values():
        assert re.fullmatch(r"Microsoft\.\w+(/\w+)+@20\d\d-[01]\d-[0-3]\d(-preview)?", resource.type), resource.name


def test_one_version_for_each_resource_type() -> None:
    versions: dict[str, set[str]] = {}
    for path in EVERY:
        for resource in read(path).of("resource").values():
            name, _, version = resource.type.partition("@")
            versions.setdefault(name, set()).add(version)
    assert {name: found for name, found in versions.items() if len(found) > 1} == {}


@BY_NAME
def test_each_name_that_is_used_is_declared_and_each_one_declared_is_used(path: Path) -> None:
    template = read(path)
    declared = {found.name for found in template.declarations}
    used = set().union(*(names_used(found.node) - {found.name} for found in template.declarations))
    assert used - declared - FUNCTIONS - loop_names(template) == set()
    made = {found.name for kind in ("param", "var") for found in template.of(kind).values()}
    assert made - used == set()


@BY_NAME
def test_each_parameter_and_output_of_main_is_described_and_each_decorator_exists(path: Path) -> None:
    template = read(path)
    for parameter in template.of("param").values():
        assert len(str(parameter.decorators.get("description", ""))) > 4, parameter.name
        assert set(parameter.decorators) <= DECORATORS, parameter.name
    if path == MAIN:
        assert all(output.decorators.get("description") for output in template.of("output").values())


def test_each_parameter_of_main_has_limits() -> None:
    for parameter in read(MAIN).of("param").values():
        if parameter.type not in ("bool", "object"):
            assert limits(parameter), parameter.name
        if parameter.type == "int" and "allowed" not in parameter.decorators:
            assert parameter.decorators["minValue"] <= parameter.value <= parameter.decorators["maxValue"]


def test_all_modules_are_local_and_all_files_are_used() -> None:
    modules = {INFRA / module.type for module in read(MAIN).of("module").values()}
    assert modules == set(MODULES)


def test_each_module_gets_the_parameters_that_it_asks_for() -> None:
    for module in read(MAIN).of("module").values():
        parameters = read(INFRA / module.type).of("param")
        given = module.value["params"]
        assert given.keys() <= parameters.keys(), module.name
        assert {name for name, found in parameters.items() if found.value is None} <= given.keys(), module.name


def test_each_output_that_is_read_exists() -> None:
    main = read(MAIN)
    read_outputs = re.findall(r"\b(\w+)\.outputs\.(\w+)", MAIN.read_text(encoding="utf-8"))
    assert read_outputs
    for module, output in read_outputs:
        assert output in read(INFRA / main.of("module")[module].type).of("output"), f"{module}.outputs.{output}"


def test_each_file_that_is_loaded_exists() -> None:
    for path in EVERY:
        for name in re.findall(r"load(?:Text|Json)Content\('([^']+)'\)", path.read_text(encoding="utf-8")):
            assert (path.parent / name).is_file(), f"{path.name}: {name}"


@pytest.mark.parametrize("name", ["main.parameters.json", "parameters.sample.json"])
def test_parameter_files_name_parameters_that_exist_and_all_that_are_needed(name: str) -> None:
    parameters = read(MAIN).of("param")
    given = json.loads((INFRA / name).read_text(encoding="utf-8"))["parameters"]
    assert given.keys() <= parameters.keys()
    needed = {
        parameter.name for parameter in parameters.values() if parameter.value is None and parameter.type != "object"
    }
    assert needed == {"communicationServicesName", "alertEmail"}
    assert needed <= given.keys()
    for key, entry in given.items():
        if parameters[key].type == "int":
            assert entry["value"] == parameters[key].value, f"{name} says another {key} than main.bicep"
