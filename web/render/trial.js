import { drawSplats, GopRenderer, placeSplats } from '../decoder/splat.js';
import { planShot } from './view.js';

/** @typedef {import('../decoder/index.js').Gop} Gop */

/**
 * A GoP of two Gaussians in two frames of 6 x 4 pixels, whose field moves, recolours and reshapes them.
 *
 * @returns {Gop}
 */
function trialGop() {
  const level = (/** @type {number[]} */ resolutions) => ({ resolutions, dense: false, entries: 2 });
  const tensor = (/** @type {string} */ name, /** @type {number} */ rows, /** @type {number} */ columns) => ({
    name,
    rows,
    columns,
  });
  const tensors = [
    tensor('w1', 3, 4),
    tensor('b1', 3, 1),
    tensor('w2', 3, 3),
    tensor('b2', 3, 1),
    tensor('w_means', 2, 3),
    tensor('b_means', 2, 1),
    tensor('w_colors', 3, 3),
    tensor('b_colors', 3, 1),
    tensor('w_shapes', 3, 3),
    tensor('b_shapes', 3, 1),
  ];
  const numbers = (/** @type {number} */ n) => Float32Array.from({ length: n }, (_, i) => ((i * 5) % 7) / 8 - 0.25);
  return {
    parameters: {
      header: {
        nFrames: 2,
        nGaussians: 2,
        lowPass: 0.125,
        pointMode: 1,
        shapeMode: 1,
        colorMode: 1,
        choleskyBits: 8,
        colorStages: 1,
        codebookSize: 1,
        static: { levels: [level([3, 2])], features: 1 },
        dynamic: { levels: [level([3, 2, 1])], features: 1 },
        mlpWidth: 3,
        nFrequencies: 1,
        shapeHead: true,
        weightBits: 8,
        nInputs: 4,
        tensors,
      },
      means: Float32Array.of(-0.5, 0.25, 0.5, -0.25),
      factors: Float32Array.of(1.5, 0.5, 0.75, 1, -0.75, 1.25),
      colors: Float32Array.of(0.5, 0.25, -0.125, 0.25, 0.5, 0.75),
      staticTables: [Float32Array.of(0.5, -0.25)],
      dynamicTables: [Float32Array.of(-0.5, 0.75)],
      tensors: Object.fromEntries(tensors.map(({ name, rows, columns }) => [name, numbers(rows * columns)])),
      bits: Float32Array.of(30, 50),
    },
    size: { width: 6, height: 4 },
  };
}

/** @returns {HTMLCanvasElement | OffscreenCanvas} a canvas that nobody sees */
export function spareCanvas() {
  return globalThis.OffscreenCanvas ? new OffscreenCanvas(1, 1) : document.createElement('canvas');
}

/**
 * Holds a backend to the CPU before it is trusted with a canvas: drivers are wrong in more ways than they say.
 *
 * @param {import('./index.js').Backend} backend is destroyed
 */
export async function tryOut(backend) {
  try {
    const gop = trialGop();
    const { width, height } = gop.size;
    const splats = placeSplats(new GopRenderer(gop.parameters, gop.size).gaussiansAt(0.75), { scale: 1, x: 0, y: 0 });
    const expected = drawSplats(splats, width, height).data;
    await backend.draw(planShot({ gop, time: 0.75, size: gop.size }));
    const found = await backend.readPixels();
    const difference = found.reduce((largest, sample, i) => Math.max(largest, Math.abs(sample - expected[i])), 0);
    if (difference > 2) throw new Error(`a picture for trial is wrong by ${difference} of 255`);
  } finally {
    backend.destroy();
  }
}
