"""Manifests: what is accepted, what is refused and how it is said; where files are found and how they are verified."""

import hashlib
import json
import multiprocessing
import os
import re
from fractions import Fraction
from pathlib import Path

import pytest

from bench.datasets import manifest as manifests
from bench.datasets import quickstart
from bench.datasets.manifest import LOCK_FILE, data_root, load_manifest, locate, open_entry, verify_or_lock
from bench.errors import ManifestError, MediaError, UnavailableError, UnknownNameError

ROOT = Path(__file__).parents[2]
SHIPPED = sorted((ROOT / "datasets").glob("*.toml"))
FRAME_BYTES = 16 * 8 * 3 // 2

BASIC = """
name = "mine"
title = "Two of my clips"
licence = "CC0-1.0"
instructions = "Copy them from the camera."

[[sequences]]
name = "garden"
file = "garden_16x8.yuv"
width = 16
height = 8
fps = 25
frames = 3
"""


@pytest.fixture(autouse=True)
def _own_folders(tmp_path, monkeypatch):
    monkeypatch.setenv("VCBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("VCBENCH_DATA", raising=False)


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    folder = tmp_path / "mirror"
    (folder / "mine").mkdir(parents=True)
    monkeypatch.setenv("VCBENCH_DATA", str(folder))
    return folder / "mine"


@pytest.fixture
def load(tmp_path):
    def write(text=BASIC, name="mine"):
        path = tmp_path / f"{name}.toml"
        path.write_text(text, encoding="utf-8")
        return load_manifest(path)

    return write


def clip(path, content=b"\x10"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content * (3 * FRAME_BYTES))
    return path


@pytest.mark.parametrize("path", SHIPPED, ids=[path.stem for path in SHIPPED])
def test_shipped_manifests_are_valid_and_say_where_the_files_come_from(path):
    manifest = load_manifest(path)
    assert manifest.title
    assert manifest.licence
    assert manifest.note
    assert manifest.download == "generated" or manifest.homepage
    assert manifest.download == "generated" or manifest.instructions


def test_the_datasets_of_the_field_are_there():
    names = {path.stem for path in SHIPPED}
    assert {"quickstart", "uvg", "mcl-jcv", "hevc-b", "hevc-c", "hevc-d", "hevc-e", "xiph-cif"} <= names


def test_uvg_is_sixteen_sequences_and_the_papers_use_seven():
    manifest = load_manifest(ROOT / "datasets" / "uvg.toml")
    assert len(manifest.sequences) == 16
    assert {entry.name: entry.frames for entry in manifest.select()} == {
        name: 300 if name == "ShakeNDry" else 600
        for name in ("Beauty", "Bosphorus", "HoneyBee", "Jockey", "ReadySetGo", "ShakeNDry", "YachtRide")
    }


def test_file_names_of_common_test_sequences_agree_with_their_entries():
    # videoSRC01_1920x1080_30.yuv, BQMall_832x480_60.yuv, Beauty_1920x1080_120fps...: size and rate stand in the name.
    checked = 0
    for path in SHIPPED:
        for entry in load_manifest(path).sequences:
            if match := re.search(r"_(\d+)x(\d+)_(\d+)", entry.file):
                assert (entry.width, entry.height, entry.fps) == (int(match[1]), int(match[2]), match[3])
                checked += 1
    assert checked == 16 + 30 + 5 + 4 + 4 + 3 + 8


def test_mcl_jcv_clips_last_five_seconds():
    entries = load_manifest(ROOT / "datasets" / "mcl-jcv.toml").sequences
    assert len(entries) == 30
    assert all(entry.frames == 5 * Fraction(entry.fps) for entry in entries)


def test_a_basic_manifest_describes_its_format(load):
    entry = load().entry("garden")
    assert entry.format.describe() == "16x8 yuv420p at 25 fps"
    assert entry.format.frame_bytes == FRAME_BYTES


@pytest.mark.parametrize(("text", "fps"), [("25", "25"), ('"30000/1001"', "30000/1001"), ('"29.97"', "30000/1001")])
def test_frame_rates_are_exact(load, text, fps):
    assert load(BASIC.replace("fps = 25", f"fps = {text}")).entry("garden").fps == fps


def test_subsets_select_in_the_manifests_order(load):
    second = BASIC[BASIC.index("[[sequences]]") :].replace("garden", "street")
    subsets = 'default_subset = "one"\n\n[subsets]\none = ["street"]\nall = ["street", "garden"]\n\n[[sequences]]'
    manifest = load((BASIC + second).replace("[[sequences]]", subsets, 1))
    assert [entry.name for entry in manifest.select()] == ["street"]
    assert [entry.name for entry in manifest.select(["all"])] == ["garden", "street"]
    assert [entry.name for entry in manifest.select(["street", "garden"])] == ["garden", "street"]
    with pytest.raises(UnknownNameError, match="did you mean garden"):
        manifest.select(["gardem"])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("width = 16", "", r"sequences\.0\.width: Field required; add it"),
        ("width = 16", "width = 0", r"sequences\.0\.width: .*greater than or equal to 1"),
        ("width = 16", "wdith = 16", r"sequences\.0\.wdith: .*; remove it or correct its name"),
        ("fps = 25", "fps = 29.97", r"sequences\.0\.fps: 29\.97 is not exact; .*30000/1001"),
        ("fps = 25", 'fps = "fast"', r"sequences\.0\.fps: frame rate 'fast' is not a number"),
        ("fps = 25", "fps = 0", r"sequences\.0\.fps: frame rate '0' is not positive"),
        ("fps = 25", "", r"sequences\.0: fps is missing; garden_16x8\.yuv does not say it itself"),
        ("frames = 3", 'pix_fmt = "nv12"', r"sequences\.0\.pix_fmt: pixel format 'nv12' is not supported; use"),
        ("frames = 3", 'url = "ftp://host/a"', r"sequences\.0\.url: .*must be an http, https or file URL"),
        ("frames = 3", 'member = "a.yuv"', r"sequences\.0: member .*; add url or remove member"),
        ("frames = 3", 'sha256 = "abc"', r"sequences\.0\.sha256: "),
        ("garden_16x8.yuv", "../garden.yuv", r"sequences\.0\.file: '\.\./garden\.yuv' must be a path below"),
        ("garden_16x8.yuv", "/etc/passwd", r"sequences\.0\.file: '/etc/passwd' must be a path below"),
        ("garden_16x8.yuv", "a//b.yuv", r"sequences\.0\.file: "),
        ("garden_16x8.yuv", "a/./b.yuv", r"sequences\.0\.file: "),
        ("garden_16x8.yuv", "C:/b.yuv", r"sequences\.0\.file: "),
        ('name = "garden"', 'name = "-rf"', r"sequences\.0\.name: "),
        ('licence = "CC0-1.0"', "", r"licence: Field required; add it"),
        ("instructions", "root = '../up'\ninstructions", r"root: '\.\./up' must be a path below"),
        ("instructions", "default_subset = 'x'\ninstructions", r"default_subset: no subset 'x'"),
        ("instructions", "subsets = { x = ['rose'] }\ninstructions", r"subsets\.x: no sequence 'rose'"),
        ("instructions", "download = 'automatic'\ninstructions", r'download: "automatic" needs a url'),
        ("instructions = ", "citation = ", r'download: "manual" needs instructions'),
        ('name = "mine"', 'name = "yours"', r"mine\.toml: name: is 'yours'; name the file yours\.toml"),
        ("[[sequences]]", "[sequences", r"mine\.toml: is not TOML: .*line"),
    ],
)
def test_a_wrong_manifest_gets_file_key_and_remedy(load, tmp_path, old, new, message):
    assert old in BASIC
    with pytest.raises(ManifestError, match=message) as raised:
        load(BASIC.replace(old, new, 1))
    assert str(raised.value).startswith(str(tmp_path / "mine.toml"))


def test_two_sequences_of_one_name_are_refused(load):
    with pytest.raises(ManifestError, match="the name 'garden' appears twice"):
        load(BASIC + BASIC[BASIC.index("[[sequences]]") :])


def test_a_missing_manifest_is_named(tmp_path):
    with pytest.raises(ManifestError, match=r"nowhere\.toml: cannot be read: No such file"):
        load_manifest(tmp_path / "nowhere.toml")


def test_the_json_schema_has_every_key():
    schema = manifests.Manifest.model_json_schema()
    assert set(schema["properties"]) == set(manifests.Manifest.model_fields)
    assert set(schema["$defs"]["Entry"]["properties"]) == set(manifests.Entry.model_fields)
    assert schema["additionalProperties"] is False


def test_data_goes_to_the_mirror_or_the_cache(tmp_path, monkeypatch):
    assert data_root() == tmp_path / "cache" / "data"
    monkeypatch.setenv("VCBENCH_DATA", str(tmp_path / "mirror"))
    assert data_root() == tmp_path / "mirror"


def test_the_mirror_comes_before_the_cache(load, mirror, tmp_path):
    manifest = load()
    cached = clip(tmp_path / "cache" / "data" / "mine" / "garden_16x8.yuv")
    assert locate(manifest, "garden") == cached
    mirrored = clip(mirror / "garden_16x8.yuv")
    assert locate(manifest, "garden") == mirrored


def test_a_missing_file_says_what_to_do_and_where_to_put_it(load, tmp_path):
    with pytest.raises(UnavailableError) as raised:
        locate(load(), "garden")
    text = str(raised.value)
    assert "Copy them from the camera." in text
    assert str(tmp_path / "cache" / "data" / "mine" / "garden_16x8.yuv") in text
    assert "VCBENCH_DATA" in text


def test_a_missing_download_names_the_command(load):
    text = BASIC.replace("instructions", 'download = "automatic"\ninstructions') + 'url = "https://host/garden.yuv"\n'
    with pytest.raises(UnavailableError, match="run: vcbench fetch mine"):
        locate(load(text), "garden")


def test_a_manifest_can_stand_beside_its_files(load, tmp_path):
    path = clip(tmp_path / "clips" / "garden_16x8.yuv")
    manifest = load(BASIC.replace("instructions", "root = 'clips'\ninstructions"))
    assert locate(manifest, "garden") == path


def test_open_entry_gives_the_frames_the_manifest_describes(load, mirror):
    clip(mirror / "garden_16x8.yuv")
    sequence = open_entry(load(), "garden", frames=2)
    assert (sequence.name, sequence.dataset, sequence.frames) == ("garden", "mine", 2)
    assert [frame.planes[0][0, 0] for frame in sequence.read()] == [16, 16]


def test_a_link_out_of_the_folder_is_refused(load, mirror, tmp_path):
    secret = clip(tmp_path / "secret.yuv")
    (mirror / "garden_16x8.yuv").symlink_to(secret)
    with pytest.raises(ManifestError, match=r"is a link to .*secret\.yuv, outside"):
        locate(load(), "garden")


def test_a_linked_dataset_folder_is_fine(load, tmp_path, monkeypatch):
    clip(tmp_path / "disk" / "garden_16x8.yuv")
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "mine").symlink_to(tmp_path / "disk")
    monkeypatch.setenv("VCBENCH_DATA", str(tmp_path / "links"))
    assert locate(load(), "garden").read_bytes() == (tmp_path / "disk" / "garden_16x8.yuv").read_bytes()


def test_an_unknown_digest_is_recorded_at_first_use_and_holds_after_that(load, mirror):
    manifest = load()
    path = clip(mirror / "garden_16x8.yuv")
    locate(manifest, "garden")
    first = hashlib.sha256(path.read_bytes()).hexdigest()
    assert json.loads((mirror / LOCK_FILE).read_text()) == {"files": {"garden_16x8.yuv": first}, "version": 1}
    locate(manifest, "garden")
    clip(path, b"\x20")
    second = hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(MediaError, match=f"SHA-256 is {second}, at first use it was {first}"):
        locate(manifest, "garden")


def test_a_digest_in_the_manifest_is_enforced_and_not_locked(load, mirror):
    path = clip(mirror / "garden_16x8.yuv")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert locate(load(f'{BASIC}sha256 = "{digest}"\n'), "garden") == path
    assert not (mirror / LOCK_FILE).exists()
    with pytest.raises(MediaError, match=f"SHA-256 is {digest}, the manifest says {'0' * 64}"):
        locate(load(f'{BASIC}sha256 = "{"0" * 64}"\n'), "garden")


def test_a_damaged_lock_file_is_named(load, mirror):
    clip(mirror / "garden_16x8.yuv")
    (mirror / LOCK_FILE).write_text("{")
    with pytest.raises(MediaError, match=rf"{LOCK_FILE}: is not a lock file .*; delete it"):
        locate(load(), "garden")


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes to read-only folders")
def test_a_read_only_mirror_is_locked_in_the_cache(load, mirror, tmp_path):
    clip(mirror / "garden_16x8.yuv")
    mirror.chmod(0o555)
    try:
        locate(load(), "garden")
    finally:
        mirror.chmod(0o755)
    assert (tmp_path / "cache" / "data" / "mine" / LOCK_FILE).exists()


def _lock_one(folder, index):
    path = Path(folder) / f"{index}.bin"
    path.write_bytes(bytes([index]))
    verify_or_lock(path, key=path.name, expected=None, lock=Path(folder) / LOCK_FILE)


def test_processes_that_record_at_once_lose_nothing(tmp_path):
    with multiprocessing.get_context("fork").Pool(4) as pool:
        pool.starmap(_lock_one, [(str(tmp_path), index) for index in range(24)])
    assert len(json.loads((tmp_path / LOCK_FILE).read_text())["files"]) == 24


def _locate_cat(root):
    manifest = load_manifest(ROOT / "datasets" / "quickstart.toml")
    return str(locate(manifest, "cat", root=Path(root)))


def test_two_processes_may_generate_at_once(tmp_path):
    with multiprocessing.get_context("fork").Pool(2) as pool:
        first, second = pool.map(_locate_cat, [str(tmp_path)] * 2)
    assert first == second
    assert [path.name for path in Path(first).parent.iterdir()] == ["cat_352x288_25.y4m"]


def test_a_generated_file_that_is_not_the_pinned_one_never_appears(tmp_path):
    text = (ROOT / "datasets" / "quickstart.toml").read_text(encoding="utf-8")
    (tmp_path / "quickstart.toml").write_text(re.sub(r'sha256 = "[0-9a-f]{64}"', f'sha256 = "{"0" * 64}"', text))
    manifest = load_manifest(tmp_path / "quickstart.toml")
    with pytest.raises(MediaError, match="the manifest says 000"):
        locate(manifest, "cat", root=tmp_path / "data")
    assert list((tmp_path / "data" / "quickstart").iterdir()) == []


def test_a_clip_of_an_earlier_vcbench_is_left_alone_and_the_new_one_made_beside_it(tmp_path):
    manifest = load_manifest(ROOT / "datasets" / "quickstart.toml")
    old = tmp_path / "quickstart" / manifest.entry("cat").file
    old.parent.mkdir()
    old.write_bytes(b"another cat")
    made = locate(manifest, "cat", root=tmp_path)
    assert old.read_bytes() == b"another cat"
    assert made.name == f"cat_352x288_25-{manifest.entry('cat').sha256[:8]}.y4m"
    assert locate(manifest, "cat", root=tmp_path) == made
    assert open_entry(manifest, "cat", root=tmp_path).name == "cat"


def test_the_example_of_the_documentation_works(tmp_path, monkeypatch):
    text = (ROOT / "docs" / "reference" / "datasets.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```toml\n(# my-clips\.toml\n.*?)```", text, re.S)
    (tmp_path / "my-clips.toml").write_text(example, encoding="utf-8")
    manifest = load_manifest(tmp_path / "my-clips.toml")
    quickstart.write_y4m("cat", tmp_path / "clips" / "cat.y4m")
    street = manifest.entry("street")
    (tmp_path / "clips" / "street.yuv").write_bytes(bytes((street.start + street.frames) * street.format.frame_bytes))
    assert [open_entry(manifest, entry, frames=2).frames for entry in manifest.select()] == [2, 2]


def test_every_dataset_and_every_quickstart_sequence_is_documented():
    text = (ROOT / "docs" / "reference" / "datasets.md").read_text(encoding="utf-8")
    assert all(f"`{path.stem}`" in text for path in SHIPPED)
    assert all(f"| `{name}` |" in text for name in quickstart.SEQUENCES)
