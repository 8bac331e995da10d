/** What tests of web/render/ run in the browser: functions of JSON, which they call by name. */
import { openVideo } from '../../../web/decoder/index.js';
import { createRenderer } from '../../../web/render/index.js';

const renderers = new Map();
const gops = new Map();

async function gopOf(file, number) {
  const key = `${file} ${number}`;
  if (!gops.has(key)) {
    const video = await openVideo(await (await fetch(`/tests/golden/${file}.stgv`)).arrayBuffer());
    // As if it came from a worker.
    gops.set(key, structuredClone(await video.readGop(number)));
  }
  return gops.get(key);
}

function base64(bytes) {
  let text = '';
  for (let i = 0; i < bytes.length; i += 4096) text += String.fromCharCode(...bytes.subarray(i, i + 4096));
  return btoa(text);
}

const page = {
  async create(key, options) {
    const canvas = document.createElement('canvas');
    document.body.append(canvas);
    const renderer = await createRenderer(canvas, options);
    renderers.set(key, renderer);
    return { name: renderer.name, why: renderer.why };
  },

  /** The pixels of all frames of a golden file, [frame][height][width][4]. */
  async frames(key, file) {
    const renderer = renderers.get(key);
    const video = await openVideo(await (await fetch(`/tests/golden/${file}.stgv`)).arrayBuffer());
    const parts = [];
    for (let g = 0; g < video.nGops; g++) {
      const gop = await gopOf(file, g);
      for (let time = 0; time < gop.parameters.header.nFrames; time++) {
        await renderer.draw({ gop, time, size: gop.size });
        parts.push(base64(await renderer.readPixels()));
      }
    }
    return parts;
  },

  /** The pixels of one picture. */
  async draw(key, { file, gop = 0, time, size, view }) {
    const renderer = renderers.get(key);
    const loaded = await gopOf(file, gop);
    await renderer.draw({ gop: loaded, time, size: size ?? loaded.size, view });
    return base64(await renderer.readPixels());
  },
};

globalThis.renderPage = page;
