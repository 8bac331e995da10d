"""Profiles: which quantisers a file's numbers go through, and how a fit gets used to them."""

from __future__ import annotations

from dataclasses import dataclass, replace

from stgvcodec.fit.phases import Phase, one_finetuning_phase
from stgvcodec.fit.quantizers import QuantizerConfig


@dataclass(frozen=True)
class Profile:
    """One way to make numbers of a model.

    Attributes:
        name: As the user gives it; `bitstream.header.PROFILES` has its id.
        quantizers: Kinds and sizes; the stages of a codebook come from the preset.
        at_once: Whether fine-tuning has all quantisers on from its first step, with rates of its own, or one after the
            other with the preset's.
    """

    name: str
    quantizers: QuantizerConfig
    at_once: bool

    def with_codebooks(self, n_stages: int, size: int) -> Profile:
        """The same with stages of codewords for the colours, where it has such."""
        return replace(self, quantizers=replace(self.quantizers, color_stages=n_stages, color_codebook_size=size))

    def finetuning(self, phases: tuple[Phase, ...]) -> tuple[Phase, ...]:
        """A preset's phases of fine-tuning, as this profile has them."""
        return (one_finetuning_phase(phases),) if self.at_once and phases else phases


_PAPER = QuantizerConfig()

PROFILES = {
    profile.name: profile
    for profile in (
        Profile(
            "compact",
            replace(
                _PAPER, points="grid", shapes="log-shear", colors="ycocg", initial_weight_bits=6, relative_lmbda=1.0
            ),
            at_once=True,
        ),
        Profile("paper", _PAPER, at_once=False),
    )
}
"""By name; the first is the default."""
