// What is drawn over the picture: the map of bits, the outlines of the Gaussians, and arrows of their motion.

const ARROW_CELLS = 28;

// A picture of one pixel a cell, enlarged: cells that were drawn one by one would have seams.
function drawMap(c, scale, picture) {
  const { cell, columns, rows } = picture.map;
  const found = mapOf(picture);
  const top = mapTop(picture);
  const small = el("canvas", { width: columns, height: rows });
  const cells = small.getContext("2d");
  for (let i = 0; i < found.length; i += 1) {
    cells.fillStyle = ramp(found[i] / top);
    cells.fillRect(i % columns, Math.floor(i / columns), 1, 1);
  }
  c.save();
  c.imageSmoothingEnabled = false;
  c.globalAlpha = 0.7;
  c.drawImage(small, 0, 0, columns * cell * scale, rows * cell * scale);
  c.restore();
}

// The ramp ends where 99% of the cells are below, so that one cell does not leave all others dark.
function mapTop(picture) {
  const sorted = Float32Array.from(mapOf(picture)).sort();
  return sorted[Math.floor(0.99 * (sorted.length - 1))] || 1;
}

function dim(c, width, height) {
  c.fillStyle = "rgba(0,0,0,0.6)";
  c.fillRect(0, 0, width, height);
}

function outline(c, scale, places, i, sigmas) {
  const { x, y, l1, l2, l3 } = places;
  // The ellipse mean + sigmas L (cos a, sin a), L = [[l1, 0], [l2, l3]], is a circle that a transform skews.
  c.save();
  c.transform(l1[i] * sigmas * scale, l2[i] * sigmas * scale, 0, l3[i] * sigmas * scale, x[i] * scale, y[i] * scale);
  c.beginPath();
  c.arc(0, 0, 1, 0, 2 * Math.PI);
  c.restore();
  c.stroke();
}

function drawEllipses(c, scale, picture, width, height) {
  const places = placesOf(picture);
  const gaussians = gaussiansOf(picture.gop);
  dim(c, width, height);
  if (!gaussians) return;
  const [low, high] = [0.02, 0.98].map((share) => gaussians.sorted[Math.floor(share * (gaussians.n - 1))]);
  c.lineWidth = gaussians.n > 6000 && scale < 2 ? 0.6 : 1;
  for (let i = 0; i < gaussians.n; i += 1) {
    if (Number.isNaN(places.x[i]) || Number.isNaN(places.l1[i])) continue;
    c.strokeStyle = lineRamp((gaussians.total[i] - low) / (high - low || 1), 0.8);
    outline(c, scale, places, i, 1);
  }
}

function drawChosen(c, scale, picture) {
  if (state.gaussian === null) return;
  const places = placesOf(picture);
  if (Number.isNaN(places.x[state.gaussian])) return;
  for (const [style, thickness] of [["#000", 5], ["#fff", 2]]) {
    c.strokeStyle = style;
    c.lineWidth = thickness;
    c.setLineDash([]);
    outline(c, scale, places, state.gaussian, 1);
    c.setLineDash([5, 4]);
    c.lineWidth = Math.min(thickness, 3);
    outline(c, scale, places, state.gaussian, 3);
  }
  c.setLineDash([]);
}

// Mean displacements over square cells of the picture: one arrow each.
function meanMotion(picture, since) {
  const places = placesOf(picture);
  const gaussians = gaussiansOf(picture.gop);
  const cell = Math.max(DATA.file.width, DATA.file.height) / ARROW_CELLS;
  const cells = new Map();
  for (let i = 0; i < places.n; i += 1) {
    const [fromX, fromY] = since === "before" ? [places.beforeX[i], places.beforeY[i]] : sentPlace(gaussians, i);
    const [dx, dy] = [places.x[i] - fromX, places.y[i] - fromY];
    if (Number.isNaN(dx) || Number.isNaN(dy)) continue;
    const [column, row] = [Math.floor(places.x[i] / cell), Math.floor(places.y[i] / cell)];
    if (column < 0 || row < 0 || column * cell >= DATA.file.width || row * cell >= DATA.file.height) continue;
    const key = `${column},${row}`;
    const sum = cells.get(key) || { x: (column + 0.5) * cell, y: (row + 0.5) * cell, dx: 0, dy: 0, n: 0 };
    cells.set(key, { ...sum, dx: sum.dx + dx, dy: sum.dy + dy, n: sum.n + 1 });
  }
  const arrows = [...cells.values()].map(({ x, y, dx, dy, n }) => ({ x, y, dx: dx / n, dy: dy / n }));
  const lengths = arrows.map(({ dx, dy }) => Math.hypot(dx, dy)).sort((a, b) => a - b);
  const long = lengths[Math.floor(0.95 * (lengths.length - 1))] || 0;
  const wanted = long > 0 ? (1.2 * cell) / long : 1;
  const power = 10 ** Math.floor(Math.log10(wanted));
  const gain = Math.min([5, 2, 1].map((m) => m * power).find((g) => g <= wanted) || 1, 1000);
  return { arrows, gain, long: lengths.at(-1) || 0 };
}

// Where a Gaussian is before the field moves it, pixels.
function sentPlace(gaussians, i) {
  const [muX, muY] = gaussians.parameters;
  return [((muX[i] + 1) / 2) * DATA.file.width, ((muY[i] + 1) / 2) * DATA.file.height];
}

function drawMotion(c, scale, picture, since, width, height) {
  dim(c, width, height);
  const { arrows, gain, long } = meanMotion(picture, since);
  for (const { x, y, dx, dy } of arrows) {
    const size = Math.hypot(dx, dy);
    const [endX, endY] = [(x + dx * gain) * scale, (y + dy * gain) * scale];
    c.strokeStyle = lineRamp(long ? size / long : 0);
    c.fillStyle = c.strokeStyle;
    c.lineWidth = 1.6;
    c.beginPath();
    c.moveTo(x * scale, y * scale);
    c.lineTo(endX, endY);
    c.stroke();
    const angle = Math.atan2(dy, dx);
    const head = Math.min(6, 0.5 * size * gain * scale);
    c.beginPath();
    for (const turn of [0, 2.5, -2.5].map((radians) => angle + radians)) {
      c.lineTo(endX + head * Math.cos(turn), endY + head * Math.sin(turn));
    }
    c.fill();
  }
  return { gain, long };
}

// Gaussians at a place of the picture, the smallest first: those in whose 1-sigma outline it lies, else the nearest.
function gaussiansAt(picture, px, py) {
  const { n, x, y, l1, l2, l3 } = placesOf(picture);
  const hit = [];
  let nearest = null;
  let least = Infinity;
  for (let i = 0; i < n; i += 1) {
    const u = (px - x[i]) / l1[i];
    const v = (py - y[i] - l2[i] * u) / l3[i];
    const q = u * u + v * v;
    if (q <= 1) hit.push(i);
    if (q < least) [least, nearest] = [q, i];
  }
  hit.sort((a, b) => l1[a] * l3[a] - l1[b] * l3[b]);
  return hit.length ? hit : nearest === null ? [] : [nearest];
}
