"""Train: the student, from its start weights or a checkpoint, to student.safetensors."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save

from edgedistill import callbacks
from edgedistill._utils.atomic import write_bytes
from edgedistill.data.images import LabelledImages
from edgedistill.data.views import draw_views, view_spec
from edgedistill.methods.reliability import Reliability
from edgedistill.methods.text_bank import TextBank
from edgedistill.recipe.schema import TrainSection, ViewsSection
from edgedistill.runs.folder import RunFolder, write_history
from edgedistill.runs.stages.prepare import Prepared
from edgedistill.runs.workspace import Workspace
from edgedistill.students import Student
from edgedistill.train.context import History, TeacherFn, TrainContext
from edgedistill.train.loop import fit
from edgedistill.train.validation import SourceValidation
from edgedistill.train.wise_ft import Interpolation, ship_interpolated, snapshot


@dataclass(frozen=True)
class Trained:
    """Outputs of `Train`; the selected weights are in the prepared student.

    Attributes:
        history: one row per validation.
        seconds: of training, earlier parts of a resumed run counted in.
        interpolation: with the start weights; None where the trained weights ship.
    """

    history: History
    seconds: float
    interpolation: Interpolation | None


@dataclass(frozen=True)
class Train:
    """The stage that trains the student.

    Attributes:
        size: the student's input side in pixels.
        seed: of the batches and torch's draws.
    """

    train: TrainSection
    views: ViewsSection
    size: int
    seed: int

    def __call__(
        self,
        workspace: Workspace,
        prepared: Prepared,
        teacher_fn: TeacherFn | None,
        reliability: Reliability | None,
    ) -> Trained:
        """Train, or go on from the folder's checkpoint, and save the student.

        Raises Stopped after Ctrl-C or SIGTERM, TrainingError when training diverges.
        """
        context = TrainContext(
            student=prepared.student,
            method=prepared.method,
            images=prepared.images.to_train_on(),
            spec=view_spec(self.views),
            views=self.views.count,
            teacher_fn=teacher_fn,
            text=prepared.text,
            validator=SourceValidation(prepared.openset, *self._validation(prepared)),
            reliability=None if reliability is None else reliability.to(workspace.device),
            size=self.size,
            settings=self.train,
            seed=self.seed,
            device=workspace.device,
            dtype=workspace.dtype,
            processes=workspace.processes,
        )
        folder, share = workspace.folder, self.train.wise_ft
        start = None if share == 1 else snapshot(prepared.student)
        history, seconds = fit(
            context,
            folder.checkpoint,
            callbacks.current(),
            lambda rows: write_history(folder, rows),
        )
        shipped = None if start is None else ship_interpolated(context, start, share)
        if workspace.processes.rank == 0:
            save_student(prepared.student, prepared.text, folder)
            best, steps = max(row["val_accuracy"] for row in history), history[-1]["step"]
            if steps < self.train.steps:
                callbacks.current().on_note(
                    f"stopped after {steps:.0f} of {self.train.steps} steps: no better source "
                    f"validation in {self.train.patience} passes (train.patience)"
                )
            if shipped is not None:
                callbacks.current().on_note(shipped.summary())
            callbacks.current().on_note(
                f"trained {steps:.0f} steps in {seconds:.0f} s, best source validation "
                f"{100 * best:.1f}%; {_next(prepared)}"
            )
        return Trained(history, seconds, shipped)

    def _validation(self, prepared: Prepared) -> tuple[LabelledImages, NDArray[np.float32] | None]:
        """Images to validate on: whole, or with the parameters of the one view of each to cut."""
        images = prepared.images
        if not self.train.augmented_validation:
            return images.val, None
        stored = images.store.images(images.val.images.rows)
        paths = (stored.paths[row] for row in stored.rows)
        views = draw_views(view_spec(self.views), paths, np.zeros(len(stored), np.int64))
        return prepared.dataset.label(stored), views


def _next(prepared: Prepared) -> str:
    images = len(prepared.images.target)
    if prepared.dataset.unlabelled is not None:
        return f"answering {images} images without labels"
    return f"evaluating on {images} test images" if images else "no image to test on"


def save_student(student: Student, text: TextBank | None, folder: RunFolder) -> None:
    """Weights, and the class texts that a projecting student is compared with."""
    tensors = {name: value.detach().cpu() for name, value in student.state_dict().items()}
    if text is not None:
        tensors |= {"text.names": text.names, "text.owner": text.owner, "text.pooled": text.pooled}
        if text.vocabulary is not None:
            scale = torch.tensor(text.logit_scale, dtype=torch.float64)
            tensors |= {"text.vocabulary": text.vocabulary, "text.logit_scale": scale}
    # contiguous() undoes channels_last: safetensors stores plain row-major arrays.
    write_bytes(folder.student, save({k: v.cpu().contiguous() for k, v in tensors.items()}))
