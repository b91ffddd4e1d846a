// The tools above each table, made here so that a page without its script has no buttons that do nothing.

/** A table with fewer lines is seen at a glance: it needs no filter. */
const FEW = 5;

class Tools {
  constructor(table, save) {
    this.of = table;
    this.save = save;
    this.status = element("output", { class: "status" });
    table.changed = () => this.update();
    for (const column of table.columns) this.sortable(column);
    this.search = element("input", {
      type: "search",
      placeholder: "Filter rows",
      "aria-label": "Filter rows",
      oninput: () => this.change(() => (table.filter = this.search.value)),
    });
    const parts = table.lines.length < FEW ? [] : [this.search];
    if (table.columns.length > table.keys + 1) parts.push(...this.columnPanel());
    if (table.candidates.length > 1) parts.push(this.referenceChoice());
    if (table.lines.length > 1) {
      this.differing = checkbox("only what differs", false, (on) => this.change(() => (table.differing = on)));
      parts.push(this.differing);
    }
    parts.push(...takePanel(table));
    this.again = element("button", { type: "button", hidden: true, onclick: () => this.reset() }, "Show all");
    const caption = table.table.caption ? plain(table.table.caption) : table.key;
    const box = element("div", { class: "tools", role: "group", "aria-label": `Tools: ${caption}` }, ...parts, this.again);
    const frame = table.table.closest(".scroll");
    frame.before(box, this.status);
  }

  sortable(column) {
    const name = column.head.querySelector(".name");
    if (!name || this.of.lines.length < 2) return;
    const button = element("button", { type: "button", class: "sort", onclick: () => this.of.turn(column) });
    button.append(...name.childNodes);
    name.replaceChildren(button);
  }

  columnPanel() {
    const table = this.of;
    const list = element("div", { class: "choices" });
    this.boxes = new Map();
    const groups = new Set(table.columns.map((column) => column.group));
    for (const group of groups) {
      const own = table.columns.filter((column) => column.group === group && column.at >= table.keys);
      if (!own.length) continue;
      const made = own.map((column) => {
        const label = checkbox(column.name, true, (on) => this.show([column], on));
        this.boxes.set(column, label.firstChild);
        return label;
      });
      if (group) {
        const all = checkbox(group, true, (on) => this.show(own, on));
        list.append(element("fieldset", {}, element("legend", {}, all), ...made));
      } else list.append(...made);
    }
    return panel("Columns", `${table.key}-columns`, list);
  }

  referenceChoice() {
    const table = this.of;
    this.choice = element(
      "select",
      { onchange: () => this.change(() => (table.reference = this.choice.value)) },
      element("option", { value: "" }, "none"),
      ...table.candidates.filter((each) => !each.strong).map((each) => element("option", { value: each.key }, each.key)),
    );
    return element("label", {}, "Compare to ", this.choice);
  }

  show(columns, on) {
    this.change(() => {
      for (const column of columns) {
        if (on) this.of.hidden.delete(column.key);
        else this.of.hidden.add(column.key);
      }
    });
  }

  change(how) {
    how();
    this.of.apply();
    this.update();
  }

  reset() {
    this.change(() => this.of.reset());
    this.of.table.closest(".scroll").focus();
  }

  /** Make the tools say what the table shows. */
  update(save = true) {
    const { of } = this;
    this.status.textContent = of.summary();
    this.again.hidden = [...this.state()].length === 0;
    if (this.search.value !== of.filter) this.search.value = of.filter;
    if (this.choice) this.choice.value = of.reference;
    if (this.differing) this.differing.firstChild.checked = of.differing;
    for (const [column, box] of this.boxes ?? []) box.checked = !of.hidden.has(column.key);
    if (save) this.save();
  }

  /** Its part of a link: name and value of what is not as at first. */
  *state() {
    const { of } = this;
    if (of.sort) yield ["sort", (of.sort.descending ? "-" : "+") + of.sort.column.key];
    if (of.filter) yield ["filter", of.filter];
    if (of.reference) yield ["to", of.reference];
    if (of.differing) yield ["differs", "1"];
    for (const key of of.hidden) yield ["hide", key];
  }

  restore(pairs) {
    const { of } = this;
    of.reset();
    for (const [name, value] of pairs) {
      const column = of.columns.find((each) => each.key === value.slice(1));
      if (name === "sort" && column) of.sort = { column, descending: value[0] === "-" };
      if (name === "filter") of.filter = value;
      if (name === "to" && of.candidates.some((each) => each.key === value)) of.reference = value;
      if (name === "differs") of.differing = true;
      if (name === "hide" && of.columns.some((each) => each.key === value)) of.hidden.add(value);
    }
    of.apply();
    this.update(false);
    if (pairs.length) of.table.closest("details")?.setAttribute("open", "");
  }
}
