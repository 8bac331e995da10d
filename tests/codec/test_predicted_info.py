"""What `info` says of files with predicted GoPs."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from predicted_gops import chain_gops, payload_of, random_prediction, write_gops
from set_gops import random_set

from stgvcodec import VideoDecoder, read_info
from stgvcodec.cli import main

GOPS = chain_gops()


@pytest.fixture(scope="module")
def path(tmp_path_factory) -> Path:
    return write_gops(tmp_path_factory.mktemp("predicted") / "chains.stgv", GOPS)


@pytest.fixture(scope="module")
def key_path(tmp_path_factory) -> Path:
    """Key GoPs alone."""
    gops = [random_set((1, 1, 1), n_frames=2, seed=seed) for seed in range(2)]
    return write_gops(tmp_path_factory.mktemp("key") / "keys.stgv", gops)


@pytest.fixture
def shown(capfd):
    def show(*arguments: object) -> str:
        capfd.readouterr()
        assert main(["info", *map(str, arguments)]) == 0
        out, err = capfd.readouterr()
        assert err == ""
        return out

    return show


def test_keys_and_chains(path, key_path):
    info = read_info(path)
    assert [gop.is_key for gop in info.gops] == [True, False, False, True, False]
    assert (info.n_key_gops, info.longest_chain) == (2, 3)
    assert info.format_version == "1.2"

    info = read_info(key_path)
    assert [gop.is_key for gop in info.gops] == [True, True]
    assert (info.n_key_gops, info.longest_chain) == (2, 1)


def test_a_chain_at_the_end_counts_too(tmp_path):
    gops = [
        *GOPS,
        random_prediction(n_frames=1, n_gaussians=40, seed=6),
        random_prediction(n_frames=1, n_gaussians=40, seed=7),
    ]
    info = read_info(write_gops(tmp_path / "a.stgv", gops))
    assert (info.n_key_gops, info.longest_chain) == (2, 4)


def test_streams_add_up_and_residuals_are_the_gaussians_own(path):
    info = read_info(path)

    assert sum(info.streams.values()) == info.file_bytes == path.stat().st_size
    for gop, symbols in zip(info.gops, GOPS, strict=True):
        assert sum(gop.streams.values()) == len(payload_of(symbols))
        assert ("residuals" in gop.streams) == (not gop.is_key)
    of_kind = {is_key: sum(gop.n_gaussians for gop in info.gops if gop.is_key == is_key) for is_key in (True, False)}
    assert sum(of_kind.values()) == 3 * 61 + 2 * 40
    assert info.bits_per_gaussian == {
        name: 8 * info.streams[name] / of_kind[name != "residuals"]
        for name in ("points", "point_bits", "shapes", "colors", "residuals")
    }


def test_headers_are_named(path):
    for gop, symbols in zip(read_info(path).gops, GOPS, strict=True):
        header = dataclasses.asdict(symbols.header)
        assert {**gop.header, **{name: value for name, value in header.items() if name.endswith("_mode")}} == header
        assert gop.header["point_mode"] == ("half" if gop.n_gaussians == 40 and gop.is_key else "grid")


def test_a_predicted_gop_takes_the_memory_of_a_key_gop(tmp_path):
    """By size and Gaussians alone, whichever kind is the largest."""
    large = {"n_frames": 2, "n_gaussians": 90}
    key = random_set((1, 1, 1), **large)
    alone = read_info(write_gops(tmp_path / "key.stgv", [key])).decode_memory_bytes
    chained = read_info(
        write_gops(tmp_path / "two.stgv", [key, random_prediction(seed=1, **large)])
    ).decode_memory_bytes
    assert chained == alone


def test_metadata_of_a_decoder_is_the_same(path):
    with VideoDecoder(path, device="cpu") as decoder:
        decoder[5]
        assert decoder.metadata == read_info(path)


def test_json_has_kinds_and_chains(path, key_path, shown):
    info = json.loads(shown(path, "--json"))
    assert [gop["is_key"] for gop in info["gops"]] == [True, False, False, True, False]
    assert (info["n_key_gops"], info["longest_chain"]) == (2, 3)
    assert info["bits_per_gaussian"]["residuals"] > 0

    info = json.loads(shown(key_path, "--json"))
    assert (info["n_key_gops"], info["longest_chain"]) == (2, 1)


def test_the_tables_name_kinds_and_chains(path, key_path, shown):
    lines = shown(path).splitlines()
    first = next(i for i, line in enumerate(lines) if line.split()[:2] == ["GoP", "kind"])
    rows = [line.split() for line in lines[first + 1 : first + 6]]
    assert [row[:5] for row in rows] == [
        ["0", "key", "0", "3", "61"],
        ["1", "pred.", "3", "2", "61"],
        ["2", "pred.", "5", "1", "61"],
        ["3", "key", "6", "2", "40"],
        ["4", "pred.", "8", "3", "40"],
    ]
    (said,) = [line for line in lines if line.strip().startswith("key GoPs")]
    assert said.endswith("  2 of 5 GoPs; for one frame at most 3 are read")
    assert any(line.split()[:1] == ["residuals"] for line in lines)

    lines = shown(key_path).splitlines()
    assert not any("key GoPs" in line for line in lines)
    assert sum(line.split()[1:2] == ["key"] for line in lines) == 2


def test_verbose_names_every_header(path, shown):
    out = shown(path, "-v")
    assert out.count("n_gaussians") == len(GOPS) + 1  # and the limit
    assert "predicted_gops" in out
