/** The time of what is played. It runs by another clock, that of the sound where there is sound. */
export class Clock {
  /** @param {() => number} source seconds of the clock by which it runs */
  constructor(source) {
    this.source = source;
    this.base = 0;
    this.anchor = 0;
    this.rate = 1;
    this.running = false;
  }

  /** @returns {number} seconds of the video */
  get time() {
    return this.running ? this.base + (this.source() - this.anchor) * this.rate : this.base;
  }

  set time(seconds) {
    this.base = seconds;
    this.anchor = this.source();
  }

  /** Lets what has passed count by the rate and the source so far. */
  settle() {
    const now = this.time;
    this.time = now;
  }

  /** @param {boolean} running */
  run(running) {
    if (running === this.running) return;
    this.settle();
    this.running = running;
  }

  /** @param {number} rate seconds of the video a second */
  setRate(rate) {
    this.settle();
    this.rate = rate;
  }

  /** @param {() => number} source another clock, from now on */
  follow(source) {
    const now = this.time;
    this.source = source;
    this.time = now;
  }
}
