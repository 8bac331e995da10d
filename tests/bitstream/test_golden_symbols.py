"""The independent decoder reads every golden file as the package does."""

from __future__ import annotations

from pathlib import Path

import independent_decoder
import pytest
from gops import integers_of

from stgvcodec.bitstream import StgvReader, unpack_gop

GOLDEN = sorted((Path(__file__).parents[1] / "golden").glob("*.stgv"))


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_symbols_and_timestamps_are_those_of_the_independent_decoder(path):
    parsed = independent_decoder.parse_file(path.read_bytes())
    with StgvReader(path) as reader:
        assert [tuple(gop["pts"]) for gop in parsed["gops"]] == [gop.pts for gop in reader.gops]
        for index, gop in enumerate(parsed["gops"]):
            symbols = independent_decoder.parse_gop(gop["payload"])
            for name, integers in integers_of(unpack_gop(reader.read_gop(index))).items():
                assert symbols[name] == integers, (index, name)
