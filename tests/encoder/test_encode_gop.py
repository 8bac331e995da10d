from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from clips import moving_clip, panning_clip, psnr_db
from fits import fitted, gop_config, renderer, stored_order

from stgvcodec.bitstream.payload.head import read_header
from stgvcodec.encoder.encode_gop import GopConfig, choose_key_frame, encode_gop, fit_stages
from stgvcodec.encoder.gop_symbols import gop_symbols
from stgvcodec.encoder.presets import FIELD_SIZES
from stgvcodec.encoder.profiles import PROFILES
from stgvcodec.fit.phases import QUANTIZED_STREAMS, Phase
from stgvcodec.model.gop_model import frame_time, render


@pytest.fixture(params=list(PROFILES))
def config(request) -> GopConfig:
    return gop_config(request.param)


def test_is_a_pure_function(config):
    """The same arguments give the same bytes; the frames and the global generators are left as they were."""
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
    """The trainer's quantised values are the decoder's, bit for bit, and so are the pictures.

    For that, the Gaussians are put into the order in which they are stored, on which a sum of floats depends.
    """
    config = dataclasses.replace(config, backend=backend)
    trainer, payload = fitted(monkeypatch, moving_clip(n_frames), config)

    with torch.no_grad():
        seen, _ = trainer.quantizers.quantize(trainer.model.gop_parameters(), QUANTIZED_STREAMS)
        order = torch.from_numpy(stored_order(gop_symbols(trainer)))
        seen = seen._replace(means=seen.means[order], cholesky=seen.cholesky[order], colors=seen.colors[order])
        times = [frame_time(k, n_frames) for k in range(n_frames)]
        seen_frames = render(seen, trainer.spec, times, backend=backend)
        decoder = renderer(payload.bytes, config)
        decoded_frames = render(decoder.parameters, decoder.spec, times, backend=backend)

    assert decoder.spec == trainer.spec
    for mine, theirs in zip(seen[:3], decoder.parameters[:3], strict=True):
        assert torch.equal(mine, theirs)
    mine_of_field, theirs_of_field = ((*field[:2], *field.weights) for field in (seen.field, decoder.parameters.field))
    for mine, theirs in zip(mine_of_field, theirs_of_field, strict=True):
        assert torch.equal(mine, theirs)
    assert torch.equal(seen_frames, decoded_frames)


def test_figures_are_of_the_decoded_frames(config):
    frames = moving_clip(3)
    payload = encode_gop(frames, config, 0)

    decoded = [frame.numpy() for frame in renderer(payload.bytes, config).frames(range(3))]

    assert payload.stats.n_gaussians == 60
    assert payload.stats.psnr_db == pytest.approx([psnr_db(a, b) for a, b in zip(frames, decoded, strict=True)])
    assert tuple(payload.stats.quantizer_cost_db) == QUANTIZED_STREAMS


@pytest.mark.parametrize("target_bytes", [None, 900], ids=["free", "target"])
def test_steps_are_counted_to_the_end(config, target_bytes):
    """Steps that follow a missed target come on top: whether there will be any is not known before."""
    config = dataclasses.replace(config, target_bytes=target_bytes)
    seen = []

    encode_gop(moving_clip(2), config, 0, lambda phase, step, share, loss: seen.append((phase.name, step, share)))

    phases = [stage.phase for stage in fit_stages(config, 2, has_paths=False)]
    planned = [(name, step, share) for name, step, share in seen if name != "touch-up"]
    assert [(name, step) for name, step, _ in planned] == [
        (phase.name, step + 1) for phase in phases for step in range(phase.n_steps)
    ]
    assert seen[: len(planned)] == planned
    shares = [share for _, _, share in seen]
    assert shares == sorted(shares)
    # What follows the last step has a share too.
    assert 0.5 < planned[-1][2] < 1.0
    assert shares[-1] <= 1.0


def densified(config: GopConfig, share: float = 0.3) -> GopConfig:
    return dataclasses.replace(config, preset=dataclasses.replace(config.preset, densified=share))


@pytest.mark.parametrize("n_gaussians", [1, 2, 61], ids="{} Gaussians".format)
def test_gaussians_that_training_adds_are_of_those_asked_for(config, n_gaussians):
    config = densified(dataclasses.replace(config, n_gaussians=n_gaussians))

    payload = encode_gop(moving_clip(3), config, 0)

    assert payload.stats.n_gaussians == n_gaussians
    stages = fit_stages(config, 3, has_paths=False)
    assert sum(stage.n_added for stage in stages) == (round(0.3 * n_gaussians) if n_gaussians > 2 else n_gaussians - 1)


def test_gaussians_are_added_early_and_their_number_meets_the_size_later():
    config = densified(gop_config("compact", target_bytes=900))

    stages = fit_stages(config, 4, has_paths=False)

    assert [(stage.phase.name, stage.n_added, stage.meets_size) for stage in stages] == [
        ("key-frame", 0, False),
        ("joint 1/4", 0, False),
        ("joint 2/4", 9, False),
        ("joint 3/4", 9, False),
        ("joint 4/4", 0, True),
        ("finetune", 0, True),
    ]


def test_a_single_frame_has_all_gaussians_from_the_beginning():
    stages = fit_stages(densified(gop_config("compact")), 1, has_paths=False)

    assert not any(stage.n_added for stage in stages)


def test_a_still_gop_spends_nothing_on_motion(config):
    one, three = (encode_gop(moving_clip(n), config, 0).bytes for n in (1, 3))

    assert read_header(one).mlp_width == 1
    assert len(one) < len(three)


def with_motion(config: GopConfig) -> GopConfig:
    """The configuration with a phase on paths before the others."""
    motion = Phase("motion", frames="all", n_steps=60, final_rate=0.03, frames_per_step=4, target="paths")
    phases = (motion, *config.preset.phases)
    return dataclasses.replace(config, preset=dataclasses.replace(config.preset, phases=phases))


def phase_names(frames: np.ndarray, config: GopConfig) -> set[str]:
    names = set()
    shares = [0.0]

    def on_step(phase: Phase, step: int, share: float, loss: torch.Tensor) -> None:
        names.add(phase.name)
        shares.append(share)

    encode_gop(frames, config, 0, on_step)
    assert shares == sorted(shares)
    # What follows the last step has a share too.
    assert 0.5 < shares[-1] < 1.0
    return names


def test_the_field_starts_on_paths_where_much_moves(config):
    config = dataclasses.replace(with_motion(config), n_gaussians=300)

    assert "motion" in phase_names(panning_clip(4, (12.0, 0.0)), config)


@pytest.mark.parametrize(("n_frames", "shift"), [(4, (0.0, 0.0)), (4, (0.5, 0.5)), (1, (12.0, 0.0))])
def test_what_hardly_moves_is_left_to_its_pictures(config, n_frames, shift):
    frames = panning_clip(n_frames, shift)

    assert "motion" not in phase_names(frames, with_motion(config))
    assert encode_gop(frames, with_motion(config), 0).bytes == encode_gop(frames, config, 0).bytes


@pytest.mark.parametrize(("n_stages", "size"), [(3, 5), (1, 1)])
def test_codebooks_are_as_configured(n_stages, size):
    payloads = {
        name: encode_gop(
            moving_clip(2), gop_config(name, profile=PROFILES[name].with_codebooks(n_stages, size)), 0
        ).bytes
        for name in PROFILES
    }

    header = read_header(payloads["paper"])
    assert (header.color_stages, header.color_codebook_size) == (n_stages, size)
    assert payloads["compact"] == encode_gop(moving_clip(2), gop_config("compact"), 0).bytes


def test_the_field_is_as_configured(config):
    payload = encode_gop(moving_clip(2), dataclasses.replace(config, field=FIELD_SIZES[-2]), 0).bytes

    header = read_header(payload)
    assert header.mlp_width == FIELD_SIZES[-2].mlp_width
    assert len(header.static_resolutions) == FIELD_SIZES[-2].n_levels


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
