// Pages of products, analyses, tables and of the events behind a row; drawn from declarations.
import { bars, lines } from "./charts.js";
import { ago, bytes, clock, el, many, named, number, replace, seconds, table as grid } from "./dom.js";

export function product(main, told, now, lake) {
  const mine = lake.products.find((p) => p.name === told.name);
  replace(main,
    el("h1", {}, told.name),
    mine ? el("p.quiet", {}, mine.contracts.map((c) => fresh(c, now))) : null,
    el("section.tiles", { "aria-label": "figures of now" }, told.figures.map((figure) => tile(figure, told.name))),
    el("section.cards.wide-cards", { "aria-label": "over time" }, Object.entries(told.series).map(([key, series]) =>
      el("article.card", {}, el("h2", {}, series.title), lines(series, key, (id) => behind({ product: told.name, series: key, row: id })), sql(series.sql, key, series.tables)))),
    el("section.cards", { "aria-label": "analyses" }, told.analyses.map(card)));
}

function fresh(contract, now) {
  const last = contract.batches.at(-1);
  const parts = [`${contract.name}: newest event ${clock(contract.newest_event)}`];
  if (last) parts.push(`last batch ${ago(last.time, now)}`);
  const ages = Object.values(contract.applied).find(Boolean);
  if (ages) parts.push(`half of the events are in silver within ${seconds(ages.p50)}, 95 % within ${seconds(ages.p95)}`);
  return el("span.line", {}, parts.join("; "));
}

/** The address of the events behind a number. */
const behind = (query) => `/trace?${new URLSearchParams(query)}`;

function tile(figure, name) {
  const words = { up: "▲", down: "▼" };
  return el("article.tile", {},
    el("h2", {}, figure.title, figure.unit ? ` ${figure.unit}` : ""),
    el("p.value", { style: { "--length": Math.max(4, figure.value.length) } }, figure.value
      ? el("a", { href: behind({ product: name, figure: figure.title, row: figure.id }), title: "the events behind this number" }, figure.value) : "–"),
    el("p.moment", {}, figure.moment,
      figure.change ? el(`span.change.${figure.sign}`, { title: "against the period before" },
        ` ${words[figure.sign]} ${figure.change}`, el("span.hidden", {}, " against the period before")) : null),
    sql(figure.sql, `${figure.title}-${figure.id}`, figure.tables));
}

function card(one) {
  const link = (place) => behind({ analysis: one.name, row: one.ids[place] });
  const head = el("h2", {}, el("a", { href: `/analysis/${encodeURIComponent(one.name)}` }, one.title));
  if (one.fault) return el("article.card", {}, head, el("p.quiet", {}, one.fault));
  return el("article.card", {}, head, body(one, link, true), sql(one.sql, one.name, one.tables));
}

function body(one, link, folded) {
  const rows = () => grid(one.title, one.columns, one.rows, { link: (_row, place) => link(place), key: `rows-${one.name}` });
  if (!one.picture) return rows();
  const rest = one.of > one.rows.length ? ` of ${number(one.of)}` : "";
  const most = folded ? 10 : 100, left = one.picture.bars.length - most;
  return [bars({ ...one.picture, bars: one.picture.bars.slice(0, most) }, one.title, link),
    left > 0 ? el("p.quiet", {}, el("a", { href: `/analysis/${encodeURIComponent(one.name)}` }, `${left} more`)) : null,
    folded ? el("details", { "data-key": `d-${one.name}` }, el("summary", {}, rest ? `${one.rows.length}${rest} rows` : many(one.rows.length, "row")), rows()) : rows()];
}

function sql(text, key, names = []) {
  return el("details.sql", { "data-key": `sql-${key}` }, el("summary", {}, "SQL and tables"),
    names.length ? el("p", {}, names.map((n) => [el("a", { href: `/table/${encodeURIComponent(n)}` }, named(n)), " "])) : null,
    el("pre", { tabindex: "0" }, text));
}

export function analysis(main, one) {
  const link = (place) => behind({ analysis: one.name, row: one.ids[place] });
  replace(main, el("h1", {}, one.title), el("p.quiet", {}, el("a", { href: `/product/${one.product}` }, one.product)),
    one.fault ? el("p", {}, one.fault) : body(one, link, false), sql(one.sql, one.name, one.tables));
}

export function table(main, told, now) {
  const { info } = told;
  const facts = [["rows", number(info.rows)], ["files", number(info.files)], ["size", bytes(info.bytes)], ["version", number(info.version)],
    ["last commit", info.committed ? `${clock(info.committed)} (${ago(info.committed, now)})` : "–"],
    ["partitioned by", info.partitions || "–"], ["has bronze up to version", info.source === null ? "–" : number(info.source)]];
  const history = told.history.map((c) => [number(c.version), clock(c.time), c.operation, number(c.rows), c.note]);
  replace(main, el("h1.exact", {}, info.name),
    el("dl.facts", {}, facts.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value)))),
    grid(`rows of ${info.name}`, told.columns, told.rows, { link: (_r, place) => behind({ table: info.name, row: told.ids[place] }) }),
    sql(told.sql, info.name),
    grid("commits", [{ name: "version", number: true }, { name: "time (UTC)" }, { name: "operation" }, { name: "rows", number: true }, { name: "metadata" }], history));
}

export function tables(main, lake, now) {
  const columns = [{ name: "table" }, { name: "rows", number: true }, { name: "files", number: true }, { name: "size", number: true },
    { name: "version", number: true }, { name: "last commit" }];
  const rows = lake.tables.map((t) => [el("a", { href: `/table/${encodeURIComponent(t.name)}`, "data-key": t.name }, named(t.name)), number(t.rows), number(t.files), bytes(t.bytes), number(t.version), ago(t.committed, now)]);
  replace(main, el("h1", {}, "Tables"), lake.empty ? el("p.empty", {}, lake.empty) : null, grid("tables of this lake", columns, rows, { empty: "none" }));
}

export function trace(main, told) {
  const more = told.more ? `, and ${number(told.more)} more` : "";
  replace(main, el("h1", {}, "The events behind a row"), grid(told.title, told.row.columns, told.row.rows),
    el("p", {}, told.told, told.events ? null : told.tables.map((name) => [" ", el("a", { href: `/table/${encodeURIComponent(name)}` }, named(name))])),
    told.events ? grid(`events, the newest first${more}`, told.events.columns, told.events.rows, { empty: "none: they were erased, or this row counts none" }) : null,
    told.sql ? sql(told.sql, "trace", told.tables) : null);
}
