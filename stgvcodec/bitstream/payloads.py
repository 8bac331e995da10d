"""Payloads of GoPs by the profile of their file and the type of their chunk: which of the three syntaxes they have."""

from __future__ import annotations

from stgvcodec.bitstream.container.file_header import FLAT_PROFILE
from stgvcodec.bitstream.gop_payload import gop_stream_bytes, read_gop_header
from stgvcodec.bitstream.gop_predicted.payload import predicted_stream_bytes, read_predicted_header
from stgvcodec.bitstream.payload.header import GopSetHeader
from stgvcodec.bitstream.payload.pack import gop_set_stream_bytes, read_gop_set_header
from stgvcodec.bitstream.symbols import GopHeader


def read_header(profile: int, payload: bytes, *, predicted: bool = False) -> GopHeader | GopSetHeader:
    """The header of a GoP's payload, of which only the beginning need be there.

    Args:
        profile: Id of the file's profile, `StreamHeader.profile_id`.
        payload: The payload.
        predicted: Whether the GoP is a predicted one, which have one syntax in all profiles.

    Raises:
        BitstreamError: it is cut short or damaged.
    """
    if predicted:
        return read_predicted_header(payload)
    return read_gop_header(payload) if profile == FLAT_PROFILE else read_gop_set_header(payload)


def stream_bytes(profile: int, payload: bytes, *, predicted: bool = False) -> dict[str, int]:
    """What each stream of a GoP costs; header and lengths count as "side_info". The sum is `len(payload)`.

    Args:
        profile: Id of the file's profile.
        payload: The payload.
        predicted: Whether the GoP is a predicted one.

    Raises:
        BitstreamError: header or lengths are damaged.
    """
    if predicted:
        return predicted_stream_bytes(payload)
    return gop_stream_bytes(payload) if profile == FLAT_PROFILE else gop_set_stream_bytes(payload)
