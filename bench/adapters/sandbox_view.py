"""What a codec's programs see in a sandbox beside their input: their own files, and the Python that they run in."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from bench.cards import brought
from bench.core.files import cache_folder, home
from bench.errors import UnavailableError
from bench.video import ffmpeg
from bench.weights import files as weights

_INTERPRETER = re.compile(r"(python|pypy|perl|ruby|node|java)[\d.]*")
_SHEBANG_BYTES = 512


def program_view(made_of: Mapping[str, Sequence[Path]]) -> tuple[Path, ...]:
    """Files of programs, and the folders of the interpreters that run those of them that are scripts.

    Of what a program or a card merely names (the roles that end in "_parts"), what lies beside the program and shared
    libraries and programs of the machine alone: a stranger's script could name any file of yours.
    """
    files = []
    for role, paths in made_of.items():
        beside = [path.parent for path in made_of.get(role.removesuffix("_parts"), ()) if path.parent != home()]
        parts = role.endswith("_parts")
        files += [path for path in paths if not parts or _is_binary(path) or _is_below(path, beside)]
    return (*files, *(folder for path in files for folder in _of_interpreters(path)))


def _is_binary(path: Path) -> bool:
    try:
        with path.open("rb") as stream:
            return stream.read(4) == b"\x7fELF"
    except OSError:
        return False


def _is_below(path: Path, folders: Iterable[Path]) -> bool:
    return any(path.resolve().is_relative_to(folder.resolve()) for folder in folders)


def python_view() -> tuple[Path, ...]:
    """This interpreter, its packages, vcbench with its cards, FFmpeg, and weights of networks."""
    package = Path(__file__).parents[1]
    ours = {package.parent, Path.cwd()}
    paths = [Path(entry) for entry in sys.path if entry and Path(entry).resolve() not in ours]
    found = [Path(sys.prefix), Path(sys.base_prefix), package, *brought("codecs"), *paths, *weights.folders()]
    with suppress(UnavailableError):  # whoever needs it says so
        found.append(Path(ffmpeg.executable()))
    return tuple(found)


def interpreter_view(interpreter: str) -> tuple[Path, ...]:
    """The environment of an interpreter that is not ours, and the models that Hugging Face's library has fetched."""
    return (*_environment_of(Path(interpreter)), _hub())


def environment() -> dict[str, str]:
    """Variables that lead to folders which would be looked for below the home folder, of which there is none."""
    return {
        "VCBENCH_CACHE": str(cache_folder().absolute()),
        "TORCH_HOME": str(weights.torch_home()),
        "HF_HUB_CACHE": str(_hub()),
        "HF_HUB_OFFLINE": "1",
    }


def _hub() -> Path:
    cache = Path(os.environ.get("HF_HOME") or home() / ".cache" / "huggingface")
    return Path(os.environ.get("HF_HUB_CACHE") or cache / "hub")


def _of_interpreters(path: Path) -> Iterator[Path]:
    if _INTERPRETER.fullmatch(path.name):
        yield from _environment_of(path)
    try:
        with path.open("rb") as stream:
            first = stream.read(_SHEBANG_BYTES).partition(b"\n")[0]
    except OSError:
        return
    if not first.startswith(b"#!"):
        return
    for word in first[2:].decode("utf-8", "replace").split():
        if _INTERPRETER.fullmatch(Path(word).name) and (found := shutil.which(word)) is not None:
            yield from _environment_of(Path(found))


def _environment_of(interpreter: Path) -> Iterator[Path]:
    """The folder of an interpreter's environment, and that of the installation it was made from."""
    for path in (interpreter.absolute(), interpreter.resolve()):
        folder = path.parent.parent
        if path.parent.name == "bin" and folder not in (Path("/"), home()):
            yield folder
        else:
            yield path
