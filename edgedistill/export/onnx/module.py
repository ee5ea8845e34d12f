"""What a device runs, as one torch module: pixels in; label, score and probabilities out."""

import torch
from torch import Tensor, nn

from edgedistill.errors import ExportError
from edgedistill.methods.base import StudentOutput
from edgedistill.methods.text_bank import TextBank
from edgedistill.runtime.contract import UNKNOWN_LABEL
from edgedistill.students import Student


class Deployed(nn.Module):
    """A student with its preprocessing before it and its rejection behind it.

    Args:
        student: the trained network, in evaluation mode.
        score: a name of `edgedistill.openset.SCORES`.
        texts: the class texts; only max_cosine reads them.

    Raises:
        EdgeDistillError: max_cosine without texts.
        ValueError: an unknown score.
    """

    shift: Tensor
    scale: Tensor
    texts: Tensor

    def __init__(self, student: Student, score: str, texts: TextBank | None) -> None:
        super().__init__()
        self.student = student
        self.score = score
        pixel_mean = 255 * torch.tensor(student.mean, dtype=torch.float64)
        pixel_std = 255 * torch.tensor(student.std, dtype=torch.float64)
        self.register_buffer("shift", pixel_mean.float()[:, None, None])
        self.register_buffer("scale", (1 / pixel_std).float()[:, None, None])
        if score == "max_cosine":
            if texts is None:
                raise ExportError(
                    "the score max_cosine needs the class texts, and the run saved none; train it "
                    "again with a teacher"
                )
            # The best of the classes' best names is the best of all names.
            rows = texts.names if texts.pool == "best" else texts.pooled
            self.register_buffer("texts", rows.T.contiguous())
        elif score not in ("max_softmax", "max_logit", "energy"):
            raise ValueError(f"no formula for the score {score!r}")
        self.eval()

    def forward(self, image: Tensor, threshold: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """uint8 RGB [N, S, S, 3] and a float32 scalar to label, score and probabilities.

        Returns label int64 [N] (-1 where score < threshold), score float32 [N] (higher is
        more known), probabilities float32 [N, C] over the known classes.
        """
        pixels = image.permute(0, 3, 1, 2).float()
        out = self.student((pixels - self.shift) * self.scale)
        probabilities = out.logits.softmax(dim=1)
        score = self._score(out, probabilities)
        best = out.logits.argmax(dim=1)
        label = torch.where(score >= threshold, best, UNKNOWN_LABEL)
        return label, score, probabilities

    def _score(self, out: StudentOutput, probabilities: Tensor) -> Tensor:
        if self.score == "max_softmax":
            return probabilities.amax(dim=1)
        if self.score == "max_logit":
            return out.logits.amax(dim=1)
        if self.score == "energy":
            return out.logits.logsumexp(dim=1)
        if out.projected is None:
            raise ExportError("the score max_cosine needs a method that projects")
        return (out.projected @ self.texts).amax(dim=1)
