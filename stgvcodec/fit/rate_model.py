"""What a GoP's symbols cost: the entropy coder's own code lengths, as tables on the device with a gradient."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from stgvcodec.bitstream.payload.contexts import CodedSymbol
from stgvcodec.ops.code_length import CodeLengths, total_bits

N_SYMBOLS = 256
_ZERO = 128
# As the coder has them: most classes of an attribute, what a class's model takes at least, and a table for each symbol
# that occurs (measured on sets of 2 000 to 90 000).
_MOST_CLASSES = 16
_MODEL_BITS = 16.0
_ENTRY_BITS = 7.0
_THRESHOLD_BITS = 8.0
# Widths of each family of shapes, and what the complement of a shape's ratio shrinks by from one to the next.
# bitstream_spec.md section 5.4.
_N_WIDTHS = 64
_WIDEST_COMPLEMENT = 63.0 / 64.0
_GEOMETRIC_SHRINKAGE, _NORMAL_SHRINKAGE = 29.0 / 32.0, 55.0 / 64.0
# Smoothing of the counts: to each neighbour, and to every symbol. A symbol that nobody uses is dear, not impossible.
_NEIGHBOUR_SHARE = 0.04
_FLOOR_COUNT = 0.02
# A Morton gap's bucket holds its two leading bits; the rest is not modelled.
_BUCKETS_PER_OCTAVE = 4


class Attribute(NamedTuple):
    """Symbols of the Gaussians whose models are those of classes. bitstream_spec.md section 5.6.

    Attributes:
        symbols: From 0. [N] int64.
        context: What a class is an interval of, from 0 and capped at 255; None: there are no classes. [N] int64.
    """

    symbols: Tensor
    context: Tensor | None


class Segmented(NamedTuple):
    """Symbols of the field, each group with a model of its own.

    Attributes:
        symbols: From 0. [n] int64.
        group_of: Group of each. [n] int64.
        n_groups: How many there are.
    """

    symbols: Tensor
    group_of: Tensor
    n_groups: int


def attributes_of(coded: Sequence[CodedSymbol], symbols: Mapping[str, Tensor]) -> list[Attribute]:
    """Symbols with what their classes depend on, as the payload declares it.

    Args:
        coded: Symbols of a stream.
        symbols: Of the streams "shapes" and "colors", as far as `coded` and its contexts need them. [N, C] int64 each.
    """

    def context_sum(symbol: CodedSymbol) -> Tensor | None:
        parts = [symbols[stream][:, component] for stream, component in symbol.context_of]
        return torch.stack(parts).sum(dim=0) if parts else None

    return [Attribute(symbols[each.symbol.stream][:, each.symbol.component], context_sum(each)) for each in coded]


class RateModel(nn.Module):
    """Code lengths of every symbol of a GoP, refreshed between stretches of training.

    Attributes:
        fixed_bits: Of what has no gradient: the set of means, the models themselves, the headers. Scalar float32.
    """

    tables: Tensor
    rows: Tensor
    fixed_bits: Tensor

    def __init__(self, *, backend: str = "auto") -> None:
        """Know nothing until `refresh`; `backend` is that of the operator that adds up."""
        super().__init__()
        self.backend = backend
        self.register_buffer("tables", torch.zeros(0, N_SYMBOLS))
        self.register_buffer("rows", torch.zeros(0, 0, dtype=torch.int32))
        self.register_buffer("fixed_bits", torch.zeros(()))
        self._shapes = _Shapes()

    @torch.no_grad()
    def refresh(self, attributes: Sequence[Attribute], field: Segmented, fixed_bits: Tensor) -> None:
        """Count the symbols as they are now. In place where sizes stay, so that a captured step sees the new tables.

        Args:
            attributes: Those that are rated, in the order in which `of_attributes` counts them.
            field: Symbols of the field.
            fixed_bits: Bits of what has no gradient. Scalar.
        """
        counts = torch.bincount(
            field.group_of * N_SYMBOLS + field.symbols, minlength=field.n_groups * N_SYMBOLS
        ).double()
        all_counts = [counts.view(field.n_groups, N_SYMBOLS)]
        rows = self.rows.new_zeros(0, 0)
        if attributes:
            rows, of_classes, n_thresholds = _classes(attributes)
            all_counts.append(of_classes)
            fixed_bits = fixed_bits + _THRESHOLD_BITS * n_thresholds
        joined = torch.cat(all_counts)
        tables = _code_lengths(joined)
        fixed_bits = fixed_bits + self._shapes.model_bits(joined).sum()
        # Those of the field come first, so that their rows are those of its groups.
        rows = rows + field.n_groups
        if self.tables.shape == tables.shape and self.rows.shape == rows.shape:
            self.tables.copy_(tables)
            self.rows.copy_(rows)
            self.fixed_bits.copy_(fixed_bits)
        else:
            self.tables, self.rows = tables.float(), rows.int()
            self.fixed_bits = fixed_bits.float()

    @property
    def is_ready(self) -> bool:
        """Whether anything was counted yet."""
        return self.tables.numel() > 0

    def forget(self) -> None:
        """Know nothing again: there are other Gaussians."""
        self.tables, self.rows = self.tables[:0], self.rows[:0]

    def of_attributes(self, first: int, n: int) -> CodeLengths:
        """Code lengths of `n` attributes from the `first` on. Rows [n, N]."""
        return CodeLengths(self.tables, self.rows[first : first + n])

    def of_groups(self, n_groups: int) -> Tensor:
        """Code lengths of the field's groups. [n_groups, 256] float32."""
        return self.tables[:n_groups]

    def bits(self, parts: Sequence[Tensor]) -> Tensor:
        """Bits of the whole GoP from the partial sums of its streams; see `total_bits`. Scalar float32."""
        return total_bits(parts, self.fixed_bits, backend=self.backend)


def _classes(attributes: Sequence[Attribute]) -> tuple[Tensor, Tensor, Tensor]:
    """The classes that cost least, of all attributes at once.

    Returns:
        rows: Class of each symbol, counted through all attributes. [A, N] int64.
        counts: Of the symbols in each class. [A * 16, 256] float64.
        n_thresholds: What is transmitted of the classes, in numbers, all attributes together. Scalar.
    """
    symbols = torch.stack([attribute.symbols for attribute in attributes])
    zeros = torch.zeros_like(symbols[0])
    contexts = torch.stack([zeros if a.context is None else a.context.clamp_max(N_SYMBOLS - 1) for a in attributes])
    n_attributes, n = symbols.shape
    device = symbols.device
    each = torch.arange(n_attributes, device=device)[:, None]
    pairs = (each * N_SYMBOLS + contexts) * N_SYMBOLS + symbols
    joint = torch.bincount(pairs.reshape(-1), minlength=n_attributes * N_SYMBOLS**2).double()
    joint = joint.view(n_attributes, N_SYMBOLS, N_SYMBOLS)
    # Classes of equal size, of which neighbours may then be joined.
    below = joint.sum(dim=2).cumsum(dim=1)
    shares = (torch.arange(1, _MOST_CLASSES, device=device) * n // _MOST_CLASSES).double().expand(n_attributes, -1)
    thresholds = torch.searchsorted(below, shares.contiguous(), right=True)
    base = (thresholds[:, :, None] <= torch.arange(N_SYMBOLS, device=device)).sum(dim=1)
    ends = torch.zeros(n_attributes, _MOST_CLASSES + 1, N_SYMBOLS, dtype=torch.float64, device=device)
    ends[:, 1:] = _summed(base, joint).cumsum(dim=1)
    first, end = torch.triu_indices(_MOST_CLASSES + 1, _MOST_CLASSES + 1, offset=1, device=device)
    costs = _class_bits(ends[:, end] - ends[:, first])
    # Of the base classes, then of each value of the context, then of each symbol.
    label = _cheapest_partition(costs.cpu()).to(device)
    merged = label.gather(1, base)
    rows = merged.gather(1, contexts) + each * _MOST_CLASSES
    counts = _summed(merged, joint)
    n_classes = (counts.sum(dim=2) > 0).sum()
    n_with_context = sum(attribute.context is not None for attribute in attributes)
    # One number says how many thresholds follow; there is one less than there are classes.
    return rows, counts.view(-1, N_SYMBOLS), n_classes - n_attributes + n_with_context


def _summed(classes: Tensor, joint: Tensor) -> Tensor:
    """Counts [A, 256 contexts, 256 symbols] by classes of the contexts [A, 256]. [A, 16, 256] float64."""
    members = torch.nn.functional.one_hot(classes, _MOST_CLASSES).double()
    return members.transpose(1, 2) @ joint


def _cheapest_partition(costs: Tensor) -> Tensor:
    """Which neighbours to join, by dynamic programming over where the last class begins.

    Args:
        costs: Of each interval of base classes, by its first class and the one behind its last, in the order of
            `triu_indices`. [A, 136] float64, on the CPU.

    Returns:
        Number of the interval that each base class lies in. [A, 16] int64.
    """
    n_attributes, n = costs.shape[0], _MOST_CLASSES
    first, end = torch.triu_indices(n + 1, n + 1, offset=1)
    by_ends = torch.zeros(n_attributes, n + 1, n + 1, dtype=torch.float64)
    by_ends[:, first, end] = costs
    best = torch.zeros(n_attributes, n + 1, dtype=torch.float64)
    begin_of_last = torch.zeros(n_attributes, n + 1, dtype=torch.int64)
    for stop in range(1, n + 1):
        best[:, stop], begin_of_last[:, stop] = (best[:, :stop] + by_ends[:, :stop, stop]).min(dim=1)
    begins = torch.zeros(n_attributes, n + 1, dtype=torch.int64)
    at = torch.full((n_attributes, 1), n)
    for _ in range(n):
        at = begin_of_last.gather(1, at)
        begins.scatter_(1, at, 1)
    # One begins at 0 in any case.
    return begins[:, :n].cumsum(dim=1) - 1


def _entropy_bits(counts: Tensor) -> Tensor:
    """Bits of all symbols of each row, under a model made of its own counts. [..., A] to [...]."""
    total = counts.sum(dim=-1)
    return torch.xlogy(total, total).sub_(torch.xlogy(counts, counts).sum(dim=-1)) / math.log(2.0)


def _class_bits(counts: Tensor) -> Tensor:
    """Those and a table of them; a row without symbols is no class. [..., A] to [...]."""
    entries = (counts > 0).sum(dim=-1)
    return torch.where(entries > 0, _entropy_bits(counts) + _MODEL_BITS + _ENTRY_BITS * entries, 0.0)


class _Shapes(nn.Module):
    """The coder's two families of shapes, of which a class has one where that costs less than a table.

    A shape has weights ratio^|d| (geometric) or ratio^(d^2) (normal) of the distances d to its centre, and adds two
    bytes, its misfit and nothing else.
    """

    log2_ratios: Tensor
    log2_sums: Tensor

    def __init__(self) -> None:
        super().__init__()
        width = torch.arange(_N_WIDTHS, dtype=torch.float64)
        shrinkage = torch.tensor([[_GEOMETRIC_SHRINKAGE], [_NORMAL_SHRINKAGE]], dtype=torch.float64)
        log2_ratios = torch.log2(1.0 - _WIDEST_COMPLEMENT * shrinkage**width)
        distance = torch.arange(N_SYMBOLS, dtype=torch.float64)
        powers = torch.stack((distance, distance.square()))
        below = torch.exp2(log2_ratios[:, :, None] * powers[:, None]).cumsum(dim=-1)
        # To the left of a centre lie as many symbols as its number, to the right the others; it counts once.
        log2_sums = torch.log2(below + below.flip(-1) - 1.0)
        self.register_buffer("log2_ratios", log2_ratios, persistent=False)
        self.register_buffer("log2_sums", log2_sums, persistent=False)

    def model_bits(self, counts: Tensor) -> Tensor:
        """What the model of each class costs beyond its entropy, the cheaper way. [R, A] to [R]."""
        total = counts.sum(dim=1)
        symbol = torch.arange(N_SYMBOLS, dtype=counts.dtype, device=counts.device)
        median = (counts.cumsum(dim=1) < 0.5 * total[:, None]).sum(dim=1)
        mean = ((counts @ symbol) / total.clamp_min(1.0)).round().long()
        centres = torch.stack((median.clamp_max(N_SYMBOLS - 1), mean))
        distance = (symbol - centres[:, :, None]).abs()
        moments = torch.stack(((counts * distance[0]).sum(dim=1), (counts * distance[1].square()).sum(dim=1)))
        # Of both families, all classes, all widths.
        sums = self.log2_sums.gather(2, centres[:, None].expand(-1, _N_WIDTHS, -1)).transpose(1, 2)
        costs = total[:, None] * sums - moments[:, :, None] * self.log2_ratios[:, None]
        misfit = costs.amin(dim=(0, 2)) - _entropy_bits(counts)
        entries = (counts > 0).sum(dim=1)
        bits = _MODEL_BITS + torch.where(entries > 1, torch.minimum(_ENTRY_BITS * entries, misfit), 0.0)
        return torch.where(entries > 0, bits, 0.0)


def _code_lengths(counts: Tensor) -> Tensor:
    """Code lengths by smoothed counts, bits. [R, A] to [R, A]."""
    spread = counts.clone()
    spread[:, 1:] += _NEIGHBOUR_SHARE * counts[:, :-1]
    spread[:, :-1] += _NEIGHBOUR_SHARE * counts[:, 1:]
    spread += _FLOOR_COUNT
    lengths = torch.log2(spread.sum(dim=1, keepdim=True)) - torch.log2(spread)
    # The smoothing is for the slopes; the symbols as they are cost what their own counts say.
    excess = ((counts * lengths).sum(dim=1) - _entropy_bits(counts)) / counts.sum(dim=1).clamp_min(1.0)
    return lengths - excess[:, None]


@torch.no_grad()
def point_set_bits(cells: Tensor) -> Tensor:
    """Bits of a set of points in Morton order, coded as gaps. bitstream_spec.md section 4.4.

    Args:
        cells: Non-negative, below 2^16. [N, 2] integers.

    Returns:
        Bits of the gaps' buckets, of their model, and raw bits. Scalar float64, on the device.
    """
    x, y = cells.long().unbind(1)
    morton = _spread_bits(x) | (_spread_bits(y) << 1)
    gaps = morton.sort().values.diff(prepend=morton.new_zeros(1)) + 1
    # Exact: a gap has at most 33 bits.
    octave = torch.frexp(gaps.double()).exponent.long() - 1
    n_raw = (octave - 2).clamp_min(0)
    leading = torch.where(octave >= 2, (gaps >> n_raw) & 3, (gaps << (2 - octave).clamp_min(0)) & 3)
    counts = torch.bincount(octave * _BUCKETS_PER_OCTAVE + leading, minlength=N_SYMBOLS).double()
    return _class_bits(counts) + n_raw.sum()


def _spread_bits(values: Tensor) -> Tensor:
    for shift, mask in ((8, 0x00FF00FF), (4, 0x0F0F0F0F), (2, 0x33333333), (1, 0x55555555)):
        values = (values | (values << shift)) & mask
    return values
