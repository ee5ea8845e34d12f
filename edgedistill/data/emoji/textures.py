"""Surfaces made of noise: wood, woven cloth, paper, stone and painted gradients."""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Floats = NDArray[np.float64]


def texture(size: int, rng: np.random.Generator) -> Floats:
    """A random surface: float64 [size, size, 3] in 0..1."""
    make = _SURFACES[int(rng.integers(len(_SURFACES)))]
    return np.clip(make(size, rng), 0, 1)


def fractal(size: int, rng: np.random.Generator, octaves: int = 4, stretch: float = 1.0) -> Floats:
    """Cloudy noise, float64 [size, size] in 0..1; `stretch` > 1 draws it out along x."""
    total = np.zeros((size, size))
    for octave in range(octaves):
        high = min(size, 2 ** (octave + 2))
        wide = max(2, min(size, round(high / stretch)))
        grid = Image.fromarray(rng.random((high, wide)).astype(np.float32))
        total += np.asarray(grid.resize((size, size), Image.Resampling.BICUBIC)) / 2**octave
    low, high_value = total.min(), total.max()
    return np.asarray((total - low) / (high_value - low), dtype=np.float64)


def _blend(amount: Floats, first: Floats, second: Floats) -> Floats:
    return np.asarray(first + (second - first) * amount[..., None])


def _grain(size: int, rng: np.random.Generator, strength: float) -> Floats:
    return rng.normal(0, strength, size=(size, size, 1))


def _any_color(rng: np.random.Generator, saturation: float) -> Floats:
    gray = rng.uniform(0.25, 0.9)
    return np.clip(gray + rng.uniform(-saturation, saturation, size=3), 0.05, 0.97)


def _wood(size: int, rng: np.random.Generator) -> Floats:
    along = fractal(size, rng, octaves=5, stretch=12)
    rings = 0.5 + 0.5 * np.sin(2 * math.pi * rng.uniform(3, 9) * fractal(size, rng, 3, stretch=5))
    amount = np.clip(0.55 * along + 0.45 * rings, 0, 1)
    light = np.array([0.83, 0.64, 0.43]) * rng.uniform(0.75, 1.1)
    dark = light * rng.uniform(0.5, 0.75) * np.array([1.0, 0.93, 0.85])
    planks = _blend(amount, dark, light) + _grain(size, rng, 0.015)
    if rng.random() < 0.5:
        seam = int(rng.integers(size // 8, 7 * size // 8))
        planks[seam : seam + 2] *= 0.45
        planks[seam + 2 :] *= rng.uniform(0.85, 1.12)
    return planks if rng.random() < 0.5 else planks.transpose(1, 0, 2)


def _cloth(size: int, rng: np.random.Generator) -> Floats:
    y, x = np.mgrid[0:size, 0:size] + 2.5 * fractal(size, rng, 3)
    period = rng.uniform(3.0, 6.5)
    weave = np.sin(2 * math.pi * x / period) * np.sin(2 * math.pi * y / period)
    folds = fractal(size, rng, 2)
    amount = np.clip(0.5 + 0.22 * weave + 0.5 * (folds - 0.5), 0, 1)
    color = _any_color(rng, 0.25)
    cloth = _blend(amount, color * rng.uniform(0.55, 0.75), color)
    if rng.random() < 0.4:
        stripes = np.sin(2 * math.pi * x / rng.uniform(size / 9, size / 4)) > rng.uniform(0, 0.8)
        cloth = np.where(stripes[..., None], cloth * _any_color(rng, 0.3) * 1.3, cloth)
    return cloth + _grain(size, rng, 0.03)


def _paper(size: int, rng: np.random.Generator) -> Floats:
    kraft, white = np.array([0.76, 0.62, 0.46]), np.array([0.93, 0.92, 0.88])
    color = kraft if rng.random() < 0.5 else white * rng.uniform(0.75, 1.0)
    fibres = fractal(size, rng, octaves=6)
    paper = color * (0.9 + 0.16 * fibres[..., None]) + _grain(size, rng, 0.02)
    if rng.random() < 0.35:
        spacing = int(rng.integers(size // 14, size // 8))
        paper[:: max(spacing, 2)] *= np.array([0.72, 0.8, 0.92])
    return paper


def _stone(size: int, rng: np.random.Generator) -> Floats:
    base = _any_color(rng, 0.06)
    stone = _blend(fractal(size, rng, octaves=6), base * 0.65, base * 1.15)
    speckle = rng.random((size, size, 1)) < rng.uniform(0.01, 0.06)
    return np.where(speckle, stone * rng.uniform(0.4, 1.6), stone) + _grain(size, rng, 0.025)


def _painted(size: int, rng: np.random.Generator) -> Floats:
    y, x = np.mgrid[0:size, 0:size] / size
    angle = rng.uniform(0, 2 * math.pi)
    ramp = np.clip(0.5 + 0.7 * ((x - 0.5) * math.cos(angle) + (y - 0.5) * math.sin(angle)), 0, 1)
    amount = np.clip(ramp + 0.25 * (fractal(size, rng, 3) - 0.5), 0, 1)
    return _blend(amount, _any_color(rng, 0.35), _any_color(rng, 0.35)) + _grain(size, rng, 0.01)


def _tiles(size: int, rng: np.random.Generator) -> Floats:
    side = int(rng.integers(size // 5, size // 2))
    shift = rng.integers(0, side, size=2)
    y, x = np.mgrid[0:size, 0:size]
    y, x = y + shift[0], x + shift[1]
    per_tile = rng.uniform(0.82, 1.08, size=(size // side + 2, size // side + 2))
    tone = per_tile[y // side, x // side] * (0.92 + 0.12 * fractal(size, rng, 4))
    joint = ((y % side) < 3) | ((x % side) < 3)
    tiles = _any_color(rng, 0.2) * tone[..., None]
    return np.where(joint[..., None], _any_color(rng, 0.04), tiles) + _grain(size, rng, 0.015)


_SURFACES: tuple[Callable[[int, np.random.Generator], Floats], ...] = (
    _wood,
    _cloth,
    _paper,
    _stone,
    _painted,
    _tiles,
)
