"""Search for pictures of the `emoji` benchmark among the images the embedded weights trained on.

Two steps for every benchmark image of the drawn domains (*camera* is made from the same drawings):
the nearest training images by perceptual hash (64 bits: signs of the low frequencies of the grey
image's cosine transform), then, of the twenty nearest, the highest correlation of slightly blurred
pixels. A copy would differ by its resampling alone, so each image's correlation with itself after
another resampling gives the scale to read that on.

    python -m benchmarks.weights.leakage art.npz --json leakage.json --sheet leakage.png
"""

import argparse
import json
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.fft import dctn
from scipy.ndimage import gaussian_filter

from edgedistill.data.datasets import load_dataset
from edgedistill.data.index import Index
from edgedistill.runtime.preprocess import read_rgb

SIDE = 48
NEAREST = 20
NEAR_COPY = 0.96  # correlation from which a drawing of some vendor is left out of the art
DOMAINS = ("openmoji", "line", "twemoji")


def small(image: Image.Image) -> NDArray[np.uint8]:
    """Cropped to what is drawn, as vendors leave margins of their own: uint8 [SIDE, SIDE, 3]."""
    gray = np.asarray(image.convert("L"))
    rows, columns = np.flatnonzero((gray < 245).any(1)), np.flatnonzero((gray < 245).any(0))
    if len(rows) and len(columns):
        image = image.crop((columns[0], rows[0], columns[-1] + 1, rows[-1] + 1))
    return np.asarray(image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BILINEAR))


def perceptual_hash(pixels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """[N, SIDE, SIDE, 3] -> [N, 64]."""
    low = dctn(pixels.mean(3), axes=(1, 2))[:, :8, :8].reshape(len(pixels), -1)
    return np.asarray(low > np.median(low, axis=1, keepdims=True))


def blurred(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Unit vectors without a mean, whose product is a correlation: [N, SIDE, SIDE, 3] -> [N, d]."""
    soft = gaussian_filter(pixels.astype(np.float32), (0, 1, 1, 0)).reshape(len(pixels), -1)
    soft -= soft.mean(1, keepdims=True)
    return np.asarray(soft / np.maximum(np.linalg.norm(soft, axis=1, keepdims=True), 1e-6))


def drawn(index: Index, domain: str) -> tuple[list[str], list[Image.Image]]:
    """Paths and drawings of a domain of the benchmark, known and unknown classes."""
    rows = np.flatnonzero(index.domain == index.domains.index(domain))
    paths = [index.paths[r] for r in rows]
    return paths, [Image.fromarray(read_rgb(index.root / path, 128)) for path in paths]


def like_the_benchmark(images: NDArray[np.uint8], limit: float = NEAR_COPY) -> NDArray[np.bool_]:
    """Which drawings `[n, S, S, 3]` are as alike as `limit` to one of the benchmark: [n]."""
    theirs = blurred(np.stack([small(Image.fromarray(i)) for i in images]))
    return np.asarray((theirs @ benchmark().T).max(1) >= limit)


@cache
def benchmark() -> NDArray[np.float32]:
    """All drawings of the benchmark as `blurred` vectors: [N, d]."""
    index = load_dataset("emoji")
    ours = [small(image) for domain in DOMAINS for image in drawn(index, domain)[1]]
    return blurred(np.stack(ours))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("art", type=Path)
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--sheet", type=Path, required=True, help="picture of the nearest pairs")
    args = parser.parse_args()
    art = np.load(args.art)
    styles = [k for k in art.files if k != "table" and not k.endswith("/emoji")]
    trained = np.stack([small(Image.fromarray(i)) for s in styles for i in art[s]])
    names = np.concatenate([[s] * len(art[s]) for s in styles])
    hashes = perceptual_hash(trained).astype(np.float32)

    index = load_dataset("emoji")
    report, pairs = {}, []
    for domain in DOMAINS:
        paths, images = drawn(index, domain)
        own = np.stack([small(i) for i in images])
        resampled = np.stack([small(i.resize((96, 96), Image.Resampling.BICUBIC)) for i in images])
        scale = (blurred(own) * blurred(resampled)).sum(1)
        bits = perceptual_hash(own).astype(np.float32)
        distance = bits.sum(1)[:, None] + hashes.sum(1) - 2 * bits @ hashes.T
        near = np.argsort(distance, axis=1, kind="stable")[:, :NEAREST]
        vectors = blurred(own)
        alike = np.stack([blurred(trained[n]) @ v for n, v in zip(near, vectors, strict=True)])
        best, closest = alike.argmax(1), alike.max(1)
        copies = closest >= np.quantile(scale, 0.05)
        report[domain] = {
            "images": len(paths),
            "hash_distance_min": int(distance.min()),
            "hash_distance_at_most_4": int((distance.min(1) <= 4).sum()),
            "correlation_max": round(float(closest.max()), 4),
            "correlation_of_a_resampled_copy_p5": round(float(np.quantile(scale, 0.05)), 4),
            "as_close_as_a_resampled_copy": sorted(paths[i] for i in np.flatnonzero(copies)),
        }
        for i in np.argsort(-closest)[:12]:
            n = near[i, best[i]]
            pairs.append((closest[i], domain, paths[i], names[n], own[i], trained[n]))
        print(domain, report[domain], flush=True)
    sheet = np.full((len(DOMAINS) * 2 * SIDE, 12 * SIDE, 3), 255, np.uint8)
    for k, (*_, ours, theirs) in enumerate(pairs):
        y, x = k // 12 * 2 * SIDE, k % 12 * SIDE
        sheet[y : y + SIDE, x : x + SIDE] = ours
        sheet[y + SIDE : y + 2 * SIDE, x : x + SIDE] = theirs
    Image.fromarray(sheet).save(args.sheet)
    listed = [
        {"correlation": round(float(d), 4), "image": path, "style": str(style)}
        for d, _, path, style, *_ in pairs
    ]
    args.json.write_text(json.dumps({**report, "nearest": listed}, indent=1) + "\n")


if __name__ == "__main__":
    main()
