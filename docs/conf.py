"""Sphinx settings; ``make docs`` builds docs/_build/html."""

from graftable import __version__

project = "graftable"
author = "the graftable authors"
copyright = "the graftable authors, Apache-2.0"
version = release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.mathjax"]
exclude_patterns = ["_build"]
myst_enable_extensions = ["dollarmath", "deflist", "attrs_block"]
autodoc_typehints = "none"
autodoc_member_order = "bysource"
default_role = "code"
napoleon_use_rtype = False

html_theme = "furo"
html_title = "graftable"
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#3b6ea8", "color-brand-content": "#3b6ea8"},
    "dark_css_variables": {"color-brand-primary": "#8fb7dd", "color-brand-content": "#8fb7dd"},
}
html_show_sourcelink = False
