"""`StgvPlugin`: imageio reads and writes `.stgv` files (`pip install 'stgvcodec[imageio]'`).

It is named in a call, `imageio.v3.imread("clip.stgv", plugin=StgvPlugin)`, or imageio learns of it by `register()`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import EllipsisType
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch

from stgvcodec.decoder.video_decoder import VideoDecoder
from stgvcodec.encoder.encode import encode
from stgvcodec.errors import BitstreamError

try:
    from imageio.config import extension_list, known_extensions, known_plugins
    from imageio.config.extensions import FileExtension
    from imageio.config.plugins import PluginConfig
    from imageio.core.request import URI_BYTES, InitializationError, IOMode, Request
    from imageio.core.v3_plugin_api import ImageProperties, PluginV3
except ImportError as error:
    raise ImportError(
        f"needs the package imageio ({error}); install it with: pip install 'stgvcodec[imageio]'"
    ) from error

_NAME, _EXTENSION = "stgvcodec", ".stgv"


class StgvPlugin(PluginV3):
    """Frames of a `.stgv` file as arrays [H, W, 3] uint8, and arrays as a file."""

    def __init__(self, request: Request, *, device: str | torch.device = "auto") -> None:
        """Open a file, or get ready to write one.

        Args:
            request: What imageio is asked to open.
            device: Device that decodes or fits.

        Raises:
            InitializationError: what is to be read is not a `.stgv` file, or what is to be written is to be another.
        """
        super().__init__(request)
        self._device = device
        self._decoder: VideoDecoder | None = None
        if request.mode.io_mode == IOMode.read:
            try:
                self._decoder = VideoDecoder(request.get_file(), device=device)
            except BitstreamError as error:
                raise InitializationError(str(error)) from error
        elif (request.extension or request.format_hint) != _EXTENSION:
            raise InitializationError(f"{request.raw_uri!r}: {_NAME} writes .stgv files")

    def read(self, *, index: int | EllipsisType = ...) -> npt.NDArray[np.uint8]:
        """Return one frame [H, W, 3], or with `...` all frames [T, H, W, 3].

        Raises:
            IndexError: there is no such frame.
        """
        decoder = self._opened()
        if isinstance(index, EllipsisType):
            return _channels_last(decoder[:])
        return _channels_last(decoder[index])

    def iter(self) -> Iterator[npt.NDArray[np.uint8]]:
        """Yield the frames in order, each [H, W, 3]."""
        for frame in self._opened().iter_frames():
            yield frame.cpu().numpy()

    def write(self, ndimage: Any, **options: Any) -> bytes | None:
        """Encode frames.

        Args:
            ndimage: One frame [H, W, 3] or several [T, H, W, 3], an array or a list; uint8.
            options: Options of `stgvcodec.encode`: `fps` (by default 24) or `timestamps`, `config`, `selection`, ...

        Returns:
            The file's bytes if imageio was asked to write to "<bytes>", else None.
        """
        frames = ndimage if isinstance(ndimage, list | tuple) else np.asarray(ndimage)
        if isinstance(frames, np.ndarray) and frames.ndim == 3:
            frames = frames[None]
        if "timestamps" not in options:
            options.setdefault("fps", 24)
        # imageio copies this file to where it shall be, when the request ends.
        path = Path(self.request.get_local_filename())
        encode(frames, path, device=str(self._device), **{"dimension_order": "NHWC", **options})
        return path.read_bytes() if self.request._uri_type == URI_BYTES else None

    def properties(self, index: int | EllipsisType = ...) -> ImageProperties:
        """Return shape and type of what `read` gives for the same index, without decoding."""
        decoder = self._opened()
        shape = (decoder.header.height, decoder.header.width, 3)
        is_batch = isinstance(index, EllipsisType)
        return ImageProperties(
            shape=(len(decoder), *shape) if is_batch else shape,
            dtype=np.dtype(np.uint8),
            n_images=len(decoder) if is_batch else None,
            is_batch=is_batch,
        )

    def metadata(self, index: int | EllipsisType = ..., exclude_applied: bool = True) -> dict[str, Any]:
        """Return `fps`, `duration` (seconds) and `codec` of the file; of a frame its `pts_seconds`."""
        decoder = self._opened()
        if not isinstance(index, EllipsisType):
            return {"pts_seconds": float(decoder.pts(index) * decoder.header.time_base)}
        info = decoder.metadata
        return {"fps": info.average_fps, "duration": info.duration_seconds, "codec": info.codec}

    def close(self) -> None:
        """Close the file."""
        if self._decoder is not None:
            self._decoder.close()
        super().close()

    def _opened(self) -> VideoDecoder:
        if self._decoder is None:
            raise OSError(f"{self.request.raw_uri!r}: is open for writing, expected for reading")
        return self._decoder


def register() -> None:
    """Tell imageio that this plugin reads and writes files that end in .stgv. Once is enough, twice does no harm."""
    if _NAME in known_plugins:
        return
    known_plugins[_NAME] = PluginConfig(_NAME, StgvPlugin.__name__, __name__)
    extension = FileExtension(name="STGV", extension=_EXTENSION, priority=[_NAME])
    extension_list.append(extension)
    known_extensions[_EXTENSION] = [extension]


def _channels_last(frames: torch.Tensor) -> npt.NDArray[np.uint8]:
    """Turn [..., 3, H, W] into an array [..., H, W, 3]."""
    return cast("npt.NDArray[np.uint8]", np.ascontiguousarray(frames.movedim(-3, -1).cpu().numpy()))
