/** @typedef {import('./client.js').Description} Description */

/** The picture is shown as large as fits, and up to so many times as large. */
const MAX_ZOOM = 64;
/** A canvas has no more pixels than this. */
const MAX_PIXELS = 2 ** 23;
/** A picture that takes longer is drawn smaller while it moves, seconds. */
const SLOW = 0.05;
/** So much smaller at once, along a side, and again after so many pictures. */
const STEP = 0.8;
const STEP_PICTURES = 4;
/** What a smaller picture must take of the time of a larger one, so that it is worth it. */
const GAIN = 0.9;

/** What of the pictures of a file is shown, and with how many pixels. */
export class Viewport {
  /** @param {HTMLElement} stage in which the canvas lies */
  constructor(stage) {
    this.stage = stage;
    /** Seconds that drawing takes, lately; 0 where nothing was drawn. */
    this.drawSeconds = 0;
    /** Size of a canvas that moves, over that of one that stands still. */
    this.shrink = 1;
    this.nMeasured = 0;
    /** Seconds that drawing took before the canvas became smaller. */
    this.secondsBefore = Infinity;
    this.isShrinkingUseless = false;
    /** Centre of what is shown, as shares of the picture, and its size over that which fits. */
    this.zoom = { x: 0.5, y: 0.5, factor: 1 };
  }

  /** @param {{ x: number, y: number, factor: number }} zoom is kept within the picture */
  setZoom({ x, y, factor }) {
    const clamped = Math.min(MAX_ZOOM, Math.max(1, factor));
    // Half of what is shown, as a share of the picture.
    const half = 0.5 / clamped;
    const within = (/** @type {number} */ value) => Math.min(1 - half, Math.max(half, value));
    this.zoom = { x: within(x), y: within(y), factor: clamped };
  }

  /**
   * @param {Description} description
   * @returns {{ x: number, y: number }} the share of the picture that a CSS pixel is wide and high
   */
  shareOfPixel({ width, height, pixelAspect }) {
    const { clientWidth, clientHeight } = this.stage;
    const shownWidth = width * pixelAspect;
    const scale = Math.min(clientWidth / shownWidth, clientHeight / height) * this.zoom.factor;
    return { x: 1 / (shownWidth * scale), y: 1 / (height * scale) };
  }

  /**
   * @param {Description} description
   * @param {boolean} isMoving whether the picture may be drawn smaller, to be in time
   * @returns {{ size: { width: number, height: number }, view: { x: number, y: number, scale: number } } | null} size of
   *   the canvas and what of the picture lies in it; null where the stage has no size
   */
  frameOf({ width, height, pixelAspect }, isMoving) {
    const { clientWidth, clientHeight } = this.stage;
    if (!clientWidth || !clientHeight) return null;
    const most = Math.sqrt((MAX_PIXELS * pixelAspect) / (clientWidth * clientHeight));
    const density = Math.min(devicePixelRatio, most) * (isMoving ? this.shrink : 1);
    const size = {
      width: Math.max(1, Math.round((clientWidth * density) / pixelAspect)),
      height: Math.max(1, Math.round(clientHeight * density)),
    };
    // A stage that differs from the picture by a part of a pixel has no black line at its edge.
    const matching = Math.max(1, Math.round((size.width * height) / width));
    const isMatching = Math.abs(matching - size.height) < 2;
    if (isMatching) size.height = matching;
    const { x, y, factor } = this.zoom;
    const scale = (isMatching ? size.width / width : Math.min(size.width / width, size.height / height)) * factor;
    // Along an axis in which all of the picture is seen it lies in the middle.
    const start = (/** @type {number} */ centre, /** @type {number} */ coded, /** @type {number} */ canvas) => {
      const seen = canvas / scale;
      return seen >= coded ? (coded - seen) / 2 : Math.min(coded - seen, Math.max(0, centre * coded - seen / 2));
    };
    return { size, view: { x: start(x, width, size.width), y: start(y, height, size.height), scale } };
  }

  /**
   * Takes note of how long a picture took. Where pictures that move come too late, the next ones are smaller, as long as
   * that helps, and no smaller than they are coded.
   *
   * @param {number} seconds
   * @param {boolean} isMoving
   * @param {boolean} isLarger whether the canvas could be smaller without being smaller than the coded picture
   */
  measure(seconds, isMoving, isLarger) {
    this.drawSeconds = this.drawSeconds ? 0.7 * this.drawSeconds + 0.3 * seconds : seconds;
    if (!isMoving || this.isShrinkingUseless || ++this.nMeasured < STEP_PICTURES) return;
    if (this.drawSeconds > GAIN * this.secondsBefore) {
      this.isShrinkingUseless = true;
      this.shrink /= STEP;
    } else if (this.drawSeconds > SLOW && isLarger) {
      this.secondsBefore = this.drawSeconds;
      this.shrink *= STEP;
      this.drawSeconds = 0;
      this.nMeasured = 0;
    }
  }
}
