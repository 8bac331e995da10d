"""The file header, which describes the video and comes before any GoP."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from types import MappingProxyType
from typing import Any

from stgvcodec.bitstream.syntax.elements import read_elements, write_elements
from stgvcodec.bitstream.syntax.limits import LIMITS
from stgvcodec.bitstream.syntax.primitives import ByteReader
from stgvcodec.bitstream.syntax.tables import FILE_HEADER
from stgvcodec.bitstream.syntax.versions import FORMAT_VERSION, PROFILES

_PROFILE_NAMES = MappingProxyType({number: name for name, number in PROFILES.items()})


@dataclass(frozen=True)
class ColorDescription:
    """ITU-T H.273 code points of the source, with which a file decoded from the stream should be tagged.

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
        width: Picture width, pixels.
        height: Picture height, pixels.
        frame_rate: Nominal frames a second; the timestamps alone say when a frame is shown.
        time_base: Unit of all timestamps of frames, seconds.
        color: Colour description of the source. The coded frames are RGB.
        profile: Name in `PROFILES`. It says how the encoder was set; how a GoP is parsed follows from the GoP's header.
        tool: Name and version of the encoder, printable, 64 bytes of UTF-8 at most.
        sample_aspect_ratio: Width over height of a sample as displayed; 1 where samples are square or nothing is known.
        last_frame_duration: Duration of the last frame, time base units; 0 where it is not known.
        format_version: Version (major, minor) of the format; `FORMAT_VERSION` in a file to be written.
    """

    width: int
    height: int
    frame_rate: Fraction
    time_base: Fraction
    color: ColorDescription
    profile: str
    tool: str
    sample_aspect_ratio: Fraction = Fraction(1)
    last_frame_duration: int = 0
    format_version: tuple[int, int] = FORMAT_VERSION

    def to_bytes(self) -> bytes:
        """Write the payload of the file header chunk.

        Raises:
            ValueError: a value is outside the format's limits.
        """
        if self.format_version != FORMAT_VERSION:
            raise ValueError(f"format_version is {self.format_version}, this writer writes {FORMAT_VERSION}")
        if self.profile not in PROFILES:
            raise ValueError(f"profile is {self.profile!r}, expected one of {', '.join(PROFILES)}")
        if not self.tool.isprintable():
            raise ValueError(f"tool is {self.tool!r}, expected printable text")
        if self.width * self.height > LIMITS["frame_pixels"]:
            raise ValueError(_pixels_fault(self.width, self.height))
        values: dict[str, Any] = {
            "version_major": self.format_version[0],
            "version_minor": self.format_version[1],
            "profile": PROFILES[self.profile],
            "width": self.width,
            "height": self.height,
            "frame_rate_num": self.frame_rate.numerator,
            "frame_rate_den": self.frame_rate.denominator,
            "time_base_num": self.time_base.numerator,
            "time_base_den": self.time_base.denominator,
            "sample_aspect_num": self.sample_aspect_ratio.numerator,
            "sample_aspect_den": self.sample_aspect_ratio.denominator,
            "last_frame_duration": self.last_frame_duration,
            "color_primaries": self.color.primaries,
            "color_transfer": self.color.transfer,
            "color_matrix": self.color.matrix,
            "color_full_range": int(self.color.full_range),
            "tool": self.tool,
        }
        return write_elements(values, FILE_HEADER)

    @classmethod
    def from_bytes(cls, payload: bytes, base_offset: int) -> StreamHeader:
        """Read the payload of the file header chunk.

        Args:
            payload: Payload of the chunk.
            base_offset: Offset of the payload in the file, for error messages.

        Raises:
            BitstreamError: the major version is another one, the profile is unknown, or a value is outside its limits.
        """
        reader = ByteReader(payload, "file header", base_offset=base_offset)
        version = read_elements(reader, FILE_HEADER[:2])
        major, minor = version["version_major"], version["version_minor"]
        if major != FORMAT_VERSION[0]:
            raise reader.error(
                f"format version {major}.{minor}, this reader knows {FORMAT_VERSION[0]}.x: "
                "use the stgvcodec that wrote it",
                at=0,
            )
        values = read_elements(reader, FILE_HEADER[2:])
        if minor <= FORMAT_VERSION[1]:  # a later minor version may add elements behind these
            reader.expect_end()
        if values["profile"] not in _PROFILE_NAMES:
            raise reader.error(
                f"profile {values['profile']} is not known, expected one of {dict(PROFILES)}: use a newer stgvcodec",
                at=2,
            )
        if values["width"] * values["height"] > LIMITS["frame_pixels"]:
            raise reader.error(_pixels_fault(values["width"], values["height"]), at=3)
        for name in ("frame_rate", "time_base", "sample_aspect"):
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
            sample_aspect_ratio=Fraction(values["sample_aspect_num"], values["sample_aspect_den"]),
            last_frame_duration=values["last_frame_duration"],
            format_version=(major, minor),
        )


def _pixels_fault(width: int, height: int) -> str:
    return f"a picture has {width} x {height} pixels, expected {LIMITS['frame_pixels']} at most"
