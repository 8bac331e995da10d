"""What importing and decoding bring into a fresh process; which module may import which is in pyproject.toml."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from clips import moving_clip, write_folder

GOLDEN = sorted((Path(__file__).parent / "golden").glob("*.stgv"))
UNPACK = """
import sys
from stgvcodec.bitstream import StgvReader, unpack_gop

for path in sys.argv[1:]:
    with StgvReader(path) as reader:
        print(*(unpack_gop(reader.read_gop(i)).header.n_gaussians for i in range(len(reader.gops))))
print(*sys.modules)
"""
ENCODE = """
import sys
from stgvcodec import EncodeConfig, encode

encode(*sys.argv[1:], config=EncodeConfig(preset="draft", bpp_target=20.0), device="cpu", backend="numba")
print(*sys.modules)
"""


def printed(code: str, *arguments: Path) -> list[str]:
    """Lines that a fresh process prints."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


def test_reading_files_never_imports_the_entropy_encoder() -> None:
    *counts, modules = printed(UNPACK, *GOLDEN)
    assert len(counts) == len(GOLDEN)
    assert "constriction" not in modules.split()


def test_the_package_root_imports_none_of_its_rooms() -> None:
    (modules,) = printed("import sys, stgvcodec; print(*sys.modules)")
    assert {name for name in modules.split() if name.startswith("stgvcodec")} == {"stgvcodec", "stgvcodec._version"}


def test_an_encode_loads_neither_the_compiler_of_torch_nor_sympy(tmp_path: Path) -> None:
    """Some ordinary calls of torch import them, which takes seconds of every command."""
    write_folder(moving_clip(2, height=16, width=16), tmp_path / "in")

    (modules,) = printed(ENCODE, tmp_path / "in", tmp_path / "out.stgv")

    assert "torch.optim" in modules.split()
    assert not {"torch._dynamo", "sympy"} & set(modules.split())
