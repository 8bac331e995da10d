/** What the controls say. */

/** @typedef {import('./client.js').Failure} Failure */

/** @type {Record<import('../render/view.js').ViewKind, string>} */
export const VIEW_NAMES = {
  picture: 'Picture',
  ellipses: 'Gaussians as ellipses',
  motion: 'Motion',
  bits: 'Map of bits',
  frozen: 'Frozen field',
};

/** @param {number} rate @returns {string} such as 1/4× */
export const rateName = (rate) => `${rate < 1 ? `1/${1 / rate}` : rate}×`;

/**
 * @param {number} seconds
 * @param {number} duration of the video; the times of a short one have tenths
 * @returns {string} such as 0:07.4, 1:07 or 1:02:03
 */
export function clockText(seconds, duration) {
  const tenths = Math.floor(seconds * 10 + 1e-6);
  const whole = Math.floor(tenths / 10);
  const parts = [Math.floor(whole / 60) % 60, whole % 60].map((part) => String(part).padStart(2, '0'));
  const hours = Math.floor(whole / 3600);
  const text = hours ? `${hours}:${parts.join(':')}` : parts.join(':').replace(/^0/, '');
  return duration < 60 ? `${text}.${tenths % 10}` : text;
}

/**
 * @param {number} bytes
 * @returns {string} such as 34.2 kB
 */
export function size(bytes) {
  const power = Math.min(3, Math.max(0, Math.floor(Math.log10(Math.max(1, bytes)) / 3)));
  return `${(bytes / 1000 ** power).toFixed(power ? 1 : 0)} ${['bytes', 'kB', 'MB', 'GB'][power]}`;
}

/**
 * @param {NonNullable<import('./client.js').Description['damage']>} damage
 * @returns {string}
 */
export function damageText({ lostBytes, passedOver, searchEnded }) {
  const parts = [`${size(lostBytes)} of the file are damaged and left out`];
  if (passedOver.length) parts.push(`of intact chunks, ${passedOver.length} cannot be used`);
  if (searchEnded) parts.push('the search for more has ended early');
  return parts.join(', ');
}

/**
 * @param {Failure} failure
 * @param {boolean} isOpen whether the file could be opened
 * @returns {[title: string, text: string]}
 */
export function wordsOf({ kind, message }, isOpen) {
  switch (kind) {
    case 'damaged':
      if (message.startsWith('magic')) return ['This is no .stgv file', message];
      return [isOpen ? 'This part of the file is damaged' : 'The file is damaged', message];
    case 'budget':
      return ['This file asks for too much', `It may be intact, but the player stops here: ${message}`];
    case 'source':
      return ['The file cannot be read', message];
    case 'bug':
      return ['The player has failed', message];
  }
}
