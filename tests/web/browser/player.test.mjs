import assert from 'node:assert/strict';
import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, beforeEach, describe, test } from 'node:test';
import { openVideo } from '../../../web/decoder/index.js';
import { launch, noBrowser } from './browser.mjs';
import { PlayerServer } from './player_server.mjs';
import { buildFile, concat, golden, goldenPicture, smallestParts, sint, text, uint } from '../helpers.mjs';

/** A folder in which pictures of the page are kept; player.jpg is docs/player.jpg. */
const SCREENSHOTS = process.env.STGV_SCREENSHOTS;
const shippedClip = readFileSync(new URL('../../../docs/bunny.stgv', import.meta.url));
const PHONE = { width: 360, height: 740 };
const DESKTOP = { width: 1280, height: 900 };

/** A file of `n` GoPs of one frame at 25 frames a second, whose GoPs are those of the smallest file. */
function manyGops(n, extra = []) {
  const parts = smallestParts();
  // Version, profile and size are those of the file; then rates, ratio, duration of the last frame, colours, tool.
  const header = concat(parts.header.subarray(0, 5), [25, 1, 1, 25, 1, 1, 1, 1, 13, 1, 1, 0]);
  const payload = parts.gop.subarray(4);
  const chunks = Array.from({ length: n }, (_, i) => {
    const timing = [...uint(i), ...uint(1), ...sint(i), ...uint(1)];
    return [0x8002, concat(timing, payload), [1, ...timing]];
  });
  return buildFile(header, [...extra, ...chunks], { nFrames: n });
}

/** An EBML element. */
const element = (id, body) => [
  ...id,
  ...[8, 0, 0, 0].map((bits, i) => (i ? (body.length >> (8 * (3 - i))) & 255 : 0x10)),
  ...body,
];

/** The set-up of a track of mono PCM of 16 bits at 8000 samples a second, as Matroska has it. */
function pcmSetup(codec = 'A_PCM/INT/LIT') {
  const rate = Buffer.alloc(4);
  rate.writeFloatBE(8000);
  const audio = element([0xe1], [...element([0xb5], rate), ...element([0x9f], [1]), ...element([0x62, 0x64], [16])]);
  const entry = element([0xae], [...element([0x86], Buffer.from(codec)), ...audio]);
  return element([0x18, 0x53, 0x80, 0x67], element([0x16, 0x54, 0xae, 0x6b], entry));
}

/** Chunks TRACK and TRACK_PACKETS: a tone of 500 Hz for `seconds`, in packets of 0.1 s. */
function tone(seconds, codec) {
  const track = concat(
    uint(0),
    [0],
    text('pcm_s16le'),
    uint(1),
    uint(8000),
    uint(8000),
    uint(1),
    uint(0),
    [1, 0],
    [0],
    [0],
  );
  const n = Math.round(seconds * 10);
  const samples = Int16Array.from({ length: 800 * n }, (_, i) => 16384 * Math.sin((2 * Math.PI * 500 * i) / 8000));
  const packets = concat(
    [...uint(0), ...uint(n), ...sint(0)],
    Array(n - 1).fill(0),
    Array(n).fill(uint(800)).flat(),
    Array(n).fill(1),
    Array(n).fill(uint(1600)).flat(),
    new Uint8Array(samples.buffer),
  );
  return [
    [0x0010, concat(track, pcmSetup(codec))],
    [0x0011, packets],
  ];
}

describe('the player', { skip: noBrowser }, () => {
  let browser;
  let server;
  let page;
  let complaints;

  before(async () => {
    if (SCREENSHOTS) mkdirSync(SCREENSHOTS, { recursive: true });
    // As for people; tests otherwise hear sound at once.
    browser = await launch(undefined, '--autoplay-policy=document-user-activation-required');
    server = new PlayerServer();
    await server.start();
    for (const name of ['all_modes', 'two_gops', 'compact', 'extremes', 'paper'])
      server.files.set(`/${name}.stgv`, golden(name));
  });
  after(async () => {
    await browser?.close();
    server?.close();
  });
  beforeEach(() => {
    server.asked = [];
    server.gate = async () => {};
    complaints = [];
  });

  /** Opens a page; what the console says, and requests to other servers, are complaints. */
  async function open(path, { viewport = DESKTOP, colorScheme = 'light' } = {}) {
    await page?.context().close();
    const context = await browser.newContext({ viewport, colorScheme, hasTouch: viewport === PHONE });
    page = await context.newPage();
    page.on('console', (message) => {
      // What Chromium itself says where there is no WebGPU.
      if (message.text() !== 'No available adapters.') complaints.push(message.text());
    });
    page.on('pageerror', (error) => complaints.push(String(error)));
    page.on('request', (request) => {
      if (!request.url().startsWith(server.origin) && !request.url().startsWith('blob:'))
        complaints.push(request.url());
    });
    await page.goto(server.origin + path);
  }

  /** Opens a page of somebody else with an element of the given attributes and CSS size. */
  async function embed(attributes, { width = 320, height = 240 } = {}) {
    server.files.set('/theirs.html', (_, response) => {
      response.setHeader('Content-Type', 'text/html');
      response.setHeader('Content-Security-Policy', "default-src 'self'");
      response.end(
        `<!doctype html><link rel="stylesheet" href="/theirs.css"><script type="module" src="/web/player/element.js"></script>
        <script src="/theirs.js"></script><stgv-player ${attributes}></stgv-player>`,
      );
    });
    server.files.set('/theirs.css', (_, response) => {
      response.setHeader('Content-Type', 'text/css');
      response.end(`body { margin: 0 } stgv-player { width: ${width}px; height: ${height}px }`);
    });
    server.files.set('/theirs.js', (_, response) => {
      response.setHeader('Content-Type', 'text/javascript');
      response.end(`globalThis.events = [];
        for (const type of ['loadstart', 'loadedmetadata', 'loadeddata', 'play', 'playing', 'pause', 'seeking', 'seeked',
            'timeupdate', 'ended', 'ratechange', 'volumechange', 'error', 'waiting', 'framechange'])
          addEventListener(type, (event) => events.push(type), true);`);
    });
    await open('/theirs.html');
  }

  /** Runs statements of JavaScript in the page, in which `player` is the element. */
  const on = (body) =>
    page.evaluate(
      `(async (player) => { ${body.includes('return') ? body : `${body}; return null;`} })(document.querySelector('stgv-player'))`,
    );
  /** Waits until an expression in `player` holds. */
  async function until(expression) {
    const end = Date.now() + 20_000;
    while (!(await on(`return !!(${expression});`))) {
      if (Date.now() > end) {
        const state = await on(`return JSON.stringify([player.currentTime, player.currentFrame, player.error])`);
        throw new Error(`it does not come that ${expression}: ${state}; ${complaints}`);
      }
      await new Promise((resolve) => setTimeout(resolve, 15));
    }
  }
  const pixels = async () => {
    const { width, height, data } = await on(
      `const { width, height, data } = await player.snapshot(); return { width, height, data: Array.from(data) };`,
    );
    return { width, height, data: data.filter((_, i) => i % 4 < 3) };
  };

  async function assertShows(expected, what) {
    const found = await pixels();
    assert.deepEqual([found.width, found.height], [expected.width, expected.height], what);
    const largest = found.data.reduce((most, sample, i) => Math.max(most, Math.abs(sample - expected.data[i])), 0);
    assert.ok(largest <= 2, `${what}: a sample differs by ${largest}`);
  }

  const controls = (name) => page.locator(`stgv-player #${name}`);

  test('it plays to the end, and again', async () => {
    await embed('src="/all_modes.stgv" controls');
    await until('player.currentFrame === 0');
    assert.equal(await on('return player.paused'), true);
    await page.getByRole('button', { name: 'Play', exact: true }).click();
    await until('player.ended');
    assert.deepEqual(await on('return [player.paused, player.currentTime === player.duration]'), [true, true]);
    await until('player.currentFrame === 30');
    const events = await page.evaluate('events');
    const firsts = ['loadstart', 'loadedmetadata', 'loadeddata', 'play', 'playing', 'pause', 'ended'];
    assert.deepEqual(
      firsts.toSorted((a, b) => events.indexOf(a) - events.indexOf(b)),
      firsts,
    );
    assert.ok(events.includes('timeupdate') && !events.includes('error'));
    await page.getByRole('button', { name: 'Play again' }).click();
    await until('player.ended === false && player.paused === false');
    await until('player.ended');
    assert.deepEqual(complaints, []);
  });

  test('steps and seeks show the frames that the decoder has', async () => {
    const { width, height } = goldenPicture('two_gops', 0);
    await embed('src="/two_gops.stgv"', { width, height });
    await until('player.currentFrame === 0');
    const step = async (n, frame) => {
      await on(`player.step(${n})`);
      await until(`player.currentFrame === ${frame} && !player.seeking`);
      await assertShows(goldenPicture('two_gops', frame), `frame ${frame}`);
    };
    for (const frame of [1, 2, 3, 4]) await step(1, frame);
    await step(1, 4);
    await step(-1, 3);
    await step(-1, 2);
    await step(-2, 0);
    await step(-1, 0);
    const video = await openVideo(golden('two_gops'));
    const seconds = (frame) => Number(video.timestamp(frame) - video.timestamp(0)) / video.header.timeBase.den;
    for (const frame of [3, 1, 4, 0, 2]) {
      await on(`player.currentTime = ${seconds(frame)} + 1e-9`);
      await until(`player.currentFrame === ${frame} && !player.seeking`);
      await assertShows(goldenPicture('two_gops', frame), `frame ${frame}`);
    }
    assert.deepEqual(complaints, []);
  });

  test('the first frame comes before the rest of the file is read', async () => {
    const { promise, resolve: release } = deferred();
    const long = manyGops(1000);
    const place = (await openVideo(long)).gop(100).offset;
    server.gate = (_, start, end) => (start >= place && end < long.length - 4000 ? promise : undefined);
    server.files.set('/long.stgv', long);
    await embed('src="/long.stgv" controls');
    await until('player.currentFrame === 0');
    assert.ok(server.bytesOf('/long.stgv') < 0.4 * long.length, `${server.bytesOf('/long.stgv')} of ${long.length}`);
    release();
  });

  test('where bytes are slow it waits, and goes on when they come', async () => {
    const long = manyGops(300);
    server.files.set('/slow.stgv', long);
    const waitingPlace = (await openVideo(long)).gop(100).offset;
    const { promise, resolve: release } = deferred();
    server.gate = (_, start, end) => (start >= waitingPlace && end < long.length - 5000 ? promise : undefined);
    await embed('src="/slow.stgv" controls muted');
    await until('player.currentFrame === 0');
    await on('player.playbackRate = 8; player.play()');
    await until("events.includes('waiting') && player.currentTime >= 4");
    assert.ok((await on('return player.currentFrame')) < 100);
    assert.equal(await controls('spinner').isVisible(), true);
    assert.equal(await on('return player.paused'), false);
    release();
    await until('player.ended');
    assert.deepEqual(complaints, []);
  });

  test('few GoPs are kept, however many there are', async () => {
    server.files.set('/many.stgv', manyGops(400));
    await embed('src="/many.stgv"');
    await until('player.currentFrame === 0');
    await on(`globalThis.most = 0;
      player.addEventListener('framechange', () => { most = Math.max(most, player.player.client.gops.size); });
      player.playbackRate = 8; player.play();`);
    await until('player.ended');
    assert.ok((await page.evaluate('most')) <= 4);
    for (const time of [15, 1, 8, 3, 12]) {
      await on(`player.currentTime = ${time}`);
      await until(`!player.seeking && player.currentFrame === ${time * 25}`);
    }
  });

  test('slower than half, what lies between frames is shown', async () => {
    await embed('src="/compact.stgv"');
    await until('player.currentFrame === 0');
    await on(`globalThis.shares = [];
      player.addEventListener('framechange', () => shares.push(player.player.shown.share));
      player.playbackRate = 1 / 8; player.play();`);
    await until('shares.filter((share) => share > 0 && share < 1).length > 3');
    await on('player.playbackRate = 1; shares.length = 0;');
    await until('player.ended');
    assert.deepEqual(await page.evaluate('shares.slice(1).filter((share) => share !== 0)'), []);
  });

  test('it loops', async () => {
    await embed('src="/two_gops.stgv" loop autoplay muted');
    await until("events.filter((type) => type === 'seeked').length > 2");
    assert.deepEqual(await on('return [player.paused, player.ended, player.muted]'), [false, false, true]);
    await on('player.loop = false');
    await until('player.ended');
  });

  test('an element of another page has the attributes, properties and events of a video', async () => {
    await embed('src="/all_modes.stgv"');
    await until('player.currentFrame === 0');
    assert.equal(await controls('controls').isVisible(), false);
    const facts = await on(`return [player.src, player.videoWidth, player.videoHeight, player.paused, player.ended,
      player.loop, player.controls, player.autoplay, player.playbackRate, player.volume, player.error]`);
    assert.deepEqual(facts, ['/all_modes.stgv', 29, 21, true, false, false, false, false, 1, 1, null]);
    await on(`player.controls = true; player.loop = true; player.playbackRate = 0.5; player.volume = 0.5;`);
    assert.equal(await controls('controls').isVisible(), true);
    assert.equal(await controls('rate').inputValue(), '0.5');
    assert.equal(await controls('loop').getAttribute('aria-pressed'), 'true');
    const events = await page.evaluate('events');
    assert.ok(events.includes('ratechange') && events.includes('volumechange'));
    for (const wrong of ['playbackRate = 0', 'volume = 2', 'view = "none"']) {
      await assert.rejects(on(`player.${wrong}`), /RangeError/);
    }
    await on('player.src = "/two_gops.stgv"');
    await until('player.player.description?.nFrames === 5 && player.currentFrame === 0');
    await on('globalThis.gone = player; player.remove()');
    await page.evaluate('new Promise((done) => setTimeout(done))');
    assert.deepEqual(await page.evaluate('[gone.player.client, gone.player.renderer, gone.duration > 0]'), [
      null,
      null,
      false,
    ]);
    await page.evaluate('document.body.append(gone)');
    await until('player.currentFrame === 0');
    // The last of several files is played, by one renderer.
    await on('for (const name of ["compact", "paper", "all_modes"]) player.src = `/${name}.stgv`;');
    await until('player.currentFrame === 0 && player.player.description.nFrames === 31');
    assert.equal(await page.locator('stgv-player canvas[part]').count(), 1);
    assert.deepEqual(complaints, []);
  });

  test('a page lists the files of its address and plays the first one', async () => {
    await open('/web/index.html?src=/compact.stgv&src=/two_gops.stgv');
    await until('player.currentFrame === 0');
    assert.equal(await page.title(), 'compact.stgv – stgv player');
    await page.getByRole('navigation', { name: 'Files' }).getByRole('link', { name: 'two_gops.stgv' }).click();
    await until("player.src === '/two_gops.stgv' && player.currentFrame === 0");
    assert.equal(await page.locator('h1').textContent(), 'two_gops.stgv');
    assert.deepEqual(complaints, []);
  });

  test('a page without files plays one that is dropped, or opened', async () => {
    server.files.set('/web/files.json', (_, response) => response.end('{"files": []}'));
    await open('/web/index.html');
    await page.getByRole('heading', { name: 'Drop a .stgv file here' }).waitFor();
    await page.evaluate(async () => {
      const bytes = await (await fetch('/two_gops.stgv')).arrayBuffer();
      const data = new DataTransfer();
      data.items.add(new File([bytes], 'dropped.stgv'));
      document.body.dispatchEvent(new DragEvent('dragover', { dataTransfer: data, bubbles: true, cancelable: true }));
      if (!document.body.classList.contains('dropping')) throw new Error('nothing shows that it can be dropped');
      document.body.dispatchEvent(new DragEvent('drop', { dataTransfer: data, bubbles: true, cancelable: true }));
    });
    await until('player.currentFrame === 0 && player.player.description.nFrames === 5');
    assert.equal(await page.locator('h1').textContent(), 'dropped.stgv');
    await page
      .getByLabel('Open a file')
      .setInputFiles({ name: 'opened.stgv', mimeType: '', buffer: Buffer.from(golden('all_modes')) });
    await until('player.currentFrame === 0 && player.player.description.nFrames === 31');
    await on('player.step(30)');
    await until('player.currentFrame === 30');
    assert.deepEqual(complaints, []);
  });

  test('keys', async () => {
    await open('/web/index.html?src=/compact.stgv');
    await until('player.currentFrame === 0');
    // The keys are the player's from the beginning.
    await page.keyboard.press('.');
    await until('player.currentFrame === 1');
    await page.keyboard.press(',');
    await until('player.currentFrame === 0');
    await page.keyboard.press('End');
    await until('player.currentTime === player.duration');
    await page.keyboard.press('Home');
    await until('player.currentTime === 0');
    await page.keyboard.press('5');
    await until('Math.abs(player.currentTime - player.duration / 2) < 1e-6');
    await page.keyboard.press('ArrowLeft');
    await until('player.currentTime === 0');
    await page.keyboard.press('>');
    await until('player.playbackRate === 2');
    await page.keyboard.press('<');
    await page.keyboard.press('<');
    await until('player.playbackRate === 0.5');
    await page.keyboard.press('l');
    await until('player.loop');
    await page.keyboard.press('m');
    await until('player.muted');
    await page.keyboard.press('v');
    await until("player.view === 'ellipses'");
    await page.keyboard.press('+');
    await until('player.player.zoom.factor > 1');
    await page.keyboard.press('z');
    await until('player.player.zoom.factor === 1');
    await page.keyboard.press('?');
    await page.getByRole('region', { name: 'Keys' }).waitFor();
    await page.keyboard.press('Escape');
    await page.getByRole('region', { name: 'Keys' }).waitFor({ state: 'hidden' });
    await page.keyboard.press('i');
    await page.getByRole('region', { name: 'About this file' }).getByText('5 frames in').waitFor();
    await page.keyboard.press('i');
    const download = page.waitForEvent('download');
    await page.keyboard.press('s');
    assert.equal((await download).suggestedFilename(), 'frame_000000.png');
    await page.keyboard.press(' ');
    await until('!player.paused');
    await page.keyboard.press('k');
    await until('player.paused');
    await page.keyboard.press('f');
    await until('document.fullscreenElement === player');
    assert.deepEqual(complaints, []);
  });

  test('the wheel zooms by rendering, a drag moves, two fingers pinch', async () => {
    await open('/web/index.html?src=/compact.stgv');
    await until('player.currentFrame === 0');
    const box = await controls('stage').boundingBox();
    await page.mouse.move(box.x + 0.75 * box.width, box.y + 0.25 * box.height);
    await page.mouse.wheel(0, -400);
    await until('player.player.zoom.factor > 1.2');
    const { x, y } = await on('return player.player.zoom');
    assert.ok(x > 0.5 && y < 0.5, `the middle is at ${x}, ${y}`);
    await page.mouse.down();
    await page.mouse.move(box.x + 0.75 * box.width + 60, box.y + 0.25 * box.height, { steps: 3 });
    await page.mouse.up();
    await until(`player.player.zoom.x < ${x}`);
    assert.equal(await on('return player.paused'), true);
    await page.mouse.wheel(0, 4000);
    await until('player.player.zoom.factor === 1');
    await on(`const stage = player.stage;
      const send = (type, pointerId, clientX) => stage.dispatchEvent(new PointerEvent(type,
        { pointerId, clientX, clientY: 300, pointerType: 'touch', bubbles: true }));
      stage.setPointerCapture = () => {};
      send('pointerdown', 1, 500); send('pointerdown', 2, 600);
      send('pointermove', 2, 800); send('pointermove', 1, 400);
      send('pointerup', 1, 400); send('pointerup', 2, 800);`);
    await until('player.player.zoom.factor > 3.9');
    assert.deepEqual(complaints, []);
  });

  test('each view is drawn, and differs from the others', async () => {
    await embed('src="/all_modes.stgv" controls');
    await until('player.currentFrame === 0');
    await on('player.step(20)');
    await until('player.currentFrame === 20');
    const seen = new Set();
    for (const name of ['Picture', 'Gaussians as ellipses', 'Motion', 'Map of bits', 'Frozen field']) {
      await page.getByLabel('View').selectOption(name);
      await until(`player.player.drawn.includes('"' + player.view + '"')`);
      seen.add((await pixels()).data.join());
    }
    assert.equal(seen.size, 5);
    assert.deepEqual(complaints, []);
  });

  test('a damaged part is named, passed over or left out', async () => {
    const damaged = golden('two_gops');
    damaged[(await openVideo(damaged)).gop(1).offset + 40] ^= 255;
    server.files.set('/damaged.stgv', damaged);
    await open('/web/index.html?src=/damaged.stgv');
    await until('player.currentFrame === 0');
    await on('player.play()');
    const alert = page.getByRole('alert');
    await alert.getByText('This part of the file is damaged').waitFor();
    assert.match(await alert.textContent(), /GOP at byte \d+: found the payload CRC/);
    assert.deepEqual(await on('return [player.error.kind, player.paused]'), ['damaged', true]);
    // What is intact can be seen still.
    await on('player.currentTime = 0');
    await until('player.currentFrame === 0 && player.error === null');
    await on('player.currentTime = player.duration');
    await alert.getByRole('button', { name: 'Play what is intact' }).click();
    await until('player.currentFrame === 0 && player.player.description.damage');
    await page.getByText('of the file are damaged and left out').waitFor();
    await on('player.play()');
    await until('player.ended');
  });

  test('what is no file, not there, or too large is said', async () => {
    server.files.set('/text.stgv', Buffer.from('this is a text of some length, and no video'));
    server.files.set('/cut.stgv', golden('two_gops').subarray(0, 2000));
    for (const [path, kind, said] of [
      ['/text.stgv', 'damaged', /This is no \.stgv file/],
      ['/cut.stgv', 'damaged', /The file is damaged.*no END chunk ends the file/],
      ['/missing.stgv', 'source', /The file cannot be read.*HTTP status 404/],
    ]) {
      await open(`/web/index.html?src=${path}`);
      await until('player.error');
      assert.equal(await on('return player.error.kind'), kind);
      assert.match(await page.getByRole('alert').textContent(), said);
    }
    await open('/web/index.html?src=/cut.stgv');
    await page.getByRole('button', { name: 'Play what is intact' }).click();
    await until('player.currentFrame === 0');
  });

  test('a server that is gone is tried again', async () => {
    const long = manyGops(300);
    server.files.set('/gone.stgv', long);
    let isGone = false;
    server.gate = async () => {
      if (isGone) throw new Error('gone');
    };
    await open('/web/index.html?src=/gone.stgv');
    await until('player.currentFrame === 0');
    isGone = true;
    await on('player.currentTime = 5');
    await page.getByRole('alert').getByText('The file cannot be read').waitFor();
    isGone = false;
    await page.getByRole('button', { name: 'Try again' }).click();
    await until('player.currentFrame === 125 && player.error === null');
  });

  test('sound is played in time with the pictures', async () => {
    server.files.set('/tone.stgv', manyGops(75, tone(3)));
    await embed('src="/tone.stgv" controls');
    await until('player.currentFrame === 0');
    await on(`globalThis.played = [];
      const { start } = AudioBufferSourceNode.prototype;
      AudioBufferSourceNode.prototype.start = function (when, offset) {
        const [sample] = this.buffer.getChannelData(0).subarray(Math.round(offset * this.buffer.sampleRate));
        played.push({ when, offset, seconds: this.buffer.duration, sample });
        start.call(this, when, offset);
      };`);
    await controls('sound-controls').waitFor();
    await controls('play').click();
    await until('player.currentFrame > 30');
    const { lag } = await on(`const sound = player.player.sound;
      const { anchor, from } = sound.stretch;
      return { lag: player.currentTime - (from + sound.now() - anchor) };`);
    assert.ok(Math.abs(lag) < 0.02, `the picture is ${lag} s from the sound`);
    const played = await page.evaluate('played');
    assert.ok(played.length > 3);
    played.slice(1).forEach(({ when, offset }, i) => {
      const before = played[i];
      // One buffer follows the other to the sample, from the first that begins in time.
      if (!offset) assert.ok(Math.abs(when - (before.when + before.seconds - before.offset)) < 1e-4);
    });
    await until('player.ended');
    await on('played.length = 0; player.currentTime = 1.03; player.play();');
    await until('played.length > 0');
    await on('player.muted = true');
    assert.equal(await on('return player.player.sound.gain.gain.value'), 0);
    assert.deepEqual(complaints, []);
  });

  test('sound that the browser holds back begins with the first key', async () => {
    server.files.set('/tone.stgv', manyGops(75, tone(3)));
    await embed('src="/tone.stgv" controls autoplay loop');
    // To ask the page anything counts as a click in it.
    await new Promise((resolve) => setTimeout(resolve, 2000));
    await page.getByText('the browser plays sound after a click here').waitFor();
    await controls('view').focus();
    await page.keyboard.press('Shift');
    await until('player.player.sound.isRunning && player.player.sound.stretch');
    assert.equal(await page.getByText('the browser plays sound after a click here').count(), 0);
    assert.ok(
      complaints.every((said) => said.startsWith('The AudioContext was not allowed to start')),
      complaints.join(),
    );
  });

  test('sound that the browser cannot decode is named', async () => {
    server.files.set('/unknown.stgv', manyGops(5, tone(0.2, 'A_UNKNOWN')));
    await open('/web/index.html?src=/unknown.stgv');
    await page.getByText('This browser cannot decode the sound (PCM_S16LE).').waitFor();
    await on('player.play()');
    await until('player.ended');
  });

  test('another renderer can be asked for', async () => {
    await open('/web/index.html?src=/compact.stgv&renderer=CPU');
    await until("player.currentFrame === 0 && player.rendererName === 'CPU'");
    assert.equal(await controls('status').textContent(), 'CPU');
    await page.keyboard.press('i');
    await page.getByRole('region', { name: 'About this file' }).getByText('CPU', { exact: true }).waitFor();
  });

  test('on a full screen the controls go away while it plays, and come back', async () => {
    await embed('src="/compact.stgv" controls loop muted');
    await until('player.currentFrame === 0');
    await controls('player').focus();
    await page.keyboard.press('f');
    await until('document.fullscreenElement === player');
    await page.keyboard.press('k');
    await until("player.shadowRoot.getElementById('player').classList.contains('idle')");
    await page.mouse.move(100, 100);
    await page.mouse.move(120, 120);
    await until("!player.shadowRoot.getElementById('player').classList.contains('idle')");
    assert.deepEqual(complaints, []);
  });

  for (const viewport of [PHONE, DESKTOP]) {
    for (const colorScheme of ['light', 'dark']) {
      test(`a ${colorScheme} page of ${viewport.width} pixels has all within it, each with a name`, async () => {
        await open('/web/index.html?src=/compact.stgv&src=/two_gops.stgv', { viewport, colorScheme });
        await until('player.currentFrame === 0');
        const wrong = await on(`const root = player.shadowRoot;
          const wrong = [];
          if (document.documentElement.scrollWidth > innerWidth) wrong.push('the page is wider than the screen');
          for (const element of root.querySelectorAll('button, select, input')) {
            const { left, right, bottom, width, height } = element.getBoundingClientRect();
            if (!width) continue;
            if (left < 0 || right > innerWidth || bottom > innerHeight) wrong.push(element.id + ' is outside');
            if (element.type !== 'range' && Math.min(width, height) < 32) wrong.push(element.id + ' is too small to touch');
            if (!element.ariaLabel) wrong.push(element.id + ' has no label');
          }
          return wrong;`);
        assert.deepEqual(wrong, []);
        const [text, back] = await on(`const style = getComputedStyle(player);
          const light = (color) => color.match(/\\d+/g).slice(0, 3).reduce((sum, part) => sum + Number(part), 0) / 765;
          return [light(style.color), light(style.backgroundColor)];`);
        assert.ok(colorScheme === 'dark' ? text > 0.8 && back < 0.2 : text < 0.2 && back > 0.8);
        if (SCREENSHOTS) {
          await page.screenshot({ path: join(SCREENSHOTS, `player-${viewport.width}-${colorScheme}.png`) });
        }
        assert.deepEqual(complaints, []);
      });
    }
  }

  test('a phone on its side has one row of controls', async () => {
    await open('/web/index.html?src=/compact.stgv', { viewport: { width: PHONE.height, height: PHONE.width } });
    await until('player.currentFrame === 0');
    const rows = await on(`const buttons = [...player.shadowRoot.querySelectorAll('#controls button')];
      return new Set(buttons.map((button) => button.getBoundingClientRect()).filter((box) => box.width)
        .map((box) => Math.round(box.top + box.bottom))).size;`);
    assert.equal(rows, 1);
  });

  test('the shipped clip plays with its sound', async () => {
    server.files.set('/bunny.stgv', shippedClip);
    await open('/web/index.html?src=/bunny.stgv', { viewport: { width: 1000, height: 760 } });
    await until('player.currentFrame === 0');
    await controls('sound-controls').waitFor();
    await controls('play').click();
    await until('player.currentFrame > 20 && player.player.sound?.stretch?.nodes.size > 0');
    await on('player.pause(); player.currentTime = 3.2');
    await until('player.currentFrame === 80');
    await until('!player.player.isDrawing && !player.seeking');
    await controls('player').evaluate((shown) => shown.blur());
    if (SCREENSHOTS) await page.screenshot({ path: join(SCREENSHOTS, 'player.jpg'), type: 'jpeg', quality: 80 });
    assert.deepEqual(complaints, []);
  });

  test('a screen reader hears what there is', async () => {
    await open('/web/index.html?src=/compact.stgv');
    await until('player.currentFrame === 0');
    for (const name of ['Play', 'One frame back', 'One frame on', 'Begin anew at the end', 'Full screen', 'Keys']) {
      assert.equal(await page.getByRole('button', { name, exact: true }).count(), 1, name);
    }
    await page.getByRole('combobox', { name: 'Speed' }).waitFor();
    await page.getByRole('combobox', { name: 'View' }).waitFor();
    const value = await page.getByRole('slider', { name: 'Position' }).getAttribute('aria-valuetext');
    assert.match(value, /^0:00\.0 of 0:02\.\d, frame 0 of 5$/);
    assert.match(await controls('status').textContent(), /^(WebGPU|WebGL2|CPU)/);
  });

  test('the most extreme file is shown', async () => {
    await open('/web/index.html?src=/extremes.stgv');
    await until('player.currentFrame === 0');
    await on('player.step(2)');
    await until('player.currentFrame === 2');
    assert.deepEqual(complaints, []);
  });
});

/** Promise.withResolvers, which Node 20 has not. */
function deferred() {
  let resolve;
  const promise = new Promise((done) => {
    resolve = done;
  });
  return { promise, resolve };
}
