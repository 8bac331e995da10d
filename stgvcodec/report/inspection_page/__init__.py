"""The page that `stgvcodec inspect` writes: one HTML file with its data, style and program inside."""

from __future__ import annotations

import importlib.resources
import json
from collections.abc import Mapping

# The parts of the program, in the order in which they are put together.
_SCRIPTS = (
    "elements.js",
    "data.js",
    "timeline.js",
    "overlays.js",
    "picture.js",
    "histograms.js",
    "worth.js",
    "tree.js",
    "main.js",
)


def inspection_page(data: Mapping[str, object]) -> str:
    """Put a page together.

    Args:
        data: What `inspection` gathers, a value of JSON without NaN and infinities.

    Returns:
        The text of an HTML file, which refers to nothing outside of it and whose policy forbids it to.
    """
    parts = importlib.resources.files(__name__)

    def text(name: str) -> str:
        return parts.joinpath(name).read_text(encoding="utf-8")

    values = json.dumps(data, allow_nan=False, separators=(",", ":"))
    # Texts of a file, such as its name, may hold anything; inside a script "<" could end it.
    values = values.replace("<", "\\u003c")
    script = "\n".join(text(name) for name in _SCRIPTS)
    page = text("page.html")
    for mark, content in (
        ("/* style */", text("page.css")),
        ("/* script */", f'"use strict";\n(() => {{\n{script}\n}})();'),
        ("/* data */", values),
    ):
        page = page.replace(mark, content, 1)
    return page
