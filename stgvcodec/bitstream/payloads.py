"""Payloads of GoPs by the profile of their file: which of the two syntaxes they have."""

from __future__ import annotations

from stgvcodec.bitstream.gop_payload import gop_stream_bytes, read_gop_header
from stgvcodec.bitstream.gop_set.header import GopSetHeader
from stgvcodec.bitstream.gop_set.payload import gop_set_stream_bytes, read_gop_set_header
from stgvcodec.bitstream.header import FLAT_PROFILE
from stgvcodec.bitstream.symbols import GopHeader


def read_header(profile: int, payload: bytes) -> GopHeader | GopSetHeader:
    """The header of a GoP's payload, of which only the beginning need be there.

    Args:
        profile: Id of the file's profile, `StreamHeader.profile_id`.
        payload: The payload.

    Raises:
        BitstreamError: it is cut short or damaged.
    """
    return read_gop_header(payload) if profile == FLAT_PROFILE else read_gop_set_header(payload)


def stream_bytes(profile: int, payload: bytes) -> dict[str, int]:
    """What each stream of a GoP costs; header and lengths count as "side_info". The sum is `len(payload)`.

    Args:
        profile: Id of the file's profile.
        payload: The payload.

    Raises:
        BitstreamError: header or lengths are damaged.
    """
    return gop_stream_bytes(payload) if profile == FLAT_PROFILE else gop_set_stream_bytes(payload)
