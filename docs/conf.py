"""Settings of the documentation site: ``make docs`` writes it to build/docs.

The source directory is the checkout, so that links between pages are those that a code host shows.
"""

import pathlib
import re

project = "tfunroll"
copyright = "the tfunroll authors, MIT licence"
html_title = "tfunroll"

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
]
root_doc = "docs/index"
include_patterns = [
    "docs/**",
    "benchmarks/README.md",
    "datasets/*/README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
]
# The parts that docs/findings.md is gathered from, and what is never searched for pages.
exclude_patterns = [
    "docs/study/*",
    "docs/templates",
    ".*",
    "build",
    "runs",
    "tests",
    "tfunroll",
    "shared",
]

myst_heading_anchors = 3
myst_enable_extensions = ["colon_fence"]
nb_execution_mode = "off"  # tests/test_notebooks.py runs them

autosummary_generate = True
templates_path = [str(pathlib.Path(__file__).parent / "templates")]
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # signatures hold them
autodoc_default_options = {"members": True}
autodoc_preserve_defaults = True
napoleon_use_ivar = True
napoleon_use_rtype = False

html_theme = "furo"
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#2a6f97", "color-brand-content": "#2a6f97"},
    "dark_css_variables": {"color-brand-primary": "#7fb8d8", "color-brand-content": "#7fb8d8"},
}
html_static_path = ["static"]
html_css_files = ["site.css"]
html_extra_path = ["redirect"]  # from the site's root to docs/
copybutton_exclude = ".linenos, .gp, .go"

_SECTION = re.compile(r"^(Args|Returns|Raises|Attributes):\s*(\S.*)?$")
_LABEL = re.compile(r"^[A-Z][\w ]{2,20}: ")  # "Reference: …", a paragraph of its own
_CODE = re.compile(r"(``.*?``|`[^`]+`)")


def _restructured(app, what, name, obj, options, lines):
    """Docstrings are plain text: makes of them what reStructuredText shows as it was written.

    Sections that stand on one line ("Raises: InputError: …") get lines of their own, equations and
    code, which are indented, become literal blocks, and what would be markup is escaped.
    """
    text, kind = [], "paragraph"  # or section, inline (a section on one line), literal, list
    for line in lines:
        if match := _SECTION.match(line):
            kind = "inline" if match[2] else "section"
            text += ["", f"{match[1]}:", *([f"  {_escaped(match[2])}"] if match[2] else [])]
        elif kind in ("section", "inline") and line.startswith(" "):
            text.append("  " * (kind == "inline") + _escaped(line))
        elif not line.strip():
            kind = kind if kind == "literal" else "paragraph"
            text.append(line)
        elif line.startswith("    ") and (kind == "literal" or not text or not text[-1].strip()):
            text += [line] if kind == "literal" else ["::", "", line]
            kind = "literal"
        else:
            if kind in ("section", "inline") or _LABEL.match(line):
                text.append("")
            if not line.startswith(" "):
                kind = "list" if line.startswith("- ") else "paragraph"
            text.append(_escaped(line if kind == "list" else line.strip()))
    lines[:] = text


def _escaped(line):
    parts = _CODE.split(line)
    return "".join(
        part if k % 2 else re.sub(r"([*|]|(?<=\w)_(?!\w))", r"\\\1", part)
        for k, part in enumerate(parts)
    )


def _titled(app, docname, source):
    """Data cards have no title of their own: TFDS shows them below the dataset's name."""
    if docname.startswith("datasets/"):
        source[0] = f"# `{docname.split('/')[1]}`\n\n{source[0]}"


def setup(app):
    app.connect("source-read", _titled)
    # before napoleon, which has the priority 500
    app.connect("autodoc-process-docstring", _restructured, priority=400)
