"""What more than one folder of tests needs: a tiny tree of images, a tiny CLIP, a private cache."""

from __future__ import annotations

import gzip
import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from hypothesis import HealthCheck, settings
from PIL import Image, ImageDraw
from safetensors.torch import save_file

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


@pytest.fixture(scope="session", autouse=True)
def private_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Nothing of the user's cache is read or written, and one thread is enough for tiny sizes."""
    folder = tmp_path_factory.mktemp("cache")
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEDISTILL_CACHE", str(folder))
        yield folder


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
    colour = tuple(rng.integers(60, 220, 3).tolist())
    x, y = rng.integers(13, 27, 2).tolist()
    r = int(rng.integers(7, 12))
    if name == "circle":
        pen.ellipse((x - r, y - r, x + r, y + r), fill=colour)
    elif name == "square":
        pen.rectangle((x - r, y - r, x + r, y + r), fill=colour)
    elif name == "tall_bar":
        pen.rectangle((x - r // 3, y - r, x + r // 3, y + r), fill=colour)
    elif name == "cross":
        pen.line((x - r, y - r, x + r, y + r), fill=colour, width=4)
        pen.line((x - r, y + r, x + r, y - r), fill=colour, width=4)
    else:
        pen.regular_polygon((x, y, r), 3, fill=colour)
        pen.regular_polygon((x, y, r), 3, rotation=60, fill=colour)
    return image
