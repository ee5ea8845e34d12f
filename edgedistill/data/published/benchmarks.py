"""Published facts about the field's benchmarks: classes, domains, counts, lists and splits.

The facts lie in `benchmarks.json`. HDG's class orders, lists and splits are those of its authors'
repository (arXiv 2404.09011, commit 3c4b3b2); image counts are those of the datasets as
DomainBed (arXiv 2007.01434) and HDG use them.
"""

import re
from functools import cache
from importlib import resources
from types import MappingProxyType
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, TypeAdapter

Part = Literal["train", "val", "test"]


def _ids(text: object) -> object:
    """(0, 1, 2, 5) from "0-2,5"."""
    if not isinstance(text, str):
        return text
    spans = [part.partition("-") for part in text.split(",")]
    return tuple(i for a, _, b in spans for i in range(int(a), int(b or a) + 1))


Ids = Annotated[tuple[int, ...], BeforeValidator(_ids)]


class _Facts(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Hdg(_Facts):
    """HDG's use of a benchmark.

    Attributes:
        known: the first `known` classes are known, the others unknown.
        label_offset: the integer in a list file that means class 0.
        lists: part -> name of a domain's list file, `{d}` standing for the domain.
        list_names: the value of `{d}` for each domain, in the benchmark's order.
        list_images: domain -> part -> lines of the list; None where it is not published.
        target_images: domain -> images of known and of unknown classes in its test list.
        splits: hybridness as published -> class ids of each source, the target left out, in order.
        split_images: hybridness -> target -> source -> training and validation images.
    """

    known: int
    label_offset: int
    lists: dict[Part, str]
    list_names: tuple[str, ...]
    list_images: dict[str, dict[Part, int | None]]
    target_images: dict[str, tuple[int, int]]
    splits: dict[str, tuple[Ids, ...]]
    split_images: dict[str, dict[str, dict[str, tuple[int | None, int | None]]]]


class PublishedDataset(_Facts):
    """Facts of a published dataset.

    Attributes:
        title: its name in print.
        domains: names in DomainBed's order, which is HDG's too.
        aliases: other names of domains.
        editions: published copies of the data, each domain -> images.
        classes: names in HDG's label order; sorted where HDG has none.
        class_images: domain -> images of each class; empty where that is not published.
        hdg: None where HDG does not use it.
    """

    title: str
    domains: tuple[str, ...]
    aliases: dict[str, str]
    editions: dict[str, dict[str, int]]
    classes: tuple[str, ...]
    class_images: dict[str, tuple[int, ...]] = {}
    hdg: Hdg | None = None

    @property
    def known(self) -> tuple[str, ...]:
        """Known classes in label order: all of them where HDG does not use the benchmark."""
        return self.classes[: self.hdg.known] if self.hdg else self.classes

    @property
    def unknown(self) -> tuple[str, ...]:
        return self.classes[len(self.known) :]

    def domain(self, name: str) -> str | None:
        """The domain that a folder or a person calls `name`, whatever its case and spaces."""
        return self._domain_names.get(key(name))

    def class_name(self, name: str) -> str | None:
        """The class that a folder calls `name`, whatever its case, spaces and hyphens."""
        return self._class_names.get(key(name))

    @property
    def _domain_names(self) -> dict[str, str]:
        return _by_key(tuple((d, d) for d in self.domains) + tuple(self.aliases.items()))

    @property
    def _class_names(self) -> dict[str, str]:
        return _by_key(tuple((c, c) for c in self.classes))


def key(name: str) -> str:
    """A name without case, spaces, hyphens and underscores."""
    return re.sub(r"[\s_-]", "", name).casefold()


@cache
def benchmarks() -> MappingProxyType[str, PublishedDataset]:
    """Every benchmark by the name a recipe calls it."""
    text = (resources.files("edgedistill.data.published") / "benchmarks.json").read_text(
        encoding="utf-8"
    )
    return MappingProxyType(TypeAdapter(dict[str, PublishedDataset]).validate_json(text))


@cache
def _by_key(names: tuple[tuple[str, str], ...]) -> dict[str, str]:
    return {key(name): value for name, value in names}
