// Pictures of a gallery, larger: one image, the map of one method over it, and beside it, behind a slider, another's.

/** Where the sliders stand at first: the dividing line, the opacity of maps in percent, the magnification. */
const RANGES = { split: "50", opacity: "70", zoom: "1" };

class Viewer {
  constructor(figure, save) {
    this.figure = figure;
    this.save = save;
    this.names = JSON.parse(figure.dataset.gallery);
    this.svg = figure.querySelector("svg");
    this.key = this.svg.getAttribute("aria-labelledby").split("-drawing")[0];
    this.tiles = new Map([...figure.querySelectorAll("image[data-tile]")].map((tile) => [tile.dataset.tile, tile]));
    for (const [place, tile] of this.tiles) {
      tile.classList.add("pick");
      tile.addEventListener("click", () => this.open(...place.split(",").map(Number)));
    }
    this.button = element("button", { type: "button", "aria-expanded": "false", onclick: () => this.open() }, "Look closer");
    figure.prepend(element("div", { class: "tools" }, this.button));
    this.box = null;
  }

  /** Rows that lie over the image: the ground truth and the maps. */
  get overlays() {
    return this.names.rows.map((name, row) => ({ name, row })).slice(1);
  }

  open(row = 2, column = 0) {
    if (this.box && this.box.hidden === false && arguments.length === 0) return this.close();
    this.build();
    this.image.value = String(column);
    if (row > 0) this.method.value = String(row - 1);
    this.update();
    this.box.scrollIntoView({ block: "nearest" });
  }

  close() {
    this.box.hidden = true;
    this.button.setAttribute("aria-expanded", "false");
    this.save();
  }

  build() {
    this.button.setAttribute("aria-expanded", "true");
    if (this.box) {
      this.box.hidden = false;
      return;
    }
    const last = this.overlays.length - 1;
    const range = (min, max, value, step = 1) => element("input", { type: "range", min, max, value, step, oninput: () => this.update() });
    this.image = element("select", { onchange: () => this.update() },
      ...this.names.columns.map((name, at) => element("option", { value: at }, name)));
    this.method = range(0, last, Math.min(1, last));
    this.other = element("select", { onchange: () => this.update() }, element("option", { value: "" }, "nothing"),
      ...this.overlays.map(({ name }, at) => element("option", { value: at }, name)));
    this.split = range(0, 100, RANGES.split);
    this.opacity = range(0, 100, RANGES.opacity, 5);
    this.zoom = range(1, 8, RANGES.zoom, 0.5);
    this.name = element("output", {});
    this.view = drawn("svg", { class: "closer", role: "img" });
    const labelled = (text, ...parts) => element("label", {}, element("span", {}, text), ...parts);
    const controls = element("div", { class: "controls" },
      labelled("Image", this.image),
      labelled("Map of", this.method, this.name),
      labelled("Opacity", this.opacity),
      labelled("Beside it", this.other),
      labelled("Divide at", this.split),
      labelled("Zoom", this.zoom));
    this.box = element("div", { class: "viewer" }, this.view, controls);
    this.figure.querySelector(".scroll").before(this.box);
    this.drag();
  }

  /** The test image of this id as a small picture of its own. */
  small(id) {
    const column = this.names.images.indexOf(id);
    const name = this.names.columns[column];
    return drawn("svg", { class: "small", viewBox: "0 0 100 100", role: "img", "aria-label": name }, this.picture(0, 100, {}, column));
  }

  /** A copy of a tile's picture, moved to the origin and as large as `side`. */
  picture(row, side, attributes = {}, column = this.image.value) {
    const tile = this.tiles.get(`${row},${column}`);
    if (!tile) return drawn("text", { x: side / 2, y: side / 2, class: "none" }, "no map");
    const [box, move] = [this.boxOf(tile), tile.transform.baseVal.consolidate()?.matrix ?? this.svg.createSVGMatrix()];
    const corners = [[box.x, box.y], [box.x + box.width, box.y + box.height]].map(([x, y]) => {
      return [move.a * x + move.c * y + move.e, move.b * x + move.d * y + move.f];
    });
    const [left, top] = [Math.min(corners[0][0], corners[1][0]), Math.min(corners[0][1], corners[1][1])];
    const scale = side / Math.abs(corners[1][0] - corners[0][0]);
    const copy = tile.cloneNode(false);
    for (const name of ["data-tile", "class", "id"]) copy.removeAttribute(name);
    return drawn("g", attributes, drawn("g", { transform: `scale(${scale}) translate(${-left} ${-top})` }, copy));
  }

  /** Where a tile's picture is, also in a fold that is closed. */
  boxOf(tile) {
    const [x, y, width, height] = ["x", "y", "width", "height"].map((name) => tile[name].baseVal.value);
    return { x, y, width, height };
  }

  update() {
    const side = 100;
    const method = this.overlays[Number(this.method.value)];
    const other = this.other.value === "" ? null : this.overlays[Number(this.other.value)];
    const opacity = Number(this.opacity.value) / 100;
    const at = Number(this.split.value);
    const clip = `${this.key}-clip`;
    this.split.disabled = !other;
    this.name.textContent = method.name;
    this.method.setAttribute("aria-valuetext", method.name);
    const parts = [this.picture(0, side), this.picture(method.row, side, { opacity })];
    if (other) {
      parts.push(drawn("clipPath", { id: clip }, drawn("rect", { x: at, y: 0, width: side - at, height: side })));
      parts.push(drawn("g", { "clip-path": `url(#${clip})` }, this.picture(0, side), this.picture(other.row, side, { opacity })));
      parts.push(drawn("line", { x1: at, x2: at, y1: 0, y2: side, class: "divide" }));
    }
    const beside = other ? `; right of the line: ${other.name}` : "";
    this.view.setAttribute("aria-label", `${this.names.columns[Number(this.image.value)]}: ${method.name}${beside}`);
    this.view.replaceChildren(...parts);
    this.frame();
    this.save();
  }

  /** Which part is seen: the middle at first, then where it was dragged to. */
  frame() {
    const size = 100 / Number(this.zoom.value);
    const inside = (value) => Math.min(Math.max(value, 0), 100 - size);
    this.corner = [this.corner?.[0] ?? 50, this.corner?.[1] ?? 50];
    const [x, y] = this.corner.map((centre) => inside(centre - size / 2));
    this.corner = [x + size / 2, y + size / 2];
    this.view.setAttribute("viewBox", `${x} ${y} ${size} ${size}`);
  }

  drag() {
    let from = null;
    this.view.addEventListener("pointerdown", (event) => {
      from = [event.clientX, event.clientY];
      this.view.setPointerCapture(event.pointerId);
    });
    this.view.addEventListener("pointermove", (event) => {
      if (!from) return;
      const unit = 100 / Number(this.zoom.value) / this.view.clientWidth;
      this.corner = [this.corner[0] - (event.clientX - from[0]) * unit, this.corner[1] - (event.clientY - from[1]) * unit];
      from = [event.clientX, event.clientY];
      this.frame();
    });
    this.view.addEventListener("pointerup", () => (from = null));
  }

  *state() {
    if (!this.box || this.box.hidden) return;
    yield ["image", this.image.value];
    yield ["map", this.method.value];
    if (this.other.value !== "") yield ["beside", this.other.value];
    for (const [name, first] of Object.entries(RANGES)) if (this[name].value !== first) yield [name, this[name].value];
  }

  restore(pairs) {
    const asked = new Map(pairs);
    if (!asked.has("image")) return;
    this.figure.closest("details")?.setAttribute("open", "");
    this.build();
    this.image.value = asked.get("image");
    if (this.image.selectedIndex < 0) this.image.value = "0";
    this.method.value = asked.get("map") ?? "1";
    this.other.value = asked.get("beside") ?? "";
    for (const [name, first] of Object.entries(RANGES)) this[name].value = asked.get(name) ?? first;
    this.update();
  }
}
