// The form that gives a machine a workflow, with leave to erase a disk when that workflow overwrites one.

import { busy, call, confirmed } from "./forms.js";
import { notify } from "./notices.js";

export function watchAssign() {
  for (const form of document.querySelectorAll("form[data-assign]")) show(form);
  document.addEventListener("refreshed", () => {
    for (const form of document.querySelectorAll("form[data-assign]")) show(form);
  });
  document.addEventListener("change", (event) => {
    const form = event.target.closest?.("form[data-assign]");
    if (!form) return;
    if (event.target.localName === "select") event.target.dataset.touched = "yes";
    show(form);
  });
  document.addEventListener("submit", (event) => {
    if (!event.target.dataset.assign) return;
    event.preventDefault();
    assign(event.target);
  });
}

function chosen(form) {
  return form.elements.workflow.selectedOptions[0];
}

function show(form) {
  const { about = "", stages = "", destructive = "" } = chosen(form)?.dataset ?? {};
  form.querySelector("[data-assign-about]").textContent = [about, stages].filter(Boolean).join(" · ");
  form.querySelector("[data-assign-erase]").hidden = !destructive;
}

async function assign(form) {
  const error = form.querySelector("[data-form-error]");
  error.textContent = "";
  const { workflow, disk, hours } = form.elements;
  const erases = chosen(form).dataset.destructive && disk.value;
  const question = {
    confirm: `Erase a disk of ${form.dataset.machine}?`,
    confirmText: `${disk.selectedOptions[0]?.textContent.trim()} may be overwritten by workflow ${workflow.value} within the next ${hours.value} h. What is on it will be lost.`,
    confirmButton: "Allow and assign",
  };
  if (erases && !(await confirmed(question))) return;
  await busy(form.querySelector("button:not([type=button])"), async () => {
    try {
      if (erases) await call("POST", `${form.dataset.assign}/grants`, JSON.stringify({ disk: disk.value, hours: Number(hours.value) }));
      await call("PATCH", form.dataset.assign, JSON.stringify({ workflow: workflow.value }));
      form.closest("details").removeAttribute("open");
      for (const select of form.querySelectorAll("select")) delete select.dataset.touched;
      notify(workflow.value ? `Workflow ${workflow.value} is assigned.` : "Its work was taken away.", "good");
    } catch (problem) {
      error.textContent = problem.message;
    }
  });
}
