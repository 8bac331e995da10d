import { decodeConditional, decodePlain } from './entropy.js';
import { refuse } from './errors.js';
import { checkMemory, parameterBytes } from './budget.js';
import { MAX_CHUNK_PAYLOAD, MAX_GAUSSIANS, MAX_GOP_FRAMES, MAX_GRID_PARAMETERS } from './limits.js';
import { decodePoints } from './points.js';
import { ByteReader } from './reader.js';

/**
 * A level of a hash encoding (section 4.6).
 *
 * @typedef {object} Level
 * @property {number[]} resolutions cells along (x, y) or (x, y, t)
 * @property {boolean} dense whether there is an entry for each vertex
 * @property {number} entries
 */

/**
 * @typedef {object} Encoding
 * @property {Level[]} levels
 * @property {number} features of an entry
 */

/**
 * A tensor of the MLP, stored row after row.
 *
 * @typedef {{ name: string, rows: number, columns: number }} Tensor
 */

/**
 * The table GOP_HEADER (section 4.1) and what follows from it.
 *
 * @typedef {object} GopHeader
 * @property {number} nFrames T
 * @property {number} nGaussians N
 * @property {number} lowPass s, square pixels
 * @property {0 | 1} pointMode 0 = binary16, 1 = grid
 * @property {0 | 1} shapeMode 0 = affine Cholesky, 1 = log scales and shear
 * @property {0 | 1} colorMode 0 = residual VQ, 1 = Y, Co, Cg
 * @property {number} choleskyBits
 * @property {number} colorStages M
 * @property {number} codebookSize K
 * @property {Encoding} static 2D hash encoding
 * @property {Encoding} dynamic 3D hash encoding
 * @property {number} mlpWidth J
 * @property {number} nFrequencies
 * @property {boolean} shapeHead
 * @property {number} weightBits b
 * @property {number} nInputs I, inputs of the MLP
 * @property {Tensor[]} tensors of the MLP in file order
 */

/**
 * The table SIDE_INFO and the codebooks (section 4.3).
 *
 * @typedef {object} SideInfo
 * @property {Float32Array} pointScale [2] or []
 * @property {Float32Array} pointOffset [2] or []
 * @property {Float32Array} shapeScale [3]
 * @property {Float32Array} shapeOffset [3] or []
 * @property {Float32Array} colorScale [3] or []
 * @property {Float32Array} staticScales [levels]
 * @property {Float32Array} dynamicScales [levels]
 * @property {Float32Array} mlpScales [tensors]
 * @property {Uint16Array[]} codebooks binary16 patterns of each stage, [K][3]
 */

/**
 * The symbols of a GoP (section 4), in stored order of the Gaussians.
 *
 * @typedef {object} GopSymbols
 * @property {GopHeader} header
 * @property {SideInfo} sideInfo
 * @property {Uint16Array} x [N]
 * @property {Uint16Array} y [N]
 * @property {Uint8Array[]} shapes [3][N]: l1, l2, l3 or a, b, s
 * @property {Uint8Array[]} colors [M][N] codewords or [3][N] Y, Co, Cg
 * @property {Uint8Array[]} staticTables the 2D levels, [entries][features], each q + 2^(b-1)
 * @property {Uint8Array[]} dynamicTables the 3D levels, likewise
 * @property {Uint8Array[]} tensors the tensors of the MLP, likewise
 * @property {Float32Array} bits [N]: what the symbols of each Gaussian cost in an ideal coder, models not counted
 */

/**
 * @param {ByteReader} reader
 * @returns {GopHeader}
 */
export function readGopHeader(reader) {
  reader.name = 'GOP_HEADER';
  const nFrames = reader.uint('n_frames', 1, MAX_GOP_FRAMES);
  const nGaussians = reader.uint('n_gaussians', 1, MAX_GAUSSIANS);
  const lowPass = reader.f32('low_pass', 0, 65536);
  const pointMode = /** @type {0 | 1} */ (reader.u8('point_mode', 0, 1));
  const shapeMode = /** @type {0 | 1} */ (reader.u8('shape_mode', 0, 1));
  const colorMode = /** @type {0 | 1} */ (reader.u8('color_mode', 0, 1));
  const choleskyBits = reader.u8('cholesky_bits', shapeMode ? 8 : 1, 8);
  const colorStages = reader.uint('color_stages', 1, colorMode ? 1 : 8);
  const codebookSize = reader.uint('color_codebook_size', 1, colorMode ? 1 : 256);
  const static_ = readEncoding(reader, 'static', 2);
  const dynamic = readEncoding(reader, 'dynamic', 3);
  const mlpWidth = reader.uint('mlp_width', 1, 512);
  const nFrequencies = reader.uint('n_frequencies', 1, 16);
  const shapeHead = reader.u8('shape_head', 0, 1) === 1;
  const weightBits = reader.u8('weight_bits', 1, 8);
  const nInputs =
    static_.levels.length * static_.features + dynamic.levels.length * dynamic.features + 2 * nFrequencies;
  const tensors = [
    { name: 'w1', rows: mlpWidth, columns: nInputs },
    { name: 'b1', rows: mlpWidth, columns: 1 },
    { name: 'w2', rows: mlpWidth, columns: mlpWidth },
    { name: 'b2', rows: mlpWidth, columns: 1 },
    { name: 'w_means', rows: 2, columns: mlpWidth },
    { name: 'b_means', rows: 2, columns: 1 },
    { name: 'w_colors', rows: 3, columns: mlpWidth },
    { name: 'b_colors', rows: 3, columns: 1 },
  ];
  if (shapeHead) {
    tensors.push({ name: 'w_shapes', rows: 3, columns: mlpWidth }, { name: 'b_shapes', rows: 3, columns: 1 });
  }
  return {
    nFrames,
    nGaussians,
    lowPass,
    pointMode,
    shapeMode,
    colorMode,
    choleskyBits,
    colorStages,
    codebookSize,
    static: static_,
    dynamic,
    mlpWidth,
    nFrequencies,
    shapeHead,
    weightBits,
    nInputs,
    tensors,
  };
}

/**
 * @param {ByteReader} reader
 * @param {'static' | 'dynamic'} name
 * @param {number} dimensions
 * @returns {Encoding}
 */
function readEncoding(reader, name, dimensions) {
  const at = reader.where(`n_${name}_levels`);
  const nLevels = reader.uint(`n_${name}_levels`, 1, 16);
  const resolutions = Array.from({ length: nLevels }, (_, level) =>
    Array.from({ length: dimensions }, (_, axis) => reader.uint(`${name}_resolutions[${level}][${axis}]`, 1, 65535)),
  );
  const features = reader.uint(`${name}_features`, 1, 8);
  const largest = 2 ** reader.uint(`${name}_log2_size`, 1, 19);
  const levels = resolutions.map((cells) => {
    const vertices = cells.reduce((product, count) => product * (count + 1), 1);
    return { resolutions: cells, dense: vertices <= largest, entries: Math.min(vertices, largest) };
  });
  const parameters = levels.reduce((sum, level) => sum + level.entries, 0) * features;
  if (parameters > MAX_GRID_PARAMETERS)
    refuse(at, `the ${name} encoding has ${parameters} parameters, expected at most 2^24`);
  return { levels, features };
}

const STREAMS = /** @type {const} */ (['side_info', 'points', 'point_bits', 'shapes', 'colors', 'field']);

/**
 * Parses a GoP payload (sections 4 and 5).
 *
 * @param {ByteReader} reader behind GOP_CHUNK; the payload ends with it
 * @param {{ nFrames: number, nGaussians: number | null }} expected T of the chunk and N of the index, if there is one
 * @param {number} maxMemory bytes, see budget.js
 * @returns {GopSymbols}
 */
export function parsePayload(reader, expected, maxMemory) {
  const at = reader.position;
  const header = readGopHeader(reader);
  const where = reader.where('n_frames', at);
  if (header.nFrames !== expected.nFrames) refuse(where, `found ${header.nFrames}, GOP_CHUNK says ${expected.nFrames}`);
  if (expected.nGaussians !== null && header.nGaussians !== expected.nGaussians) {
    refuse(where, `found n_gaussians ${header.nGaussians}, the index says ${expected.nGaussians}`);
  }
  reader.name = 'STREAM_LENGTHS';
  const lengthsAt = reader.where(`${STREAMS[0]}_bytes`);
  const lengths = STREAMS.map((name) => reader.uint(`${name}_bytes`, 0, MAX_CHUNK_PAYLOAD));
  const sum = lengths.reduce((a, b) => a + b, 0);
  if (sum !== reader.remaining) refuse(lengthsAt, `the streams have ${sum} bytes, ${reader.remaining} bytes are left`);
  checkMemory('parameters of the GoP', parameterBytes(header), maxMemory);

  const [sideInfoStream, pointsStream, pointBitsStream, shapesStream, colorsStream, fieldStream] = STREAMS.map(
    (name, i) => {
      const base = reader.base + reader.position;
      return new ByteReader(reader.take(name, lengths[i]), name, base);
    },
  );
  const sideInfo = decodeSideInfo(sideInfoStream, header);
  const bits = new Float32Array(header.nGaussians);
  const { x, y } = decodePoints(pointsStream, pointBitsStream, header.nGaussians, header.pointMode, bits);
  const { shapes, colors } = decodeAttributes(shapesStream, colorsStream, header, bits);
  const alphabet = 2 ** header.weightBits;
  const levelArrays = (/** @type {Encoding} */ encoding, /** @type {string} */ name) =>
    encoding.levels.map((level, i) => ({ name: `${name} level ${i}`, n: level.entries * encoding.features, alphabet }));
  const nStatic = header.static.levels.length;
  const nGrids = nStatic + header.dynamic.levels.length;
  const field = decodePlain(fieldStream, [
    ...levelArrays(header.static, '2D'),
    ...levelArrays(header.dynamic, '3D'),
    ...header.tensors.map(({ name, rows, columns }) => ({ name, n: rows * columns, alphabet })),
  ]);
  return {
    header,
    sideInfo,
    x,
    y,
    shapes,
    colors,
    staticTables: field.slice(0, nStatic),
    dynamicTables: field.slice(nStatic, nGrids),
    tensors: field.slice(nGrids),
    bits,
  };
}

/**
 * @param {ByteReader} stream
 * @param {GopHeader} header
 * @returns {SideInfo}
 */
function decodeSideInfo(stream, header) {
  const counts = {
    point: header.pointMode ? 2 : 0,
    shapeOffset: header.shapeMode ? 0 : 3,
    color: header.colorMode ? 3 : 0,
    static: header.static.levels.length,
    dynamic: header.dynamic.levels.length,
    mlp: header.tensors.length,
  };
  const n = 2 * counts.point + 3 + counts.shapeOffset + counts.color + counts.static + counts.dynamic + counts.mlp;
  const arrays = [0, 1, 2, 3].map((byte) => ({ name: `byte ${byte}`, n, alphabet: 256 }));
  const nStages = header.colorMode ? 0 : header.colorStages;
  for (let m = 0; m < nStages; m++) {
    for (const half of ['high', 'low'])
      arrays.push({ name: `stage ${m} ${half}`, n: 3 * header.codebookSize, alphabet: 256 });
  }
  const symbols = decodePlain(stream, arrays);

  const table = new Uint8Array(4 * n);
  for (let i = 0; i < table.length; i++) table[i] = symbols[i & 3][i >> 2];
  // The places in errors of this reader are those within the table, which has no place in the file.
  const reader = new ByteReader(table, 'SIDE_INFO');
  const SMALL = 2 ** -96;
  const LARGE = 2 ** 96;
  const read = (/** @type {string} */ name, /** @type {number} */ count, min = SMALL, max = LARGE) =>
    Float32Array.from({ length: count }, (_, i) => reader.f32(`${name}[${i}]`, min, max));
  const pointScale = read('point_scale', counts.point);
  const pointOffset = read('point_offset', counts.point, -LARGE);
  const shapeScale = read('shape_scale', 3);
  for (let i = 0; i < 2 && header.shapeMode; i++) {
    if (!(shapeScale[i] >= 2 ** -10 && shapeScale[i] <= 0.5)) {
      refuse(`SIDE_INFO.shape_scale[${i}]`, `found ${shapeScale[i]}, expected 2^-10 to 0.5 in shape_mode 1`);
    }
  }
  const shapeOffset = read('shape_offset', counts.shapeOffset, -LARGE);
  const colorScale = read('color_scale', counts.color);
  const staticScales = read('static_scales', counts.static);
  const dynamicScales = read('dynamic_scales', counts.dynamic);
  const mlpScales = read('mlp_scales', counts.mlp);
  const codebooks = Array.from({ length: nStages }, (_, m) => {
    const [high, low] = symbols.slice(4 + 2 * m, 6 + 2 * m);
    return Uint16Array.from(high, (byte, i) => {
      // An exponent of all ones means a NaN or an infinity.
      if ((byte & 0x7c) === 0x7c) refuse(`side_info stage ${m}`, `codeword ${Math.floor(i / 3)} is not finite`);
      return (byte << 8) | low[i];
    });
  });
  return {
    pointScale,
    pointOffset,
    shapeScale,
    shapeOffset,
    colorScale,
    staticScales,
    dynamicScales,
    mlpScales,
    codebooks,
  };
}

/**
 * Decodes the streams shapes and colors (section 4.5).
 *
 * @param {ByteReader} shapesStream
 * @param {ByteReader} colorsStream
 * @param {GopHeader} header
 * @param {Float32Array} bits [N], to which the costs of the symbols are added
 * @returns {{ shapes: Uint8Array[], colors: Uint8Array[] }}
 */
function decodeAttributes(shapesStream, colorsStream, header, bits) {
  /** @type {Record<string, Uint8Array>} */
  const known = {};
  const n = header.nGaussians;
  const size = header.shapeMode ? ['a', 'b'] : ['l1', 'l3'];
  const alphabet = 2 ** header.choleskyBits;
  decodeConditional(
    shapesStream,
    n,
    [
      { name: size[0], alphabet, context: [] },
      { name: size[1], alphabet, context: [size[0]] },
      header.shapeMode ? { name: 's', alphabet, context: ['b'] } : { name: 'l2', alphabet, context: size },
    ],
    known,
    bits,
  );
  const shapes = (header.shapeMode ? ['a', 'b', 's'] : ['l1', 'l2', 'l3']).map((name) => known[name]);
  const attributes = header.colorMode
    ? [
        { name: 'Y', alphabet: 256, context: size },
        { name: 'Co', alphabet: 256, context: size },
        { name: 'Cg', alphabet: 256, context: ['Co'] },
      ]
    : Array.from({ length: header.colorStages }, (_, m) => ({
        name: `stage ${m}`,
        alphabet: header.codebookSize,
        context: m ? [`stage ${m - 1}`] : size,
      }));
  decodeConditional(colorsStream, n, attributes, known, bits);
  return { shapes, colors: attributes.map(({ name }) => known[name]) };
}
