"""The field tables of the format. They drive writing, reading and `info`; a test holds bitstream_spec.md to them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from stgvcodec.bitstream.syntax.limits import LIMITS, SCALE_MAX, SCALE_MIN
from stgvcodec.bitstream.syntax.primitives import PACKERS, READERS, ByteReader


@dataclass(frozen=True)
class Field:
    """One field of a table.

    Attributes:
        name: Its name in the spec and in the dictionaries that `read_fields` returns.
        type: A primitive of `primitives.READERS`.
        minimum: Smallest value (of a text: bytes).
        maximum: Largest value (of a text: bytes).
        doc: What it means, with its unit.
        shape: Empty for a single value; else the array's dimensions: numbers, names of earlier fields, or derived
            counts.
    """

    name: str
    type: str
    minimum: float
    maximum: float
    doc: str
    shape: tuple[int | str, ...] = ()


Table = tuple[Field, ...]

DERIVED_COUNTS: Mapping[str, Callable[[Mapping[str, Any]], int]] = MappingProxyType(
    {
        "n_deltas": lambda values: 0 if values["pts_step"] else values["n_frames"] - 1,
        "n_grid_axes": lambda values: 2 * values["point_mode"],
        "n_shape_offsets": lambda values: 3 - 3 * values["shape_mode"],
        "n_color_scales": lambda values: 3 * values["color_mode"],
    }
)
"""Counts that follow from earlier fields: `n_deltas` is 0 if `pts_step` > 0, else `n_frames` - 1; the others are 0 in
the modes that have no such numbers."""

_U8 = 2**8 - 1
_U16 = 2**16 - 1
_U32 = 2**32 - 1

FILE_HEADER: Table = (
    Field("version_major", "u8", 0, _U8, "format version; a reader refuses one it does not know"),
    Field("version_minor", "u8", 0, _U8, "format version; a reader accepts any"),
    Field("profile", "u8", 1, _U8, "profile: 1 = paper of version 1.0, 2 = paper, 3 = compact"),
    Field("width", "uint", 1, LIMITS["width"], "picture width, pixels"),
    Field("height", "uint", 1, LIMITS["height"], "picture height, pixels"),
    Field("frame_rate_num", "uint", 1, _U32, "nominal frames a second, numerator"),
    Field("frame_rate_den", "uint", 1, _U32, "its denominator, lowest terms"),
    Field("time_base_num", "uint", 1, _U32, "unit of timestamps in seconds, numerator"),
    Field("time_base_den", "uint", 1, _U32, "its denominator, lowest terms"),
    Field("color_primaries", "u8", 0, _U8, "ITU-T H.273 ColourPrimaries of the source"),
    Field("color_transfer", "u8", 0, _U8, "ITU-T H.273 TransferCharacteristics of the source"),
    Field("color_matrix", "u8", 0, _U8, "ITU-T H.273 MatrixCoefficients of the source"),
    Field("color_full_range", "u8", 0, 1, "ITU-T H.273 VideoFullRangeFlag of the source"),
    Field("tool", "text", 0, LIMITS["tool_bytes"], "name and version of the encoder"),
)

GOP_CHUNK: Table = (
    Field("first_frame", "uint", 0, LIMITS["n_frames"], "number of the GoP's first frame in the file, from 0"),
    Field("n_frames", "uint", 1, LIMITS["gop_frames"], "frames in the GoP"),
    Field("pts_first", "sint", -LIMITS["pts"], LIMITS["pts"], "timestamp of the first frame, time base units"),
    Field("pts_step", "uint", 0, LIMITS["pts_step"], "constant difference of timestamps, or 0: differences follow"),
    Field("pts_deltas", "uint", 1, LIMITS["pts_step"], "differences of successive timestamps", ("n_deltas",)),
)

FIELD_SIZES: Table = (
    Field("n_static_levels", "uint", 1, LIMITS["grid_levels"], "levels of the 2D hash encoding"),
    Field(
        "static_resolutions",
        "uint",
        1,
        LIMITS["grid_resolution"],
        "cells along (x, y) of each level",
        ("n_static_levels", 2),
    ),
    Field("static_features", "uint", 1, LIMITS["grid_features"], "features of an entry of the 2D tables"),
    Field("static_log2_size", "uint", 1, LIMITS["grid_log2_size"], "log2 of the largest 2D table"),
    Field("n_dynamic_levels", "uint", 1, LIMITS["grid_levels"], "levels of the 3D hash encoding"),
    Field(
        "dynamic_resolutions",
        "uint",
        1,
        LIMITS["grid_resolution"],
        "cells along (x, y, t) of each level",
        ("n_dynamic_levels", 3),
    ),
    Field("dynamic_features", "uint", 1, LIMITS["grid_features"], "features of an entry of the 3D tables"),
    Field("dynamic_log2_size", "uint", 1, LIMITS["grid_log2_size"], "log2 of the largest 3D table"),
    Field("mlp_width", "uint", 1, LIMITS["mlp_width"], "neurons of each of the two hidden layers"),
    Field("n_frequencies", "uint", 1, LIMITS["n_frequencies"], "frequencies of the time encoding"),
    Field("weight_bits", "u8", 1, LIMITS["weight_bits"], "b, bits of a symbol of the hash tables and of the MLP"),
)
"""The end of every GoP header: the sizes of its field."""

GOP_HEADER: Table = (
    Field("n_frames", "uint", 1, LIMITS["gop_frames"], "T, frames; equal to the chunk's"),
    Field("n_gaussians", "uint", 1, LIMITS["n_gaussians"], "N, Gaussians"),
    Field("low_pass", "f32", 0, LIMITS["low_pass"], "s, added to the covariance's diagonal, square pixels"),
    Field("cholesky_bits", "u8", 1, LIMITS["cholesky_bits"], "bits of a Cholesky symbol"),
    Field("color_stages", "uint", 1, LIMITS["color_stages"], "M, stages of the colour quantiser"),
    Field("color_codebook_size", "uint", 1, LIMITS["color_codebook_size"], "K, codewords of a stage"),
    *FIELD_SIZES,
)

STREAMS = ("side_info", "means", "cholesky", "color_indices", "codebooks", "hash_static", "hash_dynamic", "mlp")
"""The streams of a GoP payload, in their order in the file."""


def _lengths(streams: tuple[str, ...]) -> Table:
    return tuple(
        Field(f"{name}_bytes", "uint", 0, LIMITS["chunk_payload_bytes"], f"bytes of the stream {name}")
        for name in streams
    )


STREAM_LENGTHS: Table = _lengths(STREAMS)

MLP_TENSORS = ("w1", "b1", "w2", "b2", "w_means", "b_means", "w_colors", "b_colors")
"""The tensors of the field's MLP, in their order in the file."""

SIDE_INFO: Table = (
    Field("cholesky_scale", "f32", SCALE_MIN, SCALE_MAX, "scale of l1, l2, l3", (3,)),
    Field("cholesky_offset", "f32", -SCALE_MAX, SCALE_MAX, "offset of l1, l2, l3", (3,)),
    Field("static_scales", "f32", SCALE_MIN, SCALE_MAX, "scale of each 2D level", ("n_static_levels",)),
    Field("dynamic_scales", "f32", SCALE_MIN, SCALE_MAX, "scale of each 3D level", ("n_dynamic_levels",)),
    Field("mlp_scales", "f32", SCALE_MIN, SCALE_MAX, "scale of each tensor of the MLP", (len(MLP_TENSORS),)),
)

GOP_SET_HEADER: Table = (
    Field("n_frames", "uint", 1, LIMITS["gop_frames"], "T, frames; equal to the chunk's"),
    Field("n_gaussians", "uint", 1, LIMITS["n_gaussians"], "N, Gaussians"),
    Field("low_pass", "f32", 0, LIMITS["low_pass"], "s, added to the covariance's diagonal, square pixels"),
    Field("point_mode", "u8", 0, 1, "points: 0 = binary16, 1 = grid"),
    Field("shape_mode", "u8", 0, 1, "shapes: 0 = affine Cholesky, 1 = log scales and shear"),
    Field("color_mode", "u8", 0, 1, "colours: 0 = residual VQ, 1 = Y, Co, Cg"),
    Field("cholesky_bits", "u8", 1, LIMITS["cholesky_bits"], "bits of a shape symbol; 8 in shape_mode 1"),
    Field("color_stages", "uint", 1, LIMITS["color_stages"], "M, stages of the colour quantiser; 1 in color_mode 1"),
    Field(
        "color_codebook_size",
        "uint",
        1,
        LIMITS["color_codebook_size"],
        "K, codewords of a stage; 1 in color_mode 1",
    ),
    *FIELD_SIZES,
)

SET_STREAMS = ("side_info", "points", "point_bits", "shapes", "colors", "field")
"""The streams of a set payload, in their order in the file."""

SET_STREAM_LENGTHS: Table = _lengths(SET_STREAMS)

SET_FLOATS: Table = (
    Field("point_scale", "f32", SCALE_MIN, SCALE_MAX, "step of the grid along x, y", ("n_grid_axes",)),
    Field("point_offset", "f32", -SCALE_MAX, SCALE_MAX, "the grid's point (0, 0)", ("n_grid_axes",)),
    Field("shape_scale", "f32", SCALE_MIN, SCALE_MAX, "scale of each of the three shape symbols", (3,)),
    Field("shape_offset", "f32", -SCALE_MAX, SCALE_MAX, "offset of l1, l2, l3", ("n_shape_offsets",)),
    Field("color_scale", "f32", SCALE_MIN, SCALE_MAX, "scale of Y, Co, Cg", ("n_color_scales",)),
    *SIDE_INFO[2:],
)

PREDICTED_STREAMS = ("side_info", "residuals", "field")
"""The streams of a predicted payload, in their order in the file."""

PREDICTED_STREAM_LENGTHS: Table = _lengths(PREDICTED_STREAMS)

PREDICTED_FLOATS: Table = (
    Field("point_scale", "f32", SCALE_MIN, SCALE_MAX, "step of the residuals of x, y", (2,)),
    Field("shape_scale", "f32", SCALE_MIN, SCALE_MAX, "relative step of l1, of l3; step of the shear", (3,)),
    Field("color_scale", "f32", SCALE_MIN, SCALE_MAX, "step of the residuals of Y, Co, Cg", (3,)),
    *SIDE_INFO[2:],
)

INDEX: Table = (
    Field("n_frames", "uint", 1, LIMITS["n_frames"], "frames in the file"),
    Field("n_chunks", "uint", 1, LIMITS["n_chunks"], "chunks between the file header and the end chunk"),
)

INDEX_ENTRY: Table = (
    Field("chunk_type", "u16", 0, _U16, "the chunk's type code"),
    Field("payload_bytes", "uint", 0, LIMITS["chunk_payload_bytes"], "bytes of the chunk's payload"),
)

INDEX_GOP: Table = (Field("n_gaussians", "uint", 1, LIMITS["n_gaussians"], "the GoP's N"), *GOP_CHUNK)

INDEX_TAIL: Table = (Field("end_chunk_bytes", "u32", 0, _U32, "size of the whole end chunk, framing included"),)

AUDIO_TRACK: Table = (
    Field("track", "uint", 0, _U8, "number of the track, from 0"),
    Field("codec", "text", 1, LIMITS["tool_bytes"], "name of the audio codec, as in ffmpeg"),
    Field("sample_rate", "uint", 1, _U32, "samples a second"),
    Field("n_channels", "uint", 1, _U8, "channels"),
    Field("time_base_num", "uint", 1, _U32, "unit of this track's timestamps in seconds, numerator"),
    Field("time_base_den", "uint", 1, _U32, "its denominator, lowest terms"),
)

AUDIO_PACKETS: Table = (
    Field("track", "uint", 0, _U8, "the track's number"),
    Field("n_packets", "uint", 1, _U16, "packets in this chunk"),
    Field("packet_pts", "sint", -LIMITS["pts"], LIMITS["pts"], "timestamp of each packet", ("n_packets",)),
    Field("packet_duration", "uint", 0, LIMITS["pts_step"], "duration of each packet", ("n_packets",)),
    Field("packet_bytes", "uint", 0, LIMITS["chunk_payload_bytes"], "size of each packet", ("n_packets",)),
)

METADATA: Table = (
    Field("n_entries", "uint", 1, _U16, "entries in this chunk"),
    Field("keys", "text", 1, LIMITS["tool_bytes"], "name of each entry", ("n_entries",)),
    Field("values", "text", 0, LIMITS["text_bytes"], "value of each entry", ("n_entries",)),
)

TABLES: Mapping[str, Table] = MappingProxyType(
    {
        "FILE_HEADER": FILE_HEADER,
        "GOP_CHUNK": GOP_CHUNK,
        "GOP_HEADER": GOP_HEADER,
        "STREAM_LENGTHS": STREAM_LENGTHS,
        "SIDE_INFO": SIDE_INFO,
        "GOP_SET_HEADER": GOP_SET_HEADER,
        "SET_STREAM_LENGTHS": SET_STREAM_LENGTHS,
        "SET_FLOATS": SET_FLOATS,
        "PREDICTED_STREAM_LENGTHS": PREDICTED_STREAM_LENGTHS,
        "PREDICTED_FLOATS": PREDICTED_FLOATS,
        "INDEX": INDEX,
        "INDEX_ENTRY": INDEX_ENTRY,
        "INDEX_GOP": INDEX_GOP,
        "INDEX_TAIL": INDEX_TAIL,
        "AUDIO_TRACK": AUDIO_TRACK,
        "AUDIO_PACKETS": AUDIO_PACKETS,
        "METADATA": METADATA,
    }
)
"""Every table by its name in bitstream_spec.md."""


def dimensions(field: Field, values: Mapping[str, Any]) -> tuple[int, ...]:
    """A field's shape in numbers, given the values and counts that it refers to."""
    return tuple(
        size if isinstance(size, int) else DERIVED_COUNTS[size](values) if size in DERIVED_COUNTS else values[size]
        for size in field.shape
    )


def _limit_fault(field: Field, value: Any) -> str | None:
    size = len(value.encode("utf-8")) if field.type == "text" else value
    if field.minimum <= size <= field.maximum:  # False for NaN
        return None
    unit = " bytes" if field.type == "text" else ""
    return f"{field.name} is {value!r}, expected {field.minimum:.9g} to {field.maximum:.9g}{unit}"


def _nest(items: list[Any], dims: tuple[int, ...]) -> tuple[Any, ...]:
    if len(dims) == 1:
        return tuple(items)
    rows = [items[i : i + dims[1]] for i in range(0, len(items), dims[1])]
    return tuple(tuple(row) for row in rows)


def read_fields(reader: ByteReader, table: Table, known: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Read a table's fields.

    Args:
        reader: Where from; left just behind the last field.
        table: The fields, in order.
        known: Values of earlier tables that shapes may refer to; not part of the result.

    Returns:
        Value by name: int, float or str; arrays are (nested) tuples.

    Raises:
        BitstreamError: the bytes end early, or a value is outside its limits.
    """
    values: dict[str, Any] = {}
    for field in table:
        read = READERS[field.type]
        dims = dimensions(field, {**known, **values} if known else values)
        count = math.prod(dims)
        if count > reader.remaining:  # an item takes a byte at least
            raise reader.error(f"cut short: {field.name} needs {count} items, {reader.remaining} bytes left")
        items = []
        for _ in range(count):
            start = reader.position
            value = read(reader)
            if fault := _limit_fault(field, value):
                raise reader.error(fault, at=start)
            items.append(value)
        values[field.name] = _nest(items, dims) if dims else items[0]
    return values


def _flatten(value: Any, dims: tuple[int, ...], name: str) -> Iterator[Any]:
    if not dims:
        yield value
        return
    if len(value) != dims[0]:
        raise ValueError(f"{name} has {len(value)} items where {dims[0]} are expected")
    for item in value:
        yield from _flatten(item, dims[1:], name)


def write_fields(values: Mapping[str, Any], table: Table) -> bytes:
    """Write a table's fields.

    Args:
        values: Value by name, as `read_fields` returns them; may hold more than the table needs.
        table: The fields, in order.

    Raises:
        ValueError: a value is outside its field's limits, or an array has another shape.
    """
    out = bytearray()
    for field in table:
        pack = PACKERS[field.type]
        for value in _flatten(values[field.name], dimensions(field, values), field.name):
            if fault := _limit_fault(field, value):
                raise ValueError(fault)
            out += pack(value)
    return bytes(out)
