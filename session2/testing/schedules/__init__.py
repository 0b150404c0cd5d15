"""Every schedule of overlapping requests, with what can go wrong at each step, checked against the rules of the design."""
