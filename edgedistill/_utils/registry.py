"""Registries: tables of named implementations that a recipe can ask for.

A registry knows the package whose modules hold the built-in entries and imports them when it is
first read, so that naming a registry costs nothing. An entry registers itself, in its own file:

    @METHODS.register("scipd")
    class SCIPD(Method): ...
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from edgedistill._utils.suggestions import choices
from edgedistill.errors import RecipeError

EntryT = TypeVar("EntryT")


class Registry(Generic[EntryT]):
    """Named entries of one kind.

    Args:
        kind: what an entry is, as errors call it: "method".
        package: dotted name of the package whose modules register the built-in entries; every
            module of it is imported at the first look-up.
    """

    def __init__(self, kind: str, package: str) -> None:
        self.kind = kind
        self._package = package
        self._entries: dict[str, EntryT] = {}
        self._loaded = False

    def register(self, name: str) -> Callable[[EntryT], EntryT]:
        """A decorator that enters what it decorates under `name`.

        Raises ValueError when another object has the name.
        """

        def enter(entry: EntryT) -> EntryT:
            old = self._entries.get(name)
            if old is not None and old is not entry:
                raise ValueError(f"{self.kind} {name!r} is registered already")
            self._entries[name] = entry
            return entry

        return enter

    def unregister(self, name: str) -> None:
        """Forget an entry. Raises KeyError when there is none of that name."""
        del self._entries[name]

    def __getitem__(self, name: str) -> EntryT:
        """The entry of a name. Raises RecipeError that lists the names there are."""
        self._load()
        if name not in self._entries:
            raise RecipeError(f"no {self.kind} {name!r}; {choices(name, list(self._entries))}")
        return self._entries[name]

    def __contains__(self, name: object) -> bool:
        self._load()
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        self._load()
        return iter(self._entries)

    def __len__(self) -> int:
        self._load()
        return len(self._entries)

    def items(self) -> Iterator[tuple[str, EntryT]]:
        """Names and entries, in the order they were registered."""
        self._load()
        return iter(self._entries.items())

    def _load(self) -> None:
        if self._loaded:
            return
        self._loaded = True
        package = importlib.import_module(self._package)
        for module in pkgutil.iter_modules(package.__path__):
            if not module.name.startswith("_"):
                importlib.import_module(f"{self._package}.{module.name}")
