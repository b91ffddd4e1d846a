// Points of a figure: each names its row when the pointer or the keyboard reaches it.

/** One stop of the keyboard for each figure; arrows go from point to point. `pictureOf` gives what is shown beside a
    point's name, or null. */
function points(svg, pictureOf) {
  const found = [...svg.querySelectorAll(".point")];
  if (!found.length) return;
  const told = element("output", { class: "told" });
  svg.closest("figure").querySelector("figcaption").before(told);
  const tell = (point) => told.replaceChildren(point.querySelector("title").textContent, pictureOf(point) ?? "");
  found.forEach((point, at) => {
    point.setAttribute("tabindex", at ? "-1" : "0");
    point.addEventListener("pointerenter", () => tell(point));
    point.addEventListener("focus", () => tell(point));
    point.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      if (!step) return;
      event.preventDefault();
      found[(at + step + found.length) % found.length].focus();
    });
  });
}
