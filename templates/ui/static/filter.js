// The filter above a list works while one types, and states are switched without a new page.

const PAUSE_MS = 180;

export function watchFilter(refresh) {
  const form = document.querySelector("form[data-filter]");
  if (!form) return;
  const input = form.elements.q;
  let timer = 0;
  input.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(() => go({ q: input.value.trim() }, "replaceState"), PAUSE_MS);
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    clearTimeout(timer);
    go({ q: input.value.trim() }, "replaceState");
  });
  document.addEventListener("click", (event) => {
    const chip = event.target.closest?.("a[data-chip]");
    if (!chip || event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
    event.preventDefault();
    go({ state: new URL(chip.href).searchParams.get("state") ?? "" }, "pushState");
  });
  addEventListener("popstate", () => {
    input.value = new URL(location.href).searchParams.get("q") ?? "";
    refresh();
  });

  function go(changes, how) {
    const url = new URL(location.href);
    for (const [name, value] of Object.entries(changes)) {
      if (value) url.searchParams.set(name, value);
      else url.searchParams.delete(name);
    }
    history[how](null, "", url);
    refresh();
  }
}
