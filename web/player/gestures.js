/** @typedef {import('./player.js').Player} Player */

/** Two taps within this time, milliseconds, are a double tap. */
const DOUBLE_TAP_MS = 300;
/** A pointer that moves less, CSS pixels, has tapped. */
const TAP_PX = 8;

/**
 * Zooms so that the point under the pointer stays there.
 *
 * @param {Player} player
 * @param {number} by
 * @param {{ x: number, y: number }} at from the middle of the stage, CSS pixels
 */
export function zoomAround(player, by, at) {
  const { description, stage, zoom } = player;
  if (!description) return;
  const before = player.viewport.shareOfPixel(description);
  const factor = zoom.factor * by;
  player.setZoom({ ...zoom, factor });
  const after = player.viewport.shareOfPixel(description);
  player.setZoom({
    x: zoom.x + at.x * (before.x - after.x),
    y: zoom.y + at.y * (before.y - after.y),
    factor: player.zoom.factor,
  });
  stage.classList.toggle('zoomed', player.zoom.factor > 1);
}

/**
 * Wheel, drag, pinch, tap.
 *
 * @param {Player} player
 * @param {{ onTap: () => void, takesWheel: () => boolean }} host onTap: a single tap or click; takesWheel: whether the
 *   wheel zooms, where it would scroll the page
 */
export function listenToGestures(player, { onTap, takesWheel }) {
  const { stage } = player;
  /** @type {Map<number, { x: number, y: number }>} */
  const pointers = new Map();
  let moved = 0;
  let lastTap = 0;
  const fromMiddle = (/** @type {{ clientX: number, clientY: number }} */ { clientX, clientY }) => {
    const box = stage.getBoundingClientRect();
    return { x: clientX - box.left - box.width / 2, y: clientY - box.top - box.height / 2 };
  };
  const pan = (/** @type {number} */ dx, /** @type {number} */ dy) => {
    const { zoom, description } = player;
    if (!description) return;
    const share = player.viewport.shareOfPixel(description);
    player.setZoom({ ...zoom, x: zoom.x - dx * share.x, y: zoom.y - dy * share.y });
  };

  stage.addEventListener(
    'wheel',
    (event) => {
      // A pinch on a touchpad comes as a wheel with the control key.
      if (!event.ctrlKey && !takesWheel()) return;
      event.preventDefault();
      const lines = event.deltaMode === WheelEvent.DOM_DELTA_PIXEL ? event.deltaY / 16 : event.deltaY;
      zoomAround(
        player,
        Math.exp(-Math.max(-6, Math.min(6, lines)) * (event.ctrlKey ? 0.16 : 0.06)),
        fromMiddle(event),
      );
    },
    { passive: false },
  );
  stage.addEventListener('pointerdown', (event) => {
    if (event.button) return;
    stage.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
    if (pointers.size === 1) moved = 0;
  });
  stage.addEventListener('pointermove', (event) => {
    const before = pointers.get(event.pointerId);
    if (!before) return;
    const now = { x: event.clientX, y: event.clientY };
    const other = [...pointers].find(([id]) => id !== event.pointerId)?.[1];
    moved += Math.hypot(now.x - before.x, now.y - before.y);
    pointers.set(event.pointerId, now);
    if (other) {
      const spread = (/** @type {{ x: number, y: number }} */ { x, y }) => Math.hypot(x - other.x, y - other.y);
      const middle = fromMiddle({ clientX: (now.x + other.x) / 2, clientY: (now.y + other.y) / 2 });
      pan((now.x - before.x) / 2, (now.y - before.y) / 2);
      if (spread(before) > 1) zoomAround(player, spread(now) / spread(before), middle);
    } else if (player.zoom.factor > 1) pan(now.x - before.x, now.y - before.y);
  });
  const end = (/** @type {PointerEvent} */ event) => {
    if (!pointers.delete(event.pointerId) || pointers.size || moved > TAP_PX || event.type === 'pointercancel') return;
    const isDouble = event.timeStamp - lastTap < DOUBLE_TAP_MS;
    lastTap = isDouble ? 0 : event.timeStamp;
    if (isDouble) zoomAround(player, player.zoom.factor > 1 ? 0 : 3, fromMiddle(event));
    // The second tap takes back what the first one did.
    onTap();
  };
  stage.addEventListener('pointerup', end);
  stage.addEventListener('pointercancel', end);
}
