"""Reading, overriding, validating and writing of recipes; every mistake becomes one line.

The methods and students a recipe may name need torch. The registries import them when a recipe is
resolved, so that `load_data` can be used where there is no torch.
"""

import difflib
import tomllib
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import tomli_w
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from edgedistill._utils.printable import printable
from edgedistill._utils.registry import Registry
from edgedistill._utils.suggestions import choices
from edgedistill._utils.text_files import EncodingError, read_text
from edgedistill.errors import RecipeError
from edgedistill.recipe.paths import absolute_paths, absolute_value
from edgedistill.recipe.schema import (
    LARGEST_SIDE,
    DataSection,
    MethodSection,
    Recipe,
    Section,
    StudentSection,
    TeacherSection,
    ViewsSection,
)
from edgedistill.registries import LOGGERS, METHODS, SCORES, STUDENTS

EntryT = TypeVar("EntryT")

# The teacher of each embedded benchmark: trained for its art, and a poor one for other images.
EMBEDDED_TEACHERS = {"emoji": "emoji-clip", "icons": "emoji-clip"}
TEACHER_ADVICE = (
    'write one that has seen images like yours, as teacher.model = "ViT-B-32" and '
    'teacher.pretrained = "laion2b_s34b_b79k", or "local-dir:FOLDER"'
)


def load_recipe(path: str | Path, overrides: Mapping[str, Any] | Sequence[str] = ()) -> Recipe:
    """The resolved recipe of a TOML file.

    Args:
        path: the file.
        overrides: fields to change, {"train.lr": 1e-3} or ["train.lr=1e-3"].

    Raises RecipeError with one line that names the file and the key.
    """
    return as_recipe(Path(path), overrides)


def as_recipe(
    source: str | Path | Recipe | Mapping[str, Any],
    overrides: Mapping[str, Any] | Sequence[str] = (),
) -> Recipe:
    """A resolved recipe from a TOML file, a recipe, or its sections as nested dictionaries.

    Args:
        source: the recipe; it is not changed.
        overrides: fields to change, {"train.lr": 1e-3} or ["train.lr=1e-3"].

    Raises RecipeError with one line that names the file, if any, and the key.
    """
    if isinstance(source, str | Path):
        tree, where = read_tree(Path(source), ()), str(source)
    else:
        values = source.model_dump() if isinstance(source, Recipe) else dict(source)
        tree, where = _renamed(_without_none(values), "recipe"), "recipe"
        tree = absolute_paths(tree, Path())
    override(tree, overrides)
    return resolve(tree, where)


def load_data(path: Path, overrides: Sequence[str] = ()) -> DataSection:
    """The section [data] of a recipe; the names of its method and student are not looked up.

    Raises RecipeError as `load_recipe` does.
    """
    return _validated(read_tree(path, overrides), str(path)).data


def data_of(dataset: str, overrides: Sequence[str] = ()) -> DataSection:
    """A section [data] for a dataset without a recipe; the overrides are of its fields.

    Raises RecipeError as `load_recipe` does, and for an override of another section.
    """
    tree: dict[str, Any] = {"data": {"dataset": dataset}}
    for override in overrides:
        _override(tree, override)
    other = next((section for section in tree if section != "data"), None)
    if other is not None:
        raise RecipeError(f"--set {other}: only keys of [data] are used here, such as data.unknown")
    try:
        return DataSection.model_validate(tree["data"])
    except ValidationError as error:
        raise RecipeError(f"--set: {first_line(error, DataSection, 'data')}") from None


def read_tree(path: Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """The sections of a TOML recipe as nested dictionaries, with overrides, not validated.

    Keys that an earlier version spelled otherwise have their new names. Raises RecipeError for a
    file that cannot be read and an override that cannot be applied.
    """
    try:
        tree = tomllib.loads(read_text(path))
    except FileNotFoundError:
        raise RecipeError(f"{path}: no such recipe{_nearby(path)}") from None
    except (tomllib.TOMLDecodeError, EncodingError) as error:
        raise RecipeError(f"{path}: not valid TOML: {error}") from None
    except OSError as error:
        raise RecipeError(f"{path}: cannot be read: {error.strerror}") from None
    tree = absolute_paths(_renamed(tree, str(path)), path.parent)
    override(tree, overrides)
    return tree


def override(tree: dict[str, Any], overrides: Mapping[str, Any] | Sequence[str]) -> None:
    """Change fields of a recipe's nested dictionaries, in place.

    Paths start from the current directory. Raises RecipeError for what cannot be applied.
    """
    if isinstance(overrides, Mapping):
        for key, value in overrides.items():
            keys = key.split(".")
            absolute = absolute_value(tuple(keys), value, Path())
            set_value(tree, keys, absolute, where=f"override {key}")
    else:
        for text in overrides:
            _override(tree, text)


# Spellings of before 0.2, accepted until 0.3: section, old key, new key.
RENAMED = (
    ("views", "greyscale", "grayscale"),
    ("teacher", "normalisation", "normalization"),
    ("openset", "acceptance", "keep"),
)


def _renamed(tree: dict[str, Any], where: str) -> dict[str, Any]:
    """A recipe's tree with an earlier version's keys under their new names, and a warning each."""
    for section, old, new in RENAMED:
        values = tree.get(section)
        if not isinstance(values, dict) or old not in values:
            continue
        if new in values:
            raise RecipeError(f"{where}: {section}.{old}: is called {new} now; drop one of the two")
        warnings.warn(
            f"{where}: {section}.{old} is called {section}.{new} now; the old name works until 0.3",
            FutureWarning,
            stacklevel=2,
        )
        tree = {**tree, section: {(new if k == old else k): v for k, v in values.items()}}
    return tree


def _validated(tree: dict[str, Any], where: str) -> Recipe:
    try:
        return Recipe.model_validate(tree)
    except ValidationError as error:
        raise RecipeError(f"{where}: {first_line(error, Recipe)}") from None


def resolve(tree: dict[str, Any], where: str = "recipe") -> Recipe:
    """The recipe of nested dictionaries, with the defaults of its method and student.

    Raises RecipeError with one line that names `where` and the key.
    """
    tree = _renamed(tree, where)
    recipe = _validated(tree, where)
    method = registered(METHODS, recipe.method.name, f"{where}: method.name")
    student = registered(STUDENTS, recipe.student.model, f"{where}: student.model")
    if recipe.openset.score is not None:
        registered(SCORES, recipe.openset.score, f"{where}: openset.score")
    for logger in recipe.log.to:
        registered(LOGGERS, logger, f"{where}: log.to")
    if recipe.faithful:
        tree = _with_authors(tree, method.faithful_values(), where)
        recipe = Recipe.model_validate(tree)
    hyper = method.Hyper
    _check_owner(recipe, hyper, where)
    try:
        checked = hyper.model_validate(recipe.method.hyper)
    except ValidationError as error:
        raise RecipeError(f"{where}: {first_line(error, hyper, 'method')}") from None
    sections: dict[str, Section] = {
        "method": MethodSection(name=recipe.method.name, **checked.model_dump()),
        "teacher": _with_model(recipe, method.needs_teacher, where),
    }
    if recipe.openset.score is None:
        score = method.score_of(checked)
        sections["openset"] = recipe.openset.model_copy(update={"score": score})
    sections["student"], sections["views"] = fill_sizes(recipe.student, recipe.views, student)
    return recipe.model_copy(update=sections)


def fill_sizes(
    student: StudentSection, views: ViewsSection, architecture: Any
) -> tuple[StudentSection, ViewsSection]:
    """The sections with the input and store sizes that they leave open; see the descriptions."""
    if "size" not in student.model_fields_set:
        shipped = student.weights == "embedded" and getattr(architecture, "embedded_size", None)
        size = shipped or getattr(architecture, "default_size", None) or student.size
        student = student.model_copy(update={"size": size})
    if "store_size" not in views.model_fields_set:
        side = min(-(-student.size * 5 // 64) * 16, LARGEST_SIDE)
        views = views.model_copy(update={"store_size": side})
    return student, views


def _with_model(recipe: Recipe, required: bool, where: str) -> TeacherSection:
    """The section [teacher] with an embedded benchmark's teacher, where it names none.

    Raises RecipeError where the method needs a teacher and neither names one.
    """
    teacher, embedded = recipe.teacher, EMBEDDED_TEACHERS.get(recipe.data.dataset)
    if teacher.model is not None:
        return teacher
    if embedded is not None:
        return teacher.model_copy(update={"model": embedded})
    if required:
        raise RecipeError(
            f"{where}: teacher.model: is required, {recipe.method.name} learns from a teacher: "
            f'{TEACHER_ADVICE}; method.name = "erm" needs none'
        )
    if teacher.pretrained:
        raise RecipeError(f"{where}: teacher.pretrained: has no teacher.model: {TEACHER_ADVICE}")
    return teacher


def teacher_model(teacher: TeacherSection) -> str:
    """The model that a section [teacher] names. Raises RecipeError where it names none."""
    if teacher.model is None:
        raise RecipeError(f"teacher.model: the recipe names no teacher: {TEACHER_ADVICE}")
    return teacher.model


def registered(registry: Registry[EntryT], name: str, where: str) -> EntryT:
    """A registry's entry. Raises RecipeError that begins with `where`."""
    try:
        return registry[name]
    except RecipeError as error:
        raise RecipeError(f"{where}: {error}") from None


def to_toml(recipe: Section) -> str:
    """The resolved recipe as TOML; reading it again gives the same recipe."""
    return tomli_w.dumps(_without_none(recipe.model_dump()))


def differences(a: Section, b: Section) -> list[str]:
    """`key: a's value, b's value` for every key in which two recipes differ.

    Those that only one has, as another method's, come last.
    """
    left, right = _flatten(a.model_dump()), _flatten(b.model_dump())
    keys = sorted({*left, *right}, key=lambda key: (key not in left or key not in right, key))
    return [
        f"{key}: {left.get(key)!r}, {right.get(key)!r}"
        for key in keys
        if left.get(key) != right.get(key)
    ]


def _override(tree: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    shown = " ".join(override.splitlines())
    if any("\ud800" <= c <= "\udfff" for c in shown):
        # TOML, and so the recipe in the run's folder, holds UTF-8 only.
        raise RecipeError(f"--set {printable(shown, 'utf-8')}: is not UTF-8; rename the file")
    *sections, last = _parts(key)
    if not equals or not all([*sections, last]):
        raise RecipeError(f"--set {shown}: write --set section.key=value")
    try:
        parsed = tomllib.loads(f"v = {text}")
    except tomllib.TOMLDecodeError:
        parsed = {"v": _unquoted(text.strip(), shown)}
        if len(text.strip().splitlines()) > 1:
            raise RecipeError(
                f"--set {shown}: a text on several lines; write it on one, or as TOML in quotes"
            ) from None
    if len(parsed) > 1:
        raise RecipeError(f"--set {shown}: holds {len(parsed)} values; give each its own --set")
    value = absolute_value((*sections, last), parsed["v"], Path())
    set_value(tree, [*sections, last], value, where=f"--set {shown}")


def _parts(key: str) -> list[str]:
    """The parts of a dotted key, which may be quoted as in TOML: `names."a.b"`."""
    if '"' in key or "'" in key:
        try:
            node: Any = tomllib.loads(f"{key} = 0")
        except tomllib.TOMLDecodeError:
            pass
        else:
            parts: list[str] = []
            while isinstance(node, dict):
                ((part, node),) = node.items()
                parts.append(part)
            return parts
    return [part.strip() for part in key.split(".")]


def _unquoted(text: str, shown: str) -> str | list[str]:
    """Text without quotes, or a list of such texts in brackets, [a, b]."""
    inner = text[1:-1]
    if (text[:1], text[-1:]) != ("[", "]") or "[" in inner or "]" in inner:
        return text
    # A trailing comma is no entry, as in TOML.
    entries = [part.strip() for part in inner.rstrip().removesuffix(",").split(",")]
    bare = [e[1:-1] if len(e) > 1 and e[0] == e[-1] and e[0] in "\"'" else e for e in entries]
    if not all(bare) or any(set("\"'") & {e[0], e[-1]} for e in bare):
        raise RecipeError(f"--set {shown}: write a list as [a, b], or as TOML with quotes")
    return bare


def set_value(tree: dict[str, Any], keys: Sequence[str], value: Any, where: str) -> None:
    """Set a value in a recipe's nested dictionaries; sections on the way to it are made.

    A key that an earlier version spelled otherwise is set under its new name, with a warning that
    begins with `where`, which names the key. Raises RecipeError when a key on the way to it is a
    value.
    """
    *sections, last = keys
    for section, old, new in RENAMED:
        if [section, old] == [*sections, last]:
            last = new
            warnings.warn(
                f"{where}: is called {section}.{new} now; the old name works until 0.3",
                FutureWarning,
                stacklevel=2,
            )
    node = tree
    for section in sections:
        node = node.setdefault(section, {})
        if not isinstance(node, dict):
            raise RecipeError(f"{where}: {section!r} is a value, not a section")
    node[last] = value


def _with_authors(tree: dict[str, Any], values: Mapping[str, Any], where: str) -> dict[str, Any]:
    merged = {k: dict(v) if isinstance(v, dict) else v for k, v in tree.items()}
    for key, value in values.items():
        section, name = key.split(".")
        section_values = merged.setdefault(section, {})
        if section_values.get(name, value) != value:
            raise RecipeError(
                f"{where}: {key}: {section_values[name]!r} contradicts faithful = true, which "
                f"makes it {value!r}; drop one of the two"
            )
        section_values[name] = value
    return merged


def _check_owner(recipe: Recipe, hyper: type[BaseModel], where: str) -> None:
    """Refuse a hyper-parameter of another method by saying whose it is."""
    for key in recipe.method.hyper:
        owners = [name for name, method in METHODS.items() if key in method.Hyper.model_fields]
        if key not in hyper.model_fields and owners:
            own = ", ".join(hyper.model_fields)
            raise RecipeError(
                f"{where}: method.{key}: belongs to {' and '.join(owners)}; {recipe.method.name} "
                f"has {own or 'no hyper-parameters'}"
            )


def first_line(error: ValidationError, model: type[BaseModel], prefix: str = "") -> str:
    """The first mistake that a validation of `model` came upon: its key, and what is allowed."""
    first, *rest = error.errors(include_url=False)
    parts = [prefix] if prefix else []
    key = ".".join([*parts, *(str(p) for p in first["loc"])]) or "recipe"
    more = f" (and {len(rest)} more)" if rest else ""
    return f"{key}: {_problem(first, model)}{more}"


def _problem(error: ErrorDetails, model: type[BaseModel]) -> str:
    kind, value = error["type"], repr(error["input"])
    got = f"got {value if len(value) <= 60 else value[:57] + '...'}"
    if kind == "extra_forbidden":
        allowed = _fields_at(model, error["loc"][:-1])
        noun = "section" if isinstance(error["input"], dict) else "key"
        return f"unknown {noun}; {choices(str(error['loc'][-1]), allowed)}"
    if kind == "missing":
        return "is required"
    if kind == "value_error":
        return error["msg"].removeprefix("Value error, ")
    if kind in ("model_type", "model_attributes_type"):
        return f"is a section, write [{error['loc'][-1]}], {got}"
    if kind == "too_short":
        return f"needs {error['ctx']['min_length']} entries or more, {got}"
    message = error["msg"].removeprefix("Input should be ").removeprefix("a valid ")
    return f"must be {_KINDS.get(kind, message)}, {got}"


_KINDS = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "string_type": 'text in quotes, "..."',
    "bool_type": "true or false",
    "list_type": "a list, [...]",
    "tuple_type": "two numbers, [low, high]",
    "dict_type": "a table of name = [...] lines",
}


def _fields_at(model: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    for part in location:
        annotation = model.model_fields[str(part)].annotation
        assert isinstance(annotation, type) and issubclass(annotation, BaseModel)
        model = annotation
    return list(model.model_fields)


def _nearby(path: Path) -> str:
    names = sorted(p.name for p in path.parent.glob("*.toml"))
    near = difflib.get_close_matches(path.name, names, n=1, cutoff=0.5)
    if near:
        return f"; did you mean {path.parent / near[0]}?"
    return f"; {path.parent} has {', '.join(names[:10])}" if names else ""


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_none(v) for k, v in value.items() if v is not None}
    if isinstance(value, tuple | list):
        return [_without_none(v) for v in value]
    return value


def _flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            flat |= _flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
