/** @typedef {import('./dequantize.js').GopParameters} GopParameters */
/** @typedef {import('./payload.js').Level} Level */
/** @typedef {import('./payload.js').Encoding} Encoding */

const { fround } = Math;

/**
 * @param {number} k frame of the GoP, 0 to T - 1
 * @param {number} nFrames T
 * @returns {number} t, 0 to 1
 */
export function timeOf(k, nFrames) {
  return nFrames === 1 ? 0 : k / (nFrames - 1);
}

/**
 * @param {number} t
 * @param {number} nFrequencies
 * @returns {Float32Array} gamma(t), [2 * nFrequencies] (section 7.1)
 */
export function timeEncoding(t, nFrequencies) {
  const gamma = new Float32Array(2 * nFrequencies);
  for (let j = 0; j < nFrequencies; j++) {
    const angle = 2 ** j * Math.PI * t;
    gamma[2 * j] = Math.sin(angle);
    gamma[2 * j + 1] = Math.cos(angle);
  }
  return gamma;
}

/**
 * @param {Float32Array} means [N][2]
 * @returns {Float32Array} [N][2]: where the Gaussians are looked up, in [0, 1]^2
 */
export function lookupPoints(means) {
  return means.map((mu) => Math.min(1, Math.max(0, fround(mu + 1) / 2)));
}

/**
 * Looks all Gaussians up in one level of a hash encoding (section 7.2).
 *
 * @param {Level} level
 * @param {Float32Array} table [entries][features]
 * @param {number} features of an entry
 * @param {Float32Array} points [N][2], of lookupPoints
 * @param {number} t binary32; not used by a 2D level
 * @param {Float32Array} out [N][stride], gets the features at `place`
 * @param {number} stride
 * @param {number} place
 */
function lookUpLevel(level, table, features, points, t, out, stride, place) {
  const [rx, ry, rt = 0] = level.resolutions;
  const corners = rt ? 8 : 4;
  const mask = level.entries - 1;
  const rowEntries = rx + 1;
  const planeEntries = rowEntries * (ry + 1);
  const tPosition = fround(t * rt);
  const tCell = Math.min(Math.floor(tPosition), Math.max(0, rt - 1));
  const tFraction = tPosition - tCell;
  for (let i = 0, at = place; 2 * i < points.length; i++, at += stride) {
    const xPosition = fround(points[2 * i] * rx);
    const yPosition = fround(points[2 * i + 1] * ry);
    const xCell = Math.min(Math.floor(xPosition), rx - 1);
    const yCell = Math.min(Math.floor(yPosition), ry - 1);
    const xFraction = xPosition - xCell;
    const yFraction = yPosition - yCell;
    for (let corner = 0; corner < corners; corner++) {
      const dx = corner & 1;
      const dy = (corner >> 1) & 1;
      const dt = corner >> 2;
      let weight = (dx ? xFraction : 1 - xFraction) * (dy ? yFraction : 1 - yFraction);
      if (rt) weight *= dt ? tFraction : 1 - tFraction;
      const vx = xCell + dx;
      const vy = yCell + dy;
      const vt = tCell + dt;
      const entry = level.dense
        ? vx + vy * rowEntries + vt * planeEntries
        : (vx ^ Math.imul(vy, 2654435761) ^ Math.imul(vt, 805459861)) & mask;
      for (let f = 0; f < features; f++) out[at + f] += weight * table[entry * features + f];
    }
  }
}

/**
 * @param {Encoding} encoding
 * @param {Float32Array[]} tables
 * @param {Float32Array} points [N][2], of lookupPoints
 * @param {number} t
 * @returns {Float32Array} [N][levels * features]
 */
export function lookUp(encoding, tables, points, t) {
  const stride = encoding.levels.length * encoding.features;
  const out = new Float32Array((points.length / 2) * stride);
  encoding.levels.forEach((level, i) => {
    lookUpLevel(level, tables[i], encoding.features, points, fround(t), out, stride, i * encoding.features);
  });
  return out;
}

/**
 * One layer of the MLP for one Gaussian. Sums are binary64, results binary32 as the arrays are.
 *
 * @param {Float32Array} weights [rows][columns]
 * @param {Float32Array} bias [rows]
 * @param {Float32Array} input [columns]
 * @param {Float32Array} output [rows]
 */
function affine(weights, bias, input, output) {
  const columns = input.length;
  const rows = output.length;
  let row = 0;
  // Four rows at once: their sums do not wait for one another, which makes the network about twice as fast.
  for (; row + 4 <= rows; row += 4) {
    const w0 = row * columns;
    const w1 = w0 + columns;
    const w2 = w1 + columns;
    const w3 = w2 + columns;
    let s0 = bias[row];
    let s1 = bias[row + 1];
    let s2 = bias[row + 2];
    let s3 = bias[row + 3];
    for (let i = 0; i < columns; i++) {
      const value = input[i];
      s0 += weights[w0 + i] * value;
      s1 += weights[w1 + i] * value;
      s2 += weights[w2 + i] * value;
      s3 += weights[w3 + i] * value;
    }
    output[row] = s0;
    output[row + 1] = s1;
    output[row + 2] = s2;
    output[row + 3] = s3;
  }
  for (; row < rows; row++) {
    let sum = bias[row];
    for (let i = 0; i < columns; i++) sum += weights[row * columns + i] * input[i];
    output[row] = sum;
  }
}

/**
 * @param {Float32Array} values are replaced by max(value, 0), where NaN stays NaN
 */
function rectify(values) {
  for (let i = 0; i < values.length; i++) if (values[i] < 0) values[i] = 0;
}

/**
 * How the field changes the Gaussians of one frame (section 7.3).
 *
 * @typedef {object} Changes
 * @property {Float32Array} means [N][2]: mu'
 * @property {Float32Array} colors [N][3]: c'
 * @property {Float32Array | null} shapes [N][3]: d1, ds, d3 before they are clamped, where there is a shape_head
 */

/** The field of a GoP. What does not depend on time is computed once. */
export class Field {
  /** @param {GopParameters} parameters */
  constructor(parameters) {
    this.parameters = parameters;
    this.points = lookupPoints(parameters.means);
    /** f_s of all Gaussians. */
    this.staticFeatures = lookUp(parameters.header.static, parameters.staticTables, this.points, 0);
  }

  /**
   * @param {number} t time in the GoP, 0 to 1
   * @returns {Changes}
   */
  at(t) {
    const { header, means, colors, tensors, dynamicTables } = this.parameters;
    const { nGaussians: n, nInputs, mlpWidth } = header;
    const dynamicFeatures = lookUp(header.dynamic, dynamicTables, this.points, t);
    const nStatic = this.staticFeatures.length / n;
    const nDynamic = dynamicFeatures.length / n;
    const input = new Float32Array(nInputs);
    input.set(timeEncoding(t, header.nFrequencies), nStatic + nDynamic);
    const hidden1 = new Float32Array(mlpWidth);
    const hidden2 = new Float32Array(mlpWidth);
    const deltaMean = new Float32Array(2);
    const deltaColor = new Float32Array(3);
    const deltaShape = new Float32Array(3);
    const result = {
      means: new Float32Array(means.length),
      colors: new Float32Array(colors.length),
      shapes: header.shapeHead ? new Float32Array(3 * n) : null,
    };
    for (let i = 0; i < n; i++) {
      for (let f = 0; f < nStatic; f++) input[f] = this.staticFeatures[i * nStatic + f];
      for (let f = 0; f < nDynamic; f++) input[nStatic + f] = dynamicFeatures[i * nDynamic + f];
      affine(tensors.w1, tensors.b1, input, hidden1);
      rectify(hidden1);
      affine(tensors.w2, tensors.b2, hidden1, hidden2);
      rectify(hidden2);
      affine(tensors.w_means, tensors.b_means, hidden2, deltaMean);
      affine(tensors.w_colors, tensors.b_colors, hidden2, deltaColor);
      for (let axis = 0; axis < 2; axis++) result.means[2 * i + axis] = means[2 * i + axis] + deltaMean[axis];
      for (let c = 0; c < 3; c++) result.colors[3 * i + c] = colors[3 * i + c] + deltaColor[c];
      if (result.shapes) {
        affine(tensors.w_shapes, tensors.b_shapes, hidden2, deltaShape);
        result.shapes.set(deltaShape, 3 * i);
      }
    }
    return result;
  }
}
