"""From the symbols of a GoP to frames: parameters, staging for a GPU, and room for pairs."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
import torch
from clips import assert_same_pixels
from gops import modes, random_gop

from stgvcodec.decoder.gop_renderer import GopRenderer, UnpackedGop
from stgvcodec.decoder.pair_bound import SplatExtents
from stgvcodec.decoder.staging import spec_of, stage
from stgvcodec.model.deformation import time_encoding
from stgvcodec.model.gaussians import axis_scales, bounded_cholesky, scale_splats
from stgvcodec.model.gop_model import frame_time
from stgvcodec.ops.deform_shapes import deform_shapes

CPU = torch.device("cpu")
WIDTH, HEIGHT, N_FRAMES = 48, 32, 3
COMBINATIONS = list(product((0, 1), repeat=3))


def unpacked_gop(symbols, *, pinned: bool = False) -> UnpackedGop:
    spec = spec_of(symbols.header, WIDTH, HEIGHT)
    staged = stage(symbols, pinned=pinned)
    extents = SplatExtents.of(staged.cholesky, spec.low_pass, change_shapes=True)
    return UnpackedGop(symbols.header, spec, staged, extents)


def frames_of(unpacked, *, backend: str = "numba", device: torch.device = CPU, scale: float = 1.0) -> torch.Tensor:
    gop = GopRenderer(unpacked, width=WIDTH, height=HEIGHT, device=device, backend=backend)
    return gop.frames_tensor(range(gop.spec.n_frames), scale=scale)


def bits(tensor: torch.Tensor) -> torch.Tensor:
    assert tensor.dtype == torch.float32
    return tensor.contiguous().view(torch.int32)


def leaves(values) -> list[torch.Tensor]:
    field = values.field
    return [values.means, values.cholesky, values.colors, field.static_table, field.dynamic_table, *field.weights]


def assert_same_values(actual, expected) -> None:
    for tensor, wanted in zip(leaves(actual), leaves(expected), strict=True):
        assert tensor.is_contiguous()
        assert tensor.shape == wanted.shape
        assert torch.equal(bits(tensor.cpu()), bits(wanted.cpu()))


def splatted(means, cholesky, colors, low_pass: float) -> np.ndarray:
    """bitstream_spec.md section 7.5 in binary64, by the covariance's inverse. [H, W, 3] uint8."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH] + 0.5
    picture = np.zeros((HEIGHT, WIDTH, 3))
    for (mu_x, mu_y), (raw_1, l2, raw_3), color in zip(means, cholesky, colors, strict=True):
        factor = np.array([[0.5 + max(raw_1, 0.0), 0.0], [l2, 0.5 + max(raw_3, 0.0)]])
        inverse = np.linalg.inv(factor @ factor.T + low_pass * np.eye(2))
        d = np.stack([x - (mu_x + 1) / 2 * WIDTH, y - (mu_y + 1) / 2 * HEIGHT], axis=-1)
        sigma = 0.5 * np.einsum("...i,ij,...j", d, inverse, d)
        picture += np.maximum(0.0, np.exp(-sigma) - math.exp(-4.5))[..., None] * np.array(color)
    return np.floor(255 * picture.clip(0, 1) + 0.5).astype(np.uint8)


def by_hand(symbols) -> tuple[list[list[float]], ...]:
    """A grid, log and YCoCg payload in Python's floats, rounded nowhere."""
    grid = [symbols.point_scale.tolist(), symbols.point_offset.tolist()]
    means = [[k * s + o for k, s, o in zip(row, *grid, strict=True)] for row in symbols.points.tolist()]
    scale_1, scale_3, scale_s = symbols.shape_scale.tolist()
    cholesky = []
    for a, b, s in symbols.shapes.tolist():
        l1, l3 = 0.5 * (1 + scale_1) ** a, 0.5 * (1 + scale_3) ** b
        cholesky.append([l1 - 0.5, (s - 128) * scale_s * l3, l3 - 0.5])
    colors = []
    for color in symbols.colors.tolist():
        y, co, cg = ((symbol - 128) * step for symbol, step in zip(color, symbols.color_scale.tolist(), strict=True))
        colors.append([y - cg + co, y + cg, y - cg - co])
    return means, cholesky, colors


@pytest.mark.parametrize("low_pass", [0.0, 0.25])
@pytest.mark.parametrize("backend", ["numba", "reference"])
def test_grid_log_and_ycocg_against_python(backend, low_pass):
    symbols = random_gop(n_frames=N_FRAMES, low_pass=low_pass, moves=False)
    expected = splatted(*by_hand(symbols), low_pass)

    frames = frames_of(unpacked_gop(symbols), backend=backend).numpy()

    assert len(frames) == N_FRAMES
    for frame in frames:
        assert_same_pixels(frame, expected)
    # In a picture that is mostly black or saturated, the comparison would show little.
    assert np.mean((expected > 0) & (expected < 255)) > 0.5


@pytest.mark.parametrize("combination", COMBINATIONS, ids=str)
def test_every_combination_of_modes_is_rendered(combination):
    symbols = random_gop(7, n_frames=N_FRAMES, **modes(*combination))

    frames = frames_of(unpacked_gop(symbols))

    assert_same_pixels(frames_of(unpacked_gop(symbols), backend="reference").numpy(), frames.numpy())
    assert frames.float().std() > 20
    assert not torch.equal(frames[0], frames[-1])


@pytest.mark.parametrize("n_frames", [1, 7, 16, 17])
def test_times_lie_behind_the_parameters(n_frames):
    """There are more frames, and fewer, than a cache line has floats."""
    symbols = random_gop(n_gaussians=1, n_frames=n_frames)

    _, times = stage(symbols, pinned=False).to(CPU)

    expected = [frame_time(k, n_frames) for k in range(n_frames)]
    assert torch.equal(times.times, torch.tensor(expected, dtype=torch.float32))
    assert torch.equal(times.gamma, torch.from_numpy(time_encoding(expected, symbols.header.n_frequencies)))


@pytest.mark.parametrize("scale", [0.3, 1.0, 2.5, (0.5, 2.0)])
@pytest.mark.parametrize(("low_pass", "ratio"), [(0.0, 0.02), (0.25, 0.15), (0.0, 0.5)], ids=str)
def test_the_bound_on_pairs_holds_wherever_gaussians_are(scale, low_pass, ratio):
    """The bound is compared with the tiles that bounding boxes at random places meet."""
    symbols = random_gop(low_pass=low_pass, n_gaussians=60)
    symbols.shape_scale[:2] = ratio
    staged = stage(symbols, pinned=False)
    scale_x, scale_y = axis_scales(scale)
    width, height = round(WIDTH * scale_x), round(HEIGHT * scale_y)
    cholesky = bounded_cholesky(torch.from_numpy(staged.cholesky), low_pass)
    l1, l2, l3 = scale_splats(cholesky, torch.zeros(1, 60, 3), scale)[0].double().unbind(1)
    reach_px = 3 * torch.stack((l1, torch.sqrt(l2 * l2 + l3 * l3)), dim=1)  # [N, 2]
    extents = SplatExtents.of(staged.cholesky, low_pass, change_shapes=False)
    bound = extents.most_pairs(scale, width=width, height=height, tile_width=16, tile_height=8)
    tile, size = torch.tensor([16.0, 8.0]), torch.tensor([width, height])
    n_tiles = torch.ceil(size / tile)
    most = 0
    for seed in range(50):
        centre = torch.rand(60, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * size
        first = ((centre - reach_px) / tile).floor().clamp_min(0)
        last = torch.minimum(((centre + reach_px) / tile).floor(), n_tiles - 1)
        most = max(most, int((last - first + 1).prod(dim=1).sum()))
    assert most <= bound <= 4 * most


@pytest.mark.parametrize("low_pass", [0.0, 0.25, 9.0])
@pytest.mark.parametrize("shear", [0.05, 2.0])
def test_the_extents_bound_every_shape_that_the_field_may_make(low_pass, shear):
    symbols = random_gop(low_pass=low_pass, n_gaussians=200)
    symbols.shape_scale[2] = shear
    staged = stage(symbols, pinned=False)
    extents = SplatExtents.of(staged.cholesky, low_pass, change_shapes=True)
    cholesky = bounded_cholesky(torch.from_numpy(staged.cholesky), low_pass)
    corners = torch.tensor(list(product((-9.0, 0.0, 9.0), repeat=3)))
    l1, l2, l3 = deform_shapes(cholesky, corners[:, None].expand(-1, 200, -1)).double().unbind(2)
    # The changes are clamped, and float32 rounds.
    for variances, bound in ((l1 * l1, extents.x), (l2 * l2 + l3 * l3, extents.y)):
        largest = variances.amax(dim=0) / torch.from_numpy(bound)
        assert 0.7 < largest.max() < 1.0 + 1e-5


@pytest.mark.gpu
@pytest.mark.parametrize("combination", COMBINATIONS, ids=str)
def test_gpu_and_cpu_agree(combination):
    cuda = torch.device("cuda")
    symbols = random_gop(n_frames=N_FRAMES, **modes(*combination))
    on_cpu = unpacked_gop(symbols)

    gop = GopRenderer(unpacked_gop(symbols, pinned=True), width=WIDTH, height=HEIGHT, device=cuda, backend="triton")

    assert_same_values(gop.parameters, on_cpu.staged.to(CPU)[0])
    assert_same_pixels(gop.frames_tensor(range(N_FRAMES)).cpu().numpy(), frames_of(on_cpu).numpy())


@pytest.mark.gpu
def test_parameters_are_sent_without_waiting():
    """After a first GoP, for which kernels are compiled, whatever waits for the GPU is an error."""
    cuda = torch.device("cuda")
    symbols = random_gop()
    expected = frames_of(unpacked_gop(symbols, pinned=True), backend="triton", device=cuda)
    torch.cuda.synchronize()
    unpacked = unpacked_gop(symbols, pinned=True)
    torch.cuda.set_sync_debug_mode("error")
    try:
        again = frames_of(unpacked, backend="triton", device=cuda)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert torch.equal(again, expected)


@pytest.mark.gpu
def test_pinned_memory_is_not_reused_while_it_is_sent():
    """Many GoPs are dropped as soon as they are queued, on a stream of their own."""
    cuda = torch.device("cuda")
    gops = [random_gop(seed) for seed in range(4)]
    expected = [frames_of(unpacked_gop(gop, pinned=True), backend="triton", device=cuda) for gop in gops]
    torch.cuda.synchronize()
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        got = [frames_of(unpacked_gop(gop, pinned=True), backend="triton", device=cuda) for gop in gops * 8]
    stream.synchronize()
    assert all(torch.equal(frames, expected[i % 4]) for i, frames in enumerate(got))
