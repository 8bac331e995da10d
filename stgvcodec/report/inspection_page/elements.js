// Elements of the page, numbers as text, and canvases that fit their place and their colour scheme.

const byId = (id) => document.getElementById(id);

// Text from the file goes through text nodes alone.
function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "on") for (const [event, handler] of Object.entries(value)) node.addEventListener(event, handler);
    else if (name === "style") Object.assign(node.style, value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

function fill(parent, ...children) {
  parent.replaceChildren(...children.filter((child) => child !== null && child !== undefined));
}

// Digits in groups of three, by thin spaces.
function count(n) {
  return Math.round(n).toString().replace(/\B(?=(\d{3})+$)/g, "\u2009");
}

function bytes(n) {
  if (n < 10000) return `${count(n)} B`;
  if (n < 1e6) return `${(n / 1e3).toFixed(1)} kB`;
  return `${(n / 1e6).toFixed(2)} MB`;
}

function percent(share) {
  return share >= 0.0995 ? `${(100 * share).toFixed(0)}\u202f%` : `${(100 * share).toFixed(1)}\u202f%`;
}

function decibel(db) {
  return db === null || db === undefined ? "identical" : `${db.toFixed(2)} dB`;
}

function significant(x) {
  if (x === 0) return "0";
  const size = Math.abs(x);
  return size >= 1e5 || size < 1e-3 ? x.toExponential(3) : Number(x.toPrecision(5)).toString();
}

function plural(n, word) {
  return `${count(n)} ${word}${n === 1 ? "" : "s"}`;
}

function facts(parent, pairs) {
  fill(parent, ...pairs.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))));
}

function table(heads, rows, caption) {
  const head = el("tr", {}, ...heads.map(([text, kind]) => el("th", { scope: "col", class: kind }, text)));
  return el("table", { "aria-label": caption }, el("thead", {}, head), el("tbody", {}, ...rows));
}

function pressable(label, isPressed, handler, attributes = {}) {
  return button(label, handler, { "aria-pressed": String(isPressed), ...attributes });
}

function button(label, handler, attributes = {}) {
  return el("button", { type: "button", on: { click: handler }, ...attributes }, label);
}

function cell(content, kind, id) {
  return el("td", { class: kind, id }, content);
}

function bar(share, background) {
  return el("span", { class: "bar", style: { width: `${100 * share}%`, background: background || "" } });
}

function choice(label, options, chosen, handler, id) {
  const select = el("select", { id, on: { change: () => handler(select.value) } },
    ...options.map(([value, text]) => el("option", { value, selected: String(value) === String(chosen) }, text)));
  return el("label", {}, label, select);
}

function color(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

// A context in CSS pixels, sharp on screens of any density.
function context(canvas) {
  const { width, height } = canvas.getBoundingClientRect();
  const density = Math.min(window.devicePixelRatio || 1, 3);
  canvas.width = Math.max(1, Math.round(width * density));
  canvas.height = Math.max(1, Math.round(height * density));
  const c = canvas.getContext("2d");
  c.scale(density, density);
  c.font = "12px system-ui, sans-serif";
  return { c, width, height };
}

// The greatest of some numbers above 0, however many there are; 1 where there are none.
function greatest(things, number) {
  return things.reduce((most, thing) => Math.max(most, number(thing)), 0) || 1;
}

// Round steps of an axis from 0 on, about `n` of them.
function ticks(low, high, n) {
  const raw = (high - low) / n || 1;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= raw);
  const found = [];
  for (let t = Math.ceil(low / step) * step; t <= high + 1e-9 * step; t += step) found.push(t);
  return found;
}

// From dark blue over green to yellow: rising in lightness, and told apart by the colour-blind (viridis).
const RAMP = [[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]];

function ramp(share, alpha = 1) {
  const at = Math.min(Math.max(share, 0), 1) * (RAMP.length - 1);
  const i = Math.min(Math.floor(at), RAMP.length - 2);
  const mixed = RAMP[i].map((low, channel) => Math.round(low + (at - i) * (RAMP[i + 1][channel] - low)));
  return `rgba(${mixed.join(",")},${alpha})`;
}

// Lines on a dark ground leave out the darkest colours.
function lineRamp(share, alpha = 1) {
  return ramp(0.3 + 0.7 * Math.min(Math.max(share, 0), 1), alpha);
}

function legend(colors) {
  const stops = [0, 0.25, 0.5, 0.75, 1].map((share) => colors(share)).join(",");
  return el("span", { class: "ramp", style: { background: `linear-gradient(to right, ${stops})` } });
}
