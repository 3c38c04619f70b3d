//! The words of a command: iproute2's grammar for routes, labels and neighbours.
