// What is lost where something neutral takes the place of a stream.

function drawWorth() {
  const { frames, rows } = DATA.worth;
  byId("worth-section").hidden = rows.length === 0;
  if (!rows.length) return;
  const bySource = DATA.hasSource;
  byId("worth-lead").textContent = `Something neutral takes the place of a stream, and nothing is fitted anew. ${bySource
    ? "Decibels are PSNR lost against the source"
    : "Without --source the decoded frames are the reference: decibels are the PSNR that is left against them, the lower the more the stream is worth"
  }, in the mean over the ${plural(frames, "frame")} shown here. side_info has the scales of all others: without it nothing is decoded.`;
  const measure = (row) => (bySource ? row.lossDb : row.againstDecodedDb);
  const most = greatest(rows, (row) => Math.max(measure(row) ?? 0, 0));
  const shown = rows.map((row) => {
    const db = measure(row);
    const stream = STREAM_COLORS[row.stream];
    const name = row.part || (row.stream === "points" ? "points and point_bits" : row.stream);
    return el("tr", { class: row.part ? "part" : null },
      el("td", {}, row.part ? null : el("span", { class: "swatch", style: { background: stream } }), name),
      el("td", {}, count(row.bytes)),
      el("td", {}, db === null ? "identical" : db.toFixed(2)),
      el("td", { class: "track" }, el("span", { class: "bar", style: { width: `${(100 * Math.max(db ?? 0, 0)) / most}%`, background: stream } })),
      el("td", {}, !bySource || db === null || !row.bytes ? "" : (db / (row.bytes / 1000)).toFixed(2)),
      el("td", { class: "text wide" }, row.instead));
  });
  fill(byId("worth"), table([["without"], ["bytes"], [bySource ? "dB lost" : "dB left"], ["", "track"], [bySource ? "dB a kB" : ""], ["in its place", "text wide"]], shown,
    "What each stream is worth"));
}
