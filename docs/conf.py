"""The documentation's site: pages in Markdown, a notebook, and the docstrings of public names.

`make docs` builds it. Nothing comes from the network: equations become MathML, which browsers
draw by themselves.
"""

from __future__ import annotations

import inspect
import re
import sys
from pathlib import Path

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from pydantic import BaseModel
from sphinx.util import logging
from sphinx.util.inspect import stringify_signature

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "src"))

import macrodyn  # noqa: E402

# Before autodoc imports them, which does so as type checkers do: pydantic's models fail then.
PUBLIC = {name: getattr(macrodyn, name) for name in macrodyn.__all__}

project = "macrodyn"
author = "The macrodyn developers"
project_copyright = author
release = macrodyn.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "sphinx_design",
]
exclude_patterns = ["_build"]

# Pages are read on GitHub too: its anchors of headings, and its dollars around equations.
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 5
myst_update_mathjax = False

nb_execution_mode = "cache"
nb_execution_timeout = 1800
nb_execution_raise_on_error = True

html_theme = "furo"
html_title = "macrodyn"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_math_renderer = "mathml"
html_copy_source = False
copybutton_exclude = ".linenos, .gp, .go"

autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_default_options = {"exclude-members": "model_config"}
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88
napoleon_numpy_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True
default_role = "py:obj"

nitpicky = True
# Between single backticks stand names of the code and of configurations alike; annotations name
# what other libraries and inner modules define.
nitpick_ignore_regex = [("py:obj", ".*"), ("py:class", ".*"), ("py:exc", ".*")]

logger = logging.getLogger("macrodyn.docs")


def inline_mathml(self, node: nodes.math) -> None:
    """Write an equation within a line."""
    self.body.append(_mathml(node, block=False))
    raise nodes.SkipNode


def display_mathml(self, node: nodes.math_block) -> None:
    """Write an equation on lines of its own."""
    self.body.append(f'<div class="equation">{_mathml(node, block=True)}</div>\n')
    raise nodes.SkipNode


def _mathml(node: nodes.Element, *, block: bool) -> str:
    tex = node.astext()
    try:
        written = str(tex2mathml(tex, as_block=block))
    except MathError as error:
        logger.warning("equation that cannot be shown: %s", error, location=node)
        return ""
    if re.search(r"frac *\d\d", tex):
        logger.warning("read as a number of two digits: %s", tex, location=node)
    if re.search(r"<munder(over)?>\s*<m[in]", written):
        logger.warning("index below an accent, write \\bar r{}_i: %s", tex, location=node)
    return written


def as_written(app, what, name, obj, options, signature, returns):
    """Show annotations as the source has them: ArrayLike, not all that it stands for."""
    if what not in ("class", "exception", "function", "method"):
        return None
    if what == "class" and issubclass(obj, BaseModel):
        return "", None  # its keys are told one by one
    try:
        found = inspect.signature(obj)
    except (TypeError, ValueError):
        return None
    parameters = list(found.parameters.values())
    if parameters and parameters[0].name in ("self", "cls"):
        del parameters[0]
    empty = inspect.Signature.empty
    shown = stringify_signature(
        found.replace(parameters=parameters, return_annotation=empty), unqualified_typehints=True
    )
    given = found.return_annotation
    return shown, given if isinstance(given, str) and what != "class" else None


def docstrings(app, what, name, obj, options, lines) -> None:
    """Mend what would be misread, and tell the keys of settings with their defaults."""
    # The star of a shape such as [batch, channel, *lattice] is no emphasis.
    lines[:] = [re.sub(r"\*(?=[\w.]+\])", r"\\*", line) for line in lines]
    # Types by their own names, as in signatures.
    lines[:] = [re.sub(r"\b(?:\w+\.)+(?=\w)", "", i) if ":vartype" in i else i for i in lines]
    if what != "class" or not issubclass(obj, BaseModel):
        return
    lines.append("")
    for key, field in obj.model_fields.items():
        default = "required" if field.is_required() else f"``{field.get_default()!r}``"
        lines.append(f":ivar {key}: {default}. {field.description or ''}")


def public_name(app, env, node, target):
    """Refer to a public name where an annotation says in which module it is written."""
    name = node["reftarget"].rpartition(".")[2]
    if node.get("refdomain") != "py" or name not in PUBLIC:
        return None
    if node["reftarget"] == f"macrodyn.{name}":
        return None
    return env.get_domain("py").resolve_xref(
        env, node["refdoc"], app.builder, "obj", f"macrodyn.{name}", node, target
    )


def setup(app) -> dict[str, bool]:
    """Tell Sphinx what is above."""
    app.add_html_math_renderer("mathml", (inline_mathml, None), (display_mathml, None))
    app.connect("autodoc-process-signature", as_written)
    app.connect("autodoc-process-docstring", docstrings)
    app.connect("missing-reference", public_name)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
