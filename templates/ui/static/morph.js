// Makes an element equal to a newer one while keeping what the reader has done to it: focus, scroll, open details,
// open menus, texts typed into fields, and elements that look after themselves.

/** Turn `old` into `fresh`. */
export function morph(old, fresh) {
  if (old.nodeName !== fresh.nodeName || keyOf(old) !== keyOf(fresh)) {
    old.replaceWith(document.importNode(fresh, true));
    return;
  }
  // An open menu is being used: its form must not change under the pointer.
  if (old.matches("details[data-menu][open]")) return;
  attributes(old, fresh);
  if (!standsAlone(old)) children(old, fresh);
}

/** Custom elements fill themselves; only their attributes tell them what. */
function standsAlone(element) {
  return element.localName.includes("-");
}

function keyOf(node) {
  return node.nodeType === Node.ELEMENT_NODE ? node.id || node.dataset?.key || node.dataset?.fragment || "" : "";
}

function attributes(old, fresh) {
  for (const { name, value } of [...fresh.attributes]) {
    if (name === "open" && old.localName === "details") continue;
    if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  for (const { name } of [...old.attributes]) {
    if (fresh.hasAttribute(name)) continue;
    if (name === "open" || name === "aria-busy") continue;
    old.removeAttribute(name);
  }
}

function children(old, fresh) {
  const wantedKeys = new Set([...fresh.children].map(keyOf));
  const keyed = new Map();
  // What goes must go first: an element that is moved instead loses focus.
  for (const child of [...old.children]) {
    if (!keyOf(child)) continue;
    if (wantedKeys.has(keyOf(child))) keyed.set(keyOf(child), child);
    else child.remove();
  }
  let place = old.firstChild;
  for (const wanted of [...fresh.childNodes]) {
    const key = keyOf(wanted);
    const match = key ? keyed.get(key) : alike(place, wanted) ? place : null;
    if (!match) {
      old.insertBefore(document.importNode(wanted, true), place);
      continue;
    }
    if (match === place) place = place.nextSibling;
    else move(old, match, place);
    update(match, wanted);
  }
  while (place) {
    const following = place.nextSibling;
    place.remove();
    place = following;
  }
}

function move(parent, child, place) {
  if (parent.moveBefore) parent.moveBefore(child, place);
  else parent.insertBefore(child, place);
}

function alike(node, wanted) {
  return node && node.nodeType === wanted.nodeType && node.nodeName === wanted.nodeName && !keyOf(node);
}

function update(old, fresh) {
  if (old.nodeType !== Node.ELEMENT_NODE) {
    if (old.nodeValue !== fresh.nodeValue) old.nodeValue = fresh.nodeValue;
  } else if (isField(old)) {
    field(old, fresh);
  } else {
    morph(old, fresh);
  }
}

function isField(element) {
  return element.matches("input, select, textarea");
}

/** A field that was changed by hand, or is being used, stays as it is. */
function field(old, fresh) {
  const touched = old === document.activeElement || (old.localName === "select" ? old.dataset.touched : old.value !== old.defaultValue);
  if (touched) return;
  attributes(old, fresh);
  if (old.localName === "select") children(old, fresh);
}
