import { icon } from './icons.js';
import { BINDINGS, RATES } from './keys.js';
import { VIEWS } from './player.js';
import { clockText, damageText, rateName, size, VIEW_NAMES, wordsOf } from './words.js';

/** @typedef {import('./element.js').StgvPlayer} StgvPlayer */
/** @typedef {import('./player.js').Player} Player */
/** @typedef {import('./icons.js').IconName} IconName */

/** More marks than this would be a grey bar. */
const MAX_MARKS = 200;

/**
 * @param {string} id
 * @param {IconName} name
 * @param {string} label
 * @returns {string} HTML of a button
 */
const button = (id, name, label) =>
  `<button type="button" id="${id}" aria-label="${label}" title="${label}">${icon(name)}</button>`;

const option = (/** @type {string | number} */ value, /** @type {string} */ text) =>
  `<option value="${value}">${text}</option>`;

/** What is in the shadow of the element. */
export const TEMPLATE = `
  <link rel="stylesheet" href="${new URL('./player.css', import.meta.url).href}">
  <div id="player" part="player" role="region" aria-label="Video player" tabindex="0" hidden>
    <div id="stage" part="stage" role="img" aria-label="Picture"></div>
    <div id="spinner" role="status" hidden><span></span>Loading</div>
    <div id="error" role="alert" hidden><h2></h2><p></p><div class="actions"></div></div>
    <section id="info" class="panel" aria-label="About this file" hidden>
      ${button('close-info', 'close', 'Close')}<h2>About this file</h2><dl></dl>
    </section>
    <section id="help" class="panel" aria-label="Keys" hidden>
      ${button('close-help', 'close', 'Close')}<h2>Keys</h2>
      <dl>${BINDINGS.map(({ shown, what }) => `<dt>${shown.replace('<', '&lt;')}</dt><dd>${what}</dd>`).join('')}</dl>
      <p>The wheel, two fingers or a double click go closer: the picture is rendered anew at each size.</p>
    </section>
    <div id="controls" part="controls">
      <div id="seek"><canvas aria-hidden="true"></canvas>
        <input id="position" type="range" min="0" max="1" step="any" value="0" aria-label="Position"></div>
      <div class="row">
        ${button('play', 'play', 'Play')}
        ${button('back', 'back', 'One frame back')}${button('on', 'on', 'One frame on')}
        <span id="time"><span id="now">0:00</span> / <span id="end">0:00</span></span>
        <span id="frame"></span>
        <span class="space"></span>
        <span id="sound-controls" hidden>${button('mute', 'sound', 'Sound off')}
          <input id="volume" type="range" min="0" max="1" step="0.05" value="1" aria-label="Volume"></span>
        <select id="view" aria-label="View">${VIEWS.map((view) => option(view, VIEW_NAMES[view])).join('')}</select>
        <select id="rate" aria-label="Speed">${RATES.map((rate) => option(rate, rateName(rate))).join('')}</select>
        ${button('loop', 'loop', 'Begin anew at the end')}
        ${button('save', 'save', 'Save the picture')}
        ${button('about', 'info', 'About this file')}
        ${button('keys', 'help', 'Keys')}
        ${button('full', 'whole', 'Full screen')}
      </div>
      <p id="status"></p>
    </div>
  </div>`;

/** The controls in the shadow of an element, which follow its player. */
export class Controls {
  /**
   * @param {StgvPlayer} element
   * @param {ShadowRoot} root
   * @param {Player} player
   */
  constructor(element, root, player) {
    this.element = element;
    this.root = root;
    this.player = player;
    this.isScrubbing = false;
    this.bind();
    const updates = /** @type {const} */ ([
      ['loadstart', () => this.reset()],
      ['loadedmetadata', () => this.showFile()],
      ['rendererchange', () => this.showStatus()],
      ['soundchange', () => this.showSound()],
      ['volumechange', () => this.showSound()],
      ['play', () => this.showPlay()],
      ['pause', () => this.showPlay()],
      ['ended', () => this.showPlay()],
      ['seeking', () => this.showPlay()],
      ['timeupdate', () => this.showTime()],
      ['framechange', () => this.showTime()],
      ['ratechange', () => this.showRate()],
      ['viewchange', () => this.showView()],
      ['waiting', () => this.showWaiting(true)],
      ['canplay', () => this.showWaiting(false)],
      ['loadeddata', () => this.showWaiting(false)],
      ['error', () => this.showError()],
      ['errorcleared', () => this.showError()],
    ]);
    for (const [type, update] of updates) player.addEventListener(type, update);
    this.observer = new ResizeObserver(() => this.drawMarks());
    this.observer.observe(this.get('seek'));
    this.dark = matchMedia('(prefers-color-scheme: dark)');
    this.dark.addEventListener('change', () => this.drawMarks());
  }

  /**
   * @param {string} id
   * @returns {HTMLElement}
   */
  get(id) {
    return /** @type {HTMLElement} */ (this.root.getElementById(id));
  }

  /** @param {string} id @returns {HTMLInputElement} */
  input(id) {
    return /** @type {HTMLInputElement} */ (this.get(id));
  }

  bind() {
    const { element } = this;
    const actions = /** @type {const} */ ([
      ['play', () => element.toggle()],
      ['back', () => element.step(-1)],
      ['on', () => element.step(1)],
      ['mute', () => (element.muted = !element.muted)],
      ['loop', () => element.toggleAttribute('loop')],
      ['save', () => element.savePicture()],
      ['about', () => element.togglePanel('info')],
      ['keys', () => element.togglePanel('help')],
      ['close-info', () => element.closePanels()],
      ['close-help', () => element.closePanels()],
      ['full', () => element.toggleFullscreen()],
    ]);
    for (const [id, act] of actions) this.get(id).addEventListener('click', act);
    const position = this.input('position');
    position.addEventListener('input', () => {
      element.currentTime = Number(position.value);
    });
    this.input('rate').addEventListener('change', ({ target }) => {
      element.playbackRate = Number(/** @type {HTMLSelectElement} */ (target).value);
    });
    this.input('view').addEventListener('change', ({ target }) => {
      const { value } = /** @type {HTMLSelectElement} */ (target);
      element.view = /** @type {import('../render/view.js').ViewKind} */ (value);
    });
    this.input('volume').addEventListener('input', ({ target }) => {
      element.volume = Number(/** @type {HTMLInputElement} */ (target).value);
      element.muted = false;
    });
    // Telephones of some makers show no element on a full screen.
    this.get('full').hidden = !document.fullscreenEnabled;
    this.showLoop();
    this.showRate();
  }

  reset() {
    this.showError();
    this.showWaiting(true);
    this.get('sound-controls').hidden = true;
    this.get('frame').textContent = '';
    this.get('stage').style.removeProperty('aspect-ratio');
    this.showPlay();
    this.showStatus();
  }

  showFile() {
    const description = this.player.description;
    if (!description) return;
    const { width, height, pixelAspect, duration } = description;
    this.get('stage').style.aspectRatio = `${width * pixelAspect} / ${height}`;
    this.input('position').max = String(duration);
    this.get('end').textContent = clockText(duration, duration);
    this.showTime();
    this.showStatus();
    this.drawMarks();
  }

  showPlay() {
    const { paused, ended } = this.player;
    if (ended) this.setButton('play', 'replay', 'Play again');
    else if (paused) this.setButton('play', 'play', 'Play');
    else this.setButton('play', 'pause', 'Pause');
    this.showTime();
    this.showStatus();
  }

  /**
   * @param {string} id
   * @param {IconName} name
   * @param {string} label
   */
  setButton(id, name, label) {
    const element = this.get(id);
    if (element.title === label) return;
    element.innerHTML = icon(name);
    element.title = label;
    element.setAttribute('aria-label', label);
  }

  showTime() {
    const { description, shown, currentTime } = this.player;
    if (!description) return;
    const position = this.input('position');
    position.value = String(currentTime);
    this.get('now').textContent = clockText(currentTime, description.duration);
    const frame = shown ? description.firstFrames[shown.gop] + shown.k : null;
    const between = shown?.share ? '+' : '';
    this.get('frame').textContent = frame === null ? '' : `frame ${frame}${between}`;
    const place = `${clockText(currentTime, description.duration)} of ${clockText(description.duration, description.duration)}`;
    position.setAttribute(
      'aria-valuetext',
      frame === null ? place : `${place}, frame ${frame} of ${description.nFrames}`,
    );
    if (!this.get('info').hidden) this.showInfo();
  }

  showRate() {
    const { playbackRate } = this.player;
    const select = this.input('rate');
    if (!RATES.includes(playbackRate) && select.value !== String(playbackRate)) {
      select.insertAdjacentHTML('beforeend', option(playbackRate, `${playbackRate}×`));
    }
    select.value = String(playbackRate);
  }

  showLoop() {
    this.get('loop').setAttribute('aria-pressed', String(this.element.loop));
  }

  showView() {
    this.input('view').value = this.player.viewKind;
    this.get('stage').classList.toggle('zoomed', this.player.zoom.factor > 1);
    this.showStatus();
  }

  showSound() {
    const { sound, muted, volume } = this.player;
    this.get('sound-controls').hidden = !sound;
    this.setButton('mute', muted ? 'silence' : 'sound', muted ? 'Sound on' : 'Sound off');
    this.input('volume').value = String(muted ? 0 : volume);
    this.showStatus();
  }

  /** Says which renderer draws, and what is not as one might expect. */
  showStatus() {
    const { renderer, description, sound, soundProblem, zoom, paused, muted } = this.player;
    const parts = [];
    // Why no better one draws takes more room than a small element has. It is also among what is told of the file.
    if (renderer) parts.push(renderer.name);
    this.get('status').title = renderer?.why ?? '';
    if (zoom.factor > 1) parts.push(`${zoom.factor.toFixed(1)} times as large`);
    if (sound && !sound.isRunning && !paused && !muted) parts.push('the browser plays sound after a click here');
    if (soundProblem) parts.push(soundProblem);
    if (description?.damage) parts.push(damageText(description.damage));
    this.get('status').textContent = parts.join(' · ');
  }

  /** @param {boolean} waiting */
  showWaiting(waiting) {
    this.get('spinner').hidden = !waiting || !!this.player.error;
  }

  showError() {
    const { error } = this.player;
    const box = this.get('error');
    box.hidden = !error;
    if (!error) return;
    this.showWaiting(false);
    const isOpen = !!this.player.description;
    const [title, text] = wordsOf(error, isOpen);
    /** @type {HTMLElement} */ (box.querySelector('h2')).textContent = title;
    /** @type {HTMLElement} */ (box.querySelector('p')).textContent = text;
    const actions = /** @type {HTMLElement} */ (box.querySelector('.actions'));
    actions.replaceChildren();
    const offer = (/** @type {string} */ label, /** @type {() => void} */ act) => {
      const choice = document.createElement('button');
      choice.type = 'button';
      choice.textContent = label;
      choice.addEventListener('click', act);
      actions.append(choice);
    };
    if (error.kind === 'damaged' && !this.player.description?.damage) {
      offer('Play what is intact', () => this.element.recover());
    }
    if (isOpen && error.kind !== 'bug') offer('Skip this part', () => this.player.skip());
    if (error.kind === 'source' || error.kind === 'bug') offer('Try again', () => this.player.retry());
  }

  showInfo() {
    const { description, renderer, shown, sound, soundProblem, tracks, viewport } = this.player;
    const list = /** @type {HTMLElement} */ (this.get('info').querySelector('dl'));
    /** @type {[string, string][]} */
    const rows = [];
    if (description) {
      const { width, height, frameRate, nFrames, gopStarts, bytes, duration, profile, tool } = description;
      if (tracks?.title) rows.push(['Title', tracks.title]);
      rows.push(['Picture', `${width} × ${height} pixels, ${Number(frameRate.toFixed(3))} frames a second`]);
      rows.push(['Length', `${nFrames} frames in ${gopStarts.length} GoPs, ${clockText(duration, duration)}`]);
      const rate = (8 * description.gopBytes.reduce((sum, n) => sum + n, 0)) / (nFrames * width * height);
      rows.push(['File', `${size(bytes)}, ${rate.toFixed(3)} bits a pixel`]);
      rows.push(['Made by', `${tool || 'unknown'}, profile ${profile}`]);
      for (const { kind, codec, sampleRate, nChannels, metadata } of tracks?.tracks ?? []) {
        const language = metadata.find(([key]) => key === 'language')?.[1];
        const facts = [codec, sampleRate && `${sampleRate} Hz`, nChannels && `${nChannels} channels`, language];
        rows.push([kind === 'audio' ? 'Sound' : 'Subtitles', facts.filter(Boolean).join(', ')]);
      }
      if (sound && !sound.isRunning) rows.push(['No sound yet', 'the browser holds it back until you press play']);
      if (soundProblem) rows.push(['No sound', soundProblem]);
      if (description.damage) rows.push(['Damage', damageText(description.damage)]);
      if (shown) {
        const { gop, k } = shown;
        const shown_ = `GoP ${gop}: ${size(description.gopBytes[gop])}, ${description.nGaussians[gop]} Gaussians`;
        rows.push(['Shown', `${shown_}, frame ${k} of ${description.frameCounts[gop]}`]);
      }
    }
    if (renderer) {
      rows.push(['Drawn by', renderer.name + (renderer.why ? `; no better one: ${renderer.why}` : '')]);
      const ms = 1000 * viewport.drawSeconds;
      if (ms) rows.push(['A picture takes', `${ms.toFixed(1)} ms`]);
    }
    list.replaceChildren(
      ...rows.flatMap(([name, value]) => {
        const [term, text] = [document.createElement('dt'), document.createElement('dd')];
        term.textContent = name;
        text.textContent = value;
        return [term, text];
      }),
    );
  }

  /** Draws where GoPs begin, under the bar of the position. */
  drawMarks() {
    const canvas = /** @type {HTMLCanvasElement} */ (this.get('seek').querySelector('canvas'));
    const { clientWidth, clientHeight } = canvas;
    canvas.width = Math.round(clientWidth * devicePixelRatio);
    canvas.height = Math.round(clientHeight * devicePixelRatio);
    const context = canvas.getContext('2d');
    const { description } = this.player;
    if (!context || !description || description.gopStarts.length > MAX_MARKS) return;
    context.fillStyle = getComputedStyle(canvas).color;
    for (const start of description.gopStarts) {
      const x = Math.round((start / description.duration) * (canvas.width - devicePixelRatio));
      context.fillRect(x, 0, Math.ceil(devicePixelRatio), canvas.height);
    }
  }
}
