// The timeline: a stacked bar for each GoP, as wide as it has frames, and the PSNR of each frame.

const timeline = byId("timeline");
const usualFrames = greatest(DATA.gops, (gop) => gop.frames || 1);
const gopStarts = [0];
for (const gop of DATA.gops) gopStarts.push(gopStarts.at(-1) + (gop.frames || usualFrames));

function timelineFrame(width) {
  const right = DATA.framesDb ? 46 : 8;
  return { left: 54, right, top: 20, bottom: 22, inner: width - 54 - right };
}

function drawTimeline() {
  const { c, width, height } = context(timeline);
  const frame = timelineFrame(width);
  const most = greatest(DATA.gops, (gop) => gop.bytes);
  const x = (at) => frame.left + (frame.inner * at) / gopStarts.at(-1);
  const floor = height - frame.bottom;
  const y = (n) => floor - ((floor - frame.top) * n) / most;
  c.fillStyle = color("--muted");
  c.strokeStyle = color("--line");
  c.textAlign = "right";
  for (const tick of ticks(0, most, 4)) {
    c.fillText(tick === 0 ? "0" : bytes(tick), frame.left - 6, y(tick) + 4);
    c.beginPath();
    c.moveTo(frame.left, Math.round(y(tick)) + 0.5);
    c.lineTo(width - frame.right, Math.round(y(tick)) + 0.5);
    c.stroke();
  }
  DATA.gops.forEach((gop, i) => {
    const begin = x(gopStarts[i]);
    const end = x(gopStarts[i + 1]);
    const gap = end - begin > 6 ? 1 : 0;
    let below = 0;
    for (const stream of STREAMS) {
      const n = gop.streams[stream] || 0;
      c.globalAlpha = i === state.gop || DATA.gops.length === 1 ? 1 : 0.62;
      c.fillStyle = STREAM_COLORS[stream];
      c.fillRect(begin + gap, y(below + n), Math.max(end - begin - 2 * gap, 0.5), y(below) - y(below + n));
      below += n;
    }
    c.globalAlpha = 1;
    if (i === state.gop) {
      c.strokeStyle = color("--ink");
      c.lineWidth = 1.5;
      c.strokeRect(begin, y(gop.bytes) - 1, end - begin, floor - y(gop.bytes) + 1);
      c.lineWidth = 1;
    }
    if (gop.fault) {
      c.fillStyle = color("--bad");
      c.textAlign = "center";
      c.fillText("\u2717", (begin + end) / 2, y(gop.bytes) - 5);
    }
  });
  c.fillStyle = color("--muted");
  c.textAlign = "left";
  c.fillText("bytes a GoP", 2, 11);
  const known = DATA.gops.filter((gop) => gop.first !== undefined);
  const isKnown = known.length === DATA.gops.length;
  const last = known.at(-1);
  c.fillText(isKnown ? `frame ${count(known[0].first)}` : "GoP 0", frame.left, height - 6);
  c.textAlign = "right";
  const end = isKnown ? last.first + last.frames - 1 : DATA.gops.length - 1;
  c.fillText(count(end), width - frame.right, height - 6);
  drawPsnr(c, width, frame, floor, x);
}

function drawPsnr(c, width, frame, floor, x) {
  const found = (DATA.framesDb || []).filter(([, db]) => db !== null);
  if (!found.length) return;
  const starts = new Map();
  DATA.gops.forEach((gop, i) => {
    const n = gop.first === undefined ? 0 : gop.frames;
    for (let k = 0; k < n; k += 1) starts.set(gop.first + k, gopStarts[i] + k + 0.5);
  });
  let low = Infinity;
  let high = -Infinity;
  for (const [, db] of found) {
    low = Math.min(low, db);
    high = Math.max(high, db);
  }
  low = Math.floor(low - 0.5);
  high = Math.ceil(high + 0.5);
  const y = (db) => floor - ((floor - frame.top) * (db - low)) / (high - low);
  // Twice: a wide line in the colour of the page, so that the narrow one is seen over any bar.
  for (const [style, thickness] of [[color("--bg"), 4.5], [color("--ink"), 1.8]]) {
    c.strokeStyle = style;
    c.lineWidth = thickness;
    c.lineJoin = "round";
    c.beginPath();
    let before = null;
    for (const [number, db] of found) {
      if (!starts.has(number)) continue;
      if (before === number - 1) c.lineTo(x(starts.get(number)), y(db));
      else c.moveTo(x(starts.get(number)), y(db));
      before = number;
    }
    c.stroke();
  }
  c.lineWidth = 1;
  c.fillStyle = color("--ink");
  c.textAlign = "left";
  for (const tick of ticks(low, high, 4)) {
    c.fillText(Number(tick.toFixed(2)).toString(), width - frame.right + 6, y(tick) + 4);
  }
  c.textAlign = "right";
  c.fillText("PSNR, dB", width - 2, 11);
}

function streamTable() {
  const gop = DATA.gops[state.gop];
  if (!gop) return;
  const frames = gop.first === undefined ? "frames unknown" :
    `frames ${count(gop.first)} to ${count(gop.first + gop.frames - 1)}, ${plural(gop.gaussians, "Gaussian")}`;
  const measured = gop.psnr === null || gop.psnr === undefined ? "" : `, ${decibel(gop.psnr)}`;
  const each = (n) => (gop.gaussians ? ((8 * n) / gop.gaussians).toFixed(2) : "");
  const rows = STREAMS.filter((stream) => gop.streams[stream]).map((stream) => el("tr", {},
    el("td", {}, el("span", { class: "swatch", style: { background: STREAM_COLORS[stream] } }), stream),
    cell(count(gop.streams[stream])), cell(percent(gop.streams[stream] / gop.bytes)), cell(each(gop.streams[stream])),
    cell(STREAM_MEANINGS[stream], "text wide")));
  rows.push(el("tr", { class: "total" }, cell("GoP"), cell(count(gop.bytes)), cell("100\u202f%"), cell(each(gop.bytes)),
    cell("", "wide")));
  const heads = [["stream"], ["bytes"], ["share"], ["bits a Gaussian"], ["what it holds", "text wide"]];
  fill(byId("streams"),
    el("p", { id: "gop-facts" }, el("strong", {}, `GoP ${state.gop}`), `: ${frames}${measured}`),
    gop.fault ? el("p", { class: "warning" }, gop.fault) : null,
    table(heads, rows, `Bytes of GoP ${state.gop}`));
  timeline.setAttribute("aria-valuenow", state.gop);
  timeline.setAttribute("aria-valuetext", `GoP ${state.gop}, ${frames}, ${count(gop.bytes)} bytes${measured}`);
}

function startTimeline(selectGop) {
  const n = DATA.gops.length;
  byId("timeline-section").hidden = n === 0;
  timeline.setAttribute("aria-valuemin", 0);
  timeline.setAttribute("aria-valuemax", Math.max(n - 1, 0));
  byId("timeline-lead").textContent = DATA.framesDb
    ? "The line is the PSNR of each frame against the source. Choose a GoP by a click or with the arrow keys."
    : "Choose a GoP by a click or with the arrow keys. With --source the page has the PSNR of each frame, too.";
  timeline.addEventListener("click", (event) => {
    const box = timeline.getBoundingClientRect();
    const frame = timelineFrame(box.width);
    const at = ((event.clientX - box.left - frame.left) / frame.inner) * gopStarts.at(-1);
    const gop = gopStarts.findIndex((start, i) => i < n && at >= start && at < gopStarts[i + 1]);
    if (gop >= 0) selectGop(gop);
  });
  timeline.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, Home: -n, End: n }[event.key];
    if (step === undefined) return;
    event.preventDefault();
    selectGop(Math.min(Math.max(state.gop + step, 0), n - 1));
  });
}
