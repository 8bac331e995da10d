/**
 * The element <stgv-player>, for any page:
 *
 *     <script type="module" src="player/element.js"></script>
 *     <stgv-player src="film.stgv" controls></stgv-player>
 */
import { Controls, TEMPLATE } from './controls.js';
import { listenToGestures, zoomAround } from './gestures.js';
import { handleKey } from './keys.js';
import { Player, VIEWS } from './player.js';

/** Events of the player that the element sends, too. They are those of a media element, `framechange` apart. */
const EVENTS = [
  ...['loadstart', 'loadedmetadata', 'durationchange', 'loadeddata', 'canplay', 'play', 'playing', 'pause', 'waiting'],
  ...['seeking', 'seeked', 'timeupdate', 'ended', 'ratechange', 'volumechange', 'error', 'framechange'],
];

const IDLE_MS = 2500;

/**
 * It has these attributes of a media element: src, autoplay, loop, muted, controls; and renderer, the best one that is
 * tried: WebGPU, WebGL2 or CPU.
 */
export class StgvPlayer extends HTMLElement {
  static observedAttributes = ['src', 'loop', 'muted', 'renderer'];

  constructor() {
    super();
    const root = this.attachShadow({ mode: 'open' });
    root.innerHTML = TEMPLATE;
    this.stage = /** @type {HTMLElement} */ (root.getElementById('stage'));
    this.player = new Player(this.stage);
    this.controlElements = new Controls(this, root, this.player);
    const player = /** @type {HTMLElement} */ (root.getElementById('player'));
    const style = /** @type {HTMLLinkElement} */ (root.querySelector('link'));
    // Nothing is shown before its style is there.
    style.addEventListener('load', () => (player.hidden = false));
    style.addEventListener('error', () => (player.hidden = false));
    player.addEventListener('keydown', (event) => this.controls && handleKey(this, event));
    for (const type of ['pointerdown', 'keydown']) player.addEventListener(type, () => this.player.wakeSound());
    for (const type of ['pointermove', 'pointerdown', 'keydown', 'focusin']) {
      player.addEventListener(type, () => this.showControls());
    }
    for (const type of EVENTS) this.player.addEventListener(type, () => this.dispatchEvent(new Event(type)));
    listenToGestures(this.player, {
      onTap: () => this.controls && this.toggle(),
      takesWheel: () => this.controls && (this.matches(':focus-within') || this.isFullscreen),
    });
    /** @type {Blob | null} */
    this.blob = null;
    this.idleTimer = 0;
  }

  /** Shows the controls, which on a full screen go away where nothing moves while it plays. */
  showControls() {
    const player = this.controlElements.get('player');
    player.classList.remove('idle');
    clearTimeout(this.idleTimer);
    this.idleTimer = window.setTimeout(() => player.classList.toggle('idle', !this.paused), IDLE_MS);
  }

  connectedCallback() {
    if (this.source !== undefined && !this.player.client) this.load();
  }

  disconnectedCallback() {
    // An element that is moved to another place in the page goes on there.
    queueMicrotask(() => {
      if (this.isConnected) return;
      this.pause();
      this.player.unload();
      this.player.releaseRenderer();
    });
  }

  /**
   * @param {string} name
   * @param {string | null} before
   * @param {string | null} now
   */
  attributeChangedCallback(name, before, now) {
    if (name === 'src') {
      this.blob = null;
      if (!this.isConnected) return;
      if (now === null) this.player.unload();
      else this.load();
    } else if (name === 'loop') {
      this.player.loop = now !== null;
      this.controlElements.showLoop();
    } else if (name === 'renderer') {
      // What draws already goes on to do so.
      this.player.prefer = /** @type {import('./player.js').RendererName | undefined} */ (now ?? undefined);
    } else if (name === 'muted' && before === null) this.player.muted = true;
  }

  /** @returns {string | Blob | undefined} what is played */
  get source() {
    return this.blob ?? this.getAttribute('src') ?? undefined;
  }

  /** Loads the file anew. */
  load() {
    this.open(false);
  }

  /** Plays what is intact of a damaged file. */
  recover() {
    this.open(true);
  }

  /** @param {boolean} recover */
  async open(recover) {
    const { source } = this;
    if (source === undefined) return;
    await this.player.load(source, { recover });
    if (this.autoplay && source === this.source && this.player.description) this.play();
  }

  // What a media element has.

  /** An address relative to the page. */
  get src() {
    return this.getAttribute('src') ?? '';
  }

  set src(src) {
    this.setAttribute('src', src);
  }

  /** A file, in place of an address. @returns {Blob | null} */
  get srcObject() {
    return this.blob;
  }

  set srcObject(blob) {
    this.removeAttribute('src');
    this.blob = blob;
    if (blob) this.load();
    else this.player.unload();
  }

  get autoplay() {
    return this.hasAttribute('autoplay');
  }

  set autoplay(autoplay) {
    this.toggleAttribute('autoplay', autoplay);
  }

  get controls() {
    return this.hasAttribute('controls');
  }

  set controls(controls) {
    this.toggleAttribute('controls', controls);
  }

  get loop() {
    return this.hasAttribute('loop');
  }

  set loop(loop) {
    this.toggleAttribute('loop', loop);
  }

  get muted() {
    return this.player.muted;
  }

  set muted(muted) {
    this.player.muted = muted;
  }

  get volume() {
    return this.player.volume;
  }

  set volume(volume) {
    this.player.volume = volume;
  }

  /** Seconds from the first frame on. */
  get currentTime() {
    return this.player.currentTime;
  }

  set currentTime(seconds) {
    this.player.seek(seconds);
  }

  /** Seconds; NaN before it is known. */
  get duration() {
    return this.player.duration;
  }

  get playbackRate() {
    return this.player.playbackRate;
  }

  set playbackRate(rate) {
    this.player.playbackRate = rate;
  }

  get paused() {
    return this.player.paused;
  }

  get ended() {
    return this.player.ended;
  }

  get seeking() {
    return this.player.isSeeking;
  }

  /** Pixels of a picture. */
  get videoWidth() {
    return this.player.description?.width ?? 0;
  }

  get videoHeight() {
    return this.player.description?.height ?? 0;
  }

  /** Why nothing is played: { kind: 'damaged' | 'budget' | 'source' | 'bug', message }; null where all is well. */
  get error() {
    return this.player.error;
  }

  play() {
    this.player.play();
  }

  pause() {
    this.player.pause();
  }

  // What it has besides.

  /** Number of the frame that is shown; -1 before the first one. */
  get currentFrame() {
    const { description, shown } = this.player;
    return description && shown ? description.firstFrames[shown.gop] + shown.k : -1;
  }

  /** What draws, 'WebGPU', 'WebGL2' or 'CPU'; empty before that is known. */
  get rendererName() {
    return this.player.renderer?.name ?? '';
  }

  /** What is shown: 'picture', 'ellipses', 'motion', 'bits' or 'frozen'. */
  get view() {
    return this.player.viewKind;
  }

  set view(view) {
    if (!VIEWS.includes(view)) throw new RangeError(`view ${view}, expected one of ${VIEWS.join(', ')}`);
    this.player.setView(view);
  }

  /**
   * Shows the frame that is `n` frames on, or back if negative, and pauses.
   *
   * @param {number} n
   */
  step(n) {
    this.player.step(n);
  }

  toggle() {
    if (this.paused) this.play();
    else this.pause();
  }

  nextView() {
    this.view = VIEWS[(VIEWS.indexOf(this.view) + 1) % VIEWS.length];
  }

  /** @param {number} factor 0 for the whole picture */
  zoomBy(factor) {
    zoomAround(this.player, factor, { x: 0, y: 0 });
  }

  /** @returns {Promise<ImageData>} what is shown, as it is shown */
  snapshot() {
    return this.player.snapshot();
  }

  /** Offers what is shown as a PNG file. */
  async savePicture() {
    if (!this.player.shown) return;
    const picture = await this.snapshot();
    const canvas = new OffscreenCanvas(picture.width, picture.height);
    canvas.getContext('2d')?.putImageData(picture, 0, 0);
    const address = URL.createObjectURL(await canvas.convertToBlob());
    const link = document.createElement('a');
    link.href = address;
    link.download = `frame_${String(this.currentFrame).padStart(6, '0')}.png`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(address), 10_000);
  }

  get isFullscreen() {
    return document.fullscreenElement === this;
  }

  toggleFullscreen() {
    // It may be refused, as in a frame that does not allow it; then nothing changes.
    if (this.isFullscreen) document.exitFullscreen();
    else this.requestFullscreen?.().catch(() => {});
  }

  /** @param {'info' | 'help'} id */
  togglePanel(id) {
    const panel = this.controlElements.get(id);
    const opens = panel.hidden;
    this.closePanels();
    panel.hidden = !opens;
    if (opens && id === 'info') this.controlElements.showInfo();
    if (opens) this.controlElements.get(`close-${id}`).focus();
  }

  /** @returns {boolean} whether one was open */
  closePanels() {
    const open = ['info', 'help'].map((id) => this.controlElements.get(id)).filter((panel) => !panel.hidden);
    for (const panel of open) panel.hidden = true;
    if (open.length) this.controlElements.get('player').focus();
    return open.length > 0;
  }
}

customElements.define('stgv-player', StgvPlayer);
