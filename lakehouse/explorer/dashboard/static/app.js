// Which page is asked for, the bar above it, and what is said when something goes or comes back.
import { ask, watch } from "./api.js";
import { el, replace } from "./dom.js";
import { analysis, product, table, tables, trace } from "./business.js";
import { pipeline } from "./pipeline.js";

const main = document.getElementById("main");
const notice = document.getElementById("notice");
const path = location.pathname;
const [, kind, name] = path.split("/"); // each percent-encoded, as it is asked for again

const THEMES = ["system", "light", "dark"];
function theme(next) {
  let now = "system";
  try { now = localStorage.getItem("theme") || "system"; } catch { /* no storage */ }
  if (next) {
    now = THEMES[(THEMES.indexOf(now) + 1) % 3];
    try { localStorage.setItem("theme", now); } catch { /* as above */ }
  }
  if (now === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = now;
  const button = document.getElementById("theme");
  button.textContent = { system: "◐", light: "☀", dark: "☾" }[now];
  button.setAttribute("aria-label", `Colours: ${now === "system" ? "as the system has them" : now}; change`);
}
document.getElementById("theme").addEventListener("click", () => theme(true));
theme(false);

let since = null;
function fail(error) {
  const gone = error instanceof TypeError;
  since = since || new Date();
  notice.hidden = false;
  replace(notice, gone
    ? `The dashboard's server does not answer since ${since.toLocaleTimeString("en-GB")}: what you see is as old. It is asked again; start it with: lakehouse dashboard`
    : [error.message, error.fix ? el("span", {}, ` — ${error.fix}`) : null]);
}
function well() {
  since = null;
  notice.hidden = true;
}

const LEVELS = { bad: "needs you", look: "worth a look" };
const MANY = { bad: "need you", look: "worth a look" };
function bar(lake) {
  const current = kind === "product" ? `/product/${name}` : path;
  const links = [...lake.products.map((p) => [`/product/${p.name}`, p.name]), ["/pipeline", "pipeline"], ["/tables", "tables"]];
  replace(document.getElementById("nav"), links.map(([href, text]) =>
    el("a", { href, "aria-current": href === current || (path === "/" && href === links[0][0]) ? "page" : null }, text)));
  const worst = lake.empty ? "look" : lake.concerns.length ? lake.concerns[0].level : "well";
  const count = lake.concerns.filter((c) => c.level === worst).length;
  const said = lake.empty ? "empty lake" : worst === "well" ? "all is well" : `${count} ${count > 1 ? MANY[worst] : LEVELS[worst]}`;
  const state = document.getElementById("state");
  if (state.dataset.said !== said) {
    state.dataset.said = said;
    replace(state, el(`a.state.${worst}`, { href: "/pipeline" }, said));
  }
  document.getElementById("foot").textContent = `${lake.root} — read only, from its tables; times are UTC`;
  document.title = `${said} — ${kind || "Lakehouse"}`;
}

let latest = null;
function lake(value, now) {
  well();
  latest = value;
  bar(value);
  if (kind === "pipeline") pipeline(main, value, now);
  else if (kind === "tables") tables(main, value, now);
  else if (value.empty) replace(main, el("h1", {}, "Nothing has landed yet"), el("p.empty", {}, value.empty));
  else if (!watching) begin(value);
}

let watching = false;
function begin(value) {
  watching = true;
  const first = value.products[0].name;
  const pages = {
    product: [`/api/product/${name}`, product], analysis: [`/api/analysis/${name}`, analysis],
    table: [`/api/table/${name}`, table], trace: [`/api/trace${location.search}`, trace],
    "": [`/api/product/${first}`, product],
  };
  const [address, draw] = pages[kind] || pages[""];
  if (kind === "trace") {
    ask(address).then((answer) => draw(main, answer.value, answer.now, latest)).catch((error) => { fail(error); replace(main, el("p", {}, "This row is not there any more.")); });
    return;
  }
  watch(address, 2000, { fail, show: (told, now) => { well(); draw(main, told, now, latest); } });
}

watch("/api/lake", 2000, {
  fail, show: lake,
  age: (now) => { if (latest && kind === "pipeline") pipeline(main, latest, now, true); },
});
