"""A second decoder of set and predicted payloads in plain Python integers, after bitstream_spec.md, 16 and 17.

It shares no code with the package; floats stay bit patterns. Slow; any violation is a `SpecError`.
"""

from __future__ import annotations

from itertools import accumulate

from independent_decoder import Bytes, check, decode_stream, entries, family, first_state, is_finite, table


def points_of(buckets, bits):
    """Points from buckets and the bytes of point_bits, in stored order."""
    number = 1
    for byte in bits:
        number = number << 8 | byte
    unread = 8 * len(bits)
    code, points = 0, []
    for bucket in buckets:
        e, top = divmod(bucket, 4)
        if e < 2:
            check(bucket in (0, 4, 6), "bucket does not exist")
            v = {0: 1, 4: 2, 6: 3}[bucket]
        else:
            n_low = e - 2
            check(n_low <= unread, "low bits cut short")
            unread -= n_low
            v = (4 + top) * 2**n_low + (number >> unread) % 2**n_low
        code += v - 1
        check(code < 2**32, "Morton code beyond 32 bits")
        points.append(tuple(sum((code >> (2 * i + axis) & 1) << i for i in range(16)) for axis in (0, 1)))
    check(unread < 8 and number % 2**unread == 0, "padding of the low bits")
    return points


def read_class(stream, alphabet):
    """A class's model: an integer, its only symbol, or frequencies."""
    byte = stream.fixed(1)
    mode, parameter = byte & 3, byte >> 2
    if mode == 1 and parameter < 16:
        check(1 <= parameter <= 14, "table total")
        return table(stream, parameter, alphabet)
    symbol = stream.fixed(1)
    check(symbol < alphabet, "symbol outside the alphabet")
    if mode == 0:
        check(parameter == 0, "undefined model")
        return symbol
    if mode == 1:
        check(parameter < 32, "undefined model")
        return family(4, parameter - 16, symbol, alphabet)
    return family(mode, parameter, symbol, alphabet)


def decode_conditioned(data, n, attributes, known=()):
    """attributes: (alphabet, sources) with sources as indices into known + attributes -> symbols of each attribute."""
    stream = Bytes(data)
    columns = [list(column) for column in known]
    plans = []
    for alphabet, sources in attributes:
        if alphabet == 1:
            plans.append(([], [0]))
            continue
        thresholds = list(stream.take(stream.fixed(1))) if sources else []
        check(len(thresholds) < 16, "too many thresholds")
        check(all(a < b for a, b in zip([0, *thresholds], thresholds, strict=False)), "thresholds do not rise")
        plans.append((thresholds, [read_class(stream, alphabet) for _ in range(len(thresholds) + 1)]))
    tail = list(stream.take(stream.left()))
    check(not tail or tail[-1] != 0, "last byte of the coder is 0")
    tail += [0] * (-len(tail) % 4)
    words = [sum(tail[i + j] << (8 * j) for j in range(4)) for i in range(0, len(tail), 4)]
    has_coder = any(isinstance(model, list) for _, models in plans for model in models)
    check(has_coder or not words, "bytes behind the models")
    state = 0
    for _ in range(2):
        if words:
            state = state << 32 | words.pop()
    coded = []
    for (_, sources), (thresholds, models) in zip(attributes, plans, strict=True):
        variables = [min(255, sum(columns[s][i] for s in sources)) for i in range(n)]
        classes = [sum(t <= v for t in thresholds) for v in variables]
        column = [0] * n
        for c, model in enumerate(models):
            for i in range(n):
                if classes[i] != c:
                    continue
                if isinstance(model, int):
                    column[i] = model
                    continue
                slot, symbol, start = state % 2**24, 0, 0
                while start + model[symbol] <= slot:
                    start += model[symbol]
                    symbol += 1
                state = (state >> 24) * model[symbol] + slot - start
                if state < 2**32 and words:
                    state = state << 32 | words.pop()
                column[i] = symbol
                coded.append(symbol)
        columns.append(column)
    check(not has_coder or (state == first_state(coded) and not words), "the coder ends in a wrong state")
    return columns[len(known) :]


def parse_header(b):
    """The fields of GOP_SET_HEADER."""
    g = {"n_frames": b.uint(), "n_gaussians": b.uint(), "low_pass": b.fixed(4)}
    for name in ("point_mode", "shape_mode", "color_mode"):
        g[name] = b.fixed(1)
        check(g[name] < 2, "undefined mode")
    g["cholesky_bits"], g["color_stages"], g["color_codebook_size"] = b.fixed(1), b.uint(), b.uint()
    check(not g["shape_mode"] or g["cholesky_bits"] == 8, "bits of shapes")
    check(not g["color_mode"] or (g["color_stages"], g["color_codebook_size"]) == (1, 1), "stages of colours")
    g["static_resolutions"] = [[b.uint(), b.uint()] for _ in range(b.uint())]
    g["static_features"], g["static_log2_size"] = b.uint(), b.uint()
    g["dynamic_resolutions"] = [[b.uint(), b.uint(), b.uint()] for _ in range(b.uint())]
    g["dynamic_features"], g["dynamic_log2_size"] = b.uint(), b.uint()
    g["mlp_width"], g["n_frequencies"], g["weight_bits"] = b.uint(), b.uint(), b.fixed(1)
    return g


def streams(b, n):
    """The bytes of n streams behind their lengths."""
    lengths = [b.uint() for _ in range(n)]
    check(sum(lengths) == b.left(), "stream lengths")
    return [b.take(length) for length in lengths]


def decode_floats(g, planes, counts):
    """Put the floats of four byte planes into g; counts are those of the table, in order."""
    floats = [p0 | p1 << 8 | p2 << 16 | p3 << 24 for p0, p1, p2, p3 in zip(*planes, strict=True)]
    check(all(is_finite(f, 0x7F800000) for f in floats), "NaN or Inf")
    for name, count in counts.items():
        g[name], floats = floats[:count], floats[count:]
        check(name.endswith("offset") or all(0 < f < 2**31 for f in g[name]), "scale not above 0")
    if g["shape_mode"]:  # the patterns of 2^-10 and 0.5
        check(all(0x3A800000 <= f <= 0x3F000000 for f in g["shape_scale"][:2]), "log scale")


def decode_field(g, field):
    """Put the symbols of a field's stream into g."""
    levels_2d, levels_3d = len(g["static_resolutions"]), len(g["dynamic_resolutions"])
    half = 2 ** g["weight_bits"] // 2
    f2, f3, width = g["static_features"], g["dynamic_features"], g["mlp_width"]
    sizes = [e * f2 for e in entries(g["static_resolutions"], g["static_log2_size"])]
    sizes += [e * f3 for e in entries(g["dynamic_resolutions"], g["dynamic_log2_size"])]
    inputs = levels_2d * f2 + levels_3d * f3 + 2 * g["n_frequencies"]
    sizes += [width * inputs, width, width * width, width, 2 * width, 2, 3 * width, 3]
    runs = [[s - half for s in run] for run in decode_stream(field, [(size, 2 * half) for size in sizes])]
    ends = list(accumulate([0, levels_2d, levels_3d, 8]))
    for name, start, end in zip(("static_table", "dynamic_table", "mlp"), ends, ends[1:], strict=False):
        g[name] = [q for run in runs[start:end] for q in run]


def scale_counts(g):
    return {
        "static_scales": len(g["static_resolutions"]),
        "dynamic_scales": len(g["dynamic_resolutions"]),
        "mlp_scales": 8,
    }


def parse_gop_set(data):
    """Symbols of a set payload: header fields and flat lists of integers; floats as bit patterns."""
    b = Bytes(data)
    g = parse_header(b)
    side, points, bits, shapes, colors, field = streams(b, 6)

    n, m, k = g["n_gaussians"], g["color_stages"], g["color_codebook_size"]
    stages, codewords = (0, 0) if g["color_mode"] else (m, k)
    counts = {
        "point_scale": 2 * g["point_mode"],
        "point_offset": 2 * g["point_mode"],
        "shape_scale": 3,
        "shape_offset": 0 if g["shape_mode"] else 3,
        "color_scale": 3 * g["color_mode"],
        **scale_counts(g),
    }
    (*planes,) = decode_stream(side, [(sum(counts.values()), 256)] * 4 + [(3 * codewords, 256)] * (2 * stages))
    parts = planes[4:]
    decode_floats(g, planes[:4], counts)
    g["codebooks"] = [parts[2 * s][i] << 8 | parts[2 * s + 1][i] for s in range(stages) for i in range(3 * codewords)]
    check(all(is_finite(h, 0x7C00) for h in g["codebooks"]), "NaN or Inf")

    (buckets,) = decode_stream(points, [(n, 132)])
    g["points"] = [u for point in points_of(buckets, bits) for u in point]
    check(g["point_mode"] or all(0x0400 <= u <= 0xFBFF for u in g["points"]), "NaN or Inf")

    alphabet = 2 ** g["cholesky_bits"]
    if g["shape_mode"]:
        a, s, t = decode_conditioned(shapes, n, [(alphabet, ()), (alphabet, (0,)), (alphabet, (1,))])
        size = (a, s)
    else:
        a, t, s = decode_conditioned(shapes, n, [(alphabet, ()), (alphabet, (0,)), (alphabet, (0, 1))])
        size = (a, t)
    g["shapes"] = [v for row in zip(a, s, t, strict=True) for v in row]
    if g["color_mode"]:
        plan = [(256, (0, 1)), (256, (0, 1)), (256, (3,))]
    else:
        plan = [(k, (0, 1) if stage == 0 else (1 + stage,)) for stage in range(m)]
    columns = decode_conditioned(colors, n, plan, size)
    g["colors"] = [v for row in zip(*columns, strict=True) for v in row]
    decode_field(g, field)
    return g


RESIDUAL_SOURCES = ((), (0,), (0, 1), (2,), (2, 3), (0, 1), (5,), (6,))


def parse_residuals(data, n):
    """The stream residuals: rows of eight integers, Gaussian after Gaussian."""
    columns = decode_conditioned(data, n, [(256, sources) for sources in RESIDUAL_SOURCES])
    return [-((u + 1) // 2) if u % 2 else u // 2 for row in zip(*columns, strict=True) for u in row]


def parse_predicted_gop(data):
    """Symbols of a predicted payload, as those of a set payload."""
    b = Bytes(data)
    g = parse_header(b)
    check(g["point_mode"] == g["shape_mode"] == g["color_mode"] == 1, "modes of a predicted GoP")
    side, residuals, field = streams(b, 3)
    counts = {"point_scale": 2, "shape_scale": 3, "color_scale": 3, **scale_counts(g)}
    decode_floats(g, decode_stream(side, [(sum(counts.values()), 256)] * 4), counts)
    g["residuals"] = parse_residuals(residuals, g["n_gaussians"])
    decode_field(g, field)
    return g
