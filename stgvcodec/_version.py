"""The version of the package, on its own: whatever needs it imports no more than it."""

from __future__ import annotations

__version__ = "0.1.0"
