"""The sections of bitstream_spec.md, by which tools say where the meaning of some bytes is written."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

SECTIONS: Mapping[str, str] = MappingProxyType(
    {
        "3.1": "Chunks",
        "3.2": "FILE_HEADER",
        "3.3": "GOP",
        "3.4": "END and the index",
        "3.5": "Ancillary chunks: sound, subtitles, metadata",
        "4": "GoP payload",
        "4.1": "Header",
        "4.2": "Streams",
        "4.3": "side_info",
        "4.4": "points and point_bits",
        "4.5": "shapes and colors",
        "4.6": "field",
        "5.2": "Models",
        "5.3": "Transmitted frequency tables",
        "5.4": "Families of frequencies",
        "5.5": "ANS",
        "5.6": "Conditional streams",
        "9": "Errors and recovery",
        "10": "Versions",
    }
)
"""Title of each section that defines bytes, by its number; a test holds them to the document."""

STREAM_SECTIONS: Mapping[str, str] = MappingProxyType(
    {"side_info": "4.3", "points": "4.4", "point_bits": "4.4", "shapes": "4.5", "colors": "4.5", "field": "4.6"}
)
"""Section of each stream of a GoP's payload."""
