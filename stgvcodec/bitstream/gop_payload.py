"""A GoP's symbols to the bytes of its payload and back."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import numpy.typing as npt

from stgvcodec.bitstream.entropy import Context, Runner, StreamDecoder, Symbols, decode_streams, encode_stream
from stgvcodec.bitstream.layout import MLP_TENSORS, SIDE_INFO, STREAM_LENGTHS, STREAMS, read_fields, write_fields
from stgvcodec.bitstream.primitives import ByteReader
from stgvcodec.bitstream.symbols import GopHeader, GopSymbols, halves_are_finite

_BYTE = 256
_AXES = ("x", "y")
_COMPONENTS = ("l1", "l2", "l3")


def pack_gop(symbols: GopSymbols) -> bytes:
    """Code a GoP: header, lengths of the streams, streams.

    Args:
        symbols: The GoP.

    Returns:
        The payload for `StgvWriter.add_gop`; the same bytes for the same symbols.

    Raises:
        ValueError: the symbols do not fit their header or the format's limits.
    """
    symbols.validate()
    header = symbols.header
    runs = _flat_runs(symbols)
    coded = {
        name: encode_stream(list(zip(contexts, runs[name], strict=True)))
        for name, contexts in _stream_contexts(header).items()
    }
    lengths = write_fields({f"{name}_bytes": len(coded[name]) for name in STREAMS}, STREAM_LENGTHS)
    return header.to_bytes() + lengths + b"".join(coded[name] for name in STREAMS)


def _in_order(work: Callable[[int], None], n: int) -> None:
    for i in range(n):
        work(i)


def unpack_gop(payload: bytes, *, run: Runner = _in_order) -> GopSymbols:
    """Decode a GoP.

    Args:
        payload: What `pack_gop` returned.
        run: Calls its first argument with 0 to n - 1, in threads if it likes; streams are decoded in it.

    Returns:
        The symbols, exactly as they were.

    Raises:
        BitstreamError: the payload is cut short or damaged; its offset counts from the payload's start.
    """
    payload = bytes(payload)
    reader = ByteReader(payload, "GoP header")
    header, lengths = _read_head(reader)
    starts: dict[str, int] = {}

    def open_stream(name: str) -> StreamDecoder:
        starts[name] = reader.position
        return StreamDecoder(reader.slice(lengths[name], f"GoP {name}"), contexts[name])

    contexts = _stream_contexts(header)
    decoded = decode_streams([partial(open_stream, name) for name in contexts], run)
    runs = dict(zip(contexts, decoded, strict=True))

    side_bytes = np.stack(runs["side_info"], axis=1).tobytes()  # planes back to little-endian float32
    counts = {
        "n_static_levels": len(header.static_resolutions),
        "n_dynamic_levels": len(header.dynamic_resolutions),
    }
    side = read_fields(ByteReader(side_bytes, "GoP side_info, decoded"), SIDE_INFO, counts)
    floats = {name: np.array(values, np.float32) for name, values in side.items()}
    n, m, k = header.n_gaussians, header.color_stages, header.color_codebook_size
    means = np.stack([_join_bytes(high, low) for high, low in _pairs(runs["means"])], axis=1)  # [N, 2]
    codebooks = np.stack([_join_bytes(high, low) for high, low in _pairs(runs["codebooks"])]).reshape(m, k, 3)
    for name, halves in (("means", means), ("codebooks", codebooks)):
        if not halves_are_finite(halves):
            message = f"{name} hold NaN or Inf, so bytes are damaged"
            raise ByteReader(payload, f"GoP {name}").error(message, at=starts[name])
    half = 1 << (header.weight_bits - 1)

    def signed(parts: Sequence[Symbols], shape: tuple[int, ...]) -> npt.NDArray[np.int8]:
        flat = parts[0] if len(parts) == 1 else np.concatenate(parts)
        return (flat - np.uint8(half)).view(np.int8).reshape(shape)  # wraps where q < 0, as intended

    return GopSymbols(
        header=header,
        means=means,
        cholesky=np.stack(runs["cholesky"], axis=1),
        cholesky_scale=floats["cholesky_scale"],
        cholesky_offset=floats["cholesky_offset"],
        color_indices=np.stack(runs["color_indices"], axis=1).reshape(n, m),
        codebooks=codebooks,
        static_table=signed(runs["hash_static"], (-1, header.static_features)),
        static_scales=floats["static_scales"],
        dynamic_table=signed(runs["hash_dynamic"], (-1, header.dynamic_features)),
        dynamic_scales=floats["dynamic_scales"],
        mlp=tuple(signed([part], shape) for part, shape in zip(runs["mlp"], header.mlp_shapes, strict=True)),
        mlp_scales=floats["mlp_scales"],
    )


def gop_stream_bytes(payload: bytes) -> dict[str, int]:
    """What each stream of a GoP costs.

    Args:
        payload: What `pack_gop` returned.

    Returns:
        Bytes by stream name, in file order; header and lengths count as "side_info". The sum is `len(payload)`.

    Raises:
        BitstreamError: header or lengths are damaged.
    """
    reader = ByteReader(bytes(payload), "GoP header")
    _, lengths = _read_head(reader)
    lengths["side_info"] += reader.position
    return lengths


def read_gop_header(payload: bytes) -> GopHeader:
    """The header of a GoP payload, of which only the beginning need be there.

    Raises:
        BitstreamError: it is cut short or damaged.
    """
    return GopHeader.read(ByteReader(bytes(payload), "GoP header"))


def _read_head(reader: ByteReader) -> tuple[GopHeader, dict[str, int]]:
    header = GopHeader.read(reader)
    start = reader.position
    values = read_fields(reader, STREAM_LENGTHS)
    lengths = {name: int(values[f"{name}_bytes"]) for name in STREAMS}
    if sum(lengths.values()) != reader.remaining:
        message = f"the streams take {sum(lengths.values())} bytes by their lengths, {reader.remaining} are there"
        raise reader.error(message, at=start)
    return header, lengths


def _stream_contexts(header: GopHeader) -> dict[str, list[Context]]:
    """Contexts of each stream in decoding order."""
    n, k = header.n_gaussians, header.color_codebook_size
    n_floats = 6 + len(header.static_resolutions) + len(header.dynamic_resolutions) + len(MLP_TENSORS)
    weights = 1 << header.weight_bits
    return {
        "side_info": [Context(f"byte {plane} of the floats", n_floats, _BYTE) for plane in range(4)],
        "means": [Context(f"{part} bytes of {axis}", n, _BYTE) for axis in _AXES for part in ("high", "low")],
        "cholesky": [Context(component, n, 1 << header.cholesky_bits) for component in _COMPONENTS],
        "color_indices": [Context(f"stage {stage}", n, k) for stage in range(header.color_stages)],
        "codebooks": [
            Context(f"{part} bytes of stage {stage}", 3 * k, _BYTE)
            for stage in range(header.color_stages)
            for part in ("high", "low")
        ],
        "hash_static": [
            Context(f"level {level}", entries * header.static_features, weights)
            for level, entries in enumerate(header.static_entries)
        ],
        "hash_dynamic": [
            Context(f"level {level}", entries * header.dynamic_features, weights)
            for level, entries in enumerate(header.dynamic_entries)
        ],
        "mlp": [
            Context(name, math.prod(shape), weights) for name, shape in zip(MLP_TENSORS, header.mlp_shapes, strict=True)
        ],
    }


def _flat_runs(symbols: GopSymbols) -> dict[str, list[Symbols]]:
    """The symbols of each context, in the order of `_stream_contexts`."""
    header = symbols.header
    half = 1 << (header.weight_bits - 1)

    def unsigned(array: npt.NDArray[np.int8]) -> Symbols:
        return array.reshape(-1).view(np.uint8) + np.uint8(half)  # wraps where q < 0, as intended

    def levels(table: npt.NDArray[np.int8], entries: Sequence[int]) -> list[Symbols]:
        ends = np.cumsum(entries)[:-1]
        return [unsigned(np.ascontiguousarray(part)) for part in np.split(table, ends)]

    side = np.frombuffer(symbols.side_info_bytes(), np.uint8).reshape(-1, 4)
    return {
        "side_info": [np.ascontiguousarray(plane) for plane in side.T],
        "means": [part for axis in symbols.means.T for part in _split_bytes(axis)],
        "cholesky": [np.ascontiguousarray(component) for component in symbols.cholesky.T],
        "color_indices": [np.ascontiguousarray(stage) for stage in symbols.color_indices.T],
        "codebooks": [part for stage in symbols.codebooks for part in _split_bytes(stage.reshape(-1))],
        "hash_static": levels(symbols.static_table, header.static_entries),
        "hash_dynamic": levels(symbols.dynamic_table, header.dynamic_entries),
        "mlp": [unsigned(np.ascontiguousarray(tensor)) for tensor in symbols.mlp],
    }


def _split_bytes(halves: npt.NDArray[np.uint16]) -> tuple[Symbols, Symbols]:
    return (halves >> 8).astype(np.uint8), (halves & 0xFF).astype(np.uint8)


def _join_bytes(high: Symbols, low: Symbols) -> npt.NDArray[np.uint16]:
    return high.astype(np.uint16) << np.uint16(8) | low


def _pairs(runs: Sequence[Symbols]) -> list[tuple[Symbols, Symbols]]:
    return list(zip(runs[0::2], runs[1::2], strict=True))
