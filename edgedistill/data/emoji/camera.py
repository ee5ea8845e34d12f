"""The *camera* domain: art as a phone would photograph it, printed as a sticker on some surface.

Everything random comes from one generator, so a picture is a function of the art and the seed.
"""

import io
import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from edgedistill.data.emoji.textures import Floats, fractal, texture

# The scene is rendered larger than the photo, as a lens sees more than a sensor keeps.
_OVERSAMPLE = 1.5


def photograph(art: Image.Image, size: int, rng: np.random.Generator) -> Image.Image:
    """RGB photo, `size` x `size`, of RGBA `art` printed on a sticker that lies on a surface."""
    scene_size = round(size * _OVERSAMPLE)
    ground = texture(scene_size, rng)
    sticker = _lay_down(_print(art, scene_size, rng), rng)
    scene = _composite(ground, sticker, rng)
    scene = _light(scene, rng)
    return _sensor(scene, size, rng)


def _print(art: Image.Image, scene_size: int, rng: np.random.Generator) -> Image.Image:
    """RGBA sticker in the middle of a transparent scene: die-cut, on a card, or printed bare."""
    canvas = Image.new("RGBA", (scene_size, scene_size))
    kind = rng.choice(["die-cut", "card", "bare"], p=[0.5, 0.3, 0.2])
    width = round(scene_size * rng.uniform(0.6, 0.76) * (0.88 if kind == "card" else 1.0))
    art = art.resize((width, width), Image.Resampling.LANCZOS)
    corner = (scene_size - width) // 2
    canvas.alpha_composite(art, (corner, corner))
    paper = tuple(int(v) for v in rng.integers(236, 256, size=3))
    if kind == "die-cut":
        outline = canvas.getchannel("A")
        for _ in range(round(scene_size * rng.uniform(0.015, 0.03))):
            outline = outline.filter(ImageFilter.MaxFilter(3))
        outline = outline.filter(ImageFilter.GaussianBlur(1))
    elif kind == "card":
        outline = Image.new("L", canvas.size)
        margin = round(scene_size * rng.uniform(0.03, 0.06))
        box = (corner - margin, corner - margin, corner + width + margin, corner + width + margin)
        ImageDraw.Draw(outline).rounded_rectangle(box, radius=margin * rng.uniform(0, 3), fill=255)
    else:
        return canvas
    under = Image.new("RGBA", canvas.size, (*paper, 255))
    under.putalpha(outline)
    return Image.alpha_composite(under, canvas)


def _lay_down(sticker: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Turn the sticker by up to 25 degrees and look at it from the side."""
    size = sticker.width
    angle = math.radians(rng.normal(0, 10))
    angle = max(-0.44, min(0.44, angle))
    centre = size / 2
    half = size / 2
    target = np.array([[-half, -half], [half, -half], [half, half], [-half, half]])
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    target = target @ turn.T
    target += rng.uniform(-0.09, 0.09, size=(4, 2)) * size
    target += centre + rng.uniform(-0.05, 0.05, size=2) * size
    source = np.array([[0, 0], [size, 0], [size, size], [0, size]], dtype=np.float64)
    return sticker.transform(
        sticker.size,
        Image.Transform.PERSPECTIVE,
        _perspective(target, source),
        Image.Resampling.BICUBIC,
    )


def _perspective(target: Floats, source: Floats) -> tuple[float, ...]:
    """The eight coefficients that map each target corner to its source corner."""
    rows = []
    for (x, y), (u, v) in zip(target, source, strict=True):
        rows.append([x, y, 1, 0, 0, 0, -u * x, -u * y])
        rows.append([0, 0, 0, x, y, 1, -v * x, -v * y])
    solution = np.linalg.solve(np.array(rows), source.reshape(-1))
    return tuple(float(value) for value in solution)


def _composite(ground: Floats, sticker: Image.Image, rng: np.random.Generator) -> Floats:
    """Ground, the sticker's shadow on it, the sticker: float64 [S, S, 3] in 0..1."""
    size = sticker.width
    alpha = sticker.getchannel("A")
    offset = np.rint(rng.uniform(-0.025, 0.025, size=2) * size).astype(int)
    shadow = ImageChops.offset(alpha, int(offset[0]), int(offset[1]))
    shadow = shadow.filter(ImageFilter.GaussianBlur(size * rng.uniform(0.008, 0.025)))
    scene = ground * (1 - rng.uniform(0.25, 0.6) * _unit(shadow)[..., None])
    # Print never covers the surface's grain completely.
    ink = _unit(sticker.convert("RGB"))
    cover = (_unit(alpha) * rng.uniform(0.93, 1.0))[..., None]
    return scene * (1 - cover) + ink * cover


def _unit(image: Image.Image) -> Floats:
    return np.asarray(image, dtype=np.float64) / 255


def _light(scene: Floats, rng: np.random.Generator) -> Floats:
    """Uneven light from one side, a soft cast shadow now and then, and the lamp's colour."""
    size = scene.shape[0]
    y, x = np.mgrid[0:size, 0:size] / (size - 1) - 0.5
    angle = rng.uniform(0, 2 * math.pi)
    along = x * math.cos(angle) + y * math.sin(angle)
    light = 1 + rng.uniform(0.05, 0.45) * along
    light -= rng.uniform(0.0, 0.35) * (x**2 + y**2)
    if rng.random() < 0.3:
        edge = rng.uniform(-0.4, 0.1)
        light *= 1 - rng.uniform(0.15, 0.4) / (1 + np.exp((along - edge) * rng.uniform(15, 50)))
    light += 0.05 * (fractal(size, rng, octaves=2) - 0.5)
    warmth = rng.normal(0, 0.09)
    tint = rng.normal(0, 0.025)
    color = np.array([1 + warmth, 1 + tint, 1 - warmth])
    exposure = math.exp(rng.normal(-0.05, 0.14))
    lit = scene * light[..., None] * color * exposure
    haze = rng.uniform(0.0, 0.07)
    return np.clip(haze + (1 - haze) * lit, 0, 1)


def _sensor(scene: Floats, size: int, rng: np.random.Generator) -> Image.Image:
    """Lens blur, downsampling, shot and read noise, and the JPEG a phone would write."""
    image = Image.fromarray(_bytes(scene))
    image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 1.4)))
    pixels = _unit(image.resize((size, size), Image.Resampling.BOX))
    shot, read = rng.uniform(0.005, 0.045), rng.uniform(0.003, 0.02)
    noise = rng.normal(size=pixels.shape) * 0.6 + rng.normal(size=(size, size, 1)) * 0.8
    noisy = pixels + noise * np.sqrt(shot**2 * pixels + read**2)
    file = io.BytesIO()
    Image.fromarray(_bytes(noisy)).save(file, "JPEG", quality=int(rng.integers(45, 92)))
    return Image.open(file).convert("RGB")


def _bytes(pixels: Floats) -> NDArray[np.uint8]:
    return np.rint(np.clip(pixels, 0, 1) * 255).astype(np.uint8)
