"""The pages at `/`: runs, curves and samples for a browser, a phone's too. They show and change nothing.

Everything is HTML from the server: `content` gathers texts and numbers, `charts` turns curves into lines, `rendering`
fills the templates, which escape. `changes` tells open pages that what they show has changed; the script of the page,
the only one that its Content-Security-Policy lets run, then asks for the page again. `routes` has the addresses and the
form to sign in. `scripts/page_screenshots.py` looks at all of it in a browser.
"""
