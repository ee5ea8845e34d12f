"""`edgedistill predict` in processes that cannot import what training needs."""

from __future__ import annotations

import csv
import json
import math
import os
import shutil
import signal
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tiff_files import BLACK_IS_ZERO, tiff, torn_tiff

from edgedistill.runtime import Classifier

Start = Callable[..., "subprocess.Popen[bytes]"]


@dataclass(frozen=True)
class Result:
    status: int
    out: str
    err: str

    @property
    def failures(self) -> list[str]:
        assert "Traceback" not in self.err and "Warning" not in self.err, self.err
        lines = [line for line in self.err.splitlines() if line.startswith("edgedistill: ")]
        return [line.removeprefix("edgedistill: ") for line in lines]

    @property
    def rows(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines()]


Predict = Callable[..., Result]


@pytest.fixture(scope="session")
def edgedistill(on_device: Start) -> Predict:
    def call(*args: str | Path, cwd: Path | None = None, stdin: bytes = b"") -> Result:
        process = on_device("-m", "edgedistill", *args, cwd=cwd)
        out, err = process.communicate(stdin)
        return Result(process.returncode, out.decode(), err.decode())

    return call


@pytest.fixture
def predict(edgedistill: Predict, model: Path) -> Predict:
    return lambda *args, **options: edgedistill("predict", model, *args, **options)


def test_a_table(predict: Predict, photos: Path) -> None:
    result = predict("red.png", "dark.bmp", cwd=photos)
    header, red, dark = (line.split() for line in result.out.splitlines())
    assert header == ["label", "score>=1.5", "nearest", "confidence", "image"]
    assert red == ["red", "11.7647", "red", "100.0", "%", "red.png"]
    assert dark[0] == "unknown" and dark[2] == "red" and dark[-1] == "dark.bmp"
    assert result.err == "1 known, 1 unknown, 0 without an answer\n"
    assert result.status == 0


def test_json_lines_say_what_the_library_says(predict: Predict, model: Path, photos: Path) -> None:
    result = predict(photos, "--json", "--batch", "3")
    files = sorted(photos.iterdir())
    assert [row["image"] for row in result.rows] == [str(f) for f in files]
    for row, answer in zip(result.rows, Classifier(model, threads=1).predict(files), strict=True):
        assert (row["label"], row["known"]) == (answer.label, answer.known)
        assert row["nearest"] == answer.nearest and row["threshold"] == 1.5
        assert row["score"] == pytest.approx(answer.score, rel=1e-6)
        assert row["probabilities"] == pytest.approx(answer.probabilities, abs=1e-6)
    assert (result.status, result.err) == (0, "")


def test_files_folders_globs_and_lists(predict: Predict, photos: Path, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    shutil.copytree(photos, tree / "b" / "deep")
    shutil.copy(photos / "red.png", tree / "a.PNG")
    shutil.copy(photos / "red.png", tree / ".hidden.png")
    shutil.copytree(photos, tree / ".thumbnails")
    shutil.copy(photos / "green.jpg", tree / "[1].jpg")
    (tree / "notes.txt").write_text("no image")
    inside = [f"tree/b/deep/{name}" for name in sorted(os.listdir(photos))]
    result = predict("tree", "--json", cwd=tmp_path)
    assert [row["image"] for row in result.rows] == ["tree/[1].jpg", "tree/a.PNG", *inside]
    result = predict(
        "tree/[1].jpg",
        "tree/b/*/*d*",
        "tree/*.PNG",
        "-",
        "--json",
        cwd=tmp_path,
        stdin=b"tree/b/**/*.jpg\r\n\ntree/b\n",
    )
    assert [row["image"] for row in result.rows] == [
        "tree/[1].jpg",
        "tree/b/deep/dark.bmp",
        "tree/b/deep/red.png",
        "tree/a.PNG",
        "tree/b/deep/green.jpg",
        *inside,
    ]
    assert (result.status, result.err) == (0, "")


def test_the_threshold_option(predict: Predict, photos: Path) -> None:
    result = predict("--threshold", "11.9", photos, "--json")
    assert {row["threshold"] for row in result.rows} == {float(np.float32(11.9))}
    assert not any(row["known"] for row in result.rows)
    result = predict("--threshold=-inf", photos / "dark.bmp")
    assert result.out.split()[:3] == ["label", "score", "nearest"]
    assert "1 known" in result.err


def test_unreadable_images_are_reported_and_the_rest_answered(
    predict: Predict, photos: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.jpg").write_text("no image")
    (tmp_path / "folder").mkdir()
    whole = (photos / "green.jpg").read_bytes()
    (tmp_path / "half.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "torn.tiff").write_bytes(torn_tiff())
    # More samples per pixel than Pillow takes, which it logs besides.
    (tmp_path / "many.tiff").write_bytes(tiff(range(64), 8, BLACK_IS_ZERO, samples=8))
    shutil.copy(photos / "red.png", tmp_path / "z.png")
    names = ("empty.png", "text.jpg", "none.png", "*.tif", "folder", "half.jpg")
    names = (*names, "torn.tiff", "many.tiff")
    result = predict(*names, "z.png", cwd=tmp_path)
    assert result.status == 1
    assert len(result.out.splitlines()) == 2 and result.out.endswith("z.png\n")
    *reasons, half, torn, many = result.failures
    assert reasons == [
        "empty.png: the file is empty",
        "text.jpg: not an image",
        "none.png: no such file",
        "*.tif: nothing matches",
        "folder: no image files in this folder",
    ]
    assert half.startswith("half.jpg: cannot be decoded")
    assert torn.startswith("torn.tiff: cannot be decoded")
    assert many.startswith("many.tiff: ")
    # Nothing of Pillow's or libtiff's own stands between them.
    assert len(result.err.splitlines()) == len(names) + 1
    assert result.err.splitlines()[-1] == "1 known, 0 unknown, 8 without an answer"


def test_names_that_no_terminal_should_see(predict: Predict, photos: Path, tmp_path: Path) -> None:
    name = os.fsdecode(b"a\n\x1b[2J\xff.png")
    shutil.copy(photos / "red.png", tmp_path / name)
    (tmp_path / "\u202etxt.png").touch()
    result = predict(tmp_path)
    assert result.out.splitlines()[-1].endswith(r"a\n\x1b[2J\udcff.png")
    assert result.failures == [rf"{tmp_path}/\u202etxt.png: the file is empty"]
    assert predict(tmp_path, "--json").rows[0]["image"] == f"{tmp_path}/{name}"


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ([], "IMAGE"),
        (["x.png", "--threshold", "nan"], "threshold: nan is not a number"),
        (["x.png", "--threshold", "high"], "--threshold"),
        (["x.png", "--batch", "0"], "--batch"),
        (["x.png", "--threads", "0"], "--threads"),
        (["x.png", "--threads", "100000"], "--threads"),
        (["x.png", "--provider", "Abacus"], "Abacus: not in this onnxruntime"),
    ],
)
def test_wrong_usage(predict: Predict, args: list[str], says: str) -> None:
    result = predict(*args)
    assert (result.status, result.out) == (2, "")
    (reason,) = result.failures
    assert says in reason


def test_a_file_that_is_no_model(edgedistill: Predict, photos: Path) -> None:
    result = edgedistill("predict", photos / "red.png", photos / "red.png")
    assert (result.status, result.out) == (2, "")
    assert result.failures == [
        f"{photos / 'red.png'}: not an ONNX file, or a truncated one; copy or export it again"
    ]


def test_help_needs_nothing_of_training(edgedistill: Predict) -> None:
    assert "predict" in edgedistill("--help").out
    result = edgedistill("predict", "--help")
    assert result.status == 0 and "--threshold" in result.out


def test_an_answer_comes_before_the_next_line(on_device: Start, model: Path, photos: Path) -> None:
    process = on_device("-m", "edgedistill", "predict", model, "-", "--json", cwd=photos)
    assert process.stdin and process.stdout
    for name in ("red.png", "green.jpg"):
        process.stdin.write(f"{name}\n".encode())
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["image"] == name
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    assert (process.returncode, err) == (130, b"")


def test_a_reader_that_leaves_is_no_failure(on_device: Start, model: Path, photos: Path) -> None:
    process = on_device("-m", "edgedistill", "predict", model, "-", "--json", cwd=photos)
    assert process.stdin and process.stdout and process.stderr
    process.stdin.write(b"red.png\n")
    process.stdin.flush()
    process.stdout.readline()
    process.stdout.close()
    process.stdin.write(b"red.png\n" * 2)
    process.stdin.close()
    assert (process.wait(), process.stderr.read()) == (0, b"")
    process.stderr.close()


@pytest.mark.skipif(os.name != "posix", reason="makes symbolic links")
def test_what_a_folder_leaves_out_is_one_line(
    predict: Predict, photos: Path, tmp_path: Path
) -> None:
    (tmp_path / "in/@eaDir").mkdir(parents=True)
    (tmp_path / "in/deep").mkdir()
    shutil.copy(photos / "red.png", tmp_path / "in/deep/a.png")
    shutil.copy(photos / "red.png", tmp_path / "in/@eaDir/a.png")
    (tmp_path / "in/notes.txt").touch()
    (tmp_path / "in/up").symlink_to(tmp_path / "in")
    Image.open(photos / "red.png").convert("RGB").save(tmp_path / "in/b.jfif", "JPEG")
    result = predict("in", "--json", cwd=tmp_path)
    assert result.status == 0 and len(result.rows) == 2
    assert len(result.failures) == 1
    for name in ("notes.txt", "up", "@eaDir"):
        assert f": 1 ({name})" in result.failures[0]


def test_names_that_end_in_nul_are_one_line(on_device: Start, model: Path, photos: Path) -> None:
    process = on_device("-m", "edgedistill", "predict", model, "-", "--json", cwd=photos)
    out, err = process.communicate(b"a\0b/*.png\nred.png\n")
    assert process.returncode == 1 and json.loads(out)["image"] == "red.png"
    assert len(err.splitlines()) == 1 and b"-print0" in err


def test_a_byte_order_mark_of_a_list_is_no_part_of_a_name(
    on_device: Start, model: Path, photos: Path
) -> None:
    process = on_device("-m", "edgedistill", "predict", model, "-", "--json", cwd=photos)
    out, err = process.communicate("red.png\r\n".encode("utf-8-sig"))
    assert (process.returncode, err) == (0, b"")
    assert json.loads(out)["image"] == "red.png"
    process = on_device("-m", "edgedistill", "predict", model, "-", "--json", cwd=photos)
    out, err = process.communicate("red.png\nred.png\n".encode("utf-16"))
    assert (process.returncode, out) == (1, b"")
    assert len(err.splitlines()) == 1 and b"UTF-16" in err


@pytest.mark.skipif(os.name != "posix", reason="closes streams by a shell")
@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-"])
def test_a_closed_stream_is_no_failure(closed: str, model: Path, photos: Path) -> None:
    shell = f'"{sys.executable}" -m edgedistill predict "$0" "$1" - --json {closed}'
    done = subprocess.run(
        ["sh", "-c", shell, model, photos / "red.png"], input=b"", capture_output=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert len(done.stdout.splitlines()) == (0 if closed == ">&-" else 1)


def png(width: int, height: int, compressed: bytes, before: bytes = b"") -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    ends = chunk(b"IHDR", header) + before + chunk(b"IDAT", compressed) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + ends


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


PEAK = Path(__file__).parents[1] / "programs" / "peak_memory.py"


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="no peak memory to read")
def test_hostile_images_take_little_memory(on_device: Start, model: Path, tmp_path: Path) -> None:
    squeeze = zlib.compressobj(1)
    parts = [squeeze.compress(bytes(2**20)) for _ in range(512)]
    bomb = b"".join([*parts, squeeze.flush()])
    pictures = {
        "huge.png": png(20_000, 20_000, bomb),
        "wide.png": png(2**31 - 1, 1, bomb),
        "more_than_it_says.png": png(1, 1, bomb),
        "text.png": png(1, 1, zlib.compress(b"\0\xff"), chunk(b"zTXt", b"a\0\0" + bomb)),
        "profile.png": png(1, 1, zlib.compress(b"\0\xff"), chunk(b"iCCP", b"a\0\0" + bomb)),
        "huge.bmp": b"BM"
        + struct.pack("<IIIIiiHHIIiiII", 54, 0, 54, 40, 20_000, 20_000, 1, 24, 0, 0, 0, 0, 0, 0),
        "huge.gif": b"GIF89a"
        + struct.pack("<HHBBB", 65535, 65535, 0, 0, 0)
        + b","
        + struct.pack("<HHHHB", 0, 0, 65535, 65535, 0)
        + b"\x02\x02\x4c\x01\x00;",
        "huge.ppm": b"P6 20000 20000 255\n",
        "zero.png": b"",
    }
    for name, content in pictures.items():
        (tmp_path / name).write_bytes(content)
    Image.new("L", (1, 1), 255).save(tmp_path / "one.png")
    process = on_device(PEAK, "predict", model, tmp_path, "--json")
    out, err = process.communicate()
    result = Result(process.returncode, out.decode(), err.decode())
    failed = {line.partition(": ")[0].rpartition("/")[2] for line in result.failures}
    answered = {Path(row["image"]).name for row in result.rows}
    assert answered | failed == {*pictures, "one.png"}
    # A text chunk is no part of the picture, however large it claims to be.
    read = {"one.png", "text.png"}
    assert read <= answered <= {*read, "more_than_it_says.png", "profile.png"}
    assert all(math.isfinite(row["score"]) for row in result.rows)
    assert result.status == 1
    peak = int(result.err.splitlines()[-1].removeprefix("peak ")) / 1024
    # Python and onnxruntime alone take about 100 MB, the bomb 512.
    assert peak < 400


def test_a_run_answers_with_its_exported_file(
    edgedistill: Predict, model: Path, photos: Path, tmp_path: Path
) -> None:
    run = tmp_path / "runs" / "mine"
    run.mkdir(parents=True)
    (run / "recipe.toml").touch()
    result = edgedistill("predict", "mine", photos, "--json", cwd=tmp_path)
    assert result.status == 2
    (line,) = result.failures
    assert "mine" in line and "edgedistill export" in line
    shutil.copy(model, run / "student.onnx")
    whole = edgedistill("predict", model, photos, "--json").rows
    for name in ("mine", run):
        assert edgedistill("predict", name, photos, "--json", cwd=tmp_path).rows == whole


def test_answers_as_csv(predict: Predict, photos: Path, tmp_path: Path) -> None:
    odd = photos.parent / "odd"
    odd.mkdir()
    shutil.copy(photos / "red.png", odd / 'a, "b".png')
    result = predict(photos, odd, "--csv", tmp_path / "out.csv")
    assert (result.status, result.out) == (0, "")
    assert result.err == "4 known, 1 unknown, 0 without an answer\n"
    rows = list(csv.DictReader((tmp_path / "out.csv").open(encoding="utf-8", newline="")))
    answers = predict(photos, odd, "--json").rows
    assert [row["image"] for row in rows] == [answer["image"] for answer in answers]
    for row, answer in zip(rows, answers, strict=True):
        assert row["label"] == (answer["label"] or "")
        assert (row["known"] == "true", row["nearest"]) == (answer["known"], answer["nearest"])
        assert float(row["score"]) == answer["score"]
        assert float(row["confidence"]) == max(answer["probabilities"].values())


def test_a_csv_file_replaces_no_other_file(predict: Predict, photos: Path, tmp_path: Path) -> None:
    image = Path(shutil.copy(photos / "red.png", tmp_path))
    result = predict(image, "--csv", image)
    assert result.status == 2 and str(image) in result.failures[0]
    assert image.read_bytes() == (photos / "red.png").read_bytes()


def test_images_are_sorted_into_folders_of_their_classes(
    predict: Predict, photos: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    Image.new("RGB", (30, 20), (240, 0, 0)).save(other / "red.png")
    (other / "text.jpg").write_text("no image")
    for _ in range(2):
        # The second time everything is there already.
        result = predict(photos, other, "--sort", tmp_path / "sorted", "-q")
        assert result.status == 1 and len(result.failures) == 1
        copies = {str(p.relative_to(tmp_path / "sorted")) for p in tmp_path.glob("sorted/*/*")}
        assert copies == {
            "red/red.png",
            "red/red-2.png",
            "green/green.jpg",
            "blue/blue.webp",
            "unknown/dark.bmp",
        }
    copy = tmp_path / "sorted" / "red" / "red-2.png"
    assert copy.read_bytes() == (other / "red.png").read_bytes()


def test_images_are_not_sorted_into_where_they_are_read(
    predict: Predict, photos: Path, tmp_path: Path
) -> None:
    shutil.copytree(photos, tmp_path / "in")
    result = predict(tmp_path / "in", "--sort", tmp_path / "in" / "sorted")
    assert result.status == 2 and str(tmp_path / "in") in result.failures[0]
    assert not (tmp_path / "in" / "sorted").exists()


def test_quiet_leaves_results_and_failures(predict: Predict, photos: Path, tmp_path: Path) -> None:
    shutil.copytree(photos, tmp_path / "in")
    (tmp_path / "in" / "notes.txt").write_text("no image")
    loud, quiet = (predict(tmp_path / "in", *option) for option in ([], ["-q"]))
    assert quiet.out == loud.out and quiet.err == "" != loud.err
