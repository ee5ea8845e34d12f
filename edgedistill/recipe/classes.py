"""Classes files: the classes that a promptable student is given after training, in TOML."""

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, field_validator

from edgedistill._utils.text_files import EncodingError, read_text
from edgedistill.errors import RecipeError
from edgedistill.recipe.load import first_line
from edgedistill.recipe.schema import PromptsSection, Section


class ClassPrompts(Section):
    """Classes by name, each with the names that a prompt calls it."""

    classes: dict[str, list[str]] = Field(
        min_length=1,
        description="class -> names, in label order; a text in place of a list is one name",
    )
    templates: list[str] | None = Field(
        default=None,
        min_length=1,
        description="sentences with {} for the name, default: the run's `prompts.templates`",
    )
    pool: Literal["mean", "best"] | None = Field(
        default=None,
        description="several names per class: their mean on the sphere, or the best match; "
        "default: the run's `prompts.pool`",
    )

    @field_validator("classes", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        # In TOML a key behind a [table] is the table's.
        if value.get("pool") in ("mean", "best"):
            raise ValueError("'pool' is no class: write it above [classes]")
        return {key: [names] if isinstance(names, str) else names for key, names in value.items()}

    @field_validator("classes")
    @classmethod
    def _named(cls, value: dict[str, list[str]]) -> dict[str, list[str]]:
        if not all(key.strip() for key in value):
            raise ValueError("a class without a name; write name = [...]")
        for key, names in value.items():
            if any("{}" in name for name in names):
                raise ValueError(
                    f"{key!r} has {{}} in a name; sentences with {{}} are templates, which stand "
                    "above [classes]"
                )
        return PromptsSection.named(value)

    @field_validator("templates")
    @classmethod
    def _one_slot(cls, value: list[str] | None) -> list[str] | None:
        return None if value is None else PromptsSection.one_slot(value)

    def prompts(self, run: PromptsSection) -> PromptsSection:
        """The section [prompts] of these classes, with the run's values where there are none."""
        return PromptsSection(
            templates=run.templates if self.templates is None else self.templates,
            pool=run.pool if self.pool is None else self.pool,
            names=self.classes,
            vocabulary=run.vocabulary,
        )


def load_classes(
    source: str | Path | Mapping[str, str | Sequence[str]] | ClassPrompts,
) -> ClassPrompts:
    """The classes of a TOML file, or of a mapping from class to name or names.

    Raises RecipeError with one line that names the file, if there is one, and the key.
    """
    if isinstance(source, ClassPrompts):
        return source
    if isinstance(source, Mapping):
        names = {k: list(v) if isinstance(v, tuple) else v for k, v in source.items()}
        return _validated({"classes": names}, "classes")
    path = Path(source)
    try:
        tree = tomllib.loads(read_text(path))
    except (tomllib.TOMLDecodeError, EncodingError) as error:
        raise RecipeError(f"{path}: not valid TOML: {error}") from None
    except OSError as error:
        raise RecipeError(
            f"{path}: cannot be read: {error.strerror}; give a TOML file with [classes] and lines "
            'name = ["name in a prompt"]'
        ) from None
    return _validated(tree, str(path))


def _validated(tree: dict[str, Any], where: str) -> ClassPrompts:
    try:
        return ClassPrompts.model_validate(tree)
    except ValidationError as error:
        raise RecipeError(f"{where}: {first_line(error, ClassPrompts)}") from None
