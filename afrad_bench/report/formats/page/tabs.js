// Sections as tabs: the links above them choose the one that is shown. On paper, all are.

class Tabs {
  constructor(main, save) {
    this.sections = [...main.querySelectorAll(":scope > section:not(.answer, .terms):has(> h2[id])")];
    this.bar = main.querySelector(":scope > nav");
    this.bar.classList.add("tabs");
    this.links = [...this.bar.querySelectorAll("a")];
    this.save = save;
    this.at = 0;
    addEventListener("hashchange", () => this.follow() && save());
  }

  key(section) {
    return section.querySelector(":scope > h2").id;
  }

  show(section) {
    this.at = Math.max(this.sections.indexOf(section), 0);
    this.sections.forEach((each, at) => each.classList.toggle("another", at !== this.at));
    for (const link of this.links) {
      if (link.hash === `#${this.key(this.sections[this.at])}`) link.setAttribute("aria-current", "true");
      else link.removeAttribute("aria-current");
    }
  }

  /** Show the section that the address leads into; false if it names none. */
  follow() {
    const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    const found = this.sections.find((each) => each.contains(target));
    if (found) this.show(found);
    return Boolean(found);
  }

  *state() {
    if (this.at) yield ["tab", this.key(this.sections[this.at])];
  }

  restore(pairs) {
    const wanted = new Map(pairs).get("tab");
    this.show(this.sections.find((each) => this.key(each) === wanted));
  }
}
