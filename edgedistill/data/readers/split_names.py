"""Names that people give the parts of a split."""

from types import MappingProxyType

from edgedistill.data.index import TEST, TRAIN, VAL

SPLIT_NAMES = MappingProxyType(
    {
        "train": TRAIN,
        "training": TRAIN,
        "val": VAL,
        "valid": VAL,
        "validation": VAL,
        "test": TEST,
        "testing": TEST,
    }
)
PART_NAMES = MappingProxyType({TRAIN: "train", VAL: "val", TEST: "test"})


def split_part(name: str) -> int | None:
    """The part of `Index.split` that a name means, whatever its case; None for another name."""
    return SPLIT_NAMES.get(name.strip().casefold())
