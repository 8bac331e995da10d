"""Profiles say what a field changes, which quantisers parameters go through, and how fine-tuning switches them on."""

from __future__ import annotations

from dataclasses import dataclass, replace

from stgvcodec.fit.phases import Phase, one_finetuning_phase
from stgvcodec.fit.quantizers import QuantizerConfig


@dataclass(frozen=True)
class Profile:
    """One kind of model, and one way to turn its parameters into symbols.

    Attributes:
        name: Name by which the user chooses it; `bitstream.syntax.versions.PROFILES` has its id.
        quantizers: Kinds and sizes of the quantisers; the sizes of codebooks come from the preset.
        at_once: Whether fine-tuning has all quantisers on from its first step, with learning rates of its own, or
            switches them on one after the other, with the preset's.
        has_shape_head: Whether the deformation field changes the shapes of the Gaussians, which the paper's does not.
        completes: Whether masked pixels are trained on too, with what `fit.completion` puts there.
    """

    name: str
    quantizers: QuantizerConfig
    at_once: bool
    has_shape_head: bool
    completes: bool

    def with_codebooks(self, n_stages: int, size: int) -> Profile:
        """Return the profile with these sizes of codebooks for the colours, if it has codebooks."""
        return replace(self, quantizers=replace(self.quantizers, color_stages=n_stages, color_codebook_size=size))

    def finetuning(self, phases: tuple[Phase, ...]) -> tuple[Phase, ...]:
        """Return a preset's phases of fine-tuning as this profile runs them."""
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
            has_shape_head=True,
            completes=True,
        ),
        Profile("paper", _PAPER, at_once=False, has_shape_head=False, completes=False),
    )
}
"""Profiles by their name; the first is the default."""
