import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { GopRenderer } from '../../../web/decoder/index.js';
import { goldenNames, goldenPicture } from '../helpers.mjs';
import { syntheticGop } from '../synthetic.mjs';
import { noBrowser, openPage } from './browser.mjs';

/** Options of createRenderer for each path. */
const RENDERERS = {
  CPU: { prefer: 'CPU' },
  WebGPU: { prefer: 'WebGPU' },
  WebGL2: { prefer: 'WebGL2' },
  'WebGL2, half floats': { prefer: 'WebGL2', halfFloats: true },
};

const DENSE = { n: 1500, width: 60, height: 40 };
const SPARSE = { n: 9, width: 60, height: 40 };

/** @returns [N][8], m, L and c' of each Gaussian in pixels of the coded size */
function gaussiansAt(synthetic, time) {
  const { parameters, size } = syntheticGop(synthetic);
  const numbers = Array.from(new GopRenderer(parameters, size).gaussiansAt(time));
  return Array.from({ length: numbers.length / 8 }, (_, i) => numbers.slice(8 * i, 8 * i + 8));
}

/** The red, green and blue of the pixel at a point. */
function pixelAt(pixels, width, x, y) {
  const at = 4 * (Math.floor(y) * width + Math.floor(x));
  return Array.from(pixels.subarray(at, at + 3));
}

describe('web/render', { skip: noBrowser }, () => {
  let page;
  let close;
  before(async () => {
    ({ page, close } = await openPage());
    await page.evaluate(() => import('/tests/web/browser/render_page.mjs'));
  });
  after(() => close?.());

  const call = (name, ...values) =>
    page.evaluate(([name, values]) => globalThis.renderPage[name](...values), [name, values]);
  const bytes = (text) => new Uint8Array(Buffer.from(text, 'base64'));
  const draw = async (key, request) => bytes(await call('draw', key, request));

  /** Holds RGBA pixels to the tolerance of section 7.7. */
  function assertWithinTolerance(found, expected, name) {
    assert.equal(found.length, expected.length);
    let above1 = 0;
    let largest = 0;
    found.forEach((sample, i) => {
      const difference = Math.abs(sample - expected[i]);
      largest = Math.max(largest, difference);
      if (difference > 1) above1++;
    });
    assert.ok(largest <= 2 && above1 <= found.length * 1e-4, `${name}: ${above1} above 1, the largest is ${largest}`);
  }

  for (const [name, options] of Object.entries(RENDERERS)) {
    describe(name, () => {
      before(async () => {
        const why = options.halfFloats
          ? 'WebGL2: full floats do not blend here (EXT_float_blend), so half floats are summed up'
          : '';
        assert.deepEqual(await call('create', name, options), { name: options.prefer, why });
      });

      for (const file of goldenNames) {
        test(`the frames of ${file} are within the tolerance`, async () => {
          const frames = await call('frames', name, file);
          frames.forEach((frame, number) => {
            const { data, width, height } = goldenPicture(file, number);
            const expected = new Uint8Array(4 * width * height).fill(255);
            data.forEach((sample, i) => (expected[4 * Math.floor(i / 3) + (i % 3)] = sample));
            assertWithinTolerance(bytes(frame), expected, `frame ${number}`);
          });
        });
      }

      test('any part of the picture, at any size and time, is as on the CPU', async () => {
        const requests = [
          { time: 0.25 },
          { time: 2 },
          { time: 1.5, size: { width: 121, height: 83 }, view: { scale: 2.03 } },
          { time: 0, size: { width: 23, height: 17 }, view: { scale: 0.4 } },
          { time: 1.125, size: { width: 90, height: 70 }, view: { x: 20.25, y: 11.5, scale: 7.75 } },
          { time: 1, size: { width: 90, height: 70 }, view: { x: 30.25, y: 21.5, scale: 500 } },
          { time: 1, size: { width: 90, height: 70 }, view: { x: -9.5, y: -7.25, scale: 1.1 } },
          { time: 0.75, view: { kind: 'bits' } },
          // Back and forth: what is kept of the frames before is not thrown away too early.
          { time: 1 },
          { time: 0 },
          { time: 1.5 },
          // More Gaussians than a row of a texture has.
          { time: 0.5, source: { synthetic: { ...DENSE, n: 5000, size: 3 } } },
        ];
        for (const request of requests) {
          const [found, expected] = await Promise.all(
            [name, 'CPU'].map((key) => draw(key, { source: { synthetic: DENSE }, ...request })),
          );
          // The map of bits has three samples of slope where a picture has one.
          if (request.view?.kind === 'bits') {
            for (let i = 0; i < found.length; i++) found[i] /= 3;
            for (let i = 0; i < found.length; i++) expected[i] /= 3;
          }
          assertWithinTolerance(found, expected, JSON.stringify(request));
        }
      });

      test('Gaussians with numbers that are none, or too large, are not drawn', async () => {
        const request = { source: { synthetic: { ...DENSE, isBroken: true } }, time: 1 };
        const [found, expected] = await Promise.all([name, 'CPU'].map((key) => draw(key, request)));
        assertWithinTolerance(found, expected, 'the others');
        const samples = found.filter((_, i) => i % 4 < 3);
        assert.ok(samples.some((sample) => sample > 40) && samples.every((sample) => sample < 255));
      });

      test('the canvas shows what is read', async () => {
        const size = { width: 80, height: 60 };
        for (const kind of ['picture', 'ellipses', 'motion', 'bits']) {
          const request = { source: { synthetic: SPARSE }, time: 0.5, size, view: { kind, x: 3, y: -4, scale: 1.25 } };
          const read = await draw(name, request);
          assert.deepEqual(bytes(await call('shown', name, request)), read, kind);
          assert.ok(read.some((sample, i) => i % 4 < 3 && sample > 40));
        }
      });

      test('around the picture the canvas is transparent', async () => {
        const request = {
          source: { synthetic: DENSE },
          time: 0,
          size: { width: 100, height: 60 },
          view: { x: -20, y: -10, scale: 1 },
        };
        const pixels = await draw(name, request);
        const inside = (i) => i % 100 >= 20 && i % 100 < 80 && i >= 10 * 100 && i < 50 * 100;
        for (let i = 0; i < pixels.length / 4; i++) {
          assert.equal(pixels[4 * i + 3], inside(i) ? 255 : 0);
          if (!inside(i)) assert.deepEqual(Array.from(pixels.subarray(4 * i, 4 * i + 3)), [0, 0, 0]);
        }
      });

      test('ellipses lie at one standard deviation over a dimmed picture', async () => {
        const scale = 6;
        const size = { width: 60 * scale, height: 40 * scale };
        const request = (kind) => ({ source: { synthetic: SPARSE }, time: 1, size, view: { kind, scale } });
        const [plain, found] = [await draw(name, request('picture')), await draw(name, request('ellipses'))];
        const gaussians = gaussiansAt(SPARSE, 1);
        const unitsOf = ([mx, my, l1, l2, l3], x, y) => {
          const u = (x - mx) / l1;
          return [u, (y - my - l2 * u) / l3];
        };
        let lit = 0;
        for (let row = 0; row < size.height; row += 3) {
          for (let column = 0; column < size.width; column += 3) {
            const at = 4 * (row * size.width + column);
            const [x, y] = [(column + 0.5) / scale, (row + 0.5) / scale];
            const r = gaussians.map((g) => Math.hypot(...unitsOf(g, x, y)));
            // A distance in units of the deviation is at most that in pixels over the least axis.
            const far = r.every((value, i) => Math.abs(value - 1) * leastAxis(gaussians[i]) * scale > 2);
            for (let c = 0; c < 3; c++) {
              const dimmed = plain[at + c] * 0.35;
              assert.ok(found[at + c] >= dimmed - 1);
              if (far) assert.ok(found[at + c] <= dimmed + 1, `${column}, ${row}`);
            }
          }
        }
        for (const [mx, my, l1, l2, l3] of gaussians) {
          for (let angle = 0; angle < 6; angle += 0.5) {
            const [u, v] = [Math.cos(angle), Math.sin(angle)];
            const [x, y] = [(mx + l1 * u) * scale, (my + l2 * u + l3 * v) * scale];
            if (!(x > 1 && x < size.width - 1 && y > 1 && y < size.height - 1)) continue;
            assert.ok(Math.max(...pixelAt(found, size.width, x, y)) > 90, `the outline at ${x}, ${y}`);
            lit++;
          }
        }
        assert.ok(lit > 40);
      });

      test('arrows go eight times as far as Gaussians until the next frame', async () => {
        const scale = 6;
        const size = { width: 60 * scale, height: 40 * scale };
        const request = { source: { synthetic: SPARSE }, time: 1, size, view: { kind: 'motion', scale } };
        const pixels = await draw(name, request);
        // The dimmed picture has samples of 89 at most.
        const isArrow = ([r, g]) => r > 120 && g > 105;
        const [now, next] = [1, 2].map((time) => gaussiansAt(SPARSE, time));
        let seen = 0;
        now.forEach(([x, y], i) => {
          const along = [next[i][0] - x, next[i][1] - y].map((d) => 8 * d * scale);
          const length = Math.hypot(...along);
          const ends = [x * scale, y * scale, x * scale + along[0], y * scale + along[1]];
          if (length < 12 || ends.some((value, j) => !(value > 6 && value < [size.width, size.height][j % 2] - 6)))
            return;
          const at = (share) => [x * scale + share * along[0], y * scale + share * along[1]];
          for (const share of [0.1, 0.5, 0.9]) {
            assert.ok(isArrow(pixelAt(pixels, size.width, ...at(share))), `${share} of arrow ${i}`);
            seen++;
          }
          for (const share of [-6 / length, 1 + 6 / length]) {
            assert.ok(!isArrow(pixelAt(pixels, size.width, ...at(share))), `outside arrow ${i}`);
          }
        });
        assert.ok(seen >= 6);
        // A GoP of one frame has no motion.
        const still = { synthetic: { ...SPARSE, nFrames: 1 } };
        const dimmed = await draw(name, { ...request, source: still, time: 0 });
        for (let i = 0; i < dimmed.length; i += 4) assert.ok(!isArrow(dimmed.subarray(i, i + 3)));
      });

      test('the map of bits has all bits', async () => {
        const synthetic = { n: 400, width: 60, height: 40, size: 2 };
        const pixels = await draw(name, { source: { synthetic }, time: 0, view: { kind: 'bits' } });
        let shades = 0;
        for (let i = 0; i < pixels.length; i += 4) shades += (pixels[i] + pixels[i + 1] + pixels[i + 2]) / 3;
        // White is four times the mean; few pixels reach it here.
        const found = (4 * shades) / 255 / (60 * 40);
        assert.ok(found > 0.85 && found < 1.05, `${found} of the bits`);
      });

      test('a frozen field shows the first frame at any time', async () => {
        const source = { synthetic: DENSE };
        const first = await draw(name, { source, time: 0 });
        assert.deepEqual(await draw(name, { source, time: 1.5, view: { kind: 'frozen' } }), first);
        assert.notDeepEqual(await draw(name, { source, time: 1.5 }), first);
      });

      test('what cannot be drawn is refused, and the next picture comes', async () => {
        const source = { synthetic: SPARSE };
        assert.match(await call('refusal', name, { source, time: 2.5 }), /^time 2.5, the GoP has 0 to 2/);
        assert.match(await call('refusal', name, { source, time: 0, size: { width: 0, height: 9 } }), /whole numbers/);
        assert.match(await call('refusal', name, { source, time: 0, view: { scale: -1 } }), /a scale above 0/);
        assert.match(await call('refusal', name, { source, time: 0, size: { width: 1e6, height: 1e6 } }), /pixels/);
        assert.ok((await draw(name, { source, time: 0 })).some((sample, i) => i % 4 < 3 && sample > 40));
      });

      test('a lost device is replaced', { skip: name === 'CPU' && 'it has none' }, async () => {
        const request = { source: { synthetic: DENSE }, time: 0.5 };
        const expected = await draw(name, request);
        await call('lose', name);
        assert.deepEqual(await draw(name, request), expected);
      });
    });
  }

  test('a device that stays lost is told', async () => {
    const request = { source: { synthetic: SPARSE }, time: 0 };
    for (const [name, told] of [
      ['WebGL2', /^WebGL2: the browser took the graphics context away and does not give it back/],
      ['WebGPU', /^WebGPU: the device was lost \(.+\), and no other comes: the browser finds no graphics device/],
    ]) {
      await call('create', 'lost', { prefer: name });
      assert.match(await call('lostForGood', 'lost', request), told);
    }
  });

  test('the CPU draws rather than graphics in software', async () => {
    const { name, why } = await call('create', 'default', {});
    assert.equal(name, 'CPU');
    assert.match(why, /^WebGPU: the browser computes in software, .*; WebGL2: the browser draws in software/);
  });

  test('without graphics the CPU draws, and says what is missing', async () => {
    const { name, why } = await call('createWithout');
    assert.equal(name, 'CPU');
    assert.match(why, /^WebGPU: the browser has none, .*; WebGL2: the browser gives no context: it is switched off/);
  });
});

/** The smaller axis of an ellipse, pixels. */
function leastAxis([, , l1, l2, l3]) {
  const trace = l1 * l1 + l2 * l2 + l3 * l3;
  return Math.sqrt((trace - Math.sqrt(trace * trace - 4 * (l1 * l3) ** 2)) / 2);
}
