/**
 * The page of the player: which file it plays, and how another one is chosen. That is, in this order, a file that is
 * dropped or opened, the address in `?src=` (given more than once, the page lists them), or the list files.json beside
 * the page, which `stgvcodec serve` makes.
 */
import './element.js';
import { size } from './words.js';

/** @typedef {import('./element.js').StgvPlayer} StgvPlayer */
/** @typedef {{ name: string, src: string, bytes?: number | null }} Listed */

const get = (/** @type {string} */ id) => /** @type {HTMLElement} */ (document.getElementById(id));
const player = /** @type {StgvPlayer} */ (get('player'));
const heading = /** @type {HTMLElement} */ (document.querySelector('h1'));
/** @type {Listed[]} */
let files = [];

/** @param {string} src @returns {string} */
function nameOf(src) {
  const last = new URL(src, document.baseURI).pathname.split('/').at(-1) ?? '';
  try {
    return decodeURIComponent(last);
  } catch {
    return last;
  }
}

/** @param {string} name */
function announce(name) {
  heading.textContent = name;
  document.title = `${name} – stgv player`;
  get('welcome').hidden = true;
  player.hidden = false;
  for (const link of get('files').querySelectorAll('a')) link.removeAttribute('aria-current');
}

/** @param {Listed} file */
function playListed({ name, src }) {
  announce(name);
  player.src = src;
  const link = [...get('files').querySelectorAll('a')].find((other) => other.dataset.src === src);
  link?.setAttribute('aria-current', 'true');
}

/** @param {File | null | undefined} file */
function playFile(file) {
  if (!file) return;
  announce(file.name);
  player.srcObject = file;
  focusPlayer();
}

/** The keys and the wheel are the player's. */
function focusPlayer() {
  player.shadowRoot?.getElementById('player')?.focus({ preventScroll: true });
}

/** @returns {Promise<Listed[]>} */
async function listedFiles() {
  const asked = new URLSearchParams(location.search).getAll('src');
  if (asked.length) return asked.map((src) => ({ name: nameOf(src), src }));
  try {
    const response = await fetch('files.json');
    return response.ok ? (await response.json()).files : [];
  } catch {
    // A server without a list.
    return [];
  }
}

function showList() {
  const list = /** @type {HTMLElement} */ (get('files').querySelector('ul'));
  for (const file of files) {
    const item = document.createElement('li');
    const link = document.createElement('a');
    const [name, bytes] = [document.createElement('span'), document.createElement('span')];
    link.href = `?src=${encodeURIComponent(file.src)}`;
    link.dataset.src = file.src;
    name.textContent = file.name;
    bytes.textContent = file.bytes ? size(file.bytes) : '';
    link.append(name, bytes);
    link.addEventListener('click', (event) => {
      if (event.ctrlKey || event.metaKey || event.shiftKey) return;
      event.preventDefault();
      playListed(file);
      focusPlayer();
    });
    item.append(link);
    list.append(item);
  }
  get('files').hidden = files.length < 2;
}

get('pick').addEventListener('change', ({ target }) => playFile(/** @type {HTMLInputElement} */ (target).files?.[0]));
document.addEventListener('dragover', (event) => {
  if (!event.dataTransfer?.types.includes('Files')) return;
  event.preventDefault();
  document.body.classList.add('dropping');
});
document.addEventListener('dragleave', ({ relatedTarget }) => {
  if (!relatedTarget) document.body.classList.remove('dropping');
});
document.addEventListener('drop', (event) => {
  document.body.classList.remove('dropping');
  if (!event.dataTransfer?.files.length) return;
  event.preventDefault();
  playFile(event.dataTransfer.files[0]);
});

const renderer = new URLSearchParams(location.search).get('renderer');
if (renderer) player.setAttribute('renderer', renderer);
files = await listedFiles();
showList();
if (files.length) {
  playListed(files[0]);
  // Once its style is there, it can have the focus.
  player.addEventListener('loadedmetadata', focusPlayer, { once: true });
} else {
  player.hidden = true;
  get('welcome').hidden = false;
}
