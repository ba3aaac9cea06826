// Menus are <details>: they close on a click elsewhere and on Escape, and one at a time is open. "/" goes to the filter.

export function watchMenus() {
  document.addEventListener("click", closeOthers);
  document.addEventListener("focusin", closeOthers);
  document.addEventListener("keydown", keys);
}

function closeOthers({ target }) {
  // A question belongs to the menu it was asked from.
  if (target.closest?.("dialog")) return;
  const kept = target.closest?.("details[data-menu]");
  for (const menu of document.querySelectorAll("details[data-menu][open]")) if (menu !== kept) menu.removeAttribute("open");
}

function keys(event) {
  const menu = document.querySelector("details[data-menu][open]");
  if (event.key === "Escape" && menu && !document.querySelector("dialog[open]")) {
    menu.removeAttribute("open");
    menu.querySelector("summary").focus();
  }
  const typing = event.target.closest?.("input, select, textarea, [contenteditable]");
  if (event.key !== "/" || typing || event.ctrlKey || event.metaKey || event.altKey) return;
  const filter = document.querySelector("#filter");
  if (!filter) return;
  event.preventDefault();
  filter.focus();
  filter.select();
}
