// Creates and changes elements. It inserts what the server sends as text only, and never parses HTML.

/** Creates an element with attributes and, under `on`, listeners. Children are nodes or text; absent children are skipped. */
export function make(tag, { on = {}, ...attributes } = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) setAttribute(element, name, value);
  for (const [name, listener] of Object.entries(on)) element.addEventListener(name, listener);
  element.append(...present(children));
  return element;
}

/** Replaces the children of an element. */
export function fill(element, ...children) {
  element.replaceChildren(...present(children));
  return element;
}

/** Sets an attribute; `false`, `null` and `undefined` remove it. Does nothing when the value is the same. */
export function setAttribute(element, name, value) {
  if (value === false || value === null || value === undefined) element.removeAttribute(name);
  else if (element.getAttribute(name) !== String(value)) element.setAttribute(name, value === true ? '' : String(value));
}

/** Sets the text, unless it is the same: this keeps the user's selection and the position of a screen reader. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Replaces the children of an element when `value` differs from the last call. */
export function fillWhenChanged(element, value, build) {
  const seen = JSON.stringify(value);
  if (element.shownValue === seen) return;
  element.shownValue = seen;
  fill(element, ...build());
}

/** A link when the address is `http:` or `https:`; plain text for all others, such as `javascript:`. */
export function webLink(address, text = address) {
  const scheme = URL.canParse(address) ? new URL(address).protocol : '';
  if (scheme !== 'http:' && scheme !== 'https:') return make('span', {}, text);
  return make('a', { href: address, target: '_blank', rel: 'noopener noreferrer' }, text);
}

/** Announces a text to screen readers. */
export function announce(text) {
  document.getElementById('announcer').textContent = text;
}

let made = 0;

/** A new element id, for labels and descriptions. */
export function freshId(word) {
  made += 1;
  return `${word}-${made}`;
}

function present(children) {
  return children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false);
}
