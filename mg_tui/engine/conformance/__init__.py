"""The live part of the conformance kit: what needs the engine. Called through `mg_tui.families.testing`."""
