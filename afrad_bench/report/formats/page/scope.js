// The data set and the category to which the whole page is limited: one choice for all tables and figures.

class Scope {
  /** @param names the data sets of the page; none if it has only one. */
  constructor(names) {
    this.names = new Set(names);
    this.dataset = "";
    this.category = "";
  }

  /** Whether something about this data set is shown; what is about none or about several always is. */
  has(dataset) {
    return !this.dataset || !this.names.has(dataset) || dataset === this.dataset;
  }

  hasLine(table, line) {
    if (!this.has(line.row.dataset.dataset)) return false;
    return !this.category || !byCategory(table) || line.strong || line.key === this.category;
  }

  /** Hide tables, figures and then sections that are about other data. */
  apply() {
    for (const block of document.querySelectorAll("main :is(div, details)[data-dataset]")) {
      block.hidden = !this.has(block.dataset.dataset);
    }
    for (const section of document.querySelectorAll("main > section:has([data-dataset])")) {
      section.hidden = [...section.querySelectorAll(".scroll")].every((each) => each.closest("[data-dataset][hidden]"));
    }
  }

  get words() {
    const of = this.category ? `, category ${this.category}` : "";
    return this.dataset || this.category ? `Shown: ${this.dataset ? `data set ${this.dataset}` : "all data sets"}${of}.` : "";
  }
}

const byCategory = (table) => table.columns[0].name === "Category";

/** The choices of data set and category, above everything else. */
class ScopeChoice {
  constructor(scope, tools, save) {
    Object.assign(this, { scope, tools, save });
    this.said = element("output", { class: "status" });
    this.data = element("select", { onchange: () => this.choose(this.data.value, "") });
    this.data.append(option("", "all"), ...[...scope.names].map((name) => option(name, name)));
    this.categories = element("select", { onchange: () => this.choose(scope.dataset, this.categories.value) });
    this.fill();
    const categories = element("label", {}, "Category ", this.categories);
    categories.hidden = this.categories.options.length < 3;
    this.parts = [...(scope.names.size ? [element("label", {}, "Data set ", this.data)] : []), categories];
  }

  /** Offer the categories of the data that are shown. */
  fill() {
    const tables = this.tools.map((each) => each.of).filter((table) => byCategory(table) && this.scope.has(about(table)));
    const names = new Set(tables.flatMap((table) => table.lines.filter((line) => !line.strong).map((line) => line.key)));
    this.categories.replaceChildren(option("", "all"), ...[...names].map((name) => option(name, name)));
  }

  choose(dataset, category, save = true) {
    const { scope } = this;
    scope.dataset = scope.names.has(dataset) ? dataset : "";
    this.fill();
    scope.category = [...this.categories.options].some((each) => each.value === category) ? category : "";
    this.data.value = scope.dataset;
    this.categories.value = scope.category;
    this.said.textContent = scope.words;
    scope.apply();
    for (const each of this.tools) {
      each.of.apply();
      each.update(false);
    }
    if (save) this.save();
  }

  *state() {
    if (this.scope.dataset) yield ["data", this.scope.dataset];
    if (this.scope.category) yield ["category", this.scope.category];
  }

  restore(pairs) {
    const of = (wanted) => pairs.find(([name]) => name === wanted)?.[1] ?? "";
    this.choose(of("data"), of("category"), false);
  }
}

const about = (table) => table.table.closest("[data-dataset]")?.dataset.dataset;

const option = (value, text) => element("option", { value }, text);
