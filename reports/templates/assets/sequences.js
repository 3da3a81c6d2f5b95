"use strict";

start((index) => {
  const get = (id) => document.getElementById(id);
  const [sequenceBox, metricBox] = [get("sequence"), get("metric")];
  const wanted = index.sequences.findIndex((one) => one.name === choice.get("sequence") && (!choice.get("dataset") || one.dataset === choice.get("dataset")));
  fill(sequenceBox, index.sequences.map((one, number) => [number, one.name, one.dataset]), Math.max(wanted, 0));
  fill(metricBox, index.metrics.map((metric, number) => [number, metric.label]), chosenNumber(index.metrics, choice.get("metric")));
  let data = null;
  let frames = null;

  const metric = () => Number(metricBox.value);
  const label = (cell) => `${index.codecs[cell.codec].look.label} at ${cell.parameter} ${cell.rate}`;
  const valued = (cell) => cell.status === "ok" && cell.values[metric()] !== null && cell.values[metric()] !== undefined;

  async function refresh() {
    const number = Number(sequenceBox.value);
    const sequence = index.sequences[number];
    choice.set({ sequence: sequence.name, dataset: sequence.dataset, metric: index.metrics[metric()]?.name });
    data = await vcbench.need(`sequence-${number}`);
    frames = sequence.framesData ? await vcbench.need(`frames-${number}`) : null;
    get("about").textContent = `${sequence.dataset}: ${sequence.size}, ${sequence.frames} frames from ${sequence.start}, ${sequence.fps} frames per second, ${data.source.format}, ${data.source.matrix}. File ${data.source.file}, SHA-256 ${data.source.sha256}.`;
    listRates();
    showCells();
    const chosen = data.cells.find((cell) => cell.name === choice.get("cell"));
    showCell(chosen, false);
    await showCurves();
    await showFrames();
  }

  async function showCurves() {
    const unit = get("unit").value;
    const factor = unit === "kbps" ? data.kbpsPerBpp : 1;
    const one = index.metrics[metric()];
    get("rd-caption").textContent = `A point is one bitstream; choose it to see where its numbers come from.${one ? dbNote(one) : ""}`;
    const traces = [];
    for (const number of index.codecs.keys()) {
      const points = data.cells.filter((cell) => cell.codec === number && valued(cell)).map((cell) => [cell.bpp * factor, onAxis(one, cell.values[metric()]), `${cell.parameter} ${cell.rate}`, cell.name, cell.scale]).sort((a, b) => a[0] - b[0]);
      if (finite(points).length) traces.push(...rateTraces(index, number, finite(points), (point) => plain(`${index.codecs[number].look.label} at ${point[2]}\n${format.number(point[0])} ${unit === "kbps" ? "kbit/s" : "bit/pixel"}\n${one.name} ${withUnit(format.number(point[1]), one.axisUnit)}`).replaceAll("\n", "<br>"), one.better));
    }
    if (!traces.length) {
      nothing(get("rd-plot"), "No cell has both a rate and a value of this metric; the table says why.");
      return;
    }
    await plot(get("rd-plot"), traces, { xaxis: rateAxis(unit === "kbps" ? "rate (kbit/s)" : "rate (bit/pixel)", get("log-rate").checked, traces), yaxis: { title: { text: axisTitle(one) } } },
      (cell) => showCell(data.cells.find((one) => one.name === cell), true));
  }

  function listRates() {
    const cells = data.cells.filter((cell) => cell.codec === 0 && cell.status === "ok");
    const from = cells.length ? cells : data.cells.filter((cell) => cell.status === "ok");
    const before = get("rate-of").value;
    fill(get("rate-of"), from.map((cell) => [cell.name, `${label(cell)}: ${format.number(cell.bpp, 3)} bit/pixel`]), before);
    if (get("rate-of").value !== before && from.length) get("rate-of").selectedIndex = Math.floor((from.length - 1) / 2);
  }

  async function showFrames() {
    const values = frames?.values[metric()];
    const target = data.cells.find((cell) => cell.name === get("rate-of").value);
    if (!values || !target) {
      nothing(get("frames-plot"), frames ? "This metric has no values of single frames on this sequence." : index.framesNote);
      get("frames-caption").textContent = "";
      return;
    }
    const traces = [];
    const told = [];
    for (const number of index.codecs.keys()) {
      const near = data.cells.map((cell, row) => [cell, row]).filter(([cell, row]) => cell.codec === number && cell.bpp > 0 && values[row])
        .sort(([a], [b]) => Math.abs(Math.log(a.bpp / target.bpp)) - Math.abs(Math.log(b.bpp / target.bpp)))[0];
      if (!near) continue;
      const [cell, row] = near;
      told.push(`${label(cell)}: ${format.number(cell.bpp, 3)}`);
      const points = values[row].map((value, frame) => [frame, typeof value === "number" ? value : null]);
      traces.push({ ...curveTrace(index, number, points, (point) => plain(`${index.codecs[number].look.label}, frame ${point[0]}: ${point[1] === null ? "no value" : format.number(point[1])}`)), mode: points.length > 120 ? "lines" : "lines+markers", connectgaps: false,
        marker: { color: style.colour(index.codecs[number]), size: 5, symbol: index.codecs[number].look.marker + kindOf(index.codecs[number]).suffix } });
    }
    if (!traces.length) {
      nothing(get("frames-plot"), "No cell has values of single frames of this metric.");
      return;
    }
    get("frames-caption").textContent = `Of each codec the cell of the nearest rate, in bit/pixel: ${told.join("; ")}. Frames without a value (the first of a temporal metric, a lossless one) are left out.`;
    await plot(get("frames-plot"), traces, { xaxis: { title: { text: "frame" }, rangemode: "tozero" }, yaxis: { title: { text: valueTitle(index.metrics[metric()]) } } });
  }

  function value(cell, number, why) {
    const got = cell.values?.[number];
    if (got !== null && got !== undefined) return element("td", { className: "r" }, format.number(got, 4));
    if (cell.status !== "ok") return element("td");
    const told = cell.notOk?.[number];
    return element("td", { className: "r" }, why.mark(`${index.metrics[number].label}: ${told ? data.texts[told[1]] : "not measured"}`, told ? told[0] : "not measured"));
  }

  // The chosen metric comes first, so that it is in sight however many there are.
  function showCells() {
    const order = [metric(), ...index.metrics.keys()].filter((number, place, all) => number < index.metrics.length && all.indexOf(number) === place);
    const ok = data.cells.filter((cell) => cell.status === "ok");
    const shown = order.filter((number) => !ok.length || ok.some((cell) => typeof cell.values[number] === "number" || typeof cell.values[number] === "string"));
    const absent = order.filter((number) => !shown.includes(number));
    const headings = [{ text: "Codec" }, { text: "Rate point" }, { text: "bit/pixel", right: true }, { text: "kbit/s", right: true, wide: true },
      { text: "Encoding, s", right: true, wide: true }, { text: "Decoding, s", right: true, wide: true }, ...shown.map((number) => index.metrics[number]).map((one) => ({ text: one.label + (one.unit ? `, ${one.unit}` : ""), right: true }))];
    const seconds = (cost) => element("td", { className: "r wide" }, cost ? format.number(cost.s, 3) + (cost.timing === "shared" ? " *" : "") : "");
    const row = (why) => (cell) => {
      const known = cell.status === "ok";
      const button = element("button", { type: "button", className: "more", title: "Command lines, versions and digests", "aria-label": `About ${label(cell)}`, onclick: () => showCell(cell, true) }, `${cell.parameter} ${cell.rate}`);
      return element("tr", { "data-cell": cell.name }, element("th", { scope: "row", className: "first" }, codecName(index, cell.codec)), element("td", {}, button),
        element("td", { className: "r" }, known ? (cell.bpp === null ? "" : format.number(cell.bpp)) : why.mark(data.texts[cell.reason], cell.status)), element("td", { className: "r wide" }, known && cell.kbps !== null ? format.number(cell.kbps) : ""),
        seconds(cell.encode), seconds(cell.decode), ...shown.map((number) => value(cell, number, why)));
    };
    const loaded = data.cells.some((cell) => cell.encode?.timing === "shared" || cell.decode?.timing === "shared");
    const lacking = absent.map((number) => `${index.metrics[number].label} (${data.texts[ok[0].notOk[number]?.[1]] ?? "not measured"})`);
    paged(get("cells"), data.cells.length, (from, to) => [from, to], ([from, to]) => {
      const why = notes();
      const rows = data.cells.slice(from, to).map(row(why));
      return element("div", {}, table(headings, rows, { label: "Cells" }),
        loaded ? element("p", { className: "caption" }, `${LOADED} A decoding time is then a lower bound.`) : "",
        lacking.length ? element("p", { className: "caption" }, `No cell of this sequence has a value of ${lacking.join("; ")}.`) : "", ...why.list("Without a value, and why"));
    });
  }

  function showCell(cell, move) {
    get("cell").hidden = !cell;
    for (const row of document.querySelectorAll("tr[data-cell]")) row.classList.toggle("chosen", row.dataset.cell === cell?.name);
    choice.set({ cell: cell?.name });
    if (!cell) return;
    get("cell-title").textContent = label(cell);
    const list = element("dl");
    const fact = (name, ...content) => { if (content.some((part) => part !== null && part !== undefined && part !== "")) list.append(element("dt", {}, name), element("dd", {}, ...content)); };
    const command = (cost) => (cost?.commands ?? []).map((line) => element("pre", {}, element("code", {}, line)));
    const cost = (one) => (one ? `${format.number(one.s, 3)} s wall, ${format.number(one.cpu, 3)} s of CPU, ${format.number(one.rss / 2 ** 20, 3)} MiB peak, measured ${one.timing === "alone" ? "alone" : "while other cells were at work"}` : null);
    fact("outcome", cell.status === "ok" ? "ok" : `${cell.status}: ${data.texts[cell.reason]}`);
    fact("rate", cell.status === "ok" && cell.bpp !== null ? `${format.number(cell.bpp, 6)} bit/pixel, ${format.number(cell.kbps, 6)} kbit/s${cell.bytes === null ? "" : `: ${format.bytes(cell.bytes)} bytes`}${index.codecs[cell.codec].rate === "bitstream" ? ", the size of the bitstream file" : ` (${KINDS[index.codecs[cell.codec].rate]?.about ?? index.codecs[cell.codec].rate})`}` : null);
    for (const [number, one] of index.metrics.entries()) {
      const recorded = cell.recorded?.[number];
      if (recorded === null || recorded === undefined) continue;
      const why = cell.notOk[number];
      fact(one.name, why ? `${why[0]}: ${data.texts[why[1]]}` : `${format.number(cell.values[number], 6)} ${one.unit}`, element("br"), element("span", { className: "dim" }, data.texts[recorded]));
    }
    fact("encoding", cost(cell.encode), ...command(cell.encode));
    fact("decoding", cost(cell.decode), ...command(cell.decode));
    fact("changes", cell.changes === null || cell.changes === undefined ? null : data.texts[cell.changes]);
    fact("tool", data.texts[cell.tool]);
    fact("run", data.texts[cell.run]);
    fact("bitstream", cell.sha256 ? element("code", {}, `SHA-256 ${cell.sha256}`) : null);
    fact("cell key", element("code", {}, cell.key));
    fact("result file", element("code", {}, `cells/${cell.name}.json`));
    get("cell-facts").replaceChildren(list);
    if (move) {
      get("cell").focus({ preventScroll: true });
      get("cell").scrollIntoView({ block: "start", behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth" });
    }
  }

  const guarded = (action) => () => { if (data || action === refresh) action().catch(vcbench.fail); };
  sequenceBox.addEventListener("change", guarded(refresh));
  metricBox.addEventListener("change", guarded(refresh));
  for (const id of ["unit", "log-rate"]) get(id).addEventListener("change", guarded(showCurves));
  get("rate-of").addEventListener("change", guarded(showFrames));
  style.scheme.addEventListener("change", guarded(refresh));
  for (const form of document.forms) form.addEventListener("submit", (event) => event.preventDefault());
  refresh().catch(vcbench.fail);
});
