// The first view: a list of all orgs, and the events that arrive while it is open.

import { orgAddress } from './address.js';
import { allOrgs } from './api.js';
import { fillWhenChanged, make, setText } from './dom.js';
import { EventList } from './events.js';
import { problemNotice } from './notices.js';
import { isWorthSaying, many } from './words.js';

/** Shows the orgs in `main`. */
export function orgsView(main, { live }) {
  const summary = make('p', { class: 'summary' });
  const list = make('ul', { class: 'orgs', 'aria-label': 'Orgs' });
  const activity = new EventList((org, key) => (key === undefined ? org : `${org}/${key}`), 'New events');
  const happening = make('section', { class: 'card', hidden: true, 'aria-labelledby': 'happening' },
    make('h2', { id: 'happening' }, 'Happening now'), activity.element);
  main.replaceChildren(make('div', { class: 'head' }, make('h1', { tabindex: '-1' }, 'Orgs'), summary), list, happening);

  live({
    refresh: async (signal) => {
      const orgs = await allOrgs(signal);
      setText(summary, summaryOf(orgs));
      fillWhenChanged(list, orgs, () => (orgs.length === 0 ? [emptyHost()] : orgs.map(orgCard)));
    },
    onProblem: (problem) => fillWhenChanged(list, problem.errors, () => [make('li', {}, problemNotice(problem))]),
    onEvent: (event) => {
      if (!isWorthSaying(event)) return;
      happening.hidden = false;
      activity.add(event);
    },
  });
}

function summaryOf(orgs) {
  if (orgs.length === 0) return '';
  const total = (field) => orgs.reduce((sum, org) => sum + org[field], 0);
  const failed = total('failed');
  return `${many(orgs.length, 'org')} · ${total('up')} of ${many(total('workspaces'), 'workspace')} up${failed > 0 ? ` · ${failed} failed` : ''}`;
}

function orgCard(org) {
  const waiting = org.workspaces - org.up - org.failed;
  return make('li', { class: 'card org' },
    make('a', { class: 'name', href: orgAddress(org.org) }, org.name),
    make('span', { class: 'counts' },
      make('span', { class: `badge ${org.up === org.workspaces ? 'good' : 'wait'}` }, `${org.up} of ${org.workspaces} up`),
      org.failed > 0 && make('span', { class: 'badge bad' }, `${org.failed} failed`),
      waiting > 0 && make('span', { class: 'badge busy' }, `${waiting} not up`)),
    make('span', { class: 'facts' }, make('code', {}, org.org), ` on ${org.engine} · from ${org.template}`));
}

function emptyHost() {
  return make('li', { class: 'card empty' },
    make('p', {}, 'There are no orgs on this host yet.'),
    make('a', { class: 'button primary', href: '#/import' }, 'Import the first one'));
}
