"""From symbols to frames: staging for a GPU, batches, and memory that runs out."""

from __future__ import annotations

import logging

import pytest
import torch
from clips import assert_same_pixels
from gops import PROFILE_MODES, random_gop

from stgvcodec.bitstream import pack_gop
from stgvcodec.decoder import gop_renderer
from stgvcodec.decoder.gop_renderer import GopRenderer, RenderBudget, UnpackedGop, unpack
from stgvcodec.errors import BitstreamError, StgvError
from stgvcodec.ops.rasterize import rasterize, to_uint8

CPU = torch.device("cpu")
WIDTH, HEIGHT, N_FRAMES = 48, 32, 4
N_GAUSSIANS = 60
FRAME_BYTES = WIDTH * HEIGHT * 12 + N_GAUSSIANS * 200


@pytest.fixture(scope="module", params=PROFILE_MODES)
def payload(request) -> bytes:
    return pack_gop(random_gop(n_gaussians=N_GAUSSIANS, n_frames=N_FRAMES, **PROFILE_MODES[request.param]))


def unpacked(payload: bytes) -> UnpackedGop:
    return unpack(payload, width=WIDTH, height=HEIGHT, device=CPU, backend="numba")


def renderer(
    gop: UnpackedGop | bytes,
    *,
    backend: str = "numba",
    device: torch.device = CPU,
    budget: RenderBudget | None = None,
) -> GopRenderer:
    return GopRenderer(gop, width=WIDTH, height=HEIGHT, device=device, backend=backend, budget=budget)


@pytest.fixture
def frames(payload) -> torch.Tensor:
    return renderer(payload).frames_tensor(range(N_FRAMES))


def test_unpacking_ahead_changes_nothing(payload, frames):
    assert torch.equal(renderer(unpacked(payload)).frames_tensor(range(N_FRAMES)), frames)


def test_a_damaged_payload_is_refused(payload):
    for damaged in (b"", payload[:5], payload[:-1], payload + b"\1"):
        with pytest.raises(BitstreamError):
            unpacked(damaged)


@pytest.mark.parametrize("indices", [[0, 1, 2, 3], [1, 2], [3], [], [3, 0, 0, 2], range(3, -1, -2)], ids=str)
def test_frames_in_any_order(payload, frames, indices):
    gop = renderer(payload)

    picked = gop.frames_tensor(indices)

    assert torch.equal(picked, frames[list(indices)])
    assert picked.shape == (len(indices), HEIGHT, WIDTH, 3)
    assert picked.is_contiguous()
    assert [frame.tolist() for frame in gop.frames(indices)] == picked.tolist()


@pytest.mark.parametrize("n_bytes", [0, FRAME_BYTES, 3 * FRAME_BYTES - 1, 3 * FRAME_BYTES])
def test_batches_of_any_size_give_the_same_frames(payload, frames, n_bytes):
    gop = renderer(payload, budget=RenderBudget(n_bytes))

    sizes = [len(batch) for batch in gop.batches(range(N_FRAMES))]

    assert sizes == ([3, 1] if n_bytes == 3 * FRAME_BYTES else [2, 2] if n_bytes > 2 * FRAME_BYTES else [1] * 4)
    assert torch.equal(gop.frames_tensor(range(N_FRAMES)), frames)


def test_a_scale_has_its_own_batches(payload):
    budget = RenderBudget(4 * FRAME_BYTES)
    assert [len(batch) for batch in renderer(payload, budget=budget).batches(range(4), scale=2.0)] == [1, 1, 1, 1]


def test_a_small_picture_of_many_gaussians_is_rendered_by_few_frames():
    """A picture of 8x8 takes 768 bytes and would be rendered by thousands, each with forms of all Gaussians."""
    payload = pack_gop(random_gop(n_gaussians=10_000, n_frames=8))
    gop = GopRenderer(payload, width=8, height=8, device=torch.device("cpu"), backend="numba")
    assert [len(batch) for batch in gop.batches(range(8))] == [2, 2, 2, 2]


class SmallMemory:
    """A device on which so many frames fit."""

    def __init__(self, n_frames: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self.n_frames = n_frames
        self.batches: list[int] = []
        rasterize = gop_renderer.rasterize_uint8

        def small(means, *arguments, **options):
            self.batches.append(len(means))
            if len(means) > self.n_frames:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")
            return rasterize(means, *arguments, **options)

        monkeypatch.setattr(gop_renderer, "rasterize_uint8", small)


def test_out_of_memory_halves_the_batch(payload, frames, monkeypatch, caplog):
    memory = SmallMemory(1, monkeypatch)
    budget = RenderBudget(100 * FRAME_BYTES)
    with caplog.at_level(logging.WARNING):
        got = renderer(payload, budget=budget).frames_tensor(range(N_FRAMES))
    assert torch.equal(got, frames)
    assert memory.batches == [4, 2, 1, 1, 1, 1]
    assert [record.getMessage() for record in caplog.records] == [
        "out of memory on cpu with 4 frames of 48x32 at once; going on with 2",
        "out of memory on cpu with 2 frames of 48x32 at once; going on with 1",
    ]
    # The next GoP begins with what fitted.
    caplog.clear()
    assert torch.equal(renderer(payload, budget=budget).frames_tensor(range(N_FRAMES)), frames)
    assert memory.batches[6:] == [1, 1, 1, 1]
    assert not caplog.records


def test_a_frame_that_does_not_fit_is_an_error_of_the_user(payload, monkeypatch):
    SmallMemory(0, monkeypatch)
    with pytest.raises(StgvError, match=r"a single frame of 48x32 with 60 Gaussians does not fit.*a smaller --scale$"):
        renderer(payload).frames_tensor([0])


def test_gaussians_belong_to_the_frame(payload):
    gop = renderer(payload)
    first, last = gop.gaussians(0), gop.gaussians(3)

    assert [tensor.shape for tensor in first] == [(60, 2), (60, 3), (60, 3)]
    assert torch.equal(first[1], last[1]) != gop.spec.field.has_shape_head
    assert not torch.equal(first[0], last[0])


def test_a_picture_between_frames(payload, frames):
    """Gaussians of both frames are moved, recoloured and reshaped by a quarter of the way, and rasterised."""
    gop = renderer(payload)
    (means, cholesky, colors), later = gop.gaussians(1), gop.gaussians(2)
    quarter = [a * 0.75 + b * 0.25 for a, b in zip((means, cholesky, colors), later, strict=True)]
    image = rasterize(quarter[0][None], quarter[1], quarter[2][None], height=HEIGHT, width=WIDTH, backend="reference")

    between = gop.picture_between(1, 0.25)

    assert_same_pixels(between.numpy(), to_uint8(image)[0].numpy())
    assert not torch.equal(between, frames[1])
    almost = gop.picture_between(1, 1 - 1e-6).int() - frames[2].int()
    assert almost.abs().max() <= 1
    assert gop.picture_between(1, 0.5, scale=(0.5, 2.0)).shape == (HEIGHT * 2, WIDTH // 2, 3)


@pytest.mark.parametrize("scale", [pytest.param(1.0, marks=pytest.mark.slow), 0.4, (0.3, 0.6)], ids=str)
def test_triton_renders_without_asking_how_many_pairs_there_are(payload, monkeypatch, triton_device, scale):
    """Its interpreter renders where there is no GPU; the room that is known beforehand is enough."""
    budgets = []
    rasterize = gop_renderer.rasterize_uint8

    def recording(*arguments, budget, **options):
        budgets.append(budget)
        return rasterize(*arguments, budget=budget, **options)

    expected = renderer(payload).frames_tensor([1, 3], scale=scale)
    monkeypatch.setattr(gop_renderer, "rasterize_uint8", recording)
    gop = renderer(payload, backend="triton", device=triton_device)

    got = gop.frames_tensor([1, 3], scale=scale)

    assert_same_pixels(got.cpu().numpy(), expected.numpy())
    (budget,) = budgets
    assert 0 < int(budget.need) <= budget.capacity <= 6 * int(budget.need)

    between = gop.picture_between(1, 0.5, scale=scale)

    assert_same_pixels(between.cpu().numpy(), renderer(payload).picture_between(1, 0.5, scale=scale).numpy())
    assert 0 < int(budgets[1].need) <= budgets[1].capacity
