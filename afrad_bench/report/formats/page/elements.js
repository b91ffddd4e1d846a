// Elements of the page. Text of a report enters only as text, never as markup.

const SVG = "http://www.w3.org/2000/svg";

/** A new element. Attributes named "on..." are listeners; `true` sets an attribute, `false` and null leave it out. */
function element(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

function drawn(tag, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

function filled(made, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value !== false && value !== null) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children);
  return made;
}

const signed = (value, decimals) => {
  const text = Math.abs(value).toFixed(decimals);
  return Number(text) === 0 ? text : (value > 0 ? "+" : "−") + text;
};

const plain = (node) => node.textContent.replace(/\s+/g, " ").trim();

/** A label with a check box; `changed` is called with its state. */
function checkbox(text, checked, changed) {
  const box = element("input", { type: "checkbox", checked, onchange: () => changed(box.checked) });
  return element("label", {}, box, ` ${text}`);
}

/** A button that opens a panel, which Escape and a click elsewhere close. */
function panel(title, key, ...children) {
  const close = element("button", { type: "button", popovertarget: key, popovertargetaction: "hide" }, "Close");
  const head = element("div", { class: "panel-head" }, element("b", { id: `${key}-title` }, title), close);
  const box = element("div", { popover: "auto", id: key, class: "panel", role: "dialog" }, head, ...children);
  box.setAttribute("aria-labelledby", `${key}-title`);
  return [element("button", { type: "button", popovertarget: key }, title), box];
}
