import pytest

from edgedistill._utils.seeds import seed_hash
from edgedistill.data.protocols.domainbed import environment_split


def test_seeds_are_domainbeds() -> None:
    hashes = [seed_hash(0, environment) for environment in range(4)]
    assert hashes == [894182419, 1514274641, 1325548499, 1796103049]


@pytest.mark.parametrize(
    ("environment", "images", "out", "rest"),
    [(0, 2048, 409, 1639), (1, 2344, 468, 1876), (2, 1670, 334, 1336), (3, 3929, 785, 3144)],
)
def test_pacs_is_split_to_domainbeds_sizes(
    environment: int, images: int, out: int, rest: int
) -> None:
    held_out, others = environment_split(images, trial=0, environment=environment)
    assert (len(held_out), len(others)) == (out, rest)
    assert sorted([*held_out.tolist(), *others.tolist()]) == list(range(images))


def test_the_first_held_out_images_are_domainbeds() -> None:
    held_out, _ = environment_split(2048, trial=0, environment=0)
    assert held_out[:5].tolist() == [548, 677, 1997, 977, 1553]
