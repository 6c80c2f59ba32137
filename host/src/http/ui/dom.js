// Elements. Whatever comes from the server is text here and never markup: this module has no way to parse HTML.

/** An element: `class`, `on` (listeners) and attributes; children are nodes or text, absent ones are left out. */
export function make(tag, { on = {}, ...attributes } = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) setAttribute(element, name, value);
  for (const [name, listener] of Object.entries(on)) element.addEventListener(name, listener);
  element.append(...present(children));
  return element;
}

/** Replaces what an element holds. */
export function fill(element, ...children) {
  element.replaceChildren(...present(children));
  return element;
}

/** Sets an attribute; `false`, `null` and `undefined` take it away. Does nothing when nothing changes. */
export function setAttribute(element, name, value) {
  if (value === false || value === null || value === undefined) element.removeAttribute(name);
  else if (element.getAttribute(name) !== String(value)) element.setAttribute(name, value === true ? '' : String(value));
}

/** Sets the text, unless it is there already: what a screen reader or a selection is at stays as it is. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Builds what an element holds, once for each different value. */
export function fillWhenChanged(element, value, build) {
  const seen = JSON.stringify(value);
  if (element.shownValue === seen) return;
  element.shownValue = seen;
  fill(element, ...build());
}

/** A link for addresses that lead somewhere on the web; plain text for all others (`javascript:` and the like). */
export function webLink(address, text = address) {
  const scheme = URL.canParse(address) ? new URL(address).protocol : '';
  if (scheme !== 'http:' && scheme !== 'https:') return make('span', {}, text);
  return make('a', { href: address, target: '_blank', rel: 'noopener noreferrer' }, text);
}

/** Tells a screen reader, once. */
export function announce(text) {
  document.getElementById('announcer').textContent = text;
}

let made = 0;

/** An identity for labels and descriptions. */
export function freshId(word) {
  made += 1;
  return `${word}-${made}`;
}

function present(children) {
  return children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false);
}
