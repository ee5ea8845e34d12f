"""Registries: tables of named implementations that a recipe or a command can ask for.

A registry knows the package whose modules hold the built-in entries and imports them when it is
first read, so that naming a registry costs nothing. An entry registers itself, in its own file:

    @METHODS.register("scipd")
    class SCIPD(Method): ...
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from edgedistill._utils.suggestions import choices
from edgedistill.errors import EdgeDistillError, RecipeError

EntryT = TypeVar("EntryT")
# A class or function that is registered keeps its own, narrower type.
NewT = TypeVar("NewT")


class Registry(Generic[EntryT]):
    """Named entries of one kind.

    Args:
        kind: what an entry is, as errors call it: "method".
        package: dotted name of the package whose modules register the built-in entries; every
            module of it is imported at the first look-up.
        beyond: names that resolvers add to the registered ones, as errors list them.
        error: what looking up a name that there is not raises.
    """

    def __init__(
        self,
        kind: str,
        package: str,
        *,
        beyond: str = "",
        error: type[EdgeDistillError] = RecipeError,
    ) -> None:
        self.kind = kind
        self._beyond = f", or {beyond}" if beyond else ""
        self._error = error
        self._package = package
        self._entries: dict[str, EntryT] = {}
        self._resolvers: list[Callable[[str], EntryT | None]] = []
        self._loaded = False

    def register(self, name: str) -> Callable[[NewT], NewT]:
        """A decorator that enters what it decorates under `name`.

        Raises ValueError when another object has the name.
        """

        def enter(entry: NewT) -> NewT:
            self.add(name, entry)  # type: ignore[arg-type]
            return entry

        return enter

    def add(self, name: str, entry: EntryT) -> None:
        """Enter an object under `name`. Raises ValueError when another object has the name."""
        if not str(getattr(entry, "__module__", "")).startswith(self._package):
            # A name that a built-in entry has is refused now, not when that entry is imported.
            self._load()
        old = self._entries.get(name)
        if old is not None and old is not entry:
            raise ValueError(f"{self.kind} {name!r} is registered already")
        self._entries[name] = entry

    def unregister(self, name: str) -> None:
        """Remove an entry. Raises KeyError when there is none of that name."""
        del self._entries[name]

    def resolver(self, resolve: Callable[[str], EntryT | None]) -> Callable[[str], EntryT | None]:
        """A decorator for a function from a name that is not registered to an entry, or None.

        Entries it returns can be looked up but are not listed.
        """
        self._resolvers.append(resolve)
        return resolve

    def __getitem__(self, name: str) -> EntryT:
        """The entry of a name. Raises the registry's error, which lists the names there are."""
        entry = self.get(name)
        if entry is None:
            hint = choices(name, list(self._entries))
            raise self._error(f"no {self.kind} {name!r}; {hint}{self._beyond}")
        return entry

    def get(self, name: str) -> EntryT | None:
        """The entry of a name, or None."""
        self._load()
        if name in self._entries:
            return self._entries[name]
        resolved = (resolve(name) for resolve in self._resolvers)
        return next((entry for entry in resolved if entry is not None), None)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self.get(name) is not None

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

    def summary(self, name: str) -> str:
        """One line about an entry, for tables: its `summary`, or its docstring's first line."""
        entry = self[name]
        text = getattr(entry, "summary", None) or inspect.getdoc(entry) or ""
        return str(text).partition("\n")[0].rstrip(".")

    def _load(self) -> None:
        if self._loaded:
            return
        self._loaded = True
        try:
            package = importlib.import_module(self._package)
            for module in pkgutil.iter_modules(package.__path__):
                if not module.name.startswith("_"):
                    importlib.import_module(f"{self._package}.{module.name}")
        except BaseException:
            # A module that lacks a library would otherwise fail once and be missing ever after.
            self._loaded = False
            raise
