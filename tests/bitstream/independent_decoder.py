"""A second decoder of `.stgv` files in plain Python integers, after bitstream_spec.md; shares no code with the package.

It checks container, fields and entropy coder; floats stay bit patterns. Slow; any violation is a `SpecError`.
"""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate

MAGIC = [0x89, 0x53, 0x54, 0x47, 0x0D, 0x0A, 0x1A, 0x0A]
SYNC = [0xF5, 0x53, 0x47, 0xC1]
FILE_HEADER, GOP, END, PREDICTED_GOP = 0x8001, 0x8002, 0x8003, 0x8004


class SpecError(Exception):
    """The bytes break a rule of the spec."""


def check(condition, rule):
    if not condition:
        raise SpecError(rule)


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
        return bytes(self.take(self.uint())).decode("utf-8")


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


def ans_decode(words, contexts):
    """contexts: (count, frequencies) in decoding order -> symbols of each. words: 32-bit integers in file order."""
    words = list(words)
    state = 0
    for _ in range(2):
        if words:
            state = state << 32 | words.pop()
    results = []
    for count, frequencies in contexts:
        starts = [0, *accumulate(frequencies)]
        check(starts[-1] == 2**24, "frequencies do not sum to 2^24")
        symbols = []
        for _ in range(count):
            slot = state & (2**24 - 1)
            symbol = bisect_right(starts, slot) - 1
            state = (state >> 24) * frequencies[symbol] + slot - starts[symbol]
            if state < 2**32 and words:
                state = state << 32 | words.pop()
            symbols.append(symbol)
        results.append(symbols)
    symbols = [symbol for symbols in results for symbol in symbols]
    check(state == first_state(symbols) and not words, "the coder ends in a wrong state")
    return results


def decode_stream(data, contexts):
    """contexts: (count, alphabet) -> symbols of each."""
    stream = Bytes(data)
    results, coded = [], []
    for count, alphabet in contexts:
        if alphabet == 1:
            results.append([0] * count)
            continue
        byte = stream.fixed(1)
        mode, parameter = byte & 3, byte >> 2
        if mode == 0 and parameter == 0:
            symbol = stream.fixed(1)
            check(symbol < alphabet, "constant outside the alphabet")
            results.append([symbol] * count)
        elif mode == 0:
            check(parameter == 1, "undefined model")
            results.append(raw(stream, count, alphabet))
        else:
            if mode == 1 and parameter < 16:
                check(1 <= parameter <= 14, "table total")
                frequencies = table(stream, parameter, alphabet)
            else:
                check(mode != 1 or parameter < 32, "undefined model")
                centre = stream.fixed(1)
                check(centre < alphabet, "centre outside the alphabet")
                width = parameter - 16 if mode == 1 else parameter
                frequencies = family(4 if mode == 1 else mode, width, centre, alphabet)
            coded.append((len(results), count, frequencies))
            results.append(None)
    tail = list(stream.take(stream.left()))
    check(not tail or tail[-1] != 0, "last byte of the coder is 0")
    tail += [0] * (-len(tail) % 4)
    if not coded:
        check(not tail, "bytes behind the models")
        return results
    words = [sum(tail[i + j] << (8 * j) for j in range(4)) for i in range(0, len(tail), 4)]
    decoded = ans_decode(words, [(count, frequencies) for _, count, frequencies in coded])
    for (index, _, _), symbols in zip(coded, decoded, strict=True):
        results[index] = symbols
    return results


# ---- GoP payload


def entries(resolutions, log2_size):
    counts = []
    for level in resolutions:
        vertices = 1
        for n in level:
            vertices *= n + 1
        counts.append(vertices if vertices <= 2**log2_size else 2**log2_size)
    return counts


def is_finite(pattern, exponent_mask):
    return pattern & exponent_mask != exponent_mask


def parse_gop(data):
    """Symbols of a GoP: header fields and flat lists of integers; floats as bit patterns."""
    b = Bytes(data)
    g = {"n_frames": b.uint(), "n_gaussians": b.uint(), "low_pass": b.fixed(4), "cholesky_bits": b.fixed(1)}
    g["color_stages"], g["color_codebook_size"] = b.uint(), b.uint()
    g["static_resolutions"] = [[b.uint(), b.uint()] for _ in range(b.uint())]
    g["static_features"], g["static_log2_size"] = b.uint(), b.uint()
    g["dynamic_resolutions"] = [[b.uint(), b.uint(), b.uint()] for _ in range(b.uint())]
    g["dynamic_features"], g["dynamic_log2_size"] = b.uint(), b.uint()
    g["mlp_width"], g["n_frequencies"], g["weight_bits"] = b.uint(), b.uint(), b.fixed(1)
    lengths = [b.uint() for _ in range(8)]
    check(sum(lengths) == b.left(), "stream lengths")
    side, means, cholesky, indices, codebooks, static, dynamic, mlp = (b.take(n) for n in lengths)

    n, m, k = g["n_gaussians"], g["color_stages"], g["color_codebook_size"]
    levels_2d, levels_3d = len(g["static_resolutions"]), len(g["dynamic_resolutions"])
    n_floats = 3 + 3 + levels_2d + levels_3d + 8
    planes = decode_stream(side, [(n_floats, 256)] * 4)
    floats = [p0 | p1 << 8 | p2 << 16 | p3 << 24 for p0, p1, p2, p3 in zip(*planes, strict=True)]
    check(all(is_finite(f, 0x7F800000) for f in floats), "NaN or Inf")
    for name, count in (
        ("cholesky_scale", 3),
        ("cholesky_offset", 3),
        ("static_scales", levels_2d),
        ("dynamic_scales", levels_3d),
        ("mlp_scales", 8),
    ):
        g[name], floats = floats[:count], floats[count:]
        check(name.endswith("offset") or all(0 < f < 2**31 for f in g[name]), "scale not above 0")

    xh, xl, yh, yl = decode_stream(means, [(n, 256)] * 4)
    g["means"] = [v for i in range(n) for v in (xh[i] << 8 | xl[i], yh[i] << 8 | yl[i])]
    l1, l2, l3 = decode_stream(cholesky, [(n, 2 ** g["cholesky_bits"])] * 3)
    g["cholesky"] = [v for i in range(n) for v in (l1[i], l2[i], l3[i])]
    stages = decode_stream(indices, [(n, k)] * m)
    g["color_indices"] = [stage[i] for i in range(n) for stage in stages]
    parts = decode_stream(codebooks, [(3 * k, 256)] * (2 * m))
    g["codebooks"] = [parts[2 * stage][i] << 8 | parts[2 * stage + 1][i] for stage in range(m) for i in range(3 * k)]
    check(all(is_finite(h, 0x7C00) for h in g["means"] + g["codebooks"]), "NaN or Inf")

    alphabet = 2 ** g["weight_bits"]

    def weights(data, counts):
        return [s - alphabet // 2 for run in decode_stream(data, [(c, alphabet) for c in counts]) for s in run]

    f2, f3, width = g["static_features"], g["dynamic_features"], g["mlp_width"]
    g["static_table"] = weights(static, [e * f2 for e in entries(g["static_resolutions"], g["static_log2_size"])])
    g["dynamic_table"] = weights(dynamic, [e * f3 for e in entries(g["dynamic_resolutions"], g["dynamic_log2_size"])])
    inputs = levels_2d * f2 + levels_3d * f3 + 2 * g["n_frequencies"]
    g["mlp"] = weights(mlp, [width * inputs, width, width * width, width, 2 * width, 2, 3 * width, 3])
    return g


# ---- container


def parse_timing(b):
    t = {"first_frame": b.uint(), "n_frames": b.uint()}
    pts, step = b.sint(), b.uint()
    deltas = [step] * (t["n_frames"] - 1) if step else [b.uint() for _ in range(t["n_frames"] - 1)]
    t["pts"] = list(accumulate([pts, *deltas]))
    return t


def parse_file(data):
    """The whole file: header, GoPs (timing and payload), ancillary chunks."""
    b = Bytes(data)
    check(list(b.take(8)) == MAGIC, "magic")
    chunks = []
    while b.left():
        offset = b.at
        head = b.take(10)
        check(b.fixed(4) == crc32(head), "header CRC")
        check(list(head[:4]) == SYNC, "sync marker")
        h = Bytes(head[4:])
        kind, size = h.fixed(2), h.fixed(4)
        payload = b.take(size)
        check(b.fixed(4) == crc32(payload), "payload CRC")
        chunks.append((kind, offset, payload))
    check([kind for kind, _, _ in chunks].count(FILE_HEADER) == 1 and chunks[0][0] == FILE_HEADER, "file header")
    check([kind for kind, _, _ in chunks].count(END) == 1 and chunks[-1][0] == END, "end chunk")
    check(
        all(k in (FILE_HEADER, GOP, END, PREDICTED_GOP) for k, _, _ in chunks if k & 0x8000), "unknown critical chunk"
    )
    h = Bytes(chunks[0][2])
    names = ("version_major", "version_minor", "profile")
    header = {name: h.fixed(1) for name in names}
    names = ("width", "height", "frame_rate_num", "frame_rate_den", "time_base_num", "time_base_den")
    header.update({name: h.uint() for name in names})
    names = ("color_primaries", "color_transfer", "color_matrix", "color_full_range")
    header.update({name: h.fixed(1) for name in names})
    header["tool"] = h.text()
    check(not h.left(), "bytes behind the file header")

    gops, others = [], []
    index = Bytes(chunks[-1][2])
    n_frames, n_chunks = index.uint(), index.uint()
    check(n_chunks == len(chunks) - 2, "number of chunks in the index")
    for kind, _, payload in chunks[1:-1]:
        check(index.fixed(2) == kind and index.uint() == len(payload), "index entry")
        if kind not in (GOP, PREDICTED_GOP):
            others.append((kind, payload))
            continue
        p = Bytes(payload)
        n_gaussians = index.uint()
        timing = parse_timing(p)
        check(parse_timing(index) == timing, "timing in the index")
        gop = {**timing, "n_gaussians": n_gaussians, "is_key": kind == GOP, "payload": p.take(p.left())}
        check(Bytes(gop["payload"]).uint() == timing["n_frames"], "frames of the GoP")
        g = Bytes(gop["payload"])
        check((g.uint(), g.uint()) == (timing["n_frames"], n_gaussians), "Gaussians in the index")
        if kind == PREDICTED_GOP:
            check((header["version_major"], header["version_minor"]) >= (1, 2), "predicted GoP in an earlier version")
            check(gops and gops[-1]["n_gaussians"] == n_gaussians, "Gaussians to predict from")
            check(any(other["is_key"] for other in gops[-255:]), "too many predicted GoPs")
        check(timing["first_frame"] == sum(other["n_frames"] for other in gops), "order of GoPs")
        gops.append(gop)
    check(n_frames == sum(gop["n_frames"] for gop in gops), "number of frames")
    check(index.fixed(4) == len(data) - chunks[-1][1] and not index.left(), "size of the end chunk")
    return {"header": header, "gops": gops, "others": others}
