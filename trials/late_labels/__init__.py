"""Labels that come late, wrong, twice and in any order, on the demo's captures: `make late-labels`."""
