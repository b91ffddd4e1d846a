// Footnotes: a mark shows its note under the pointer, and opens the fold in which its note stands.

function footnotes() {
  const noteOf = (target) => {
    const mark = target.closest?.("sup a");
    return mark && [mark, document.getElementById(mark.hash.slice(1))];
  };
  document.addEventListener("pointerover", (event) => {
    const [mark, note] = noteOf(event.target) ?? [];
    if (note) mark.title = noteText(note);
  });
  document.addEventListener("click", (event) => noteOf(event.target)?.[1]?.closest("details")?.setAttribute("open", ""));
}
