/** What tests of web/render/ run in the browser: functions of JSON, which they call by name. */
import { openVideo } from '../../../web/decoder/index.js';
import { createRenderer } from '../../../web/render/index.js';
import { syntheticGop } from '../synthetic.mjs';

const renderers = new Map();
const gops = new Map();

const openGolden = async (file) => openVideo(await (await fetch(`/tests/golden/${file}.stgv`)).arrayBuffer());

/** A GoP of a golden file, or a synthetic one; cloned, as if it came from a worker. */
async function gopOf({ file, gop = 0, synthetic }) {
  const key = JSON.stringify([file, gop, synthetic]);
  if (!gops.has(key)) {
    gops.set(key, structuredClone(synthetic ? syntheticGop(synthetic) : await (await openGolden(file)).readGop(gop)));
  }
  return gops.get(key);
}

function base64(bytes) {
  let text = '';
  for (let i = 0; i < bytes.length; i += 4096) text += String.fromCharCode(...bytes.subarray(i, i + 4096));
  return btoa(text);
}

const message = (promise) =>
  promise.then(
    () => 'no error',
    (error) => error.message,
  );

globalThis.renderPage = {
  async create(key, options) {
    const renderer = await createRenderer(document.createElement('canvas'), options);
    renderers.set(key, renderer);
    return { name: renderer.name, why: renderer.why };
  },

  /** The pixels of all frames of a golden file, [frame][height][width][4]. */
  async frames(key, file) {
    const renderer = renderers.get(key);
    const { nGops } = await openGolden(file);
    const parts = [];
    for (let number = 0; number < nGops; number++) {
      const gop = await gopOf({ file, gop: number });
      for (let time = 0; time < gop.parameters.header.nFrames; time++) {
        await renderer.draw({ gop, time, size: gop.size });
        parts.push(base64(await renderer.readPixels()));
      }
    }
    return parts;
  },

  /** The pixels of one picture. */
  async draw(key, { source, time, size, view }) {
    const renderer = renderers.get(key);
    const gop = await gopOf(source);
    await renderer.draw({ gop, time, size: size ?? gop.size, view });
    return base64(await renderer.readPixels());
  },

  /** The pixels that the canvas itself shows, once they are composited. */
  async shown(key, { source, time, size, view }) {
    const renderer = renderers.get(key);
    const gop = await gopOf(source);
    await renderer.draw({ gop, time, size: size ?? gop.size, view });
    const { canvas } = renderer;
    const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext('2d');
    copy.drawImage(canvas, 0, 0);
    return base64(copy.getImageData(0, 0, canvas.width, canvas.height).data);
  },

  /** The message of the error with which a drawing ends. */
  async refusal(key, { source, time, size, view, budget }) {
    const gop = await gopOf(source);
    return message(renderers.get(key).draw({ gop, time, size: size ?? gop.size, view, budget }));
  },

  /** Takes the graphics away from a renderer, as a driver that crashes does, and gives them back soon. */
  async lose(key) {
    const { backend } = renderers.get(key);
    if (backend.device) backend.device.destroy();
    else {
      const extension = backend.gl.getExtension('WEBGL_lose_context');
      extension.loseContext();
      setTimeout(() => extension.restoreContext(), 100);
    }
    await new Promise((resolve) => setTimeout(resolve));
  },

  /** The message of the error with which drawing ends where the graphics do not come back. */
  async lostForGood(key, { source, time }) {
    const { backend } = renderers.get(key);
    const gop = await gopOf(source);
    navigator.gpu.requestAdapter = async () => null;
    if (backend.device) backend.device.destroy();
    else backend.gl.getExtension('WEBGL_lose_context').loseContext();
    await new Promise((resolve) => setTimeout(resolve));
    const told = await message(renderers.get(key).draw({ gop, time, size: gop.size }));
    delete navigator.gpu.requestAdapter;
    return told;
  },

  /** What is created where the browser has neither kind of graphics. */
  async createWithout() {
    const { getContext } = OffscreenCanvas.prototype;
    OffscreenCanvas.prototype.getContext = () => null;
    Object.defineProperty(navigator, 'gpu', { value: undefined, configurable: true });
    try {
      const { name, why } = await createRenderer(document.createElement('canvas'));
      return { name, why };
    } finally {
      OffscreenCanvas.prototype.getContext = getContext;
      delete navigator.gpu;
    }
  },
};
