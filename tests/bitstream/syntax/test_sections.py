from __future__ import annotations

import re

from spec_tables import SPEC

from stgvcodec.bitstream.syntax.sections import SECTIONS, STREAM_SECTIONS
from stgvcodec.bitstream.syntax.tables import STREAMS


def test_sections_are_those_of_the_specification():
    titles = dict(re.findall(r"^#{2,3} (\d+(?:\.\d+)?)\.? (.+)$", SPEC.read_text(encoding="utf-8"), flags=re.MULTILINE))
    assert {number: titles.get(number) for number in SECTIONS} == dict(SECTIONS)


def test_every_stream_has_its_section():
    assert tuple(STREAM_SECTIONS) == STREAMS
    assert set(STREAM_SECTIONS.values()) <= set(SECTIONS)
