// Forms that change something: sent to the JSON API, with what came of it shown in place.
//
// form   data-api="METHOD /path"   {action} stands for the value of the button that was pressed
//        data-done                 what to say when it worked, unless the answer has a message
// button data-json                 the body; data-fields instead: the names of the form's fields that are the body;
//                                  data-api and data-done as above
//        data-confirm              ask first: the title of the question; data-confirm-text, data-confirm-button

import { toLogin } from "./login.js";
import { notify } from "./notices.js";

const JSON_BODY = { "Content-Type": "application/json" };

export function watchForms() {
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (!(form instanceof HTMLFormElement) || !form.dataset.api) return;
    event.preventDefault();
    send(form, event.submitter);
  });
}

async function send(form, button) {
  if (button?.dataset.confirm && !(await confirmed(button.dataset))) return;
  const [method, path] = (button?.dataset.api ?? form.dataset.api).replace("{action}", encodeURIComponent(button?.value ?? "")).split(" ");
  const menu = form.closest("details[data-menu]");
  const shown = menu?.querySelector("summary") ?? button;
  menu?.removeAttribute("open");
  await busy(shown, async () => {
    try {
      const answer = await call(method, path, bodyOf(form, button));
      notify(sentence(answer, button) || button?.dataset.done || form.dataset.done || "Done.", "good");
    } catch (error) {
      notify(error.message, "bad");
    }
  });
}

function bodyOf(form, button) {
  const names = button?.dataset.fields?.split(" ");
  if (!names) return button?.dataset.json ?? "{}";
  return JSON.stringify(Object.fromEntries(names.map((name) => [name, form.elements[name].value])));
}

function sentence(answer, button) {
  if (!answer?.message || !answer.action) return "";
  const title = button?.querySelector(".menu-title")?.textContent ?? answer.action;
  return `${title}: ${answer.message}.`;
}

/** Show that something is under way for as long as it takes. */
export async function busy(element, work) {
  element?.setAttribute("aria-busy", "true");
  try {
    return await work();
  } finally {
    element?.removeAttribute("aria-busy");
  }
}

/** Call the API; throws an Error with the problem's own words. */
export async function call(method, path, body) {
  let response;
  try {
    response = await fetch(path, method === "DELETE" || method === "GET" ? { method, cache: "no-store" } : { method, body, headers: JSON_BODY });
  } catch {
    throw new Error("The server does not answer. Nothing is known of what became of it.");
  }
  if (response.status === 401) toLogin();
  const text = await response.text();
  const answer = text && response.headers.get("Content-Type")?.includes("json") ? JSON.parse(text) : null;
  if (response.ok) return answer;
  const detail = answer?.detail || `The server answered ${response.status}.`;
  // Names of fields and params keep their letters.
  const begun = /^[a-z]+[ ,;']/.test(detail) ? detail[0].toUpperCase() + detail.slice(1) : detail;
  throw new Error(begun + (/[.!?]$/.test(detail) ? "" : "."));
}

/** Ask in the page's dialog; true for yes. */
export function confirmed({ confirm, confirmText = "", confirmButton = "Yes" }) {
  const dialog = document.querySelector("#confirm");
  dialog.querySelector("h2").textContent = confirm;
  dialog.querySelector("[data-confirm-text]").textContent = confirmText;
  dialog.querySelector("[value=yes]").textContent = confirmButton;
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}
