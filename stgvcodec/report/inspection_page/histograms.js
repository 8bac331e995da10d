// Histograms of the symbols of the chosen GoP, with what their models expect, and tables of where the bits go.

const histogram = byId("histogram");

function shownDetail() {
  const gop = DATA.details[state.gop] ? state.gop : hasPictures ? currentPicture().gop : null;
  return gop === null || !DATA.details[gop] ? null : { gop, streams: DATA.details[gop].streams };
}

function chosenArray(detail) {
  const stream = detail.streams.find(({ name }) => name === state.stream) || detail.streams[0];
  const array = stream.arrays.find(({ name }) => name === state.array) || stream.arrays[0] || null;
  const shown = array && state.classOf !== "all" ? array.classes[Number(state.classOf)] || array : array;
  return { stream, array, shown };
}

function drawHistogram() {
  const detail = shownDetail();
  byId("models-section").hidden = !detail;
  if (!detail) return;
  const { stream, array, shown } = chosenArray(detail);
  histogram.hidden = !shown;
  modelFigures(stream, array, shown);
  if (!shown) return;
  const { c, width, height } = context(histogram);
  const [left, right, top, bottom] = [54, 8, 20, 22];
  const n = shown.counts.length;
  const most = Math.max(greatest(shown.counts, (x) => x), greatest(shown.expected, (x) => x));
  const floor = height - bottom;
  const x = (i) => left + ((width - left - right) * i) / n;
  const y = (value) => floor - ((floor - top) * value) / most;
  c.fillStyle = color("--muted");
  c.strokeStyle = color("--line");
  c.textAlign = "right";
  for (const tick of ticks(0, most, 4)) {
    c.fillText(count(tick), left - 6, y(tick) + 4);
    c.beginPath();
    c.moveTo(left, Math.round(y(tick)) + 0.5);
    c.lineTo(width - right, Math.round(y(tick)) + 0.5);
    c.stroke();
  }
  c.fillStyle = STREAM_COLORS[stream.name];
  shown.counts.forEach((value, i) => {
    const gap = x(1) - x(0) > 4 ? 0.5 : 0;
    c.fillRect(x(i) + gap, y(value), x(i + 1) - x(i) - 2 * gap, floor - y(value));
  });
  for (const [style, thickness] of [[color("--bg"), 4.5], [color("--ink"), 1.8]]) {
    c.strokeStyle = style;
    c.lineWidth = thickness;
    c.lineJoin = "round";
    c.beginPath();
    shown.expected.forEach((value, i) => {
      c.lineTo(x(i), y(value));
      c.lineTo(x(i + 1), y(value));
    });
    c.stroke();
  }
  c.lineWidth = 1;
  c.fillStyle = color("--muted");
  c.textAlign = "left";
  c.fillText("symbols", 2, 11);
  c.textAlign = "center";
  for (const tick of ticks(shown.low, shown.low + n - 1, Math.max(2, Math.min(n, width / 70)))) {
    if (Number.isInteger(tick)) c.fillText(tick, (x(tick - shown.low) + x(tick - shown.low + 1)) / 2, height - 6);
  }
}

function each(bits, n) {
  return n ? (bits / n).toFixed(3) : "0";
}

function modelFigures(stream, array, shown) {
  if (!shown) {
    const how = "as they are: low bits of the gaps between points";
    facts(byId("model-figures"), [["bits", count(stream.symbolBits)], ["coded", how]]);
    return;
  }
  const excess = shown.bits + shown.modelBits - shown.entropyBits;
  const share = `${excess >= 0 ? "+" : "\u2212"}${percent(Math.abs(excess) / (shown.entropyBits || 1))}`;
  facts(byId("model-figures"), [
    ["symbols", `${count(shown.n)} of an alphabet of ${array.alphabet}`],
    ["model", shown.model],
    ["entropy", `${each(shown.entropyBits, shown.n)} bits a symbol`],
    ["spent", `${each(shown.bits, shown.n)} bits a symbol`],
    ["model itself", `${(shown.modelBits / 8).toFixed(1)} B`],
    [excess >= 0 ? "above entropy, model included" : "below entropy, by contexts", share],
  ]);
  histogram.setAttribute("aria-label", `Histogram of ${array.name}: ${count(shown.n)} symbols from ${shown.low} to `
    + `${shown.low + shown.counts.length - 1}, coded by ${shown.model}; `
    + `${each(shown.bits, shown.n)} bits a symbol spent, entropy ${each(shown.entropyBits, shown.n)}`);
}

const named = (things) => things.map(({ name }) => [name, name]);

function modelControls(redraw) {
  const detail = shownDetail();
  if (!detail) return;
  const { stream, array } = chosenArray(detail);
  const set = (name) => (value) => {
    state[name] = value;
    if (name === "stream") state.array = null;
    if (name !== "classOf") state.classOf = "all";
    redraw();
  };
  const classes = array && array.classes.length ? [["all", "all contexts"], ...array.classes.map(({ contexts, n }, i) =>
    [i, `${contexts[0]} to ${contexts[1]} (${count(n)})`])] : null;
  const other = detail.gop === state.gop ? "" : " (the page has no models of the chosen GoP)";
  byId("models-lead").textContent = `GoP ${detail.gop}${other}. Bars count the symbols that were coded; the line is `
    + "what their model expects. Bits are -log2 of the model's probability.";
  fill(byId("model-controls"),
    choice("stream", named(detail.streams), stream.name, set("stream"), "stream-choice"),
    array ? choice("symbols", named(stream.arrays), array.name, set("array"), "array-choice") : null,
    classes ? choice("context", classes, state.classOf, set("classOf"), "class-choice") : null);
  const rows = stream.arrays.map((one, i) => el("tr", { class: one === array ? "chosen" : null },
    cell(button(one.name, () => set("array")(one.name), { class: "link", id: `array-${i}` })), cell(count(one.n)),
    cell(each(one.entropyBits, one.n)), cell(each(one.bits, one.n)), cell(count(one.bits / 8)),
    cell((one.modelBits / 8).toFixed(1)), cell(one.model, "text wide")));
  const coder = 8 * stream.bytes - stream.symbolBits - stream.modelBits;
  rows.push(el("tr", { class: "total" }, cell(`${stream.name}, ${count(stream.bytes)} B`), cell(""), cell(""), cell(""),
    cell(count(stream.symbolBits / 8)), cell((stream.modelBits / 8).toFixed(1)),
    cell(`coder's ends and roundings: ${(coder / 8).toFixed(1)} B`, "text wide")));
  const heads = [["symbols"], ["number"], ["entropy, bits"], ["spent, bits"], ["B"], ["model, B"],
    ["model", "text wide"]];
  fill(byId("arrays"), stream.arrays.length ? table(heads, rows, `Symbols of the stream ${stream.name}`) : null);
}
