"""PNG pictures: the samples that were written; of a file that claims more than it holds, an error at once."""

from __future__ import annotations

import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from bench.errors import MediaError
from bench.video import png


def chunk(kind: bytes, content: bytes, length: int | None = None) -> bytes:
    claimed = len(content) if length is None else length
    return claimed.to_bytes(4, "big") + kind + content + zlib.crc32(kind + content).to_bytes(4, "big")


def picture(width: int = 4, height: int = 2, *between: bytes) -> bytes:
    """An RGB picture of 8 bit, its header and data as they should be for 4 x 2 pixels."""
    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + b"\x08\x02\0\0\0"
    data = zlib.compress(b"".join(b"\0" + bytes(range(12 * row, 12 * row + 12)) for row in range(2)))
    chunks = [chunk(b"IHDR", header), *between, chunk(b"IDAT", data), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def read(data: bytes, folder: Path) -> np.ndarray:
    path = folder / "0.png"
    path.write_bytes(data)
    samples: np.ndarray = png.read(path)
    return samples


def test_samples_are_those_of_the_file(tmp_path: Path) -> None:
    assert np.array_equal(read(picture(), tmp_path), np.arange(24).reshape(2, 4, 3))


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 3)])
def test_samples_are_those_that_another_library_wrote(shape: tuple[int, ...], tmp_path: Path) -> None:
    samples = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    Image.fromarray(samples).save(tmp_path / "a.png")
    assert np.array_equal(png.read(tmp_path / "a.png"), samples)


def test_a_picture_of_one_colour_is_no_claim(tmp_path: Path) -> None:
    """Nothing is compressed further than that, and it is read."""
    assert cv2.imwrite(str(tmp_path / "0.png"), np.zeros((4000, 4000), np.uint8), [cv2.IMWRITE_PNG_COMPRESSION, 9])
    assert (tmp_path / "0.png").stat().st_size < 40_000
    assert not png.read(tmp_path / "0.png").any()


CLAIMS = {
    "a long chunk": (picture(4, 2, chunk(b"tEXt", b"", 1 << 30)), r"byte 41: a chunk of 1073741824 bytes is not whole"),
    "cut in the last chunk": (picture()[:-3], r"byte \d+: a chunk of 0 bytes is not whole"),
    "cut in a type": (picture()[:-12] + b"\x40\0\0\0abc", r"byte \d+: a chunk of 1073741824 bytes is not whole"),
    "cut in the header": (picture()[:20], "byte 16: a chunk of 13 bytes is not whole"),
    "many pixels": (picture(16000, 16000), r"claims 16000x16000 pixels, which its \d+ bytes cannot hold"),
    "endless sides": (picture((1 << 32) - 1, (1 << 32) - 1), r"claims 4294967295x4294967295 pixels"),
    "nothing": (b"", "cannot be read"),
    "another format": (b"BM" + bytes(60), "cannot be read"),
}


@pytest.mark.parametrize("name", CLAIMS)
def test_a_file_that_claims_more_than_it_holds_is_refused(name: str, tmp_path: Path) -> None:
    data, message = CLAIMS[name]
    with pytest.raises(MediaError, match=message) as refused:
        read(data, tmp_path)
    assert str(tmp_path / "0.png") in str(refused.value)
