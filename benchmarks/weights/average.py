"""Average the weights of two teachers of the same art, and what each share gives on held-out art.

    python -m benchmarks.weights.average art.npz FIRST SECOND OUT_FOLDER --shares 0.3,0.4,0.5

Of the shares of SECOND the one whose average names most held-out drawings, plain and outlined, is
written to OUT_FOLDER: nothing of the benchmark is looked at.
"""

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from benchmarks.weights.held_out import HELD_OUT
from benchmarks.weights.train_teacher import Captions, zero_shot
from edgedistill.data.pixels import to_chw

WEIGHTS = "open_clip_model.safetensors"


def mixed(first: dict[str, Tensor], second: dict[str, Tensor], share: float) -> dict[str, Tensor]:
    """(1 - share) of `first` plus `share` of `second`, in the precision of `first`."""
    return {
        k: ((1 - share) * v.float() + share * second[k].float()).to(v.dtype).contiguous()
        if v.is_floating_point()
        else v
        for k, v in first.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("art", type=Path)
    parser.add_argument("first", type=Path)
    parser.add_argument("second", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--shares", default="0,0.3,0.4,0.5,0.6,0.7,1", help="of SECOND")
    args = parser.parse_args()
    art = np.load(args.art)
    table = json.loads(art["table"].tobytes())
    held_out = [(to_chw(torch.from_numpy(art[s])), art[f"{s}/emoji"]) for s in HELD_OUT]
    args.out.mkdir(parents=True, exist_ok=True)
    for name in ("open_clip_config.json", "merges.txt.gz"):
        shutil.copy(args.first / name, args.out / name)
    source = f"local-dir:{args.out}"
    config = json.loads((args.out / "open_clip_config.json").read_text())
    size = config["model_cfg"]["vision_cfg"]["image_size"]
    tokenizer = open_clip.get_tokenizer(source, bpe_path=str(args.out / "merges.txt.gz"))
    captions = Captions(table, tokenizer)
    first, second = (load_file(folder / WEIGHTS) for folder in (args.first, args.second))
    best: tuple[float, dict[str, Any]] = (-1.0, {})
    for share in map(float, args.shares.split(",")):
        state = mixed(first, second, share)
        save_file(state, args.out / WEIGHTS)
        model = open_clip.create_model(source).eval()
        accuracies = [zero_shot(model, x, rows, captions, size) for x, rows in held_out]
        print(f"share {share:g} held out {[round(f, 3) for f in accuracies]}", flush=True)
        best = max(best, (sum(accuracies), state), key=lambda pair: pair[0])
    save_file(best[1], args.out / WEIGHTS)


if __name__ == "__main__":
    main()
