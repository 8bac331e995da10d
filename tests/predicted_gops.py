"""Files with predicted GoPs for tests, of random symbols, and what their frames are by the definition."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from set_gops import random_set
from torch import Tensor

from stgvcodec.bitstream import ColorDescription, StgvWriter, StreamHeader
from stgvcodec.bitstream.gop_predicted.payload import pack_predicted_gop
from stgvcodec.bitstream.gop_predicted.symbols import PredictedGopSymbols
from stgvcodec.bitstream.payload.pack import pack_gop_set, unpack_gop_set
from stgvcodec.bitstream.payload.symbols import GopSetSymbols
from stgvcodec.codec.gop_header import spec_of
from stgvcodec.codec.gop_staging import gop_times
from stgvcodec.decoder.gop_renderer import values_of
from stgvcodec.ops.deform import deform
from stgvcodec.ops.field_mlp import FieldWeights
from stgvcodec.ops.rasterize import rasterize, to_uint8

WIDTH, HEIGHT = 48, 32
PTS_STEP = 40

AnyGop = GopSetSymbols | PredictedGopSymbols


def random_prediction(*, n_frames: int, n_gaussians: int = 61, low_pass: float = 0.0, seed: int) -> PredictedGopSymbols:
    """Gaussians that move by a pixel or two and change by a fifth, and a field of its own."""
    field = random_set((1, 1, 1), n_gaussians=n_gaussians, n_frames=n_frames, low_pass=low_pass, seed=seed)
    rng = np.random.default_rng(seed)
    residuals = rng.integers(-5, 6, (n_gaussians, 8))
    # As thin and as long as there are.
    residuals[0] = [0, 0, -128, 127, 0, 0, 0, 0]
    residuals[-1] = [0, 0, 127, -128, 5, 0, 0, 0]
    return PredictedGopSymbols(
        header=field.header,
        residuals=residuals.astype(np.int8),
        static_table=field.static_table,
        dynamic_table=field.dynamic_table,
        mlp=field.mlp,
        point_scale=np.array([1 / 100, 1 / 80], np.float32),
        shape_scale=np.array([0.05, 0.04, 0.03], np.float32),
        color_scale=np.array([0.01, 0.02, 0.015], np.float32),
        static_scales=field.static_scales,
        dynamic_scales=field.dynamic_scales,
        mlp_scales=field.mlp_scales,
    )


def chain_gops() -> list[AnyGop]:
    """Key, predicted, predicted; then, of other Gaussians and modes, key, predicted."""
    other = {"n_gaussians": 40, "low_pass": 0.25}
    return [
        random_set((1, 1, 1), n_frames=3, seed=1),
        random_prediction(n_frames=2, seed=2),
        random_prediction(n_frames=1, low_pass=0.125, seed=3),
        random_set((0, 0, 0), n_frames=2, seed=4, **other),
        random_prediction(n_frames=3, seed=5, **other),
    ]


def payload_of(gop: AnyGop) -> bytes:
    return pack_gop_set(gop) if isinstance(gop, GopSetSymbols) else pack_predicted_gop(gop)


def write_gops(path: Path, gops: Sequence[AnyGop]) -> Path:
    """A file of profile compact, 25 frames a second."""
    header = StreamHeader(
        width=WIDTH,
        height=HEIGHT,
        frame_rate=Fraction(25),
        time_base=Fraction(1, 1000),
        color=ColorDescription(primaries=1, transfer=13, matrix=0, full_range=True),
        profile="compact",
        tool="test",
    )
    with path.open("wb") as file:
        writer = StgvWriter(file, header)
        start = 0
        for gop in gops:
            end = start + PTS_STEP * gop.header.n_frames
            predicted = isinstance(gop, PredictedGopSymbols)
            writer.add_gop(payload_of(gop), range(start, end, PTS_STEP), predicted=predicted)
            start = end
        writer.finish()
    return path


def composed(gops: Sequence[AnyGop]) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Centres and factors in pixels and colours of every frame of a file, by the definition, in float64."""
    frames: list[tuple[Tensor, Tensor, Tensor]] = []
    means = raw = colors = torch.empty(0)
    for gop in gops:
        spec = spec_of(gop.header, WIDTH, HEIGHT)
        if isinstance(gop, GopSetSymbols):
            stored = unpack_gop_set(pack_gop_set(gop))  # In the order in which Gaussians are stored.
            means, raw, colors, _ = values_of(stored, spec, torch.device("cpu"))
            means, raw, colors = means.double(), raw.double(), colors.double()
        else:
            means, raw, colors = _predicted(gop, means, raw, colors)
        floor = torch.tensor([0.0, -torch.inf, 0.0]).double()
        bounded = torch.maximum(raw, floor) + torch.tensor([0.5, 0.0, 0.5]).double()
        factors = torch.zeros(len(raw), 2, 2, dtype=torch.float64)
        factors[:, 0, 0], factors[:, 1, 0], factors[:, 1, 1] = bounded.unbind(1)
        widened = torch.linalg.cholesky(factors @ factors.mT + spec.low_pass * torch.eye(2))
        cholesky = torch.stack((widened[:, 0, 0], widened[:, 1, 0], widened[:, 1, 1]), dim=1)
        times, gamma = (values.double() for values in gop_times(spec))
        all_px, all_colors = deform(
            means,
            colors,
            _scaled(gop.static_table, gop.static_scales, gop.header.static_entries),
            _scaled(gop.dynamic_table, gop.dynamic_scales, gop.header.dynamic_entries),
            FieldWeights(*(torch.from_numpy(w).double() * float(s) for w, s in zip(gop.mlp, gop.mlp_scales))),  # noqa: B905
            times,
            gamma,
            static_grid=spec.field.static_grid,
            dynamic_grid=spec.field.dynamic_grid,
            size_px=(WIDTH, HEIGHT),
            backend="reference",
        )
        frames += [(px, cholesky, shown) for px, shown in zip(all_px, all_colors, strict=True)]
        means = all_px[-1] * (2 / torch.tensor([WIDTH, HEIGHT]).double()) - 1
        colors = all_colors[-1]
    return frames


def _predicted(gop: PredictedGopSymbols, means: Tensor, raw: Tensor, colors: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    residuals = torch.from_numpy(gop.residuals).double()
    steps = np.concatenate([gop.point_scale, gop.shape_scale, gop.color_scale])
    x, y, log_1, log_3, shear, luma, orange, green = (residuals * torch.from_numpy(steps).double()).unbind(1)
    base_1, base_3 = 0.5 + raw[:, 0].clamp(min=0), 0.5 + raw[:, 2].clamp(min=0)
    size_1, size_3 = (
        torch.clamp(base * torch.exp(log.clamp(-16, 16)), max=2.0**20)
        for base, log in ((base_1, log_1), (base_3, log_3))
    )
    slanted = (raw[:, 1] / base_3 + shear) * size_3.clamp(min=0.5)
    rest = luma - green
    return (
        means + torch.stack((x, y), dim=1),
        torch.stack((size_1 - 0.5, slanted, size_3 - 0.5), dim=1),
        colors + torch.stack((rest + orange, luma + green, rest - orange), dim=1),
    )


def _scaled(table: np.ndarray, scales: np.ndarray, entries: Sequence[int]) -> Tensor:
    return torch.from_numpy(table.astype(np.float64) * np.repeat(scales.astype(np.float64), entries)[:, None])


def drawn(gaussians: tuple[Tensor, Tensor, Tensor]) -> np.ndarray:
    """A picture of them. [H, W, 3] uint8."""
    means_px, cholesky, colors = gaussians
    image = rasterize(means_px[None], cholesky, colors[None], height=HEIGHT, width=WIDTH, backend="reference")
    return to_uint8(image)[0].numpy()
