// Keeps a view up to date. It reads again after an event, after a reconnection, and every few seconds, because the process
// of a workspace can exit without an event.

import { followEvents, sleep } from './api.js';

const BETWEEN_READS_MS = 250;
const READ_AT_LEAST_EVERY_MS = 4000;

/**
 * Follows events and calls `refresh(signal)` when something may have changed, one call at a time, until `signal` aborts.
 * Returns a function that requests one more call.
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
  const timer = setInterval(() => document.hidden || changed(), READ_AT_LEAST_EVERY_MS);
  document.addEventListener('visibilitychange', changed, { signal });
  signal.addEventListener('abort', () => (clearInterval(timer), wake()));
  refreshUntilAborted();
  return changed;

  async function refreshUntilAborted() {
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
