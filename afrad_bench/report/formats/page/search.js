// A box beside the link to the page of all rows of a site: what is typed there filters the table that it leads to.

function rowSearch(link) {
  const box = element("input", { type: "search", placeholder: "Find rows", "aria-label": "Find rows in all tables" });
  const go = (event) => {
    event.preventDefault();
    const [page, table] = link.href.split("#");
    location.href = `${page}#view&${new URLSearchParams([[`${table}.filter`, box.value]])}`;
  };
  link.after(element("form", { role: "search", class: "tools", onsubmit: go }, box));
}
