"""Fixtures of several folders of tests: tiny images, a tiny CLIP, small exported files, a cache."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import UnionType
from typing import (
    TYPE_CHECKING,
    Any,
    Literal,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from PIL import Image, ImageDraw
from xdist.scheduler import LoadFileScheduling, Scheduling

# The process that hands out the tests to others reads this file too: torch and onnx are imported
# where they are used.
if TYPE_CHECKING:
    import onnx
    from xdist.remote import Producer

# A shell starts background jobs with SIGINT ignored, and children would inherit that: the tests
# of Ctrl-C must not depend on how they were started.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Nothing may depend on how fast or busy a machine is, nor on which examples are drawn today.
settings.register_profile(
    "steady",
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("steady")

DOMAINS = {"paint": "white", "night": "black", "paper": "wheat", "sea": "steelblue"}
CLASSES = ("circle", "cross", "square", "star", "tall_bar")
IMAGES, SIDE = 12, 40
# Of the small exported files, built node by node.
COLORS = ("red", "green", "blue")
MODEL_SIZE = 8
THRESHOLD = 1.5
# The score is twelve times the mean of the strongest channel in 0..1.
SCALE = 12.0
CLIP_CONFIG: dict[str, Any] = {
    "model_cfg": {
        "embed_dim": 16,
        "vision_cfg": {
            "image_size": 32,
            "layers": 2,
            "width": 32,
            "head_width": 16,
            "patch_size": 8,
        },
        "text_cfg": {
            "context_length": 32,
            # 256 bytes, each also as the end of a word, two merges and the two end marks.
            "vocab_size": 512 + 2 + 2,
            "width": 32,
            "heads": 2,
            "layers": 2,
            "tokenizer_kwargs": {"bpe_path": "merges.txt.gz"},
        },
    },
    "preprocess_cfg": {
        "mean": [0.5, 0.4, 0.3],
        "std": [0.2, 0.25, 0.3],
        "interpolation": "bilinear",
    },
}


PROCESSES = 2
CLIENTS = "tests/clients/"
LONGEST = "test_distributed.py"
WITHOUT_PACKAGES = Path(__file__).parent / "programs" / "without_packages.py"
# What only training needs.
TRAINING = (
    "filelock",
    "jinja2",
    "matplotlib",
    "onnx",
    "open_clip",
    "platformdirs",
    "safetensors",
    "scipy",
    "sklearn",
    "timm",
    "tomli_w",
    "torch",
    "torchvision",
)


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Processes of `-n auto`: two for the whole fast suite, where most tests keep one core busy.

    What is chosen by path, keyword or marker is less than two imports of torch would gain, and the
    slow tests keep a machine busy one by one.
    """
    whole = config.args_source is pytest.Config.ArgsSource.TESTPATHS
    chosen = config.option.keyword or config.option.markexpr != "not slow"
    return PROCESSES if whole and not chosen and (os.cpu_count() or 1) >= PROCESSES else 0


class ByFile(LoadFileScheduling):  # type: ignore[misc]
    """`--dist loadfile`, but one process for all of tests/clients, which share an exported run."""

    def _split_scope(self, nodeid: str) -> str:
        return CLIENTS if nodeid.startswith(CLIENTS) else super()._split_scope(nodeid)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Scheduling | None:
    """See `ByFile`."""
    return ByFile(config, log) if config.option.dist == "loadfile" else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest file first: at the end it would leave the other process idle."""
    items.sort(key=lambda item: item.path.name != LONGEST)


@pytest.fixture(scope="session", autouse=True)
def private_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Nothing of the user's cache is read or written, and one thread is enough for tiny sizes."""
    import torch

    folder = tmp_path_factory.mktemp("cache")
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEDISTILL_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="session")
def without_packages() -> Callable[..., subprocess.Popen[bytes]]:
    """Start a program, FILE or -m MODULE with arguments, that cannot import some packages.

    A `forbidden` package ends it; one that is `missing` is an ImportError.
    """

    def start(
        *program: str | Path,
        forbidden: Sequence[str] = (),
        missing: Sequence[str] = (),
        cwd: Path | None = None,
    ) -> subprocess.Popen[bytes]:
        packages = (",".join(forbidden), ",".join(missing))
        settings = {"OMP_NUM_THREADS": "1", "PYTHONUTF8": "1", "PYTHONWARNINGS": "default"}
        return subprocess.Popen(
            [sys.executable, WITHOUT_PACKAGES, *packages, *program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=cwd,
            env={**os.environ, **settings},
        )

    return start


@pytest.fixture(scope="session")
def on_device(
    without_packages: Callable[..., subprocess.Popen[bytes]],
) -> Callable[..., subprocess.Popen[bytes]]:
    """The same of a program that may import nothing of what only training needs."""

    def start(
        *program: str | Path, forbidden: Sequence[str] = (), **options: Any
    ) -> subprocess.Popen[bytes]:
        return without_packages(*program, forbidden=(*TRAINING, *forbidden), **options)

    return start


@pytest.fixture(scope="session")
def mismatches() -> Callable[[Any, Any], list[str]]:
    """Where a value of JSON is not what a TypedDict says, key by key; [] is agreement."""
    return lambda value, hint: list(_mismatches(value, hint, "result"))


@pytest.fixture(scope="session")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tree domain/class/NN.png of coloured shapes on four backgrounds."""
    root = tmp_path_factory.mktemp("shapes")
    rng = np.random.default_rng(7)
    for domain, background in DOMAINS.items():
        for name in CLASSES:
            folder = root / domain / name
            folder.mkdir(parents=True)
            for number in range(IMAGES):
                _draw(name, background, rng).save(folder / f"{number:02d}.png")
    return root


@pytest.fixture(scope="session")
def tiny_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An open_clip model of random weights in a folder that `local-dir:` loads."""
    import open_clip
    import torch
    from safetensors.torch import save_file

    folder = tmp_path_factory.mktemp("clip")
    (folder / "open_clip_config.json").write_text(json.dumps(CLIP_CONFIG))
    merges = "#version: 0.2\nt h\nth e</w>"
    (folder / "merges.txt.gz").write_bytes(gzip.compress(merges.encode(), mtime=0))
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = open_clip.model.CLIP(**_without_tokenizer(CLIP_CONFIG["model_cfg"]))
        for parameter in model.parameters():
            if parameter.ndim > 1:
                torch.nn.init.normal_(parameter, std=0.2)
    state = {name: t.contiguous() for name, t in model.state_dict().items()}
    save_file(state, folder / "open_clip_model.safetensors")
    return folder


@pytest.fixture(scope="session")
def tree_of(shapes: Path, tiny_clip: Path) -> Callable[..., dict[str, Any]]:
    """A tiny recipe as nested dictionaries; sections given are merged over it."""

    def make(**sections: dict[str, Any]) -> dict[str, Any]:
        tree: dict[str, Any] = {
            "data": {"dataset": str(shapes), "target": "sea", "unknown": ["star"]},
            "views": {"count": 2, "store_size": 36},
            "teacher": {"model": f"local-dir:{tiny_clip}"},
            "student": {"model": "mobilenet_v3_small", "weights": "none", "size": 32},
            "method": {"name": "scipd"},
            "train": {
                "steps": 6,
                "batch_per_domain": 4,
                "warmup_steps": 0,
                "eval_every": 3,
                "checkpoint_every": 2,
            },
        }
        for name, values in sections.items():
            tree[name] = {**tree.get(name, {}), **values}
        return tree

    return make


def _without_tokenizer(config: dict[str, Any]) -> dict[str, Any]:
    text = {k: v for k, v in config["text_cfg"].items() if k != "tokenizer_kwargs"}
    return {**config, "text_cfg": text}


def _draw(name: str, background: str, rng: np.random.Generator) -> Image.Image:
    image = Image.new("RGB", (SIDE, SIDE), background)
    pen = ImageDraw.Draw(image)
    color = tuple(rng.integers(60, 220, 3).tolist())
    x, y = rng.integers(13, 27, 2).tolist()
    r = int(rng.integers(7, 12))
    if name == "circle":
        pen.ellipse((x - r, y - r, x + r, y + r), fill=color)
    elif name == "square":
        pen.rectangle((x - r, y - r, x + r, y + r), fill=color)
    elif name == "tall_bar":
        pen.rectangle((x - r // 3, y - r, x + r // 3, y + r), fill=color)
    elif name == "cross":
        pen.line((x - r, y - r, x + r, y + r), fill=color, width=4)
        pen.line((x - r, y + r, x + r, y - r), fill=color, width=4)
    else:
        pen.regular_polygon((x, y, r), 3, fill=color)
        pen.regular_polygon((x, y, r), 3, rotation=60, fill=color)
    return image


def make_model(
    classes: tuple[str, ...] = COLORS,
    size: int = MODEL_SIZE,
    threshold: float = THRESHOLD,
    scale: float = SCALE,
) -> onnx.ModelProto:
    """Classes are the colour channels; the logit is `scale` times the channel's mean in 0..1."""
    from onnx import TensorProto, helper, numpy_helper

    weights = np.eye(3, len(classes), dtype=np.float32) * np.float32(scale / 255)
    nodes = [
        helper.make_node("Cast", ["image"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["pixels"], ["means"], axes=[1, 2], keepdims=0),
        helper.make_node("MatMul", ["means", "weights"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
        helper.make_node("ReduceMax", ["logits"], ["score"], axes=[1], keepdims=0),
        helper.make_node("ArgMax", ["logits"], ["best"], axis=1, keepdims=0),
        helper.make_node("Less", ["score", "threshold"], ["rejected"]),
        helper.make_node("Where", ["rejected", "unknown", "best"], ["label"]),
    ]
    graph = helper.make_graph(
        nodes,
        "student",
        [
            helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", size, size, 3]),
            helper.make_tensor_value_info("threshold", TensorProto.FLOAT, []),
        ],
        [
            helper.make_tensor_value_info("label", TensorProto.INT64, ["N"]),
            helper.make_tensor_value_info("score", TensorProto.FLOAT, ["N"]),
            helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", len(classes)]),
        ],
        [
            numpy_helper.from_array(weights, "weights"),
            numpy_helper.from_array(np.float32(threshold), "threshold"),
            numpy_helper.from_array(np.int64(-1), "unknown"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, metadata(classes, size, threshold))
    return model


def metadata(
    classes: tuple[str, ...] = COLORS, size: int = MODEL_SIZE, threshold: float = THRESHOLD
) -> dict[str, str]:
    calibration = {"value": threshold, "acceptance": 0.95, "calibration": "source validation"}
    values: dict[str, str] = {
        "contract": "1",
        "classes": json.dumps(classes),
        "unknown_label": "-1",
        "score": "max_logit",
        "threshold": json.dumps({**calibration, "images": 252}),
        "input": json.dumps({"size": size, "resize": "pillow-bilinear-stretch/1"}),
        "precision": "fp32",
        "recipe_sha256": "0" * 64,
        "version": "0.1.0",
        "metrics": json.dumps({"target": {"h_score": 0.5}, "source_val": {"accuracy": 0.9}}),
        "student": "mobilenet_v3_small",
        "method": "scipd",
    }
    return {f"edgedistill.{key}": value for key, value in values.items()}


@pytest.fixture(scope="session")
def proto() -> Callable[..., onnx.ModelProto]:
    """`make_model`: an unsealed model that classifies by colour."""
    return make_model


@pytest.fixture(scope="session")
def metadata_of() -> Callable[..., dict[str, str]]:
    """`metadata`: the entries of such a model."""
    return metadata


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Write a model, sealed by default, with some metadata changed (None: left out)."""
    from onnx import helper

    from edgedistill.runtime.contract import seal

    def write(
        model: onnx.ModelProto | None = None,
        changes: Mapping[str, str | None] | None = None,
        sealed: bool = True,
    ) -> Path:
        proto = make_model() if model is None else model
        metadata = {p.key: p.value for p in proto.metadata_props}
        metadata |= {f"edgedistill.{key}": value for key, value in (changes or {}).items()}
        del proto.metadata_props[:]
        helper.set_model_props(proto, {k: v for k, v in metadata.items() if v is not None})
        data = proto.SerializeToString()
        path = tmp_path / "student.onnx"
        path.write_bytes(seal(data) if sealed else data)
        return path

    return write


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file that keeps the contract."""
    from edgedistill.runtime.contract import seal

    path = tmp_path_factory.mktemp("model") / "student.onnx"
    path.write_bytes(seal(make_model().SerializeToString()))
    return path


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """red.png, green.jpg and blue.webp that are known, dark.bmp that is not."""
    folder = tmp_path_factory.mktemp("photos")
    colors = {"red.png": (250, 10, 0), "green.jpg": (0, 240, 20), "blue.webp": (0, 0, 230)}
    for name, color in {**colors, "dark.bmp": (20, 10, 10)}.items():
        Image.new("RGB", (30, 20), color).save(folder / name)
    return folder


def _mismatches(value: Any, hint: Any, where: str) -> Iterator[str]:
    """pydantic reads a TypedDict of the standard library on Python 3.12 and later only."""
    origin, parts = get_origin(hint), get_args(hint)
    if is_typeddict(hint):
        keys = get_type_hints(hint)
        if not isinstance(value, dict) or value.keys() != keys.keys():
            yield f"{where}: {value!r:.100} has not the keys {', '.join(keys)}"
        else:
            for key, inner in keys.items():
                yield from _mismatches(value[key], inner, f"{where}.{key}")
    elif origin is UnionType:
        if all(list(_mismatches(value, part, where)) for part in parts):
            yield f"{where}: {value!r:.100} is no {hint}"
    elif origin is list and isinstance(value, list):
        for number, item in enumerate(value):
            yield from _mismatches(item, parts[0], f"{where}[{number}]")
    elif origin is dict and isinstance(value, dict):
        for key, item in value.items():
            yield from _mismatches(key, parts[0], f"{where}.{key}")
            yield from _mismatches(item, parts[1], f"{where}.{key}")
    elif origin is Literal:
        if value not in parts:
            yield f"{where}: {value!r:.100} is none of {parts}"
    elif type(value) is not hint and (hint, type(value)) != (float, int):
        yield f"{where}: {value!r:.100} is no {hint}"
