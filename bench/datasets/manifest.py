"""Dataset manifests: what a dataset holds, where its files are on this machine, and that they are the right ones."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence as Names
from fractions import Fraction
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, PrivateAttr, ValidationError, model_validator

from bench.core.files import cache_folder, canonical_json, file_digest, write_atomically
from bench.core.folders import exclusive
from bench.core.paths import local_path
from bench.core.schema import Digest, Model, Name, explain, read_toml
from bench.errors import ManifestError, MediaError, UnavailableError, UnknownNameError, UsageError
from bench.video.formats import MAX_SIDE, Transfer, VideoFormat, parse_fps

if TYPE_CHECKING:
    from bench.video.sequence import Sequence

ENVIRONMENT = "VCBENCH_DATA"
LOCK_FILE = "datasets.lock.json"


def _relative(path: str) -> str:
    parts = path.split("/")
    if "\\" in path or "\0" in path or ":" in parts[0] or any(not part or part.startswith(".") for part in parts):
        raise ValueError(f"{path!r} must be a path below the dataset's folder, with / and without .. or hidden parts")
    return path


def _folder(path: str) -> str:
    return path if path == "." else _relative(path)


def _url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https", "file") or (parts.scheme != "file" and not parts.hostname):
        raise ValueError(f"{url!r} must be an http, https or file URL")
    return url


def _fps(value: object) -> object:
    if isinstance(value, float):
        raise ValueError(f'{value} is not exact; write a fraction as text, such as "30000/1001"')
    if isinstance(value, str | int) and not isinstance(value, bool):
        return str(_checked(parse_fps, str(value)))
    return value


def _pix_fmt(value: str) -> str:
    return str(_checked(VideoFormat(1, 1).with_pix_fmt, value).pix_fmt)


def _checked(parse: Any, value: str) -> Any:
    try:
        return parse(value)
    except UsageError as error:
        raise ValueError(str(error)) from None


RelativePath = Annotated[str, AfterValidator(_relative)]
Url = Annotated[str, AfterValidator(_url)]


class Entry(Model):
    """One sequence of a dataset: its file, its format, and where the file comes from."""

    name: Name = Field(description="name of the sequence")
    file: RelativePath = Field(description="path of the file below the dataset's folder")
    width: int = Field(ge=1, le=MAX_SIDE, description="in luma samples")
    height: int = Field(ge=1, le=MAX_SIDE, description="in luma samples")
    fps: Annotated[str, BeforeValidator(_fps)] | None = Field(
        default=None, description='frames per second, such as 30 or "30000/1001"; may be absent for y4m, which has it'
    )
    frames: int | None = Field(default=None, ge=1, description="number of frames used; default all from start")
    pix_fmt: Annotated[str, AfterValidator(_pix_fmt)] = Field(default="yuv420p", description="FFmpeg's name")
    start: int = Field(default=0, ge=0, description="first frame used")
    transfer: Transfer | None = Field(
        default=None, description="transfer function, if the file does not state it: pq, hlg or sdr"
    )
    url: Url | None = Field(default=None, description="address of the file or its archive")
    member: RelativePath | None = Field(default=None, description="path inside the archive that url names")
    sha256: Digest | None = Field(default=None, description="digest of the file itself, not of an archive")

    @model_validator(mode="after")
    def _check(self) -> Entry:
        if self.fps is None and not self.is_y4m:
            raise ValueError(f"fps is missing; {self.file} does not say it itself, as y4m does")
        if self.member is not None and self.url is None:
            raise ValueError("member is a path inside the archive at url; add url or remove member")
        return self

    @property
    def is_y4m(self) -> bool:
        return self.file.lower().endswith(".y4m")

    @property
    def format(self) -> VideoFormat:
        """Format of the frames; where no frame rate is given it has the default one."""
        fps = Fraction(self.fps) if self.fps else Fraction(30)
        return VideoFormat(self.width, self.height, fps=fps).with_pix_fmt(self.pix_fmt)


class Manifest(Model):
    """One dataset: its sequences, its licence and how its files are obtained."""

    name: Name = Field(description="the file's name without .toml")
    title: str = Field(description="name for readers")
    licence: str = Field(description="licence of the videos")
    homepage: str | None = Field(default=None, description="address of the owner's page")
    citation: str | None = Field(default=None, description="how to cite the dataset")
    note: str | None = Field(default=None, description="what a reader must know, such as unconfirmed facts")
    download: Literal["automatic", "manual", "generated"] = Field(
        default="manual", description="fetched by vcbench, fetched by hand, or made by vcbench at first use"
    )
    instructions: str | None = Field(default=None, description="what to do by hand")
    root: Annotated[str, AfterValidator(_folder)] | None = Field(
        default=None, description="folder of the files, relative to the manifest's"
    )
    subsets: dict[Name, tuple[Name, ...]] = Field(default={}, description="named selections of sequences")
    default_subset: Name | None = Field(
        default=None, description="subset that is used if none is named; default all sequences"
    )
    sequences: tuple[Entry, ...] = Field(min_length=1, description="the sequences")

    _path: Path | None = PrivateAttr(default=None)

    @model_validator(mode="after")
    def _check(self) -> Manifest:
        for key in ("name", "file"):
            values = [getattr(entry, key) for entry in self.sequences]
            twice = sorted({value for value in values if values.count(value) > 1})
            if twice:
                raise ValueError(f"sequences: the {key} {twice[0]!r} appears twice; each sequence needs its own")
        names = {entry.name for entry in self.sequences}
        for subset, members in self.subsets.items():
            if unknown := sorted(set(members) - names):
                raise ValueError(f"subsets.{subset}: no sequence {unknown[0]!r}; use names of [[sequences]]")
        if self.default_subset is not None and self.default_subset not in self.subsets:
            raise ValueError(f"default_subset: no subset {self.default_subset!r}; add it to [subsets]")
        if self.download == "automatic" and not any(entry.url for entry in self.sequences):
            raise ValueError('download: "automatic" needs a url in at least one sequence')
        if self.download == "manual" and not (self.instructions or self.root):
            raise ValueError('download: "manual" needs instructions (or root, where the files already are)')
        return self

    @property
    def path(self) -> Path | None:
        """The file this manifest was read from."""
        return self._path

    def entry(self, name: str) -> Entry:
        """The sequence of that name; UnknownNameError if there is none."""
        for entry in self.sequences:
            if entry.name == name:
                return entry
        raise UnknownNameError(f"sequence of {self.name}", name, [entry.name for entry in self.sequences])

    def select(self, names: Names[str] | None = None) -> tuple[Entry, ...]:
        """Sequences by name or by subset, in the manifest's order; None means the default subset, or all."""
        if names is None:
            if self.default_subset is None:
                return self.sequences
            names = (self.default_subset,)
        wanted: set[str] = set()
        for name in names:
            wanted.update(self.subsets[name] if name in self.subsets else (self._known(name),))
        return tuple(entry for entry in self.sequences if entry.name in wanted)

    def _known(self, name: str) -> str:
        known = [entry.name for entry in self.sequences]
        if name not in known:
            raise UnknownNameError(f"sequence or subset of {self.name}", name, [*known, *self.subsets])
        return name


def load_manifest(path: Path) -> Manifest:
    """Read and validate one manifest; ManifestError names the file, the key and the remedy."""
    try:
        manifest = Manifest.model_validate(read_toml(path, ManifestError))
    except ValidationError as error:
        raise ManifestError(f"{path}:\n  {explain(error)}") from None
    if manifest.name != path.stem:
        raise ManifestError(
            f"{path}: name: is {manifest.name!r}; name the file {manifest.name}.toml, or the dataset {path.stem!r}"
        )
    manifest._path = path
    return manifest


def data_root() -> Path:
    """Folder that downloads go to, one folder per dataset below it: VCBENCH_DATA, or ``data`` in the cache folder."""
    named = os.environ.get(ENVIRONMENT)
    return local_path(named) if named else cache_folder() / "data"


def folders(manifest: Manifest) -> tuple[Path, ...]:
    """Folders that may hold the dataset's files, in the order they are searched."""
    found = [data_root() / manifest.name, cache_folder() / "data" / manifest.name]
    if manifest.root is not None and manifest.path is not None:
        found.insert(0, manifest.path.parent / manifest.root)
    return tuple(dict.fromkeys(found))


def resolve_inside(folder: Path, relative: str) -> Path:
    """``folder`` / ``relative``; ManifestError when a symbolic link leads out of the folder."""
    path = folder / relative
    if not path.resolve().is_relative_to(folder.resolve()):
        raise ManifestError(
            f"{path}: is a link to {path.resolve()}, outside {folder.resolve()}; put the file itself there, "
            "or make the whole dataset folder the link"
        )
    return path


def find(manifest: Manifest, entry: Entry, *, root: Path | None = None) -> Path | None:
    """Path of a sequence's verified file, or None where it is not here; never generates or downloads.

    ``root`` replaces the folders that are searched (it holds one folder a dataset).
    """
    for folder in (root / manifest.name,) if root is not None else folders(manifest):
        path = resolve_inside(folder, entry.file)
        if path.is_file():
            verify_or_lock(path, key=entry.file, expected=entry.sha256, lock=_lock_file(folder, manifest))
            return path
    return None


def locate(manifest: Manifest, sequence: str | Entry, *, root: Path | None = None) -> Path:
    """Path of a sequence's verified file; a generated one is made at first use.

    Raises UnavailableError that says what to run or to do where the file is not here, MediaError where it is not the
    file it was, ManifestError where a link leads out of the dataset's folder.
    """
    entry = manifest.entry(sequence) if isinstance(sequence, str) else sequence
    if manifest.download == "generated":
        return _find_or_generate(manifest, entry, root)
    path = find(manifest, entry, root=root)
    if path is not None:
        return path
    raise UnavailableError(how_to_get(manifest, [entry], root=root))


def open_entry(
    manifest: Manifest, sequence: str | Entry, *, root: Path | None = None, frames: int | None = None
) -> Sequence:
    """Locate and open a sequence as the manifest describes it, cut to ``frames`` if given. Raises as ``locate``."""
    from bench.video.sequence import open_sequence

    entry = manifest.entry(sequence) if isinstance(sequence, str) else sequence
    lengths = [count for count in (entry.frames, frames) if count is not None]
    return open_sequence(
        locate(manifest, entry, root=root),
        name=entry.name,
        dataset=manifest.name,
        size=f"{entry.width}x{entry.height}",
        pix_fmt=entry.pix_fmt,
        fps=entry.fps,
        start=entry.start,
        frames=min(lengths) if lengths else None,
        transfer=entry.transfer,
    )


def how_to_get(manifest: Manifest, entries: Names[Entry], *, root: Path | None = None) -> str:
    """What to run or to do for files that are not here."""
    where = (root or data_root()) / manifest.name
    names = ", ".join(entry.name for entry in entries)
    needed = "\n".join(f"  {where / entry.file}" for entry in entries)
    if manifest.download == "automatic" and all(entry.url for entry in entries):
        return (
            f"{manifest.name}: {names}: not on this machine; run: vcbench fetch {manifest.name}\n"
            f"or put a copy at (or set {ENVIRONMENT} to a folder that holds {manifest.name}/):\n{needed}"
        )
    if manifest.root is not None and manifest.path is not None:
        here = manifest.path.parent / manifest.root
        return f"{manifest.path}: {names}: no such file; expected\n" + "\n".join(f"  {here / e.file}" for e in entries)
    steps = " ".join((manifest.instructions or f"See {manifest.homepage or 'the owner of the dataset'}.").split())
    return (
        f"{manifest.name}: {names}: cannot be fetched by vcbench. {steps}\n"
        f"Then put the files at (or set {ENVIRONMENT} to a folder that holds {manifest.name}/):\n{needed}"
    )


def verify_or_lock(path: Path, *, key: str, expected: str | None, lock: Path) -> str:
    """SHA-256 of a file, checked against the manifest's, or against the one recorded in ``lock`` at first use.

    Raises MediaError naming both digests where they differ.
    """
    digest = file_digest(path)
    if expected is not None:
        if digest != expected:
            raise MediaError(
                f"{path}: SHA-256 is {digest}, the manifest says {expected}; "
                "the file is damaged or another one: delete it and fetch it again, or correct the manifest"
            )
        return digest
    recorded = recorded_digest(lock, key) or _record(lock, key, digest)
    if digest != recorded:
        raise MediaError(
            f"{path}: SHA-256 is {digest}, at first use it was {recorded} ({lock}); "
            f"put the first file back, or remove its line from {lock.name} if the change is wanted"
        )
    return digest


def recorded_digest(lock: Path, key: str) -> str | None:
    """SHA-256 that a lock file has for a file; MediaError where the lock file cannot be understood."""
    return _read_lock(lock).get(key)


def _read_lock(lock: Path) -> dict[str, str]:
    try:
        files = json.loads(lock.read_text(encoding="utf-8"))["files"]
        return {str(key): str(digest) for key, digest in files.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise MediaError(f"{lock}: is not a lock file ({error}); delete it to record the digests anew") from None


def _record(lock: Path, key: str, digest: str) -> str:
    """Record a digest unless another process was first; the one that stands there then."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with exclusive(lock.parent):
        files = _read_lock(lock)
        if key not in files:
            files[key] = digest
            text = json.dumps(json.loads(canonical_json({"files": files, "version": 1})), indent=1)
            write_atomically(lock, f"{text}\n".encode())
        return files[key]


def _lock_file(folder: Path, manifest: Manifest) -> Path:
    """Lock file beside the data, or in the cache where that folder cannot be written (a shared read-only mirror)."""
    beside = folder / LOCK_FILE
    if beside.exists() or os.access(folder, os.W_OK):
        return beside
    return cache_folder() / "data" / manifest.name / LOCK_FILE


def _find_or_generate(manifest: Manifest, entry: Entry, root: Path | None) -> Path:
    """A generated file, under a name of its own beside one of an earlier vcbench that made another clip."""
    try:
        found = find(manifest, entry, root=root)
    except MediaError:
        if entry.sha256 is None:
            raise
        file = PurePosixPath(entry.file)
        entry = entry.model_copy(update={"file": str(file.with_name(f"{file.stem}-{entry.sha256[:8]}{file.suffix}"))})
        found = find(manifest, entry, root=root)
    return found or _generate(manifest, entry, root)


def _generate(manifest: Manifest, entry: Entry, root: Path | None) -> Path:
    from bench.datasets.quickstart import write_y4m

    folder = _first_writable([root / manifest.name] if root is not None else list(folders(manifest)))
    path = resolve_inside(folder, entry.file)
    path.parent.mkdir(parents=True, exist_ok=True)
    with exclusive(folder):
        if not path.is_file():
            made = write_y4m(entry.name, path.with_name(f".{path.name}.unverified"))
            try:
                verify_or_lock(made, key=entry.file, expected=entry.sha256, lock=_lock_file(folder, manifest))
                made.replace(path)
            finally:
                made.unlink(missing_ok=True)
    return path


def _first_writable(candidates: list[Path]) -> Path:
    problems = []
    for folder in candidates:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            problems.append(f"{folder}: {error.strerror}")
            continue
        if os.access(folder, os.W_OK):
            return folder
        problems.append(f"{folder}: cannot be written")
    raise UnavailableError(f"no folder to generate into; set {ENVIRONMENT} to one ({'; '.join(problems)})")
