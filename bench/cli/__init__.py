"""The command line, one file a command. Commands import what they need when they run."""

from __future__ import annotations

import sys
import traceback

import click

from bench import __version__
from bench.cli import compare, doctor, fetch, ls, measure, report, run, validate
from bench.errors import VcbenchError

EXIT_REGRESSION = 1
EXIT_INTERRUPTED = 2
EXIT_INTERNAL = 3
EXIT_USAGE = 4
EXIT_NOTHING = 5
EXIT_FAILED_CELLS = 6


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


for _module in (run, report, compare, measure, ls, validate, fetch, doctor):
    vcbench.add_command(_module.command)


def main(arguments: list[str] | None = None) -> None:
    """Entry point of the ``vcbench`` program; exits with the codes of the group's help."""
    sys.exit(_run(arguments))


def _run(arguments: list[str] | None) -> int:
    try:
        outcome = vcbench.main(args=arguments, prog_name="vcbench", standalone_mode=False)
    except click.exceptions.Abort:
        return _say("interrupted; what is finished is stored, the same command goes on from there", EXIT_INTERRUPTED)
    except KeyboardInterrupt:
        return _say("interrupted; what is finished is stored, the same command goes on from there", EXIT_INTERRUPTED)
    except click.ClickException as error:
        error.show()
        return EXIT_USAGE
    except VcbenchError as error:
        return _say(f"error: {error}", EXIT_USAGE)
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output has gone; nothing is left to say
        return EXIT_INTERRUPTED
    except Exception:
        traceback.print_exc()
        return _say("this is a fault of vcbench; please report it with the lines above", EXIT_INTERNAL)
    return outcome if isinstance(outcome, int) else 0


def _say(message: str, status: int) -> int:
    click.echo(f"vcbench: {message}", err=True)
    return status
