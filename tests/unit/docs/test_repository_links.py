"""Links between docs/ and the rest of the repository become links within the site."""

from __future__ import annotations

from pathlib import Path

import pytest
from mkdocs.config.base import load_config
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, get_files
from mkdocs.structure.pages import Page

from docs.scripts import repository_links

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def config() -> MkDocsConfig:
    return load_config(str(ROOT / "mkdocs.yml"))


@pytest.fixture(scope="module")
def files(config: MkDocsConfig) -> Files:
    return config.plugins.on_files(get_files(config), config=config)


def rewritten(text: str, uri: str, config: MkDocsConfig, files: Files) -> str:
    file = files.get_file_from_path(uri)
    assert isinstance(file, File)
    return repository_links.on_page_markdown(text, Page(None, file, config), config, files)


@pytest.mark.parametrize(
    ("page", "link", "expected"),
    [
        ("results.md", "../benchmarks/README.md#x", "benchmarks/README.md#x"),
        ("explanation/int8.md", "../../benchmarks/INT8.md", "../benchmarks/INT8.md"),
        ("reference/onnx-contract.md", "../../export/", "../export/README.md"),
        ("benchmarks/README.md", "../docs/results.md", "../results.md"),
        ("results.md", "assets/matrix.png", "assets/matrix.png"),
        ("results.md", "no-such-page.md", "no-such-page.md"),
        ("results.md", "https://example.org/a.md", "https://example.org/a.md"),
    ],
)
def test_a_link_leads_to_the_same_file_on_the_site(
    page: str, link: str, expected: str, config: MkDocsConfig, files: Files
) -> None:
    assert rewritten(f"[a]({link})", page, config, files) == f"[a]({expected})"


def test_linked_files_outside_of_docs_are_on_the_site(files: Files) -> None:
    assert files.get_file_from_path("benchmarks/emoji/RESULTS.md")
    assert files.get_file_from_path("recipes/mobilenet_scipd.toml")
    # Reached only from a page that is itself outside of docs/.
    assert files.get_file_from_path("export/python/README.md")
    assert files.get_file_from_path("edgedistill/errors.py") is None
