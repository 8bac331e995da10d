import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { noBrowser, openPage } from './browser.mjs';
import { goldenNames, goldenPicture } from '../helpers.mjs';

const RENDERERS = ['CPU'];

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

  for (const name of RENDERERS) {
    describe(name, () => {
      before(async () => {
        assert.equal((await call('create', name, { prefer: name })).name, name);
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
    });
  }
});
