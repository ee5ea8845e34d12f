"""Torch module of an exported file: pixels to label, score and probabilities."""

from torch import Tensor, nn

from edgedistill.openset.head import OpenSetHead, OpenSetOutput
from edgedistill.students import Student


class Deployed(nn.Module):
    """A student between the two sides of its open-set head, in evaluation mode."""

    def __init__(self, student: Student, openset: OpenSetHead) -> None:
        super().__init__()
        self.student = student
        self.openset = openset
        self.eval()

    def forward(self, image: Tensor, threshold: Tensor) -> OpenSetOutput:
        """Answers to uint8 RGB `[N, S, S, 3]`; `threshold` is a float32 scalar."""
        out = self.student(self.openset.normalize(image))
        answers: OpenSetOutput = self.openset(out.logits, out.projected, threshold)
        return answers
