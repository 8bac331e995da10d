"""Plan of a rate-distortion run: rates, configurations of this codec, and classical codecs beside it."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

from stgvcodec.encoder.config import EncodeConfig
from stgvcodec.errors import ConfigError
from stgvcodec.media.anchors import ANCHORS
from stgvcodec.report.rd_points import Setting


@dataclass(frozen=True)
class RdPlan:
    """Plan of what `rate_distortion` makes.

    Attributes:
        rates: Bits per pixel and frame, each above 0, no two equal.
        configs: One configuration for each curve of this codec; its bpp target is replaced by each rate.
        anchors: Classical codecs to compare with, names in `ANCHORS`.
        encode_only: Whether to stop when this codec's files are there, without decoding and measuring them.

    Raises:
        ConfigError: a value that cannot be met.
    """

    rates: tuple[float, ...]
    configs: tuple[EncodeConfig, ...]
    anchors: tuple[str, ...] = tuple(ANCHORS)
    encode_only: bool = False

    def __post_init__(self) -> None:
        """Refuse values that cannot be met."""
        if not self.rates or any(not (math.isfinite(rate) and rate > 0) for rate in self.rates):
            raise ConfigError(f"rates are {list(self.rates)}, expected bits a pixel above 0, such as 0.05,0.1,0.2,0.4")
        for what, values in (("rate", self.rates), ("anchor", self.anchors)):
            twice = sorted({value for value in values if values.count(value) > 1})
            if twice:
                raise ConfigError(f"{what} {twice[0]} was given twice, expected each once; drop one")
        for name in self.anchors:
            if name not in ANCHORS:
                raise ConfigError(f"anchor '{name}' does not exist; choose of {', '.join(ANCHORS)}, or none")
        for config in self.configs:
            # A configuration with another target, which the rate would contradict, is refused here, before any work.
            dataclasses.replace(config, bpp_target=self.rates[0])


def own_settings(config: EncodeConfig) -> dict[str, Setting]:
    """Return what tells one curve of this codec from another: the options that are given, but for the bpp target."""
    values = dataclasses.asdict(config)
    return {name: value for name, value in values.items() if value is not None and name != "bpp_target"}
