"""`faithful = true`: the committed code of the methods' authors, quirk by quirk.

The quirks inside a method are marked on its hyper-parameters (`authors` in a field's schema).
Those outside it differ by code base and stand here: SCI-PD, its ERM and CLIPBase come from one
repository, SCMD from another. docs/explanation/methods-and-fidelity.md says what each quirk does.
"""

from typing import Any

from pydantic import BaseModel

from edgedistill.methods.base import authors_values as quirks

_HDG: dict[str, Any] = {
    "teacher.normalization": "student",
    "prompts.keep_underscores": True,
    "train.replacement": True,
    "train.double_last_decay": True,
}
_DOMAINBED: dict[str, Any] = {
    "teacher.normalization": "student",
    "train.replacement": True,
    "train.augmented_validation": True,
    "train.ties": "first",
}
OUTSIDE: dict[str, dict[str, Any]] = {
    "scipd": _HDG,
    "clipbase": _HDG,
    "erm": {"train.replacement": True, "train.double_last_decay": True},
    "scmd": _DOMAINBED,
}


def authors_values(method: str, hyper: type[BaseModel]) -> dict[str, Any]:
    """Dotted key -> the authors' value, for every quirk of a method.

    A method without authors (`kd`) has none.
    """
    inside = {f"method.{name}": value for name, value in quirks(hyper).items()}
    return {**OUTSIDE.get(method, {}), **inside}
