"""Open-set classifier over an exported file: images to predictions."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TypeVar, overload

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edgedistill.errors import EdgeDistillError, UsageError
from edgedistill.runtime.contract import UNKNOWN_LABEL, ModelInfo, read_model
from edgedistill.runtime.preprocess import ImageProblem, read_rgb, to_rgb
from edgedistill.runtime.session import Provider, Session

ImageLike = str | os.PathLike[str] | Image.Image | NDArray[np.uint8]
Source = TypeVar("Source", bound=ImageLike)

_FLOAT32 = np.finfo(np.float32)


class UnreadableImage(EdgeDistillError):
    """An image that cannot be read; the message has the reason."""

    code = "unreadable-image"


@dataclass(frozen=True, slots=True)
class Prediction:
    """The decision on one image.

    Attributes:
        label: the class, None for an image that is rejected as unknown.
        known: whether the score reached the threshold.
        score: openness score, higher = more like the known classes.
        threshold: compared with the score.
        probabilities: class -> probability among the known classes, in the model's class order;
            they sum to 1 for unknown images too.
    """

    label: str | None
    known: bool
    score: float
    threshold: float
    probabilities: dict[str, float]

    @property
    def nearest(self) -> str:
        """The most probable known class, also of an image that is unknown."""
        return max(self.probabilities, key=self.probabilities.__getitem__)

    @property
    def confidence(self) -> float:
        """Probability of `nearest`, 0..1."""
        return max(self.probabilities.values())

    def top(self, count: int = 5) -> list[tuple[str, float]]:
        """The most probable classes with their probabilities, best first."""
        ranked = sorted(self.probabilities.items(), key=lambda item: -item[1])
        return ranked[:count]


class Classifier:
    """An exported student.

    One instance may be used by several threads at once: nothing in it changes after construction.
    Create it after a fork, not before: a child has none of its parent's threads.

    Args:
        path: the `.onnx` file of `edgedistill export --onnx`.
        threshold: decides *unknown* instead of the calibrated one; -inf rejects nothing.
        providers: onnxruntime execution providers in order of preference, names or (name,
            options) pairs. The model runs on these alone: name the CPU as well to let it help.
        threads: threads for one batch, None for one per physical core.

    Raises:
        ModelFileError: a file that is no intact exported model, or a provider that cannot run all
            of it.
        UsageError: providers or a number of threads that there are not, or a threshold that is not
            a number.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        threshold: float | None = None,
        providers: Sequence[Provider] = ("CPUExecutionProvider",),
        threads: int | None = None,
    ) -> None:
        self._override = None if threshold is None else _float32(threshold)
        data, self._info = read_model(Path(path))
        self._session = Session(data, self._info, str(path), providers, threads)

    @property
    def info(self) -> ModelInfo:
        """The file's metadata: calibration, metrics, precision, ..."""
        return self._info

    @property
    def classes(self) -> tuple[str, ...]:
        """The known classes."""
        return self._info.classes

    @property
    def threshold(self) -> float:
        """An image is known when its score is at least this."""
        return self._info.threshold if self._override is None else float(self._override)

    @property
    def providers(self) -> tuple[str, ...]:
        """The execution providers the model runs on."""
        return self._session.providers

    # A str is a sequence of str too; it is one path.
    @overload
    def predict(  # type: ignore[overload-overlap]
        self, images: ImageLike, *, threshold: float | None = None, batch_size: int = 16
    ) -> Prediction: ...

    @overload
    def predict(
        self, images: Sequence[ImageLike], *, threshold: float | None = None, batch_size: int = 16
    ) -> list[Prediction]: ...

    def predict(
        self,
        images: ImageLike | Sequence[ImageLike],
        *,
        threshold: float | None = None,
        batch_size: int = 16,
    ) -> Prediction | list[Prediction]:
        """Classify one image, or a list of them.

        Args:
            images: a path, a Pillow image, or a uint8 RGB array [H, W, 3], of any size; or a list
                of these, or an array [N, H, W, 3]. They are turned upright, laid on white and
                resized as in training.
            threshold: for this call only.
            batch_size: how many of a list are decoded and run at a time; it bounds the memory.

        Returns:
            A Prediction for one image, a list of them in the same order for several.

        Raises:
            UnreadableImage: an image that cannot be read; of a list, nothing is returned. `stream`
                goes on instead.
            UsageError: a threshold that is not a number, or a batch size below 1.
            ModelFileError: a failing run.
        """
        several = isinstance(images, list | tuple)
        if isinstance(images, np.ndarray) and images.ndim == 4:
            several = True
        predictions = []
        for _, result in self.stream(
            images if several else [images],  # type: ignore[arg-type]
            threshold=threshold,
            batch_size=batch_size,
        ):
            if isinstance(result, UnreadableImage):
                raise result
            predictions.append(result)
        return predictions if several else predictions[0]

    def stream(
        self, images: Iterable[Source], *, threshold: float | None = None, batch_size: int = 1
    ) -> Iterator[tuple[Source, Prediction | UnreadableImage]]:
        """Classify images as they come, in constant memory.

        Args:
            images: any iterable of what `predict` takes, without end if need be.
            threshold: for this call only.
            batch_size: number of images that are classified together; 1 classifies each at once.

        Yields:
            Every image with its Prediction, or with the error that is the reason for none.

        Raises:
            UsageError, ModelFileError: as `predict`, at the first image.
        """
        if batch_size < 1:
            raise UsageError(f"batch_size: {batch_size} is below 1")
        override = self._override if threshold is None else _float32(threshold)
        iterator = iter(images)
        while batch := list(islice(iterator, batch_size)):
            decoded = [_pixels(image, self._info.size) for image in batch]
            pixels = [d for d in decoded if not isinstance(d, UnreadableImage)]
            predictions = iter(self._classify(np.stack(pixels), override) if pixels else ())
            for image, result in zip(batch, decoded, strict=True):
                yield image, result if isinstance(result, UnreadableImage) else next(predictions)

    def _classify(self, images: NDArray[np.uint8], override: np.float32 | None) -> list[Prediction]:
        label, score, probabilities = self._session.run(images, override)
        classes = self._info.classes
        threshold = self._info.threshold if override is None else float(override)
        return [
            Prediction(
                label=None if number == UNKNOWN_LABEL else classes[number],
                known=number != UNKNOWN_LABEL,
                score=value,
                threshold=threshold,
                probabilities=dict(zip(classes, row, strict=True)),
            )
            for number, value, row in zip(
                label.tolist(), score.tolist(), probabilities.tolist(), strict=True
            )
        ]


def _pixels(image: ImageLike, size: int) -> NDArray[np.uint8] | UnreadableImage:
    """Pixels uint8 RGB [size, size, 3] by the rule of training, or the reason for none."""
    try:
        if isinstance(image, np.ndarray):
            return to_rgb(_from_array(image), size)
        if isinstance(image, Image.Image):
            return to_rgb(image, size)
        if isinstance(image, str | os.PathLike):
            return read_rgb(Path(image), size)
    except ImageProblem as problem:
        return UnreadableImage(f"{_name(image)}: {problem}")
    return UnreadableImage(
        f"{type(image).__name__}: no image; give a path, a Pillow image or a uint8 array [H, W, 3]"
    )


def _from_array(image: NDArray[np.uint8]) -> Image.Image:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ImageProblem(
            "give uint8 RGB [H, W, 3]; turn OpenCV's BGR round with [..., ::-1]", "pixel type"
        )
    if image.size == 0:
        raise ImageProblem("has no pixels", "no pixels")
    return Image.fromarray(image)


def _name(image: ImageLike) -> str:
    if isinstance(image, np.ndarray):
        return f"array {image.dtype}{list(image.shape)}"
    if isinstance(image, Image.Image):
        return str(getattr(image, "filename", "") or f"image {image.mode} {image.size}")
    return os.fspath(image)


def _float32(threshold: float) -> np.float32:
    """A threshold in the graph's float32, clipped to its range."""
    try:
        value = float(threshold)
    except (TypeError, ValueError):
        value = float("nan")
    if value != value:
        raise UsageError(f"threshold: {threshold!r} is not a number; give the least score")
    return np.float32(min(max(value, float(_FLOAT32.min)), float(_FLOAT32.max)))
