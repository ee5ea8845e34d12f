"""Features of test images in two dimensions, of the student and of the teacher."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from edgedistill.data.images import ImageSet
from edgedistill.openset.head import OpenSetHead
from edgedistill.report import FeatureMaps
from edgedistill.runs.stages.prepare import Prepared
from edgedistill.students import Student
from edgedistill.teacher.view_cache.plain import plain_embeddings

# More images make no clearer picture, and t-SNE slow.
LARGEST = 1000
# Below these, neighbourhoods say nothing.
SMALLEST = 10
_BATCH = 256


def feature_maps(prepared: Prepared, *, seed: int, batch: int) -> FeatureMaps | None:
    """t-SNE of at most `LARGEST` labelled test images, drawn at random; None for too few images.

    Args:
        seed: of the draw and of t-SNE.
        batch: images that the teacher embeds at once, at most.
    """
    target = prepared.images.target
    if prepared.dataset.unlabelled is not None or len(target) < SMALLEST:
        return None
    rows = np.sort(np.random.default_rng(seed).permutation(len(target))[:LARGEST])
    maps = {
        "student": embed_2d(
            student_features(prepared.student, prepared.openset, target.images, rows), seed
        )
    }
    teacher, images = prepared.teacher, prepared.images.teacher_target
    if teacher is not None and images is not None:
        embeddings = plain_embeddings(teacher, images.images, batch=batch)
        maps["teacher"] = embed_2d(embeddings[rows], seed)
    return FeatureMaps(maps, target.labels[rows])


def embed_2d(features: NDArray[np.floating], seed: int) -> NDArray[np.float32]:
    """Features `[n, d]` in two dimensions, float32 `[n, 2]`: t-SNE of their cosine distances.

    van der Maaten & Hinton 2008 (JMLR 9). A perplexity of 30, less for fewer than 91 images.
    """
    # Half a second that runs without it need not wait for.
    from sklearn.manifold import TSNE

    tsne: Any = TSNE(
        perplexity=min(30.0, (len(features) - 1) / 3),
        metric="cosine",
        init="random",
        random_state=seed,
    )
    points: NDArray[np.float32] = tsne.fit_transform(np.asarray(features, np.float32))
    return points


@torch.no_grad()
def student_features(
    student: Student, head: OpenSetHead, images: ImageSet, rows: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Pooled features of some whole images, float32 `[n, d]`."""
    student.eval()
    device = next(student.parameters()).device
    parts = []
    for start in range(0, len(rows), _BATCH):
        pixels = torch.from_numpy(np.array(images[rows[start : start + _BATCH]])).to(device)
        parts.append(student(head.normalize(pixels)).features.float().cpu())
    features: NDArray[np.float32] = torch.cat(parts).numpy()
    return features
