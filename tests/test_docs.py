"""The pages: links that lead somewhere, and an API reference that names what is public."""

import importlib
import pathlib
import re

import pytest

import tfunroll as tu

ROOT = pathlib.Path(__file__).parents[1]
PAGES = sorted(
    path
    for pattern in (
        "*.md",
        "docs/*.md",
        "docs/notebooks/*.md",
        "benchmarks/*.md",
        "datasets/*/*.md",
    )
    for path in ROOT.glob(pattern)
)
LINK = re.compile(r"\]\(([^)\s]+)\)")


def anchors(path):
    """Of a page's headings, as code hosts and MyST make them."""
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page):
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for link in LINK.findall(text):
        if re.match(r"https?:|mailto:", link):
            continue
        target, _, anchor = link.partition("#")
        path = (page.parent / target).resolve() if target else page
        assert path.is_file(), f"{link} of {page.name} leads nowhere"
        if anchor:
            assert anchor in anchors(path), f"{link} of {page.name} has no such heading"


def test_every_page_of_docs_is_in_a_table_of_contents():
    entries = set()
    for page in ("docs/index.md", "docs/cards.md", "docs/notebooks/index.md"):
        for block in re.findall(r"```{toctree}\n(.*?)```", (ROOT / page).read_text(), re.DOTALL):
            for line in filter(None, block.splitlines()):
                if not line.startswith(":"):
                    entry = re.sub(r".*<(.+)>", r"\1", line)
                    entries.add(((ROOT / page).parent / f"{entry}.md").resolve())
    assert all(path.is_file() for path in entries)
    docs = {p for p in PAGES if p.is_relative_to(ROOT / "docs")} - {ROOT / "docs/index.md"}
    assert docs <= entries, f"in no table of contents: {sorted(docs - entries)}"


def test_the_api_reference_names_what_is_public():
    text = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    named = set(re.findall(r"^   (tfunroll\.[\w.]+)$", text, re.MULTILINE))
    objects = set(tu.__all__) - set(tu._MODULES) - {"__version__"}
    missing = {f"tfunroll.{name}" for name in objects} - named
    assert not missing, f"docs/api.md does not name {sorted(missing)}"
    for module in tu._MODULES.values():
        assert any(entry.startswith(f"{module}.") for entry in named), module
    for entry in named:
        module, _, name = entry.rpartition(".")
        assert hasattr(importlib.import_module(module), name), entry
