/** Pictures of the buttons, as paths in a square of 24: filled, or drawn with a pen where they begin with "pen ". */
const PATHS = Object.freeze({
  play: 'M7 4v16l13-8z',
  pause: 'M6 4h4v16H6zM14 4h4v16h-4z',
  replay: 'pen M5 12a7 7 0 1 0 2.2-5.1M5 3v5h5',
  back: 'M17 5v14l-9-7zM5 5h2v14H5z',
  on: 'M7 5v14l9-7zM17 5h2v14h-2z',
  loop: 'pen M4 11V9a3 3 0 0 1 3-3h12M16 3l3 3-3 3M20 13v2a3 3 0 0 1-3 3H5M8 21l-3-3 3-3',
  sound: 'pen M4 9v6h4l5 4V5L8 9zM16.5 9a4 4 0 0 1 0 6M19 6a8.5 8.5 0 0 1 0 12',
  silence: 'pen M4 9v6h4l5 4V5L8 9zM17 9.5l5 5M22 9.5l-5 5',
  info: 'pen M12 11v6M12 7v.5M12 3a9 9 0 1 0 .01 0',
  help: 'pen M9.3 9.5a2.8 2.8 0 1 1 4 2.5c-.9.4-1.3 1-1.3 2M12 16.8v.4M12 3a9 9 0 1 0 .01 0',
  whole: 'pen M4 9V4h5M15 4h5v5M20 15v5h-5M9 20H4v-5',
  close: 'pen M6 6l12 12M18 6L6 18',
  save: 'pen M12 4v11M7.5 11l4.5 4.5 4.5-4.5M5 20h14',
});

/** @typedef {keyof typeof PATHS} IconName */

/**
 * @param {IconName} name
 * @returns {string} SVG
 */
export function icon(name) {
  const path = PATHS[name];
  const isPen = path.startsWith('pen ');
  return `<svg viewBox="0 0 24 24" aria-hidden="true" class="${isPen ? 'pen' : 'fill'}"><path d="${path.replace('pen ', '')}"/></svg>`;
}
