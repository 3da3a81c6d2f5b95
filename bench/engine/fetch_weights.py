"""Downloads of weights: by name, or for the metrics and codecs that need them; verified before they are seen."""

from __future__ import annotations

import shutil
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from bench.cards import Catalog, parted
from bench.core.files import file_digest, hash_file
from bench.core.folders import put
from bench.datasets.fetch import Progress, Transfer, retrieve, staging_folder
from bench.errors import FetchError, UnavailableError, UnknownNameError, UsageError, VcbenchError
from bench.weights import files as weights


@dataclass(frozen=True)
class FetchedWeights:
    """One file of weights on this machine, verified."""

    name: str
    path: Path
    sha256: str
    status: Literal["present", "downloaded", "copied"]


def fetch_weights(
    names: Sequence[str],
    *,
    folder: Path | None = None,
    progress: Progress | None = None,
    attempts: int = 4,
    pause: Callable[[float], object] = time.sleep,
    catalog: Catalog | None = None,
    source: Path | None = None,
) -> list[FetchedWeights]:
    """Bring weights onto this machine, by their names or by those of the metrics or codecs that need them.

    ``folder`` is where they go and the only place they are looked for; by default they go to the cache and are taken
    from wherever they are. ``progress``, ``attempts`` and ``pause`` are those of ``fetch_dataset``. Raises
    UnavailableError with the instructions where a file is offered by nobody, before anything is downloaded;
    FetchError, with what to do by hand, where a download fails or is not what it should be, once all the others were
    tried. The metrics of pyiqa bring
    their own, into that package's caches. ``catalog`` finds the codecs; by default they are those of the usual folders.
    With ``source`` nothing is downloaded: files are copied from there once their digests are right. It is the file, a
    folder of files, or a checkout of vcbench's repository.
    """
    known = catalog or Catalog()
    by_codec = {
        name: files
        for name in names
        if name not in weights.manifest()
        and not weights.needed_by(name)
        and (files := _of_codec(name, known)) is not None
    }
    names = [name for name in names if name not in by_codec]
    by_pyiqa = {name: model for name in names if (model := _pyiqa_model(name)) is not None}
    if by_pyiqa and (folder is not None or source is not None):
        raise UsageError(
            f"{', '.join(by_pyiqa)}: pyiqa keeps its files in caches of its own; leave --to and --from out"
        )
    entries = select([name for name in names if name not in by_pyiqa])
    where = weights.folders() if folder is None else [folder]
    there = _present(entries, where, offered=source is not None)
    target = folder or weights.own_folder()
    transfer = Transfer(progress, attempts, pause)
    jobs: dict[str, Callable[[], list[FetchedWeights]]] = {
        entry.name: partial(_taken, entry, there.get(entry.name), target, transfer, source) for entry in entries
    }
    for file in dict.fromkeys(file for files in by_codec.values() for file in files):
        jobs[file.file] = partial(_published, file, where, target, transfer, source)
    jobs |= {name: partial(_from_pyiqa, name, model) for name, model in by_pyiqa.items()}
    return _all(jobs)


def _taken(
    entry: weights.Entry, there: Path | None, target: Path, transfer: Transfer, source: Path | None
) -> list[FetchedWeights]:
    if there is not None:
        return [FetchedWeights(entry.name, there, file_digest(there), "present")]
    if source is not None:
        wanted = {copy.file: copy.sha256 for copy in entry.copies}
        inside = [*wanted, *([entry.repository] if entry.repository else [])]
        found = _found(source, inside, lambda digest: digest in wanted.values(), f"SHA-256 {entry.sha256}")
        name = next(file for file, digest in wanted.items() if digest == found[1])
        return [_copied(entry.name, *found, target / name)]
    return [FetchedWeights(entry.name, _download(entry, target, transfer), entry.sha256, "downloaded")]


def _found(source: Path, inside: Iterable[str], right: Callable[[str], bool], wanted: str) -> tuple[Path, str]:
    """The file at a path, or at one of some places below it, and its digest, which is right; FetchError if none is."""
    looked = [source] if source.is_file() else [source / place for place in dict.fromkeys(inside)]
    problems = []
    for path in looked:
        if not path.is_file():
            problems.append(f"{path}: no such file")
        elif right(digest := hash_file(path)):
            return path, digest
        else:
            problems.append(f"{path}: SHA-256 is {digest}")
    raise FetchError(f"{'; '.join(problems)}; a file with {wanted} is needed, give its path or its folder as --from")


def _copied(name: str, found: Path, digest: str, final: Path) -> FetchedWeights:
    with staging_folder(final.parent, "VCBENCH_CACHE") as staging:
        ready = Path(shutil.copyfile(found, staging / final.name))
        if hash_file(ready) != digest:
            raise FetchError(f"{found}: changed while it was copied; run the command again")
        put(ready, final)
    return FetchedWeights(name, final, digest, "copied")


def _published(
    file: weights.Published, where: list[Path], target: Path, transfer: Transfer, source: Path | None
) -> list[FetchedWeights]:
    if source is not None:
        with suppress(UnavailableError):
            there = file.locate(where)
            return [FetchedWeights(file.file, there, file_digest(there), "present")]
        start = file.digest_start
        wanted = f"a SHA-256 that begins with {start}"
        found = _found(source, [file.file], lambda digest: digest.startswith(start), wanted)
        return [_copied(file.file, *found, target / file.file)]
    return [_fetch_published(file, where, target, transfer)]


def _all(jobs: Mapping[str, Callable[[], list[FetchedWeights]]]) -> list[FetchedWeights]:
    """What every job brings; where some fail, FetchError once all were tried, naming these and what has arrived."""
    fetched: list[FetchedWeights] = []
    arrived: list[str] = []
    failed: dict[str, FetchError] = {}
    for name, job in jobs.items():
        try:
            fetched += job()
            arrived.append(name)
        except FetchError as error:
            failed[name] = error
    if not failed:
        return fetched
    if len(jobs) == 1:
        raise next(iter(failed.values()))
    told = "\n".join(f"{name}: {error}" for name, error in failed.items())
    here = f"; here are: {', '.join(arrived)}" if arrived else ""
    raise FetchError(f"{len(failed)} of {len(jobs)} failed ({', '.join(failed)}){here}\n{told}")


def _of_codec(name: str, catalog: Catalog) -> list[weights.Published] | None:
    """Files for the rate points of the codec of that name, or the file of that name; None where it is neither."""
    codecs = catalog.files("codecs")
    base, _ = parted(name)
    if base not in codecs and not base.endswith(".toml"):
        if not weights.is_torch_hub_name(name):
            return None
        every = (file for codec in _configured(catalog, codecs) for file in _published_for(catalog, codec).values())
        return next(([file] for file in every if file.file == name), None)
    files = _published_for(catalog, name)
    if not files:
        raise UsageError(f"{name}: needs no weights of those that vcbench fetches")
    return [files[value] for value in catalog.card(name).rates.values]


def _configured(catalog: Catalog, codecs: Iterable[str]) -> Iterator[str]:
    """Names of codecs in all their configurations; a card that cannot be read is nobody's here."""
    for name in codecs:
        with suppress(VcbenchError):
            yield from (name, *(f"{name}@{configuration}" for configuration in catalog.card(name).configurations))


def _published_for(catalog: Catalog, codec: str) -> Mapping[float, weights.Published]:
    from bench.registry import build

    card, folder = catalog.codec(codec)
    return build(card, folder=folder).published_weights()


def _fetch_published(wanted: weights.Published, where: list[Path], target: Path, transfer: Transfer) -> FetchedWeights:
    with suppress(UnavailableError):
        found = wanted.locate(where)
        return FetchedWeights(wanted.file, found, file_digest(found), "present")
    final = target / wanted.file
    try:
        with staging_folder(target, "VCBENCH_CACHE") as staging:
            ready = retrieve(wanted.url, staging, transfer, expected=None, limit=weights.LARGEST_PUBLISHED)
            digest = hash_file(ready)
            if not digest.startswith(wanted.digest_start):
                ready.unlink()
                raise FetchError(
                    f"{wanted.url}: has SHA-256 {digest}; by its name it begins with {wanted.digest_start}"
                )
            put(ready, final)
    except FetchError as error:
        raise FetchError(f"{error}\nBy hand: get {wanted.url} and put it into {_places(target)}") from None
    return FetchedWeights(wanted.file, final, digest, "downloaded")


def _pyiqa_model(name: str) -> str | None:
    """pyiqa's own name of a metric that comes from there, None for any other name."""
    from bench.metrics.iqa import Pyiqa
    from bench.registry import metric_class

    try:
        kind = metric_class(name)
    except VcbenchError:
        return None
    return kind.model if issubclass(kind, Pyiqa) else None


def _from_pyiqa(name: str, model: str) -> list[FetchedWeights]:
    from bench.metrics import iqa

    try:
        return [FetchedWeights(name, Path(file.path), file.sha256, "present") for file in iqa.needed_files(model)]
    except UnavailableError:
        return [FetchedWeights(name, Path(file.path), file.sha256, "downloaded") for file in iqa.download(model)]


def select(names: Sequence[str]) -> list[weights.Entry]:
    """Weights of the names, which are those of weights, metrics or families of metrics; each once.

    Raises UnknownNameError, or UsageError for a metric that needs none.
    """
    known = weights.manifest()
    found: dict[str, weights.Entry] = {}
    for name in names:
        meant = ([known[name]] if name in known else []) + weights.needed_by(name)
        if not meant:
            _refuse(name)
        found |= {entry.name: entry for entry in meant}
    return list(found.values())


def _refuse(name: str) -> None:
    from bench.registry import metric_class

    try:
        metric_class(name)
    except UnknownNameError:
        known = weights.manifest()
        users = {user for entry in known.values() for user in entry.used_by}
        raise UnknownNameError("weights or metric", name, {*known, *users}) from None
    raise UsageError(f"{name}: needs no weights of those that vcbench fetches")


def _present(entries: list[weights.Entry], where: list[Path], *, offered: bool = False) -> dict[str, Path]:
    """Verified files of those that are here; UnavailableError for those that are not and that nobody offers.

    ``offered``: all are, by the user.
    """
    there, by_hand = {}, []
    for entry in entries:
        try:
            there[entry.name] = weights.locate(entry, where)
        except UnavailableError as error:
            if entry.address is None and not offered:
                by_hand.append(str(error))
    if by_hand:
        raise UnavailableError("\n".join(by_hand))
    return there


def _download(entry: weights.Entry, folder: Path, transfer: Transfer) -> Path:
    assert entry.address is not None
    final = folder / entry.file
    try:
        with staging_folder(folder, "VCBENCH_CACHE") as staging:
            # Another process may have been first while this one waited for the folder.
            if (there := _present([entry], [folder])) != {}:
                return there[entry.name]
            if entry.parts or entry.packed:
                ready = _assemble(entry, staging, transfer)
            else:
                ready = retrieve(entry.address, staging, transfer, expected=entry.sha256, limit=entry.bytes)
            final.parent.mkdir(parents=True, exist_ok=True)
            put(ready, final)
    except FetchError as error:
        raise FetchError(f"{error}\nBy hand: {_by_hand(entry, folder)}") from None
    return final


def _by_hand(entry: weights.Entry, folder: Path) -> str:
    where = _places(folder)
    if entry.parts or entry.packed:
        return (
            f"run vcbench fetch weights {entry.name} --to . on a machine with a network; put {entry.file} into {where}"
        )
    return f"get {entry.address} (SHA-256 {entry.sha256}) and put it as {entry.file} into {where}"


def _places(folder: Path) -> str:
    return f"{folder}, or into a folder named in {weights.ENVIRONMENT}"


def _assemble(entry: weights.Entry, staging: Path, transfer: Transfer) -> Path:
    """The npz archive of what an entry's url offers, the same bytes wherever and whenever it is made."""
    ready = staging / f"{entry.name}.npz"
    arrays, files = (_unpacked if entry.packed else _parts)(entry, staging, transfer)
    with zipfile.ZipFile(ready, "w", zipfile.ZIP_STORED) as archive:
        for key, array in arrays.items():
            archive.writestr(_constant_header(f"{key}.npy"), array)
    digest = hash_file(ready)
    if digest != entry.sha256:
        for file in (ready, *files):
            file.unlink()
        raise FetchError(f"{entry.url}: {entry.file} made of it has SHA-256 {digest}, expected {entry.sha256}")
    return ready


def _parts(entry: weights.Entry, staging: Path, transfer: Transfer) -> tuple[dict[str, bytes], list[Path]]:
    """Arrays (npy) by name, each a file below the url, and those files."""
    files = {
        key: retrieve(f"{entry.url}/{part}", staging, transfer, expected=None, limit=entry.bytes)
        for key, part in entry.parts.items()
    }
    return {key: file.read_bytes() for key, file in files.items()}, list(files.values())


def _unpacked(entry: weights.Entry, staging: Path, transfer: Transfer) -> tuple[dict[str, bytes], list[Path]]:
    """Arrays (npy) by name, all from the file at the url, and that file."""
    from bench.weights import ncnn
    from bench.weights.squeezenet_file import npy, unpack

    assert entry.packed is not None and entry.url is not None
    file = retrieve(entry.url, staging, transfer, expected=entry.packed.sha256, limit=entry.packed.bytes)
    try:
        arrays = unpack(file) if entry.packed.member is None else ncnn.unpack(file, entry.packed.member)
    except ValueError as error:
        file.unlink()
        raise FetchError(
            f"{entry.url}: does not have the layout {entry.packed.layout} ({error}); correct the entry"
        ) from None
    return {key: npy(array) for key, array in arrays.items()}, [file]


def _constant_header(name: str) -> zipfile.ZipInfo:
    """A member's header without the time and the system it was made on."""
    info = zipfile.ZipInfo(name)
    info.create_system = 3
    info.external_attr = 0o600 << 16
    return info
