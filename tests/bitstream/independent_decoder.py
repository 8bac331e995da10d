"""A second decoder of `.stgv` files in plain Python integers, after bitstream_spec.md; shares no code with the package.

It checks container, syntax elements and entropy coder; floats stay bit patterns. Slow; any violation is a `SpecError`.
"""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate
from math import gcd, prod

MAGIC = [0x89, 0x53, 0x54, 0x47, 0x0D, 0x0A, 0x1A, 0x0A]
SYNC = [0xF5, 0x53, 0x47, 0xC1]
FILE_HEADER, GOP, END = 0x8001, 0x8002, 0x8003


class SpecError(Exception):
    """The bytes break a rule of the spec."""


def check(condition, rule):
    if not condition:
        raise SpecError(rule)


def within(value, low, high, name):
    check(low <= value <= high, name)
    return value


def crc32(data):
    register = 0xFFFFFFFF
    for byte in data:
        register ^= byte
        for _ in range(8):
            register = (register >> 1) ^ (0xEDB88320 if register & 1 else 0)
    return register ^ 0xFFFFFFFF


class Bytes:
    def __init__(self, data):
        self.data, self.at = data, 0

    def left(self):
        return len(self.data) - self.at

    def take(self, n):
        check(0 <= n <= self.left(), "cut short")
        self.at += n
        return self.data[self.at - n : self.at]

    def fixed(self, n):
        return sum(byte << (8 * i) for i, byte in enumerate(self.take(n)))

    def uint(self):
        value = shift = 0
        while True:
            byte = self.fixed(1)
            value |= (byte & 127) << shift
            if byte < 128:
                check((byte or not shift) and value < 2**64, "integer not in its shortest form")
                return value
            shift += 7
            check(shift < 70, "integer too long")

    def sint(self):
        value = self.uint()
        return -(value + 1) // 2 if value & 1 else value // 2

    def text(self):
        raw = bytes(self.take(self.uint()))
        try:
            value = raw.decode("utf-8")
        except UnicodeDecodeError:
            raise SpecError("text is not UTF-8") from None
        check(not any(ord(c) < 0x20 or 0x7F <= ord(c) <= 0x9F for c in value), "control characters")
        return value


# ---- entropy coder


def family(mode, width, centre, alphabet):
    """Frequencies of mode 2 (geometric) or 3 (normal), or, as 4, of the narrow family."""
    complement = 63 * 2**24
    for _ in range(width):
        complement = complement * 29 // 32 if mode == 2 else complement * 55 // 64
    ratio = 2**30 // 2 ** (7 + width) if mode == 4 else 2**30 - complement
    change = ratio * ratio // 2**30 if mode == 3 else 2**30
    weights, weight = [], 2**30
    for _ in range(alphabet):
        weights.append(weight)
        weight = weight * ratio // 2**30
        ratio = ratio * change // 2**30
    by_symbol = [weights[abs(s - centre)] for s in range(alphabet)]
    total = sum(by_symbol)
    frequencies = [1 + w * (2**24 - alphabet) // total for w in by_symbol]
    frequencies[centre] += 2**24 - sum(frequencies)
    return frequencies


def table(stream, log2_total, alphabet):
    """Frequencies of mode 1, zeros included."""
    buffer = used = 0

    def bit():
        nonlocal buffer, used
        if used % 8 == 0:
            buffer = stream.fixed(1)
        used += 1
        return buffer >> (7 - (used - 1) % 8) & 1

    def exp_golomb(order):
        zeros = 0
        while not bit():
            zeros += 1
            check(zeros <= 16, "Exp-Golomb prefix too long")
        value = 1
        for _ in range(zeros + order):
            value = 2 * value + bit()
        return value - 2**order

    frequencies, order = [], 0
    remaining = 2**log2_total
    while remaining:
        check(len(frequencies) < alphabet, "table does not sum")
        frequency = exp_golomb(order)
        check(frequency <= remaining, "table sums to too much")
        frequencies.append(frequency)
        remaining -= frequency
        order = frequency.bit_length()
        if not frequency:
            frequencies += [0] * exp_golomb(0)
    while used % 8:
        check(not bit(), "table padding")
    check(sum(f > 0 for f in frequencies) >= 2, "table of one symbol")
    return [f * 2 ** (24 - log2_total) for f in frequencies]


def raw(stream, count, alphabet):
    n_bits = (alphabet - 1).bit_length()
    packed = stream.take((count * n_bits + 7) // 8)
    number = 0
    for byte in packed:
        number = number * 256 + byte
    padding = 8 * len(packed) - count * n_bits
    check(number % 2**padding == 0, "raw padding")
    digits = [number >> (padding + n_bits * i) & (2**n_bits - 1) for i in range(count)][::-1]
    check(all(d < alphabet for d in digits), "raw symbol outside the alphabet")
    return digits


def first_state(symbols):
    return crc32(symbols) % 2**16 + 1


def is_coded(model):
    return isinstance(model, list)


def read_model(stream, alphabet):
    """The model of section 5.2 of anything but raw symbols: frequencies, or the only symbol as an integer."""
    byte = stream.fixed(1)
    mode, parameter = byte & 3, byte >> 2
    if mode == 1 and parameter < 16:
        check(1 <= parameter <= 14, "table total")
        frequencies = table(stream, parameter, alphabet)
        return frequencies + [0] * (alphabet - len(frequencies))
    symbol = stream.fixed(1)
    check(symbol < alphabet, "symbol outside the alphabet")
    if mode == 0:
        check(parameter == 0, "undefined model")
        return symbol
    if mode == 1:
        check(parameter < 32, "undefined model")
        return family(4, parameter - 16, symbol, alphabet)
    return family(mode, parameter, symbol, alphabet)


def read_words(stream, has_coder):
    """The bytes of the coder, to the end of the stream, as 32-bit integers."""
    tail = list(stream.take(stream.left()))
    check(has_coder or not tail, "bytes behind the models")
    check(not tail or tail[-1] != 0, "last byte of the coder is 0")
    tail += [0] * (-len(tail) % 4)
    return [sum(tail[i + j] << (8 * j) for j in range(4)) for i in range(0, len(tail), 4)]


class Ans:
    def __init__(self, words):
        self.words, self.state, self.symbols = list(words), 0, []
        for _ in range(2):
            self.refill()

    def refill(self):
        if self.words:
            self.state = self.state << 32 | self.words.pop()

    def decode(self, count, frequencies):
        """The next symbols, all of one model."""
        starts = [0, *accumulate(frequencies)]
        check(starts[-1] == 2**24, "frequencies do not sum to 2^24")
        symbols = []
        for _ in range(count):
            slot = self.state & (2**24 - 1)
            symbol = bisect_right(starts, slot) - 1
            self.state = (self.state >> 24) * frequencies[symbol] + slot - starts[symbol]
            if self.state < 2**32:
                self.refill()
            symbols.append(symbol)
        self.symbols += symbols
        return symbols

    def finish(self):
        check(self.state == first_state(self.symbols) and not self.words, "the coder ends in a wrong state")


def ans_decode(words, contexts):
    """contexts: (count, frequencies) in decoding order -> symbols of each. words: 32-bit integers in file order."""
    coder = Ans(words)
    results = [coder.decode(count, frequencies) for count, frequencies in contexts]
    coder.finish()
    return results


def decode_stream(data, contexts):
    """A plain stream; contexts: (count, alphabet) -> symbols of each."""
    stream = Bytes(data)
    results = []
    for count, alphabet in contexts:
        if alphabet == 1:
            results.append([0] * count)
        elif stream.left() and stream.data[stream.at] == 4:
            stream.take(1)
            results.append(raw(stream, count, alphabet))
        else:
            model = read_model(stream, alphabet)
            results.append((count, model) if is_coded(model) else [model] * count)
    coded = [i for i, result in enumerate(results) if isinstance(result, tuple)]
    words = read_words(stream, bool(coded))
    if coded:
        for i, symbols in zip(coded, ans_decode(words, [results[i] for i in coded]), strict=True):
            results[i] = symbols
    return results


def decode_conditional(data, n, attributes, known=()):
    """attributes: (alphabet, sources) with sources as indices into known + attributes -> symbols of each attribute."""
    stream = Bytes(data)
    columns = [list(column) for column in known]
    plans = []
    for alphabet, sources in attributes:
        thresholds, models = [], [0]
        if alphabet > 1:
            thresholds = list(stream.take(stream.fixed(1))) if sources else []
            check(len(thresholds) < 16, "too many thresholds")
            check(all(a < b for a, b in zip([0, *thresholds], thresholds, strict=False)), "thresholds do not rise")
            models = [read_model(stream, alphabet) for _ in range(len(thresholds) + 1)]
        plans.append((sources, thresholds, models))
    has_coder = any(is_coded(model) for _, _, models in plans for model in models)
    coder = Ans(read_words(stream, has_coder))
    for sources, thresholds, models in plans:
        contexts = [min(255, sum(columns[source][i] for source in sources)) for i in range(n)]
        classes = [sum(t <= context for t in thresholds) for context in contexts]
        column = [0] * n
        for number, model in enumerate(models):
            members = [i for i in range(n) if classes[i] == number]
            symbols = coder.decode(len(members), model) if is_coded(model) else [model] * len(members)
            for i, symbol in zip(members, symbols, strict=True):
                column[i] = symbol
        columns.append(column)
    if has_coder:
        coder.finish()
    return columns[len(known) :]


# ---- GoP payload


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


def entries(resolutions, log2_size):
    return [min(prod(n + 1 for n in level), 2**log2_size) for level in resolutions]


def is_finite(pattern, exponent_mask):
    return pattern & exponent_mask != exponent_mask


def parse_grid(b, name, n_axes):
    """The elements of one hash encoding."""
    n_levels = within(b.uint(), 1, 16, "levels")
    grid = {
        "resolutions": [[within(b.uint(), 1, 65535, "resolution") for _ in range(n_axes)] for _ in range(n_levels)],
        "features": within(b.uint(), 1, 8, "features"),
        "log2_size": within(b.uint(), 1, 19, "log2 of the table"),
    }
    n_parameters = grid["features"] * sum(entries(grid["resolutions"], grid["log2_size"]))
    check(n_parameters <= 2**24, "parameters of a hash encoding")
    return {f"{name}_{key}": value for key, value in grid.items()}


def parse_header(b):
    """The table GOP_HEADER; low_pass as its pattern."""
    g = {
        "n_frames": within(b.uint(), 1, 1024, "frames"),
        "n_gaussians": within(b.uint(), 1, 2**22, "Gaussians"),
        "low_pass": b.fixed(4),
    }
    check(g["low_pass"] <= 0x47800000 or g["low_pass"] == 0x80000000, "low-pass")  # 65536 and -0
    for name in ("point_mode", "shape_mode", "color_mode"):
        g[name] = within(b.fixed(1), 0, 1, "undefined mode")
    g["cholesky_bits"] = within(b.fixed(1), 1, 8, "bits of shapes")
    g["color_stages"] = within(b.uint(), 1, 8, "stages")
    g["color_codebook_size"] = within(b.uint(), 1, 256, "codewords")
    g.update(parse_grid(b, "static", 2))
    g.update(parse_grid(b, "dynamic", 3))
    g["mlp_width"] = within(b.uint(), 1, 512, "width of the MLP")
    g["n_frequencies"] = within(b.uint(), 1, 16, "frequencies of time")
    g["shape_head"] = within(b.fixed(1), 0, 1, "head for shapes")
    g["weight_bits"] = within(b.fixed(1), 1, 8, "bits of weights")
    check(not g["shape_mode"] or g["cholesky_bits"] == 8, "bits of shapes in shape_mode 1")
    check(not g["color_mode"] or (g["color_stages"], g["color_codebook_size"]) == (1, 1), "stages in color_mode 1")
    return g


def parse_side_info(g, data):
    """Scales, offsets and codebooks, as bit patterns."""
    stages, codewords = (0, 0) if g["color_mode"] else (g["color_stages"], g["color_codebook_size"])
    counts = {
        "point_scale": 2 * g["point_mode"],
        "point_offset": 2 * g["point_mode"],
        "shape_scale": 3,
        "shape_offset": 0 if g["shape_mode"] else 3,
        "color_scale": 3 * g["color_mode"],
        "static_scales": len(g["static_resolutions"]),
        "dynamic_scales": len(g["dynamic_resolutions"]),
        "mlp_scales": 10 if g["shape_head"] else 8,
    }
    runs = decode_stream(data, [(sum(counts.values()), 256)] * 4 + [(3 * codewords, 256)] * (2 * stages))
    floats = [p0 | p1 << 8 | p2 << 16 | p3 << 24 for p0, p1, p2, p3 in zip(*runs[:4], strict=True)]
    found = {}
    for name, count in counts.items():
        found[name], floats = floats[:count], floats[count:]
        largest, smallest = 0x6F800000, 0x0F800000  # the patterns of 2^96 and 2^-96
        if name.endswith("offset"):
            check(all(f & 0x7FFFFFFF <= largest for f in found[name]), "offset")
        else:
            check(all(smallest <= f <= largest for f in found[name]), "scale")
    if g["shape_mode"]:  # the patterns of 2^-10 and 0.5
        check(all(0x3A800000 <= f <= 0x3F000000 for f in found["shape_scale"][:2]), "log scale")
    halves = []
    for high, low in zip(runs[4::2], runs[5::2], strict=True):
        halves += [upper << 8 | lower for upper, lower in zip(high, low, strict=True)]
    check(all(is_finite(h, 0x7C00) for h in halves), "NaN or Inf")
    return {**found, "codebooks": halves}


def parse_shapes_and_colors(g, shapes, colors):
    """The symbols of both, Gaussian after Gaussian."""
    n, alphabet, m, k = g["n_gaussians"], 2 ** g["cholesky_bits"], g["color_stages"], g["color_codebook_size"]
    if g["shape_mode"]:
        a, b, s = decode_conditional(shapes, n, [(alphabet, ()), (alphabet, (0,)), (alphabet, (1,))])
        rows, size = (a, b, s), (a, b)
    else:
        l1, l3, l2 = decode_conditional(shapes, n, [(alphabet, ()), (alphabet, (0,)), (alphabet, (0, 1))])
        rows, size = (l1, l2, l3), (l1, l3)
    if g["color_mode"]:
        plan = [(256, (0, 1)), (256, (0, 1)), (256, (3,))]
    else:
        plan = [(k, (0, 1) if stage == 0 else (1 + stage,)) for stage in range(m)]
    columns = decode_conditional(colors, n, plan, size)
    return {
        "shapes": [v for row in zip(*rows, strict=True) for v in row],
        "colors": [v for row in zip(*columns, strict=True) for v in row],
    }


def parse_field(g, data):
    """The symbols of the hash tables and of the MLP."""
    levels_2d, levels_3d = len(g["static_resolutions"]), len(g["dynamic_resolutions"])
    half = 2 ** g["weight_bits"] // 2
    f2, f3, width = g["static_features"], g["dynamic_features"], g["mlp_width"]
    sizes = [e * f2 for e in entries(g["static_resolutions"], g["static_log2_size"])]
    sizes += [e * f3 for e in entries(g["dynamic_resolutions"], g["dynamic_log2_size"])]
    inputs = levels_2d * f2 + levels_3d * f3 + 2 * g["n_frequencies"]
    sizes += [width * inputs, width, width * width, width, 2 * width, 2, 3 * width, 3]
    sizes += [3 * width, 3] if g["shape_head"] else []
    runs = [[s - half for s in run] for run in decode_stream(data, [(size, 2 * half) for size in sizes])]
    ends = [*accumulate([0, levels_2d, levels_3d]), len(runs)]
    names = ("static_table", "dynamic_table", "mlp")
    return {
        name: [q for run in runs[start:end] for q in run]
        for name, start, end in zip(names, ends, ends[1:], strict=False)
    }


def parse_gop(data):
    """Symbols of a GoP's payload: elements of its header and flat lists of integers; floats as bit patterns."""
    b = Bytes(data)
    g = parse_header(b)
    lengths = [b.uint() for _ in range(6)]
    check(sum(lengths) == b.left(), "stream lengths")
    side_info, points, point_bits, shapes, colors, field = (b.take(length) for length in lengths)
    (buckets,) = decode_stream(points, [(g["n_gaussians"], 132)])
    found = [u for point in points_of(buckets, point_bits) for u in point]
    check(g["point_mode"] or all(0x0400 <= u <= 0xFBFF for u in found), "NaN or Inf")
    return {
        **g,
        **parse_side_info(g, side_info),
        "points": found,
        **parse_shapes_and_colors(g, shapes, colors),
        **parse_field(g, field),
    }


# ---- container


def parse_file_header(data):
    """The table FILE_HEADER."""
    h = Bytes(data)
    header = {name: h.fixed(1) for name in ("version_major", "version_minor")}
    check(header["version_major"] == 2, "version")
    header["profile"] = within(h.fixed(1), 1, 2, "profile")
    header["width"], header["height"] = (within(h.uint(), 1, 16384, "size") for _ in range(2))
    check(header["width"] * header["height"] <= 2**27, "pixels")
    for name in ("frame_rate", "time_base", "sample_aspect"):
        numerator, denominator = (within(h.uint(), 1, 2**32 - 1, name) for _ in range(2))
        check(gcd(numerator, denominator) == 1, "lowest terms")
        header[f"{name}_num"], header[f"{name}_den"] = numerator, denominator
    header["last_frame_duration"] = within(h.uint(), 0, 2**40, "duration")
    header.update({name: h.fixed(1) for name in ("color_primaries", "color_transfer", "color_matrix")})
    header["color_full_range"] = within(h.fixed(1), 0, 1, "range")
    header["tool"] = h.text()
    check(len(header["tool"].encode()) <= 64, "length of the tool's name")
    check(header["version_minor"] > 0 or not h.left(), "bytes behind the file header")
    return header


def parse_timing(b):
    """The table GOP_CHUNK, with all timestamps."""
    t = {"first_frame": within(b.uint(), 0, 2**40, "first frame"), "n_frames": within(b.uint(), 1, 1024, "frames")}
    first = within(b.sint(), -(2**62), 2**62, "timestamp")
    step = within(b.uint(), 0, 2**40, "step")
    n_deltas = t["n_frames"] - 1
    deltas = [step] * n_deltas if step else [within(b.uint(), 1, 2**40, "difference") for _ in range(n_deltas)]
    t["pts"] = list(accumulate([first, *deltas]))
    return t


def parse_chunks(data):
    """(type, offset, payload) of each chunk."""
    b = Bytes(data)
    check(list(b.take(8)) == MAGIC, "magic")
    chunks = []
    while b.left():
        offset = b.at
        head = b.take(10)
        check(b.fixed(4) == crc32(head), "header CRC")
        check(list(head[:4]) == SYNC, "sync marker")
        h = Bytes(head[4:])
        kind, size = h.fixed(2), within(h.fixed(4), 0, 2**28, "length of a chunk")
        payload = b.take(size)
        check(b.fixed(4) == crc32(payload), "payload CRC")
        chunks.append((kind, offset, payload))
    kinds = [kind for kind, _, _ in chunks]
    check(kinds.count(FILE_HEADER) == 1 and kinds[0] == FILE_HEADER, "file header")
    check(kinds.count(END) == 1 and kinds[-1] == END, "end chunk")
    check(all(kind in (FILE_HEADER, GOP, END) for kind in kinds if kind & 0x8000), "unknown critical chunk")
    return chunks


def parse_file(data):
    """The whole file: header, GoPs (timing and payload), ancillary chunks."""
    chunks = parse_chunks(data)
    header = parse_file_header(chunks[0][2])
    gops, others = [], []
    index = Bytes(chunks[-1][2])
    n_frames, n_chunks = index.uint(), index.uint()
    check(n_chunks == len(chunks) - 2, "number of chunks in the index")
    for kind, _, payload in chunks[1:-1]:
        check(index.fixed(2) == kind and index.uint() == len(payload), "index entry")
        if kind != GOP:
            others.append((kind, payload))
            continue
        p = Bytes(payload)
        n_gaussians = index.uint()
        timing = parse_timing(p)
        check(parse_timing(index) == timing, "timing in the index")
        gop = {**timing, "n_gaussians": n_gaussians, "payload": p.take(p.left())}
        g = parse_header(Bytes(gop["payload"]))
        check((g["n_frames"], g["n_gaussians"]) == (timing["n_frames"], n_gaussians), "GoP in the index")
        check(timing["first_frame"] == sum(other["n_frames"] for other in gops), "order of GoPs")
        check(not gops or timing["pts"][0] > gops[-1]["pts"][-1], "order of timestamps")
        gops.append(gop)
    check(gops and n_frames == sum(gop["n_frames"] for gop in gops), "number of frames")
    if header["version_minor"]:
        index.take(max(index.left() - 4, 0))
    check(index.fixed(4) == len(data) - chunks[-1][1] and not index.left(), "size of the end chunk")
    return {"header": header, "gops": gops, "others": others}
