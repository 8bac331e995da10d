import { refuse } from './errors.js';
import { MAX_FRAME_PIXELS } from './limits.js';
import { ByteReader } from './reader.js';

export const VERSION_MAJOR = 2;
export const VERSION_MINOR = 0;
const MAX_U32 = 2 ** 32 - 1;

/**
 * A positive fraction in lowest terms.
 *
 * @typedef {object} Fraction
 * @property {number} num
 * @property {number} den
 */

/**
 * The table FILE_HEADER (section 3.2).
 *
 * @typedef {object} FileHeader
 * @property {number} versionMajor
 * @property {number} versionMinor
 * @property {'paper' | 'compact'} profile
 * @property {number} width pixels
 * @property {number} height pixels
 * @property {Fraction} frameRate nominal frames a second
 * @property {Fraction} timeBase seconds a unit of timestamps
 * @property {Fraction} sampleAspect width over height of a pixel as displayed
 * @property {number} lastFrameDuration units of the time base; 0 stands for one nominal frame interval
 * @property {number} colorPrimaries H.273 code of the source
 * @property {number} colorTransfer H.273 code of the source
 * @property {number} colorMatrix H.273 code of the source
 * @property {boolean} colorFullRange whether the source had full range
 * @property {string} tool name and version of the encoder
 */

/**
 * @param {ByteReader} reader
 * @param {string} element
 * @param {number} max
 * @returns {Fraction}
 */
export function readFraction(reader, element, max) {
  const where = reader.where(element);
  const num = reader.uint(`${element}_num`, 1, max);
  const den = reader.uint(`${element}_den`, 1, max);
  let a = num;
  let b = den;
  while (b) [a, b] = [b, a % b];
  if (a !== 1) refuse(where, `found ${num}/${den}, expected lowest terms`);
  return { num, den };
}

/**
 * @param {Uint8Array} payload of the chunk FILE_HEADER, whose CRCs have been checked
 * @param {number} base place of the payload in the file
 * @returns {FileHeader}
 */
export function parseFileHeader(payload, base) {
  const reader = new ByteReader(payload, 'FILE_HEADER', base);
  const versionMajor = reader.u8('version_major');
  const versionMinor = reader.u8('version_minor');
  if (versionMajor !== VERSION_MAJOR) {
    refuse(
      reader.where('version_major', 0),
      `the file has version ${versionMajor}.${versionMinor}, this decoder reads ${VERSION_MAJOR}.${VERSION_MINOR}`,
    );
  }
  const profile = reader.u8('profile', 1);
  if (profile > 2) refuse(reader.where('profile', 2), `found ${profile}, expected 1 (paper) or 2 (compact)`);
  const sizeAt = reader.where('width');
  const width = reader.uint('width', 1, 16384);
  const height = reader.uint('height', 1, 16384);
  if (width * height > MAX_FRAME_PIXELS) refuse(sizeAt, `found ${width} x ${height} pixels, expected at most 2^27`);
  const header = /** @type {FileHeader} */ ({
    versionMajor,
    versionMinor,
    profile: profile === 1 ? 'paper' : 'compact',
    width,
    height,
    frameRate: readFraction(reader, 'frame_rate', MAX_U32),
    timeBase: readFraction(reader, 'time_base', MAX_U32),
    sampleAspect: readFraction(reader, 'sample_aspect', MAX_U32),
    lastFrameDuration: reader.uint('last_frame_duration', 0, 2 ** 40),
    colorPrimaries: reader.u8('color_primaries'),
    colorTransfer: reader.u8('color_transfer'),
    colorMatrix: reader.u8('color_matrix'),
    colorFullRange: reader.u8('color_full_range', 0, 1) === 1,
    tool: reader.text('tool', 0, 64),
  });
  // A later minor version may append elements, which this decoder does not know.
  if (versionMinor <= VERSION_MINOR) reader.end();
  return header;
}
