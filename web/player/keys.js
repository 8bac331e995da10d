/** @typedef {import('./element.js').StgvPlayer} StgvPlayer */

/** Speeds that are offered. */
export const RATES = [0.125, 0.25, 0.5, 1, 2, 4, 8];

/**
 * What keys do.
 *
 * @typedef {object} Binding
 * @property {string[]} keys as KeyboardEvent.key has them
 * @property {string} shown the keys, for people
 * @property {string} what
 * @property {(player: StgvPlayer, key: string) => void} act
 */

/**
 * @param {StgvPlayer} player
 * @param {number} steps
 */
function changeRate(player, steps) {
  const at = RATES.findIndex((rate) => rate >= player.playbackRate);
  player.playbackRate = RATES[Math.min(RATES.length - 1, Math.max(0, at + steps))];
}

/** @type {readonly Binding[]} */
export const BINDINGS = [
  { keys: [' ', 'k'], shown: 'Space, K', what: 'play, pause', act: (player) => player.toggle() },
  {
    keys: [',', '.'],
    shown: ', .',
    what: 'one frame back, on',
    act: (player, key) => player.step(key === '.' ? 1 : -1),
  },
  {
    keys: ['ArrowLeft', 'ArrowRight'],
    shown: '← →',
    what: '5 seconds back, on',
    act: (player, key) => {
      player.currentTime += key === 'ArrowRight' ? 5 : -5;
    },
  },
  {
    keys: ['Home', 'End'],
    shown: 'Home, End',
    what: 'to the beginning, to the end',
    act: (player, key) => {
      player.pause();
      player.currentTime = key === 'Home' ? 0 : player.duration;
    },
  },
  {
    keys: ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9'],
    shown: '0 to 9',
    what: 'to so many tenths of the video',
    act: (player, key) => {
      player.currentTime = (Number(key) / 10) * player.duration;
    },
  },
  {
    keys: ['<', '>'],
    shown: '< >',
    what: 'slower, faster',
    act: (player, key) => changeRate(player, key === '>' ? 1 : -1),
  },
  { keys: ['l'], shown: 'L', what: 'begin anew at the end', act: (player) => player.toggleAttribute('loop') },
  {
    keys: ['m'],
    shown: 'M',
    what: 'sound off, on',
    act: (player) => {
      player.muted = !player.muted;
    },
  },
  { keys: ['v'], shown: 'V', what: 'next view', act: (player) => player.nextView() },
  {
    keys: ['+', '=', '-', 'z'],
    shown: '+ − Z',
    what: 'closer, farther, whole picture',
    act: (player, key) => player.zoomBy(key === 'z' ? 0 : key === '-' ? 1 / 1.25 : 1.25),
  },
  { keys: ['s'], shown: 'S', what: 'save the picture', act: (player) => player.savePicture() },
  { keys: ['f'], shown: 'F', what: 'full screen', act: (player) => player.toggleFullscreen() },
  { keys: ['i'], shown: 'I', what: 'about this file', act: (player) => player.togglePanel('info') },
  { keys: ['?'], shown: '?', what: 'these keys', act: (player) => player.togglePanel('help') },
];

/**
 * @param {StgvPlayer} player
 * @param {KeyboardEvent} event
 */
export function handleKey(player, event) {
  if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
  const target = /** @type {HTMLElement} */ (event.composedPath()[0]);
  // Lists of choices and buttons have keys of their own.
  if (target.localName === 'select') return;
  if (target.localName === 'button' && (event.key === ' ' || event.key === 'Enter')) return;
  if (event.key === 'Escape' && player.closePanels()) {
    event.preventDefault();
    return;
  }
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const binding = BINDINGS.find(({ keys }) => keys.includes(key));
  if (!binding) return;
  event.preventDefault();
  binding.act(player, key);
}
