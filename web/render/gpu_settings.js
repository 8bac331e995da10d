import { timeInputs } from './pack.js';
import { ARROW_FRAMES, arrowStride, DIM } from './view.js';
import * as wgsl from './wgsl.js';

/** @typedef {import('../decoder/index.js').Gop} Gop */
/** @typedef {import('./view.js').Shot} Shot */
/** @typedef {import('./pack.js').PackedGop} PackedGop */

/** Places of four numbers in each half of what a workgroup of the field shares: 16 KiB, which every device has. */
const FIELD_PLACES = 512;

/** Workgroups along an axis that every device has. */
const MAX_GROUPS = 65535;

/**
 * @param {number} n workgroups
 * @returns {[number, number]} at least as many along two axes
 */
export function groupsFor(n) {
  const rows = Math.ceil(n / MAX_GROUPS);
  return [Math.ceil(n / rows), rows];
}

/**
 * @param {PackedGop} packed
 * @returns {{ code: string, tile: number }} the shader of the field, and how many Gaussians a workgroup of it computes
 */
export function fieldShader({ layers }) {
  const quads = Math.max(layers[0].inputs / 4, layers[0].quads);
  const tile = Math.min(16, 4 * Math.floor(FIELD_PLACES / quads / 4));
  return { code: `const TILE = ${tile}u; const QUADS = ${quads}u;${wgsl.FIELD}`, tile };
}

/**
 * @param {Gop} gop
 * @param {PackedGop} packed
 * @param {number} k frame of the GoP
 * @returns {Uint8Array<ArrayBuffer>} the struct Settings of wgsl.FIELD
 */
export function fieldSettings({ parameters: { header }, size }, { layers, levels, count }, k) {
  const { t, gamma } = timeInputs(header, k);
  const floats = new Float32Array(52);
  const words = new Uint32Array(floats.buffer);
  floats.set(gamma);
  layers.forEach(({ start, inputs, quads }, i) => words.set([start, inputs, quads], 32 + 4 * i));
  floats.set([size.width, size.height, t], 44);
  const nFeatures = header.nInputs - 2 * header.nFrequencies;
  words.set([Number(header.shapeHead), count, levels.length / 8, nFeatures, header.nInputs], 47);
  return new Uint8Array(floats.buffer);
}

/**
 * @param {Shot} shot
 * @param {number} count N
 * @param {number} bits place of the weights of bits
 * @returns {Uint8Array<ArrayBuffer>} the struct View of wgsl.js
 */
export function viewSettings(shot, count, bits) {
  const { kind, x, y, scale, share, clip, width, height } = shot;
  const floats = new Float32Array(16);
  const words = new Uint32Array(floats.buffer);
  floats.set([x, y, scale, share]);
  words.set([clip.left, clip.top, clip.left + clip.width, clip.top + clip.height, width, height], 4);
  words.set([count, arrowStride(shot), kind === 'bits' ? bits : 0], 10);
  floats.set([kind === 'ellipses' || kind === 'motion' ? DIM : 1, ARROW_FRAMES], 13);
  return new Uint8Array(floats.buffer);
}
