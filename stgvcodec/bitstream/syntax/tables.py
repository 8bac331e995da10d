"""The syntax tables of the format. They drive writing, reading and `info`; a test holds bitstream_spec.md to them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from stgvcodec.bitstream.syntax.elements import SyntaxElement, SyntaxTable
from stgvcodec.bitstream.syntax.limits import LIMITS, SCALE_MAX, SCALE_MIN

_U8 = 2**8 - 1
_U16 = 2**16 - 1
_U32 = 2**32 - 1
_I31 = 2**31 - 1

FILE_HEADER: SyntaxTable = (
    SyntaxElement("version_major", "u8", 0, _U8, "format version; a reader refuses one it does not know"),
    SyntaxElement("version_minor", "u8", 0, _U8, "format version; a reader accepts any"),
    SyntaxElement("profile", "u8", 1, _U8, "profile: 1 = paper, 2 = compact"),
    SyntaxElement("width", "uint", 1, LIMITS["width"], "picture width, pixels"),
    SyntaxElement("height", "uint", 1, LIMITS["height"], "picture height, pixels"),
    SyntaxElement("frame_rate_num", "uint", 1, _U32, "nominal frames a second, numerator"),
    SyntaxElement("frame_rate_den", "uint", 1, _U32, "its denominator, lowest terms"),
    SyntaxElement("time_base_num", "uint", 1, _U32, "unit of timestamps in seconds, numerator"),
    SyntaxElement("time_base_den", "uint", 1, _U32, "its denominator, lowest terms"),
    SyntaxElement("sample_aspect_num", "uint", 1, _U32, "width over height of a sample as displayed, numerator"),
    SyntaxElement("sample_aspect_den", "uint", 1, _U32, "its denominator, lowest terms"),
    SyntaxElement(
        "last_frame_duration",
        "uint",
        0,
        LIMITS["pts_step"],
        "duration of the last frame, time base units; 0: one nominal frame interval",
    ),
    SyntaxElement("color_primaries", "u8", 0, _U8, "ITU-T H.273 ColourPrimaries of the source"),
    SyntaxElement("color_transfer", "u8", 0, _U8, "ITU-T H.273 TransferCharacteristics of the source"),
    SyntaxElement("color_matrix", "u8", 0, _U8, "ITU-T H.273 MatrixCoefficients of the source"),
    SyntaxElement("color_full_range", "u8", 0, 1, "ITU-T H.273 VideoFullRangeFlag of the source"),
    SyntaxElement("tool", "text", 0, LIMITS["tool_bytes"], "name and version of the encoder"),
)

GOP_CHUNK: SyntaxTable = (
    SyntaxElement("first_frame", "uint", 0, LIMITS["n_frames"], "number of the GoP's first frame in the file, from 0"),
    SyntaxElement("n_frames", "uint", 1, LIMITS["gop_frames"], "frames in the GoP"),
    SyntaxElement("pts_first", "sint", -LIMITS["pts"], LIMITS["pts"], "timestamp of the first frame, time base units"),
    SyntaxElement(
        "pts_step", "uint", 0, LIMITS["pts_step"], "constant difference of timestamps, or 0: differences follow"
    ),
    SyntaxElement("pts_deltas", "uint", 1, LIMITS["pts_step"], "differences of successive timestamps", ("n_deltas",)),
)

FIELD_SIZES: SyntaxTable = (
    SyntaxElement("n_static_levels", "uint", 1, LIMITS["grid_levels"], "levels of the 2D hash encoding"),
    SyntaxElement(
        "static_resolutions",
        "uint",
        1,
        LIMITS["grid_resolution"],
        "cells along (x, y) of each level",
        ("n_static_levels", 2),
    ),
    SyntaxElement("static_features", "uint", 1, LIMITS["grid_features"], "features of an entry of the 2D tables"),
    SyntaxElement("static_log2_size", "uint", 1, LIMITS["grid_log2_size"], "log2 of the largest 2D table"),
    SyntaxElement("n_dynamic_levels", "uint", 1, LIMITS["grid_levels"], "levels of the 3D hash encoding"),
    SyntaxElement(
        "dynamic_resolutions",
        "uint",
        1,
        LIMITS["grid_resolution"],
        "cells along (x, y, t) of each level",
        ("n_dynamic_levels", 3),
    ),
    SyntaxElement("dynamic_features", "uint", 1, LIMITS["grid_features"], "features of an entry of the 3D tables"),
    SyntaxElement("dynamic_log2_size", "uint", 1, LIMITS["grid_log2_size"], "log2 of the largest 3D table"),
    SyntaxElement("mlp_width", "uint", 1, LIMITS["mlp_width"], "neurons of each of the two hidden layers"),
    SyntaxElement("n_frequencies", "uint", 1, LIMITS["n_frequencies"], "frequencies of the time encoding"),
    SyntaxElement("shape_head", "u8", 0, 1, "whether the MLP has a head for changes of shape: 0 = no, 1 = yes"),
    SyntaxElement(
        "weight_bits", "u8", 1, LIMITS["weight_bits"], "b, bits of a symbol of the hash tables and of the MLP"
    ),
)
"""The last elements of GOP_HEADER, which are the sizes of the deformation field."""

GOP_HEADER: SyntaxTable = (
    SyntaxElement("n_frames", "uint", 1, LIMITS["gop_frames"], "T, frames; equal to the chunk's"),
    SyntaxElement("n_gaussians", "uint", 1, LIMITS["n_gaussians"], "N, Gaussians"),
    SyntaxElement("low_pass", "f32", 0, LIMITS["low_pass"], "s, added to the covariance's diagonal, square pixels"),
    SyntaxElement("point_mode", "u8", 0, 1, "points: 0 = binary16, 1 = grid"),
    SyntaxElement("shape_mode", "u8", 0, 1, "shapes: 0 = affine Cholesky, 1 = log scales and shear"),
    SyntaxElement("color_mode", "u8", 0, 1, "colours: 0 = residual VQ, 1 = Y, Co, Cg"),
    SyntaxElement("cholesky_bits", "u8", 1, LIMITS["cholesky_bits"], "bits of a shape symbol; 8 in shape_mode 1"),
    SyntaxElement(
        "color_stages", "uint", 1, LIMITS["color_stages"], "M, stages of the colour quantiser; 1 in color_mode 1"
    ),
    SyntaxElement(
        "color_codebook_size",
        "uint",
        1,
        LIMITS["color_codebook_size"],
        "K, codewords of a stage; 1 in color_mode 1",
    ),
    *FIELD_SIZES,
)

MLP_TENSORS = ("w1", "b1", "w2", "b2", "w_means", "b_means", "w_colors", "b_colors", "w_shapes", "b_shapes")
"""The tensors of the field's MLP, in their order in the file; the last two are there where shape_head is 1."""


def _lengths(streams: tuple[str, ...]) -> SyntaxTable:
    return tuple(
        SyntaxElement(f"{name}_bytes", "uint", 0, LIMITS["chunk_payload_bytes"], f"bytes of the stream {name}")
        for name in streams
    )


STREAMS = ("side_info", "points", "point_bits", "shapes", "colors", "field")
"""The streams of a GoP's payload, in their order in the file."""

STREAM_LENGTHS: SyntaxTable = _lengths(STREAMS)

SIDE_INFO: SyntaxTable = (
    SyntaxElement("point_scale", "f32", SCALE_MIN, SCALE_MAX, "step of the grid along x, y", ("n_grid_axes",)),
    SyntaxElement("point_offset", "f32", -SCALE_MAX, SCALE_MAX, "the grid's point (0, 0)", ("n_grid_axes",)),
    SyntaxElement("shape_scale", "f32", SCALE_MIN, SCALE_MAX, "scale of each of the three shape symbols", (3,)),
    SyntaxElement("shape_offset", "f32", -SCALE_MAX, SCALE_MAX, "offset of l1, l2, l3", ("n_shape_offsets",)),
    SyntaxElement("color_scale", "f32", SCALE_MIN, SCALE_MAX, "scale of Y, Co, Cg", ("n_color_scales",)),
    SyntaxElement("static_scales", "f32", SCALE_MIN, SCALE_MAX, "scale of each 2D level", ("n_static_levels",)),
    SyntaxElement("dynamic_scales", "f32", SCALE_MIN, SCALE_MAX, "scale of each 3D level", ("n_dynamic_levels",)),
    SyntaxElement("mlp_scales", "f32", SCALE_MIN, SCALE_MAX, "scale of each tensor of the MLP", ("n_mlp_tensors",)),
)

INDEX: SyntaxTable = (
    SyntaxElement("n_frames", "uint", 1, LIMITS["n_frames"], "frames in the file"),
    SyntaxElement("n_chunks", "uint", 1, LIMITS["n_chunks"], "chunks between the file header and the end chunk"),
)

INDEX_ENTRY: SyntaxTable = (
    SyntaxElement("chunk_type", "u16", 0, _U16, "the chunk's type code"),
    SyntaxElement("payload_bytes", "uint", 0, LIMITS["chunk_payload_bytes"], "bytes of the chunk's payload"),
)

INDEX_GOP: SyntaxTable = (SyntaxElement("n_gaussians", "uint", 1, LIMITS["n_gaussians"], "the GoP's N"), *GOP_CHUNK)

INDEX_TAIL: SyntaxTable = (
    SyntaxElement("end_chunk_bytes", "u32", 0, _U32, "size of the whole end chunk, framing included"),
)

TRACK: SyntaxTable = (
    SyntaxElement("track", "uint", 0, LIMITS["n_tracks"] - 1, "number of the track, from 0"),
    SyntaxElement("kind", "u8", 0, 1, "what it is: 0 = audio, 1 = subtitles"),
    SyntaxElement("codec", "text", 1, LIMITS["tool_bytes"], "name of the codec, for people"),
    SyntaxElement("time_base_num", "uint", 1, _I31, "unit of this track's timestamps in seconds, numerator"),
    SyntaxElement("time_base_den", "uint", 1, _I31, "its denominator, lowest terms"),
    SyntaxElement("sample_rate", "uint", 0, _U32, "samples a second, for people; 0: subtitles, or not known"),
    SyntaxElement("n_channels", "uint", 0, _U16, "channels, for people; 0: subtitles, or not known"),
    SyntaxElement("channel_layout", "text", 0, LIMITS["tool_bytes"], "what the channels are; empty: not known"),
    SyntaxElement("dispositions", "u16", 0, _U16, "what players choose by, a bit each"),
    SyntaxElement("n_entries", "uint", 0, LIMITS["n_entries"], "entries of metadata"),
    SyntaxElement("keys", "text", 1, LIMITS["tool_bytes"], "name of each entry", ("n_entries",)),
    SyntaxElement("values", "text", 0, LIMITS["text_bytes"], "value of each entry", ("n_entries",)),
    SyntaxElement("setup_format", "u8", 0, 1, "kind of the set-up: 0 = Matroska, 1 = MP4"),
)

TRACK_PACKETS: SyntaxTable = (
    SyntaxElement("track", "uint", 0, LIMITS["n_tracks"] - 1, "the track's number"),
    SyntaxElement("n_packets", "uint", 1, _U16, "packets in this chunk"),
    SyntaxElement("pts_first", "sint", -LIMITS["pts"], LIMITS["pts"], "timestamp of the first packet"),
    SyntaxElement(
        "packet_gaps",
        "sint",
        -LIMITS["pts_step"],
        LIMITS["pts_step"],
        "start of each further packet minus the end of the one before it",
        ("n_gaps",),
    ),
    SyntaxElement("packet_durations", "uint", 0, LIMITS["pts_step"], "duration of each packet", ("n_packets",)),
    SyntaxElement("packet_is_key", "u8", 0, 1, "whether a decoder can begin with the packet", ("n_packets",)),
    SyntaxElement("packet_bytes", "uint", 0, LIMITS["chunk_payload_bytes"], "size of each packet", ("n_packets",)),
)

METADATA: SyntaxTable = (
    SyntaxElement("n_entries", "uint", 0, LIMITS["n_entries"], "entries"),
    SyntaxElement("keys", "text", 1, LIMITS["tool_bytes"], "name of each entry", ("n_entries",)),
    SyntaxElement("values", "text", 0, LIMITS["text_bytes"], "value of each entry", ("n_entries",)),
)

TABLES: Mapping[str, SyntaxTable] = MappingProxyType(
    {
        "FILE_HEADER": FILE_HEADER,
        "GOP_CHUNK": GOP_CHUNK,
        "GOP_HEADER": GOP_HEADER,
        "STREAM_LENGTHS": STREAM_LENGTHS,
        "SIDE_INFO": SIDE_INFO,
        "INDEX": INDEX,
        "INDEX_ENTRY": INDEX_ENTRY,
        "INDEX_GOP": INDEX_GOP,
        "INDEX_TAIL": INDEX_TAIL,
        "TRACK": TRACK,
        "TRACK_PACKETS": TRACK_PACKETS,
        "METADATA": METADATA,
    }
)
"""Every table by its name in bitstream_spec.md."""
