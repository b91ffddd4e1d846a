// What a table shows, as CSV, Markdown or LaTeX: in the order and selection of the screen, with its footnotes.

/** Header and lines of what is shown. Each entry: text, raw number, spread, rank, footnotes, published figures. */
function shown(table) {
  const columns = table.shownColumns();
  const below = table.table.closest(".scroll").nextElementSibling;
  const list = below?.matches(".notes") ? below.querySelector(".footnotes") : below;
  const notes = list?.matches(".footnotes") ? [...list.children] : [];
  const used = new Set();
  const entry = (cell) => {
    const refs = [...new Set([...cell.querySelectorAll("sup a")].map((each) => Number(each.textContent)))];
    refs.forEach((each) => used.add(each));
    const relative = cell.classList.contains("against");
    const spread = relative ? null : cell.querySelector(".spread");
    const flag = [...cell.querySelectorAll(":scope > .flag, .name + .flag")].map(plain).join(" ");
    return {
      text: [said(cell), flag].filter(Boolean).join(" "),
      raw: relative ? cell.querySelector(":scope > .delta").dataset.change : unrounded(cell),
      finding: relative ? cell.querySelector(":scope > .delta").dataset.finding : "",
      spread: spread && showing("spread") ? plain(spread).replace(/^±\s*/, "") : "",
      std: spread && showing("spread") ? deviation(cell) : "",
      rank: relative ? "" : cell.querySelector("strong") ? "best" : cell.querySelector("u") ? "second" : "",
      seeds: showing("seeds") && !relative ? cell.dataset.seeds ?? "" : "",
      published: showing("published") ? [...cell.querySelectorAll(".paper")].map(quoted).join("; ") : "",
      refs: refs.sort((a, b) => a - b),
    };
  };
  const heads = columns.map((column) => {
    const name = column.group ? `${column.group}: ${said(column.head)}` : said(column.head);
    return { ...entry(column.head), text: name, numeric: column.numeric };
  });
  const lines = table.shownLines().map((line) => columns.map((column) => entry(line.cells[column.at])));
  const texts = [...used].sort((a, b) => a - b).map((each) => [each, noteText(notes[each - 1])]);
  const terms = document.querySelector(".brief")?.firstChild?.textContent.replace(/ · $/, "").trim() ?? "";
  const about = [plain(document.querySelector(".about")), terms, table.summary()].filter(Boolean);
  return { caption: table.table.caption ? plain(table.table.caption) : "", heads, lines, notes: texts, about };
}

/** The number before rounding, where an entry is nothing but a number; undefined for a range, or a number with words. */
function unrounded(cell) {
  return Number.isFinite(Number(said(cell).replace("−", "-"))) ? cell.dataset.v : undefined;
}

/** Standard deviation over seeds (ddof = 1), before rounding. */
function deviation(cell) {
  const values = [...seedsOf(cell).values()];
  return values.length < 2 ? plain(cell.querySelector(".spread")).replace(/^±\s*/, "") : String(moments(values)[1]);
}

function quoted(cell) {
  const copy = cell.cloneNode(true);
  copy.querySelectorAll("sup").forEach((each) => each.remove());
  return plain(copy);
}

function noteText(item) {
  if (!item) return "";
  const copy = item.cloneNode(true);
  copy.querySelectorAll(".back").forEach((each) => each.remove());
  return plain(copy);
}

/** CSV: numbers before rounding; a column each for standard deviation, seeds, published figures, and what a difference tells. */
function toCsv(table) {
  const { heads, lines, notes, about } = shown(table);
  const columns = [];
  heads.forEach((head, at) => {
    const of = (pick) => (line) => pick(line[at]);
    const any = (pick) => lines.some((line) => pick(line[at]));
    columns.push([head.text, of((entry) => entry.raw ?? entry.text)]);
    if (any((entry) => entry.std)) columns.push([`${head.text} std`, of((entry) => entry.std)]);
    if (any((entry) => entry.finding)) columns.push([`${head.text} finding`, of((entry) => entry.finding)]);
    if (any((entry) => entry.seeds)) columns.push([`${head.text} by seed`, of((entry) => entry.seeds)]);
    if (any((entry) => entry.published)) columns.push([`${head.text} published`, of((entry) => entry.published)]);
  });
  const known = new Map(notes);
  const marked = (line) => [...new Set(line.flatMap((entry) => entry.refs))].map((ref) => known.get(ref)).join("; ");
  if (lines.some((line) => marked(line))) columns.push(["note", marked]);
  const field = (text) => (/[",\n\r]/.test(text) ? `"${text.replace(/"/g, '""')}"` : text);
  const rows = [columns.map(([name]) => name), ...lines.map((line) => columns.map(([, of]) => of(line)))];
  const general = heads.flatMap((head) => head.refs.map((ref) => `${head.text}: ${known.get(ref)}`));
  return [...rows.map((row) => row.map(field).join(",")), ...[...about, ...general].map((each) => field(`# ${each}`))].join("\n") + "\n";
}

const withSpread = (entry, plusMinus) => (entry.spread ? `${entry.text} ${plusMinus} ${entry.spread}` : entry.text);

function toMarkdown(table) {
  const { caption, heads, lines, notes, about } = shown(table);
  const safe = (text) => text.replace(/[\\`*_[\]<>|~#&$]/g, (sign) => `\\${sign}`);
  const mark = (entry) => (entry.refs.length ? `<sup>${entry.refs.join(",")}</sup>` : "");
  const one = (entry) => {
    const text = safe(withSpread(entry, "±"));
    const ranked = entry.rank === "best" ? `**${text}**` : entry.rank === "second" ? `<u>${text}</u>` : text;
    const more = [entry.seeds, entry.published].filter(Boolean).map((each) => `<br>${safe(each)}`).join("");
    return ranked + mark(entry) + more;
  };
  const row = (cells) => `| ${cells.join(" | ")} |`;
  const rules = heads.map((head) => (head.numeric ? "--:" : ":--"));
  const head = heads.map((each) => safe(each.text) + mark(each));
  const body = [row(head), `|${rules.join("|")}|`, ...lines.map((line) => row(line.map(one)))];
  const below = notes.map(([ref, text]) => `<sup>${ref}</sup> ${safe(text)}`);
  const told = about.map((each) => `_${safe(each)}_`);
  return [`**${safe(caption)}**`, body.join("\n"), ...told, ...below].join("\n\n") + "\n";
}

const LATEX = {
  "\\": "\\textbackslash{}", "{": "\\{", "}": "\\}", "$": "\\$", "&": "\\&", "#": "\\#", "%": "\\%", "_": "\\_",
  "^": "\\textasciicircum{}", "~": "\\textasciitilde{}", "<": "\\textless{}", ">": "\\textgreater{}", "|": "\\textbar{}",
  "↑": "$\\uparrow$", "↓": "$\\downarrow$", "±": "$\\pm$", "−": "$-$", "–": "--", "Δ": "$\\Delta$", "·": "$\\cdot$",
  "●": "$\\bullet$", "○": "$\\circ$", "≥": "$\\geq$", "≤": "$\\leq$", "≠": "$\\neq$", "×": "$\\times$", "→": "$\\to$",
  "✓": "$\\surd$", "✗": "$\\times$", "⚠": "!", "√": "$\\surd$", "µ": "$\\mu$", "…": "\\dots{}", "²": "$^2$",
};

/** LaTeX with booktabs: best in bold, second best underlined, footnotes below the table. */
function toLatex(table) {
  const { caption, heads, lines, notes, about } = shown(table);
  const safe = (text) => text.replace(/[\\{}$&#%_^~<>|↑↓±−–Δ·●○≥≤≠×→✓✗⚠√µ…²]/g, (sign) => LATEX[sign]);
  const mark = (entry) => (entry.refs.length ? `$^{${entry.refs.join(",")}}$` : "");
  const one = (entry) => {
    const text = safe(withSpread(entry, "±"));
    const ranked = entry.rank === "best" ? `\\textbf{${text}}` : entry.rank === "second" ? `\\underline{${text}}` : text;
    const more = [entry.seeds, entry.published].filter(Boolean).map((each) => ` (${safe(each)})`).join("");
    return ranked + mark(entry) + more;
  };
  const row = (cells) => `${cells.join(" & ")} \\\\`;
  return [
    ...about.map((each) => `% ${each}`),
    "% needs \\usepackage{booktabs}",
    "\\begin{table}",
    `\\caption{${safe(caption)}}`,
    "\\centering",
    `\\begin{tabular}{${heads.map((head) => (head.numeric ? "r" : "l")).join("")}}`,
    "\\toprule",
    row(heads.map((head) => safe(head.text) + mark(head))),
    "\\midrule",
    ...lines.map((line) => row(line.map(one))),
    "\\bottomrule",
    "\\end{tabular}",
    ...notes.map(([ref, text]) => `\\par\\raggedright\\footnotesize $^{${ref}}$ ${safe(text)}`),
    "\\end{table}",
    "",
  ].join("\n");
}

const WAYS = [["CSV", toCsv, "csv"], ["Markdown", toMarkdown, "md"], ["LaTeX", toLatex, "tex"]];

function takePanel(table) {
  const said = element("output", { class: "status" });
  const copy = ([name, made]) => element("button", {
    type: "button",
    onclick: async () => (said.textContent = (await copied(made(table))) ? `${name} copied` : "The browser refused"),
  }, `Copy ${name}`);
  const save = ([name, made, suffix]) => element("button", {
    type: "button",
    onclick: () => download(`${table.key}.${suffix}`, made(table)),
  }, `Download ${name}`);
  const rows = WAYS.map((way) => element("div", {}, copy(way), " ", save(way)));
  return panel("Copy or download", `${table.key}-take`, ...rows, said);
}

/** Put text on the clipboard; false if the browser does not let a page do so. */
async function copied(text) {
  if (navigator.clipboard) {
    try {
      await navigator.clipboard.writeText(text);
      return true;
    } catch (error) {
      if (!(error instanceof DOMException)) throw error; // refused: the older way below asks for no permission
    }
  }
  const area = element("textarea", { "aria-hidden": "true" });
  area.value = text;
  (document.querySelector(":popover-open") ?? document.body).append(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  return done;
}

function download(name, text) {
  const address = URL.createObjectURL(new Blob([text], { type: "text/plain;charset=utf-8" }));
  element("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 1000);
}
