"use strict";

start((index) => {
  const COLUMNS = 10;
  const get = (id) => document.getElementById(id);
  const [anchorBox, metricBox, scopeBox] = [get("anchor"), get("metric"), get("scope")];
  const tabs = ["ranking", "metrics", "pairs"];
  const place = get("comparison");
  let tab = tabs.includes(choice.get("table")) ? choice.get("table") : "ranking";
  let shown = null;

  fill(anchorBox, index.codecs.map((codec, number) => [number, codec.look.label]), chosenNumber(index.codecs, choice.get("anchor")));
  fill(metricBox, index.metrics.map((metric, number) => [number, metric.label]), chosenNumber(index.metrics, choice.get("metric")));
  fill(scopeBox, index.scopes.map((scope, number) => [number, scope.label]), choice.get("dataset") === null ? index.first : chosenNumber(index.scopes, choice.get("dataset"), "label"));
  let marked = 0;  // the flags of the values in the table

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
    showCosts();
    await Promise.all([showGlance(), showCurves(), showSpeed()]);
  }

  // The best codec by each metric, and whether it is ahead of the next one beyond the interval of that very pair.
  async function showGlance() {
    const { anchor, scope } = shown;
    const all = await Promise.all(index.metrics.map((_, metric) => load(scope, metric)));
    const why = notes();
    const wins = new Map();
    const tricked = [];
    const reversed = new Map();
    let compared = 0;
    // Whether codec a needs fewer bits than b by a metric; null where that cannot be said.
    const ahead = (a, b, metric) => (all[metric]?.problem ? null : all[metric]?.quality.value[b][a] ?? null) === null ? null : all[metric].quality.value[b][a] < 0;
    // Why a lead by a metric that tricks fool does not count: VMAF NEG denies VMAF's, no metric that none fools agrees, or
    // there is none to agree with a codec that draws detail.
    const denial = (best, next, metric) => {
      const { fooled, stricter } = index.metrics[metric];
      if (!fooled.length) return null;
      const said = index.metrics.map((_, number) => ahead(best, next, number));
      const strict = index.metrics.findIndex(({ name }) => name === stricter);
      if (said[strict] === false) return `${index.metrics[strict].label} sees no lead`;
      const others = [...said.keys()].filter((number) => !index.metrics[number].fooled.length && said[number] !== null);
      if (others.length) return others.some((number) => said[number]) ? null : `no lead by ${others.map((number) => index.metrics[number].label).join(", ")}`;
      return index.codecs[best].draws ? "no other metric compares them" : null;
    };
    const rows = all.map((data, metric) => {
      const pick = element("button", { type: "button", className: "more", title: `${index.metrics[metric].name}: ${index.metrics[metric].title}`, onclick: () => { metricBox.value = metric; refresh().catch(vcbench.fail); } }, index.metrics[metric].label);
      const grid = data.problem ? null : data.quality;
      const of = (test) => (test === anchor ? 0 : grid.value[anchor][test]);
      const ranked = grid ? [...index.codecs.keys()].filter((test) => test === anchor || (of(test) !== null && !grid.apart[anchor][test])).sort((a, b) => of(a) - of(b)) : [];
      const head = element("th", { scope: "row", className: "first" }, pick);
      if (ranked.length < 2) return element("tr", {}, head, element("td", { colSpan: 6 }, why.mark(data.problem || data.texts[grid.reason[anchor][others(anchor)[0]]] || "nothing to compare", "no comparison")));
      const [best, next] = ranked;
      const clear = grid.high[next][best] !== null && grid.high[next][best] < 0;
      const lead = grid.value[next][best];
      // against the anchor over one range of qualities, against each other over another
      const behind = lead !== null && lead > 0 ? `needs more bits than ${index.codecs[next].look.label} where the two meet` : null;
      const denied = behind ?? denial(best, next, metric);
      compared += 1;
      if (behind) {
        const about = `${index.codecs[best].look.label} ${behind}`;
        reversed.set(about, [...(reversed.get(about) ?? []), index.metrics[metric].label]);
      } else if (denied) tricked.push(`${index.codecs[best].look.label} by ${index.metrics[metric].label} (fooled by ${index.metrics[metric].fooled.join(", ")}; ${denied})`);
      else wins.set(best, [...(wins.get(best) ?? []), clear]);
      const told = grid.low[next][best] === null ? "no interval" : fromTo([grid.low[next][best], grid.high[next][best]], 1);
      const absent = others(anchor).filter((test) => !ranked.includes(test)).flatMap((test) => [element("div", {}, `${index.codecs[test].look.label} `, why.mark(of(test) === null ? data.texts[grid.reason[anchor][test]] : "over other sequences than the rest", ""))]);
      return element("tr", {}, head, element("td", {}, codecName(index, best)),
        best === anchor ? element("td", { className: "r" }, "anchor") : valueCell(of(best), "", marks(index, seen(grid.flags[anchor][best]), ofSequences(grid, anchor, best))),
        element("td", { className: "wide" }, codecName(index, next)),
        element("td", { className: "r wide" }, lead === null ? "undefined" : `${format.signed(lead)} %`, marks(index, seen(grid.flags[next][best]), ofSequences(grid, next, best)), element("span", { className: "under" }, told)),
        element("td", { className: "wide text-cell" }, denied ? "not counted" : clear ? "clear" : lead === null ? "the two do not meet" : grid.low[next][best] === null ? "too few sequences to tell" : "not clear", element("span", { className: "under" }, denied ?? "")), element("td", { className: "wide" }, ...absent));
    });
    const tally = [...wins].sort(([, a], [, b]) => b.length - a.length).map(([test, clears]) => `${index.codecs[test].look.label} by ${clears.length} of ${compared} metrics (${clears.filter(Boolean).length} clearly)`);
    const doubted = [...[...reversed].map(([about, names]) => `${about} (${names.join(", ")})`), ...tricked];
    const left = doubted.length ? ` Not counted: ${doubted.join("; ")}.` : "";
    get("glance-about").textContent = tally.length || left ? `Fewest bits for equal quality on ${index.scopes[scope].label}: ${tally.join("; ") || "no codec"}.${left}` : `No codec can be compared with ${index.codecs[anchor].look.label} on ${index.scopes[scope].label}.`;
    const headings = [{ text: "Metric" }, { text: "Best" }, { content: ["BD-rate", element("span", { className: "under" }, "against the anchor")], right: true }, { text: "Next", wide: true }, { content: ["Best against next", element("span", { className: "under" }, "95 % interval")], right: true, wide: true }, { text: "Lead", wide: true }, { text: "Not ranked", wide: true }];
    get("glance").replaceChildren(table(headings, rows, { label: "The best codec by each metric" }), ...why.list("Not ranked, and why"));
    showLegend();
  }

  async function showTable() {
    const { anchor, metric, scope, data } = shown;
    const name = index.metrics[metric].label;
    const where = index.scopes[scope].label;
    for (const one of tabs) {
      const button = get(`tab-${one}`);
      button.setAttribute("aria-selected", one === tab);
      button.tabIndex = one === tab ? 0 : -1;
    }
    place.setAttribute("aria-labelledby", `tab-${tab}`);
    get("comparison-title").textContent = `BD-rate against ${index.codecs[anchor].look.label}`;
    if (data.problem) {
      get("comparison-about").textContent = "";
      place.replaceChildren(element("p", {}, `${data.problem}.`));
      return;
    }
    get("comparison-about").textContent = {
      ranking: `${name} on ${where}: ${index.means}, and from its least to its greatest value over PCHIP, Akima and linear interpolation. Negative: fewer bits than the anchor for equal quality.`,
      metrics: `Every metric on ${where}, in per cent, each over the sequences that all codecs have. Negative: fewer bits than ${index.codecs[anchor].look.label} for equal quality.`,
      pairs: `${name} on ${where}, in per cent: the codec of the row against the anchor of the column.`,
    }[tab];
    marked = 0;
    if (tab === "ranking") place.replaceChildren(ranking());
    else if (tab === "pairs") place.replaceChildren(...pairs());
    else place.replaceChildren(...(await metrics()));
    showLegend();
  }

  function showLegend() {
    get("marks").replaceChildren(...flagsOf(index, marked).map((flag) => element("li", {}, element("b", {}, flag.mark), ` ${flag.text}`)),
      ...[...new Set(index.codecs.map((codec) => codec.rate))].map((rate) => element("li", {}, (KINDS[rate] ?? KINDS.estimate).about)),
      ...(index.codecs.some((codec) => codec.loaded) ? [element("li", {}, LOADED)] : []));
  }

  function seen(bits) {
    marked |= bits;
    return bits;
  }

  function ofSequences({ used, total }, anchor, test) {
    return total[anchor][test] ? `${used[anchor][test]} of ${total[anchor][test]} sequences` : "whole dataset";
  }

  const isPartial = (bits) => Boolean(bits & (1 << index.partial));

  function ranking() {
    const { anchor, metric, data } = shown;
    const { value, low, high, apart } = data.quality ?? {};
    const rank = (test) => (value[anchor][test] === null ? 2 : apart[anchor][test]);
    const order = others(anchor).sort((a, b) => rank(a) - rank(b) || (value[anchor][a] ?? 0) - (value[anchor][b] ?? 0));
    const ends = order.flatMap((test) => [value, low, high].map((grid) => grid[anchor][test])).filter((end) => end !== null);
    const reach = Math.max(1, ...ends.map(Math.abs));
    const unit = index.metrics[metric].axisUnit;
    const headings = [
      { text: "Codec" }, { text: "BD-rate", right: true }, { text: "" }, { text: "", wide: true, content: scale(reach) }, { content: ["95 % interval", element("span", { className: "under" }, "interpolations")], right: true, wide: true },
      { text: `BD-metric${unit ? `, ${unit}` : ""}`, right: true, wide: true }, { text: "Sequences", right: true, wide: true }, { text: "Overlap", right: true, wide: true },
      { text: "Encoding time", right: true, wide: true }, { text: "Decoding time", right: true, wide: true },
    ];
    const base = element("tr", { className: "anchor" }, element("th", { scope: "row", className: "first" }, codecName(index, anchor)), element("td", { className: "r" }, "anchor"), element("td"),
      element("td", { className: "wide" }, forest(0, null, null, reach)), ...Array.from({ length: 4 }, () => element("td", { className: "wide" })), ...["× 1", "× 1"].map((text) => element("td", { className: "r wide" }, text)));
    const absent = order.filter((test) => value[anchor][test] === null);
    const rows = order.map((test) => rankingRow(anchor, test, reach));
    const first = order.findIndex((test) => rank(test) === 1);
    if (first >= 0) rows[first].unshift(element("tr", {}, element("td", { colSpan: COLUMNS, className: "dim" }, "Over other sequences, as they lack most of those above; not to be ranked with them:")));
    if (absent.length <= 5) return table(headings, [base, ...rows.flat()], { label: "Codecs against the anchor" });
    const folded = rows.slice(order.length - absent.length).flat();
    for (const row of folded) row.hidden = true;
    const fold = element("button", { type: "button", className: "more", "aria-expanded": "false" }, `${absent.length} codecs have no BD-rate here: show them`);
    const line = element("tr", {}, element("td", { colSpan: COLUMNS }, fold));
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
    const bits = seen(at(quality.flags));
    const rough = [anchor, test].some((number) => index.codecs[number].rate === "estimate") ? "≈ " : "";
    const inner = element("tr", { className: "inner", hidden: true });
    const button = element("button", { type: "button", className: "more", "aria-expanded": "false", "aria-label": `${index.codecs[test].look.label}: ${value === null ? "why" : "details"}` }, value === null ? "why" : "details");
    button.onclick = () => {
      inner.hidden = !inner.hidden;
      button.setAttribute("aria-expanded", !inner.hidden);
      if (!inner.hidden && !inner.childElementCount) inner.append(element("td", { colSpan: COLUMNS }, ...details(anchor, test)));
    };
    const times = ["encode", "decode"].map((step) => element("td", { className: "r wide" }, at(data[step]) === null ? "not timed" : `× ${format.number(at(data[step]), 3)}${[anchor, test].some((number) => index.codecs[number].loaded) ? " *" : ""}`));
    return [element("tr", {}, element("th", { scope: "row", className: "first" }, codecName(index, test)), valueCell(value, rough, marks(index, bits, ofSequences(quality, anchor, test))), element("td", {}, button),
      element("td", { className: "wide" }, value === null ? null : forest(value, at(quality.low), at(quality.high), reach)),
      element("td", { className: "r wide" }, value === null ? "" : at(quality.low) === null ? "no interval" : fromTo([at(quality.low), at(quality.high)], 1),
        value === null ? null : element("span", { className: "under" }, fromTo(at(quality.spread), 1))),
      element("td", { className: "r wide" }, at(rate.value) === null ? element("span", { className: "undefined" }, "undefined") : format.change(at(rate.value)), marks(index, seen(at(rate.flags)), ofSequences(rate, anchor, test))),
      element("td", { className: "r wide" }, ofSequences(quality, anchor, test).replace(" sequences", "")),
      element("td", { className: "r wide" }, at(quality.overlap) === null ? "none" : format.share(at(quality.overlap))), ...times), inner];
  }

  function valueCell(value, rough, ...marked) {
    if (value === null) return element("td", { className: "r" }, element("span", { className: "undefined" }, "undefined"));
    return element("td", { className: `r ${value < 0 ? "better" : "worse"}` }, `${rough}${format.signed(value)} %`, ...marked);
  }

  const fromTo = ([low, high], digits = 2) => `${format.signed(low, digits)} to ${format.signed(high, digits)} %`;

  function details(anchor, test) {
    const { data, scope } = shown;
    const { quality, rate } = data;
    const said = [];
    const say = (label, number) => { if (number !== null && number !== undefined) said.push(element("p", {}, `${label}${data.texts[number]}.`)); };
    const unit = index.metrics[shown.metric].axisUnit;
    const at = (grid) => grid[anchor][test];
    const [value, bits, used, total] = [quality.value, quality.flags, quality.used, quality.total].map(at);
    if (value === null) say("Undefined: ", at(quality.reason));
    else if (isPartial(bits)) say(`Partial: a mean over ${ofSequences(quality, anchor, test)}. Left out: `, at(quality.reason));
    const times = ["encode", "decode"].map((step) => [step, at(data[step])]).filter(([, time]) => time !== null).map(([step, time]) => `${step === "encode" ? "encoding" : "decoding"} takes × ${format.number(time, 3)}`);
    const facts = [at(quality.low) === null ? null : `95 % interval ${format.signed(at(quality.low), 1)} to ${format.signed(at(quality.high), 1)} %`, value === null ? null : `PCHIP, Akima and linear interpolation give ${fromTo(at(quality.spread))}`,
      at(quality.compared) === null ? null : `compared ${range(at(quality.compared), unit)}`, total ? `${used} of ${total} sequences` : "values of the whole dataset", ...times].filter(Boolean);
    said.push(element("p", {}, `${facts.join(", ")}.`));
    if (value !== null) say("Interval: ", at(quality.interval));
    if (at(rate.reason) !== at(quality.reason)) say(at(rate.value) === null ? "BD-metric undefined: " : `BD-metric partial: ${ofSequences(rate, anchor, test)}. Left out: `, at(rate.reason));
    const pooled = index.metrics[shown.metric].pooled || !total;
    if (value !== null) said.push(...doubts(anchor, test, pooled));
    if (!data.qualitySequences || !total) {
      if (total) said.push(element("p", { className: "dim" }, "Choose one dataset to see each sequence."));
      return said;
    }
    const rows = data.sequences.map((sequence, row) => {
      const [own, ofRate] = [data.qualitySequences[row], data.rateSequences[row]];
      const link = element("a", { href: `sequences.html#${new URLSearchParams({ sequence: index.sequences[sequence].name, dataset: index.sequences[sequence].dataset, metric: index.metrics[shown.metric].name })}` }, index.sequences[sequence].name);
      const metric = at(ofRate.value);
      return element("tr", {}, element("th", { scope: "row" }, link), valueCell(at(own.value), "", marks(index, seen(at(own.flags)))),
        element("td", { className: "r" }, at(own.overlap) === null ? "none" : format.share(at(own.overlap))), element("td", { className: "r" }, comparedEnds(own, anchor, test)),
        element("td", { className: "r" }, metric === null ? "undefined" : format.change(metric), marks(index, seen(at(ofRate.flags)))), element("td", { className: "long" }, remarks(own, ofRate, anchor, test)));
    });
    showLegend();
    const headings = [{ text: "Sequence" }, { text: "BD-rate", right: true }, { text: "Overlap", right: true }, { text: `Compared${unit ? `, ${unit}` : ""}`, right: true }, { text: `BD-metric${unit ? `, ${unit}` : ""}`, right: true }, { text: "Remarks" }];
    said.push(table(headings, rows, { narrow: true, label: "Each sequence" }));
    return said;
  }

  const range = ([low, high], unit) => withUnit(`${format.number(low)} to ${format.number(high)}`, unit);

  // Each doubt about a mean, and where it holds.
  function doubts(anchor, test, pooled) {
    const { data } = shown;
    const bits = data.quality.flags[anchor][test];
    const own = pooled ? [anchor, test].flatMap((codec) => data.quality.wholeDoubts[codec] ?? []).map((number) => data.texts[number]) : [];
    const rows = (data.qualitySequences ?? []).map((one, row) => [one, index.sequences[data.sequences[row]].name]).filter(([one]) => one.value[anchor][test] !== null);
    const items = flagsOf(index, bits & ~(1 << index.partial)).map((flag) => {
      const names = pooled ? [] : rows.filter(([one]) => flagsOf(index, one.flags[anchor][test]).includes(flag)).map(([, name]) => name);
      const where = names.length ? ` (${names.length} of ${rows.length} sequences: ${names.slice(0, 3).join(", ")}${names.length > 3 ? ` and ${names.length - 3} more` : ""})` : "";
      return element("li", {}, element("b", {}, flag.mark), ` ${flag.text}${where}`);
    });
    if (!items.length) return [];
    return [element("p", {}, "Doubts about this value:"), element("ul", { className: "doubts" }, ...items, ...own.map((text) => element("li", {}, text)))];
  }

  // What both curves reach; a codec's own ends are from the low to the high number.
  function comparedEnds(own, anchor, test) {
    const [one, other] = [own.ends[anchor], own.ends[test]];
    if (!one || !other) return "none";
    const [low, high] = [Math.max(one[0], other[0]), Math.min(one[1], other[1])];
    return low < high ? range([low, high]) : "none";
  }

  // Why there is no value on a sequence, or the figures behind the marks of it.
  function remarks(own, ofRate, anchor, test) {
    const { data } = shown;
    const spot = anchor * index.codecs.length + test;
    const reason = (of) => data.texts[Object.keys(of.reasons).find((number) => of.reasons[number].includes(spot))];
    if (own.value[anchor][test] === null) return reason(own) ?? "";
    const told = [anchor, test].flatMap((codec) => own.doubts[codec] ?? []).map((number) => data.texts[number]);
    if (own.spread[spot]) told.push(`PCHIP, Akima and linear interpolation give ${fromTo(own.spread[spot])}`);
    if (ofRate.value[anchor][test] === null) told.push(`BD-metric: ${reason(ofRate) ?? "undefined"}`);
    return told.join("; ");
  }

  function forest(value, low, high, reach) {
    const x = (per) => 120 + (per / reach) * 112;
    const parts = [svg("line", { class: "zero", x1: 120, x2: 120, y1: 0, y2: 24 })];
    if (low !== null) parts.push(svg("line", { class: "span", x1: x(low), x2: x(high), y1: 12, y2: 12 }));
    parts.push(svg("circle", { class: "dot", cx: x(value), cy: 12, r: 4 }));
    return svg("svg", { class: "forest", viewBox: "0 0 240 24", "aria-hidden": "true" }, ...parts);
  }

  function scale(reach) {
    const text = (x, anchor, content) => { const made = svg("text", { x, y: 16, "text-anchor": anchor, "font-size": 15, fill: "currentColor" }); made.textContent = content; return made; };
    const end = format.number(reach, 2);
    return svg("svg", { class: "forest", viewBox: "0 0 240 24", "aria-hidden": "true" }, text(8, "start", `−${end} %`), text(120, "middle", "0"), text(232, "end", `+${end} %`));
  }

  function tinted(data, anchor, test, told) {
    const value = data.problem ? null : data.quality.value[anchor][test];
    if (value === null) return element("td", { className: "r" }, told.mark(data.problem || data.texts[data.quality.reason[anchor][test]]));
    const bits = seen(data.quality.flags[anchor][test]);
    return element("td", { className: `r tint-${value < 0 ? "better" : "worse"}` }, format.signed(value, 1), marks(index, bits, ofSequences(data.quality, anchor, test)));
  }

  function pairs() {
    const { data } = shown;
    const told = notes();
    const headings = [{ text: "Codec" }, ...index.codecs.map((codec, number) => ({
      right: true,
      content: element("button", { type: "button", className: "more", title: `Take ${codec.look.label} as the anchor`, onclick: () => { anchorBox.value = number; tab = "ranking"; refresh().catch(vcbench.fail); } }, codec.look.label),
    }))];
    const rows = index.codecs.map((_, test) => element("tr", {}, element("th", { scope: "row", className: "first" }, codecName(index, test)),
      ...index.codecs.map((__, anchor) => (anchor === test ? element("td", { className: "r dim" }, "anchor") : tinted(data, anchor, test, told)))));
    return [table(headings, rows, { label: "Every codec against every anchor", narrow: true }), ...told.list()];
  }

  async function metrics() {
    const { anchor, scope } = shown;
    const told = notes();
    const all = await Promise.all(index.metrics.map((_, metric) => load(scope, metric)));
    const headings = [{ text: "Codec" }, ...index.metrics.map((metric) => ({ text: metric.label, right: true }))];
    const rows = others(anchor).map((test) => element("tr", {}, element("th", { scope: "row", className: "first" }, codecName(index, test)),
      ...all.map((data) => tinted(data, anchor, test, told))));
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
    const one = index.metrics[metric];
    const title = one.name;
    const text = (number) => (point) => plain(`${index.codecs[number].look.label} at ${point[2]}\n${format.number(point[0])} bit/pixel\n${title} ${withUnit(format.number(point[1]), one.axisUnit)}`).replaceAll("\n", "<br>");
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
        const points = cells.map((cell) => [cell.bpp, onAxis(one, cell.values[metric]), `${cell.parameter} ${cell.rate}`, cell.name, cell.scale]).sort((a, b) => a[0] - b[0]);
        infinite += points.length - finite(points).length;
        if (finite(points).length) traces.push(...rateTraces(index, number, finite(points), text(number), one.better));
      }
      caption = `${index.sequences[sequence].name}: a point is one bitstream; choosing one opens its cell.${dbNote(one)}`;
    }
    get("rd-caption").textContent = caption + (infinite ? ` ${infinite} points of infinite quality or without a rate have no place on the axes.` : "");
    if (!traces.some((trace) => trace.x.length)) {
      nothing(get("rd-plot"), sequence === "" ? caption : "No cell of this sequence has a value of this metric.");
      return;
    }
    const open = (name) => {
      if (name !== undefined) location.href = `sequences.html#${new URLSearchParams({ sequence: index.sequences[sequence].name, dataset: index.sequences[sequence].dataset, metric: title, cell: name })}`;
    };
    await plot(get("rd-plot"), traces, { xaxis: rateAxis("rate (bit/pixel)", get("log-rate").checked, traces), yaxis: { title: { text: axisTitle(one) } } }, sequence === "" ? null : open);
  }

  async function showSpeed() {
    const { anchor, data } = shown;
    const step = get("step").value;
    const points = data.quality
      ? index.codecs.map((_, number) => [number === anchor ? 1 : data[step][anchor][number], number === anchor ? 0 : data.quality.value[anchor][number], number]).filter(([time, value]) => time !== null && value !== null)
      : [];
    const absent = index.codecs.length - points.length;
    const name = index.codecs[anchor].look.label;
    const apart = points.map((point) => point[2]).filter((number) => data.quality.apart[anchor][number]).map((number) => index.codecs[number].look.label);
    get("speed-caption").textContent = `Time is the ratio to ${name}, a geometric mean over the sequences that the BD-rate is over; down and to the left is better.${apart.length ? ` Over other sequences than the rest, and so not to be compared with it: ${apart.join(", ")}.` : ""}${absent ? ` Not shown, for want of a BD-rate or of times: ${index.codecs.filter((_, number) => !points.some((point) => point[2] === number)).map((codec) => codec.look.label).join(", ")}.` : ""}${index.codecs.some((codec) => codec.loaded) ? ` ${LOADED}` : ""}`;
    if (points.length < 2) {
      nothing(get("speed-plot"), `No other codec has both a BD-rate and a time against ${name}.`);
      return;
    }
    const times = points.map(([time]) => time);
    const side = (time) => (time === Math.max(...times) ? "left" : time === Math.min(...times) ? "right" : "center");
    const traces = points.map(([time, value, number]) => ({ ...curveTrace(index, number, [[time, value]], () => plain(`${index.codecs[number].look.label}: × ${format.number(time, 3)}, ${format.signed(value)} %${markText(index, data.quality.flags[anchor][number])}`)), mode: "markers+text",
      text: [plain(index.codecs[number].look.label)], textposition: `top ${side(time)}`, textfont: { size: 12 }, cliponaxis: false, showlegend: false }));
    await plot(get("speed-plot"), traces, { margin: { l: 56, r: 40, t: 24, b: 48 }, xaxis: logAxis(`${step === "encode" ? "encoding" : "decoding"} time, times that of ${plain(name)}`, points.map((point) => point[0])), yaxis: { title: { text: `BD-rate against ${plain(name)} (%)` }, zeroline: true } });
  }

  function showCosts() {
    const columns = index.costs[shown.scope];
    const has = (number) => columns.some((column) => column.values[number] !== null);
    const headings = [{ text: "Codec" }, ...columns.map((column) => ({ text: column.title, right: true }))];
    const rows = [...index.codecs.keys()].filter(has).map((number) => element("tr", {}, element("th", { scope: "row", className: "first" }, codecName(index, number)),
      ...columns.map(({ title, values }) => element("td", { className: "r" }, values[number] === null ? element("span", { className: "undefined" }, "not counted") : format.number(values[number], 3) + (title.includes("s/frame") && index.codecs[number].loaded ? " *" : "")))));
    if (!rows.length) {
      nothing(get("costs"), "No cell has finished.");
      return;
    }
    get("costs").replaceChildren(table(headings, rows, { label: "Complexity" }));
    get("costs-caption").textContent = `On ${index.scopes[shown.scope].label}. Times: the geometric mean over the codec's cells. Memory: the highest peak of its encoder's and decoder's processes. kMAC/pixel and parameters are of its networks, where these could be counted.${index.codecs.some((codec) => codec.loaded) ? ` ${LOADED}` : ""}`;
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
