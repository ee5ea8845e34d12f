from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from culprits import raises
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from edgedistill.errors import ModelFileError, UsageError
from edgedistill.runtime import Classifier, Prediction, UnreadableImage
from edgedistill.runtime.contract import seal
from edgedistill.runtime.preprocess import to_rgb

Write = Callable[..., Path]
Proto = Callable[..., onnx.ModelProto]


@pytest.fixture(scope="session")
def classifier(model: Path) -> Classifier:
    return Classifier(model, threads=1)


def solid(red: int, green: int, blue: int) -> np.ndarray:
    return np.full((5, 9, 3), (red, green, blue), np.uint8)


def test_a_known_image(classifier: Classifier, photos: Path) -> None:
    answer = classifier.predict(photos / "red.png")
    assert (answer.label, answer.known, answer.nearest) == ("red", True, "red")
    assert answer.score == pytest.approx(12 * 250 / 255, rel=1e-5)
    assert answer.threshold == classifier.threshold == 1.5
    assert list(answer.probabilities) == ["red", "green", "blue"]
    logits = np.array([250, 10, 0]) * 12 / 255
    softmax = np.exp(logits) / np.exp(logits).sum()
    assert list(answer.probabilities.values()) == pytest.approx(softmax.tolist(), abs=1e-6)
    assert answer.confidence == answer.probabilities["red"]
    assert [name for name, _ in answer.top(2)] == ["red", "green"]


def test_an_unknown_image_still_says_what_it_is_nearest_to(
    classifier: Classifier, photos: Path
) -> None:
    answer = classifier.predict(photos / "dark.bmp")
    assert (answer.label, answer.known, answer.nearest) == (None, False, "red")
    assert sum(answer.probabilities.values()) == pytest.approx(1)


def test_what_the_file_says(classifier: Classifier) -> None:
    assert classifier.classes == ("red", "green", "blue")
    assert classifier.providers == ("CPUExecutionProvider",)
    info = classifier.info
    assert (info.score, info.size, info.precision) == ("max_logit", 8, "fp32")
    assert (info.target_keep_rate, info.calibration_images) == (0.95, 252)
    assert info.metrics["target"]["h_score"] == 0.5


def test_paths_images_and_arrays_mean_the_same(classifier: Classifier, photos: Path) -> None:
    path = photos / "green.jpg"
    with Image.open(path) as image:
        pixels = np.asarray(image)
    answers = classifier.predict([path, str(path), Image.open(path), pixels, pixels[:, ::-1]])
    assert all(answer == answers[0] for answer in answers)
    assert classifier.predict(pixels) == classifier.predict(pixels[None])[0]


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    arrays.arrays(np.uint8, st.tuples(st.integers(1, 40), st.integers(1, 40), st.just(3))),
    st.floats(0, 12, width=32),
)
def test_the_decision_follows_from_the_resized_pixels(
    classifier: Classifier, pixels: np.ndarray, threshold: float
) -> None:
    answer = classifier.predict(pixels, threshold=threshold)
    means = to_rgb(Image.fromarray(pixels), 8).mean((0, 1), dtype=np.float64)
    assert answer.score == pytest.approx(means.max() * 12 / 255, rel=1e-5, abs=1e-6)
    assert answer.known == (np.float32(answer.score) >= np.float32(threshold))
    assert answer.label == (answer.nearest if answer.known else None)


def test_orientation_and_transparency_as_in_training(
    classifier: Classifier, tmp_path: Path
) -> None:
    half = Image.new("RGBA", (16, 8), (255, 0, 0, 255))
    half.paste((0, 0, 0, 0), (8, 0, 16, 8))
    exif = Image.Exif()
    exif[0x0112] = 6
    half.save(tmp_path / "a.png", exif=exif)
    from_file = classifier.predict(tmp_path / "a.png")
    assert from_file.probabilities["green"] == pytest.approx(
        1 / (2 + math.exp(12 * (255 - 127.5) / 255)), rel=1e-3
    )
    assert from_file == classifier.predict(Image.open(tmp_path / "a.png"))


@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_batches_keep_the_order(classifier: Classifier, batch_size: int) -> None:
    images = [solid(25 * i, 100, 200 - 20 * i) for i in range(10)]
    answers = classifier.predict(images, batch_size=batch_size)
    singly = [classifier.predict(image) for image in images]
    assert [a.label for a in answers] == [a.label for a in singly]
    assert [a.score for a in answers] == pytest.approx([a.score for a in singly], rel=1e-6)
    assert classifier.predict([]) == []


def test_the_threshold_can_be_moved(model: Path, classifier: Classifier) -> None:
    image = solid(0, 0, 255)
    assert classifier.predict(image).score == 12
    assert classifier.predict(image, threshold=12).known
    assert not classifier.predict(image, threshold=12.001).known
    assert not classifier.predict(image, threshold=math.inf).known
    strict = Classifier(model, threshold=99, threads=1)
    assert strict.threshold == 99
    assert not strict.predict(image).known
    assert strict.predict(image, threshold=1).known
    black = solid(0, 0, 0)
    assert not classifier.predict(black).known
    for lowest in (-math.inf, -1e300):
        assert Classifier(model, threshold=lowest, threads=1).predict(black).known


def test_threads_may_share_one(classifier: Classifier, photos: Path) -> None:
    images = [*sorted(photos.iterdir()), *(solid(9 * i, 5, 80) for i in range(20))]
    thresholds = [0.5, 3.0, 9.0]
    work = list(itertools.product(range(len(images)), thresholds)) * 2

    def one(task: tuple[int, float]) -> Prediction:
        return classifier.predict(images[task[0]], threshold=task[1])

    expected = [one(task) for task in work]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(one, work))
    assert [(a.label, a.threshold) for a in answers] == [(a.label, a.threshold) for a in expected]
    assert [a.score for a in answers] == pytest.approx([a.score for a in expected], rel=1e-6)


def test_stream_answers_as_images_come(classifier: Classifier) -> None:
    taken = 0

    def endless() -> Iterator[np.ndarray]:
        nonlocal taken
        while True:
            taken += 1
            yield solid(200, 0, 0)

    stream = classifier.stream(endless(), batch_size=2)
    next(stream)
    assert taken == 2
    for _ in range(3):
        next(stream)
    assert taken == 4


def test_stream_goes_on_after_an_unreadable_image(classifier: Classifier, photos: Path) -> None:
    sources = [photos / "red.png", photos / "none.png", photos, photos / "green.jpg"]
    pairs = list(classifier.stream(sources, batch_size=3))
    assert [source for source, _ in pairs] == sources
    first, missing, folder, last = (answer for _, answer in pairs)
    assert isinstance(first, Prediction) and first.label == "red"
    assert isinstance(last, Prediction) and last.label == "green"
    assert str(missing) == f"{photos / 'none.png'}: no such file"
    assert isinstance(folder, UnreadableImage)


@pytest.mark.parametrize(
    ("image", "culprits"),
    [
        (np.zeros((4, 4), np.uint8), ("uint8[4, 4]", "uint8 RGB [H, W, 3]")),
        (np.zeros((4, 4, 4), np.uint8), ("uint8[4, 4, 4]", "uint8 RGB [H, W, 3]")),
        (
            np.full((4, 4, 3), np.nan, np.float32),
            ("float32[4, 4, 3]", "uint8 RGB [H, W, 3]"),
        ),
        (np.zeros((0, 4, 3), np.uint8), ("no pixels",)),
        (Image.new("RGB", (0, 3)), ("no pixels",)),
        (Image.new("F", (3, 3)), ("floating-point",)),
        (Image.new("1", (20_000, 20_000)), ("20000 x 20000", "178 megapixels")),
        ("a\0b", ("null byte",)),
        (None, ("NoneType", "uint8 array [H, W, 3]")),
    ],
)
def test_what_is_no_image(classifier: Classifier, image: object, culprits: tuple[str, ...]) -> None:
    with raises(UnreadableImage, *culprits):
        classifier.predict([solid(1, 2, 3), image])  # type: ignore[list-item]


@settings(max_examples=40, deadline=None, derandomize=True)
@given(data=st.data())
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_mutated_image_is_answered_or_reported(
    classifier: Classifier,
    photos: Path,
    tmp_path_factory: pytest.TempPathFactory,
    data: st.DataObject,
) -> None:
    source = data.draw(st.sampled_from(sorted(photos.iterdir())))
    content = bytearray(source.read_bytes())
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(content) - 1))
        size = data.draw(st.integers(0, 4))
        content[at : at + size] = data.draw(st.binary(max_size=4))
        content = content or bytearray(b"\0")
    path = tmp_path_factory.getbasetemp() / f"mutated{source.suffix}"
    path.write_bytes(content)
    (_, answer), (_, good) = classifier.stream([path, source], batch_size=2)
    assert isinstance(good, Prediction)
    if isinstance(answer, UnreadableImage):
        assert str(answer).startswith(f"{path}: ") and "\n" not in str(answer)
    else:
        assert 0 <= answer.score <= 12.001


@pytest.mark.parametrize("threshold", [math.nan, "high", None])
def test_a_threshold_is_a_number(
    model: Path, classifier: Classifier, threshold: float | None
) -> None:
    if threshold is None:
        assert Classifier(model, threshold=None, threads=1).threshold == 1.5
        return
    with raises(UsageError, "threshold", repr(threshold)):
        Classifier(model, threshold=threshold)
    with raises(UsageError, "threshold", repr(threshold)):
        classifier.predict(solid(1, 2, 3), threshold=threshold)


def test_numbers_below_one(model: Path, classifier: Classifier) -> None:
    with raises(UsageError, "threads", 0):
        Classifier(model, threads=0)
    with raises(UsageError, "batch_size", 0):
        classifier.predict([solid(1, 2, 3)], batch_size=0)


@pytest.mark.parametrize("providers", ["CPUExecutionProvider", []])
def test_providers_are_a_list(model: Path, providers: list[str]) -> None:
    with raises(UsageError, "providers", "list"):
        Classifier(model, providers=providers)


def test_a_provider_that_is_not_installed(model: Path) -> None:
    with raises(UsageError, "AbacusProvider", "CPUExecutionProvider"):
        Classifier(model, providers=["AbacusProvider", "CPUExecutionProvider"])


def test_a_provider_that_cannot_run_the_model_is_not_replaced(model: Path) -> None:
    if "AzureExecutionProvider" not in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime has no provider but the CPU's")
    with raises(ModelFileError, model, "AzureExecutionProvider", "CPUExecutionProvider"):
        Classifier(model, providers=["AzureExecutionProvider"])
    both = Classifier(model, providers=["AzureExecutionProvider", "CPUExecutionProvider"])
    assert both.predict(solid(255, 0, 0)).label == "red"


def test_a_provider_that_did_not_start_is_not_replaced(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As where a driver is missing: onnxruntime has the provider, and a session runs without it.
    started = onnxruntime.InferenceSession
    monkeypatch.setattr(
        onnxruntime,
        "get_available_providers",
        lambda: ["AbacusExecutionProvider", "CPUExecutionProvider"],
    )

    def without(data: bytes, options: Any, providers: Any, **rest: Any) -> Any:
        return started(data, options, providers=["CPUExecutionProvider"], **rest)

    monkeypatch.setattr(onnxruntime, "InferenceSession", without)
    with raises(ModelFileError, model, "AbacusExecutionProvider"):
        Classifier(model, providers=["AbacusExecutionProvider", "CPUExecutionProvider"])


def test_provider_options(model: Path) -> None:
    provider = ("CPUExecutionProvider", {"arena_extend_strategy": "kSameAsRequested"})
    assert Classifier(model, providers=[provider]).providers == ("CPUExecutionProvider",)


def test_a_model_that_answers_nan(proto: Proto, write: Write) -> None:
    model = proto()
    weights = next(t for t in model.graph.initializer if t.name == "weights")
    weights.CopyFrom(numpy_helper.from_array(np.full((3, 3), np.nan, np.float32), "weights"))
    path = write(model)
    classifier = Classifier(path, threads=1)
    with raises(ModelFileError, path, "NaN"):
        classifier.predict(solid(1, 2, 3))


def _retype(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.INT32


def _fix_batch(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1


def _need_more(model: onnx.ModelProto) -> None:
    model.graph.input.append(helper.make_tensor_value_info("gain", TensorProto.FLOAT, [1]))


def _rename_output(model: onnx.ModelProto) -> None:
    model.graph.output[1].name = model.graph.node[4].output[0] = "openness"
    model.graph.node[6].input[0] = "openness"


@pytest.mark.parametrize("change", [_retype, _fix_batch, _need_more, _rename_output])
def test_a_graph_that_contradicts_its_metadata(
    proto: Proto, write: Write, change: Callable[[onnx.ModelProto], None]
) -> None:
    model = proto()
    change(model)
    path = write(model)
    with raises(ModelFileError, path, "metadata"):
        Classifier(path, threads=1)


def test_an_input_whose_name_is_no_text(proto: Proto, write: Write) -> None:
    model = proto()
    model.graph.input[0].name = model.graph.node[0].input[0] = "im?ge"
    path = write(model)
    path.write_bytes(seal(path.read_bytes().replace(b"im?ge", b"im\xb6ge")))
    with raises(ModelFileError, path) as caught:
        Classifier(path, threads=1)
    # Releases of onnxruntime differ in whether they load such a file.
    assert any(word in str(caught.value) for word in ("metadata", "CPUExecutionProvider"))


def test_a_class_too_many(write: Write) -> None:
    with raises(ModelFileError, "metadata"):
        Classifier(write(changes={"classes": '["red", "green", "blue", "grey"]'}))


def test_a_graph_that_onnxruntime_refuses(proto: Proto, write: Write) -> None:
    model = proto()
    model.graph.node[2].op_type = "MatMull"
    path = write(model)
    with raises(ModelFileError, path, "CPUExecutionProvider", "MatMull"):
        Classifier(path)
