// Keeps relative times true while a page stays open. Says the same as provisioner/services/ui_words.py.

let skew = 0;

/** The server's time now, in milliseconds; browsers' clocks are wrong more often than one thinks. */
export function now() {
  return Date.now() + skew;
}

export function duration(seconds) {
  if (seconds < 0.95) return `${Math.max(seconds, 0).toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return two(whole, 60, "min", 1, 2, "s");
  if (whole < 86400) return two(whole, 3600, "h", 60, 2, "min");
  return two(whole, 86400, "d", 3600, 1, "h");
}

function two(whole, large, largeUnit, small, width, smallUnit) {
  const rest = Math.floor((whole % large) / small);
  const more = rest ? ` ${String(rest).padStart(width, "0")} ${smallUnit}` : "";
  return `${Math.floor(whole / large)} ${largeUnit}${more}`;
}

export function ago(then, present = now()) {
  const seconds = (present - then) / 1000;
  const far = Math.abs(seconds);
  if (far < 3) return "just now";
  const [unit, length] = far >= 86400 ? ["d", 86400] : far >= 3600 ? ["h", 3600] : far >= 60 ? ["min", 60] : ["s", 1];
  const text = `${Math.floor(far / length)} ${unit}`;
  return seconds > 0 ? `${text} ago` : `in ${text}`;
}

/** Write every time below `root` anew. */
export function showTimes(root = document) {
  for (const time of root.querySelectorAll("time[data-age], time[data-since]")) {
    const moment = Date.parse(time.dateTime);
    if (Number.isNaN(moment)) continue;
    const text = "since" in time.dataset ? duration(Math.floor((now() - moment) / 1000)) : ago(moment);
    if (time.textContent !== text) time.textContent = text;
  }
}

/** `serverNow` is when the page was made. */
export function startTimes(serverNow) {
  const parsed = Date.parse(serverNow);
  const age = performance.now();
  if (!Number.isNaN(parsed)) skew = parsed + age - Date.now();
  // A page's own age is no skew: seconds of loading must not be counted twice.
  if (Math.abs(skew) < 5000) skew = 0;
  setInterval(showTimes, 1000);
}
