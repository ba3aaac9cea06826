// The list's check boxes and the bar below it: the same for all chosen machines, each with a result of its own.
// "All" means all that fit the filter, also those that the page does not show.

import { busy, call, confirmed } from "./forms.js";
import { notify } from "./notices.js";

const SHOWN_REFUSALS = 100;

export function watchBulk() {
  const form = document.querySelector("form[data-bulk]");
  if (!form) return;
  document.addEventListener("change", ({ target }) => {
    if (target.matches?.("[data-pick-all]")) markAll(target.checked);
    else if (target.matches?.("[data-pick]") && !target.checked && all()) all().checked = false;
    if (target.matches?.("select")) target.dataset.touched = "yes";
    count(form);
  });
  document.addEventListener("refreshed", () => {
    if (all()?.checked) markAll(true);
    count(form);
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    send(form, event.submitter);
  });
  count(form);
}

function all() {
  return document.querySelector("[data-pick-all]");
}

function picked() {
  return [...document.querySelectorAll("[data-pick]:checked")].map((box) => box.value);
}

function markAll(checked) {
  for (const box of document.querySelectorAll("[data-pick]")) box.checked = checked;
}

function chosen() {
  return all()?.checked ? Number(all().dataset.fitting) : picked().length;
}

function count(form) {
  const number = chosen();
  const words = `${number.toLocaleString("en")} chosen`;
  const shown = form.querySelector("[data-bulk-count]");
  if (shown.textContent !== words) shown.textContent = words;
}

/** The ids; those that the page does not show are asked for. */
async function machines() {
  if (!all()?.checked) return picked();
  const { q = "", state = "" } = Object.fromEntries(new URL(location.href).searchParams);
  const response = await fetch(`/bulk/machines?${new URLSearchParams({ q, state })}`, { cache: "no-store" });
  if (!response.ok) throw new Error("The list of machines cannot be had. Nothing was done.");
  return (await response.json()).machines;
}

function wanted(form, verb) {
  const { workflow, action } = form.elements;
  const option = action.selectedOptions[0];
  switch (verb) {
    case "assign":
      return {
        title: workflow.value ? `Assign ${workflow.value}` : "Take the work away",
        work: { change: { workflow: workflow.value } },
        warning: "What they work at now is dropped.",
      };
    case "power":
      return {
        title: option.textContent,
        work: { action: action.value },
        warning: option.dataset.disruptive ? `Each: ${option.dataset.disruptive}. Whatever runs on them is cut off.` : "",
      };
    case "pause":
      return { title: "Pause", work: { change: { runnable: false } } };
    default:
      return { title: "Resume", work: { verb: "resume" } };
  }
}

async function send(form, button) {
  const { title, work, warning } = wanted(form, button?.value);
  const menu = button?.closest("details[data-menu]");
  const number = chosen();
  if (!number) return notify("No machine is chosen.", "bad");
  const many = `${number.toLocaleString("en")} machine${number === 1 ? "" : "s"}`;
  const yes = !warning || (await confirmed({ confirm: `${title}: ${many}?`, confirmText: warning, confirmButton: title }));
  if (!yes) return;
  menu?.removeAttribute("open");
  await busy(menu?.querySelector("summary") ?? button, async () => {
    try {
      const answer = await call("POST", "/api/v1/bulk/machines", JSON.stringify({ ...work, machines: await machines() }));
      if (work.action) location.assign(`/operations/${answer.id}`);
      else show(title, answer);
    } catch (error) {
      notify(error.message, "bad");
    }
  });
}

function show(title, { total, done, failed, items }) {
  const panel = document.querySelector("[data-bulk-results]");
  const head = element("header", "card-head");
  const close = element("button", "quiet", "✕");
  close.type = "button";
  close.setAttribute("aria-label", "Close");
  close.addEventListener("click", () => (panel.hidden = true));
  head.append(element("h2", "", `${title}: done for ${done} of ${total}${failed ? `, refused for ${failed}` : ""}`), close);
  const refused = items.filter((item) => item.status >= 400);
  const list = element("ul", "links");
  for (const item of refused.slice(0, SHOWN_REFUSALS)) list.append(refusal(item));
  panel.replaceChildren(head, ...(refused.length ? [list] : []));
  if (refused.length > SHOWN_REFUSALS) panel.append(element("p", "muted", `and ${refused.length - SHOWN_REFUSALS} more`));
  if (done) panel.append(doneOnes(items));
  panel.hidden = false;
  panel.focus();
}

function refusal(item) {
  const line = element("li", "refusal");
  line.dataset.testid = "bulk-refusal";
  line.append(link(item), " ", element("span", "muted", item.detail || item.code));
  return line;
}

function doneOnes(items) {
  const details = element("details", "bulk-done");
  const list = element("p", "muted");
  for (const item of items.filter((each) => each.status < 400)) list.append(link(item), " ");
  details.append(element("summary", "", `Done for ${items.filter((each) => each.status < 400).length}`), list);
  return details;
}

function link({ machine, name }) {
  if (!machine) return element("span", "", name);
  const anchor = element("a", "", name || machine);
  anchor.href = `/machines/${encodeURIComponent(machine)}`;
  return anchor;
}

function element(name, classes, text = "") {
  const made = document.createElement(name);
  if (classes) made.className = classes;
  if (text) made.textContent = text;
  return made;
}
