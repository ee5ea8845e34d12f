"""Model files, pictures and installed npm packages for the programs in export/."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from crafted_model import SIZE, crafted_model
from filelock import FileLock
from onnx import helper
from PIL import Image
from png_files import GRAY, RGB, color_key_png, png, wrong_checksum
from tiff_files import BLACK_IS_ZERO, CMYK, FLOAT, PALETTE, SIGNED, WHITE_IS_ZERO, tiff
from tiff_files import RGB as RGB_TIFF

import edgedistill as ed
from edgedistill.export.int8.calibrate import calibrate_ranges, to_int8
from edgedistill.export.int8.policy import node_kinds
from edgedistill.runtime.contract import read_model, seal
from edgedistill.runtime.preprocess import read_rgb

EXPORT = Path(__file__).parents[2] / "export"
PROGRAMS = Path(__file__).with_name("programs")
# How far scores and probabilities of two builds of onnxruntime may be apart. Integer kernels of
# different processors may round a value to the next step.
TOLERANCE = {"exported": 1e-4, "crafted": 1e-4, "quantized": 0.05, "prompted": 1e-4}


@pytest.fixture(scope="session")
def crafted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model of the contract: random convolutions, so that every pixel matters."""
    path = tmp_path_factory.mktemp("crafted") / "student.onnx"
    path.write_bytes(seal(crafted_model()))
    return path


@pytest.fixture(scope="session")
def craft() -> Callable[..., bytes]:
    """The model behind `crafted`, unsealed, with some metadata changed."""
    return crafted_model


@pytest.fixture(scope="session")
def exported(
    tmp_path_factory: pytest.TempPathFactory,
    private_cache: Path,
    tree_of: Callable[..., dict[str, Any]],
) -> Path:
    """The ONNX file of a tiny run."""
    folder = tmp_path_factory.mktemp("exported")
    # Random weights would answer nearly the same to every image.
    recipe = tree_of(student={"weights": "embedded"}, method={"name": "erm"})
    ed.run(recipe, folder / "run").export(folder / "x.onnx")
    return folder / "x.onnx"


@pytest.fixture(scope="session")
def prompted(
    tmp_path_factory: pytest.TempPathFactory,
    private_cache: Path,
    tree_of: Callable[..., dict[str, Any]],
) -> Path:
    """The ONNX file of start weights that were given classes by name."""
    folder = tmp_path_factory.mktemp("prompted")
    recipe = tree_of(student={"weights": "embedded"}, train={"steps": 0})
    classes = {"ring": ["ring", "circle with a hole"], "écureuil roux": "red squirrel"}
    ed.run(recipe, folder / "run").export(folder / "x.onnx", classes=classes)
    return folder / "x.onnx"


@pytest.fixture(scope="session")
def quantized(exported: Path, pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`exported` in int8, with every kind of node that can be in integers."""
    data, info = read_model(exported)
    model = onnx.load_from_string(data)
    nodes = [name for name, kind in node_kinds(model.graph).items() if kind != "classifier"]
    views = np.stack([read_rgb(file, info.size) for file in sorted(pictures.iterdir())])
    int8_model = to_int8(calibrate_ranges(model, nodes, views), nodes)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    helper.set_model_props(int8_model, metadata | {"edgedistill.precision": "int8"})
    path = tmp_path_factory.mktemp("quantized") / "student-int8.onnx"
    path.write_bytes(seal(int8_model.SerializeToString()))
    return path


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of image files of the kinds that decoders treat differently."""
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(11)

    def noise(width: int, height: int, channels: int) -> np.ndarray:
        # Coarse noise: fine noise would average to the same grey in every picture.
        coarse = rng.integers(0, 256, (5, 6, channels), dtype=np.uint8)
        fine = rng.integers(-20, 21, (height, width, channels))
        rows = np.arange(height) * 5 // height
        columns = np.arange(width) * 6 // width
        return np.clip(coarse[rows][:, columns] + fine, 0, 255).astype(np.uint8)

    for number in range(6):
        Image.fromarray(noise(90, 70, 3)).save(folder / f"photo{number}.png")
    Image.fromarray(noise(SIZE, SIZE, 3)).save(folder / "same-size.png")
    Image.fromarray(noise(5, 4, 3)).save(folder / "tiny.png")
    Image.fromarray(noise(30, 200, 3)).save(folder / "tall.png")
    Image.fromarray(noise(80, 60, 3)).save(folder / "photo.jpg", quality=90)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(noise(60, 80, 3)).save(folder / "turned.jpg", quality=95, exif=exif)
    Image.fromarray(noise(50, 40, 3)[..., 0]).save(folder / "grey.png")
    Image.fromarray(noise(64, 48, 3)).quantize(32).save(folder / "palette.png")
    Image.fromarray(noise(64, 48, 3)).save(folder / "exact.webp", lossless=True)
    hard = noise(64, 48, 4)
    hard[..., 3] = np.where(hard[..., 3] > 127, 255, 0)
    Image.fromarray(hard).save(folder / "cut-out.png")
    return folder


@pytest.fixture(scope="session")
def tolerance() -> dict[str, float]:
    """Allowed distance of answers from those of the Python runtime, by the model's fixture."""
    return TOLERANCE


@pytest.fixture(scope="session")
def odd_pngs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A transparent color at every depth, and a large text beside the picture."""
    folder = tmp_path_factory.mktemp("odd")
    text = b"comment\0\0" + zlib.compress(bytes(2**21))
    files = {
        "gray1": color_key_png(1, GRAY, (1,), (0,)),
        "gray2": color_key_png(2, GRAY, (1,), (2,)),
        "gray4": color_key_png(4, GRAY, (3,), (8,)),
        "gray8": color_key_png(8, GRAY, (3,), (51,)),
        "gray16": color_key_png(16, GRAY, (0,), (1,)),
        "rgb8": color_key_png(8, RGB, (9, 8, 7), (9, 8, 6)),
        "rgb16": color_key_png(16, RGB, (0x900, 0x801, 0x702), (0x900, 0x801, 0x703)),
        "text": png(8, 8, GRAY, bytes(range(8)), (b"zTXt", text)),
        "profile": png(8, 8, GRAY, bytes(range(8)), (b"iCCP", text)),
        "short": png(8, 8, GRAY, bytes(range(8)), (b"tRNS", b"")),
        "checksum": wrong_checksum(color_key_png(8, GRAY, (3,), (51,)), b"tRNS"),
        "deep": png(4, 16, GRAY, b"\x01\x90\x40\x7f\x80\x81\xfe\x81"),
    }
    for name, data in files.items():
        (folder / f"{name}.png").write_bytes(data)
    return sorted(folder.iterdir())


@pytest.fixture(scope="session")
def odd_tiffs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Gray that is white at zero or deep, CMYK, palettes, and samples without a stated meaning."""
    folder = tmp_path_factory.mktemp("tiff")
    files = {}
    for big in (False, True):
        order = "big" if big else "little"
        for depth in (1, 2, 4, 8, 16):
            row = [k * (2**depth - 1) // 7 for k in range(8)]
            for name, model in (("white", WHITE_IS_ZERO), ("black", BLACK_IS_ZERO)):
                files[f"{name}-{depth}-{order}"] = tiff(row, depth, model, big_endian=big)
        for depth in (8, 16):
            most = 2**depth - 1
            inks = [v for k in range(8) for v in (k * most // 7, most // 3, 0, most // 5)]
            files[f"cmyk-{depth}-{order}"] = tiff(inks, depth, CMYK, samples=4, big_endian=big)
            for extra in (0, 1, 2):
                files[f"rgba{extra}-{depth}-{order}"] = tiff(
                    [v for k in range(8) for v in (0, 0, 0, k * most // 7)],
                    depth, RGB_TIFF, samples=4, alpha=extra, big_endian=big,
                )  # fmt: skip
        palette = [*range(0, 65536, 4369), *[0] * 16, *[9999] * 16]
        files[f"palette-{order}"] = tiff(range(8), 4, PALETTE, palette=palette, big_endian=big)
    for name, data in files.items():
        (folder / f"{name}.tif").write_bytes(data)
    rng = np.random.default_rng(13)
    for compression in ("group3", "group4", "packbits", "tiff_lzw", "tiff_adobe_deflate"):
        gray = Image.fromarray(rng.integers(0, 256, (16, 16), dtype=np.uint8))
        image = gray.convert("1") if compression.startswith("group") else gray
        image.save(folder / f"{compression}.tif", compression=compression)
    return sorted(folder.iterdir())


@pytest.fixture(scope="session")
def deep_tiffs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Gray of 12 bits, which not every library decodes."""
    folder = tmp_path_factory.mktemp("deep")
    for model in (WHITE_IS_ZERO, BLACK_IS_ZERO):
        for big in (False, True):
            data = tiff(range(0, 4096, 585), 12, model, big_endian=big)
            (folder / f"{model}-{big}.tif").write_bytes(data)
    return sorted(folder.iterdir())


@pytest.fixture(scope="session")
def rangeless_tiffs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Pixels below zero, of 32 bits and in floating point: nobody has said what white is."""
    folder = tmp_path_factory.mktemp("rangeless")
    files = {
        "byte": tiff([0, 200], 8, BLACK_IS_ZERO, sample_format=SIGNED),
        "short": tiff([0, -5], 16, BLACK_IS_ZERO, sample_format=SIGNED),
        "long": tiff([0, 2**31], 32, BLACK_IS_ZERO),
        "float": tiff([0.0, 1.0], 32, BLACK_IS_ZERO, sample_format=FLOAT),
    }
    for name, data in files.items():
        (folder / f"{name}.tif").write_bytes(data)
    return sorted(folder.iterdir())


@pytest.fixture(scope="session")
def soft_picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A half-transparent picture, which a canvas cannot lay on white to the bit."""
    path = tmp_path_factory.mktemp("soft") / "soft.png"
    rng = np.random.default_rng(12)
    Image.fromarray(rng.integers(0, 256, (48, 64, 4), dtype=np.uint8)).save(path)
    return path


@pytest.fixture(scope="session")
def program() -> Callable[[str, str], str]:
    """Where a program is. Without it a test is skipped, but in CI, which installs it, it fails."""

    def find(name: str, what: str) -> str:
        executable = shutil.which(name)
        if executable is None:
            missing = pytest.fail if os.environ.get("CI") else pytest.skip
            missing(f"needs {what}, which is not installed")
        return str(executable)

    return find


def npm_folder(name: str) -> Path:
    """A copy of export/NAME and export/js with its npm packages, kept from run to run."""
    lock = (EXPORT / name / "package-lock.json").read_bytes()
    digest = hashlib.sha256(lock).hexdigest()[:16]
    root = Path(os.environ.get("EDGEDISTILL_TEST_NPM", tempfile.gettempdir()))
    folder = root / f"edgedistill-npm-{os.getuid()}" / f"{name}-{digest}"
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not (folder / "complete").exists():
            for file in ("package.json", "package-lock.json", ".npmrc"):
                shutil.copy(EXPORT / name / file, folder)
            command = ["npm", "ci", "--prefer-offline", "--no-audit", "--no-fund"]
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
            (folder / "complete").touch()
    return folder / "node_modules"


@pytest.fixture(scope="session")
def installed(
    tmp_path_factory: pytest.TempPathFactory, program: Callable[[str, str], str]
) -> Callable[[str], Path]:
    """Copy a consumer out of the repository, with the packages it names."""
    program("npm", "Node.js 20.9 or newer with npm")

    def copy(name: str) -> Path:
        folder = tmp_path_factory.mktemp(f"npm-{name}")
        shutil.copytree(EXPORT / "js", folder / "js")
        ignored = shutil.ignore_patterns("node_modules", "dist")
        shutil.copytree(EXPORT / name, folder / name, ignore=ignored)
        (folder / name / "node_modules").symlink_to(npm_folder(name))
        return folder / name

    return copy


@pytest.fixture(scope="session")
def node(program: Callable[[str, str], str]) -> Callable[..., str]:
    """Run a program of tests/clients/programs in Node.js; what it prints."""
    executable = program("node", "Node.js 20.9 or newer")

    def run(name: str, *arguments: Path | str) -> str:
        command = [executable, str(PROGRAMS / name), *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run
