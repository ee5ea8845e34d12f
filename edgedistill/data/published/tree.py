"""Reader of a benchmark's copy: a tree domain/class/file, under the names people have for them.

Folders are recognised whatever their case, spaces, hyphens and underscores ("Real World",
"Real_World"), and below whatever an archive puts around them (`PACS/kfold/`).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgedistill._utils.home import expand_home
from edgedistill._utils.omissions import Omissions
from edgedistill.data.index import Index
from edgedistill.data.published.benchmarks import PublishedDataset, benchmarks
from edgedistill.data.readers.listing import class_images, images_in, subfolders
from edgedistill.errors import DataError

# How many folders may lie around the domains.
_DEPTH = 2


@dataclass(frozen=True)
class ClassFolder:
    """Images of one class in one domain; `path` is relative to the tree's root."""

    domain: str
    name: str
    path: str
    files: tuple[str, ...]


@dataclass(frozen=True)
class Tree:
    """Class folders of a copy of a benchmark.

    Attributes:
        root: the folder that holds the domains.
        folders: class folders, sorted by their names on disk, domain by domain.
        missing: "domain" or "domain/class" without an image.
        extra: folders that are no domain or class, or are one for the second time.
        omitted: as in `Index`.
    """

    root: Path
    folders: tuple[ClassFolder, ...]
    missing: tuple[str, ...]
    extra: tuple[str, ...]
    omitted: tuple[str, ...]

    def images(self, domain: str) -> int:
        """Number of images of a domain."""
        return sum(len(f.files) for f in self.folders if f.domain == domain)


def find_tree(name: str, root: str | Path) -> Tree:
    """The class folders of a benchmark below a folder, complete or not.

    Raises:
        DataError: no such folder, or no domain of the benchmark in it.
    """
    facts = benchmarks()[name]
    start = expand_home(root).resolve()
    if not start.is_dir():
        problem = "is a file" if start.exists() else "does not exist"
        raise DataError(
            f"data: {start} {problem}; set data.root to your copy of {facts.title}, with images in "
            f"{facts.domains[0]}/{facts.classes[0]}/"
        )
    best = max(_candidates(facts, start), key=lambda c: len(set(c[1].values())))
    base, domain_of = best
    if not domain_of:
        raise DataError(
            f"data: {start} has no domain of {facts.title} ({', '.join(facts.domains)}); set "
            "data.root to the folder that holds them"
        )
    folders: list[ClassFolder] = []
    extra: list[str] = []
    omissions = Omissions()
    for domain in facts.domains:
        candidates = [folder for folder, which in domain_of.items() if which == domain]
        extra += [f"{folder}, a second {domain}" for folder in candidates[1:]]
        for folder in candidates[:1]:
            path_of: dict[str, str] = {}
            for child in subfolders(base / folder):
                path = f"{folder}/{child}"
                class_name = facts.class_name(child)
                files = tuple(class_images(base, path, omissions)) if class_name else ()
                if class_name is None:
                    extra.append(f"{path}, no class of {facts.title}")
                elif class_name in path_of:
                    extra.append(f"{path}, a second {path_of[class_name]}")
                elif files:
                    path_of[class_name] = path
                    folders.append(ClassFolder(domain, class_name, path, files))
    extra += [
        f"{child}, no domain of {facts.title}"
        for child in subfolders(base)
        if child not in domain_of and any(images_in(p) for p in _two_levels(base / child))
    ]
    return Tree(base, tuple(folders), _missing(facts, folders), tuple(extra), omissions.lines())


def index_of(name: str, tree: Tree) -> Index:
    """The images of a tree; domains without any are left out."""
    facts = benchmarks()[name]
    domains = tuple(d for d in facts.domains if tree.images(d))
    classes = tuple(sorted({folder.name for folder in tree.folders}))
    counts = [len(folder.files) for folder in tree.folders]
    domain = [domains.index(folder.domain) for folder in tree.folders]
    label = [classes.index(folder.name) for folder in tree.folders]
    return Index(
        root=tree.root,
        domains=domains,
        classes=classes,
        paths=tuple(f"{folder.path}/{file}" for folder in tree.folders for file in folder.files),
        domain=np.repeat(np.array(domain, dtype=np.int64), counts),
        label=np.repeat(np.array(label, dtype=np.int64), counts),
        names={c: (c.replace("_", " "),) for c in classes},
        unknown=tuple(c for c in classes if c in facts.unknown),
        test_fraction=0.0,
        problems=tuple(f"extra: {line}" for line in tree.extra),
        omitted=tree.omitted,
    )


def read_benchmark(name: str, root: str | Path) -> Index:
    """The images of a whole benchmark, rows in DomainBed's order within each domain.

    Raises:
        DataError: a domain or a class is missing altogether, or a folder is there twice.
    """
    facts = benchmarks()[name]
    tree = find_tree(name, root)
    index = index_of(name, tree)
    advice = f"edgedistill data info {name} --root {root} says what else"
    for kind, published, present in (
        ("domain", facts.domains, index.domains),
        ("class", facts.classes, index.classes),
    ):
        absent = [item for item in published if item not in present]
        if absent:
            more = f" and {len(absent) - 1} more" if len(absent) > 1 else ""
            raise DataError(
                f"data: {tree.root} has no image of the {kind} {absent[0]!r}{more}; {advice}"
            )
    doubled = [line for line in tree.extra if ", a second " in line]
    if doubled:
        raise DataError(f"data: {tree.root}/{doubled[0]}; remove one of the two folders")
    return index


def _candidates(facts: PublishedDataset, start: Path) -> Iterator[tuple[Path, dict[str, str]]]:
    """Folders that may hold the domains, nearest first, with the domains in each."""
    level = [start]
    for depth in range(_DEPTH + 1):
        below: list[Path] = []
        for folder in level:
            children = subfolders(folder)
            domains = {c: d for c in children if (d := facts.domain(c)) is not None}
            yield folder, domains
            if set(domains.values()) == set(facts.domains):
                return
            if depth < _DEPTH:
                below += [folder / c for c in children if c not in domains]
        level = below


def _two_levels(folder: Path) -> Iterator[Path]:
    yield folder
    for child in subfolders(folder):
        yield folder / child


def _missing(facts: PublishedDataset, folders: list[ClassFolder]) -> tuple[str, ...]:
    present = {(folder.domain, folder.name) for folder in folders}
    missing: list[str] = []
    for domain in facts.domains:
        classes = [c for c in facts.classes if (domain, c) not in present]
        if len(classes) == len(facts.classes):
            missing.append(domain)
        else:
            missing += [f"{domain}/{c}" for c in classes]
    return tuple(missing)
