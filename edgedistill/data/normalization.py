"""Per-channel statistics of the two normalisations, and the map between them."""

from __future__ import annotations

Channels = tuple[float, float, float]

IMAGENET_MEAN: Channels = (0.485, 0.456, 0.406)
IMAGENET_STD: Channels = (0.229, 0.224, 0.225)
CLIP_MEAN: Channels = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD: Channels = (0.26862954, 0.26130258, 0.27577711)


def renormalization(
    from_mean: Channels, from_std: Channels, to_mean: Channels, to_std: Channels
) -> tuple[Channels, Channels]:
    """The per-channel affine map between two normalisations of the same image.

    With ``x = (v - from_mean) / from_std`` for pixel values ``v`` in [0, 1], the pair ``(a, b)``
    satisfies ``a * x + b = (v - to_mean) / to_std``. Standard deviations must be positive.
    """
    (m1, m2, m3), (s1, s2, s3) = from_mean, from_std
    (n1, n2, n3), (t1, t2, t3) = to_mean, to_std
    scale = (s1 / t1, s2 / t2, s3 / t3)
    shift = ((m1 - n1) / t1, (m2 - n2) / t2, (m3 - n3) / t3)
    return scale, shift
