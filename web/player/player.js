import { createRenderer } from '../render/index.js';
import { DecoderClient } from './client.js';
import { Clock } from './clock.js';
import { Sound } from './sound.js';
import { frameAt, lastAtMost, timeOfStep } from './timeline.js';
import { Viewport } from './viewport.js';

/** @typedef {import('./client.js').Description} Description */
/** @typedef {import('./client.js').Failure} Failure */
/** @typedef {import('./client.js').LoadedGop} LoadedGop */
/** @typedef {import('./timeline.js').Position} Position */
/** @typedef {import('../render/index.js').Renderer} Renderer */
/** @typedef {import('../render/index.js').RendererName} RendererName */
/** @typedef {import('../render/view.js').ViewKind} ViewKind */

/** Views, in the order in which they are offered. @type {readonly ViewKind[]} */
export const VIEWS = ['picture', 'ellipses', 'motion', 'bits', 'frozen'];

const TIME_UPDATE_MS = 250;

const steadyClock = () => performance.now() / 1000;

/**
 * Plays a file into an element. Time is in seconds from the first frame on. It sends the events of a media element, and
 * `framechange` when another picture is shown, `viewchange` and `soundchange`.
 */
export class Player extends EventTarget {
  /** The best kind of renderer that is tried; the best there is by default. @type {RendererName | undefined} */
  prefer = undefined;

  /** @param {HTMLElement} stage gets the canvas */
  constructor(stage) {
    super();
    this.stage = stage;
    this.loop = false;
    /** Why nothing is played. @type {Failure | null} */
    this.error = null;
    /** @type {Description | null} */
    this.description = null;
    /** @type {ReturnType<typeof makeRenderer> | null} */
    this.making = null;
    /** @type {Renderer | null} */
    this.renderer = null;
    /** @type {import('./client.js').TracksDescription | null} */
    this.tracks = null;
    /** What keeps the sound from being played, in words. */
    this.soundProblem = '';
    /** The picture that is shown. @type {Position | null} */
    this.shown = null;
    /** @type {ViewKind} */
    this.viewKind = 'picture';
    this.viewport = new Viewport(stage);
    this.clock = new Clock(steadyClock);
    this.isPaused = true;
    this.isEnded = false;
    this.isSeeking = false;
    this.isWaiting = false;
    this.isDrawing = false;
    this.isRendererLost = false;
    this.volume_ = 1;
    this.muted_ = false;
    this.drawn = '';
    /** @type {DecoderClient | null} */
    this.client = null;
    /** @type {Sound | null} */
    this.sound = null;
    this.lastTimeUpdate = 0;
    this.nextTick = 0;
    this.pump = 0;
    this.observer = new ResizeObserver(() => this.invalidate());
    this.observer.observe(stage);
  }

  /**
   * Opens a file, in place of the one before.
   *
   * @param {string | Blob} source
   * @param {{ recover?: boolean }} [options] recover: whether to use what is intact of a damaged file
   */
  async load(source, { recover = false } = {}) {
    this.unload();
    this.source = source;
    const client = new DecoderClient(() => {
      if (client === this.client) this.invalidate();
    });
    this.client = client;
    this.send('loadstart');
    try {
      const absolute = typeof source === 'string' ? new URL(source, document.baseURI).href : source;
      const opening = client.open(absolute, recover);
      // Waited for together: an adapter of a GPU takes as long as a request to a server.
      const [description] = await Promise.all([opening, this.needRenderer()]);
      if (client !== this.client) return;
      this.description = description;
    } catch (error) {
      if (client === this.client) this.fail(asFailure(error));
      return;
    }
    this.send('loadedmetadata');
    this.send('durationchange');
    this.invalidate();
    await this.openSound(client);
  }

  /** @param {DecoderClient} client */
  async openSound(client) {
    const described = await client.tracks;
    if (client !== this.client) return;
    this.tracks = described;
    const { sound, why } = await Sound.open(client, described.tracks, (message) => {
      this.soundProblem = message;
      this.clock.follow(steadyClock);
      this.send('soundchange');
    });
    if (client !== this.client) {
      sound?.close();
      return;
    }
    this.sound = sound;
    const { failure } = described;
    this.soundProblem = failure ? `The sound cannot be read: ${failure.message}` : why;
    this.setGain();
    if (sound) {
      sound.context.onstatechange = () => {
        this.startSound();
        this.send('soundchange');
      };
    }
    this.wakeSound();
    this.send('soundchange');
    this.startSound();
  }

  /** Lets go of the file. */
  unload() {
    this.client?.close();
    this.sound?.close();
    this.client = null;
    this.sound = null;
    this.description = null;
    this.tracks = null;
    this.error = null;
    this.shown = null;
    this.drawn = '';
    this.soundProblem = '';
    this.isEnded = this.isSeeking = this.isWaiting = false;
    this.clock.run(false);
    this.clock.follow(steadyClock);
    this.clock.time = 0;
    this.viewport = new Viewport(this.stage);
  }

  /** Makes the best renderer that the device has, in a canvas of its own, unless there is one. */
  async needRenderer() {
    this.making ??= makeRenderer(this.prefer);
    const { making } = this;
    try {
      const { renderer, canvas } = await making;
      if (making !== this.making || renderer === this.renderer) return;
      this.renderer = renderer;
      this.canvas = canvas;
      this.stage.replaceChildren(canvas);
      this.send('rendererchange');
    } catch (error) {
      // It may be tried again.
      if (making === this.making) this.making = null;
      throw error;
    }
  }

  /** Frees what the renderer holds. Another one is made for the next file. */
  releaseRenderer() {
    this.making?.then(
      ({ renderer }) => renderer.destroy(),
      () => {},
    );
    this.making = null;
    this.renderer = null;
    this.isRendererLost = false;
    this.drawn = '';
    this.stage.replaceChildren();
  }

  /** @param {string} type */
  send(type) {
    this.dispatchEvent(new Event(type));
  }

  /** @param {Failure} failure */
  fail(failure) {
    this.error = failure;
    this.stopClock();
    this.setWaiting(false);
    if (!this.isPaused) {
      this.isPaused = true;
      this.send('pause');
    }
    this.send('error');
  }

  // Playing.

  get paused() {
    return this.isPaused;
  }

  get ended() {
    return this.isEnded;
  }

  get duration() {
    return this.description?.duration ?? NaN;
  }

  get currentTime() {
    return Math.min(this.clock.time, this.description?.duration ?? Infinity);
  }

  set currentTime(seconds) {
    this.seek(seconds);
  }

  get playbackRate() {
    return this.clock.rate;
  }

  set playbackRate(rate) {
    if (!(rate > 0 && rate < Infinity)) throw new RangeError(`playbackRate ${rate}, expected a positive number`);
    if (rate === this.clock.rate) return;
    this.clock.setRate(rate);
    this.startSound();
    this.send('ratechange');
    this.invalidate();
  }

  play() {
    if (!this.isPaused) return;
    if (this.isEnded) this.seek(0);
    if (this.error && this.description) this.forgive();
    this.isPaused = false;
    this.wakeSound();
    this.send('play');
    this.pump ||= window.setInterval(() => this.pumpSound(), 200);
    this.invalidate();
  }

  pause() {
    if (this.isPaused) return;
    this.isPaused = true;
    this.stopClock();
    clearInterval(this.pump);
    this.pump = 0;
    this.send('pause');
    this.send('timeupdate');
    // What moved may have been drawn smaller.
    this.invalidate();
  }

  /** @param {number} seconds */
  seek(seconds) {
    const last = this.description?.duration ?? Infinity;
    this.clock.time = Math.min(last, Math.max(0, Number.isFinite(seconds) ? seconds : 0));
    this.isEnded = false;
    this.isSeeking = true;
    if (this.error && this.client && this.description) this.forgive();
    this.send('seeking');
    this.send('timeupdate');
    this.startSound();
    this.invalidate();
  }

  /**
   * Shows the frame that is `n` frames on, or back if negative, and pauses.
   *
   * @param {number} n
   */
  step(n) {
    this.pause();
    const { description, client } = this;
    if (!description || !client) return;
    const from = this.positionAt(this.currentTime);
    this.seek(timeOfStep(description, (gop) => client.gops.get(gop)?.times, from, n));
  }

  /** Tries once more what failed. */
  async retry() {
    if (this.isRendererLost) {
      this.releaseRenderer();
      try {
        await this.needRenderer();
      } catch (error) {
        this.fail(asFailure(error));
        return;
      }
    }
    if (!this.description || !this.client) {
      if (this.source !== undefined) this.load(this.source);
      return;
    }
    this.forgive();
    this.invalidate();
  }

  /** Goes on behind the GoP that cannot be decoded. */
  skip() {
    const { description, client } = this;
    if (!description || !client) return;
    const next = lastAtMost(description.gopStarts, this.currentTime) + 1;
    if (next < description.gopStarts.length) this.seek(description.gopStarts[next]);
  }

  forgive() {
    this.error = null;
    this.client?.forgive();
    this.send('errorcleared');
  }

  // Sound.

  get muted() {
    return this.muted_;
  }

  set muted(muted) {
    this.muted_ = muted;
    this.setGain();
    this.send('volumechange');
  }

  get volume() {
    return this.volume_;
  }

  set volume(volume) {
    if (!(volume >= 0 && volume <= 1)) throw new RangeError(`volume ${volume}, expected 0 to 1`);
    this.volume_ = volume;
    this.setGain();
    this.send('volumechange');
  }

  /** Lets sound begin, which browsers allow in answer to a click or a key only. */
  wakeSound() {
    if (!this.isPaused && this.sound && !this.sound.isRunning) this.sound.context.resume();
  }

  setGain() {
    this.sound?.setVolume(this.muted_ ? 0 : this.volume_);
  }

  /** Begins the sound at the place that is played, or ends it where nothing is. */
  startSound() {
    const { sound, clock } = this;
    if (!sound) return;
    if (!sound.isRunning) {
      clock.follow(steadyClock);
      return;
    }
    clock.follow(() => sound.now());
    if (clock.running) sound.start(clock.time, sound.now(), clock.rate);
    else sound.stop();
  }

  pumpSound() {
    this.sound?.pump();
    // Nothing is drawn while the page is hidden, but the sound goes on, and the end comes.
    if (document.hidden) this.tick();
  }

  // The picture.

  /** @param {ViewKind} kind */
  setView(kind) {
    this.viewKind = kind;
    this.send('viewchange');
    this.invalidate();
  }

  get zoom() {
    return this.viewport.zoom;
  }

  /** @param {{ x: number, y: number, factor: number }} zoom centre, as shares of the picture, and size over that which fits */
  setZoom(zoom) {
    this.viewport.setZoom(zoom);
    this.send('viewchange');
    this.invalidate();
  }

  /** @returns {Promise<ImageData>} what is shown, as it is shown */
  async snapshot() {
    const { renderer, canvas } = this;
    if (!renderer || !canvas || !this.shown) throw new Error('no picture is shown');
    const pixels = await renderer.readPixels();
    // Another picture may have been drawn meanwhile, of another size.
    if (pixels.length !== 4 * canvas.width * canvas.height) return this.snapshot();
    return new ImageData(new Uint8ClampedArray(pixels), canvas.width, canvas.height);
  }

  /**
   * @param {number} seconds
   * @returns {Position}
   */
  positionAt(seconds) {
    const { gopStarts } = /** @type {Description} */ (this.description);
    const gop = lastAtMost(gopStarts, seconds);
    const times = this.client?.gops.get(gop)?.times;
    return { gop, ...(times ? frameAt(times, seconds) : { k: 0, share: 0 }) };
  }

  /** Looks, with the next picture of the screen, at what is to be done. */
  invalidate() {
    this.nextTick ||= requestAnimationFrame(() => {
      this.nextTick = 0;
      this.tick();
    });
  }

  tick() {
    const { description, client } = this;
    if (!description || !client || this.error) return;
    if (this.clock.running && this.clock.time >= description.duration) this.reachEnd();
    const seconds = this.currentTime;
    const position = this.positionAt(seconds);
    client.want(this.neededFrom(position.gop, description.gopStarts.length));
    const loaded = client.gops.get(position.gop);
    const failure = client.failures.get(position.gop);
    if (failure) {
      this.fail(failure);
      return;
    }
    this.setWaiting(!loaded);
    if (!loaded) {
      this.stopClock();
      return;
    }
    if (!this.isPaused && !this.clock.running && this.shown) this.startClock();
    this.draw(loaded, position);
    const now = performance.now();
    if (this.clock.running && now - this.lastTimeUpdate >= TIME_UPDATE_MS) {
      this.lastTimeUpdate = now;
      this.send('timeupdate');
    }
    if (!this.isPaused) this.invalidate();
  }

  startClock() {
    this.clock.run(true);
    this.startSound();
    this.send('playing');
  }

  stopClock() {
    this.clock.run(false);
    this.sound?.stop();
  }

  reachEnd() {
    if (this.loop) {
      this.seek(0);
      return;
    }
    this.stopClock();
    this.clock.time = this.duration;
    this.isEnded = true;
    this.pause();
    this.send('ended');
  }

  /**
   * @param {number} gop that is shown
   * @param {number} nGops
   * @returns {number[]} the most urgent first
   */
  neededFrom(gop, nGops) {
    const others = this.isPaused ? [gop + 1, gop - 1] : [gop + 1, gop + 2, gop + 3];
    const inFile = others.map((other) => (this.loop && !this.isPaused ? other % nGops : other));
    return [...new Set([gop, ...inFile.filter((other) => other >= 0 && other < nGops)])];
  }

  /** @param {boolean} waiting */
  setWaiting(waiting) {
    if (waiting === this.isWaiting) return;
    this.isWaiting = waiting;
    this.send(waiting ? 'waiting' : 'canplay');
  }

  /**
   * @param {LoadedGop} loaded
   * @param {Position} position
   */
  async draw(loaded, { gop, k, share }) {
    const { renderer, description, client } = this;
    if (this.isDrawing || !renderer || !description || document.hidden) return;
    // Slower than the frames come, what lies between them is shown.
    const time = this.playbackRate < 1 ? k + share : k;
    const frame = this.viewport.frameOf(description, !this.isPaused);
    if (!frame) return;
    const drawn = JSON.stringify([gop, time, frame, this.viewKind]);
    if (drawn === this.drawn) {
      this.finishSeek();
      return;
    }
    this.isDrawing = true;
    const began = performance.now();
    try {
      const view = { kind: this.viewKind, ...frame.view };
      await renderer.draw({ gop: loaded.gop, time, size: frame.size, view });
    } catch (error) {
      this.isDrawing = false;
      this.isRendererLost = true;
      if (client === this.client) this.fail(asFailure(error));
      return;
    }
    this.isDrawing = false;
    if (client !== this.client) {
      this.invalidate();
      return;
    }
    const isLarger = 0.8 * frame.size.height > description.height;
    this.viewport.measure((performance.now() - began) / 1000, !this.isPaused, isLarger);
    const isFirst = !this.shown;
    this.shown = { gop, k, share: time - k };
    this.drawn = drawn;
    if (isFirst) this.send('loadeddata');
    this.finishSeek();
    this.send('framechange');
    this.invalidate();
  }

  finishSeek() {
    if (!this.isSeeking) return;
    const { gop, k } = this.positionAt(this.currentTime);
    if (this.shown?.gop !== gop || this.shown.k !== k) return;
    this.isSeeking = false;
    this.send('seeked');
    this.send('timeupdate');
  }
}

/** @param {RendererName} [prefer] */
async function makeRenderer(prefer) {
  const canvas = document.createElement('canvas');
  canvas.setAttribute('part', 'canvas');
  return { canvas, renderer: await createRenderer(canvas, { prefer }) };
}

/**
 * @param {unknown} error
 * @returns {Failure}
 */
function asFailure(error) {
  if (error && typeof error === 'object' && 'kind' in error) return /** @type {Failure} */ (error);
  const { name = '', message = String(error) } = /** @type {Partial<Error>} */ (error);
  return { kind: name === 'BudgetError' ? 'budget' : name === 'StgvError' ? 'damaged' : 'bug', message };
}
