"""What importing and decoding bring into a fresh process; which module may import which is in pyproject.toml."""

from __future__ import annotations

import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import pytest
from random_gops import random_gop

from stgvcodec.bitstream import ColorDescription, StgvWriter, StreamHeader, pack_gop

UNPACK = """
import sys
from stgvcodec.bitstream import StgvReader, unpack_gop

with StgvReader(sys.argv[1]) as reader:
    print(*(unpack_gop(reader.read_gop(i)).header.n_gaussians for i in range(len(reader.gops))))
print("constriction" in sys.modules)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file of two GoPs, one of plain modes and one whose streams have contexts."""
    header = StreamHeader(
        width=48,
        height=32,
        frame_rate=Fraction(25),
        time_base=Fraction(1, 25),
        color=ColorDescription(primaries=1, transfer=1, matrix=1, full_range=False),
        profile="compact",
        tool="stgvcodec test",
    )
    path = tmp_path / "clip.stgv"
    with path.open("wb") as file:
        writer = StgvWriter(file, header)
        writer.add_gop(pack_gop(random_gop((0, 0, 0), n_gaussians=61)), [0, 1, 2])
        writer.add_gop(pack_gop(random_gop((1, 1, 1), n_gaussians=40)), [3, 4, 5])
        writer.finish()
    return path


def test_reading_a_file_never_imports_the_entropy_encoder(path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", UNPACK, str(path)], capture_output=True, text=True, check=True)
    assert "constriction" in sys.modules, "this process has encoded, so the module has another name now"
    assert done.stdout.split() == ["61", "40", "False"]


def test_the_package_root_imports_none_of_its_rooms() -> None:
    code = "import sys, stgvcodec; print(*sorted(name for name in sys.modules if name.startswith('stgvcodec')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["stgvcodec", "stgvcodec._version"]
