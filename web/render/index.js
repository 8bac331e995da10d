/**
 * Draws pictures of decoded GoPs into a canvas, on the best that a device has.
 *
 *     const renderer = await createRenderer(canvas);
 *     const gop = await video.readGop(0);
 *     await renderer.draw({ gop, time: 0, size: { width: 1280, height: 640 } });
 */
import { DEFAULT_BUDGET } from '../decoder/budget.js';
import { CpuBackend } from './cpu.js';
import { planShot } from './view.js';
import { WebGL2Backend } from './webgl2.js';
import { WebGPUBackend } from './webgpu.js';

/** @typedef {import('../decoder/index.js').Gop} Gop */
/** @typedef {import('./view.js').View} View */
/** @typedef {import('./view.js').ViewKind} ViewKind */
/** @typedef {import('./view.js').DrawRequest} DrawRequest */
/** @typedef {'WebGPU' | 'WebGL2' | 'CPU'} RendererName */

/**
 * What draws for a Renderer.
 *
 * @typedef {object} Backend
 * @property {string} [note] what it lacks, in words
 * @property {(shot: import('./view.js').Shot) => Promise<void>} draw
 * @property {() => Promise<Uint8Array>} readPixels
 * @property {() => void} destroy
 */

/**
 * @typedef {object} BackendOptions
 * @property {boolean} software whether to draw even where the browser has no graphics device, in software
 * @property {boolean} halfFloats whether WebGL2 blends half floats even where full ones blend
 */

/** The kinds of renderers from the best one on. */
const BACKENDS = [WebGPUBackend, WebGL2Backend, CpuBackend];

/**
 * A canvas can be drawn into by renderers of one kind only as long as it lives.
 *
 * @param {HTMLCanvasElement | OffscreenCanvas} canvas
 * @param {object} [options]
 * @param {RendererName} [options.prefer] the best kind that is tried, even in software; by default WebGPU, if the browser
 *   has a graphics device for it
 * @param {Partial<import('../decoder/budget.js').Budget>} [options.budget] see ../decoder/budget.js
 * @param {boolean} [options.halfFloats] whether WebGL2 blends half floats even where full ones blend
 * @returns {Promise<Renderer>}
 */
export async function createRenderer(canvas, { prefer, budget, halfFloats = false } = {}) {
  const first = prefer ? BACKENDS.findIndex(({ title }) => title === prefer) : 0;
  /** @type {string[]} */
  const reasons = [];
  for (const Kind of BACKENDS.slice(Math.max(0, first))) {
    const software = Kind.title === prefer;
    try {
      /** @type {Backend} */
      const backend = await Kind.create(canvas, { ...DEFAULT_BUDGET, ...budget }, { software, halfFloats });
      if (backend.note) reasons.push(`${Kind.title}: ${backend.note}`);
      return new Renderer(/** @type {RendererName} */ (Kind.title), reasons.join('; '), canvas, backend);
    } catch (error) {
      reasons.push(`${Kind.title}: ${/** @type {Error} */ (error).message}`);
    }
  }
  throw new Error(`nothing can draw here: ${reasons.join('; ')}`);
}

/** Draws into one canvas. Calls are carried out one after the other. */
export class Renderer {
  /**
   * @param {RendererName} name
   * @param {string} why
   * @param {HTMLCanvasElement | OffscreenCanvas} canvas
   * @param {Backend} backend
   */
  constructor(name, why, canvas, backend) {
    /** What draws. */
    this.name = name;
    /** What kept better kinds from drawing, in words; empty where nothing did. */
    this.why = why;
    this.canvas = canvas;
    this.backend = backend;
    /** The end of the calls so far. @type {Promise<unknown>} */
    this.queue = Promise.resolve();
  }

  /**
   * @template T
   * @param {() => Promise<T>} call
   * @returns {Promise<T>}
   */
  enqueue(call) {
    const result = this.queue.then(call);
    this.queue = result.catch(() => {});
    return result;
  }

  /**
   * Draws a picture. The canvas gets the size that is asked for.
   *
   * @param {DrawRequest} request
   * @returns {Promise<void>} fulfilled when the next picture may be drawn
   */
  draw(request) {
    return this.enqueue(async () => this.backend.draw(planShot(request)));
  }

  /** @returns {Promise<Uint8Array>} [height][width][4]: R, G, B, A of the last picture, as it is shown */
  readPixels() {
    return this.enqueue(() => this.backend.readPixels());
  }

  /** Frees what the renderer holds. */
  destroy() {
    this.backend.destroy();
  }
}
