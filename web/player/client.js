/** @typedef {import('../decoder/tracks.js').Track} Track */
/** @typedef {import('../decoder/index.js').Gop} Gop */

/**
 * Why something could not be had.
 *
 * @typedef {object} Failure
 * @property {'damaged' | 'budget' | 'source' | 'bug'} kind the file is not valid; it would take too much memory; its bytes
 *   could not be had; anything else
 * @property {string} message
 */

/**
 * An open file. Times are seconds from the first frame on.
 *
 * @typedef {object} Description
 * @property {number} width pixels
 * @property {number} height pixels
 * @property {number} pixelAspect width over height of a pixel as displayed
 * @property {number} frameRate nominal frames a second
 * @property {string} tool name and version of the encoder
 * @property {string} profile
 * @property {number} bytes of the file
 * @property {number} nFrames
 * @property {Float64Array} gopStarts [GoPs] time of the first frame of each
 * @property {Float64Array} firstFrames [GoPs] number of the first frame of each
 * @property {Uint16Array} frameCounts [GoPs]
 * @property {Uint32Array} gopBytes [GoPs]
 * @property {Uint32Array} nGaussians [GoPs]
 * @property {number} duration
 * @property {{ lostBytes: number, passedOver: string[], searchEnded: boolean } | null} damage what was left out of a
 *   damaged file
 */

/**
 * @typedef {object} TracksDescription
 * @property {Track[]} tracks
 * @property {string} title of the file; empty where there is none
 * @property {Failure | null} failure why there are none although the file has some
 */

/**
 * @typedef {object} LoadedGop
 * @property {Gop} gop
 * @property {Float64Array} times [frames] of each frame
 * @property {number} bytes of memory
 */

/** @typedef {{ seconds: number, duration: number, isKey: boolean, data: Uint8Array }} SoundPacket */

/**
 * @typedef {object} PacketsAnswer
 * @property {Failure | null} failure
 * @property {number | null} place from which to ask for the next packets; null behind the last ones
 * @property {SoundPacket[]} packets
 */

/** GoPs that are kept, the one that is shown included, as long as they take no more memory than this. */
const MAX_GOPS = 4;
const MAX_BYTES = 2 ** 28;

/** Reads and decodes a file in a worker, and keeps the GoPs around the one that is shown. */
export class DecoderClient {
  /**
   * @param {() => void} onGop is called when a GoP has come, or cannot be had
   */
  constructor(onGop) {
    this.worker = new Worker(new URL('./worker.js', import.meta.url), { type: 'module' });
    this.onGop = onGop;
    /** @type {Map<number, LoadedGop>} */
    this.gops = new Map();
    /** @type {Map<number, Failure>} */
    this.failures = new Map();
    /** GoPs that are kept, or shall be. @type {number[]} */
    this.kept = [];
    /** Those of them that were asked for last. @type {number[]} */
    this.asked = [];
    /** @type {Map<number, (answer: PacketsAnswer) => void>} */
    this.questions = new Map();
    /** @type {Promise<TracksDescription>} */
    this.tracks = new Promise((resolve) => {
      this.takeTracks = resolve;
    });
    this.worker.onmessage = ({ data }) => this.receive(data);
  }

  /**
   * @param {string | Blob} source an absolute address, or a file
   * @param {boolean} recover whether to use what is intact of a damaged file
   * @returns {Promise<Description>} rejects with a Failure
   */
  open(source, recover) {
    return new Promise((resolve, reject) => {
      this.opened = { resolve, reject };
      // A worker whose modules cannot be loaded says only this.
      this.worker.onerror = (event) => {
        event.preventDefault();
        reject({
          kind: 'bug',
          message: event.message || 'the decoder could not be loaded: are all its modules there?',
        });
      };
      this.worker.postMessage({ type: 'open', source, recover });
    });
  }

  /** @param {any} message of worker.js */
  receive(message) {
    if (message.type === 'opened') this.opened?.resolve(message.description);
    else if (message.type === 'tracks') this.takeTracks?.(message.described);
    else if (message.type === 'gop') {
      const { number, gop, times } = message;
      // It may have been on its way while another place was chosen.
      if (!this.kept.includes(number)) return;
      this.gops.set(number, { gop, times, bytes: memoryOf(gop) });
      this.onGop();
    } else if (message.type === 'packets') {
      this.questions.get(message.id)?.(message);
      this.questions.delete(message.id);
    } else if (message.what === 'open') this.opened?.reject(message.failure);
    else {
      this.failures.set(message.number, message.failure);
      this.onGop();
    }
  }

  /**
   * Says which GoPs are needed, and lets go of the others.
   *
   * @param {number[]} gops the most urgent first
   */
  want(gops) {
    let bytes = 0;
    const kept = gops.slice(0, MAX_GOPS).filter((gop, i) => {
      bytes += this.gops.get(gop)?.bytes ?? 0;
      return i === 0 || bytes <= MAX_BYTES;
    });
    this.kept = kept;
    for (const gop of this.gops.keys()) if (!kept.includes(gop)) this.gops.delete(gop);
    const missing = bytes > MAX_BYTES ? kept.slice(0, 1) : kept;
    const asked = missing.filter((gop) => !this.gops.has(gop) && !this.failures.has(gop));
    if (asked.join() === this.asked.join()) return;
    this.asked = asked;
    this.worker.postMessage({ type: 'want', gops: asked });
  }

  /** Lets GoPs that could not be had be asked for again. */
  forgive() {
    this.failures.clear();
    this.asked = [];
  }

  /**
   * @param {number} track
   * @param {number} seconds time from which on packets are needed
   * @param {number | null} place that of the answer before; null for the first packets
   * @returns {Promise<PacketsAnswer>}
   */
  packets(track, seconds, place) {
    const id = (this.lastQuestion = (this.lastQuestion ?? 0) + 1);
    return new Promise((resolve) => {
      this.questions.set(id, resolve);
      this.worker.postMessage({ type: 'packets', id, track, seconds, place });
    });
  }

  close() {
    this.worker.terminate();
    this.gops.clear();
  }
}

/**
 * @param {unknown} value
 * @returns {number} bytes of its typed arrays
 */
function memoryOf(value) {
  if (ArrayBuffer.isView(value)) return value.byteLength;
  if (!value || typeof value !== 'object') return 0;
  return Object.values(value).reduce((sum, part) => sum + memoryOf(part), 0);
}
