"""The one place where commands print.

Text from files is made harmless: what would move the cursor, colour or hide text, or reverse its direction, is shown as
``\\x1b`` or ``\\u202e``, and the further lines of a message are indented, so that none passes for a message of its own.
Standard output that cannot be written is an error; remarks on standard error are lost without one, because no run of
hours should end for want of a terminal.
"""

from __future__ import annotations

import errno
import os
import re
import sys
from contextlib import suppress
from typing import TextIO

from bench.errors import UsageError

# controls but tab and line feed; marks of direction; separators of lines; what has no form in UTF-8, or no width
_HARMFUL = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)
_REMEDIES = {
    errno.ENOSPC: "free some room",
    errno.EDQUOT: "free some room",
    errno.EFBIG: "raise the limit of file sizes (ulimit -f)",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
    errno.ENFILE: "close other programs",
    errno.EAGAIN: "raise the limit of processes (ulimit -u), or give fewer --jobs",
    errno.ENOMEM: "free some memory, or give fewer --jobs",
    errno.EROFS: "name a folder that can be written",
    errno.EACCES: "name one that you may use",
    errno.EPERM: "name one that you may use",
    errno.ENAMETOOLONG: "give a shorter name",
    errno.ELOOP: "name one whose links lead somewhere",
    errno.EIO: "look at the disk, or at where the output goes",
    errno.ESTALE: "mount the network file system again",
}


def escaped(text: object) -> str:
    """The text with what a terminal would act on shown as ``\\x1b``, ``\\u202e`` and the like."""
    return _HARMFUL.sub(_shown, str(text).replace("\r\n", "\n"))


def _shown(match: re.Match[str]) -> str:
    number = ord(match.group())
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def escaped_line(text: object) -> str:
    """As `escaped`, in one line: for the cell of a table."""
    return escaped(" ".join(str(text).split()))


def escaped_json(text: str) -> str:
    """JSON of the same value without what a terminal would act on."""
    return _HARMFUL.sub(lambda match: _utf16(match.group()), text)


def _utf16(sign: str) -> str:
    units = sign.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at] << 8 | units[at + 1]:04x}" for at in range(0, len(units), 2))


def say(text: object = "") -> None:
    """Print a message on standard output. Raises UsageError where that cannot be written, BrokenPipeError where its
    reader has gone; nothing is printed where it was closed from the start."""
    _say(_message(text))


def say_json(text: str) -> None:
    """Print JSON on standard output. Raises as `say`."""
    _say(f"{escaped_json(text)}\n")


def tell(text: object = "") -> None:
    """Print a remark on standard error, if that can be."""
    _tell(_message(text))


def tell_again(text: object) -> None:
    """Print a remark in place of the last one, on a terminal."""
    _tell(f"\r{escaped_line(text)}")


def is_terminal(stream: TextIO | None) -> bool:
    """Whether people read an output at once; one that was closed from the start is none."""
    return stream is not None and stream.isatty()


def remedy(error: OSError) -> str | None:
    """What to do about an error that lies with the machine or its limits, not with vcbench; None for another."""
    return None if error.errno is None else _REMEDIES.get(error.errno)


def open_standard_files() -> None:
    """Let files that are opened later not take the numbers of standard ones that were closed from the start."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


def drop(stream: TextIO | None) -> None:
    """Let what is still buffered go nowhere: the interpreter would complain about it at its end."""
    if stream is not None:
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _message(text: object) -> str:
    return escaped(text).replace("\n", "\n  ") + "\n"


def _say(text: str) -> None:
    try:
        _write(sys.stdout, text)
    except BrokenPipeError:
        raise
    except OSError as error:
        drop(sys.stdout)
        raise UsageError(
            f"standard output cannot be written: {error.strerror}; {remedy(error) or 'send it elsewhere'}"
        ) from None


def _tell(text: str) -> None:
    try:
        _write(sys.stderr, text)
    except (OSError, ValueError):
        drop(sys.stderr)


def _write(stream: TextIO | None, text: str) -> None:
    if stream is None:
        return
    try:
        stream.write(text)
    except UnicodeEncodeError:
        encoding = stream.encoding or "ascii"
        stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
    stream.flush()
