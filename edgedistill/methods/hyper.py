"""Hyper-parameters of methods: their base model, search ranges and the authors' values.

Both stand on the field they belong to, in its `json_schema_extra`: `{"authors": value}` where the
default corrects the authors' code, and `searched(low, high)` where a search should vary it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, JsonValue


class HyperParameters(BaseModel):
    """Base of every method's hyper-parameters: strict, immutable, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


@dataclass(frozen=True)
class SearchRange:
    """Values to search, uniformly or, with `log`, uniformly in the logarithm."""

    low: float
    high: float
    log: bool = True

    def at(self, share: float) -> float:
        """The value a share in 0..1 of the way from low to high, to three digits."""
        if self.log:
            value = math.exp(math.log(self.low) + share * math.log(self.high / self.low))
        else:
            value = self.low + share * (self.high - self.low)
        return float(f"{value:.3g}")

    def share(self, value: float) -> float:
        """The inverse of `at`."""
        if self.log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)


def searched(low: float, high: float, *, log: bool = True) -> dict[str, JsonValue]:
    """The `json_schema_extra` of a field that a search varies between `low` and `high`."""
    return {"search": {"low": low, "high": high, "log": log}}


def search_space(hyper: type[BaseModel]) -> dict[str, SearchRange]:
    """The fields that a search varies, with their ranges."""
    return {name: SearchRange(**extra) for name, extra in _extras(hyper, "search").items()}


def authors_values(hyper: type[BaseModel]) -> dict[str, Any]:
    """Fields in which the authors' code differs from the default, with the authors' value."""
    return _extras(hyper, "authors")


def authors_default(hyper: type[BaseModel], field: str) -> Any:
    """A field's value in the authors' code: where nothing else is marked, its default."""
    return authors_values(hyper).get(field, hyper.model_fields[field].default)


def _extras(hyper: type[BaseModel], key: str) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, field in hyper.model_fields.items():
        extra = field.json_schema_extra
        if isinstance(extra, dict) and key in extra:
            values[name] = extra[key]
    return values
