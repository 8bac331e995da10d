/** @typedef {import('./payload.js').GopSymbols} GopSymbols */
/** @typedef {import('./payload.js').GopHeader} GopHeader */

const { fround } = Math;

/**
 * The parameters of a GoP (section 6), all binary32 and exact.
 *
 * @typedef {object} GopParameters
 * @property {GopHeader} header
 * @property {Float32Array} means [N][2]: mu, in units in which the picture is [-1, 1]^2
 * @property {Float32Array} factors [N][3]: l1, l2, l3, pixels of the coded size, before section 7.4
 * @property {Float32Array} colors [N][3]: R, G, B weights
 * @property {Float32Array[]} staticTables the 2D levels, [entries][features]
 * @property {Float32Array[]} dynamicTables the 3D levels, [entries][features]
 * @property {Record<string, Float32Array>} tensors of the MLP by name, row after row
 * @property {Float32Array} bits [N]: what the symbols of each Gaussian cost, as GopSymbols has it
 */

/**
 * @param {number} pattern of binary16, finite
 * @returns {number}
 */
export function fromHalf(pattern) {
  const exponent = (pattern >> 10) & 31;
  const mantissa = pattern & 1023;
  const magnitude = exponent ? (1024 + mantissa) * 2 ** (exponent - 25) : mantissa * 2 ** -24;
  return pattern & 0x8000 ? -magnitude : magnitude;
}

/**
 * The table of raw_1 or raw_3 in shape_mode 1 (section 6.2). Numbers of JavaScript are binary64, as it demands.
 *
 * @param {number} scale item 1 or 2 of shape_scale
 * @returns {Float32Array} [256]
 */
export function scaleTable(scale) {
  const growth = 1 + scale;
  const table = new Float32Array(256);
  for (let k = 0, p = 0.5; k < 256; k++) {
    table[k] = p - 0.5;
    p = Math.min(p * growth, 2 ** 20);
  }
  return table;
}

/**
 * Scales a symbol array of the field. The product of two binary32 numbers is exact in binary64, so that storing it rounds
 * it once.
 *
 * @param {Uint8Array} symbols each q + bias
 * @param {number} scale
 * @param {number} bias
 * @returns {Float32Array}
 */
function scaleField(symbols, scale, bias) {
  const result = new Float32Array(symbols.length);
  for (let i = 0; i < symbols.length; i++) result[i] = (symbols[i] - bias) * scale;
  return result;
}

/**
 * Every operation is rounded to binary32 on its own. Where operands are binary32, rounding the binary64 result of one
 * operation gives the same bits as an operation in binary32 would.
 *
 * @param {GopSymbols} symbols
 * @returns {GopParameters}
 */
export function dequantize(symbols) {
  const { header, sideInfo } = symbols;
  const bias = 2 ** (header.weightBits - 1);
  return {
    header,
    means: dequantizeMeans(symbols),
    factors: header.shapeMode ? factorsFromLogScales(symbols) : factorsFromCholesky(symbols),
    colors: header.colorMode ? colorsFromYCoCg(symbols) : colorsFromCodebooks(symbols),
    staticTables: symbols.staticTables.map((table, i) => scaleField(table, sideInfo.staticScales[i], bias)),
    dynamicTables: symbols.dynamicTables.map((table, i) => scaleField(table, sideInfo.dynamicScales[i], bias)),
    tensors: Object.fromEntries(
      header.tensors.map(({ name }, i) => [name, scaleField(symbols.tensors[i], sideInfo.mlpScales[i], bias)]),
    ),
    bits: symbols.bits,
  };
}

/**
 * @param {GopSymbols} symbols
 * @returns {Float32Array} [N][2]
 */
function dequantizeMeans({ header, sideInfo, x, y }) {
  const means = new Float32Array(2 * header.nGaussians);
  for (let axis = 0; axis < 2; axis++) {
    const points = axis ? y : x;
    const scale = sideInfo.pointScale[axis];
    const offset = sideInfo.pointOffset[axis];
    for (let i = 0; i < points.length; i++) {
      const u = points[i];
      if (header.pointMode) means[2 * i + axis] = fround(u * scale) + offset;
      else means[2 * i + axis] = fromHalf(u >= 0x8000 ? u - 0x8000 : 0xffff - u);
    }
  }
  return means;
}

/**
 * @param {GopSymbols} symbols
 * @returns {Float32Array} [N][3]
 */
function factorsFromCholesky({ header, sideInfo, shapes }) {
  const factors = new Float32Array(3 * header.nGaussians);
  shapes.forEach((symbols, axis) => {
    const scale = sideInfo.shapeScale[axis];
    const offset = sideInfo.shapeOffset[axis];
    for (let i = 0; i < symbols.length; i++) {
      const raw = fround(fround(symbols[i] * scale) + offset);
      factors[3 * i + axis] = axis === 1 ? raw : 0.5 + Math.max(raw, 0);
    }
  });
  return factors;
}

/**
 * @param {GopSymbols} symbols
 * @returns {Float32Array} [N][3]
 */
function factorsFromLogScales({ header, sideInfo, shapes: [a, b, s] }) {
  const factors = new Float32Array(3 * header.nGaussians);
  const table1 = scaleTable(sideInfo.shapeScale[0]);
  const table2 = scaleTable(sideInfo.shapeScale[1]);
  const shear = sideInfo.shapeScale[2];
  for (let i = 0; i < a.length; i++) {
    const l3 = fround(0.5 + table2[b[i]]);
    factors[3 * i] = 0.5 + table1[a[i]];
    factors[3 * i + 1] = fround((s[i] - 128) * shear) * l3;
    factors[3 * i + 2] = l3;
  }
  return factors;
}

/**
 * @param {GopSymbols} symbols
 * @returns {Float32Array} [N][3]
 */
function colorsFromYCoCg({ header, sideInfo, colors: [luma, orange, green] }) {
  const result = new Float32Array(3 * header.nGaussians);
  const [scaleY, scaleCo, scaleCg] = sideInfo.colorScale;
  for (let i = 0; i < luma.length; i++) {
    const y = fround((luma[i] - 128) * scaleY);
    const co = fround((orange[i] - 128) * scaleCo);
    const cg = fround((green[i] - 128) * scaleCg);
    const h = fround(y - cg);
    result[3 * i] = h + co;
    result[3 * i + 1] = y + cg;
    result[3 * i + 2] = h - co;
  }
  return result;
}

/**
 * @param {GopSymbols} symbols
 * @returns {Float32Array} [N][3]
 */
function colorsFromCodebooks({ header, sideInfo, colors }) {
  const result = new Float32Array(3 * header.nGaussians);
  colors.forEach((codewords, stage) => {
    const codebook = Float32Array.from(sideInfo.codebooks[stage], fromHalf);
    for (let i = 0; i < codewords.length; i++) {
      for (let channel = 0; channel < 3; channel++) result[3 * i + channel] += codebook[3 * codewords[i] + channel];
    }
  });
  return result;
}
