"""Rate model: the entropy coder's code lengths for a GoP's symbols, as tables on the device with a gradient."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from stgvcodec.bitstream.payload.contexts import CodedSymbol
from stgvcodec.ops.code_length import CodeLengths, total_bits

N_SYMBOLS = 256
# These follow the entropy coder: the most classes of an attribute; the bits that the model of a class takes at least,
# those that a frequency table adds for each symbol that occurs (measured on 2 000 to 90 000 Gaussians), and those of a
# threshold.
_MOST_CLASSES = 16
_MODEL_BITS = 16.0
_ENTRY_BITS = 7.0
_THRESHOLD_BITS = 8.0
# The geometric and the normal family have this many widths each. From one width to the next the complement of the ratio
# shrinks by a constant factor. See bitstream_spec.md section 5.4.
_N_WIDTHS = 64
_WIDEST_COMPLEMENT = 63.0 / 64.0
_GEOMETRIC_SHRINKAGE, _NORMAL_SHRINKAGE = 29.0 / 32.0, 55.0 / 64.0
# Smoothing adds a share of each count to both neighbours, and a constant to every count, so that a symbol that does not
# occur is expensive, not impossible.
_NEIGHBOUR_SHARE = 0.04
_FLOOR_COUNT = 0.02
# The bucket of a Morton gap holds the two bits behind its leading one; the low bits are not modelled.
_BUCKETS_PER_OCTAVE = 4


class Attribute(NamedTuple):
    """One attribute of the Gaussians, with a model for each class of contexts (bitstream_spec.md section 5.6).

    Attributes:
        symbols: Symbol of each Gaussian, from 0. [N] int64.
        context: Context of each Gaussian, from 0; a larger one counts as 255. None if there is only one class. [N]
            int64.
    """

    symbols: Tensor
    context: Tensor | None


class Segmented(NamedTuple):
    """Symbols of the field, each group with a model of its own.

    Attributes:
        symbols: Symbols, from 0. [n] int64.
        group_of: Group of each symbol. [n] int64.
        n_groups: Number of groups.
    """

    symbols: Tensor
    group_of: Tensor
    n_groups: int


def attributes_of(coded: Sequence[CodedSymbol], symbols: Mapping[str, Tensor]) -> list[Attribute]:
    """Join the symbols of a stream's attributes to their contexts, as the payload declares these.

    Args:
        coded: Attributes of a stream.
        symbols: Symbols of the streams "shapes" and "colors", by name, as far as `coded` and its contexts need them.
            [N, C] int64 each.
    """

    def context_sum(symbol: CodedSymbol) -> Tensor | None:
        parts = [symbols[stream][:, component] for stream, component in symbol.context_of]
        return torch.stack(parts).sum(dim=0) if parts else None

    return [Attribute(symbols[each.symbol.stream][:, each.symbol.component], context_sum(each)) for each in coded]


class RateModel(nn.Module):
    """Code lengths of every symbol of a GoP, refreshed between stretches of training.

    Attributes:
        fixed_bits: Bits of what has no gradient: the points, the models themselves, the headers. Scalar float32.
    """

    tables: Tensor
    rows: Tensor
    fixed_bits: Tensor

    def __init__(self, *, backend: str = "auto") -> None:
        """Begin without tables, which `refresh` makes; `backend` is the back end of `total_bits`."""
        super().__init__()
        self.backend = backend
        self.register_buffer("tables", torch.zeros(0, N_SYMBOLS))
        self.register_buffer("rows", torch.zeros(0, 0, dtype=torch.int32))
        self.register_buffer("fixed_bits", torch.zeros(()))
        self._shapes = _Shapes()

    @torch.no_grad()
    def refresh(self, attributes: Sequence[Attribute], field: Segmented, fixed_bits: Tensor) -> None:
        """Count the symbols as they are now.

        Tables whose size does not change are overwritten in place, so that a captured step sees the new ones.

        Args:
            attributes: Attributes that are rated, in the order in which `of_attributes` counts them.
            field: Symbols of the field.
            fixed_bits: Bits of what has no gradient, without those of the models. Scalar.
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
        # The tables of the field come first, so that their rows have the numbers of its groups.
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
        """Whether `refresh` has made tables."""
        return self.tables.numel() > 0

    def forget(self) -> None:
        """Drop the tables, because the Gaussians are others now."""
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
    """Find the classes that cost least, for all attributes at once.

    Returns:
        rows: Class of each symbol, counted through all attributes. [A, N] int64.
        counts: Counts of the symbols in each class. [A * 16, 256] float64.
        n_thresholds: Number of bytes that transmit the thresholds of all attributes. Scalar.
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
    # The base classes are of equal size; neighbours among them may then be joined.
    below = joint.sum(dim=2).cumsum(dim=1)
    shares = (torch.arange(1, _MOST_CLASSES, device=device) * n // _MOST_CLASSES).double().expand(n_attributes, -1)
    thresholds = torch.searchsorted(below, shares.contiguous(), right=True)
    base = (thresholds[:, :, None] <= torch.arange(N_SYMBOLS, device=device)).sum(dim=1)
    ends = torch.zeros(n_attributes, _MOST_CLASSES + 1, N_SYMBOLS, dtype=torch.float64, device=device)
    ends[:, 1:] = _summed(base, joint).cumsum(dim=1)
    first, end = torch.triu_indices(_MOST_CLASSES + 1, _MOST_CLASSES + 1, offset=1, device=device)
    costs = _class_bits(ends[:, end] - ends[:, first])
    # The class is found for each base class, then for each value of the context, then for each symbol.
    label = _cheapest_partition(costs.cpu()).to(device)
    merged = label.gather(1, base)
    rows = merged.gather(1, contexts) + each * _MOST_CLASSES
    counts = _summed(merged, joint)
    n_classes = (counts.sum(dim=2) > 0).sum()
    n_with_context = sum(attribute.context is not None for attribute in attributes)
    # One byte says how many thresholds follow; there is one threshold less than there are classes.
    return rows, counts.view(-1, N_SYMBOLS), n_classes - n_attributes + n_with_context


def _summed(classes: Tensor, joint: Tensor) -> Tensor:
    """Sum counts [A, 256 contexts, 256 symbols] over the classes of contexts [A, 256]. [A, 16, 256] float64."""
    members = torch.nn.functional.one_hot(classes, _MOST_CLASSES).double()
    return members.transpose(1, 2) @ joint


def _cheapest_partition(costs: Tensor) -> Tensor:
    """Find which neighbours to join, by dynamic programming over where the last class begins.

    Args:
        costs: Cost of each interval of base classes, ordered by its first class and the one behind its last as
            `triu_indices` orders them. [A, 136] float64, on the CPU.

    Returns:
        Index of the interval that each base class lies in. [A, 16] int64.
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
    # A class begins at 0 in any case.
    return begins[:, :n].cumsum(dim=1) - 1


def _entropy_bits(counts: Tensor) -> Tensor:
    """Bits of all symbols of each row, under a model made of the row's own counts. [..., A] to [...]."""
    total = counts.sum(dim=-1)
    return torch.xlogy(total, total).sub_(torch.xlogy(counts, counts).sum(dim=-1)) / math.log(2.0)


def _class_bits(counts: Tensor) -> Tensor:
    """Bits of all symbols of each row and of a frequency table; a row without symbols takes 0. [..., A] to [...]."""
    entries = (counts > 0).sum(dim=-1)
    return torch.where(entries > 0, _entropy_bits(counts) + _MODEL_BITS + _ENTRY_BITS * entries, 0.0)


class _Shapes(nn.Module):
    """The geometric and the normal family, which a class uses where that costs less than a frequency table.

    A family weighs a symbol at distance d from the centre by ratio^|d| (geometric) or ratio^(d^2) (normal). It costs
    two bytes and its misfit: the bits above the entropy of the symbols.
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
        # As many symbols as the centre's number lie to its left, the others to its right; the centre counts once.
        log2_sums = torch.log2(below + below.flip(-1) - 1.0)
        self.register_buffer("log2_ratios", log2_ratios, persistent=False)
        self.register_buffer("log2_sums", log2_sums, persistent=False)

    def model_bits(self, counts: Tensor) -> Tensor:
        """Bits beyond the entropy that each class's model costs, by table or by family, the cheaper. [R, A] to [R]."""
        total = counts.sum(dim=1)
        symbol = torch.arange(N_SYMBOLS, dtype=counts.dtype, device=counts.device)
        median = (counts.cumsum(dim=1) < 0.5 * total[:, None]).sum(dim=1)
        mean = ((counts @ symbol) / total.clamp_min(1.0)).round().long()
        centres = torch.stack((median.clamp_max(N_SYMBOLS - 1), mean))
        distance = (symbol - centres[:, :, None]).abs()
        moments = torch.stack(((counts * distance[0]).sum(dim=1), (counts * distance[1].square()).sum(dim=1)))
        # The costs are those of both families, all classes and all widths.
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
    # The smoothing serves the slopes; the symbols as they are cost what their own counts say.
    excess = ((counts * lengths).sum(dim=1) - _entropy_bits(counts)) / counts.sum(dim=1).clamp_min(1.0)
    return lengths - excess[:, None]


@torch.no_grad()
def point_set_bits(cells: Tensor) -> Tensor:
    """Bits of the points, coded as gaps in Morton order (bitstream_spec.md section 4.4).

    Args:
        cells: Points on the grid, each coordinate from 0 to 2^16 - 1. [N, 2] integers.

    Returns:
        Bits of the gaps' buckets, of the buckets' model and of the low bits. Scalar float64, on the device.
    """
    x, y = cells.long().unbind(1)
    morton = _spread_bits(x) | (_spread_bits(y) << 1)
    gaps = morton.sort().values.diff(prepend=morton.new_zeros(1)) + 1
    # float64 is exact here, since a gap has at most 33 bits.
    octave = torch.frexp(gaps.double()).exponent.long() - 1
    n_raw = (octave - 2).clamp_min(0)
    leading = torch.where(octave >= 2, (gaps >> n_raw) & 3, (gaps << (2 - octave).clamp_min(0)) & 3)
    counts = torch.bincount(octave * _BUCKETS_PER_OCTAVE + leading, minlength=N_SYMBOLS).double()
    return _class_bits(counts) + n_raw.sum()


def _spread_bits(values: Tensor) -> Tensor:
    for shift, mask in ((8, 0x00FF00FF), (4, 0x0F0F0F0F), (2, 0x33333333), (1, 0x55555555)):
        values = (values | (values << shift)) & mask
    return values
