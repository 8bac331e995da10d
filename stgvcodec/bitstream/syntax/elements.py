"""Syntax elements: a table of them drives writing, reading and `info`."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from stgvcodec.bitstream.syntax.primitives import PACKERS, READERS, ByteReader


@dataclass(frozen=True)
class SyntaxElement:
    """One element of a syntax table.

    Attributes:
        name: Name in the specification and in the dictionaries that `read_elements` returns.
        type: Primitive type, a name in `primitives.READERS`.
        minimum: Smallest value; for a text, the least number of bytes.
        maximum: Largest value; for a text, the greatest number of bytes.
        doc: Meaning of the element, with the unit.
        shape: Empty for a single value; else the dimensions of an array: numbers, names of earlier elements, or derived
            counts.
    """

    name: str
    type: str
    minimum: float
    maximum: float
    doc: str
    shape: tuple[int | str, ...] = ()


SyntaxTable = tuple[SyntaxElement, ...]

DERIVED_COUNTS: Mapping[str, Callable[[Mapping[str, Any]], int]] = MappingProxyType(
    {
        "n_deltas": lambda values: 0 if values["pts_step"] else values["n_frames"] - 1,
        "n_gaps": lambda values: values["n_packets"] - 1,
        "n_grid_axes": lambda values: 2 * values["point_mode"],
        "n_shape_offsets": lambda values: 3 - 3 * values["shape_mode"],
        "n_color_scales": lambda values: 3 * values["color_mode"],
        "n_mlp_tensors": lambda values: 8 + 2 * values["shape_head"],
    }
)
"""Counts that follow from earlier elements: `n_deltas` is 0 if `pts_step` > 0, else `n_frames` - 1; `n_gaps` is
`n_packets` - 1; `n_mlp_tensors` is 10 with a head for shapes, else 8; the others are 0 in the modes that do not use the
array."""


_LEAST_BYTES = {"u8": 1, "u16": 2, "u32": 4, "f32": 4, "uint": 1, "sint": 1, "text": 1}


def least_bytes(table: SyntaxTable) -> int:
    """Return the size of the smallest table: every number in its fewest bytes, every array as short as it may be."""
    least = {element.name: int(element.minimum) for element in table}
    return sum(
        (_LEAST_BYTES[element.type] + (least[element.name] if element.type == "text" else 0))
        * math.prod(size if isinstance(size, int) else least.get(size, 0) for size in element.shape)
        for element in table
    )


def dimensions(element: SyntaxElement, values: Mapping[str, Any]) -> tuple[int, ...]:
    """The shape of an element in numbers, given the values and counts that it refers to."""
    return tuple(
        size if isinstance(size, int) else DERIVED_COUNTS[size](values) if size in DERIVED_COUNTS else values[size]
        for size in element.shape
    )


def _limit_fault(element: SyntaxElement, value: Any) -> str | None:
    size = len(value.encode("utf-8")) if element.type == "text" else value
    if element.minimum <= size <= element.maximum:  # False for NaN
        return None
    unit = " bytes" if element.type == "text" else ""
    return f"{element.name} is {value!r}, expected {element.minimum:.9g} to {element.maximum:.9g}{unit}"


def _nest(items: list[Any], dims: tuple[int, ...]) -> tuple[Any, ...]:
    if len(dims) == 1:
        return tuple(items)
    rows = [items[i : i + dims[1]] for i in range(0, len(items), dims[1])]
    return tuple(tuple(row) for row in rows)


def read_elements(reader: ByteReader, table: SyntaxTable, known: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Read the elements of a table.

    Args:
        reader: A reader at the first element; it is left just behind the last one.
        table: The elements, in order.
        known: Values of earlier tables that shapes may refer to; they are not part of the result.

    Returns:
        Values by name: int, float or str; arrays are (nested) tuples.

    Raises:
        BitstreamError: the bytes end early, or a value is outside its limits.
    """
    values: dict[str, Any] = {}
    for element in table:
        dims = dimensions(element, {**known, **values} if known else values) if element.shape else ()
        count = math.prod(dims)
        if count > reader.remaining:  # an item takes a byte at least
            raise reader.error(f"cut short: {element.name} needs {count} items, {reader.remaining} bytes left")
        if dims:
            values[element.name] = _nest([_read_item(reader, element) for _ in range(count)], dims)
        else:
            values[element.name] = _read_item(reader, element)
    return values


def _read_item(reader: ByteReader, element: SyntaxElement) -> Any:
    start = reader.position
    value = READERS[element.type](reader)
    if fault := _limit_fault(element, value):
        raise reader.error(fault, at=start)
    return value


def _flatten(value: Any, dims: tuple[int, ...], name: str) -> Iterator[Any]:
    if not dims:
        yield value
        return
    if len(value) != dims[0]:
        raise ValueError(f"{name} has {len(value)} items where {dims[0]} are expected")
    for item in value:
        yield from _flatten(item, dims[1:], name)


def write_elements(values: Mapping[str, Any], table: SyntaxTable) -> bytes:
    """Write the elements of a table.

    Args:
        values: Values by name, as `read_elements` returns them; may hold more than the table needs.
        table: The elements, in order.

    Raises:
        ValueError: a value is outside the limits of its element, or an array has another shape.
    """
    out = bytearray()
    for element in table:
        pack = PACKERS[element.type]
        for value in _flatten(values[element.name], dimensions(element, values), element.name):
            if fault := _limit_fault(element, value):
                raise ValueError(fault)
            out += pack(value)
    return bytes(out)
