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

from edgedistill.errors import ModelFault, ModelFileError
from edgedistill.runtime import Classifier
from edgedistill.runtime.contract import CHECKSUM_KEY, read_model, seal
from edgedistill.runtime.protobuf import WireError, scan

Write = Callable[..., Path]
Proto = Callable[..., onnx.ModelProto]


def assert_refused(path: Path, fault: ModelFault, *culprits: str | Path) -> None:
    with raises(ModelFileError, path, *culprits) as error:
        read_model(path)
    assert error.value.fault == fault
    assert str(error.value).startswith(f"{path}: ")


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
    metadata = {p.key: p.value for p in sealed.metadata_props}
    assert re.fullmatch("[0-9a-f]{8}", metadata.pop(CHECKSUM_KEY))
    assert metadata == {p.key: p.value for p in plain.metadata_props}
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
    assert_refused(path, "damaged")
    path.write_bytes(seal(changed.SerializeToString()))
    assert read_model(path)[1].classes == ("red", "green", "blue")


def test_what_cannot_be_sealed() -> None:
    with raises(ModelFileError):
        seal(b"\xff\xff")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<!DOCTYPE html><html>404</html>",
        b"PK\x03\x04 an archive",
        bytes(4096),
        b"\x08\x08",
        random.Random(0).randbytes(100_000),
    ],
    ids=["empty", "html", "zip", "zeros", "no graph", "noise"],
)
def test_no_onnx(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "student.onnx"
    path.write_bytes(content)
    assert_refused(path, "no model")


def test_a_git_lfs_pointer_names_the_command_that_gets_the_file(tmp_path: Path) -> None:
    path = tmp_path / "student.onnx"
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    assert_refused(path, "no model", "git lfs pull")


def test_an_image_by_another_name(tmp_path: Path) -> None:
    path = tmp_path / "student.onnx"
    Image.new("RGB", (40, 40), "red").save(path, "PNG")
    assert_refused(path, "no model")


def test_places_without_a_file(tmp_path: Path, model: Path) -> None:
    assert_refused(tmp_path / "none.onnx", "missing")
    assert_refused(tmp_path, "missing")
    inside = tmp_path / "student.onnx"
    inside.write_bytes(model.read_bytes())
    assert_refused(tmp_path, "missing", inside)
    assert_refused(Path(os.devnull), "missing")
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    assert_refused(fifo, "missing")
    with raises(ModelFileError, r"a\x00b") as error:
        read_model("a\0b")
    assert error.value.fault == "missing"


def test_too_large_a_file_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "film.onnx"
    with path.open("wb") as file:
        file.truncate(2**31)
    assert_refused(path, "no model", "2 GiB")


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
    assert_refused(write(model), "foreign", "edgedistill export --onnx")


def test_another_contract(write: Write) -> None:
    assert_refused(write(changes={"contract": "2"}), "contract", "'2'", "'1'")


def test_no_seal(write: Write) -> None:
    assert_refused(write(sealed=False), "damaged", CHECKSUM_KEY)


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
    assert_refused(write(changes={key: None}), "metadata", key)


DEFAULT = {"value": 1.5, "acceptance": 0.95, "calibration": "x", "images": 2}
RULE = "pillow-bilinear-stretch/1"


@pytest.mark.parametrize(
    ("key", "value", "culprits"),
    [
        ("classes", "[]", ("classes",)),
        ("classes", '{"red": 0}', ("classes",)),
        ("classes", '["red", "", "blue"]', ("classes",)),
        ("classes", '["red", 3, "blue"]', ("classes",)),
        ("classes", '["red", "red", "blue"]', ("classes",)),
        # Where the JSON itself cannot be read, its parser says only at which column.
        ("classes", "[red", ()),
        ("classes", "[" * 100_000, ()),
        ("unknown_label", "3", ("unknown_label",)),
        ("threshold", "1.5", ()),
        ("threshold", json.dumps({**DEFAULT, "value": float("nan")}), ("threshold",)),
        ("threshold", json.dumps({**DEFAULT, "value": float("inf")}), ("threshold",)),
        ("threshold", json.dumps({**DEFAULT, "value": None}), ()),
        ("threshold", json.dumps({**DEFAULT, "value": 2.5}), ("threshold", "2.5", "1.5")),
        ("threshold", json.dumps({**DEFAULT, "value": int("9" * 400)}), ()),
        ("input", json.dumps({"size": 8, "resize": "crop"}), ("input", "resize", RULE)),
        ("input", json.dumps({"size": 0, "resize": RULE}), ("input", "size")),
        ("input", json.dumps({"size": 10**6, "resize": RULE}), ("input", "size")),
        ("input", json.dumps({"size": "8", "resize": RULE}), ("input", "size")),
        ("metrics", "3", ("metrics",)),
    ],
)
def test_metadata_that_makes_no_sense(
    write: Write, key: str, value: str, culprits: tuple[str, ...]
) -> None:
    assert_refused(write(changes={key: value}), "metadata", *culprits)


def test_a_key_twice(proto: Proto, write: Write) -> None:
    data = proto().SerializeToString()
    path = write(sealed=False)
    path.write_bytes(data + b"\x72\x18\x0a\x14edgedistill.contract\x12\x00")
    assert onnx.load(path).metadata_props[-1].key == "edgedistill.contract"
    assert_refused(path, "no model")


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
    assert_refused(write(model), "external")


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
    assert_refused(write(model), "metadata", "threshold", "1.5")


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.binary(max_size=200))
@example(b"\x3a\x02\x2a\x7f")
@example(b"\x3a" + b"\xff" * 12)
def test_any_bytes_are_scanned_or_refused(data: bytes) -> None:
    try:
        parts = scan(data)
    except WireError:
        return
    assert parts.graphs >= 0


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
    with pytest.raises(WireError):
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
    metadata = session.get_modelmeta().custom_metadata_map
    assert metadata == {key: text for key, (text, _) in scan(model.read_bytes()).metadata.items()}
