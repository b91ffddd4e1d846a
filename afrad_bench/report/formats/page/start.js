// The tools of the whole page, and its state as a link: "#view&results-1.sort=-I-AUROC&seeds=1".

const WHOLE = [["spread", "± over seeds", true], ["seeds", "every seed", false], ["published", "published figures", true], ["heat", "colours", true]];
const PRESENT = { spread: ".spread", seeds: "[data-seeds]", published: ".paper", heat: "[class*=heat]" };

/** Whether the page shows something of this kind: spread, seeds, published, heat. */
function showing(name) {
  const at = WHOLE.find(([each]) => each === name);
  return document.body.classList.contains(`no-${name}`) ? false : at[2] || document.body.classList.contains(`with-${name}`);
}

function toggle(name, on) {
  const first = WHOLE.find(([each]) => each === name)[2];
  document.body.classList.toggle(`no-${name}`, first && !on);
  document.body.classList.toggle(`with-${name}`, !first && on);
  if (name === "seeds" && on) bySeed();
}

/** The value of every seed below each mean; written when first asked for. */
function bySeed() {
  for (const cell of document.querySelectorAll("td[data-seeds]")) {
    if (cell.querySelector(".seeds")) continue;
    const pairs = cell.dataset.seeds.split(" ").map((each) => each.split(":"));
    const words = pairs.map(([seed, value]) => `${seed}:\u00a0${Number(value).toFixed(decimals(cell))}`);
    cell.append(element("span", { class: "seeds" }, words.join(" · ")));
  }
}

/** The picture of a point's test image, if a gallery of the same data shows it. */
function pictureOf(point) {
  const data = (each) => each.closest("[data-dataset]")?.dataset.dataset;
  const has = (viewer) => viewer.names.images.includes(point.dataset.image) && data(viewer.figure) === data(point);
  return point.dataset.image ? viewers.find(has)?.small(point.dataset.image) : null;
}

const page = document.querySelector("main");
const scope = new Scope(JSON.parse(page.dataset.datasets ?? "[]"));
const tools = [...document.querySelectorAll("main table[data-keys]")].filter((table) => table.tBodies[0]?.rows.length)
  .map((table) => new Tools(new ReportTable(table, scope), save));
const within = new ScopeChoice(scope, tools, save);
const tabs = "tabbed" in page.dataset ? new Tabs(page, save) : null;
const viewers = [...document.querySelectorAll("figure[data-gallery]")].map((figure) => new Viewer(figure, save));
document.querySelectorAll("figure svg").forEach((svg) => points(svg, pictureOf));
document.querySelectorAll('a[rel="search"]').forEach(rowSearch);
footnotes();

const boxes = new Map();
const linked = element("output", { class: "status" });
wholePage();

function wholePage() {
  const parts = [...within.parts];
  for (const [name, text, first] of WHOLE) {
    if (!document.querySelector(`main ${PRESENT[name]}`)) continue;
    const label = checkbox(text, first, (on) => {
      toggle(name, on);
      save();
    });
    boxes.set(name, label.firstChild);
    parts.push(label);
  }
  const link = async () => {
    save();
    linked.textContent = (await copied(location.href)) ? "link copied" : "the browser refused";
  };
  parts.push(element("button", { type: "button", onclick: link }, "Copy a link to this view"), linked);
  const bar = element("div", { class: "tools whole", role: "group", "aria-label": "Tools of the page" }, ...parts);
  document.querySelector("main > nav")?.after(bar, within.said);
}

function save() {
  linked.textContent = "";
  const state = new URLSearchParams();
  for (const [name, value] of [...(tabs?.state() ?? []), ...within.state()]) state.append(name, value);
  for (const each of tools) for (const [name, value] of each.state()) state.append(`${each.of.key}.${name}`, value);
  for (const each of viewers) for (const [name, value] of each.state()) state.append(`${each.key}.${name}`, value);
  for (const [name, , first] of WHOLE) if (showing(name) !== first) state.append(name, first ? "0" : "1");
  const text = state.toString();
  if (text || location.hash.startsWith("#view&")) history.replaceState(null, "", `#view&${text}`);
}

function restore() {
  if (!location.hash.startsWith("#view&")) return;
  const found = [...new URLSearchParams(location.hash.slice(6))];
  tabs?.restore(found);
  within.restore(found);
  const of = (key) => found.filter(([name]) => name.startsWith(`${key}.`)).map(([name, value]) => [name.slice(key.length + 1), value]);
  for (const each of tools) each.restore(of(each.of.key));
  for (const each of viewers) each.restore(of(each.key));
  for (const [name, , first] of WHOLE) {
    const asked = found.find(([each]) => each === name);
    const on = asked ? asked[1] === "1" : first;
    toggle(name, on);
    if (boxes.has(name)) boxes.get(name).checked = on;
  }
}

tabs?.follow() || tabs?.restore([]);
addEventListener("hashchange", restore);
restore();
