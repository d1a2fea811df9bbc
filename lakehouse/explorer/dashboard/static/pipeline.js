// The pipeline: flows with counts that move, lag, freshness, stages, tables, audits, disk.
import { spark } from "./charts.js";
import { ago, bytes, clock, el, many, named, number, replace, seconds, short, table as grid } from "./dom.js";

const SPAN = 300, STEP = 10;
const NOTHING = "nothing yet"; // the note of a table, file or topic that was never written

export function pipeline(main, lake, now, isAging = false) {
  if (isAging && main.querySelector("h1")?.textContent !== "Pipeline") return;
  replace(main, el("h1", {}, "Pipeline"),
    lake.empty ? el("p.empty", {}, lake.empty) : null,
    concerns(lake),
    lake.products.flatMap((p) => p.contracts.map((c) => flow(c, lake, now))),
    el("div.cards", {}, followers(lake, now), lags(lake), stages(lake), machine(lake), lake.products.flatMap((p) => p.contracts.map(quarantine)), audits(lake, now)));
}

function concerns(lake) {
  if (lake.empty) return null;
  if (!lake.concerns.length) return el("p.well", {}, "All is well: flows run, followers are close, the last audits hold.");
  return el("ul.concerns", { "aria-label": "what needs a person" }, lake.concerns.map((c) => el(`li.${c.level}`, {},
    el("b", {}, c.level === "bad" ? "Needs you: " : "Worth a look: "), c.what, el("span.fix", {}, c.fix))));
}

function rates(contract, now) {
  const buckets = Array(SPAN / STEP).fill(0);
  for (const batch of contract.batches) {
    const age = (now - new Date(batch.time)) / 1000;
    if (age >= 0 && age < SPAN) buckets[buckets.length - 1 - Math.floor(age / STEP)] += batch.rows + batch.quarantined;
  }
  const last = buckets.slice(-6).reduce((a, b) => a + b, 0) / 60;
  return { buckets: buckets.map((n) => n / STEP), last };
}

/** A text that leads to the analysis which tells more of it, where the product has one. */
function told(contract, analysis, text) {
  const name = contract.analyses[analysis];
  return name ? el("a", { href: `/analysis/${encodeURIComponent(name)}` }, text) : text;
}

const ages = (a) => (a ? `${seconds(a.p50)} / ${seconds(a.p95)}` : "not known");

function flow(contract, lake, now) {
  const rate = rates(contract, now), last = contract.batches.at(-1);
  const own = contract.flows.find((f) => f.into === `bronze.${contract.name}`);
  const bronze = lake.tables.find((t) => t.name === `bronze.${contract.name}`);
  const running = Object.values(lake.locks).some((f) => f.split("+").includes(contract.bronze_flow));
  const kinds = Map.groupBy ? Map.groupBy(contract.flows.filter((f) => f !== own), (f) => f.flow) : group(contract.flows.filter((f) => f !== own));
  const lag = own && own.waiting !== null ? `${many(own.waiting, "record")} wait${own.waiting === 1 ? "s" : ""}` : "lag not known";
  return el("section.flow", { "aria-label": `flow of ${contract.name}` }, el("h2", {}, contract.name),
    el("ol.stages", {},
      box("topic", "Kafka topic", lag, own ? own.note || partitions(own) : ""),
      el("li.arrow", { "aria-hidden": "true" }, el(`span${running && rate.last ? ".moving" : ""}`)),
      box("bronze", el("a", { href: `/table/bronze.${encodeURIComponent(contract.name)}` }, `bronze.${contract.name}`), many(bronze?.rows, "row"),
        [`${rate.last >= 10 ? short(rate.last) : rate.last.toFixed(1)} records/s in the last minute`, el("br"),
          last ? `last batch ${ago(last.time, now)}` : "no batch", el("br"), `landing ${ages(contract.landed)}`, el("br"),
          told(contract, "late_and_doubled", `late ${number(contract.late)}, duplicates ${number(contract.duplicates)}`),
          spark(rate.buckets, `records a second over five minutes, now ${rate.last.toFixed(1)}`)]),
      el("li.arrow", { "aria-hidden": "true" }, el(`span${running && rate.last ? ".moving" : ""}`)),
      el("li.after", {}, el("ul", {},
        [...kinds].map(([name, rows]) => follower(name, rows, contract, now)),
        contract.quarantine === null ? null : el("li.box.quarantine", {}, el("h3", {}, el("a", { href: `/table/quarantine.${encodeURIComponent(contract.name)}` }, "quarantine")),
          el("p.big", {}, told(contract, "quarantine", many(contract.quarantine, "record"))), el("p", {}, contract.faults.length ? "broke their contract" : "none broke its contract"))))),
    el("p.quiet", {}, `newest event ${clock(contract.newest_event)}; watermark ${clock(contract.watermark)}; ages of events are p50 / p95 of the newest batches`));
}

function group(flows) {
  const found = new Map();
  for (const f of flows) found.set(f.flow, [...(found.get(f.flow) || []), f]);
  return found;
}

function box(kind, title, big, rest) {
  return el(`li.box.${kind}`, {}, el("h3", {}, title), el("p.big", {}, big), rest ? el("p", {}, rest) : null);
}

function partitions(own) {
  const found = Object.entries(own.partitions);
  return found.length ? found.map(([p, n]) => `partition ${p}: ${number(n)}`).join(", ") : "";
}

function follower(name, rows, contract, now) {
  const begun = rows.filter((r) => r.note !== NOTHING), none = rows.length - begun.length;
  const behind = Math.max(0, ...begun.map((r) => r.behind ?? 0)), commits = many(behind, "commit");
  const known = contract.applied[name];
  const late = begun.filter((r) => r.behind), times = late.map((r) => r.time && new Date(r.time)).filter(Boolean);
  const oldest = times.length ? new Date(Math.min(...times)) : null;
  const note = begun.find((r) => r.note)?.note ?? (begun.length ? "" : NOTHING);
  return el("li.box", {}, el("h3", {}, name),
    el("p.big", {}, note ? note : known ? `${ages(known)} old` : behind ? `${commits} behind` : "up to date"),
    el("p", {}, known ? "events, when silver had them" : null, known ? el("br") : null,
      rows.length === 1 || !begun.length ? null : [`${late.length} of ${rows.length} tables wait for their turn`,
        oldest ? `, ${commits} and ${seconds((now - oldest) / 1000)} behind at most` : "",
        none ? `; ${none} ${none === 1 ? "has" : "have"} nothing yet` : ""]));
}

function quarantine(contract) {
  if (!contract.faults.length) return null;
  const rows = contract.faults.map((f) => [f.field || "the record", f.fault, told(contract, "quarantine", number(f.records))]);
  return el("article.card", {}, el("h2", {}, `Quarantine of ${contract.name}`),
    grid(`by first fault, ${contract.name}`, [{ name: "field" }, { name: "fault" }, { name: "records", number: true }], rows),
    el("p", {}, el("a", { href: `/table/quarantine.${encodeURIComponent(contract.name)}` }, "the records"), " — ", told(contract, "quarantine", "with samples, by verdict")));
}

function stages(lake) {
  const head = el("h2", {}, "Batch stages");
  if (!lake.beside) return el("article.card", {}, head, el("p.quiet", {}, "Known to the process that runs the flows: under lakehouse up it tells them here; elsewhere set [metrics] port and Prometheus has them."));
  const rows = lake.beside.stages.map((s) => [s.flow, s.stage, number(s.batches), seconds(s.seconds)]);
  const memory = Object.entries(lake.beside.memory).map(([name, size]) => `${name} ${bytes(size)}`).join(", ");
  return el("article.card", {}, head, grid("mean of the last minute", [{ name: "flow" }, { name: "stage" }, { name: "batches", number: true }, { name: "time", number: true }], rows, { empty: "no batch in the last minute" }),
    el("p.quiet", {}, `memory: ${memory}`));
}

function followers(lake, now) {
  const rows = lake.products.flatMap((p) => p.contracts.flatMap((c) => c.flows.filter((f) => !f.into.startsWith("bronze.")))).map((f) => [
    f.into.startsWith("silver.") || f.into.startsWith("lake.") ? el("a", { href: `/table/${encodeURIComponent(f.into)}` }, named(f.into)) : f.into,
    number(f.behind), number(f.rows_behind), f.behind ? (f.time ? seconds((now - new Date(f.time)) / 1000) : "–") : "0", f.note]);
  return el("article.card.full", {}, el("h2", {}, "Followers of bronze"),
    grid("how far each is", [{ name: "into" }, { name: "commits behind", number: true }, { name: "rows behind", number: true }, { name: "published", number: true }, { name: "note" }], rows));
}

function lags(lake) {
  const rows = lake.products.flatMap((p) => p.contracts.flatMap((c) => {
    const own = c.flows.find((f) => f.into === `bronze.${c.name}`);
    return Object.entries(own?.partitions || {}).map(([n, lag]) => [linked(lake, `bronze.${c.name}`, named(c.bronze_flow)), n, number(c.next[n]), number(lag)]);
  }));
  return el("article.card", {}, el("h2", {}, "Lag by partition"), grid("offsets of the topic that bronze lacks",
    [{ name: "flow" }, { name: "partition", number: true }, { name: "next offset", number: true }, { name: "lag", number: true }], rows, { empty: "the broker does not run, or was not asked" }));
}

function linked(lake, table, text) {
  return lake.tables.some((t) => t.name === table) ? el("a", { href: `/table/${encodeURIComponent(table)}` }, text) : text;
}

function audits(lake, now) {
  const rows = lake.products.flatMap((p) => p.contracts.flatMap((c) => c.audits.slice(0, 8).map((a) => [
    linked(lake, `bronze.${c.name}`, named(c.name)), a.verdict, ago(a.audited_at, now), number(a.bronze), number(a.quarantine), number(a.missing), number(a.doubled), number(a.silver_differing), a.reasons.join("; ")])));
  return el("article.card.full", {}, el("h2", {}, "Audits"), grid("kept audits, the newest first", [{ name: "of" }, { name: "verdict" }, { name: "when" },
    ...["bronze", "quarantine", "missing", "doubled", "silver differing"].map((name) => ({ name, number: true })), { name: "reasons" }], rows, { empty: "none was kept: lakehouse audit --keep" }));
}

function machine(lake) {
  const disks = lake.disks.map((d) => el("p", {}, `disk: ${bytes(d.free)} free of ${bytes(d.total)}`, el("meter", { min: 0, low: 0.9 * d.total, high: d.short ? d.total - d.free - 1 : d.total, optimum: 0, max: d.total, value: d.total - d.free, "aria-label": "disk used", title: "used" })));
  const held = Object.entries(lake.locks);
  return el("article.card", {}, el("h2", {}, "Disk, state and locks"), disks,
    lake.states.map((s) => el("p", {}, `state of ${s.flow}: ${number(s.keys)} keys, ${bytes(s.bytes)}`)),
    held.length ? el("details", { "data-key": "locks" }, el("summary", {}, `${many(held.length, "table")} ${held.length === 1 ? "is" : "are"} being written`), el("ul", {}, held.map(([t, f]) => el("li", {}, `${t}: ${f}`)))) : el("p.quiet", {}, "no table has a writer"));
}
