"""What properties are tested with: values of every type and every syntax element, whole tables, damaged bytes."""

from __future__ import annotations

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from stgvcodec.bitstream.syntax.elements import dimensions
from stgvcodec.bitstream.syntax.tables import TABLES
from stgvcodec.errors import StgvError


def examples(number):
    """The same examples in every run, and no limit on their time, which other processes decide."""
    return settings(derandomize=True, deadline=None, max_examples=number, suppress_health_check=[HealthCheck.too_slow])


def result(function, *arguments):
    """(what the function returns, None), or (None, its `StgvError`); any other error is a failure."""
    result = fault = None
    try:
        result = function(*arguments)
    except StgvError as error:
        fault = error
    assert "\n" not in str(fault)
    return result, fault


# Text that the format allows: UTF-8 without control characters.
CHARACTERS = st.characters(codec="utf-8", exclude_categories=("Cc", "Cs"))
PRIMITIVES = {
    "u8": st.integers(0, 2**8 - 1),
    "u16": st.integers(0, 2**16 - 1),
    "u32": st.integers(0, 2**32 - 1),
    "f32": st.floats(width=32),
    "uint": st.integers(0, 2**64 - 1),
    "sint": st.integers(-(2**63), 2**63 - 1),
    "text": st.text(CHARACTERS, max_size=40),
}


ELEMENTS = {element.name: element for table in TABLES.values() for element in table}
# Syntax elements that sizes of arrays follow from; they are kept small here, so that no array is long.
SIZES = {name for element in ELEMENTS.values() for name in element.shape if isinstance(name, str)} & set(ELEMENTS) | {
    "n_frames"
}
# What tables within a payload take from the payload's header.
OUTER = ("n_static_levels", "n_dynamic_levels", "point_mode", "shape_mode", "color_mode", "shape_head")


def element_values(element):
    """Every value that an element may have, but for sizes, long texts and NaN."""
    if element.type == "text":
        shortest, longest = int(element.minimum), min(int(element.maximum), 64)
        text = st.text(CHARACTERS, min_size=shortest, max_size=longest)
        return text.filter(lambda value: len(value.encode()) <= longest)
    if element.type == "f32":
        return st.floats(element.minimum, element.maximum, width=32, allow_subnormal=False)
    return st.integers(
        int(element.minimum), min(int(element.maximum), 5) if element.name in SIZES else int(element.maximum)
    )


def nested(values, dims):
    """Tuples of tuples of values in the shape `dims`."""
    for size in reversed(dims):
        values = st.tuples(*[values] * size)
    return values


@st.composite
def table_values(draw, table):
    """(values of a table's elements, values of other tables that its shapes refer to)."""
    own = {element.name for element in table}
    known = {name: draw(element_values(ELEMENTS[name])) for name in OUTER if name not in own}
    values = {}
    for element in table:
        values[element.name] = draw(nested(element_values(element), dimensions(element, {**known, **values})))
    return values, known


@st.composite
def damaged(draw, data):
    """Bytes with one to four changes: a byte flipped, some inserted, some deleted, the end cut off."""
    data = bytearray(data)
    for kind in draw(st.lists(st.sampled_from(["flip", "insert", "delete", "truncate"]), min_size=1, max_size=4)):
        at = draw(st.integers(0, len(data)))
        if kind == "flip" and at < len(data):
            data[at] ^= draw(st.integers(1, 255))
        elif kind == "insert":
            data[at:at] = draw(st.binary(min_size=1, max_size=8))
        elif kind == "delete":
            del data[at : at + draw(st.integers(1, 8))]
        elif kind == "truncate":
            del data[at:]
    return bytes(data)


# Smallest and largest number of each type.
RANGES = {"u8": (0, 2**8 - 1), "u16": (0, 2**16 - 1), "u32": (0, 2**32 - 1)}
RANGES |= {"uint": (0, 2**64 - 1), "sint": (-(2**63), 2**63 - 1)}


def is_within(element, value):
    """Whether a value lies within the limits of an element."""
    size = len(value.encode()) if element.type == "text" else value
    return bool(element.minimum <= size <= element.maximum)


def can_be_outside(element):
    """Whether the type of an element has values beyond its limits."""
    return element.type in ("f32", "text") or RANGES[element.type] != (element.minimum, element.maximum)


def any_value(element):
    """Values of an element's type, of which many lie at its limits or just beyond them."""
    low, high = element.minimum, element.maximum
    if element.type == "text":
        sizes = st.sampled_from([size for size in (low - 1, low, high - 1, high, high + 1) if size >= 0])
        padded = st.builds(_padded, st.text(CHARACTERS, max_size=8), sizes)
        return PRIMITIVES["text"] | padded
    if element.type == "f32":
        beyond = [float(np.nextafter(np.float32(end), np.float32(way))) for end, way in ((low, -1e38), (high, 1e38))]
        return PRIMITIVES["f32"] | element_values(element) | st.sampled_from([low, high, *beyond])
    least, most = RANGES[element.type]
    ends = [int(end) for end in (low - 1, low, high, high + 1, least, most) if least <= end <= most]
    return st.integers(least, most) | st.integers(int(low), int(high)) | st.sampled_from(ends)


def _padded(text, n_bytes):
    """A text of this many bytes that begins with another one if that is short enough."""
    n_missing = n_bytes - len(text.encode())
    return text + "x" * n_missing if n_missing >= 0 else "x" * n_bytes


def outside_values(element):
    """Values of an element's type that lie beyond its limits."""
    return any_value(element).filter(lambda value: not is_within(element, value))
