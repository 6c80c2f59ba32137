// A list of events, each shown as a sentence, the newest first.

import { make } from './dom.js';
import { sentenceOf, timeOf } from './words.js';

/** The number of events that are shown. Older ones are in the server's journal. */
const MOST = 400;

/** An empty list; `add` shows an event. */
export class EventList {
  #nameOf;
  #waiting = [];
  element;

  constructor(nameOf, label) {
    this.#nameOf = nameOf;
    this.element = make('ol', { class: 'events', reversed: true, 'aria-label': label, tabindex: '0' });
  }

  /** Adds an event. Events that arrive within 30 ms are added together, so that the browser lays the list out once. */
  add(event) {
    if (this.#waiting.push(event) > 1) return;
    setTimeout(() => {
      const newest = this.#waiting.slice(-MOST).reverse();
      this.#waiting = [];
      this.element.prepend(...newest.map((one) => this.#line(one)));
      while (this.element.childElementCount > MOST) this.element.lastElementChild.remove();
    }, 30);
  }

  #line(event) {
    const { subject, text, help, tone, isStep } = sentenceOf(event, this.#nameOf);
    const when = make('time', { datetime: new Date(event.at_ms).toISOString() }, timeOf(event.at_ms));
    const kind = isStep ? 'step' : (tone ?? '');
    return make('li', { class: kind, 'data-seq': event.seq }, when,
      make('p', {}, make('b', {}, subject), ` ${text}`, help && make('span', { class: 'help' }, help)));
  }
}
