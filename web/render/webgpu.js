/// <reference path="./gpu_constants.d.ts" />
import { checkMemory } from '../decoder/budget.js';
import { computePipeline, FORMAT, renderPipeline, requestAdapter, requestDevice } from './gpu_device.js';
import { fieldSettings, fieldShader, groupsFor, viewSettings } from './gpu_settings.js';
import { kept } from './kept.js';
import { packGop } from './pack.js';
import { spareCanvas, tryOut } from './trial.js';
import { arrowStride, checkSize } from './view.js';
import * as wgsl from './wgsl.js';

/** @typedef {import('../decoder/index.js').Gop} Gop */
/** @typedef {import('./view.js').Shot} Shot */
/** @typedef {import('./pack.js').PackedGop} PackedGop */
/** @typedef {Readonly<import('../decoder/budget.js').Budget>} Budget */

/** Bytes of Gaussians: two places of four numbers. */
const GAUSSIAN_BYTES = 32;

/**
 * What is on the GPU of a GoP.
 *
 * @typedef {object} LoadedGop
 * @property {PackedGop} packed without its data
 * @property {GPUBuffer} data
 * @property {GPUBuffer} levels
 * @property {{ pipeline: GPUComputePipeline, tile: number }} field
 * @property {Map<number, GPUBuffer>} frames numbers of all Gaussians: m, l1, l2; l3, c'
 */

/**
 * What is on the GPU of the picture that was drawn last.
 *
 * @typedef {object} Drawn
 * @property {Shot} shot
 * @property {number} count N
 * @property {GPUBuffer} view
 * @property {GPUBuffer} splats
 * @property {GPUBuffer} boxes
 * @property {GPUBuffer} pixels
 * @property {GPUBuffer} from
 * @property {GPUBuffer} to
 */

/**
 * Draws by WebGPU: the field and the pixels in compute shaders, each pixel as a sum in a register, so that no device
 * needs to blend floats.
 */
export class WebGPUBackend {
  static title = 'WebGPU';

  /**
   * @param {HTMLCanvasElement | OffscreenCanvas} canvas
   * @param {Budget} budget
   * @param {import('./index.js').BackendOptions} options
   * @returns {Promise<WebGPUBackend>}
   */
  static async create(canvas, budget, { software }) {
    const adapter = await requestAdapter();
    if (!software && adapter.info?.isFallbackAdapter) {
      throw new Error('the browser computes in software, which takes longer than the CPU');
    }
    // A canvas keeps its first context, so that another one is tried, and the device with it.
    await tryOut(await WebGPUBackend.on(spareCanvas(), budget));
    return WebGPUBackend.on(canvas, budget);
  }

  /**
   * @param {HTMLCanvasElement | OffscreenCanvas} canvas
   * @param {Budget} budget
   * @returns {Promise<WebGPUBackend>}
   */
  static async on(canvas, budget) {
    const device = await requestDevice();
    const context = /** @type {GPUCanvasContext | null} */ (canvas.getContext('webgpu'));
    if (!context) throw new Error('the canvas is in use by a renderer of another kind');
    return new WebGPUBackend(context, budget, device, await makeResources(device));
  }

  /**
   * @param {GPUCanvasContext} context
   * @param {Budget} budget
   * @param {GPUDevice} device
   * @param {Resources} resources of the device
   */
  constructor(context, budget, device, resources) {
    this.context = context;
    this.budget = budget;
    this.device = device;
    this.resources = resources;
    /** Why the device was lost; empty while it is there. */
    this.lost = '';
    this.watchDevice();
  }

  /** Connects the device with the canvas. */
  watchDevice() {
    const { device, context } = this;
    context.configure({ device, format: FORMAT, alphaMode: 'premultiplied' });
    device.lost.then(({ message, reason }) => {
      if (this.device === device) this.lost = message || reason;
    });
  }

  /** @param {Shot} shot */
  async draw(shot) {
    const { canvas } = this.context;
    checkSize('WebGPU', shot, this.device.limits.maxTextureDimension2D);
    checkMemory(`a canvas of ${shot.width} x ${shot.height} pixels`, 12 * shot.width * shot.height, this.budget.memory);
    if (canvas.width !== shot.width) canvas.width = shot.width;
    if (canvas.height !== shot.height) canvas.height = shot.height;
    if (this.lost) await this.replaceDevice();
    // What is lost meanwhile is drawn again, once: it may be the picture that the device cannot bear.
    if (!(await this.drawOnce(shot))) {
      await this.replaceDevice();
      if (!(await this.drawOnce(shot))) throw new Error(`WebGPU: the device was lost twice (${this.lost})`);
    }
  }

  /**
   * @param {Shot} shot
   * @returns {Promise<boolean>} false where the device was lost
   */
  async drawOnce(shot) {
    const { device } = this;
    device.pushErrorScope('out-of-memory');
    device.pushErrorScope('validation');
    await this.compute(shot);
    this.present(this.context.getCurrentTexture());
    const scopes = [device.popErrorScope(), device.popErrorScope()];
    const done = Promise.all([...scopes, device.queue.onSubmittedWorkDone()]);
    const [validation, memory] = await done.catch(() => device.lost.then(() => []));
    if (this.lost) return false;
    const error = validation ?? memory;
    if (error) throw new Error(`WebGPU: ${error.message}`);
    return true;
  }

  /** Goes on with another device in place of the lost one. */
  async replaceDevice() {
    try {
      const device = await requestDevice();
      this.resources = await makeResources(device);
      this.device = device;
    } catch (error) {
      const { message } = /** @type {Error} */ (error);
      const told = `WebGPU: the device was lost (${this.lost}), and no other comes: ${message}; load the page again`;
      throw new Error(told, { cause: error });
    }
    this.lost = '';
    this.watchDevice();
  }

  /** @returns {Promise<Uint8Array>} [height][width][4] */
  async readPixels() {
    if (!this.resources.drawn) throw new Error('nothing was drawn yet');
    const { shot } = this.resources.drawn;
    if (this.lost) await this.draw(shot);
    const { device } = this;
    const { width, height } = shot;
    const texture = device.createTexture({
      size: [width, height],
      format: FORMAT,
      usage: GPUTextureUsage.RENDER_ATTACHMENT | GPUTextureUsage.COPY_SRC,
    });
    this.present(texture);
    const bytesPerRow = 256 * Math.ceil((4 * width) / 256);
    const buffer = this.buffer(bytesPerRow * height, GPUBufferUsage.COPY_DST | GPUBufferUsage.MAP_READ);
    const encoder = device.createCommandEncoder();
    encoder.copyTextureToBuffer({ texture }, { buffer, bytesPerRow }, [width, height]);
    device.queue.submit([encoder.finish()]);
    await buffer.mapAsync(GPUMapMode.READ);
    const rows = new Uint8Array(buffer.getMappedRange());
    const pixels = new Uint8Array(4 * width * height);
    for (let row = 0; row < height; row++) {
      pixels.set(rows.subarray(row * bytesPerRow, row * bytesPerRow + 4 * width), 4 * width * row);
    }
    buffer.destroy();
    texture.destroy();
    return pixels;
  }

  destroy() {
    this.context.unconfigure();
    this.device.destroy();
  }

  /**
   * @param {number} size bytes
   * @param {GPUBufferUsageFlags} [usage]
   * @returns {GPUBuffer}
   */
  buffer(size, usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST) {
    return this.device.createBuffer({ size, usage });
  }

  /**
   * @param {ArrayBufferView<ArrayBuffer>} data
   * @param {GPUBufferUsageFlags} [usage]
   * @returns {GPUBuffer}
   */
  upload(data, usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST) {
    const buffer = this.buffer(data.byteLength, usage);
    this.device.queue.writeBuffer(buffer, 0, data.buffer, data.byteOffset, data.byteLength);
    return buffer;
  }

  /**
   * @param {GPUBindGroupLayout} layout
   * @param {GPUBuffer[]} buffers in the order of their bindings
   * @returns {GPUBindGroup}
   */
  bind(layout, buffers) {
    const entries = buffers.map((buffer, binding) => ({ binding, resource: { buffer } }));
    return this.device.createBindGroup({ layout, entries });
  }

  /**
   * @param {Gop} gop
   * @returns {Promise<LoadedGop>}
   */
  async load(gop) {
    const { gops } = this.resources;
    const known = gops.get(gop);
    gops.delete(gop);
    const loaded = known ?? (await this.loadPacked(packGop(gop, this.budget)));
    // The GoP before stays, since seeking and looping go back to it.
    for (const [other, { data, levels, frames }] of gops) {
      if (gops.size < 2) break;
      for (const buffer of [data, levels, ...frames.values()]) buffer.destroy();
      gops.delete(other);
    }
    gops.set(gop, loaded);
    return loaded;
  }

  /**
   * @param {PackedGop} packed
   * @returns {Promise<LoadedGop>}
   */
  async loadPacked(packed) {
    const { data, levels } = packed;
    const largest = this.device.limits.maxStorageBufferBindingSize;
    if (data.byteLength > largest) {
      throw new Error(`WebGPU: the GoP takes ${data.byteLength} bytes, a buffer of this device ${largest} at most`);
    }
    const { code, tile } = fieldShader(packed);
    return {
      packed: { ...packed, data: new Float32Array(0) },
      data: this.upload(/** @type {Float32Array<ArrayBuffer>} */ (data)),
      levels: this.upload(/** @type {Uint32Array<ArrayBuffer>} */ (levels)),
      field: { pipeline: await this.fieldPipeline(code), tile },
      frames: new Map(),
    };
  }

  /**
   * @param {string} code
   * @returns {Promise<GPUComputePipeline>} the same for GoPs of the same sizes, as those of a file mostly are
   */
  async fieldPipeline(code) {
    const { fields } = this.resources;
    const pipeline = fields.get(code) ?? (await computePipeline(this.device, code));
    fields.set(code, pipeline);
    return pipeline;
  }

  /**
   * @param {Gop} gop
   * @param {LoadedGop} loaded
   * @param {number} k
   * @returns {GPUBuffer} the numbers of all Gaussians in frame k, in pixels of the coded size
   */
  frame(gop, loaded, k) {
    return kept(loaded.frames, k, () => this.computeFrame(gop, loaded, k), (buffer) => buffer.destroy());
  }

  /**
   * @param {Gop} gop
   * @param {LoadedGop} loaded
   * @param {number} k
   * @returns {GPUBuffer}
   */
  computeFrame(gop, { data, levels, field, packed }, k) {
    const frame = this.buffer(packed.count * GAUSSIAN_BYTES);
    const settings = this.upload(fieldSettings(gop, packed, k), GPUBufferUsage.UNIFORM | GPUBufferUsage.COPY_DST);
    const encoder = this.device.createCommandEncoder();
    const pass = encoder.beginComputePass();
    pass.setPipeline(field.pipeline);
    pass.setBindGroup(0, this.bind(field.pipeline.getBindGroupLayout(0), [data, levels, settings, frame]));
    pass.dispatchWorkgroups(...groupsFor(Math.ceil(packed.count / field.tile)));
    pass.end();
    this.device.queue.submit([encoder.finish()]);
    settings.destroy();
    return frame;
  }

  /**
   * Computes the pixels of a picture.
   *
   * @param {Shot} shot
   */
  async compute(shot) {
    const { device, resources } = this;
    const { gop, clip } = shot;
    const loaded = await this.load(gop);
    const { count, bits } = loaded.packed;
    const [from, to] = [shot.from, shot.to].map((k) => this.frame(gop, loaded, k));
    const { drawn } = resources;
    const reuse = (/** @type {GPUBuffer | undefined} */ old, /** @type {number} */ size) => {
      if (old?.size === size) return old;
      old?.destroy();
      return this.buffer(size);
    };
    drawn?.view.destroy();
    const view = this.upload(viewSettings(shot, count, bits), GPUBufferUsage.UNIFORM | GPUBufferUsage.COPY_DST);
    const splats = reuse(drawn?.splats, count * GAUSSIAN_BYTES);
    const boxes = reuse(drawn?.boxes, (count * GAUSSIAN_BYTES) / 2);
    const pixels = reuse(drawn?.pixels, 4 * shot.width * shot.height);
    resources.drawn = { shot, count, view, splats, boxes, pixels, from, to };
    if (!clip.width || !clip.height) return;
    const encoder = device.createCommandEncoder();
    const pass = encoder.beginComputePass();
    pass.setPipeline(resources.place);
    const placed = [view, from, to, loaded.data, splats, boxes];
    pass.setBindGroup(0, this.bind(resources.place.getBindGroupLayout(0), placed));
    pass.dispatchWorkgroups(...groupsFor(Math.ceil(count / 64)));
    pass.setPipeline(resources.raster);
    pass.setBindGroup(0, this.bind(resources.raster.getBindGroupLayout(0), [view, splats, boxes, pixels]));
    pass.dispatchWorkgroups(Math.ceil(clip.width / 16), Math.ceil(clip.height / 16));
    pass.end();
    device.queue.submit([encoder.finish()]);
  }

  /**
   * Makes the picture that was computed visible.
   *
   * @param {GPUTexture} texture
   */
  present(texture) {
    const { device, resources } = this;
    const { shot, count, view, splats, boxes, pixels, from, to } = /** @type {Drawn} */ (resources.drawn);
    const { kind, clip } = shot;
    const encoder = device.createCommandEncoder();
    const pass = encoder.beginRenderPass({
      colorAttachments: [{ view: texture.createView(), loadOp: 'clear', clearValue: [0, 0, 0, 0], storeOp: 'store' }],
    });
    const draw = (
      /** @type {GPURenderPipeline} */ pipeline,
      /** @type {GPUBuffer[]} */ buffers,
      /** @type {number} */ vertices,
      /** @type {number} */ instances,
    ) => {
      pass.setPipeline(pipeline);
      pass.setBindGroup(0, this.bind(pipeline.getBindGroupLayout(0), buffers));
      pass.draw(vertices, instances);
    };
    if (clip.width && clip.height) {
      pass.setScissorRect(clip.left, clip.top, clip.width, clip.height);
      draw(resources.present, [view, pixels], 3, 1);
      if (kind === 'ellipses') draw(resources.outlines, [view, splats, boxes], 4, count);
      if (kind === 'motion' && from !== to) {
        draw(resources.arrows, [view, splats, boxes, from, to], 9, Math.ceil(count / arrowStride(shot)));
      }
    }
    pass.end();
    device.queue.submit([encoder.finish()]);
  }
}

/** @typedef {Awaited<ReturnType<typeof makeResources>>} Resources */

/**
 * @param {GPUDevice} device
 * @returns what is made once for a device, and is lost with it
 */
async function makeResources(device) {
  /** @type {GPUBlendState} The lighter of two colours wins, so that no order matters. */
  const lighter = {
    color: { operation: 'max', srcFactor: 'one', dstFactor: 'one' },
    alpha: { operation: 'max', srcFactor: 'one', dstFactor: 'one' },
  };
  return {
    /** Those of the field by their code. */
    fields: /** @type {Map<string, GPUComputePipeline>} */ (new Map()),
    place: await computePipeline(device, wgsl.PLACE),
    raster: await computePipeline(device, wgsl.RASTER),
    present: await renderPipeline(device, wgsl.PRESENT, 'triangle-list'),
    outlines: await renderPipeline(device, wgsl.OUTLINE, 'triangle-strip', lighter),
    arrows: await renderPipeline(device, wgsl.ARROW, 'triangle-list'),
    /** The GoPs that were drawn last, in this order. */
    gops: /** @type {Map<Gop, LoadedGop>} */ (new Map()),
    drawn: /** @type {Drawn | null} */ (null),
  };
}
