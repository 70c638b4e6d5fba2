"""`python -m ops`: the commands, the options that all of them share, and what becomes of an error."""

from __future__ import annotations

import logging
import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from ops import errors
from ops.target import Target

if TYPE_CHECKING:
    from collections.abc import Sequence

_EPILOG = "\n\n".join(
    (
        "Shared options may stand before or after the command. Without --connection or --namespace the function's own "
        "settings count: ServiceBusConnection (or ServiceBusConnection__fullyQualifiedNamespace) and "
        "CANCELLATION_QUEUE_NAME. A connection string is safer there than on the command line, which other users of "
        "the machine can read.",
        "Exit codes: 0 done, 1 problems found, 2 wrong usage, 3 refused or not reachable, 130 interrupted.",
        "To complete commands with Tab, put the folder ops/ on the PATH and run: ops --install-completion",
    )
)
_SHARED = {"--connection": True, "--namespace": True, "--queue": True, "--verbose": False}  # whether a value follows


class Options:
    """The shared options; calling it gives the target. Commands find it as `context.obj`."""

    def __init__(self, connection: str | None, namespace: str | None, queue: str | None, *, verbose: bool) -> None:
        self._options = (connection, namespace, queue)
        self._target: Target | None = None
        self.verbose = verbose

    def __call__(self) -> Target:
        """The target, made once.

        Raises:
            OpsError: the options and settings do not name one.
        """
        if self._target is None:
            self._target = Target.from_options(*self._options, os.environ)
        return self._target


class OneLineErrors(TyperGroup):
    """Ends a command that failed with one line on stderr and an exit code; shared options may stand anywhere."""

    def make_context(self, *arguments: Any, **options: Any) -> Any:
        try:
            return super().make_context(*arguments, **options)
        except typer.TyperException as error:
            _fail_usage(error)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return list(super().parse_args(ctx, shared_first(args)))

    def invoke(self, ctx: Any) -> Any:
        try:
            try:
                result = super().invoke(ctx)
            except typer.Exit:
                _flush()
                raise
            _flush()
            return result
        except KeyboardInterrupt:
            _fail(errors.OpsError("Interrupted.", errors.INTERRUPTED))
        except BrokenPipeError:  # `… | head` has seen enough
            _let_go()
            raise typer.Exit(0) from None
        except (typer.Exit, typer.Abort):
            raise
        except typer.TyperException as error:
            _fail_usage(error)
        except Exception as error:  # noqa: BLE001  # every error becomes a line; --verbose shows the rest
            options: Options | None = ctx.obj
            if options is None or options.verbose:
                from ops.console import stderr

                stderr().print_exception()
            target = _NOWHERE
            if options and not isinstance(error, errors.OpsError):
                with suppress(errors.OpsError):  # what failed needs no target, and there is none
                    target = options()
            _fail(errors.explain(error, target))


_NOWHERE = Target(queue="", host="")

app = typer.Typer(
    cls=OneLineErrors,
    help="Operate the cancellation queue: check it, send, watch, and bring dead letters back to life.",
    epilog=_EPILOG,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def shared_options(
    context: typer.Context,
    connection: Annotated[
        str | None, typer.Option(metavar="STRING", help="Service Bus connection string; else ServiceBusConnection.")
    ] = None,
    namespace: Annotated[
        str | None,
        typer.Option(metavar="HOST", help="Namespace, with your Entra ID identity: <name>.servicebus.windows.net."),
    ] = None,
    queue: Annotated[str | None, typer.Option(metavar="NAME", help="Queue; else CANCELLATION_QUEUE_NAME.")] = None,
    verbose: Annotated[bool, typer.Option("--verbose", help="Show the whole traceback of an error.")] = False,
) -> None:
    """What every command takes, before or after its name."""
    if not verbose:  # an SDK without a handler logs to stderr, tracebacks too
        logging.getLogger("azure").addHandler(logging.NullHandler())
    context.obj = Options(connection, namespace, queue, verbose=verbose)


def shared_first(arguments: Sequence[str]) -> list[str]:
    """The same arguments with the shared options in front, where the parser wants them."""
    shared: list[str] = []
    others: list[str] = []
    rest = iter(arguments)
    for argument in rest:
        if argument == "--":
            others += [argument, *rest]
        elif argument.partition("=")[0] in _SHARED:
            shared.append(argument)
            if _SHARED[argument.partition("=")[0]] and "=" not in argument:
                shared += [value for value in (next(rest, None),) if value is not None]
        else:
            others.append(argument)
    return shared + others


def main() -> None:
    """Run a command. Exits with its code."""
    completion = any(argument.endswith("-completion") for argument in sys.argv[1:])
    # A shell completes a command of one word only: that is the script ops/ops.
    name = "ops" if completion or "OPS_COMMAND" in os.environ else "python -m ops"
    app(prog_name=name, complete_var="_OPS_COMPLETE")


def _fail_usage(error: typer.TyperException) -> NoReturn:
    """What the parser does not understand, in one line too."""
    context = getattr(error, "ctx", None)
    if type(error).__name__ == "NoArgsIsHelpError" or context is None:
        raise error
    said = errors.said(error.format_message()).rstrip(".")  # it may quote a connection string that stands alone
    _fail(errors.OpsError(f"{said}. See: {context.command_path} --help", errors.USAGE))


def _fail(error: errors.OpsError) -> NoReturn:
    from ops.console import stderr

    _let_go()
    with suppress(OSError):  # who has closed stderr too has the exit code
        stderr().print(error.sentence, style="bad" if error.exit_code != errors.INTERRUPTED else "warn", markup=False)
    raise typer.Exit(error.exit_code) from None


def _flush() -> None:
    """Here, where an error of it becomes a sentence, and not when Python ends."""
    if sys.stdout:
        sys.stdout.flush()


def _let_go() -> None:
    """Write what is left to write; a file that takes no more gets nothing when Python closes it, either."""
    for file in (sys.stdout, sys.stderr):
        try:
            if file:
                file.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), file.fileno())


def _register() -> None:
    """In the order of an incident: is it set up, is it moving, what died, bring it back."""
    from importlib import import_module
    from importlib.util import find_spec

    for name in ("check", "send", "watch"):
        if find_spec(f"ops.{name}"):
            app.command(name)(getattr(import_module(f"ops.{name}"), name))
    if find_spec("ops.dead_letters.commands"):
        app.add_typer(import_module("ops.dead_letters.commands").app, name="dead-letters")
    if find_spec("ops.schema"):
        app.command("schema")(import_module("ops.schema").schema)


_register()

if __name__ == "__main__":
    main()
