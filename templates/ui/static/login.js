// Coming back to where one was, through the login form.

/** The session has ended: log in, then come back here. */
export function toLogin() {
  if (location.pathname === "/login") return;
  location.assign(`/login?next=${encodeURIComponent(location.pathname + location.search)}`);
}

/** Whether there is a session; null when the server does not answer. */
export async function loggedIn() {
  const response = await fetch("/session", { cache: "no-store" }).catch(() => null);
  return response?.ok ? Boolean((await response.json()).user) : null;
}

/** A link from another site arrives without our cookie (SameSite=Strict); whoever has a session goes straight on. */
export async function skipLogin() {
  const form = document.querySelector(".login[data-next]");
  if (!form) return;
  if (await loggedIn()) location.replace(form.dataset.next);
}
