"""Protobuf reader for the metadata of an ONNX file, its default threshold and external tensors.

A file is read by it before onnxruntime sees the file, without onnx. `benchmarks/libraries/
model_reader.json` records why neither library does it: onnxruntime loads foreign models, and nearly
all copies of a model with a flipped bit, half of which answer otherwise; onnx costs a device 24 MB
and 0.2 s per start, and reads 2 GiB of zeros before it refuses them. google.protobuf alone tells no
offsets, which the checksum and its renewal need, and copies the weights.

ONNX is protobuf: a message is a list of fields, each a number and a value. Only the fields that
matter here are followed; field numbers are those of onnx.proto (https://onnx.ai), which never
change. Nothing is copied: values are spans of the file.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

_MODEL_GRAPH, _MODEL_METADATA, _MODEL_FUNCTIONS = 7, 14, 25
_ENTRY_KEY, _ENTRY_VALUE = 1, 2
_GRAPH_NODE, _GRAPH_TENSOR, _GRAPH_SPARSE = 1, 5, 15
_FUNCTION_NODE = 7
_NODE_ATTRIBUTE = 5
# One or several tensors, graphs or sparse tensors in an attribute.
_ATTRIBUTE_TENSORS, _ATTRIBUTE_GRAPHS, _ATTRIBUTE_SPARSE = (5, 10), (6, 11), (22, 23)
_SPARSE_TENSORS = (1, 2)
_TENSOR_DIMS, _TENSOR_TYPE, _TENSOR_FLOATS, _TENSOR_NAME, _TENSOR_RAW = 1, 2, 4, 8, 9
_TENSOR_EXTERNAL, _TENSOR_LOCATION = 13, 14
_FLOAT = 1
_MAX_DEPTH = 16

Span = tuple[int, int]
# Field number, value of a varint (0 for other wire types), span of the value's bytes.
Field = tuple[int, int, Span]


class WireError(Exception):
    """Bytes that neither protobuf nor ONNX would have written."""


@dataclass
class Scan:
    """Parts of a ModelProto.

    Attributes:
        metadata: key -> text and span of the text in the file.
        scalars: float32 scalars among the graph's initializers, by name.
        graphs: how many graphs the model has at its top.
        external: whether some tensor keeps its data in another file.
    """

    metadata: dict[str, tuple[str, Span]] = field(default_factory=dict)
    scalars: dict[str, float] = field(default_factory=dict)
    graphs: int = 0
    external: bool = False


def scan(data: bytes) -> Scan:
    """Read the parts of a serialized ModelProto.

    Raises:
        WireError: bytes that are no protobuf, graphs nested too deep, or a metadata key twice.
    """
    result = Scan()
    for number, _, span in _fields(data, (0, len(data))):
        if number == _MODEL_GRAPH:
            result.graphs += 1
            _graph(data, span, result, 0)
        elif number == _MODEL_METADATA:
            _metadata(data, span, result)
        elif number == _MODEL_FUNCTIONS:
            for inner, _, node in _fields(data, span):
                if inner == _FUNCTION_NODE:
                    _node(data, node, result, 0)
    return result


def metadata_entry(key: str, value: str) -> bytes:
    """Bytes that add a metadata entry when they are appended to a serialized ModelProto."""
    entry = _text_field(_ENTRY_KEY, key.encode()) + _text_field(_ENTRY_VALUE, value.encode())
    return _text_field(_MODEL_METADATA, entry)


def _graph(data: bytes, span: Span, result: Scan, depth: int) -> None:
    if depth > _MAX_DEPTH:
        raise WireError("graphs nested too deep")
    for number, _, inner in _fields(data, span):
        if number == _GRAPH_NODE:
            _node(data, inner, result, depth)
        elif number == _GRAPH_TENSOR:
            _tensor(data, inner, result, top=depth == 0)
        elif number == _GRAPH_SPARSE:
            _sparse(data, inner, result)


def _node(data: bytes, span: Span, result: Scan, depth: int) -> None:
    for number, _, attribute in _fields(data, span):
        if number != _NODE_ATTRIBUTE:
            continue
        for kind, _, inner in _fields(data, attribute):
            if kind in _ATTRIBUTE_TENSORS:
                _tensor(data, inner, result, top=False)
            elif kind in _ATTRIBUTE_GRAPHS:
                _graph(data, inner, result, depth + 1)
            elif kind in _ATTRIBUTE_SPARSE:
                _sparse(data, inner, result)


def _sparse(data: bytes, span: Span, result: Scan) -> None:
    for number, _, inner in _fields(data, span):
        if number in _SPARSE_TENSORS:
            _tensor(data, inner, result, top=False)


def _tensor(data: bytes, span: Span, result: Scan, top: bool) -> None:
    name, raw, scalar, kind = "", b"", True, 0
    for number, value, (start, end) in _fields(data, span):
        if number == _TENSOR_DIMS:
            scalar = False
        elif number == _TENSOR_TYPE:
            kind = value
        elif number == _TENSOR_NAME:
            name = _text(data, (start, end))
        elif number in (_TENSOR_RAW, _TENSOR_FLOATS) and end - start == 4:
            raw = data[start:end]
        elif number == _TENSOR_EXTERNAL or (number == _TENSOR_LOCATION and value != 0):
            result.external = True
    if top and scalar and kind == _FLOAT and raw:
        result.scalars[name] = struct.unpack("<f", raw)[0]


def _metadata(data: bytes, span: Span, result: Scan) -> None:
    spans = {number: inner for number, _, inner in _fields(data, span)}
    key = _text(data, spans.get(_ENTRY_KEY, (0, 0)))
    value = spans.get(_ENTRY_VALUE, (0, 0))
    if key in result.metadata:
        raise WireError(f"metadata {key!r} twice")
    result.metadata[key] = (_text(data, value), value)


def _text(data: bytes, span: Span) -> str:
    try:
        return data[span[0] : span[1]].decode()
    except UnicodeDecodeError:
        raise WireError("a text that is not UTF-8") from None


def _fields(data: bytes, span: Span) -> Iterator[Field]:
    at, end = span
    while at < end:
        tag, at = _varint(data, at, end)
        number, wire = tag >> 3, tag & 7
        value, start = 0, at
        if wire == 0:
            value, at = _varint(data, at, end)
        elif wire == 1:
            at += 8
        elif wire == 2:
            length, start = _varint(data, at, end)
            at = start + length
        elif wire == 5:
            at += 4
        else:
            raise WireError(f"wire type {wire}")
        if at > end or number == 0:
            raise WireError("a field beyond the end")
        yield number, value, (start, at)


def _varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= end:
            break
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise WireError("a number beyond the end")


def _text_field(number: int, text: bytes) -> bytes:
    return bytes([number << 3 | 2]) + _length(len(text)) + text


def _length(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])
