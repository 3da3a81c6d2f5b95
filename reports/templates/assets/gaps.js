"use strict";

start(async () => {
  const get = (id) => document.getElementById(id);
  const data = await vcbench.need("gaps");
  const rows = data.rows.map(([what, status, codec, metric, reason, places]) => ({ what: data.texts[what], status: data.texts[status], codec: data.texts[codec], metric: data.texts[metric], reason: data.texts[reason], places }));
  const distinct = (name) => [...new Set(rows.map((row) => row[name]).filter(Boolean))].sort();
  fill(get("what"), [["", "everything"], ...distinct("what").map((text) => [text, text])], choice.get("what") ?? "");
  fill(get("codec"), [["", "all codecs"], ...distinct("codec").map((text) => [text, text])], choice.get("codec") ?? "");

  function places(numbers) {
    const most = 3;
    const text = (list) => list.map((number) => data.texts[number]).join(", ");
    if (numbers.length <= most) return [text(numbers)];
    const button = element("button", { type: "button", className: "more" }, `and ${numbers.length - most} more`);
    const cell = element("span", {}, `${text(numbers.slice(0, most))} `, button);
    button.onclick = () => cell.replaceChildren(text(numbers));
    return [cell];
  }

  function refresh() {
    const [what, codec, search] = ["what", "codec", "search"].map((id) => get(id).value);
    choice.set({ what: what || null, codec: codec || null });
    const wanted = search.toLowerCase();
    const chosen = rows.filter((row) => (!what || row.what === what) && (!codec || row.codec === codec) && (!wanted || [row.reason, row.metric, row.codec, ...row.places.map((number) => data.texts[number])].some((text) => text.toLowerCase().includes(wanted))));
    get("count").textContent = rows.length ? `${chosen.length} of ${rows.length} kinds of gaps` : "There is none: every cell, measurement and comparison has a value.";
    if (!chosen.length) {
      get("gaps").replaceChildren();
      return;
    }
    const headings = ["What", "Status", "Codec", "Metric", "Reason", "Where"].map((text) => ({ text }));
    const row = (one) => element("tr", {}, element("th", { scope: "row" }, one.what), element("td", {}, one.status), element("td", {}, one.codec), element("td", {}, one.metric), element("td", { className: "long" }, one.reason), element("td", { className: "long" }, ...places(one.places)));
    paged(get("gaps"), chosen.length, (from, to) => chosen.slice(from, to).map(row), (made) => table(headings, made, { label: "Gaps" }));
  }

  for (const id of ["what", "codec"]) get(id).addEventListener("change", refresh);
  get("search").addEventListener("input", refresh);
  for (const form of document.forms) form.addEventListener("submit", (event) => event.preventDefault());
  refresh();
});
