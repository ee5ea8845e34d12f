"""Train the embedded teacher `emoji-clip` on emoji art of vendors the benchmark never shows.

EfficientNet-Lite0 from ImageNet weights beside a small text transformer, as an ordinary open_clip
model. A batch is 128 emoji in two styles each; image-text contrast with several positives (a
caption that names a group is right for every image of it) and image-image contrast between the
styles. Two legs: the second starts the learning rate anew and keeps batch norm as it is then.
Resumable: kill it and run the same command again.

    python -m benchmarks.weights.train_teacher art.npz OUT_FOLDER --steps 1000
    python -m benchmarks.weights.train_teacher art.npz OUT_FOLDER --steps 2000 --leg 2
"""

import argparse
import copy
import json
import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from benchmarks.weights.augment import augment
from benchmarks.weights.captions import TEMPLATES, group, write_merges
from benchmarks.weights.held_out import HELD_OUT
from benchmarks.weights.lite0 import lite0_tensors
from edgedistill.data.pixels import to_chw
from edgedistill.train.cpu_kernels.depthwise import use_fast_depthwise

PAIRS = 96
WIDTH = 256
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet, as the trunk was trained


def config(vocabulary: int, size: int) -> dict[str, Any]:
    return {
        "model_cfg": {
            "embed_dim": WIDTH,
            "vision_cfg": {
                "timm_model_name": "tf_efficientnet_lite0",
                "timm_model_pretrained": False,
                "timm_pool": "avg",
                "timm_proj": "linear",
                "image_size": size,
            },
            "text_cfg": {
                "context_length": 24,
                "vocab_size": vocabulary,
                "width": 160,
                "heads": 4,
                "layers": 3,
                "tokenizer_kwargs": {"bpe_path": "merges.txt.gz"},
            },
        },
        "preprocess_cfg": {"mean": MEAN, "std": STD, "interpolation": "bilinear"},
    }


def load_imagenet(trunk: nn.Module) -> None:
    """The package stores the same network under other names, in the same order."""
    source = lite0_tensors()
    target = [k for k in trunk.state_dict() if "num_batches" not in k]
    state = trunk.state_dict()
    if len(source) < len(target) or any(
        state[k].shape != v.shape for k, v in zip(target, source, strict=False)
    ):
        raise SystemExit("EfficientNet-Lite0: does not line up with timm's tf_efficientnet_lite0")
    trunk.load_state_dict({**state, **dict(zip(target, source, strict=False))})


class Captions:
    """Draws a caption per emoji, and tells which captions of a batch are true of which emoji."""

    def __init__(self, table: list[dict[str, Any]], tokenizer: Any) -> None:
        self.table, self.tokenizer = table, tokenizer
        self.cache: dict[str, Tensor] = {}

    def tokens(self, texts: list[str]) -> Tensor:
        for text in texts:
            if text not in self.cache:
                self.cache[text] = self.tokenizer([text])[0]
        return torch.stack([self.cache[t] for t in texts])

    def draw(self, rows: np.ndarray, rng: np.random.Generator) -> tuple[list[str], Tensor]:
        texts, keys = [], []
        for row in rows:
            e = self.table[row]
            kind = rng.choice(3, p=[0.4, 0.2, 0.4])
            if kind == 0:
                word = rng.choice([e["name"], e["name"], *e["tags"]])
                key = ("emoji", row)
            elif kind == 1:
                word = e["subgroup"].replace("-", " ").replace("&", "and")
                key = ("subgroup", e["subgroup"])
            else:
                word = rng.choice(group(e["subgroup"]))
                key = ("group", group(e["subgroup"])[0])
            texts.append(str(rng.choice(TEMPLATES)).format(word))
            keys.append(key)
        truth = torch.zeros(len(rows), len(rows))
        for i, row in enumerate(rows):
            e = self.table[row]
            own = {("emoji", row), ("subgroup", e["subgroup"]), ("group", group(e["subgroup"])[0])}
            truth[i] = torch.tensor([key in own for key in keys])
        return texts, truth


def contrast(logits: Tensor, truth: Tensor) -> Tensor:
    """Cross-entropy of each row against an even share over its true columns."""
    target = truth / truth.sum(1, keepdim=True).clamp_min(1)
    rows = -(target * logits.log_softmax(1)).sum(1)
    return rows[truth.any(1)].mean()


def encode_short(model: Any, tokens: Tensor) -> Tensor:
    """`model.encode_text` without the padding, which a causal mask never lets count."""
    length = int(tokens.argmax(1).max()) + 1
    tokens = tokens[:, :length]
    x = model.token_embedding(tokens) + model.positional_embedding[:length]
    x = model.ln_final(model.transformer(x, attn_mask=model.attn_mask[:length, :length]))
    return x[torch.arange(len(x)), tokens.argmax(1)] @ model.text_projection


def fix_normalization(model: Any, draw: Callable[[], Tensor]) -> None:
    """Measure the batch-norm statistics anew on `draw()`'s batches, and keep them from then on.

    Fixed statistics save a third of a training step on a CPU.
    """
    norms = [m for m in model.visual.modules() if isinstance(m, nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
    with torch.no_grad():
        for _ in range(12):
            model.encode_image(draw())


def zero_shot(model: Any, images: Tensor, rows: np.ndarray, captions: Captions, size: int) -> float:
    """Share of held-out drawings whose coarse group is the nearest of all groups."""
    names = sorted({group(e["subgroup"])[0] for e in captions.table})
    labels = torch.tensor([names.index(group(captions.table[r]["subgroup"])[0]) for r in rows])
    with torch.no_grad():
        texts = torch.stack(
            [
                F.normalize(
                    model.encode_text(captions.tokens([t.format(n) for t in TEMPLATES])), dim=1
                ).mean(0)
                for n in names
            ]
        )
        nearest = []
        for i in range(0, len(images), 256):
            x = F.interpolate(
                images[i : i + 256].float() / 255,
                size=(size, size),
                mode="bilinear",
                antialias=True,
            )
            x = (x - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]
            nearest.append((model.encode_image(x) @ texts.T).argmax(1))
    return float((torch.cat(nearest) == labels).float().mean())


def export(model: nn.Module, folder: Path) -> None:
    state = {
        k: (v.half() if v.is_floating_point() and v.ndim > 1 else v).contiguous()
        for k, v in model.state_dict().items()
        if k != "attn_mask"
    }
    save_file(state, folder / "open_clip_model.safetensors")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("art", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--steps", type=int, default=1000, help="in all, earlier legs included")
    parser.add_argument("--leg", type=int, default=1)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--size", type=int, default=64, help="input side, pixels")
    parser.add_argument(
        "--styles", type=float, default=0.3, help="weight of the contrast between two styles"
    )
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    art = np.load(args.art)
    table = json.loads(art["table"].tobytes())
    vocabulary = write_merges(table, args.out / "merges.txt.gz")
    (args.out / "open_clip_config.json").write_text(
        json.dumps(config(vocabulary, args.size), indent=2)
    )

    torch.manual_seed(0)
    source = f"local-dir:{args.out}"
    model = open_clip.create_model(source, load_weights=False)
    load_imagenet(model.visual.trunk)
    use_fast_depthwise(model.visual)
    model.to(memory_format=torch.channels_last)
    # The two highest resolutions cost most of a step, and ImageNet's edges serve drawings too.
    frozen = [model.visual.trunk.conv_stem, model.visual.trunk.bn1, *model.visual.trunk.blocks[:2]]
    for module in frozen:
        module.requires_grad_(False)
    tokenizer = open_clip.get_tokenizer(source, bpe_path=str(args.out / "merges.txt.gz"))
    captions = Captions(table, tokenizer)

    styles = [k for k in art.files if k != "table" and not k.endswith("/emoji")]
    used = [s for s in styles if s not in HELD_OUT]
    images = to_chw(torch.from_numpy(np.concatenate([art[s] for s in used])))
    rows = np.concatenate([art[f"{s}/emoji"] for s in used])
    held_out = [(to_chw(torch.from_numpy(art[s])), art[f"{s}/emoji"]) for s in HELD_OUT]
    of_emoji = [np.flatnonzero(rows == i) for i in range(len(table))]
    sizes = {s: sum(e["subgroup"] == s for e in table) for s in {e["subgroup"] for e in table}}
    chance = np.array(
        [len(of_emoji[i]) > 0 and 1 / math.sqrt(sizes[e["subgroup"]]) for i, e in enumerate(table)],
        dtype=float,
    )
    chance /= chance.sum()

    decayed = [p for p in model.parameters() if p.requires_grad and p.ndim > 1]
    plain = [p for p in model.parameters() if p.requires_grad and p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": 0.05}, {"params": plain, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=args.lr, betas=(0.9, 0.98))
    average = {k: v.clone() for k, v in model.state_dict().items()}
    start, first, checkpoint = 0, 0, args.out / "checkpoint.pt"
    mean, std = torch.tensor(MEAN)[:, None, None], torch.tensor(STD)[:, None, None]

    def normalized(batch: np.ndarray) -> Tensor:
        x = (augment(images[batch], args.size) - mean) / std
        return x.contiguous(memory_format=torch.channels_last)

    if checkpoint.exists():
        saved = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        average, start, first = saved["average"], saved["step"], saved["first"]
        if saved["leg"] != args.leg:
            first = start
            model.load_state_dict(average)
            torch.manual_seed(start)
            rng = np.random.default_rng([2, start])
            fix_normalization(model, lambda: normalized(rng.integers(len(images), size=2 * PAIRS)))
            average = {k: v.clone() for k, v in model.state_dict().items()}
    model.train()
    if first:
        for module in model.visual.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
    began, losses = time.time(), []
    for step in range(start, args.steps):
        torch.manual_seed(step)
        rng = np.random.default_rng([0, step])
        done, length = step - first, args.steps - first
        lr = args.lr * min(1, (done + 1) / 60) * 0.5 * (1 + math.cos(math.pi * done / length))
        for g in optimizer.param_groups:
            g["lr"] = lr
        picked = rng.choice(len(table), PAIRS, replace=False, p=chance)
        batch = np.concatenate(
            [rng.choice(of_emoji[i], 2, replace=len(of_emoji[i]) < 2) for i in picked]
        )
        emoji = rows[batch]
        texts, truth = captions.draw(emoji, rng)
        image = F.normalize(model.encode_image(normalized(batch)), dim=1)
        text = F.normalize(encode_short(model, captions.tokens(texts)), dim=1)
        scale = model.logit_scale.exp().clamp(max=60)
        logits = scale * image @ text.T
        same = torch.from_numpy(emoji[:, None] == emoji[None]).float().fill_diagonal_(0)
        pairs = 12 * image @ image.T - 1e4 * torch.eye(len(image))
        loss = (contrast(logits, truth) + contrast(logits.T, truth.T)) / 2
        loss = loss + args.styles * contrast(pairs, same)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        decay = min(0.995, (done + 1) / (done + 20))
        with torch.no_grad():
            for k, v in model.state_dict().items():
                if v.is_floating_point():
                    average[k].lerp_(v, 1 - decay)
                else:
                    average[k].copy_(v)
        losses.append(loss.item())
        if (step + 1) % 100 == 0 or step + 1 == args.steps:
            averaged = copy.deepcopy(model).eval()
            averaged.load_state_dict(average)
            scores = [round(zero_shot(averaged, x, r, captions, args.size), 3) for x, r in held_out]
            export(averaged, args.out)
            saved = {
                "model": model.state_dict(),
                "optimizer": optimizer.state_dict(),
                "average": average,
                "step": step + 1,
                "leg": args.leg,
                "first": first,
            }
            torch.save(saved, f"{checkpoint}.tmp")
            os.replace(f"{checkpoint}.tmp", checkpoint)
            print(
                f"step {step + 1} loss {np.mean(losses[-100:]):.3f} held out {scores} "
                f"{(time.time() - began) / (step + 1 - start):.2f} s/step",
                flush=True,
            )


if __name__ == "__main__":
    main()
