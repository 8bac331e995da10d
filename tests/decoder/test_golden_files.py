"""Every file under tests/golden/ decodes to what was stored when it was made."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from clips import assert_same_pixels

from stgvcodec import VideoDecoder
from stgvcodec.bitstream import (
    GopSymbols,
    PredictedGopSymbols,
    StgvReader,
    pack_gop,
    pack_predicted_gop,
    unpack_gop,
    unpack_predicted_gop,
)
from stgvcodec.media import read_image

GOLDEN = Path(__file__).parents[1] / "golden"
EXPECTATIONS = json.loads((GOLDEN / "hashes.json").read_text())
NAMES = sorted(EXPECTATIONS)


@pytest.fixture(scope="module", autouse=True)
def golden_on_path():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(GOLDEN))
        yield


def test_every_file_has_an_expectation():
    assert sorted(path.name for path in GOLDEN.glob("*.stgv")) == NAMES
    expected = {"two_gops.stgv", "worked_example.stgv", "set_paper.stgv", "set_compact.stgv", "predicted.stgv"}
    assert expected == set(NAMES)
    stored = [path for path in GOLDEN.rglob("*") if path.is_file() and path.suffix != ".pyc"]
    assert sum(path.stat().st_size for path in stored) < 200_000


@pytest.mark.parametrize("name", NAMES)
def test_files_are_unchanged(name):
    assert hashlib.sha256((GOLDEN / name).read_bytes()).hexdigest() == EXPECTATIONS[name]["sha256"]


@pytest.mark.parametrize("name", NAMES)
def test_symbols_and_headers_are_exact(name):
    """Integers and timestamps: the same on every machine."""
    from make_golden import expectation

    assert expectation(GOLDEN / name) == EXPECTATIONS[name]


@pytest.mark.parametrize("name", NAMES)
def test_packing_the_symbols_again_gives_symbols_back(name):
    """In as many bytes or fewer: what models there are is the encoder's choice, in which later ones do better."""
    from make_golden import gop_symbols, symbols_sha256

    with StgvReader(GOLDEN / name) as reader:
        for i in range(len(reader.gops)):
            symbols = gop_symbols(reader, i)
            if isinstance(symbols, PredictedGopSymbols):
                payload = pack_predicted_gop(symbols)
                again = unpack_predicted_gop(payload)
            elif isinstance(symbols, GopSymbols):
                payload = pack_gop(symbols)
                again = unpack_gop(payload)
            else:
                payload = pack_gop(symbols)
                again = unpack_gop(payload)
            assert symbols_sha256(again) == symbols_sha256(symbols)
            assert len(payload) <= len(reader.read_gop(i))


@pytest.mark.parametrize("backend", ["reference", "numba"])
@pytest.mark.parametrize("name", NAMES)
def test_frames_are_those_stored(name, backend):
    stored = np.stack([read_image(path) for path in sorted((GOLDEN / name).with_suffix("").glob("*.png"))])

    with VideoDecoder(GOLDEN / name, device="cpu", backend=backend) as decoder:
        frames = decoder[:].permute(0, 2, 3, 1).numpy()
        pts = [decoder.pts(i) for i in range(len(decoder))]

    assert frames.shape == stored.shape
    assert_same_pixels(frames, stored)
    assert pts == [stamp for gop in EXPECTATIONS[name]["gops"] for stamp in gop["pts"]]


def test_the_predicted_one_has_two_chains():
    gops = EXPECTATIONS["predicted.stgv"]["gops"]

    assert [gop.get("is_key", True) for gop in gops] == [True, False, False, True, False]
    assert [len(gop["pts"]) for gop in gops] == [3, 3, 1, 2, 2]


def test_the_encoded_one_has_uneven_times_and_a_last_gop_of_one_frame():
    gops = EXPECTATIONS["two_gops.stgv"]["gops"]

    assert [gop["pts"] for gop in gops] == [[0, 40, 100, 120], [200]]


def test_a_hash_tells_symbols_apart():
    from dataclasses import replace

    from make_golden import symbols_sha256

    with StgvReader(GOLDEN / "two_gops.stgv") as reader:
        symbols = unpack_gop(reader.read_gop(0))
    changed = symbols.mlp[3].copy()
    changed[0] ^= 1
    others = [
        replace(symbols, mlp=(*symbols.mlp[:3], changed, *symbols.mlp[4:])),
        replace(symbols, cholesky_scale=np.nextafter(symbols.cholesky_scale, np.float32(9))),
        replace(symbols, header=replace(symbols.header, low_pass=0.5)),
    ]
    assert len({symbols_sha256(other) for other in (symbols, *others)}) == 4
