"""`EncodeConfig`: what a user may ask of the encoder."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from fractions import Fraction

from stgvcodec.encoder.presets import PRESETS
from stgvcodec.errors import ConfigError
from stgvcodec.fit.phases import INITIALIZATIONS

PROFILES = ("compact", "paper")
KEY_FRAMES = ("first", "middle", "auto")
MAX_GOP = 256

_SIZE = re.compile(r"(\d+(?:\.\d+)?)([kKmMgG]?)[bB]?")
_SIZE_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9}


@dataclass(frozen=True)
class EncodeConfig:
    """Options of `encode`. Where one is None, the preset or the rate control decides.

    Attributes:
        preset: Effort of the fit, a name in `encoder.presets.PRESETS`: from "draft" to "veryslow", or "paper".
        profile: Quantisers and entropy models, a name in `PROFILES`; by default "compact", and "paper" for the preset
            of that name.
        n_gaussians: Gaussians per GoP.
        gop: Most frames in a GoP.
        key_frame: Frame from which the canonical Gaussians start, and on which preset "paper" first fits them: "first",
            "middle", or "auto" (the one closest to all others).
        initialization: Rule by which the Gaussians start: "content" or "random".
        scene_cut: Whether a scene cut also starts a GoP.
        bpp_target: Size of the pictures to reach, bits per pixel and frame, all headers included.
        size_target: File size to reach, bytes, all headers, sound, subtitles and metadata included.
        psnr_target: Mean over frames of the RGB PSNR to reach, dB, as `compare` measures it.
        color_stages: Stages of the residual vector quantiser of the colours.
        color_codebook_size: Codewords of each stage, a power of two for the least waste.
        seed: Seed of everything random.

    Raises:
        ConfigError: a value that cannot be met, or two that exclude each other.

    Examples:
        >>> from stgvcodec import EncodeConfig
        >>> EncodeConfig(preset="fast", size_target=500_000).profile
        'compact'
    """

    preset: str = "medium"
    profile: str = ""
    n_gaussians: int | None = None
    gop: int | None = None
    key_frame: str | None = None
    initialization: str | None = None
    scene_cut: bool = True
    bpp_target: float | None = None
    size_target: int | None = None
    psnr_target: float | None = None
    color_stages: int | None = None
    color_codebook_size: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse values that cannot be met."""
        _one_of("preset", self.preset, tuple(PRESETS))
        if not self.profile:
            object.__setattr__(self, "profile", "paper" if self.preset == "paper" else PROFILES[0])
        _one_of("profile", self.profile, PROFILES)
        if self.key_frame is not None:
            _one_of("key frame", self.key_frame, KEY_FRAMES)
        if self.initialization is not None:
            _one_of("initialization", self.initialization, INITIALIZATIONS)
        _in_range("Gaussians", self.n_gaussians, 1, 1 << 22)
        _in_range("frames per GoP", self.gop, 1, MAX_GOP)
        _in_range("colour stages", self.color_stages, 1, 8)
        _in_range("colour codebook size", self.color_codebook_size, 1, 256)
        if self.profile != "paper" and (self.color_stages, self.color_codebook_size) != (None, None):
            raise ConfigError(
                f"profile {self.profile} has no codebooks for colours, but stages or a size of them were given; drop "
                "them or use profile paper"
            )
        _in_range("seed", self.seed, 0, (1 << 63) - 1)
        _positive("bpp target", self.bpp_target, "e.g. 0.1")
        _in_range("size target, bytes", self.size_target, 1, 1 << 62)
        _positive("PSNR target", self.psnr_target, "decibels, e.g. 32")
        self._check_one_target()

    @property
    def has_target(self) -> bool:
        """Whether a size, a rate or a quality is to be reached.

        Examples:
            >>> EncodeConfig(psnr_target=32.0).has_target, EncodeConfig().has_target
            (True, False)
        """
        return any(target is not None for target in (self.bpp_target, self.size_target, self.psnr_target))

    def _check_one_target(self) -> None:
        wishes = {
            "a bpp target": self.bpp_target,
            "a size target": self.size_target,
            "a PSNR target": self.psnr_target,
            "a number of Gaussians": self.n_gaussians,
        }
        given = [name for name, value in wishes.items() if value is not None]
        if len(given) > 1:
            rest = "one" if len(given) == 2 else "all but one"
            raise ConfigError(
                f"{' and '.join(given)} were given together, but each decides how large the file becomes; "
                f"drop {rest} of them"
            )


def parse_bytes(text: str) -> int:
    """Parse a number of bytes as a user types it: `500000`, `500k` (10^3 bytes), `1.5M` (10^6), `2G` (10^9).

    Raises:
        ConfigError: the text has another form.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ConfigError(
            f"size '{text}': expected a number of bytes, or thousands, millions or billions of them with k, M or G, "
            "such as 500k or 1.5M"
        )
    return math.floor(Fraction(match[1]) * _SIZE_UNITS[match[2].lower()])


def _positive(what: str, value: float | None, example: str) -> None:
    if value is not None and not (math.isfinite(value) and value > 0):
        raise ConfigError(f"{what} is {value}, expected a number above 0, {example}")


def _one_of(what: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ConfigError(f"{what} is '{value}', expected one of {', '.join(allowed)}")


def _in_range(what: str, value: int | None, low: int, high: int) -> None:
    if value is not None and not low <= value <= high:
        raise ConfigError(f"{what}: got {value}, expected {low} to {high}")
