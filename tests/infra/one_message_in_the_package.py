"""Runs in a clean virtual environment, by test_package.py: loads the unpacked package and handles one message with it.

Knows of nothing but the package's folder (first argument) and the environment. Prints what it saw as JSON.
"""

from __future__ import annotations

import importlib
import json
import logging
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any


def main(folder: Path) -> None:
    """Handle one message and import every module of the package."""
    sys.path.insert(0, str(folder))
    import azure.functions as func
    from azure.functions.meta import Datum

    lines: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("cancel_job")
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)

    metadata = {
        "MessageId": Datum(type="string", value="m-1"),
        "DeliveryCount": Datum(type="json", value="1"),
        "UserProperties": Datum(type="json", value="{}"),
        "ApplicationProperties": Datum(type="json", value="{}"),
    }
    registry: Any = func.get_binding_registry  # untyped
    converter = registry().get("serviceBusTrigger")
    message = converter.decode(Datum(type="string", value='{"jobId": "job-1"}'), trigger_metadata=metadata)
    declared = json.loads((folder / "cancel_job_function" / "function.json").read_text(encoding="utf-8"))
    function = importlib.import_module("cancel_job_function")
    context = SimpleNamespace(invocation_id="i-1", trace_context=None)
    getattr(function, declared["entryPoint"])(message, context)

    modules = sorted(path.stem for path in (folder / "shared").glob("*.py") if path.stem != "__init__")
    loaded = [importlib.import_module(f"shared.{name}") for name in modules]
    # imported late by the package, at the first need
    loaded += [importlib.import_module(name) for name in ("azure.servicebus", "azure.identity")]
    told = {
        "line": json.loads(lines[-1]),
        "modules": modules,
        "imported_from": [str(module.__file__) for module in [function, func, *loaded]],
    }
    sys.stdout.write(json.dumps(told))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
