"""The teacher as a classifier of whole images: what distillation starts from."""

import torch

from edgedistill.data.images import LabelledImages
from edgedistill.methods.text_bank import TextBank
from edgedistill.openset import Outputs, ProbabilityRange
from edgedistill.openset.head import OpenSetHead
from edgedistill.teacher.base import Teacher
from edgedistill.teacher.view_cache.plain import PlainCache, embed_images

_BATCH = 128


def zero_shot(
    teacher: Teacher, text: TextBank, labelled: LabelledImages, cache: PlainCache | None = None
) -> Outputs:
    """Scaled cosines as logits, and max_cosine as score, of images of the teacher's size.

    Args:
        text: on the teacher's device.
        cache: has the teacher's embeddings of these images, see `open_plain_cache`; None asks the
            teacher.
    """
    head = OpenSetHead("max_cosine", mean=teacher.mean, std=teacher.std, texts=text.references)
    head.to(teacher.device)
    images, answers = labelled.images, []
    for start in range(0, len(labelled), _BATCH):
        rows = slice(start, start + _BATCH)
        if cache is None:
            embeddings = embed_images(teacher, images[rows])
        else:
            embeddings = torch.from_numpy(cache.lookup(images.rows[rows])).to(teacher.device)
        logits = text.cosines(embeddings) * text.logit_scale
        answers.append(head(logits, embeddings).condensed())
    predictions, scores, top, highest, lowest = (
        torch.cat(parts).cpu().numpy() for parts in zip(*answers, strict=True)
    )
    probabilities = ProbabilityRange(top, highest, lowest, logits.shape[1])
    return Outputs(predictions, scores, probabilities, labelled.labels)
