"""Embeddings of the known classes' texts, in a teacher's space."""

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor


@dataclass(frozen=True)
class TextBank:
    """The texts of C classes with P names in all, in an embedding space of width D.

    Attributes:
        names: float32 `[P, D]`, unit norm, one row per (class, name), templates pooled.
        owner: int64 `[P]`, the class of each row, never decreasing.
        pooled: float32 `[C, D]`, unit norm, the mean on the sphere of a class's rows.
        pool: "mean" compares with `pooled`, "best" with a class's best matching name.
        logit_scale: what the teacher multiplies cosines with before the softmax.
        sentences: float32 `[S, C, D]`, unit norm, each class in each of a method's own sentences;
            None for a method without.
        vocabulary: float32 `[V, D]`, unit norm, texts of other things; None where no score
            compares with them.
    """

    names: Tensor
    owner: Tensor
    pooled: Tensor
    pool: Literal["mean", "best"]
    logit_scale: float
    sentences: Tensor | None = None
    vocabulary: Tensor | None = None

    @classmethod
    def empty(cls, width: int) -> "TextBank":
        """The texts of no class, in a space of `width` dimensions that may have no texts at all."""
        none = torch.zeros(0, width)
        return cls(none, torch.zeros(0, dtype=torch.int64), none, "mean", 1.0)

    @property
    def references(self) -> Tensor:
        """Float32 `[R, D]`: an embedding's largest cosine with a row is that with its best class.

        The best of the classes' best names is the best of all names.
        """
        return self.names if self.pool == "best" else self.pooled

    def cosines(self, embeddings: Tensor) -> Tensor:
        """Unit-norm `[B, D]` to cosines with the classes `[B, C]`, in the embeddings' dtype."""
        if self.pool == "mean":
            return embeddings @ self.pooled.to(embeddings.dtype).T
        each = embeddings @ self.names.to(embeddings.dtype).T
        classes = len(self.pooled)
        # Names are grouped by class, so a class's best is the maximum of a run of columns.
        best = each.new_full((len(each), classes), -torch.inf)
        return best.scatter_reduce(1, self.owner.expand_as(each), each, "amax")

    def to(self, device: torch.device) -> "TextBank":
        """The same texts on another device."""
        names, owner, pooled = (t.to(device) for t in (self.names, self.owner, self.pooled))
        sentences, vocabulary = (
            None if t is None else t.to(device) for t in (self.sentences, self.vocabulary)
        )
        return replace(
            self,
            names=names,
            owner=owner,
            pooled=pooled,
            sentences=sentences,
            vocabulary=vocabulary,
        )
