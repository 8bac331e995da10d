"""Every file under tests/golden/ decodes to what was stored when it was made."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from clips import assert_same_pixels, read_frames
from make_golden import expectation, symbols_sha256

from stgvcodec import VideoDecoder
from stgvcodec.bitstream import StgvReader, pack_gop, unpack_gop

GOLDEN = Path(__file__).parents[1] / "golden"
EXPECTATIONS = json.loads((GOLDEN / "hashes.json").read_text())
NAMES = sorted(EXPECTATIONS)


def test_every_file_has_an_expectation():
    assert sorted(path.name for path in GOLDEN.glob("*.stgv")) == NAMES
    assert NAMES == ["compact.stgv", "paper.stgv", "two_gops.stgv", "worked_example.stgv"]
    stored = [path for path in GOLDEN.rglob("*") if path.is_file() and path.suffix != ".pyc"]
    assert sum(path.stat().st_size for path in stored) < 200_000


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


def test_together_they_have_each_mode_and_each_kind_of_header():
    headers, modes = [], set()
    for name in NAMES:
        with StgvReader(GOLDEN / name) as reader:
            headers.append(reader.header)
            modes |= {tuple(unpack_gop(reader.read_gop(i)).header.modes) for i in range(len(reader.gops))}

    assert [{mode[i] for mode in modes} for i in range(3)] == [{0, 1}] * 3
    assert len(modes) == 4
    assert {header.profile for header in headers} == {"paper", "compact"}
    assert {header.sample_aspect_ratio == 1 for header in headers} == {True, False}
    assert {header.last_frame_duration == 0 for header in headers} == {True, False}


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
