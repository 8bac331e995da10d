"""Fits of one small GoP for tests: a preset, configurations by profile, and trainers after their last step."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from clips import noisy_clip

from stgvcodec.bitstream.payload.morton_order import morton_codes
from stgvcodec.bitstream.payload.symbols import GopSymbols
from stgvcodec.decoder.gop_renderer import GopRenderer
from stgvcodec.encoder import encode_gop as gop_encoder
from stgvcodec.encoder.encode_gop import GopConfig, GopPayload, encode_gop
from stgvcodec.encoder.presets import FIELD_SIZES, Preset
from stgvcodec.encoder.profiles import PROFILES
from stgvcodec.fit.phases import LearningRates, Phase, finetuning_phases
from stgvcodec.fit.quantizers import QuantizerConfig
from stgvcodec.fit.trainer import GopTrainer

CPU = torch.device("cpu")
WIDTH, HEIGHT = 48, 32

FINE_RATES = LearningRates(means=0.03, cholesky=0.02, colors=2e-3, hash_tables=2e-3, mlp=4e-4)
COMPACT = QuantizerConfig(points="grid", shapes="log-shear", colors="ycocg", initial_weight_bits=6, relative_lmbda=1.0)

# Enough steps to go through every phase, and no more.
TINY = Preset(
    name="tiny",
    gop=4,
    phases=(Phase("key-frame", frames="key", n_steps=8), Phase("joint", frames="all", n_steps=6)),
    finetuning=finetuning_phases(8, FINE_RATES),
    color_stages=2,
    color_codebook_size=8,
)


def gop_config(name: str, **values: object) -> GopConfig:
    """A configuration of a profile, with the tiny preset and the smallest field."""
    defaults: dict[str, object] = {
        "preset": TINY,
        "n_gaussians": 60,
        "field": FIELD_SIZES[-1],
        "key_frame": "middle",
        "initialization": "content",
        "profile": PROFILES[name].with_codebooks(2, 8),
        "target_bytes": None,
        "device": CPU,
        "backend": "numba",
    }
    return GopConfig(**{**defaults, **values})  # type: ignore[arg-type]


def fitted(
    monkeypatch: pytest.MonkeyPatch, frames: np.ndarray, config: GopConfig, seed: int = 0
) -> tuple[GopTrainer, GopPayload]:
    """What `encode_gop` returns, with the trainer it used."""
    trainers: list[GopTrainer] = []
    make: Callable[..., GopTrainer] = gop_encoder.make_trainer

    def remembered(*arguments: object) -> GopTrainer:
        trainers.append(make(*arguments))
        return trainers[-1]

    with monkeypatch.context() as patch:
        patch.setattr(gop_encoder, "make_trainer", remembered)
        payload = encode_gop(frames, config, seed)
    return trainers[0], payload


def trained(config: GopConfig, n_frames: int = 3, *, finetuned: bool = True) -> GopTrainer:
    """A trainer at the end of a fit without a target, or before its quantisers are in use."""
    trainer = gop_encoder.make_trainer(noisy_clip(n_frames), config, 0)
    finetuning = config.profile.finetuning(config.preset.finetuning) if finetuned else ()
    for phase in (*config.preset.phases, *finetuning):
        trainer.run(phase)
    return trainer


def renderer(payload: bytes, config: GopConfig, *, width: int = WIDTH, height: int = HEIGHT) -> GopRenderer:
    """The decoder of a payload of this configuration."""
    return GopRenderer(payload, width=width, height=height, device=config.device, backend=config.backend)


def stored_order(symbols: GopSymbols) -> np.ndarray:
    """Places of the Gaussians of a payload among the symbols that it was packed from. [N] int64."""
    return np.argsort(morton_codes(symbols.points), kind="stable")
