import { checkMemory } from '../decoder/budget.js';
import { Program } from './gl_program.js';
import * as glsl from './glsl.js';
import { kept } from './kept.js';
import { packGop, timeInputs } from './pack.js';
import { spareCanvas, tryOut } from './trial.js';
import { ARROW_FRAMES, arrowStride, checkSize, DIM } from './view.js';

/** @typedef {import('../decoder/index.js').Gop} Gop */
/** @typedef {import('./view.js').Shot} Shot */
/** @typedef {import('./pack.js').PackedGop} PackedGop */
/** @typedef {Readonly<import('../decoder/budget.js').Budget>} Budget */
/** @typedef {import('./gl_program.js').Uniforms} Uniforms */

/** Columns of the textures that have a texel for each Gaussian. */
const COLUMNS = 4096;

/**
 * Where only half floats blend, every eighth Gaussian is summed up in them, and the eight sums in full floats: the less
 * a half float sums up, the less it rounds.
 */
const HALF_BATCHES = 8;

/** How long a draw waits for a lost context, milliseconds. */
const PATIENCE_MS = 3000;

/**
 * What is on the GPU of a GoP.
 *
 * @typedef {object} LoadedGop
 * @property {PackedGop} packed without its data
 * @property {WebGLTexture} data
 * @property {Map<number, [WebGLTexture, WebGLTexture]>} frames numbers of all Gaussians: m, l1, l2 and l3, c'
 */

/**
 * What splats are summed up in.
 *
 * @typedef {object} Targets
 * @property {number} width pixels
 * @property {number} height pixels
 * @property {WebGLTexture} sums of the last picture
 * @property {WebGLTexture} part what splats are drawn into: the sums, or half floats
 * @property {WebGLTexture | null} spare where half floats are summed up, what the next sums are drawn into
 */

/**
 * Draws by WebGL2: the field in fragment shaders, a texel for each Gaussian, and the splats as quads that are added up
 * in floats.
 */
export class WebGL2Backend {
  static title = 'WebGL2';

  /**
   * @param {HTMLCanvasElement | OffscreenCanvas} canvas
   * @param {Budget} budget
   * @param {import('./index.js').BackendOptions} options
   * @returns {Promise<WebGL2Backend>}
   */
  static async create(canvas, budget, { software, halfFloats }) {
    // A canvas keeps its first context, so that another one is tried, and the device with it.
    const probe = /** @type {WebGL2RenderingContext | null} */ (spareCanvas().getContext('webgl2'));
    if (!probe) throw new Error('the browser gives no context: it is switched off, or the driver is on a block list');
    if (!software && isSoftware(probe))
      throw new Error('the browser draws in software, which takes longer than the CPU');
    if (!probe.getExtension('EXT_color_buffer_float')) {
      throw new Error('the device cannot draw into floats (EXT_color_buffer_float)');
    }
    const half = halfFloats || !probe.getExtension('EXT_float_blend');
    await tryOut(new WebGL2Backend(probe, budget, half));
    const gl = canvas.getContext('webgl2', { antialias: false, depth: false, powerPreference: 'high-performance' });
    if (!gl) throw new Error('the canvas is in use by a renderer of another kind');
    return new WebGL2Backend(/** @type {WebGL2RenderingContext} */ (gl), budget, half);
  }

  /**
   * @param {WebGL2RenderingContext} gl
   * @param {Budget} budget
   * @param {boolean} halfFloats
   */
  constructor(gl, budget, halfFloats) {
    this.gl = gl;
    this.budget = budget;
    this.halfFloats = halfFloats;
    this.note = halfFloats ? 'full floats do not blend here (EXT_float_blend), so half floats are summed up' : '';
    /** @type {Shot | null} */
    this.shot = null;
    this.onLost = (/** @type {Event} */ event) => event.preventDefault();
    this.onRestored = () => {
      this.resources = makeResources(gl);
    };
    gl.canvas.addEventListener('webglcontextlost', this.onLost);
    gl.canvas.addEventListener('webglcontextrestored', this.onRestored);
    this.resources = makeResources(gl);
  }

  /** @param {Shot} shot */
  async draw(shot) {
    const { gl } = this;
    const { width, height, clip } = shot;
    checkSize('WebGL2', shot, this.resources.maxSize);
    checkMemory(`a canvas of ${width} x ${height} pixels`, 56 * width * height, this.budget.memory);
    // What is lost meanwhile is drawn again, once: it may be the picture that the device cannot bear.
    for (let attempt = 0; attempt < 2; attempt++) {
      await this.untilRestored();
      this.shot = shot;
      if (gl.canvas.width !== width) gl.canvas.width = width;
      if (gl.canvas.height !== height) gl.canvas.height = height;
      if (clip.width && clip.height) this.sumUp(shot);
      this.present(shot, null);
      if (!gl.isContextLost()) return;
    }
    throw new Error('WebGL2: the graphics context was lost twice');
  }

  /** Waits for a lost context, which browsers give back where they can. */
  async untilRestored() {
    const { gl } = this;
    const end = performance.now() + PATIENCE_MS;
    while (gl.isContextLost()) {
      if (performance.now() > end) {
        throw new Error(
          'WebGL2: the browser took the graphics context away and does not give it back; load the page again',
        );
      }
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  /** @returns {Promise<Uint8Array>} [height][width][4] */
  async readPixels() {
    const { gl, shot } = this;
    if (!shot) throw new Error('nothing was drawn yet');
    if (gl.isContextLost()) await this.draw(shot);
    const { width, height } = shot;
    const picture = this.texture(gl.RGBA8, width, height);
    this.present(shot, picture);
    const pixels = new Uint8Array(4 * width * height);
    gl.readPixels(0, 0, width, height, gl.RGBA, gl.UNSIGNED_BYTE, pixels);
    gl.deleteTexture(picture);
    return pixels;
  }

  destroy() {
    const { gl } = this;
    gl.canvas.removeEventListener('webglcontextlost', this.onLost);
    gl.canvas.removeEventListener('webglcontextrestored', this.onRestored);
    gl.getExtension('WEBGL_lose_context')?.loseContext();
  }

  /**
   * @param {number} format
   * @param {number} width
   * @param {number} height
   * @returns {WebGLTexture}
   */
  texture(format, width, height) {
    const { gl } = this;
    const texture = /** @type {WebGLTexture} */ (gl.createTexture());
    gl.bindTexture(gl.TEXTURE_2D, texture);
    gl.texStorage2D(gl.TEXTURE_2D, 1, format, width, height);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, gl.NEAREST);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MAG_FILTER, gl.NEAREST);
    return texture;
  }

  /**
   * Draws into textures from here on, or into the canvas.
   *
   * @param {WebGLTexture[]} textures none for the canvas
   */
  drawInto(textures) {
    const { gl } = this;
    gl.bindFramebuffer(gl.FRAMEBUFFER, textures.length ? this.resources.target : null);
    if (!textures.length) return;
    const places = [0, 1].map((i) => gl.COLOR_ATTACHMENT0 + i);
    places.forEach((place, i) => {
      gl.framebufferTexture2D(gl.FRAMEBUFFER, place, gl.TEXTURE_2D, textures[i] ?? null, 0);
    });
    gl.drawBuffers(places.slice(0, textures.length));
  }

  /**
   * @param {Gop} gop
   * @returns {LoadedGop}
   */
  load(gop) {
    const { gl } = this;
    const known = this.resources.gops.get(gop);
    this.resources.gops.delete(gop);
    const loaded = known ?? this.upload(packGop(gop, this.budget));
    // The GoP before stays, since seeking and looping go back to it.
    for (const [other, { data, frames }] of this.resources.gops) {
      if (this.resources.gops.size < 2) break;
      for (const texture of [data, ...[...frames.values()].flat()]) gl.deleteTexture(texture);
      this.resources.gops.delete(other);
    }
    this.resources.gops.set(gop, loaded);
    return loaded;
  }

  /**
   * @param {PackedGop} packed
   * @returns {LoadedGop}
   */
  upload(packed) {
    const { gl } = this;
    const places = packed.data.length / 4;
    const width = Math.min(places, COLUMNS, this.resources.maxSize);
    const height = Math.ceil(places / width);
    if (height > this.resources.maxSize)
      throw new Error(`WebGL2: the GoP has ${places} texels, more than a texture has here`);
    const data = this.texture(gl.RGBA32F, width, height);
    const whole = Math.floor(places / width);
    const send = (/** @type {number} */ row, /** @type {number} */ columns, /** @type {number} */ rows) =>
      gl.texSubImage2D(gl.TEXTURE_2D, 0, 0, row, columns, rows, gl.RGBA, gl.FLOAT, packed.data, 4 * row * width);
    send(0, width, whole);
    if (height > whole) send(whole, places - whole * width, 1);
    if (gl.getError() === gl.OUT_OF_MEMORY) throw new Error(`WebGL2: the GPU has no memory for ${places} texels`);
    return { packed: { ...packed, data: new Float32Array(0) }, data, frames: new Map() };
  }

  /**
   * @param {Gop} gop
   * @param {LoadedGop} loaded
   * @param {number} k
   * @returns {[WebGLTexture, WebGLTexture]} the numbers of all Gaussians in frame k, in pixels of the coded size
   */
  frame(gop, loaded, k) {
    return kept(loaded.frames, k, () => this.computeFrame(gop, loaded, k), (textures) => {
      for (const texture of textures) this.gl.deleteTexture(texture);
    });
  }

  /**
   * @param {Gop} gop
   * @param {LoadedGop} loaded
   * @param {number} k
   * @returns {[WebGLTexture, WebGLTexture]}
   */
  computeFrame(gop, { packed, data }, k) {
    const { gl } = this;
    const { header } = gop.parameters;
    const { count, levels, layers } = packed;
    const columns = Math.min(count, COLUMNS, this.resources.maxSize);
    const rows = Math.ceil(count / columns);
    const numbers = /** @type {[WebGLTexture, WebGLTexture]} */ (
      [0, 1].map(() => this.texture(gl.RGBA32F, columns, rows))
    );
    const depth = Math.max(layers[0].inputs / 4, layers[0].quads);
    const [even, odd] = [0, 1].map(() => this.texture(gl.RGBA32F, columns, depth));
    const { t, gamma } = timeInputs(header, k);
    const sizes = {
      nLevels: levels.length / 8,
      nInputs: header.nInputs,
      nFeatures: header.nInputs - 2 * header.nFrequencies,
    };
    gl.disable(gl.BLEND);
    gl.disable(gl.SCISSOR_TEST);
    for (let row = 0; row < rows; row++) {
      const first = row * columns;
      const n = Math.min(columns, count - first);
      this.drawInto([even]);
      gl.viewport(0, 0, n, layers[0].inputs / 4);
      this.resources.inputs.draw({ data, first, ...sizes, levels, gamma, t });
      this.drawInto([odd]);
      gl.viewport(0, 0, n, layers[0].quads);
      this.resources.hidden.draw({ data, source: even, ...layerUniforms(layers[0]) });
      this.drawInto([even]);
      this.resources.hidden.draw({ data, source: odd, ...layerUniforms(layers[1]) });
      this.drawInto(numbers);
      gl.viewport(0, row, n, 1);
      const codedSize = [gop.size.width, gop.size.height];
      this.resources.heads.draw({
        data,
        source: even,
        ...layerUniforms(layers[2]),
        first,
        codedSize,
        shapeHead: header.shapeHead,
      });
    }
    for (const texture of [even, odd]) gl.deleteTexture(texture);
    return numbers;
  }

  /**
   * @param {Shot} shot
   * @param {1 | -1} up -1 where row 0 is at the top
   * @returns {Uniforms} of the shaders that know Gaussians
   */
  uniformsOf({ gop, from, to, share, x, y, scale, width, height }, up) {
    const loaded = this.load(gop);
    const [[fromA, fromB], [toA, toB]] = [from, to].map((k) => this.frame(gop, loaded, k));
    const view = [x, y, scale];
    return { data: loaded.data, fromA, fromB, toA, toB, share, view, viewport: [width, height], up };
  }

  /**
   * Sums up the splats of a picture.
   *
   * @param {Shot} shot
   */
  sumUp(shot) {
    const { gl, halfFloats } = this;
    const { width, height, clip, kind } = shot;
    const uniforms = this.uniformsOf(shot, 1);
    const { bits, count } = this.load(shot.gop).packed;
    const targets = this.targetsOf(width, height);
    const { part } = targets;
    const batches = halfFloats ? HALF_BATCHES : 1;
    gl.viewport(0, 0, width, height);
    gl.enable(gl.SCISSOR_TEST);
    gl.scissor(clip.left, clip.top, clip.width, clip.height);
    gl.clearColor(0, 0, 0, 0);
    if (targets.spare) {
      this.drawInto([targets.sums]);
      gl.clear(gl.COLOR_BUFFER_BIT);
    }
    for (let batch = 0; batch < Math.min(batches, count); batch++) {
      this.drawInto([part]);
      gl.clear(gl.COLOR_BUFFER_BIT);
      gl.enable(gl.BLEND);
      gl.blendEquation(gl.FUNC_ADD);
      gl.blendFunc(gl.ONE, gl.ONE);
      const instances = Math.ceil((count - batch) / batches);
      this.resources.splats.draw({ ...uniforms, batch, batches, bits: kind === 'bits' ? bits : -1 }, 4, instances);
      gl.disable(gl.BLEND);
      if (!targets.spare) continue;
      this.drawInto([targets.spare]);
      this.resources.add.draw({ sums: targets.sums, part });
      [targets.sums, targets.spare] = [targets.spare, targets.sums];
    }
  }

  /**
   * @param {number} width pixels
   * @param {number} height pixels
   * @returns {Targets} those of the last picture, where it had the same size
   */
  targetsOf(width, height) {
    const { gl, halfFloats, resources } = this;
    const { targets } = resources;
    if (targets?.width === width && targets.height === height) return targets;
    if (targets) for (const texture of [targets.sums, targets.part, targets.spare]) gl.deleteTexture(texture);
    const sums = this.texture(gl.RGBA32F, width, height);
    const part = halfFloats ? this.texture(gl.RGBA16F, width, height) : sums;
    const spare = halfFloats ? this.texture(gl.RGBA32F, width, height) : null;
    resources.targets = { width, height, sums, part, spare };
    return resources.targets;
  }

  /**
   * Makes a picture of the sums.
   *
   * @param {Shot} shot
   * @param {WebGLTexture | null} picture null: the canvas
   */
  present(shot, picture) {
    const { gl } = this;
    const { gop, kind, from, to, width, height, clip } = shot;
    const up = picture ? 1 : -1;
    this.drawInto(picture ? [picture] : []);
    gl.viewport(0, 0, width, height);
    gl.disable(gl.BLEND);
    gl.disable(gl.SCISSOR_TEST);
    gl.clearColor(0, 0, 0, 0);
    gl.clear(gl.COLOR_BUFFER_BIT);
    const { targets } = this.resources;
    if (!targets || !clip.width || !clip.height) return;
    gl.enable(gl.SCISSOR_TEST);
    gl.scissor(clip.left, picture ? clip.top : height - clip.top - clip.height, clip.width, clip.height);
    const light = kind === 'ellipses' || kind === 'motion' ? DIM : 1;
    this.resources.samples.draw({ sums: targets.sums, up, light, heat: kind === 'bits' });
    const { count } = this.load(gop).packed;
    if (kind === 'ellipses') {
      gl.enable(gl.BLEND);
      // The lighter of two colours wins, so that no order matters.
      gl.blendEquation(gl.MAX);
      this.resources.outlines.draw(this.uniformsOf(shot, up), 4, count);
    } else if (kind === 'motion' && from !== to) {
      const stride = arrowStride(shot);
      const uniforms = { ...this.uniformsOf(shot, up), stride, frames: ARROW_FRAMES };
      this.resources.arrows.draw(uniforms, 9, Math.ceil(count / stride), gl.TRIANGLES);
    }
  }
}

/**
 * @param {WebGL2RenderingContext} gl
 * @returns {boolean} whether the CPU imitates a graphics device, as far as the browser says
 */
function isSoftware(gl) {
  const info = gl.getExtension('WEBGL_debug_renderer_info');
  const name = gl.getParameter(info ? info.UNMASKED_RENDERER_WEBGL : gl.RENDERER);
  return /swiftshader|llvmpipe|softpipe|software|basic render/i.test(name);
}

/**
 * @param {import('./pack.js').Layer} layer
 * @returns {Uniforms}
 */
function layerUniforms({ start, inputs, quads }) {
  return { start, nSources: inputs, quads };
}

/**
 * @param {WebGL2RenderingContext} gl
 * @returns what a backend has on the GPU; with a lost context it is gone, and made anew
 */
function makeResources(gl) {
  gl.getExtension('EXT_color_buffer_float');
  gl.getExtension('EXT_float_blend');
  return {
    maxSize: /** @type {number} */ (gl.getParameter(gl.MAX_TEXTURE_SIZE)),
    target: gl.createFramebuffer(),
    /** The GoPs that were drawn last, in this order. */
    gops: /** @type {Map<Gop, LoadedGop>} */ (new Map()),
    targets: /** @type {Targets | null} */ (null),
    inputs: new Program(gl, glsl.COVER, glsl.INPUTS),
    hidden: new Program(gl, glsl.COVER, glsl.HIDDEN),
    heads: new Program(gl, glsl.COVER, glsl.HEADS),
    splats: new Program(gl, glsl.SPLAT_VERTEX, glsl.SPLAT_FRAGMENT),
    add: new Program(gl, glsl.COVER, glsl.ADD),
    samples: new Program(gl, glsl.COVER, glsl.SAMPLES),
    outlines: new Program(gl, glsl.OUTLINE_VERTEX, glsl.OUTLINE_FRAGMENT),
    arrows: new Program(gl, glsl.ARROW_VERTEX, glsl.ARROW_FRAGMENT),
  };
}
