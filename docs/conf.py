"""docs/ as a site: `sphinx-build -W -n docs build/docs`, after `pip install -e '.[docs]' -c constraints.txt`.

The Markdown stays as GitHub shows it: the table of contents is made of the links in index.md, and links
that lead out of docs/ go to copies in project/. That folder and api/ are written anew at each build
(`reference.py`).
"""

import os
import pathlib
import re
import sys

from sphinx.ext.napoleon import Config, GoogleDocstring

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parent
sys.path[:0] = [str(ROOT), str(HERE)]
os.environ.setdefault("JAX_PLATFORMS", "cpu")  # the package is imported, and computes nothing

import reference  # noqa: E402

project = "aufer_jax"
author = "the authors of aufer_jax"
extensions = ["myst_parser", "sphinx.ext.autodoc"]
exclude_patterns = ["_build"]

html_theme = "furo"
html_title = "aufer_jax"
html_show_copyright = False
html_theme_options = {"top_of_page_buttons": []}  # no address of a repository is known here

myst_heading_anchors = 4
highlight_language = "none"  # of fences that name no language
default_role = "code"  # in docstrings as in the pages: `name`
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "ignore-module-all": True}
python_maximum_signature_line_length = 88
autodoc_mock_imports = ["huggingface_hub"]  # of an extra
suppress_warnings = ["ref.python"]  # one name in several classes, where a type names it
# -n: every name of ours that a type mentions is in the reference; those of others are not looked for.
nitpick_ignore_regex = [
    ("py:.*", r"(?!aufer_jax\.).*"),
    ("py:.*", r"aufer_jax\..*\.(T|Set|Options|Target|_\w+)"),
]


class Docstring(GoogleDocstring):
    """Args, Attributes and Returns as this package writes them: what is returned has no type in front."""

    def _consume_returns_section(self, preprocess_types=False):
        return [("", "", self._dedent(self._consume_to_next_section()))]


def docstring(app, what, name, obj, options, lines):
    """Our docstrings -> reStructuredText: a star is a star, and lists need no empty lines around them."""
    found, example = [], False
    for line in lines:
        example = line.lstrip().startswith(">>>") or (example and bool(line.strip()))
        if not example:
            parts = re.split(r"(`[^`]*`)", line)  # words in between have even places
            for place in range(0, len(parts), 2):
                text = re.sub(r"[*|]", r"\\\g<0>", parts[place])
                parts[place] = r"\ " * (place > 0 and text[:1].isalnum()) + text
            line = "".join(parts)
        item, in_item = line.startswith("- "), found and found[-1].startswith(("- ", "  "))
        ends = in_item and not line.startswith(("- ", " "))
        if line and found and found[-1] and (ends or (item and not in_item)):
            found.append("")
        found.append(line)
    settings = Config(napoleon_use_ivar=True)
    # As of a function, whatever it is of: else the words before a colon count as a type.
    lines[:] = Docstring(found, settings, app, "function", name, obj, options).lines()


def signature(app, what, name, obj, options, written, returned):
    """Of a Flax module without the two fields that all of them have."""
    return (re.sub(r",? ?parent: .*(?=\)$)", "", written) if written else written), returned


def contents(app, name, source):
    """Links out of docs/ lead to the copies; the links of index.md become the table of contents."""
    folder = (HERE / name).parent
    source[0] = reference.moved(source[0], ROOT, folder, folder)
    if name == "index":
        source[0] += reference.toctrees(source[0])
    if name == "papers":
        source[0] = reference.linked(source[0], ROOT)


def setup(app):
    app.connect("builder-inited", lambda app: reference.write(ROOT, HERE))
    app.connect("source-read", contents)
    app.connect("autodoc-process-docstring", docstring)
    app.connect("autodoc-process-signature", signature)
    app.connect("build-finished", lambda app, error: reference.plain(ROOT, HERE, app.outdir))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
