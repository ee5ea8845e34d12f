"""Damaged and foreign model files, opened by edgedistill.runtime, onnxruntime alone and onnx.

    python -m benchmarks.libraries.model_reader student.onnx

Every reader opens every file in a process of its own, which is limited to 8 GiB of memory. The
record holds how it ended (loaded; refused, with the first words of the message; died of a signal),
the milliseconds after imports, and the process's peak memory. Of many copies of the model, each
with one bit flipped, it holds how many were refused, answered an image as the intact model does,
and answered otherwise. `onnx` in the record is what the package would cost a device: the time of
its import, and the size of it and of what it needs beyond edgedistill's own requirements.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.script import run_script, whole
from edgedistill._utils.atomic import write_json

READERS = ("edgedistill.runtime", "onnxruntime", "onnx")
_LIMIT = 8 * 2**30


def reader(name: str) -> Callable[[Path], Any]:
    """A function that opens a model file; a session, or None where nothing could answer."""
    if name == "onnx":
        import onnx

        return lambda path: onnx.checker.check_model(onnx.load(path), full_check=True)
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    providers = ["CPUExecutionProvider"]
    if name == "onnxruntime":
        return lambda path: onnxruntime.InferenceSession(str(path), options, providers=providers)
    from edgedistill.runtime.contract import read_model

    return lambda path: onnxruntime.InferenceSession(
        read_model(path)[0], options, providers=providers
    )


def open_one(name: str, path: Path) -> dict[str, Any]:
    """How one reader ends on one file, in this process."""
    load = reader(name)
    resource.setrlimit(resource.RLIMIT_AS, (_LIMIT, _LIMIT))
    start = time.perf_counter()
    try:
        load(path)
        end = "loaded"
    except Exception as error:
        end = "refused: " + " ".join(str(error).replace(str(path), "FILE").split())[:160]
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"end": end, "ms": round(1000 * seconds, 1), "peak_mib": round(peak)}


def flip_bits(name: str, path: Path, count: int) -> dict[str, Any]:
    """How one reader ends on copies of a model with one bit flipped each, in this process."""
    load = reader(name)
    intact = path.read_bytes()
    random = np.random.default_rng(0)
    size = load(path).get_inputs()[0].shape[1]
    image = random.integers(0, 256, (1, size, size, 3), dtype=np.uint8)
    expected = load(path).run(None, {"image": image})
    ends: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "flipped.onnx"
        for _ in range(count):
            at, bit = int(random.integers(len(intact))), int(random.integers(8))
            copy.write_bytes(intact[:at] + bytes([intact[at] ^ 1 << bit]) + intact[at + 1 :])
            try:
                outputs = load(copy).run(None, {"image": image})
            except Exception:
                ends["refused"] += 1
                continue
            same = all(np.array_equal(a, b) for a, b in zip(outputs, expected, strict=True))
            ends["same answer" if same else "another answer"] += 1
    return {"copies": count, **ends}


def cost_of_onnx() -> dict[str, float]:
    """Milliseconds of `import onnx`, the median of five processes, and its MiB on disk."""
    code = (
        "import time, numpy; s = time.perf_counter(); import onnx; print(time.perf_counter() - s)"
    )
    seconds = [float(subprocess.check_output([sys.executable, "-c", code])) for _ in range(5)]
    size = 0
    for package in ("onnx", "ml_dtypes"):
        files = metadata.files(package) or ()
        size += sum(f.size or 0 for f in files)
    return {"import_ms": round(1000 * median(seconds)), "mib": round(size / 2**20, 1)}


def nested(depth: int) -> bytes:
    """A model whose graph holds a node with a graph, and so on."""
    message = b""
    for _ in range(depth):
        for number in (6, 5, 1):
            message = bytes([number << 3 | 2]) + varint(len(message)) + message
    return b"\x3a" + varint(len(message)) + message


def varint(value: int) -> bytes:
    digits = bytearray()
    while value >= 0x80:
        digits.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*digits, value])


def write_files(model: Path, folder: Path) -> dict[str, Path]:
    """Files that are no intact exported model, by what is wrong with them; and the intact one."""
    import onnx
    from onnx import TensorProto, external_data_helper, helper

    data = model.read_bytes()
    contents: dict[str, bytes] = {
        "empty": b"",
        "HTML": b"<!DOCTYPE html><html>404</html>",
        "zeros": bytes(4096),
        "noise": np.random.default_rng(0).bytes(100_000),
        "cut in half": data[: len(data) // 2],
        "last byte missing": data[:-1],
        "graphs nested 5000 deep": nested(5000),
        "metadata key twice": data + b"\x72\x18\x0a\x14edgedistill.contract\x12\x00",
    }
    external = onnx.load_from_string(data)
    external_data_helper.set_external_data(external.graph.initializer[0], "../../etc/passwd")
    contents["weights in another file"] = external.SerializeToString()
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    foreign = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])],
        "foreign",
        [value],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])],
    )
    opset = [helper.make_opsetid("", 18)]
    contents["another ONNX model"] = helper.make_model(
        foreign, ir_version=8, opset_imports=opset
    ).SerializeToString()
    huge = helper.make_node("ConstantOfShape", ["s"], ["h"])
    large = onnx.load_from_string(data)
    large.graph.initializer.append(helper.make_tensor("s", TensorProto.INT64, [1], [2**30]))
    large.graph.node.insert(0, huge)
    large.graph.output.append(helper.make_tensor_value_info("h", TensorProto.FLOAT, [2**30]))
    contents["4 GiB made by a constant"] = large.SerializeToString()
    files = {"intact": model}
    for number, (title, content) in enumerate(contents.items()):
        files[title] = folder / f"{number}.onnx"
        files[title].write_bytes(content)
    sparse = files["zeros in 2 GiB"] = folder / "sparse.onnx"
    with sparse.open("wb") as file:
        file.truncate(2**31)
    return files


def in_process(*arguments: str) -> dict[str, Any]:
    """What this script says in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.libraries.model_reader", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    if done.returncode < 0:
        return {"end": f"died of signal {-done.returncode}"}
    if done.returncode:
        return {"end": f"status {done.returncode}: {done.stderr.strip()[-200:]}"}
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description="Hostile model files in three readers.")
    parser.add_argument("model", type=Path, help="an exported .onnx file")
    parser.add_argument("--flips", type=whole(0, 100_000), default=300)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("model_reader.json"))
    parser.add_argument("--open", metavar="READER", choices=READERS, help=argparse.SUPPRESS)
    parser.add_argument("--flip", metavar="READER", choices=READERS[:2], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.open:
        print(json.dumps(open_one(options.open, options.model)))
        return
    if options.flip:
        print(json.dumps(flip_bits(options.flip, options.model, options.flips)))
        return
    record: dict[str, Any] = {"bytes": options.model.stat().st_size, "onnx": cost_of_onnx()}
    record |= {"files": {}, "flipped": {}}
    with tempfile.TemporaryDirectory() as folder:
        for title, path in write_files(options.model, Path(folder)).items():
            record["files"][title] = {n: in_process(str(path), "--open", n) for n in READERS}
            print(title, json.dumps(record["files"][title]), flush=True)
    for name in READERS[:2]:
        flips = ("--flips", str(options.flips))
        record["flipped"][name] = in_process(str(options.model), "--flip", name, *flips)
        print("flipped", name, record["flipped"][name], flush=True)
    write_json(options.out, record)


if __name__ == "__main__":
    run_script(main)
