// Keeps a view true: reads again after events, after a lost connection, and now and then, because a workspace may end
// without any event.

import { followEvents, sleep } from './api.js';

const BETWEEN_READS_MS = 250;
const NOW_AND_THEN_MS = 4000;

/**
 * Follows events and calls `refresh(signal)` whenever something may have changed, one call at a time, until `signal` ends it.
 * Gives a function that asks for one more call.
 */
export function live({ org, after, signal, refresh, onEvent, onProblem, onConnection }) {
  let wake = () => {};
  let isWanted = true;
  const changed = () => {
    isWanted = true;
    wake();
  };

  followEvents({
    org, after, signal,
    onEvent: (event) => {
      onEvent(event);
      changed();
    },
    onConnection: (state, pause) => {
      if (!signal.aborted) onConnection(state, pause);
      if (state === 'live') changed();
    },
  });
  const timer = setInterval(() => document.hidden || changed(), NOW_AND_THEN_MS);
  document.addEventListener('visibilitychange', changed, { signal });
  signal.addEventListener('abort', () => (clearInterval(timer), wake()));
  readAgainAndAgain();
  return changed;

  async function readAgainAndAgain() {
    while (!signal.aborted) {
      if (!isWanted) await new Promise((resolve) => (wake = resolve));
      if (signal.aborted) return;
      isWanted = false;
      try {
        await refresh(signal);
      } catch (problem) {
        if (!signal.aborted) onProblem(problem);
      }
      await sleep(BETWEEN_READS_MS, signal);
    }
  }
}
