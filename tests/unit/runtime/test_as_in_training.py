"""The device's answers on image files are those of the training evaluation on the same files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from edgedistill.data.images import LabelledImages
from edgedistill.data.readers.folder import read_folder
from edgedistill.data.store.image_store import open_store
from edgedistill.export.onnx.graph import export_graph, to_bytes
from edgedistill.export.onnx.module import Deployed
from edgedistill.methods import METHODS, Method
from edgedistill.openset import Outputs
from edgedistill.openset.head import OpenSetHead
from edgedistill.runtime import Classifier
from edgedistill.students import Student
from edgedistill.train.predict import predict, predict_probabilities

SIZE, CLASSES = 24, 4


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset in which every file needs another step of the pixel rule."""
    root = tmp_path_factory.mktemp("files")
    (root / "camera" / "thing").mkdir(parents=True)
    folder = root / "camera" / "thing"
    rng = np.random.default_rng(5)
    turned = Image.Exif()
    turned[0x0112] = 6

    def picture(*shape: int) -> Image.Image:
        # Smooth, so that wrong steps show and JPEG's rounding does not matter.
        small = rng.integers(0, 256, (4, 5, *shape), dtype=np.uint8)
        return Image.fromarray(small).resize((61, 43), Image.Resampling.BICUBIC)

    picture(3).save(folder / "plain.jpg", quality=90)
    picture(3).save(folder / "turned.jpg", exif=turned)
    picture(4).save(folder / "clear.png")
    picture(4).save(folder / "turned_and_clear.png", exif=turned)
    picture(3).convert("P").save(folder / "palette.gif", transparency=3)
    picture(3).convert("CMYK").save(folder / "print.jpg")
    picture(4).save(folder / "clear.webp")
    picture(3).resize((SIZE, SIZE)).save(folder / "exact.bmp")
    picture(3).resize((30, 300)).save(folder / "tall.png")
    Image.fromarray(rng.integers(0, 65536, (30, 50)).astype(np.uint16)).save(folder / "deep.png")
    frames = [picture(3) for _ in range(2)]
    frames[0].save(folder / "moving.webp", save_all=True, append_images=frames[1:])
    return root


@pytest.fixture(scope="module")
def student() -> Student:
    backbone = nn.Sequential(
        nn.Conv2d(3, 12, 5, stride=2),
        nn.BatchNorm2d(12),
        nn.Hardswish(),
        nn.Conv2d(12, 16, 3),
        nn.SiLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )
    student = Student(backbone, _method().head(16, CLASSES))
    rng = np.random.default_rng(11)
    with torch.no_grad():
        for parameter in student.parameters():
            values = rng.normal(0, 0.3, tuple(parameter.shape)) if parameter.ndim > 1 else 0.1
            parameter.copy_(torch.as_tensor(values))
    return student.eval()


def test_labels_scores_and_probabilities(
    files: Path, student: Student, metadata_of: Callable[..., dict[str, str]], tmp_path: Path
) -> None:
    index = read_folder(files)
    stored = open_store(index, SIZE).images(np.arange(len(index)))
    assert len(stored) == len(index) == 11
    images = stored[:]
    labels = np.zeros(len(images), np.int64)
    head = OpenSetHead("max_logit")
    outputs: Outputs = predict(
        student, head, LabelledImages(stored, labels), device=torch.device("cpu")
    )
    scores = outputs.scores
    # Halfway between two scores, so that no rounding turns a decision.
    threshold = float(np.sort(scores)[5:7].mean())
    classes = tuple("abcd")
    model = export_graph(Deployed(student, head), SIZE, CLASSES, threshold)
    initializer = next(t for t in model.graph.initializer if t.name == "threshold")
    entries = metadata_of(classes, SIZE, float(np.frombuffer(initializer.raw_data, np.float32)[0]))
    path = tmp_path / "student.onnx"
    path.write_bytes(to_bytes(model, entries))

    answers = Classifier(path, threads=1).predict([index.path(row) for row in range(len(index))])
    _, _, probabilities = predict_probabilities(student, head, stored, device=torch.device("cpu"))
    assert np.ptp(probabilities, axis=0).max() > 0.1
    answered = np.array([list(answer.probabilities.values()) for answer in answers])
    assert np.abs(answered - probabilities).max() < 1e-5
    assert [a.score for a in answers] == pytest.approx(scores.tolist(), rel=1e-5, abs=1e-5)
    assert [a.known for a in answers] == (scores >= threshold).tolist()
    assert sum(a.known for a in answers) == 5
    assert [a.nearest for a in answers] == [classes[k] for k in outputs.predictions]


def _method() -> Method:
    return METHODS["erm"](METHODS["erm"].Hyper(), text=None)
