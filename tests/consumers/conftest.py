"""Model files, pictures, installed npm packages, and a browser, for the programs in export/."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import tomli_w
from filelock import FileLock
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from edgedistill.export.int8 import observe, to_int8
from edgedistill.export.policy import node_kinds
from edgedistill.onnx_file import read_model, seal
from edgedistill.pixels import read_rgb

EXPORT = Path(__file__).parents[2] / "export"
CLASSES = ("bird", "écureuil roux", "<b>ladder</b>", "zebra \U0001f993")
SIZE = 24
# How far scores and probabilities of two builds of onnxruntime may be apart. Integer kernels of
# different processors may round a value to the next step.
TOLERANCE = {"exported": 1e-4, "crafted": 1e-4, "quantised": 0.05}
THRESHOLD = 0.75


@pytest.fixture(scope="session")
def crafted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model of the contract: random convolutions, so that every pixel matters."""
    path = tmp_path_factory.mktemp("crafted") / "student.onnx"
    path.write_bytes(seal(_craft()))
    return path


@pytest.fixture(scope="session")
def craft() -> Callable[..., bytes]:
    """The model behind `crafted`, unsealed, with some metadata changed."""
    return _craft


def _craft(**metadata: str) -> bytes:
    rng = np.random.default_rng(5)
    constants = {
        "kernel": rng.normal(0, 0.5, (8, 3, 5, 5)).astype(np.float32),
        "weights": rng.normal(0, 3, (8, len(CLASSES))).astype(np.float32),
        "range": np.float32(1 / 255),
        "centre": np.float32(0.5),
        "threshold": np.float32(THRESHOLD),
        "unknown": np.int64(-1),
    }
    nodes = [
        helper.make_node("Cast", ["image"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["pixels", "range"], ["scaled"]),
        helper.make_node("Sub", ["scaled", "centre"], ["centred"]),
        helper.make_node("Transpose", ["centred"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["planes", "kernel"], ["found"], strides=[2, 2]),
        helper.make_node("Relu", ["found"], ["features"]),
        helper.make_node("ReduceMean", ["features"], ["pooled"], axes=[2, 3], keepdims=0),
        helper.make_node("MatMul", ["pooled", "weights"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
        helper.make_node("ReduceMax", ["logits"], ["score"], axes=[1], keepdims=0),
        helper.make_node("ArgMax", ["logits"], ["best"], axis=1, keepdims=0),
        helper.make_node("Less", ["score", "threshold"], ["rejected"]),
        helper.make_node("Where", ["rejected", "unknown", "best"], ["label"]),
    ]
    shape = ["N", SIZE, SIZE, 3]
    graph = helper.make_graph(
        nodes,
        "student",
        [
            helper.make_tensor_value_info("image", TensorProto.UINT8, shape),
            helper.make_tensor_value_info("threshold", TensorProto.FLOAT, []),
        ],
        [
            helper.make_tensor_value_info("label", TensorProto.INT64, ["N"]),
            helper.make_tensor_value_info("score", TensorProto.FLOAT, ["N"]),
            helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", len(CLASSES)]),
        ],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    calibration = {"value": THRESHOLD, "acceptance": 0.95, "calibration": "none", "images": 40}
    told = {
        "contract": "1",
        "classes": json.dumps(CLASSES),
        "unknown_label": "-1",
        "score": "max_logit",
        "threshold": json.dumps(calibration),
        "input": json.dumps({"size": SIZE, "resize": "pillow-bilinear-stretch/1"}),
        "precision": "fp32",
        "recipe_sha256": "0" * 64,
        "version": "0.1.0",
        "metrics": json.dumps({"target": {}, "source_val": {}}),
        "student": "crafted",
        "method": "none",
    }
    helper.set_model_props(model, {f"edgedistill.{k}": v for k, v in (told | metadata).items()})
    data: bytes = model.SerializeToString()
    return data


@pytest.fixture(scope="session")
def exported(
    tmp_path_factory: pytest.TempPathFactory,
    private_cache: Path,
    tree_of: Callable[..., dict[str, Any]],
) -> Path:
    """What `edgedistill export --onnx` makes of a tiny run."""
    folder = tmp_path_factory.mktemp("exported")
    recipe = folder / "tiny.toml"
    # Random weights would answer nearly the same to every image.
    tree = tree_of(student={"weights": "embedded"}, method={"name": "erm"})
    recipe.write_text(tomli_w.dumps(tree))
    runs = ["--runs", str(folder / "runs")]
    for arguments in (["run", str(recipe), *runs], ["export", "--onnx", "-o", "x.onnx", *runs]):
        done = subprocess.run(
            [sys.executable, "-m", "edgedistill", *arguments],
            cwd=folder,
            env={**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    return folder / "x.onnx"


@pytest.fixture(scope="session")
def quantised(exported: Path, pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`exported` in int8, with every kind of node that can be in integers."""
    data, info = read_model(exported)
    model = onnx.load_from_string(data)
    nodes = [name for name, kind in node_kinds(model.graph).items() if kind != "classifier"]
    views = np.stack([read_rgb(file, info.size) for file in sorted(pictures.iterdir())])
    made = to_int8(observe(model, nodes, views), nodes)
    told = {entry.key: entry.value for entry in model.metadata_props}
    helper.set_model_props(made, told | {"edgedistill.precision": "int8"})
    path = tmp_path_factory.mktemp("quantised") / "student-int8.onnx"
    path.write_bytes(seal(made.SerializeToString()))
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
def soft_picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A half-transparent picture, which a canvas cannot lay on white to the bit."""
    path = tmp_path_factory.mktemp("soft") / "soft.png"
    rng = np.random.default_rng(12)
    Image.fromarray(rng.integers(0, 256, (48, 64, 4), dtype=np.uint8)).save(path)
    return path


def _program(name: str, what: str) -> str:
    """Where a program is. Without it a test is skipped, but in CI, which installs it, it fails."""
    found = shutil.which(name)
    if found is None:
        missing = pytest.fail if os.environ.get("CI") else pytest.skip
        missing(f"needs {what}, which is not installed")
    return str(found)


def npm_folder(name: str) -> Path:
    """A copy of export/NAME and export/js with its npm packages, kept from run to run."""
    lock = (EXPORT / name / "package-lock.json").read_bytes()
    digest = hashlib.sha256(lock).hexdigest()[:16]
    root = Path(os.environ.get("EDGEDISTILL_TEST_NPM", tempfile.gettempdir()))
    kept = root / f"edgedistill-npm-{os.getuid()}" / f"{name}-{digest}"
    kept.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{kept}.lock"):
        if not (kept / "complete").exists():
            for file in ("package.json", "package-lock.json", ".npmrc"):
                shutil.copy(EXPORT / name / file, kept)
            command = ["npm", "ci", "--prefer-offline", "--no-audit", "--no-fund"]
            done = subprocess.run(command, cwd=kept, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
            (kept / "complete").touch()
    return kept / "node_modules"


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Copy a consumer out of the repository, with the packages it names."""
    _program("npm", "Node.js 20.9 or newer with npm")

    def copy(name: str) -> Path:
        folder = tmp_path_factory.mktemp(f"npm-{name}")
        shutil.copytree(EXPORT / "js", folder / "js")
        ignored = shutil.ignore_patterns("node_modules", "dist")
        shutil.copytree(EXPORT / name, folder / name, ignore=ignored)
        (folder / name / "node_modules").symlink_to(npm_folder(name))
        return folder / name

    return copy


@pytest.fixture(scope="session")
def node() -> Callable[..., str]:
    """Run a script of Node.js that may import from export/js; what it prints."""
    program = _program("node", "Node.js 20.9 or newer")

    def run(script: str, *arguments: Path | str) -> str:
        command = [program, "--input-type=module", "-e", script, "--", *map(str, arguments)]
        done = subprocess.run(command, cwd=EXPORT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


class Page:
    """A tab of a headless Chromium, over the DevTools protocol on a pair of pipes."""

    def __init__(self, chromium: str, profile: Path) -> None:
        # Chromium reads at 3 and writes at 4; the ends must not be those numbers already.
        their_in, our_out = (_high(fd) for fd in os.pipe())
        our_in, their_out = (_high(fd) for fd in os.pipe())
        flags = (
            "--headless --remote-debugging-pipe --no-sandbox --disable-gpu --disable-dev-shm-usage "
            "--no-first-run --disable-background-networking --disable-component-update "
            "--disable-sync --disable-quic --disable-extensions --force-color-profile=srgb "
            "--use-fake-device-for-media-stream --use-fake-ui-for-media-stream"
        )
        self._process = subprocess.Popen(
            [
                sys.executable,
                "-ISc",
                "import os, sys; fds = map(int, sys.argv[1:3]); os.dup2(next(fds), 3); "
                "os.dup2(next(fds), 4); os.execv(sys.argv[3], sys.argv[3:])",
                str(their_in),
                str(their_out),
                chromium,
                *flags.split(),
                f"--user-data-dir={profile}",
                "about:blank",
            ],
            pass_fds=(their_in, their_out),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(their_in)
        os.close(their_out)
        self._in, self._out = our_in, our_out
        self._buffer = b""
        self._number = 0
        self._session: str | None = None
        self.log: list[str] = []
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        attached = self.send("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "DOM", "Accessibility"):
            self.send(f"{domain}.enable")

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        message |= {"sessionId": self._session} if self._session else {}
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == self._number:
                assert "error" not in answer, (method, answer["error"])
                result: dict[str, Any] = answer["result"]
                return result
            self._note(answer)

    def _receive(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._in], [], [], 300)
            assert ready, "Chromium does not answer"
            chunk = os.read(self._in, 1 << 20)
            assert chunk, "Chromium has ended"
            self._buffer += chunk
        message, _, self._buffer = self._buffer.partition(b"\0")
        answer: dict[str, Any] = json.loads(message)
        return answer

    def _note(self, event: dict[str, Any]) -> None:
        parameters = event.get("params", {})
        if event.get("method") == "Runtime.exceptionThrown":
            details = parameters["exceptionDetails"]
            self.log.append(str(details.get("exception", details).get("description", details)))
        elif event.get("method") == "Log.entryAdded":
            entry = parameters["entry"]
            self.log.append(f"{entry['level']}: {entry['text']} {entry.get('url', '')}")

    def open(self, address: str) -> None:
        self.js("window.isOld = true")
        self.log.clear()
        self.send("Page.navigate", url=address)
        self.until("document.readyState === 'complete' && !window.isOld")

    def js(self, expression: str) -> Any:
        """The value of an expression in the page; a promise is waited for."""
        answer = self.send(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def until(self, condition: str) -> None:
        """Wait until an expression is true in the page."""
        wait = "new Promise((resolve) => setTimeout(resolve, 20))"
        for _ in range(6000):
            if self.js(f"{wait}.then(() => Boolean({condition}))"):
                return
        raise AssertionError(f"never happened: {condition}; {self.log}; {self.text()}")

    def text(self) -> str:
        return str(self.js("document.body.innerText"))

    def choose(self, element: str, *files: Path) -> None:
        """Choose files in a file input, as its dialog would."""
        found = self.send("Runtime.evaluate", expression=f"document.getElementById('{element}')")
        names = [str(file) for file in files]
        self.send("DOM.setFileInputFiles", files=names, objectId=found["result"]["objectId"])

    def key(self, key: str) -> None:
        codes = {"Tab": 9, "Enter": 13, "ArrowRight": 39, "Home": 36}
        event = {"key": key, "windowsVirtualKeyCode": codes[key]}
        down = {"type": "keyDown", "text": "\r"} if key == "Enter" else {"type": "rawKeyDown"}
        self.send("Input.dispatchKeyEvent", **down, **event)
        self.send("Input.dispatchKeyEvent", type="keyUp", **event)

    def screen(self, width: int, height: int, mobile: bool = False) -> None:
        self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=2 if mobile else 1,
            mobile=mobile,
        )

    def close(self) -> None:
        self._session = None
        try:
            self.send("Browser.close")
        except (AssertionError, OSError):
            self._process.kill()
        self._process.wait()
        os.close(self._in)
        os.close(self._out)


def _high(fd: int) -> int:
    moved = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 32)
    os.close(fd)
    return moved


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    chromium = _program("chromium", "Chromium (Debian: apt-get install chromium)")
    opened = Page(chromium, tmp_path_factory.mktemp("profile"))
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def serve() -> Iterator[Callable[[Path], str]]:
    """Serve a folder on this machine alone; the address of the server."""
    servers = []

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

    def start(folder: Path) -> str:
        server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}/"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()
