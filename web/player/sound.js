import { audioConfig } from './matroska.js';

/** @typedef {import('./client.js').DecoderClient} DecoderClient */
/** @typedef {import('../decoder/tracks.js').Track} Track */

/** So many seconds are decoded ahead. */
const AHEAD = 2;
/** Packets before a place that decoders need to find into the signal, seconds. */
const PREROLL = 0.1;
/** Buffers are as long, seconds, so that there are few seams. */
const BUFFER = 0.25;
/** Timestamps are in whole microseconds: sound that begins so close to the end of the last one follows it exactly. */
const SEAM = 0.002;
/** The pitch changes with the speed; outside of this range nothing can be understood. */
const RATES = Object.freeze({ least: 0.5, most: 2 });

/** The sound of a file, decoded by WebCodecs and played by Web Audio. */
export class Sound {
  /**
   * @param {DecoderClient} client
   * @param {Track} track
   * @param {AudioDecoderConfig} config
   * @param {(message: string) => void} onFailure
   */
  constructor(client, track, config, onFailure) {
    this.client = client;
    this.track = track;
    this.config = config;
    this.onFailure = onFailure;
    this.context = new AudioContext({ sampleRate: config.sampleRate });
    this.gain = this.context.createGain();
    this.gain.connect(this.context.destination);
    /** What is being played; another place is another object. @type {Stretch | null} */
    this.stretch = null;
  }

  /**
   * @param {DecoderClient} client
   * @param {Track[]} tracks
   * @param {(message: string) => void} onFailure is called when playing turns out to be impossible later
   * @returns {Promise<{ sound: Sound | null, why: string }>} why: what keeps the sound from being played; empty where it
   *   is, and where there is none
   */
  static async open(client, tracks, onFailure) {
    const audible = tracks.filter(({ kind }) => kind === 'audio');
    const track = audible.find(({ dispositions }) => dispositions.includes('default')) ?? audible[0];
    if (!track) return { sound: null, why: '' };
    const name = track.codec.toUpperCase();
    if (!globalThis.AudioDecoder) {
      const why = self.isSecureContext ? 'this browser has no WebCodecs' : 'browsers decode it on https pages only';
      return { sound: null, why: `The sound (${name}) cannot be played: ${why}.` };
    }
    const config = track.setupFormat === 'matroska' ? audioConfig(track.setup) : null;
    const supported = config && (await AudioDecoder.isConfigSupported(config).catch(() => null))?.supported;
    if (!config || !supported) return { sound: null, why: `This browser cannot decode the sound (${name}).` };
    try {
      return { sound: new Sound(client, track, config, onFailure), why: '' };
    } catch (error) {
      return { sound: null, why: `The sound (${name}) cannot be played: ${/** @type {Error} */ (error).message}` };
    }
  }

  /** @returns {boolean} whether sound comes out; browsers hold it back until the page is clicked or a key is pressed */
  get isRunning() {
    return this.context.state === 'running';
  }

  /** @returns {number} seconds of the sound that is heard now, by the clock of Web Audio */
  now() {
    const { contextTime = 0, performanceTime = 0 } = this.context.getOutputTimestamp?.() ?? {};
    const heard = contextTime + (performance.now() - performanceTime) / 1000;
    // Some browsers give zeros at first.
    return Math.abs(heard - this.context.currentTime) < 0.5 ? heard : this.context.currentTime;
  }

  /** @param {number} volume 0 to 1 */
  setVolume(volume) {
    this.gain.gain.value = volume;
  }

  /**
   * Plays from a place on.
   *
   * @param {number} seconds of the video
   * @param {number} anchor when, by the clock of `now`
   * @param {number} rate
   */
  start(seconds, anchor, rate) {
    this.stop();
    if (rate < RATES.least || rate > RATES.most) return;
    this.stretch = new Stretch(this, seconds, anchor, rate);
    this.stretch.pump();
  }

  /** Decodes and schedules what will be heard soon; is to be called a few times a second. */
  pump() {
    this.stretch?.pump();
  }

  stop() {
    this.stretch?.close();
    this.stretch = null;
  }

  close() {
    this.stop();
    this.context.close();
  }
}

/**
 * @typedef {object} Waiting
 * @property {number} from seconds of the video
 * @property {number} sampleRate
 * @property {Float32Array<ArrayBuffer>[][]} planes [parts][channels]
 * @property {number} length samples of all parts
 */

/** Sound that is played without a break. */
class Stretch {
  /**
   * @param {Sound} sound
   * @param {number} seconds
   * @param {number} anchor
   * @param {number} rate
   */
  constructor(sound, seconds, anchor, rate) {
    this.sound = sound;
    this.from = seconds;
    this.anchor = anchor;
    this.rate = rate;
    /** @type {number | null} */
    this.place = null;
    this.isFirst = true;
    this.isAtEnd = false;
    this.isPumping = false;
    this.isClosed = false;
    /** Until where packets have been decoded, seconds of the video. */
    this.until = seconds;
    /** @type {Set<AudioBufferSourceNode>} */
    this.nodes = new Set();
    /** Decoded sound that waits for more, to be played as one buffer. @type {Waiting | null} */
    this.waiting = null;
    /** Where the last buffer ends, by the clock of Web Audio, and in the video. */
    this.end = { when: 0, seconds: -Infinity };
    this.decoder = new AudioDecoder({
      output: (data) => this.take(data),
      error: (error) => this.fail(`The sound cannot be decoded: ${error.message}`),
    });
    this.decoder.configure(sound.config);
  }

  async pump() {
    if (this.isPumping || this.isAtEnd || this.isClosed) return;
    this.isPumping = true;
    const heard = this.from + (this.sound.context.currentTime - this.anchor) * this.rate;
    while (!this.isClosed && !this.isAtEnd && this.until < heard + AHEAD * Math.max(1, this.rate)) {
      const start = Math.max(heard, this.from) - PREROLL;
      const { track } = this.sound.track;
      const answer = await this.sound.client.packets(track, this.isFirst ? this.from - PREROLL : start, this.place);
      if (this.isClosed) return;
      if (answer.failure) return this.fail(`The sound cannot be read: ${answer.failure.message}`);
      for (const { seconds, duration, isKey, data } of answer.packets) {
        if (this.isFirst && (seconds + duration < this.from - PREROLL || !isKey)) continue;
        this.isFirst = false;
        this.until = seconds + duration;
        const timestamp = Math.round(seconds * 1e6);
        this.decoder.decode(new EncodedAudioChunk({ type: isKey ? 'key' : 'delta', timestamp, data }));
      }
      this.place = answer.place;
      if (answer.place === null) {
        this.isAtEnd = true;
        await this.decoder.flush().catch(() => {});
        this.play();
      }
    }
    this.isPumping = false;
  }

  /** @param {AudioData} data */
  take(data) {
    const seconds = data.timestamp / 1e6;
    const { numberOfChannels, numberOfFrames, sampleRate } = data;
    const planes = Array.from({ length: numberOfChannels }, (_, planeIndex) => {
      const plane = new Float32Array(numberOfFrames);
      data.copyTo(plane, { planeIndex, format: 'f32-planar' });
      return plane;
    });
    data.close();
    if (this.isClosed) return;
    let { waiting } = this;
    const follows =
      waiting &&
      waiting.sampleRate === sampleRate &&
      waiting.planes[0].length === numberOfChannels &&
      Math.abs(waiting.from + waiting.length / sampleRate - seconds) < SEAM;
    if (!waiting || !follows) {
      this.play();
      waiting = { from: seconds, sampleRate, planes: [], length: 0 };
      this.waiting = waiting;
    }
    waiting.planes.push(planes);
    waiting.length += numberOfFrames;
    if (waiting.length >= BUFFER * sampleRate) this.play();
  }

  /** Schedules what was decoded. */
  play() {
    const { waiting } = this;
    this.waiting = null;
    if (!waiting || this.isClosed) return;
    const { context, gain } = this.sound;
    const { from, sampleRate, planes, length } = waiting;
    const buffer = context.createBuffer(planes[0].length, length, sampleRate);
    for (let channel = 0; channel < planes[0].length; channel++) {
      let at = 0;
      for (const part of planes) {
        buffer.copyToChannel(part[channel], channel, at);
        at += part[channel].length;
      }
    }
    const follows = Math.abs(from - this.end.seconds) < SEAM;
    const when = follows ? this.end.when : this.anchor + (from - this.from) / this.rate;
    this.end = { when: when + buffer.duration / this.rate, seconds: from + buffer.duration };
    // What lies before the place, or comes too late, is left out.
    const late = Math.max(this.anchor - when, context.currentTime - when, 0);
    if (late * this.rate >= buffer.duration) return;
    const node = new AudioBufferSourceNode(context, { buffer, playbackRate: this.rate });
    node.connect(gain);
    node.onended = () => this.nodes.delete(node);
    this.nodes.add(node);
    node.start(when + late, late * this.rate);
  }

  /** @param {string} message */
  fail(message) {
    this.close();
    this.sound.onFailure(message);
  }

  close() {
    if (this.isClosed) return;
    this.isClosed = true;
    if (this.decoder.state !== 'closed') this.decoder.close();
    for (const node of this.nodes) node.stop();
  }
}
