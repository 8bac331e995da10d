import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Clock } from '../../web/player/clock.js';
import { audioConfig } from '../../web/player/matroska.js';
import { frameAt, timeOfStep } from '../../web/player/timeline.js';
import { Viewport } from '../../web/player/viewport.js';
import { clockText, damageText, size } from '../../web/player/words.js';

globalThis.devicePixelRatio = 1;

/** Three GoPs of 2, 1 and 3 frames, of which the first and the last have uneven times. */
const description = {
  width: 320,
  height: 180,
  pixelAspect: 1,
  gopStarts: Float64Array.of(0, 2, 3),
  frameCounts: Uint16Array.of(2, 1, 3),
  duration: 9,
};
const times = [Float64Array.of(0, 0.5), Float64Array.of(2), Float64Array.of(3, 4, 8)];

test('the frame of a time', () => {
  assert.deepEqual(frameAt(times[2], 3), { k: 0, share: 0 });
  assert.deepEqual(frameAt(times[2], 5), { k: 1, share: 0.25 });
  assert.deepEqual(frameAt(times[2], 8.5), { k: 2, share: 0 });
  assert.deepEqual(frameAt(times[2], 1), { k: 0, share: 0 });
});

test('steps go from GoP to GoP, and end where the video does', () => {
  const all = times.flatMap((of, gop) => Array.from(of, (time, k) => ({ time, gop, k })));
  all.forEach((from, i) => {
    for (let n = -8; n <= 8; n++) {
      const to = all[Math.min(all.length - 1, Math.max(0, i + n))];
      const known = timeOfStep(description, (gop) => times[gop], { ...from, share: 0 }, n);
      assert.equal(known, to.time, `${n} from frame ${i}`);
      // Without the times of its frames, the step leads into the GoP at least.
      const guessed = timeOfStep(description, () => undefined, { ...from, share: 0 }, n);
      const end = description.gopStarts[to.gop + 1] ?? description.duration;
      assert.ok(guessed >= description.gopStarts[to.gop] && guessed < end, `${n} from frame ${i}, guessed`);
    }
  });
});

test('a clock that changes its rate and its source goes on where it is', () => {
  let [steady, sound] = [10, 500];
  const clock = new Clock(() => steady);
  steady = 12;
  assert.equal(clock.time, 0);
  clock.run(true);
  steady = 13;
  assert.equal(clock.time, 1);
  clock.setRate(4);
  steady = 14;
  assert.equal(clock.time, 5);
  clock.follow(() => sound);
  assert.equal(clock.time, 5);
  sound = 501;
  assert.equal(clock.time, 9);
  clock.run(false);
  sound = 600;
  assert.equal(clock.time, 9);
});

test('the picture fills the stage, and its middle stays within it', () => {
  const viewport = new Viewport({ clientWidth: 640, clientHeight: 360 });
  assert.deepEqual(viewport.frameOf(description, false), {
    size: { width: 640, height: 360 },
    view: { x: 0, y: 0, scale: 2 },
  });
  viewport.setZoom({ x: 1, y: 0, factor: 4 });
  assert.deepEqual(viewport.frameOf(description, false)?.view, { x: 240, y: 0, scale: 8 });
  viewport.setZoom({ x: 0.5, y: 0.5, factor: 1e9 });
  assert.equal(viewport.zoom.factor, 64);
  assert.equal(new Viewport({ clientWidth: 0, clientHeight: 360 }).frameOf(description, false), null);
  // Pixels that are wider than high take fewer columns.
  const wide = new Viewport({ clientWidth: 640, clientHeight: 180 }).frameOf({ ...description, pixelAspect: 2 }, false);
  assert.deepEqual(wide, { size: { width: 320, height: 180 }, view: { x: 0, y: 0, scale: 1 } });
  // A part of a pixel more than the picture needs makes no black line.
  const odd = new Viewport({ clientWidth: 966, clientHeight: 544 }).frameOf(description, false);
  assert.deepEqual(odd?.size, { width: 966, height: 543 });
  assert.equal(odd?.view.scale, 966 / 320);
  const huge = new Viewport({ clientWidth: 16000, clientHeight: 9000 }).frameOf(description, false);
  assert.ok(huge && huge.size.width * huge.size.height < 2 ** 23 * 1.01);
});

test('pictures that come too late are drawn smaller while that helps', () => {
  const draw = (secondsOf) => {
    const viewport = new Viewport({ clientWidth: 1280, clientHeight: 720 });
    for (let i = 0; i < 100; i++) {
      const { size: canvas } = viewport.frameOf(description, true);
      viewport.measure(secondsOf(canvas.height), true, 0.8 * canvas.height > description.height);
    }
    return viewport;
  };
  assert.equal(draw(() => 0.01).shrink, 1);
  const helped = draw((height) => (0.2 * height * height) / (720 * 720));
  assert.ok(helped.shrink < 0.6 && helped.drawSeconds < 0.05);
  assert.equal(draw(() => 0.2).shrink, 1);
  const bounded = draw((height) => height / 720);
  assert.ok(bounded.shrink * 720 >= 180 && bounded.shrink < 0.35);
  const { size: still } = bounded.frameOf(description, false);
  assert.equal(still.height, 720);
});

test('set-ups of sound that are none are not taken for one', () => {
  assert.equal(audioConfig(new Uint8Array(0)), null);
  assert.equal(audioConfig(Uint8Array.of(0x18, 0x53, 0x80, 0x67, 0xff)), null);
  assert.equal(audioConfig(new Uint8Array(1000).fill(0xff)), null);
});

test('words', () => {
  assert.deepEqual(
    [clockText(7.44, 20), clockText(59.99, 59.99), clockText(67, 100), clockText(3723.4, 4000)],
    ['0:07.4', '0:59.9', '1:07', '1:02:03'],
  );
  assert.deepEqual(
    [size(0), size(999), size(1000), size(248683), size(3e9)],
    ['0 bytes', '999 bytes', '1.0 kB', '248.7 kB', '3.0 GB'],
  );
  const damage = { lostBytes: 1200, passedOver: ['a'], searchEnded: true };
  assert.match(damageText(damage), /^1\.2 kB .* of intact chunks, 1 cannot .* search .* early$/);
});
