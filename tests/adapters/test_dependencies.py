"""What programs and Python code are made of: a rebuilt codec has another identity, whatever part of it was rebuilt."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import bench
from bench.adapters.dependencies import parts, python_parts
from bench.cards import Card, Catalog
from bench.registry import build

TinyClip = Callable[..., Path]

QUANT = "int quant(int v, int step) {{ return (v + {rounding}) / step; }}\n"
ENCODER = """
#include <stdio.h>
#include <stdlib.h>
int quant(int v, int step);
int main(int n, char **a) {
  int c, step = atoi(a[1]);
  FILE *o = fopen(a[2], "wb");
  fputc(step, o);
  while ((c = getchar()) != EOF) fputc(quant(c, step), o);
  return fclose(o);
}
"""
DECODER = """
#include <stdio.h>
int main(int n, char **a) {
  FILE *f = fopen(a[1], "rb");
  int c, step = fgetc(f);
  while ((c = fgetc(f)) != EOF) putchar(c * step > 255 ? 255 : c * step);
  return 0;
}
"""


def compile_c(*arguments: str | Path) -> None:
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler to build an encoder with")
    subprocess.run([compiler, *map(str, arguments)], check=True, capture_output=True)


def build_library(folder: Path, rounding: int) -> None:
    (folder / "quant.c").write_text(QUANT.format(rounding=rounding))
    compile_c("-shared", "-fPIC", "-o", folder / "libquant.so", folder / "quant.c")


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An encoder with a shared library of its own beside it, and a decoder."""
    folder = tmp_path_factory.mktemp("tools")
    build_library(folder, 0)
    for name, text, more in (("enc", ENCODER, ("-L", folder, "-lquant", "-Wl,-rpath,$ORIGIN")), ("dec", DECODER, ())):
        (folder / f"{name}.c").write_text(text)
        compile_c("-o", folder / name, folder / f"{name}.c", *more)
    return folder


def card(adapter: str, settings: dict[str, Any] | None = None) -> Card:
    return Card.model_validate(
        {
            "name": "mine", "title": "Mine", "adapter": adapter, "licence": "Apache-2.0", "gop": "all intra",
            "extension": "bin", "rates": {"parameter": "step", "values": [2, 4], "minimum": 1, "maximum": 64},
            "settings": settings or {},
        }
    )  # fmt: skip


def command_card(*encoder: str, names: str = "enc", **settings: Any) -> Card:
    programs = {
        "encoder": {"env": "MADE_OF_ENCODER", "names": [names], "arguments": list(encoder)},
        "decoder": {"env": "MADE_OF_DECODER", "names": ["dec"], "arguments": ["{bitstream}"]},
    }
    return card("command", {"get": "build it", **programs, **settings})


def identity(made: Card, folder: Path | None = None) -> dict[str, str]:
    return build(made, folder=folder, trust=True).identity()


def on_path(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setenv("PATH", str(folder), prepend=":")


def script(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o755)
    return path


def test_encoder_whose_library_is_rebuilt_is_measured_anew(
    tools: Path, tiny_clip: TinyClip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_path(monkeypatch, tools)
    (tmp_path / "codecs").mkdir()
    lines = [
        'name = "quant"', 'title = "Q"', 'adapter = "command"', 'licence = "Apache-2.0"', 'gop = "intra"',
        'extension = "bin"', "rates = {parameter = 'step', values = [4], minimum = 1, maximum = 64}", "[settings]",
        'get = "build it"', 'encoder = {env = "MADE_OF_E", names = ["enc"], arguments = ["{rate}", "{bitstream}"]}',
        'decoder = {env = "MADE_OF_D", names = ["dec"], arguments = ["{bitstream}"]}',
    ]  # fmt: skip
    (tmp_path / "codecs" / "quant.toml").write_text("\n".join(lines))

    def run() -> list[float]:
        found = bench.run(
            ["quant"], inputs=[tiny_clip()], metrics=["psnr_y"], out=tmp_path / "out", paths=[tmp_path], trust=True,
            jobs=1,
        )  # fmt: skip
        return sorted(found.to_pandas()["value"])

    first = run()
    assert run() == first
    build_library(tools, 2)
    second = run()
    assert len(first) == 1
    assert second != first
    assert len(list((tmp_path / "out" / "cells").glob("*.json"))) == 2


def test_libraries_but_the_c_library_are_parts_of_a_program(tools: Path) -> None:
    names = [path.name for path in parts(tools / "enc")]
    assert names == ["libquant.so"]
    assert parts(tools / "dec") == ()


@pytest.mark.parametrize(
    "text",
    [
        'exec enc $1 "$2"',
        "cat|enc \"$1\" '$2'",
        'X=1 "$(command -v enc)" $1',
        "nice -n 5 enc $1; it's over",
    ],
)
def test_program_behind_a_shell_is_a_part(tools: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    on_path(monkeypatch, tools)
    made = command_card("-c", text, "sh", "{rate}", "{bitstream}", names="sh")
    found = build(made, trust=True).made_of()["encoder_parts"]
    assert {"enc", "libquant.so"} <= {path.name for path in found}
    before = identity(made)
    build_library(tools, len(text))
    assert identity(made) != before


def test_wrapper_script_is_looked_into(tools: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(tools / "enc", tmp_path / "real-encoder")
    shutil.copy(tools / "libquant.so", tmp_path / "libquant.so")
    text = '#!/bin/sh\n# calls gzip no more\nexec "$(dirname "$0")/real-encoder" "$@"\n'
    wrapper = script(tmp_path / "wrapper", text)
    names = {path.name for path in parts(wrapper)}
    assert {"real-encoder", "libquant.so"} <= names
    assert "gzip" not in names


def test_what_a_script_writes_or_looks_for_is_no_part_of_it(tools: Path, tmp_path: Path) -> None:
    """A log that a wrapper began in mid-run made a codec another one."""
    scratch = [tmp_path / name for name in ("log", "errors", "mark", "once", "copy")]
    log, errors, mark, once, copy = scratch
    wrapper = tmp_path / "wrapper"
    wrapper.write_text(
        f"#!/bin/sh\nif [ ! -e {once} ]; then touch {once}; fi\nmkdir -p x; rm -f {mark} && "
        f'"{tools}/enc" 4 "$1" >> {log} 2>"{errors}" | tee {copy}\n'
    )
    before = parts(wrapper)
    assert tools / "enc" in before
    for path in scratch:
        path.write_text("now it is there")
    assert parts(wrapper) == before
    assert log not in parts(Path("/bin/sh"), ["-c", f"{tools}/enc 4 $1 > {log}"])


def test_values_of_options_are_no_programs(tools: Path, tmp_path: Path) -> None:
    shutil.copy(tools / "dec", tmp_path / "info")
    model = tmp_path / "model.json"
    model.write_text("{}")
    assert parts(tools / "dec", ["--log-level", "info", "ls", "{bitstream}"]) == ()
    assert parts(tools / "dec", [f"--model={model}"]) == (model,)


def test_files_that_a_card_names_are_in_the_identity(
    tools: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_path(monkeypatch, tools)
    configuration = tmp_path / "encoder.cfg"
    configuration.write_text("fast")
    monkeypatch.setenv("MADE_OF_CFG", str(configuration))
    made = command_card("{rate}", "{bitstream}", "{file_cfg}", files={"cfg": {"env": "MADE_OF_CFG"}})
    before = identity(made)
    configuration.write_text("slow")
    after = identity(made)
    assert {key for key in after if after[key] != before[key]} == {"cfg_sha256"}


# imports inside of a method, so that nothing of them is run here
CLASS = """
import json
from pathlib import Path
import numpy
from bench.adapters.base import Codec
TABLE = Path(__file__).with_name("table.json")

class Mine(Codec):
    def encode(self, source, rate, bitstream):
        import helper
        from package.inner import deep
    def decode(self, bitstream):
        return iter(())
"""


@pytest.fixture
def code(tmp_path: Path) -> Path:
    """A folder with a class, what it imports there, what that imports, and what it does not."""
    (tmp_path / "package").mkdir()
    texts = {
        "mine.py": CLASS, "helper.py": "from second import x\n", "second.py": "x = 1\n", "other.py": "",
        "package/__init__.py": "from .beside import y\n", "package/inner.py": "def deep(): ...\n",
        "package/beside.py": "y = 1\n", "package/unused.py": "", "table.json": "[]", "notes.txt": "",
    }  # fmt: skip
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    return tmp_path


USED = {
    "helper.py", "second.py", "table.json", "package/__init__.py", "package/inner.py", "package/beside.py",
}  # fmt: skip


def test_what_a_python_file_imports_from_its_folder(code: Path) -> None:
    assert {str(path.relative_to(code.resolve())) for path in python_parts(code / "mine.py")} == USED


@pytest.mark.parametrize("edited", sorted(USED | {"mine.py"}))
def test_edited_class_or_helper_is_another_codec(code: Path, edited: str) -> None:
    before = identity(card("mine.py:Mine"), code)
    for name in ("notes.txt", "other.py", "package/unused.py"):
        (code / name).write_text("# edited, and not used by the class")
    assert identity(card("mine.py:Mine"), code) == before
    (code / edited).write_text((code / edited).read_text() + "\n")
    assert identity(card("mine.py:Mine"), code) != before


def test_edited_helper_of_a_worker_is_another_codec(code: Path) -> None:
    served = card("worker", {"worker": "mine.py"})

    def made_of() -> dict[str, tuple[Path, ...]]:
        codec = build(served, folder=code, trust=True)
        return codec.made_of()

    assert {str(path.relative_to(code.resolve())) for path in made_of()["worker_parts"]} == USED


@pytest.mark.parametrize("text", ["def broken(:\n", "x = 1\n" * 9, "\0", '"""' + "a/b\n" * 99 + '"""'])
def test_python_that_cannot_be_read_has_no_parts(tmp_path: Path, text: str) -> None:
    (tmp_path / "odd.py").write_text(text)
    assert python_parts(tmp_path / "odd.py") == ()


@pytest.mark.parametrize("name", ["x264", "vvenc", "svt-av1", "libaom", "vp9"])
def test_cards_of_the_static_ffmpeg_depend_on_nothing_else(name: str) -> None:
    codec = build(Catalog().card(name))
    roles = set(codec.made_of())
    assert "ffmpeg" in roles
    assert set(codec.identity()) == {"ffmpeg", *(f"{role}_sha256" for role in roles)}
