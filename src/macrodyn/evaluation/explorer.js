// The page's figure of trajectories. What it shows stands in the page as JSON; see explorer.py. Text
// of it goes into the page as text alone, never as HTML.
"use strict";
(() => {
const data = JSON.parse(document.getElementById("trajectories").textContent);
const root = document.querySelector(".explorer"), form = root.querySelector("form");
const plot = root.querySelector(".plot"), help = root.querySelector(".help");
const MARGIN = { left: 62, right: 14, top: 10, bottom: 42 };

// A series is a text: a decimal exponent, then the first value and the changes from value to value,
// in units of that power of ten; "-" where there is none.
const decode = text => {
  const [exponent, ...words] = text.split(" ");
  const power = 10 ** Math.abs(exponent);
  let sum = 0;
  return words.map(word => word === "-" ? NaN
    : (sum += +word, exponent < 0 ? sum / power : sum * power));
};
for (const one of data.cases) {
  one.time = one.time.split(" ").map(Number);
  for (const curve of Object.values(one.curves))
    for (const kind in curve) curve[kind] = curve[kind].map(states => states.map(decode));
}

const element = (name, attributes, parent, text) => {
  const svg = ["svg", "g", "path", "line", "rect", "circle", "text", "clipPath", "defs"];
  const made = svg.includes(name)
    ? document.createElementNS("http://www.w3.org/2000/svg", name) : document.createElement(name);
  for (const key in attributes) made.setAttribute(key, attributes[key]);
  if (text !== undefined) made.textContent = text;
  parent?.append(made);
  return made;
};
const minus = text => text.replace("-", "\u2212");
const written = value => Number.isFinite(value)
  ? minus(String(value !== 0 && (Math.abs(value) < 1e-4 || Math.abs(value) >= 1e6)
    ? value.toExponential(3) : +value.toPrecision(4))) : "\u2013";

// What is chosen: numbers of case, variable and state (-1: all), zoomed ranges (null: what fits),
// and what the cursor is at.
let zoomed = { x: null, y: null }, cursor = null, scale = null, drag = null;
const number = name => +form.elements[name].value;
const here = () => data.cases[number("case")];
const states = () => number("state") < 0 ? here().states.map((_, s) => s) : [number("state")];
const schemes = () => data.schemes.filter(scheme => {
  const box = form.querySelector(`[name=scheme][value="${data.schemes.indexOf(scheme)}"]`);
  return box.checked && !box.disabled;
});
const series = (scheme, kind, state) =>
  here().curves[scheme.name]?.[kind]?.[number("variable")]?.[state];
const truth = data.schemes.find(scheme => scheme.truth);
const differs = () => form.elements.view.value === "difference";

// Half the width of a band: noise and the members' spread are independent, and add as squares.
const width = (scheme, state) => {
  const band = form.elements.band.value;
  const noise = series(scheme, "noise", state), members = series(scheme, "members", state);
  if (band === "none") return null;
  if (differs()) {
    const root = Math.sqrt(here().replicas);
    return scheme.truth ? noise?.map(value => 2 * value / root) : members;
  }
  if (band === "noise") return noise;
  if (band === "members") return members;
  return noise && members ? noise.map((value, t) => Math.hypot(value, members[t]))
    : noise ?? members;
};
const curve = (scheme, state) => {
  const mean = series(scheme, "mean", state), base = differs() && series(truth, "mean", state);
  if (!mean || (differs() && !base)) return null;
  return { scheme, state, mean: base ? mean.map((value, t) => value - base[t]) : mean,
    width: width(scheme, state) };
};
const curves = () =>
  schemes().flatMap(scheme => states().map(state => curve(scheme, state))).filter(Boolean);

const extent = (list, [from, to]) => {
  let low = Infinity, high = -Infinity;
  const time = here().time;
  for (const one of list)
    one.mean.forEach((value, t) => {
      if (time[t] < from || time[t] > to || !Number.isFinite(value)) return;
      const half = one.width?.[t] || 0;
      low = Math.min(low, value - half);
      high = Math.max(high, value + half);
    });
  return low <= high ? [low, high] : null;
};
const fitting = (list, x) => {
  let [low, high] = extent(list, x) ?? [0, 1];
  // What runs away must not make a line of all else.
  const base = truth && states().map(state => ({ mean: series(truth, "mean", state) }))
    .filter(one => one.mean);
  const real = base && extent(base, x);
  if (real && real[1] > real[0]) {
    const room = 2 * (real[1] - real[0]), [least, most] = differs() ? [0, 0] : real;
    low = Math.max(low, least - room);
    high = Math.min(high, most + room);
  }
  if (!(high > low)) [low, high] = [low - (Math.abs(low) || 1) / 2, low + (Math.abs(low) || 1) / 2];
  const margin = 0.04 * (high - low);
  return [low - margin, high + margin];
};
const ticks = ([low, high], most) => {
  const rough = (high - low) / most, power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find(factor => factor * power >= rough * 0.999);
  const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
  const short = digits > 5 || Math.max(Math.abs(low), Math.abs(high)) >= 1e6;
  const found = [];
  for (let k = Math.ceil(low / step - 1e-9); k <= high / step + 1e-9; k++)
    found.push([k * step, minus(short ? String(+(k * step).toPrecision(6)) : (k * step + 0).toFixed(digits))]);
  return found;
};

const draw = () => {
  const time = here().time, list = curves();
  const all = [time[0], time.at(-1)], x = zoomed.x ?? all, y = zoomed.y ?? fitting(list, x);
  const w = Math.max(260, plot.clientWidth), h = Math.round(Math.min(460, Math.max(260, w * 0.55)));
  const left = MARGIN.left, right = w - MARGIN.right, top = MARGIN.top, bottom = h - MARGIN.bottom;
  const px = value => left + (value - x[0]) / (x[1] - x[0]) * (right - left);
  const py = value => bottom - (value - y[0]) / (y[1] - y[0]) * (bottom - top);
  scale = { x, y, px, py, left, right, top, bottom, all };
  const name = data.variables[number("variable")];
  const state = number("state") < 0 ? `all ${here().states.length}` : here().states[number("state")];
  const heading = `${differs() ? `${name}, difference from ${truth.label}` : name}; ` +
    `${here().name ? `${here().name}; ` : ""}${data.state}: ${state}`;
  root.querySelector("h2").textContent = heading;
  const svg = element("svg", { viewBox: `0 0 ${w} ${h}`, width: w, height: h, role: "img",
    "aria-label": `${heading}. Shown: ${schemes().map(s => s.label).join(", ") || "nothing"}` });
  const clip = element("clipPath", { id: "frame" }, element("defs", {}, svg));
  element("rect", { x: left, y: top, width: right - left, height: bottom - top }, clip);
  for (const [value, text] of ticks(x, Math.max(2, (right - left) / 75))) {
    element("line", { class: "grid", x1: px(value), x2: px(value), y1: top, y2: bottom }, svg);
    element("text", { x: px(value), y: bottom + 17, "text-anchor": "middle" }, svg, text);
  }
  for (const [value, text] of ticks(y, Math.max(3, (bottom - top) / 55))) {
    element("line", { class: "grid", x1: left, x2: right, y1: py(value), y2: py(value) }, svg);
    element("text", { x: left - 7, y: py(value) + 4, "text-anchor": "end" }, svg, text);
  }
  element("path", { class: "axis", d: `M${left} ${top}V${bottom}H${right}` }, svg);
  element("text", { x: (left + right) / 2, y: h - 6, "text-anchor": "middle" }, svg, data.time);
  const inside = element("g", { "clip-path": "url(#frame)" }, svg);
  // Bands at the back: that of the truth is opaque, so that overlaps look no darker.
  for (const one of list.filter(one => one.width)) {
    const upper = one.mean.map((value, t) => value + one.width[t]);
    const lower = one.mean.map((value, t) => value - one.width[t]);
    element("path", { class: "band", "data-scheme": one.scheme.name, d: area(time, upper, lower, px, py),
      fill: one.scheme.truth ? "#dedede" : one.scheme.colour,
      "fill-opacity": one.scheme.truth ? 1 : 0.18 }, inside);
  }
  if (differs()) element("line", { class: "axis", x1: left, x2: right, y1: py(0), y2: py(0) }, inside);
  for (const one of list)
    element("path", { class: "curve", "data-scheme": one.scheme.name, d: line(time, one.mean, px, py),
      fill: "none", stroke: one.scheme.colour, "stroke-width": one.scheme.truth ? 3 : 1.7,
      "stroke-dasharray": one.scheme.dash }, inside);
  element("g", { class: "marks" }, svg);
  plot.replaceChildren(svg);
  mark();
};
const clamp = value => Math.max(-1e5, Math.min(1e5, value)).toFixed(1);
const line = (time, values, px, py) => {
  let path = "", open = false;
  values.forEach((value, t) => {
    if (!Number.isFinite(value)) return void (open = false);
    path += `${open ? "L" : "M"}${clamp(px(time[t]))} ${clamp(py(value))}`;
    open = true;
  });
  return path;
};
// One closed shape for each stretch in which there are values.
const area = (time, upper, lower, px, py) => {
  let path = "";
  for (let t = 0, from = 0; t <= time.length; t++) {
    if (t < time.length && Number.isFinite(upper[t] - lower[t])) continue;
    if (t > from) {
      const part = list => list.slice(from, t);
      path += line(part(time), part(upper), px, py) + line(part(time).reverse(),
        part(lower).reverse(), px, py).replace("M", "L") + "Z";
    }
    from = t + 1;
  }
  return path;
};

// The cursor: a line, a dot on each curve, and the values in the table below.
const mark = () => {
  const marks = root.querySelector(".marks"), table = root.querySelector("tbody");
  marks.replaceChildren();
  table.replaceChildren();
  const said = root.querySelector(".at");
  if (!cursor) return void (said.textContent = "Point at the figure to read values.");
  const { t, state } = cursor, time = here().time[t], { px, py, top, bottom, left, right } = scale;
  said.textContent = `${data.time} = ${written(time)}; ${data.state}: ${here().states[state]}`;
  const seen = px(time) >= left - 0.5 && px(time) <= right + 0.5;
  if (seen)
    element("line", { class: "cursor", x1: px(time), x2: px(time), y1: top, y2: bottom }, marks);
  for (const scheme of schemes()) {
    const one = curve(scheme, state);
    if (!one) continue;
    const at = py(one.mean[t]);
    if (seen && at >= top && at <= bottom)
      element("circle", { cx: px(time), cy: at, r: 4, fill: scheme.colour, stroke: "#fff" }, marks);
    const row = element("tr", {}, table);
    element("td", {}, row, scheme.label);
    element("td", { class: "number" }, row, written(one.mean[t]));
    for (const kind of ["noise", "members"])
      element("td", { class: "number" }, row, written(series(scheme, kind, state)?.[t] ?? NaN));
  }
};
const point = event => {
  const svg = plot.firstChild, box = svg.getBoundingClientRect();
  const share = svg.viewBox.baseVal.width / box.width;
  return { x: (event.clientX - box.left) * share, y: (event.clientY - box.top) * share };
};
const follow = ({ x, y }) => {
  const time = here().time, { px, py } = scale;
  let t = -1, best = Infinity;
  time.forEach((value, k) => {
    const far = Math.abs(px(value) - x);
    if (far < best) [t, best] = [k, far];
  });
  let state = states()[0];
  best = Infinity;
  for (const one of curves()) {
    const far = Math.abs(py(one.mean[t]) - y);
    if (far < best) [state, best] = [one.state, far];
  }
  cursor = { t, state };
  mark();
};

const toX = value => scale.x[0] + (value - scale.left) / (scale.right - scale.left) * (scale.x[1] - scale.x[0]);
const toY = value => scale.y[0] + (scale.bottom - value) / (scale.bottom - scale.top) * (scale.y[1] - scale.y[0]);
const zoom = (x, y) => {
  const [first, last] = scale.all, least = (last - first) * 1e-4;
  const from = Math.max(first, Math.min(...x)), to = Math.min(last, Math.max(...x));
  if (to - from < least) return;
  zoomed = { x: from <= first && to >= last ? null : [from, to], y };
  draw();
};
const zoomBy = factor => {
  const [from, to] = scale.x, time = cursor && here().time[cursor.t];
  const centre = time !== null && time >= from && time <= to ? time : (from + to) / 2;
  const size = Math.min((to - from) * factor, scale.all[1] - scale.all[0]);
  const share = (centre - from) / (to - from);
  const start = Math.max(scale.all[0], Math.min(scale.all[1] - size, centre - share * size));
  zoom([start, start + size], null);
};
const reset = () => { zoomed = { x: null, y: null }; draw(); };

plot.addEventListener("pointerdown", event => {
  if (event.button) return;
  drag = { from: point(event), to: point(event) };
  // Of a pointer that is no more there is nothing to capture.
  try { plot.setPointerCapture(event.pointerId); } catch { /* it still zooms within the plot */ }
});
plot.addEventListener("pointermove", event => {
  const at = point(event);
  if (!drag) return follow(at);
  drag.to = at;
  plot.querySelector(".box")?.remove();
  const { left, right, top, bottom } = scale, { from } = drag, flat = Math.abs(at.y - from.y) < 20;
  const within = (value, low, high) => Math.max(low, Math.min(high, value));
  const x = [from.x, at.x].map(value => within(value, left, right)).sort((a, b) => a - b);
  const y = flat ? [top, bottom] : [from.y, at.y].map(v => within(v, top, bottom)).sort((a, b) => a - b);
  drag.box = { x, y, flat };
  element("rect", { class: "box", x: x[0], y: y[0], width: x[1] - x[0], height: y[1] - y[0] }, plot.firstChild);
});
plot.addEventListener("pointerup", event => {
  const done = drag;
  drag = null;
  plot.querySelector(".box")?.remove();
  if (!done?.box || done.box.x[1] - done.box.x[0] < 8) return follow(point(event));
  const { x, y, flat } = done.box;
  zoom(x.map(toX), flat ? null : [toY(y[1]), toY(y[0])]);
});
plot.addEventListener("pointercancel", () => { drag = null; plot.querySelector(".box")?.remove(); });
plot.addEventListener("dblclick", reset);
plot.addEventListener("keydown", event => {
  const last = here().time.length - 1, some = states(), step = event.shiftKey ? 10 : 1;
  const { t, state } = cursor ?? { t: -1, state: some[0] };
  const turn = by => some[(some.indexOf(state) + by + some.length) % some.length];
  const move = {
    ArrowRight: () => ({ t: Math.min(last, t + step), state }),
    ArrowLeft: () => ({ t: Math.max(0, t - step), state }),
    Home: () => ({ t: 0, state }), End: () => ({ t: last, state }),
    ArrowUp: () => ({ t: Math.max(0, t), state: turn(1) }),
    ArrowDown: () => ({ t: Math.max(0, t), state: turn(-1) }),
  }[event.key];
  const other = { "+": () => zoomBy(0.5), "=": () => zoomBy(0.5), "-": () => zoomBy(2), 0: reset,
    Escape: reset }[event.key];
  if (event.ctrlKey || event.metaKey || event.altKey || !(move || other)) return;
  event.preventDefault();
  if (move) { cursor = move(); mark(); } else other();
});

// Controls.
const choices = (name, texts, first = 0) => {
  const made = texts.map((text, k) => element("option", { value: k + first }, null, text));
  form.elements[name].replaceChildren(...made);
};
const renew = () => {
  const names = here().states, several = names.length > 1, made = form.elements.state.options;
  cursor = null;
  if ([...made].map(one => one.textContent).slice(+several).join("|") === names.join("|")) return;
  choices("state", several ? ["all", ...names] : names, several ? -1 : 0);
  // At first all, where they do not hide each other.
  form.elements.state.value = several && names.length <= 8 ? -1 : 0;
};
const adapt = () => {
  const variable = number("variable"), known = truth && here().curves[truth.name]?.mean[variable];
  const view = form.elements.view, none = !known;
  view.querySelector("[value=difference]").disabled = none;
  if (none) view.value = "trajectories";
  for (const box of form.querySelectorAll("[name=scheme]")) {
    const scheme = data.schemes[+box.value];
    box.disabled = !here().curves[scheme.name]?.mean[variable];
    box.parentElement.hidden = box.disabled;
  }
  help.querySelector(".lacking").textContent = none && truth
    ? `There is no ${truth.label} of ${data.variables[variable]}.` : "";
  // The cursor stays where it can.
  if (cursor && !states().includes(cursor.state)) cursor.state = states()[0];
};
choices("case", data.cases.map(one => one.name));
choices("variable", data.variables);
form.elements.case.parentElement.hidden = data.cases.length < 2;
form.querySelector(".state").textContent = data.state;
data.schemes.forEach((scheme, k) => {
  const label = element("label", {}, form.querySelector("fieldset"));
  const box = element("input", { type: "checkbox", name: "scheme", value: k }, label);
  box.checked = scheme.shown;
  const key = element("svg", { class: "key", viewBox: "0 0 28 10", "aria-hidden": "true" }, label);
  element("line", { x1: 0, x2: 28, y1: 5, y2: 5, stroke: scheme.colour,
    "stroke-width": scheme.truth ? 3.5 : 2, "stroke-dasharray": scheme.dash }, key);
  label.append(scheme.label);
});
form.addEventListener("change", event => {
  if (event.target.name === "case") { renew(); zoomed.x = null; }
  if (!["scheme", "band"].includes(event.target.name)) zoomed.y = null;
  adapt();
  draw();
});
form.addEventListener("submit", event => event.preventDefault());
form.querySelector("[name=in]").addEventListener("click", () => zoomBy(0.5));
form.querySelector("[name=out]").addEventListener("click", () => zoomBy(2));
form.querySelector("[name=reset]").addEventListener("click", reset);
root.querySelector(".live").hidden = false;
renew();
adapt();
new ResizeObserver(() => { if (plot.clientWidth) draw(); }).observe(plot);
draw();
})();
