"""PNG pictures, read by OpenCV once what a file claims is known to fit into it.

OpenCV allocates what a chunk's length and the header's size say before it looks for the bytes: gigabytes, and many
seconds, for a file of fifty bytes.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.core.late import Late
from bench.errors import MediaError
from bench.video.formats import MAX_PIXELS

if TYPE_CHECKING:
    import numpy as np
else:
    np = Late("numpy")

_SIGNATURE = b"\x89PNG\r\n\x1a\n"

_DEFLATE_BEST = 1032
"""Bytes that a byte of a PNG's compressed data becomes at most."""


def read(path: Path) -> Any:
    """Samples of a picture: uint8 or uint16, H x W (grey) or H x W x 3 (RGB).

    Raises MediaError, naming the file, for one that is no PNG picture, is damaged, claims more than it holds, or has an
    alpha channel.
    """
    import cv2

    _check(path)
    try:
        # by its bytes: OpenCV crashes on a name that is no UTF-8
        picture = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:  # a header that claims more than OpenCV will allocate
        picture = None
    if picture is None:
        raise MediaError(f"{path}: cannot be read as a PNG picture")
    if picture.ndim == 3 and picture.shape[2] == 4:
        raise MediaError(f"{path}: has an alpha channel; flatten it first")
    return picture if picture.ndim == 2 else picture[..., ::-1]


def _check(path: Path) -> None:
    """Compare the header's size and the chunks' lengths with the file's."""
    size = path.stat().st_size
    with path.open("rb") as stream:
        if stream.read(len(_SIGNATURE)) != _SIGNATURE:
            raise MediaError(f"{path}: cannot be read as a PNG picture")
        kind = b""
        while kind != b"IEND":
            length, kind = int.from_bytes(stream.read(4), "big"), stream.read(4)
            start = stream.tell()
            if len(kind) < 4 or start + length + 4 > size:
                raise MediaError(
                    f"{path}: byte {start}: a chunk of {length} bytes is not whole; the file is cut or damaged"
                )
            if kind == b"IHDR":
                width, height = (int.from_bytes(stream.read(4), "big") for _ in range(2))
                # a pixel takes a bit at least
                if width * height > min(MAX_PIXELS, 8 * _DEFLATE_BEST * size):
                    raise MediaError(f"{path}: claims {width}x{height} pixels, which its {size} bytes cannot hold")
            stream.seek(start + length + 4)
