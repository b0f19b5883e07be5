"""One module for each kind of file that rows come from; `base` says what they have in common and opens them."""
