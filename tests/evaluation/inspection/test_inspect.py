from __future__ import annotations

import base64
import doctest
import io
import json
import math
import re
import zlib
from pathlib import Path

import numpy as np
import pytest
from clips import psnr_db, write_folder
from gops import with_damaged_gop
from PIL import Image

from stgvcodec import VideoDecoder, compare, read_info
from stgvcodec.bitstream import StgvReader
from stgvcodec.errors import BitstreamError, ConfigError, MissingFileError, OutputError
from stgvcodec.evaluation.inspection import gathering
from stgvcodec.evaluation.inspection import inspect as inspect_module
from stgvcodec.evaluation.inspection.gaussians import bits_map
from stgvcodec.evaluation.inspection.inspect import inspect, inspection
from stgvcodec.evaluation.inspection.packing import quantised

GOLDEN = sorted((Path(__file__).parents[2] / "golden").glob("*.stgv"))


def numbers(text, dtype):
    return np.frombuffer(base64.b64decode(text), dtype)


def picture(url):
    prefix, data = url.split(",")
    assert prefix == "data:image/webp;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB"))


@pytest.fixture(scope="module")
def inspected(encoded):
    return inspection(encoded.path, source=encoded.source, n_pictures=4, device="cpu")


def test_the_bytes_of_the_streams_are_those_of_the_file(inspected, encoded):
    info = read_info(encoded.path)
    assert sum(node["bytes"] for node in inspected["tree"]) == info.file_bytes == inspected["file"]["bytes"]
    assert [gop["bytes"] for gop in inspected["gops"]] == [gop.bytes for gop in info.gops]
    for gop, told in zip(info.gops, inspected["gops"], strict=True):
        assert sum(told["streams"].values()) == told["bytes"]
        assert {name: n for name, n in told["streams"].items() if name != "container"} == dict(gop.streams)
    assert inspected["file"]["bpp"] == pytest.approx(info.bpp, abs=1e-5)


def test_psnr_is_that_of_compare(inspected, encoded):
    compared = compare(encoded.source, encoded.path, device="cpu")
    assert inspected["psnr"] == pytest.approx(compared.psnr_db, abs=1e-3)
    assert [db for _, db in inspected["framesDb"]] == pytest.approx(
        [frame.psnr_db for frame in compared.per_frame], abs=1e-3
    )


def test_pictures_are_the_frames(inspected, encoded, clip, decoded):
    """The clip is small, so that pictures are kept without loss."""
    assert [shown["frame"] for shown in inspected["pictures"]] == [0, 3, 4, 6]
    for shown in inspected["pictures"]:
        frame = shown["frame"]
        np.testing.assert_array_equal(picture(shown["decoded"]), decoded[frame])
        np.testing.assert_array_equal(picture(shown["source"]), clip[frame])
        difference = decoded[frame].astype(int) - clip[frame]
        np.testing.assert_array_equal(picture(shown["error"]), (128 + 8 * difference).clip(0, 255))
        assert shown["psnr"] == pytest.approx(psnr_db(clip[frame], decoded[frame]), abs=1e-3)


def test_gaussians_have_the_places_of_the_decoder(inspected, encoded):
    with VideoDecoder(encoded.path, device="cpu") as decoder:
        for shown in inspected["pictures"]:
            means, cholesky, _ = decoder.gaussians_at(shown["frame"])
            before, _, _ = decoder.gaussians_at(shown["frame"] - (shown["k"] > 0))
            expected = np.concatenate([means.numpy(), before.numpy(), cholesky.numpy()], axis=1)
            places = shown["places"]
            codes = numbers(places["data"], "<u2").reshape(7, -1)
            found = np.array(places["low"])[:, None] + codes * np.array(places["step"])[:, None]
            np.testing.assert_allclose(found.T, expected, atol=0.51 * max(places["step"]))


def test_gaussians_have_their_symbols_and_bits(inspected, encoded):
    with StgvReader(encoded.path) as reader:
        for i in range(len(reader.gops)):
            symbols = reader.unpack(i)
            told = inspected["details"][str(i)]["gaussians"]
            n = told["n"]
            assert (told["stride"], n, told["all"]) == (1, len(symbols.points), len(symbols.points))
            own = numbers(told["symbols"], "<u2").reshape(-1, n)
            assert told["columns"][2:] == ["log scale of l1", "log scale of l3", "shear", "Y", "Co", "Cg"]
            np.testing.assert_array_equal(own[2:5].T, symbols.shapes)
            np.testing.assert_array_equal(own[5:8].T, symbols.colors)
            np.testing.assert_array_equal(numbers(told["points"], "<u2").reshape(2, n).T, symbols.points)

            bits = numbers(told["bits"], "<u2").reshape(-1, n) / told["bitsUnit"]
            by_name = {stream["name"]: stream for stream in inspected["details"][str(i)]["streams"]}
            for rows, stream in (
                (bits[:1], "points"),
                (bits[1:2], "point_bits"),
                (bits[2:5], "shapes"),
                (bits[5:], "colors"),
            ):
                assert rows.sum() == pytest.approx(by_name[stream]["symbolBits"], abs=0.002 * rows.size + 0.01)


def test_histograms_count_every_symbol_and_models_sum_to_as_many(inspected):
    for detail in inspected["details"].values():
        for stream in detail["streams"]:
            spent = stream["symbolBits"] + stream["modelBits"]
            assert 0 <= 8 * stream["bytes"] - spent < 48
            for array in stream["arrays"]:
                assert sum(array["counts"]) == array["n"]
                # Symbols of which next to nothing is expected are not shown.
                assert sum(array["expected"]) == pytest.approx(array["n"], rel=0.02, abs=1 + array["alphabet"] / 2)
                if array["classes"]:
                    assert sum(one["n"] for one in array["classes"]) == array["n"]
                    assert sum(one["bits"] for one in array["classes"]) == pytest.approx(array["bits"], abs=0.1)


def test_the_map_has_all_bits(inspected):
    for shown in inspected["pictures"]:
        told = shown["map"]
        cells = numbers(told["bits"], "<f4")
        assert len(cells) == told["columns"] * told["rows"]
        assert cells.sum() + told["outside"] == pytest.approx(told["total"], rel=1e-4)


def test_a_map_puts_bits_where_the_gaussian_lies():
    nowhere = np.full(2, np.nan, np.float32)
    means = np.array([[20, 12], nowhere], np.float32)
    cholesky = np.array([[1, 0, 1], [1, 0, 1]], np.float32)
    told = bits_map(means, cholesky, np.array([32.0, 8.0]), width=40, height=24)
    cells = numbers(told["bits"], "<f4").reshape(told["rows"], told["columns"])
    assert (told["cell"], told["columns"], told["rows"]) == (8, 5, 3)
    assert cells[1, 2] == cells.sum() == 32
    assert told["outside"] == 8


def test_neutral_streams_cost_decibels(inspected, encoded):
    rows = {(row["stream"], row["part"]): row for row in inspected["worth"]["rows"]}
    assert inspected["worth"]["frames"] == 4
    assert {stream for stream, _ in rows} == {"points", "point_bits", "shapes", "colors", "field"}
    for stream in ("points", "shapes", "colors"):
        assert rows[stream, ""]["lossDb"] > 1
    streams = read_info(encoded.path).streams
    assert rows["shapes", ""]["bytes"] == streams["shapes"]
    assert rows["points", ""]["bytes"] == streams["points"] + streams["point_bits"]
    parts = [row["bytes"] for (stream, part), row in rows.items() if stream == "field" and part]
    assert 0 < sum(parts) < rows["field", ""]["bytes"]


def test_without_a_source_the_decoded_frames_are_the_reference(encoded):
    data = inspection(encoded.path, n_pictures=1, device="cpu")
    assert (data["hasSource"], data["framesDb"], data["psnr"]) == (False, None, None)
    assert all(row["lossDb"] is None for row in data["worth"]["rows"])
    assert any(row["againstDecodedDb"] < 40 for row in data["worth"]["rows"])
    assert "source" not in data["pictures"][0]
    assert data["leftOut"] == ["pictures, Gaussians and models of 1 of 2 GoPs; --pictures shows more"]


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_files_of_all_modes_are_inspected(path):
    data = inspection(path, n_pictures=2, device="cpu")
    assert data["damage"] == []
    assert json.loads(json.dumps(data, allow_nan=False)) == data
    assert not any(gop.get("fault") for gop in data["gops"])


def test_a_damaged_gop_is_shown_as_damaged(encoded, tmp_path):
    path = tmp_path / "damaged.stgv"
    path.write_bytes(with_damaged_gop(encoded.path, 0))
    data = inspection(path, source=encoded.source, device="cpu")

    assert data["damage"]
    assert "CRC-32" in data["gops"][0]["fault"]
    assert data["gops"][0]["streams"] == {"damaged": data["gops"][0]["bytes"]}
    assert not data["gops"][1].get("fault")
    assert [node["name"] for node in data["tree"] if node.get("crc") is False] == ["GOP"]
    # The second GoP is measured against its own frames of the source.
    intact = compare(encoded.source, encoded.path, device="cpu")
    assert data["framesDb"] == [[k, pytest.approx(intact.per_frame[k].psnr_db, abs=1e-3)] for k in (4, 5, 6)]


def test_streams_that_are_malformed_behind_their_crc_are_said(encoded, tmp_path):
    with StgvReader(encoded.path) as reader:
        first, second = reader.gops
    data = bytearray(encoded.path.read_bytes())
    end = first.offset + first.n_bytes - 4
    data[end - 1] ^= 1  # the last byte of the field's coder
    data[end : end + 4] = zlib.crc32(data[first.offset + 14 : end]).to_bytes(4, "little")
    path = tmp_path / "malformed.stgv"
    path.write_bytes(data)
    told = inspection(path, source=encoded.source, device="cpu")

    assert "GoP field" in told["gops"][0]["fault"]
    assert told["gops"][0]["streams"]["field"] > 0
    assert {shown["gop"] for shown in told["pictures"]} == {1}
    assert [frame for frame, _ in told["framesDb"]] == list(range(second.first_frame, 7))


@pytest.mark.parametrize("at", [2, 20, 40, 100, 600, -40, -3])
def test_any_damage_makes_a_page(encoded, tmp_path, at):
    data = bytearray(encoded.path.read_bytes())
    data[at] ^= 1
    path, page = tmp_path / "damaged.stgv", tmp_path / "page.html"
    path.write_bytes(data)
    report = inspect(path, page, n_pictures=1, device="cpu")
    assert report.damage
    assert page.stat().st_size == report.page_bytes


def test_a_file_that_was_cut_short_makes_a_page(encoded, tmp_path):
    data = encoded.path.read_bytes()
    path = tmp_path / "cut.stgv"
    path.write_bytes(data[: read_info(encoded.path).gops[0].bytes + 150])
    told = inspection(path, device="cpu")
    assert [gop.get("fault") for gop in told["gops"]] == [None]
    assert told["damage"]
    assert told["pictures"]


def test_what_is_no_stgv_file_is_refused(tmp_path, encoded):
    (tmp_path / "text.stgv").write_text("no video")
    with pytest.raises(BitstreamError, match=r"not a \.stgv file"):
        inspection(tmp_path / "text.stgv")
    with pytest.raises(MissingFileError, match="does not exist"):
        inspection(tmp_path / "none.stgv")
    with pytest.raises(ConfigError, match="pictures is 0, expected 1"):
        inspection(encoded.path, n_pictures=0)
    with pytest.raises(OutputError, match="does not exist"):
        inspect(encoded.path, tmp_path / "none" / "page.html")


def test_a_source_of_another_size_is_refused(encoded, clip, tmp_path):
    other = write_folder(clip[:, :16], tmp_path / "other")
    with pytest.raises(ConfigError, match=r"is 48x16 and .* is 48x32, expected the same size"):
        inspection(encoded.path, source=other, device="cpu")


def test_a_source_that_ends_early_is_said(encoded, clip, tmp_path):
    short = write_folder(clip[:5], tmp_path / "short")
    data = inspection(encoded.path, source=short, device="cpu")
    assert len(data["framesDb"]) == 5
    assert "PSNR of 2 frames: the source has ended before" in data["leftOut"]


def test_what_has_no_room_is_left_out_and_said(encoded, monkeypatch):
    whole = inspection(encoded.path, n_pictures=4, device="cpu")
    sizes = [len(shown["decoded"]) for shown in whole["pictures"]]
    monkeypatch.setattr(gathering, "_PICTURE_BYTES", sizes[0] + sizes[-1] + 1)
    monkeypatch.setattr(gathering, "_GAUSSIAN_BYTES", 2 * 20 * 96)
    data = inspection(encoded.path, n_pictures=4, device="cpu")

    assert [shown["frame"] for shown in data["pictures"]] == [0, 6]
    details = [detail["gaussians"] for detail in data["details"].values()]
    assert all(detail["stride"] > 1 for detail in details)
    assert all(detail["n"] == math.ceil(detail["all"] / detail["stride"]) for detail in details)
    assert re.search("2 of 4 pictures", " ".join(data["leftOut"]))
    assert re.search(r"GoP 0: of its \d+ Gaussians one in \d+ can be clicked", " ".join(data["leftOut"]))


def test_a_tree_of_many_chunks_counts_those_that_are_not_listed(encoded, monkeypatch):
    whole = inspection(encoded.path, n_pictures=1, device="cpu")["tree"]
    monkeypatch.setattr("stgvcodec.evaluation.inspection.byte_tree._MOST_NODES", 2)
    tree = inspection(encoded.path, n_pictures=1, device="cpu")["tree"]
    assert [node["name"] for node in tree] == ["magic", "FILE_HEADER", "", "END"]
    assert tree[2]["rest"] == len(whole) - 3
    assert sum(node["bytes"] for node in tree) == encoded.path.stat().st_size


def test_a_file_beyond_the_budget_is_shown_without_pictures(encoded):
    data = inspection(encoded.path, max_memory=1000, device="cpu")
    assert all("memory" in gop["fault"] for gop in data["gops"])
    assert sum(data["gops"][0]["streams"].values()) == data["gops"][0]["bytes"]
    assert data["pictures"] == []


def test_examples(encoded, tmp_path, monkeypatch):
    (tmp_path / "clip.stgv").write_bytes(encoded.path.read_bytes())
    monkeypatch.chdir(tmp_path)
    result = doctest.testmod(inspect_module)
    assert (result.failed, result.attempted) == (0, 6)


def test_numbers_out_of_sight_are_marked():
    array = np.array([[1, np.inf], [2, 5], [np.nan, 6], [4, 1e30]], np.float32)
    told = quantised(array)
    codes = numbers(told["data"], "<u2").reshape(2, 4)
    assert (codes == 65535).tolist() == [[False, False, True, False], [True, False, False, True]]
    np.testing.assert_allclose(told["low"] + codes[:, 1] * told["step"], [2, 5], atol=1e-4)
