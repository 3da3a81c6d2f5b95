"""The store: names, whole files under final names, damaged files set aside, two processes at once."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from bench.engine.store import liveness as presence
from bench.engine.store.folder import Store, check_writable, is_disk_full, safe_name
from bench.errors import StoreError
from bench.records.cell import BitstreamRecord, CellResult, NewerSchemaError


def result(name: str = "c_1_s_0", *, message: str = "") -> CellResult:
    """A failed cell's result, the least there is."""
    return CellResult.model_validate(
        {
            "name": name, "key": "0" * 64, "status": "failed", "reason": "timeout", "message": message,
            "codec": {"name": "c", "title": "C", "kind": "classical", "rate_kind": "bitstream", "card": {}, "tool": {}},
            "rate": {"parameter": "qp", "value": 1},
            "sequence": {
                "name": "s", "dataset": "d", "file": "s.y4m", "sha256": "0" * 64, "start": 0, "frames": 1, "width": 2,
                "height": 2, "fps": "25", "pix_fmt": "yuv420p", "matrix": "bt709", "full_range": False,
                "siting": "left", "conversion": None,
            },
        }
    )  # fmt: skip


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.create(tmp_path / "set")


def files(folder: Path) -> list[str]:
    found = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    return [name for name in found if name != "vcbench.json"]


@pytest.mark.parametrize(
    "hostile",
    ["../../etc/passwd", "/etc/passwd", "-rf", "--out", ".hidden", "..", "", "a/b\\c", "x\n\ty", "täglich", "片段",
     "a b;c|d&e$(f)`g`", "'\"<&>", "x" * 500, "é" * 500, "\x00", "con:", "*?"],
)  # fmt: skip
def test_any_text_becomes_one_plain_file_name(hostile: str, tmp_path: Path) -> None:
    name = safe_name(hostile)
    assert 0 < len(name) <= 80
    assert name.isascii()
    assert not name.startswith(("-", "."))
    assert not set(name) & set("/\\ \n\t\x00;|&$`'\"<>*?:()")
    (tmp_path / name).touch()
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_plain_names_stay_as_they_are() -> None:
    for name in ("x265@low-delay", "foreman_352x288", "22.5", "a+b"):
        assert safe_name(name) == name


def test_a_folder_is_made_and_opened_again(tmp_path: Path) -> None:
    first = Store.create(tmp_path / "deep" / "set")
    first.write(result())
    assert Store.create(tmp_path / "deep" / "set").read("c_1_s_0") == result()


def test_a_folder_that_cannot_be_made_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for refuse in (Store.create, check_writable):
        for target in (tmp_path / "file", tmp_path / "file" / "set"):
            with pytest.raises(StoreError, match=rf"{target}: results cannot be written here .*choose another --out"):
                refuse(target)


def test_the_check_for_writing_leaves_nothing(tmp_path: Path) -> None:
    check_writable(tmp_path / "deep" / "set")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    with pytest.raises(StoreError, match="Permission denied"):
        check_writable(tmp_path / "set")
    tmp_path.chmod(0o755)


def test_a_cell_that_was_never_stored_is_none(store: Store) -> None:
    assert store.read("c_1_s_0") is None
    assert store.look("c_1_s_0") is None
    assert store.problems == []


def test_what_is_written_is_strict_json_and_read_back(store: Store) -> None:
    written = result(message='quotes "\n\u2028 and é')
    store.write(written)
    text = store.cell_path(written.name).read_text(encoding="utf-8")
    assert json.loads(text, parse_constant=pytest.fail)["schema_version"] == 1
    assert store.read(written.name) == written
    assert files(store.root) == ["cells/c_1_s_0.json"]


def test_looking_at_a_damaged_file_leaves_it(store: Store) -> None:
    store.cell_path("c_1_s_0").write_text("{")
    with pytest.raises(StoreError, match=r"c_1_s_0\.json: is not strict JSON"):
        store.look("c_1_s_0")
    assert files(store.root) == ["cells/c_1_s_0.json"]


def test_reading_damaged_files_sets_every_one_aside_under_its_own_name(store: Store) -> None:
    for content in (b"{", b"\xff\xfe", b'{"value": NaN}'):
        store.cell_path("c_1_s_0").write_bytes(content)
        assert store.read("c_1_s_0") is None
    assert files(store.root) == [f"set-aside/c_1_s_0.{number}.json" for number in (1, 2, 3)]
    assert (store.root / "set-aside" / "c_1_s_0.1.json").read_bytes() == b"{"
    assert (store.root / "set-aside" / "c_1_s_0.3.json").read_bytes() == b'{"value": NaN}'
    assert len(store.problems) == 3
    assert all(str(store.cell_path("c_1_s_0")) in problem for problem in store.problems)


def test_a_result_under_another_cells_name_is_not_taken_for_it(store: Store) -> None:
    store.write(result())
    store.cell_path("c_1_s_0").replace(store.cell_path("other"))
    assert store.read("other") is None
    assert "holds the cell c_1_s_0" in store.problems[0]


def test_a_file_of_a_later_vcbench_stays(store: Store) -> None:
    content = json.dumps({**result().model_dump(mode="json"), "schema_version": 2})
    store.cell_path("c_1_s_0").write_text(content)
    with pytest.raises(NewerSchemaError, match=r"c_1_s_0\.json"):
        store.read("c_1_s_0")
    assert store.cell_path("c_1_s_0").read_text() == content
    assert store.problems == []


READER = """
import sys
import tempfile
from pathlib import Path
from bench.engine.store.folder import Store
store = Store(Path(sys.argv[1]))
seen = set()
print("ready", flush=True)
while (found := store.look("c_1_s_0")).message[0] != "9":
    assert found.message == found.message[0] * 20000
    seen.add(found.message[0])
print(len(seen))
"""


@pytest.mark.slow  # two interpreters that read all the time
def test_readers_never_see_half_a_file(store: Store) -> None:
    store.write(result(message="0" * 20000))
    readers = [
        subprocess.Popen([sys.executable, "-c", READER, str(store.root)], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    for reader in readers:
        assert reader.stdout is not None
        assert reader.stdout.readline() == "ready\n"
    for turn in range(200):
        store.write(result(message=str(turn % 9) * 20000))
    store.write(result(message="9" * 20000))
    for reader in readers:
        told, _ = reader.communicate(timeout=30)
        assert reader.returncode == 0
        assert int(told) >= 1
    assert files(store.root) == ["cells/c_1_s_0.json"]


def test_a_bitstream_is_moved_to_a_name_that_holds_its_digest(store: Store, tmp_path: Path) -> None:
    records = []
    for content in (b"one", b"two"):
        stream = tmp_path / "bitstream.h264"
        stream.write_bytes(content)
        records.append(store.keep_bitstream("c_1_s_0", stream))
        assert not stream.exists()
    digest = hashlib.sha256(b"one").hexdigest()
    assert records[0] == BitstreamRecord(file=f"c_1_s_0.{digest[:8]}.h264", bytes=3, sha256=digest)
    assert records[0].file != records[1].file
    assert [store.bitstream_path(record).read_bytes() for record in records] == [b"one", b"two"]


def test_a_bitstream_is_whole_only_with_its_size_and_digest(store: Store, tmp_path: Path) -> None:
    stream = tmp_path / "bitstream.h264"
    stream.write_bytes(b"bits")
    record = store.keep_bitstream("c_1_s_0", stream)
    assert store.bitstream_is_whole(record)
    store.bitstream_path(record).write_bytes(b"bots")
    assert not store.bitstream_is_whole(record)
    store.bitstream_path(record).write_bytes(b"bit")
    assert not store.bitstream_is_whole(record)
    store.bitstream_path(record).unlink()
    assert not store.bitstream_is_whole(record)


def columns(store: Store) -> dict[str, list[float | None]]:
    import pyarrow.parquet as pq

    read: dict[str, list[float | None]] = pq.read_table(store.frames_path("c_1_s_0")).to_pydict()
    return read


def test_per_frame_values_are_added_and_replaced(store: Store) -> None:
    store.write_frames("c_1_s_0", {"psnr_y": (30.0, float("inf")), "ewarp": (None, 0.5)})
    store.write_frames("c_1_s_0", {"ssim": (0.9, 1.0), "ewarp": (None, 0.25)})
    assert columns(store) == {"psnr_y": [30.0, float("inf")], "ssim": [0.9, 1.0], "ewarp": [None, 0.25]}


def test_no_per_frame_values_write_no_file(store: Store) -> None:
    store.write_frames("c_1_s_0", {})
    assert files(store.root) == []


def test_damaged_per_frame_values_are_set_aside(store: Store) -> None:
    store.frames_path("c_1_s_0").write_bytes(b"PAR1 and no more")
    store.write_frames("c_1_s_0", {"ssim": (0.9,)})
    assert columns(store) == {"ssim": [0.9]}
    assert (store.root / "set-aside" / "c_1_s_0.1.parquet").read_bytes() == b"PAR1 and no more"
    assert "per-frame values cannot be read" in store.problems[0]


def measured(store: Store, bits: bytes = b"bits", timing: str = "shared", **values: float | str) -> CellResult:
    """A cell with a bitstream in the store, and values of metrics; a text is why a metric failed."""
    path = store.root / "work" / "stream.bin"
    path.write_bytes(bits)
    cost = {"seconds": 1, "cpu_s": 1, "peak_rss_bytes": 1, "timing": timing}
    metrics = {
        name: {"key": "0" * 64, "status": "failed", "reason": value}
        if isinstance(value, str)
        else {"key": "0" * 64, "status": "ok", "value": value}
        for name, value in values.items()
    }
    content = {
        **result().model_dump(), "status": "ok", "reason": None, "bitstream": store.keep_bitstream("c_1_s_0", path),
        "encode": cost, "decode": cost, "measurements": metrics,
    }  # fmt: skip
    return CellResult.model_validate(content)


def values(store: Store) -> dict[str, float | None]:
    found = store.read("c_1_s_0")
    assert found is not None
    return {name: item.value for name, item in found.measurements.items()}


def test_two_results_of_one_bitstream_are_merged(store: Store) -> None:
    store.write(measured(store, psnr_y=30, ssim=0.5), {"psnr_y": (30.0,), "ssim": (0.5,)})
    told = store.write(measured(store, vmaf=90, ssim=0.6), {"vmaf": (90.0,), "ssim": (0.6,)})
    assert values(store) == {"psnr_y": 30, "ssim": 0.6, "vmaf": 90}
    assert told == store.read("c_1_s_0")
    assert columns(store) == {"psnr_y": [30.0], "ssim": [0.6], "vmaf": [90.0]}


def test_a_metric_that_fails_leaves_the_value_it_had(store: Store) -> None:
    store.write(measured(store, psnr_y=30, ssim="once"))
    store.write(measured(store, psnr_y="no memory", ssim="again"))
    assert values(store) == {"psnr_y": 30, "ssim": None}
    assert store.read("c_1_s_0").measurements["ssim"].reason == "again"  # type: ignore[union-attr]


def test_a_cell_that_fails_leaves_what_was_measured_and_says_why_the_rest_is_not(store: Store) -> None:
    store.write(measured(store, psnr_y=30), {"psnr_y": (30.0,)})
    store.write(result(message="after 3 s"), wanted={"psnr_y": "0" * 64, "vmaf": "1" * 64})
    found = store.read("c_1_s_0")
    assert found is not None
    assert (found.status, found.measurements["psnr_y"].value) == ("ok", 30)
    lacking = found.measurements["vmaf"]
    assert (lacking.key, lacking.status, lacking.reason) == ("1" * 64, "failed", "timeout: after 3 s")
    assert columns(store) == {"psnr_y": [30.0]}


def test_times_measured_alone_are_kept(store: Store) -> None:
    for timing in ("shared", "alone", "shared"):
        store.write(measured(store, timing=timing, psnr_y=30))
    found = store.read("c_1_s_0")
    assert found is not None and found.encode is not None and found.decode is not None
    assert (found.encode.timing, found.decode.timing) == ("alone", "alone")


def test_a_result_of_another_bitstream_replaces_only_what_its_worker_found(store: Store) -> None:
    """Values of two bitstreams are never mixed; of two workers that began at the same time, the first one's stay."""
    first = store.write(measured(store, psnr_y=30), {"psnr_y": (30.0,)})
    other = measured(store, b"other", vmaf=90)
    assert store.write(other, {"vmaf": (90.0,)}) == first
    assert (values(store), columns(store)) == ({"psnr_y": 30}, {"psnr_y": [30.0]})
    store.write(other, {"vmaf": (90.0,)}, seen=first)
    assert (values(store), columns(store)) == ({"vmaf": 90}, {"vmaf": [90.0]})


def test_a_result_whose_bitstream_is_damaged_gives_way(store: Store) -> None:
    first = store.write(measured(store, psnr_y=30))
    assert first.bitstream is not None
    store.bitstream_path(first.bitstream).write_bytes(b"bots")
    store.write(measured(store, b"other", vmaf=90))
    assert values(store) == {"vmaf": 90}


def test_a_working_folder_is_marked_and_removed(store: Store) -> None:
    with pytest.raises(ZeroDivisionError), store.working_folder("c_1_s_0") as folder:
        marker = json.loads((folder / "marker.json").read_text())
        assert (marker["cell"], marker["pid"]) == ("c_1_s_0", os.getpid())
        assert [working["cell"] for working in store.working()] == ["c_1_s_0"]
        assert folder.parent == store.root / "work"
        raise ZeroDivisionError
    assert list((store.root / "work").iterdir()) == []


def test_a_process_that_is_killed_while_it_cleans_up_leaves_its_marker_for_the_next(store: Store) -> None:
    program = f"""
import os, signal, sys
from pathlib import Path
from bench.engine.store.folder import Store
removed = []
def die(event, arguments):
    if event == "os.remove":
        removed.append(arguments)
        if len(removed) == 9:
            os.kill(os.getpid(), signal.SIGKILL)
store = Store.create(Path({str(store.root)!r}))
with store.working_folder("c_1_s_0") as folder:
    for number in range(8):
        (folder / str(number)).touch()
    sys.addaudithook(die)
"""
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == -signal.SIGKILL
    (folder,) = (store.root / "work").iterdir()
    assert [path.name for path in folder.iterdir()] == ["marker.json"]
    assert store.abandoned() == ["c_1_s_0"]
    assert list((store.root / "work").iterdir()) == []


@pytest.mark.parametrize(
    ("event", "at"),
    [("open", "while it leaves its marker"), ("os.rmdir", "when the marker is gone, and the folder is not")],
)
def test_a_process_that_is_killed_without_a_marker_is_known_by_its_folder(store: Store, event: str, at: str) -> None:
    """Whoever waits for the result of a cell kills right then: when its folder is being removed, and the next made."""
    program = f"""
import os, signal, sys
from pathlib import Path
from bench.engine.store.folder import Store
def die(event, arguments):
    if event == {event!r} and "c_1_s_0" in str(arguments[0]):
        os.kill(os.getpid(), signal.SIGKILL)
store = Store.create(Path({str(store.root)!r}))
with store.working_folder("before"):
    sys.addaudithook(die)
    with store.working_folder("c_1_s_0"):
        pass
"""
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == -signal.SIGKILL, at
    assert sorted(len(list(folder.iterdir())) for folder in (store.root / "work").iterdir()) == [0, 1]
    living = tempfile.mkdtemp(prefix=f"c_1_s_0.{presence.tag()}.", dir=store.root / "work")
    assert store.abandoned() == ["before"]
    assert list((store.root / "work").iterdir()) == [Path(living)]


def test_what_is_left_of_a_marker_tells_no_more_than_none(store: Store) -> None:
    with store.working_folder("c_1_s_0") as folder:
        (folder / "marker.json").write_text("")
        assert store.abandoned() == []
        gone = folder.with_name(folder.name.replace(f"-{os.getpid()}.", f"-{10**30}."))
        folder.rename(gone)
        assert store.abandoned() == []
        assert not gone.exists()


def test_working_folders_of_dead_processes_are_found_and_removed(store: Store) -> None:
    dead = subprocess.Popen([sys.executable, "-c", "pass"])
    dead.wait()
    for name, pid in (("gone", dead.pid), ("alive", os.getpid())):
        folder = store.root / "work" / f"{name}.01234567-{pid}.abcd_123"
        folder.mkdir()
        (folder / "marker.json").write_text(json.dumps({"cell": name, "pid": pid}))
    assert store.abandoned() == ["gone"]
    assert [path.name[:5] for path in (store.root / "work").iterdir()] == ["alive"]


def test_a_full_disk_is_told_from_other_errors() -> None:
    assert is_disk_full(OSError(errno.ENOSPC, "full"))
    assert is_disk_full(OSError(errno.EDQUOT, "quota"))
    assert not is_disk_full(OSError(errno.EACCES, "no"))


def users(folder: Path) -> dict[str, bytes]:
    """Files that somebody has in a folder, by path, to be compared with what is there afterwards."""
    for name in ("notes.txt", "work/thesis/chapter.tex", "work/old.01234567-1.abcd_123/photo.jpg", "work/empty/.keep"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"of the user: {name}")
        os.utime((folder / name).parent, (1, 1))
    return content_of(folder)


def content_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_folder_with_other_files_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    before = users(tmp_path)
    for refuse in (Store.create, check_writable):
        with pytest.raises(StoreError, match=r"not a result set of vcbench \(notes\.txt, work\); name a new folder"):
            refuse(tmp_path)
    Store.create(tmp_path / "result-set")
    assert content_of(tmp_path).items() >= before.items()


def test_a_new_an_empty_and_a_hidden_file_s_folder_are_taken(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / ".gitkeep").touch()
    (tmp_path / "empty").mkdir()
    for name in ("new", "empty", "kept"):
        assert Store.create(tmp_path / name).root == tmp_path / name


def test_a_result_set_of_an_earlier_vcbench_is_taken(store: Store) -> None:
    store.write(result())
    (store.root / "vcbench.json").unlink()
    (store.root / "notes.txt").touch()
    assert Store.create(store.root).read("c_1_s_0") == result()
    (store.root / "vcbench.json").unlink()
    (store.root / "frames").rmdir()
    assert Store.create(store.root).read("c_1_s_0") == result()
    (store.root / "vcbench.json").unlink()
    (store.root / "frames").rmdir()
    store.cell_path("c_1_s_0").write_text('{"name": "c_1_s_0"}')
    with pytest.raises(StoreError, match="not a result set of vcbench"):
        Store.create(store.root)


def test_only_what_a_worker_made_is_removed_from_the_working_folder(store: Store) -> None:
    """Whatever lies there: folders of other names or with other markers, files, links to either."""
    before = users(store.root)
    dead = {"cell": "c", "pid": 2**22 + 1}
    marked = {
        "of-another-name": dead,
        "c.01234567-1.abcd_123": dead,  # of another process than its marker
        "d.01234567-4194305.abcd_123": dead,  # of another cell than its marker
    }
    for name, content in marked.items():
        (store.root / "work" / name).mkdir()
        (store.root / "work" / name / "marker.json").write_text(json.dumps(content))
    outside = store.root.parent / "c.01234567-4194305.abcd_123"
    outside.mkdir()
    (outside / "marker.json").write_text(json.dumps(dead))
    (store.root / "work" / outside.name).symlink_to(outside)
    (store.root / "work" / "file.01234567-4194305.abcd_123").touch()
    names = sorted(path.name for path in (store.root / "work").iterdir())
    assert store.abandoned() == []
    assert sorted(path.name for path in (store.root / "work").iterdir()) == names
    assert content_of(store.root).items() >= before.items()
    assert (outside / "marker.json").is_file()


@pytest.mark.parametrize("name", ["cells", "bitstreams", "frames", "features", "work", "sources", "set-aside"])
def test_nothing_is_written_or_removed_through_links_of_a_set(store: Store, name: str, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    (victim / "c.01234567-4194305.abcd_123").mkdir(parents=True)
    (victim / "c.01234567-4194305.abcd_123" / "marker.json").write_text('{"cell": "c", "pid": 4194305}')
    if (store.root / name).is_dir():
        (store.root / name).rmdir()
    (store.root / name).symlink_to(victim)
    assert store.abandoned() == []
    for refuse in (Store.create, check_writable):
        with pytest.raises(StoreError, match=rf"{name}: is a link"):
            refuse(store.root)
    assert (victim / "c.01234567-4194305.abcd_123" / "marker.json").is_file()
