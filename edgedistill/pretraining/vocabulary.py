"""The words of a vocabulary file, and their texts."""

from __future__ import annotations

from pathlib import Path

from edgedistill._utils.text_files import EncodingError, read_text
from edgedistill.errors import RecipeError
from edgedistill.methods.text_bank import TextBank
from edgedistill.recipe.schema import PromptsSection
from edgedistill.teacher.base import Teacher
from edgedistill.teacher.text import build_text_bank


def read_words(path: Path) -> list[str]:
    """The words of a file, one on a line, each once; '#' begins a note.

    Raises RecipeError for a file that cannot be read or has fewer than two words.
    """
    try:
        lines = read_text(path).splitlines()
    except EncodingError as error:
        raise RecipeError(f"loss.words: {path}: {error}") from None
    except OSError as error:
        raise RecipeError(f"loss.words: {path}: cannot be read: {error.strerror}") from None
    words = dict.fromkeys(line.partition("#")[0].strip() for line in lines)
    words.pop("", None)
    if len(words) < 2:
        raise RecipeError(f"loss.words: {path}: needs two words or more, one on a line")
    return list(words)


def word_texts(path: str, prompts: PromptsSection, teacher: Teacher) -> TextBank:
    """The texts of a vocabulary's words, on the CPU. Raises RecipeError as `read_words`."""
    words = [[word] for word in read_words(Path(path))]
    return build_text_bank(
        teacher.encode_texts, words, prompts.templates, "mean", teacher.logit_scale
    )
