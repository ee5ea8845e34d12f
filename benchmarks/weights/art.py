"""Rasterise the emoji art that the embedded weights are trained on.

Vendor styles the `emoji` benchmark never shows, the line art of a font in three weights, and
outline drawings made from five of the styles by dropping every fill; without what looks like a
drawing of the benchmark. The art comes from npm
packages (`npm pack NAME`, unpacked as `FOLDER/NAME-VERSION/package`); README.md has the list,
NOTICE the licences.

    python -m benchmarks.weights.art FOLDER art.npz --png art

`--png` writes the same drawings as files, a folder for each style, for `edgedistill pretrain`; the
style that is held out is not among them.
"""

import argparse
import io
import json
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import resvg_py
from PIL import Image, ImageDraw, ImageFont

from benchmarks.weights.held_out import HELD_OUT
from benchmarks.weights.leakage import like_the_benchmark

SIDE = 96
Emoji = dict[str, Any]
Renderer = Callable[[Emoji], Image.Image | None]


def package(folder: Path, name: str) -> Path:
    packages = sorted(folder.glob(f"{name}-[0-9]*/package"))
    if not packages:
        raise SystemExit(f"{folder}: no package {name}; run: npm pack {name} and unpack it there")
    return packages[-1]


def on_white(image: Image.Image) -> Image.Image:
    image = image.convert("RGBA")
    white = Image.new("RGBA", image.size, (255, 255, 255, 255))
    white.alpha_composite(image)
    return white.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BICUBIC)


def render(svg: str) -> Image.Image:
    data = resvg_py.svg_to_bytes(svg_string=svg, width=SIDE, height=SIDE)
    return on_white(Image.open(io.BytesIO(bytes(data))))


def slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "", re.sub("[’'“”]", "", text.lower()))


def outlined(body: str, width: float) -> str:
    """The drawing's shapes as black outlines on nothing: no fills, no gradients, no opacity."""
    body = re.sub(r'\s(fill|stroke|opacity|fill-opacity|stroke-width|style)="[^"]*"', "", body)
    return (
        f'<g fill="none" stroke="#000" stroke-width="{width:.3f}" stroke-linejoin="round" '
        f'stroke-linecap="round">{body}</g>'
    )


def iconify(folder: Path, name: str, outline: bool = False) -> Renderer:
    """An iconify package: `icons.json` of SVG bodies, found by code point or by name."""
    root = package(folder, f"iconify-json-{name}")
    icons = json.loads((root / "icons.json").read_text())
    chars = json.loads(p.read_text()) if (p := root / "chars.json").exists() else {}
    aliases = icons.get("aliases", {})
    by_slug = {slug(n): n for n in [*aliases, *icons["icons"]]}

    def draw(emoji: Emoji) -> Image.Image | None:
        code = emoji["code"]
        key = chars.get(code) or chars.get(code.replace("-fe0f", ""))
        if key is None:
            names = (slug(emoji["name"]), slug(emoji["short"]), slug(emoji["unicode_name"]))
            key = next((by_slug[n] for n in names if n and n in by_slug), None)
        if key is None:
            return None
        while key in aliases:
            key = aliases[key]["parent"]
        icon = icons["icons"][key]
        width = icon.get("width", icons.get("width", 16))
        height = icon.get("height", icons.get("height", 16))
        body = icon["body"].replace("currentColor", "#000")
        if outline:
            body = outlined(body, width / 36)
        return render(
            '<svg xmlns="http://www.w3.org/2000/svg" '
            'xmlns:xlink="http://www.w3.org/1999/xlink" '
            f'viewBox="0 0 {width} {height}">{body}</svg>'
        )

    return draw


def files(root: Path, suffix: str) -> Renderer:
    """One image file per code point."""

    def draw(emoji: Emoji) -> Image.Image | None:
        code = emoji["code"]
        for key in (code, code.replace("-fe0f", "")):
            if (path := root / f"{key}{suffix}").exists():
                return on_white(Image.open(path))
        return None

    return draw


def glyphs(folder: Path, weight: int) -> Renderer:
    """The monochrome Noto Emoji font: line art, thicker with the weight (300 to 700)."""
    root = package(folder, "fontsource-noto-emoji")
    font_of: dict[int, Path] = {}
    for subset, ranges in json.loads((root / "unicode.json").read_text()).items():
        path = root / f"files/noto-emoji-{subset.strip('[]')}-{weight}-normal.woff"
        for part in ranges.replace("U+", "").split(","):
            first, _, last = part.strip().partition("-")
            for code in range(int(first, 16), int(last or first, 16) + 1):
                font_of[code] = path

    def draw(emoji: Emoji) -> Image.Image | None:
        codes = [int(c, 16) for c in emoji["code"].split("-") if c != "fe0f"]
        if len(codes) != 1 or codes[0] not in font_of:
            return None
        font = ImageFont.truetype(font_of[codes[0]], SIDE)
        left, top, right, bottom = font.getbbox(chr(codes[0]))
        side = int(max(right - left, bottom - top) * 1.08) + 2
        canvas = Image.new("L", (side, side), 255)
        at = ((side - right + left) / 2 - left, (side - bottom + top) / 2 - top)
        ImageDraw.Draw(canvas).text(at, chr(codes[0]), font=font, fill=0)
        return on_white(canvas)

    return draw


def emoji_table(folder: Path) -> list[Emoji]:
    """Code point, English label, subgroup and keywords of every emoji (no skin-tone variants)."""
    source = json.loads((package(folder, "emoji-datasource") / "emoji.json").read_text())
    labels = json.loads((package(folder, "emojibase-data") / "en/data.json").read_text())
    by_code = {d["hexcode"].lower(): d for d in labels}
    table = []
    for m in sorted(source, key=lambda m: m["sort_order"]):
        if m["category"] == "Component":
            continue
        code = m["unified"].lower()
        extra = by_code.get(code) or by_code.get(code.replace("-fe0f", "")) or {}
        table.append(
            {
                "code": code,
                "name": extra.get("label", (m["name"] or m["short_name"]).lower()),
                "unicode_name": m["name"] or "",
                "short": m["short_name"].replace("_", "-"),
                "subgroup": m.get("subcategory") or "symbol",
                "category": m["category"],
                "tags": extra.get("tags", [])[:6],
            }
        )
    return table


def styles(folder: Path) -> dict[str, Renderer]:
    google = package(folder, "emoji-datasource-google") / "img/google/64"
    return {
        "noto": files(google, ".png"),
        "noto-v1": iconify(folder, "noto-v1"),
        "fluent-3d": files(package(folder, "lobehub-fluent-emoji-3d") / "assets", ".webp"),
        "fluent-flat": iconify(folder, "fluent-emoji-flat"),
        "fluent-contrast": iconify(folder, "fluent-emoji-high-contrast"),
        "fluent-color": iconify(folder, "fluent-emoji"),
        "emojione-v1": iconify(folder, "emojione-v1"),
        "emojione": iconify(folder, "emojione"),
        "emojione-monotone": iconify(folder, "emojione-monotone"),
        "streamline": iconify(folder, "streamline-emojis"),
        "noto-line-light": glyphs(folder, 300),
        "noto-line": glyphs(folder, 500),
        "noto-line-bold": glyphs(folder, 700),
        "fxemoji": iconify(folder, "fxemoji"),
        "fluent-flat-outline": iconify(folder, "fluent-emoji-flat", outline=True),
        "emojione-outline": iconify(folder, "emojione", outline=True),
        "emojione-v1-outline": iconify(folder, "emojione-v1", outline=True),
        "noto-v1-outline": iconify(folder, "noto-v1", outline=True),
        "fxemoji-outline": iconify(folder, "fxemoji", outline=True),
    }


def draw_all(table: list[Emoji], draw: Renderer) -> tuple[np.ndarray, np.ndarray]:
    """uint8 `[n, SIDE, SIDE, 3]` and the emoji's row for each."""

    def safe(emoji: Emoji) -> np.ndarray | None:
        try:
            image = draw(emoji)
        except (OSError, ValueError, RuntimeError):
            return None
        return None if image is None else np.asarray(image)

    with ThreadPoolExecutor(2) as pool:
        drawn = list(pool.map(safe, table))
    by_row = {i: image for i, image in enumerate(drawn) if image is not None and image.std() > 1}
    return np.stack(list(by_row.values())), np.array(list(by_row))


def write_png(folder: Path, images: np.ndarray, codes: list[str]) -> None:
    """Write drawings uint8 `[n, SIDE, SIDE, 3]` as files named by their code points."""
    folder.mkdir(parents=True, exist_ok=True)
    for image, code in zip(images, codes, strict=True):
        Image.fromarray(image).save(folder / f"{code}.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="folder of unpacked npm packages")
    parser.add_argument("out", type=Path, help="where to write the .npz")
    parser.add_argument("--png", type=Path, help="folder to write the drawings into as files")
    args = parser.parse_args()
    table = emoji_table(args.folder)
    arrays: dict[str, np.ndarray] = {}
    for name, draw in styles(args.folder).items():
        images, rows = draw_all(table, draw)
        near = like_the_benchmark(images) & (name not in HELD_OUT)
        arrays[name], arrays[f"{name}/emoji"] = images[~near], rows[~near]
        if args.png is not None and name not in HELD_OUT:
            codes = [table[row]["code"] for row in rows[~near].tolist()]
            write_png(args.png / name, images[~near], codes)
        print(f"{name:22s} {len(rows) - near.sum()}, {near.sum()} left out", flush=True)
    arrays["table"] = np.frombuffer(json.dumps(table).encode(), dtype=np.uint8)
    np.savez(args.out, **arrays)  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
