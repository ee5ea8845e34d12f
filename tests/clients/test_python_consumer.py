"""export/python/watch.py, run as a user runs it."""

from __future__ import annotations

import ast
import importlib.util
import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tiff_files import BLACK_IS_ZERO, tiff, torn_tiff

from edgedistill.runtime import Classifier
from edgedistill.runtime.preprocess import RESIZE_RULE, image_suffixes, read_rgb

SCRIPT = Path(__file__).parents[2] / "export" / "python" / "watch.py"


def start(*arguments: Path | str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), "--threads", "1", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(*arguments: Path | str) -> tuple[int, list[str], list[str]]:
    process = start(*arguments)
    out, err = process.communicate()
    return process.returncode, out.splitlines(), err.splitlines()


@pytest.fixture(scope="module")
def watch() -> Any:
    spec = importlib.util.spec_from_file_location("watch", SCRIPT)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["watch"] = module
    spec.loader.exec_module(module)
    return module


def test_answers_are_those_of_the_runtime(exported: Path, pictures: Path) -> None:
    files = sorted(pictures.iterdir())
    classifier = Classifier(exported, threads=1)
    # At the middle score, both kinds of answers are likely.
    limit = float(np.median([p.score for p in classifier.predict(files, batch_size=1)]))
    status, out, err = run(exported, pictures, "--once", "--json", f"--threshold={limit!r}")
    assert (status, err) == (0, [])
    answers = [json.loads(line) for line in out]
    assert [answer["image"] for answer in answers] == [str(file) for file in files]
    predictions = classifier.predict(files, batch_size=1, threshold=limit)
    for answer, expected in zip(answers, predictions, strict=True):
        for name in ("label", "known", "score", "threshold", "nearest", "probabilities"):
            assert answer[name] == getattr(expected, name), (answer["image"], name)


def test_lines_for_people(crafted: Path, pictures: Path) -> None:
    status, out, _ = run(crafted, pictures, "--once", "--threshold=1e9")
    assert status == 0
    assert all("  unknown (nearest " in line and "< 1000000000.0000" in line for line in out)
    status, out, _ = run(crafted, pictures, "--once", "--threshold=-inf")
    assert status == 0
    assert all(">= -inf" in line and "unknown" not in line for line in out)


def test_waits_for_images_and_goes_on_after_bad_ones(
    exported: Path, pictures: Path, tmp_path: Path
) -> None:
    camera = tmp_path / "camera"
    camera.mkdir()
    process = start(exported, camera, "--every", "0.02", "--json")
    assert process.stdout and process.stderr
    shutil.copy(pictures / "photo0.png", camera / "1.png")
    assert json.loads(process.stdout.readline())["image"] == str(camera / "1.png")
    # A camera that stops halfway, and finishes later.
    whole = (pictures / "photo1.png").read_bytes()
    (camera / "2.png").write_bytes(whole[: len(whole) // 2])
    assert process.stderr.readline().startswith(f"{camera / '2.png'}: not a readable image")
    (camera / "notes.txt").write_text("not an image, and not named like one")
    (camera / "2.png").write_bytes(whole)
    assert json.loads(process.stdout.readline())["image"] == str(camera / "2.png")
    # A name that is used again for another picture.
    shutil.copy(pictures / "photo2.png", camera / ".new")
    (camera / ".new").rename(camera / "1.png")
    assert json.loads(process.stdout.readline())["image"] == str(camera / "1.png")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate()
    assert (process.returncode, out, err) == (130, "", "")


def test_unusable_images_are_reported_and_the_rest_answered(
    exported: Path, pictures: Path, tmp_path: Path
) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    (tmp_path / "b.jpg").write_bytes(b"\xff\xd8\xff\xe0 no picture")
    Image.new("1", (20_000, 20_000)).save(tmp_path / "c.png")
    (tmp_path / "d.png").mkdir()
    shutil.copy(pictures / "tiny.png", tmp_path / "e.png")
    status, out, err = run(exported, tmp_path, "--once", "--json")
    assert status == 1
    assert [json.loads(line)["image"] for line in out] == [str(tmp_path / "e.png")]
    bad = [str(tmp_path / name) for name in ("a.png", "b.jpg", "c.png")]
    assert [line.split(":")[0] for line in err] == bad


def test_unusable_models_are_one_line(
    watch: Any, exported: Path, pictures: Path, tmp_path: Path
) -> None:
    good = exported.read_bytes()
    changed = bytearray(good)
    at = good.index(b"edgedistill.classes") + 40
    changed[at] ^= 1
    foreign = good.replace(b"edgedistill.contract", b"edgedistull.contract")
    later = good.replace(b"edgedistill.contract\x12\x011", b"edgedistill.contract\x12\x012")
    assert len({good, bytes(changed), foreign, later}) == 4
    for data in (b"", b"no model", good[:-100], bytes(changed), foreign, later):
        path = tmp_path / "bad.onnx"
        path.write_bytes(data)
        with pytest.raises(watch.WatchError) as caught:
            watch.load(path, None, 1)
        assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)
    for arguments in ((tmp_path / "none.onnx", pictures), (exported, tmp_path / "nowhere")):
        status, out, err = run(*arguments, "--once")
        assert (status, out, len(err)) == (2, [], 1), err
    for option in ("--threshold=nan", "--every=-1"):
        status, out, err = run(exported, pictures, "--once", option)
        assert (status, out) == (2, []) and "give" in err[-1]


def test_pixels_are_those_of_training(
    watch: Any,
    pictures: Path,
    odd_pngs: list[Path],
    odd_tiffs: list[Path],
    deep_tiffs: list[Path],
    tmp_path: Path,
) -> None:
    watch.extend_pillow()
    rng = np.random.default_rng(3)
    for path in (*pictures.iterdir(), *odd_pngs, *odd_tiffs, *deep_tiffs):
        shutil.copy(path, tmp_path)
    rgba = rng.integers(0, 256, (37, 50, 4), dtype=np.uint8)
    Image.fromarray(rgba).save(tmp_path / "soft.png")
    Image.fromarray(rgba[..., :2]).save(tmp_path / "soft-grey.png")
    Image.fromarray(rng.integers(0, 65536, (37, 50)).astype(np.uint16)).save(tmp_path / "deep.png")
    # Of more than a megapixel, which is worked through in parts.
    large = np.tile(rgba, (41, 24, 1))
    Image.fromarray(large).save(tmp_path / "large.png")
    deep = large[..., 0].astype(np.uint16) * 257
    Image.fromarray(deep).save(tmp_path / "large-deep.png")
    Image.fromarray(rgba, "CMYK").save(tmp_path / "print.jpg")
    Image.fromarray(rgba[..., :3]).quantize(9).save(tmp_path / "see-through.gif", transparency=3)
    for turn in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = turn
        Image.fromarray(rgba[..., :3]).save(tmp_path / f"turn{turn}.jpg", exif=exif)
    for path in sorted(tmp_path.iterdir()):
        for size in (16, 64):
            expected = read_rgb(path, size)
            np.testing.assert_array_equal(watch.pixels(path, size), expected, path.name)
    assert watch.RESIZE_RULE == RESIZE_RULE
    assert image_suffixes() == watch.EXTENSIONS


def test_pixels_without_an_agreed_range_and_damaged_tiffs_are_one_line(
    exported: Path, rangeless_tiffs: list[Path], tmp_path: Path
) -> None:
    for path in rangeless_tiffs:
        shutil.copy(path, tmp_path)
    (tmp_path / "torn.tif").write_bytes(torn_tiff())
    (tmp_path / "many.tif").write_bytes(tiff(range(64), 8, BLACK_IS_ZERO, samples=8))
    status, out, err = run(exported, tmp_path, "--once")
    assert (status, out) == (1, [])
    # Pillow and libtiff print nothing of their own between them.
    assert [line.split(":")[0] for line in err] == [
        str(file) for file in sorted(tmp_path.iterdir())
    ]


def test_needs_only_what_its_requirements_name() -> None:
    tree = ast.parse(SCRIPT.read_text())
    imported = {
        name.split(".")[0]
        for entry in ast.walk(tree)
        if isinstance(entry, ast.Import | ast.ImportFrom)
        for name in (
            [alias.name for alias in entry.names]
            if isinstance(entry, ast.Import)
            else [entry.module or ""]
        )
    }
    assert imported - set(sys.stdlib_module_names) == {"numpy", "onnxruntime", "PIL"}
    lines = (SCRIPT.parent / "requirements.txt").read_text().split()
    assert {line.split(">=")[0] for line in lines} == {"numpy", "onnxruntime", "pillow"}
