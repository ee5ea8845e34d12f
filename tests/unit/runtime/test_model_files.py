"""Files that are no intact exported model: one line each, before onnxruntime sees them."""

from __future__ import annotations

import json
import os
import random
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from culprits import raises
from hypothesis import example, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, external_data_helper, helper, numpy_helper
from PIL import Image

from edgedistill.errors import ModelFileError
from edgedistill.runtime import Classifier
from edgedistill.runtime.contract import CHECKSUM_KEY, read_model, seal
from edgedistill.runtime.protobuf import WireError, scan

Write = Callable[..., Path]
Proto = Callable[..., onnx.ModelProto]


def refusal(path: Path) -> str:
    """Why a file is refused, without its name."""
    with raises(ModelFileError, path) as error:
        read_model(path)
    name, _, reason = str(error.value).partition(f"{path}: ")
    assert name == ""
    return reason


def test_an_intact_file(proto: Proto, model: Path) -> None:
    data, info = read_model(model)
    assert data == model.read_bytes()
    assert info.classes == ("red", "green", "blue")
    assert (info.threshold, info.calibration, info.calibration_images) == (
        1.5,
        "source validation",
        252,
    )
    assert (info.student, info.method, info.version) == ("mobilenet_v3_small", "scipd", "0.1.0")


def test_the_seal_adds_one_entry_and_nothing_else(proto: Proto) -> None:
    plain = proto()
    sealed = onnx.load_from_string(seal(plain.SerializeToString()))
    onnx.checker.check_model(sealed, full_check=True)
    said = {p.key: p.value for p in sealed.metadata_props}
    assert re.fullmatch("[0-9a-f]{8}", said.pop(CHECKSUM_KEY))
    assert said == {p.key: p.value for p in plain.metadata_props}
    assert sealed.graph == plain.graph


def test_sealing_again_changes_nothing(proto: Proto) -> None:
    once = seal(proto().SerializeToString())
    assert seal(once) == once
    reordered = onnx.load_from_string(once)
    reordered.metadata_props.sort(key=lambda p: p.key)
    assert seal(seal(reordered.SerializeToString())) == seal(reordered.SerializeToString())


def test_a_file_changed_on_purpose_is_sealed_anew(model: Path, tmp_path: Path) -> None:
    changed = onnx.load(model)
    changed.doc_string = "renamed"
    path = tmp_path / "changed.onnx"
    path.write_bytes(changed.SerializeToString())
    assert refusal(path).startswith("damaged or changed since it was exported")
    path.write_bytes(seal(changed.SerializeToString()))
    assert read_model(path)[1].classes == ("red", "green", "blue")


def test_what_cannot_be_sealed() -> None:
    with raises(ModelFileError, "seal"):
        seal(b"\xff\xff")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "the file is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        (b"<!DOCTYPE html><html>404</html>", "not an ONNX file"),
        (b"PK\x03\x04 an archive", "not an ONNX file"),
        (bytes(4096), "not an ONNX file"),
        (b"\x08\x08", "not an ONNX file"),
        (random.Random(0).randbytes(100_000), "not an ONNX file"),
    ],
    ids=["empty", "lfs", "html", "zip", "zeros", "no graph", "noise"],
)
def test_no_onnx(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "student.onnx"
    path.write_bytes(content)
    assert says in refusal(path)


def test_an_image_by_another_name(tmp_path: Path) -> None:
    path = tmp_path / "student.onnx"
    Image.new("RGB", (40, 40), "red").save(path, "PNG")
    assert "not an ONNX file" in refusal(path)


def test_places_without_a_file(tmp_path: Path, model: Path) -> None:
    assert "No such file" in refusal(tmp_path / "none.onnx")
    assert refusal(tmp_path) == "is a folder; give an .onnx file"
    inside = tmp_path / "student.onnx"
    inside.write_bytes(model.read_bytes())
    assert refusal(tmp_path) == f"is a folder; did you mean {inside}"
    assert "not a regular file" in refusal(Path(os.devnull))
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    assert "not a regular file" in refusal(fifo)
    assert "null" in refusal(Path("a\0b"))


def test_too_large_a_file_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "film.onnx"
    with path.open("wb") as file:
        file.truncate(2**31)
    assert "larger than 2 GiB" in refusal(path)


def test_truncation_is_refused(model: Path, tmp_path: Path) -> None:
    data, path = model.read_bytes(), tmp_path / "cut.onnx"
    for length in range(1, len(data), 5):
        path.write_bytes(data[:length])
        with raises(ModelFileError, path):
            read_model(path)


def test_a_changed_bit_is_refused(model: Path, tmp_path: Path) -> None:
    data, path = model.read_bytes(), tmp_path / "bad.onnx"
    for at in range(0, len(data), 5):
        path.write_bytes(data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1 :])
        with raises(ModelFileError, path):
            read_model(path)


def test_another_onnx_model(proto: Proto, write: Write) -> None:
    model = proto()
    del model.metadata_props[:]
    helper.set_model_props(model, {"author": "somebody"})
    assert "without EdgeDistill's metadata" in refusal(write(model))


def test_another_contract(write: Write) -> None:
    reason = refusal(write(changes={"contract": "2"}))
    assert "keeps contract '2'" in reason and "reads '1'" in reason


def test_no_seal(write: Write) -> None:
    assert f"without its checksum {CHECKSUM_KEY}" in refusal(write(sealed=False))


@pytest.mark.parametrize(
    "key",
    [
        "classes",
        "unknown_label",
        "score",
        "threshold",
        "input",
        "precision",
        "recipe_sha256",
        "version",
        "metrics",
        "student",
        "method",
    ],
)
def test_every_key_is_needed(write: Write, key: str) -> None:
    reason = refusal(write(changes={key: None}))
    assert "contradicts the contract" in reason and key in reason


DEFAULT = {"value": 1.5, "acceptance": 0.95, "calibration": "x", "images": 2}
RULE = "pillow-bilinear-stretch/1"


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("classes", "[]", "no list of names"),
        ("classes", '{"red": 0}', "no list of names"),
        ("classes", '["red", "", "blue"]', "not all names"),
        ("classes", '["red", 3, "blue"]', "not all names"),
        ("classes", '["red", "red", "blue"]', "a name twice"),
        ("classes", "[red", "contradicts"),
        ("classes", "[" * 100_000, "contradicts"),
        ("unknown_label", "3", "not -1"),
        ("threshold", "1.5", "contradicts"),
        ("threshold", json.dumps({**DEFAULT, "value": float("nan")}), "not finite"),
        ("threshold", json.dumps({**DEFAULT, "value": float("inf")}), "not finite"),
        ("threshold", json.dumps({**DEFAULT, "value": None}), "contradicts"),
        ("threshold", json.dumps({**DEFAULT, "value": 2.5}), "its graph 1.5"),
        ("threshold", json.dumps({**DEFAULT, "value": int("9" * 400)}), "contradicts"),
        ("input", json.dumps({"size": 8, "resize": "crop"}), f"resize is not {RULE}"),
        ("input", json.dumps({"size": 0, "resize": RULE}), "size"),
        ("input", json.dumps({"size": 10**6, "resize": RULE}), "size"),
        ("input", json.dumps({"size": "8", "resize": RULE}), "size"),
        ("metrics", "3", "no object"),
    ],
)
def test_metadata_that_makes_no_sense(write: Write, key: str, value: str, says: str) -> None:
    assert says in refusal(write(changes={key: value}))


def test_a_key_twice(proto: Proto, write: Write) -> None:
    data = proto().SerializeToString()
    path = write(sealed=False)
    path.write_bytes(data + b"\x72\x18\x0a\x14edgedistill.contract\x12\x00")
    assert onnx.load(path).metadata_props[-1].key == "edgedistill.contract"
    assert "not an ONNX file" in refusal(path)


def _initializer(model: onnx.ModelProto) -> TensorProto:
    return model.graph.initializer[0]


def _constant(model: onnx.ModelProto) -> TensorProto:
    model.graph.node.append(helper.make_node("Constant", [], ["c"], value=_tensor()))
    return model.graph.node[-1].attribute[0].t


def _sparse(model: onnx.ModelProto) -> TensorProto:
    index = numpy_helper.from_array(np.array([0]), "i")
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(_tensor(), index, [3]))
    return model.graph.sparse_initializer[0].values


def _branch(model: onnx.ModelProto) -> TensorProto:
    out = helper.make_tensor_value_info("w", TensorProto.FLOAT, [1])
    inner = helper.make_graph([], "then", [], [out], [_tensor()])
    model.graph.node.append(
        helper.make_node("If", ["rejected"], ["w2"], then_branch=inner, else_branch=inner)
    )
    return model.graph.node[-1].attribute[0].g.initializer[0]


def _function(model: onnx.ModelProto) -> TensorProto:
    node = helper.make_node("Constant", [], ["c"], value=_tensor())
    opset = [helper.make_opsetid("", 17)]
    model.functions.append(helper.make_function("local", "F", [], ["c"], [node], opset))
    return model.functions[0].node[0].attribute[0].t


def _tensor() -> TensorProto:
    return numpy_helper.from_array(np.ones(1, np.float32), "w")


@pytest.mark.parametrize("place", [_initializer, _constant, _sparse, _branch, _function])
def test_weights_in_another_file(
    proto: Proto, write: Write, place: Callable[[onnx.ModelProto], TensorProto]
) -> None:
    model = proto()
    external_data_helper.set_external_data(place(model), "../../etc/passwd")
    assert "keeps weights in other files" in refusal(write(model))


def test_the_lowest_threshold_rejects_nothing(proto: Proto, write: Write) -> None:
    lowest = float(np.finfo(np.float32).min)
    classifier = Classifier(write(proto(threshold=lowest)), threads=1)
    assert classifier.threshold == lowest
    assert classifier.predict(np.zeros((2, 2, 3), np.uint8)).known


def test_a_scalar_is_found_however_it_is_stored(proto: Proto, write: Write) -> None:
    model = proto()
    stored = next(t for t in model.graph.initializer if t.name == "threshold")
    stored.CopyFrom(helper.make_tensor("threshold", TensorProto.FLOAT, [], [1.5]))
    assert stored.float_data and not stored.raw_data
    assert read_model(write(model))[1].threshold == 1.5


def test_a_vector_is_no_threshold(proto: Proto, write: Write) -> None:
    model = proto()
    stored = next(t for t in model.graph.initializer if t.name == "threshold")
    stored.CopyFrom(numpy_helper.from_array(np.array([1.5], np.float32), "threshold"))
    assert "its graph none" in refusal(write(model))


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.binary(max_size=200))
@example(b"\x3a\x02\x2a\x7f")
@example(b"\x3a" + b"\xff" * 12)
def test_any_bytes_are_scanned_or_refused(data: bytes) -> None:
    try:
        found = scan(data)
    except WireError:
        return
    assert found.graphs >= 0


def nested(depth: int) -> bytes:
    """A model whose graph holds a node with a graph, and so on."""
    graph = b""
    for _ in range(depth):
        for number in (6, 5, 1):
            size = len(graph)
            length = bytes([size & 0x7F | 0x80, size >> 7 & 0x7F | 0x80, size >> 14])
            graph = bytes([number << 3 | 2]) + length + graph
    size = len(graph)
    return b"\x3a" + bytes([size & 0x7F | 0x80, size >> 7 & 0x7F | 0x80, size >> 14]) + graph


def test_nesting_is_bounded() -> None:
    assert scan(nested(8)).graphs == 1
    with pytest.raises(WireError, match="nested too deep"):
        scan(nested(5000))


@settings(max_examples=150, deadline=None, derandomize=True)
@given(data=st.data())
def test_a_mutated_model_never_answers(
    model: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    content = bytearray(model.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content) - 1))
        match data.draw(st.sampled_from(["set", "insert", "delete", "cut", "repeat"])):
            case "set":
                content[at] = data.draw(st.integers(0, 255))
            case "insert":
                content.insert(at, data.draw(st.integers(0, 255)))
            case "delete":
                del content[at : at + data.draw(st.integers(1, 8))]
            case "cut":
                del content[max(at, 1) :]
            case "repeat":
                content[at:at] = content[at : at + data.draw(st.integers(1, 40))]
        content = content or bytearray(b"\0")
    path = tmp_path_factory.getbasetemp() / "mutated.onnx"
    path.write_bytes(content)
    if bytes(content) == model.read_bytes():
        return
    with raises(ModelFileError, path):
        Classifier(path)


def test_onnxruntime_reads_what_we_read(model: Path) -> None:
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    said = session.get_modelmeta().custom_metadata_map
    assert said == {key: text for key, (text, _) in scan(model.read_bytes()).metadata.items()}
