"""Every file under tests/golden/ decodes to what was stored when it was made."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from pathlib import Path

import numpy as np
import pytest
from clips import assert_same_pixels, read_frames
from make_golden import FILES, NOT_DRAWN, expectation, write_drawn

from stgvcodec import VideoDecoder
from stgvcodec.bitstream import ChunkType, StgvReader, pack_gop, unpack_gop
from stgvcodec.bitstream.container.chunks import is_critical
from stgvcodec.bitstream.container.verification import verify
from stgvcodec.bitstream.entropy import conditional, streams
from stgvcodec.bitstream.payload.pack import unpack_gop_slowly
from stgvcodec.evaluation.conformance import symbols_sha256

GOLDEN = Path(__file__).parents[1] / "golden"
SPECIFICATION = Path(__file__).parents[2] / "bitstream_spec.md"
EXPECTATIONS = json.loads((GOLDEN / "hashes.json").read_text())
NAMES = sorted(EXPECTATIONS)


def test_every_file_has_an_expectation():
    assert sorted(path.name for path in GOLDEN.glob("*.stgv")) == NAMES
    assert set(NAMES) == {*FILES, *NOT_DRAWN}
    stored = [path for path in GOLDEN.rglob("*") if path.is_file() and path.suffix != ".pyc"]
    assert sum(path.stat().st_size for path in stored) < 300_000
    assert max(path.stat().st_size for path in GOLDEN.glob("*.stgv")) < 20_000


def test_frozen_files_are_those_of_the_specification():
    rows = re.findall(r"^\| (\w+\.stgv) \| (\d+) \| (\w{64}) \| (\w{64}) \|$", SPECIFICATION.read_text(), re.M)
    assert len(rows) == 8
    for name, n_bytes, of_file, of_frames in rows:
        data = (GOLDEN / name).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (int(n_bytes), of_file)
        assert hashlib.sha256(read_frames(GOLDEN / Path(name).stem).tobytes()).hexdigest() == of_frames
        assert (EXPECTATIONS[name]["sha256"], EXPECTATIONS[name]["frames_sha256"]) == (of_file, of_frames)


@pytest.mark.parametrize("name", FILES)
def test_drawn_files_are_what_the_script_writes(name, tmp_path):
    """Their symbols are drawn by a seed. An encoder that chooses models better writes the same symbols smaller."""
    write_drawn(tmp_path / name)
    with StgvReader(tmp_path / name) as drawn, StgvReader(GOLDEN / name) as stored:
        assert drawn.header == stored.header
        assert [gop.timing for gop in drawn.gops] == [gop.timing for gop in stored.gops]
        for i in range(len(stored.gops)):
            assert symbols_sha256(drawn.unpack(i)) == symbols_sha256(stored.unpack(i))


@pytest.mark.parametrize("name", NAMES)
def test_files_are_unchanged(name):
    assert hashlib.sha256((GOLDEN / name).read_bytes()).hexdigest() == EXPECTATIONS[name]["sha256"]


@pytest.mark.parametrize("name", NAMES)
def test_symbols_and_headers_are_exact(name):
    """Integers and timestamps are the same on every machine."""
    assert expectation(GOLDEN / name) == EXPECTATIONS[name]


@pytest.mark.parametrize("name", NAMES)
def test_packing_the_symbols_again_gives_symbols_back(name):
    """It takes as many bytes or fewer: models are the encoder's choice, and later encoders choose better."""
    with StgvReader(GOLDEN / name) as reader:
        for i in range(len(reader.gops)):
            payload = reader.read_gop(i)
            symbols = unpack_gop(payload)
            packed = pack_gop(symbols)
            assert symbols_sha256(unpack_gop(packed)) == symbols_sha256(symbols)
            assert len(packed) <= len(payload)


@pytest.mark.parametrize("backend", ["reference", "numba"])
@pytest.mark.parametrize("name", NAMES)
def test_frames_are_those_stored(name, backend):
    stored = read_frames((GOLDEN / name).with_suffix(""))

    with VideoDecoder(GOLDEN / name, device="cpu", backend=backend) as decoder:
        frames = decoder[:].permute(0, 2, 3, 1).numpy()
        pts = [decoder.pts(i) for i in range(len(decoder))]

    assert frames.shape == stored.shape
    assert_same_pixels(frames, stored)
    assert pts == [stamp for gop in EXPECTATIONS[name]["gops"] for stamp in gop["pts"]]


def gops_of(names=NAMES):
    """The file header and the payload of every GoP."""
    for name in names:
        with StgvReader(GOLDEN / name) as reader:
            yield from ((reader.header, reader.read_gop(i)) for i in range(len(reader.gops)))


def test_together_they_have_each_mode_and_each_kind_of_header():
    headers, gops = [], []
    for header, payload in gops_of():
        headers.append(header)
        gops.append(unpack_gop(payload).header)

    assert len({(*gop.modes, gop.shape_head) for gop in gops}) == 16
    assert {header.profile for header in headers} == {"paper", "compact"}
    assert {header.sample_aspect_ratio == 1 for header in headers} == {True, False}
    assert {0, 1, 7, 2**40} <= {header.last_frame_duration for header in headers}
    assert {header.color.full_range for header in headers} == {True, False}
    assert {(header.width % 2, header.height % 2) for header in headers} == {(0, 0), (0, 1), (1, 1)}
    assert {1, 2, 3, 4} <= {gop.n_frames for gop in gops}
    for name, values in {
        "n_gaussians": {1, 600},
        "low_pass": {0.0, 0.25},
        "cholesky_bits": {1, 8},
        "color_stages": {1, 8},
        "color_codebook_size": {1, 256},
        "static_features": {1, 8},
        "dynamic_features": {1, 8},
        "mlp_width": {1, 17},
        "n_frequencies": {1, 16},
        "weight_bits": {1, 8},
    }.items():
        assert values <= {getattr(gop, name) for gop in gops}, name
    assert {1, 16} <= {len(gop.static_resolutions) for gop in gops}


def test_together_they_have_each_entropy_model_and_classes_of_contexts(monkeypatch):
    models, n_classes = set(), set()
    read_model, read_thresholds = streams.read_model, conditional.read_thresholds

    def seen_model(reader, array):
        if array.alphabet > 1:
            mode, parameter = reader.data[reader.position] & 3, reader.data[reader.position] >> 2
            # Mode 0 has constants and raw symbols, mode 1 tables and the narrow family.
            models.add((mode, parameter if mode == 0 else mode == 1 and parameter >= 16))
        return read_model(reader, array)

    def seen_thresholds(reader, attribute):
        thresholds = read_thresholds(reader, attribute)
        n_classes.add(len(thresholds) + 1)
        return thresholds

    monkeypatch.setattr(streams, "read_model", seen_model)
    monkeypatch.setattr(conditional, "read_model", seen_model)
    monkeypatch.setattr(conditional, "read_thresholds", seen_thresholds)
    for _, payload in gops_of():
        assert symbols_sha256(unpack_gop_slowly(payload)) == symbols_sha256(unpack_gop(payload))
    assert models == {(0, 0), (0, 1), (1, False), (1, True), (2, False), (3, False)}
    assert len(n_classes) > 2


def test_a_file_has_every_kind_of_ancillary_chunk():
    with StgvReader(GOLDEN / "all_modes.stgv") as reader:
        kinds = {chunk.type for chunk in reader.chunks}
        assert kinds == {*(kind for kind in ChunkType if not is_critical(kind)), ChunkType.GOP, 0x7ABC}
        verify(reader)


def test_pictures_of_drawn_files_show_something():
    """A picture that is clipped, or of one colour, holds little."""
    for name in FILES:
        frames = read_frames((GOLDEN / name).with_suffix(""))
        assert np.mean((frames > 0) & (frames < 255)) > 0.3, name


def test_the_encoded_one_has_uneven_times_and_a_last_gop_of_one_frame():
    gops = EXPECTATIONS["two_gops.stgv"]["gops"]

    assert [gop["pts"] for gop in gops] == [[0, 40, 100, 120], [200]]


def test_a_hash_tells_symbols_apart():
    with StgvReader(GOLDEN / "two_gops.stgv") as reader:
        symbols = unpack_gop(reader.read_gop(0))
    changed = symbols.mlp[3].copy()
    changed[0] ^= 1
    others = [
        dataclasses.replace(symbols, mlp=(*symbols.mlp[:3], changed, *symbols.mlp[4:])),
        dataclasses.replace(symbols, shape_scale=np.nextafter(symbols.shape_scale, np.float32(9))),
        dataclasses.replace(symbols, header=dataclasses.replace(symbols.header, low_pass=0.5)),
    ]
    assert len({symbols_sha256(other) for other in (symbols, *others)}) == 4
