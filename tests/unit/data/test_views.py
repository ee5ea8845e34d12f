"""Views: a pure function of (seed, key, number), the right crop, and the right colours."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ks_2samp
from torch import Tensor
from torchvision.transforms import RandomResizedCrop

from edgedistill.data.views import ViewSpec, image_key, render_views, view_parameters

SPEC = ViewSpec(
    seed=5,
    scale=(0.4, 0.9),
    ratio=(0.75, 4 / 3),
    flip=0.5,
    brightness=0.4,
    contrast=0.3,
    saturation=0.2,
    hue=0.1,
    grayscale=0.25,
)
# centre x, y, width, height, mirror, brightness, contrast, saturation, hue, grayscale
PLAIN = (0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0)
CX, CY, WIDTH, HEIGHT, MIRROR, BRIGHTNESS, CONTRAST, SATURATION, HUE, GRAY = range(10)


def plain(count: int = 1, **changes: float) -> Tensor:
    columns = dict(
        zip(("cx", "cy", "w", "h", "m", "b", "c", "s", "hue", "gray"), PLAIN, strict=True)
    )
    return torch.tensor([list({**columns, **changes}.values())] * count)


def noise(count: int = 2, side: int = 16) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 3, side, side), generator=generator, dtype=torch.uint8)


def many(spec: ViewSpec, count: int = 4000) -> np.ndarray:
    return view_parameters(spec, np.arange(count, dtype=np.uint64) // 8, np.arange(count) % 8)


@given(
    seed=st.integers(0, 2**32 - 1),
    views=st.lists(
        st.tuples(st.integers(0, 2**64 - 1), st.integers(0, 2**31 - 1)), min_size=1, max_size=12
    ),
    order=st.randoms(use_true_random=False),
)
@settings(max_examples=40, deadline=None)
def test_a_view_does_not_depend_on_its_batch(
    seed: int, views: list[tuple[int, int]], order: random.Random
) -> None:
    spec = replace(SPEC, seed=seed)

    def parameters(chosen: list[tuple[int, int]]) -> np.ndarray:
        keys = np.array([key for key, _ in chosen], dtype=np.uint64)
        return view_parameters(spec, keys, np.array([number for _, number in chosen]))

    whole = parameters(views)
    shuffled = list(range(len(views)))
    order.shuffle(shuffled)
    assert np.array_equal(parameters([views[i] for i in shuffled]), whole[shuffled])
    for i, view in enumerate(views):
        assert np.array_equal(parameters([view])[0], whole[i])


def test_rendering_does_not_depend_on_the_batch() -> None:
    images = noise(6)
    parameters = torch.from_numpy(many(SPEC, 6))
    whole = render_views(images, parameters, 8)
    for i in range(6):
        alone = render_views(images[i : i + 1], parameters[i : i + 1], 8)
        assert torch.allclose(alone[0], whole[i], atol=1e-6)


def test_seed_key_and_number_all_matter() -> None:
    key, number = np.array([3], dtype=np.uint64), np.array([4])
    base = view_parameters(SPEC, key, number)
    assert not np.allclose(base, view_parameters(replace(SPEC, seed=6), key, number))
    assert not np.allclose(base, view_parameters(SPEC, key + np.uint64(1), number))
    assert not np.allclose(base, view_parameters(SPEC, key, number + 1))


def test_numbers_stay_what_they_are() -> None:
    """Raise views.VERSION before changing these: caches depend on them."""
    key = np.array([image_key("paint/circle/00.png")], dtype=np.uint64)
    assert int(key[0]) == 2077907568578071502
    parameters = view_parameters(SPEC, key, np.array([1]))[0]
    assert np.allclose(
        parameters,
        [-0.02457, 0.12337, 0.95496, 0.85722, -1.0, 1.11281, 0.71754, 0.91224, 0.09087, 0.0],
        atol=1e-5,
    )
    redrawn = view_parameters(replace(SPEC, scale=(0.9, 1.0)), key, np.array([5]))[0]
    assert np.allclose(redrawn[:4], [-0.00506, 0.02035, 0.97387, 0.92938], atol=1e-5)


def test_a_key_is_of_the_path_alone_whatever_its_bytes() -> None:
    assert image_key("a/b/c.png") == image_key("a/b/c.png") != image_key("a/b/d.png")
    image_key("a/b/\udcff.png")  # a file name that is not UTF-8


@given(
    low=st.floats(0.05, 1), high=st.floats(0.05, 1), shape=st.floats(1, 3), hue=st.floats(0, 0.5)
)
@settings(max_examples=40, deadline=None)
def test_parameters_stay_in_their_ranges(low: float, high: float, shape: float, hue: float) -> None:
    low, high = min(low, high), max(low, high)
    spec = replace(SPEC, scale=(low, high), ratio=(1 / shape, shape), hue=hue)
    p = many(spec, 200).astype(np.float64)
    assert (np.abs(p[:, CX]) + p[:, WIDTH] <= 1 + 1e-6).all()
    assert (np.abs(p[:, CY]) + p[:, HEIGHT] <= 1 + 1e-6).all()
    whole = (p[:, WIDTH] == 1) & (p[:, HEIGHT] == 1)  # of a crop that never fitted
    assert (whole | (p[:, WIDTH] * p[:, HEIGHT] <= high + 1e-6)).all()
    ratio = p[:, WIDTH] / p[:, HEIGHT]
    assert ((ratio >= 1 / shape - 1e-5) & (ratio <= shape + 1e-5)).all()
    assert set(np.unique(p[:, MIRROR])) <= {-1.0, 1.0}
    for column, share in ((BRIGHTNESS, 0.4), (CONTRAST, 0.3), (SATURATION, 0.2)):
        assert (np.abs(p[:, column] - 1) <= share + 1e-6).all()
    assert (np.abs(p[:, HUE]) <= 2 * math.pi * hue + 1e-6).all()
    assert set(np.unique(p[:, GRAY])) <= {0.0, 1.0}


@pytest.mark.parametrize(
    ("scale", "ratio"),
    [((0.7, 1.0), (0.75, 4 / 3)), ((0.9, 1.0), (1 / 3, 3.0)), ((0.5, 0.9), (0.5, 0.9))],
)
def test_crops_have_the_sizes_and_places_of_torchvision(
    scale: tuple[float, float], ratio: tuple[float, float]
) -> None:
    p = many(replace(SPEC, scale=scale, ratio=ratio)).astype(np.float64)
    side = 10_000
    image = torch.empty(1, side, side, device="meta")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        theirs = np.array(
            [RandomResizedCrop.get_params(image, list(scale), list(ratio)) for _ in range(4000)]
        )
    top, left, height, width = theirs.T / side
    columns = {
        "width": (p[:, WIDTH], width),
        "height": (p[:, HEIGHT], height),
        "area": (p[:, WIDTH] * p[:, HEIGHT], width * height),
        "left": ((p[:, CX] - p[:, WIDTH] + 1) / 2, left),
        "top": ((p[:, CY] - p[:, HEIGHT] + 1) / 2, top),
    }
    for name, (ours, reference) in columns.items():
        # Equal distributions of 4000 each pass 0.05 once in ten thousand times; the whole images
        # of both are one value, which float32 and pixels write a little apart.
        distance = ks_2samp(ours.round(3), reference.round(3)).statistic
        assert distance < 0.05, name


def test_a_crop_that_passes_the_border_is_drawn_again_not_clipped() -> None:
    """Clipping would leave 22 % of the default views at full width and 0.831 of the area."""
    p = many(replace(SPEC, scale=(0.7, 1.0))).astype(np.float64)
    assert (p[:, WIDTH] == 1).mean() < 0.01
    assert abs((p[:, WIDTH] * p[:, HEIGHT]).mean() - 0.801) < 0.005


def test_a_crop_that_never_fits_is_the_middle_of_the_nearest_ratio() -> None:
    p = many(replace(SPEC, scale=(1.0, 1.0), ratio=(2.0, 4.0)), 50)
    assert np.allclose(p[:, [CX, CY, WIDTH, HEIGHT]], [0, 0, 1, 0.5])
    p = many(replace(SPEC, scale=(1.0, 1.0), ratio=(0.2, 0.5)), 50)
    assert np.allclose(p[:, [CX, CY, WIDTH, HEIGHT]], [0, 0, 0.5, 1])


def test_a_view_whose_first_crop_fits_does_not_change_with_the_rule() -> None:
    """The further draws take numbers of their own: they move no other parameter."""
    free, tight = replace(SPEC, scale=(0.3, 0.5)), replace(SPEC, scale=(0.99, 1.0))
    others = [MIRROR, BRIGHTNESS, CONTRAST, SATURATION, HUE, GRAY]
    assert np.array_equal(many(free)[:, others], many(tight)[:, others])


def test_parameters_are_spread_evenly_and_independent() -> None:
    spec = replace(SPEC, scale=(0.3, 0.5), ratio=(1, 1))  # no crop reaches the border
    p = many(spec).astype(np.float64)
    uniform = {
        "area": (p[:, WIDTH] * p[:, HEIGHT] - 0.3) / 0.2,
        "x": (p[:, CX] / (1 - p[:, WIDTH]) + 1) / 2,
        "y": (p[:, CY] / (1 - p[:, HEIGHT]) + 1) / 2,
        "brightness": ((p[:, BRIGHTNESS] - 1) / 0.4 + 1) / 2,
        "contrast": ((p[:, CONTRAST] - 1) / 0.3 + 1) / 2,
        "saturation": ((p[:, SATURATION] - 1) / 0.2 + 1) / 2,
        "hue": (p[:, HUE] / (2 * math.pi * 0.1) + 1) / 2,
    }
    for name, u in uniform.items():
        counts, _ = np.histogram(u, bins=10, range=(-1e-5, 1 + 1e-5))
        assert counts.sum() == len(p), name
        # Ten cells of 400: a standard deviation is 19.
        assert (np.abs(counts - 400) < 95).all(), (name, counts)
    assert abs((p[:, MIRROR] < 0).mean() - 0.5) < 0.04
    assert abs(p[:, GRAY].mean() - 0.25) < 0.035
    correlation = np.corrcoef([*uniform.values(), p[:, MIRROR], p[:, GRAY]])
    assert np.abs(correlation - np.eye(9)).max() < 0.08


@pytest.mark.parametrize("size", [16, 11, 24])
def test_identity_parameters_give_the_plain_resized_image(size: int) -> None:
    images = noise()
    expected = F.interpolate(
        images.float() / 255, (size, size), mode="bilinear", align_corners=False
    )
    assert torch.allclose(render_views(images, plain(2), size), expected, atol=2e-6)


def test_a_mirror_flips_left_and_right() -> None:
    images = noise()
    straight, mirrored = (render_views(images, plain(2, m=m), 16) for m in (1.0, -1.0))
    assert torch.allclose(mirrored, straight.flip(3), atol=2e-6)


def test_a_crop_cuts_the_named_corner() -> None:
    images = noise()
    # The upper right quarter: its centre lies at (0.5, -0.5) of -1..1.
    corner = render_views(images, plain(2, cx=0.5, cy=-0.5, w=0.5, h=0.5), 8)
    assert torch.allclose(corner, images[:, :, :8, 8:].float() / 255, atol=2e-6)
    mirrored = render_views(images, plain(2, cx=0.5, cy=-0.5, w=0.5, h=0.5, m=-1.0), 8)
    assert torch.allclose(mirrored, corner.flip(3), atol=2e-6)


def test_two_sizes_show_the_same_crop() -> None:
    coarse = torch.rand(4, 3, 3, 3, generator=torch.Generator().manual_seed(1))
    smooth = F.interpolate(coarse, (64, 64), mode="bicubic", align_corners=True).clamp(0, 1)
    images = (smooth * 255).round().to(torch.uint8)
    parameters = torch.from_numpy(many(SPEC, 4))
    small, large = (render_views(images, parameters, size) for size in (16, 32))
    assert (F.avg_pool2d(large, 2) - small).abs().max() < 0.02
    assert (small[0] - small[1]).abs().max() > 0.1


def test_grayscale_gives_equal_channels() -> None:
    out = render_views(noise(), plain(2, gray=1.0), 16)
    assert torch.allclose(out[:, 0], out[:, 1], atol=1e-5)
    assert torch.allclose(out[:, 0], out[:, 2], atol=1e-5)
    luma = torch.tensor([0.299, 0.587, 0.114])[:, None, None]
    assert torch.allclose(out[:, 0], (noise() / 255 * luma).sum(1), atol=1e-5)


def test_brightness_scales() -> None:
    images = noise() // 2
    out = render_views(images, plain(2, b=1.5), 16)
    assert torch.allclose(out, images.float() / 255 * 1.5, atol=1e-5)


def test_contrast_pulls_towards_the_mean_luma() -> None:
    images = noise()
    x = images.float() / 255
    mean = (x * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(1).mean((1, 2))
    expected = 0.4 * x + 0.6 * mean[:, None, None, None]
    assert torch.allclose(render_views(images, plain(2, c=0.4), 16), expected, atol=1e-5)


def test_no_saturation_is_gray_and_hue_keeps_the_luma() -> None:
    images = noise() // 4 + 96  # so that no channel is clipped
    luma = torch.tensor([0.299, 0.587, 0.114])[:, None, None]
    gray = render_views(images, plain(2, s=0.0), 16)
    assert torch.allclose(gray, render_views(images, plain(2, gray=1.0), 16), atol=1e-5)
    turned = render_views(images, plain(2, hue=1.0), 16)
    before = images.float() / 255
    assert torch.allclose((turned * luma).sum(1), (before * luma).sum(1), atol=1e-4)
    assert (turned - before).abs().max() > 0.02
    full = render_views(images, plain(2, hue=2 * math.pi), 16)
    assert torch.allclose(full, before, atol=1e-4)


def test_values_stay_between_0_and_1() -> None:
    out = render_views(noise(40), torch.from_numpy(many(SPEC, 40)), 8)
    assert out.dtype == torch.float32
    assert out.min() >= 0 and out.max() <= 1
