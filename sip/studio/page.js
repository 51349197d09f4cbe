// Keys press the buttons of the tab that is shown.
const KEYS = {
  a: "review-accept", r: "review-reject", u: "review-undo",
  ArrowLeft: "review-back", ArrowRight: "review-forth",
  1: "compare-left", 2: "compare-right",
};

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.closest?.("input, textarea, select, [contenteditable], [role=tab], [role=listbox]")) return;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;  // Caps Lock
  const button = document.getElementById(KEYS[key] ?? "");
  if (!button || button.offsetParent === null) return;
  event.preventDefault();
  button.click();
});
