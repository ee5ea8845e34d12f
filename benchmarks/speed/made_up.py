"""Synthetic training context: random pixels and embeddings, which speed does not depend on."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.optim import Optimizer

from edgedistill.data.images import ImageSet, LabelledImages
from edgedistill.data.views import ViewBatch, ViewSpec
from edgedistill.methods import METHODS
from edgedistill.methods.text_bank import TextBank
from edgedistill.openset.head import OpenSetHead
from edgedistill.recipe.schema import TrainSection, ViewsSection
from edgedistill.students.assemble import assemble_student
from edgedistill.teacher.view_cache.cache import ViewCache
from edgedistill.train.averaging import WeightAverage
from edgedistill.train.batches import Batch
from edgedistill.train.context import TrainContext
from edgedistill.train.cpu_kernels.convolutions import use_fast_convolutions
from edgedistill.train.device import autocast_dtype, to_device
from edgedistill.train.optim import build_optimizers
from edgedistill.train.step import Forward, train_step
from edgedistill.train.validation import SourceValidation

SPEC = ViewSpec(seed=0, **ViewsSection().model_dump(exclude={"count", "store_size", "seed"}))


@dataclass(frozen=True)
class Sizes:
    """How large a task is: `batch` images a step from three domains, `width` of embeddings."""

    student: str
    size: int
    store_size: int
    batch: int
    classes: int = 54
    views: int = 16
    width: int = 512
    images: int = 960
    steps: int = 1000


def texts(sizes: Sizes, device: torch.device) -> TextBank:
    """One random prompt per class."""
    generator = torch.Generator().manual_seed(0)
    rows = F.normalize(torch.randn(sizes.classes, sizes.width, generator=generator), dim=1)
    owner = torch.arange(sizes.classes)
    return TextBank(rows, owner, rows, "mean", 100.0).to(device)


def images(sizes: Sizes) -> LabelledImages:
    """Random stored images of three domains."""
    rng = np.random.default_rng(0)
    shape = (sizes.images, sizes.store_size, sizes.store_size, 3)
    rows = np.arange(sizes.images)
    paths = tuple(f"domain/class/{row}.png" for row in rows)
    pixels = rng.integers(0, 256, shape, dtype=np.uint8)
    labels = rng.integers(0, sizes.classes, sizes.images)
    return LabelledImages(
        ImageSet.from_array(pixels, paths, rows), labels, tuple(np.array_split(rows, 3))
    )


def cache(sizes: Sizes, folder: Path) -> ViewCache:
    """Random unit vectors in a mapped file, as a view cache keeps them."""
    rng = np.random.default_rng(1)
    shape = (sizes.images, sizes.views, sizes.width)
    embeddings = np.memmap(folder / "embeddings.f16", dtype=np.float16, mode="w+", shape=shape)
    values = rng.standard_normal(shape, dtype=np.float32)
    embeddings[:] = values / np.linalg.norm(values, axis=2, keepdims=True)
    embeddings.flush()
    return ViewCache(folder, embeddings)


def settings(sizes: Sizes, precision: str, compiled: bool) -> TrainSection:
    """The recipe's defaults, with an average of the weights as both methods' recipes have it."""
    return TrainSection.model_validate(
        {
            "steps": sizes.steps,
            "batch_per_domain": sizes.batch // 3,
            "average": "ema",
            "precision": precision,
            "compile": compiled,
        }
    )


def context(
    method: str,
    sizes: Sizes,
    train: TrainSection,
    pictures: LabelledImages,
    embeddings: ViewCache,
    device: torch.device,
) -> TrainContext:
    """A task whose teacher is the cache."""
    torch.manual_seed(0)
    bank = texts(sizes, device)
    learner = METHODS[method](METHODS[method].Hyper(), text=bank)
    student = assemble_student(sizes.student, learner, sizes.classes)
    use_fast_convolutions(student)
    student.to(device).to(memory_format=torch.channels_last)
    student.train()

    def look_up(batch: Batch, views: ViewBatch, rows: Tensor | None) -> Tensor:
        image = to_device(
            embeddings.lookup(pictures.images.rows[batch.positions], batch.views), device
        )
        return F.normalize(image if rows is None else image[rows], dim=1)

    first = LabelledImages(
        ImageSet.from_array(pictures.images[:1]), pictures.labels[:1], (np.zeros(1, np.int64),)
    )
    return TrainContext(
        student=student,
        method=learner,
        images=pictures,
        spec=SPEC,
        views=sizes.views,
        teacher_fn=look_up if learner.needs_teacher else None,
        text=bank if learner.needs_teacher else None,
        validator=SourceValidation(OpenSetHead("max_logit").to(device), first),
        size=sizes.size,
        settings=train,
        seed=0,
        device=device,
        dtype=autocast_dtype(train.precision, device, sizes.student),
    )


def forward_of(context: TrainContext) -> Forward:
    """The student as a run trains it."""
    if not context.settings.compile:
        return context.student
    compiled: Forward = torch.compile(context.student, dynamic=False)
    return compiled


def optimizers_of(context: TrainContext) -> list[Optimizer]:
    """The optimisers of a run."""
    train, student = context.settings, context.student
    return build_optimizers(
        context.method.param_groups(student.backbone, student.head),
        train.optimizer,
        lr=train.lr,
        weight_decay=train.weight_decay,
        momentum=train.momentum,
        nesterov=train.nesterov,
        count=context.method.optimizers,
        fused=context.device.type == "cuda",
    )


def stepping(context: TrainContext) -> Callable[[int], dict[str, Tensor]]:
    """A function that trains on the batch of a step, as the training loop does."""
    train, student = context.settings, context.student
    optimizers = optimizers_of(context)
    average = WeightAverage(student, "ema", decay=train.ema_decay)
    scaler = torch.amp.GradScaler(context.device.type, enabled=False)
    forward = forward_of(context)

    def step(number: int) -> dict[str, Tensor]:
        losses = train_step(context, forward, optimizers, scaler, number)
        average.update(student)
        return losses

    return step
