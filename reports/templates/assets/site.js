"use strict";

// Data come as scripts, since a page opened from the file system may not fetch.
const vcbench = (() => {
  const stored = new Map();
  const asked = new Map();

  function put(name, value) {
    stored.set(name, value);
  }

  function script(source) {
    return new Promise((resolve, reject) => {
      const element = document.createElement("script");
      element.src = source;
      element.onload = resolve;
      element.onerror = () => reject(new Error(`${source} is not there; copy the report's folder as a whole`));
      document.head.append(element);
    });
  }

  function need(name) {
    if (!asked.has(name)) {
      asked.set(name, stored.has(name) ? Promise.resolve() : script(`data/${encodeURIComponent(name)}.js`));
    }
    return asked.get(name).then(() => {
      if (!stored.has(name)) throw new Error(`data/${name}.js is damaged; build the report again`);
      return stored.get(name);
    });
  }

  let plotly = null;
  function needPlotly() {
    plotly ??= script("assets/plotly.min.js").then(() => window.Plotly);
    return plotly;
  }

  function fail(error) {
    const box = document.getElementById("problem");
    box.textContent = `This part of the report cannot be shown: ${error.message}`;
    box.hidden = false;
    console.error(error);
  }

  return { put, need, needPlotly, fail };
})();

// What is chosen stands in the address, so that a link or a bookmark shows the same.
const choice = {
  read: () => new URLSearchParams(location.hash.slice(1)),
  get: (name) => choice.read().get(name),
  set(values) {
    const parameters = choice.read();
    for (const [name, value] of Object.entries(values)) {
      if (value === null || value === undefined) parameters.delete(name);
      else parameters.set(name, value);
    }
    history.replaceState(null, "", `#${parameters}`);
  },
};

// Text is only ever set as text: no name in the data can become markup.
function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (name in made && !name.startsWith("aria")) made[name] = value;
    else made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

function svg(tag, attributes = {}, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

const format = {
  signed(value, digits = 2) {
    return `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(digits)}`;
  },
  change(value) {
    return `${value < 0 ? "−" : "+"}${format.number(Math.abs(value), 3)}`;
  },
  number(value, digits = 4) {
    if (typeof value === "string") return value === "Infinity" ? "∞" : value === "-Infinity" ? "−∞" : value;
    return Number(value.toPrecision(digits)).toString().replace("-", "−");
  },
  share(value) {
    // Rounded down, so that what is flagged as less than 75 % never reads 75 %.
    return `${Math.floor(value * 100 + 1e-9)} %`;
  },
  bytes(value) {
    return value.toLocaleString("en").replaceAll(",", " ");
  },
};

// A codec's colour, marker and line come with it: the same on every page, in figures for papers and in histories.
const style = (() => {
  const scheme = matchMedia("(prefers-color-scheme: dark)");
  return {
    scheme,
    variable: (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim(),
    colour: (codec) => (scheme.matches ? codec.look.dark : codec.look.colour),
  };
})();

const LOADED = "* Measured while other cells ran: a rough guide to what takes long, not fit for ranking.";
const KINDS = {
  bitstream: { mark: "", suffix: "", dash: null, about: "rate measured: the size of a bitstream file" },
  estimate: { mark: "≈ estimated", suffix: "-open", dash: "dash", about: "rate estimated, not the size of a bitstream: open markers, dashed, ≈" },
  published: { mark: "published", suffix: "-open-dot", dash: "dot", about: "values published elsewhere, not measured here: dotted markers and lines" },
};

function kindOf(codec) {
  return KINDS[codec.rate] ?? KINDS.estimate;
}

function swatch(codec) {
  const open = codec.rate !== "bitstream";
  const colour = style.colour(codec);
  const shapes = {
    circle: "M9 5a4 4 0 1 0 .01 0z", square: "M5.5 5.5h7v7h-7z", "triangle-up": "M9 4.5l4.5 8h-9z", diamond: "M9 4l5 5-5 5-5-5z",
    "triangle-down": "M9 13.5l-4.5-8h9z", cross: "M7.5 4.5h3v3h3v3h-3v3h-3v-3h-3v-3h3z", x: "M5 6.5L6.5 5 9 7.5 11.5 5 13 6.5 10.5 9l2.5 2.5-1.5 1.5L9 10.5 6.5 13 5 11.5 7.5 9z",
    "triangle-left": "M4.5 9l8-4.5v9z", "triangle-right": "M13.5 9l-8-4.5v9z", pentagon: "M9 4l5 3.6-1.9 5.9H5.9L4 7.6z", hexagon: "M9 4l4.4 2.5v5L9 14l-4.4-2.5v-5z",
  };
  return svg("svg", { class: "swatch", width: 18, height: 18, viewBox: "0 0 18 18", "aria-hidden": "true" },
    svg("path", { d: shapes[codec.look.marker], fill: open ? "none" : colour, stroke: colour, "stroke-width": 1.4 }));
}

function codecName(index, number) {
  const codec = index.codecs[number];
  const mark = kindOf(codec).mark;
  return element("span", { className: "name" }, swatch(codec),
    element("span", { className: "text", title: codec.title }, codec.look.label),
    mark ? element("span", { className: "mark" }, mark) : null);
}

function fill(select, options, chosen) {
  select.replaceChildren(...options.map(([value, text, group]) => ({ value, text, group })).reduce((parts, one) => {
    const option = element("option", { value: one.value }, one.text);
    if (!one.group) return [...parts, option];
    const last = parts.at(-1);
    if (last instanceof HTMLOptGroupElement && last.label === one.group) {
      last.append(option);
      return parts;
    }
    return [...parts, element("optgroup", { label: one.group }, option)];
  }, []));
  select.value = chosen;
  if (select.selectedIndex < 0) select.selectedIndex = 0;
}

// Number of a name that stands in the address; what is not there falls back to the first.
function chosenNumber(items, name, key = "name") {
  return Math.max(items.findIndex((item) => item[key] === name), 0);
}

function table(headings, rows, options = {}) {
  const head = element("tr", {}, ...headings.map((heading, column) =>
    element("th", { scope: "col", className: `${heading.right ? "r " : ""}${heading.wide ? "wide " : ""}${column === 0 ? "first" : ""}` },
      ...[heading.content ?? heading.text].flat())));
  const made = element("table", { className: options.narrow ? "narrow" : "" });
  if (options.caption) made.append(element("caption", {}, options.caption));
  made.append(element("thead", {}, head), element("tbody", {}, ...rows));
  return element("div", { className: "scroll", tabIndex: 0, role: "region", "aria-label": options.label ?? options.caption ?? "table" }, made);
}

// A long table a page at a time: the browser lays out fifty rows, not a hundred thousand.
function paged(place, count, rowsOf, build, size = 50) {
  let page = 0;
  const pages = Math.max(Math.ceil(count / size), 1);
  function show(focus) {
    const buttons = [["‹ Previous", -1, page === 0], ["Next ›", 1, page >= pages - 1]].map(([text, step, off]) =>
      element("button", { type: "button", disabled: off, onclick: () => { page += step; show(step); } }, text));
    const first = page * size;
    const pager = pages > 1
      ? element("div", { className: "pager" }, buttons[0], `${first + 1} to ${Math.min(first + size, count)} of ${format.bytes(count)}`, buttons[1])
      : null;
    place.replaceChildren(build(rowsOf(first, Math.min(first + size, count))), ...(pager ? [pager] : []));
    if (focus) (buttons[focus < 0 ? 0 : 1].disabled ? buttons[focus < 0 ? 1 : 0] : buttons[focus < 0 ? 0 : 1]).focus();
  }
  show();
}

// A title in lines of so many letters, broken between words.
function wrapped(text, length) {
  const lines = [""];
  for (const word of text.split(" ")) {
    if (lines.at(-1) && lines.at(-1).length + word.length >= length) lines.push(word);
    else lines[lines.length - 1] = `${lines.at(-1)} ${word}`.trim();
  }
  return lines.join("<br>");
}

// Plotly reads some HTML in texts; in escaped text it finds none.
function plain(text) {
  return String(text).replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}

function nothing(place, text) {
  if (window.Plotly && place.data) window.Plotly.purge(place);
  place.replaceChildren(element("p", { className: "nothing" }, text));
}

async function plot(place, traces, layout, onPoint) {
  const Plotly = await vcbench.needPlotly();
  const ink = style.variable("--ink");
  const axis = { gridcolor: style.variable("--line"), zerolinecolor: style.variable("--strong-line"), linecolor: style.variable("--strong-line"), automargin: true, ticks: "outside", tickcolor: style.variable("--strong-line"), ticklen: 4, exponentformat: "power" };
  const narrow = place.clientWidth < 640;
  const titled = (one, length) => (one?.title ? { ...one, title: { text: wrapped(one.title.text, length / (narrow ? 6.5 : 7.5)), font: { size: narrow ? 12 : 14 } } } : one);
  const whole = {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { family: "system-ui, sans-serif", size: 13, color: ink },
    margin: { l: 56, r: 12, t: 12, b: 48 }, hovermode: "closest", hoverlabel: { align: "left", bgcolor: style.variable("--panel"), bordercolor: style.variable("--strong-line"), font: { color: ink } },
    legend: narrow ? { orientation: "h", yref: "container", y: 0, yanchor: "bottom" } : { x: 1.02, y: 1 }, showlegend: true, modebar: { bgcolor: "rgba(0,0,0,0)", color: style.variable("--faint"), activecolor: ink },
    ...layout, xaxis: { ...axis, ...(narrow ? { tickangle: 0 } : {}), ...titled(layout.xaxis, place.clientWidth - 80) }, yaxis: { ...axis, ...titled(layout.yaxis, place.clientHeight - (narrow ? 190 : 90)) },
  };
  if (narrow && traces.some((trace) => trace.showlegend !== false)) {
    const longest = Math.max(...traces.map((trace) => trace.name.length)) * 7.5 + 46;
    const rows = Math.ceil(traces.length / Math.max(1, Math.floor((place.clientWidth - 20) / longest)));
    whole.margin = { ...whole.margin, b: 64 + 20 * rows };
    place.style.height = `${20 + 1.25 * rows}rem`;
  }
  if (!place.data) place.replaceChildren();
  await Plotly.react(place, traces, whole, { responsive: true, displaylogo: false, showTips: false, modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d", "sendDataToCloud"] });
  place.removeAllListeners("plotly_click");
  if (onPoint) place.on("plotly_click", (event) => onPoint(event.points[0].customdata));
}

function curveTrace(index, number, points, text, more = {}) {
  const codec = index.codecs[number];
  const kind = kindOf(codec);
  const colour = style.colour(codec);
  return {
    type: "scatter", mode: "lines+markers", name: plain(codec.look.label + (kind.mark ? ` (${kind.mark})` : "")),
    x: points.map((point) => point[0]), y: points.map((point) => point[1]), hoverinfo: "text", hovertext: points.map(text), customdata: points.map((point) => point[3]),
    line: { color: colour, width: 1.8, dash: kind.dash ?? codec.look.line }, marker: { color: colour, size: 8, symbol: codec.look.marker + kind.suffix, line: { color: colour, width: 1.4 } }, ...more,
  };
}

// Of a ladder, coded at several sizes, the line goes through the upper hull; the other points stand beside it.
function rateTraces(index, number, points, text, better) {
  const on = hull(points, better === "lower" ? -1 : 1);
  const under = points.filter((point) => !on.includes(point));
  return [curveTrace(index, number, on, text), ...(under.length ? [curveTrace(index, number, under, text, { mode: "markers", showlegend: false, opacity: 0.45 })] : [])];
}

function hull(points, sign) {
  if (new Set(points.map((point) => point[4])).size < 2) return points;
  const on = [];
  for (const point of points) {
    if (on.length && sign * point[1] <= sign * on.at(-1)[1]) continue;
    while (on.length > 1 && (on.at(-1)[1] - on.at(-2)[1]) * sign * (point[0] - on.at(-2)[0]) < (point[1] - on.at(-2)[1]) * sign * (on.at(-1)[0] - on.at(-2)[0])) on.pop();
    on.push(point);
  }
  return on;
}

function finite(points) {
  return points.filter((point) => typeof point[0] === "number" && typeof point[1] === "number" && point[0] > 0);
}

function titled(metric, unit) {
  const name = unit ? `${metric.title} (${unit})` : metric.title;
  return plain(metric.better ? `${name}, ${metric.better} is better` : name);
}

// Values of single frames and cells are in the metric's unit; curves and BD-metrics on its axis, which is in dB for SSIM.
const valueTitle = (metric) => titled(metric, metric.unit);
const axisTitle = (metric) => titled(metric, metric.axisUnit);

function onAxis(metric, value) {
  if (metric.scale !== "db" || typeof value !== "number") return value;
  return value >= 1 ? "Infinity" : -10 * Math.log10(1 - value);
}

function dbNote(metric) {
  return metric.scale === "db" ? ` ${metric.title} is drawn in dB, −10 log10(1 − value).` : "";
}

function withUnit(text, unit) {
  return unit ? `${text} ${unit}` : text;
}

// Reasons are given once below a table, by number; most cells without a value share one.
function notes() {
  const known = new Map();
  return {
    mark(text, word = "undefined") {
      if (!known.has(text)) known.set(text, known.size + 1);
      return element("span", { className: "undefined", title: text }, word, element("sup", {}, `[${known.get(text)}]`));
    },
    list: (title = "Undefined, and why") => (known.size ? [element("h3", {}, title), element("ol", { className: "notes" }, ...[...known.keys()].map((text) => element("li", {}, text)))] : []),
  };
}

// The doubts about a value are bits; index.flags has the mark and the text of each.
function flagsOf(index, bits) {
  return index.flags.filter((_, bit) => bits & (1 << bit));
}

function markText(index, bits) {
  return bits ? ` (${flagsOf(index, bits).map((flag) => flag.mark).join(", ")})` : "";
}

// `count` is of the sequences, such as "7 of 8 sequences"; a partial value has it with its mark.
function marks(index, bits, count) {
  if (!bits) return null;
  const partial = index.flags[index.partial];
  const shown = flagsOf(index, bits).map((flag) => (flag === partial && count ? [`${flag.mark} ${count.replace(" of ", "/").replace(/ .*/, "")}`, `${flag.text}: ${count}`] : [flag.mark, flag.text]));
  return element("sup", { className: "flag", title: shown.map(([, text]) => text).join("; ") }, shown.map(([mark]) => mark).join(" "));
}

// Plotly cuts the ticks of a logarithmic axis to their first digit; these are round numbers, and as many as are wanted.
function logTicks(low, high) {
  for (const steps of [[1], [1, 3], [1, 2, 5], [1, 1.5, 2, 3, 5, 7], [1, 1.2, 1.4, 1.6, 1.8, 2, 2.5, 3, 3.5, 4, 5, 6, 7, 8, 9]]) {
    const ticks = [];
    for (let decade = Math.floor(Math.log10(low)) - 1; decade <= Math.ceil(Math.log10(high)); decade += 1) ticks.push(...steps.map((step) => Number(`${step}e${decade}`)));
    if (ticks.filter((tick) => tick >= low && tick <= high).length >= (innerWidth < 700 ? 3 : 4)) return ticks;
  }
  return null;
}

function logAxis(title, values) {
  const ticks = logTicks(Math.min(...values), Math.max(...values));
  return { title: { text: `${title}, logarithmic` }, type: "log", ...(ticks ? { tickvals: ticks, ticktext: ticks.map((tick) => format.number(tick, 3)) } : {}) };
}

function rateAxis(title, logarithmic, traces) {
  return logarithmic ? logAxis(title, traces.flatMap((trace) => trace.x)) : { title: { text: title }, type: "linear", rangemode: "tozero" };
}

function start(main) {
  vcbench.need("index").then(main).catch(vcbench.fail);
}
