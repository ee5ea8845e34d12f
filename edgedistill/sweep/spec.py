"""Schema of sweep files: the recipe, the values that fields take, the axes averaged over."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from edgedistill._utils.suggestions import choices
from edgedistill._utils.text_files import EncodingError, read_text
from edgedistill.errors import RecipeError

# Not a recipe's field: draws the random values of `Method.draw_hyperparameters`.
HPARAMS_SEED = "hparams_seed"
# Axes of the results that have a meaning of their own.
TARGET, HYBRIDNESS = "data.target", "data.hybridness"
SEEDS = ("seed", "data.split_seed", "views.seed")


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested tables as dotted keys: `{a: {b: 1}}` and `{"a.b": 1}` are the same."""
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat


class ExportSpec(BaseModel):
    """Export section of a sweep file: the files to export and evaluate, and their timing.

    Attributes:
        int8: a file in int8 beside the one in float32.
        bench: measure the time of one run's files for every series.
        threads, rounds: of the measurement, see `edgedistill bench`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    int8: bool = False
    bench: bool = False
    threads: int = Field(default=1, ge=1, le=1024)
    rounds: int | None = Field(default=None, ge=6)


class SweepSpec(BaseModel):
    """Content of a sweep file.

    Attributes:
        recipe: the recipe that every run starts from, relative to the sweep file.
        set: fields of every run.
        grid: field -> values; one run for every combination.
        variants: axis -> label -> fields, where several change together; a variant may start from
            a recipe of its own.
        replicates: axes that are averaged over; by default the seeds among the axes.
        tune: axes of which the value with the best source validation is kept.
        spread: the number after ±: "std", the standard deviation over replicates, or "sem", the
            population's divided by the square root of their number, as DomainBed reports.
        export: files that the finished runs are exported to; None for none.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    recipe: str | None = None
    set: dict[str, Any] = Field(default_factory=dict)
    grid: dict[str, Any] = Field(default_factory=dict)
    variants: dict[str, dict[str, dict[str, Any]]] = Field(default_factory=dict)
    replicates: list[str] | None = None
    tune: list[str] = Field(default_factory=list)
    spread: Literal["std", "sem"] = "std"
    export: ExportSpec | None = None

    @field_validator("set", "grid")
    @classmethod
    def _dotted(cls, value: dict[str, Any]) -> dict[str, Any]:
        return flatten(value)

    @field_validator("variants")
    @classmethod
    def _fields(cls, value: Any) -> Any:
        return {
            axis: {label: flatten(fields) for label, fields in labels.items()}
            for axis, labels in value.items()
        }


def read_sweep(path: Path) -> SweepSpec:
    """Read and check a sweep file. Raises RecipeError naming file and key."""
    try:
        tree = tomllib.loads(read_text(path))
    except FileNotFoundError:
        raise RecipeError(f"{path}: no such sweep file") from None
    except (tomllib.TOMLDecodeError, EncodingError) as error:
        raise RecipeError(f"{path}: not valid TOML: {error}") from None
    except OSError as error:
        raise RecipeError(f"{path}: cannot be read: {error.strerror}") from None
    try:
        spec = SweepSpec.model_validate(tree)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            model = ExportSpec if first["loc"][0] == "export" else SweepSpec
            known = list(model.model_fields)
            raise RecipeError(
                f"{path}: {key}: unknown key; {choices(str(first['loc'][-1]), known)}"
            ) from None
        raise RecipeError(f"{path}: {key}: {first['msg']}") from None
    _check(spec, path)
    return spec


def axes_of(spec: SweepSpec) -> list[str]:
    """Names of the axes, variants first."""
    return [*spec.variants, *spec.grid]


def replicates_of(spec: SweepSpec) -> list[str]:
    """Axes averaged over."""
    if spec.replicates is not None:
        return spec.replicates
    return [axis for axis in axes_of(spec) if axis in SEEDS]


def _check(spec: SweepSpec, path: Path) -> None:
    for axis, values in spec.grid.items():
        if not isinstance(values, list) or not values:
            raise RecipeError(f"{path}: grid.{axis}: needs a list of values, got {values!r}")
        if any(values.count(v) > 1 for v in values):
            raise RecipeError(f"{path}: grid.{axis}: a value is listed twice")
    for seed in spec.grid.get(HPARAMS_SEED, ()):
        if type(seed) is not int or seed < 0:
            raise RecipeError(
                f"{path}: grid.{HPARAMS_SEED}: needs whole numbers of 0 or more, got {seed!r}"
            )
    for axis, labels in spec.variants.items():
        for label, fields in labels.items():
            if not isinstance(fields.get("recipe", ""), str):
                raise RecipeError(
                    f"{path}: variants.{axis}.{label}.recipe: needs the name of a file"
                )
        if not labels:
            raise RecipeError(f"{path}: variants.{axis}: needs a variant or more")
        if "." in axis or axis in spec.grid or axis in SEEDS or axis in ("run", "status"):
            raise RecipeError(
                f"{path}: variants.{axis}: is the name of something else; choose another"
            )
    for key in ("replicates", "tune"):
        for axis in getattr(spec, key) or ():
            if axis not in axes_of(spec):
                raise RecipeError(
                    f"{path}: {key}: no axis {axis!r}; {choices(axis, axes_of(spec))}"
                )
    both = [axis for axis in spec.tune if axis in replicates_of(spec)]
    if both:
        raise RecipeError(f"{path}: {both[0]} is listed in replicates and in tune; keep one")
