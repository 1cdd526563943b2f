"""What the reports share: templates of HTML pages, and pictures that a page holds in itself."""

import base64
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

__all__ = ["inline", "page_template"]


def page_template(name: str) -> Template:
    """A template of the folder ``templates``: it escapes all text, and a name that it is not given is an error."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    return environment.get_template(name)


def inline(content: bytes) -> str:
    """A picture, SVG or PNG, as an address that holds it."""
    kind = "svg+xml" if content.lstrip()[:5] in (b"<?xml", b"<svg ") else "png"
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"
