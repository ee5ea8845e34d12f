"""The texts of a vocabulary file's words."""

from __future__ import annotations

from pathlib import Path

from edgedistill.methods.text_bank import TextBank
from edgedistill.recipe.schema import PromptsSection
from edgedistill.teacher.base import Teacher
from edgedistill.teacher.text import build_text_bank
from edgedistill.teacher.vocabulary import read_words


def word_texts(path: str, prompts: PromptsSection, teacher: Teacher) -> TextBank:
    """The texts of a vocabulary's words, on the CPU. Raises RecipeError as `read_words`."""
    words = [[word] for word in read_words(Path(path), "loss.words")]
    return build_text_bank(
        teacher.encode_texts, words, prompts.templates, "mean", teacher.logit_scale
    )
