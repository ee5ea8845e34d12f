"""Tokenizer of a folder of transformers: its tokenizer.json, with the padding of its texts."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from edgedistill._utils.extras import needs_extra
from edgedistill.errors import WeightsError


class FileTokenizer:
    """Texts to token ids, cut or padded to the context length.

    Args:
        folder: has tokenizer.json, and tokenizer_config.json for the name of the padding token.
        context_length: tokens of a text, L.
        pad_id: id of the padding token where the folder does not name one.
        clean: applied to each text before.

    Raises:
        WeightsError: no tokenizer.json there, or one that cannot be read.
        MissingPackageError: without the package `tokenizers`.
    """

    def __init__(
        self, folder: Path, context_length: int, pad_id: int, clean: Callable[[str], str]
    ) -> None:
        with needs_extra("siglip", "a teacher with a tokenizer.json"):
            from tokenizers import Tokenizer
        path = folder / "tokenizer.json"
        if not path.is_file():
            raise WeightsError(
                f"teacher.model: {folder}: no tokenizer.json there; put that of the model into it"
            )
        try:
            self._tokenizer: Any = Tokenizer.from_file(str(path))
        # tokenizers raises plain Exceptions.
        except Exception as error:
            raise WeightsError(
                f"teacher.model: {path}: cannot be read: {' '.join(str(error).split())[:200]}"
            ) from error
        named = _padding_token(folder)
        number = None if named is None else self._tokenizer.token_to_id(named)
        self._pad_id = pad_id if number is None else int(number)
        self._clean = clean
        self.context_length = context_length

    def __call__(self, texts: list[str], context_length: int | None = None) -> Tensor:
        """Ids int64 `[n, L]`; a text's end token stays where the text is cut."""
        length = context_length or self.context_length
        self._tokenizer.enable_truncation(length)
        self._tokenizer.enable_padding(pad_id=self._pad_id, length=length)
        encoded = self._tokenizer.encode_batch([self._clean(text) for text in texts])
        return torch.tensor([e.ids for e in encoded], dtype=torch.int64).reshape(-1, length)


def _padding_token(folder: Path) -> str | None:
    path = folder / "tokenizer_config.json"
    if not path.is_file():
        return None
    try:
        token = json.loads(path.read_text(encoding="utf-8")).get("pad_token")
    except (ValueError, AttributeError) as error:
        raise WeightsError(f"teacher.model: {path}: not the JSON of a tokenizer: {error}") from None
    content = token.get("content") if isinstance(token, dict) else token
    return content if isinstance(content, str) else None
