// The picture: frames to choose from, a wipe between two views, overlays, and the card of the chosen Gaussian.

const view = { left: "decoded", right: "decoded", wipe: 50, zoom: 1, since: "before", hits: [], at: 0 };
const [stage, overlay, wipe] = [byId("stage"), byId("overlay"), byId("wipe")];

function drawPicture() {
  const picture = currentPicture();
  if (!picture) return;
  const isWiped = DATA.hasSource && view.left !== view.right && picture[view.left] && picture[view.right];
  const name = (which) => `${VIEWS[which]}, frame ${picture.frame}`;
  const [left, right] = [byId("left"), byId("right")];
  if (left.src !== picture[view.left]) left.src = picture[view.left] || picture.decoded;
  left.alt = name(view.left);
  right.hidden = wipe.hidden = byId("right-label").hidden = !isWiped;
  byId("left-label").textContent = VIEWS[view.left];
  if (isWiped) {
    if (right.src !== picture[view.right]) right.src = picture[view.right];
    right.alt = name(view.right);
    byId("right-label").textContent = VIEWS[view.right];
  }
  setWipe(view.wipe);
  stage.style.width = `${100 * view.zoom}%`;
  stage.classList.toggle("near", stage.clientWidth > 2.5 * DATA.file.width);
  drawOverlay();
}

function setWipe(share) {
  view.wipe = Math.min(Math.max(share, 0), 100);
  wipe.style.left = `${view.wipe}%`;
  byId("right").style.clipPath = `inset(0 0 0 ${view.wipe}%)`;
  wipe.setAttribute("aria-label", `Wipe between ${VIEWS[view.left]} and ${VIEWS[view.right]}`);
  wipe.setAttribute("aria-valuenow", Math.round(view.wipe));
  wipe.setAttribute("aria-valuetext", `${Math.round(view.wipe)} percent ${VIEWS[view.left]}`);
}

function drawOverlay() {
  const picture = currentPicture();
  const { c, width, height } = context(overlay);
  const scale = width / DATA.file.width;
  const measured = picture.psnr !== null ? `, ${decibel(picture.psnr)}` : DATA.hasSource ? ", identical" : "";
  const caption = [`Frame ${count(picture.frame)} of GoP ${picture.gop}, at ${picture.seconds} s${measured}. `];
  if (state.overlay === "map") {
    drawMap(c, scale, picture);
    const { cell, total, outside } = picture.map;
    caption.push("Bits of the Gaussians, spread over where they lie: ", legend(ramp),
      ` 0 to ${mapTop(picture).toFixed(0)} bits a cell of ${cell}\u00d7${cell} pixels; ${count(total / 8)} B in all, `
      + `${percent(outside / total)} of them outside the picture. They serve all frames of the GoP.`);
  } else if (state.overlay === "ellipses") {
    drawEllipses(c, scale, picture, width, height);
    const gaussians = gaussiansOf(picture.gop);
    const [low, high] = [0.02, 0.98].map((share) => gaussians.sorted[Math.floor(share * (gaussians.n - 1))]);
    const part = gaussians.stride > 1 ? `One in ${gaussians.stride} of ${count(gaussians.all)}` : count(gaussians.n);
    caption.push(`${part} Gaussians, outlines at one standard deviation, by what each costs: `,
      legend(lineRamp), ` ${low.toFixed(0)} to ${high.toFixed(0)} bits. Click one.`);
    drawChosen(c, scale, picture);
  } else if (state.overlay === "motion") {
    const { gain, long } = drawMotion(c, scale, picture, view.since, width, height);
    const since = view.since === "before" ? "the frame before" : "where they are transmitted";
    caption.push(view.since === "before" && picture.k === 0
      ? "It is the first frame of its GoP, with none before it; choose another, or since \u201cas transmitted\u201d."
      : `Mean motion of the Gaussians since ${since}, arrows \u00d7${gain}; the longest is ${long.toFixed(2)} pixels.`);
    drawChosen(c, scale, picture);
  } else {
    drawChosen(c, scale, picture);
    caption.push(`Pictures are kept ${DATA.file.pictures}; figures are those of the exact frames.`);
  }
  fill(byId("picture-caption"), ...caption);
}

function frameChips(selectPicture) {
  fill(byId("frames"), ...DATA.pictures.map((picture, i) => pressable(
    `frame ${count(picture.frame)}`, i === state.picture, () => selectPicture(i),
    { title: `GoP ${picture.gop}`, id: `frame-${i}` })));
}

function pictureControls(redraw) {
  const set = (name) => (value) => {
    view[name] = name === "zoom" ? Number(value) : value;
    redraw();
  };
  const views = Object.entries(VIEWS).filter(([name]) => DATA.pictures.some((picture) => picture[name]));
  const overlays = [["none", "none"], ["map", "bits"], ["ellipses", "Gaussians"], ["motion", "motion"]];
  const buttons = overlays.map(([name, text]) => pressable(text, state.overlay === name, () => {
    state.overlay = name;
    redraw();
  }, { id: `overlay-${name}` }));
  const moments = [["before", "the frame before"], ["sent", "as transmitted"]];
  const label = el("span", { class: "label" }, "overlay");
  fill(byId("picture-controls"),
    el("span", { class: "group", role: "group", "aria-label": "Overlay" }, label, ...buttons),
    DATA.hasSource ? choice("left", views, view.left, set("left"), "left-view") : null,
    DATA.hasSource ? choice("right", views, view.right, set("right"), "right-view") : null,
    state.overlay === "motion" ? choice("since", moments, view.since, set("since"), "since") : null,
    choice("zoom", [[1, "fit"], [2, "\u00d72"], [4, "\u00d74"], [8, "\u00d78"]], view.zoom, set("zoom"), "zoom"));
}

function gaussianCard(redraw) {
  const card = byId("gaussian");
  const picture = currentPicture();
  const gaussians = gaussiansOf(picture.gop);
  if (!gaussians) return fill(card, el("p", {}, "The Gaussians of this GoP are left out."));
  const own = state.gaussian;
  const pick = (i) => {
    state.gaussian = Math.min(Math.max(i, 0), gaussians.n - 1);
    redraw();
  };
  const number = el("input", {
    id: "gaussian-number",
    type: "number",
    min: 0,
    max: gaussians.all - 1,
    step: gaussians.stride,
    value: own === null ? "" : own * gaussians.stride,
    placeholder: "number",
    "aria-label": "Number of the Gaussian",
    on: { change: ({ target }) => target.value !== "" && pick(Math.round(Number(target.value) / gaussians.stride)) },
  });
  const controls = el("div", { class: "controls" },
    button("\u2190", () => pick((own ?? 1) - 1), { id: "previous-gaussian", "aria-label": "Previous Gaussian" }),
    number,
    button("\u2192", () => pick((own ?? -1) + 1), { id: "next-gaussian", "aria-label": "Next Gaussian" }));
  if (own === null) {
    return fill(card, el("h3", {}, "Gaussian"), controls,
      el("p", {}, "Choose the overlay \u201cGaussians\u201d and click an outline. "
        + `In the mean a Gaussian costs ${gaussians.meanBits.toFixed(1)} bits.`));
  }
  const most = greatest(gaussians.bits, (column) => column[own]);
  const rows = gaussians.columns.map((name, column) => {
    const bits = gaussians.bits[column][own];
    const symbol = name === "low bits" ? "" : String(gaussians.symbols[column][own]);
    return el("tr", {}, cell(name), cell(symbol), cell(bits.toFixed(2)), cell(bar(bits / most), "track"));
  });
  const total = cell(gaussians.total[own].toFixed(2), null, "gaussian-bits");
  rows.push(el("tr", { class: "total" }, cell("all"), cell(""), total, cell("")));
  const value = (i) => significant(gaussians.parameters[i][own]);
  const places = placesOf(picture);
  const [fromX, fromY] = sentPlace(gaussians, own);
  const [dx, dy] = [places.x[own] - fromX, places.y[own] - fromY];
  const isDrawn = !Number.isNaN(dx);
  const here = isDrawn ? `${places.x[own].toFixed(2)}, ${places.y[own].toFixed(2)} px` : "not drawn";
  const values = [
    ["point x, y", `${gaussians.points[0][own]}, ${gaussians.points[1][own]}`],
    ["mean \u03bc", `${value(0)}, ${value(1)}`],
    ["l1, l2, l3", `${value(2)}, ${value(3)}, ${value(4)} px`],
    ["colour R, G, B", `${value(5)}, ${value(6)}, ${value(7)}`],
    ["in this frame", here],
    ["moved by", isDrawn ? `${dx.toFixed(2)}, ${dy.toFixed(2)} px` : ""],
    ["l1, l2, l3 here", [places.l1, places.l2, places.l3].map((l) => significant(l[own])).join(", ") + " px"],
  ];
  const stored = own * gaussians.stride;
  const order = `${view.at + 1} of ${view.hits.length} outlines here, the smallest first; click again for the next.`;
  return fill(card, el("h3", { id: "gaussian-name" }, `Gaussian ${count(stored)} of ${count(gaussians.all)}`), controls,
    view.hits.length > 1 ? el("p", { class: "caption" }, order) : null,
    table([["symbol"], ["value"], ["bits"], ["", "track"]], rows, "Symbols of the Gaussian"),
    el("table", { id: "gaussian-values", "aria-label": "Parameters of the Gaussian" }, el("tbody", {},
      ...values.map(([name, text]) => el("tr", {}, cell(name), cell(text))))));
}

function startPicture(redraw) {
  if (DATA.hasSource) view.right = "source";
  overlay.addEventListener("click", (event) => {
    const picture = currentPicture();
    const box = overlay.getBoundingClientRect();
    const px = ((event.clientX - box.left) / box.width) * DATA.file.width;
    const py = ((event.clientY - box.top) / box.height) * DATA.file.height;
    const hits = gaussiansAt(picture, px, py);
    if (!hits.length || !gaussiansOf(picture.gop)) return;
    const same = hits.length === view.hits.length && hits.every((hit, i) => hit === view.hits[i]);
    view.at = same ? (view.at + 1) % hits.length : 0;
    view.hits = hits;
    state.gaussian = hits[view.at];
    if (state.overlay === "none" || state.overlay === "map") state.overlay = "ellipses";
    redraw();
  });
  const follow = (event) => {
    const box = stage.getBoundingClientRect();
    setWipe((100 * (event.clientX - box.left)) / box.width);
  };
  wipe.addEventListener("pointerdown", (event) => {
    wipe.setPointerCapture(event.pointerId);
    follow(event);
  });
  wipe.addEventListener("pointermove", (event) => {
    if (wipe.hasPointerCapture(event.pointerId)) follow(event);
  });
  wipe.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -2, ArrowDown: -2, ArrowRight: 2, ArrowUp: 2, Home: -100, End: 100 }[event.key];
    if (step === undefined) return;
    event.preventDefault();
    setWipe(view.wipe + step);
  });
}
