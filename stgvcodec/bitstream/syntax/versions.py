"""The version of the format, and its profiles."""

from __future__ import annotations

from types import MappingProxyType

FORMAT_VERSION = (2, 0)
"""(major, minor) of the files that are written. A reader refuses another major version, and accepts any minor one."""

PROFILES = MappingProxyType({"paper": 1, "compact": 2})
"""Profile ids by name. A profile says how the encoder was set; how a GoP is parsed follows from its own header."""
