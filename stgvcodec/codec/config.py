"""What a user may ask of the encoder."""

from __future__ import annotations

import math
from dataclasses import dataclass

from stgvcodec.codec.presets import PRESETS
from stgvcodec.errors import ConfigError
from stgvcodec.fit.phases import INITIALIZATIONS

PROFILES = ("paper",)
KEY_FRAMES = ("first", "middle", "auto")
MAX_GOP = 256


@dataclass(frozen=True)
class EncodeConfig:
    """Options of `encode`. Where one is None, the preset or the rate control decides.

    Attributes:
        preset: Name in `codec.presets.PRESETS`: effort, from "draft" to "slow", or "paper".
        profile: Set of quantisers and entropy models; "paper".
        n_gaussians: Gaussians per GoP.
        gop: Most frames in a GoP.
        key_frame: Frame from which the canonical Gaussians start, and on which preset "paper" first fits them: "first",
            "middle", or "auto" (the one closest to all others).
        initialization: "content" or "random".
        scene_cut: Whether a scene cut also starts a GoP.
        bpp_target: File size to reach, bits per pixel and frame, all headers included.
        color_stages: Stages of the residual vector quantiser of the colours.
        color_codebook_size: Codewords of each stage, a power of two for the least waste.
        seed: Of everything random.

    Raises:
        ConfigError: a value that cannot be met, or two that exclude each other.
    """

    preset: str = "fast"
    profile: str = "paper"
    n_gaussians: int | None = None
    gop: int | None = None
    key_frame: str | None = None
    initialization: str | None = None
    scene_cut: bool = True
    bpp_target: float | None = None
    color_stages: int | None = None
    color_codebook_size: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot be met."""
        _one_of("preset", self.preset, tuple(PRESETS))
        _one_of("profile", self.profile, PROFILES)
        if self.key_frame is not None:
            _one_of("key frame", self.key_frame, KEY_FRAMES)
        if self.initialization is not None:
            _one_of("initialization", self.initialization, INITIALIZATIONS)
        _in_range("Gaussians", self.n_gaussians, 1, 1 << 22)
        _in_range("frames per GoP", self.gop, 1, MAX_GOP)
        _in_range("colour stages", self.color_stages, 1, 8)
        _in_range("colour codebook size", self.color_codebook_size, 1, 256)
        _in_range("seed", self.seed, 0, (1 << 63) - 1)
        if self.bpp_target is not None:
            if not (math.isfinite(self.bpp_target) and self.bpp_target > 0):
                raise ConfigError(f"bpp target is {self.bpp_target}, expected a number above 0, e.g. 0.1")
            if self.n_gaussians is not None:
                raise ConfigError(
                    "a bpp target and a number of Gaussians were both given, but the target decides the number; "
                    "drop one of them"
                )


def _one_of(what: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ConfigError(f"{what} is '{value}', expected one of {', '.join(allowed)}")


def _in_range(what: str, value: int | None, low: int, high: int) -> None:
    if value is not None and not low <= value <= high:
        raise ConfigError(f"{what}: got {value}, expected {low} to {high}")
