"""Fuzz the reader, guided by its coverage: `python tests/fuzz/with_atheris.py FOLDER -max_total_time=3600`.

It needs atheris (`pip install '.[fuzz]'`). The arguments are those of libFuzzer: FOLDER keeps the inputs that reach new
code. The cases begin with the golden files, and three of four mutations are those of `hostile.py`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import atheris
import numpy as np

with atheris.instrument_imports(include=["stgvcodec.bitstream"]):
    import hostile
    from reach import forget, reach

GOLDEN = (Path(__file__).parents[1] / "golden").glob("*.stgv")
# A job's limits, unless the arguments say otherwise.
LIMITS = ("-rss_limit_mb=8192", "-timeout=60", "-max_len=65536")


def mutate(data: bytes, max_bytes: int, seed: int) -> bytes:
    """A mutation of libFuzzer, or one that knows the format."""
    if seed % 4 == 0:
        return atheris.Mutate(data, max_bytes)
    return hostile.mutated(data, np.random.default_rng(seed))[:max_bytes]


def run(data: bytes) -> None:
    # The same input has to reach the same code every time.
    forget()
    reach(data)


if __name__ == "__main__":
    seeds = "-seed_inputs=" + ",".join(map(str, GOLDEN))
    atheris.Setup([sys.argv[0], *LIMITS, seeds, *sys.argv[1:]], run, custom_mutator=mutate)
    atheris.Fuzz()
