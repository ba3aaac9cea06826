// The form that sets a param of a machine: the value is text where the param is text, else JSON.

import { busy, call } from "./forms.js";
import { notify } from "./notices.js";

export function watchParams() {
  showAll();
  document.addEventListener("refreshed", showAll);
  document.addEventListener("change", (event) => {
    const form = event.target.closest?.("form[data-param]");
    if (!form || event.target.localName !== "select") return;
    event.target.dataset.touched = "yes";
    show(form);
  });
  document.addEventListener("submit", (event) => {
    if (!event.target.dataset.param) return;
    event.preventDefault();
    set(event.target);
  });
}

function showAll() {
  for (const form of document.querySelectorAll("form[data-param]")) show(form);
}

function show(form) {
  const { about = "", type = "", secure } = form.elements.name.selectedOptions[0]?.dataset ?? {};
  form.querySelector("[data-param-about]").textContent = about;
  form.querySelector("[data-param-hint]").textContent = type && type !== "string" ? `${type}, as JSON` : "";
  form.elements.value.type = secure ? "password" : "text";
}

async function set(form) {
  const { name, value } = form.elements;
  const error = form.querySelector("[data-form-error]");
  error.textContent = "";
  await busy(form.querySelector("button"), async () => {
    try {
      const path = name.value.split("/").map(encodeURIComponent).join("/");
      await call("PUT", form.dataset.param + path, asJson(value.value, name.selectedOptions[0].dataset.type));
      form.closest("details").removeAttribute("open");
      notify(`${name.value} is set.`, "good");
      form.reset();
      delete name.dataset.touched;
    } catch (problem) {
      error.textContent = problem.message;
    }
  });
}

function asJson(text, type) {
  if (type === "string") return JSON.stringify(text);
  try {
    JSON.parse(text);
    return text;
  } catch {
    return JSON.stringify(text);
  }
}
