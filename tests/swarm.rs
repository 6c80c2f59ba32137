//! The contract of an engine on a real swarm of one node.
