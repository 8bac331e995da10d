from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

PROMISED = {"file_bytes", "width", "height", "n_frames", "fps", "bpp", "profile", "format_version", "streams", "gops"}


def shown(cli, *arguments: object) -> dict[str, object]:
    outcome = cli("info", *arguments, "--json")
    assert (outcome.code, outcome.err) == (0, "")
    return json.loads(outcome.out, parse_constant=pytest.fail)


def test_json_describes_the_file(cli, encoded: Path) -> None:
    info = shown(cli, encoded)
    n_bytes = encoded.stat().st_size
    assert set(info) >= PROMISED
    assert info["file_bytes"] == n_bytes
    assert (info["width"], info["height"], info["n_frames"], info["profile"]) == (48, 32, 6, "compact")
    assert (info["fps"], info["frame_rate"]) == (24.0, "24/1")
    assert info["bpp"] == pytest.approx(8 * n_bytes / (48 * 32 * 6))
    assert info["duration_seconds"] == pytest.approx(0.25)


def test_streams_add_up_to_the_file(cli, encoded: Path) -> None:
    info = shown(cli, encoded)
    assert info["streams"]["container"] > 0
    assert all(isinstance(n_bytes, int) and n_bytes >= 0 for n_bytes in info["streams"].values())
    assert sum(info["streams"].values()) == info["file_bytes"]
    assert set(info["bits_per_gaussian"]) <= set(info["streams"])


def test_gops_follow_each_other(cli, encoded: Path) -> None:
    info = shown(cli, encoded)
    gops = info["gops"]
    assert [(gop["first_frame"], gop["n_frames"], gop["n_gaussians"]) for gop in gops] == [(0, 4, 40), (4, 2, 40)]
    assert 0 < sum(gop["bytes"] for gop in gops) < info["file_bytes"]
    assert info["largest_gop"] == max((0, 1), key=lambda i: gops[i]["bytes"])
    assert info["decode_memory_bytes"] > 48 * 32 * 3


def test_the_table_names_every_stream_and_its_bytes(cli, encoded: Path) -> None:
    info = shown(cli, encoded)
    outcome = cli("info", encoded)
    assert (outcome.code, outcome.err) == (0, "")
    rows = {line.split()[0]: line for line in outcome.out.splitlines() if line.strip()}
    for stream, n_bytes in info["streams"].items():
        assert f" {n_bytes:,}".replace(",", " ") in rows[stream]
        assert f"{100 * n_bytes / info['file_bytes']:.1f} %" in rows[stream]
    assert "48x32" in outcome.out
    assert "to decode" in rows["memory"]
    assert "40 Gaussians" in rows["largest"]
    assert "limits" not in outcome.out


def test_verbose_adds_headers_and_limits(cli, encoded: Path) -> None:
    info = shown(cli, encoded)
    outcome = cli("info", encoded, "-v")
    words = {line.split()[0] for line in outcome.out.splitlines() if line.strip()}
    assert words >= set(info["limits"])
    assert words >= set(info["gops"][0]["header"])


def test_info_needs_no_torch(encoded: Path) -> None:
    program = (
        "import sys\n"
        "from stgvcodec.cli import main\n"
        f"code = main(['info', {str(encoded)!r}])\n"
        "sys.exit(code or ('torch' in sys.modules) * 99)\n"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True).returncode == 0


@pytest.mark.parametrize("kind", ["empty", "cut", "not one"])
def test_a_bad_file_is_one_line(cli, encoded: Path, tmp_path: Path, kind: str) -> None:
    content = {"empty": b"", "cut": encoded.read_bytes()[:-1], "not one": b"\x89PNG" + bytes(100)}[kind]
    path = tmp_path / "bad.stgv"
    path.write_bytes(content)
    outcome = cli("info", path, "--json")
    assert (outcome.code, outcome.out) == (4, "")
    assert outcome.err.startswith("stgvcodec: error: ")
    assert outcome.err.count("\n") == 1


def test_a_folder_is_one_line(cli, tmp_path: Path) -> None:
    outcome = cli("info", tmp_path)
    assert (outcome.code, outcome.out) == (3, "")
    assert outcome.err.count("\n") == 1
