"""HTML pages from the templates of this folder, with the style that they share."""

from pathlib import Path
from typing import Any

import jinja2

_HERE = Path(__file__).parent


def render(name: str, **values: Any) -> str:
    """The page of template `name`. All text is escaped; a value that the template lacks is an error."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name).render(css=(_HERE / "page.css").read_text(encoding="utf-8"), **values)
