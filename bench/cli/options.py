"""Options and output that several commands share."""

from __future__ import annotations

import json
import math
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import click

from bench.cli.output import escaped_line, is_terminal, say, say_json
from bench.core.paths import existing_path, local_path, readable

PROTOCOL_NAMES = ("jvet-ra", "jvet-ld", "aom-ctc", "dcvc")
"""Names of `bench.protocols.PROTOCOLS`, which is loaded where one is given."""


# generic in newer releases of click only, so that the type argument cannot be given
class CommaList(click.ParamType):  # type: ignore[type-arg]
    """A list such as x265,vvenc."""

    name = "a,b,c"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        if not isinstance(value, str):
            return tuple(value)
        return tuple(part.strip() for part in value.split(",") if part.strip())


class NumberList(CommaList):
    """A list of numbers; ``example`` is shown where it is something else."""

    name = "n,n,n"

    def __init__(self, example: str = "22,27,32,37") -> None:
        self.example = example

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        parts = super().convert(value, param, ctx)
        try:
            return tuple(float(part) for part in parts)
        except ValueError:
            self.fail(f"{value!r} is not a list of numbers such as {self.example}", param, ctx)


class NumbersOr(NumberList):
    """A list of numbers, or a word in its place."""

    def __init__(self, word: str) -> None:
        super().__init__()
        self.word = word
        self.name = f"n,n,n|{word}"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return value if value == self.word else super().convert(value, param, ctx)


class PerCent(click.ParamType):  # type: ignore[type-arg]
    """A share such as 2%, as the number 0.02."""

    name = "n%"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number, sign, rest = str(value).partition("%")
        try:
            if isinstance(value, float) or (sign and not rest):
                return value if isinstance(value, float) else float(number) / 100
            raise ValueError
        except ValueError:
            self.fail(f"{value!r} is not a percentage such as 2%", param, ctx)


class Command(click.Command):
    """A command whose lists are given once: of two, one would be left out without a word."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        _, _, order = self.make_parser(ctx).parse_args(list(args))
        for option, times in Counter(order).items():
            if isinstance(option.type, CommaList) and times > 1:
                name = option.opts[0]
                raise click.UsageError(f"{name} is given {times} times; give one list, such as {name} A,B", ctx)
        return super().parse_args(ctx, args)


class ManyFilesCommand(Command):
    """A command whose ``--input`` takes every following word up to the next option, as a shell's *.y4m gives them."""

    greedy: ClassVar[str] = "--input"

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        spread: list[str] = []
        taking = False
        for argument in args:
            if argument == self.greedy:
                taking = True
            elif argument.startswith(f"{self.greedy}="):
                taking = True
                spread.append(argument)
            elif taking and not argument.startswith("-"):
                spread += [self.greedy, argument]
            else:
                taking = False
                spread.append(argument)
        return super().parse_args(ctx, spread)


class LocalPath(click.Path):
    """A path of this machine; an address is refused, which a Path would take for a folder of that name.

    exists: it must be there; what is not has an error of ours, which says what may have been meant.
    """

    def __init__(self, *, exists: bool = False, file_okay: bool = True, dir_okay: bool = True) -> None:
        super().__init__(file_okay=file_okay, dir_okay=dir_okay, path_type=Path)
        self._must_exist = exists

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        path = local_path(value)
        if self._must_exist:
            existing_path(path, folder=not self.file_okay)
        return super().convert(value, param, ctx)


def existing(*, folder: bool = False) -> LocalPath:
    """A path that exists."""
    return LocalPath(exists=True, file_okay=not folder)


def search_path(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add --path."""
    return click.option(
        "--path",
        "paths",
        multiple=True,
        type=existing(folder=True),
        help="Folder with codecs/ and datasets/ of your own, searched first; may be repeated. VCBENCH_PATH does the "
        "same.",
    )(function)


def looks_file(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add --looks."""
    return click.option(
        "--looks",
        type=existing(),
        metavar="FILE",
        help="TOML file with colours, markers and labels of codecs (also VCBENCH_LOOKS).",
    )(function)


def as_json(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add --json."""
    return click.option(
        "--json", "json_output", is_flag=True, help="Print one JSON object or list on standard output."
    )(function)


def print_json(value: Any) -> None:
    """Print strict JSON; infinite numbers are the strings "Infinity" and "-Infinity", as in result files."""
    say_json(_json(value, "\n"))


_encoded = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode


def _json(value: Any, line: str) -> str:
    """What json.dumps writes with an indent of 2, in a quarter of its time; `line` ends one and indents the next."""
    if isinstance(value, str):
        return _encoded(readable(value))
    if isinstance(value, float) and math.isfinite(value):
        return float.__repr__(value)
    if isinstance(value, float) and math.isinf(value):
        return '"Infinity"' if value > 0 else '"-Infinity"'
    within = f"{line}  "
    if isinstance(value, dict) and value:
        items = (f"{within}{_encoded(readable(str(key)))}: {_json(item, within)}" for key, item in value.items())
        return f"{{{','.join(items)}{line}}}"
    if isinstance(value, list | tuple) and value:
        return f"[{','.join([within + _json(item, within) for item in value])}{line}]"
    return _encoded(value)


def counted(number: int, noun: str) -> str:
    """A number of things: "1 cell", "2 cells"."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def duration(seconds: float) -> str:
    """A time such as "40 s", "12 min" or "3 h 20 min"."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def pace(rate: float | None, left_s: float | None, *, at_least: bool = False) -> str:
    """Speed of a run and its estimated time left: "14.2 cells per minute, about 12 min left"; empty if not known.

    at_least: a codec has no cell finished yet, so that the time left is longer.
    """
    if rate is None or left_s is None:
        return ""
    told = f"{rate:.{0 if rate >= 10 else 1}f} cells per minute" if rate >= 1 else f"{60 * rate:.1f} cells per hour"
    if at_least and left_s < 1:
        return f"{told}, time left not known yet"
    return f"{told}, {'at least' if at_least else 'about'} {duration(left_s)} left"


def print_table(title: str, header: Sequence[str], rows: Iterable[Sequence[str]], *, right: Sequence[int] = ()) -> None:
    """Print a table: drawn on a terminal, as aligned plain lines elsewhere. ``right`` columns are right-aligned."""
    title, header = escaped_line(title), [escaped_line(name) for name in header]
    rows = [[escaped_line(cell) for cell in row] for row in rows]
    if is_terminal(sys.stdout):
        from rich import box
        from rich.console import Console
        from rich.markup import escape
        from rich.table import Table

        console = Console(highlight=False)
        if title:  # of the table itself it would be as narrow as that
            console.print(escape(title))
        table = Table(box=box.SIMPLE_HEAD)
        for index, name in enumerate(header):
            table.add_column(escape(name), justify="right" if index in right else "left", overflow="fold")
        for row in rows:
            table.add_row(*map(escape, row))
        console.print(table)
        return
    widths = [max(len(row[index]) for row in [header, *rows]) for index in range(len(header))]
    say(title)
    for row in [header, *rows]:
        cells = [
            cell.rjust(width) if index in right else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        say("  " + "  ".join(cells).rstrip())
