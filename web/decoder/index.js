/**
 * A decoder of `.stgv` files, version 2.0. Numbers of sections in comments are those of bitstream_spec.md.
 *
 *     const video = await openVideo(await httpSource('film.stgv'));
 *     const { width, height, data } = await video.renderFrame(0);
 *     context.putImageData(new ImageData(data, width, height), 0, 0);
 */
import { DEFAULT_BUDGET } from './budget.js';
import { CHUNK, readListedChunk } from './chunks.js';
import { readFileHeader, readIndex } from './container.js';
import { dequantize } from './dequantize.js';
import { checkSameTiming, readTiming, timestamps } from './gops.js';
import { parsePayload } from './payload.js';
import { ByteReader } from './reader.js';
import { GopRenderer } from './splat.js';
import { memorySource } from './source.js';
import { readMetadata, readPackets, readTracks } from './tracks.js';

export { BudgetError, SourceError, StgvError } from './errors.js';
export { blobSource, httpSource, memorySource } from './source.js';
export { dequantize } from './dequantize.js';
export { GopRenderer, scaledSize } from './splat.js';
export { readSequentially } from './sequential.js';

/** @typedef {import('./source.js').ByteSource} ByteSource */
/** @typedef {import('./budget.js').Budget} Budget */
/** @typedef {import('./payload.js').GopSymbols} GopSymbols */
/** @typedef {import('./gops.js').GopEntry} GopEntry */
/** @typedef {import('./gops.js').GopTiming} GopTiming */
/** @typedef {import('./splat.js').Picture} Picture */

/**
 * What a renderer needs of a GoP: plain objects and typed arrays, which a worker can send.
 *
 * @typedef {object} Gop
 * @property {import('./dequantize.js').GopParameters} parameters
 * @property {{ width: number, height: number }} size of the coded pictures, pixels
 */

/**
 * @param {Gop} gop
 * @returns {ArrayBuffer[]} its memory, which postMessage can hand over instead of copying
 */
export function transferables({ parameters }) {
  const { means, factors, colors, staticTables, dynamicTables, tensors, bits } = parameters;
  const arrays = [means, factors, colors, ...staticTables, ...dynamicTables, ...Object.values(tensors), bits];
  return arrays.map(({ buffer }) => /** @type {ArrayBuffer} */ (buffer));
}

/**
 * Parses the payload of a GOP chunk whose CRCs hold (section 3.3).
 *
 * @param {Uint8Array} payload
 * @param {number} base place of the payload in the file, for errors
 * @param {GopEntry | null} entry what the index says of the chunk, if the index is known
 * @param {number} [maxMemory] bytes
 * @returns {{ timing: GopTiming, symbols: GopSymbols }}
 */
export function parseGop(payload, base, entry, maxMemory = DEFAULT_BUDGET.memory) {
  const reader = new ByteReader(payload, 'GOP_CHUNK', base);
  const where = reader.where('first_frame');
  const timing = readTiming(reader);
  if (entry) checkSameTiming(timing, entry, where);
  const expected = { nFrames: timing.nFrames, nGaussians: entry ? entry.nGaussians : null };
  return { timing, symbols: parsePayload(reader, expected, maxMemory) };
}

/**
 * Opens a file: reads its header and its index, and checks both wholly.
 *
 * @param {ByteSource | ArrayBuffer | Uint8Array} source
 * @param {Partial<Budget>} [budget] see budget.js
 * @returns {Promise<Video>}
 */
export async function openVideo(source, budget = {}) {
  const bytes = source instanceof ArrayBuffer || source instanceof Uint8Array ? memorySource(source) : source;
  const { header, end } = await readFileHeader(bytes);
  const index = await readIndex(bytes, header, end);
  return new Video(bytes, header, index, { ...DEFAULT_BUDGET, ...budget });
}

/** An open file. */
export class Video {
  /**
   * @param {ByteSource} source
   * @param {import('./header.js').FileHeader} header
   * @param {import('./container.js').Index} index
   * @param {Budget} budget
   */
  constructor(source, header, index, budget) {
    this.source = source;
    /** Size, rates and colour of the pictures. */
    this.header = header;
    this.index = index;
    this.budget = budget;
    /** The last GoP that was loaded: successive frames mostly have the same one. */
    this.loaded = { gop: -1, renderer: /** @type {Promise<GopRenderer> | null} */ (null) };
  }

  /** Frames of the file. */
  get nFrames() {
    return this.index.gops.nFrames;
  }

  /** GoPs of the file. */
  get nGops() {
    return this.index.gops.length;
  }

  /**
   * @param {number} gop number of a GoP
   * @returns {GopEntry} its place in the file, its frames and their times
   */
  gop(gop) {
    return this.index.gops.get(gop);
  }

  /**
   * @param {number} frame number of a frame in the file
   * @returns {bigint} its timestamp, units of header.timeBase
   */
  timestamp(frame) {
    const { gop, k } = this.index.gops.locate(frame);
    return timestamps(this.gop(gop))[k];
  }

  /**
   * @param {number} seconds in the time of the file, in which the first frame need not be at 0
   * @returns {number} number of the frame that is shown then
   */
  frameAt(seconds) {
    const { num, den } = this.header.timeBase;
    return this.index.gops.frameAt(BigInt(Math.floor((seconds * den) / num)));
  }

  /** @returns {number} how long the last frame is shown, seconds */
  get lastFrameSeconds() {
    const { lastFrameDuration, timeBase, frameRate } = this.header;
    return lastFrameDuration ? (lastFrameDuration * timeBase.num) / timeBase.den : frameRate.den / frameRate.num;
  }

  /**
   * @param {number} gop number of a GoP
   * @param {AbortSignal} [signal] ends the reading
   * @returns {Promise<Uint8Array>} payload of its chunk, whose CRCs hold
   */
  async readPayload(gop, signal) {
    return (await readListedChunk(this.source, { type: CHUNK.GOP, ...this.gop(gop) }, signal)).payload;
  }

  /**
   * @param {number} gop number of a GoP
   * @param {Uint8Array} [payload] what readPayload gave, where it was read before
   * @returns {Promise<GopSymbols>}
   */
  async decodeGop(gop, payload) {
    const entry = this.gop(gop);
    return parseGop(payload ?? (await this.readPayload(gop)), entry.offset + 14, entry, this.budget.memory).symbols;
  }

  /**
   * @param {number} gop number of a GoP
   * @param {Uint8Array} [payload] what readPayload gave, where it was read before
   * @returns {Promise<Gop>} its parameters, for a renderer of ../render/
   */
  async readGop(gop, payload) {
    const { width, height } = this.header;
    return { parameters: dequantize(await this.decodeGop(gop, payload)), size: { width, height } };
  }

  /**
   * @param {number} gop number of a GoP
   * @returns {Promise<GopRenderer>} which renders its frames, and the times between them
   */
  loadGop(gop) {
    if (this.loaded.gop === gop && this.loaded.renderer) return this.loaded.renderer;
    const renderer = this.readGop(gop).then(({ parameters, size }) => new GopRenderer(parameters, size, this.budget));
    this.loaded = { gop, renderer };
    // A download that failed may be tried again.
    renderer.catch(() => {
      if (this.loaded.renderer === renderer) this.loaded = { gop: -1, renderer: null };
    });
    return renderer;
  }

  /**
   * @param {number} frame number of a frame in the file
   * @param {{ scale?: number }} [options] scale: size of the picture over the coded size
   * @returns {Promise<Picture>}
   */
  async renderFrame(frame, options = {}) {
    const { gop, k } = this.index.gops.locate(frame);
    const renderer = await this.loadGop(gop);
    return renderer.renderAt(k, options.scale);
  }

  /** @returns {Promise<import('./tracks.js').Track[]>} the tracks of sound and subtitles */
  tracks() {
    return readTracks(this.source, this.index.ancillary);
  }

  /**
   * @param {import('./tracks.js').Track} track
   * @returns {AsyncGenerator<import('./tracks.js').Packet, void, void>} its packets in file order
   */
  packets(track) {
    return readPackets(this.source, this.index.ancillary, track);
  }

  /** @returns {Promise<import('./tracks.js').Entry[]>} the metadata of the file */
  metadata() {
    return readMetadata(this.source, this.index.ancillary);
  }
}
