"""mkdocs hook: files of the repository that the documentation links to become part of the site.

A page links to `../benchmarks/emoji/RESULTS.md` or to a recipe as it would on a code host. Every
such file is added to the site under its path in the repository (Markdown becomes a page, anything
else is copied), and links are rewritten to match, so that `mkdocs build --strict` checks them too.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]
DOCS = "docs/"
_LINK = re.compile(r"(?<=\]\()(?!\w+:|[#/<])(?P<path>[^)\s#]+)(?P<anchor>#[^)\s]*)?(?=\))")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add what pages link to outside of docs/, and what those pages link to in turn."""
    waiting = [DOCS + file.src_uri for file in files.documentation_pages()]
    seen = set(waiting)
    while waiting:
        page = waiting.pop()
        text = (ROOT / page).read_text(encoding="utf-8")
        for target in _linked(text, page):
            if target in seen or target.startswith(DOCS):
                continue
            seen.add(target)
            files.append(File.generated(config, target, abs_src_path=str(ROOT / target)))
            if target.endswith(".md"):
                waiting.append(target)
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Rewrite links between docs/ and the rest of the repository to paths within the site."""
    uri = page.file.src_uri
    here = uri if page.file.generated_by else DOCS + uri

    def rewritten(link: re.Match[str]) -> str:
        target = _resolve(link["path"], here)
        if target is None:
            return link[0]
        path = posixpath.relpath(target.removeprefix(DOCS), posixpath.dirname(uri) or ".")
        return path + (link["anchor"] or "")

    return _LINK.sub(rewritten, markdown)


def _linked(text: str, page: str) -> Iterator[str]:
    for link in _LINK.finditer(text):
        target = _resolve(link["path"], page)
        if target is not None:
            yield target


def _resolve(path: str, page: str) -> str | None:
    """Repository path of an existing file that `page` links to; a folder stands for its README."""
    target = posixpath.normpath(posixpath.join(posixpath.dirname(page), path))
    if target.startswith("..") or not (ROOT / target).exists():
        return None
    if (ROOT / target).is_dir():
        target = posixpath.join(target, "README.md")
        return target if (ROOT / target).is_file() else None
    return target
