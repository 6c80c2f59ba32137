//! Workspaces stay alive: restart, stop, start, the proxy between agents, the sweeper.
