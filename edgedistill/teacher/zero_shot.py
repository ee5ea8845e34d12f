"""The teacher as a classifier of whole images: what distillation starts from."""

import numpy as np
import torch
from numpy.typing import NDArray

from edgedistill.data.selection import Images
from edgedistill.methods.text_bank import TextBank
from edgedistill.openset import Outputs
from edgedistill.teacher.open_clip import Teacher


def zero_shot(
    teacher: Teacher, text: TextBank, pixels: Images, labels: NDArray[np.int64]
) -> Outputs:
    """Scaled cosines as logits, and the cosines, for uint8 `[N, size, size, 3]` images.

    `labels`: int64 `[N]`, -1 for unknown. `text` must be on the teacher's device.
    """
    found = []
    for start in range(0, len(pixels), 128):
        # A copy: torch warns of arrays it could write to and must not, as mapped files are.
        part = np.array(pixels[start : start + 128])
        x = torch.from_numpy(part).to(teacher.device).permute(0, 3, 1, 2).div(255.0)
        found.append(text.cosines(teacher.encode_images(x)).cpu())
    cosines = torch.cat(found)
    return Outputs((cosines * text.logit_scale).numpy(), cosines.numpy(), labels)
