from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import pytest

from stgvcodec import read_info
from stgvcodec.cli import output
from stgvcodec.cli.info import general

PROMISED = {"file_bytes", "width", "height", "n_frames", "fps", "bpp", "profile", "format_version", "streams", "gops"}


def test_json_describes_the_file(cli, encoded: Path) -> None:
    outcome = cli("info", encoded, "--json")
    assert (outcome.code, outcome.err) == (0, "")
    info, expected = json.loads(outcome.out, parse_constant=pytest.fail), read_info(encoded)

    assert set(info) >= PROMISED
    assert (info.pop("fps"), info["frame_rate"]) == (24.0, "24/1")
    assert info.pop("largest_gop") == max((0, 1), key=lambda i: info["gops"][i]["bytes"])
    assert info == {name: output.plain(getattr(expected, name)) for name in info}
    assert all(isinstance(n_bytes, int) for n_bytes in info["streams"].values())


def test_text_names_every_stream_and_v_adds_headers_and_limits(cli, encoded: Path) -> None:
    info = read_info(encoded)
    plain, verbose = (cli("info", encoded, *options) for options in ((), ("-v",)))
    assert (plain.code, plain.err, verbose.code) == (0, "", 0)
    rows = {line.split()[0]: line for line in plain.out.splitlines() if line.strip()}
    for stream, n_bytes in info.streams.items():
        assert f" {n_bytes:,}".replace(",", " ") in rows[stream]
        assert f"{100 * n_bytes / info.file_bytes:.1f} %" in rows[stream]
    assert "48x32" in plain.out
    assert "to decode" in rows["memory"]
    assert "40 Gaussians" in rows["largest"]
    assert "limits" not in plain.out

    words = {line.split()[0] for line in verbose.out.splitlines() if line.strip()}
    assert words >= {*info.limits, *info.gops[0].header}


def test_the_shape_of_pixels_is_told_where_they_are_not_square(encoded: Path) -> None:
    info = read_info(encoded)
    assert "pixels" not in general(info)
    assert ", pixels 16:15, " in general(dataclasses.replace(info, sample_aspect_ratio=Fraction(16, 15)))


def test_info_needs_no_torch(encoded: Path) -> None:
    program = (
        "import sys\n"
        "from stgvcodec.cli import main\n"
        f"code = main(['info', {str(encoded)!r}])\n"
        "sys.exit(code or ('torch' in sys.modules) * 99)\n"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True).returncode == 0


def test_what_is_no_whole_file_is_one_line(cli, encoded: Path, tmp_path: Path) -> None:
    (tmp_path / "cut.stgv").write_bytes(encoded.read_bytes()[:-1])
    cli("info", tmp_path / "cut.stgv", "--json").assert_refused(4, "cut.stgv")
    cli("info", tmp_path).assert_refused(3, str(tmp_path))
