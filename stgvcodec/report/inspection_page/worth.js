// What is lost where something neutral takes the place of a stream.

function drawWorth() {
  const { frames, rows } = DATA.worth;
  byId("worth-section").hidden = rows.length === 0;
  if (!rows.length) return;
  const bySource = DATA.hasSource;
  const reference = bySource
    ? "Decibels are PSNR lost against the source"
    : "Without --source the decoded frames are the reference: decibels are the PSNR that is left against them, the "
      + "lower the more the stream is worth";
  byId("worth-lead").textContent = "Something neutral takes the place of a stream, and nothing is fitted anew. "
    + `${reference}, in the mean over ${plural(frames, "frame")}. side_info has the scales of all others: without it `
    + "nothing is decoded.";
  const measure = (row) => (bySource ? row.lossDb : row.againstDecodedDb);
  const most = greatest(rows, (row) => Math.max(measure(row) ?? 0, 0));
  const shown = rows.map((row) => {
    const db = measure(row);
    const stream = STREAM_COLORS[row.stream];
    const name = row.part || (row.stream === "points" ? "points and point_bits" : row.stream);
    const swatch = row.part ? null : el("span", { class: "swatch", style: { background: stream } });
    return el("tr", { class: row.part ? "part" : null },
      el("td", {}, swatch, name),
      cell(count(row.bytes)),
      cell(db === null ? "identical" : db.toFixed(2)),
      cell(bar(Math.max(db ?? 0, 0) / most, stream), "track"),
      cell(!bySource || db === null || !row.bytes ? "" : (db / (row.bytes / 1000)).toFixed(2)),
      cell(row.instead, "text wide"));
  });
  const [measured, efficiency] = bySource ? ["dB lost", "dB a kB"] : ["dB left", ""];
  const heads = [["without"], ["bytes"], [measured], ["", "track"], [efficiency], ["in its place", "text wide"]];
  fill(byId("worth"), table(heads, shown, "What each stream is worth"));
}
