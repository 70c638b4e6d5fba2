"""Loads a v1 function and calls it, through the vendor's runtime library where the platform does (Python 3.13)."""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from local.host.configuration import Trigger

Datums = dict[str, tuple[str, Any]]
Body = tuple[str, Any]


class Worker(Protocol):
    """Calls the function and waits for it; an exception of the function's comes back as its text."""

    def invoke(self, invocation_id: str, body: Body, metadata: Datums, trace_parent: str) -> str | None: ...
    def close(self) -> None: ...


def make_worker(trigger: Trigger, settings: Mapping[str, str]) -> Worker:
    """The runtime library's worker from Python 3.13 on, the direct one before."""
    threads = int(settings.get("PYTHON_THREADPOOL_THREAD_COUNT") or 0) or None
    app = str(trigger.function_directory.parent)
    if app not in sys.path:
        sys.path.insert(0, app)
    return RuntimeWorker(trigger) if sys.version_info >= (3, 13) else DirectWorker(trigger, threads)


class DirectWorker:
    """Imports the function as `__app__.NAME` and calls it on a pool of its own."""

    def __init__(self, trigger: Trigger, threads: int | None) -> None:
        import azure.functions as func

        self._meta = func.meta
        registry: Any = func.get_binding_registry()  # type: ignore[no-untyped-call]
        self._converter: Any = registry.get("serviceBusTrigger")
        self._trigger = trigger
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="function")
        self._local = threading.local()
        self._function: Any = None
        self._load_error: Exception | None = None
        try:
            self._function = getattr(_import_function(trigger), trigger.entry_point)
        except Exception as error:  # noqa: BLE001  # as the platform does: a load error fails each invocation
            self._load_error = error

    def invoke(self, invocation_id: str, body: Body, metadata: Datums, trace_parent: str) -> str | None:
        if self._load_error is not None:
            return f"{type(self._load_error).__name__}: {self._load_error}"
        datum = self._meta.Datum
        context = SimpleNamespace(
            invocation_id=invocation_id,
            function_name=self._trigger.function_name,
            function_directory=str(self._trigger.function_directory),
            thread_local_storage=self._local,
            trace_context=SimpleNamespace(trace_parent=trace_parent, trace_state="", attributes={}),
            retry_context=SimpleNamespace(retry_count=0, max_retry_count=0, exception=None),
        )
        try:
            message = self._converter.decode(
                datum(body[1], body[0]),
                trigger_metadata={name: datum(value, kind) for name, (kind, value) in metadata.items()},
            )
            self._pool.submit(self._function, message, context).result()
        except Exception as error:  # noqa: BLE001  # whatever the function raises is a failed invocation
            return f"{type(error).__name__}: {error}"
        return None

    def close(self) -> None:
        self._pool.shutdown(wait=False)


class RuntimeWorker:
    """Calls the function through azure-functions-runtime-v1, as the platform does; no gRPC, no protobuf."""

    def __init__(self, trigger: Trigger) -> None:
        from azure_functions_runtime_v1 import handle_event, loader, native_invocation
        from azure_functions_runtime_v1.bindings import datumdef
        from azure_functions_runtime_v1.bindings import meta as bindings
        from azure_functions_runtime_v1.utils import threadpool

        self._datum = datumdef.Datum
        self._invoke = native_invocation.run_invocation_sync
        self._stop = threadpool.stop_threadpool_executor
        self._parameter = trigger.parameter
        self._function_id = trigger.function_name
        self._load_error: Exception | None = None
        threadpool.start_threadpool_executor()
        bindings.load_binding_registry()
        loader.install()
        protos = SimpleNamespace(BindingInfo=SimpleNamespace(inout=2, out=1, undefined=0))
        binding = SimpleNamespace(type="serviceBusTrigger", direction=0, data_type=0, properties={})
        metadata = SimpleNamespace(
            name=trigger.function_name,
            directory=str(trigger.function_directory),
            script_file=str(trigger.function_directory / trigger.script_file),
            entry_point=trigger.entry_point,
            bindings={trigger.parameter: binding},
        )
        try:
            function = loader.load_function(
                metadata.name, metadata.directory, metadata.script_file, metadata.entry_point
            )
            handle_event._functions.add_function(self._function_id, function, metadata, protos)
        except Exception as error:  # noqa: BLE001  # as the platform does: a load error fails each invocation
            self._load_error = error

    def invoke(self, invocation_id: str, body: Body, metadata: Datums, trace_parent: str) -> str | None:
        if self._load_error is not None:
            return f"{type(self._load_error).__name__}: {self._load_error}"
        handled, ok, _, _, text, _ = self._invoke(
            invocation_id,
            self._function_id,
            [(self._parameter, self._datum(body[1], body[0]))],
            {name: self._datum(value, kind) for name, (kind, value) in metadata.items()},
            trace_parent=trace_parent,
        )
        if not handled:
            return "The host stand-in calls sync functions only."
        return None if ok else str(text)

    def close(self) -> None:
        self._stop()


def _import_function(trigger: Trigger) -> Any:
    """Import as `__app__.NAME`, a namespace over the app's folder, as the platform's loader does."""
    namespace = sys.modules.get("__app__")
    if namespace is None:
        spec = importlib.machinery.ModuleSpec("__app__", None, is_package=True)
        namespace = sys.modules["__app__"] = importlib.util.module_from_spec(spec)
    path = str(trigger.function_directory.parent)
    namespace.__path__ = [path, *[known for known in namespace.__path__ if known != path]]
    return importlib.import_module(f"__app__.{trigger.function_name}")
