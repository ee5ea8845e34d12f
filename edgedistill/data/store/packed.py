"""A file of losslessly compressed images of one size.

WebP lossless at its fastest setting; `benchmarks/speed/formats.py` compares it with PNG and with
more effort. The file has no header: the offsets at which images end are stored beside it.
"""

import io
from concurrent.futures import Executor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edgedistill.data.store.byte_file import ByteFile
from edgedistill.errors import DamagedCacheError


def pack(image: NDArray[np.uint8]) -> bytes:
    """Encode uint8 `[S, S, 3]` as lossless WebP."""
    out = io.BytesIO()
    Image.fromarray(image).save(out, "WEBP", lossless=True, quality=0, method=0)
    return out.getvalue()


def unpack(data: bytes, size: int) -> NDArray[np.uint8]:
    """Decode bytes of `pack` to uint8 `[size, size, 3]`. Raises ValueError for any others."""
    try:
        with Image.open(io.BytesIO(data), formats=["WEBP"]) as image:
            pixels = np.asarray(image.convert("RGB"))
    except MemoryError:
        raise
    except Exception as error:
        # Pillow's decoders raise a dozen types on broken bytes.
        raise ValueError(str(error)) from error
    if pixels.shape != (size, size, 3):
        raise ValueError(f"an image of {pixels.shape[1]} x {pixels.shape[0]} pixels")
    return pixels


class PackedFile:
    """A packed file; images are read as they are asked for, and decoded by a pool of threads.

    Attributes:
        path: the file.
    """

    def __init__(self, path: Path, ends: NDArray[np.int64], size: int) -> None:
        """`ends` `[n]`: offset behind each image; an image of no bytes is all zeros."""
        self.path = path
        self._ends = ends
        self._size = size
        self._file = ByteFile(path)

    def read(self, positions: NDArray[np.int64], pool: Executor) -> NDArray[np.uint8]:
        """Images at positions `[K]`: uint8 `[K, S, S, 3]`.

        Raises DamagedCacheError for damaged bytes.
        """
        out = np.zeros((len(positions), self._size, self._size, 3), dtype=np.uint8)

        def decode(at: int) -> None:
            position = int(positions[at])
            start = int(self._ends[position - 1]) if position else 0
            data = self._file.read(start, int(self._ends[position]) - start)
            if data:
                out[at] = unpack(data, self._size)

        try:
            for _ in pool.map(decode, range(len(positions))):
                pass
        except ValueError as error:
            raise DamagedCacheError(
                f"store: {self.path}: was edited or cut short ({error})", self.path.parent.name
            ) from error
        return out
