"""One file per event source: gather inputs, decide with a pure call, act on the result. No handler calls another."""
