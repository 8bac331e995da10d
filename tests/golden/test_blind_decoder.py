"""The product against `blind_decoder.py`, written from bitstream_spec.md alone: symbols, numbers, pictures."""

from __future__ import annotations

import io
from fractions import Fraction
from pathlib import Path

import blind_decoder
import numpy as np
import pytest
import torch

from stgvcodec import VideoDecoder
from stgvcodec.bitstream import ColorDescription, GopHeader, GopSymbols, StgvReader, StgvWriter, StreamHeader, pack_gop
from stgvcodec.decoder.gop_renderer import GopRenderer

GOLDEN = Path(__file__).parent
SPEC = GOLDEN.parents[1] / "bitstream_spec.md"
WIDTH, HEIGHT = 19, 13
PTS = ((-5, -4, 7), (8,), (20, 1 << 40))


def assert_within_tolerance(actual, expected):
    """bitstream_spec.md, 10.6."""
    assert actual.shape == expected.shape
    for difference in np.abs(actual.astype(np.int64) - expected):
        assert difference.max() <= 2
        assert np.count_nonzero(difference > 1) <= 1e-4 * difference.size


def product_frames(path):
    with VideoDecoder(path, device="cpu") as decoder:
        pts = [decoder.pts(i) for i in range(len(decoder))]
        return pts, decoder[:].permute(0, 2, 3, 1).numpy()


def spec_rows(marker):
    table = SPEC.read_text(encoding="utf-8").split(f"\n{marker}\n\n")[1].split("\n\n")[0]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in table.splitlines()[2:]]


def header(**changes):
    sizes = {
        "n_frames": 3,
        "n_gaussians": 256,
        "low_pass": 0.375,
        "cholesky_bits": 8,
        "color_stages": 3,
        "color_codebook_size": 20,
        "static_resolutions": ((3, 2), (16, 15), (65535, 30)),
        "static_features": 2,
        "static_log2_size": 9,
        "dynamic_resolutions": ((2, 1, 2), (5, 9, 4), (31, 17, 1)),
        "dynamic_features": 3,
        "dynamic_log2_size": 8,
        "mlp_width": 17,
        "n_frequencies": 16,
        "weight_bits": 8,
    }
    return GopHeader(**{**sizes, **changes})


def random_gop(seed, header, *, spread=None):
    """Every symbol of every alphabet where there is room for it, or weights of a normal distribution."""
    rng = np.random.default_rng(seed)
    n, m, k = header.n_gaussians, header.color_stages, header.color_codebook_size
    half = 1 << (header.weight_bits - 1)

    def all_of(low, high, shape):
        return np.resize(low + rng.permutation(high - low), shape)

    def weights(shape):
        q = all_of(-half, half, shape) if spread is None else rng.normal(0, spread, shape).clip(-half, half - 1)
        return np.rint(q).astype(np.int8)

    return GopSymbols(
        header=header,
        means=np.float16(rng.uniform(-1.2, 1.2, (n, 2))).view(np.uint16),
        cholesky=all_of(0, 1 << header.cholesky_bits, (3, n)).T.astype(np.uint8).copy(),
        cholesky_scale=np.array([0.01, 0.02, 0.015], np.float32),
        cholesky_offset=np.array([-0.5, -2.56, 0.1], np.float32),
        color_indices=all_of(0, k, (n, m)).astype(np.uint8),
        codebooks=np.float16(rng.normal(0.01, 0.06, (m, k, 3))).view(np.uint16),
        static_table=weights((sum(header.static_entries), header.static_features)),
        static_scales=rng.uniform(0.5, 1.5, len(header.static_resolutions)).astype(np.float32) / half,
        dynamic_table=weights((sum(header.dynamic_entries), header.dynamic_features)),
        dynamic_scales=rng.uniform(0.5, 1.5, len(header.dynamic_resolutions)).astype(np.float32) / half,
        mlp=tuple(weights(shape) for shape in header.mlp_shapes),
        mlp_scales=np.array([0.3, 0.3, 0.3, 0.3, 0.04, 0.04, 0.02, 0.02], np.float32) / half,
    )


@pytest.fixture(scope="module")
def random_file(tmp_path_factory):
    """Three GoPs: every symbol; one frame with a minimal field; small and skewed alphabets. And chunks to skip."""
    minimal = header(
        n_frames=1,
        low_pass=0.0,
        static_resolutions=((1, 1),),
        static_features=1,
        dynamic_resolutions=((1, 1, 1),),
        dynamic_features=1,
        mlp_width=1,
        n_frequencies=1,
    )
    small = header(n_frames=2, cholesky_bits=5, color_stages=1, color_codebook_size=1, weight_bits=3)
    gops = [random_gop(0, header()), random_gop(1, minimal), random_gop(2, small, spread=0.7)]
    stream = StreamHeader(
        width=WIDTH,
        height=HEIGHT,
        frame_rate=Fraction(30000, 1001),
        time_base=Fraction(1, 90000),
        color=ColorDescription(primaries=9, transfer=16, matrix=9, full_range=False),
        profile="paper",
        format_version=(1, 0),
        tool="blind ü",
    )
    file = io.BytesIO()
    writer = StgvWriter(file, stream)
    for symbols, pts in zip(gops, PTS, strict=True):
        writer.add_chunk(0x7ABC, b"skip me")
        writer.add_gop(pack_gop(symbols), pts)
    writer.finish()
    path = tmp_path_factory.mktemp("blind") / "random.stgv"
    path.write_bytes(file.getvalue())
    return path


@pytest.mark.parametrize("name", ["set_compact", "set_paper"])
def test_a_reader_of_version_1_0_refuses_later_profiles_by_their_id(name):
    with pytest.raises(blind_decoder.FormatError, match="unknown profile"):
        blind_decoder.decode((GOLDEN / f"{name}.stgv").read_bytes())


@pytest.mark.parametrize("path", [GOLDEN / "two_gops.stgv", GOLDEN / "worked_example.stgv"], ids=lambda path: path.stem)
def test_golden_files(path):
    decoded = blind_decoder.decode(path.read_bytes())
    pts, frames = product_frames(path)
    assert decoded.pts == pts
    assert_within_tolerance(decoded.frames, frames)


def test_random_file(random_file):
    decoded = blind_decoder.decode(random_file.read_bytes())
    pts, frames = product_frames(random_file)
    assert (decoded.width, decoded.height) == (WIDTH, HEIGHT)
    assert decoded.pts == pts == [stamp for gop in PTS for stamp in gop]
    assert_within_tolerance(decoded.frames, frames)
    # Otherwise the comparison would show little: no picture is flat or clipped, and time moves.
    assert np.mean((frames > 0) & (frames < 255)) > 0.5
    assert np.abs(np.diff(frames[:3].astype(np.int64), axis=0)).mean() > 5


def test_random_file_has_every_model(random_file, monkeypatch):
    seen = set()
    read_u8 = blind_decoder.Reader.u8

    def spy(reader, field, low=0, high=255):
        value = read_u8(reader, field, low, high)
        if field == "model":
            seen.add(value if value & 3 == 0 else value & 3)
        return value

    monkeypatch.setattr(blind_decoder.Reader, "u8", spy)
    blind_decoder.parse(random_file.read_bytes())
    assert seen == {0b000, 0b100, 1, 2, 3}  # constant, raw, transmitted table, geometric, normal


def test_numbers_are_the_same_bits(random_file):
    """Section 9: exact but for the low-pass."""
    _, gops = blind_decoder.parse(random_file.read_bytes())
    with StgvReader(random_file) as reader:
        payloads = [reader.read_gop(i) for i in range(len(reader.gops))]
    for (timing, blind), payload in zip(gops, payloads, strict=True):
        options = {"width": WIDTH, "height": HEIGHT, "device": torch.device("cpu"), "backend": "reference"}
        product = GopRenderer(payload, **options)
        values = product.values
        pairs = [
            (blind.means, values.means),
            (blind.colors, values.colors),
            (np.concatenate(blind.static_tables), values.field.static_table),
            (np.concatenate(blind.dynamic_tables), values.field.dynamic_table),
            *zip(blind.mlp, values.field.weights, strict=True),
        ]
        for ours, theirs in pairs:
            np.testing.assert_array_equal(ours.view(np.uint32), theirs.numpy().view(np.uint32))
        exact = blind.header.low_pass == 0
        for k, ours in enumerate(blind_decoder.frame_gaussians(blind, WIDTH, HEIGHT)):
            centres, cholesky, colors = (tensor.numpy() for tensor in product.gaussians(k))
            np.testing.assert_allclose(ours.centres, centres, rtol=1e-5, atol=1e-4)
            np.testing.assert_allclose(ours.cholesky, cholesky, rtol=0 if exact else 1e-5, atol=0 if exact else 1e-5)
            np.testing.assert_allclose(ours.colors, colors, rtol=1e-5, atol=1e-5)
        assert k + 1 == timing.n_frames


def test_spec_shows_the_numbers_and_pixels_of_the_worked_example():
    data = (GOLDEN / "worked_example.stgv").read_bytes()
    file_header, [(_, model)] = blind_decoder.parse(data)
    frames = list(blind_decoder.frame_gaussians(model, file_header.width, file_header.height))
    positions = (model.means + 1) / 2
    static = blind_decoder.encode_positions(model.header.static_grid, model.static_tables, positions)
    rows = spec_rows("Worked example, numbers:")
    assert [row[:2] for row in rows] == [[str(k), str(n)] for k in range(2) for n in range(3)]
    for frame, gaussian, *numbers in rows:
        k, n = int(frame), int(gaussian)
        time = np.full((3, 1), k, np.float32)
        moments = np.concatenate([positions, time], axis=1)
        dynamic = blind_decoder.encode_positions(model.header.dynamic_grid, model.dynamic_tables, moments)
        expected = [static[n], dynamic[n], *(array[n] for array in frames[k])]
        for shown, values in zip(numbers, expected, strict=True):
            assert [float(number) for number in shown.split()] == values.tolist()
    pictures = blind_decoder.decode(data).frames
    rows = spec_rows("Worked example, pixels of row 3, from the left:")
    assert len(rows) == 6
    for frame, channel, samples in rows:
        assert [int(sample) for sample in samples.split()] == pictures[int(frame), 3, :, "RGB".index(channel)].tolist()


@pytest.mark.parametrize("at", [0, 12, 60, 150, 215, 236])
def test_damage_is_refused(at):
    data = bytearray((GOLDEN / "worked_example.stgv").read_bytes())
    data[at] ^= 1
    with pytest.raises(blind_decoder.FormatError):
        blind_decoder.decode(bytes(data))
