from __future__ import annotations

import pytest

from stgvcodec.encoder.model_size import default_field_size, default_n_gaussians, field_spec
from stgvcodec.encoder.presets import FIELD_SIZES, PRESETS
from stgvcodec.fit.phases import QUANTIZED_STREAMS

EFFORTS = ("draft", "fast", "medium", "slow", "veryslow")


def n_steps(name: str) -> int:
    return sum(phase.n_steps for phase in (*PRESETS[name].phases, *PRESETS[name].finetuning))


def test_presets_of_the_issue_are_there():
    assert {*EFFORTS, "paper"} <= set(PRESETS)
    assert all(preset.name == name for name, preset in PRESETS.items())


def test_effort_rises():
    steps = [n_steps(name) for name in EFFORTS]

    assert steps == sorted(set(steps))


@pytest.mark.parametrize("name", [*EFFORTS, "paper"])
def test_a_fit_ends_with_all_frames_and_then_every_quantiser_on(name):
    preset = PRESETS[name]

    assert preset.phases[-1].frames == "all"
    assert preset.finetuning[-1].quantized == QUANTIZED_STREAMS
    assert not any(phase.quantized for phase in preset.phases)


def test_slow_takes_a_tenth_of_the_steps_of_the_paper():
    assert n_steps("slow") <= n_steps("paper") / 10


def test_paper_has_the_figures_of_the_paper():
    paper = PRESETS["paper"]
    bunny, hd = ((1280, 640), (1280, 720))

    assert paper.gop == 10
    assert [phase.n_steps for phase in paper.phases] == [10_000, 60_000]
    assert (paper.key_frame, paper.initialization, paper.means_space) == ("first", "random", "tanh")
    assert default_n_gaussians(paper, *bunny) == 20_000
    assert default_n_gaussians(paper, *hd) == 40_000
    assert (paper.color_stages, paper.color_codebook_size) == (2, 8)
    key, joint = paper.phases
    for phase in (key, joint):
        assert phase.rates.means == phase.rates.cholesky == phase.rates.colors == 7e-3
        assert phase.frames_per_step == 1
    assert joint.rates.mlp == joint.rates.hash_tables == 1.6e-4
    assert joint.rates.mlp * joint.final_rate == pytest.approx(1.6e-5)


def test_paper_field_is_that_of_the_paper():
    """L = 8 levels from 16 up by 1.5, T = 2^10, F = 2 and 4, width 128, six octaves of time."""
    spec = field_spec(PRESETS["paper"].field, 10)
    sides = (16, 24, 36, 54, 81, 121, 182, 273)

    assert spec.static_grid.resolutions == tuple((n, n) for n in sides)
    assert spec.dynamic_grid.resolutions == tuple((n, n, n) for n in sides)
    assert (spec.static_grid.n_features_per_level, spec.dynamic_grid.n_features_per_level) == (2, 4)
    assert spec.static_grid.log2_hashmap_size == spec.dynamic_grid.log2_hashmap_size == 10
    assert (spec.mlp_width, spec.n_frequencies) == (128, 6)


@pytest.mark.parametrize("preset", ["medium", "paper"])
def test_more_pixels_never_get_fewer_gaussians(preset):
    sizes = [(1, 1), (17, 9), (320, 176), (640, 360), (1280, 640), (1280, 720), (1920, 1080)]

    counts = [default_n_gaussians(PRESETS[preset], *size) for size in sizes]

    assert counts[0] >= 1
    assert counts == sorted(counts)


def test_field_sizes_go_from_large_to_small():
    parameters = [field_spec(size, 10).n_parameters for size in FIELD_SIZES]

    assert parameters == sorted(set(parameters), reverse=True)


def test_more_pixels_never_get_a_smaller_field():
    medium = PRESETS["medium"]
    sizes = [(1, 1), (48, 32), (320, 176), (640, 360), (1280, 720), (3840, 2160)]

    chosen = [field_spec(default_field_size(medium, *size, 10), 10).n_parameters for size in sizes]

    assert chosen == sorted(chosen)
    assert chosen[0] < chosen[-1]
