"""`encode_gop`: frames in, bytes out, and nothing else touched. Whatever schedules GoPs only calls this."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from stgvcodec.bitstream.gop_payload import pack_gop
from stgvcodec.bitstream.symbols import GopSymbols
from stgvcodec.codec.dimensions import field_spec
from stgvcodec.codec.gop_header import CHOLESKY_BITS, WEIGHT_BITS, header_of
from stgvcodec.codec.gop_renderer import GopRenderer
from stgvcodec.codec.presets import FieldSize, Preset
from stgvcodec.errors import StgvError
from stgvcodec.fit.initialization import initial_gaussians
from stgvcodec.fit.phases import QUANTIZED_STREAMS, Phase
from stgvcodec.fit.quantizers import QuantizerConfig
from stgvcodec.fit.trainer import GopTrainer
from stgvcodec.metrics import psnr_db
from stgvcodec.model.deformation import DeformationField
from stgvcodec.model.gop_model import GopModel, GopSpec
from stgvcodec.ops.threads import one_torch_thread

logger = logging.getLogger(__name__)

# A payload this far from its target, relatively, is resized once more after fine-tuning.
_SIZE_TOLERANCE = 0.03
# Shortest and longest side of the thumbnails on which a key frame is chosen.
_THUMBNAIL_STRIDE = 8


@dataclass(frozen=True)
class GopConfig:
    """All that a GoP's fit depends on besides its frames.

    Attributes:
        preset: Effort; its phases are run in order.
        n_gaussians: Canonical Gaussians to start with.
        field: Size of the deformation field.
        key_frame: "first", "middle" or "auto".
        initialization: "content" or "random".
        color_stages: Stages of the colours' vector quantiser.
        color_codebook_size: Codewords of each stage.
        target_bytes: Size of payload to reach by dropping or splitting Gaussians before fine-tuning; None keeps them.
        device: Where to fit.
        backend: Name of the operators.
    """

    preset: Preset
    n_gaussians: int
    field: FieldSize
    key_frame: str
    initialization: str
    color_stages: int
    color_codebook_size: int
    target_bytes: int | None
    device: torch.device
    backend: str


@dataclass(frozen=True)
class GopStats:
    """Figures of one fitted GoP, all from the decoder's path over the payload.

    Attributes:
        n_gaussians: Gaussians transmitted.
        psnr_db: PSNR of each 8-bit frame; inf where identical.
        quantizer_cost_db: Stream -> PSNR lost when its quantiser was switched on.
        n_rollbacks: How often the fit diverged and was taken back to an earlier state.
        seconds: Wall-clock time.
    """

    n_gaussians: int
    psnr_db: tuple[float, ...]
    quantizer_cost_db: dict[str, float]
    n_rollbacks: int
    seconds: float


@dataclass(frozen=True)
class GopPayload:
    """Result of `encode_gop`: what goes into the file, and its figures."""

    bytes: bytes
    stats: GopStats


# Phase, steps done in it, share of the GoP's work done, and the loss as a tensor that may still be on its way.
FitCallback = Callable[[Phase, int, float, Tensor], None]


def encode_gop(
    frames: npt.NDArray[np.uint8], config: GopConfig, seed: int, on_step: FitCallback | None = None
) -> GopPayload:
    """Fit, quantise and entropy-code one GoP.

    A pure function: the same frames, configuration and seed give the same bytes on the same machine's CPU, for any
    number of threads.

    Args:
        frames: RGB. [T, H, W, 3] uint8.
        config: How.
        seed: Of everything random.
        on_step: Called after each optimiser step.

    Returns:
        The payload, as `pack_gop` writes it, and its figures.

    Raises:
        StgvError: the device has not enough memory.
    """
    started = time.perf_counter()
    with one_torch_thread(), _memory_named(frames, config):
        trainer = make_trainer(frames, config, seed)
        phases = _phases(config.preset, trainer.spec.n_frames)
        work = _Work(phases, on_step)
        for phase in phases[: len(config.preset.phases)]:
            trainer.run(phase, work.step)
        if config.target_bytes is not None:
            _resize_to(trainer, config, config.target_bytes)
        for phase in phases[len(config.preset.phases) :]:
            trainer.run(phase, work.step)
        if config.target_bytes is not None and _resize_to(trainer, config, config.target_bytes, _SIZE_TOLERANCE):
            trainer.run(phases[-1], None)
        payload = pack_gop(_symbols(trainer, config))
        psnrs = _decoded_psnr(payload, frames, config)
    stats = GopStats(
        n_gaussians=trainer.spec.n_gaussians,
        psnr_db=psnrs,
        quantizer_cost_db=dict(trainer.quantizer_cost_db),
        n_rollbacks=trainer.n_rollbacks,
        seconds=time.perf_counter() - started,
    )
    return GopPayload(payload, stats)


@contextmanager
def _memory_named(frames: npt.NDArray[np.uint8], config: GopConfig) -> Iterator[None]:
    try:
        yield
    except torch.OutOfMemoryError as error:
        n_frames, height, width, _ = frames.shape
        raise StgvError(
            f"{config.device} has not enough memory to fit {config.n_gaussians} Gaussians to {n_frames} frames of "
            f"{width}x{height}; try --jobs 1, fewer --gaussians, a smaller --gop, --resize or --device cpu"
        ) from error


class _Work:
    """Counts steps over all phases."""

    def __init__(self, phases: tuple[Phase, ...], on_step: FitCallback | None) -> None:
        self._n_steps = sum(phase.n_steps * phase.frames_per_step for phase in phases)
        self._done = 0
        self._on_step = on_step

    def step(self, phase: Phase, step: int, loss: Tensor) -> None:
        self._done += phase.frames_per_step
        if self._on_step is not None:
            self._on_step(phase, step, self._done / self._n_steps, loss)


def _phases(preset: Preset, n_frames: int) -> tuple[Phase, ...]:
    """A preset's phases for a GoP of this length: as many steps a frame in a longer one, one frame's in a still."""
    longer = max(1.0, n_frames / preset.gop)
    return tuple(
        dataclasses.replace(
            phase,
            n_steps=phase.n_steps if phase.frames == "key" else round(phase.n_steps * longer),
            # Nothing moves in a GoP of one frame: the steps of joint training go to its picture.
            frames="key" if n_frames == 1 else phase.frames,
        )
        for phase in (*preset.phases, *preset.finetuning)
    )


def make_trainer(frames: npt.NDArray[np.uint8], config: GopConfig, seed: int) -> GopTrainer:
    """The trainer of a GoP, initialised, before its first phase; arguments as for `encode_gop`."""
    n_frames, height, width, _ = frames.shape
    spec = GopSpec(width, height, n_frames, config.n_gaussians, field_spec(config.field, n_frames))
    rng = np.random.default_rng(seed)
    pictures = torch.from_numpy(frames).to(config.device)
    key_frame = choose_key_frame(frames, config.key_frame)
    gaussians = initial_gaussians(
        pictures[key_frame] / 255.0,
        config.n_gaussians,
        method=config.initialization,
        rng=rng,
        means_space=config.preset.means_space,
        backend=config.backend,
    )
    field = DeformationField(spec.field, generator=torch.Generator().manual_seed(seed), device=config.device)
    return GopTrainer(
        pictures,
        GopModel(gaussians, field),
        spec,
        key_frame=key_frame,
        quantizers=QuantizerConfig(
            cholesky_bits=CHOLESKY_BITS,
            color_stages=config.color_stages,
            color_codebook_size=config.color_codebook_size,
            weight_bits=WEIGHT_BITS,
            seed=seed,
        ),
        rng=rng,
        backend=config.backend,
    )


def choose_key_frame(frames: npt.NDArray[np.uint8], rule: str) -> int:
    """Index of the frame from which the canonical Gaussians start.

    Args:
        frames: RGB. [T, H, W, 3] uint8.
        rule: "first", "middle", or "auto": the frame with the least squared error to all others, on thumbnails.
    """
    n_frames: int = frames.shape[0]
    if rule == "first":
        return 0
    if rule == "middle":
        return n_frames // 2
    assert rule == "auto"
    thumbnails = frames[:, ::_THUMBNAIL_STRIDE, ::_THUMBNAIL_STRIDE].reshape(n_frames, -1).astype(np.float64)
    # Over all frames the sum of squared errors to x_k is least where x_k is nearest to their mean.
    distances = np.square(thumbnails - thumbnails.mean(axis=0)).sum(axis=1)
    return int(distances.argmin())


def _symbols(trainer: GopTrainer, config: GopConfig) -> GopSymbols:
    """Integers to transmit. Streams whose quantiser is not yet in use get one fitted to their present values."""
    with torch.no_grad():
        values, quantizers = trainer.model.values(), trainer.quantizers
        for stream in QUANTIZED_STREAMS:
            if stream not in trainer.quantizer_cost_db:
                quantizers.initialize(stream, values)
        header = header_of(
            trainer.spec, color_stages=config.color_stages, color_codebook_size=config.color_codebook_size
        )
        cholesky = quantizers.cholesky.side()
        static_table, dynamic_table, *mlp = quantizers.field.symbols(values.field)
        return GopSymbols(
            header=header,
            means=quantizers.means.symbols(values.means),
            cholesky=quantizers.cholesky.symbols(values.cholesky),
            cholesky_scale=cholesky["scale"],
            cholesky_offset=cholesky["offset"],
            color_indices=quantizers.colors.symbols(values.colors),
            codebooks=quantizers.colors.side()["codebooks"],
            static_table=static_table.codes,
            static_scales=static_table.scales,
            dynamic_table=dynamic_table.codes,
            dynamic_scales=dynamic_table.scales,
            mlp=tuple(tensor.codes for tensor in mlp),
            mlp_scales=np.concatenate([tensor.scales for tensor in mlp]),
        )


def _resize_to(trainer: GopTrainer, config: GopConfig, target_bytes: int, tolerance: float = 0.0) -> bool:
    """Drop or split Gaussians so that the payload, as quantised now, meets its target; returns whether any changed."""
    symbols = _symbols(trainer, config)
    n_bytes = len(pack_gop(symbols))
    if abs(n_bytes - target_bytes) <= tolerance * target_bytes:
        return False
    n = trainer.spec.n_gaussians
    # What a Gaussian costs, from what the payload loses without half of them.
    half = (n + 1) // 2
    bytes_per_gaussian = (n_bytes - len(pack_gop(_first_gaussians(symbols, half)))) / max(n - half, 1)
    wanted = n + round((target_bytes - n_bytes) / max(bytes_per_gaussian, 1.0))
    wanted = min(max(wanted, 1), 2 * n)
    logger.info("payload %d bytes, target %d: %d Gaussians become %d", n_bytes, target_bytes, n, wanted)
    trainer.resize(wanted)
    return bool(wanted != n)


def _first_gaussians(symbols: GopSymbols, n: int) -> GopSymbols:
    return dataclasses.replace(
        symbols,
        header=dataclasses.replace(symbols.header, n_gaussians=n),
        means=symbols.means[:n],
        cholesky=symbols.cholesky[:n],
        color_indices=symbols.color_indices[:n],
    )


def _decoded_psnr(payload: bytes, frames: npt.NDArray[np.uint8], config: GopConfig) -> tuple[float, ...]:
    n_frames, height, width, _ = frames.shape
    renderer = GopRenderer(payload, width=width, height=height, device=config.device, backend=config.backend)
    decoded = renderer.frames(range(n_frames))
    return tuple(psnr_db(source, frame.cpu().numpy()) for source, frame in zip(frames, decoded, strict=True))
