// Forms that stay: a form that is refused is shown anew in its place, so that going back leads to where one came from.
//
// form data-stay   data-done: what to say on the page that follows; {name} stands for the value of that field

import { busy } from "./forms.js";
import { toLogin } from "./login.js";
import { notify, notifyLater } from "./notices.js";

export function watchStaying() {
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (!(form instanceof HTMLFormElement) || form.dataset.stay === undefined) return;
    event.preventDefault();
    if (event.submitter?.getAttribute("aria-busy") !== "true") busy(event.submitter, () => send(form));
  });
}

async function send(form) {
  const done = form.dataset.done.replace(/\{(\w+)\}/g, (_, name) => form.elements[name].value.trim());
  let response;
  let text;
  try {
    response = await fetch(form.action, { method: "POST", body: new URLSearchParams(new FormData(form)) });
    text = await response.text();
  } catch {
    notify("The server does not answer. Nothing is known of what became of it; what you typed is still here.", "bad");
    return;
  }
  if (response.status === 401 || new URL(response.url).pathname === "/login") return toLogin();
  if (response.ok && response.redirected) {
    notifyLater(done, "good");
    location.replace(response.url);
    return;
  }
  const fresh = new DOMParser().parseFromString(text, "text/html").querySelector("#main");
  if (!fresh) {
    notify(`The answer (${response.status}) is no page of ours: something before the server refuses the form. What you typed is still here.`, "bad");
    return;
  }
  document.querySelector("#main").replaceWith(document.importNode(fresh, true));
  (document.querySelector("#main [autofocus]") ?? document.querySelector("#main")).focus();
}
