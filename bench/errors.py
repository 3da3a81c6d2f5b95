"""Everything vcbench raises on purpose.

    VcbenchError
    ├── UsageError               a command line or a configuration that cannot be run (exit 4)
    │   ├── CardError            a codec card is wrong: file, key, remedy
    │   ├── ManifestError        a dataset manifest is wrong: file, key, remedy
    │   ├── UnknownNameError     no codec, dataset, metric or adapter of that name
    │   ├── RuleError            a rule of the gate is wrong: the rule, the column, the remedy
    │   └── StoreError           a result folder that cannot be read or written
    ├── MediaError               a video file that cannot be read as what it claims to be
    │   ├── HeaderError          its header is malformed
    │   ├── NoVideoError         it holds no video that can be read
    │   └── TruncatedError       it ends inside a frame
    ├── UnavailableError         a program, library or weight file is not here: what and how to get it
    ├── FetchError               a download or an archive is not what it should be
    ├── BitstreamError           a stream of our own codecs is damaged, cut or foreign
    ├── TrainingError            a training cannot go on
    ├── CellError                one cell cannot be measured; the run goes on
    │   ├── SkippedError         codec and sequence do not fit; nothing was tried
    │   ├── EncodeError          the encoder failed or wrote nothing usable
    │   ├── DecodeError          the decoder failed
    │   ├── TimeLimitError       a process outran its time limit and was ended
    │   └── MismatchError        the decoded video differs in frame count, size or format
    └── MetricError              one metric has no value on one cell

Every message names the file, codec or cell it is about and says what to do.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches


class VcbenchError(Exception):
    """Base of every error vcbench raises on purpose."""


class UsageError(VcbenchError):
    """The command line or the configuration cannot be run as given (exit code 4)."""


class CardError(UsageError):
    """A codec card is wrong."""


class ManifestError(UsageError):
    """A dataset manifest is wrong."""


class UnknownNameError(UsageError):
    """A name that nothing answers to; the message lists the nearest ones that exist."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        known = sorted(known)
        near = get_close_matches(name, known, n=3, cutoff=0.5)
        hint = f"did you mean {', '.join(near)}?" if near else f"there are: {', '.join(known) or 'none'}"
        super().__init__(f"unknown {kind} {name!r}; {hint}")
        self.kind = kind
        self.name = name


class RuleError(UsageError):
    """A rule of the gate cannot be read; the message marks the column."""

    def __init__(self, rule: str, column: int, message: str) -> None:
        shown = "".join(character if character.isprintable() else "\ufffd" for character in rule)
        super().__init__(f"rule {shown!r}, column {column + 1}: {message}\n  {shown}\n  {' ' * column}^")
        self.rule = rule
        self.column = column


class StoreError(UsageError):
    """A result folder cannot be read or written."""


class MediaError(VcbenchError):
    """A video file cannot be read as what it claims to be."""


class HeaderError(MediaError):
    """A video header is malformed."""


class NoVideoError(MediaError):
    """A file holds no video that can be read."""


class TruncatedError(MediaError):
    """A video file ends inside a frame."""


class UnavailableError(VcbenchError):
    """A program, library or weight file is not on this machine."""


class FetchError(VcbenchError):
    """A download or an archive is not what it should be."""


class BitstreamError(VcbenchError):
    """A bitstream is cut or damaged; the message names the unit."""


class TrainingError(VcbenchError):
    """A training cannot go on; the message names its folder."""


class CellError(VcbenchError):
    """One cell cannot be measured; the other cells go on.

    ``reason`` is the short machine-readable cause stored with the cell ("timeout", "frame_count" ...).
    """

    status = "failed"

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class SkippedError(CellError):
    """Codec and sequence do not fit together; nothing was tried."""

    status = "skipped"


class EncodeError(CellError):
    """The encoder failed or wrote nothing usable."""


class DecodeError(CellError):
    """The decoder failed."""


class TimeLimitError(CellError):
    """A process outran its time limit and was ended with all it had started."""

    def __init__(self, message: str) -> None:
        super().__init__("timeout", message)


class MismatchError(CellError):
    """The decoded video differs from the source in frame count, size or format."""


class MetricError(VcbenchError):
    """One metric has no value on one cell; the message is its reason."""


_NO_MEMORY = re.compile(
    r"out of memory|insufficient memory|can(not|'t) allocate( memory)?\b|bad_?alloc|MemoryError|OutOfMemory",
    re.IGNORECASE,
)
_NO_ROOM = re.compile(r"no space left on device|disk quota exceeded|file too large", re.IGNORECASE)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, the machine's or the GPU's: each library has an exception of its own for it."""
    return isinstance(error, MemoryError) or says_out_of_memory(f"{type(error).__name__}: {error}")


def says_out_of_memory(text: str) -> bool:
    """Whether a program's last words are that it got no memory."""
    return _NO_MEMORY.search(text) is not None


def says_disk_full(text: str) -> bool:
    """Whether a program's last words are that it could not write for want of room."""
    return _NO_ROOM.search(text) is not None
