"""The teacher as a classifier of whole images: what distillation starts from."""

import numpy as np
import torch

from edgedistill.data.images import LabelledImages
from edgedistill.data.pixels import to_chw_float
from edgedistill.methods.text_bank import TextBank
from edgedistill.openset import Outputs
from edgedistill.openset.head import OpenSetHead
from edgedistill.teacher.open_clip import Teacher


def zero_shot(teacher: Teacher, text: TextBank, labelled: LabelledImages) -> Outputs:
    """Scaled cosines as logits, and max_cosine as score, of images of the teacher's size.

    `text` must be on the teacher's device.
    """
    head = OpenSetHead("max_cosine", mean=teacher.mean, std=teacher.std, texts=text.references)
    head.to(teacher.device)
    answers = []
    for start in range(0, len(labelled), 128):
        # A copy: torch warns of arrays it could write to and must not, as mapped files are.
        pixels = torch.from_numpy(np.array(labelled.images[start : start + 128]))
        embeddings = teacher.encode_images(to_chw_float(pixels.to(teacher.device)) / 255)
        answers.append(head(text.cosines(embeddings) * text.logit_scale, embeddings))
    predictions, scores, probabilities = (
        torch.cat(parts).cpu().numpy() for parts in zip(*answers, strict=True)
    )
    return Outputs(predictions, scores, probabilities, labelled.labels)
