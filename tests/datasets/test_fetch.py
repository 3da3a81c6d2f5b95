"""Downloads against a server on this machine that cuts, lies and attacks."""

import bz2
import gzip
import hashlib
import io
import lzma
import random
import sys
import tarfile
import tracemalloc
import zipfile

import pytest

from bench.datasets.fetch import fetch_dataset, unpack
from bench.datasets.manifest import LOCK_FILE, load_manifest
from bench.errors import FetchError, ManifestError, UnavailableError

FRAME_BYTES = 64 * 32 * 3 // 2
CLIP = random.Random(1).randbytes(200 * FRAME_BYTES)
SHA256 = hashlib.sha256(CLIP).hexdigest()


@pytest.fixture
def server(http_server):
    http_server.files["/clip.yuv"] = CLIP
    return http_server


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("VCBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("VCBENCH_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


@pytest.fixture
def dataset(tmp_path, server):
    def write(path="/clip.yuv", *, extra="", frames=200, file="clip.yuv", url=None):
        text = (
            'name = "set"\ntitle = "t"\nlicence = "l"\ndownload = "automatic"\n\n[[sequences]]\nname = "clip"\n'
            f'file = "{file}"\nwidth = 64\nheight = 32\nfps = 30\nframes = {frames}\n'
            f'url = "{url or server.url + path}"\n{extra}\n'
        )
        (tmp_path / "set.toml").write_text(text)
        return load_manifest(tmp_path / "set.toml")

    return write


def visible(root):
    return sorted(
        path.name
        for path in root.rglob("*")
        if path.is_file() and ".download" not in path.parts and path.name != LOCK_FILE
    )


def staged(root):
    return sorted(path.name for path in (root / "set" / ".download").glob("*"))


def fetch(manifest, **settings):
    return fetch_dataset(manifest, pause=lambda seconds: None, **settings)


def test_a_download_arrives_verified_and_is_recorded(dataset, root):
    (fetched,) = fetch(dataset())
    assert (fetched.sequence, fetched.sha256, fetched.status) == ("clip", SHA256, "downloaded")
    assert fetched.path.read_bytes() == CLIP
    assert SHA256 in (root / "set" / LOCK_FILE).read_text()
    assert not (root / "set" / ".download").exists()


def test_what_is_there_is_not_downloaded_again(dataset, server, root):
    fetch(dataset())
    (again,) = fetch(dataset())
    assert again.status == "present"
    assert len(server.requests) == 1


def test_a_cut_download_resumes_where_it_was_cut(dataset, server, root):
    server.cuts = [500_000, 50_000]
    pauses = []
    (fetched,) = fetch_dataset(dataset(extra=f'sha256 = "{SHA256}"'), pause=pauses.append)
    assert fetched.sha256 == SHA256
    assert [asked for _, asked in server.requests] == [None, "bytes=500000-", "bytes=550000-"]
    assert pauses == [1, 2]


def test_the_next_command_resumes_what_this_one_gave_up(dataset, server, root):
    server.cuts = [100_000, 0]
    with pytest.raises(FetchError, match=r"cut after 100000 of 614400 bytes \(2 attempts\); 100000 bytes are kept"):
        fetch(dataset(), attempts=2)
    assert visible(root) == []
    (fetched,) = fetch(dataset())
    assert fetched.sha256 == SHA256
    assert server.requests[-1] == ("/clip.yuv", "bytes=100000-")


def test_a_file_that_changed_meanwhile_is_fetched_whole(dataset, server, root):
    server.cuts = [100_000]
    with pytest.raises(FetchError):
        fetch(dataset(), attempts=1)
    server.files["/clip.yuv"] = CLIP[::-1]
    (fetched,) = fetch(dataset())
    assert fetched.path.read_bytes() == CLIP[::-1]


def test_a_server_without_validators_is_asked_for_the_whole_file(dataset, server, root):
    server.etags = False
    server.cuts = [100_000]
    (fetched,) = fetch(dataset())
    assert fetched.sha256 == SHA256
    assert [asked for _, asked in server.requests] == [None, None]


def test_a_wrong_digest_deletes_and_names_both(dataset, server, root):
    wrong = "0" * 64
    with pytest.raises(FetchError, match=f"{wrong}.*{SHA256}"):
        fetch(dataset(extra=f'sha256 = "{wrong}"'))
    assert visible(root) == []
    assert staged(root) == []


def test_a_file_other_than_the_recorded_one_is_refused(dataset, server, root):
    (fetched,) = fetch(dataset())
    fetched.path.unlink()
    server.files["/clip.yuv"] = CLIP[::-1]
    with pytest.raises(FetchError, match=SHA256):
        fetch(dataset())
    assert visible(root) == []


def test_nothing_is_visible_until_it_is_verified(dataset, root):
    seen = []
    fetch(dataset(), progress=lambda name, done, total: seen.append((name, done, total, visible(root))))
    assert seen[-1] == ("clip.yuv", len(CLIP), len(CLIP), [])
    assert visible(root) == ["clip.yuv"]


def test_a_passing_server_error_is_tried_again_and_a_missing_file_is_not(dataset, server, root):
    server.failures = [503]
    assert fetch(dataset())[0].sha256 == SHA256
    server.requests.clear()
    with pytest.raises(FetchError, match="HTTP 404"):
        fetch(dataset("/gone.yuv", file="gone.yuv"))
    assert len(server.requests) == 1


def test_a_server_that_is_not_there_is_reported(dataset, root):
    with pytest.raises(FetchError, match=r"no connection: .*\(2 attempts\)"):
        fetch(dataset(url="http://127.0.0.1:9/clip.yuv"), attempts=2)


def test_a_redirect_is_followed_to_http_only(dataset, server, root, tmp_path):
    server.redirects = {"/moved.yuv": f"{server.url}/clip.yuv", "/local.yuv": (tmp_path / "set.toml").as_uri()}
    assert fetch(dataset("/moved.yuv"))[0].sha256 == SHA256
    with pytest.raises(FetchError, match="HTTP 302"):
        fetch(dataset("/local.yuv", file="local.yuv"))


def test_a_file_url_is_copied(dataset, root, tmp_path):
    source = tmp_path / "source.yuv"
    source.write_bytes(CLIP)
    assert fetch(dataset(url=source.as_uri()))[0].sha256 == SHA256
    assert source.exists()
    with pytest.raises(FetchError, match="cannot be read"):
        fetch(dataset(url=(tmp_path / "none.yuv").as_uri(), file="none.yuv"))


@pytest.mark.parametrize("says_its_length", [True, False])
def test_far_more_bytes_than_the_frames_take_are_refused(says_its_length, dataset, server, root):
    server.lengths = says_its_length
    server.files["/big.yuv"] = bytes(3_000_000)
    with pytest.raises(FetchError, match=r"larger than the 1098752 bytes"):
        fetch(dataset("/big.yuv", frames=1))
    assert visible(root) == []
    assert [name for name in staged(root) if name.endswith(".part")] == []


def test_a_file_may_be_longer_than_the_frames_that_are_used(dataset, root):
    assert fetch(dataset(frames=50))[0].sha256 == SHA256


def test_too_few_frames_are_refused(dataset, root):
    with pytest.raises(
        FetchError, match="614400 bytes, 201 frames of 64x32 yuv420p at 30 fps from frame 0 need 617472"
    ):
        fetch(dataset(frames=201))
    assert visible(root) == []


def test_an_error_page_is_no_video(dataset, server, root):
    server.files["/clip.y4m"] = b"<html>Please log in</html>"
    with pytest.raises(FetchError, match=r"clip\.y4m is not a y4m file \(26 bytes\)"):
        fetch(dataset("/clip.y4m", file="clip.y4m"))
    assert visible(root) == []
    assert staged(root) == []


def test_what_must_be_got_by_hand_is_said_before_anything_is_downloaded(dataset, server, root, tmp_path):
    dataset()
    text = (tmp_path / "set.toml").read_text()
    other = '[[sequences]]\nname = "other"\nfile = "other.yuv"\nwidth = 64\nheight = 32\nfps = 30\n'
    (tmp_path / "set.toml").write_text(text.replace("[[seq", 'instructions = "Ask the owner."\n\n[[seq', 1) + other)
    manifest = load_manifest(tmp_path / "set.toml")
    with pytest.raises(UnavailableError, match=r"other: cannot be fetched by vcbench\. Ask the owner\."):
        fetch(manifest)
    assert server.requests == []
    assert [fetched.sequence for fetched in fetch(manifest, sequences=["clip"])] == ["clip"]


def test_a_link_in_the_data_folder_is_not_followed(dataset, root, tmp_path):
    (root / "set").mkdir(parents=True)
    (tmp_path / "outside").mkdir()
    (root / "set" / "sub").symlink_to(tmp_path / "outside")
    with pytest.raises(ManifestError, match="is a link to"):
        fetch(dataset(file="sub/clip.yuv"))
    assert list((tmp_path / "outside").iterdir()) == []


def zipped(entries):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def tarred(entries):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in entries.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def seven_zipped(entries):
    py7zr = pytest.importorskip("py7zr")
    buffer = io.BytesIO()
    with py7zr.SevenZipFile(buffer, "w") as archive:
        for name, content in entries.items():
            archive.writestr(content, name)
    return buffer.getvalue()


ARCHIVERS = {"zip": zipped, "tar.gz": tarred, "7z": seven_zipped}


@pytest.mark.parametrize("kind", ARCHIVERS)
def test_a_member_is_unpacked_and_the_archive_removed(kind, dataset, server, root):
    server.files[f"/set.{kind}"] = ARCHIVERS[kind]({"README.txt": b"read me", "yuv/clip.yuv": CLIP})
    server.cuts = [1000]
    (fetched,) = fetch(dataset(f"/set.{kind}", extra=f'member = "yuv/clip.yuv"\nsha256 = "{SHA256}"'))
    assert fetched.path.read_bytes() == CLIP
    assert visible(root) == ["clip.yuv"]
    assert not (root / "set" / ".download").exists()


def test_an_archive_of_two_sequences_is_downloaded_once(dataset, server, root, tmp_path):
    server.files["/set.zip"] = zipped({"a.yuv": CLIP, "b.yuv": CLIP[::-1]})
    dataset("/set.zip", extra='member = "a.yuv"')
    text = (tmp_path / "set.toml").read_text()
    second = text[text.index("[[seq") :].replace('"clip', '"second').replace("a.yuv", "b.yuv")
    (tmp_path / "set.toml").write_text(text + second)
    assert len(fetch(load_manifest(tmp_path / "set.toml"))) == 2
    assert len(server.requests) == 1


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
@pytest.mark.parametrize("name", ["../evil.sh", "/evil.sh", "a/../../evil.sh", "..\\evil.sh", "C:/evil.sh"])
def test_zip_slip_is_refused(kind, name, dataset, server, root):
    server.files[f"/set.{kind}"] = ARCHIVERS[kind]({"clip.yuv": CLIP, name: b"evil"})
    with pytest.raises(FetchError, match="leads out of the folder; refused, nothing unpacked"):
        fetch(dataset(f"/set.{kind}", extra='member = "clip.yuv"'))
    assert visible(root.parent / "data") == []
    assert staged(root) == []
    assert not list(root.parent.rglob("evil.sh"))


def linked(kind):
    buffer = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(buffer, "w") as archive:
            info = zipfile.ZipInfo("clip.yuv")
            info.external_attr = 0o120777 << 16
            archive.writestr(info, "/etc/passwd")
    else:
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            info = tarfile.TarInfo("clip.yuv")
            info.type = tarfile.SYMTYPE if kind == "tar" else tarfile.LNKTYPE
            info.linkname = "/etc/passwd"
            archive.addfile(info)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["zip", "tar", "hard link"])
def test_links_in_archives_are_refused(kind, tmp_path):
    (tmp_path / "archive").write_bytes(linked(kind))
    with pytest.raises(FetchError, match="is a link or a folder, not a file"):
        unpack(tmp_path / "archive", "clip.yuv", tmp_path / "out", limit=10_000)
    assert not (tmp_path / "out").exists()


def test_links_in_7z_archives_are_refused(tmp_path):
    py7zr = pytest.importorskip("py7zr")
    (tmp_path / "clip.yuv").symlink_to("/etc/passwd")
    with py7zr.SevenZipFile(tmp_path / "archive", "w") as archive:
        archive.write(tmp_path / "clip.yuv", "clip.yuv")
    with pytest.raises(FetchError, match="is a link or a folder, not a file"):
        unpack(tmp_path / "archive", "clip.yuv", tmp_path / "out", limit=10_000)


def test_a_7z_archive_without_py7zr_names_the_extra_and_keeps_the_download(dataset, server, root, monkeypatch):
    monkeypatch.setitem(sys.modules, "py7zr", None)
    server.files["/set.7z"] = b"7z\xbc\xaf\x27\x1c" + bytes(100)
    for _ in range(2):
        with pytest.raises(UnavailableError, match=r"pip install 'vcbench\[archives\]'"):
            fetch(dataset("/set.7z", extra='member = "clip.yuv"'))
    assert len(server.requests) == 1


@pytest.mark.parametrize("kind", ARCHIVERS)
def test_a_decompression_bomb_is_refused_by_its_declared_size(kind, tmp_path):
    (tmp_path / "archive").write_bytes(ARCHIVERS[kind]({"clip.yuv": bytes(50_000_000)}))
    assert (tmp_path / "archive").stat().st_size < 500_000
    with pytest.raises(FetchError, match="unpacks to 50000000 bytes, its frames in the manifest take at most 1000"):
        unpack(tmp_path / "archive", "clip.yuv", tmp_path / "out", limit=1000)
    assert not (tmp_path / "out").exists()


def test_a_bomb_that_declares_little_is_stopped(tmp_path):
    content = bytearray(zipped({"clip.yuv": bytes(5_000_000)}))
    # The size stands in the local header (offset 22) and in the central directory (offset 24 from its signature).
    directory = content.rindex(b"PK\x01\x02")
    content[22:26] = content[directory + 24 : directory + 28] = (900).to_bytes(4, "little")
    (tmp_path / "archive").write_bytes(content)
    with pytest.raises(FetchError, match=r"is damaged|more than it declares"):
        unpack(tmp_path / "archive", "clip.yuv", tmp_path / "out", limit=1000)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", ARCHIVERS)
def test_a_missing_member_lists_the_near_ones(kind, tmp_path):
    (tmp_path / "archive").write_bytes(ARCHIVERS[kind]({"ReadySteadyGo.yuv": b"x"}))
    with pytest.raises(FetchError, match=r"has no 'ReadySetGo\.yuv'; correct member .*ReadySteadyGo\.yuv"):
        unpack(tmp_path / "archive", "ReadySetGo.yuv", tmp_path / "out", limit=1000)


@pytest.mark.parametrize("kind", ARCHIVERS)
def test_a_damaged_archive_is_reported_and_deleted(kind, dataset, server, root):
    content = bytearray(ARCHIVERS[kind]({"clip.yuv": CLIP}))
    content[300_000:301_000] = bytes(1000)
    server.files[f"/set.{kind}"] = bytes(content)
    with pytest.raises(FetchError, match="is damaged"):
        fetch(dataset(f"/set.{kind}", extra='member = "clip.yuv"'))
    assert visible(root) == []
    assert staged(root) == []


def test_what_is_no_archive_is_said(tmp_path):
    (tmp_path / "archive").write_bytes(b"<html>")
    with pytest.raises(FetchError, match="is not a zip, tar or 7z archive; correct url or remove member"):
        unpack(tmp_path / "archive", "clip.yuv", tmp_path / "out", limit=1000)


def test_files_that_somebody_keeps_in_the_folder_of_downloads_stay(dataset, root):
    own = root / "set" / ".download" / "notes" / "mine.txt"
    own.parent.mkdir(parents=True)
    own.write_text("mine")
    (own.parents[1] / "thesis.pdf").write_text("mine")
    fetch(dataset())
    assert sorted(path.name for path in own.parents[1].rglob("*")) == ["mine.txt", "notes", "thesis.pdf"]


def test_nothing_is_downloaded_through_a_link(dataset, root, tmp_path):
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "0123456789ab-x").write_text("precious")
    (root / "set").mkdir(parents=True)
    (root / "set" / ".download").symlink_to(victim)
    with pytest.raises(FetchError, match=r"\.download: is a link"):
        fetch(dataset())
    assert [path.name for path in victim.iterdir()] == ["0123456789ab-x"]


def pax_tar(path, size, compress, kind):
    """A tar archive whose first header says that a header of ``size`` bytes follows."""
    info = tarfile.TarInfo("./PaxHeaders/clip.yuv")
    info.type, info.size = kind, size
    with compress(path, "wb") as stream:
        stream.write(info.tobuf(tarfile.GNU_FORMAT))
        for _ in range(40):
            stream.write(bytes(1 << 20))


@pytest.mark.parametrize("compress", [open, gzip.open, bz2.open, lzma.open])
@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME])
def test_a_header_of_gigabytes_is_refused_unread(tmp_path, compress, kind):
    pax_tar(tmp_path / "archive", 6 << 30, compress, kind)
    tracemalloc.start()
    with pytest.raises(FetchError, match=r"has a header of 6442450944 bytes; refused, nothing unpacked"):
        unpack(tmp_path / "archive", "clip.yuv", tmp_path / "out", limit=1000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 64 << 20
    assert not (tmp_path / "out").exists()


def test_headers_without_end_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("bench.datasets.fetch._MOST_HEADERS", 1 << 20)
    with gzip.open(tmp_path / "archive", "wb") as stream:
        for number in range(4000):
            stream.write(tarfile.TarInfo(f"{number}").tobuf())
    with pytest.raises(FetchError, match="has more than 1048576 bytes of headers; refused"):
        unpack(tmp_path / "archive", "clip.yuv", tmp_path / "out", limit=1000)


@pytest.mark.parametrize("where", ["before the member", "after it"])
def test_an_archive_that_goes_on_is_refused(tmp_path, monkeypatch, where):
    monkeypatch.setattr("bench.datasets.fetch._BESIDE", 5 << 20)
    clip, other = tarfile.TarInfo("clip.yuv"), tarfile.TarInfo("other.bin")
    clip.size, other.size = 1000, 30 << 20
    members = [(other, bytes(30 << 20)), (clip, bytes(1000))]
    with gzip.open(tmp_path / "archive", "wb") as stream:
        for info, content in members if where.startswith("before") else members[::-1]:
            stream.write(info.tobuf() + content + bytes(-len(content) % 512))
        stream.write(bytes(1024) + bytes(30 << 20))
    with pytest.raises(FetchError, match=r"unpacks to more than the 5243880 bytes that its manifest allows; refused"):
        unpack(tmp_path / "archive", "clip.yuv", tmp_path / "out", limit=1000)
    assert not (tmp_path / "out").exists()


def test_a_zip_directory_of_megabytes_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("bench.datasets.fetch._LARGEST_HEADER", 1 << 17)
    (tmp_path / "archive").write_bytes(zipped({f"{number:0100}": b"" for number in range(1000)}))
    with pytest.raises(FetchError, match=r"has a header of 1\d{5} bytes; refused"):
        unpack(tmp_path / "archive", "clip.yuv", tmp_path / "out", limit=1000)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_member_that_zipfile_would_unpack_in_one_piece_is_refused(tmp_path, method):
    with zipfile.ZipFile(tmp_path / "archive", "w", method) as archive:
        archive.writestr("clip.yuv", bytes(1000))
    with pytest.raises(FetchError, match=rf"is packed by method {method}; pack it by deflate"):
        unpack(tmp_path / "archive", "clip.yuv", tmp_path / "out", limit=1 << 20)


@pytest.mark.parametrize("says_its_length", [True, False])
def test_an_archive_download_has_an_end(says_its_length, dataset, server, root, monkeypatch):
    monkeypatch.setattr("bench.datasets.fetch._BESIDE", 1 << 20)
    server.lengths = says_its_length
    server.files["/set.tar"] = bytes(5 << 20)
    with pytest.raises(FetchError, match=r"larger than the \d+ bytes that its manifest allows; it was deleted"):
        fetch(dataset("/set.tar", extra='member = "clip.yuv"', frames=1))
    assert [name for name in staged(root) if name.endswith(".part")] == []
