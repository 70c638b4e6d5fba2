"""Which settings there are: what the code reads, what the deployment sets, what the table in docs/deploy.md says."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shared.settings import Settings
from tests.infra.bicep import INFRA, names_used, read, value_of, walk

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = INFRA.parent
_APP = read(INFRA / "modules" / "function-app.bicep")

SETTINGS: dict[str, Any] = _APP.of("var")["settings"].value
# Those of the two branches: of one or the other, never both.
JOB_ROUTER_SETTINGS: dict[str, Any] = {}
for _node in walk(_APP.of("var")["jobRouterSetting"].node):
    if _node.type == "object":
        JOB_ROUTER_SETTINGS |= value_of(_node)

HOST: dict[str, Any] = json.loads((ROOT / "host.json").read_text(encoding="utf-8"))
SAMPLE: dict[str, str] = json.loads((ROOT / "local.settings.sample.json").read_text(encoding="utf-8"))["Values"]
MINIMAL = {
    "CANCELLATION_QUEUE_NAME": "q",
    "ServiceBusConnection__fullyQualifiedNamespace": "n.servicebus.windows.net",
    "JOB_ROUTER_ENDPOINT": "https://r.communication.azure.com",
}
_SOURCES = sorted([*(ROOT / "shared").glob("*.py"), *(ROOT / "cancel_job_function").glob("*.py")])


class _Asked(dict[str, str]):
    """An environment that remembers what it was asked for."""

    def __init__(self, values: dict[str, str]) -> None:
        super().__init__(values)
        self.names: set[str] = set()

    def get(self, name: str, default: Any = None) -> Any:
        self.names.add(name)
        return super().get(name, default)


def read_by_the_code() -> set[str]:
    """Settings that shared/settings.py asks for, and those that the trigger names."""
    asked = _Asked(MINIMAL)
    Settings.from_environment(asked)
    trigger = json.loads((ROOT / "cancel_job_function" / "function.json").read_text(encoding="utf-8"))["bindings"][0]
    return asked.names | {trigger["queueName"].strip("%"), trigger["connection"]}


def named_elsewhere_in_the_code() -> set[str]:
    """Environment variables that other modules name."""
    found: set[str] = set()
    for path in _SOURCES:
        text = path.read_text(encoding="utf-8")
        found |= set(re.findall(r"(?:environ(?:\.\w+)?|getenv)\s*[\[(]\s*\"(\w+)\"", text))
    return found


def host_settings(tree: dict[str, Any] | None = None, path: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves of host.json with their paths, but for its version and the name of the bundle."""
    for name, value in (HOST if tree is None else tree).items():
        where = f"{path}.{name}" if path else name
        if isinstance(value, dict):
            yield from host_settings(value, where)
        elif where not in ("version", "extensionBundle.id"):
            yield where, value


def parameter_of(setting: str) -> str | None:
    """The parameter of main.bicep that a setting's value comes from."""
    entries = {
        pair[0].text.decode(): pair
        for node in walk(_APP.root)
        if node.type == "object_property" and (pair := node.named_children)[0].text
    }
    used = names_used(entries[setting][-1]) | {str(SETTINGS.get(setting, JOB_ROUTER_SETTINGS.get(setting)))}
    passed = used & set(_APP.of("param"))
    given = read(INFRA / "main.bicep").of("module")["functionApp"].value["params"]
    names = {str(given[name]) for name in passed} & set(read(INFRA / "main.bicep").of("param"))
    return names.pop() if names else None


def table(document: Path, marker: str) -> list[list[str]]:
    """The rows of the table between two comments <!-- marker -->, their cells without backquotes."""
    part = document.read_text(encoding="utf-8").split(f"<!-- {marker} -->")[1]
    lines = [line for line in part.strip().splitlines() if line.startswith("|")][2:]
    return [[cell.strip().replace("`", "") for cell in line.strip("|").split("|")] for line in lines]
