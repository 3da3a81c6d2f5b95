"""The command line, one file per command. Commands import what they need when they run."""

from __future__ import annotations

import signal
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import suppress
from importlib import import_module

import click

from bench._version import __version__
from bench.cli.options import print_json
from bench.cli.output import drop, open_standard_files, remedy, tell
from bench.errors import VcbenchError

EXIT_INTERRUPTED = 2
EXIT_INTERNAL = 3
EXIT_USAGE = 4


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="vcbench")
def vcbench() -> None:
    """Run video codecs fairly, measure, compare.

    \b
    Start with:
      vcbench run --datasets quickstart --codecs x264,x265 --report

    \b
    Exit codes: 0 ok, 1 regression found, 2 interrupted, 3 internal error,
    4 usage or configuration, 5 nothing to do, 6 finished with failed cells.
    """


class _Commands(Mapping[str, click.Command]):
    """Commands by name, in the order of the manual; the file of one is imported when it is asked for."""

    _files = {  # noqa: RUF012 - nobody changes it
        name: name.replace("import", "import_results")
        for name in (
            *("run", "status", "report", "compare", "history", "gate", "import", "measure", "controls", "correlate"),
            *("drift", "ls", "validate", "verify", "fetch", "train", "doctor"),
        )
    }

    def __getitem__(self, name: str) -> click.Command:
        command: click.Command = import_module(f"bench.cli.{self._files[name]}").command
        return command

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)


vcbench.commands = _Commands()  # type: ignore[assignment]


def main(arguments: list[str] | None = None) -> None:
    """Entry point of the ``vcbench`` program; exits with the codes of the group's help."""
    open_standard_files()
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) == signal.SIG_DFL:  # nohup has it ignored
            signal.signal(number, _interrupt)
    sys.exit(_run(arguments))


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def _run(arguments: list[str] | None) -> int:
    given = sys.argv[1:] if arguments is None else arguments
    try:
        status = _command(given)
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
        return status
    except (BrokenPipeError, SystemExit):  # rich turns a closed pipe into SystemExit
        drop(sys.stdout)
        return EXIT_INTERRUPTED
    except OSError:  # of the flush
        drop(sys.stdout)
        drop(sys.stderr)
        return EXIT_USAGE


def _command(given: list[str]) -> int:
    try:
        outcome = vcbench.main(args=given, prog_name="vcbench", standalone_mode=False)
    except (click.exceptions.Abort, KeyboardInterrupt) as error:
        message = "interrupted; finished cells are stored, and the same command continues"
        return _end(given, error, message, EXIT_INTERRUPTED)
    except click.ClickException as error:
        return _end(given, error, error.format_message(), EXIT_USAGE, usage=_usage(error))
    except VcbenchError as error:
        return _end(given, error, str(error), EXIT_USAGE)
    except BrokenPipeError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and (help_with := remedy(error)) is not None:
            where = error.filename or "a file or an output"
            return _end(given, error, f"{where}: {error.strerror}; {help_with}", EXIT_USAGE)
        tell(traceback.format_exc().rstrip())
        message = f"{type(error).__name__}: {error}; this is a fault of vcbench: please report it with the lines above"
        return _end(given, error, message, EXIT_INTERNAL)
    return outcome if isinstance(outcome, int) else 0


def _usage(error: click.ClickException) -> str:
    """How a command is used that was used otherwise."""
    context = error.ctx if isinstance(error, click.UsageError) else None
    return "" if context is None else f"{context.get_usage()}\nTry '{context.command_path} --help' for help."


def _end(given: list[str], error: BaseException, message: str, status: int, *, usage: str = "") -> int:
    """Say what ended a command: a line for people, and an object on standard output where JSON is wanted."""
    if usage:
        tell(usage)
    tell(f"vcbench: {'' if status == EXIT_INTERRUPTED else 'error: '}{message}")
    if "--json" in given:
        with suppress(VcbenchError):  # it is standard output itself that cannot be written
            print_json({"error": {"type": type(error).__name__, "message": message, "exit_code": status}})
    return status
