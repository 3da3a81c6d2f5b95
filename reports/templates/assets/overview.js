"use strict";

start((index) => {
  const LOADED = "* Times taken while other cells were at work: they say what takes long, and rank nothing.";
  const get = (id) => document.getElementById(id);
  const [anchorBox, metricBox, scopeBox] = [get("anchor"), get("metric"), get("scope")];
  const tabs = ["ranking", "metrics", "pairs"];
  const place = get("comparison");
  let tab = tabs.includes(choice.get("table")) ? choice.get("table") : "ranking";
  let shown = null;

  fill(anchorBox, index.codecs.map((codec, number) => [number, codec.name]), chosenNumber(index.codecs, choice.get("anchor")));
  fill(metricBox, index.metrics.map((metric, number) => [number, metric.name]), chosenNumber(index.metrics, choice.get("metric")));
  fill(scopeBox, index.scopes.map((scope, number) => [number, scope.label]), choice.get("dataset") === null ? index.first : chosenNumber(index.scopes, choice.get("dataset"), "label"));
  get("marks").replaceChildren(...[...new Set(index.codecs.map((codec) => codec.rate))].map((rate) => element("li", {}, (KINDS[rate] ?? KINDS.estimate).about)),
    ...(index.codecs.some((codec) => codec.loaded) ? [element("li", {}, LOADED)] : []));

  const chosen = () => ({ anchor: Number(anchorBox.value), metric: Number(metricBox.value), scope: Number(scopeBox.value) });
  const load = (scope, metric) => vcbench.need(`compare-${scope}-${metric}`);
  const others = (anchor) => index.codecs.map((_, number) => number).filter((number) => number !== anchor);

  async function refresh() {
    const now = chosen();
    choice.set({ anchor: index.codecs[now.anchor].name, metric: index.metrics[now.metric]?.name, dataset: index.scopes[now.scope].label, table: tab });
    if (!index.metrics.length) {
      for (const id of ["comparison", "rd-plot", "speed-plot"]) nothing(get(id), "No metric was measured or asked for.");
      return;
    }
    const data = await load(now.scope, now.metric);
    const again = chosen();
    if (again.scope !== now.scope || again.metric !== now.metric) return;
    shown = { ...now, data };
    await showTable();
    listCurves();
    await Promise.all([showCurves(), showSpeed()]);
  }

  async function showTable() {
    const { anchor, metric, scope, data } = shown;
    const name = index.metrics[metric].name;
    const where = index.scopes[scope].label;
    for (const one of tabs) {
      const button = get(`tab-${one}`);
      button.setAttribute("aria-selected", one === tab);
      button.tabIndex = one === tab ? 0 : -1;
    }
    place.setAttribute("aria-labelledby", `tab-${tab}`);
    get("comparison-title").textContent = `BD-rate against ${index.codecs[anchor].name}`;
    if (data.problem) {
      get("comparison-about").textContent = "";
      place.replaceChildren(element("p", {}, `${data.problem}.`));
      return;
    }
    get("comparison-about").textContent = {
      ranking: `${name} on ${where}: mean over sequences, with the interval of 95 % confidence. Negative: fewer bits than the anchor for equal quality.`,
      metrics: `Every metric on ${where}, in per cent. Negative: fewer bits than ${index.codecs[anchor].name} for equal quality.`,
      pairs: `${name} on ${where}, in per cent: the codec of the row against the anchor of the column.`,
    }[tab];
    if (tab === "ranking") place.replaceChildren(ranking());
    else if (tab === "pairs") place.replaceChildren(...pairs());
    else place.replaceChildren(...(await metrics()));
  }

  function ranking() {
    const { anchor, metric, data } = shown;
    const { value, low, high } = data.quality ?? {};
    const order = others(anchor).sort((a, b) => (value[anchor][a] ?? Infinity) - (value[anchor][b] ?? Infinity));
    const ends = order.flatMap((test) => [value, low, high].map((grid) => grid[anchor][test])).filter((end) => end !== null);
    const reach = Math.max(1, ...ends.map(Math.abs));
    const unit = index.metrics[metric].unit;
    const headings = [
      { text: "Codec" }, { text: "BD-rate", right: true }, { text: "" }, { text: "", wide: true, content: scale(reach) }, { text: "95 % interval", right: true, wide: true },
      { text: `BD-metric${unit ? `, ${unit}` : ""}`, right: true, wide: true }, { text: "Sequences", right: true, wide: true }, { text: "Overlap", right: true, wide: true },
      { text: "Encoding time", right: true, wide: true }, { text: "Decoding time", right: true, wide: true },
    ];
    const base = element("tr", { className: "anchor" }, element("th", { scope: "row", className: "first" }, codecName(index, anchor)), element("td", { className: "r" }, "anchor"), element("td"),
      element("td", { className: "wide" }, forest(0, null, null, reach)), element("td", { className: "wide" }), ...Array.from({ length: 3 }, () => element("td", { className: "wide" })), ...["× 1", "× 1"].map((text) => element("td", { className: "r wide" }, text)));
    const absent = order.filter((test) => value[anchor][test] === null);
    const rows = order.map((test) => rankingRow(anchor, test, reach));
    if (absent.length <= 5) return table(headings, [base, ...rows.flat()], { label: "Codecs against the anchor" });
    const folded = rows.slice(order.length - absent.length).flat();
    for (const row of folded) row.hidden = true;
    const fold = element("button", { type: "button", className: "more", "aria-expanded": "false" }, `${absent.length} codecs have no BD-rate here: show them`);
    const line = element("tr", {}, element("td", { colSpan: 10 }, fold));
    fold.onclick = () => {
      line.remove();
      for (const row of folded) row.hidden = row.classList.contains("inner");
      folded[0].querySelector("button").focus();
    };
    return table(headings, [base, ...rows.slice(0, order.length - absent.length).flat(), line, ...folded], { label: "Codecs against the anchor" });
  }

  function rankingRow(anchor, test, reach) {
    const { data } = shown;
    const { quality, rate } = data;
    const at = (grid) => grid[anchor][test];
    const value = at(quality.value);
    const rough = [anchor, test].some((number) => index.codecs[number].rate === "estimate") ? "≈ " : "";
    const inner = element("tr", { className: "inner", hidden: true });
    const button = element("button", { type: "button", className: "more", "aria-expanded": "false", "aria-label": `${index.codecs[test].name}: ${value === null ? "why" : "details"}` }, value === null ? "why" : "details");
    button.onclick = () => {
      inner.hidden = !inner.hidden;
      button.setAttribute("aria-expanded", !inner.hidden);
      if (!inner.hidden && !inner.childElementCount) inner.append(element("td", { colSpan: 10 }, ...details(anchor, test)));
    };
    const times = ["encode", "decode"].map((step) => element("td", { className: "r wide" }, at(data[step]) === null ? "not timed" : `× ${format.number(at(data[step]), 3)}${[anchor, test].some((number) => index.codecs[number].loaded) ? " *" : ""}`));
    return [element("tr", {}, element("th", { scope: "row", className: "first" }, codecName(index, test)), valueCell(value, rough, "td"), element("td", {}, button),
      element("td", { className: "wide" }, value === null ? null : forest(value, at(quality.low), at(quality.high), reach)),
      element("td", { className: "r wide" }, at(quality.low) === null ? (value === null ? "" : "none") : `${format.signed(at(quality.low), 1)} to ${format.signed(at(quality.high), 1)} %`),
      element("td", { className: "r wide" }, at(rate.value) === null ? element("span", { className: "undefined" }, "undefined") : format.change(at(rate.value))),
      element("td", { className: "r wide" }, at(quality.total) ? `${at(quality.used)} of ${at(quality.total)}` : "whole dataset"),
      element("td", { className: "r wide" }, at(quality.overlap) === null ? "none" : format.share(at(quality.overlap))), ...times), inner];
  }

  function valueCell(value, rough, tag, more = {}) {
    if (value === null) return element(tag, { className: "r", ...more }, element("span", { className: "undefined" }, "undefined"));
    return element(tag, { className: `r ${value < 0 ? "better" : "worse"}`, ...more }, `${rough}${format.signed(value)} %`);
  }

  function details(anchor, test) {
    const { data, scope } = shown;
    const { quality, rate } = data;
    const said = [];
    const say = (label, number) => { if (number !== null && number !== undefined) said.push(element("p", {}, `${label}${data.texts[number]}.`)); };
    say("Undefined: ", quality.reason[anchor][test]);
    const [low, high, used, total] = ["low", "high", "used", "total"].map((name) => quality[name][anchor][test]);
    const times = ["encode", "decode"].map((step) => [step, data[step][anchor][test]]).filter(([, time]) => time !== null).map(([step, time]) => `${step === "encode" ? "encoding" : "decoding"} takes × ${format.number(time, 3)}`);
    const facts = [low === null ? null : `95 % interval ${format.signed(low, 1)} to ${format.signed(high, 1)} %`, total ? `${used} of ${total} sequences` : "values of the whole dataset", ...times].filter(Boolean);
    said.push(element("p", {}, `${facts.join(", ")}.`));
    if (quality.value[anchor][test] !== null) say("Interval: ", quality.interval[anchor][test]);
    if (rate.reason[anchor][test] !== quality.reason[anchor][test]) say("BD-metric undefined: ", rate.reason[anchor][test]);
    if (!data.qualitySequences) {
      said.push(element("p", { className: "dim" }, "Choose one dataset to see each sequence."));
      return said;
    }
    const spot = anchor * index.codecs.length + test;
    const reasons = new Map();
    const rows = data.sequences.map((sequence, row) => {
      const own = data.qualitySequences[row];
      const value = own.value[anchor][test];
      const number = value === null ? Object.keys(own.reasons).find((text) => own.reasons[text].includes(spot)) : undefined;
      if (number !== undefined && !reasons.has(number)) reasons.set(number, reasons.size + 1);
      const mark = number === undefined ? null : element("sup", {}, ` ${reasons.get(number)}`);
      const link = element("a", { href: `sequences.html#${new URLSearchParams({ sequence: index.sequences[sequence].name, dataset: index.sequences[sequence].dataset, metric: index.metrics[shown.metric].name })}` }, index.sequences[sequence].name);
      const metric = data.rateSequences[row].value[anchor][test];
      return element("tr", {}, element("th", { scope: "row" }, link), element("td", { className: `r ${value === null ? "" : value < 0 ? "better" : "worse"}` }, value === null ? "undefined" : `${format.signed(value)} %`, mark),
        element("td", { className: "r" }, own.overlap[anchor][test] === null ? "none" : format.share(own.overlap[anchor][test])), element("td", { className: "r" }, metric === null ? "undefined" : format.change(metric)));
    });
    said.push(table([{ text: "Sequence" }, { text: "BD-rate", right: true }, { text: "Overlap", right: true }, { text: "BD-metric", right: true }], rows, { narrow: true, label: "Each sequence" }));
    if (reasons.size) said.push(element("ol", { className: "notes" }, ...[...reasons.keys()].map((number) => element("li", {}, data.texts[number]))));
    return said;
  }

  function forest(value, low, high, reach) {
    const x = (per) => 120 + (per / reach) * 112;
    const parts = [svg("line", { class: "zero", x1: 120, x2: 120, y1: 0, y2: 24 })];
    if (low !== null) parts.push(svg("line", { class: "span", x1: x(low), x2: x(high), y1: 12, y2: 12 }));
    parts.push(svg("circle", { class: "dot", cx: x(value), cy: 12, r: 4 }));
    return svg("svg", { class: "forest", viewBox: "0 0 240 24", "aria-hidden": "true" }, ...parts);
  }

  function scale(reach) {
    const text = (x, anchor, content) => { const made = svg("text", { x, y: 16, "text-anchor": anchor, "font-size": 11, fill: "currentColor" }); made.textContent = content; return made; };
    const end = format.number(reach, 2);
    return svg("svg", { class: "forest", viewBox: "0 0 240 24", "aria-hidden": "true" }, text(8, "start", `−${end} %`), text(120, "middle", "0"), text(232, "end", `+${end} %`));
  }

  // Reasons are told once below a table, by number; most cells without a value share one.
  function notes() {
    const known = new Map();
    return {
      mark(text) {
        if (!known.has(text)) known.set(text, known.size + 1);
        return element("span", { className: "undefined" }, "–", element("sup", {}, element("span", { title: text }, ` ${known.get(text)}`)));
      },
      list: () => (known.size ? [element("h3", {}, "Undefined, and why"), element("ol", { className: "notes" }, ...[...known.keys()].map((text) => element("li", {}, text)))] : []),
    };
  }

  function tinted(value, reason, told) {
    if (value === null) return element("td", { className: "r" }, told.mark(reason));
    return element("td", { className: `r tint-${value < 0 ? "better" : "worse"}` }, format.signed(value, 1));
  }

  function pairs() {
    const { data } = shown;
    const told = notes();
    const headings = [{ text: "Codec" }, ...index.codecs.map((codec, number) => ({
      right: true,
      content: element("button", { type: "button", className: "more", title: `Take ${codec.name} as the anchor`, onclick: () => { anchorBox.value = number; tab = "ranking"; refresh().catch(vcbench.fail); } }, codec.name),
    }))];
    const rows = index.codecs.map((_, test) => element("tr", {}, element("th", { scope: "row", className: "first" }, codecName(index, test)),
      ...index.codecs.map((__, anchor) => (anchor === test ? element("td", { className: "r dim" }, "anchor") : tinted(data.quality.value[anchor][test], data.texts[data.quality.reason[anchor][test]], told)))));
    return [table(headings, rows, { label: "Every codec against every anchor", narrow: true }), ...told.list()];
  }

  async function metrics() {
    const { anchor, scope } = shown;
    const told = notes();
    const all = await Promise.all(index.metrics.map((_, metric) => load(scope, metric)));
    const headings = [{ text: "Codec" }, ...index.metrics.map((metric) => ({ text: metric.name, right: true }))];
    const rows = others(anchor).map((test) => element("tr", {}, element("th", { scope: "row", className: "first" }, codecName(index, test)),
      ...all.map((data) => (data.problem ? tinted(null, data.problem, told) : tinted(data.quality.value[anchor][test], data.texts[data.quality.reason[anchor][test]], told)))));
    return [table(headings, rows, { label: "Every metric", narrow: true }), ...told.list()];
  }

  function listCurves() {
    const { data, scope } = shown;
    const before = get("curves-of").value;
    const ofScope = index.sequences.map((sequence, number) => [number, sequence.name, sequence.dataset]).filter(([number]) => data.sequences.includes(number));
    fill(get("curves-of"), [["", index.scopes[scope].dataset === null ? "choose a sequence" : "the whole dataset"], ...ofScope], before);
  }

  async function showCurves() {
    const { metric, data } = shown;
    const sequence = get("curves-of").value;
    let traces = [];
    let caption = data.curvesOver;
    const title = index.metrics[metric].name;
    const text = (number) => (point) => plain(`${index.codecs[number].name} at ${point[2]}\n${format.number(point[0])} bit/pixel\n${title} ${format.number(point[1])}`).replaceAll("\n", "<br>");
    let infinite = 0;
    if (sequence === "") {
      traces = data.curves.map(([number, points]) => {
        infinite += points.length - finite(points).length;
        return curveTrace(index, number, finite(points), text(number));
      });
    } else {
      const own = await vcbench.need(`sequence-${sequence}`);
      for (const number of index.codecs.keys()) {
        const cells = own.cells.filter((cell) => cell.codec === number && cell.status === "ok" && cell.values[metric] !== null);
        const points = cells.map((cell) => [cell.bpp, cell.values[metric], `${cell.parameter} ${cell.rate}`, cell.name]).sort((a, b) => a[0] - b[0]);
        infinite += points.length - finite(points).length;
        if (finite(points).length) traces.push(curveTrace(index, number, finite(points), text(number)));
      }
      caption = `${index.sequences[sequence].name}: a point is one bitstream; choosing one opens its cell.`;
    }
    get("rd-caption").textContent = caption + (infinite ? ` ${infinite} points of infinite quality or without a rate have no place on the axes.` : "");
    if (!traces.some((trace) => trace.x.length)) {
      nothing(get("rd-plot"), sequence === "" ? caption : "No cell of this sequence has a value of this metric.");
      return;
    }
    const open = (name) => {
      if (name !== undefined) location.href = `sequences.html#${new URLSearchParams({ sequence: index.sequences[sequence].name, dataset: index.sequences[sequence].dataset, metric: title, cell: name })}`;
    };
    await plot(get("rd-plot"), traces, { xaxis: rateAxis("rate (bit/pixel)", get("log-rate").checked, traces), yaxis: { title: { text: qualityTitle(index.metrics[metric]) } } }, sequence === "" ? null : open);
  }

  async function showSpeed() {
    const { anchor, data } = shown;
    const step = get("step").value;
    const points = data.quality
      ? index.codecs.map((_, number) => [number === anchor ? 1 : data[step][anchor][number], number === anchor ? 0 : data.quality.value[anchor][number], number]).filter(([time, value]) => time !== null && value !== null)
      : [];
    const absent = index.codecs.length - points.length;
    const name = index.codecs[anchor].name;
    get("speed-caption").textContent = `Time is the ratio to ${name}, a geometric mean over the sequences that both coded; down and to the left is better.${absent ? ` Not shown, for want of a BD-rate or of times: ${index.codecs.filter((_, number) => !points.some((point) => point[2] === number)).map((codec) => codec.name).join(", ")}.` : ""}${index.codecs.some((codec) => codec.loaded) ? ` ${LOADED}` : ""}`;
    if (points.length < 2) {
      nothing(get("speed-plot"), `No other codec has both a BD-rate and a time against ${name}.`);
      return;
    }
    const traces = points.map(([time, value, number]) => ({ ...curveTrace(index, number, [[time, value]], () => plain(`${index.codecs[number].name}: × ${format.number(time, 3)}, ${format.signed(value)} %`)), mode: "markers+text",
      text: [plain(index.codecs[number].name)], textposition: "top center", textfont: { size: 12 }, cliponaxis: false, showlegend: false }));
    await plot(get("speed-plot"), traces, { margin: { l: 56, r: 40, t: 24, b: 48 }, xaxis: logAxis(`${step === "encode" ? "encoding" : "decoding"} time, times that of ${plain(name)}`, points.map((point) => point[0])), yaxis: { title: { text: `BD-rate against ${plain(name)} (%)` }, zeroline: true } });
  }

  const guarded = (action) => () => { if (shown || action === refresh) action().catch(vcbench.fail); };
  for (const box of [anchorBox, metricBox, scopeBox]) box.addEventListener("change", guarded(refresh));
  for (const id of ["curves-of", "log-rate"]) get(id).addEventListener("change", guarded(showCurves));
  get("step").addEventListener("change", guarded(showSpeed));
  get("controls").addEventListener("submit", (event) => event.preventDefault());
  for (const [number, one] of tabs.entries()) {
    const button = get(`tab-${one}`);
    const open = (name) => { tab = name; choice.set({ table: tab }); get(`tab-${tab}`).focus(); guarded(showTable)(); };
    button.addEventListener("click", () => open(one));
    button.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (step) open(tabs[(number + step + tabs.length) % tabs.length]);
    });
  }
  style.scheme.addEventListener("change", guarded(refresh));
  refresh().catch(vcbench.fail);
});
