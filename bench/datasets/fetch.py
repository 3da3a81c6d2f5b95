"""Downloads: resumed where they were cut, verified before they are seen, unpacked without trust.

pooch downloads, compares digests and renames; it does not resume, so the transfer itself is done by a downloader of our
own that continues a ``.part`` file with HTTP ranges. Its unpackers trust the archive, so unpacking is our own too.
"""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import logging
import lzma
import os
import re
import stat
import tarfile
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from collections.abc import Sequence as Names
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from difflib import get_close_matches
from http.client import HTTPException
from pathlib import Path, PurePosixPath
from ssl import SSLError
from typing import IO, Any, Literal, cast
from urllib.error import HTTPError, URLError
from urllib.parse import unquote, urlsplit
from urllib.request import (
    FileHandler,
    HTTPDefaultErrorHandler,
    HTTPErrorProcessor,
    HTTPHandler,
    HTTPRedirectHandler,
    HTTPSHandler,
    OpenerDirector,
    ProxyHandler,
    Request,
)

from bench.core.folders import exclusive, put
from bench.datasets.manifest import ENVIRONMENT as DATA_FOLDER
from bench.datasets.manifest import (
    LOCK_FILE,
    Entry,
    Manifest,
    data_root,
    find,
    how_to_get,
    locate,
    recorded_digest,
    resolve_inside,
    verify_or_lock,
)
from bench.errors import FetchError, UnavailableError

Progress = Callable[[str, int, int | None], None]

_CHUNK = 1 << 20
_TIMEOUT_S = 60
_STAGING = ".download"
_DOWNLOAD = re.compile(r"[0-9a-f]{12}(-.+|\.unpacked)")
_DAMAGE = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    NotImplementedError,
    RuntimeError,
)
_SEVEN_ZIP = b"7z\xbc\xaf\x27\x1c"
# A file may be longer than what is used of it, but not without bound; the second number is for a manifest that does not
# say how many frames there are, and longer than any test sequence.
_LONGER = 16
_MOST_FRAMES = 10_000
# An archive may hold other files beside a sequence.
_BESIDE = 1 << 30
# Headers are held in memory: some hundred bytes for each file, which a zip archive has all in one directory.
_LARGEST_HEADER = 16 << 20
_MOST_HEADERS = 64 << 20


@dataclass(frozen=True)
class FetchedFile:
    """One sequence's file on this machine, verified."""

    sequence: str
    path: Path
    sha256: str
    status: Literal["present", "downloaded", "generated"]


def fetch_dataset(
    manifest: Manifest,
    *,
    sequences: Names[str] | None = None,
    root: Path | None = None,
    progress: Progress | None = None,
    attempts: int = 4,
    pause: Callable[[float], object] = time.sleep,
) -> list[FetchedFile]:
    """Bring a dataset's sequences onto this machine.

    ``sequences`` are names or subsets (default: the manifest's default subset), ``root`` the folder that holds one
    folder a dataset, ``progress`` is called with (file, bytes so far, bytes in all or None). A download that breaks is
    tried ``attempts`` times, with ``pause(seconds)`` between them (1, 2, 4 ...), then resumed by the next call.
    Raises UnavailableError with the instructions where files have to be got by hand, before anything is downloaded;
    FetchError where a download or an archive is not what it should be: nothing of it is then visible.
    """
    entries = manifest.select(sequences)
    there = {entry.name: find(manifest, entry, root=root) for entry in entries}
    missing = [entry for entry in entries if there[entry.name] is None]
    if manifest.download == "generated":
        made = {entry.name: locate(manifest, entry, root=root) for entry in missing}
    else:
        by_hand = [entry for entry in missing if manifest.download == "manual" or entry.url is None]
        if by_hand:
            raise UnavailableError(how_to_get(manifest, by_hand, root=root))
        made = _download_all(manifest, missing, root, Transfer(progress, attempts, pause)) if missing else {}
    status: Literal["generated", "downloaded"] = "generated" if manifest.download == "generated" else "downloaded"
    return [
        FetchedFile(entry.name, path, _sha256(path), "present")
        if (path := there[entry.name]) is not None
        else FetchedFile(entry.name, made[entry.name], _sha256(made[entry.name]), status)
        for entry in entries
    ]


@dataclass(frozen=True)
class Transfer:
    """How downloads are done: see fetch_dataset."""

    progress: Progress | None
    attempts: int
    pause: Callable[[float], object]


def _download_all(manifest: Manifest, entries: list[Entry], root: Path | None, transfer: Transfer) -> dict[str, Path]:
    folder = (root or data_root()) / manifest.name
    done = {}
    with staging_folder(folder, DATA_FOLDER) as staging:
        for entry in entries:
            # Another process may have been first while this one waited for the folder.
            path = find(manifest, entry, root=root)
            if path is None:
                beside = sum(_limit(other) for other in manifest.sequences if other.url == entry.url)
                path = _download(entry, folder, staging, transfer, archive_limit=beside + _BESIDE)
            done[entry.name] = path
    return done


@contextmanager
def staging_folder(folder: Path, environment: str) -> Iterator[Path]:
    """A folder below ``folder`` for downloads that are not verified yet, held by one process at a time.

    It is kept, to resume from and not to download an archive again, until the block ends without an error.
    ``environment`` is the variable that names another folder, for the FetchError where it cannot be made.
    """
    staging = folder / _STAGING
    with ExitStack() as locks:
        while True:
            try:
                staging.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise FetchError(
                    f"{staging}: cannot be made: {error.strerror}; set {environment} to a folder of your own"
                ) from None
            held = locks.enter_context(exclusive(staging))
            # The process that held it before removed it when it had finished.
            if staging.exists() and os.path.samestat(os.fstat(held), staging.stat()):
                break
        if staging.is_symlink():
            raise FetchError(f"{staging}: is a link, and downloads are kept in a folder of vcbench's own; remove it")
        yield staging
        for path in staging.iterdir():
            if path.is_file() and (_DOWNLOAD.fullmatch(path.name) or _is_left_by_pooch(path)):
                path.unlink()
        with suppress(OSError):  # somebody keeps other files there
            staging.rmdir()


def _is_left_by_pooch(path: Path) -> bool:
    return re.fullmatch(r"tmp[a-z0-9_]{8}", path.name) is not None and path.stat().st_size == 0


def _download(entry: Entry, folder: Path, staging: Path, transfer: Transfer, *, archive_limit: int) -> Path:
    assert entry.url is not None
    final = resolve_inside(folder, entry.file)
    lock = folder / LOCK_FILE
    expected = entry.sha256 or recorded_digest(lock, entry.file)
    if entry.member is None:
        ready = archive = retrieve(entry.url, staging, transfer, expected=expected, limit=_limit(entry))
    else:
        archive = retrieve(entry.url, staging, transfer, expected=None, limit=archive_limit)
        ready = staging / f"{hashlib.sha256(entry.file.encode()).hexdigest()[:12]}.unpacked"
    try:
        if entry.member is not None:
            unpack(archive, entry.member, ready, limit=_limit(entry))
        _check(ready, entry, expected)
    except FetchError:
        ready.unlink(missing_ok=True)
        archive.unlink(missing_ok=True)
        raise
    final.parent.mkdir(parents=True, exist_ok=True)
    put(ready, final)
    verify_or_lock(final, key=entry.file, expected=entry.sha256, lock=lock)
    return final


def _check(path: Path, entry: Entry, expected: str | None) -> None:
    """FetchError unless the file can be what the manifest describes."""
    digest = _sha256(path)
    if expected is not None and digest != expected:
        raise FetchError(
            f"{entry.url}: {entry.file} has SHA-256 {digest}, expected {expected}; it was deleted. "
            "Try again; if it stays so, the owner changed the file: compare it and correct the manifest"
        )
    size = path.stat().st_size
    if entry.is_y4m:
        with path.open("rb") as stream:
            if stream.read(9) != b"YUV4MPEG2":
                raise FetchError(f"{entry.url}: {entry.file} is not a y4m file ({size} bytes); it was deleted")
    elif entry.frames is not None and _is_raw(entry):
        needed = (entry.start + entry.frames) * entry.format.frame_bytes
        if size < needed:
            raise FetchError(
                f"{entry.url}: {entry.file} has {size} bytes, {entry.frames} frames of {entry.format.describe()} "
                f"from frame {entry.start} need {needed}; it was deleted. Correct the manifest, or ask the owner"
            )


def _is_raw(entry: Entry) -> bool:
    return entry.file.lower().endswith((".yuv", ".raw", ".rgb"))


def _limit(entry: Entry) -> int:
    """Most bytes the file may have: sixteen times its frames as raw video, and room for headers."""
    frames = _LONGER * (entry.start + entry.frames) if entry.frames is not None else _MOST_FRAMES
    return frames * (entry.format.frame_bytes + 64) + _CHUNK


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def retrieve(url: str, staging: Path, transfer: Transfer, *, expected: str | None, limit: int | None) -> Path:
    """A complete download in the staging folder, verified where its digest is known.

    Raises FetchError, also for more than ``limit`` bytes; what arrived of a download that broke off is kept.
    """
    import pooch

    base = re.sub(r"[^A-Za-z0-9._-]", "_", unquote(PurePosixPath(urlsplit(url).path).name)) or "download"
    name = f"{hashlib.sha256(url.encode()).hexdigest()[:12]}-{base}"
    downloader = ResumingDownloader(staging / f"{name}.part", transfer, limit)
    try:
        with _quiet():
            known = f"sha256:{expected}" if expected else None
            return Path(pooch.retrieve(url, known, fname=name, path=staging, downloader=downloader))
    except ValueError as error:
        raise FetchError(f"{url}: {error}") from None


@contextmanager
def _quiet() -> Iterator[None]:
    """pooch reports on standard error, where our progress is."""
    import pooch

    logger = pooch.get_logger()
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)


class _BrokenOffError(Exception):
    """A transfer that may succeed when it is tried again."""


class ResumingDownloader:
    """pooch downloader that keeps what arrived in ``part`` and asks for the rest (RFC 9110, 14: range requests).

    The rest is asked for on the condition that the file is still the same (If-Range with the ETag or the date of the
    first answer); a server that gives neither is asked for the whole file again.
    """

    def __init__(self, part: Path, transfer: Transfer, limit: int | None = None) -> None:
        self.part = part
        self.validator = part.with_name(f"{part.name}.validator")
        self.transfer = transfer
        self.limit = limit

    def __call__(self, url: str, output_file: str, pooch: Any, check_only: bool = False) -> None:
        """Download ``url``; FetchError where it fails for good. The rest of the signature is pooch's."""
        for attempt in range(1, self.transfer.attempts + 1):
            try:
                self._transfer(url)
                break
            except _BrokenOffError as error:
                if attempt == self.transfer.attempts:
                    kept = self.part.stat().st_size if self.part.exists() else 0
                    raise FetchError(
                        f"{url}: {error} ({attempt} attempts); {kept} bytes are kept, the same command resumes there"
                    ) from None
                self.transfer.pause(2 ** (attempt - 1))
        self.validator.unlink(missing_ok=True)
        self.part.replace(output_file)

    def _transfer(self, url: str) -> None:
        try:
            with _opener().open(self._request(url), timeout=_TIMEOUT_S) as response:
                self._receive(url, response)
        except HTTPError as error:
            with error:
                if error.code == 416:
                    self.part.unlink(missing_ok=True)
                if error.code in (408, 416, 425, 429) or error.code >= 500:
                    raise _BrokenOffError(f"HTTP {error.code} {error.reason}") from None
                raise FetchError(f"{url}: HTTP {error.code} {error.reason}; see its owner's pages") from None
        except URLError as error:
            if url.startswith("file:"):
                raise FetchError(f"{url}: cannot be read: {error.reason}") from None
            raise _BrokenOffError(f"no connection: {error.reason}") from None
        except (HTTPException, ConnectionError, TimeoutError, SSLError) as error:
            raise _BrokenOffError(f"broke off: {error or type(error).__name__}") from None
        except OSError as error:
            raise FetchError(
                f"{self.part}: cannot be written: {error.strerror or error}; make room, then run the same again"
            ) from None

    def _request(self, url: str) -> Request:
        headers = {"User-Agent": "vcbench", "Accept-Encoding": "identity"}
        request = Request(url, headers=headers)  # noqa: S310 (the manifest lets http, https and file through)
        if self.part.exists() and self.validator.exists():
            request.add_header("Range", f"bytes={self.part.stat().st_size}-")
            request.add_header("If-Range", self.validator.read_text(encoding="utf-8"))
        return request

    def _receive(self, url: str, response: Any) -> None:
        done = self._resumed_at(response)
        length = response.headers.get("Content-Length")
        total = done + int(length) if length is not None and length.isdecimal() else None
        self._check_limit(url, total or 0)
        etag = response.headers.get("ETag", "")
        validator = etag if etag.startswith('"') else response.headers.get("Last-Modified")
        self.validator.unlink(missing_ok=True)
        if validator:
            self.validator.write_text(validator, encoding="utf-8")
        with self.part.open("ab" if done else "wb") as out:
            while chunk := response.read(_CHUNK):
                out.write(chunk)
                done += len(chunk)
                self._check_limit(url, done)
                if self.transfer.progress is not None:
                    self.transfer.progress(self.part.name.split("-", 1)[1].removesuffix(".part"), done, total)
        if total is not None and done < total:
            raise _BrokenOffError(f"cut after {done} of {total} bytes")

    def _resumed_at(self, response: Any) -> int:
        """Bytes already here that the answer continues; 0 for an answer with the whole file."""
        if response.status != 206:
            return 0
        have = self.part.stat().st_size if self.part.exists() else 0
        match = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
        if match is None or int(match[1]) != have:
            self.part.unlink(missing_ok=True)
            raise _BrokenOffError("the server sent another range than requested")
        return have

    def _check_limit(self, url: str, size: int) -> None:
        if self.limit is not None and size > self.limit:
            self.part.unlink(missing_ok=True)
            raise FetchError(
                f"{url}: is larger than the {self.limit} bytes that its manifest allows; it was deleted. "
                "Correct the manifest (for a dataset: frames, width, height and pix_fmt)"
            )


def _opener() -> OpenerDirector:
    """An opener for http, https and file alone, so that no redirect leads to another protocol."""
    opener = OpenerDirector()
    for handler in (
        ProxyHandler,
        HTTPHandler,
        HTTPSHandler,
        HTTPRedirectHandler,
        HTTPDefaultErrorHandler,
        HTTPErrorProcessor,
        FileHandler,
    ):
        opener.add_handler(handler())
    return opener


def unpack(archive: Path, member: str, target: Path, *, limit: int) -> None:
    """Write one regular file of a zip, tar or 7z archive to ``target``.

    FetchError where the archive holds a path that leads out of a folder, the member is absent, is not a regular file,
    or has more than ``limit`` bytes, declared or in fact; UnavailableError where py7zr is needed and not installed.
    """
    with archive.open("rb") as stream:
        magic = stream.read(len(_SEVEN_ZIP))
    try:
        if magic == _SEVEN_ZIP:
            _from_7z(archive, member, target, limit)
        elif zipfile.is_zipfile(archive):
            _from_zip(archive, member, target, limit)
        else:
            _from_tar(archive, member, target, limit)
    except OSError as error:
        # The decompressors of gzip and bzip2 raise bare OSErrors; those of the system carry a number.
        target.unlink(missing_ok=True)
        if error.errno is not None:
            raise FetchError(
                f"{target}: cannot be written: {error.strerror}; make room, then run the same again"
            ) from None
        raise FetchError(f"{archive}: is damaged ({error}); fetch it again") from None
    except _DAMAGE as error:
        target.unlink(missing_ok=True)
        raise FetchError(f"{archive}: is damaged ({error}); fetch it again") from None


class _Bounded(io.RawIOBase):
    """An archive, or what it unpacks to, read no further than it may be.

    An archive says how long its headers are, which are read into memory at once, and may go on without end. Raises
    FetchError for a header above _LARGEST_HEADER or headers above _MOST_HEADERS together, until ``held`` is false, and
    beyond ``limit`` bytes.
    """

    def __init__(self, stream: IO[bytes], archive: Path, limit: int) -> None:
        self.held = True
        self._stream = stream
        self._archive = archive
        self._limit = limit
        self._headers = 0

    def read(self, size: int = -1, /) -> bytes:
        if self.held and size > _LARGEST_HEADER:
            raise FetchError(f"{self._archive}: has a header of {size} bytes; refused, nothing unpacked")
        data = self._stream.read(size if size >= 0 else _LARGEST_HEADER)  # the rest is some bytes of a zip's end
        self._headers += len(data) if self.held else 0
        if self._headers > _MOST_HEADERS:
            raise FetchError(f"{self._archive}: has more than {_MOST_HEADERS} bytes of headers; refused")
        self._check(self._stream.tell())
        return data

    def seek(self, offset: int, whence: int = 0, /) -> int:
        if whence == 0:  # of what is compressed, all up to there is unpacked
            self._check(offset)
        return self._stream.seek(offset, whence)

    def tell(self) -> int:
        return self._stream.tell()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def _check(self, position: int) -> None:
        if position > self._limit:
            raise FetchError(
                f"{self._archive}: unpacks to more than the {self._limit} bytes that its manifest allows; refused"
            )


def _from_zip(archive: Path, member: str, target: Path, limit: int) -> None:
    with archive.open("rb") as file:
        bounded = _Bounded(file, archive, archive.stat().st_size)
        with zipfile.ZipFile(cast("IO[bytes]", bounded)) as opened:
            infos = {info.filename: info for info in opened.infolist()}
            _check_names(archive, infos, member)
            info = infos[member]
            mode = info.external_attr >> 16
            _check_member(archive, member, info.file_size, limit, regular=not info.is_dir() and _is_regular(mode))
            bounded.held = False
            if info.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
                # zipfile unpacks all that it has read at once, which may be a million times as much
                raise FetchError(f"{archive}: {member!r} is packed by method {info.compress_type}; pack it by deflate")
            with opened.open(info) as stream:
                _copy(archive, stream, target, limit)


def _is_regular(mode: int) -> bool:
    """Archives made on systems without file modes leave the type out."""
    return stat.S_IFMT(mode) in (0, stat.S_IFREG)


def _from_tar(archive: Path, member: str, target: Path, limit: int) -> None:
    with _unpacked(archive) as plain:
        bounded = _Bounded(plain, archive, limit + _BESIDE)
        try:
            opened = tarfile.open(fileobj=cast("IO[bytes]", bounded), mode="r:")  # noqa: SIM115 - closed below
        except (tarfile.ReadError, *_DAMAGE):
            raise FetchError(
                f"{archive}: is not a zip, tar or 7z archive; correct url or remove member in the manifest"
            ) from None
        with opened:
            infos = {info.name.removeprefix("./"): info for info in opened.getmembers()}
            _check_names(archive, infos, member)
            info = infos[member]
            _check_member(archive, member, info.size, limit, regular=info.isreg())
            bounded.held = False
            stream = opened.extractfile(info)
            assert stream is not None
            with stream:
                _copy(archive, stream, target, limit)
            # The checksum of a compressed tar stands at its end.
            while bounded.read(_CHUNK):
                pass


def _unpacked(archive: Path) -> IO[bytes]:
    """What a compressed file unpacks to; any other file as it is."""
    with archive.open("rb") as stream:
        magic = stream.read(6)
    kinds: dict[bytes, Callable[[Path, Literal["rb"]], Any]] = {
        b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\x00": lzma.open
    }  # fmt: skip
    kind = next((kind for start, kind in kinds.items() if magic.startswith(start)), None)
    return archive.open("rb") if kind is None else cast("IO[bytes]", kind(archive, "rb"))


def _from_7z(archive: Path, member: str, target: Path, limit: int) -> None:
    try:
        import py7zr
        from py7zr.exceptions import ArchiveError
    except ImportError:
        raise UnavailableError(
            f"{archive}: is a 7z archive, which needs py7zr; pip install 'vcbench[archives]', then fetch again "
            "(the download is kept)"
        ) from None
    try:
        with py7zr.SevenZipFile(archive) as opened:
            infos = {info.filename: info for info in opened.list()}
            _check_names(archive, infos, member)
            info = infos[member]
            _check_member(archive, member, info.uncompressed, limit, regular=info.is_file)
            with tempfile.TemporaryDirectory(dir=target.parent) as folder:
                opened.extract(path=folder, targets=[member])
                (Path(folder) / member).replace(target)
    except ArchiveError as error:
        raise RuntimeError(str(error)) from None


def _check_names(archive: Path, infos: dict[str, Any], member: str) -> None:
    for name in infos:
        parts = name.replace("\\", "/").split("/")
        if name.startswith(("/", "\\")) or ".." in parts or ":" in parts[0]:
            raise FetchError(
                f"{archive}: holds {name!r}, a path that leads out of the folder; refused, nothing unpacked"
            )
    if member not in infos:
        near = get_close_matches(member, infos, n=3, cutoff=0.3)
        raise FetchError(
            f"{archive}: has no {member!r}; correct member in the manifest (there is {near or list(infos)[:5]})"
        )


def _check_member(archive: Path, member: str, size: int, limit: int, *, regular: bool) -> None:
    if not regular:
        raise FetchError(f"{archive}: {member!r} is a link or a folder, not a file; refused, nothing unpacked")
    if size > limit:
        raise FetchError(
            f"{archive}: {member!r} unpacks to {size} bytes, its frames in the manifest take at most {limit}; refused. "
            "Correct frames, width, height and pix_fmt in the manifest if the file is right"
        )


def _copy(archive: Path, stream: IO[bytes], target: Path, limit: int) -> None:
    """Copy, counting: a declared size can lie."""
    written = 0
    with target.open("wb") as out:
        while chunk := stream.read(_CHUNK):
            written += len(chunk)
            if written > limit:
                break
            out.write(chunk)
    if written > limit:
        target.unlink()
        raise FetchError(f"{archive}: unpacks to more than it declares and than {limit} bytes; refused")
