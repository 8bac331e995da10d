from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from fractions import Fraction
from pathlib import Path

import pytest
from files import raw_file
from gops import random_gop, with_damaged_gop, write_gops

from stgvcodec.bitstream import ChunkType, StgvReader, StgvWriter, pack_gop
from stgvcodec.bitstream.container.chunks import HEADER_BYTES, frame_chunk
from stgvcodec.bitstream.container.tracks import PacketGroup, pack_metadata, pack_track
from stgvcodec.tracks import Track, TrackPacket


@pytest.fixture(scope="module")
def payloads() -> list[bytes]:
    return [pack_gop(random_gop(seed, n_frames=2)) for seed in range(3)]


@pytest.fixture
def intact(tmp_path: Path, payloads: list[bytes]) -> Path:
    return write_gops(tmp_path / "intact.stgv", payloads)


def with_framed_anew(path: Path, index: int, at: int, value: int) -> bytes:
    """The bytes of a file with a byte of a GoP's payload set, behind a right checksum."""
    data = bytearray(path.read_bytes())
    with StgvReader(path) as reader:
        entry = reader.gops[index]
    data[entry.payload_offset + at] = value
    payload = bytes(data[entry.offset + HEADER_BYTES : entry.offset + entry.n_bytes - 4])
    data[entry.offset : entry.offset + entry.n_bytes] = frame_chunk(ChunkType.GOP, payload)
    return bytes(data)


def test_a_line_a_file_and_the_gravest_exit_code(cli, intact: Path, tmp_path: Path) -> None:
    damaged, absent = tmp_path / "damaged.stgv", tmp_path / "absent.stgv"
    damaged.write_bytes(with_damaged_gop(intact, 1))
    with StgvReader(intact) as reader:
        at = reader.gops[1].offset + HEADER_BYTES
    assert tuple(cli("verify", intact, intact)) == (0, f"{intact}: ok\n" * 2, "")

    outcome = cli("verify", intact, damaged, absent)
    lines = outcome.out.splitlines()
    assert (outcome.code, outcome.err, len(lines)) == (4, "", 3)
    assert lines[0] == f"{intact}: ok"
    assert lines[1].startswith(f"{damaged}: GoP 1, at byte {at}: damaged: the payload's CRC-32 is wrong")
    assert lines[2].startswith(f"{absent}: does not exist")
    assert cli("verify", intact, absent).code == 3


def test_what_checksums_do_not_show_is_found_with_its_place_in_the_file(cli, intact: Path, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.stgv"
    with StgvReader(intact) as reader:
        payload, start = reader.read_gop(2), reader.gops[2].payload_offset
    wrong.write_bytes(with_framed_anew(intact, 2, len(payload) - 1, payload[-1] ^ 0x40))
    assert cli("info", wrong).code == 0

    (verdict,) = json.loads(cli("verify", wrong, "--json").out)
    assert not verdict["ok"]
    assert (verdict["section"], verdict["n_gops"], verdict["n_frames"]) == ("GoP field", 3, 6)
    assert start < verdict["offset"] < start + len(payload)
    assert "the coder ends in a wrong state" in verdict["error"]


def test_json_of_a_file_in_order(cli, intact: Path) -> None:
    outcome = cli("verify", intact, "--json")
    assert (outcome.code, outcome.err) == (0, "")
    assert json.loads(outcome.out) == [
        {
            "path": str(intact),
            "ok": True,
            "error": None,
            "section": None,
            "offset": None,
            "file_bytes": intact.stat().st_size,
            "n_chunks": 3,
            "n_gops": 3,
            "n_frames": 6,
        }
    ]


SOUND = pack_track(0, Track("audio", "aac", Fraction(1, 48000), "mp4", b"set-up"))
PACKETS = PacketGroup(0, [TrackPacket(0, 1024, True, b"abc"), TrackPacket(1024, 1024, True, b"de")]).to_bytes()


@pytest.mark.parametrize(
    ("chunks", "fault"),
    [
        pytest.param([(ChunkType.TRACK, SOUND), (ChunkType.TRACK_PACKETS, PACKETS)], None, id="sound"),
        pytest.param([(ChunkType.METADATA, pack_metadata({"title": "Bunny"}))], None, id="metadata"),
        pytest.param([(0x7ABC, b"anything")], None, id="private"),
        pytest.param([(ChunkType.TRACK, SOUND[:9])], "cut short", id="a track cut short"),
        pytest.param([(ChunkType.TRACK_PACKETS, PACKETS)], "which the file does not have", id="no track"),
        pytest.param(
            [(ChunkType.TRACK, SOUND), (ChunkType.TRACK_PACKETS, PACKETS[:-1])],
            "the packets have 5 bytes",
            id="packets",
        ),
        pytest.param([(ChunkType.METADATA, b"\1")], "cut short", id="metadata cut short"),
    ],
)
def test_ancillary_chunks_are_checked(cli, intact, tmp_path, payloads, chunks, fault) -> None:
    path = tmp_path / "with.stgv"
    with StgvReader(intact) as reader, path.open("wb") as file:
        writer = StgvWriter(file, reader.header)
        writer.add_gop(payloads[0], [0, 1])
        for kind, payload in chunks:
            writer.add_chunk(kind, payload)
        writer.finish()
    outcome = cli("verify", path)
    if fault is None:
        assert tuple(outcome) == (0, f"{path}: ok\n", "")
    else:
        assert outcome.code == 4
        assert re.fullmatch(rf"{re.escape(str(path))}: [^:]*, at byte \d+: .*{fault}.*\n", outcome.out), outcome.out


def test_the_first_fault_of_several_is_told(cli, intact: Path) -> None:
    with StgvReader(intact) as reader:
        at = reader.gops[0].offset + HEADER_BYTES
    intact.write_bytes(with_damaged_gop(intact, 2))
    intact.write_bytes(with_damaged_gop(intact, 0))
    assert f"GoP 0, at byte {at}: " in cli("verify", intact).out


def test_a_pipe_is_named_as_it_was_given(cli, intact: Path, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.stgv"
    os.mkfifo(pipe)
    data = with_damaged_gop(intact, 0)
    writer = threading.Thread(target=pipe.write_bytes, args=(data,))
    writer.start()
    outcome = cli("verify", pipe)
    writer.join()
    assert outcome.code == 4
    assert outcome.out.startswith(f"{pipe}: GoP 0, at byte ")


def test_verify_needs_no_torch(intact: Path) -> None:
    program = (
        "import sys\n"
        "from stgvcodec.cli import main\n"
        f"code = main(['verify', {str(intact)!r}])\n"
        "sys.exit(code or ('torch' in sys.modules) * 99)\n"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True).returncode == 0


def test_a_file_without_a_gop_is_no_file(cli, tmp_path: Path) -> None:
    path = tmp_path / "empty.stgv"
    path.write_bytes(raw_file())
    cli_outcome = cli("verify", path)
    assert (cli_outcome.code, cli_outcome.err) == (4, "")
    assert cli_outcome.out.startswith(f"{path}: file header, at byte 8: ")
