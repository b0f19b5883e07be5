"""Everything that can be known before a run exists: what is wrong with it, and what it will need.

`preflight` is called by every face that starts a run; `review` is its look at the data, `inspection` the same look when
somebody asks for it, `token_counts` counts for both; `forecast` puts a spec to the memory estimate.
"""
