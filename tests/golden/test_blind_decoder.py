"""The package against `blind_decoder.py`, which was written from bitstream_spec.md alone."""

from __future__ import annotations

import hashlib
import io
import itertools
import random
import re
import struct
import zlib
from fractions import Fraction
from pathlib import Path

import blind_decoder
import numpy as np
import pytest
import torch
from gops import modes, random_gop
from spec_tables import cells_after

from stgvcodec import VideoDecoder
from stgvcodec.bitstream import ColorDescription, StgvReader, StgvWriter, StreamHeader, pack_gop, unpack_gop
from stgvcodec.bitstream.container.chunks import frame_chunk
from stgvcodec.bitstream.syntax.versions import PROFILES
from stgvcodec.decoder.gop_renderer import GopRenderer
from stgvcodec.errors import BitstreamError
from stgvcodec.model.gaussians import bounded_cholesky
from stgvcodec.ops.deform_shapes import deform_shapes

GOLDEN = sorted(Path(__file__).parent.glob("*.stgv"))
BYTES = {path.stem: path.read_bytes() for path in GOLDEN}
MODES = list(itertools.product((0, 1), repeat=3))
WIDTH, HEIGHT = 63, 50
PRIVATE, UNKNOWN_CRITICAL = 0x7ABC, 0x8009


def flat(array):
    """Integers; floats as their bit patterns."""
    array = np.asarray(array)
    return (array.view(np.uint32) if array.dtype == np.float32 else array.astype(np.int64)).reshape(-1).tolist()


def blind_symbols(gop):
    symbols, side = gop.symbols, vars(gop.symbols.side_info)
    tables = {
        "static_table": np.concatenate(symbols.static_table),
        "dynamic_table": np.concatenate(symbols.dynamic_table),
        **{f"mlp {i}": tensor for i, tensor in enumerate(symbols.mlp.values())},
    }
    gaussians = {name: getattr(symbols, name) for name in ("points", "shapes", "colors", "codebooks")}
    return vars(gop.header), {name: flat(array) for name, array in {**side, **tables, **gaussians}.items()}


def package_symbols(payload):
    symbols = dict(vars(unpack_gop(payload)))
    header = vars(symbols.pop("header"))
    symbols.update({f"mlp {i}": tensor for i, tensor in enumerate(symbols.pop("mlp")) if tensor.size})
    return header, {name: flat(array) for name, array in symbols.items()}


def blind_result(read, data):
    """The file header, and of each GoP timestamps, header and symbols; None if the file is refused."""
    try:
        file = read(data)
    except blind_decoder.FormatError:
        return None
    return vars(file.header), [(gop.first_frame, tuple(gop.pts), *blind_symbols(gop)) for gop in file.gops]


def package_result(data, *, keep_going=False):
    try:
        with StgvReader(io.BytesIO(data), keep_going=keep_going) as reader:
            if not keep_going:
                reader.verify()
            gops = [
                (gop.first_frame, gop.pts, *package_symbols(reader.read_gop(i))) for i, gop in enumerate(reader.gops)
            ]
            header = dict(vars(reader.header))
    except BitstreamError:
        return None
    header["profile"] = PROFILES[header["profile"]]
    header["version_major"], header["version_minor"] = header.pop("format_version")
    header["sample_aspect"] = header.pop("sample_aspect_ratio")
    header.update({f"color_{name}": int(value) for name, value in vars(header.pop("color")).items()})
    return header, gops


def assert_the_same(data, what=""):
    """Whether a file is refused, and if it is not, its symbols. Returns whether it is read."""
    result = package_result(data)
    assert blind_result(blind_decoder.parse, data) == result, what
    return result is not None


def assert_recovered_the_same(data, what=""):
    """The first frames of the GoPs that are kept; None if the file is refused."""
    result = package_result(data, keep_going=True)
    assert blind_result(lambda damaged: blind_decoder.recover(damaged).file, data) == result, what
    return None if result is None else [first_frame for first_frame, *_ in result[1]]


@pytest.fixture(scope="module")
def written():
    """A file with a GoP in each combination of modes, half of them with changes of shape.

    Between them are chunks to skip, and timestamps are uneven.
    """
    header = StreamHeader(
        width=WIDTH,
        height=HEIGHT,
        frame_rate=Fraction(30000, 1001),
        time_base=Fraction(1, 90000),
        color=ColorDescription(primaries=9, transfer=16, matrix=9, full_range=False),
        profile="compact",
        tool="blind ü",
    )
    file = io.BytesIO()
    writer = StgvWriter(file, header)
    for i, combination in enumerate(MODES):
        n_frames = 1 + i % 3
        writer.add_chunk(PRIVATE, b"skip me")
        sizes = {"n_gaussians": 30 + i, "n_frames": n_frames, "low_pass": 0.375 * (i % 2)}
        symbols = random_gop(i, **sizes, **modes(*combination), shape_head=int(2 <= i < 6))
        writer.add_gop(pack_gop(symbols), [100 * i - 5 + k * k for k in range(n_frames)])
    writer.finish()
    return file.getvalue()


@pytest.fixture(scope="module", params=[*BYTES, "written"])
def intact(request, written):
    return written if request.param == "written" else BYTES[request.param]


def test_symbols_are_the_same(intact):
    assert assert_the_same(intact)
    assert assert_recovered_the_same(intact) == [gop.first_frame for gop in blind_decoder.parse(intact).gops]
    assert blind_decoder.recover(intact).report == []


def test_parameters_have_the_same_bits_and_gaussians_the_same_values(intact):
    file = blind_decoder.parse(intact)
    size = {"width": file.header.width, "height": file.header.height}
    with StgvReader(io.BytesIO(intact)) as reader:
        payloads = [reader.read_gop(i) for i in range(len(reader.gops))]
    for gop, payload in zip(file.gops, payloads, strict=True):
        renderer = GopRenderer(payload, **size, device=torch.device("cpu"), backend="reference")
        ours, theirs = gop.parameters, renderer.parameters
        pairs = [
            (ours.means, theirs.means),
            (ours.cholesky, bounded_cholesky(theirs.cholesky)),
            (ours.colors, theirs.colors),
            (np.concatenate(ours.static_table), theirs.field.static_table),
            (np.concatenate(ours.dynamic_table), theirs.field.dynamic_table),
            *((ours.mlp.get(name, ()), tensor) for name, tensor in theirs.field.weights._asdict().items()),
        ]
        for expected, tensor in pairs:
            assert flat(tensor.numpy()) == flat(expected)
        for k in range(gop.header.n_frames):
            frame = blind_decoder.frame_gaussians(file.header, gop, k)
            expected = (frame.m, frame.cholesky, frame.color)
            for tensor, array in zip(renderer.gaussians(k), expected, strict=True):
                np.testing.assert_allclose(tensor.numpy(), array, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("row", cells_after("Table of hashes of symbols and parameters:"), ids=lambda row: row[0])
def test_symbols_and_parameters_have_the_hashes_of_the_specification(row):
    name, of_symbols, of_parameters = row
    hashes = hashlib.sha256(), hashlib.sha256()
    for gop in blind_decoder.parse(BYTES[Path(name).stem]).gops:
        coded, found = gop.symbols, gop.parameters
        bias = 2 ** (gop.header.weight_bits - 1)
        arrays = [(value, "<f4") for value in vars(coded.side_info).values()]
        arrays += [(coded.codebooks, "<u2"), (coded.points, "<u2"), (coded.shapes.T, "u1"), (coded.colors.T, "u1")]
        arrays += [(q + bias, "u1") for q in (*coded.static_table, *coded.dynamic_table, *coded.mlp.values())]
        for array, kind in arrays:
            hashes[0].update(np.asarray(array).astype(kind).tobytes())
        fields = (*found.static_table, *found.dynamic_table, *found.mlp.values())
        for array in (found.means, found.cholesky, found.colors, *fields):
            hashes[1].update(np.asarray(array).astype("<f4").tobytes())
    assert [each.hexdigest() for each in hashes] == [of_symbols, of_parameters]


def test_pictures_are_within_the_tolerance(intact, tmp_path):
    """bitstream_spec.md, section 7.7."""
    path = tmp_path / "file.stgv"
    path.write_bytes(intact)
    with VideoDecoder(path, device="cpu", backend="reference") as decoder:
        pts = [decoder.pts(i) for i in range(len(decoder))]
        frames = decoder[:].permute(0, 2, 3, 1).numpy()
    expected = blind_decoder.decode(intact)
    assert expected.pts == pts
    assert expected.frames.shape == frames.shape
    for difference in np.abs(frames.astype(np.int64) - expected.frames):
        assert difference.max() <= 2
        assert np.count_nonzero(difference > 1) <= 1e-4 * difference.size


def test_written_pictures_show_something(written):
    """Otherwise the comparison of pictures would show little: few samples are clipped, and time moves."""
    frames = blind_decoder.decode(written).frames
    assert all(np.mean((frame > 0) & (frame < 255)) > 0.5 for frame in frames)
    assert np.abs(np.diff(frames[3:6].astype(np.int64), axis=0)).mean() > 1


def numbers(cell):
    return [float(number) for number in cell.split()]


def reader_of(data):
    return blind_decoder.Reader(data, 0, len(data), "test")


@pytest.mark.parametrize("row", cells_after("Table test values (frequencies before scaling):"), ids=lambda row: row[2])
def test_frequency_tables_of_the_specification(row):
    reader = reader_of(bytes.fromhex(row[2]))
    assert blind_decoder.read_frequencies(reader, int(row[0]), int(row[1])) == numbers(row[3])
    reader.finish()


@pytest.mark.parametrize("row", cells_after("Family test values:"), ids=lambda row: " ".join(row[:4]))
def test_families_of_the_specification(row):
    family, *sizes, frequencies = row
    assert blind_decoder.family_frequencies(family, *map(int, sizes)) == numbers(frequencies)


@pytest.mark.parametrize("row", cells_after("ANS test values:"), ids=lambda row: row[2])
def test_coder_of_the_specification(row):
    words = b"".join(struct.pack("<I", int(word, 16)) for word in row[2].split())
    coder = blind_decoder.AnsDecoder(reader_of(words.rstrip(b"\0")))
    frequencies, symbols = ([int(number) for number in cell.split()] for cell in row[:2])
    assert coder.decode(len(symbols), list(itertools.accumulate(frequencies, initial=0))).tolist() == symbols
    coder.finish()


CONDITIONAL = "Conditional test values (one attribute with A = 4 and one context symbol, decoded before):"


@pytest.mark.parametrize("row", cells_after(CONDITIONAL), ids=lambda row: row[1])
def test_conditional_streams_of_the_specification(row):
    context = np.array(row[0].split(), np.int64)
    attribute = blind_decoder.Attribute("x", 4, ("before",))
    reader = reader_of(bytes.fromhex(row[1]))
    decoded = blind_decoder.read_conditional(reader, len(context), [attribute], {"before": context})
    assert decoded["x"].tolist() == numbers(row[2])


SCALES = (
    "Scale table test values (binary32 patterns of shape_scale and of T[0], T[1], T[2], T[10], T[50], T[80], T[255]):"
)


@pytest.mark.parametrize("row", cells_after(SCALES), ids=lambda row: row[0])
def test_scale_tables_of_the_specification(row):
    scale = np.array([int(row[0], 16)], np.uint32).view(np.float32)[0]
    table = blind_decoder.scale_table(scale)[[0, 1, 2, 10, 50, 80, 255]].view(np.uint32)
    assert [f"{pattern:08x}" for pattern in table.tolist()] == row[1].split()


@pytest.mark.parametrize(
    "row", cells_after("Shape change test values (rounded to seven digits):"), ids=lambda row: row[1]
)
def test_changes_of_shape_of_the_specification(row):
    cholesky, delta, expected = (np.array([numbers(cell)], np.float32) for cell in row)
    np.testing.assert_allclose(blind_decoder.changed_shapes(cholesky, delta), expected, rtol=5e-7)
    ours = deform_shapes(torch.from_numpy(cholesky), torch.from_numpy(delta[None]))[0]
    np.testing.assert_allclose(ours.numpy(), expected, rtol=5e-7)


def test_worked_example_has_the_numbers_of_the_specification():
    file = blind_decoder.parse(BYTES["worked_example"])
    (gop,) = file.gops
    symbols, parameters = gop.symbols, gop.parameters
    tables = {
        "Worked example, symbols of the Gaussians:": (symbols.points, symbols.shapes, symbols.colors),
        "Worked example, parameters:": (parameters.means, parameters.cholesky, parameters.colors),
    }
    for marker, arrays in tables.items():
        for i, (gaussian, *cells) in enumerate(cells_after(marker)):
            assert int(gaussian) == i
            assert [numbers(cell) for cell in cells] == [array[i].tolist() for array in arrays]
    q = [*symbols.static_table, *symbols.dynamic_table, *symbols.mlp.values()]
    assert [numbers(row[3]) for row in cells_after("Worked example, field:")] == [array.ravel().tolist() for array in q]
    frames = [blind_decoder.frame_gaussians(file.header, gop, k) for k in range(2)]
    rows = cells_after("Worked example, Gaussians of each frame:")
    assert [row[:2] for row in rows] == [[str(k), str(i)] for k in range(2) for i in range(3)]
    for k, i, *cells in rows:
        frame = frames[int(k)]
        arrays = (frame.f_s, frame.f_d, frame.m, frame.cholesky, frame.color)
        assert [numbers(cell) for cell in cells] == [array[int(i)].tolist() for array in arrays]


def test_worked_example_has_the_pixels_of_the_specification():
    frames = blind_decoder.decode(BYTES["worked_example"]).frames
    rows = cells_after("Worked example, pixels of row 3, from the left:")
    assert len(rows) == 6
    for k, channel, samples in rows:
        assert frames[int(k), 3, :, "RGB".index(channel)].tolist() == numbers(samples)


def repaired(data):
    """The file with CRCs that hold, as far as its framing can be followed."""
    out, at = bytearray(data), len(blind_decoder.MAGIC)
    while at + blind_decoder.CHUNK_FRAMING_BYTES <= len(out):
        out[at + 10 : at + 14] = struct.pack("<I", zlib.crc32(out[at : at + 10]))
        end = at + blind_decoder.CHUNK_HEADER_BYTES + int.from_bytes(out[at + 6 : at + 10], "little")
        if end + 4 > len(out):
            break
        out[end : end + 4] = struct.pack("<I", zlib.crc32(out[at + 14 : end]))
        at = end + 4
    return bytes(out)


def changed(data, at, pattern):
    return data[:at] + bytes([data[at] ^ pattern]) + data[at + 1 :]


@pytest.mark.parametrize("name", BYTES)
def test_a_changed_byte_is_refused(name):
    data, rng = BYTES[name], random.Random(name)
    for at in rng.sample(range(len(data)), 40):
        assert not assert_the_same(changed(data, at, rng.randrange(1, 256)), at)


@pytest.mark.parametrize("name", ["worked_example", "compact", "paper"])
def test_a_changed_byte_with_repaired_crcs_is_refused_or_read_alike(name):
    """The checks of the coder, the limits and the index, which CRCs hide."""
    data, rng = BYTES[name], random.Random(name)
    n_read = 0
    places = range(len(data)) if name == "worked_example" else rng.sample(range(len(data)), 60)
    for at in places:
        damaged = repaired(changed(data, at, rng.randrange(1, 256)))
        n_read += assert_the_same(damaged, at)
        assert_recovered_the_same(damaged, at)
    assert 0 < n_read < len(places)


def test_cut_and_spliced_files_are_refused():
    data, rng = BYTES["worked_example"], random.Random(5)
    for _ in range(100):
        i, j = sorted(rng.sample(range(len(data)), 2))
        damaged = rng.choice([data[:i] + data[j:], data[:i] + rng.randbytes(3) + data[i:], data[:j] + data[i:]])
        assert not assert_the_same(damaged, (i, j))
        assert not assert_the_same(repaired(damaged), (i, j))
        assert_recovered_the_same(repaired(damaged), (i, j))


def with_header(data, **changes):
    """The file with other bytes at places in the payload of its FILE_HEADER chunk, which begins at byte 22."""
    out = bytearray(data)
    for at, value in changes.items():
        out[22 + int(at.removeprefix("byte_"))] = value
    return repaired(bytes(out))


FILE_HEADERS = {
    "another major version": ({"byte_0": 3}, False),
    "a later minor version": ({"byte_1": 1}, True),
    "an unknown profile": ({"byte_2": 3}, False),
    "no width": ({"byte_3": 0}, False),
    "a frame rate that is not in lowest terms": ({"byte_5": 26, "byte_6": 2}, False),
    "a full range flag of 2": ({"byte_15": 2}, False),
    "a control character in the tool": ({"byte_17": 0x1B}, False),
}


@pytest.mark.parametrize("changes_and_read", FILE_HEADERS.values(), ids=FILE_HEADERS)
def test_file_headers_are_refused_alike(changes_and_read):
    changes, is_read = changes_and_read
    assert assert_the_same(with_header(BYTES["worked_example"], **changes)) == is_read


def test_a_chunk_that_differs_from_the_index_is_refused(written):
    at = written.rindex(struct.pack("<HB", PRIVATE, 7))
    assert not assert_the_same(repaired(changed(written, at, 1)))


def test_an_unknown_critical_chunk_is_refused(written):
    kind = struct.pack("<H", PRIVATE)
    listed, chunk = written.rindex(kind + b"\7"), written.rindex(blind_decoder.SYNC + kind) + 4
    assert not assert_the_same(repaired(changed(changed(written, listed + 1, 0x80), chunk + 1, 0x80)))
    assert assert_the_same(repaired(changed(changed(written, listed, 1), chunk, 1)))


def recovery_cases():
    """Damaged files, and the first frames of the GoPs that are kept of each."""
    data, both = BYTES["two_gops"], [0, 4]
    _, first, second, end = (match.start() for match in re.finditer(re.escape(blind_decoder.SYNC), data))
    unknown, early = frame_chunk(UNKNOWN_CRITICAL, b""), data[:8] + data[first:second] + data[8:]
    large, small = (frame_chunk(PRIVATE, bytes(n))[:14] for n in (len(data), 109))
    later = data[first:] + bytes(len(data))
    return {
        "no magic": (data[8:], both),
        "no END chunk": (data[:end], both),
        "the END chunk in the middle": (data[:first] + data[end:] + data[first:], both),
        "a payload damaged": (changed(data, first + 60, 1), [4]),
        "bytes of a payload missing": (data[: first + 50] + data[first + 90 :], [4]),
        "a GOP chunk cut to its sync marker": (data[: first + 4] + data[second:], [4]),
        "a GOP chunk cut to its header": (data[: first + 14] + data[second:], [4]),
        "a chunk header damaged": (changed(data, second + 7, 0xFF), [0]),
        "a GoP twice": (data[:second] + data[first:], both),
        "GoPs in the wrong order": (data[:first] + data[second:end] + data[first:second] + data[end:], [4]),
        "a second FILE_HEADER chunk": (data[:first] + data[8:first] + data[first:], both),
        "a GoP before the FILE_HEADER chunk": (early, both),
        "no FILE_HEADER chunk": (data[:8] + data[first:], None),
        "a FILE_HEADER chunk of another version": (with_header(data, byte_0=1), None),
        "no GoP": (data[:first] + data[end:], None),
        "an unknown critical chunk": (data[:first] + unknown + data[first:], None),
        "an unknown critical chunk before FILE_HEADER": (data[:8] + unknown + data[8:], None),
        "a coder that does not end with its check": (repaired(changed(data, second - 5, 1)), None),
        "headers that claim too much": (data[:second] + large * 100 + later, [0]),
        "many headers that claim little": (data[:second] + small * 6000 + later, [0]),
        "a few headers that claim little": (data[:second] + small * 100 + later, both),
    }


RECOVERY = recovery_cases()


@pytest.mark.parametrize("case", RECOVERY.values(), ids=RECOVERY)
def test_recovery_keeps_the_same_gops(case):
    damaged, kept = case
    assert assert_recovered_the_same(damaged) == kept


def test_bounded_search_is_reported():
    damaged, _ = RECOVERY["headers that claim too much"]
    assert any("stops" in line for line in blind_decoder.recover(damaged).report)
    with StgvReader(io.BytesIO(damaged), keep_going=True) as reader:
        assert any("too much damage" in line for line in reader.damage)
