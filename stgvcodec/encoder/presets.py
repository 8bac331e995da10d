"""Presets say how much effort a fit takes. They are data; nothing here computes."""

from __future__ import annotations

from dataclasses import dataclass

from stgvcodec.fit.phases import LearningRates, Phase, finetuning_phases
from stgvcodec.model.spaces import MeansSpace


@dataclass(frozen=True)
class FieldSize:
    """Dimensions of a deformation field that do not depend on the GoP.

    Attributes:
        n_levels: Resolution levels of both encodings.
        log2_hashmap_size: Entries per level of both encodings, as a power of two.
        static_features: Features per level of the 2D encoding.
        dynamic_features: Features per level of the 3D encoding.
        base_resolution: Cells per axis of the coarsest level.
        per_level_scale: Ratio of successive resolutions.
        mlp_width: Width of both hidden layers.
        full_temporal_resolution: Whether time is divided as finely as space, as in the paper; else it is never divided
            more finely than the frames, so that the times between frames are trained too.
    """

    n_levels: int
    log2_hashmap_size: int
    static_features: int
    dynamic_features: int
    base_resolution: int
    per_level_scale: float
    mlp_width: int
    full_temporal_resolution: bool = False


PAPER_FIELD = FieldSize(8, 10, 2, 4, 16, 1.5, 128, full_temporal_resolution=True)

# The largest comes first: rate control and presets take the first that fits. The comments count the parameters for a
# GoP of 10 frames.
FIELD_SIZES = (
    FieldSize(8, 14, 2, 4, 16, 1.5, 64),  # 482 K
    FieldSize(8, 13, 2, 4, 16, 1.5, 64),  # 277 K
    FieldSize(8, 12, 2, 4, 16, 1.5, 64),  # 160 K
    FieldSize(8, 11, 2, 4, 16, 1.5, 64),  # 93 K
    FieldSize(8, 10, 2, 4, 16, 1.5, 64),  # 54 K
    FieldSize(8, 9, 2, 4, 12, 1.5, 64),  # 31 K
    FieldSize(6, 8, 2, 4, 8, 1.6, 48),  # 14 K
    FieldSize(5, 7, 2, 4, 6, 1.7, 32),  # 6 K
    FieldSize(4, 6, 2, 2, 4, 1.8, 16),  # 2 K
    FieldSize(3, 4, 1, 2, 3, 1.8, 8),  # 0.4 K
)


@dataclass(frozen=True)
class Preset:
    """Everything that a fit needs beyond the video.

    Attributes:
        name: Name by which the user chooses it.
        gop: Most frames in a GoP.
        phases: Phases before fine-tuning.
        finetuning: Phases that train through the quantisers.
        quality_db: PSNR at equal bits less that of preset "medium", dB; the first plan for a quality starts from it.
        densified: Share of the Gaussians that the last phase before fine-tuning adds where the error stays; the others
            are there from the beginning.
        key_frame: Rule for the key frame: "first", "middle" or "auto".
        initialization: Rule by which the Gaussians start: "content" or "random".
        means_space: Training space of the means.
        field: Fixed size of the deformation field; None scales it with the pixels.
        color_stages: Stages of the colours' vector quantiser.
        color_codebook_size: Codewords of each stage.
    """

    name: str
    gop: int
    phases: tuple[Phase, ...]
    finetuning: tuple[Phase, ...]
    quality_db: float = 0.0
    densified: float = 0.0
    key_frame: str = "middle"
    initialization: str = "content"
    means_space: MeansSpace = "pixels"
    field: FieldSize | None = None
    color_stages: int = 3
    color_codebook_size: int = 32


FINE_RATES = LearningRates(means=0.03, cholesky=0.02, colors=2e-3, hash_tables=2e-3, mlp=4e-4, shape_head=1e-4)
# The paper gives one rate for the Gaussians (through tanh), and one for hash tables and MLP, which falls to a tenth.
# That the Gaussians' falls alike is what its figures ask for (docs/decisions/0025). Fine-tuning goes on from there.
_PAPER_RATES = LearningRates(means=7e-3, cholesky=7e-3, colors=7e-3, hash_tables=1.6e-4, mlp=1.6e-4)
_PAPER_FINE_RATES = LearningRates(means=7e-4, cholesky=7e-4, colors=7e-4, hash_tables=1.6e-5, mlp=1.6e-5)


# This rate was chosen on pans of blackswan and bmx-trees: it ends so low that the whole picture's motion is exact to a
# pixel.
_MOTION_RATES = LearningRates(mlp=6e-3)


# Where the field starts on paths, it is held for this share of the joint training.
_FIELD_HELD = 0.07
_DENSIFIED = 0.3


def _effort(
    name: str,
    *,
    motion: int,
    joint: int,
    final_rate: float,
    finetuning: int,
    quality_db: float,
    frames_per_step: int = 1,
) -> Preset:
    return Preset(
        name=name,
        gop=10,
        # No phase trains on the key frame alone: with colours solved at the start it costs more steps than it saves.
        phases=(
            Phase(
                "motion",
                frames="all",
                n_steps=motion,
                rates=_MOTION_RATES,
                final_rate=0.03,
                frames_per_step=4,
                target="paths",
            ),
            Phase(
                "joint",
                frames="all",
                n_steps=joint,
                final_rate=final_rate,
                frames_per_step=frames_per_step,
                field_held=_FIELD_HELD,
            ),
        ),
        finetuning=finetuning_phases(finetuning, FINE_RATES),
        quality_db=quality_db,
        densified=_DENSIFIED,
    )


PRESETS = {
    preset.name: preset
    for preset in (
        _effort("draft", motion=150, joint=300, final_rate=0.3, finetuning=60, quality_db=-2.8),
        _effort("fast", motion=150, joint=1000, final_rate=0.2, finetuning=200, quality_db=-1.2),
        _effort("medium", motion=300, joint=3100, final_rate=0.1, finetuning=500, quality_db=0.0),
        _effort("slow", motion=300, joint=6600, final_rate=0.05, finetuning=1000, quality_db=0.4),
        # In the end what holds a longer fit up is that each step sees one frame only.
        _effort(
            "veryslow",
            motion=300,
            joint=10_000,
            final_rate=0.05,
            finetuning=1500,
            quality_db=0.8,
            frames_per_step=2,
        ),
        Preset(
            name="paper",
            gop=10,
            phases=(
                Phase("key-frame", frames="key", n_steps=10_000, rates=_PAPER_RATES),
                Phase("joint", frames="all", n_steps=60_000, rates=_PAPER_RATES),
            ),
            finetuning=finetuning_phases(10_000, _PAPER_FINE_RATES),
            key_frame="first",
            initialization="random",
            means_space="tanh",
            field=PAPER_FIELD,
            color_stages=2,
            color_codebook_size=8,
        ),
    )
}
