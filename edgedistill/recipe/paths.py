"""Relative paths of recipes: they start from the folder of the file that says them."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from edgedistill._utils.home import expand_home
from edgedistill.registries import DATASETS

_LOCAL_DIR = "local-dir:"
# Of student.weights, which may also be a file or a run.
_NAMED_WEIGHTS = ("embedded", "none", "imagenet", "imagenet-v2")


def _dataset(value: str) -> bool:
    return value not in DATASETS


def _weights(value: str) -> bool:
    return value not in _NAMED_WEIGHTS


def _always(value: str) -> bool:
    return True


def _marked(value: str) -> bool:
    """A bare word is the name of a domain, or of an open_clip tag, even beside such a folder.

    A target that the dataset has no folder of is looked for beside the recipe, see `_beside`.
    """
    return "/" in value or os.sep in value


# Section and key -> whether a value, or one of a list of values, may be a path.
_KEYS: dict[tuple[str, str], Callable[[str], bool]] = {
    ("data", "dataset"): _dataset,
    ("data", "unlabelled"): _dataset,
    ("data", "root"): _always,
    ("data", "lists"): _always,
    ("data", "target"): _marked,
    ("student", "weights"): _weights,
    ("prompts", "vocabulary"): _always,
    ("teacher", "model"): _marked,
    ("teacher", "pretrained"): _marked,
    # Of pretraining.
    ("data", "images"): _always,
    ("data", "labelled"): _dataset,
    ("loss", "words"): _always,
}


def absolute_paths(tree: Mapping[str, Any], base: Path) -> dict[str, Any]:
    """A recipe's sections with relative paths made absolute.

    A path starts from `base`, or where nothing is there, from the current directory. What is in
    neither stays as it is, and so does what is no path: a dataset's name, a tag of weights.

    Args:
        tree: the sections as nested dictionaries; not changed.
        base: folder of the file that says them.
    """
    absolute = dict(tree)
    for (section, key), may_be_path in _KEYS.items():
        values = absolute.get(section)
        if isinstance(values, dict) and key in values:
            absolute[section] = {**values, key: _absolute(values[key], base, may_be_path)}
    data = absolute.get("data")
    if isinstance(data, dict) and _beside(data, base):
        absolute["data"] = {**data, "target": os.path.abspath(base / data["target"])}
    return absolute


def _beside(data: Mapping[str, Any], base: Path) -> bool:
    """Whether a target that is a bare word is a folder of `base`, and none of the dataset.

    Domains of named datasets, and those that stand in tables or lists of another root, are only
    known when they are read: there a word stays a name.
    """
    target, dataset = data.get("target"), data.get("dataset")
    if not (isinstance(target, str) and isinstance(dataset, str)) or {"root", "lists"} & set(data):
        return False
    if not target or "\0" in target + dataset or _marked(target) or dataset in DATASETS:
        return False
    root = expand_home(dataset)
    return (base / target).is_dir() and not (
        (root if root.is_dir() else root.parent) / target
    ).is_dir()


def absolute_value(keys: tuple[str, ...], value: Any, base: Path) -> Any:
    """The value of one field, as `absolute_paths` would have it."""
    may_be_path = _KEYS.get((keys[0], keys[1])) if len(keys) == 2 else None
    return value if may_be_path is None else _absolute(value, base, may_be_path)


def _absolute(value: Any, base: Path, may_be_path: Callable[[str], bool]) -> Any:
    if isinstance(value, list):
        return [_absolute(entry, base, may_be_path) for entry in value]
    return absolute_path(value, base, may_be_path) if isinstance(value, str) else value


def absolute_path(value: str, base: Path, may_be_path: Callable[[str], bool]) -> str:
    """A path below `base` or the current directory as an absolute one; any other text as it is."""
    prefix = _LOCAL_DIR if value.startswith(_LOCAL_DIR) else ""
    path = value.removeprefix(prefix)
    if not path or "\0" in path or path.startswith("~") or os.path.isabs(path):
        return value
    if not prefix and not may_be_path(value):
        return value
    for folder in (base, Path()):
        if os.path.lexists(folder / path):
            return prefix + os.path.abspath(folder / path)
    return value
