"""The teacher's embeddings of the whole images that it is measured on."""

from edgedistill.data.images import LabelledImages
from edgedistill.openset import Outputs
from edgedistill.runs.stages.prepare import Prepared
from edgedistill.teacher.view_cache.plain import open_plain_cache
from edgedistill.teacher.zero_shot import zero_shot


def embed_plain_images(prepared: Prepared, batch: int) -> None:
    """Ask the teacher about source validation and target, as far as the cache lacks them.

    Args:
        batch: images that the teacher embeds at once, at most.

    Raises CacheError when the cache cannot be written or was damaged.
    """
    for labelled, name in _parts(prepared):
        if prepared.teacher is not None:
            open_plain_cache(prepared.teacher, labelled.images, batch=batch, name=name)


def zero_shot_outputs(prepared: Prepared, batch: int) -> list[Outputs]:
    """The teacher's answers to source validation and to the target; empty without a teacher.

    Args:
        batch: as in `embed_plain_images`, which leaves nothing to ask the teacher.
    """
    teacher, text, outputs = prepared.teacher, prepared.text, []
    if teacher is None or text is None:
        return []
    for labelled, name in _parts(prepared):
        cache = open_plain_cache(teacher, labelled.images, batch=batch, name=name)
        outputs.append(zero_shot(teacher, text, labelled, cache))
    return outputs


def _parts(prepared: Prepared) -> list[tuple[LabelledImages, str]]:
    images = prepared.images
    parts = (images.teacher_val, "source validation"), (images.teacher_target, "the target")
    return [(part, f"teacher on {name}") for part, name in parts if part is not None]
