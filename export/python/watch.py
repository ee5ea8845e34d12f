"""Watch a camera's folder and print a decision for every new image.

    python watch.py student.onnx camera/

Everything it needs is in this file, the model and three packages (requirements.txt): copy it,
change it. The model's metadata name the classes, the calibrated threshold and the input size.
"""

import argparse
import contextlib
import io
import json
import logging
import os
import struct
import sys
import time
import warnings
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from PIL import Image, ImageOps, TiffImagePlugin
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile

CONTRACT = "1"
RESIZE_RULE = "pillow-bilinear-stretch/1"
# Suffixes of the formats that Pillow decodes: without those it hands to other programs.
EXTENSIONS = frozenset(
    suffix
    for suffix, image_format in Image.registered_extensions().items()
    if image_format in {*Image.OPEN, "MPO"} - {"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"}
)
MAX_PIXELS = 178_000_000
# Chunks of a PNG beside the critical ones that decide about its picture.
PICTURE_CHUNKS = frozenset({b"tRNS", b"eXIf", b"acTL", b"fcTL", b"fdAT"})
# Least bytes of a transparent colour of a PNG, by its colour type; a palette has any number.
TRANSPARENCY_BYTES = {0: 2, 2: 6}
# Bits of a grey sample of a PNG, by Pillow's name of the layout.
GREY_BITS = {"L": 8, "L;2": 2, "L;4": 4}
# The limit above says what is too large; Pillow need not warn of half of it.
warnings.simplefilter("ignore", Image.DecompressionBombWarning)
# Tags of a TIFF and two of their values.
BITS_PER_SAMPLE, COLOUR_MODEL, SAMPLE_FORMAT = 258, 262, 339
WHITE_IS_ZERO, SIGNED = 0, 2
# A threshold that rejects nothing, minus infinity, is stored as this.
LOWEST = float(np.finfo(np.float32).min)


class WatchError(Exception):
    """One line for the user."""


@dataclass(frozen=True)
class Model:
    """An exported student, ready to run.

    Attributes:
        session: inputs `image` uint8 [N, size, size, 3] RGB and, optional, `threshold` float32;
            outputs `label` int64 [N] (-1 = unknown), `score` float32 [N], `probabilities`
            float32 [N, classes].
        classes: names of the known classes.
        threshold: an image is known when its score reaches this.
        size: side of the input.
    """

    session: onnxruntime.InferenceSession
    classes: list[str]
    threshold: float
    size: int


def load(path: Path, threshold: float | None, threads: int) -> Model:
    """Check a model file and load it. Raises WatchError for a file that cannot be used."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise WatchError(f"{path}: {error.strerror}") from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # Failures are raised; onnxruntime would also print them.
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise WatchError(f"{path}: cannot be loaded: {' '.join(str(error).split())}") from None
    metadata = session.get_modelmeta().custom_metadata_map
    try:
        contract = metadata["edgedistill.contract"]
        if contract != CONTRACT:
            raise WatchError(
                f"{path}: made for contract {contract!r}, this program is for {CONTRACT}"
            )
        if not intact(data, metadata["edgedistill.crc32"]):
            raise WatchError(f"{path}: damaged or changed since it was exported; copy it again")
        classes: list[str] = json.loads(metadata["edgedistill.classes"])
        entry: dict[str, Any] = json.loads(metadata["edgedistill.input"])
        if entry["resize"] != RESIZE_RULE:
            raise WatchError(f"{path}: another resize rule than {RESIZE_RULE}: {entry['resize']}")
        calibrated = float(json.loads(metadata["edgedistill.threshold"])["value"])
        wanted = calibrated if threshold is None else threshold
        # The model compares in float32, which has no place for more.
        limit = float(np.float32(min(max(wanted, LOWEST), -LOWEST)))
        return Model(session, classes, limit, int(entry["size"]))
    except KeyError as error:
        raise WatchError(
            f"{path}: not a model that EdgeDistill exported, it lacks {error}"
        ) from None
    except (TypeError, ValueError) as error:
        raise WatchError(f"{path}: its metadata are broken: {error}") from None


def extend_pillow() -> None:
    """Let Pillow open all grey TIFFs of 12 and 16 bits, and keep it and libtiff off stderr.

    Pillow has the decoders for those that are white at zero or in the other byte order, but no
    line in its table of layouts.
    """
    for order, deep in ((TiffImagePlugin.II, "I;16"), (TiffImagePlugin.MM, "I;16B")):
        for colour_model in (0, 1):
            for bits, layout in ((12, ("I;16", "I;12")), (16, (deep, deep))):
                key = (order, colour_model, (1,), 1, (bits,), ())
                TiffImagePlugin.OPEN_INFO.setdefault(key, layout)
    # Its TIFF reader logs errors besides raising them; without any handler, Python prints those.
    logging.getLogger("PIL").addHandler(logging.NullHandler())
    # Without effect where Python lacks ctypes, or Pillow hides the functions of its libtiff.
    with contextlib.suppress(ImportError, OSError, AttributeError):
        import ctypes

        library = ctypes.CDLL(Image.core.__file__)
        for name in ("TIFFSetErrorHandler", "TIFFSetWarningHandler"):
            function = getattr(library, name)
            function.restype, function.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
            function(None)


def intact(data: bytes, checksum: str) -> bool:
    """Whether a file is as it was exported: CRC-32 with the checksum's own digits as zeros."""
    at = data.rfind(checksum.encode())
    blank = data[:at] + b"00000000" + data[at + len(checksum) :]
    return f"{zlib.crc32(blank):08x}" == checksum


def pixels(path: Path, size: int) -> NDArray[np.uint8]:
    """An image file as the student was trained to see it: uint8 RGB [size, size, 3].

    Turned upright, laid on white, stretched to a square. Raises WatchError for what is no image.
    """
    try:
        rgb = decoded(path)
        if size * rgb.height > MAX_PIXELS:
            raise WatchError(f"{rgb.width} x {rgb.height} is too tall to be resized to {size} px")
        # To the new width first, then to the new height, whatever Pillow would do first.
        for shape in ((size, rgb.height), (size, size)):
            rgb = rgb.resize(shape, Image.Resampling.BILINEAR)
        return np.asarray(rgb)
    except WatchError:
        raise
    except Exception as error:
        # Pillow raises many types on broken files; all say that there is no picture in it.
        raise WatchError(f"not a readable image ({' '.join(str(error).split())})") from None


def decoded(path: Path) -> Image.Image:
    """An image file as RGB of its own size. Raises WatchError for one that is too large."""
    try:
        return read(path)
    except (WatchError, Image.DecompressionBombError, MemoryError):
        raise
    except Exception:
        # Text or a colour profile that Pillow refuses is no part of the picture.
        bare = without_extras(path)
        if bare is None:
            raise
        return read(bare)


def read(file: Path | IO[bytes]) -> Image.Image:
    """See `decoded`."""
    with Image.open(file) as image:
        if image.width * image.height > MAX_PIXELS:
            raise WatchError(f"{image.width} x {image.height} pixels are too many")
        if image.format in ("EPS", "WMF"):
            # Pillow would hand these to another program to draw.
            raise WatchError(f"a drawing ({image.format}), not pixels")
        tags = {}
        if isinstance(image, TiffImageFile):
            wanted = (BITS_PER_SAMPLE, COLOUR_MODEL, SAMPLE_FORMAT)
            tags = {tag: image.tag_v2[tag] for tag in wanted if tag in image.tag_v2}
        return on_white(upright(image), tags)


def without_extras(path: Path) -> io.BytesIO | None:
    """A PNG without its texts, colour profiles and the like; None for another file."""
    least = 0
    with open(path, "rb") as file:
        signature = file.read(8)
        if signature != b"\x89PNG\r\n\x1a\n":
            return None
        bare = io.BytesIO()
        bare.write(signature)
        while len(head := file.read(8)) == 8:
            length, kind = struct.unpack(">I4s", head)
            # The case of its first letter tells whether a chunk is needed to decode the picture.
            critical = kind[:1].isupper()
            if not critical and kind not in PICTURE_CHUNKS:
                file.seek(length + 4, os.SEEK_CUR)
                continue
            body, checksum = file.read(length), file.read(4)
            if kind == b"IHDR":
                least = TRANSPARENCY_BYTES.get(body[9] if len(body) > 9 else -1, 0)
            sound = checksum == struct.pack(">I", zlib.crc32(kind + body))
            if critical or (sound and not (kind == b"tRNS" and length < least)):
                bare.write(head + body + checksum)
    bare.seek(0)
    return bare


def load_pixels(image: Image.Image) -> None:
    """Load the pixels; the transparent colour of a PNG is in their units afterwards.

    Pillow scales grey of 2 and 4 bits up to 8 and drops the low bytes of 16-bit RGB, but compares
    with the number as the file has it.
    """
    if not isinstance(image, PngImageFile) or not image.tile or image.fp is None:
        image.load()
        return
    layout = image.tile[0][3]
    key = image.info.get("transparency")
    if layout in GREY_BITS and isinstance(key, int):
        bits = GREY_BITS[layout]
        image.info["transparency"] = key % 2**bits * (255 // (2**bits - 1))
        image.load()
    elif layout == "RGB" and isinstance(key, tuple):
        image.info["transparency"] = tuple(value % 256 for value in key)
        image.load()
    elif layout == "RGB;16B" and isinstance(key, tuple):
        low = low_bytes(image.fp)
        del image.info["transparency"]
        image.load()
        for top, bottom in strips(image):
            box = (0, top, image.width, bottom)
            values = np.asarray(image.crop(box)).astype(np.uint16) << 8
            transparent = (values | np.asarray(low.crop(box)) == np.array(key)).all(axis=2)
            image.paste("white", box, Image.fromarray(transparent.astype(np.uint8) * 255))
    else:
        image.load()


def low_bytes(file: IO[bytes]) -> Image.Image:
    """The low byte of every sample of a 16-bit RGB PNG; the file's position stays."""
    position = file.tell()
    file.seek(0)
    low = PngImageFile(file)
    # The file's samples begin with their high byte; read as little-endian they begin with the low.
    low.tile = [(*tile[:3], "RGB;16L") for tile in low.tile]  # type: ignore[misc]
    low.load()
    file.seek(position)
    return low


def upright(image: Image.Image) -> Image.Image:
    """Turned as its EXIF tag says."""
    load_pixels(image)
    try:
        return ImageOps.exif_transpose(image)
    except Exception:
        # A broken EXIF block says nothing about the picture, which is intact.
        return image


def on_white(image: Image.Image, tags: dict[int, Any]) -> Image.Image:
    """RGB, transparency on white, greyscale of 12 and 16 bits scaled to 8 bits.

    `tags` are those of a TIFF, none for another file.
    """
    if image.mode.startswith("I"):
        values = np.asarray(image)
        grey = np.empty(values.shape, np.uint8)
        key = image.info.get("transparency")
        highest = 4095 if tags.get(BITS_PER_SAMPLE) == (12,) else 65535
        for top, bottom in strips(image):
            strip = values[top:bottom].astype(np.int64)
            if strip.min() < 0 or strip.max() > highest:
                raise WatchError("negative and 32-bit pixels have no agreed range")
            levels = highest - strip if tags.get(COLOUR_MODEL) == WHITE_IS_ZERO else strip
            grey[top:bottom] = (levels * 255 + highest // 2) // highest
            if isinstance(key, int):
                grey[top:bottom][strip == key] = 255
        return Image.fromarray(grey).convert("RGB")
    if image.mode == "F":
        raise WatchError("floating-point pixels have no agreed range")
    signed = SIGNED in tags.get(SAMPLE_FORMAT, ())
    if signed and image.mode == "L" and np.asarray(image).max() > 127:
        raise WatchError("negative pixels have no agreed range")
    if {"A", "a"} & set(image.getbands()) or "transparency" in image.info:
        rgb = Image.new("RGB", image.size)
        for top, bottom in strips(image):
            strip = image.crop((0, top, image.width, bottom))
            rgba = (strip.convert("LA") if strip.mode == "La" else strip).convert("RGBA")
            white = Image.new("RGBA", rgba.size, "white")
            rgb.paste(Image.alpha_composite(white, rgba).convert("RGB"), (0, top))
        return rgb
    return image.convert("RGB")


def strips(image: Image.Image) -> Iterator[tuple[int, int]]:
    """First row and row after the last of parts of a megapixel, so that memory stays bounded."""
    rows = max(1, 2**20 // image.width)
    for top in range(0, image.height, rows):
        yield top, min(top + rows, image.height)


def classify(model: Model, path: Path) -> dict[str, Any]:
    """The decision on one image file, as it is printed with --json."""
    start = time.perf_counter()
    image = pixels(path, model.size)
    feed = {"image": image[np.newaxis], "threshold": np.asarray(model.threshold, np.float32)}
    outputs = ("label", "score", "probabilities")
    label, score, probabilities = (rows[0] for rows in model.session.run(outputs, feed))
    if not np.isfinite(score):
        raise WatchError("the model answered NaN; export it again")
    return {
        "image": str(path),
        "label": None if label < 0 else model.classes[label],
        "known": bool(label >= 0),
        "score": float(score),
        "threshold": model.threshold,
        "nearest": model.classes[int(probabilities.argmax())],
        "probabilities": dict(zip(model.classes, probabilities.tolist(), strict=True)),
        "milliseconds": round(1000 * (time.perf_counter() - start), 1),
    }


def listing(folder: Path) -> dict[Path, tuple[int, int]]:
    """Image files in a folder, by name, with size and time of change."""
    sizes_and_times = {}
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                name = entry.name
                if name.startswith(".") or Path(name).suffix.lower() not in EXTENSIONS:
                    continue
                try:
                    stat = entry.stat()
                except FileNotFoundError:
                    continue
                if entry.is_file():
                    sizes_and_times[folder / name] = (stat.st_size, stat.st_mtime_ns)
    except OSError as error:
        raise WatchError(f"{folder}: {error.strerror}") from None
    return dict(sorted(sizes_and_times.items()))


def arrivals(folder: Path, every: float) -> Iterator[Path]:
    """New and changed images, for ever. A file is ready once it stayed the same for one look."""
    answered: dict[Path, tuple[int, int]] = {}
    before: dict[Path, tuple[int, int]] = {}
    while True:
        now = listing(folder)
        for path, state in now.items():
            if before.get(path) == state and answered.get(path) != state:
                answered[path] = state
                yield path
        # Forget deleted files: a camera that deletes old images must not fill the memory.
        answered = {path: state for path, state in answered.items() if path in now}
        before = now
        time.sleep(every)


def row(answer: dict[str, Any]) -> str:
    """The decision as a line for people."""
    sign = ">=" if answer["known"] else "<"
    decision = answer["label"] if answer["known"] else f"unknown (nearest {answer['nearest']})"
    limit = "-inf" if answer["threshold"] <= LOWEST else f"{answer['threshold']:.4f}"
    line = (
        f"{answer['image']}  {decision}  score {answer['score']:.4f} {sign} {limit}  "
        f"{answer['milliseconds']:.1f} ms"
    )
    # File and class names may hold anything, also what moves a terminal's cursor.
    return "".join(c if c.isprintable() else "?" for c in line)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path, help="student.onnx of `edgedistill export --onnx`")
    parser.add_argument("folder", type=Path, help="where the camera puts its images")
    parser.add_argument("--threshold", type=float, help="instead of the calibrated one")
    parser.add_argument("--once", action="store_true", help="answer what is there, and end")
    parser.add_argument("--json", action="store_true", help="one JSON object per line")
    parser.add_argument("--every", type=float, default=0.5, help="seconds between two looks")
    parser.add_argument("--threads", type=int, default=0, help="0: one per physical core")
    options = parser.parse_args()
    # Written so that NaN, which is no number to compare with, is refused as well.
    if options.threshold is not None and not abs(options.threshold) >= 0:
        parser.error("--threshold: give a number")
    if not options.every >= 0 or not 0 <= options.threads <= 1024:
        parser.error("--every: give 0 or more; --threads: give 0 to 1024")
    failed = False
    extend_pillow()
    try:
        model = load(options.model, options.threshold, options.threads)
        waiting = listing(options.folder)
        for path in waiting if options.once else arrivals(options.folder, options.every):
            try:
                answer = classify(model, path)
            except WatchError as problem:
                failed = True
                print(f"{path}: {problem}".encode(errors="replace").decode(), file=sys.stderr)
                continue
            print(json.dumps(answer) if options.json else row(answer), flush=True)
    except WatchError as problem:
        print(f"watch.py: {problem}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # As in `| head`: the reader has enough; Python must not try again when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
