"""stgvcodec is a neural video codec of 2D Gaussians and hash-encoded deformation: one file, any-order decoding.

The public names are imported on first use, so that `import stgvcodec` and `stgvcodec --help` stay quick.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from stgvcodec._version import __version__

if TYPE_CHECKING:
    from stgvcodec.decoder.decode_file import decode
    from stgvcodec.decoder.frame import Frame, FrameBatch
    from stgvcodec.decoder.stream_info import StreamInfo, read_info
    from stgvcodec.decoder.video_decoder import VideoDecoder
    from stgvcodec.encoder.config import EncodeConfig
    from stgvcodec.encoder.encode import encode
    from stgvcodec.errors import StgvError
    from stgvcodec.evaluation.compare import compare
    from stgvcodec.media.selection import Selection

__all__ = [
    "EncodeConfig",
    "Frame",
    "FrameBatch",
    "Selection",
    "StgvError",
    "StreamInfo",
    "VideoDecoder",
    "__version__",
    "compare",
    "decode",
    "encode",
    "read_info",
]

_HOME = {
    "EncodeConfig": "stgvcodec.encoder.config",
    "Frame": "stgvcodec.decoder.frame",
    "FrameBatch": "stgvcodec.decoder.frame",
    "Selection": "stgvcodec.media.selection",
    "StgvError": "stgvcodec.errors",
    "StreamInfo": "stgvcodec.decoder.stream_info",
    "VideoDecoder": "stgvcodec.decoder.video_decoder",
    "compare": "stgvcodec.evaluation.compare",
    "decode": "stgvcodec.decoder.decode_file",
    "encode": "stgvcodec.encoder.encode",
    "read_info": "stgvcodec.decoder.stream_info",
}


def __getattr__(name: str) -> object:
    """Import a public name from its home on first use."""
    if name not in _HOME:
        raise AttributeError(f"module 'stgvcodec' has no attribute '{name}'")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    """Return the public names."""
    return sorted(__all__)
