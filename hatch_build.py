"""Makes the links of README.md absolute in the package's metadata, so that its pictures show on a package index.

STGV_REPOSITORY names the address of the public repository, such as https://github.com/NAME/stgvcodec; without it links
stay as they are.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

_LINK = re.compile(r"(!?)\[([^\]]*)\]\((?!https?:)([^)]+)\)")


class ReadmeLinks(MetadataHookInterface):
    """Hook that hatchling calls when it builds a wheel or a source distribution."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Set the long description."""
        text = Path(self.root, "README.md").read_text(encoding="utf-8")
        repository = os.environ.get("STGV_REPOSITORY", "").rstrip("/")
        if repository:
            text = _LINK.sub(lambda link: _absolute(link, repository, metadata["version"]), text)
        metadata["readme"] = {"content-type": "text/markdown", "text": text}


def _absolute(link: re.Match[str], repository: str, version: str) -> str:
    mark, text, path = link.groups()
    return f"{mark}[{text}]({repository}/{'raw' if mark else 'blob'}/v{version}/{path})"
