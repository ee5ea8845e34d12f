"""Comparison of a copy of a benchmark with what is published about it."""

import hashlib
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from edgedistill._utils.home import expand_home
from edgedistill.data.index import Index
from edgedistill.data.published.benchmarks import PublishedDataset, benchmarks
from edgedistill.data.published.image_lists import (
    PARTS,
    ImageList,
    file_rows,
    locate_lists,
    read_list,
)
from edgedistill.data.published.tree import Tree, find_tree, index_of

# Names listed of a long row of files.
_SHOWN = 5


@dataclass(frozen=True)
class CountRow:
    """Number of images of a domain, or lines of a list, in the copy and as published."""

    name: str
    found: int
    published: int | None


@dataclass(frozen=True)
class Check:
    """The comparison.

    Attributes:
        title, edition: which published copy it is compared with, the nearest one.
        index: the images that are here.
        lists: folder of HDG's lists, None where there are none.
        domains, list_rows: counts.
        findings: one line per difference, starting with missing, extra or wrong.
    """

    title: str
    edition: str
    index: Index
    lists: Path | None
    domains: tuple[CountRow, ...]
    list_rows: tuple[CountRow, ...]
    findings: tuple[str, ...]


def check_benchmark(name: str, root: str | Path, lists: str | None = None) -> Check:
    """Check a copy of a benchmark; no image is opened.

    Raises:
        DataError: nothing of the benchmark is there at all.
    """
    facts = benchmarks()[name]
    tree = find_tree(name, root)
    index = index_of(name, tree)
    edition = min(facts.editions, key=lambda e: _distance(facts.editions[e], tree))
    published = facts.editions[edition]
    domains = tuple(CountRow(d, tree.images(d), published[d]) for d in facts.domains)
    findings = [f"missing: {item}" for item in tree.missing]
    findings += [f"extra: {item}" for item in tree.extra]
    for row in domains:
        findings += _count_findings(facts, tree, row)
    folder = locate_lists(name, expand_home(root).resolve(), lists)
    list_rows: list[CountRow] = []
    if folder is not None:
        list_rows, list_findings = _check_lists(name, facts, index, folder)
        findings += list_findings
    return Check(facts.title, edition, index, folder, domains, tuple(list_rows), tuple(findings))


def _distance(published: dict[str, int], tree: Tree) -> int:
    return sum(abs(count - tree.images(domain)) for domain, count in published.items())


def _count_findings(facts: PublishedDataset, tree: Tree, row: CountRow) -> list[str]:
    """A domain's difference in images, by class where class counts are published."""
    assert row.published is not None
    if row.found == 0:
        # A domain without images has been named as missing.
        return []
    findings = []
    if row.name in facts.class_images:
        images_of = {f.name: len(f.files) for f in tree.folders if f.domain == row.name}
        for class_name, count in zip(facts.classes, facts.class_images[row.name], strict=True):
            # A class without images has been named as missing.
            if (found := images_of.get(class_name, 0)) and found != count:
                findings.append(_difference(f"{row.name}/{class_name}", found, count))
    elif row.found != row.published:
        findings.append(_difference(row.name, row.found, row.published))
    if any(line.startswith("extra") for line in findings):
        findings += [f"extra: {copy} is a copy of {first}" for first, copy in _copies(tree, row)]
    return findings


def _difference(where: str, found: int, published: int) -> str:
    what = "missing" if found < published else "extra"
    gap = abs(found - published)
    return f"{what}: {gap} image{'s' * (gap != 1)} in {where}, {found} of {published}"


def _copies(tree: Tree, row: CountRow) -> list[tuple[str, str]]:
    """Files of a domain with the same content as an earlier one."""
    paths = [f"{f.path}/{file}" for f in tree.folders if f.domain == row.name for file in f.files]
    by_size: dict[int, list[str]] = defaultdict(list)
    for path in paths:
        by_size[(tree.root / path).stat().st_size].append(path)
    copies: list[tuple[str, str]] = []
    for group in by_size.values():
        first: dict[bytes, str] = {}
        for path in group if len(group) > 1 else ():
            digest = hashlib.blake2b((tree.root / path).read_bytes()).digest()
            if digest in first:
                copies.append((first[digest], path))
            first.setdefault(digest, path)
    return copies


def _check_lists(
    name: str, facts: PublishedDataset, index: Index, folder: Path
) -> tuple[list[CountRow], list[str]]:
    assert facts.hdg is not None
    rows: list[CountRow] = []
    findings: list[str] = []
    lists: dict[tuple[str, str], ImageList] = {}
    for domain in facts.domains:
        present = file_rows(index, domain) if domain in index.domains else {}
        for part in PARTS:
            published = facts.hdg.list_images[domain][part]
            image_list = read_list(name, folder, domain, part)
            if image_list is None:
                findings.append(f"missing: the {part} list of {domain} in {folder}")
                continue
            lists[domain, part] = image_list
            rows.append(CountRow(f"{domain} {part}", len(image_list.entries), published))
            findings += [f"wrong: {image_list.path.name}: {line}" for line in image_list.problems]
            if published not in (None, len(image_list.entries)):
                findings.append(
                    f"wrong: {image_list.path.name}: {len(image_list.entries)} images, published "
                    f"are {published}"
                )
            absent = [e for e in image_list.entries if e not in present]
            if absent and present:
                names = ", ".join(f"{e.class_name}/{e.file}" for e in absent[:_SHOWN])
                more = f" and {len(absent) - _SHOWN} more" if len(absent) > _SHOWN else ""
                findings.append(f"missing: of {image_list.path.name}: {names}{more}")
        shared = _shared(lists.get((domain, "train")), lists.get((domain, "val")))
        if shared:
            findings.append(f"wrong: {domain}: {shared} images are in both train and val lists")
    # Split by split is worth saying only where nothing simpler is wrong.
    findings = findings or _split_findings(facts, lists)
    return rows, findings


def _shared(train: ImageList | None, val: ImageList | None) -> int:
    return len(set(train.entries) & set(val.entries)) if train and val else 0


def _split_findings(facts: PublishedDataset, lists: dict[tuple[str, str], ImageList]) -> list[str]:
    """The first published split whose training or validation images the lists do not give."""
    assert facts.hdg is not None
    for value, targets in facts.hdg.split_images.items():
        for target, sources in targets.items():
            others = [d for d in facts.domains if d != target]
            for source, published in sources.items():
                slot = facts.hdg.splits[value][others.index(source)]
                classes = {facts.classes[i] for i in slot}
                for part, count in zip(("train", "val"), published, strict=True):
                    image_list = lists.get((source, part))
                    count_here = (
                        sum(e.class_name in classes for e in image_list.entries)
                        if image_list
                        else count
                    )
                    if count not in (None, count_here):
                        return [
                            f"wrong: hybridness {value}, target {target}: {count_here} {part} "
                            f"images of {source}, published are {count}"
                        ]
    return []
