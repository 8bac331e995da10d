"""The context symbols of each shape and colour symbol of a Gaussian: bitstream_spec.md section 4.5.

They are declared once, here: the payload is coded by them, and the rate model in the loss counts by them.
"""

from __future__ import annotations

from typing import NamedTuple


class SymbolRef(NamedTuple):
    """One symbol of a Gaussian: the one at index `component` in the stream "shapes" or "colors"."""

    stream: str
    component: int


class CodedSymbol(NamedTuple):
    """A symbol of a Gaussian that is coded by its context.

    Attributes:
        name: Name of the symbol, for error messages.
        symbol: Stream and component of the symbol.
        context_of: Symbols, decoded before, that make the context min(255, their sum). A class is an interval of it.
    """

    name: str
    symbol: SymbolRef
    context_of: tuple[SymbolRef, ...]


_COLOR_NAMES = ("Y", "Co", "Cg")


def _shape(component: int) -> SymbolRef:
    return SymbolRef("shapes", component)


def _color(component: int) -> SymbolRef:
    return SymbolRef("colors", component)


# The symbols of the stream shapes in each shape_mode, in decoding order.
_SHAPES = (
    (
        CodedSymbol("l1", _shape(0), ()),
        CodedSymbol("l3", _shape(2), (_shape(0),)),
        CodedSymbol("l2", _shape(1), (_shape(0), _shape(2))),
    ),
    (
        CodedSymbol("log scale of l1", _shape(0), ()),
        CodedSymbol("log scale of l3", _shape(1), (_shape(0),)),
        CodedSymbol("shear", _shape(2), (_shape(1),)),
    ),
)
# The symbols whose sum grows with the size of a Gaussian, in each shape_mode.
_SIZE = ((_shape(0), _shape(2)), (_shape(0), _shape(1)))


def shape_symbols(shape_mode: int) -> tuple[CodedSymbol, ...]:
    """The symbols of the stream shapes, in decoding order."""
    return _SHAPES[shape_mode]


def color_symbols(shape_mode: int, color_mode: int, n_color_symbols: int) -> tuple[CodedSymbol, ...]:
    """The symbols of the stream colors, in decoding order."""
    size = _SIZE[shape_mode]
    if color_mode:
        contexts: tuple[tuple[SymbolRef, ...], ...] = (size, size, (_color(1),))
        return tuple(CodedSymbol(_COLOR_NAMES[i], _color(i), context) for i, context in enumerate(contexts))
    before = ((_color(stage - 1),) if stage else size for stage in range(n_color_symbols))
    return tuple(CodedSymbol(f"stage {stage}", _color(stage), context) for stage, context in enumerate(before))
