"""The files that a program or a piece of Python code is made of, found without running it.

A codec's identity must hold all of them: an encoder whose shared library was built again writes other bits, although
its program is the same file. What is found: shared libraries, what a shell script calls, what a Python file imports
from its own folder, and files of that folder that it names. What only a running program knows (a plug-in that it
loads by a name of its own) is not found; a card names such files in ``settings.files``.
"""

from __future__ import annotations

import ast
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from bench.core.environment import inherited
from bench.core.files import Stamp

_SHELLS = frozenset(("sh", "bash", "dash", "zsh", "ksh", "ash", "busybox"))
_LAUNCHERS = _SHELLS | {
    "env", "nice", "ionice", "chrt", "taskset", "numactl", "stdbuf", "setsid", "time", "timeout", "xargs",
    "python", "perl", "ruby", "node", "java", "wine",
}  # fmt: skip
"""Programs whose arguments name the program that does the work."""

# the C library's own parts: they differ from machine to machine, and write no bits
_C_LIBRARY = re.compile(r"(ld-|linux-|ld64|lib(c|m|mvec|dl|pthread|rt|resolv|util|nsl|anl|thread_db|BrokenLocale)[.-])")
_LOADERS = ("lib64/ld-linux-*.so.*", "lib/ld-linux-*.so.*", "lib64/ld64.so.*")
_LINKED = re.compile(r"^\s*(?:\S+ => )?(/.*?) \(0x[0-9a-f]+\)$", re.MULTILINE)
# What a script writes, looks for or removes, such as its log, comes and goes while it runs and is no part of it.
_WRITTEN = re.compile(r"""\d?>>?[ \t]*("[^"]*"|'[^']*'|[^\s;|&()]+)""")
_BOOKKEEPING = re.compile(
    r"(?:^|(?<=[\n;|&({!]))[ \t]*(?:(?:if|while|until|then|do|else)[ \t]+)?"
    r"(?:touch|rm|mkdir|rmdir|mktemp|tee|test|\[\[?)[ \t][^\n;|&]*"
)
_PLACEHOLDER = re.compile(r"\{\w+\}")
_SEPARATORS = re.compile(r"[\s;|&()<>`\"'$={},:]+")
_SCRIPT_BYTES = 1 << 20
_ENOUGH_S = 60.0
"""Seconds that the loader may take to list what it would load, from the slowest of file systems."""
_MODULE_SUFFIXES = frozenset((".py", ".so", ".pyd"))


def parts(program: Path, arguments: Iterable[str] = ()) -> tuple[Path, ...]:
    """Files that a program is made of beside its own, by path.

    ``arguments`` are those of its command line: what a shell or another launcher is given to run belongs to it, and
    so does every file that they name by its whole path. A library or a script that is found is looked into likewise.
    """
    text = " ".join(_PLACEHOLDER.sub(" ", argument) for argument in arguments)
    text = _without_scratch(text)
    launches = re.sub(r"[\d.]+$", "", program.name) in _LAUNCHERS
    # an option's value such as "info" is no program, unless a launcher has it
    named = (path for path in _named(text, program.parent) if launches or str(path) in text)
    return _closure([program], named)


def python_parts(file: Path) -> tuple[Path, ...]:
    """Files that a Python file imports from its own folder or names there, directly or not, by path."""
    return _closure([file], ())


def _closure(roots: list[Path], more: Iterable[Path]) -> tuple[Path, ...]:
    known = {path.resolve() for path in roots}
    start = set(known)
    waiting = [*known, *(path.resolve() for path in more)]
    while waiting:
        path = waiting.pop()
        known.add(path)
        if _is_elf(path):
            known |= {found.resolve() for found in _linked(path)}  # with those that they need in turn
        else:
            waiting += {found.resolve() for found in _needed(path)} - known
    return tuple(sorted(known - start))


def _is_elf(path: Path) -> bool:
    try:
        with path.open("rb") as stream:
            return stream.read(4) == b"\x7fELF"
    except OSError:
        return False  # what cannot be read cannot be run either, and its user is told then


def _needed(path: Path) -> Iterator[Path]:
    """Files that a script needs directly."""
    try:
        with path.open("rb") as stream:
            head = stream.read(2)
        if path.suffix != ".py" and head != b"#!":
            return
        if path.stat().st_size > _SCRIPT_BYTES:
            return
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return
    interpreter = text.partition("\n")[0] if text.startswith("#!") else ""
    yield from _named(interpreter[2:], path.parent)
    if path.suffix == ".py" or "python" in interpreter:
        yield from _imported(text, path)
    elif any(Path(word).name in _SHELLS for word in interpreter[2:].split()):
        lines = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
        yield from _named(_without_scratch(lines), path.parent)


def _without_scratch(commands: str) -> str:
    return _BOOKKEEPING.sub(" ", _WRITTEN.sub(" ", commands))


_known: dict[Path, tuple[Stamp, tuple[Path, ...]]] = {}
"""Shared libraries of programs, and the stamp of all of them when they were looked for."""


def _linked(program: Path) -> tuple[Path, ...]:
    """The shared libraries of a program; looked for again where it, or one of them, is not as it was."""
    with suppress(KeyError, OSError):
        stamp, libraries = _known[program]
        if stamp.settled and Stamp.of([program, *libraries]).files == stamp.files:
            return libraries
    libraries = tuple(_libraries(program))
    with suppress(OSError):
        _known[program] = Stamp.of([program, *libraries]), libraries
    return libraries


def _libraries(program: Path) -> Iterator[Path]:
    """What the system's loader says; some versions of ldd run the program itself."""
    loader = next((path for pattern in _LOADERS for path in sorted(Path("/").glob(pattern))), None)
    if loader is None:
        return
    try:  # it starts nothing, and ends by itself
        listing = subprocess.run(
            [str(loader), "--list", str(program.absolute())],
            capture_output=True, timeout=_ENOUGH_S, check=False, env=inherited(),
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return
    for name in _LINKED.findall(listing.stdout.decode("utf-8", "replace")):
        path = Path(name)
        if path.is_file() and not _C_LIBRARY.match(path.name):
            yield path


def _named(text: str, folder: Path) -> Iterator[Path]:
    """Programs on PATH and files by their path, whole or below ``folder``, that a command line or a script names."""
    words = dict.fromkeys(_SEPARATORS.split(text))
    with suppress(ValueError):  # a quotation that is not closed; what separators part has been taken
        words |= dict.fromkeys(shlex.split(text))
    for word in words:
        if not re.search(r"[A-Za-z]", word):
            continue
        found = Path(shutil.which(word) or word) if "/" not in word else Path(word)
        if not (found.is_absolute() and _is_file(found)):
            # beside the script: "$(dirname "$0")/encoder", without what the shell fills in
            found = folder / word.lstrip("./")
            if "/" not in word or not _is_file(found):
                continue
        if not str(found).startswith(("/dev/", "/proc/", "/sys/")):
            yield found


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that no file can have
        return False


def _imported(text: str, file: Path) -> Iterator[Path]:
    """Modules of its folder that a Python file imports, and files of that folder that its texts name."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from _modules(file.parent, alias.name)
        elif isinstance(node, ast.ImportFrom):
            folder = file.parent
            for _ in range(node.level - 1):
                folder = folder.parent
            base = f"{node.module}." if node.module else ""
            for alias in node.names:
                yield from _modules(folder, f"{base}{alias.name}")
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and 0 < len(node.value) < 200:
            yield from _modules(file.parent, node.value)
            if _is_file(named := file.parent / node.value):
                yield named


def _modules(folder: Path, name: str) -> Iterator[Path]:
    """Files of a dotted module name below a folder, those of its packages included; none for a library's."""
    for part in name.split("."):
        if not part.isidentifier():
            return
        # of any interpreter: a worker's is not ours
        yield from (path for path in sorted(folder.glob(f"{part}.*")) if path.suffix in _MODULE_SUFFIXES)
        folder = folder / part
        if _is_file(package := folder / "__init__.py"):
            yield package
