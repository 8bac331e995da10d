"""Files with predicted GoPs: frames in any order, what is unpacked for them, damage, and room for pairs."""

from __future__ import annotations

import random
from itertools import accumulate
from pathlib import Path

import numpy as np
import pytest
import torch
from clips import assert_same_pixels
from predicted_gops import (
    HEIGHT,
    WIDTH,
    chain_gops,
    composed,
    drawn,
    payload_of,
    random_prediction,
    write_gops,
)
from set_gops import random_set

from stgvcodec import Selection, VideoDecoder, decode
from stgvcodec.bitstream import StgvReader
from stgvcodec.bitstream.container.file_header import PROFILES
from stgvcodec.codec import gop_chain, gop_queue, gop_renderer
from stgvcodec.decoder.gop_renderer import GopRenderer, RenderBudget, unpack
from stgvcodec.decoder.pair_bound import ShapeChanges, SplatExtents
from stgvcodec.errors import BitstreamError
from stgvcodec.media import read_image
from stgvcodec.quant.residual import Gaussians

CPU = torch.device("cpu")
SIZE = {"width": WIDTH, "height": HEIGHT}
GOPS = chain_gops()
IS_KEY = [True, False, False, True, False]
STARTS = [0, *accumulate(gop.header.n_frames for gop in GOPS)]
N_FRAMES = STARTS[-1]


@pytest.fixture(scope="module")
def path(tmp_path_factory) -> Path:
    return write_gops(tmp_path_factory.mktemp("predicted") / "chains.stgv", GOPS)


@pytest.fixture(scope="module")
def frames(path) -> torch.Tensor:
    """Every frame, each from a decoder of its own. [T, 3, H, W]."""
    shown = []
    for i in range(N_FRAMES):
        with VideoDecoder(path, device="cpu") as decoder:
            shown.append(decoder[i])
    return torch.stack(shown)


@pytest.fixture(scope="module")
def definition():
    return composed(GOPS)


@pytest.fixture
def loads(monkeypatch) -> list[int]:
    """Which GoPs were unpacked, in order."""
    seen: list[int] = []
    load = gop_queue.GopQueue._load

    def recording(self, index, *options):
        seen.append(index)
        return load(self, index, *options)

    monkeypatch.setattr(gop_queue.GopQueue, "_load", recording)
    return seen


@pytest.fixture
def announced(monkeypatch) -> list[tuple[int, list[int]]]:
    """What was asked of the queue: a GoP, and those to come."""
    seen: list[tuple[int, list[int]]] = []
    get = gop_queue.GopQueue.get

    def recording(self, index, upcoming=()):
        seen.append((index, list(upcoming)))
        return get(self, index, upcoming)

    monkeypatch.setattr(gop_queue.GopQueue, "get", recording)
    return seen


def renderer(index: int, *, backend: str = "numba", device: torch.device = CPU, **options) -> GopRenderer:
    options = {**SIZE, "device": device, "backend": backend, "profile": PROFILES["compact"], **options}
    return GopRenderer(payload_of(GOPS[index]), predicted=not IS_KEY[index], **options)


def bits(gaussians: Gaussians) -> list[torch.Tensor]:
    assert all(numbers.dtype == torch.float32 for numbers in gaussians)
    return [numbers.contiguous().view(torch.int32) for numbers in gaussians]


def assert_same_gaussians(actual: Gaussians, expected: Gaussians) -> None:
    assert all(torch.equal(*pair) for pair in zip(bits(actual), bits(expected), strict=True))


@pytest.mark.parametrize("backend", ["numba", "reference"])
def test_gaussians_and_frames_are_those_of_the_definition(path, definition, backend):
    with VideoDecoder(path, device="cpu", backend=backend) as decoder:
        assert len(decoder) == len(definition) == N_FRAMES
        for i, expected in enumerate(definition):
            for got, wanted, tolerance in zip(decoder.gaussians_at(i), expected, (2e-4, 2e-4, 2e-5), strict=True):
                torch.testing.assert_close(got.double(), wanted, rtol=1e-5, atol=tolerance)
            assert_same_pixels(decoder[i].permute(1, 2, 0).numpy(), drawn(expected))


def test_the_definition_makes_a_difference(definition):
    """Otherwise the comparison would show little: residuals move, widen and recolour what has detail."""
    for gop in (1, 2, 4):
        before, after = definition[STARTS[gop] - 1], definition[STARTS[gop]]
        assert (after[0] - before[0]).abs().max() > 1
        assert (after[1] / before[1]).abs()[:, 0].max() > 1.2
        assert (after[2] - before[2]).abs().max() > 0.02
        assert np.abs(drawn(after).astype(int) - drawn(before)).mean() > 1
    for gaussians in definition:
        assert np.mean((drawn(gaussians) > 0) & (drawn(gaussians) < 255)) > 0.4


def test_back_ends_agree_within_a_level(path, frames):
    with VideoDecoder(path, device="cpu", backend="reference") as decoder:
        difference = decoder[:].to(torch.int16) - frames.to(torch.int16)
    assert difference.abs().max() <= 1


ORDERS = {
    "forwards": list(range(N_FRAMES)),
    "backwards": list(range(N_FRAMES - 1, -1, -1)),
    "random": random.Random(0).choices(range(N_FRAMES), k=60),
    "last GoP first": [10, 3, 5, 9, 0, 7],
}


@pytest.mark.parametrize("n_threads", ["1", "2"])
@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
def test_frames_do_not_depend_on_the_order(path, frames, order, n_threads, monkeypatch):
    monkeypatch.setenv("STGV_THREADS", n_threads)
    with VideoDecoder(path, device="cpu") as decoder:
        for i in order:
            assert torch.equal(decoder[i], frames[i])
    with VideoDecoder(path, device="cpu") as decoder:
        assert torch.equal(decoder.get_frames_at(order).data, frames[order])
        for i, frame in zip(order, decoder.iter_frames(order), strict=True):
            assert torch.equal(frame.permute(2, 0, 1), frames[i])


def test_another_scale_leaves_the_chain_as_it_is(path, frames):
    """The Gaussians that are added to are those of the encoded size."""
    with VideoDecoder(path, device="cpu") as decoder:
        large = list(decoder.iter_frames(scale=2.0))
        assert torch.equal(decoder[:], frames)
    with VideoDecoder(path, device="cpu") as decoder:
        assert torch.equal(next(decoder.iter_frames([5], scale=2.0)), large[5])


@pytest.mark.parametrize("n_threads", ["1", "2"])
@pytest.mark.parametrize("how", ["slice", "frames", "iterator"])
def test_front_to_back_every_gop_is_unpacked_once(path, loads, how, n_threads, monkeypatch):
    monkeypatch.setenv("STGV_THREADS", n_threads)
    with VideoDecoder(path, device="cpu") as decoder:
        if how == "slice":
            decoder[:]
        elif how == "frames":
            for i in range(N_FRAMES):
                decoder[i]
        else:
            for _ in decoder.iter_frames():
                pass
    assert sorted(loads) == [0, 1, 2, 3, 4]
    if n_threads == "1":
        assert loads == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("gops", "expected"),
    [
        ([2], [0, 1, 2]),
        ([4], [3, 4]),
        ([3, 0], [3, 0]),
        ([0, 2], [0, 1, 2]),
        ([2, 1, 2, 0, 2, 0, 1], [0, 1, 2, 1, 2, 0, 2, 0, 1]),
        ([1, 0, 2], [0, 1, 0, 2]),
        ([2, 4, 2], [0, 1, 2, 3, 4, 0, 1, 2]),
        ([4, 3, 2], [3, 4, 3, 0, 1, 2]),
    ],
    ids=str,
)
def test_what_is_unpacked_for_a_frame(path, loads, gops, expected, frames, monkeypatch):
    """Those from the key GoP on, and inside a chain only what was never passed."""
    monkeypatch.setenv("STGV_THREADS", "1")
    with VideoDecoder(path, device="cpu") as decoder:
        for gop in gops:
            assert torch.equal(decoder[STARTS[gop]], frames[STARTS[gop]])
    assert loads == expected


def test_gops_on_the_way_are_announced(path, announced, frames, monkeypatch):
    monkeypatch.setenv("STGV_THREADS", "2")
    with VideoDecoder(path, device="cpu") as decoder:
        assert torch.equal(decoder[STARTS[2]], frames[STARTS[2]])
        assert announced == [(0, [1, 2]), (1, [2]), (2, [])]
    announced.clear()
    wanted = [STARTS[0], STARTS[2], STARTS[4], STARTS[1]]
    with VideoDecoder(path, device="cpu") as decoder:
        assert torch.equal(decoder.get_frames_at(wanted).data, frames[wanted])
    ahead = [0, 1, 2, 3, 4, 0, 1]
    assert announced == [(gop, ahead[i + 1 : i + 7]) for i, gop in enumerate(ahead)]


def test_going_on_reads_one_gop_ahead(path, announced, monkeypatch):
    monkeypatch.setenv("STGV_THREADS", "2")
    with VideoDecoder(path, device="cpu") as decoder:
        for i in range(N_FRAMES):
            decoder[i]
    assert announced == [(0, []), (1, [2]), (2, [3]), (3, [4]), (4, [])]


def test_no_gop_is_unpacked_twice_with_threads(path, loads, monkeypatch):
    monkeypatch.setenv("STGV_THREADS", "2")
    with VideoDecoder(path, device="cpu") as decoder:
        decoder.get_frames_at([STARTS[2], STARTS[1], STARTS[4], STARTS[3]])
    assert sorted(loads) == [0, 1, 1, 2, 3, 3, 4]


def test_gaussians_of_one_chain_are_kept(path):
    with VideoDecoder(path, device="cpu") as decoder:
        kept = decoder._chain._ends
        decoder[STARTS[2]]
        assert sorted(kept) == [0, 1]
        decoder[0]
        assert sorted(kept) == [0, 1]
        decoder[STARTS[4]]
        assert sorted(kept) == [3]
        decoder[STARTS[1]]
        assert sorted(kept) == [0]
    assert not kept


def test_nothing_is_kept_of_key_gops_alone(tmp_path, monkeypatch):
    """Nor computed: their last frames are deformed only to be drawn."""
    monkeypatch.setattr(gop_chain.GopRenderer, "last_frame", lambda self: pytest.fail("nobody adds to it"))
    gops = [random_set((1, 1, 1), n_frames=2, seed=seed) for seed in range(3)]
    with VideoDecoder(write_gops(tmp_path / "keys.stgv", gops), device="cpu") as decoder:
        decoder[:]
        decoder[::-1]
        assert not decoder._chain._ends


def test_a_chain_as_long_as_the_queue_looks_and_longer(tmp_path, loads):
    n = gop_queue.LOOK_AHEAD + 4
    gops = [random_set((1, 1, 1), n_frames=1), *(random_prediction(n_frames=1, seed=seed) for seed in range(n - 1))]
    path = write_gops(tmp_path / "long.stgv", gops)
    with VideoDecoder(path, device="cpu") as decoder:
        last = decoder[-1]
        assert sorted(loads) == list(range(n))
        loads.clear()
        assert_same_pixels(last.permute(1, 2, 0).numpy(), drawn(composed(gops)[-1]))
        assert torch.equal(decoder[:][-1], last)
        assert sorted(loads) == list(range(n))
    with VideoDecoder(path, device="cpu") as decoder:
        assert torch.equal(decoder[:][-1], last)


@pytest.mark.parametrize("backend", ["numba", "reference"])
def test_the_last_frame_has_the_same_bits_however_it_is_reached(backend):
    plain = renderer(0, backend=backend)
    expected = plain.last_frame()
    plain.frames_tensor([0, 1, 2], scale=1.7)
    plain.gaussians(1)
    assert_same_gaussians(plain.last_frame(), expected)
    ahead = unpack(payload_of(GOPS[0]), **SIZE, device=CPU, backend=backend, profile=PROFILES["compact"])
    small = GopRenderer(ahead, **SIZE, device=CPU, backend=backend, budget=RenderBudget(0))
    list(small.frames([2, 0]))
    assert_same_gaussians(small.last_frame(), expected)
    after = renderer(1, backend=backend, before=expected)
    assert_same_gaussians(renderer(1, backend=backend, before=small.last_frame()).last_frame(), after.last_frame())


@pytest.mark.parametrize("index", [0, 3])
def test_the_last_frame_is_that_of_the_frame(index):
    gop = renderer(index)

    means, cholesky, colors = gop.last_frame()

    means_px, _, shown = gop.gaussians(gop.spec.n_frames - 1)
    assert torch.equal(colors, shown)
    assert torch.equal(cholesky, gop.values.cholesky)
    per_px = torch.tensor([np.float32(2 / WIDTH), np.float32(2 / HEIGHT)])
    assert torch.equal(means, means_px * per_px - 1.0)
    assert not torch.equal(means_px, gop.gaussians(0)[0])
    assert not any(numbers.requires_grad for numbers in (means, cholesky, colors))


def test_a_predicted_gop_needs_what_is_before():
    with pytest.raises(ValueError, match=r"before is None, expected.*last_frame"):
        renderer(1)
    with pytest.raises(ValueError, match=r"before has 40 Gaussians, expected 61"):
        renderer(1, before=renderer(3).last_frame())


def test_a_key_gop_ignores_what_is_before():
    before = renderer(0).last_frame()
    with_it, alone = renderer(3, before=before), renderer(3)
    assert torch.equal(with_it.frames_tensor([0, 1]), alone.frames_tensor([0, 1]))


def test_unpacking_ahead_changes_nothing():
    before = renderer(0).last_frame()
    ahead = unpack(payload_of(GOPS[1]), **SIZE, device=CPU, backend="numba", predicted=True)

    frames = GopRenderer(ahead, **SIZE, device=CPU, backend="numba", before=before).frames_tensor([0, 1])

    assert torch.equal(frames, renderer(1, before=before).frames_tensor([0, 1]))


@pytest.mark.parametrize("n_gaussians", [1, 2, 33])
def test_few_gaussians(tmp_path, n_gaussians):
    """Numbers lie as kernels want them, and what is staged together stays apart."""
    gops = [
        random_set((1, 1, 1), n_frames=1, n_gaussians=n_gaussians),
        random_prediction(n_frames=17, n_gaussians=n_gaussians, seed=8),
    ]
    before = GopRenderer(
        payload_of(gops[0]), **SIZE, device=CPU, backend="numba", profile=PROFILES["compact"]
    ).last_frame()
    gop = GopRenderer(payload_of(gops[1]), **SIZE, device=CPU, backend="numba", predicted=True, before=before)
    assert all(numbers.is_contiguous() for numbers in (*gop.values[:3], *gop.last_frame()))
    with VideoDecoder(write_gops(tmp_path / "few.stgv", gops), device="cpu") as decoder:
        frames = decoder[:].permute(0, 2, 3, 1).numpy()
    for frame, gaussians in zip(frames, composed(gops), strict=True):
        assert_same_pixels(frame, drawn(gaussians))


def test_a_damaged_payload_is_refused():
    payload = payload_of(GOPS[1])
    for damaged in (b"", payload[:5], payload[:-1], payload + b"\1", payload_of(GOPS[0])):
        with pytest.raises(BitstreamError):
            unpack(damaged, **SIZE, device=CPU, backend="numba", profile=PROFILES["compact"], predicted=True)


@pytest.mark.parametrize("name", ["out", "out.y4m"])
def test_part_of_a_file_is_decoded(path, frames, tmp_path, name):
    report = decode(path, tmp_path / name, device="cpu", selection=Selection.parse(frames="4:9"))

    assert report.n_frames == 5
    if name == "out":
        shown = [read_image(file) for file in sorted((tmp_path / "out").iterdir())]
        assert np.array_equal(np.stack(shown), frames[4:9].permute(0, 2, 3, 1).numpy())


def damaged_at(path: Path, gop: int, target: Path) -> Path:
    with StgvReader(path) as reader:
        entry = reader.gops[gop]
    data = bytearray(path.read_bytes())
    data[entry.offset + entry.n_bytes // 2] ^= 1
    target.write_bytes(data)
    return target


@pytest.mark.parametrize(("gop", "lost"), [(0, [0, 1, 2]), (1, [1, 2]), (2, [2]), (3, [3, 4])])
def test_keep_going_leaves_out_those_that_add_to_a_damaged_gop(path, frames, tmp_path, gop, lost):
    broken = damaged_at(path, gop, tmp_path / "broken.stgv")
    left = [i for g in range(len(GOPS)) if g not in lost for i in range(STARTS[g], STARTS[g + 1])]

    with VideoDecoder(broken, device="cpu", keep_going=True) as decoder:
        assert len(decoder) == len(left)
        assert torch.equal(decoder[:], frames[left])
        assert torch.equal(decoder[-1], frames[left[-1]])
        assert decoder.metadata.n_frames == len(left)
        said = "\n".join(decoder.damage)
    assert said.count("predicted from one that is missing") == len(lost) - 1
    assert f"frames {STARTS[lost[0]]} to {STARTS[lost[-1] + 1] - 1} are missing" in said or len(lost) == 1

    report = decode(broken, tmp_path / "out", device="cpu", keep_going=True)
    assert report.n_frames == len(left)
    assert report.damage == tuple(said.split("\n"))


def test_damage_is_met_by_all_who_need_it(path, frames, tmp_path, monkeypatch):
    broken = damaged_at(path, 1, tmp_path / "broken.stgv")
    for n_threads in ("1", "2"):
        monkeypatch.setenv("STGV_THREADS", n_threads)
        with VideoDecoder(broken, device="cpu") as decoder:
            for _ in range(2):
                for gop in (1, 2):
                    with pytest.raises(BitstreamError, match=r"broken\.stgv: GoP 1"):
                        decoder[STARTS[gop]]
                for gop in (0, 4, 3):
                    assert torch.equal(decoder[STARTS[gop]], frames[STARTS[gop]])
            with pytest.raises(BitstreamError, match="GoP 1"):
                decoder[:]


def test_shapes_on_the_host_are_those_of_the_device():
    before = renderer(0).last_frame()
    gop = renderer(1, before=before)
    changes = ShapeChanges.of(GOPS[1].residuals, GOPS[1].shape_scale)

    on_host = changes.after(before.cholesky.numpy())

    torch.testing.assert_close(torch.from_numpy(on_host), gop.values.cholesky, rtol=1e-5, atol=1e-5)
    assert on_host.dtype == np.float32


@pytest.mark.parametrize(("step", "shear"), [(0.5, 1.0), (0.5, 2.0**96)])
def test_shapes_beyond_all_bounds_take_the_whole_picture(step, shear):
    residuals = np.full((3, 8), 127, np.int8)
    shapes = np.array([[20.0, -6.0, 5.5], [-0.3, 0.0, 0.0], [2.0**20, 2.0**100, 2.0**20]], np.float32)
    changes = ShapeChanges.of(residuals, np.array([step, step, shear], np.float32))

    for _ in range(4):
        shapes = changes.after(shapes)

    extents = SplatExtents.of_numbers(shapes, 0.0)
    assert extents.most_pairs(1.0, width=160, height=80, tile_width=16, tile_height=8) == 3 * 10 * 10


@pytest.mark.parametrize("scale", [1.0, 0.4])
def test_triton_has_room_for_pairs_without_asking(triton_device, monkeypatch, scale):
    """Under its interpreter where there is no GPU: the same picture, in room that was known to do or is measured."""
    budgets = []
    rasterize = gop_renderer.rasterize_uint8

    def recording(*arguments, budget, **options):
        budgets.append(budget)
        return rasterize(*arguments, budget=budget, **options)

    expected = renderer(1, before=renderer(0).last_frame()).frames_tensor([0, 1], scale=scale)
    monkeypatch.setattr(gop_renderer, "rasterize_uint8", recording)
    key = renderer(0, backend="triton", device=triton_device)
    options = {"backend": "triton", "device": triton_device, "before": key.last_frame()}
    known, measured = renderer(1, **options, shapes_before=key.shapes), renderer(1, **options)

    for gop in (known, measured):
        assert_same_pixels(gop.frames_tensor([0, 1], scale=scale).cpu().numpy(), expected.numpy())

    assert budgets[1] is None
    assert 0 < int(budgets[0].need) <= budgets[0].capacity <= 6 * int(budgets[0].need)
    assert known.shapes is not None
    assert measured.shapes is None


def test_triton_knows_shapes_along_a_chain(path, triton_device, monkeypatch):
    """Of the GoPs, not of their frames: those are many to interpret."""
    seen = []

    class Recording(GopRenderer):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            seen.append(self)

    monkeypatch.setattr(gop_chain, "GopRenderer", Recording)
    with VideoDecoder(path, device=triton_device.type, backend="triton") as decoder:
        decoder.gaussians_at(STARTS[2])
        decoder.gaussians_at(STARTS[4])
    assert [len(gop.shapes) for gop in seen] == [61, 61, 61, 40, 40]
    for gop in seen:
        torch.testing.assert_close(torch.from_numpy(gop.shapes), gop.values.cholesky.cpu(), rtol=1e-5, atol=1e-5)


@pytest.mark.gpu
def test_a_gpu_decodes_the_file(path, frames):
    """In any order the same bits, and those of the CPU within the format's tolerance."""
    with VideoDecoder(path, device="cuda") as decoder:
        shown = decoder[:]
        assert_same_pixels(shown.cpu().numpy(), frames.numpy())
        for order in ORDERS.values():
            for i in order:
                assert torch.equal(decoder[i], shown[i])
    for i in range(N_FRAMES):
        with VideoDecoder(path, device="cuda") as decoder:
            assert torch.equal(decoder[i], shown[i])


@pytest.mark.gpu
def test_a_gpu_is_not_waited_for(path):
    with VideoDecoder(path, device="cuda") as decoder:
        expected = decoder[:]
        torch.cuda.synchronize()
        torch.cuda.set_sync_debug_mode("error")
        try:
            again = decoder[:]
            last = decoder[-1]
        finally:
            torch.cuda.set_sync_debug_mode("default")
        assert torch.equal(again, expected)
        assert torch.equal(last, expected[-1])


@pytest.mark.gpu
def test_pinned_memory_is_not_reused_while_it_is_sent(tmp_path):
    """Many GoPs, dropped as soon as they are queued, on a stream of their own."""
    gops = [random_set((1, 1, 1), n_frames=1), *(random_prediction(n_frames=1, seed=seed) for seed in range(30))]
    path = write_gops(tmp_path / "long.stgv", gops)
    with VideoDecoder(path, device="cuda") as decoder:
        expected = torch.stack([decoder[i].clone() for i in range(len(gops))])
    torch.cuda.synchronize()
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream), VideoDecoder(path, device="cuda") as decoder:
        got = decoder[:]
    stream.synchronize()
    assert torch.equal(got, expected)
