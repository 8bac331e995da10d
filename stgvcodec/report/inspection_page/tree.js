// The bytes of the file as a tree, whose branches are made when they are opened.

function hexadecimal(n) {
  return n.toString(16).padStart(6, "0");
}

// A section that is that of the piece around is not said again.
function treeRow(node, around) {
  const size = DATA.file.bytes || 1;
  const verdict = node.crc ? "ok" : "bad";
  const badge = node.crc === undefined ? null : el("span", { class: `badge ${verdict}` }, `CRC ${verdict}`);
  const title = `bitstream_spec.md, section ${node.section}`;
  const section = node.section && node.section !== around
    ? el("span", { class: "section", title }, `\u00a7${node.section} ${DATA.sections[node.section] || ""}`) : null;
  const value = node.value === undefined ? null : el("span", { class: "value" }, ` ${node.value}`);
  const share = el("span", { class: "share", style: { width: `${(100 * node.bytes) / size}%` } });
  const name = node.rest ? `${plural(node.rest, "chunk")} more, not listed` : node.name;
  const isBad = node.crc === false || node.name === "magic";
  return el("span", { class: "row" },
    el("span", { class: "what" }, name, value, badge, section),
    el("span", { class: "at" }, hexadecimal(node.first)),
    el("span", { class: "size" }, count(node.bytes), share),
    node.note ? el("span", { class: isBad ? "note" : "info" }, node.note) : null);
}

function branch(node, around) {
  if (!node.children) return el("div", { class: "leaf" }, treeRow(node, around));
  const details = el("details", {}, el("summary", {}, treeRow(node, around)));
  let isMade = false;
  details.addEventListener("toggle", () => {
    if (isMade) return;
    isMade = true;
    details.append(...node.children.map((child) => branch(child, node.section)));
  });
  return details;
}

function drawTree() {
  const head = el("div", { class: "leaf" }, el("span", { class: "row" }, el("strong", { class: "what" }, "piece"),
    el("span", { class: "at" }, "offset"), el("span", { class: "size" }, "bytes")));
  // Of many chunks those that follow are shown when they are asked for.
  const most = 200;
  const more = (from) => {
    const nodes = DATA.tree.slice(from, from + most).map((node) => branch(node));
    const rest = DATA.tree.length - from - most;
    if (rest > 0) {
      nodes.push(button(`${count(rest)} more`, (event) => event.target.replaceWith(...more(from + most))));
    }
    return nodes;
  };
  fill(byId("tree"), head, ...more(0));
}
