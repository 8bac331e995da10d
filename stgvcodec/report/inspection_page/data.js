// What the page was given, its packed arrays, and what is chosen on it.

const DATA = JSON.parse(byId("inspection").textContent);

const STREAMS = ["field", "colors", "shapes", "point_bits", "points", "side_info", "container", "damaged"];
const STREAM_COLORS = {
  field: "#009e73", colors: "#d55e00", shapes: "#e69f00", point_bits: "#56b4e9", points: "#0072b2",
  side_info: "#cc79a7",
  container: "#8a8f94", damaged: "#b3261e",
};
const STREAM_MEANINGS = {
  field: "motion, change of colour and shape",
  colors: "colours of the Gaussians",
  shapes: "sizes and slants of the Gaussians",
  point_bits: "places of the Gaussians, low bits",
  points: "places of the Gaussians",
  side_info: "headers, scales and offsets",
  container: "chunk framing and timestamps",
  damaged: "cannot be decoded",
};

const VIEWS = { decoded: "decoded", source: "source", error: `error \u00d7${DATA.errorGain}` };

const state = { gop: 0, picture: 0, overlay: "none", gaussian: null, stream: "shapes", array: null, classOf: "all" };

function unpack(text, Kind) {
  const raw = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  return new Kind(raw.buffer);
}

function columnsOf(flat, n) {
  return Array.from({ length: n ? flat.length / n : 0 }, (_, i) => flat.subarray(i * n, (i + 1) * n));
}

const unpackedGaussians = new Map();

// Symbols, bits and parameters of the Gaussians of a GoP; null where the page has none.
function gaussiansOf(gop) {
  const detail = DATA.details[gop];
  if (!detail) return null;
  if (!unpackedGaussians.has(gop)) {
    const g = detail.gaussians;
    const codes = columnsOf(unpack(g.bits, Uint16Array), g.n);
    const bits = codes.map((column) => Float32Array.from(column, (code) => code / g.bitsUnit));
    const total = new Float32Array(g.n);
    for (const column of bits) for (let i = 0; i < g.n; i += 1) total[i] += column[i];
    unpackedGaussians.set(gop, {
      ...g,
      bits,
      total,
      sorted: Float32Array.from(total).sort(),
      symbols: columnsOf(unpack(g.symbols, Uint16Array), g.n),
      points: columnsOf(unpack(g.points, Uint16Array), g.n),
      parameters: columnsOf(unpack(g.parameters, Float32Array), g.n),
    });
  }
  return unpackedGaussians.get(gop);
}

// Centres here and in the frame before, and Cholesky factors, pixels; NaN for what is not drawn.
function placesOf(picture) {
  if (!picture.unpacked) {
    const { low, step, data } = picture.places;
    const codes = unpack(data, Uint16Array);
    const n = codes.length / low.length;
    picture.unpacked = columnsOf(codes, n).map((column, i) =>
      Float32Array.from(column, (code) => (code === 65535 ? NaN : low[i] + step[i] * code)));
  }
  const [x, y, beforeX, beforeY, l1, l2, l3] = picture.unpacked;
  return { n: x ? x.length : 0, x, y, beforeX, beforeY, l1, l2, l3 };
}

function mapOf(picture) {
  if (!picture.mapBits) picture.mapBits = unpack(picture.map.bits, Float32Array);
  return picture.mapBits;
}

const hasPictures = DATA.pictures.length > 0;
const currentPicture = () => DATA.pictures[state.picture];
