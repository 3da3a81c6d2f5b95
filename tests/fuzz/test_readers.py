"""Whatever bytes come from outside, a reader gives its data or a typed error, in little memory and without a trace.

Each target has a folder of corpus/: inputs that once broke it, or that lead deep into it. They are tried first, every
time. ``VCBENCH_FUZZ_EXAMPLES=20000 pytest tests/fuzz`` looks further than the suite does; an input that hypothesis
finds then is printed, and belongs into the corpus.
"""

from __future__ import annotations

import copy
import datetime
import io
import json
import os
import tarfile
import tomllib
import zipfile
import zlib
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import card_texts
import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.analysis.gate.rules import parse_rules
from bench.analysis.gate.settings import load_settings
from bench.bitstream.container import PayloadReader, StreamHeader, StreamReader, varint
from bench.cards import load_card
from bench.datasets.fetch import unpack
from bench.datasets.manifest import load_manifest
from bench.engine.progress import state
from bench.errors import (
    BitstreamError,
    FetchError,
    RuleError,
    StoreError,
    UnavailableError,
    UsageError,
    VcbenchError,
)
from bench.records.cell import read_cell
from bench.records.published import read_published
from bench.registry import build
from bench.results.result_set import ResultSet, load
from bench.video.formats import VideoFormat, parse_fps, parse_size
from bench.video.sequence import open_sequence
from bench.weights.files import read_tensors

pytest.importorskip("safetensors", reason="needs the extra neural")

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
CORPUS = Path(__file__).with_name("corpus")
EXAMPLES = int(os.environ.get("VCBENCH_FUZZ_EXAMPLES", "40"))

fuzzed = settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)


def check_container(data: bytes, folder: Path) -> None:
    try:
        reader = StreamReader(io.BytesIO(data))
        units = list(reader.units())
    except BitstreamError as error:
        assert len(str(error)) < 500
        return
    assert sum(len(unit.payload) for unit in units) < len(data)
    assert reader.header.format.width * reader.header.format.height > 0
    for unit in units:
        fields = PayloadReader(unit.payload, unit.name)
        try:
            fields.take(fields.varint())
            fields.rest()
        except BitstreamError:
            continue


def check_y4m(data: bytes, folder: Path) -> None:
    _check_video(data, folder / "clip.y4m")


def _check_video(data: bytes, path: Path, **given: Any) -> None:
    path.write_bytes(data)
    try:
        sequence = open_sequence(path, **given)
        frames = [frame.data.nbytes for frame in sequence.read()]
    except VcbenchError as error:
        assert len(str(error)) < 1000
        return
    assert len(frames) == sequence.frames
    assert sum(frames) <= len(data)


def check_card(data: bytes, folder: Path) -> None:
    path = folder / "mine.toml"
    path.write_bytes(data)
    try:
        card = load_card(path)
        for configuration in (None, *card.configurations):
            codec = build(card.configured(configuration), folder=folder)
            codec.transform(VideoFormat(64, 64))
            assert not codec.trusted
    except VcbenchError as error:
        assert str(error)


def check_manifest(data: bytes, folder: Path) -> None:
    path = folder / "mine.toml"
    path.write_bytes(data)
    try:
        manifest = load_manifest(path)
    except UsageError as error:
        assert str(path) in str(error)
        return
    for entry in manifest.select():
        assert entry.format.frame_bytes > 0
        assert (folder / entry.file).resolve().is_relative_to(folder.resolve())


def check_result(data: bytes, folder: Path) -> None:
    cells = folder / "cells"
    cells.mkdir(exist_ok=True)
    path = cells / "cell.json"
    path.write_bytes(data)
    try:
        cell = read_cell(path)
    except StoreError as error:
        assert str(path) in str(error)
        return
    results = load(folder)
    assert not results.problems
    _use(results)
    assert cell.bpp is None or cell.bpp >= 0


def _use(results: ResultSet) -> None:
    table = results.to_pandas()
    assert len(table) >= len(results.cells)
    assert (table["bpp"].dropna() >= 0).all()


def check_published(data: bytes, folder: Path) -> None:
    (folder / "published.json").write_bytes(data)
    try:
        _use(ResultSet((folder,), [], [], [read_published(folder)]))
    except StoreError as error:
        assert str(folder) in str(error)


def check_frame_values(data: bytes, folder: Path) -> None:
    result = json.loads((CORPUS / "result" / "whole.json").read_text())
    for name, content in (("cells/cell.json", json.dumps(result).encode()), ("frames/cell.parquet", data)):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
    results = load(folder)
    try:
        table = results.frames("psnr_y")
    except UsageError as error:
        assert len(str(error)) < 1000
        return
    assert list(table["frame"]) == list(range(len(table)))


def check_status(data: bytes, folder: Path) -> None:
    """The words that runs and workers leave in a result folder, which may be a stranger's."""
    for name in ("cells/cell.json", "work/run-1.json", "work/cell.7.x/marker.json"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    found = state(folder)
    json.dumps(found.to_dict(), allow_nan=False)


def check_pictures(data: bytes, folder: Path) -> None:
    (folder / "clip").mkdir(exist_ok=True)
    (folder / "clip" / "1.png").write_bytes(PICTURE)
    _check_pictures(data, folder / "clip")


def _check_pictures(data: bytes, folder: Path) -> None:
    for name in ("0.png", "2.png"):
        (folder / name).write_bytes(data)
        try:
            frames = [frame.data.nbytes for frame in open_sequence(folder).read()]
        except VcbenchError as error:
            assert str(folder) in str(error)
        else:
            assert len(frames) == len(list(folder.iterdir()))
        (folder / name).unlink()


def check_weights(data: bytes, folder: Path) -> None:
    for suffix in ("safetensors", "npz", "pth"):
        path = folder / f"weights.{suffix}"
        path.write_bytes(data)
        for read in (read_tensors, _load_weights):
            try:
                read(path)
            except UnavailableError as error:
                assert str(path) in str(error)
    assert not (folder / "executed").exists()


def _load_weights(path: Path) -> None:
    from bench.neural.coding.weight_file import load as load_weights

    load_weights(path)


def check_archive(data: bytes, folder: Path) -> None:
    (folder / "archive").write_bytes(data)
    inside = folder / "inside"
    inside.mkdir(exist_ok=True)
    try:
        unpack(folder / "archive", "clip.yuv", inside / "clip.yuv", limit=1000)
    except (FetchError, UnavailableError) as error:
        assert str(folder) in str(error)
    else:
        assert (inside / "clip.yuv").stat().st_size <= 1000
    assert {path.name for path in folder.iterdir()} == {"archive", "inside"}


def check_gate(data: bytes, folder: Path) -> None:
    path = folder / "gate.toml"
    path.write_bytes(data)
    try:
        parse_rules(load_settings(path).fail)
    except RuleError as error:
        assert "column" in str(error)
    except UsageError as error:
        assert str(path) in str(error)


CHECKS: dict[str, Callable[[bytes, Path], None]] = {
    "container": check_container,
    "y4m": check_y4m,
    "card": check_card,
    "manifest": check_manifest,
    "result": check_result,
    "published": check_published,
    "frame-values": check_frame_values,
    "status": check_status,
    "pictures": check_pictures,
    "weights": check_weights,
    "archive": check_archive,
    "gate": check_gate,
}


def corpus() -> Iterator[tuple[str, Path]]:
    for target in CHECKS:
        for path in sorted((CORPUS / target).glob("*")):
            yield target, path


@pytest.mark.parametrize(("target", "path"), list(corpus()), ids=lambda value: getattr(value, "name", value))
def test_the_corpus_is_read_or_refused(target: str, path: Path, tmp_path: Path) -> None:
    CHECKS[target](path.read_bytes(), tmp_path)


def edited(base: bytes) -> st.SearchStrategy[bytes]:
    """A file with a few stretches replaced, doubled or cut out."""
    edit = st.tuples(st.integers(0, len(base)), st.integers(0, 40), st.binary(max_size=40))

    def apply(edits: list[tuple[int, int, bytes]]) -> bytes:
        data = base
        for at, cut, put in edits:
            data = data[:at] + put + data[at + cut :]
        return data

    return st.lists(edit, min_size=1, max_size=4).map(apply)


def streams() -> st.SearchStrategy[bytes]:
    """Streams whose checksums are right, so that what lies behind them is reached."""
    number = st.one_of(st.integers(0, 300), st.integers(0, 1 << 63)).map(varint)
    name = st.binary(max_size=12)
    header = st.builds(
        lambda codec, digest, numbers: varint(len(codec)) + codec + digest + b"".join(numbers),
        name, st.binary(min_size=8, max_size=8), st.lists(number, max_size=14),
    )  # fmt: skip
    good = st.builds(
        lambda w, h, frames: StreamHeader("s2vc", bytes(8), VideoFormat(w, h, fps=Fraction(25)), frames, 0).pack(),
        st.integers(1, 5000), st.integers(1, 5000), st.integers(0, 1 << 40),
    )  # fmt: skip
    units = st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=40)), max_size=5)

    def pack(payload: bytes, more: list[tuple[int, bytes]]) -> bytes:
        data, chain = b"VCB\x01", 0
        for kind, content in [(0, payload), *more, (255, b"")]:
            unit = bytes([kind]) + varint(len(content)) + content
            chain = zlib.crc32(unit, chain)
            data += unit + chain.to_bytes(4, "little")
        return data

    return st.builds(pack, st.one_of(header, good), units)


SCALARS = st.one_of(
    st.booleans(), st.integers(-(1 << 70), 1 << 70), st.integers(-2, 2), st.floats(), st.text(max_size=12),
    st.sampled_from(["", "..", "/etc/passwd", "../x", "a" * 300, "1/0", "0", "-1", "1e999999999", "nan", "\x00"]),
)  # fmt: skip
VALUES = st.one_of(SCALARS, st.lists(SCALARS, max_size=3), st.dictionaries(st.text(max_size=5), SCALARS, max_size=3))


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every container in a value, with each of its keys."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield value, key
        yield from places(item)


def changed(base: Any, values: st.SearchStrategy[Any] = VALUES) -> st.SearchStrategy[Any]:
    """A document with one to three of its values replaced, or removed."""
    count = sum(1 for _ in places(base))

    def apply(edits: list[tuple[int, Any, bool]]) -> Any:
        document = copy.deepcopy(base)
        for number, value, removed in edits:
            found = list(places(document))
            if not found:
                break
            container, key = found[number % len(found)]
            if removed:
                del container[key]
            else:
                container[key] = value
        return document

    return st.lists(st.tuples(st.integers(0, count - 1), values, st.booleans()), min_size=1, max_size=3).map(apply)


def document(base: dict[str, Any]) -> bytes:
    return card_texts.document(base).encode()


TOML_VALUES = st.one_of(VALUES, st.just(datetime.date(2026, 1, 1)))


def y4m_files() -> st.SearchStrategy[bytes]:
    tag = st.one_of(
        st.sampled_from([b"W4", b"H2", b"C420", b"C420p10", b"Cmono", b"F25:1", b"F0:0", b"Ip", b"XCOLORRANGE=FULL"]),
        st.tuples(st.sampled_from([b"W", b"H", b"C", b"F", b"I"]), st.binary(max_size=6)).map(b"".join),
    )  # fmt: skip
    frame = st.builds(lambda head, data: b"FRAME" + head + b"\n" + data, st.binary(max_size=4), st.binary(max_size=14))
    return st.builds(
        lambda tags, frames: b"YUV4MPEG2 " + b" ".join([*tags, b"W4 H2"]) + b"\n" + b"".join(frames),
        st.lists(tag, max_size=5), st.lists(frame, max_size=4),
    )  # fmt: skip


def card_of(name: str) -> dict[str, Any]:
    return {**tomllib.loads((ROOT / "codecs" / f"{name}.toml").read_text()), "name": "mine"}


MANIFEST = {**tomllib.loads((ROOT / "datasets" / "hevc-e.toml").read_text()), "name": "mine"}
RESULT = json.loads((CORPUS / "result" / "whole.json").read_text())
PUBLISHED = json.loads((ROOT / "results" / "published" / "diff-sit" / "published.json").read_text())

RUN = {
    "host": "other/12345678", "pid": 7, "process_started": 1.5, "backend": "dask", "jobs": 2, "started": 3.5,
    "total": 4, "cells": {"cell": 2.5}, "cell": "x264_22_clip_0", "since": 1.5,
}  # fmt: skip
GATE = {"tool": {"vcbench": {"gate": {"fail": ["bd_rate(psnr_y)>0.5%", "encode_memory>10%"], "codecs": ["x264"]}}}}
RULES = st.lists(
    st.one_of(
        st.text(max_size=20),
        st.lists(st.sampled_from(["bd_rate", "(", "psnr_y", ")", ">", "0.5", "%", "-", "e9", " "])).map("".join),
    ),
    max_size=2,
)
PICTURE = cv2.imencode(".png", np.arange(48, dtype=np.uint8).reshape(4, 4, 3))[1].tobytes()
DEEP_PICTURE = cv2.imencode(".png", np.arange(16, dtype=np.uint16).reshape(4, 4) * 4000)[1].tobytes()


def frame_values() -> bytes:
    """Per-frame values as a run writes them."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = io.BytesIO()
    pq.write_table(pa.table({"psnr_y": [30.5, 31.5], "ssim": [0.5, 0.75]}), file)
    return file.getvalue()


def weight_files() -> list[bytes]:
    """Tensors as safetensors, npz and torch write them."""
    from safetensors.numpy import save

    tensors = {"a.weight": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.arange(3, dtype=np.int32)}
    about = {"vcbench": json.dumps({"version": 1, "codec": "diff-sit", "config": {}, "scale": "small"})}
    npz, pth = io.BytesIO(), io.BytesIO()
    np.savez(npz, **tensors)
    torch = pytest.importorskip("torch")
    torch.save({name: torch.from_numpy(value) for name, value in tensors.items()}, pth)
    return [save(tensors, about), npz.getvalue(), pth.getvalue()]


def archives() -> list[bytes]:
    """The same member in a zip and in a tar."""
    zipped, tarred = io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(zipped, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("clip.yuv", bytes(500))
    with tarfile.open(fileobj=tarred, mode="w:gz") as tar:
        member = tarfile.TarInfo("clip.yuv")
        member.size = 500
        tar.addfile(member, io.BytesIO(bytes(500)))
    return [zipped.getvalue(), tarred.getvalue()]


INPUTS: dict[str, st.SearchStrategy[bytes]] = {
    "frame-values": st.one_of(edited(frame_values()), st.binary(max_size=40)),
    "status": st.one_of(
        changed(RUN, st.one_of(VALUES, st.none())).map(lambda value: json.dumps(value).encode()),
        edited(json.dumps(RUN).encode()),
    ),
    "pictures": st.one_of(edited(PICTURE), edited(DEEP_PICTURE), st.binary(max_size=40)),
    "weights": st.one_of(*map(edited, weight_files())),
    "archive": st.one_of(*map(edited, archives()), st.binary(max_size=40)),
    "gate": st.one_of(
        changed(GATE, TOML_VALUES).map(document),
        RULES.map(lambda rules: document({"tool": {"vcbench": {"gate": {"fail": rules}}}})),
        edited(document(GATE)),
    ),
    "container": st.one_of(
        streams(), st.binary(max_size=60), edited((CORPUS / "container" / "whole.bin").read_bytes())
    ),
    "y4m": st.one_of(y4m_files(), edited(b"YUV4MPEG2 W4 H2 F25:1 C420jpeg\n" + 2 * (b"FRAME\n" + bytes(12)))),
    "card": st.one_of(
        *(changed(card_of(name), TOML_VALUES).map(document) for name in ("x264", "vtm", "s2vc-small")),
        edited(document(card_of("vvenc"))),
    ),
    "manifest": st.one_of(changed(MANIFEST, TOML_VALUES).map(document), edited(document(MANIFEST))),
    "result": st.one_of(
        changed(RESULT, st.one_of(VALUES, st.none())).map(lambda value: json.dumps(value).encode()),
        edited(json.dumps(RESULT).encode()),
    ),
    "published": st.one_of(
        changed(PUBLISHED, st.one_of(VALUES, st.none())).map(lambda value: json.dumps(value).encode()),
        edited(json.dumps(PUBLISHED).encode()),
    ),
}


@pytest.mark.parametrize("target", CHECKS)
def test_readers_give_data_or_a_typed_error(target: str, tmp_path: Path) -> None:
    @fuzzed
    @given(INPUTS[target])
    def read(data: bytes) -> None:
        CHECKS[target](data, tmp_path)

    read()


@fuzzed
@given(
    st.one_of(st.text(max_size=20), st.builds("{}x{}".format, st.integers(-1, 1 << 40), st.integers(-1, 1 << 40))),
    st.one_of(st.text(max_size=20), st.sampled_from(["yuv420p", "yuv444p16le", "gbrp", "gray", "yuvj420p"])),
    st.one_of(st.text(max_size=20), st.floats(), st.integers(), st.fractions()),
    st.binary(max_size=100),
)
def test_raw_video_of_any_description(tmp_path: Path, size: str, pix_fmt: str, fps: Any, data: bytes) -> None:
    for parse, text in ((parse_size, size), (parse_fps, fps)):
        try:
            parse(text)
        except UsageError as error:
            assert len(str(error)) < 300
    _check_video(data, tmp_path / "clip.yuv", size=size, pix_fmt=pix_fmt, fps=fps)
