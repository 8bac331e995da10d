"""The file header: what the stream is, before any GoP."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from types import MappingProxyType
from typing import Any

from stgvcodec.bitstream.syntax.limits import LIMITS
from stgvcodec.bitstream.syntax.primitives import ByteReader
from stgvcodec.bitstream.syntax.tables import FILE_HEADER, read_fields, write_fields

FORMAT_VERSION = (1, 2)
FLAT_VERSION = (1, 0)
"""The first version, whose only profile is `FLAT_PROFILE`. It can still be written."""
FLAT_PROFILE = 1
"""Id of profile paper in version 1.0; its payloads are those of `pack_gop`, all others' those of `pack_gop_set`."""
CLOSED_VERSION = (1, 1)
"""The version without predicted GoPs. It can still be written."""
PREDICTED_VERSION = (1, 2)
"""The first version with predicted GoPs, whose payloads are those of `pack_predicted_gop`."""
PROFILES = MappingProxyType({"paper": 2, "compact": 3})
"""Profile ids by name, those of `FORMAT_VERSION`."""

_WRITABLE_VERSIONS = (FLAT_VERSION, CLOSED_VERSION, FORMAT_VERSION)
_PROFILE_NAMES = MappingProxyType({FLAT_PROFILE: "paper", **{number: name for name, number in PROFILES.items()}})


@dataclass(frozen=True)
class ColorDescription:
    """ITU-T H.273 code points of the source; what a file decoded from the stream should be tagged with.

    Attributes:
        primaries: ColourPrimaries.
        transfer: TransferCharacteristics.
        matrix: MatrixCoefficients.
        full_range: VideoFullRangeFlag.
    """

    primaries: int
    transfer: int
    matrix: int
    full_range: bool


@dataclass(frozen=True)
class StreamHeader:
    """The file header.

    Attributes:
        width: Pixels.
        height: Pixels.
        frame_rate: Nominal frames a second; the timestamps are what counts.
        time_base: Unit of all timestamps of frames, seconds.
        color: Of the source. The coded frames are RGB.
        profile: A name of `PROFILES`. In version 1.0 "paper" has another id, and other payloads.
        tool: Name and version of the encoder, printable, 64 bytes of UTF-8 at most.
        format_version: (major, minor); `FORMAT_VERSION`, `CLOSED_VERSION` or `FLAT_VERSION` in a file to be written.
    """

    width: int
    height: int
    frame_rate: Fraction
    time_base: Fraction
    color: ColorDescription
    profile: str
    tool: str
    format_version: tuple[int, int] = FORMAT_VERSION

    @property
    def profile_id(self) -> int:
        """The id of the profile, which says what payloads its GoPs have.

        Raises:
            ValueError: the version has no such profile.
        """
        profiles = {"paper": FLAT_PROFILE} if self.format_version == FLAT_VERSION else PROFILES
        if self.profile not in profiles:
            raise ValueError(f"profile is {self.profile!r}, expected one of {', '.join(profiles)}")
        return profiles[self.profile]

    def to_bytes(self) -> bytes:
        """The payload of the file header chunk.

        Raises:
            ValueError: a value is outside the format's limits.
        """
        if self.format_version not in _WRITABLE_VERSIONS:
            known = ", ".join(str(version) for version in _WRITABLE_VERSIONS)
            raise ValueError(f"format_version is {self.format_version}, this writer writes {known}")
        if not self.tool.isprintable():
            raise ValueError(f"tool is {self.tool!r}, expected printable text")
        if self.width * self.height > LIMITS["frame_pixels"]:
            raise ValueError(_pixels_fault(self.width, self.height))
        values: dict[str, Any] = {
            "version_major": self.format_version[0],
            "version_minor": self.format_version[1],
            "profile": self.profile_id,
            "width": self.width,
            "height": self.height,
            "frame_rate_num": self.frame_rate.numerator,
            "frame_rate_den": self.frame_rate.denominator,
            "time_base_num": self.time_base.numerator,
            "time_base_den": self.time_base.denominator,
            "color_primaries": self.color.primaries,
            "color_transfer": self.color.transfer,
            "color_matrix": self.color.matrix,
            "color_full_range": int(self.color.full_range),
            "tool": self.tool,
        }
        return write_fields(values, FILE_HEADER)

    @classmethod
    def from_bytes(cls, payload: bytes, base_offset: int) -> StreamHeader:
        """Read the payload of the file header chunk.

        Args:
            payload: The payload.
            base_offset: Its offset in the file, for messages.

        Raises:
            BitstreamError: another major version, an unknown profile, or a value outside its limits.
        """
        reader = ByteReader(payload, "file header", base_offset=base_offset)
        version = read_fields(reader, FILE_HEADER[:2])
        major, minor = version["version_major"], version["version_minor"]
        if major != FORMAT_VERSION[0]:
            raise reader.error(
                f"format version {major}.{minor}, this reader knows {FORMAT_VERSION[0]}.x: "
                "use the stgvcodec that wrote it",
                at=0,
            )
        values = read_fields(reader, FILE_HEADER[2:])
        if minor <= FORMAT_VERSION[1]:  # a later minor version may add fields behind these
            reader.expect_end()
        if values["profile"] not in _PROFILE_NAMES:
            raise reader.error(
                f"profile {values['profile']} is not known, expected one of {dict(_PROFILE_NAMES)}: "
                "use a newer stgvcodec",
                at=2,
            )
        if (values["profile"] == FLAT_PROFILE) != ((major, minor) == FLAT_VERSION):
            raise reader.error(
                f"profile {values['profile']} in a file of version {major}.{minor}, expected profile {FLAT_PROFILE} "
                f"in version {FLAT_VERSION[0]}.{FLAT_VERSION[1]} and only there",
                at=2,
            )
        if values["width"] * values["height"] > LIMITS["frame_pixels"]:
            raise reader.error(_pixels_fault(values["width"], values["height"]), at=3)
        for name in ("frame_rate", "time_base"):
            if math.gcd(values[f"{name}_num"], values[f"{name}_den"]) != 1:
                raise reader.error(
                    f"{name} is {values[f'{name}_num']}/{values[f'{name}_den']}, expected lowest terms", at=3
                )
        return cls(
            width=values["width"],
            height=values["height"],
            frame_rate=Fraction(values["frame_rate_num"], values["frame_rate_den"]),
            time_base=Fraction(values["time_base_num"], values["time_base_den"]),
            color=ColorDescription(
                primaries=values["color_primaries"],
                transfer=values["color_transfer"],
                matrix=values["color_matrix"],
                full_range=bool(values["color_full_range"]),
            ),
            profile=_PROFILE_NAMES[values["profile"]],
            tool=values["tool"],
            format_version=(major, minor),
        )


def _pixels_fault(width: int, height: int) -> str:
    return f"a picture has {width} x {height} pixels, expected {LIMITS['frame_pixels']} at most"
