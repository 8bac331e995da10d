from __future__ import annotations

import functools
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from clips import moving_clip
from fields import SMALL_FIELD
from tensors import CPU

from stgvcodec.fit import phase_run
from stgvcodec.fit.initialization import initial_gaussians
from stgvcodec.fit.quantizers import QuantizerConfig
from stgvcodec.fit.trainer import GopTrainer
from stgvcodec.model.deformation import DeformationField
from stgvcodec.model.gop_model import GopModel, GopSpec
from stgvcodec.ops.threads import one_torch_thread


@pytest.fixture(autouse=True)
def _one_torch_thread() -> Iterator[None]:
    """`encode_gop` trains on one thread too."""
    with one_torch_thread():
        yield


@pytest.fixture
def wrap_splat_loss(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[..., object]], None]:
    """Puts a function in the place of the loss of a fit's steps; it gets the loss itself and its arguments."""
    splat_loss = phase_run.splat_loss

    def wrap(wrapper: Callable[..., object]) -> None:
        monkeypatch.setattr(phase_run, "splat_loss", functools.partial(wrapper, splat_loss))

    return wrap


@pytest.fixture
def make_trainer() -> Callable[..., GopTrainer]:
    """Trainers of a small clip; two made alike are alike bit for bit."""

    def make(
        n_frames: int = 4,
        n_gaussians: int = 60,
        *,
        seed: int = 0,
        key_frame: int = 0,
        method: str = "content",
        means_space: str = "pixels",
        frames: np.ndarray | None = None,
        backend: str = "auto",
        device: torch.device = CPU,
        config: QuantizerConfig | None = None,
    ) -> GopTrainer:
        frames = moving_clip(n_frames) if frames is None else frames
        pictures = torch.from_numpy(frames).to(device)
        rng = np.random.default_rng(seed)
        gaussians = initial_gaussians(
            pictures[key_frame] / 255.0, n_gaussians, method=method, rng=rng, means_space=means_space, backend=backend
        )
        field = DeformationField(SMALL_FIELD, generator=torch.Generator().manual_seed(seed), device=device)
        spec = GopSpec(pictures.shape[2], pictures.shape[1], pictures.shape[0], n_gaussians, SMALL_FIELD)
        quantizers = config or QuantizerConfig(
            cholesky_bits=8, color_stages=2, color_codebook_size=8, weight_bits=8, seed=seed
        )
        return GopTrainer(
            pictures,
            GopModel(gaussians, field),
            spec,
            key_frame=key_frame,
            quantizers=quantizers,
            rng=rng,
            backend=backend,
        )

    return make
