from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from clips import moving_clip, psnr_db

from stgvcodec.bitstream import unpack_gop
from stgvcodec.codec import gop_encoder
from stgvcodec.codec.gop_encoder import GopConfig, choose_key_frame, encode_gop
from stgvcodec.codec.gop_renderer import GopRenderer, values_of
from stgvcodec.codec.presets import FIELD_SIZES, PRESETS
from stgvcodec.fit.phases import QUANTIZED_STREAMS
from stgvcodec.model.gop_model import frame_time, render

CPU = torch.device("cpu")


@pytest.fixture
def config() -> GopConfig:
    return GopConfig(
        preset=PRESETS["tiny"],
        n_gaussians=60,
        field=FIELD_SIZES[-1],
        key_frame="middle",
        initialization="content",
        color_stages=2,
        color_codebook_size=8,
        target_bytes=None,
        device=CPU,
        backend="numba",
    )


def renderer(payload: bytes, backend: str = "numba") -> GopRenderer:
    return GopRenderer(payload, width=48, height=32, device=CPU, backend=backend)


def test_is_a_pure_function(config):
    """Same arguments, same bytes; the frames and the global generators are left as they were."""
    frames = moving_clip(3)
    before = frames.copy()
    torch.manual_seed(1)
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002

    first = encode_gop(frames, config, 5)
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert (np.random.get_state()[1] == numpy_state).all()  # noqa: NPY002
    np.testing.assert_array_equal(frames, before)

    torch.manual_seed(2)
    encode_gop(moving_clip(2), config, 6)  # what came before does not matter
    assert encode_gop(frames, config, 5).bytes == first.bytes
    assert encode_gop(frames, config, 6).bytes != first.bytes


def test_threads_of_torch_are_given_back(config):
    before = torch.get_num_threads()

    encode_gop(moving_clip(1), config, 0)

    assert torch.get_num_threads() == before


@pytest.mark.parametrize("backend", ["numba", "reference"])
@pytest.mark.parametrize("n_frames", [1, 3])
def test_training_saw_what_the_decoder_computes(config, monkeypatch, n_frames, backend):
    """The trainer's quantised values are the decoder's, bit for bit, and so are the pictures."""
    trainers = []

    def remembered(*arguments):
        trainers.append(make(*arguments))
        return trainers[-1]

    make = gop_encoder.make_trainer
    monkeypatch.setattr(gop_encoder, "make_trainer", remembered)
    payload = encode_gop(moving_clip(n_frames), dataclasses.replace(config, backend=backend), 0).bytes
    trainer = trainers[0]

    with torch.no_grad():
        seen, _ = trainer.quantizers.quantize(trainer.model.values(), QUANTIZED_STREAMS)
        times = [frame_time(k, n_frames) for k in range(n_frames)]
        seen_frames = render(seen, trainer.spec, times, backend=backend)
        decoder = renderer(payload, backend)
        decoded_frames = render(decoder.values, decoder.spec, times, backend=backend)

    assert decoder.spec == trainer.spec
    for mine, theirs in zip(seen[:3], decoder.values[:3], strict=True):
        assert torch.equal(mine, theirs)
    for mine, theirs in zip(
        (*seen.field[:2], *seen.field.weights), (*decoder.values.field[:2], *decoder.values.field.weights), strict=True
    ):
        assert torch.equal(mine, theirs)
    assert torch.equal(seen_frames, decoded_frames)


def test_values_are_the_symbols_dequantised(config):
    payload = encode_gop(moving_clip(2), config, 0).bytes
    symbols = unpack_gop(payload)

    values = values_of(symbols, renderer(payload).spec, CPU)

    np.testing.assert_array_equal(values.means.numpy(), symbols.means.view(np.float16).astype(np.float32))
    scaled = symbols.cholesky.astype(np.float32) * symbols.cholesky_scale
    np.testing.assert_array_equal(values.cholesky.numpy(), scaled + symbols.cholesky_offset)
    first_tensor = symbols.mlp[0].astype(np.float32) * symbols.mlp_scales[0]
    np.testing.assert_array_equal(values.field.weights.w1.numpy(), first_tensor)


def test_figures_are_of_the_decoded_frames(config):
    frames = moving_clip(3)
    payload = encode_gop(frames, config, 0)

    decoded = [frame.numpy() for frame in renderer(payload.bytes).frames(range(3))]

    assert payload.stats.n_gaussians == 60
    assert payload.stats.psnr_db == pytest.approx([psnr_db(a, b) for a, b in zip(frames, decoded, strict=True)])
    assert tuple(payload.stats.quantizer_cost_db) == QUANTIZED_STREAMS


def test_steps_are_counted_to_the_end(config):
    seen = []

    encode_gop(moving_clip(2), config, 0, lambda phase, step, share, loss: seen.append((phase.name, step, share)))

    phases = (*config.preset.phases, *config.preset.finetuning)
    assert [(name, step) for name, step, _ in seen] == [
        (phase.name, step + 1) for phase in phases for step in range(phase.n_steps)
    ]
    shares = [share for _, _, share in seen]
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1.0)


def test_a_still_gop_spends_nothing_on_motion(config):
    one, three = (encode_gop(moving_clip(n), config, 0).bytes for n in (1, 3))

    assert unpack_gop(one).header.mlp_width == 1
    assert len(one) < len(three)


@pytest.mark.parametrize("share", [0.5, 1.0, 1.8])
def test_a_target_changes_the_number_of_gaussians(config, share):
    frames = moving_clip(3)
    config = dataclasses.replace(config, n_gaussians=150)
    free = encode_gop(frames, config, 0)
    target = round(share * len(free.bytes))

    payload = encode_gop(frames, dataclasses.replace(config, target_bytes=target), 0)

    assert len(payload.bytes) == pytest.approx(target, rel=0.1)
    if share != 1.0:
        assert (payload.stats.n_gaussians > 150) == (share > 1)
    assert unpack_gop(payload.bytes).header.n_gaussians == payload.stats.n_gaussians


def test_initialization_and_colours_are_as_configured(config):
    frames = moving_clip(2)
    plain = encode_gop(frames, config, 0).bytes

    random = encode_gop(frames, dataclasses.replace(config, initialization="random"), 0).bytes
    header = unpack_gop(
        encode_gop(frames, dataclasses.replace(config, color_stages=3, color_codebook_size=5), 0).bytes
    ).header

    assert random != plain
    assert (header.color_stages, header.color_codebook_size) == (3, 5)


@pytest.mark.parametrize(
    ("rule", "expected"), [("first", 0), ("middle", 3), ("auto", 4)], ids=["first", "middle", "auto"]
)
def test_choice_of_the_key_frame(rule, expected):
    """Of greys 0, 10, 250, 250, 100, 130 the mean is 123: 130 would be nearest, 100 is once 130 is gone."""
    frames = np.zeros((6, 16, 16, 3), np.uint8) + np.array([0, 10, 250, 250, 118, 160], np.uint8)[:, None, None, None]

    assert choose_key_frame(frames, rule) == expected


def test_auto_key_frame_has_the_least_error_to_all_others():
    frames = moving_clip(9, 64, 48)
    thumbnails = frames[:, ::8, ::8].astype(np.float64)
    errors = [((thumbnails - thumbnail) ** 2).sum() for thumbnail in thumbnails]

    assert choose_key_frame(frames, "auto") == int(np.argmin(errors))


@pytest.mark.parametrize("rule", ["first", "middle", "auto"])
def test_key_frame_of_a_single_frame(rule):
    assert choose_key_frame(moving_clip(1), rule) == 0
