// The page as a whole: its head, and what a choice changes.

function drawHead() {
  const { file } = DATA;
  document.title = `${file.name} \u2013 stgvcodec inspect`;
  byId("name").textContent = file.name;
  const isDamaged = DATA.damage.length > 0 || DATA.gops.some((gop) => gop.fault);
  byId("summary").textContent = file.width
    ? `Format ${file.version}, profile ${file.profile}, written by ${file.tool}`
    : "Nothing of this file can be decoded; its bytes are below.";
  const carried = file.carriedBytes ? [["carried along", bytes(file.carriedBytes)]] : [];
  const pairs = file.width ? [
    ["size", bytes(file.bytes)],
    ["rate", `${file.bpp.toFixed(3)} bpp`],
    ["picture", `${file.width}\u00d7${file.height}`],
    ["frames", `${count(file.frames)} in ${plural(DATA.gops.length, "GoP")}`],
    ["frames a second", String(file.rate)],
    ...carried,
    ...(DATA.hasSource ? [["PSNR", decibel(DATA.psnr)]] : []), ["state", isDamaged ? "damaged" : "intact"],
  ] : [["size", bytes(file.bytes)], ["state", "damaged"]];
  facts(byId("figures"), pairs);
  const items = (lines) => el("ul", {}, ...lines.map((line) => el("li", {}, line)));
  const list = (title, lines, kind) => (lines.length ? el("div", { class: kind }, title, items(lines)) : null);
  const faults = DATA.gops.flatMap((gop, i) => (gop.fault ? [`GoP ${i}: ${gop.fault}`] : []));
  const damage = list("Damage", [...DATA.damage, ...faults], "warning");
  fill(byId("notes"), damage, list("Left out of this page", DATA.leftOut, "aside"));
}

function drawChoices() {
  if (hasPictures) {
    frameChips(selectPicture);
    pictureControls(draw);
    gaussianCard(draw);
  }
  if (DATA.gops.length) streamTable();
  modelControls(draw);
}

function drawCanvases() {
  if (DATA.gops.length) drawTimeline();
  if (hasPictures) drawPicture();
  drawHistogram();
}

// Buttons are made anew, so that the one with the focus gives it to its successor.
function draw() {
  const focused = document.activeElement && document.activeElement.id;
  drawChoices();
  drawCanvases();
  if (focused && document.activeElement === document.body && byId(focused)) byId(focused).focus();
}

function selectPicture(i) {
  if (DATA.pictures[i].gop !== currentPicture().gop) [state.gaussian, view.hits] = [null, []];
  state.picture = i;
  state.gop = DATA.pictures[i].gop;
  view.hits = [];
  draw();
}

function selectGop(gop) {
  state.gop = gop;
  const picture = DATA.pictures.findIndex((one) => one.gop === gop);
  if (picture >= 0 && currentPicture().gop !== gop) selectPicture(picture);
  else draw();
}

drawHead();
startTimeline(selectGop);
byId("picture-section").hidden = !hasPictures;
if (hasPictures) {
  state.gop = currentPicture().gop;
  startPicture(draw);
}
draw();
drawWorth();
drawTree();
byId("left").addEventListener("load", drawPicture);
window.addEventListener("resize", drawCanvases);
window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawCanvases);
