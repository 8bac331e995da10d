from __future__ import annotations

import dataclasses
from pathlib import Path

from gops import PAPER, gop_header, random_gop, write_gops

from stgvcodec.bitstream import pack_gop
from stgvcodec.evaluation.flat_bits import file_flat_bits, flat_bits

PAPER_SIDES = (16, 24, 36, 54, 81, 121, 182, 273)
PAPER_GOP = gop_header(
    **PAPER,
    n_frames=10,
    n_gaussians=20_000,
    low_pass=0.0,
    color_codebook_size=8,
    static_resolutions=tuple((n, n) for n in PAPER_SIDES),
    static_log2_size=10,
    dynamic_resolutions=tuple((n, n, n) for n in PAPER_SIDES),
    dynamic_features=4,
    dynamic_log2_size=10,
    mlp_width=128,
    n_frequencies=6,
)


def test_the_papers_own_size_by_hand() -> None:
    # 62 bits a Gaussian: 32 of the means, 24 of Cholesky, 6 of colour.
    gaussians = 20_000 * 62
    codebooks = 16 * 3 * 2 * 8
    # 2D: 17^2 + 25^2 entries are dense, the other six hashed; 3D: all hashed.
    tables = 2 * (289 + 625 + 6 * 1024) + 4 * 8 * 1024
    inputs = 8 * 2 + 8 * 4 + 12
    mlp = inputs * 128 + 128 + 128 * 128 + 128 + 2 * 128 + 2 + 3 * 128 + 3
    floats = 6 + 8 + 8 + 8

    assert flat_bits(PAPER_GOP) == gaussians + codebooks + 8 * (tables + mlp) + 32 * floats


def test_a_single_codeword_costs_no_index() -> None:
    one = dataclasses.replace(PAPER_GOP, color_codebook_size=1)

    assert flat_bits(PAPER_GOP) - flat_bits(one) == 20_000 * 6 + 16 * 3 * 2 * 7


def test_a_file_is_the_sum_of_its_gops_but_for_other_profiles(tmp_path: Path) -> None:
    gops = [random_gop(n_frames=n_frames, **PAPER) for n_frames in (4, 3)]
    for profile, expected in (("paper", sum(flat_bits(gop.header) for gop in gops)), ("compact", None)):
        path = write_gops(tmp_path / "a.stgv", [pack_gop(gop) for gop in gops], profile=profile)
        assert file_flat_bits(path) == expected
