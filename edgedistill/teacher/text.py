"""Class names and prompts, and their text embeddings."""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from edgedistill._utils.suggestions import choices
from edgedistill.errors import RecipeError
from edgedistill.methods.text_bank import TextBank
from edgedistill.recipe.schema import PromptsSection
from edgedistill.teacher.base import Teacher


def class_names(
    known: Sequence[str],
    defaults: Mapping[str, Sequence[str]],
    overrides: Mapping[str, Sequence[str]],
    keep_underscores: bool,
) -> list[list[str]]:
    """The names of each known class, in label order.

    Args:
        known: folder names of the known classes.
        defaults: names that the dataset gives to classes.
        overrides: names that the recipe gives to classes; they win over the dataset's, which win
            over the folder name.
        keep_underscores: leave underscores in folder names.

    Raises:
        RecipeError: the recipe names a class that does not exist.
    """
    unknown = sorted(set(overrides) - set(known) - set(defaults))
    if unknown:
        raise RecipeError(f"prompts.names: no class {unknown[0]!r}; {choices(unknown[0], known)}")
    chosen = []
    for name in known:
        names = list(overrides.get(name) or defaults.get(name) or [name])
        if keep_underscores and name not in overrides:
            # The dataset's default name of a folder is the folder's name without underscores.
            names = [name if n == name.replace("_", " ") else n for n in names]
        chosen.append(names)
    return chosen


def encode_class_texts(
    prompts: PromptsSection,
    known: Sequence[str],
    defaults: Mapping[str, Sequence[str]],
    teacher: Teacher,
    sentences: Sequence[str] = (),
) -> TextBank:
    """The texts of the known classes, on the CPU.

    `defaults` as in `class_names`, `sentences` as in `build_text_bank`.
    """
    names = class_names(known, defaults, prompts.names, prompts.keep_underscores)
    return build_text_bank(
        teacher.encode_texts,
        names,
        prompts.templates,
        prompts.pool,
        teacher.logit_scale,
        sentences,
    )


def check_class_texts(
    prompts: PromptsSection,
    known: Sequence[str],
    defaults: Mapping[str, Sequence[str]],
    teacher: Teacher,
    place: str = "prompts.names",
) -> tuple[str, ...]:
    """Warnings about texts that the teacher reads in part, and about texts of two classes.

    Args:
        prompts, known, defaults, teacher: as `encode_class_texts` takes them.
        place: where a user gives names to classes.

    Raises:
        RecipeError: to the teacher, all texts of two classes are the same.
    """
    names = class_names(known, defaults, prompts.names, prompts.keep_underscores)
    owners: dict[tuple[int, ...], str] = {}
    classes: dict[frozenset[tuple[int, ...]], str] = {}
    shared, cut_texts = [], []
    for cls, group in zip(known, names, strict=True):
        texts = [t.format(name) for name in group for t in prompts.templates]
        ids, cut = teacher.token_ids(texts)
        cut_texts += cut
        other = classes.setdefault(frozenset(ids), cls)
        if other != cls:
            because = ", as it cuts them at its context length" if cut else ""
            raise RecipeError(
                f"prompts: to the teacher the texts of classes {other!r} and {cls!r} are the "
                f"same{because}; give one of them another name in {place}"
            )
        for text, key in zip(texts, ids, strict=True):
            owner = owners.setdefault(key, cls)
            if owner != cls:
                shared.append(f"{text!r} is a text of classes {owner!r} and {cls!r}")
    warnings = []
    if cut_texts:
        more = f" (and {len(cut_texts) - 1} more)" if len(cut_texts) > 1 else ""
        warnings.append(
            f"prompts: the teacher reads the beginning alone of {cut_texts[0]!r}{more}; shorten "
            "the template or the name"
        )
    if shared:
        more = f" (and {len(shared) - 1} more)" if len(shared) > 1 else ""
        warnings.append(f"prompts: to the teacher {shared[0]}{more}; see {place}")
    return tuple(warnings)


def build_text_bank(
    encode: Callable[[list[str]], Tensor],
    names: Sequence[Sequence[str]],
    templates: Sequence[str],
    pool: Literal["mean", "best"],
    logit_scale: float,
    sentences: Sequence[str] = (),
) -> TextBank:
    """Encode every template of every name once.

    Args:
        encode: texts to unit-norm float32 `[n, D]`.
        names: for each class, its names.
        templates: each with one `{}`.
        pool: similarity of an image to a class: to the mean of its names, or to the best of them.
        logit_scale: factor of the cosines.
        sentences: further templates, whose texts are kept apart from each other.
    """
    texts = [t.format(name) for group in names for name in group for t in templates]
    encoded = encode(texts).unflatten(0, (-1, len(templates)))
    rows = F.normalize(encoded.mean(1), dim=1)
    owner = torch.tensor([c for c, group in enumerate(names) for _ in group])
    pooled = torch.stack([rows[owner == c].mean(0) for c in range(len(names))])
    single = [_pooled(encode, names, sentence) for sentence in sentences]
    return TextBank(
        rows,
        owner,
        F.normalize(pooled, dim=1),
        pool,
        logit_scale,
        torch.stack(single) if single else None,
    )


def _pooled(
    encode: Callable[[list[str]], Tensor], names: Sequence[Sequence[str]], template: str
) -> Tensor:
    """The mean on the sphere of each class's names in one template, `[C, D]`."""
    encoded = encode([template.format(name) for group in names for name in group])
    means = [part.mean(0) for part in encoded.split([len(group) for group in names])]
    return F.normalize(torch.stack(means), dim=1)
