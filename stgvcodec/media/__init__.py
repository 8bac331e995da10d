"""Reading and writing of pictures: video files, y4m, folders of images, colour, and output that is all there or not."""

from __future__ import annotations

from stgvcodec.media.atomic import (
    atomic_folder,
    atomic_output,
    check_output_file,
    check_output_folder,
    refuse_same_file,
)
from stgvcodec.media.colour import MATRICES, ColorTags
from stgvcodec.media.image_output import encode_png, write_png
from stgvcodec.media.output_formats import CodecOptions
from stgvcodec.media.reader import VideoFrame, VideoReader, open_video, read_image
from stgvcodec.media.selection import Crop, Selection, parse_crop, parse_frames, parse_size
from stgvcodec.media.writer import VideoWriter, open_writer

__all__ = [
    "MATRICES",
    "CodecOptions",
    "ColorTags",
    "Crop",
    "Selection",
    "VideoFrame",
    "VideoReader",
    "VideoWriter",
    "atomic_folder",
    "atomic_output",
    "check_output_file",
    "check_output_folder",
    "encode_png",
    "open_video",
    "open_writer",
    "parse_crop",
    "parse_frames",
    "parse_size",
    "read_image",
    "refuse_same_file",
    "write_png",
]
