"""One file per event source: gather everything, think with a pure call, act on the result. No handler calls another."""
