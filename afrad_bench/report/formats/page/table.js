// One table: what of it is shown, in which order, and relative to what. The page holds the numbers before rounding.

/** Shown text of an entry without footnotes and published figures, and without what the selector `less` names. */
function said(cell, less = "sup") {
  const delta = cell.querySelector(":scope > .delta");
  const value = delta && !delta.hidden ? delta : cell.querySelector(".noted") ?? cell.querySelector(".name") ?? cell;
  const copy = value.cloneNode(true);
  copy.querySelectorAll(`sup, .seeds, .flag, .absent, .spread, ${less}`).forEach((each) => each.remove());
  return plain(copy);
}

const number = (cell) => (cell.dataset.v === undefined ? null : Number(cell.dataset.v));

/** How many decimals the measured value of an entry is printed with. */
function decimals(cell) {
  const copy = cell.querySelector(".noted").cloneNode(true);
  copy.querySelectorAll("sup").forEach((each) => each.remove());
  return (copy.textContent.match(/^\s*-?\d+\.(\d+)/)?.[1] ?? "").length;
}

const COLLATOR = new Intl.Collator("en", { numeric: true, sensitivity: "base" });

class ReportTable {
  constructor(table, scope) {
    this.table = table;
    this.scope = scope;
    this.key = table.id;
    this.compared = table.dataset.compared ?? "";
    const rows = [...table.tHead.rows];
    this.groups = rows.length > 1 ? [...rows[0].cells] : [];
    const of = this.groups.flatMap((cell) => Array(cell.colSpan).fill(cell));
    this.columns = [...rows.at(-1).cells].map((head, at) => {
      const name = said(head, ".arrow, .unit");
      const group = of[at] ? plain(of[at]) : "";
      const arrow = head.querySelector(".arrow")?.textContent ?? table.dataset.better ?? "";
      return { head, at, name, group, arrow, numeric: head.classList.contains("number") };
    });
    this.name(this.columns, (column) => (column.group ? `${column.group}/${column.name}` : column.name));
    this.lines = [...table.tBodies[0].rows].map((row, at) => {
      return { row, at, cells: [...row.cells], strong: row.classList.contains("strong") };
    });
    const keys = Number(table.dataset.keys);
    this.name(this.lines, (line) => line.cells.slice(0, keys).map((cell) => said(cell)).join(" / "));
    for (const line of this.lines) {
      line.words = line.cells.filter((_, at) => !this.columns[at].numeric).map(plain).join(" ").toLowerCase();
      line.words = `${line.key} ${line.words}`.toLowerCase();
    }
    this.keys = keys;
    this.reset();
    this.changed = () => {};
  }

  /** Keys by which a link names columns and lines: unique, and the same in a report that is written again. */
  name(things, of) {
    const seen = new Map();
    for (const each of things) {
      const count = (seen.get(of(each)) ?? 0) + 1;
      seen.set(of(each), count);
      each.key = count > 1 ? `${of(each)} (${count})` : of(each);
    }
  }

  reset() {
    this.sort = null;
    this.filter = "";
    this.hidden = new Set();
    this.reference = "";
    this.differing = false;
  }

  /** Lines or columns whose numbers can be subtracted from each other. */
  get candidates() {
    if (this.compared === "lines") return this.lines;
    return this.compared === "columns" ? this.columns.slice(this.keys) : [];
  }

  shownColumns() {
    return this.columns.filter((column) => !column.head.hidden);
  }

  shownLines() {
    return [...this.table.tBodies[0].rows].filter((row) => !row.hidden).map((row) => this.lines.find((l) => l.row === row));
  }

  /** Sort by a column: what is best first, then the other way round, then as it was. */
  turn(column) {
    const first = column.numeric && column.arrow !== "↓";
    if (this.sort?.column !== column) this.sort = { column, descending: first };
    else if (this.sort.descending === first) this.sort = { column, descending: !first };
    else this.sort = null;
    this.apply();
    this.changed();
  }

  apply() {
    this.compare();
    this.select();
    this.order();
  }

  /** Hide the lines and columns that the filters leave out. */
  select() {
    const words = this.filter.toLowerCase().split(/\s+/).filter(Boolean);
    const within = this.lines.filter((line) => this.scope.hasLine(this, line));
    const lines = within.filter((line) => words.every((word) => line.words.includes(word)));
    let columns = this.columns.filter(
      (column) => column.at < this.keys || (!this.hidden.has(column.key) && this.scope.has(column.group)),
    );
    let kept = new Set(lines);
    if (this.differing) {
      const differ = (cells) => new Set(cells.map((cell) => said(cell))).size > 1;
      if (this.compared === "columns") {
        const rest = columns.filter((column) => column.at >= this.keys);
        if (rest.length > 1) kept = new Set(lines.filter((line) => differ(rest.map((column) => line.cells[column.at]))));
      } else if (lines.length > 1) {
        columns = columns.filter((c) => c.at < this.keys || differ(lines.map((line) => line.cells[c.at])));
      }
    }
    const shown = new Set(columns);
    for (const line of this.lines) line.row.hidden = !kept.has(line);
    for (const column of this.columns) {
      const hide = !shown.has(column);
      if (column.head.hidden === hide) continue;
      column.head.hidden = hide;
      for (const line of this.lines) line.cells[column.at].hidden = hide;
    }
    let at = 0;
    for (const cell of this.groups) {
      cell.dataset.span ??= cell.colSpan;
      const own = this.columns.slice(at, (at += Number(cell.dataset.span))).filter((column) => shown.has(column));
      cell.hidden = own.length === 0;
      if (own.length) cell.colSpan = own.length;
    }
  }

  order() {
    const lines = [...this.lines];
    if (this.sort) {
      const { column, descending } = this.sort;
      const sign = descending ? -1 : 1;
      const numeric = this.lines.some((line) => number(line.cells[column.at]) !== null);
      const value = new Map(lines.map((line) => {
        const cell = line.cells[column.at];
        return [line, numeric ? number(cell) : said(cell)];
      }));
      lines.sort((a, b) => {
        if (a.strong !== b.strong) return a.strong ? 1 : -1;
        const [x, y] = [value.get(a), value.get(b)];
        if (numeric && (x === null || y === null)) return (x === null) - (y === null) || a.at - b.at;
        return sign * (numeric ? x - y : COLLATOR.compare(x, y)) || a.at - b.at;
      });
    }
    for (const column of this.columns) {
      const active = this.sort?.column === column;
      if (active) column.head.setAttribute("aria-sort", this.sort.descending ? "descending" : "ascending");
      else column.head.removeAttribute("aria-sort");
    }
    if (lines.some((line, at) => this.table.tBodies[0].rows[at] !== line.row)) {
      this.table.tBodies[0].append(...lines.map((line) => line.row));
    }
  }

  /** Show the difference to the chosen line or column in place of each number, and whether it is more than noise. */
  compare() {
    const chosen = this.candidates.find((each) => each.key === this.reference);
    this.table.classList.toggle("relative", Boolean(chosen));
    for (const line of this.lines) line.row.classList.toggle("reference", line === chosen);
    for (const column of this.columns) column.head.classList.toggle("reference", column === chosen);
    for (const cell of this.table.querySelectorAll(".against")) {
      cell.classList.remove("against");
      cell.querySelector(":scope > .delta").hidden = true;
    }
    if (!chosen) return;
    const columns = this.columns.slice(this.keys).filter((column) => column.arrow);
    if (this.compared === "lines") {
      for (const column of columns) {
        this.against(chosen.cells[column.at], this.lines.map((line) => [line.cells[column.at], column]));
      }
    } else {
      for (const line of this.lines) {
        this.against(line.cells[chosen.at], columns.map((column) => [line.cells[column.at], column]));
      }
    }
  }

  /** Show the differences of some entries, each with its column, to one of them. */
  against(base, entries) {
    if (number(base) === null) return;
    const others = entries.filter(([cell]) => cell !== base && number(cell) !== null);
    const found = findings(others.map(([cell]) => cell), base);
    for (const [cell, column] of others) {
      const change = number(cell) - number(base);
      const text = signed(change, decimals(cell));
      const better = (column.arrow === "↑") === (change > 0) ? "better" : "worse";
      const told = /[+−]/.test(text) && ["certain", "likely", "alike"].includes(found.get(cell));
      const delta = cell.querySelector(":scope > .delta") ?? cell.appendChild(element("span", { class: "delta" }));
      delta.replaceChildren(`${text} `, element("span", { class: "mark" }, MARKS[found.get(cell)] ?? ""));
      delta.className = `delta ${told ? better : ""}`;
      Object.assign(delta.dataset, { change, finding: found.get(cell) });
      delta.hidden = false;
      cell.classList.add("against");
    }
  }

  /** What is shown, in words, for a reader and for paper. */
  summary() {
    const lines = this.shownLines().length;
    const columns = this.shownColumns().length;
    const parts = [];
    if (lines < this.lines.length) parts.push(`${lines} of ${this.lines.length} rows`);
    if (columns < this.columns.length) parts.push(`${columns} of ${this.columns.length} columns`);
    if (this.sort) parts.push(`sorted by ${this.sort.column.name}`);
    if (this.table.classList.contains("relative")) parts.push(`differences of means to ${this.reference}`);
    return parts.length ? [`Shown: ${parts.join(", ")}.`, ...this.marks()].join(" ") : "";
  }

  /** What the marks of the differences mean, of those that are there. */
  marks() {
    const found = new Set([...this.table.querySelectorAll(".against > .delta")].map((delta) => delta.dataset.finding));
    return Object.entries(MEANINGS).filter(([finding]) => found.has(finding)).map(([, meaning]) => meaning);
  }
}
