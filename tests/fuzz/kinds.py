"""The kinds of files that are fuzzed: sound examples, and what reads them."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from crafted_model import crafted_model
from PIL import Image
from png_files import GRAY, color_key_png, png
from tiff_files import BLACK_IS_ZERO, tiff

from edgedistill.data.datasets.load import load_dataset
from edgedistill.recipe.classes import load_classes
from edgedistill.recipe.load import load_data, load_recipe
from edgedistill.runtime.classifier import Classifier
from edgedistill.runtime.contract import seal
from edgedistill.runtime.preprocess import read_rgb
from edgedistill.sweep.plan import make_plan
from edgedistill.sweep.spec import read_sweep

RECIPES = Path(__file__).parents[2] / "recipes"
SIDE = 8


@dataclass(frozen=True)
class Kind:
    """Files that one function of the package reads.

    Attributes:
        name: shown in the counts.
        file: path of the damaged file below the folder of a case; a suffix may follow from it.
        examples: makes the sound files.
        read: what is tried, given the path of the file.
        prepare: writes what lies beside the file, once for all cases.
        rewrite: makes the bytes on the disk of the damaged ones.
        weight: its part of the cases, in proportion to the others'.
        formats: the example is TOML, JSON or CSV, which may be damaged as a document too.
    """

    name: str
    file: str
    examples: Callable[[], Sequence[bytes]]
    read: Callable[[Path], object]
    prepare: Callable[[Path], None] = lambda folder: None
    rewrite: Callable[[bytes], bytes] = bytes
    formats: str = ""
    weight: float = 1.0


def _texts(folder: Path, pattern: str) -> Callable[[], list[bytes]]:
    return cache(lambda: [path.read_bytes() for path in sorted(folder.glob(pattern))])


@cache
def images() -> list[bytes]:
    """A small picture in every format and color mode that Pillow writes."""
    rng = np.random.default_rng(0)
    rgba = Image.fromarray(rng.integers(0, 256, (12, 16, 4), dtype=np.uint8))
    gray = rgba.getchannel(0)
    deep = Image.fromarray(rng.integers(0, 65536, (12, 16)).astype(np.uint16))
    palette = rgba.convert("RGB").quantize(9)
    exif = Image.Exif()
    exif[0x0112] = 6
    plans: list[tuple[Image.Image, str, dict[str, object]]] = [
        (rgba, "PNG", {}),
        (palette, "PNG", {"transparency": 3, "exif": exif}),
        (deep, "PNG", {}),
        (gray.convert("1"), "PNG", {"transparency": 0}),
        (rgba.convert("RGB"), "PNG", {"save_all": True, "append_images": [rgba.convert("RGB")]}),
        (rgba.convert("RGB"), "JPEG", {"exif": exif}),
        (rgba.convert("RGB"), "JPEG", {"progressive": True}),
        (rgba.convert("CMYK"), "JPEG", {}),
        (rgba.convert("RGB"), "WEBP", {"exif": exif}),
        (rgba, "WEBP", {"lossless": True}),
        (palette, "GIF", {"transparency": 2}),
        (palette, "GIF", {"save_all": True, "append_images": [palette.rotate(90)]}),
        (rgba.convert("RGB"), "BMP", {}),
        (rgba.convert("RGB"), "TIFF", {"compression": "tiff_lzw"}),
        (rgba, "TIFF", {"compression": "tiff_adobe_deflate"}),
        (gray.convert("1"), "TIFF", {"compression": "group4"}),
        (rgba.convert("RGB"), "TIFF", {"compression": "jpeg"}),
        (deep, "TIFF", {}),
        (rgba.convert("CMYK"), "TIFF", {"compression": "packbits"}),
        (rgba.convert("RGB"), "JPEG2000", {}),
        (rgba.convert("RGB"), "PPM", {}),
        (rgba, "TGA", {}),
        (rgba, "ICO", {}),
        (rgba.convert("RGB"), "PCX", {}),
        (rgba, "DDS", {}),
        (rgba.convert("RGB"), "SGI", {}),
    ]
    files = []
    for image, image_format, options in plans:
        file = io.BytesIO()
        image.save(file, image_format, **options)
        files.append(file.getvalue())
    files.append(color_key_png(16, GRAY, (7,), (9,)))
    files.append(png(8, 8, GRAY, bytes(range(8)), (b"tEXt", b"comment\0text")))
    files.append(tiff(range(0, 4096, 512), 12, BLACK_IS_ZERO, big_endian=True))
    return files


def write_tree(folder: Path) -> None:
    """Two domains of two classes of two one-pixel images."""
    for domain in ("paint", "photo"):
        for name in ("bar", "box"):
            (folder / domain / name).mkdir(parents=True)
            for number in range(2):
                Image.new("RGB", (1, 1)).save(folder / domain / name / f"{number}.png")


def _copy_recipes(folder: Path) -> None:
    for recipe in RECIPES.glob("*.toml"):
        (folder / recipe.name).write_bytes(recipe.read_bytes())
    (folder / "sweeps").mkdir()


def _rows() -> list[tuple[str, str, str]]:
    return [
        (f"{domain}/{name}/{number}.png", name, domain)
        for domain in ("paint", "photo")
        for name in ("bar", "box")
        for number in range(2)
    ]


def _tables() -> list[bytes]:
    lines = ["path,label,domain,split"]
    lines += [f"{path},{name},{domain},train" for path, name, domain in _rows()]
    bare = ["path;label", *(f"{path};{name}" for path, name, _ in _rows())]
    return ["\n".join(lines).encode(), "\r\n".join(bare).encode("utf-8-sig")]


def _lists() -> list[bytes]:
    return ["".join(f"{path} {int(name == 'box')}\n" for path, name, _ in _rows()).encode()]


def _descriptions() -> list[bytes]:
    full = {
        "unknown": ["box"],
        "names": {"bar": ["a bar"], "box": ["a box", "a crate"]},
        "domains": ["photo", "paint"],
        "test_fraction": 0.25,
        "instance_separator": "_",
    }
    return [json.dumps(full, indent=1).encode(), b'{"unknown": []}']


def _classes() -> list[bytes]:
    return [
        b'templates = ["a photo of a {}"]\n[classes]\nbar = ["bar", "pole"]\nbox = "box"\n',
        '[classes]\n"écureuil roux" = ["red squirrel"]\n'.encode(),
    ]


def _models() -> list[bytes]:
    return [crafted_model()]


def _answer(path: Path) -> None:
    Classifier(path, threads=1).predict(np.zeros((SIDE, SIDE, 3), np.uint8))


KINDS = (
    Kind("recipe", "a.toml", _texts(RECIPES, "*.toml"), load_data, formats="toml"),
    Kind("resolved recipe", "a.toml", _texts(RECIPES, "*.toml"), load_recipe, formats="toml"),
    Kind("sweep", "a.toml", _texts(RECIPES / "sweeps", "*.toml"), read_sweep, formats="toml"),
    Kind(
        "sweep plan",
        "sweeps/a.toml",
        _texts(RECIPES / "sweeps", "fidelity_*.toml"),
        make_plan,
        _copy_recipes,
        formats="toml",
        weight=0.1,
    ),
    Kind("classes", "a.toml", _classes, load_classes, formats="toml"),
    Kind(
        "description",
        "edgedistill.json",
        _descriptions,
        lambda path: load_dataset(path.parent),
        write_tree,
        formats="json",
    ),
    Kind("table", "a.csv", _tables, load_dataset, write_tree, formats="csv"),
    Kind(
        "image list",
        "train.txt",
        _lists,
        lambda path: load_dataset(path.parent, layout="lists"),
        write_tree,
    ),
    Kind("image", "a.img", images, lambda path: read_rgb(path, SIDE)),
    Kind("model", "a.onnx", lambda: [seal(crafted_model())], _answer),
    Kind("sealed model", "a.onnx", _models, _answer, rewrite=seal),
)
