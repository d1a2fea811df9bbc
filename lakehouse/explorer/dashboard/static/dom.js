// Elements and words. Text from data becomes a text node and nothing else.

const SVG = "http://www.w3.org/2000/svg";

export function el(name, props = {}, ...children) {
  const [tag, ...classes] = name.split(".");
  const node = document.createElement(tag);
  if (classes.length) node.className = classes.join(" ");
  set(node, props);
  add(node, children);
  return node;
}

export function svg(name, props = {}, ...children) {
  const node = document.createElementNS(SVG, name);
  set(node, props);
  add(node, children);
  return node;
}

function set(node, props) {
  for (const [key, value] of Object.entries(props)) {
    if (value === null || value === undefined || value === false) continue;
    if (key === "on") {
      for (const [event, does] of Object.entries(value)) node.addEventListener(event, does);
    } else if (key === "style") {
      for (const [name, told] of Object.entries(value)) node.style.setProperty(name, told);
    } else node.setAttribute(key, value === true ? "" : value);
  }
}

function add(node, children) {
  for (const child of children.flat(9)) {
    if (child === null || child === undefined || child === false) continue;
    node.append(child instanceof Node ? child : String(child));
  }
}

/** A table's name, which a narrow screen breaks after a dot or a line. */
export function named(name) {
  return name.split(/(?<=[._])/).flatMap((part) => [part, el("wbr")]);
}

/** Put new children in the place of the old, and the keyboard's focus back where it was. */
export function replace(node, ...children) {
  const active = document.activeElement;
  const keyed = (one) => one.getAttribute("data-key") || one.getAttribute("href");
  const alike = (key) => [...node.querySelectorAll("[data-key],[href]")].filter((one) => keyed(one) === key);
  const key = active && node.contains(active) ? keyed(active) : null;
  const place = key ? alike(key).indexOf(active) : -1; // links to one page may be several
  const open = new Set([...node.querySelectorAll("details[open]")].map((d) => d.dataset.key));
  const scrolled = new Map([...node.querySelectorAll(".wide")].map((w) => [w.dataset.key, w.scrollLeft]));
  node.replaceChildren();
  add(node, children);
  for (const details of node.querySelectorAll("details")) if (open.has(details.dataset.key)) details.open = true;
  for (const wide of node.querySelectorAll(".wide")) wide.scrollLeft = scrolled.get(wide.dataset.key) || 0;
  const again = key ? alike(key) : [];
  if (again.length) (again[place] || again[0]).focus({ preventScroll: true });
}

/** A table of texts; `link` gives the address of a row's drill-down, or nothing. */
export function table(caption, columns, rows, { link, empty = "nothing", key = caption } = {}) {
  if (!rows.length) return el("p.quiet", {}, `${caption}: ${empty}`);
  const head = columns.map((c) => el(c.number ? "th.number" : "th", { scope: "col" }, c.name.replaceAll("_", " ")));
  const body = rows.map((row, place) => {
    const href = link && link(row, place);
    return el("tr", {}, row.map((value, at) => {
      const text = value === null || value === undefined ? "" : value;
      const shown = href && at === 0 ? el("a", { href, title: "the events behind this row" }, text === "" ? "(empty)" : text) : text;
      const isTime = typeof text === "string" && /^\d{4}-\d\d-\d\d/.test(text);
      const isDrawn = typeof text === "string" && /^[▁-█·]+$/.test(text); // bars of one row each
      return el(columns[at].number ? "td.number" : isTime ? "td.time" : isDrawn ? "td.drawn" : "td", {}, shown);
    }));
  });
  return el("div.wide", { tabindex: "0", role: "region", "aria-label": caption, "data-key": key },
    el("table", {}, el("caption", {}, caption), el("thead", {}, el("tr", {}, head)), el("tbody", {}, body)));
}

export const number = (n) => (n === null || n === undefined ? "–" : Number(n).toLocaleString("en-GB"));
export const many = (n, word) => `${number(n)} ${word}${n === 1 ? "" : "s"}`;
export const short = (n) => Intl.NumberFormat("en-GB", { notation: "compact", maximumFractionDigits: 1 }).format(n);

export function bytes(n) {
  if (n === null || n === undefined) return "–";
  const units = ["B", "KB", "MB", "GB", "TB"];
  let at = 0;
  while (n >= 1000 && at < units.length - 1) { n /= 1000; at += 1; }
  return `${n < 10 && at ? n.toFixed(1) : Math.round(n)} ${units[at]}`;
}

export function seconds(s) {
  if (s === null || s === undefined) return "–";
  if (s < 1) return `${Math.round(s * 1000)} ms`;
  if (s < 10) return `${s.toFixed(1)} s`;
  if (s < 90) return `${Math.round(s)} s`;
  if (s < 5400) return `${Math.round(s / 60)} min`;
  if (s < 129600) return `${Math.round(s / 3600)} h`;
  return `${Math.round(s / 86400)} days`;
}

export const ago = (time, now) => (time ? `${seconds(Math.max(0, (now - new Date(time)) / 1000))} ago` : "–");
export const clock = (time) => (time ? new Date(time).toISOString().slice(0, 19).replace("T", " ") : "–");
