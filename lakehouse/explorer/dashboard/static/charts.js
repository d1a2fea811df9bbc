// Pictures: bars are elements, lines are SVG. Each has its numbers as text beside it.
import { el, svg, table } from "./dom.js";

/** Bars of a picture; a bar is a share of the greatest on its scale, and each scale is drawn by itself. */
export function bars(picture, label, link) {
  const scales = [...new Set(picture.bars.map((bar) => bar.scale))];
  const rows = scales.flatMap((scale) => [
    scales.length > 1 ? el("li.scale", {}, `${scale}, on a scale of its own`) : null,
    ...picture.bars.map((bar, place) => (bar.scale === scale ? drawn(bar, place, link) : null))]);
  return el("ol.bars", { "aria-label": `${label}: ${picture.of}` }, rows);
}

function drawn(bar, place, link) {
  return el("li", {},
    el("span.label", {}, link ? el("a", { href: link(place), title: "the events behind this bar" }, bar.label) : bar.label),
    el("span.track", { "aria-hidden": "true" },
      el(bar.negative ? "span.bar.negative" : "span.bar", { style: { "--share": `${Math.max(0.4, bar.share * 100)}%` } })),
    el("span.amount", {}, bar.value));
}

const WIDTH = 640, HEIGHT = 190, LEFT = 52, BOTTOM = 22, TOP = 10, RIGHT = 10;

/** Lines over time. `apart`: each has a scale of its own, and so a picture of its own.
 * `link` gives the address of the events behind a point. */
export function lines(series, key, link) {
  if (!series.lines.length) return el("p.quiet", {}, "no points yet");
  const groups = series.apart ? series.lines.map((line) => [line]) : [series.lines];
  return el("div.lines", {}, groups.map((group) => figure(series, group, key)), numbers(series, key, link));
}

function figure(series, group, key) {
  const times = group.flatMap((line) => line.points.map((p) => p[0]));
  const values = group.flatMap((line) => line.points.map((p) => p[1]));
  const first = Math.min(...times), last = Math.max(...times);
  const low = Math.min(0, ...values), high = nice(Math.max(...values, low + 1e-9));
  const x = (t) => LEFT + (last === first ? 0.5 : (t - first) / (last - first)) * (WIDTH - LEFT - RIGHT);
  const y = (v) => TOP + (1 - (v - low) / (high - low || 1)) * (HEIGHT - TOP - BOTTOM);
  const name = group.map((line) => line.name).join(", ");
  const newest = group.map((line) => `${line.name} ${line.points.at(-1)[2]}`).join(", ");
  const drawing = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img",
    "aria-label": `${series.title}, ${name}: from ${day(first, series)} to ${day(last, series)}; last ${newest}` });
  const below = -low > high / 5 ? [low] : []; // a mark of its own only where it is not on that of 0
  for (const value of low < 0 ? [...below, 0, high] : [low, high / 2, high]) {
    drawing.append(svg("line", { class: "grid", x1: LEFT, x2: WIDTH - RIGHT, y1: y(value), y2: y(value) }),
      svg("text", { class: "tick", x: LEFT - 6, y: y(value) + 4, "text-anchor": "end" }, compact(value)));
  }
  for (const [at, anchor] of [[first, "start"], [(first + last) / 2, "middle"], [last, "end"]]) {
    if (first === last && anchor !== "middle") continue;
    drawing.append(svg("text", { class: "tick", x: x(at), y: HEIGHT - 6, "text-anchor": anchor }, day(at, series)));
  }
  group.forEach((line, place) => {
    const points = line.points.map((p) => `${x(p[0]).toFixed(1)},${y(p[1]).toFixed(1)}`);
    if (points.length > 1) {
      if (group.length === 1) drawing.append(svg("path", { class: "area",
        d: `M${x(line.points[0][0])},${y(0)} L${points.join(" L")} L${x(line.points.at(-1)[0])},${y(0)} Z` }));
      drawing.append(svg("polyline", { class: `line of-${place % 4}`, points: points.join(" ") }));
    }
    const end = line.points.at(-1);
    drawing.append(svg("circle", { class: `dot of-${place % 4}`, cx: x(end[0]), cy: y(end[1]), r: 3.5 }));
    if (line.points.length <= 120) line.points.forEach((p) => drawing.append(
      svg("circle", { class: "touch", cx: x(p[0]), cy: y(p[1]), r: 7 }, svg("title", {}, `${day(p[0], series)}: ${p[2]}`))));
  });
  const legend = group.map((line, place) => el("span", {}, el(`i.key.of-${place % 4}`), line.name, " ", el("b", {}, line.points.at(-1)[2])));
  return el("figure", {}, el("figcaption", {}, legend), drawing);
}

function numbers(series, key, link) {
  const columns = [{ name: "time (UTC)" }, ...series.lines.map((line) => ({ name: line.name, number: true }))];
  const found = new Map();
  series.lines.forEach((line, at) => line.points.forEach((p) => {
    if (!found.has(p[0])) found.set(p[0], Array(series.lines.length).fill(""));
    found.get(p[0])[at] = el("a", { href: link(p[3]), title: "the events behind this number" }, p[2]);
  }));
  const rows = [...found].sort((a, b) => b[0] - a[0]).slice(0, 60).map(([t, cells]) => [day(t, series, true), ...cells]);
  return el("details", { "data-key": `numbers-${key}` }, el("summary", {}, "numbers"), table(series.title, columns, rows, { key: `n-${key}` }));
}

/** A small picture of rates, the newest on the right. */
export function spark(values, label) {
  const top = Math.max(...values, 1e-9), width = 120, height = 28, step = width / values.length;
  return svg("svg", { class: "spark", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label },
    values.map((v, at) => svg("rect", { x: at * step, width: Math.max(1, step - 1),
      y: height - Math.max(1, (v / top) * height), height: Math.max(1, (v / top) * height) })));
}

function nice(value) {
  const size = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 2.5, 5, 10].map((n) => n * size).find((n) => n >= value) || value;
}

const compact = (n) => Intl.NumberFormat("en-GB", { notation: "compact", maximumFractionDigits: 1 }).format(n);

function day(t, series, whole = false) {
  const text = new Date(t).toISOString();
  if (series.daily) return text.slice(0, 10);
  return whole ? text.slice(0, 16).replace("T", " ") : text.slice(5, 16).replace("T", " ");
}
