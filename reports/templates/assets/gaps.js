"use strict";

start(async () => {
  const MOST = 3;
  const get = (id) => document.getElementById(id);
  const data = await vcbench.need("gaps");
  const named = (numbers) => numbers.map((number) => data.texts[number]);
  const causes = data.causes.map(({ reason, count, entries }) => ({
    reason: data.texts[reason], count,
    entries: entries.map(([what, status, codecs, metrics, places]) => ({ what: data.texts[what], status: data.texts[status], codecs: named(codecs), metrics: named(metrics), places: named(places) })),
  }));
  const distinct = (list) => [...new Set(causes.flatMap((cause) => cause.entries.flatMap(list)).filter(Boolean))].sort();
  fill(get("what"), [["", "everything"], ...distinct((entry) => [entry.what]).map((text) => [text, text])], choice.get("what") ?? "");
  fill(get("codec"), [["", "all codecs"], ...distinct((entry) => entry.codecs).map((text) => [text, text])], choice.get("codec") ?? "");

  function some(list) {
    if (list.length <= MOST) return [list.join(", ")];
    const button = element("button", { type: "button", className: "more" }, `and ${list.length - MOST} more`);
    const cell = element("span", {}, `${list.slice(0, MOST).join(", ")} `, button);
    button.onclick = () => cell.replaceChildren(list.join(", "));
    return [cell];
  }

  function section(cause) {
    const headings = [{ text: "What" }, { text: "Codecs" }, { text: "Metrics" }, { text: "Where" }];
    const rows = cause.shown.map((entry) => element("tr", {}, element("th", { scope: "row" }, `${entry.what}: ${entry.status}`), ...[entry.codecs, entry.metrics, entry.places].map((list) => element("td", { className: "list" }, ...some(list)))));
    return element("section", {}, element("h2", { className: "cause" }, `${cause.reason[0]?.toUpperCase() ?? ""}${cause.reason.slice(1)}`), element("p", { className: "dim" }, `${format.bytes(cause.count)} ${cause.count === 1 ? "value is" : "values are"} missing.`), table(headings, rows, { label: cause.reason }));
  }

  function refresh() {
    const [what, codec, search] = ["what", "codec", "search"].map((id) => get(id).value);
    choice.set({ what: what || null, codec: codec || null });
    const wanted = search.toLowerCase();
    const fits = (cause, entry) => (!what || entry.what === what) && (!codec || entry.codecs.includes(codec))
      && (!wanted || [cause.reason, ...entry.codecs, ...entry.metrics, ...entry.places].some((text) => text.toLowerCase().includes(wanted)));
    const chosen = causes.map((cause) => ({ ...cause, shown: cause.entries.filter((entry) => fits(cause, entry)) })).filter((cause) => cause.shown.length);
    get("count").textContent = causes.length ? `${chosen.length} of ${causes.length} ${causes.length === 1 ? "cause" : "causes"}` : "There is none: every cell, measurement and comparison has a value.";
    if (!chosen.length) {
      get("gaps").replaceChildren();
      return;
    }
    paged(get("gaps"), chosen.length, (from, to) => chosen.slice(from, to).map(section), (made) => element("div", {}, ...made), 20);
  }

  for (const id of ["what", "codec"]) get(id).addEventListener("change", refresh);
  get("search").addEventListener("input", refresh);
  for (const form of document.forms) form.addEventListener("submit", (event) => event.preventDefault());
  refresh();
});
