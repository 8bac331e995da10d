"""The fit of one GoP by a recipe, and its figures."""

from __future__ import annotations

import statistics
import time
from typing import NamedTuple

import numpy as np
import torch
from pytorch_msssim import ms_ssim
from torch import Tensor

from benchmarks.paper.corruption import Source, filtered, to_fit
from benchmarks.paper.interpolation import interpolated
from benchmarks.paper.recipes import PARAMETERS_OF_A_GAUSSIAN, Recipe, config_of
from stgvcodec.encoder.encode_gop import fit_stages, make_trainer
from stgvcodec.fit.trainer import GopTrainer, mse_to_psnr_db
from stgvcodec.metrics.ms_ssim import MIN_SHORT_SIDE
from stgvcodec.model.gop_model import frame_time, gop_static_features, render
from stgvcodec.ops.rasterize import to_uint8

_SPEED_REPEATS = 5


class Figures(NamedTuple):
    """What a row of the results has, for one GoP.

    Attributes:
        steps: Steps of the fit, of all fits where each frame has one.
        n_gaussians: Gaussians of the GoP.
        n_parameters: Parameters that are fitted, as the paper counts them.
        psnr_db: Mean over frames of the RGB PSNR of float pictures, dB.
        hidden_psnr_db: PSNR over the pixels that were masked; None if none was.
        ms_ssim: Mean over frames of the MS-SSIM of 8-bit pictures; None if they are too small for it, or of no fit.
        seconds: Wall-clock time of the fit; None if others were fitted at the same time.
        decode_fps: Frames rendered to 8 bits a second, from parameters on the device; None likewise, or of no fit.
    """

    steps: int
    n_gaussians: int
    n_parameters: int
    psnr_db: float
    hidden_psnr_db: float | None
    ms_ssim: float | None
    seconds: float | None
    decode_fps: float | None


def measure(
    recipe: Recipe,
    source: Source,
    gop: range,
    n_gaussians: int,
    device: torch.device,
    backend: str,
    seed: int,
    *,
    tiny: bool,
) -> tuple[Figures, Tensor]:
    """Fit the frames `gop` of a clip, and compare the result with what they were before any corruption.

    Smaller pictures are fitted with fewer Gaussians, as many for each pixel.

    Returns:
        The figures, and the pictures in float. [T, H, W, 3].
    """
    truth, seen, known, is_halved = source.part(gop)
    if recipe.filter:
        pictures = torch.from_numpy(filtered(seen, recipe.filter)) / 255.0
        return _figures(truth, pictures, known, [], 0.0, None), pictures
    frames = to_fit(seen, known)
    n_frames, height, width, _ = frames.shape
    size = (truth.shape[2], truth.shape[1])
    n_gaussians = round(n_gaussians * width * height / (size[0] * size[1]))
    length = 1 if recipe.is_per_frame else n_frames
    trainers: list[GopTrainer] = []
    steps = 0
    begin = time.perf_counter()
    for first in range(0, n_frames, length):
        config = config_of(recipe, (width, height), length, n_gaussians, device, backend, tiny=tiny)
        own = slice(first, first + length)
        trainer = make_trainer(frames[own], config, seed, None if known is None else known[own])
        for stage in fit_stages(config, length, has_paths=trainer.paths is not None):
            if stage.n_added:
                trainer.densify(stage.n_added)
            trainer.run(stage.phase)
            steps += stage.phase.n_steps
        trainers.append(trainer)
    wait_for(device)
    seconds = time.perf_counter() - begin
    with torch.no_grad():
        drawn = [
            interpolated(
                trainer.model.gop_parameters(),
                trainer.spec,
                recipe.interpolation,
                size,
                is_halved=is_halved,
                backend=backend,
            )
            for trainer in trainers
        ]
    pictures = torch.cat(drawn)
    figures = _figures(truth, pictures, known, trainers, seconds, decode_fps(trainers, device, backend))
    return figures._replace(steps=steps), pictures


def decode_fps(trainers: list[GopTrainer], device: torch.device, backend: str) -> float:
    """Frames a second from parameters to 8-bit pictures on the device; the median of some runs after one that warms."""
    seconds = []
    with torch.no_grad():
        ready = []
        for trainer in trainers:
            parameters = trainer.model.gop_parameters()
            static = gop_static_features(parameters, trainer.spec, backend=backend)
            ready.append((parameters, trainer.spec, static))
        for _ in range(1 + _SPEED_REPEATS):
            begin = time.perf_counter()
            for parameters, spec, static in ready:
                times = [frame_time(k, spec.n_frames) for k in range(spec.n_frames)]
                to_uint8(render(parameters, spec, times, backend=backend, static=static))
            wait_for(device)
            seconds.append(time.perf_counter() - begin)
    return sum(trainer.spec.n_frames for trainer in trainers) / statistics.median(seconds[1:])


def wait_for(device: torch.device) -> None:
    """Wait for this thread's stream alone: others may be capturing graphs, which waiting for the device would break."""
    if device.type == "cuda":
        torch.cuda.current_stream(device).synchronize()


def n_parameters(trainer: GopTrainer) -> int:
    """Parameters of a GoP: the Gaussians', and the field's, which a GoP of one frame has not."""
    spec = trainer.spec
    return PARAMETERS_OF_A_GAUSSIAN * spec.n_gaussians + (spec.field.n_parameters if spec.n_frames > 1 else 0)


def _figures(
    truth: np.ndarray,
    pictures: Tensor,
    known: np.ndarray | None,
    trainers: list[GopTrainer],
    seconds: float,
    fps: float | None,
) -> Figures:
    """Compare pictures with the truth on their device; those that no fit made are not measured by MS-SSIM."""
    device = pictures.device
    truths = torch.from_numpy(truth).to(device)
    squares = (pictures.double() - truths / 255.0).square()  # [T, H, W, 3]
    hidden = None if known is None else mse_to_psnr_db(float(squares[torch.from_numpy(~known).to(device)].mean()))
    is_large = min(truth.shape[1:3]) >= MIN_SHORT_SIDE
    similarities = [similarity(*pair) for pair in zip(truths, pictures, strict=True)] if trainers and is_large else []
    return Figures(
        steps=0,
        n_gaussians=sum(trainer.spec.n_gaussians for trainer in trainers),
        n_parameters=sum(map(n_parameters, trainers)),
        psnr_db=statistics.fmean(mse_to_psnr_db(float(square.mean())) for square in squares),
        hidden_psnr_db=hidden,
        ms_ssim=statistics.fmean(similarities) if similarities else None,
        seconds=seconds,
        decode_fps=fps,
    )


def similarity(truth: Tensor, picture: Tensor) -> float:
    """MS-SSIM of a float picture [H, W, 3], rounded to 8 bits, and its source [H, W, 3] uint8."""
    planes = [image.permute(2, 0, 1)[None].float() for image in (truth, to_uint8(picture.clone()))]
    return float(ms_ssim(*planes, data_range=255.0, size_average=True))
