"""A trained head's projection, compared with the texts of any classes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from edgedistill.methods.heads import LinearHead, ProjectionHead, PromptedHead
from edgedistill.methods.text_bank import TextBank


def bank(pool: Any) -> TextBank:
    """Class 0 is called by the first and the second axis, class 1 by the third."""
    names = torch.eye(3)
    pooled = torch.stack([F.normalize(names[0] + names[1], dim=0), names[2]])
    return TextBank(names, torch.tensor([0, 0, 1]), pooled, pool, 10.0)


def prompted(pool: Any) -> PromptedHead:
    """Of a head that only brings features to unit norm."""
    trained = ProjectionHead(3, 7, 3, torch.eye(3))
    return PromptedHead(trained, bank(pool))


def test_logits_are_scaled_cosines_with_the_best_name_of_a_class() -> None:
    features = torch.tensor([[3.0, 4.0, 0.0], [0.0, 0.0, -2.0]])
    out = prompted("best")(features)
    assert out.logits.tolist() == [[pytest.approx(8.0), 0.0], [0.0, -10.0]]
    assert out.projected.tolist() == [pytest.approx([0.6, 0.8, 0.0]), [0.0, 0.0, -1.0]]


def test_or_with_the_mean_of_its_names() -> None:
    out = prompted("mean")(torch.tensor([[3.0, 4.0, 0.0]]))
    assert out.logits[0].tolist() == pytest.approx([10 * 1.4 / 2**0.5, 0.0])


def test_the_cosines_are_those_of_the_teachers_zero_shot() -> None:
    generator = torch.Generator().manual_seed(0)
    names = F.normalize(torch.randn(9, 4, generator=generator), dim=1)
    owner = torch.tensor([0, 1, 1, 1, 2, 2, 3, 3, 3])
    text = TextBank(names, owner, names[[0, 1, 4, 6]], "best", 1.0)
    head = PromptedHead(ProjectionHead(4, 2, 4, torch.eye(4)), text)
    embeddings = F.normalize(torch.randn(20, 4, generator=generator), dim=1)
    assert torch.allclose(head(embeddings).logits, text.cosines(embeddings), atol=1e-6)


def test_a_head_that_does_not_project_is_refused() -> None:
    with pytest.raises(ValueError, match="project"):
        PromptedHead(LinearHead(3, 2), bank("best"))(torch.ones(1, 3))
