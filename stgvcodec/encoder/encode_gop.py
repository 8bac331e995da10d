"""`encode_gop` turns the frames of a GoP into its payload and touches nothing else; a scheduler only calls it."""

from __future__ import annotations

import dataclasses
import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from stgvcodec.decoder.gop_renderer import GopRenderer
from stgvcodec.encoder.config import EncodeConfig
from stgvcodec.encoder.model_size import field_spec
from stgvcodec.encoder.presets import PRESETS, FieldSize, Preset
from stgvcodec.encoder.profiles import PROFILES, Profile
from stgvcodec.encoder.size_control import finish, resize_to, set_target_bits
from stgvcodec.encoder.step_costs import StepCosts
from stgvcodec.errors import StgvError
from stgvcodec.fit.completion import completed
from stgvcodec.fit.initialization import initial_gaussians
from stgvcodec.fit.paths import Paths, borders, follow_paths
from stgvcodec.fit.phases import Phase, cut
from stgvcodec.fit.quantizers import check_transmittable
from stgvcodec.fit.trainer import GopTrainer, StepCallback
from stgvcodec.metrics.psnr import psnr_of_frames_db
from stgvcodec.model.deformation import DeformationField, Encoding
from stgvcodec.model.gop_model import GopModel, GopSpec
from stgvcodec.ops.threads import one_torch_thread

logger = logging.getLogger(__name__)

# A GoP that is longer than the preset's gets steps in proportion to its length to this power.
_STEPS_EXPONENT = 0.75
# Shares of the last phase before fine-tuning after which Gaussians are added, and after which their number is fitted to
# the size.
_BEFORE_DENSIFYING = (0.15, 0.3)
_BEFORE_RESIZING = 0.5
# A touch-up has this share of the last phase's steps, with this many times its learning rates. Half of the steps were
# worth 0.03 dB more, in the mean of 14 fits with `draft` and `fast`, and made the end of a fit harder to foretell.
_TOUCH_UP_STEPS, _TOUCH_UP_RATE = 0.25, 0.3
# Share of the fits with a target that end with one: 11 of 54 by profile compact.
_TOUCHED_UP = 0.2
# Key frames are chosen on thumbnails that keep one pixel in this many, in each direction.
_THUMBNAIL_STRIDE = 8


@dataclass(frozen=True)
class GopConfig:
    """All that a GoP's fit depends on besides its frames and its seed.

    Attributes:
        preset: Preset whose phases are run in order.
        n_gaussians: Canonical Gaussians to fit, as long as no size says otherwise; the preset may add some of them only
            in training.
        field: Size of the deformation field.
        key_frame: Rule for the key frame: "first", "middle" or "auto".
        initialization: Rule by which the Gaussians start: "content" or "random".
        profile: Profile with the quantisers and, where there are any, the sizes of the colours' codebooks.
        target_bytes: Size that the payload is to reach and never exceeds by more than half a per cent; None keeps all
            Gaussians.
        device: Device to fit on.
        backend: Name of the operators' back end.
        encoding: Encoding of the deformation field; others than "spatio-temporal" are for `make_trainer` and fits in
            float, since the bitstream has no place for them.
    """

    preset: Preset
    n_gaussians: int
    field: FieldSize
    key_frame: str
    initialization: str
    profile: Profile
    target_bytes: int | None
    device: torch.device
    backend: str
    encoding: Encoding = "spatio-temporal"

    @classmethod
    def planned(
        cls,
        config: EncodeConfig,
        n_gaussians: int,
        field: FieldSize,
        target_bytes: int | None,
        *,
        device: torch.device,
        backend: str,
        preset: Preset | None = None,
    ) -> GopConfig:
        """Return the configuration of a GoP from the options of its encode and the dimensions that were planned for it.

        Args:
            config: Options of the encode.
            n_gaussians: Canonical Gaussians to fit.
            field: Size of the deformation field.
            target_bytes: Size that the payload is to reach; None without a target.
            device: Device to fit on.
            backend: Name of the operators' back end.
            preset: Preset in place of that of the options.
        """
        preset = preset or PRESETS[config.preset]
        return cls(
            preset=preset,
            n_gaussians=n_gaussians,
            field=field,
            key_frame=config.key_frame or preset.key_frame,
            initialization=config.initialization or preset.initialization,
            profile=PROFILES[config.profile].with_codebooks(
                config.color_stages or preset.color_stages, config.color_codebook_size or preset.color_codebook_size
            ),
            target_bytes=target_bytes,
            device=device,
            backend=backend,
        )


@dataclass(frozen=True)
class GopStats:
    """Figures of one fitted GoP; its PSNR is that of the frames that a decoder renders from the payload.

    Attributes:
        n_gaussians: Gaussians transmitted.
        psnr_db: PSNR of each 8-bit frame; inf where it is identical to its source.
        quantizer_cost_db: Stream -> PSNR lost when its quantiser was switched on.
        n_rollbacks: Number of times that the fit diverged and was taken back to an earlier state.
        seconds: Wall-clock time of the fit.
    """

    n_gaussians: int
    psnr_db: tuple[float, ...]
    quantizer_cost_db: dict[str, float]
    n_rollbacks: int
    seconds: float


@dataclass(frozen=True)
class GopPayload:
    """Result of `encode_gop`: what goes into the file, and its figures.

    Attributes:
        bytes: The payload.
        stats: Figures of the fit.
    """

    bytes: bytes
    stats: GopStats


@dataclass(frozen=True)
class Stage:
    """A phase of a fit, and what changes the number of Gaussians before it.

    Attributes:
        phase: Phase that is run.
        n_added: Gaussians that are added before it, where the error stays.
        meets_size: Whether the number of Gaussians is fitted to the size of the payload before it, if it has a target.
    """

    phase: Phase
    n_added: int = 0
    meets_size: bool = False


# It is called with the phase, the steps done in it, the share of the GoP's work done, and the loss as a tensor that the
# device may still be computing.
FitCallback = Callable[[Phase, int, float, Tensor], None]


def encode_gop(
    frames: npt.NDArray[np.uint8],
    config: GopConfig,
    seed: int,
    on_step: FitCallback | None = None,
    known: npt.NDArray[np.bool_] | None = None,
    costs: StepCosts | None = None,
) -> GopPayload:
    """Fit, quantise and entropy-code one GoP.

    A pure function: the same frames, configuration and seed give the same bytes on the same machine's CPU, for any
    number of threads.

    Args:
        frames: RGB frames of the GoP. [T, H, W, 3] uint8.
        config: All that the fit depends on besides the frames and the seed.
        seed: Seed of everything random.
        on_step: Called after each optimiser step.
        known: Pixels that count, in the loss and in the figures; None: all. At others `frames` should be smooth, as
            `media.masks.filled` makes them; some of these count in the loss if the profile completes them. [T, H, W]
            bool.
        costs: What the parts of the fit cost, by which `on_step` is told the share of the work that is done.

    Returns:
        The payload, as `pack_gop` writes it, and its figures.

    Raises:
        StgvError: the device has not enough memory.
        ConfigError: the bitstream has no place for the field's encoding.
    """
    check_transmittable(config.encoding)
    started = time.perf_counter()
    with one_torch_thread(), memory_named(frames, config):
        trainer = make_trainer(frames, config, seed, known)
        stages = fit_stages(config, trainer.spec.n_frames, has_paths=trainer.paths is not None)
        costs = costs or StepCosts()
        work = _Work(costs, expected_fit_seconds(stages, config, costs), on_step)
        target_bytes, is_rated = config.target_bytes, config.profile.quantizers.relative_lmbda > 0
        for stage in stages:
            if stage.n_added:
                trainer.densify(stage.n_added)
                work.densified()
            if stage.meets_size and target_bytes is not None:
                (set_target_bits if is_rated else resize_to)(trainer, target_bytes)
            trainer.run(stage.phase, work.step)
        last = _touch_up(stages[-1].phase)
        # The trainer counts what was completed as known, the figures do not.
        seen = _on_device(known, config)
        # A GoP that is fitted at the same time cannot use the bytes that this one leaves.
        gop = finish(
            trainer,
            target_bytes,
            measure=lambda payload: _decoded_psnr_db(payload, trainer.frames, seen, config),
            touch_up=lambda: trainer.run(last, work.touch_up(last)),
            fills=is_rated,
        )
    stats = GopStats(
        n_gaussians=gop.n_gaussians,
        psnr_db=gop.psnr_db,
        quantizer_cost_db=dict(trainer.quantizer_cost_db),
        n_rollbacks=trainer.n_rollbacks,
        seconds=time.perf_counter() - started,
    )
    return GopPayload(gop.payload, stats)


def _decoded_psnr_db(payload: bytes, frames: Tensor, known: Tensor | None, config: GopConfig) -> tuple[float, ...]:
    """PSNR of each frame ([T, H, W, 3] uint8, on the device) that a decoder renders from a payload, dB."""
    n_frames, height, width, _ = frames.shape
    renderer = GopRenderer(payload, width=width, height=height, device=config.device, backend=config.backend)
    psnrs: list[float] = []
    for pictures in renderer.batches(range(n_frames)):
        part = slice(len(psnrs), len(psnrs) + len(pictures))
        psnrs += psnr_of_frames_db(frames[part], pictures, None if known is None else known[part])
    return tuple(psnrs)


@contextmanager
def memory_named(frames: npt.NDArray[np.uint8], config: GopConfig) -> Iterator[None]:
    """Say of a device whose memory does not do what would make do with less."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        n_frames, height, width, _ = frames.shape
        raise StgvError(
            f"{config.device} has not enough memory to fit {config.n_gaussians} Gaussians to {n_frames} frames of "
            f"{width}x{height}; try --jobs 1, fewer --gaussians, a smaller --gop, --resize or --device cpu"
        ) from error


class _Work:
    """Counts the work done over all stages of a fit, by the time that it costs."""

    def __init__(self, costs: StepCosts, expected_seconds: float, on_step: FitCallback | None) -> None:
        self._costs = costs
        self._all = expected_seconds
        self._done = costs.setup_seconds
        self._share = 0.0
        self._on_step = on_step

    def densified(self) -> None:
        """Count Gaussians that were added."""
        self._done += self._costs.densify_seconds

    def touch_up(self, phase: Phase) -> StepCallback:
        """Return what counts the steps of a touch-up, which was expected in part; the share done never falls for it."""
        self._all += (1.0 - _TOUCHED_UP) * self._costs.phase_seconds(phase)
        return self.step

    def step(self, phase: Phase, step: int, loss: Tensor) -> None:
        self._done += self._costs.step_seconds(phase) + (self._costs.begin_seconds if step == 1 else 0.0)
        self._share = max(self._share, min(1.0, self._done / self._all))
        if self._on_step is not None:
            self._on_step(phase, step, self._share, loss)


def fit_stages(config: GopConfig, n_frames: int, *, has_paths: bool) -> tuple[Stage, ...]:
    """Return the phases of a fit, with what changes the number of Gaussians between them.

    Args:
        config: Configuration whose preset and profile the phases come from.
        n_frames: Frames of the GoP. One that is longer than the preset's gets more steps, and one of a single frame
            trains on its picture alone.
        has_paths: Whether there are paths; without them the phases that train on paths are left out.
    """
    preset = config.preset
    # A longer GoP has more Gaussians too, which makes each step dearer.
    longer = max(1.0, n_frames / preset.gop) ** _STEPS_EXPONENT
    phases, finetuning = (
        tuple(
            dataclasses.replace(
                phase,
                n_steps=phase.n_steps if phase.frames == "key" else round(phase.n_steps * longer),
                # Nothing moves in a GoP of one frame: the steps of joint training go to its picture.
                frames="key" if n_frames == 1 else phase.frames,
                # What optical flow taught the field would be lost in the first steps on pictures.
                field_held=phase.field_held if has_paths else 0.0,
            )
            for phase in part
            if phase.target == "pictures" or has_paths
        )
        for part in (preset.phases, preset.finetuning)
    )
    n_added, n_pauses = _n_added(config, n_frames), len(_BEFORE_DENSIFYING)
    # Each pause has the share of the phase before it, the Gaussians to add then, and whether the size is met then.
    pauses = [
        (share, n_added * (i + 1) // n_pauses - n_added * i // n_pauses, False)
        for i, share in enumerate(_BEFORE_DENSIFYING)
        if n_added
    ]
    if config.target_bytes is not None and config.profile.quantizers.relative_lmbda > 0:
        # Gaussians that are too many for the size go while there are steps enough to make up for them.
        pauses.append((_BEFORE_RESIZING, 0, True))
    first, *others = cut(phases[-1], [share for share, _, _ in pauses])
    stages = [Stage(phase) for phase in (*phases[:-1], first)]
    stages += [Stage(part, n, meets_size) for part, (_, n, meets_size) in zip(others, pauses, strict=True)]
    finetuning = config.profile.finetuning(finetuning)
    stages += [Stage(phase, meets_size=phase is finetuning[0]) for phase in finetuning]
    return tuple(stages)


def expected_fit_seconds(stages: Sequence[Stage], config: GopConfig, costs: StepCosts) -> float:
    """Return the time to expect of a fit, by what its parts cost; a touch-up counts by how often there is one."""
    seconds = costs.fit_seconds(stage.phase for stage in stages)
    seconds += costs.densify_seconds * sum(stage.n_added > 0 for stage in stages)
    if config.target_bytes is not None:
        seconds += _TOUCHED_UP * costs.phase_seconds(_touch_up(stages[-1].phase))
    return seconds


def _n_added(config: GopConfig, n_frames: int) -> int:
    """Return how many of a fit's Gaussians are added in training; a single frame shows where it needs them."""
    return 0 if n_frames == 1 else min(round(config.preset.densified * config.n_gaussians), config.n_gaussians - 1)


def _touch_up(phase: Phase) -> Phase:
    """Return a shorter and gentler repetition of the last phase, for when a few Gaussians were added or dropped."""
    rates, n_steps = phase.rates.scaled(_TOUCH_UP_RATE), round(_TOUCH_UP_STEPS * phase.n_steps)
    return dataclasses.replace(phase, name="touch-up", n_steps=n_steps, rates=rates, field_held=0.0)


def make_trainer(
    frames: npt.NDArray[np.uint8], config: GopConfig, seed: int, known: npt.NDArray[np.bool_] | None = None
) -> GopTrainer:
    """Return the initialised trainer of a GoP, before its first phase; the arguments are those of `encode_gop`."""
    n_frames, height, width, _ = frames.shape
    n_initial = config.n_gaussians - _n_added(config, n_frames)
    field_dimensions = field_spec(
        config.field, n_frames, has_shape_head=config.profile.has_shape_head, encoding=config.encoding
    )
    spec = GopSpec(width, height, n_frames, n_initial, field_dimensions)
    rng = np.random.default_rng(seed)
    pictures, counted = torch.from_numpy(frames).to(config.device), _on_device(known, config)
    key_frame = choose_key_frame(frames, config.key_frame)
    if counted is not None and config.profile.completes:
        pictures, counted = completed(pictures, counted)
    paths = _paths(pictures, key_frame, config)
    gaussians = initial_gaussians(
        pictures[key_frame] / 255.0,
        n_initial,
        method=config.initialization,
        rng=rng,
        means_space=config.preset.means_space,
        backend=config.backend,
        beside=[] if paths is None else borders(pictures, key_frame),
    )
    field = DeformationField(spec.field, generator=torch.Generator().manual_seed(seed), device=config.device)
    return GopTrainer(
        pictures,
        GopModel(gaussians, field),
        spec,
        key_frame=key_frame,
        quantizers=dataclasses.replace(config.profile.quantizers, seed=seed),
        rng=rng,
        backend=config.backend,
        paths=paths,
        known=counted,
    )


def _on_device(known: npt.NDArray[np.bool_] | None, config: GopConfig) -> Tensor | None:
    return None if known is None else torch.from_numpy(known).to(config.device)


def _paths(pictures: Tensor, key_frame: int, config: GopConfig) -> Paths | None:
    """Follow paths for phases that train on them; None where the preset has none, or hardly anything moves."""
    n_frames, height, width, _ = pictures.shape
    if n_frames == 1 or all(phase.target == "pictures" for phase in config.preset.phases):
        return None
    paths = follow_paths(pictures, key_frame)
    return paths if paths.lead_away(key_frame, math.sqrt(width * height / config.n_gaussians)) else None


def choose_key_frame(frames: npt.NDArray[np.uint8], rule: str) -> int:
    """Return the index of the frame from which the canonical Gaussians start.

    Args:
        frames: RGB frames of the GoP. [T, H, W, 3] uint8.
        rule: "first", "middle", or "auto", the frame with the least squared error to all others on thumbnails.
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
